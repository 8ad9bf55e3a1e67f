"""More room or bandwidth makes no plan of the tile mapper worse, because what is inside tiles is bounded closely."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from support.machines import gemm
from support.random_plans import machine, workload

from accelsim.arch.architecture import Architecture
from accelsim.arch.loader import loads_architecture
from accelsim.components.base import ComputeUnit
from accelsim.ir import Einsum
from accelsim.mappers.aims import ENERGY, LATENCY
from accelsim.mappers.tile.nest import TIE, Shortfall
from accelsim.mappers.tile.network import Network
from accelsim.mappers.tile.search import Task, stage_of
from accelsim.mappers.tile.stage import Stage
from accelsim.mapping.constraints import Constraints

CUT_SHORT = 0.06
"""Share by which a plan may be worse whose search was cut short: of what it left out nothing is known."""
TIES = (1 + TIE["latency"]) ** 2
"""Of tilings that differ by less the one of less energy is taken, by each of two searches."""


def two_levels(
    *, outer: int = 64, inner: int = 48, dram: float = 8, between: int = 16, flow: str = "ws"
) -> Architecture:
    """Capacities in KiB, bandwidths in GB/s and bytes per cycle."""
    return loads_architecture(
        f"""
name: two_levels
clock: 1 GHz
memories:
  dram: {{kind: dram, capacity: 8 GiB, bandwidth: {dram} GB/s, standard: LPDDR4}}
  outer: {{kind: buffer, parent: dram, capacity: {outer} KiB, bandwidth: {between} B/cycle}}
  inner: {{kind: buffer, parent: outer, capacity: {inner} KiB, bandwidth: 128 B/cycle}}
units:
  array: {{kind: systolic, memory: inner, rows: 32, cols: 48, dataflows: [{flow}]}}
"""
    )


def planned(arch: Architecture) -> tuple[float, bool]:
    """Cycles of a product, and whether its search was not cut short."""
    network = Network(gemm(2048, 11008, 4096, bits=8), arch, LATENCY, Constraints())
    (plan,) = network.plans.values()
    return plan.cycles, plan.complete


def never_worse(machines: list[Architecture]) -> int:
    """Check plans on machines, each with more than the one before; how many of their searches were complete."""
    found = [planned(arch) for arch in machines]
    for i, (before, _) in enumerate(found):
        for cycles, complete in found[i + 1 :]:
            assert cycles <= before * (TIES if complete else 1 + CUT_SHORT)
    return sum(complete for _, complete in found)


@pytest.mark.parametrize("flow", ["ws", "os"])
def test_more_room_is_never_worse(flow: str) -> None:
    sizes = (32, 48, 64, 80, 96, 112, 128, 160, 192, 256)
    assert never_worse([two_levels(outer=n, flow=flow) for n in sizes]) >= 6
    assert never_worse([two_levels(inner=n, flow=flow) for n in sizes]) >= 6


@pytest.mark.parametrize("outer", [64, 112])
def test_more_bandwidth_is_never_worse(outer: int) -> None:
    assert never_worse([two_levels(outer=outer, dram=4 * 1.5**i) for i in range(7)]) >= 5
    assert never_worse([two_levels(outer=outer, between=n) for n in (8, 12, 16, 24, 32, 48, 64)]) >= 5


@pytest.mark.parametrize("seed", range(40))
def test_what_is_inside_takes_no_less_than_its_bound(seed: int) -> None:
    """The bound of a level farther in, for tiles which may be one of several sums and last."""
    random = Random(seed)
    arch = machine(random, levels=2, capacity=f"{random.choice([64, 200, 1000])} B")
    tasks: list[Task] = []

    def planner(task: Task) -> Shortfall:
        tasks.append(task)
        raise StopIteration

    with pytest.raises(StopIteration):
        Network(workload(random, 12), arch, random.choice([LATENCY, ENERGY]), Constraints(), planner=planner)
    (task,) = tasks
    for unit in (u for u in arch.units.values() if isinstance(u, ComputeUnit) and u.name in task.operands):
        for option in unit.spatial_options(task.einsum):
            inner = stage_of(task, unit, option).inner
            if isinstance(inner, Stage) and inner.inner.exact:
                for _ in range(6):
                    check_bound(random, task.einsum, inner)


def check_bound(random: Random, einsum: Einsum, inner: Stage) -> None:
    extents = {r: random.choice(inner.space.sizes.get(r, [n])) for r, n in einsum.sizes.items()}
    sums = random.choice([1, 2, 6]) if einsum.reduced_ranks else 1
    lasts = {hop.key: sums if hop.operand.is_output else 4 for hop in inner.hops if random.random() < 0.5}
    lasts = {way: n for way, n in lasts.items() if n > 1}
    found = inner.best(extents, sums, lasts)
    if isinstance(found, Shortfall):
        return
    arrays = {r: np.array([n]) for r, n in extents.items()}
    bound = inner.bound(arrays, np.array([sums]), {way: np.array([n]) for way, n in lasts.items()})
    work = found.work
    assert bound.cycles[0] <= (work.cycles[0] + work.edge[0]) * (1 + 1e-9)
    assert bound.joules[0] <= work.joules[0] * (1 + 1e-9)
