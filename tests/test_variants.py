"""Variants of operators and chains: boxes against walks, published halos, budgets below an operator's need."""

from __future__ import annotations

from itertools import product
from math import prod

import pytest

from accelsim import load_model
from accelsim.arch.loader import load_architecture
from accelsim.engine import compiled
from accelsim.errors import BadInput, DoesNotFit
from accelsim.ir import Workload
from accelsim.ir.build import WorkloadBuilder
from accelsim.lowering.tiers import program_of
from accelsim.mappers.ilp.graph import Graph, GraphOptions, graph_of
from accelsim.mappers.ilp.tiers.model import BYTES, LATENCY
from accelsim.mappers.ilp.tiers.search import place
from accelsim.mappers.ilp.variants import Chain, Chip, with_variants
from accelsim.mapping.tiers.check import check_tier_plan
from accelsim.mapping.tiers.plan import Ledger

KB = 1024


def small() -> Workload:
    """Two convolutions with halos and strides, and a residual."""
    b = WorkloadBuilder("small")
    x = b.conv(b.input("image", (1, 3, 24, 20)), b.weight("w1", (8, 3, 3, 3)), None, (1, 1), (1,) * 4, name="one")
    y = b.conv(x, b.weight("w2", (8, 8, 3, 3)), None, (1, 1), (1,) * 4, name="two")
    z = b.elementwise("add", x, y, name="residual")
    b.output(b.conv(z, b.weight("w3", (16, 8, 3, 3)), None, (2, 2), (1,) * 4, name="three"))
    return b.build()


def chip(capacity: int) -> Chip:
    return Chip.of(load_architecture("edge_npu"), "sram", capacity=capacity)


def graph(workload: Workload, *, parameters: bool = False) -> Graph:
    return graph_of(workload, GraphOptions(parameters=parameters))


def placed(workload: Workload, capacity: int, *, parameters: bool = False, longest: int = 1) -> Ledger:
    problem = with_variants(workload, graph(workload, parameters=parameters), chip(capacity), longest=longest)
    plan = place(problem, aims=(BYTES,))
    ledger = check_tier_plan(problem, plan)
    assert ledger.peaks["near"] <= capacity
    trace = compiled.run(program_of(problem, plan))
    assert dict(zip(trace.program.actions, trace.action_counts().tolist(), strict=True)) == {
        link: n for link, n in ledger.link_bytes.items() if n
    }
    assert trace.finish / 1e12 >= ledger.seconds * (1 - 1e-9)
    return ledger


@pytest.mark.parametrize("grid", [(1, 1), (3, 1), (2, 2), (5, 4), (12, 10)])
def test_boxes_are_what_a_walk_counts(grid: tuple[int, int]) -> None:
    """Every box by itself, element by element of what the strided windows reach."""
    workload = small()
    chain = Chain(workload, graph(workload), 0, 3)
    cut = chain.cut(grid, frozenset({"image", chain.result}))
    rows = [(12 * i + grid[0] - 1) // grid[0] for i in range(grid[0] + 1)]
    columns = [(10 * i + grid[1] - 1) // grid[1] for i in range(grid[1] + 1)]
    macs = loaded = 0
    for i, j in product(range(grid[0]), range(grid[1])):
        def window(low: int, high: int, size: int, stride: int = 1) -> tuple[int, int]:
            return max(0, stride * low - 1), min(size, stride * (high - 1) + 2)

        h3, w3 = (rows[i], rows[i + 1]), (columns[j], columns[j + 1])
        h2, w2 = window(*h3, 24, 2), window(*w3, 20, 2)
        h1, w1 = window(*h2, 24), window(*w2, 20)
        h0, w0 = window(*h1, 24), window(*w1, 20)
        area = [(h[1] - h[0]) * (w[1] - w[0]) for h, w in ((h0, w0), (h1, w1), (h2, w2), (h3, w3))]
        loaded += area[0] * 3 * 2
        macs += area[1] * 8 * 27 + area[2] * 8 * 72 + area[3] * 16 * 72
    assert (cut.loaded, cut.macs, cut.stored) == (loaded, macs, 12 * 10 * 16 * 2)


def test_published_halo_of_patches() -> None:
    """MobileNetV2 up to 28 x 28 in 4 x 4 patches: 30.6 % more work (MCUNetV2's patches, clipped to the borders)."""
    workload = load_model("mobilenet_v2", bits=8)
    chain = Chain(workload, graph(workload), 0, 12)
    assert workload.tensors[chain.result].shape == (1, 32, 28, 28)
    whole, patches = (chain.cut(grid, frozenset({"input"})) for grid in ((1, 1), (4, 4)))
    assert patches.macs / whole.macs - 1 == pytest.approx(0.306, abs=5e-4)
    assert patches.workspace < whole.workspace / 5


@pytest.mark.parametrize(("model", "capacity"), [("resnet50_v1.5", 512 * KB), ("mobilenet_v2", 192 * KB)])
def test_budgets_below_the_largest_operator(model: str, capacity: int) -> None:
    workload = load_model(model, bits=8)
    problem = graph(workload).problem
    assert capacity < problem.largest_working_set
    few = placed(workload, capacity)
    assert few.nbytes >= problem.compulsory_bytes
    assert placed(workload, capacity // 4).nbytes >= few.nbytes
    assert placed(workload, problem.largest_working_set).nbytes <= few.nbytes


def test_chains_move_less_and_compute_more() -> None:
    workload = load_model("mobilenet_v2", bits=8)
    single, chained = placed(workload, 192 * KB), placed(workload, 192 * KB, longest=5)
    assert chained.nbytes < 0.7 * single.nbytes
    assert chained.nbytes >= graph(workload).problem.compulsory_bytes


def test_weights_that_do_not_fit_pass_by() -> None:
    """With parameters: 2 KiB hold none of the largest weights, which come once per box."""
    workload = small()
    ledger = placed(workload, 6 * KB, parameters=True, longest=4)
    weights = sum(prod(workload.tensors[w].shape) * 2 for w in ("w1", "w2", "w3"))
    assert ledger.link_bytes["load"] >= weights + 24 * 20 * 3 * 2


def test_faster_where_traffic_costs_more_than_work() -> None:
    """For latency, patches that compute again are taken on a slow channel alone."""
    workload = small()

    def work(bandwidth: float) -> float:
        problem = with_variants(workload, graph(workload), Chip(12 * KB, bandwidth, 1e9, 0.0), longest=4)
        plan = place(problem, aims=(LATENCY,))
        return sum(
            c.seconds for s, n in zip(problem.framed, plan.choices, strict=True) for c in s.choices if c.name == n
        )

    assert work(1e6) > work(1e12)


def test_what_cannot_be_cut_is_named() -> None:
    with pytest.raises(DoesNotFit, match="step one: no variant needs"):
        placed(small(), 64)
    with pytest.raises(BadInput, match="networks without Repeats"):
        with_variants(load_model("gpt2"), graph(load_model("gpt2")), chip(KB))
