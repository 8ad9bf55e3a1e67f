"""For one order: what is kept, at the least cost, and addresses for it.

The gap model (`gap_model`) is solved without addresses; where few tensors wait side by side and it is left open, or no
addresses are asked for, by a shortest path through all that may be kept (`states`). There, within a limit of time, what
is kept and where is decided at once (`zone_search`): with few layouts, and once other plans are known, with more.
Otherwise what is kept is packed. Where that has none, a plan with addresses is made window by window (`rolling`); where
that is far from what the gap model says, from residency that leaves memory free around the steps without addresses
(`spared`), and by beams over layouts that race (`racing`), guided by what a byte is worth at each step (`prices`). If
that is not enough, dropped gaps are kept again and what is in their way moves (`reinsertion`). Windows of steps are
then decided anew (`windows`), until they cost what the gap model said. In short orders what is left is closed by rows
which say that the kept gaps around the crowded steps cannot all be kept, and solving again.

Where tensors may be copied within the memory, all that the gap model keeps has addresses (`copying`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf

from ...errors import BadInput
from .arrangement import Along, Arrangement, arranged, crowded, nodes_for, stretches
from .copying import copied
from .gap_model import BYTES, Cost, Model
from .layout import WIDTH, laid_out
from .lives import Lives
from .plan import Plan, PlanClaim
from .prices import prices
from .problem import GraphProblem
from .racing import EFFORT, raced
from .racing import WIDTH as RACING
from .reinsertion import reinserted
from .rolling import rolled
from .solver import DEFAULT, NO_SOLVER, Solution, SolverOptions
from .spared import spared
from .states import States, states_of
from .windows import TOLERANCE, Settings, improved
from .zone_search import FEW as NARROW_LAYOUTS
from .zone_search import MANY as MANY_LAYOUTS
from .zone_search import WIDTH as WIDEST
from .zone_search import Search

__all__ = ["BYTES", "Cost", "best_residency"]

ROUNDS = 50
"""Programs that are solved, one after the other, until what they keep has addresses."""
FEW = 300
"""Steps up to which that is done, and memory left free where addresses are wanting; beyond, each takes too long."""
AT_ONCE = 2000
"""Nodes of the exact search for all addresses of more steps than that; window by window it takes less."""
SHARE, BARE = 0.3, 0.5
"""Of a limit of time that the program without addresses may take, where addresses are to be found and where not."""
STATES = 0.2
"""Of a limit of time that looking for all states may take."""
LAYOUTS, BETTERED = 0.25, 0.3
"""Of what is left, few layouts of all states; windows decided anew behind that."""
SECOND = 0.15
"""Of what is left, windows without addresses, where addresses are to be found."""
NARROW = 8
"""States of a first beam, at least."""
SHORTEST = "shortest path"
"""The solver of orders in which few tensors wait side by side."""
GRACE = 0.5
"""Seconds for addresses after Ctrl-C."""
AMPLE = 10.0
"""Seconds without which a first plan is not followed by others."""
MANY = 50
"""Tensors side by side beyond which no exact search looks for addresses, neither of all nor of windows."""
CROWD, ROOM = 1_000_000, 30_000_000
"""Steps times tensors side by side: beyond, not all is packed at once; the same times states of a first beam."""
ROLLING = 0.2
"""Share of what is left of a limit of time that a plan window by window may take."""
CLOSE = 1.05
"""Times the bound that a plan costs where deciding windows anew will do."""
SPARING = 0.5
"""Share of what is left of a limit of time that residency with memory free where it needs it may take, otherwise."""
EASY = 1.15
"""Times the bound that a plan costs where there is no need of beams; one window by window is not ended beyond."""
RACE = 0.6
"""Share of what is left of a limit of time that beams may take."""
PRICED = 0.97
"""Share of the memory at which prices are taken: what addresses leave of it is not known."""


def best_residency(
    problem: GraphProblem,
    order: Sequence[int],
    capacity: int,
    *,
    costs: Sequence[Cost] = (BYTES,),
    options: SolverOptions = DEFAULT,
    addresses: bool = True,
    copies: bool = False,
) -> Plan:
    """The plan that costs least in an order.

    Args:
        problem: what is scheduled.
        order: indices of its operators.
        capacity: bytes of the memory.
        costs: what is minimised: the first, of all plans that cost least the second, and so on.
        options: of the solver, nodes per program; its seconds are for all of it.
        addresses: find addresses; else the memory is taken to have no fragmentation.
        copies: between two steps tensors may be copied to other addresses. Costs come first, whatever copies cost; of
            the plans that the first program finds, one with few bytes copied is looked for.

    Returns:
        The plan; its claim says whether it is the best in this order, and the bound if not. Where a limit or Ctrl-C
        stops the search the plan is the best one found.

    Raises:
        DoesNotFit: an operator needs more than the memory has.
        BadInput: copies without addresses.
    """
    started = time.perf_counter()
    if copies and not addresses:
        raise BadInput("copies within the memory are between addresses, which are not asked for")
    lives = Lives(problem, order)
    search = _Search(lives, capacity, costs, options, started, addresses)
    found = search.with_copies() if copies else search.run()
    value, bound = found.arrangement.value, found.bound
    proven = value <= bound + TOLERANCE * max(1.0, value) and not found.loose
    bound = value if proven else min(value, bound)
    claim = PlanClaim(
        costs[0].name, value, bound, (value - bound) / value if value else 0.0, proven, found.solver, options.seed,
        time.perf_counter() - started, "order", found.interrupted,
    )  # fmt: skip
    return replace(found.arrangement.plan(), claim=claim)


@dataclass(frozen=True)
class _Found:
    """`loose`: a cost after the first may not be least. `proven`: without addresses it is the best."""

    arrangement: Arrangement
    bound: float
    solver: str
    interrupted: bool
    loose: bool
    proven: bool = False


class _Search:
    def __init__(
        self, lives: Lives, capacity: int, costs: Sequence[Cost], options: SolverOptions, started: float, packed: bool
    ) -> None:
        self.lives, self.capacity, self.costs, self.options, self.packed = lives, capacity, costs, options, packed
        self.along = Along(lives, capacity, costs[0])
        self.started = started
        self.side = max(map(len, self.along.rows), default=0)
        """Tensors side by side, at most, if all were kept."""
        self.crowd = self.side * len(lives.operators)
        self.width = max(NARROW, min(WIDTH, ROOM // max(1, self.crowd)))
        """Of a first beam."""
        self.states: States | None = None
        """Where there are few."""
        self.there: list[Arrangement] = []
        """Plans with addresses so far."""
        self.ends = started + options.seconds if options.seconds is not None else inf

    def run(self) -> _Found:
        model = Model.of(self.lives, self.capacity)
        together = self._together(model) if self.packed and self.ends != inf else None
        if together is not None:
            return together
        share, second = (SHARE, SECOND) if self.packed else (BARE, 1.0)
        bare = self._bare(model, share, second)
        dropped, bound, solver, loose = bare.arrangement.dropped, bare.bound, bare.solver, bare.loose
        if bare.interrupted:
            return self._hasty(dropped, bound, solver, loose=loose)
        settings = Settings(self.packed, self.options, self.ends, bound)
        try:
            whole, final = self._whole(dropped)
            if whole is not None:
                return _Found(whole, bound, solver, False, loose)
            best = self._first(dropped, settings)
        except KeyboardInterrupt:
            return self._hasty(dropped, bound, solver, loose=loose)
        stopped = False
        if best.value > CLOSE * bound or self.side > MANY:
            best, stopped = reinserted(best, settings)
        if not stopped and self.side <= MANY:
            best, stopped = improved(best, settings)
        if not stopped and bare.proven and len(self.lives.operators) <= FEW:
            try:
                best, bound, loose = self._with_cuts(model, dropped, final, best, bound)
            except KeyboardInterrupt:
                stopped = True
        elif len(self.costs) > 1:
            loose = True
        return _Found(best, bound, solver, stopped, loose)

    def _together(self, model: Model) -> _Found | None:
        """What is kept and addresses decided at once, with few layouts; if that is not proven, with more at the end.

        None where there are too many states, or an operator has too many tensors.
        """
        dropped, bound = set[int](), 0.0
        try:
            path = self._shortest
            if path is None or self.states is None:
                return None
            dropped, bound = path.arrangement.dropped, path.bound
            search = Search(self.states, inf, time.perf_counter() + LAYOUTS * self._left, WIDEST)
            if not search.zones.fits:
                return None
            search.look(NARROW_LAYOUTS)
            self._keep(search.best)
            if not search.over or not self.there:
                self._otherwise(dropped, search)
                search.beat(min(a.value for a in self.there))
                search.zones.ends = self.ends
                search.look(MANY_LAYOUTS if search.best is not None else (*NARROW_LAYOUTS, *MANY_LAYOUTS))
                search.look_ahead()
                self._keep(search.best)
            return replace(path, arrangement=min(self.there, key=lambda a: a.value), bound=search.bound)
        except KeyboardInterrupt:
            dropped = dropped or model.one_by_one()
            return self._hasty(dropped, bound, SHORTEST, loose=False)

    def _otherwise(self, dropped: set[int], search: Search) -> None:
        """Plans found by other means, where the search has none or a bad one; and the best of all bettered."""
        settings = Settings(True, self.options, self.ends, search.bound)
        if not self._within(CLOSE * search.bound):
            whole, _ = self._whole(dropped)
            self._keep(whole)
            if whole is None:
                self._first(dropped, settings)
        better, stopped = min(self.there, key=lambda a: a.value), False
        if better.value > CLOSE * search.bound:
            better, stopped = reinserted(better, settings)
            self._keep(better)
        if not stopped:
            soon = replace(settings, ends=time.perf_counter() + BETTERED * self._left)
            better, stopped = improved(better, soon)
            self._keep(better)
        if stopped:
            raise KeyboardInterrupt

    def with_copies(self) -> _Found:
        """What costs least without addresses, with copies where these are wanting."""
        bare = self._bare(Model.of(self.lives, self.capacity), BARE, BARE)
        dropped = bare.arrangement.dropped
        if bare.interrupted:
            return replace(bare, arrangement=copied(self.along, dropped, width=1))
        try:
            whole, _ = self._whole(dropped)
            return replace(bare, arrangement=whole or copied(self.along, dropped, ends=self.ends))
        except KeyboardInterrupt:
            return replace(bare, arrangement=copied(self.along, dropped, width=1), interrupted=True)

    def _bare(self, model: Model, share: float, second: float) -> _Found:
        """What costs least without addresses: in a share of the time left, and in a second if that is not proven."""
        loose = len(self.costs) > 1
        try:
            path = self._shortest
            if path is not None and not self.packed:
                return path
            dropped, solutions = self._solved(model, share)
        except KeyboardInterrupt:  # between programs
            return _Found(Arrangement(self.along, model.one_by_one()), 0.0, NO_SOLVER, True, loose)
        bound, solver = solutions[0].bound, solutions[0].solver
        stopped = any(s.interrupted for s in solutions)
        proven = all(s.proven for s in solutions)
        found = _Found(Arrangement(self.along, dropped), bound, solver, stopped, loose and not proven, proven)
        if proven or stopped:  # of plans as good as each other, addresses are looked for in the solver's
            return found
        if path is not None:
            return path
        ends = time.perf_counter() + second * self._left
        better, stopped = improved(found.arrangement, Settings(False, self.options, ends, bound))
        return replace(found, arrangement=better, interrupted=stopped)

    @cached_property
    def _shortest(self) -> _Found | None:
        """The same by a shortest path through all states, where it is left open what solves it and there are few."""
        if self.options.name != "auto" or len(self.costs) > 1 or len(self.lives.operators) <= FEW:
            return None
        self.states = states = states_of(self.along, ends=self.started + STATES * (self.ends - self.started))
        if states is None:
            return None
        found = Arrangement(self.along, states.dropped())
        return _Found(found, found.value, SHORTEST, False, False, True)

    def _whole(self, dropped: set[int]) -> tuple[Arrangement | None, bool]:
        """What is kept, with addresses if they are asked for, or None where there were none; and if that is final."""
        if not self.packed:
            return Arrangement(self.along, dropped), True
        if len(self.lives.operators) <= FEW:
            return arranged(self.along, dropped)
        if self.crowd > CROWD:
            return None, False
        return arranged(self.along, dropped, nodes=AT_ONCE if self.side <= MANY else 0)

    def _hasty(self, dropped: set[int], bound: float, solver: str, *, loose: bool) -> _Found:
        """What is there once Ctrl-C was pressed: addresses are found as fast as they can be."""
        if not self.packed:
            return _Found(Arrangement(self.along, dropped), bound, solver, True, loose)
        laid = None if self.there else laid_out(self.along, dropped, width=self.width)
        there = [*self.there, *([laid] if laid is not None else [])]
        soon = Settings(True, self.options, time.perf_counter() + GRACE, bound)
        found = min(there, key=lambda a: a.value) if there else rolled(self.along, dropped, soon)
        assert found is not None  # `rolled` ends early only where it is given a limit
        return _Found(found, bound, solver, True, loose)

    def _first(self, dropped: set[int], settings: Settings) -> Arrangement:
        """The best of some plans with addresses: from what is kept, and from what memory is worth."""
        started = time.perf_counter()
        self._keep(laid_out(self.along, dropped, width=self.width))
        hasty = time.perf_counter() - started
        soon = replace(settings, ends=time.perf_counter() + ROLLING * self._left) if self.ends != inf else settings
        few = len(self.lives.operators) <= FEW
        if not self.there or few or self.side <= MANY:
            most = inf if few or not self.there else EASY * settings.enough  # beams find better than that
            self._keep(rolled(self.along, dropped, soon, most=most))
        if self._left < AMPLE or self._within(CLOSE * settings.enough):
            return min(self.there, key=lambda a: a.value)
        if few:
            soon = replace(settings, ends=time.perf_counter() + SPARING * self._left) if self.ends != inf else settings
            self.there.extend(spared(self.along, soon))
        if self._left < AMPLE or self._within(EASY * settings.enough):
            return min(self.there, key=lambda a: a.value)
        worth, ends = prices(self.along, PRICED * self.capacity), time.perf_counter() + RACE * self._left
        self._keep(raced(self.along, worth, width=self._width(hasty), ends=ends))
        return min(self.there, key=lambda a: a.value)

    def _width(self, hasty: float) -> int:
        """States for which there is time, where one beam of few took so many seconds."""
        if self.ends == inf:
            return RACING
        return max(self.width, min(RACING, int(self.width * RACE * self._left / (EFFORT * max(hasty, 1e-3)))))

    def _within(self, value: float) -> bool:
        return any(a.value <= value for a in self.there)

    def _keep(self, found: Arrangement | None) -> None:
        if found is not None:
            self.there.append(found)

    @property
    def _left(self) -> float:
        return max(0.1, self.ends - time.perf_counter())

    def _solved(self, model: Model, share: float = 1.0) -> tuple[set[int], list[Solution]]:
        if self.ends == inf:
            return model.dropped(self.costs, self.options)
        return model.dropped(self.costs, replace(self.options, seconds=share * self._left))

    def _with_cuts(
        self, model: Model, dropped: set[int], final: bool, best: Arrangement, bound: float
    ) -> tuple[Arrangement, float, bool]:
        """The best plan and bound once what has no addresses is excluded, and whether later costs may not be least."""
        one = len(self.costs) == 1
        for _ in range(ROUNDS):
            if (one and best.value <= bound + TOLERANCE * max(1.0, bound)) or time.perf_counter() > self.ends:
                break
            cut = self._cut(dropped) if final else ()
            if not cut:
                break
            model.cuts.append(cut)
            dropped, solutions = self._solved(model)
            if not all(s.proven for s in solutions):
                break
            bound = max(bound, solutions[0].bound)
            whole, final = arranged(self.along, dropped)
            if whole is not None:
                return whole, bound, False
        return best, bound, not one

    def _cut(self, dropped: set[int]) -> tuple[int, ...]:
        """Gaps that cannot all be kept: those in the fewest steps whose residences have no addresses."""
        steps, gaps = len(self.lives.operators), self.lives.gaps
        found = stretches(Arrangement(self.along, dropped), dropped, 0, steps)
        first, end = crowded(found, self.capacity, 0, steps, nodes=nodes_for(len(found)))
        return tuple(i for i, g in enumerate(gaps) if i not in dropped and g.first < end and first <= g.last)
