"""How fast the tile mapper searches: layouts and tilings per second, and seconds for whole networks.

    python benchmarks/mapper.py [ARCH ...]

Prints, for each machine, network and objective, in a warm process and with no plan kept from before: seconds to map all
Einsums; the share of them that the search for layouts takes; how many tiles had their layout searched for, and how many
layouts were compared per second of that; how many tilings with their cuts all levels had to choose from, per second of
the whole; how many plans the limit on settled tilings cut short. Then the ratio of the layouts per second to those that
the array's own cost takes one at a time.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from accelsim.arch import Architecture
from accelsim.arch.loader import load_architecture
from accelsim.components.base import SpatialOption
from accelsim.components.spatial import VARIANT
from accelsim.ir import Workload
from accelsim.mappers.aims import AIMS, LATENCY
from accelsim.mappers.tile.layouts import LayoutLeaf
from accelsim.mappers.tile.nest import Nest
from accelsim.mappers.tile.network import Network
from accelsim.mappers.tile.planned import planned
from accelsim.mappers.tile.stage import Stage
from accelsim.mapping.constraints import Constraints
from accelsim.workloads import load_model

ARCHES = (str(Path(__file__).with_name("small_tpu_like.yaml")), "eyeriss", "tpu_like")
MODELS = ("resnet18", "mobilenet_v2")
OBJECTIVES = ("latency", "energy")


@dataclass
class Counts:
    layouts: int = 0
    tiles: int = 0
    seconds: float = 0.0
    tilings: int = 0
    settled: list[tuple[LayoutLeaf, dict[str, int], Nest]] = field(default_factory=list)


def count(counts: Counts) -> None:
    """Make every search report to `counts` from here on."""
    layouts, tilings = LayoutLeaf._search, Stage._search

    def of_layouts(self: LayoutLeaf, extents: dict[str, int]) -> Any:
        before, start = self.looked_at, time.perf_counter()
        found = layouts(self, extents)
        counts.seconds += time.perf_counter() - start
        counts.layouts, counts.tiles = counts.layouts + self.looked_at - before, counts.tiles + 1
        if isinstance(found, Nest):
            counts.settled.append((self, extents, found))
        return found

    def of_tilings(self: Stage, extents: dict[str, int], *rest: Any) -> Any:
        counts.tilings += prod(len(n) for n in self.space.sizes.values()) * len(self.cuts)
        return tilings(self, extents, *rest)

    LayoutLeaf._search, Stage._search = of_layouts, of_tilings  # type: ignore[method-assign, assignment]


def one_by_one(settled: list[tuple[LayoutLeaf, dict[str, int], Nest]]) -> float:
    """Layouts per second that the array itself costs."""
    some = settled[:: max(1, len(settled) // 50)]
    start = time.perf_counter()
    for leaf, extents, nest in some:
        tile = {r: np.array([n]) for r, n in extents.items()}
        leaf.unit.cost(leaf.einsum, SpatialOption(VARIANT, {}, nest.layout), tile, leaf.bits)
    return len(some) / (time.perf_counter() - start)


def run(arch: Architecture, name: str, model: Workload, objective: str, counts: Counts) -> None:
    planned.cache_clear()
    counts.__init__()  # type: ignore[misc]
    start = time.perf_counter()
    network = Network(model, arch, AIMS[objective], Constraints())
    seconds = time.perf_counter() - start
    cut = sum(not p.complete for p in network.plans.values())
    line = f"{arch.name:18} {name:13} {objective:8} {seconds:6.2f} s  {counts.tilings / seconds:11,.0f} tilings/s"
    line += f"  {cut:3} of {len(network.plans)} plans cut short"
    if counts.tiles:
        rate = counts.layouts / counts.seconds
        line += f"  layouts: {counts.seconds / seconds:4.0%} of it, {counts.tiles} tiles, {rate:11,.0f} layouts/s"
        line += f" ({rate / one_by_one(counts.settled):,.0f} times one by one)"
    print(line)


def main(arches: list[str]) -> None:
    counts = Counts()
    count(counts)
    for path in arches or ARCHES:
        arch = load_architecture(path)
        Network(load_model("resnet18", bits=8), arch, LATENCY, Constraints())  # loads compiled code
        for name in MODELS:
            for objective in OBJECTIVES:
                run(arch, name, load_model(name, bits=8), objective, counts)


if __name__ == "__main__":
    main(sys.argv[1:])
