"""Addresses in every tier for a plan: bytes come later where they had no room yet, and tiers count as smaller where
copies that stay have none.

Of ``benchmarks/tiers.py`` with two tokens, 2 and 4 layers take 5 and 7 s of a processor and are 0.3 and 0.2 % over the
bound without addresses. Of 32 layers and four tokens the plan that is best without has none that are found in SRAM, and
programs with less of it are solved; that did not end within seven minutes of a busy machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ....errors import DoesNotFit
from ....mapping.tiers.plan import TierPlan
from ....mapping.tiers.problem import TierProblem
from ..solver import SolverOptions
from .extract import Dealt, Span, carried, plan_of, rooms_of
from .model import LATENCY, Aim, Within
from .search import DEFAULT, ROUNDING, Placed, claimed, placed
from .stays import Coming, Layout, Settled, laid, passing

ROUNDS = 12
"""Times that a program is solved with the same choices and copies until all bytes have room when they come."""
MANNERS = (True, False), (True, True), (False, True), (False, False)
"""Ways to look for layouts: whether each goes on from the one before, and whether what was hindered leaps ahead."""
ROUGH = 0.02
"""Gap that is good enough for the programs with less of a tier."""
MOST, LEAST = 0.97, 0.93
"""Share of what a tier's room was before that the next program gets, at most and at least."""


def place_addressed(
    problem: TierProblem,
    *,
    aims: Sequence[Aim] = (LATENCY,),
    options: SolverOptions = DEFAULT,
    pinned: Mapping[tuple[str, str], bool] | None = None,
) -> TierPlan:
    """As `place`, with an address for every room of tiers that may fill.

    An item that stays in a tier lies there in one piece, and its bytes come there in an order for which there is
    room; what passes may lie in pieces. Where bytes have no room when they come, the program is solved again with the
    same choices and copies, and these bytes later. Where copies that stay have no addresses, it is solved from the
    start with as much less of the tier as first fit went beyond it, and so on. The claim's bound is of plans without
    addresses.

    Raises:
        DoesNotFit: as `place`, or no addresses were found.
    """
    shares = dict.fromkeys((n for n, c in problem.capacities.items() if c is not None), 1.0)
    bound: float | None = None
    while True:
        least = problem if bound is None else _squeezed(problem, shares)
        solver = options if bound is None else replace(options, gap=max(options.gap, ROUGH))
        first = placed(least, aims=aims, options=solver, pinned=pinned)
        claim = first.plan.claim
        assert claim is not None
        bound = claim.bound if bound is None else bound
        found, failed = _best(problem, least, first, aims, solver)
        if found is not None:
            value = claimed(problem, found, aims[0])
            gap = (value - min(bound, value)) / value if value else 0.0
            proven = claim.proven and gap <= max(options.gap, ROUNDING)
            return replace(found, claim=replace(claim, value=value, bound=min(bound, value), gap=gap, proven=proven))
        for tier, over in failed.items():
            before = _squeezed(problem, shares).capacities[tier]
            shares[tier] *= max(LEAST, min(MOST, 1 / over))
            if _squeezed(problem, shares).capacities[tier] == before:
                raise DoesNotFit(f"placement {problem.name}: no addresses in {tier}, though all fits without them")


def _best(
    problem: TierProblem, least: TierProblem, first: Placed, aims: Sequence[Aim], options: SolverOptions
) -> tuple[TierPlan | None, dict[str, float]]:
    """The best of plans by several ways to look for layouts, until one costs no more than without addresses."""
    found: list[tuple[float, TierPlan]] = []
    failed: dict[str, float] = {}
    assert first.plan.claim is not None
    for onward, leaps in MANNERS:
        plan, failed = _refined(problem, least, first, aims, options, onward=onward, leaps=leaps)
        if plan is None:
            continue
        found.append((claimed(problem, plan, aims[0]), plan))
        if found[-1][0] <= first.plan.claim.value * (1 + max(options.gap, ROUNDING)):
            break
    return (min(found, key=lambda f: f[0])[1] if found else None), failed


def _refined(
    problem: TierProblem,
    least: TierProblem,
    first: Placed,
    aims: Sequence[Aim],
    options: SolverOptions,
    *,
    onward: bool,
    leaps: bool,
) -> tuple[TierPlan | None, dict[str, float]]:
    """A plan with addresses that keeps choices and copies; by tier that has none, how many times its room it takes."""
    within, failed = Within(), dict[str, float]()
    taken: Mapping[str, Sequence[tuple[str, int]]] = {}
    at = placed(least, aims=aims, options=options, pinned=None, before=first, within=within)
    for _ in range(ROUNDS):
        attempt = addressed(problem, at.dealt, taken if onward else {}, leaps=leaps)
        if attempt.plan is not None:
            return attempt.plan, {}
        taken = attempt.taken
        if attempt.failed:
            return None, dict(attempt.failed)
        within = _within(within, at.dealt, attempt, problem)
        failed = dict.fromkeys({*attempt.missing, *(tier for tier, _, _ in attempt.late)}, 1.0)
        try:
            at = placed(least, aims=aims, options=options, pinned=None, before=at, within=within)
        except DoesNotFit:
            break
    return None, failed


def _within(within: Within, dealt: Dealt, attempt: Attempt, problem: TierProblem) -> Within:
    """With what an attempt left no room for."""
    most = {key: dict(rows) for key, rows in within.most.items()}
    for _, coming, how in attempt.late:
        carriage = dealt.carriages[coming.carriage]
        rows = most.setdefault((carriage.job.gap, carriage.way), {})
        come, arrivals = 0, dict(how.arrivals)
        for p in range(carriage.job.start + 1, carriage.job.end):
            come += arrivals.get(p, 0)
            key = coming.link + 1, p % problem.positions
            rows[key] = min(come, rows.get(key, come))
    less = dict(within.less)
    for tier, nbytes in attempt.missing.items():
        less[tier] = less.get(tier, 0) + nbytes
    return Within(most, less)


def _squeezed(problem: TierProblem, shares: Mapping[str, float]) -> TierProblem:
    """With a share of some tiers, though what is at home there, and the largest step, keep their room."""
    tiers = []
    for tier in problem.tiers:
        if tier.capacity is None:
            tiers.append(tier)
            continue
        homes = sum(i.nbytes for i in problem.items.values() if i.home == tier.name)
        free = tier.capacity - homes
        left = max(int(free * shares[tier.name]), min(free, _largest_step(problem, tier.name)))
        tiers.append(replace(tier, capacity=homes + left))
    return replace(problem, tiers=tuple(tiers))


def _largest_step(problem: TierProblem, tier: str) -> int:
    """Bytes that some step needs of a tier, by the choice that needs least."""
    items = problem.items
    return max(
        min(
            c.workspace.get(tier, 0)
            + sum(items[n].nbytes for n, t in c.touches.items() if t == tier and items[n].home != tier)
            for c in step.choices
        )
        for step in problem.framed
    )


@dataclass(frozen=True)
class Attempt:
    """What came of looking for addresses.

    Attributes:
        plan: with addresses, where nothing stood against them.
        failed: by tier in which copies that stay have none, how many times its room they take.
        late: (tier, what comes, how) of bytes that have room later than they come.
        missing: by tier, bytes that pass and find no room.
        taken: by tier, the order in which first fit took what stays.
    """

    plan: TierPlan | None
    failed: Mapping[str, float] = field(default_factory=dict)
    late: Sequence[tuple[str, Coming, Settled]] = ()
    missing: Mapping[str, int] = field(default_factory=dict)
    taken: Mapping[str, Sequence[tuple[str, int]]] = field(default_factory=dict)


def addressed(
    problem: TierProblem, dealt: Dealt, taken: Mapping[str, Sequence[tuple[str, int]]], *, leaps: bool
) -> Attempt:
    """Addresses in all tiers that may fill, for what moves and stays as it does; `taken` is of an earlier attempt."""
    free = {
        tier: capacity - sum(i.nbytes for i in problem.items.values() if i.home == tier)
        for tier, capacity in problem.capacities.items() if capacity is not None
    }  # fmt: skip
    orders: dict[int, Sequence[Span]] = {}
    layouts: dict[str, Layout] = {}
    for tier, room in free.items():
        layouts[tier] = laid(dealt, tier, room, orders, taken.get(tier, ()), leaps=leaps)
        orders |= {coming.carriage: how.order for coming, how in layouts[tier].settled}
    failed = {t: x.reach / max(1, free[t]) for t, x in layouts.items() if x.beyond}
    late = [(t, coming, how) for t, x in layouts.items() for coming, how in x.settled if how.late]
    order = {tier: layout.order for tier, layout in layouts.items()}
    if failed or late:
        return Attempt(None, failed, late, taken=order)
    rooms = [r for x in layouts.values() for r in x.rooms]
    missing: dict[str, int] = {}
    for tier, room in free.items():
        found, nbytes = passing(dealt, tier, room, orders, layouts[tier].boxes)
        rooms += found
        missing |= {tier: nbytes} if nbytes else {}
    if missing:
        return Attempt(None, missing=missing, taken=order)
    for number, carriage in enumerate(dealt.carriages):
        for tier, pieces in zip(carriage.way.route, carriage.places(orders.get(number, ())), strict=True):
            if tier not in free:
                rooms += [r for p in pieces for r in rooms_of(problem, carriage.item, tier, p)]
    rooms += [r for r in dealt.staying if r.tier not in free]
    moved = (t for n, c in enumerate(dealt.carriages) for t in carried(problem, c, orders.get(n, ())))
    return Attempt(plan_of(dealt, rooms, moved))
