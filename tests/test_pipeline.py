"""Cascades as pipelines: tokens, cycles, FIFO depths, lanes and cuts against brute force and closed forms."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import combinations, pairwise, product
from pathlib import Path

import pytest
from support.cli import accelsim
from support.stream_graphs import random_graph

from accelsim.engine import compiled
from accelsim.engine.depths import with_depths
from accelsim.engine.program import UNBOUNDED
from accelsim.errors import BadInput, Deadlock, DoesNotFit
from accelsim.ir import Workload, parse_cascade
from accelsim.ir.rewrites import split_rank
from accelsim.lowering.streams import GraphBuilder, StreamGraph, every, run_graph, to_program
from accelsim.mappers.pipeline import (
    Budget,
    Lanes,
    Stages,
    Timing,
    allot,
    build_stages,
    full_rate_depths,
    plan_pipeline,
    stream_graph,
    trade_off,
)
from accelsim.mappers.pipeline.allot import cycles_with, units_per_lane
from accelsim.mappers.pipeline.plan import _best_cuts, _kernel, _stretch
from accelsim.workloads import zoo
from accelsim.workloads.text.cascade_file import loads_cascade

SMALL = {"b": 1, "h": 2, "e": 4, "f": 3, "m": 8, "p": 6, "i": 2, "j": 4, "t": 4, "d": 8, "c": 5, "n": 8, "r": 2, "o": 4}


def small(name: str) -> Workload:
    text = zoo.cascade_text(name)
    ranks = {r for e, _ in loads_cascade(text, name).einsums() for r in e.sizes}
    return loads_cascade(text, name, ranks={r: SMALL[r] for r in ranks})


@pytest.mark.parametrize("name", zoo.cascade_names())
@pytest.mark.parametrize("split", [True, False])
def test_every_cascade_of_the_zoo_becomes_a_pipeline(name: str, split: bool) -> None:
    """It runs to its end, no faster than its busiest stage, and does all operations."""
    workload = small(name)
    stages = build_stages(workload, split=split)
    result = run_graph(stream_graph(stages))
    assert result.cycles >= result.bound_cycles
    done: dict[str, int] = {}
    for s in stages.stages:
        for cost, n in s.operations.items():
            done[cost] = done.get(cost, 0) + n * s.firings
    wanted = dict(workload.operations().counts)
    assert {c: n for c, n in done.items() if c != "copy"} == {c: n for c, n in wanted.items() if c != "copy"}


def test_tokens_of_a_tensor_are_its_elements() -> None:
    workload = small("attention_3pass")
    stages = build_stages(workload)
    for link in stages.links:
        tensor = link.tensor if link.dst else "AV"
        if tensor in workload.tensors:
            tokens = stages.stage(link.src).firings * link.put.tokens // link.put.firings
            assert tokens * link.bits == workload.tensors[tensor].elements * 16


def test_chain_of_products() -> None:
    """Three matrices one after the other: the middle one takes its row element by element and gives a burst."""
    n, a, b = 5, 4, 6
    text = f"size t={n}; size d=3; size f={a}; size g={b}; size o=2\n" \
           "H[t,f] = X[t,d] * W[d,f]\nG[t,g] = H[t,f] * V[f,g]\nO[t,o] = G[t,g] * U[g,o]"
    stages = build_stages(parse_cascade(text, name="mlp"))
    assert [s.nest for s in stages.stages] == [(("t", n), ("f", a)), (("t", n), ("f", a)), (("t", n), ("g", b))]
    middle = next(x for x in stages.links if x.src == "G")
    assert (middle.put.tokens, middle.put.largest, middle.put.firings) == (b, b, a)
    # H from 0, G from 1, its first row of b tokens visible at a + 1, O takes them one by one: b cycles a row
    assert run_graph(stream_graph(stages)).cycles == a + 1 + n * b + 1


def test_ranks_inside_a_firing() -> None:
    """Blocks of keys as vectors: the pipeline of a quarter of the keys, four times as wide."""
    cut = split_rank(small("attention_3pass"), "m", 4)
    narrow = build_stages(cut, inside=("m0",))
    assert all(s.inner % 4 == 0 for s in narrow.stages if "m1" in dict(s.nest) and s.name != "GM")
    ranks = {**{r: SMALL[r] for r in "bhefp"}, "m": 2}
    quarter = build_stages(loads_cascade(zoo.cascade_text("attention_3pass"), "a", ranks=ranks))
    assert run_graph(stream_graph(narrow)).cycles == run_graph(stream_graph(quarter)).cycles


def test_recurrences_bound_the_interval() -> None:
    """Steps that follow each other directly wait for each other; steps of other rows in between hide that."""
    workload = small("softmax_online")
    for order, interval in ((("t", "n"), 3), (("n", "t"), 1)):
        stages = build_stages(workload, order=order)
        graph = stream_graph(stages, timing=Timing(recurrence=3))
        assert {n.name: n.ii for n in graph.nodes if n.kind == "scan"} == {"S_2": interval}
    rows = stream_graph(build_stages(workload, order=("t", "n")), timing=Timing(recurrence=3))
    assert run_graph(rows).bound_cycles == 3 * SMALL["t"] * SMALL["n"]


def test_order_of_the_nest() -> None:
    """With keys outermost every query's partial results are open at once, and no FIFO is as long as a row of keys."""
    workload = small("attention_deferred")
    rows = build_stages(workload, order=("b", "h", "p", "m"))
    columns = build_stages(workload, order=("b", "h", "m", "p"))
    assert columns.stage("SD").held_bytes == SMALL["p"] * rows.stage("SD").held_bytes
    with pytest.raises(BadInput, match="no rank 'q' to stream"):
        build_stages(workload, order=("q",))


# FIFO depths


def brute_force(graph: StreamGraph, most: int) -> dict[tuple[int, ...], int]:
    """Cycles by depths, of all depths up to `most` that end."""
    found, program = {}, to_program(graph)
    for depths in product(*(range(max(1, s.put.largest, s.take.largest, s.init), most + 1) for s in graph.streams)):
        try:
            found[depths] = compiled.run(with_depths(program, dict(enumerate(depths)))).finish
        except Deadlock:
            continue
    return found


def diamond(n: int, slow: int) -> StreamGraph:
    """A row of n tokens is summed while it waits for its sum, which a node of interval `slow` hands on."""
    g = GraphBuilder("diamond")
    a, b, c = g.node("a", "source", firings=4 * n), g.node("b", "reduce", length=n), g.node("c", ii=slow)
    d = g.node("d", "sink")
    g.stream(a, b)
    g.stream(a, d)
    g.stream(b, c)
    g.stream(c, d, take=every(n))
    return g.build()


def late() -> StreamGraph:
    """Two rows of two tokens; the curve has a point that takes one more token in each of two streams."""
    g = GraphBuilder("late")
    a, b = g.node("a", "source", firings=4, latency=3), g.node("b", latency=3, ii=2)
    c, d = g.node("c", "reduce", length=2, latency=2), g.node("d", "sink", ii=3)
    for src, dst in ((a, b), (b, d), (b, c)):
        g.stream(src, dst)
    g.stream(c, d, take=every(2))
    return g.build()


@pytest.mark.parametrize("graph", [diamond(2, 1), diamond(3, 4), late()])
def test_least_depths_and_the_trade_off_against_brute_force(graph: StreamGraph) -> None:
    sizing = full_rate_depths(graph)
    everything = brute_force(graph, max(sizing.point.depths) + 1)
    full = min(everything.values())
    assert sizing.point.cycles == full
    least = min(sum(d) for d, cycles in everything.items() if cycles == full)
    assert sizing.point.total == least
    assert sizing.proven
    front: list[tuple[int, int]] = []
    for total in sorted({sum(d) for d in everything}):
        cycles = min(c for d, c in everything.items() if sum(d) == total)
        if not front or cycles < front[-1][1]:
            front.append((total, cycles))
    curve = trade_off(graph)
    assert curve.complete
    assert [(p.total, p.cycles) for p in curve.points] == front


def test_least_depths_of_random_graphs() -> None:
    """They are as fast as FIFOs without bound, no stream can be less deep, and more depth is never slower."""
    proven = 0
    for seed in range(25):
        graph = random_graph(seed)
        free = graph.with_depths(dict.fromkeys(range(len(graph.streams)), UNBOUNDED))
        try:
            full = run_graph(free, advise=False).cycles
        except Deadlock:
            continue
        sizing = full_rate_depths(graph)
        assert sizing.point.cycles == full == run_graph(sizing.graph).cycles, seed
        proven += sizing.proven
        for i, depth in enumerate(sizing.point.depths):
            s = graph.streams[i]
            if depth > max(1, s.put.largest, s.take.largest, s.init):
                try:
                    assert run_graph(sizing.graph.with_depths({i: depth - 1}), advise=False).cycles > full, (seed, i)
                except Deadlock:
                    continue
            assert run_graph(sizing.graph.with_depths({i: depth + 3})).cycles == full
    assert proven == 25


def test_no_depths_are_fast_enough() -> None:
    with pytest.raises(DoesNotFit, match="it takes 17 cycles, and 10 are wanted"):
        full_rate_depths(diamond(3, 1), within_cycles=10)


# Lanes


def attention(n: int) -> Stages:
    ranks = {"b": 1, "h": 1, "e": 16, "f": 8, "m": n, "p": n}
    return build_stages(loads_cascade(zoo.cascade_text("attention_3pass"), "a", ranks=ranks))


def test_lanes_against_brute_force() -> None:
    stages = attention(4).stages
    heavy = [s for s in stages if s.name in ("QK", "AV")]
    for macs in range(2, 26):
        budget = Budget((Lanes("mac", macs, ("mac",)),))
        best = min(
            max(cycles_with(s, n) for s, n in zip(heavy, lanes, strict=True))
            for lanes in product(range(1, 17), repeat=2)
            if sum(n * units_per_lane(s, budget)["mac"] for s, n in zip(heavy, lanes, strict=True)) <= macs
        )
        found = allot(stages, budget)
        assert found.cycles == best
        assert found.used["mac"] <= macs
        assert all(cycles_with(s, found.lanes[s.name]) <= found.cycles for s in stages)


def test_lanes_do_not_reach() -> None:
    with pytest.raises(DoesNotFit, match="2 units of 'mac' for one lane in each of the stages QK, AV, and there are 1"):
        allot(attention(4).stages, Budget((Lanes("mac", 1, ("mac",)),)))
    with pytest.raises(DoesNotFit, match="7 stages in a kernel, and there are units for 5"):
        allot(attention(4).stages, Budget(stages=5))
    with pytest.raises(BadInput, match="lanes of class 'macs'"):
        Budget((Lanes("x", 1, ("macs",)),))
    with pytest.raises(BadInput, match="run by two kinds"):
        Budget((Lanes("x", 1, ("mac",)), Lanes("y", 1, ("mac",))))


# Kernels


def test_cuts_against_brute_force() -> None:
    """Of all ways to cut the stages into so many stretches, none has a lower estimate; of these, none is faster."""
    workload = small("attention_3pass")
    stages = build_stages(workload)
    depths = full_rate_depths(stream_graph(stages)).depths
    n = len(stages.stages)
    for most, launch in ((3, 5), (7, 0)):
        budget = Budget((Lanes("mac", 12, ("mac",)),), most, None, Fraction(4), launch)
        plan = plan_pipeline(workload, budget)
        assert max(len(k.stages) for k in plan.kernels) <= most
        costs = {(a, b): _stretch(stages, budget, Timing(), depths, a, b).cycles
                 for a, b in combinations(range(n + 1), 2) if b - a <= most}
        estimates: dict[int, int] = {}
        for count in range(n):
            for marks in combinations(range(1, n), count):
                sizes = [b - a for a, b in zip((0, *marks), (*marks, n), strict=True)]
                if max(sizes) <= most:
                    found = sum(launch + costs[pair] for pair in pairwise((0, *marks, n)))
                    estimates[count + 1] = min(found, estimates.get(count + 1, found))
        cuts = _best_cuts(stages, budget, Timing(), depths, None)
        assert {len(stretches): estimate for estimate, stretches in cuts} == estimates
        assert plan.estimate_cycles == estimates[len(plan.kernels)] <= plan.cycles
        times = [
            sum(launch + _kernel(stages, stretch, budget, Timing()).cycles for stretch in stretches)
            for _, stretches in cuts
        ]
        assert plan.cycles == min(times)


def test_a_plan_of_more_kernels_is_no_slower() -> None:
    workload = small("attention_3pass")
    for launch in (0, 100):
        budget = Budget((Lanes("mac", 12, ("mac",)),), launch_cycles=launch)
        times = [plan_pipeline(workload, budget, most_kernels=most).cycles for most in (1, 2, 4, None)]
        assert times == sorted(times, reverse=True)


def test_one_kernel_where_it_fits_and_several_where_it_does_not() -> None:
    workload = small("attention_3pass")
    whole = plan_pipeline(workload, Budget(launch_cycles=100, off_chip_bytes_per_cycle=Fraction(8)))
    assert len(whole.kernels) == 1
    tensors = workload.tensors
    assert whole.off_chip_bytes == sum(tensors[name].nbytes for name in ("Q", "K", "V", "AV"))
    cut = plan_pipeline(workload, Budget(stages=4, launch_cycles=100, off_chip_bytes_per_cycle=Fraction(8)))
    assert len(cut.kernels) == 2
    assert cut.off_chip_bytes > whole.off_chip_bytes
    assert cut.cycles > whole.cycles
    with pytest.raises(DoesNotFit, match="do not fit in one kernel: 7 stages in a kernel, and there are units for 4"):
        plan_pipeline(workload, Budget(stages=4), most_kernels=1)
    with pytest.raises(DoesNotFit, match="bytes on the chip"):
        plan_pipeline(workload, Budget(on_chip_bytes=10))


def test_small_memories_fetch_again() -> None:
    """Keys and values that do not stay on the chip come once per query."""
    workload = small("attention_3pass")
    held = plan_pipeline(workload, Budget(off_chip_bytes_per_cycle=Fraction(8)))
    tight = plan_pipeline(workload, Budget(off_chip_bytes_per_cycle=Fraction(8), on_chip_bytes=220), most_kernels=1)
    again = {t.tensor: t.total for t in tight.kernels[0].transfers}
    assert again["K"] == SMALL["p"] * workload.tensors["K"].nbytes
    assert tight.kernels[0].on_chip_bytes <= 220 < held.kernels[0].on_chip_bytes
    assert tight.cycles > held.cycles


def test_command(tmp_path: Path) -> None:
    given = ("pipeline", "attention_3pass", "--bind", "h=1", "--bind", "m=16", "--bind", "p=16", "--launch", "900",
             "--lanes", "mac+mul=64", "--lanes", "exp=1", "--bandwidth", "32 B/cycle")
    told = json.loads(accelsim(*given, "--json", "--save", tmp_path / "one").output)
    assert told["streaming_ranks"] == ["b", "h", "p", "m"]
    kernel = told["kernels"][0]
    assert kernel["units"] == {"mac+mul": 64, "exp": 1}
    assert {s["stage"]: s["lanes"] for s in kernel["stages"]}["QK"] == 32
    saved = json.loads(accelsim("run", tmp_path / "one" / "kernel1.yaml", "--json").output)
    assert saved["cycles"] == kernel["cycles"] == told["cycles"] - 900
    cut = json.loads(accelsim(*given, "--stages", 4, "--json").output)
    assert len(cut["kernels"]) == 2
    assert cut["cycles"] == sum(k["cycles"] + 900 for k in cut["kernels"])
    assert accelsim(*given, "--stages", 4, "--kernels", 1).code == 3
    for wrong in (["--lanes", "mac:3"], ["--lanes", "macs=3"], ["--on-chip", "3 cows"], ["--inside", "q"]):
        assert accelsim(*given, *wrong).code == 2
    assert "slowest stage" in accelsim(*given).output
