"""Loop nests as text and what memories hold, against a Mapping worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from accelsim.arch.architecture import Architecture
from accelsim.arch.loader import load_architecture
from accelsim.components.buffer import Buffer
from accelsim.components.dram import Dram
from accelsim.components.systolic import SystolicArray
from accelsim.components.vector import VectorUnit
from accelsim.ir import Role, Workload
from accelsim.ir.build import WorkloadBuilder
from accelsim.mapping.capacity import Peak
from accelsim.mapping.counting import tally
from accelsim.mapping.nest import _move, operator_nests, tree_text
from accelsim.mapping.scope import Scope
from accelsim.mapping.tree import Loop, Mapping, Move, Op, Pipe, Seq, Stay
from accelsim.report.figures import MAX_STEPS, occupancy
from accelsim.report.mapped import mapped
from accelsim.report.occupancy import Occupancy, occupancies, step_operators
from accelsim.simulation import simulate
from accelsim.workloads import load_model

M, K, N = 10, 16, 8


def machine() -> Architecture:
    return Architecture(
        "two tiers",
        1e9,
        {
            "dram": Dram(capacity=2**20, bandwidth=4e9),
            "buffer": Buffer(capacity=2**12, parent="dram", bandwidth=1e12),
        },
        {
            "array": SystolicArray(memory="buffer", rows=4, cols=4),
            "vector": VectorUnit(memory="buffer", lanes=4),
        },
    )


def workload() -> Workload:
    b = WorkloadBuilder("product", bits=8)
    x, w = b.input("x", (M, K)), b.weight("w", (K, N))
    b.relu(b.matmul(x, w, name="mm", out="h"), name="act", out="y")
    b.output("y")
    return b.build()


def row_rank(operator: str) -> str:
    einsum = next(e for e, _ in workload().einsums() if e.name == operator)
    return einsum.output.indices[0].ranks[0]


def by_hand() -> Mapping:
    """The product in tiles of 4 rows, its result kept; then the activation over all of it."""
    root = Seq((Loop(row_rank("mm"), 4, Op("mm", "array", "os")), Op("act", "vector", "simd")))
    stays = (
        Stay("x", "dram", (), ()),
        Stay("w", "dram", (), ()),
        Stay("y", "dram", (1,), ()),
        Stay("h", "buffer", (0,), (1,), address=64),
    )
    moves = (
        Move("x", "dram", "buffer", (0,), (0, "body")),
        Move("w", "dram", "buffer", (0,), (0,), buffers=1),
        Move("y", "buffer", "dram", (1,), (1,), buffers=1, store=True),
    )
    return Mapping("product", "two tiers", root, stays, moves)


@pytest.fixture(scope="module")
def scope() -> Scope:
    return Scope(by_hand(), workload())


def test_nest_of_an_operator(scope: Scope) -> None:
    nests = operator_nests(scope, [tally(scope, move) for move in scope.mapping.moves])
    assert set(nests) == {"mm", "act"}
    row, sizes = row_rank("mm"), scope.places[0].einsum.sizes
    tile = ", ".join(f"{r} {4 if r == row else sizes[r]}" for r in sizes)
    assert nests["mm"].splitlines() == [
        "h (80 bytes) stays in buffer from 0 to 1, at address 64",
        "w (128 bytes) stays in dram always",
        "x (160 bytes) stays in dram always",
        "step 1 of 2, one after the other",
        "load w: dram → buffer, 1 buffer of 128 bytes",
        f"for {row} in tiles of 4: 3 of 10",
        "  load x: dram → buffer, 2 buffers of 64 bytes, issued from 0 on",
        f"  mm on array, os, on a tile of {tile}",
    ]
    assert nests["act"].splitlines()[-1] == "store y: buffer → dram, 1 buffer of 80 bytes"


def test_stages_say_how_many_buffers_stand_around_them() -> None:
    pipe = Pipe((Op("mm", "array", "os"), Op("act", "vector", "simd")), (3,))
    found = operator_nests(Scope(Mapping("product", "two tiers", pipe), workload()), [])
    assert found["mm"].splitlines()[0] == "stage 1 of 2, overlapping, 3 buffers after it"
    assert found["act"].splitlines()[0] == "stage 2 of 2, overlapping, 3 buffers before it"
    found = operator_nests(Scope(Mapping("product", "two tiers", replace(pipe, pieces=(1,))), workload()), [])
    assert found["act"].splitlines()[0] == "stage 2 of 2, overlapping, 3 buffers before it, taken over in pieces"


def test_whole_tree() -> None:
    assert tree_text(by_hand()).splitlines() == [
        "x stays in dram always",
        "w stays in dram always",
        "y stays in dram from 1 to .",
        "h stays in buffer from 0 to 1, at address 64",
        "one after the other",
        "  load w: dram → buffer, 1 buffer",
        f"  for {row_rank('mm')} in tiles of 4",
        "    load x: dram → buffer, 2 buffers, issued from 0 on",
        "    mm on array, os",
        "  act on vector, simd",
        "  store y: buffer → dram, 1 buffer",
    ]


def test_places_in_rings_are_counted() -> None:
    ring = [Move("w", "dram", "buffer", (0,), (0,), n, pieces=(0, "body"), ring=True) for n in (1, 2)]
    assert [_move(move).split(", ")[1] for move in ring] == ["1 place of pieces", "2 places of pieces"]


def test_what_memories_hold(scope: Scope) -> None:
    dram, buffer = occupancies(scope, machine(), [tally(scope, move) for move in scope.mapping.moves])
    assert (dram.memory, buffer.memory) == ("dram", "buffer")
    assert dram.bytes_by_kind == {
        str(Role.INPUT): (M * K, M * K),
        str(Role.WEIGHT): (K * N, K * N),
        str(Role.OUTPUT): (0, M * N),
    }
    tiles = K * N + 2 * 4 * K  # all weights, two tiles of four rows
    assert buffer.bytes_by_kind == {str(Role.ACTIVATION): (M * N, M * N), "buffers": (tiles, M * N)}
    assert buffer.totals == (M * N + tiles, 2 * M * N)
    assert buffer.peak.nbytes == max(buffer.totals)
    assert buffer.capacity_bytes == 2**12


def test_steps_name_their_operators(scope: Scope) -> None:
    assert step_operators(scope) == ["mm", "act"]


def test_real_runs_tell_every_operator_and_never_exceed_the_peak() -> None:
    report = simulate(load_architecture("edge_npu"), load_model("gpt2", phase="prefill", seq=16))
    how = mapped(report)
    assert how is not None
    assert set(how.nests) == {row.name for row in report.operators}
    for row in report.operators:
        assert any(line.strip().startswith(f"{row.name} on {row.unit}") for line in how.nests[row.name].splitlines())
    for held in how.occupancies:
        assert len(held.totals) == len(how.steps)
        assert 0 < max(held.totals) <= held.peak.nbytes <= held.capacity_bytes


def test_a_long_run_is_drawn_by_its_fullest_steps() -> None:
    count = 2 * MAX_STEPS + 7
    amounts = tuple((7919 * i) % 1009 for i in range(count))
    held = Occupancy("buffer", 4000, Peak(max(amounts)), {"buffers": amounts})
    (drawn,) = [t for t in occupancy(held, [f"op{i}" for i in range(count)])["data"] if t["name"] == "buffers"]
    assert len(drawn["x"]) == len(drawn["y"]) == len(drawn["text"]) <= MAX_STEPS + 1
    assert (drawn["x"][0], drawn["x"][-1]) == (0, count)
    assert max(drawn["y"]) == max(amounts)
    for left, right, level in zip(drawn["x"], drawn["x"][1:], drawn["y"], strict=False):
        assert level == max(amounts[left:right])
