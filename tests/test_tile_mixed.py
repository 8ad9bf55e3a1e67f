"""Plans of small networks mixed as runs show: never worse than those of one aim, whichever objective they were for."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from support.machines import array_machine

from accelsim.arch.architecture import Architecture
from accelsim.arch.loader import load_architecture
from accelsim.ir import Workload
from accelsim.ir.build import WorkloadBuilder
from accelsim.mappers.aims import ENERGY, LATENCY, OVERLAPPING, Aim, aim_about
from accelsim.mappers.tile import map_workload
from accelsim.mappers.tile.mixed import MOST, few, mixtures, waits
from accelsim.mappers.tile.network import Network
from accelsim.mappers.tile.product import least_latency
from accelsim.mappers.tile.trial import cycles_of, run, tried
from accelsim.mapping.constraints import Constraints
from accelsim.mapping.replay import replay
from accelsim.workloads import load_model


def products(name: str, rows: int, widths: list[int], bits: int = 8) -> Workload:
    b = WorkloadBuilder(name, bits=bits)
    x = b.input("x", (rows, widths[0]))
    for i, width in enumerate(widths[1:]):
        x = b.matmul(x, b.weight(f"w{i}", (b.shape(x)[1], width)))
    b.output(x)
    return b.build()


def chain(seed: int) -> Workload:
    """Small products, element-wise operators and softmaxes one after the other."""
    random = Random(seed)
    sizes = (8, 16, 24, 32, 48, 64)
    b = WorkloadBuilder(f"chain {seed}", bits=random.choice((8, 16)))
    x = b.input("x", (random.choice(sizes), random.choice(sizes)))
    for i in range(random.randint(2, 4)):
        kind = random.random()
        if kind < 0.7:
            x = b.matmul(x, b.weight(f"w{i}", (b.shape(x)[1], random.choice(sizes))))
        else:
            x = b.relu(x) if kind < 0.85 else b.softmax(x)
    b.output(x)
    return b.build()


def planned(workload: Workload, arch: Architecture, aim: Aim) -> Network:
    return Network(workload, arch, aim, Constraints())


MACHINES = {
    "edge_npu": load_architecture("edge_npu"),
    "slow": array_machine(8, 8, bandwidth="1 GB/s", capacity="4 KiB", dataflows="[os, ws]"),
    "fast": array_machine(16, 16, bandwidth="64 GB/s", capacity="16 KiB", dataflows="[os]"),
}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("seed", range(6))
def test_no_aim_alone_and_no_other_objective_is_better(seed: int, machine: str) -> None:
    arch, workload = MACHINES[machine], chain(seed)
    found = {o: map_workload(workload, arch, objective=o) for o in ("latency", "energy", "edp")}
    cycles = {o: cycles_of(mapping, workload, arch) for o, mapping in found.items()}
    assert cycles["latency"] == min(cycles.values())
    alone = [tried(planned(workload, arch, aim)) for aim in (LATENCY, ENERGY)]
    assert cycles["latency"] <= min(t.cycles for t in alone) * (1 + 1e-9)
    products = [t.value("edp") for t in alone]
    claims = {o: mapping.claim for o, mapping in found.items()}
    assert claims["latency"] is not None and claims["edp"] is not None
    assert claims["latency"].value == pytest.approx(cycles["latency"], rel=1e-9)
    assert claims["edp"].value <= min(products) * (1 + 1e-9)
    for mapping in found.values():
        replay(mapping, workload, arch)


def test_loads_that_overlap_are_found_by_running() -> None:
    """Three small products; what is expected of each alone prefers tiles that let it begin early."""
    workload = products("three", 48, [8, 48, 64, 64])
    arch = MACHINES["slow"]
    plain, best = tried(planned(workload, arch, LATENCY)), least_latency(lambda aim: planned(workload, arch, aim))
    assert best.cycles < 0.9 * plain.cycles
    assert best.network.plans == best.plans
    assert cycles_of(best.network.mapping(further=True), workload, arch) == best.cycles


def test_runs_hold_those_of_every_aim_and_mixtures() -> None:
    workload, arch = products("three", 48, [8, 48, 64, 64]), MACHINES["slow"]
    first = tried(planned(workload, arch, LATENCY))
    runs = mixtures(lambda aim: planned(workload, arch, aim), first)
    assert runs[0] is first
    for aim in (OVERLAPPING, ENERGY, aim_about(first.cycles, first.joules)):
        assert run(planned(workload, arch, aim)).cycles in [t.cycles for t in runs]
    assert len({t.cycles for t in runs}) > 4
    for t in runs:
        assert t.cycles == cycles_of(t.mapping, workload, arch)


def test_large_products_and_long_networks_are_left_as_they_are() -> None:
    asked: list[Aim] = []

    def maker(workload: Workload, arch: Architecture) -> Callable[[Aim], Network]:
        def make(aim: Aim) -> Network:
            asked.append(aim)
            return planned(workload, arch, aim)

        return make

    large, long, short = products("large", 512, [512] * 3), products("long", 8, [8] * (MOST + 2)), chain(0)
    assert not few(products("alone", 8, [8, 8]), MACHINES["slow"])
    assert few(large, MACHINES["slow"]) and not waits(tried(planned(large, MACHINES["slow"], LATENCY)))
    least_latency(maker(large, MACHINES["slow"]))
    assert not few(long, MACHINES["edge_npu"]) and waits(tried(planned(long, MACHINES["edge_npu"], LATENCY)))
    least_latency(maker(long, MACHINES["edge_npu"]))
    assert asked == [LATENCY] * 2
    assert few(short, MACHINES["edge_npu"]) and waits(tried(planned(short, MACHINES["edge_npu"], LATENCY)))
    least_latency(maker(short, MACHINES["edge_npu"]))
    assert asked[3:6] == [OVERLAPPING, ENERGY, asked[5]] and asked[5].objective == "edp"


def test_repeats_count_as_often_as_they_run() -> None:
    bert = load_model("bert-base", seq=16)
    assert sum(1 for _ in bert.einsums()) <= MOST and not few(bert, MACHINES["edge_npu"])
