"""The integer program of one order: which gaps are dropped, at the least cost.

One variable per gap (dropped or not), one per content that may have to be written back, one row per step: the gaps over
it that are dropped must free what the step lacks. Sizes and costs are divided by the greatest common divisor of the
sizes, no coefficient is larger than what a row lacks, and rows that another row implies are left out.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import gcd

from .lives import Lives
from .solver import NO_SOLVER, Program, Solution, SolverOptions, solve


@dataclass(frozen=True)
class Cost:
    """What a byte costs that is loaded or stored: bytes, cycles, joules, or a weighted sum of them."""

    name: str = "bytes"
    load: float = 1.0
    store: float = 1.0


BYTES = Cost()
Row = tuple[frozenset[int], int]
"""Gaps of which so many bytes must be dropped."""


@dataclass
class Model:
    """The integer program, with the variables that stand for gaps and write-backs.

    Attributes:
        lacks: its rows.
        cuts: gaps that cannot all be kept, for want of addresses.
        paid: contents that are written back whatever it decides.
        short: of equal answers the one that keeps what takes least room for the shortest time is better.
    """

    lives: Lives
    lacks: list[Row]
    cuts: list[tuple[int, ...]] = field(default_factory=list)
    paid: frozenset[int] = frozenset()
    short: bool = False
    known: dict[object, tuple[list[int], list[Solution]]] = field(default_factory=dict)
    """Solved parts by their shape: the places of gaps that are dropped, and what the solver said."""

    @classmethod
    def of(cls, lives: Lives, capacity: int, *, spare: Sequence[int] = ()) -> Model:
        """Of a whole order, which leaves `spare` bytes, by step, free where it can. Raises DoesNotFit."""
        lives.check_fits(capacity)
        rows: list[Row] = []
        free = spare or [0] * len(lives.operators)
        for gaps, needed, left in zip(lives.rows(), lives.base(), free, strict=True):
            mine = sum(lives.gaps[i].nbytes for i in gaps)
            lack = min(mine, needed + mine - capacity + left)
            if lack > 0:
                rows.append((frozenset(gaps), lack))
        return cls(lives, merged(rows), short=any(spare))

    def dropped(self, costs: Sequence[Cost], options: SolverOptions) -> tuple[set[int], list[Solution]]:
        """The gaps to drop, by one cost after the other, each held while the next is minimised.

        Gaps that share no row, cut or content are decided apart, and equal parts once: where the memory is not short
        throughout, a large program falls into many small ones. Small ones come first; each may take a share of what is
        left of a limit of time, by its gaps.
        """
        found: set[int] = set()
        totals = [Solution((), 0.0, 0.0, True, NO_SOLVER, 0.0)] * len(costs)
        ends = None if options.seconds is None else time.perf_counter() + options.seconds
        interrupted = False
        parts = self._parts()
        waiting = sum(len(part.names) for part in parts)
        for part in parts:
            names = part.names
            if interrupted:
                found.update(part.one_by_one())
                totals = [replace(t, proven=False) for t in totals]
                continue
            key = part.shape(names)
            share, waiting = len(names) / waiting, waiting - len(names)
            if key not in self.known:
                left = None if ends is None else max(0.0, share * (ends - time.perf_counter()))
                gone, solutions = part._dropped(names, costs, replace(options, seconds=left))
                self.known[key] = [k for k, i in enumerate(names) if i in gone], solutions
            places, solutions = self.known[key]
            found.update(names[k] for k in places)
            totals = [_together(t, s) for t, s in zip(totals, solutions, strict=False)]
            interrupted = totals[0].interrupted
        return found, totals

    @property
    def names(self) -> list[int]:
        """Gaps that some row or cut speaks of."""
        return sorted({i for gaps, _ in self.lacks for i in gaps} | {i for cut in self.cuts for i in cut})

    def shape(self, names: Sequence[int]) -> object:
        """What of a part matters to its solution."""
        place = {i: k for k, i in enumerate(names)}
        epochs: dict[int, int] = {}
        gaps = []
        for g in (self.lives.gaps[i] for i in names):
            length = g.last - g.first if self.short else 0
            gaps.append((g.nbytes, epochs.setdefault(g.epoch, len(epochs)), self._stored(g.epoch), length))
        rows = [(tuple(sorted(place[i] for i in members)), lack) for members, lack in self.lacks]
        return tuple(gaps), tuple(rows), tuple(tuple(place[i] for i in cut) for cut in self.cuts)

    def _stored(self, epoch: int) -> bool:
        return self.lives.epochs[epoch].stored or epoch in self.paid

    def _parts(self) -> list[Model]:
        """Models that have no gap, and no gap's content, in common; those with the fewest gaps first."""
        root: dict[object, object] = {}

        def find(x: object) -> object:
            while root.setdefault(x, x) != x:
                root[x] = x = root[root[x]]
            return x

        groups = [list(gaps) for gaps, _ in self.lacks] + [list(cut) for cut in self.cuts]
        for members in groups:
            for i in members:
                root[find(i)] = find(members[0])
                root[find(("content", self.lives.gaps[i].epoch))] = find(members[0])
        parts: dict[object, Model] = {}

        def part(member: int) -> Model:
            return parts.setdefault(find(member), Model(self.lives, [], [], self.paid, self.short, self.known))

        for gaps, lack in self.lacks:
            if gaps:
                part(next(iter(gaps))).lacks.append((gaps, lack))
        for cut in self.cuts:
            part(cut[0]).cuts.append(cut)
        return sorted(parts.values(), key=lambda part: (len(part.names), part.names[0]))

    def _dropped(
        self, names: Sequence[int], costs: Sequence[Cost], options: SolverOptions
    ) -> tuple[set[int], list[Solution]]:
        held: list[tuple[dict[int, float], float]] = []
        solutions: list[Solution] = []
        simple = self.one_by_one()
        chosen = {i: int(i in simple) for i in names}
        unit = gcd(*(self.lives.gaps[i].nbytes for i in names)) or 1
        for cost in costs:
            program, variable = self._program(names, cost, unit)
            for terms, limit in held:
                program.row(terms, limit)
            found = solve(program, options)
            # No cost is negative; where rows cannot be kept, the value says so.
            solutions.append(replace(found, value=found.value * unit, bound=max(found.bound, 0.0) * unit))
            if found.chosen is None:
                break
            chosen = {i: found.chosen[variable[i]] for i in names}
            # What a solver calls equal may differ in its last digit.
            held.append(({v: c for v, c in enumerate(program.cost) if c}, found.value * (1 + 1e-9) + 1e-6))
            if found.interrupted:
                break
        return {i for i, x in chosen.items() if x}, solutions

    def one_by_one(self) -> set[int]:
        """Gaps to drop where there is no time for a program: row by row those whose next use is last."""
        gaps, found = self.lives.gaps, set[int]()
        for members, lack in self.lacks:
            lack -= sum(gaps[i].nbytes for i in members & found)
            for i in sorted(members - found, key=lambda i: (-gaps[i].last, i)):
                if lack <= 0:
                    break
                found.add(i)
                lack -= gaps[i].nbytes
        for cut in self.cuts:
            if not found.intersection(cut):
                found.add(cut[0])
        return found

    def _program(self, names: Sequence[int], cost: Cost, unit: int) -> tuple[Program, dict[int, int]]:
        gaps, epochs = self.lives.gaps, self.lives.epochs
        program = Program()
        of_epoch: dict[int, list[int]] = {}
        for i in names:
            of_epoch.setdefault(gaps[i].epoch, []).append(i)
        apart = {e for e, members in of_epoch.items() if len(members) == 1 or self._stored(e)}
        variable = {}
        sparing = self._sparing(names, cost, unit)
        for i in names:
            gap = gaps[i]
            stored = cost.store if gap.epoch in apart and not self._stored(gap.epoch) else 0.0
            room = gap.nbytes // unit * (gap.last - gap.first)
            variable[i] = program.variable(gap.nbytes // unit * (cost.load + stored) - sparing * room)
        for e, members in of_epoch.items():
            if e not in apart:
                back = program.variable(epochs[e].nbytes // unit * cost.store)
                for i in members:
                    program.row({variable[i]: 1.0, back: -1.0}, 0.0)
        for members_of_row, lack in self.lacks:
            least = -(-lack // unit)
            terms = {variable[i]: -float(min(gaps[i].nbytes // unit, least)) for i in sorted(members_of_row)}
            program.row(terms, -float(least))
        for cut in self.cuts:
            program.row({variable[i]: -1.0 for i in cut}, -1.0)
        return program, variable

    def _sparing(self, names: Sequence[int], cost: Cost, unit: int) -> float:
        """What room for a step is worth: less in all than the smallest difference in cost."""
        if not self.short:
            return 0.0
        gaps = self.lives.gaps
        rooms = sum(gaps[i].nbytes // unit * (gaps[i].last - gaps[i].first) for i in names)
        return 0.5 * min((c for c in (cost.load, cost.store) if c), default=0.0) / max(rooms, 1)


def _together(a: Solution, b: Solution) -> Solution:
    """Of two programs that have nothing in common."""
    chosen = () if a.chosen is not None and b.chosen is not None else None
    solver = b.solver if a.solver == NO_SOLVER else a.solver
    return Solution(
        chosen, a.value + b.value, a.bound + b.bound, a.proven and b.proven, solver, a.seconds + b.seconds,
        a.interrupted or b.interrupted,
    )  # fmt: skip


NEIGHBOURS = 8
"""Rows before it that a row is compared with: those of steps nearby have most gaps in common."""


def merged(rows: Sequence[Row]) -> list[Row]:
    """Rows that no other implies: one implies another that has at least its gaps and lacks no more."""
    kept: list[Row] = []
    for gaps, lack in rows:
        near = kept[-NEIGHBOURS:]
        if any(other <= gaps and least >= lack for other, least in near):
            continue
        kept[-NEIGHBOURS:] = [row for row in near if not (gaps <= row[0] and lack >= row[1])]
        kept.append((gaps, lack))
    return kept
