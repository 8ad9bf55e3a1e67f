"""The plan of a placement that costs least, or the best one that a limit allows, with its bound."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from ....errors import AccelsimError, BadInput, DoesNotFit, MappingError
from ....mapping.tiers.check import check_tier_plan
from ....mapping.tiers.plan import Ledger, TierClaim, TierPlan
from ....mapping.tiers.problem import TierProblem
from ..solver import SolverOptions
from .extract import TINY, Dealt, Unserved, dealt
from .model import LATENCY, Aim, TierModel, Within
from .program import MixedSolution
from .simulated import claimed_seconds
from .ways import Way

ROUNDS = 12
"""Times that the program is solved with more flows of their own, or with larger margins."""
ROUNDING = 1e-4
"""Gap that is put down to whole bytes."""
DEFAULT = SolverOptions(gap=0.005)
"""Half a percent from optimal is near enough for machines whose bandwidths are known to a few percent."""


def place(
    problem: TierProblem,
    *,
    aims: Sequence[Aim] = (LATENCY,),
    options: SolverOptions = DEFAULT,
    pinned: Mapping[tuple[str, str], bool] | None = None,
) -> TierPlan:
    """Choices, copies and transfers at the least cost.

    Args:
        problem: steps in their order.
        aims: what is minimised: the first, of all plans that cost least the second, and so on.
        options: of the solver; `gap` is what is good enough.
        pinned: (item, tier) to whether it keeps a copy there between all its uses.

    Returns:
        The plan, checked by `check_tier_plan`; the claim is of the first aim, and of no more seconds than its Program
        takes.

    Raises:
        DoesNotFit: items at home, or every choice of a step, need more than a tier has.
        BadInput: no aim, or pinned copies that cannot be.
    """
    return placed(problem, aims=aims, options=options, pinned=pinned).plan


@dataclass(frozen=True)
class Placed:
    """A plan with what it was made of."""

    plan: TierPlan
    dealt: Dealt
    model: TierModel
    values: Sequence[float]


def placed(
    problem: TierProblem,
    *,
    aims: Sequence[Aim],
    options: SolverOptions,
    pinned: Mapping[tuple[str, str], bool] | None,
    before: Placed | None = None,
    within: Within | None = None,
) -> Placed:
    """As `place`.

    Args:
        problem, aims, options, pinned: the same.
        before: of a plan whose choices and copies are kept, so that what moves when is all that changes; of all plans
            that cost least, one in which bytes wait least in tiers that may fill.
        within: what addresses leave room for.

    Raises:
        DoesNotFit, BadInput: as `place`; and nothing can move so.
    """
    started = time.perf_counter()
    if not aims:
        raise BadInput("a placement needs an objective")
    alone: set[tuple[int, Way]] = set()
    margin = 64 + max((i.nbytes for i in problem.items.values()), default=0) // 250_000
    for _ in range(ROUNDS):
        model = TierModel(problem, alone=alone, margin=margin, pinned=pinned, within=within)
        found = _solved(model, aims, options, _kept(before, model))
        try:
            moving = dealt(model, found.values)
            plan = moving.plan()
            ledger = check_tier_plan(problem, plan)
        except Unserved as failed:
            if alone.issuperset(failed.jobs):
                margin *= 4
            alone |= set(failed.jobs)
            continue
        except MappingError:
            margin *= 8
            continue
        ledger = _as_it_runs(aims[0], problem, plan, ledger)
        claim = _claim(aims[0], ledger, problem, found, options, time.perf_counter() - started)
        return Placed(replace(plan, claim=claim), moving, model, found.values)
    raise AccelsimError(f"placement {problem.name}: no flow could be dealt out in whole bytes after {ROUNDS} tries")


def claimed(problem: TierProblem, plan: TierPlan, aim: Aim) -> float:
    """What may be claimed of a plan, which is checked.

    Raises:
        MappingError: the replay finds faults.
    """
    return cost_of(aim, _as_it_runs(aim, problem, plan, check_tier_plan(problem, plan)))


def _as_it_runs(aim: Aim, problem: TierProblem, plan: TierPlan, ledger: Ledger) -> Ledger:
    """With no more seconds than the plan's Program takes, where seconds count."""
    return replace(ledger, seconds=claimed_seconds(problem, plan, ledger.seconds)) if aim.seconds else ledger


def cost_of(aim: Aim, ledger: Ledger) -> float:
    """What a plan costs by a recount."""
    counted = sum(n for x, n in ledger.link_bytes.items() if aim.links is None or x in aim.links)
    return aim.seconds * ledger.seconds + aim.joules * ledger.joules + aim.nbytes * counted


@dataclass(frozen=True)
class _Found:
    """Values of the last aim, and what is known of the first."""

    values: Sequence[float]
    bound: float
    proven: bool
    solver: str
    stopped: bool


def _kept(before: Placed | None, model: TierModel) -> dict[int, float]:
    """Choices and copies of another model of the problem, and ways that are not taken there, as values of this one."""
    if before is None:
        return {}
    pairs = [pair for row in zip(before.model.chosen, model.chosen, strict=True) for pair in zip(*row, strict=True)]
    pairs += [(before.model.held[key], v) for key, v in model.held.items()]
    found = {v: float(round(before.values[u])) for u, v in pairs if model.program.binary[v]}
    for old, new in zip(before.model.parts, model.parts, strict=True):
        found |= {v: 0.0 for way, v in new.items() if before.values[old[way]] <= TINY}
    return found


def _solved(
    model: TierModel, aims: Sequence[Aim], options: SolverOptions, kept: Mapping[int, float]
) -> _Found:
    first: _Found | None = None
    values: Sequence[float] = ()
    fixed = partial(model.program.solve, options=options, upper=kept, lower=kept)
    for aim in aims:
        cost = model.cost(aim)
        scale = max(cost.values(), default=1.0)
        scaled = {v: c / scale for v, c in cost.items()}
        found = fixed(scaled) if kept else _minimum(model, scaled, options)
        if found.values is None:
            if first is not None:
                break
            raise DoesNotFit(
                f"placement {model.problem.name}: every step fits by itself, but there is no plan; no link leads to "
                "where an item is read, or a pinned copy has no room"
            )
        values = found.values
        if first is None:
            first = _Found(values, found.bound * scale, found.optimal, found.solver, found.interrupted)
        model.program.at_most(scaled.items(), found.value * (1 + 1e-7) + 1e-9)
        if found.interrupted:
            break
    if kept and not found.interrupted:
        least = fixed(model.waiting())
        values = values if least.values is None else least.values
    assert first is not None
    return replace(first, values=values)


def _minimum(model: TierModel, cost: Mapping[int, float], options: SolverOptions) -> MixedSolution:
    """What the solver finds; where a limit stops it before it finds anything, what keeps no copies but pinned ones."""
    found = model.program.solve(cost, options)
    if found.values is not None or found.infeasible:
        return found
    none = {v: 0.0 for (g, tier), v in model.held.items() if not model.pinned.get((model.gaps[g].item.name, tier))}
    bare = model.program.solve(cost, replace(options, seconds=None, nodes=None), upper=none)
    return replace(bare, bound=found.bound, optimal=False, interrupted=True)


def _claim(
    aim: Aim, ledger: Ledger, problem: TierProblem, found: _Found, options: SolverOptions, seconds: float
) -> TierClaim:
    value = cost_of(aim, ledger)
    bound = min(value, found.bound)
    gap = (value - bound) / value if value else 0.0
    proven = found.proven and gap <= max(options.gap, ROUNDING)
    return TierClaim(aim.name, value, bound, gap, proven, found.solver, options.seed, seconds, found.stopped)
