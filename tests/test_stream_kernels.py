"""Stream graphs in both kernels: token-level SimPy, compiled, and compiled with jumps agree to the tick."""

from __future__ import annotations

import pytest
from support.kernels import RECORD, differences, outcome
from support.stream_graphs import random_graph, with_background

from accelsim.engine import compiled, reference
from accelsim.engine.bounds import program_bound
from accelsim.engine.checker import check
from accelsim.engine.program import Program
from accelsim.engine.trace import Trace
from accelsim.lowering.streams import to_program

CHUNKS, PLAIN, CONTENDED = 10, 105, 30
"""1,050 graphs whose nodes share nothing, and 300 with one memory, double buffers and background traffic."""


def judge(program: Program, checked: bool) -> Trace | None:
    expected = outcome(lambda p: reference.run(p, record=RECORD if checked else 0), program)
    assert differences(expected, outcome(lambda p: compiled.run(p, jump=False), program)) == [], program.name
    jumped = outcome(compiled.run, program)
    assert differences(expected, jumped) == [], program.name
    if not isinstance(expected, Trace):
        return None
    if checked:
        assert check(program, expected) == []
    assert program_bound(program) <= expected.finish
    return jumped if isinstance(jumped, Trace) else None


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_graphs_that_share_nothing(chunk: int) -> None:
    seeds = range(chunk * PLAIN, (chunk + 1) * PLAIN)
    traces = [judge(to_program(random_graph(seed)), checked=seed % 7 == 0) for seed in seeds]
    assert sum(t is not None for t in traces) > PLAIN // 2
    assert any(t is None for t in traces)  # some are too shallow


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_graphs_with_contended_memories(chunk: int) -> None:
    waited = 0
    for seed in range(chunk * CONTENDED, (chunk + 1) * CONTENDED):
        graph = random_graph(seed, contended=True)
        trace = judge(with_background(graph, seed), checked=seed % 7 == 0)
        waited += trace is not None and bool(trace.stall[:, 2:].any())
    assert waited > CONTENDED // 3


def test_jumps_are_taken() -> None:
    """Long runs of the same graphs: with and without jumps the same, and most of them jump, also under contention."""
    plain = contended = 0
    for seed in range(120):
        for shared in (False, True):
            graph = random_graph(seed, contended=shared, rounds=2)
            rounds = tuple(n * 400 for n in graph.firings)
            program = to_program(type(graph)(**{**graph.__dict__, "firings": rounds}))
            trace = outcome(compiled.run, program)
            assert differences(outcome(lambda p: compiled.run(p, jump=False), program), trace) == [], (seed, shared)
            if isinstance(trace, Trace) and trace.jumped_firings:
                plain, contended = plain + (not shared), contended + shared
    assert plain > 50
    assert contended > 40
