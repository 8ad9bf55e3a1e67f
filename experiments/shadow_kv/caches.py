"""Decodes of one model with its cache near, behind the link, as a shadow, or with a quantised draft of it near."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from ...arch.loader import load_spec
from ...errors import DoesNotFit, MappingError
from ...mappers.offload import Block, Machine, Model, Policy, machine_of, model_of, simulate
from ...mappers.offload.shadow import Shadow, decode
from ...workloads.huggingface import load_config
from ...workloads.transformer import Bits, build
from ...workloads.transforms import GroupBits, quantised
from ...workloads.zoo import load
from ..loader import data_path

MODEL = "llama-3-8b"
BITS = Bits(16, 16, 16)
EFFICIENCY = 0.5
"""Share of its peak that the GPU reaches; assumed."""
GROUP = 64
"""Elements of a quantised cache that share a scale and a zero of 16 bits each."""
LOW_RANK = Shadow(budget=2048, chunk=8, rank=160, window=256)
FEW_BITS = Shadow(budget=2048, chunk=8, key_bits=4 + 32 / GROUP, window=256)
Changes = tuple[tuple[str, str], ...]
"""Paths in the machine to values."""
NEAR, FAR = (1.0, 0.0), (0.0, 1.0)


@cache
def machine(changes: Changes = ()) -> Machine:
    arch = load_spec(data_path(__package__ or "", "a100_host.yaml")).with_values(dict(changes)).build()
    return machine_of(arch, ("hbm", "host"), unit="tensor", efficiency=EFFICIENCY)


@cache
def model(context: int, new: int = 1, bits: int = 16) -> Model:
    """The model with caches of so many bits, that decodes `new` tokens of every sequence at once."""
    spec = load_config(load(MODEL), name=MODEL).spec
    prefill, step = (build(spec, *args, "last", BITS)
                     for args in (("prefill", 1, context, context), ("decode", 1, new, context)))  # fmt: skip
    if bits < 16:
        step = quantised(step, {"state": GroupBits(bits, 32, GROUP)})
    return model_of(prefill, step, context, new * 2 * spec.hidden)


@cache
def whole(sequences: int, context: int, *, near: bool, new: int = 1, bits: int = 16, changes: Changes = (),
          taken: int = 0) -> float:  # fmt: skip
    """Seconds of a step whose cache is whole, in the first tier or streamed from the second.

    Raises:
        MappingError: it does not fit beside `taken` bytes of the first tier.
    """
    on = machine(changes)
    first = on.tiers[0]
    assert first.capacity is not None  # of a described memory
    on = replace(on, tiers=(replace(first, capacity=max(0, first.capacity - taken)), *on.tiers[1:]))
    block = Block(sequences, 1, context - 1, 1)
    policy = Policy(NEAR, NEAR if near else FAR, NEAR, False)
    return simulate(on, model(context, new, bits), block, policy, "decode", context)[0]


@cache
def shadowed(shadow: Shadow, sequences: int, context: int, changes: Changes = ()) -> float:
    """Seconds of a step. Raises DoesNotFit."""
    return decode(machine(changes), model(context), shadow, sequences, context)[0]


def link_bytes(shadow: Shadow, sequences: int, context: int) -> int:
    """That come to the GPU for a token of each sequence."""
    return decode(machine(), model(context), shadow, sequences, context)[1].link_bytes["in"]


@cache
def drafted(sequences: int, context: int, tokens: int, bits: int = 4, changes: Changes = ()) -> float:
    """Seconds of a round: so many tokens from a draft cache near, then all of them checked with the cache behind the
    link, together with the one before. Raises MappingError where it does not fit."""
    draft = sequences * context * model(context, 1, bits).cache_bytes
    ahead = tokens * whole(sequences, context, near=True, bits=bits, changes=changes)
    return ahead + whole(sequences, context, near=False, new=tokens + 1, changes=changes, taken=draft)


@cache
def nested(sequences: int, context: int, tokens: int, bits: int = 4, changes: Changes = ()) -> float:
    """Seconds of a round with the cache near at twice `bits`, of which a draft reads the upper half and a check all of
    it (QuantSpec). Raises MappingError where it does not fit."""
    checking = whole(sequences, context, near=True, new=tokens + 1, bits=2 * bits, changes=changes)
    return checking + tokens * whole(sequences, context, near=True, bits=bits, changes=changes)


def made(tokens: int, acceptance: float) -> float:
    """Tokens of a round on average (Leviathan et al., arXiv:2211.17192)."""
    return sum(acceptance**i for i in range(tokens + 1))


def most(step: Callable[[int], float], limit: int = 4096) -> int:
    """The most sequences that fit; 0 where one does not."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        try:
            step(middle)
        except (DoesNotFit, MappingError):
            high = middle - 1
        else:
            low = middle
    return low
