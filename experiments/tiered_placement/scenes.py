"""Small placements: experts over SRAM, HBM and DDR, experts beside their data, and blocks of a KV cache.

Capacities, bandwidths, energies and peaks are those of machines: the preset sn40l, and ``gpu_beside_memory.yaml``.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...arch.architecture import Architecture
from ...arch.loader import load_spec
from ...mappers.ilp.tiers.machine import link_of, macs_per_second, tier_of
from ...mapping.tiers.problem import Choice, Item, Step, Tier, TierProblem
from ..loader import data_path

MIB = 2**20
Changes = Mapping[str, str]
"""Paths in a machine to values, such as ``links.pcie.bandwidth``."""


def socket(changes: Changes | None = None) -> Architecture:
    """One SN40L socket, with changes."""
    return load_spec("sn40l").with_values(dict(changes or {})).build()


def gpu(changes: Changes | None = None) -> Architecture:
    """A GPU behind PCIe beside a memory that computes, with changes."""
    return load_spec(data_path(__package__ or "", "gpu_beside_memory.yaml")).with_values(dict(changes or {})).build()


def experts(layers: int = 4, tokens: int = 2, *, changes: Changes | None = None) -> TierProblem:
    """A mixture-of-experts decode on one SN40L socket, one layer's attention and two of eight experts after the other.

    Mixtral's layers in int8 (hidden 4096, 14336 wide, eight experts), of which HBM has room for six experts per layer;
    experts are drawn at random, the first ones more often, and the router's choice is known ahead.
    """
    machine = socket(changes)
    rng = random.Random(0)
    sizes = {f"attention {x}": 4096 * (2 * 4096 + 2 * 1024) for x in range(layers)}
    sizes |= {f"expert {x}.{e}": 3 * 4096 * 14336 for x in range(layers) for e in range(8)}
    rate = macs_per_second(machine)
    steps = []
    for t in range(tokens):
        for x in range(layers):
            names = [f"attention {x}"]
            drawn: set[int] = set()
            while len(drawn) < 2:
                drawn |= set(rng.choices(range(8), [1 / (e + 1) for e in range(8)]))
            names += [f"expert {x}.{e}" for e in sorted(drawn)]
            steps += [Step(f"token {t}, {n}", (Choice("socket", sizes[n] / rate, {n: "sram"}),)) for n in names]
    used = {n for s in steps for n in s.choices[0].reads}
    items = {n: Item(n, size, home="ddr") for n, size in sizes.items() if n in used}
    hbm = replace(tier_of(machine, "hbm"), capacity=layers * 300 * MIB)
    links = (link_of(machine, "hbm", "sram"), link_of(machine, "ddr", "hbm"))
    tiers = (tier_of(machine, "sram"), hbm, tier_of(machine, "ddr"))
    return TierProblem("experts", tiers, links, items, tuple(steps), periodic=True)


def beside_data(
    tokens: Sequence[int], *, hidden: int = 1024, wide: int = 4096, moved_only: bool = False,
    changes: Changes | None = None,
) -> TierProblem:
    """One layer of experts: those with most tokens move to the GPU, the others are computed beside their data.

    Both work at once, so that a choice is a number of experts that move. fp16.

    Args:
        tokens: of each expert.
        hidden, wide: of an expert's two matrices.
        moved_only: all experts with tokens move, as in offloading.
        changes: of the machine.
    """
    machine = gpu(changes)
    port = machine.memories["device"].port("read")
    assert port is not None
    near_rate, gpu_rate = macs_per_second(machine, "arrays"), macs_per_second(machine, "tensor")
    link = link_of(machine, "device", "hbm")
    ordered = sorted((n for n in tokens if n), reverse=True)
    expert = 2 * hidden * wide * 2
    choices = []
    for hot in (len(ordered),) if moved_only else range(len(ordered) + 1):
        cold = ordered[hot:]
        beside = sum(max(expert / port[1], 2 * n * hidden * wide / near_rate) for n in cold)
        seconds = 2 * sum(ordered[:hot]) * hidden * wide / gpu_rate
        moved = hot * expert + 2 * sum(cold) * hidden * 2
        choices.append(Choice(f"{hot} of {len(ordered)} move", max(beside, seconds), streams={link.name: moved}))
    tiers = (Tier("hbm"), Tier("device"))
    return TierProblem("beside data", tiers, (link,), {}, (Step("experts", tuple(choices)),), periodic=True)


def routed(experts: int, tokens: int, skew: float, seed: int = 0) -> list[int]:
    """Tokens of each expert, drawn by a Zipf law."""
    rng = random.Random(seed)
    weights = [1 / (e + 1) ** skew for e in range(experts)]
    counts = [0] * experts
    for e in rng.choices(range(experts), weights, k=tokens):
        counts[e] += 1
    return counts


def kv_blocks(requests: int = 5, blocks: int = 3, rounds: int = 2, *, changes: Changes | None = None) -> TierProblem:
    """Requests that are decoded by turns, each reading all its KV blocks, of which three fifths fit beside the GPU.

    A turn takes 4 ms, the blocks are of 64 MiB: both chosen. The others wait in the memory behind PCIe.
    """
    machine = gpu(changes)
    size = 64 * MIB
    items = {f"r{r}.{b}": Item(f"r{r}.{b}", size, home="device") for r in range(requests) for b in range(blocks)}
    order = [r for n in range(rounds) for r in (range(requests) if n % 2 else reversed(range(requests)))]
    steps = tuple(
        Step(f"turn {i}, request {r}", (Choice("gpu", 4e-3, {f"r{r}.{b}": "hbm" for b in range(blocks)}),))
        for i, r in enumerate(order)
    )
    room = replace(tier_of(machine, "hbm"), capacity=size * (requests * blocks * 3 // 5))
    links = (link_of(machine, "device", "hbm"),)
    return TierProblem("KV blocks", (room, tier_of(machine, "device")), links, items, steps, periodic=True)
