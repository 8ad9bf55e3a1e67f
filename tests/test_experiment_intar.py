"""InTAR's rows, and what every parameter of its machine does to them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.experiments import rows_of

from accelsim.experiments.intar.experiment import as_built, budget, free, gpt2, interval, run_built
from accelsim.experiments.intar.kernels import KERNELS, attention, cnn, gating, mlp
from accelsim.experiments.loader import Row
from accelsim.mappers.phases import STYLES, Loop, Result, TaskGraph, run_style, simulate_plan


@pytest.fixture(scope="module")
def found() -> list[Row]:
    return list(rows_of("intar"))


def test_rows_within_tolerance(found: list[Row]) -> None:
    judged = [r for r in found if r.tolerance is not None]
    assert len(judged) == 23
    assert [r.where for r in judged if not r.ok] == []


def test_macs_are_the_published_ones() -> None:
    macs = {name: sum(t.points for t in make().tasks) for name, make in KERNELS.items()}
    assert macs["attention"] == 939_524_096
    assert macs["mlp"] == 2_883_584
    assert macs["cnn"] == 11_289_600
    assert macs["gating"] == 4_328_521_728


@pytest.mark.parametrize("kernel", KERNELS)
def test_designs_stay_above_their_bounds(kernel: str) -> None:
    for style in STYLES:
        got = run_built(kernel, style)
        assert got.machine_bound <= got.program_bound <= got.cycles
        assert got.read_bytes + got.written_bytes >= got.plan.graph.compulsory_bytes


OTHER_SIZES = (
    ("attention", attention(100, 300), 100 * 300 * (3 * 300 + 2 * 100)),
    ("attention", attention(512, 256), 512 * 256 * (3 * 256 + 2 * 512)),
    ("mlp", mlp((256, 520, 512, 128)), 256 * 520 + 520 * 512 + 512 * 128),
    ("cnn", cnn(100), 9 * 100 * 100 * (1 + 4 + 16 + 4)),
    ("gating", gating(16, 1024, 2816), 3 * 16 * 1024 * 2816),
)


@pytest.mark.parametrize(("kernel", "graph", "macs"), OTHER_SIZES, ids=lambda x: x if isinstance(x, str) else "")
def test_order_of_the_styles_at_other_sizes(kernel: str, graph: TaskGraph, macs: int) -> None:
    """On the budget of the published kernel."""
    own = budget(kernel)
    assert graph.work == macs
    found = []
    for style in STYLES:
        loop = Loop(ii=interval(own, "memory" if style == "sequential" else "register"))
        got = run_style(replace(graph, tasks=tuple(replace(t, loop=loop) for t in graph.tasks)), own, style)
        assert got.machine_bound <= got.program_bound <= got.cycles
        found.append(got.cycles)
    assert found[0] > found[1] >= found[2]
    assert found[2] <= 1.08 * macs / own.pool.lanes


def built_with(kernel: str, style: str, **values: object) -> Result:
    return simulate_plan(as_built(kernel, style, **values))


def test_latencies_slow_loops_down() -> None:
    for key, base in (("read_latency", 2), ("operation_latency", 4)):
        few, many = (
            built_with("gating", "dataflow", **{f"units.cores.{key}": base + d}).cycles for d in (-1, 1)
        )
        assert few < run_built("gating", "dataflow").cycles < many


def test_interval_of_loops_that_add_in_memory_follows_from_the_latencies() -> None:
    """A word comes back after read and addition: one cycle more of either makes seven of six."""
    base = run_built("cnn", "sequential").cycles
    for key, latency in (("read_latency", 3), ("operation_latency", 5)):
        slower = built_with("cnn", "sequential", **{f"units.cores.{key}": latency})
        assert [t.loop.ii for t in slower.plan.graph.tasks] == [7] * 4
        assert slower.cycles == pytest.approx(base * 7 / 6, rel=0.01)
    registers = built_with("gating", "sequential", **{"units.cores.read_latency": 5}).plan.graph.tasks
    assert [t.loop.ii for t in registers] == [1] * 3


def test_clock_scales_time() -> None:
    slow, fast = (built_with("mlp", "reconfigurable", clock=f"{242.2 * f} MHz").seconds for f in (0.8, 1.2))
    assert fast < run_built("mlp", "reconfigurable").seconds < slow


def test_switch_and_hbm_latency_cost_little_but_something() -> None:
    base = run_built("mlp", "reconfigurable").cycles
    assert built_with("mlp", "reconfigurable", **{"units.cores.switches": {"auto": "200 ns"}}).cycles > base
    assert built_with("mlp", "reconfigurable", **{"memories.hbm.latency": "244 ns"}).cycles > base


def test_port_width_limits_what_uses_a_weight_once() -> None:
    narrow, wide = (
        built_with("mlp", "dataflow", **{"units.cores.port_bandwidth": f"{w} B/cycle"}).cycles for w in (25.6, 38.4)
    )
    base = run_built("mlp", "dataflow").cycles
    assert narrow > 1.1 * base
    assert base * 0.99 < wide <= base  # the multipliers are the limit


def test_hbm_bandwidth_is_far_away() -> None:
    """32 ports of 32 bytes a cycle do not ask for 80 % of 460 GB/s."""
    lower = built_with("mlp", "reconfigurable", **{"memories.hbm.bandwidth": "368 GB/s"}).cycles
    assert lower == run_built("mlp", "reconfigurable").cycles


@pytest.mark.parametrize("factor", [0.8, 1.2])
def test_multipliers_and_memory_of_the_budget(factor: float) -> None:
    own = budget("cnn")
    base = run_style(free("cnn", "reconfigurable", own), own, "reconfigurable").cycles
    pool = own.pool.model_copy(update={"cores": int(own.pool.cores * factor)})
    other = replace(own, pool=pool)
    moved = run_style(free("cnn", "reconfigurable", other), other, "reconfigurable").cycles
    assert (moved > base) == (factor < 1)
    room = replace(own, capacity=int(own.capacity * factor))
    moved = run_style(free("cnn", "reconfigurable", room), room, "reconfigurable").cycles
    assert moved >= base if factor < 1 else moved <= base


def test_gpt2_follows_the_clock() -> None:
    assert gpt2(64, 288.0, longest=1) < gpt2(64, 240.0, longest=1) < gpt2(64, 192.0, longest=1)
