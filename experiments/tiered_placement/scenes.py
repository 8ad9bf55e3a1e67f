"""Small placements: experts over SRAM, HBM and DDR, experts beside their data, and blocks of a KV cache."""

from __future__ import annotations

import random
from collections.abc import Sequence

from ...mapping.tiers.problem import Choice, Item, Link, Step, Tier, TierProblem

MIB, GIB = 2**20, 2**30
GB = 10**9


def experts(layers: int = 4, tokens: int = 2, *, hbm_to_sram: float = 1.8e12, ddr_to_hbm: float = 200e9) -> TierProblem:
    """A mixture-of-experts decode on one SN40L socket, one layer's attention and two of eight experts after the other.

    Mixtral's layers in int8 (hidden 4096, 14336 wide, eight experts), of which HBM has room for six experts per layer;
    experts are drawn at random, the first ones more often, and the router's choice is known ahead.
    """
    rng = random.Random(0)
    sizes = {f"attention {x}": 4096 * (2 * 4096 + 2 * 1024) for x in range(layers)}
    sizes |= {f"expert {x}.{e}": 3 * 4096 * 14336 for x in range(layers) for e in range(8)}
    steps = []
    for t in range(tokens):
        for x in range(layers):
            names = [f"attention {x}"]
            drawn: set[int] = set()
            while len(drawn) < 2:
                drawn |= set(rng.choices(range(8), [1 / (e + 1) for e in range(8)]))
            names += [f"expert {x}.{e}" for e in sorted(drawn)]
            steps += [
                Step(f"token {t}, {n}", (Choice("socket", 2 * sizes[n] / 638e12, {n: "sram"}),)) for n in names
            ]
    used = {n for s in steps for n in s.choices[0].reads}
    items = {n: Item(n, size, home="ddr") for n, size in sizes.items() if n in used}
    hbm = layers * 300 * MIB
    tiers = (Tier("sram", 520 * MIB), Tier("hbm", hbm), Tier("ddr", 1536 * GIB))
    links = (
        Link("hbm to sram", "hbm", "sram", hbm_to_sram, 3.9e-12 * 8),
        Link("ddr to hbm", "ddr", "hbm", ddr_to_hbm, 5.73e-12 * 8),
    )
    return TierProblem("experts", tiers, links, items, tuple(steps), periodic=True)


def beside_data(
    tokens: Sequence[int], *, hidden: int = 1024, wide: int = 4096, moved_only: bool = False,
    pcie: float = 32e9, near: float = 512e9, near_flops: float = 2.05e12, gpu_flops: float = 312e12,
) -> TierProblem:
    """One layer of experts: those with most tokens move to the GPU, the others are computed beside their data.

    Both work at once, so that a choice is a number of experts that move. An A100 behind PCIe 4.0 x16; a memory device
    with 512 GB/s and 64 arrays of 4 x 4 multiply-adds at 1 GHz (MoNDE); fp16.

    Args:
        tokens: of each expert.
        hidden, wide: of an expert's two matrices.
        moved_only: all experts with tokens move, as in offloading.
        pcie, near, near_flops, gpu_flops: bytes, bytes and operations per second.
    """
    ordered = sorted((n for n in tokens if n), reverse=True)
    expert = 2 * hidden * wide * 2
    choices = []
    for hot in (len(ordered),) if moved_only else range(len(ordered) + 1):
        cold = ordered[hot:]
        beside = sum(max(expert / near, 4 * n * hidden * wide / near_flops) for n in cold)
        gpu = 4 * sum(ordered[:hot]) * hidden * wide / gpu_flops
        moved = hot * expert + 2 * sum(cold) * hidden * 2
        choices.append(Choice(f"{hot} of {len(ordered)} move", max(beside, gpu), streams={"pcie": moved}))
    tiers = (Tier("gpu"), Tier("device"))
    link = Link("pcie", "device", "gpu", pcie)
    return TierProblem("beside data", tiers, (link,), {}, (Step("experts", tuple(choices)),), periodic=True)


def routed(experts: int, tokens: int, skew: float, seed: int = 0) -> list[int]:
    """Tokens of each expert, drawn by a Zipf law."""
    rng = random.Random(seed)
    weights = [1 / (e + 1) ** skew for e in range(experts)]
    counts = [0] * experts
    for e in rng.choices(range(experts), weights, k=tokens):
        counts[e] += 1
    return counts


def kv_blocks(requests: int = 5, blocks: int = 3, rounds: int = 2, *, host: float = 32e9) -> TierProblem:
    """Requests that are decoded by turns, each reading all its KV blocks, of which three fifths fit beside the GPU."""
    size = 64 * MIB
    items = {f"r{r}.{b}": Item(f"r{r}.{b}", size, home="host") for r in range(requests) for b in range(blocks)}
    order = [r for n in range(rounds) for r in (range(requests) if n % 2 else reversed(range(requests)))]
    steps = tuple(
        Step(f"turn {i}, request {r}", (Choice("gpu", 4e-3, {f"r{r}.{b}": "hbm" for b in range(blocks)}),))
        for i, r in enumerate(order)
    )
    room = size * (requests * blocks * 3 // 5)
    links = (Link("pcie", "host", "hbm", host),)
    return TierProblem("KV blocks", (Tier("hbm", room), Tier("host")), links, items, steps, periodic=True)
