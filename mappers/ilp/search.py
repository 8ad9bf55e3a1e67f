"""The best plan in one order, or over a portfolio of orders, with what is known of the best there can be."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ...errors import BadInput, DoesNotFit
from .beam import beam_orders
from .bound import any_order_bound
from .check import check_plan
from .divide import sections_of
from .lives import Lives
from .orders import NAMED, Order, all_orders, default_order, depth_first, minimum_peak
from .plan import Plan, PlanClaim
from .problem import GraphProblem, check_order
from .residency import BYTES, GRACE, Cost, best_residency
from .solver import DEFAULT, SolverOptions

FREE = "free"
FROM_BEAM = 6
"""Orders of a beam search that the gap model is solved on."""
MOST_ORDERS = 300
"""Orders of a section up to which the gap model is solved on all of them."""
BEST = 12
"""Orders of a section that go into whole ones, for addresses."""


def schedule(
    problem: GraphProblem,
    capacity: int,
    *,
    order: str | Sequence[int] = FREE,
    costs: Sequence[Cost] = (BYTES,),
    options: SolverOptions = DEFAULT,
    addresses: bool = True,
) -> Plan:
    """The plan that costs least.

    Args:
        problem: what is scheduled.
        capacity: bytes of the memory.
        order: ``free``, or ``default``, ``depth_first`` or ``minimum_peak``, or indices of operators.
        costs: what is minimised: the first, of plans that cost the same the second, and so on.
        options: of the solver; nodes per program, and seconds in all.
        addresses: find addresses, else the memory is taken to have no fragmentation.

    Returns:
        The plan, checked by `check_plan`. The bound of its claim holds for its order where that is given, else for any
        order. Ctrl-C and limits of the solver end the search with the best plan so far.

    Raises:
        DoesNotFit: an operator needs more than the memory has; the message names it, its step and what is missing.
        BadInput: an order that is none.
    """
    started = time.perf_counter()
    if not costs:
        raise BadInput("a schedule needs a cost to minimise")
    if order == FREE:
        plan = _free(problem, capacity, costs, options, addresses)
    else:
        plan = best_residency(
            problem, order_of(problem, order), capacity, costs=costs, options=options, addresses=addresses
        )
    check_plan(problem, plan)
    assert plan.claim is not None
    return replace(plan, claim=replace(plan.claim, seconds=time.perf_counter() - started))


def order_of(problem: GraphProblem, order: str | Sequence[int]) -> Order:
    """The order of that name, or the given one. Raises BadInput for one that is none."""
    if isinstance(order, str):
        if order not in NAMED:
            raise BadInput(f"no order '{order}' ({FREE}, {', '.join(NAMED)}, or indices of operators)")
        return NAMED[order](problem)
    check_order(problem, order)
    return tuple(order)


def portfolio(problem: GraphProblem, capacity: int) -> Iterator[Order]:
    """Orders worth trying, each once: simple ones, that of the smallest peak, and those of beam searches."""
    seen: set[Order] = set()
    smallest = minimum_peak(problem).order
    for order in (default_order(problem), smallest, depth_first(problem)):
        if order not in seen:
            seen.add(order)
            yield order
    for reference in (default_order(problem), smallest):
        for order in beam_orders(problem, capacity, reference)[:FROM_BEAM]:
            if order not in seen:
                seen.add(order)
                yield order


@dataclass(frozen=True)
class _Ranking:
    """Orders of a problem, the one that spills least first, and a bound on what any order spills."""

    orders: tuple[Order, ...]
    bound: float
    interrupted: bool


def _free(problem: GraphProblem, capacity: int, costs: Sequence[Cost], options: SolverOptions, addresses: bool) -> Plan:
    """The best plan over the orders that are the best of every section, one section behind the other."""
    clock = _Clock(options)
    Lives(problem, default_order(problem)).check_fits(capacity)
    sections = sections_of(problem)
    known: dict[object, _Ranking] = {}
    rankings: list[_Ranking] = []
    for section in sections:
        shape = section.shape
        if shape not in known:
            stop = any(r.interrupted for r in known.values())
            known[shape] = _ranked(section.problem, capacity, costs, clock, stop=stop)
        rankings.append(known[shape])
    interrupted = any(r.interrupted for r in rankings)
    rest = replace(options, seconds=GRACE) if interrupted else clock.rest()
    plans = []
    for rank in range(max(len(r.orders) for r in rankings)):
        order = [i for s, r in zip(sections, rankings, strict=True) for i in s.order(r.orders[rank % len(r.orders)])]
        plans.append(best_residency(problem, order, capacity, costs=costs, options=rest, addresses=False))
        if interrupted or not addresses:
            break
    best = _addressed(problem, capacity, costs, rest, plans) if addresses else plans[0]
    claim = _claim(best)
    bound = min(sum(r.bound for r in rankings), claim.value)
    gap = (claim.value - bound) / claim.value if claim.value else 0.0
    proven = gap <= 0 and not interrupted
    told = replace(
        claim, bound=bound, gap=gap, proven=proven, bound_holds_for="any order",
        interrupted=interrupted or claim.interrupted,
    )  # fmt: skip
    return replace(best, claim=told)


def _ranked(
    problem: GraphProblem, capacity: int, costs: Sequence[Cost], clock: _Clock, *, stop: bool = False
) -> _Ranking:
    """Orders of a portfolio, and all orders where those are few, by what they spill without addresses."""
    found: dict[Order, tuple[float, int]] = {}
    bound = 0.0
    interrupted = stop

    def tried(order: Order) -> bool:
        """Whether an order is as good as the bound, or it is time to stop."""
        nonlocal interrupted
        plan = best_residency(problem, order, capacity, costs=costs, options=clock.part(), addresses=False)
        found[order] = _claim(plan).value, len(found)
        interrupted = _claim(plan).interrupted
        exact.append(_claim(plan).proven)
        return interrupted or clock.late or min(found.values())[0] <= bound

    exact: list[bool] = []
    try:
        if not stop and not tried(default_order(problem)):
            bound = any_order_bound(problem, capacity, costs[0], clock.part())
            done = any(tried(order) for order in portfolio(problem, capacity) if order not in found)
            every = None if done else all_orders(problem, MOST_ORDERS)
            if every is not None and not any(tried(order) for order in every if order not in found) and all(exact):
                bound = min(found.values())[0]
    except KeyboardInterrupt:
        interrupted = True
    best = sorted(found, key=lambda order: found[order])[:BEST] or [default_order(problem)]
    return _Ranking(tuple(best), bound, interrupted)


class _Clock:
    """Shares out a limit of time: what is left falls by a third with every program, and half is for addresses."""

    def __init__(self, options: SolverOptions) -> None:
        self.options, self.started = options, time.perf_counter()

    @property
    def _left(self) -> float:
        assert self.options.seconds is not None
        return max(0.0, self.options.seconds - (time.perf_counter() - self.started))

    @property
    def late(self) -> bool:
        return self.options.seconds is not None and self._left < self.options.seconds / 2

    def part(self) -> SolverOptions:
        return self.options if self.options.seconds is None else replace(self.options, seconds=self._left / 3)

    def rest(self) -> SolverOptions:
        return self.options if self.options.seconds is None else replace(self.options, seconds=self._left)


def _addressed(
    problem: GraphProblem, capacity: int, costs: Sequence[Cost], options: SolverOptions, plans: Sequence[Plan]
) -> Plan:
    """The cheapest plan with addresses: those that spilled least without them are tried first."""
    numbers = {op.name: i for i, op in enumerate(problem.operators)}
    best: Plan | None = None
    clock = _Clock(options)
    for plan in plans:
        if best is not None and (_claim(plan).bound >= _claim(best).value or clock.late or _claim(best).interrupted):
            break
        order = [numbers[name] for name in plan.order]
        placed = best_residency(problem, order, capacity, costs=costs, options=clock.rest())
        if best is None or _claim(placed).value < _claim(best).value:
            best = placed
    if best is None:
        raise DoesNotFit(f"graph {problem.name}: no operator order was found")
    return best


def _claim(plan: Plan) -> PlanClaim:
    assert plan.claim is not None
    return plan.claim
