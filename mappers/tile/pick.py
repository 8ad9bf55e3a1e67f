"""The choice among the tilings of a level: in the order of their bounds, with all cuts of each."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf, prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .cuts import Cut
from .nest import Found, Lasts, Level, Nest, Shortfall, Work
from .operand import Array, Floats

if TYPE_CHECKING:  # numba takes a while to load
    from . import stage_kernel as kernel
    from .hop_costs import HopCost
    from .stage import Stage

GRADE = {"latency": 0.0005, "energy": 1e-6, "edp": 0.0005}
"""Shares by which bounds are told apart: of one grade that with the least tie is settled first."""
FIRST_BLOCK, BLOCK = 32, 64
"""Rows whose joint cuts are looked at at once, first and afterwards."""
TINY = 1e-300


class Bound(NamedTuple):
    """At most the sum by the aim of each row, and what decides a tie."""

    value: Floats
    tie: Floats


class Pick:
    """A choice among rows: tilings, each with every kind of orders (see `stage_kernel.Choices`)."""

    def __init__(
        self,
        stage: Stage,
        extents: Mapping[str, int],
        sums: int,
        lasts: Lasts,
        tile: dict[str, Array],
        choices: kernel.Choices,
        tables: list[dict[Cut, HopCost]],
        inside: Floats,
        bound: Bound,
        rows: Array,
    ) -> None:
        from . import stage_kernel as kernel

        self.stage, self.extents, self.sums, self.lasts = stage, extents, sums, lasts
        self.tile, self.tables = tile, tables
        self.choices, self.room = choices, kernel.Room.of(choices)
        self.inside, self.bound, self.rows = inside, bound, rows
        self.least = inf
        self.nests: dict[int, tuple[Nest, Work]] = {}
        self.asked: set[Hashable] = set()
        self.settled = np.zeros_like(inside)
        self.tie = np.full(inside.shape[1], inf)
        self.complete = True
        self.short: dict[str, int] = {}

    def best(self) -> Found | Shortfall:
        """The best choice; of those that are equal in value the one with the least tie."""
        from . import stage_kernel as kernel

        if self.stage.inner.exact:
            order = self.rows[np.lexsort((self.bound.tie[self.rows], self.bound.value[self.rows]))]
            self.least = kernel.least(self.choices, self.room, order, self.inside, self.bound.value, self.stage.equal)
            near = self.rows[self.bound.value[self.rows] <= self.least * self.stage.equal]
            best = self._best_of(near, self.inside, self.bound.tie)
        else:
            self._settle_best()
            best = self._best_of(np.array(list(self.nests), np.int64), self.settled, self.tie)
        if best[kernel.B_VALUE] == inf:
            for memory, needed in zip(self.stage.budgets, self.room.crowded.tolist(), strict=True):
                if needed < inf:
                    self.short[memory] = min(self.short.get(memory, int(needed)), int(needed))
            budgets = self.stage.budgets
            memory = max(self.short, key=lambda m: self.short[m] - budgets.get(m, 0), default="")
            return Shortfall(self.short.get(memory, 0), memory, budgets.get(memory, 0))
        return self._found(best)

    def _best_of(self, rows: Array, inside: Floats, tie: Floats) -> Floats:
        from . import stage_kernel as kernel

        best = np.full(kernel.B_WORDS, inf)
        if self.least < inf:
            rows = rows[np.lexsort((rows, tie[rows]))]
            kernel.pick(self.choices, self.room, rows, inside, tie, self.least, self.stage.equal, best)
        return best

    def _settle_best(self) -> None:
        """Settle the insides of the most promising tilings until no bound of another is better than what there is.

        The bounds are those of the joint cuts. Half of the tilings that may be settled are the first in the order of
        their bounds, of equal ones that with the least tie; the others those of the least tie among them that may be
        as good as the best.
        """
        from . import stage_kernel as kernel

        stage = self.stage
        order = self.rows[np.argsort(self.bound.value[self.rows], kind="stable")]
        seen = 0
        value, tie = np.full(len(order), inf), np.full(len(order), inf)
        left = np.ones(len(order), np.bool_)

        def look(limit: float) -> None:
            """Find the bounds of the joint cuts as far as they can lie below a limit."""
            nonlocal seen
            end = int(np.searchsorted(self.bound.value[order], limit, side="right"))
            if end > seen:
                part = slice(seen, end)
                kernel.least_of(
                    self.choices, self.room, order[part], self.inside, stage.equal, value[part], tie[part]
                )  # fmt: skip
                seen = end

        def ranked() -> list[int]:
            """What is left of these, the most promising last."""
            able = np.flatnonzero(left & (value < inf))
            grade = np.round(np.log(np.maximum(value[able], TINY)) / GRADE[stage.aim.objective])
            return [int(i) for i in able[np.lexsort((able, tie[able], grade))][::-1]]

        size = FIRST_BLOCK

        def by_bound(nodes: int) -> None:
            nonlocal size
            able = ranked()
            while True:
                most = value[able[-1]] if able else inf
                ahead = self.bound.value[order[seen]] if seen < len(order) else inf
                if ahead < inf and ahead <= min(most * stage.equal, self.least / stage.equal):
                    look(self.bound.value[order[min(seen + size, len(order)) - 1]])
                    size, able = BLOCK, ranked()
                    continue
                if not able or most * stage.equal >= self.least or len(self.asked) >= nodes:
                    return
                at = able.pop()
                left[at] = False
                self._settle(int(order[at]))

        by_bound(stage.nodes // 2)
        look(self.least * stage.equal)
        for _ in range(stage.nodes - len(self.asked)):
            best = self._best_of(np.array(list(self.nests), np.int64), self.settled, self.tie)
            as_good = left & (value <= self.least * stage.equal) & (tie < best[kernel.B_TIE])
            able = [int(i) for i in np.flatnonzero(as_good)]
            if not able:
                break
            at = min(able, key=lambda i: (tie[i], value[i], i))
            left[at] = False
            self._settle(int(order[at]))
        by_bound(stage.nodes)
        self.complete &= not bool((left & (value * stage.equal < self.least)).any())

    def _settle(self, row: int) -> None:
        """Settle what is inside the tiles of a row."""
        from . import stage_kernel as kernel

        kind, at = divmod(row, self.choices.table.shape[2])
        tile = {r: int(t[at]) for r, t in self.tile.items()}
        whole = {r: np.full(1, n, np.int64) for r, n in self.extents.items()}
        single = {r: np.full(1, t, np.int64) for r, t in tile.items()}
        longest = self.stage.lasting(kind, whole, single, self.lasts)
        lasts = {way: int(n[0]) for way, n in longest.items() if n[0] > 1}
        asked = *self.extents.values(), self.sums, *tile.values(), *sorted(lasts.items())
        self.asked.add(asked)
        known = self.stage.insides
        if asked not in known:
            parts = prod(-(-self.extents[r] // t) for r, t in tile.items() if r in self.stage.reduced)
            found = self.stage.inner.settle({**self.extents, **tile}, self.sums * parts, lasts)
            if not isinstance(found, Shortfall):
                loops = [r for r, t in tile.items() if t < self.extents[r]]
                found = replace(found, levels=tuple(self._brought(found.levels, kind, loops)))
                times = np.full(1, self.sums, np.int64)
                known[asked] = found, self.stage.inside(whole, single, times, found, longest)
            else:
                known[asked] = found
        inside = known[asked]
        if isinstance(inside, Shortfall):
            self.short[inside.memory] = min(self.short.get(inside.memory, inside.needed), inside.needed)
            return
        inner, work = inside
        self.complete &= inner.complete
        self.nests[row] = inner, work
        behind = self.stage.behind(inner.levels, whole, single, longest)
        for i, amount in enumerate((work.cycles, work.joules, work.edge, *behind)):
            self.settled[i, row] = amount.item()
        value, tie = np.empty(1), np.empty(1)
        rows = np.array([row])
        kernel.least_of(self.choices, self.room, rows, self.settled, self.stage.equal, value, tie)
        self.least, self.tie[row] = min(self.least, float(value[0])), tie[0]

    def _found(self, best: Floats) -> Found:
        from . import stage_kernel as kernel

        choice, number = int(best[kernel.B_ROW]), int(best[kernel.B_CUTS])
        row = choice % self.choices.table.shape[2]
        cuts, order = self.stage.cuts[number], self.stage.orders[number]
        size = {r: int(t[row]) for r, t in self.tile.items()}
        loops = tuple((r, size[r]) for r in order if size[r] < self.extents[r])
        costs = [table[cut] for table, cut in zip(self.tables, cuts, strict=True)]
        names = [hop.key for hop in self.stage.hops]
        level = Level(
            loops,
            {n: sum(r in cut.ranks for r, _ in loops) for n, cut in zip(names, cuts, strict=True)},
            {n: int(cost.buffers[row]) for n, cost in zip(names, costs, strict=True)},
            {n: int(cost.tile[row]) for n, cost in zip(names, costs, strict=True)},
            frozenset(n for n, cut in zip(names, cuts, strict=True) if cut.slides in dict(loops)),
        )
        inner, inside = self.nests.get(choice, (None, None))
        if inside is None:
            inside = Work(*(x[choice : choice + 1] for x in self.inside[: kernel.BEHIND]))
        rest = inner or Nest()
        settled = self.inside if inner is None else self.settled
        behind = [settled[kernel.BEHIND + i, choice : choice + 1] for i in range(len(costs))]
        work = self.stage.around([_row(c, row) for c in costs], inside, behind)
        held = dict.fromkeys(self.stage.budgets, 0)
        for hop, cost in zip(self.stage.hops, costs, strict=True):
            held[hop.memory] += int(cost.held[row])
        parts = prod(-(-self.extents[r] // n) for r, n in size.items() if r in self.stage.reduced)
        # Of sums in parts a unit's cycles are estimated, and further in they are more than a unit's.
        computing = float(inside.cycles[0]) if self.stage.inner.exact and parts == 1 else 0.0
        return Found(
            float(best[kernel.B_VALUE]),
            float(best[kernel.B_TIE]),
            int(best[kernel.B_TRAFFIC]),
            Nest((level, *rest.levels), rest.layout, self.complete),
            work,
            held,
            self.stage.moved(costs, row),
            computing,
        )

    def _brought(self, levels: Sequence[Level], kind: int, loops: Sequence[str]) -> Iterator[Level]:
        """Levels farther in, whose tiles that are those of this level are brought outside of its loops that do not
        change them."""
        still = {h.key: s for h, s in zip(self.stage.further, self.stage.table.still[kind], strict=True)}
        between = 0
        for level in levels:
            outside = {way: sum(r in still[way] for r in loops) for way in level.depth}
            depth = {way: d - outside[way] if d == -between else d for way, d in level.depth.items()}
            yield replace(level, depth=depth)
            between += len(level.loops)


def _row(cost: HopCost, row: int) -> HopCost:
    return type(cost)(*(getattr(cost, f)[row : row + 1] for f in cost.__dataclass_fields__))
