"""Rates of ports: how many tokens a port moves in each firing, as a pattern that repeats, and schedules out of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from math import lcm

from ...engine.builder import Phase, Repeat, Run, Schedule
from ...errors import BadInput

MOST_RUNS = 100_000
"""Runs of a pattern that has to be written out because its length does not divide that of another port."""


@dataclass(frozen=True)
class Rate:
    """Tokens per firing, run-length encoded: `runs` of (firings, tokens in each of them), over and over.

    Raises:
        BadInput: no firings, or no tokens at all.
    """

    runs: tuple[tuple[int, int], ...] = ((1, 1),)

    def __post_init__(self) -> None:
        if any(n < 1 or tokens < 0 for n, tokens in self.runs) or self.tokens < 1:
            raise BadInput(f"rate {self}: firings must be positive, tokens not negative, and some token must move")

    @cached_property
    def firings(self) -> int:
        """Length of the pattern."""
        return sum(n for n, _ in self.runs)

    @cached_property
    def tokens(self) -> int:
        """Tokens in one round of the pattern."""
        return sum(n * tokens for n, tokens in self.runs)

    @property
    def largest(self) -> int:
        """Most tokens in one firing."""
        return max(tokens for _, tokens in self.runs)

    @classmethod
    def of(cls, counts: Sequence[int]) -> Rate:
        """The pattern of a list of tokens per firing."""
        return cls(tuple((len(list(same)), tokens) for tokens, same in groupby(counts)))

    def __str__(self) -> str:
        return "[" + ", ".join(str(t) if n == 1 else f"{n} x {t}" for n, t in self.runs) + "]"


ONE = Rate()


def every(firings: int, *, at: str = "first", tokens: int = 1) -> Rate:
    """`tokens` in one of so many firings, the first or the last of them.

    An input that moves at the first firing holds its value for the rest (a repeat); an output that moves at the last
    one is a reduction's.

    Raises:
        BadInput: less than one firing, or another place.
    """
    if firings < 1 or at not in ("first", "last"):
        raise BadInput(f"every {firings} firings at the {at} one: at least 1 firing, 'first' or 'last'")
    if firings == 1:
        return Rate(((1, tokens),))
    moves, rest = (1, tokens), (firings - 1, 0)
    return Rate((moves, rest) if at == "first" else (rest, moves))


@dataclass(frozen=True)
class PortRate:
    """One port of a node: its FIFO in the Program, and what it moves."""

    fifo: int
    is_output: bool
    rate: Rate


def cycle_length(ports: Sequence[PortRate]) -> int:
    """Firings after which the patterns of all ports start again together."""
    return lcm(*(p.rate.firings for p in ports))


def schedule(ports: Sequence[PortRate], firings: int, phase: Phase) -> Schedule:
    """What a node fires: `phase` with the ports' tokens, `firings` times in all, a multiple of `cycle_length`.

    Patterns nest: a long one is cut at its runs, and in between the shorter ones repeat, so that the schedule is short
    however long they are. Where one length does not divide the next, that pattern is written out up to the least common
    multiple.

    Raises:
        BadInput: which takes more than MOST_RUNS runs.
    """
    levels: list[tuple[int, PortRate, tuple[tuple[int, int], ...]]] = []
    length = 1
    for port in sorted(ports, key=lambda p: p.rate.firings):
        length = lcm(length, port.rate.firings)
        copies = length // port.rate.firings
        if copies * len(port.rate.runs) > MOST_RUNS:
            raise BadInput(f"rate {port.rate}: fits the node's other rates only after {length} firings, too many")
        levels.append((length, port, port.rate.runs * copies))
    order = {p: i for i, p in enumerate(ports)}

    def fire(moved: Mapping[PortRate, int]) -> Phase:
        there = sorted((p for p in moved if moved[p]), key=order.__getitem__)
        return Phase(
            work=phase.work, arg=phase.arg, actions=phase.actions, segment=phase.segment,
            inputs=tuple((p.fifo, moved[p], moved[p]) for p in there if not p.is_output),
            outputs=tuple((p.fifo, moved[p], moved[p]) for p in there if p.is_output),
        )  # fmt: skip

    def part(level: int, first: int, stop: int, moved: Mapping[PortRate, int]) -> tuple[Run | Repeat, ...]:
        """Firings first .. stop - 1 of the cycles of all patterns up to a level, with what longer ones move."""
        if level < 0:
            return (Run(fire(moved), stop - first),)
        period, port, runs = levels[level]
        items: list[Run | Repeat] = []
        while first < stop:
            begin = first - first % period
            if first == begin and stop - first >= 2 * period:
                whole = (stop - first) // period
                items.append(Repeat(whole, part(level, 0, period, moved)))
                first += whole * period
                continue
            end = min(stop, begin + period)
            at = begin
            for n, tokens in runs:
                low, high = max(first, at), min(end, at + n)
                if low < high:
                    items += part(level - 1, low, high, {**moved, port: tokens})
                at += n
            first = end
        return tuple(items)

    return part(len(levels) - 1, 0, firings, {})
