"""Stream graphs: closed forms, deadlocks with what frees them, everything that can be wrong, and the command."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cli import accelsim
from support.stream_graphs import random_graph

from accelsim.engine import compiled, reference
from accelsim.engine.builder import Phase
from accelsim.engine.checker import check
from accelsim.errors import BadInput, Deadlock, SpecError
from accelsim.lowering.streams import (
    GraphBuilder,
    Rate,
    StreamGraph,
    dumps_graph,
    every,
    loads_graph,
    run_graph,
    to_program,
)
from accelsim.lowering.streams.rates import PortRate, cycle_length, schedule
from accelsim.report.streams import fifo_levels

GRAPH = """\
name: softmax
clock: 2 GHz
memories:
  dram: {bandwidth: 16 B/cycle, burst: 32 B}
units: {pcu: 3}
nodes:
  load: {kind: memory, memory: dram, bytes: 128, latency: 20, firings: 16}
  noise: {kind: traffic, memory: dram, bytes: 64, firings: 20}
  scores: {}
  exp: {latency: 4}
  total: {kind: reduce, length: 64, unit: pcu, units: 2}
  divide: {inputs: [score, sum], outputs: [weight]}
  out: {kind: sink}
streams:
- {from: load, to: scores, put: 64, depth: 128}
- scores -> exp
- {from: exp, to: divide.score, depth: 72}
- {from: exp, to: total}
- {from: total, to: divide.sum, take: {every: 64}}
- divide.weight -> out
"""


def pair(depth: int, *, latency: int = 1, ii: int = 1, wire: int = 0, credit: int = 1, n: int = 50) -> StreamGraph:
    g = GraphBuilder("pair")
    a, b = g.node("a", "source", firings=n, latency=latency, ii=ii), g.node("b", "sink", ii=ii)
    g.stream(a, b, depth=depth, latency=wire, credit_latency=credit)
    return g.build()


@pytest.mark.parametrize(("latency", "ii", "wire", "credit"), [(1, 1, 0, 1), (3, 1, 2, 1), (1, 4, 0, 2), (7, 2, 1, 3)])
def test_two_nodes_and_their_fifo(latency: int, ii: int, wire: int, credit: int) -> None:
    """A slot is taken for latency + credit cycles, so that a depth of d passes d tokens in so many, or one per II."""
    n, under_way = 50, latency + wire
    for depth in range(1, 12):
        last = max(
            (k // depth) * max(under_way + credit, depth * ii) + (k % depth) * ii for k in (n - 1,)
        )
        cycles = run_graph(pair(depth, latency=latency, ii=ii, wire=wire, credit=credit)).cycles
        assert cycles == last + max(under_way + ii, ii)
        if depth >= -(-(under_way + credit) // ii):
            assert cycles == (n - 1) * ii + under_way + ii


def test_a_row_is_reduced_held_and_repeated() -> None:
    """Eight tokens are summed (8 cycles), the sum is held for 8 firings; tokens wait for it in a FIFO of 10."""
    n = 8
    for rows in (1, 5):
        g = GraphBuilder("rows")
        x = g.node("x", "source", firings=n * rows)
        total, divide, out = g.node("total", "reduce", length=n), g.node("divide"), g.node("out", "sink")
        g.stream(x, total)
        g.stream(x, divide, depth=n + 2)
        g.stream(total, divide, take=every(n))
        g.stream(divide, out)
        # x from 0, total from 1, its first sum visible at 9, where divide begins; the last of n * rows comes at
        # 8 + n * rows, out one later, and takes a cycle
        result = run_graph(g.build())
        assert result.cycles == n * rows + n + 2
        assert result.firings == {"x": n * rows, "total": n * rows, "divide": n * rows, "out": n * rows}
        assert result.bound_cycles == n * rows


def test_a_repeat_gives_each_token_so_often() -> None:
    g = GraphBuilder("repeat", iterations=3)
    a, b, c = g.node("a", "source"), g.node("b", "repeat", length=4), g.node("c", "sink")
    g.stream(a, b)
    g.stream(b, c)
    assert run_graph(g.build()).firings == {"a": 3, "b": 12, "c": 12}


def test_schedules_move_what_their_rates_say() -> None:
    """Patterns of any lengths, also such that do not divide each other, fired one by one."""
    patterns = [every(4), every(12, at="last", tokens=2), Rate.of([0, 1, 1]), every(5), Rate.of([2, 0, 0, 1, 0, 0, 0])]
    for chosen in ((0, 1), (0, 2), (1, 3), (0, 1, 2, 3), (2, 4), (3, 4, 0)):
        n = cycle_length([PortRate(0, False, patterns[i]) for i in chosen])
        g = GraphBuilder("rates")
        node = g.node("node", firings=2 * n)
        for i in chosen:
            g.stream(g.node(f"from {i}", "source"), node, take=patterns[i], depth=9)
        g.stream(node, g.node("out", "sink"))
        trace = reference.run(to_program(g.build()), record=10**6)
        assert trace.slices is not None
        mine = trace.slices.phase[trace.slices.actor == 0].tolist()
        program = trace.program
        for f, i in enumerate(chosen):
            said = [t for count, t in patterns[i].runs for _ in range(count)]
            taken = []
            for phase in mine:
                rows = range(int(program.in_ptr[phase]), int(program.in_ptr[phase + 1]))
                taken.append(sum(int(program.in_take[r]) for r in rows if program.in_fifo[r] == f))
            assert taken == [said[k % len(said)] for k in range(2 * n)]


def test_long_patterns_stay_short() -> None:
    n = 4096
    nested = (PortRate(0, False, every(n)), PortRate(1, False, every(n * n)), PortRate(2, True, every(n, at="last")))
    assert len(str(schedule(nested, n**3, Phase()))) < 20_000


def test_the_kernels_agree_and_the_checker_finds_nothing() -> None:
    program = to_program(loads_graph(GRAPH))
    trace = reference.run(program, record=10**6)
    assert check(program, trace) == []
    for jump in (False, True):
        assert trace.differences(compiled.run(program, jump=jump)) == []


def test_memories_are_shared() -> None:
    """Alone a tile of 128 bytes takes 8 cycles at 16 a cycle; beside others it waits for the channel."""
    noise = "  noise: {kind: traffic, memory: dram, bytes: 64, firings: 20}\n"
    quiet = run_graph(loads_graph(GRAPH.replace(noise, "")))
    busy = run_graph(loads_graph(GRAPH))
    assert busy.cycles > quiet.cycles
    assert int(busy.trace.server_work[0]) == 16 * 128 + 20 * 64
    assert busy.graph.cycle_hz == 2 * 10**9


def test_deadlock_names_its_circle_and_what_frees_it() -> None:
    with pytest.raises(Deadlock) as stuck:
        run_graph(loads_graph(GRAPH.replace("depth: 72", "depth: 63")))
    assert set(stuck.value.cycle) == {"exp", "divide", "total"}
    assert stuck.value.firings["exp"] == 63
    assert "exp -> divide (depth 63)" in str(stuck.value)
    assert "smallest depths that free it: exp -> divide at least 64 (is 63)" in str(stuck.value)
    assert stuck.value.freeing == {2: 64}
    run_graph(loads_graph(GRAPH.replace("depth: 72", "depth: 64")))


def test_deadlock_that_two_fifos_free_only_together() -> None:
    """b takes two rows of its second input first: both FIFOs of a's first results must hold them."""
    n = 4
    g = GraphBuilder("two")
    a, late = g.node("a", "source", firings=2 * n), g.node("late", "reduce", length=2 * n)
    ends = [g.node(name, latency=1) for name in ("b", "c")]
    g.stream(a, late)
    for end in ends:
        g.stream(a, end, depth=n)
        g.stream(late, end, take=every(2 * n))
        g.stream(end, g.node(f"{end} out", "sink"))
    graph = g.build()
    with pytest.raises(Deadlock) as stuck:
        run_graph(graph)
    assert stuck.value.freeing == {graph.stream("a -> b"): 2 * n, graph.stream("a -> c"): 2 * n}
    assert " and " in str(stuck.value)
    run_graph(graph.with_depths(stuck.value.freeing))


def test_deadlock_that_no_depth_frees() -> None:
    g = GraphBuilder("never", iterations=3)
    a, b = g.node("a"), g.node("b")
    g.stream(a, b, depth=4, take=Rate.of([2, 0]))  # b waits for two tokens, and a makes the second after b's first
    g.stream(b, a, depth=4, take=Rate.of([0, 2]))
    with pytest.raises(Deadlock, match="none: no depth of any FIFO helps"):
        run_graph(g.build())


WRONG = [
    ("depth: 72", "depth: 0", "g.yaml:17", "at least 1, or unbounded"),
    ("depth: 128", "depth: 63", "g.yaml:15", "the most that a firing moves"),
    ("pcu: 3", "pcu: 1", "g.yaml:5", "its stages need 2 units and there are 1 (total 2)"),
    ("{every: 64}", "{every: 32}", "g.yaml:19", "inconsistent rates: in stream total -> divide"),
    ("exp: {latency: 4}", "exp: {latency: 0}", "g.yaml:17", "take no time"),
    ("- scores -> exp", "- scores -> exq", "g.yaml:16", "did you mean 'exp'?"),
    ("to: divide.score", "to: divide", "g.yaml:12", "input 'score' of node 'divide' is not connected"),
    ("- {from: exp, to: total}\n", "", "g.yaml:11", "node 'total' of kind reduce has 0 connected inputs"),
    ("scores: {}", "scores: {kind: source}", "g.yaml:9", "node 'scores' of kind source has a connected input"),
    ("kind: sink", "kind: snk", "g.yaml:13", "did you mean 'sink'?"),
    ("16 B/cycle", "16 B/cyc", "g.yaml:4", "is not a unit of bandwidth"),
    ("latency: 4", "latencies: 4", "g.yaml:10", "unknown key 'latencies'"),
    ("firings: 16", "firings: 16.5", "g.yaml:7", "a whole number"),
    ("{every: 64}", "{every: 64, at: middle}", "g.yaml:19", "'first' or 'last'"),
    ("memory: dram, bytes: 128", "memory: hbm, bytes: 128", "g.yaml:7", "no memory 'hbm'"),
    ("memory: dram, bytes: 128", "memory: dram", "g.yaml:7", "name both, or neither"),
    ("scores: {}", "scores: {firings: 1000}", "g.yaml:9", "'scores' fires 1000 times"),
    ("- scores -> exp", "- scores exp", "g.yaml:16", "is no stream"),
]


@pytest.mark.parametrize(("sound", "wrong", "where", "what"), WRONG)
def test_what_is_wrong_is_told_with_its_line(sound: str, wrong: str, where: str, what: str) -> None:
    assert sound in GRAPH
    with pytest.raises(SpecError) as error:
        loads_graph(GRAPH.replace(sound, wrong, 1), "g.yaml")
    assert any(str(p).startswith(f"{where}:") and what in str(p) for p in error.value.problems), str(error.value)


def test_circles() -> None:
    def circle(latency: int, init: int) -> StreamGraph:
        g = GraphBuilder("circle", iterations=9)
        a, b = g.node("a", latency=latency), g.node("b", latency=latency)
        g.stream(a, b)
        g.stream(b, a, init=init)
        return g.build()

    with pytest.raises(SpecError, match="zero-latency cycle a -> b -> a"):
        circle(0, 1)
    with pytest.raises(SpecError, match="cycle a -> b -> a has no initial tokens"):
        circle(1, 0)
    assert run_graph(circle(3, 1)).cycles == 3 * 17 + 1  # one token goes round: 18 firings, three cycles apart


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(SpecError) as error:
        loads_graph("nodes: {a: {ii: 0}, b: {latency: -1}}\nstreams:\n- {from: a, to: c, depth: 0}\n", "g.yaml")
    assert len(error.value.problems) == 1  # the depth, which cannot be read
    with pytest.raises(SpecError) as error:
        loads_graph("nodes: {a: {ii: 0}, b: {latency: -1}}\nstreams:\n- {from: a, to: c}\n", "g.yaml")
    assert [p.where for p in error.value.problems] == ["g.yaml:1: nodes.a.ii", "g.yaml:1: nodes.b.latency",
                                                       "g.yaml:3: streams.0.to"]


def test_rates_refuse_what_moves_nothing() -> None:
    with pytest.raises(BadInput, match="some token must move"):
        Rate(((3, 0),))
    with pytest.raises(BadInput, match="at least 1 firing"):
        every(0)


def test_levels_follow_slots() -> None:
    """One token at a time through a FIFO of three: taken at the start, back three cycles after the taker's."""
    trace = run_graph(pair(3, latency=2, credit=3, n=4), record=100, jump=False).trace
    level = fifo_levels(trace)[0]
    # a starts at 0 1 2 and, a slot being free again at 2 + 3, at 5; b starts at 2 3 4 7
    assert dict(zip(level.ticks.tolist(), level.held.tolist(), strict=True)) == {0: 1, 1: 2, 2: 3, 5: 3, 6: 2, 7: 1}
    assert level.peak == 3


def test_shortened_graphs_begin_alike() -> None:
    graph = pair(2, n=40)
    assert graph.rounds == 40
    assert run_graph(graph.shortened(10)).cycles == run_graph(pair(2, n=10)).cycles
    assert graph.shortened(10**9) == graph


def test_graphs_are_written_and_read_back() -> None:
    ratios = 0
    for seed in range(60):
        graph = random_graph(seed, contended=seed % 2 == 1)
        again = loads_graph(dumps_graph(graph))
        nodes = tuple(replace(n, firings=f) for n, f in zip(graph.nodes, graph.firings, strict=True))
        assert again == replace(graph, nodes=nodes)
        assert again.firings == graph.firings
        assert dumps_graph(again) == dumps_graph(graph)
        assert to_program(again).platform == to_program(graph).platform
        ratios += any(m.rate.denominator % 3 == 0 for m in graph.memories)
    assert ratios >= 5  # rates that no decimal gives
    named = loads_graph(GRAPH)
    assert loads_graph(dumps_graph(named)) == loads_graph(dumps_graph(loads_graph(dumps_graph(named))))
    assert run_graph(loads_graph(dumps_graph(named))).cycles == run_graph(named).cycles


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="."), min_size=1, max_size=8)
ratios = st.fractions(min_value=Fraction(1, 2**20), max_value=2**20, max_denominator=2**30)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(words, min_size=4, max_size=4, unique=True), ratios, ratios, st.integers(1, 9), st.integers(0, 2**40))
def test_any_name_and_any_ratio_is_written_exactly(
    names: list[str], rate: Fraction, clock: Fraction, tokens: int, burst: int
) -> None:
    a, b, memory, unit = names
    g = GraphBuilder(a + b, cycle_hz=clock)
    g.memory(memory, rate, burst=burst)
    g.unit_pool(unit, 3)
    g.node(a, "memory", memory=memory, bytes=7, firings=2 * tokens, unit=unit, units=2, outputs=[b])
    g.node(b, "sink", inputs=[a], firings=2)
    g.stream(f"{a}.{b}", f"{b}.{a}", depth=tokens + 3, take=Rate.of([tokens, tokens]), name=memory)
    graph = g.build()
    again = loads_graph(dumps_graph(graph))
    assert again == graph
    assert again.firings == graph.firings


def test_command(tmp_path: Path) -> None:
    file, page = tmp_path / "g.yaml", tmp_path / "g.html"
    file.write_text(GRAPH)
    ran = accelsim("run", file, "--json", "--html", page)
    assert ran.code == 0
    told = json.loads(ran.output)
    assert told["cycles"] == run_graph(loads_graph(GRAPH)).cycles
    assert {s["stream"]: s["depth"] for s in told["streams"]}["exp -> divide"] == 72
    assert all(s["peak"] <= s["depth"] for s in told["streams"])
    html = page.read_text()
    assert "exp -&gt; divide" in html
    assert "FIFOs over time" in html
    ran = accelsim("run", file, "--size-fifos", "--json", "--html", page)
    assert "Depth against time" in page.read_text()
    sized = json.loads(ran.output)
    assert sized["cycles"] <= told["cycles"]
    curve = [(p["total"], p["cycles"]) for p in sized["trade_off"]["points"]]
    assert curve == sorted(curve)
    assert [c for _, c in curve] == sorted({c for _, c in curve}, reverse=True)
    assert curve[-1] == (sized["sizing"]["total"], sized["cycles"])
    assert sum(sized["trade_off"]["points"][0]["depths"].values()) == curve[0][0]
    file.write_text(GRAPH.replace("depth: 72", "depth: 63"))
    ran = accelsim("run", file)
    assert ran.code == 1
    assert "exp waits for space in FIFO exp -> divide" in ran.output
    file.write_text(GRAPH.replace("depth: 72", "depth: 0"))
    assert accelsim("run", file).code == 2


def test_options_of_models_are_refused_beside_a_graph() -> None:
    from support.cli import accelsim

    file = Path(__file__).parent.parent / "docs" / "examples" / "softmax_stream.yaml"
    for option in (("--batch", 2), ("--mapper", "tile"), ("--set", "clock=1 GHz"), ("--save-mapping", "m.yaml")):
        ran = accelsim("run", file, *option)
        assert ran.code == 2
        assert f"{option[0]} goes with a machine and a model" in ran.output
