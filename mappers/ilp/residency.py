"""The gap model: for one order, which gaps are dropped, at the least cost; then addresses for what is kept.

One variable per gap (dropped or not), one per content that may have to be written back, one row per step: the gaps over
it that are dropped must free what the step lacks. Sizes are divided by their greatest common divisor, no coefficient is
larger than what a row lacks, and rows that another row implies are left out. Addresses are found apart; where there are
none, a row says that the kept gaps around the crowded steps cannot all be kept, and the program is solved again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import gcd, inf

from .lives import Lives
from .packing import Buffer, pack
from .plan import Plan, PlanClaim, build_plan, placed
from .problem import GraphProblem
from .solver import DEFAULT, NO_SOLVER, Program, Solution, SolverOptions, solve

ROUNDS = 50
"""Programs that are solved, one after the other, until what they keep has addresses."""
SLACKS = (1, 2, 3, 5, 8, 12, 20, 30, 50)
"""Percent of the memory that is given up for addresses where that fails."""
PACKING_NODES = 200_000
"""Nodes of the exact search for addresses, each time; fewer for many buffers, whose nodes take longer."""
PACKING_WORK = 10_000_000
"""Nodes times buffers of that search, each time, if that is not fewer than three nodes for each."""
GIVEN_BACK = 16
"""Times that some of the memory that was given up is given back to a stretch of steps."""


@dataclass(frozen=True)
class Cost:
    """What a byte costs that is loaded or stored: bytes, cycles, joules, or a weighted sum of them."""

    name: str = "bytes"
    load: float = 1.0
    store: float = 1.0


BYTES = Cost()


@dataclass
class Model:
    """The integer program of one order, with the variables that stand for gaps and write-backs."""

    lives: Lives
    lacks: list[tuple[frozenset[int], int]]
    """Rows: gaps of which so many bytes must be dropped."""
    cuts: list[tuple[int, ...]] = field(default_factory=list)
    """Gaps that cannot all be kept, for want of addresses."""

    @classmethod
    def of(cls, lives: Lives, capacity: int, given_up: Sequence[int] = ()) -> Model:
        """With less than the capacity at steps where some of it is given up. Raises DoesNotFit."""
        lives.check_fits(capacity)
        rows: list[tuple[frozenset[int], int]] = []
        for step, (gaps, needed) in enumerate(zip(lives.rows(), lives.base(), strict=True)):
            room = max(needed, capacity - given_up[step]) if given_up else capacity
            lack = needed + sum(lives.gaps[i].nbytes for i in gaps) - room
            if lack > 0:
                rows.append((frozenset(gaps), lack))
        return cls(lives, _merged(rows))

    def dropped(self, costs: Sequence[Cost], options: SolverOptions) -> tuple[set[int], list[Solution]]:
        """The gaps to drop, by one cost after the other, each held while the next is minimised.

        Gaps that share no row, cut or content are decided apart, and equal parts once: where the memory is not short
        throughout, a large program falls into many small ones.
        """
        found: set[int] = set()
        total = Solution((), 0.0, 0.0, True, NO_SOLVER, 0.0)
        totals = [total] * len(costs)
        known: dict[object, tuple[list[int], list[Solution]]] = {}
        ends = None if options.seconds is None else time.perf_counter() + options.seconds
        for part in self._parts():
            names = part.names
            key = part.shape(names)
            if key not in known:
                left = options if ends is None else replace(options, seconds=max(0.0, ends - time.perf_counter()))
                gone, solutions = part._dropped(names, costs, left)
                known[key] = [k for k, i in enumerate(names) if i in gone], solutions
            places, solutions = known[key]
            found.update(names[k] for k in places)
            totals = [_together(t, s) for t, s in zip(totals, solutions, strict=False)]
            if totals[0].interrupted:
                found.update(i for rest in self._parts() for i in rest.names if i > names[-1])
                break
        return found, totals

    @property
    def names(self) -> list[int]:
        """Gaps that some row or cut speaks of."""
        return sorted({i for gaps, _ in self.lacks for i in gaps} | {i for cut in self.cuts for i in cut})

    def shape(self, names: Sequence[int]) -> object:
        """What of a part matters to its solution."""
        place = {i: k for k, i in enumerate(names)}
        epochs: dict[int, int] = {}
        gaps = [(g.nbytes, epochs.setdefault(g.epoch, len(epochs)), self.lives.epochs[g.epoch].stored)
                for g in (self.lives.gaps[i] for i in names)]  # fmt: skip
        rows = [(tuple(sorted(place[i] for i in members)), lack) for members, lack in self.lacks]
        return tuple(gaps), tuple(rows), tuple(tuple(place[i] for i in cut) for cut in self.cuts)

    def _parts(self) -> list[Model]:
        """Models that have no gap, and no gap's content, in common."""
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
        for gaps, lack in self.lacks:
            if gaps:
                parts.setdefault(find(next(iter(gaps))), Model(self.lives, [])).lacks.append((gaps, lack))
        for cut in self.cuts:
            parts.setdefault(find(cut[0]), Model(self.lives, [])).cuts.append(cut)
        return sorted(parts.values(), key=lambda part: part.names[0])

    def _dropped(
        self, names: Sequence[int], costs: Sequence[Cost], options: SolverOptions
    ) -> tuple[set[int], list[Solution]]:
        held: list[tuple[dict[int, float], float]] = []
        solutions: list[Solution] = []
        chosen = dict.fromkeys(names, 1)
        for cost in costs:
            program, variable = self._program(names, cost)
            for terms, limit in held:
                program.row(terms, limit)
            found = solve(program, options)
            solutions.append(found)
            if found.chosen is None:
                break
            chosen = {i: found.chosen[variable[i]] for i in names}
            # What a solver calls equal may differ in its last digit.
            held.append(({v: c for v, c in enumerate(program.cost) if c}, found.value * (1 + 1e-9) + 1e-6))
            if found.interrupted:
                break
        return {i for i, x in chosen.items() if x}, solutions

    def _program(self, names: Sequence[int], cost: Cost) -> tuple[Program, dict[int, int]]:
        gaps, epochs = self.lives.gaps, self.lives.epochs
        program = Program()
        of_epoch: dict[int, list[int]] = {}
        for i in names:
            of_epoch.setdefault(gaps[i].epoch, []).append(i)
        alone = {e for e, members in of_epoch.items() if len(members) == 1 or epochs[e].stored}
        variable = {}
        for i in names:
            gap = gaps[i]
            stored = cost.store if gap.epoch in alone and not epochs[gap.epoch].stored else 0.0
            variable[i] = program.variable(gap.nbytes * (cost.load + stored))
        for e, members in of_epoch.items():
            if e not in alone:
                back = program.variable(epochs[e].nbytes * cost.store)
                for i in members:
                    program.row({variable[i]: 1.0, back: -1.0}, 0.0)
        unit = gcd(*(gaps[i].nbytes for i in names)) if names else 1
        for members_of_row, lack in self.lacks:
            least = -(-lack // (unit or 1))
            terms = {variable[i]: -float(min(gaps[i].nbytes // (unit or 1), least)) for i in sorted(members_of_row)}
            program.row(terms, -float(least))
        for cut in self.cuts:
            program.row({variable[i]: -1.0 for i in cut}, -1.0)
        return program, variable


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


def _merged(rows: Sequence[tuple[frozenset[int], int]]) -> list[tuple[frozenset[int], int]]:
    """Rows that no other implies: one implies another that has at least its gaps and lacks no more."""
    kept: list[tuple[frozenset[int], int]] = []
    for gaps, lack in rows:
        near = kept[-NEIGHBOURS:]
        if any(other <= gaps and least >= lack for other, least in near):
            continue
        kept[-NEIGHBOURS:] = [row for row in near if not (gaps <= row[0] and lack >= row[1])]
        kept.append((gaps, lack))
    return kept


def best_residency(
    problem: GraphProblem,
    order: Sequence[int],
    capacity: int,
    *,
    costs: Sequence[Cost] = (BYTES,),
    options: SolverOptions = DEFAULT,
    addresses: bool = True,
) -> Plan:
    """The plan that costs least in an order.

    Args:
        problem: what is scheduled.
        order: indices of its operators.
        capacity: bytes of the memory.
        costs: what is minimised: the first, of all plans that cost least the second, and so on.
        options: of the solver, per program; when their time is over, addresses are not looked for at length either.
        addresses: find addresses; else the memory is taken to have no fragmentation.

    Returns:
        The plan; its claim says whether it is the best in this order, and the bound if not. Where a limit stops the
        solver the plan is the best one found, at worst the one that keeps nothing.

    Raises:
        DoesNotFit: an operator needs more than the memory has.
    """
    started = time.perf_counter()
    ends = started + options.seconds if options.seconds is not None else inf
    lives = Lives(problem, order)
    model = Model.of(lives, capacity)
    bound = 0.0
    proven = True
    for round_number in range(ROUNDS):
        dropped, solutions = model.dropped(costs, options)
        if proven:
            bound = max(bound, solutions[0].bound)
        solver = solutions[0].solver
        stopped = any(s.interrupted or not s.proven for s in solutions)
        plan = build_plan(lives, dropped, capacity)
        packed = _packed(lives, plan) if addresses else plan
        if isinstance(packed, Plan):
            plan = packed
            break
        cut = _cut(lives, dropped, packed, capacity)
        if not cut or stopped or round_number == ROUNDS - 1 or time.perf_counter() > ends:
            proven = False
            plan, _ = _with_slack(lives, capacity, costs, options, ends)
            break
        model.cuts.append(cut)
    value = _value(lives, plan, costs[0])
    proven = proven and not stopped
    bound = value if proven else min(value, bound)
    claim = PlanClaim(
        costs[0].name, value, bound, (value - bound) / value if value else 0.0, proven, solver, options.seed,
        time.perf_counter() - started, "order",
    )  # fmt: skip
    return replace(plan, claim=claim)


def _value(lives: Lives, plan: Plan, cost: Cost) -> float:
    """What a plan's non-compulsory traffic costs."""
    size = lives.problem.tensors
    loads = sum(size[r.tensor].nbytes for r in plan.residences if r.load and not _compulsory(lives, r.tensor, r.first))
    stored = {(e.tensor, e.step) for e in lives.epochs if e.stored}
    stores = sum(size[s.tensor].nbytes for s in plan.stores if (s.tensor, s.step) not in stored)
    return loads * cost.load + stores * cost.store


def _compulsory(lives: Lives, tensor: str, step: int) -> bool:
    return lives.problem.tensors[tensor].source and lives.touches[tensor][0] == step


# -- addresses -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Crowded:
    """Residences that have no addresses together."""

    buffers: tuple[Buffer, ...]
    complete: bool


def _packed(lives: Lives, plan: Plan, *, quick: bool = False) -> Plan | _Crowded:
    """The plan with addresses, or what has none; ``quick`` is first fit alone."""
    buffers, holds = _buffers(lives, plan)
    found = pack(buffers, plan.capacity, nodes=0 if quick else _nodes(buffers))
    if found.addresses is None:
        return _Crowded(tuple(buffers), found.complete)
    addresses = {r: found.addresses[b.name] for b in buffers for r in holds[b.name]}
    return placed(plan, {i: addresses.get(i, 0) for i in range(len(plan.residences))})


def _buffers(lives: Lives, plan: Plan) -> tuple[list[Buffer], dict[str, list[int]]]:
    """Residences as buffers to pack, those in each other's place as one; and the residences of each."""
    starts = {(r.tensor, r.first): i for i, r in enumerate(plan.residences)}
    ends = {(r.tensor, r.last): i for i, r in enumerate(plan.residences)}
    follows: dict[int, int] = {}
    for (step, old), (new, _) in lives.in_place.items():
        if (old, step) in ends:
            follows[starts[new, step]] = ends[old, step]
    holds: dict[str, list[int]] = {}
    for i, residence in enumerate(plan.residences):
        root = i
        while root in follows:
            root = follows[root]
        if lives.problem.tensors[residence.tensor].nbytes:
            holds.setdefault(str(root), []).append(i)
    buffers = []
    for name, members in holds.items():
        parts = [plan.residences[i] for i in members]
        size = lives.problem.tensors[parts[0].tensor].nbytes
        buffers.append(Buffer(name, min(p.first for p in parts), max(p.last for p in parts) + 1, size))
    return buffers, holds


def _cut(lives: Lives, dropped: set[int], crowded: _Crowded, capacity: int) -> tuple[int, ...]:
    """Gaps that cannot all be kept: those in the fewest steps whose buffers have no addresses; empty if unproven."""
    if not crowded.complete:
        return ()

    def fails(first: int, end: int) -> bool:
        inside = [
            replace(b, lower=max(b.lower, first), upper=min(b.upper, end))
            for b in crowded.buffers
            if b.lower < end and first < b.upper
        ]
        found = pack(inside, capacity, nodes=_nodes(inside))
        return found.addresses is None and found.complete

    first, end = 0, len(lives.operators)
    low, high = 1, end
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fails(first, middle) else (middle + 1, high)
    end = high
    low, high = 0, end - 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fails(middle, end) else (low, middle - 1)
    return _kept_in(lives, dropped, low, end)


def _kept_in(lives: Lives, dropped: set[int], first: int, end: int) -> tuple[int, ...]:
    """Gaps that are kept at some step from `first` to before `end`, those between steps that follow each other too."""
    return tuple(i for i, g in enumerate(lives.gaps) if i not in dropped and g.first < end and first <= g.last)


def _nodes(buffers: Sequence[Buffer]) -> int:
    return min(PACKING_NODES, max(3 * len(buffers), PACKING_WORK // max(1, len(buffers))))


def _with_slack(
    lives: Lives, capacity: int, costs: Sequence[Cost], options: SolverOptions, ends: float
) -> tuple[Plan, list[Solution]]:
    """A plan that has addresses because the model was given a smaller memory, as little smaller as works.

    First throughout; then, half of the steps by half of the steps, the memory is given back where that still packs.
    With no gap kept at all, tensors have addresses step by step. When it `ends`, first fit has to do, and nothing is
    given back.
    """
    steps = len(lives.operators)
    for percent in SLACKS:
        given_up = [capacity * percent // 100] * steps
        quick = time.perf_counter() > ends
        found = _packed_with(lives, capacity, given_up, costs, options, quick=quick)
        if found is not None:
            break
    if found is None:
        packed = _packed(lives, build_plan(lives, range(len(lives.gaps)), capacity))
        assert isinstance(packed, Plan)
        return packed, []
    waiting = [(0, steps)]
    for _ in range(GIVEN_BACK):
        if not waiting or time.perf_counter() > ends:
            break
        first, end = waiting.pop(0)
        tried = [0 if first <= step < end else x for step, x in enumerate(given_up)]
        better = _packed_with(lives, capacity, tried, costs, options)
        if better is not None:
            found, given_up = min(better, found, key=lambda f: _value(lives, f[0], costs[0])), tried
        elif end - first > 1:
            middle = (first + end) // 2
            waiting += [(first, middle), (middle, end)]
    return found


def _packed_with(
    lives: Lives,
    capacity: int,
    given_up: Sequence[int],
    costs: Sequence[Cost],
    options: SolverOptions,
    *,
    quick: bool = False,
) -> tuple[Plan, list[Solution]] | None:
    """The best plan with so much less memory at each step, if it has addresses."""
    dropped, solutions = Model.of(lives, capacity, given_up).dropped(costs, options)
    packed = _packed(lives, build_plan(lives, dropped, capacity), quick=quick)
    return (packed, solutions) if isinstance(packed, Plan) else None
