"""The instants at which a fluid bound looks at a Program: when some of its actors end some of their firings."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ...errors import ProgramError
from ..program import NONE, IntArray, Program
from .curves import Curves
from .windows import windows

START = -1
"""The instant before all others."""
REFERENCES = 2


class Instants:
    """Ends of firings of reference actors, and what is known of the other actors there.

    Attributes:
        number: of them; as an index the end of the run.
        actor, firing: [k] the reference, and how many firings it has ended there.
        least, most: [a, k] firings that each actor has ended, at least, and started, at most.
        order: pairs of instants known to come one after the other, START and the end of the run among them.
    """

    def __init__(self, curves: Curves, references: Sequence[int], most: int) -> None:
        each = max(1, most // len(references))
        self.at = {a: _evenly(len(curves.phases[a]), each) for a in references}
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

    def before(self, actor: int, firings: IntArray) -> IntArray:
        """The last instant of a reference by which it has ended no more than so many firings; START for none."""
        index = np.searchsorted(self.at[actor], firings, side="right") - 1
        return np.where(index < 0, START, self.first[actor] + index)

    def _order(self) -> set[tuple[int, int]]:
        found: set[tuple[int, int]] = set()
        for a, first in self.first.items():
            mine = range(first, first + len(self.at[a]))
            found |= {(START, first), (mine[-1], self.number), *pairwise(mine)}
            seen: set[tuple[int, int]] = set()
            for k, earlier in enumerate(self.before(a, self.least[a])):
                pair = int(earlier), int(self.actor[k])
                if pair[1] != a and pair[0] != START and pair not in seen:
                    seen.add(pair)  # what follows comes after the first of them
                    found.add((pair[0], k))
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
