"""Schemes of smaller caches as transforms, and a decode with each on one GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

from ...arch.architecture import Architecture
from ...arch.loader import load_spec
from ...errors import DoesNotFit
from ...ir import Role, Workload
from ...simulation import simulate
from ...workloads.huggingface import load_config
from ...workloads.transformer import Bits, Transformer, build
from ...workloads.transforms import (
    GroupBits,
    evicted,
    quantised,
    shared_across_layers,
    with_kv_heads,
    with_latent_cache,
)
from ...workloads.zoo import load

BITS = Bits(16, 16, 16)
Changes = tuple[tuple[str, str], ...]
"""Paths in the machine to values."""


@cache
def gpu(changes: Changes = ()) -> Architecture:
    return load_spec("a100_80gb").with_values(dict(changes)).build()


@cache
def transformer(name: str) -> Transformer:
    return load_config(load(name), name=name).spec


@dataclass(frozen=True)
class Scheme:
    """What changes in the model, and then in the Workload of a decode with so many tokens of context."""

    model: Callable[[Transformer], Transformer] = lambda m: m
    workload: Callable[[Workload, int], Workload] = lambda w, context: w


SCHEMES: Mapping[str, Scheme] = {
    "16 bits": Scheme(),
    "4 bits, groups of 64": Scheme(workload=lambda w, n: quantised(w, {"state": GroupBits(4, 32, 64)})),
    "2 bits, groups of 32": Scheme(workload=lambda w, n: quantised(w, {"state": GroupBits(2, 32, 32)})),
    "20 % of tokens kept": Scheme(workload=lambda w, n: evicted(w, round(0.2 * n))),
    "two layers share": Scheme(workload=lambda w, n: shared_across_layers(w, 2)),
    "8 heads of keys and values": Scheme(model=lambda m: with_kv_heads(m, 8)),
    "latent, 512 + 64": Scheme(model=lambda m: with_latent_cache(m, 512, 64)),
    "4 bits, 20 % kept, two layers share": Scheme(
        workload=lambda w, n: evicted(shared_across_layers(quantised(w, {"state": GroupBits(4, 32, 64)}), 2),
                                      round(0.2 * n))),
}


@cache
def decode(name: str, scheme: str, batch: int, context: int) -> Workload:
    """A step of a decode of a model of the zoo."""
    chosen = SCHEMES[scheme]
    return chosen.workload(build(chosen.model(transformer(name)), "decode", batch, 1, context, "last", BITS), context)


def bytes_of(workload: Workload, role: Role) -> int:
    return workload.bytes_by_role()[role]


@cache
def seconds(name: str, scheme: str, batch: int, context: int, changes: Changes = ()) -> float:
    """Of a step, simulated."""
    return simulate(gpu(changes), decode(name, scheme, batch, context)).latency_s


@cache
def sequences(name: str, scheme: str, context: int, changes: Changes = ()) -> int:
    """That fit into the GPU's memory: caches beside weights, and what a step makes meanwhile."""
    one = decode(name, scheme, 1, context)
    room = gpu(changes).off_chip[-1].capacity - bytes_of(one, Role.WEIGHT)
    most = room // bytes_of(one, Role.STATE)
    least = max(1, room // (bytes_of(one, Role.STATE) + bytes_of(one, Role.ACTIVATION)))
    while least < most:
        middle = (least + most + 1) // 2
        try:
            seconds(name, scheme, middle, context, changes)
        except DoesNotFit:
            most = middle - 1
        else:
            least = middle
    return least


def with_layers(model: Transformer, layers: int) -> Transformer:
    """The model with so many layers like its first."""
    return replace(model, layers=model.layers[:1] * layers)
