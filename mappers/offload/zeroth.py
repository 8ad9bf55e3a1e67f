"""A training step of two forward passes and no backward one, whose weights stream block by block.

Weights are moved along random directions one way and the other, and the two losses say how far to go (MeZO,
arXiv:2305.17333): no activation is kept, and nothing beside weights has a state. A block that is there can run both
passes at once, and take the last step's update before them, so that it comes and goes once for each step (ZO2,
arXiv:2503.12668); apart, each pass and the update fetch every block anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...engine import compiled
from ...errors import BadInput, DoesNotFit
from ...lowering.tiers import program_of
from ...mapping.tiers.check import check_tier_plan
from ...mapping.tiers.plan import Room, TierPlan, Transfer
from ...mapping.tiers.problem import Choice, Item, Link, Step, Tier, TierProblem
from .parts import Model

LOAD, STORE, CHOICE = "load", "store", "run"


@dataclass(frozen=True)
class ZerothTrainer:
    """What trains.

    Attributes:
        near, far: the tier that computes, and the one that weights lie in.
        operations: per second.
        local: bytes per second of the first tier, at which weights are moved along a direction.
        load, store: bytes per second from the second tier to the first, and back.
    """

    near: Tier
    far: Tier
    operations: float
    local: float
    load: float
    store: float


@dataclass(frozen=True)
class ZerothStep:
    """A step: seconds of its Program, bytes over the links, and most bytes of the first tier."""

    seconds: float
    loaded: int
    stored: int
    near_bytes: int


def train_zeroth(
    model: Model, batch: int, tokens: int, on: ZerothTrainer, *, together: bool = True
) -> ZerothStep:  # fmt: skip
    """Simulate a step that is repeated again and again.

    Args:
        model: whose prefill is a forward pass of one sequence; every unit is a block.
        batch, tokens: sequences, and tokens of each.
        on: what trains.
        together: both passes and the update of a block while it is there; else one after the other.

    Raises:
        BadInput: sizes below 1, or fewer than four blocks, of which three are in the first tier.
        DoesNotFit: a tier holds less than there is; the message says which, and by how much.
    """
    if min(batch, tokens) < 1 or len(model.units) < 4:
        raise BadInput(f"{model.name}: batch {batch} and tokens {tokens} are 1 at least, and blocks 4, not "
                       f"{len(model.units)}")  # fmt: skip
    problem, plan = _written(model, batch, tokens, on, together)
    ledger = check_tier_plan(problem, plan)
    for tier in (on.near, on.far):
        needed = ledger.peaks[tier.name]
        if tier.capacity is not None and needed > tier.capacity:
            raise DoesNotFit(f"{problem.name}: {needed:,} bytes of {tier.name} are needed, {needed - tier.capacity:,} "
                             "more than it has")  # fmt: skip
    trace = compiled.run(program_of(problem, plan))
    return ZerothStep(trace.finish / float(trace.program.tick_hz), ledger.link_bytes[LOAD], ledger.link_bytes[STORE],
                      ledger.peaks[on.near.name])  # fmt: skip


def _written(
    model: Model, batch: int, tokens: int, on: ZerothTrainer, together: bool
) -> tuple[TierProblem, TierPlan]:
    near, far = on.near.name, on.far.name
    units, between = model.units, batch * tokens * model.hidden_bytes
    items = {unit: Item(unit, part.weight_bytes, home=far) for unit, part in units}
    visits: list[tuple[int, bool]] = []
    steps: list[Step] = []

    def visit(u: int, name: str, forward: int, moves: int, *, writes: bool) -> None:
        unit, part = units[u]
        computing = forward * batch * (part.prefill.products + part.prefill.attention) / on.operations
        # moving weights along a direction reads and writes them; the direction is drawn anew from its seed
        seconds = computing + moves * 2 * part.weight_bytes / on.local
        at, made = {unit: near}, batch * part.prefill.made + forward * between
        choice = Choice(CHOICE, seconds, at, at if writes else {}, workspace={near: made})
        visits.append((u, writes))
        steps.append(Step(f"{unit}, {name}", (choice,)))

    everyone = range(len(units))
    if together:
        for u in everyone:
            visit(u, "update and both passes", 2, 4, writes=True)  # update, one way, the other way, and back
    else:
        for name in ("one way", "the other way"):
            for u in everyone:
                visit(u, name, 1, 1, writes=False)
        for u in everyone:
            visit(u, "update", 0, 1, writes=True)
    links = (Link(LOAD, far, near, on.load), Link(STORE, near, far, on.store))
    name = f"zeroth-order training of {model.name}"
    # tiers have no capacity here: what does not fit is told by the peaks
    problem = TierProblem(name, (Tier(near), Tier(far)), links, items, tuple(steps), periodic=True)
    rooms, transfers = _streamed([(units[u][0], units[u][1].weight_bytes, w) for u, w in visits], near, problem.stride)
    return problem, TierPlan(name, (CHOICE,) * len(steps), tuple(rooms), tuple(transfers))


def _streamed(visits: Sequence[tuple[str, int, bool]], near: str, stride: int) -> tuple[list[Room], list[Transfer]]:
    """What a step visits comes while the one before runs, and what it changed leaves while the one after does."""
    count = len(visits)
    rooms: list[Room] = []
    transfers: list[Transfer] = []
    for s, (item, nbytes, writes) in enumerate(visits):
        first, last = (stride * ((s + d) % count + 1) - 1 for d in (-1, 1 if writes else 0))
        transfers.append(Transfer(item, LOAD, first, 0, nbytes))
        if writes:
            transfers.append(Transfer(item, STORE, last, 0, nbytes))
        spans = [(first, last)] if first <= last else [(first, stride * count - 1), (0, last)]
        rooms += [Room(item, near, 0, nbytes, a, b) for a, b in spans]
    return rooms, transfers
