"""Depths of FIFOs: a Program with others, and the smallest with which a deadlock would not have come about.

More depth never delays a Program whose actors share no server and no pool, and never makes it deadlock; so the smallest
depth that does is found by doubling and halving.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ..errors import Deadlock
from . import compiled
from .program import UNBOUNDED, Program


def with_depths(program: Program, depths: Mapping[int, int]) -> Program:
    """The Program with other depths, by index of the FIFO."""
    return replace(
        program, fifos=tuple(replace(f, depth=depths.get(i, f.depth)) for i, f in enumerate(program.fifos))
    )


def finish_with(program: Program, depths: Mapping[int, int]) -> int | None:
    """Ticks until the Program ends with these depths; None where it deadlocks."""
    try:
        return compiled.run(with_depths(program, depths)).finish
    except Deadlock:
        return None


def least_that(holds: Callable[[int], bool], above: int, most: int | None = None) -> int:
    """The least number above `above` for which something holds that holds from then on, by doubling and halving.

    Args:
        holds: whether it does.
        above: a number for which it does not.
        most: a number for which it is known to; None: there is one.
    """
    step, low = 1, above
    high = most
    while high is None or low + step < high:
        if holds(low + step):
            high = low + step
            break
        low, step = low + step, 2 * step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


@dataclass(frozen=True)
class Freeing:
    """Depths that would have kept a Program from a deadlock, by index of the FIFO.

    Attributes:
        program: the one that is stuck.
        alone: the smallest depth of each FIFO that frees it when nothing else is changed.
        together: where no FIFO does so alone, depths none of which can be smaller; empty where depths do not help.
    """

    program: Program
    alone: Mapping[int, int]
    together: Mapping[int, int]

    def explained(self, stuck: Deadlock) -> Deadlock:
        """The Deadlock with these depths at the end of its message."""
        fifos = self.program.fifos

        def said(depths: Mapping[int, int], word: str) -> str:
            return word.join(f"{fifos[i].name} at least {d} (is {fifos[i].depth})" for i, d in depths.items())

        if self.alone:
            text = said(self.alone, ", or ")
        elif self.together:
            text = said(self.together, ", and ")
        else:
            text = "none: no depth of any FIFO helps"
        full = f"{stuck}\nsmallest depths that free it: {text}"
        return Deadlock(full, stuck.cycle, stuck.full, stuck.firings, self.alone or self.together)


def freeing_depths(program: Program, stuck: Deadlock) -> Freeing:
    """The smallest depths that free a Program from a deadlock; see `Freeing`."""
    alone: dict[int, int] = {}
    for i in stuck.full:
        if finish_with(program, {i: UNBOUNDED}) is not None:
            alone[i] = _least_depth(program, i, {})
    if alone:
        fewest = sorted(alone, key=lambda i: (alone[i] - program.fifos[i].depth, i))
        return Freeing(program, {i: alone[i] for i in fewest}, {})
    grown = dict.fromkeys(stuck.full, UNBOUNDED)
    while grown:
        try:
            compiled.run(with_depths(program, grown))
        except Deadlock as next_one:
            more = [i for i in next_one.full if i not in grown]
            if not more:
                return Freeing(program, {}, {})
            grown |= dict.fromkeys(more, UNBOUNDED)
            continue
        break
    together: dict[int, int] = dict(grown)
    for i in grown:
        if finish_with(program, {**together, i: program.fifos[i].depth}) is not None:
            del together[i]  # it was in the way only while others were
        else:
            together[i] = _least_depth(program, i, together)
    return Freeing(program, {}, together)


def _least_depth(program: Program, i: int, others: Mapping[int, int]) -> int:
    """The smallest depth of one FIFO, above its own, with which the Program ends."""

    def ends(depth: int) -> bool:
        return finish_with(program, {**others, i: depth}) is not None

    return least_that(ends, program.fifos[i].depth)
