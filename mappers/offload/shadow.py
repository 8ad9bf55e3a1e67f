"""A decode whose values lie in the second tier, and whose keys have a shadow in the first: a low rank, or few bits.

Every layer first chooses: queries meet landmarks, one key for each few tokens. Then chosen values come over the link,
while chosen keys are made anew from their shadow; then it attends to them and computes the rest (ShadowKV,
arXiv:2410.21465). As a placement over tiers in time these are three steps, the second of which streams.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...engine import compiled
from ...errors import BadInput, DoesNotFit
from ...lowering.tiers import program_of
from ...mapping.tiers.check import check_tier_plan
from ...mapping.tiers.plan import Ledger, TierPlan
from ...mapping.tiers.problem import Choice, Link, Step, Tier, TierProblem
from .machine import Machine, Rates
from .parts import Model, Part

CHOICE, IN, OUT = "run", "in", "out"
BYTES = 2
"""Of an element of a cache that is not a shadow."""


@dataclass(frozen=True)
class Shadow:
    """What the first tier holds of a cache.

    Attributes:
        budget: tokens that each new one attends to, chosen anew for each.
        chunk: tokens that have a landmark in common.
        rank: of keys, whose coefficients lie there for every token beside a basis for every sequence; 0 for none.
        key_bits: of every element of keys, with its share of scales, where they have no rank.
        window: newest tokens, of which keys and values lie there whole, and which are attended to as well.
        reused: share of what is chosen that was chosen for the token before, and is still there.

    Raises:
        BadInput: numbers below 1, shares out of bounds, or keys with both a rank and bits, or neither.
    """

    budget: int
    chunk: int
    rank: int = 0
    key_bits: float = 0.0
    window: int = 0
    reused: float = 0.0

    def __post_init__(self) -> None:
        if min(self.budget, self.chunk) < 1 or self.window < 0 or not 0 <= self.reused <= 1:
            raise BadInput(f"a budget and chunks are 1 token at least, a window 0, and what is reused a share: {self}")
        if (self.rank > 0) == (self.key_bits > 0) or min(self.rank, self.key_bits) < 0:
            raise BadInput(f"a shadow of keys has either a rank or bits: {self}")

    def near_bytes(self, part: Part, context: int) -> int:
        """Of one layer and sequence in the first tier: shadow, landmarks, window, and what is chosen."""
        key = part.cache_bytes // 2
        elements = key // BYTES
        shadow = context * self.key_bits * elements / 8
        if self.rank:
            shadow = BYTES * self.rank * (context + elements)
        whole = min(context, self.window + self.budget)
        return round(shadow) + self.landmarks(context) * key + whole * part.cache_bytes

    def far_bytes(self, part: Part, context: int) -> int:
        """Of one layer and sequence in the second tier: values."""
        return context * part.cache_bytes // 2

    def fetched(self, part: Part, context: int) -> int:
        """Bytes of values that come for one token, of one layer and sequence."""
        return round(min(context, self.budget) * (1 - self.reused)) * part.cache_bytes // 2

    def landmarks(self, context: int) -> int:
        return -(-context // self.chunk)


def decode(machine: Machine, model: Model, shadow: Shadow, sequences: int, context: int) -> tuple[float, Ledger]:
    """Seconds of the Program of one token of each of so many sequences, and its replay.

    Args:
        machine: two tiers; weights and hidden states are in the first.
        model, shadow: what runs how.
        sequences, context: tokens that every sequence has.

    Raises:
        DoesNotFit: a tier holds less than there is; the message says which, and by how much.
    """
    problem = problem_of(machine, model, shadow, sequences, context)
    plan = TierPlan(problem.name, (CHOICE,) * len(problem.steps), (), ())
    ledger = check_tier_plan(problem, plan)
    for tier in machine.tiers[:2]:
        needed = ledger.peaks[tier.name]
        if tier.capacity is not None and needed > tier.capacity:
            raise DoesNotFit(f"{problem.name}: {needed:,} bytes of {tier.name} are needed, {needed - tier.capacity:,} "
                             "more than it has")  # fmt: skip
    trace = compiled.run(program_of(problem, plan))
    return trace.finish / float(trace.program.tick_hz), ledger


def problem_of(machine: Machine, model: Model, shadow: Shadow, sequences: int, context: int) -> TierProblem:
    """One token of all sequences as steps. Tiers have no capacity here: what does not fit is told by the peaks."""
    if sequences < 1 or context < 1:
        raise BadInput(f"{model.name}: {sequences} sequences of {context} tokens (1 at least)")
    near, far = machine.names[:2]
    rates = machine.decode
    held = {
        near: model.weight_bytes + sequences * model.hidden_bytes
        + sequences * sum(p.count * shadow.near_bytes(p, context) for p in model.parts),
        far: sequences * sum(p.count * shadow.far_bytes(p, context) for p in model.parts),
    }  # fmt: skip
    steps = tuple(s for unit, part in model.units for s in _steps(unit, part, rates, shadow, sequences, context, held))
    links = (Link(IN, far, near, rates.inward[0]["cache"]), Link(OUT, near, far, rates.outward[0]["cache"]))
    name = f"{model.name}, {sequences} sequences of {context} tokens with a shadow of keys"
    return TierProblem(name, (Tier(near), Tier(far)), links, {}, steps, periodic=True)


def _steps(
    unit: str, part: Part, rates: Rates, shadow: Shadow, n: int, context: int, held: dict[str, int]
) -> Iterator[Step]:
    def step(name: str, operations: float, rate: float, nbytes: float, **streams: int) -> Step:
        seconds = max(operations / rate, 0.0 if rates.local is None else nbytes / rates.local)
        return Step(f"{unit}, {name}", (Choice(CHOICE, seconds, streams=streams, workspace=held),))

    products, weights = n * part.decode.products, part.weight_bytes
    if not part.cache_bytes:
        yield step("products", products, rates.products, weights)
        return
    key, chosen = part.cache_bytes // 2, min(context, shadow.budget)
    marks = shadow.landmarks(context)
    yield step("choose", n * part.attention(marks) / 2, rates.attention, n * marks * key)
    shadow_bytes = chosen * (BYTES * shadow.rank + shadow.key_bits * key / BYTES / 8)
    if shadow.rank:
        shadow_bytes += BYTES * shadow.rank * key / BYTES
    remaking = 2 * n * chosen * shadow.rank * key / BYTES
    # what is made is written, and what comes is too
    yield step("remake", remaking, rates.attention, n * (shadow_bytes + chosen * key),
               **{IN: n * shadow.fetched(part, context), OUT: n * key})  # fmt: skip
    attended = min(context, chosen + shadow.window)
    reading = n * attended * part.cache_bytes
    attending = step("attend", n * part.attention(attended), rates.attention, reading)
    yield attending
    yield step("products", products, rates.products, weights)
