"""A training step over chunks: weights, which become gradients, and states of the optimiser, placed by the tier mapper.

Layers fill chunks of one size, one after the other, and no layer crosses from one to the next. A chunk of weights is
read going forward, and going backward it is overwritten with gradients; the optimiser takes these and the chunk's
states, in either tier, and leaves new weights (PatrickStar, arXiv:2108.05818). Which chunk is where when, and where the
optimiser runs, is what `accelsim.mappers.ilp.tiers.search.place` finds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...errors import BadInput
from ...mapping.tiers.check import check_tier_plan
from ...mapping.tiers.problem import Choice, Item, Link, Step, Tier, TierProblem
from ..ilp.solver import SolverOptions
from ..ilp.tiers.model import BYTES, LATENCY
from ..ilp.tiers.search import place
from ..ilp.tiers.simulated import simulated_seconds
from .parts import Model

NEAR, FAR, LOAD, STORE = "near", "far", "load", "store"
WEIGHT_BYTES, STATE_BYTES = 2, 12
"""Per weight: 16 bits, which gradients take over; a copy of 32 bits and two moments of 32 bits."""
PASSED_BYTES = 2 * (WEIGHT_BYTES + STATE_BYTES)
"""Per weight that the optimiser reads and writes."""
BACKWARD = 3
"""Operations of a backward pass with activations made anew, over those of the forward pass."""


@dataclass(frozen=True)
class ChunkTrainer:
    """What trains.

    Attributes:
        near, far: bytes of the tier that computes and of the one behind it.
        operations: per second.
        load, store: bytes per second from the second tier to the first, and back.
        near_adam, far_adam: bytes per second that the optimiser goes through in either tier.
    """

    near: int
    far: int
    operations: float
    load: float
    store: float
    near_adam: float
    far_adam: float


@dataclass(frozen=True)
class ChunkStep:
    """A step.

    Attributes:
        seconds: of its Program; `bound`: no placement takes less.
        loaded, stored: bytes over the links.
        near_bytes: most bytes of the first tier.
        near_updates: chunks that the optimiser updates in the first tier.
        chunks: in all.
    """

    seconds: float
    bound: float
    loaded: int
    stored: int
    near_bytes: int
    near_updates: int
    chunks: int


def train_in_chunks(
    model: Model, batch: int, tokens: int, on: ChunkTrainer, chunk: int, options: SolverOptions | None = None
) -> ChunkStep:
    """Place a step that is repeated again and again, and simulate it.

    The placement takes longer with the number of chunks, by some power of it: some ten seconds of processor time for
    eight, half a minute and more for twelve, most of it for the fewest bytes of all plans that are as fast. Larger
    chunks, or `options` with a limit of seconds, keep it short.

    Args:
        model: whose prefill is the forward pass of one sequence.
        batch, tokens: sequences, and tokens of each.
        on: what trains.
        options: of the solver; within 1 % of the least time unless given, then the fewest bytes.
        chunk: bytes of weights in a chunk.

    Raises:
        BadInput: a layer is larger than a chunk, or sizes are below 1.
        DoesNotFit: chunks need more than the tiers have.
    """
    problem = problem_of(model, batch, tokens, on, chunk)
    plan = place(problem, aims=(LATENCY, BYTES), options=options or SolverOptions(gap=0.01))
    ledger = check_tier_plan(problem, plan)
    assert plan.claim is not None  # of every plan that is placed
    count = len(problem.items) // 2
    return ChunkStep(simulated_seconds(problem, plan), plan.claim.bound, ledger.link_bytes.get(LOAD, 0),
                     ledger.link_bytes.get(STORE, 0), ledger.peaks[NEAR], plan.choices[-count:].count(NEAR),
                     count)  # fmt: skip


def problem_of(model: Model, batch: int, tokens: int, on: ChunkTrainer, chunk: int) -> TierProblem:
    """Forward, backward and the optimiser as steps, over chunks that any tier may hold. Raises BadInput."""
    if min(batch, tokens, chunk) < 1:
        raise BadInput(f"{model.name}: batch {batch}, tokens {tokens} and chunks of {chunk} bytes are 1 at least")
    owners = list(_chunks(model, chunk))
    count = owners[-1] + 1
    states = chunk // WEIGHT_BYTES * STATE_BYTES
    items = {n: Item(n, size) for c in range(count) for n, size in ((_weights(c), chunk), (_states(c), states))}
    between = batch * tokens * model.hidden_bytes
    units = model.units

    def step(u: int, way: str, factor: int) -> Step:
        part, mine = units[u][1], {_weights(owners[u]): NEAR}
        seconds = factor * batch * (part.prefill.products + part.prefill.attention) / on.operations
        made = mine if factor > 1 else {}
        # a checkpoint of every layer, and what one makes
        room = {NEAR: between * len(units) + batch * part.prefill.made}
        return Step(f"{units[u][0]}, {way}", (Choice("run", seconds, mine, made, workspace=room),))

    def update(c: int) -> Step:
        passed = chunk // WEIGHT_BYTES * PASSED_BYTES
        choices = []
        for tier, rate in ((FAR, on.far_adam), (NEAR, on.near_adam)):
            both = {_weights(c): tier, _states(c): tier}
            choices.append(Choice(tier, passed / rate, both, both))
        return Step(f"update {c}", tuple(choices))

    steps = [step(u, "forward", 1) for u in range(len(units))]
    steps += [step(u, "backward", BACKWARD) for u in reversed(range(len(units)))]
    steps += [update(c) for c in range(count)]
    links = (Link(LOAD, FAR, NEAR, on.load), Link(STORE, NEAR, FAR, on.store))
    name = f"training {model.name} in chunks of {chunk:,} bytes"
    return TierProblem(name, (Tier(NEAR, on.near), Tier(FAR, on.far)), links, items, tuple(steps), periodic=True)


def _chunks(model: Model, chunk: int) -> Iterator[int]:
    """Of every unit, the chunk that has its weights."""
    at, left = 0, chunk
    for unit, part in model.units:
        if part.weight_bytes > chunk:
            raise BadInput(f"{model.name}: {unit} has {part.weight_bytes:,} bytes of weights, and a chunk {chunk:,}")
        if part.weight_bytes > left:
            at, left = at + 1, chunk
        left -= part.weight_bytes
        yield at


def _weights(chunk: int) -> str:
    return f"weights {chunk}"


def _states(chunk: int) -> str:
    return f"states {chunk}"
