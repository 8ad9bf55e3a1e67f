"""Tiers of memory of a machine that offloads, the first of which computes, and rates of each phase of generation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log2
from typing import Literal, TypeAlias

from ...arch.architecture import Architecture
from ...errors import BadInput
from ...mapping.tiers.problem import Tier
from ..ilp.tiers.machine import link_of, macs_per_second, tier_of

Role: TypeAlias = Literal["weight", "cache", "hidden"]
ROLES: tuple[Role, ...] = ("weight", "cache", "hidden")


@dataclass(frozen=True)
class Rates:
    """Of one phase.

    Attributes:
        inward: bytes per second from each tier to the one before it, which is nearer to where is computed, by role.
        outward: the same, to the tier behind it.
        products: operations per second with weights.
        attention: operations per second of attention, in the first tier.
        local: bytes per second of the first tier, at which weights and caches there are read; None for no limit.
        beside: operations per second of attention in the second tier, beside its caches; None where none is computed.
        beside_loss: share of that rate lost with every halving of a batch below `beside_full` sequences.
        ahead: weights come from the second tier to the first while the part before computes; else before a part begins.
        streams: caches and hidden states pass between tiers while a batch computes; else before and after.
        hops: transfers between different pairs of tiers go on at once; else they take turns in either direction.
    """

    inward: tuple[Mapping[Role, float], ...]
    outward: tuple[Mapping[Role, float], ...]
    products: float
    attention: float
    local: float | None = None
    beside: float | None = None
    beside_loss: float = 0.0
    beside_full: int = 1
    ahead: bool = True
    streams: bool = True
    hops: bool = True

    def near_caches(self, batch: int) -> float:
        """Operations per second of attention in the second tier. Raises BadInput where none is computed there."""
        if self.beside is None:
            raise BadInput("no attention is computed beside caches on this machine")
        return self.beside * max(0.1, 1 - self.beside_loss * max(0.0, log2(self.beside_full / batch)))


@dataclass(frozen=True)
class Machine:
    """Tiers and rates.

    Attributes:
        name: of the machine.
        tiers: the one that computes first; capacities are what may be used.
        prefill, decode: rates.
        hidden_tiers: tiers, the first ones, that may hold what passes between layers.

    Raises:
        BadInput: rates that are missing or not positive, or fewer than two tiers.
    """

    name: str
    tiers: tuple[Tier, ...]
    prefill: Rates
    decode: Rates
    hidden_tiers: int = 2

    def __post_init__(self) -> None:
        if len(self.tiers) < 2:
            raise BadInput(f"machine {self.name}: what is offloaded needs two tiers at least")
        for phase, rates in (("prefill", self.prefill), ("decode", self.decode)):
            for way in ("inward", "outward"):
                found: tuple[Mapping[Role, float], ...] = getattr(rates, way)
                if len(found) != len(self.tiers) - 1:
                    raise BadInput(f"machine {self.name}, {phase}: {len(found)} {way} ways between "
                                   f"{len(self.tiers)} tiers")  # fmt: skip
                wrong = [f"{way} {i} {r}" for i, by in enumerate(found) for r in ROLES if not by.get(r, 0.0) > 0]
                if wrong:
                    raise BadInput(f"machine {self.name}, {phase}: no positive rate of {', '.join(wrong)}")
            given = [r for r in (rates.products, rates.attention, rates.beside, rates.local) if r is not None]
            if not all(r > 0 for r in given):
                raise BadInput(f"machine {self.name}, {phase}: rates of computing must be positive")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(t.name for t in self.tiers)


def machine_of(
    arch: Architecture, tiers: Sequence[str], *, unit: str = "", efficiency: float = 1.0,
    usable: Mapping[str, float] | None = None,
) -> Machine:  # fmt: skip
    """A described machine: ways at the rates of its links and ports, computing at its peak and its memory's bandwidth.

    Args:
        arch: with the memories.
        tiers: names of memories, the one next to the units that compute first; each is joined to the one behind it.
        unit: that computes; empty for all together.
        efficiency: share of the peak that computing reaches.
        usable: share of a memory that may be used, by name; 1 unless given.

    Raises:
        BadInput: there is no such memory or unit, a way without bandwidth, or shares out of bounds.
    """
    if not 0 < efficiency <= 1 or any(not 0 < s <= 1 for s in (usable or {}).values()):
        raise BadInput(f"machine {arch.name}: shares are above 0 and at most 1")
    sizes = []
    for name in tiers:
        tier = tier_of(arch, name)
        assert tier.capacity is not None  # of a described memory
        sizes.append(Tier(name, int(tier.capacity * (usable or {}).get(name, 1.0))))

    def ways(*, inward: bool) -> tuple[Mapping[Role, float], ...]:
        pairs = [(b, a) if inward else (a, b) for a, b in pairwise(tiers)]
        return tuple(dict.fromkeys(ROLES, link_of(arch, src, dst).bandwidth) for src, dst in pairs)

    peak = 2 * macs_per_second(arch, unit) * efficiency
    port = arch.memories[tiers[0]].port("read")
    rates = Rates(ways(inward=True), ways(inward=False), peak, peak, None if port is None else port[1])
    return Machine(arch.name, tuple(sizes), rates, rates)
