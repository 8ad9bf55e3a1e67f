"""The instants at which a fluid bound looks at a Program: when some of its actors end some of their firings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from ...errors import ProgramError
from ..program import NONE, IntArray, Program
from .curves import Curves
from .windows import windows

START = -1
"""The instant before all others."""
REFERENCES = 2
Order: TypeAlias = tuple[int, int, int]
"""Two instants, and how many periods lie between theirs."""


class Instants:
    """Ends of firings of reference actors, and what is known of the other actors there.

    Attributes:
        number: of them; as an index the end of the run, or of the period.
        actor, firing: [k] the reference, and how many firings it has ended there.
        least, most: [a, k] firings that each actor has ended, at least, and started, at most.
        order: pairs of instants known to come one after the other, START and the end of the run among them, and how
            many periods after that of the first one the second one's is.
    """

    def __init__(self, curves: Curves, references: Sequence[int], most: int) -> None:
        each = max(1, most // len(references))
        self.around = curves.around
        period = {a: len(curves.phases[a]) // (2 * self.around + 1) for a in references}
        self.at = {a: self.around * period[a] + _evenly(period[a], each) for a in references}
        self.period = period
        first = np.cumsum([0, *(len(at) for at in self.at.values())])
        self.first = dict(zip(self.at, (int(n) for n in first), strict=False))
        self.number = int(first[-1])
        self.actor = np.repeat(list(self.at), [len(at) for at in self.at.values()])
        self.firing = np.concatenate(list(self.at.values()))
        found = [windows(curves, a, at) for a, at in self.at.items()]
        self.least = np.concatenate([least for least, _ in found], axis=1)
        self.most = np.concatenate([most for _, most in found], axis=1)
        if (self.least > self.most).any():
            raise ProgramError(f"{curves.program.name} cannot run to its end: FIFOs hold too few tokens")
        self.order = sorted(self._order())

    def before(self, actor: int, firings: IntArray) -> Iterator[tuple[int, int]]:
        """By number of firings the last instant of a reference by which it has ended no more; START for none.

        With each how many periods earlier it is.
        """
        period = self.period[actor]
        for n in firings.tolist():
            earlier = -((n - int(self.at[actor][0])) // period) if self.around and n else 0
            index = int(np.searchsorted(self.at[actor], n + earlier * period, side="right")) - 1
            yield (START if index < 0 else self.first[actor] + index), earlier

    def _order(self) -> set[Order]:
        found: set[Order] = set()
        for a, first in self.first.items():
            mine = range(first, first + len(self.at[a]))
            found |= {(before, after, 0) for before, after in pairwise(mine)}
            found |= {(mine[-1], first, 1)} if self.around else {(START, first, 0), (mine[-1], self.number, 0)}
            follows: dict[tuple[int, int], tuple[int, int]] = {}  # what follows comes after the first of them
            for k, (earlier, periods) in enumerate(self.before(a, self.least[a])):
                if self.actor[k] != a and earlier != START:
                    pair = earlier, int(self.actor[k])
                    follows[pair] = min(follows.get(pair, (periods, k)), (periods, k))
            found |= {(earlier, k, periods) for (earlier, _), (periods, k) in follows.items()}
        return found


def _evenly(firings: int, most: int) -> IntArray:
    """Numbers of firings that have ended, evenly spread up to all of them."""
    number = min(firings, most)
    return (2 * np.arange(1, number + 1, dtype=np.int64) - 1) * firings // (2 * number) + 1


def busiest(program: Program, curves: Curves) -> tuple[int, ...]:
    """The busiest actor of every resource, and of these the REFERENCES that work longest."""
    found: dict[tuple[str, int], tuple[float, int]] = {}
    for a, done in enumerate(curves.work):
        s = int(program.actor_server[a])
        rate = float(program.platform.servers[s].rate) if s != NONE else 1.0
        resource = ("server", s) if s != NONE else ("actor", a)
        if done[-1]:
            found[resource] = min(found.get(resource, (0.0, a)), (-float(done[-1]) / rate, a))
    return tuple(sorted(a for _, a in sorted(found.values())[:REFERENCES]))
