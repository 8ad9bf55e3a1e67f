"""The structural checks of a Mapping."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.machines import array_machine, gemm

from accelsim.arch.loader import loads_architecture
from accelsim.ir import Workload, WorkloadBuilder
from accelsim.mapping import Iterate, Loop, Mapping, Move, Node, Op, Par, Pipe, Seq, Stay, validate

HOME = (Stay("A", "dram", (), ()), Stay("B", "dram", (), ()), Stay("matmul", "dram", (), ()))
GOOD = Mapping(
    "gemm",
    "array_machine",
    Seq((Loop("m", 8, Loop("n", 8, Op("matmul", "array", "os"))),)),
    HOME,
    (
        Move("A", "dram", "sram", (0,), (0, "body")),
        Move("B", "dram", "sram", (0,), (0, "body", "body")),
        Move("matmul", "sram", "dram", (0, "body", "body"), (0,), store=True),
    ),
)
OP = Op("matmul", "array", "os")


def problems(mapping: Mapping, workload: Workload | None = None) -> list[str]:
    return [str(p) for p in validate(mapping, workload or gemm(32, 32, 32), array_machine())]


def test_a_good_mapping_has_no_problems() -> None:
    assert problems(GOOD) == []


def tree(root: Node) -> Mapping:
    return replace(GOOD, root=root, stays=HOME, moves=())


def moved(**changes: object) -> Mapping:
    return replace(GOOD, moves=(replace(GOOD.moves[0], **changes), *GOOD.moves[1:]))  # type: ignore[arg-type]


def stored(**changes: object) -> Mapping:
    return replace(GOOD, moves=(*GOOD.moves[:2], replace(GOOD.moves[2], **changes)))  # type: ignore[arg-type]


def stayed(*stays: Stay) -> Mapping:
    return replace(GOOD, stays=(*HOME, *stays))


FAULTS: list[tuple[Mapping, str]] = [
    (tree(Seq((Op("matmull", "array", "os"),))), "position 0: the model has no Einsum 'matmull' (did you mean 'matmul"),
    (tree(Seq((Op("matmul", "aray", "os"),))), "position 0: the machine has no unit 'aray' (did you mean 'array'?)"),
    (tree(Seq((Op("matmul", "array", "rs"),))), "position 0: array cannot run matmul as 'rs' (it can as "),
    (tree(Seq((Op("matmul", "array", "os"), OP))), "position 1: Einsum matmul is run twice: 0 runs it, too"),
    (tree(Seq(())), "position .: a Seq without children"),
    (tree(Seq((OP, Par(())))), "position 1: a Par without children"),
    (tree(Seq((OP, Par(())))), "position 1: a Par without children"),
    (tree(Pipe((OP,), (1,))), "position .: 1 depths between 1 stages (one for each stage but the first)"),
    (tree(Loop("m", 0, OP)), "position .: tile 0 of rank 'm' (at least 1)"),
    (tree(Loop("mm", 4, OP)), "position .: no Op below has a rank 'mm' (did you mean 'm'?)"),
    (tree(Iterate("layer", 2, OP)), "position .: the model has no Repeat 'layer' (there is none)"),
    (moved(due=(0, "body", 3)), "moves[0] (A): due 0.body.3 is no position (below 0.body there is body)"),
    (moved(issue=(7,), due=(0,)), "moves[0] (A): issue 7 is no position (below . there is 0)"),
    (moved(issue=(0, "body", "body")), "moves[0] (A): is issued inside a loop outside of which it is due"),
    (moved(tensor="AA"), "moves[0] (AA): the model has no tensor 'AA' (did you mean 'A'?)"),
    (moved(src="drum"), "moves[0] (A): the machine has no memory 'drum' (did you mean 'dram'?)"),
    (moved(src="sram"), "moves[0] (A): is more than a copy (one buffer, issued where it is due, and nothing else)"),
    (moved(buffers=0), "moves[0] (A): 0 buffers (at least 1)"),
    (moved(tensor="matmul"), "moves[0] (matmul): no Op at or below 0.body reads matmul (no Op does)"),
    (moved(tensor="B", due=(0, "body", "body")), "moves[1] (B): moves what moves[0] moves, too"),
    (stored(tensor="A"), "moves[2] (A): no Op at or below 0.body.body makes A (no Op does)"),
    (stored(issue=(0,), due=(0, "body")), "moves[2] (matmul): ends inside a loop outside of which it is issued"),
    (stayed(Stay("A", "sran", (), ())), "stays[3] (A): the machine has no memory 'sran' (did you mean 'sram'?)"),
    (stayed(Stay("X", "sram", (), ())), "stays[3] (X): the model has no tensor 'X'"),
    (stayed(Stay("A", "sram", (1,), ())), "stays[3] (A): from 1 is no position (below . there is 0)"),
    (stayed(Stay("A", "sram", (0, "body"), (0,))), "stays[3] (A): begins and ends in different loops"),
    (stayed(Stay("A", "sram", (), (), -4)), "stays[3] (A): address -4 (at least 0)"),
    (stayed(Stay("A", "sram", (), (), None, (0, 2))), "stays[3] (A): has iterations, but the tensor has one instance"),
    (stayed(Stay("A", "dram", (0,), (0,))), "stays[3] (A): is in dram already, by stays[0] (one is enough)"),
]


@pytest.mark.parametrize(("mapping", "message"), FAULTS, ids=[message.split(" (")[0][:60] for _, message in FAULTS])
def test_a_planted_fault_is_found(mapping: Mapping, message: str) -> None:
    found = problems(mapping)
    assert any(line.startswith(message) for line in found), found


def test_a_tensor_larger_than_its_memory() -> None:
    found = problems(stayed(Stay("A", "sram", (), ())), gemm(1024, 32, 1024))
    assert found == ["stays[3] (A): 2,097,152 bytes, 1,048,576 more than sram has (sram has 1,048,576)"]


def chain() -> Workload:
    """Two vector operators of different extents and a contraction that no vector unit of rate 0 could run."""
    b = WorkloadBuilder("chain")
    x = b.input("x", (12, 8))
    y = b.elementwise("exp", x, out="y", name="first")
    b.output(b.elementwise("exp", b.view(y, (6, 16)), out="z", name="second"))
    return b.build()


def test_a_loop_around_ops_cuts_one_extent() -> None:
    ops = (Op("first", "vector", "simd"), Op("second", "vector", "simd"))
    found = problems(Mapping("chain", "array_machine", Loop("i0", 4, Seq(ops))), chain())
    assert found == [
        "position .: the loop cuts i0 of first into tiles of 12 and i0 of second into tiles of 6 "
        "(one loop cuts ranks of one extent)"
    ]


def test_views_stay_under_the_name_of_their_storage() -> None:
    ops = Seq((Op("first", "vector", "simd"), Op("second", "vector", "simd")))
    mapping = Mapping("chain", "array_machine", ops, (Stay("y.view", "sram", (0,), (1,)),))
    assert problems(mapping, chain()) == ["stays[0] (y.view): 'y.view' is a view (its bytes are those of 'y')"]


def test_a_unit_that_cannot_run_an_einsum() -> None:
    ops = Seq((Op("first", "array", "os"), Op("second", "vector", "simd")))
    found = problems(Mapping("chain", "a", ops), chain())
    assert found == ["position 0: array cannot run first (units that can: vector)"]


def test_moves_in_the_wrong_order() -> None:
    ops = Seq((Op("first", "vector", "simd"), Op("second", "vector", "simd")))
    moves = (
        Move("x", "dram", "sram", (1,), (0,)),
        Move("y", "dram", "sram", (0,), (1,)),
        Move("z", "sram", "dram", (1,), (0,), store=True),
        Move("y", "sram", "dram", (0,), (1,), store=True),
    )
    assert problems(Mapping("chain", "a", ops, (), moves), chain()) == [
        "moves[0] (x): due 0 does not come after issue 1 (the same position, one inside it, or a later child of a Seq)",
        "moves[2] (z): due 0 does not come after issue 1 (the same position, one around it, or a later child of a Seq)",
    ]


# -- every Einsum once, over Repeats ---------------------------------------------------------------------------------


def layers(count: int = 6) -> Workload:
    b = WorkloadBuilder("layers")
    h = b.input("h", (4, 4))
    with b.repeat("layer", count) as scope:
        w = b.weight("w", (4, 4))
        out = b.matmul(h, w, out="h_out", name="mm")
        scope.carry(out, h)
    b.output(b.elementwise("exp", out, out="y", name="last"))
    return b.build()


MM, LAST = Op("mm", "array", "os"), Op("last", "vector", "simd")


@pytest.mark.parametrize(
    ("root", "messages"),
    [
        (Seq((Iterate("layer", 6, MM), LAST)), []),
        (Seq((Iterate("layer", 2, MM), Iterate("layer", 4, MM, 2), LAST)), []),
        (Seq((Iterate("layer", 2, MM), Iterate("layer", 3, MM, 2), LAST)),
         ["position 0.body: Einsum mm is run 5 times (its Repeats run it 6 times)"]),
        (Seq((Iterate("layer", 4, MM), Iterate("layer", 3, MM, 3), LAST)),
         ["position 1.body: Einsum mm is run twice: 0.body runs the same iterations of it, too"]),
        (Seq((Iterate("layer", 7, MM), LAST)), ["position 0: iterations 0 to 7 of layer (it has 0 to 6)"]),
        (Seq((MM, LAST)), ["position 0: mm runs inside iterations of nothing (it needs an Iterate for each of layer)"]),
        (Iterate("layer", 6, Seq((MM, LAST))),
         ["position body.1: last runs inside iterations of layer (it is in no Repeat)"]),
        (Seq((Iterate("layer", 6, Iterate("layer", 6, MM)), LAST)),
         ["position 0.body: layer iterates inside layer (it stands in none)"]),
    ],
)  # fmt: skip
def test_every_iteration_runs_once(root: Node, messages: list[str]) -> None:
    found = problems(Mapping("layers", "array_machine", root), layers())
    assert found[: len(messages)] == messages
    assert bool(found) == bool(messages)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6)), min_size=1, max_size=4))
def test_partial_ranges_must_be_disjoint_and_cover(ranges: list[tuple[int, int]]) -> None:
    ranges = [(start, min(count, 6 - start)) for start, count in ranges]
    root = Seq((*(Iterate("layer", count, MM, start) for start, count in ranges), LAST))
    exact = sorted(i for start, count in ranges for i in range(start, start + count)) == list(range(6))
    assert (not problems(Mapping("layers", "array_machine", root), layers())) == exact


def test_nested_repeats() -> None:
    b = WorkloadBuilder("nested")
    x = b.input("x", (4, 4))
    with b.repeat("outer", 2), b.repeat("inner", 3):
        b.elementwise("exp", x, out="y", name="op")
    op = Op("op", "vector", "simd")
    check: Callable[[Node], list[str]] = lambda root: problems(Mapping("nested", "a", root), b.build())  # noqa: E731
    assert check(Iterate("outer", 2, Iterate("inner", 3, op))) == []
    split = Iterate("outer", 2, Seq((Iterate("inner", 1, op), Iterate("inner", 2, op, 1))))
    assert check(split) == []
    assert check(Iterate("inner", 3, Iterate("outer", 2, op)))
    corner = Seq((Iterate("outer", 1, Iterate("inner", 3, op)), Iterate("outer", 1, Iterate("inner", 2, op), 1)))
    assert check(corner) == ["position 0.body.body: Einsum op is run 5 times (its Repeats run it 6 times)"]
    stays = (Stay("y", "sram", ("body",), ("body",), None, (1, 2)),)
    mapping = Mapping("nested", "a", Iterate("outer", 2, Iterate("inner", 3, op)), stays)
    assert problems(mapping, b.build()) == []
    wrong = replace(mapping, stays=(replace(stays[0], iterations=(1, 3)),))
    assert problems(wrong, b.build()) == ["stays[0] (y): iterations 1 to 4 of inner (it has 0 to 3)"]


def test_moves_join_neighbours() -> None:
    arch = loads_architecture(
        """
name: tiers
clock: 1 GHz
memories:
  ddr: {kind: dram, capacity: 64 GiB, bandwidth: unlimited}
  hbm: {kind: dram, capacity: 4 GiB, bandwidth: unlimited, parent: ddr}
  sram: {kind: buffer, capacity: 1 MiB, parent: hbm, bandwidth: unlimited}
  side: {kind: buffer, capacity: 1 MiB, parent: hbm, bandwidth: unlimited}
units:
  array: {kind: systolic, memory: sram, rows: 8, cols: 8}
links:
  bus: {kind: link, between: [sram, side]}
"""
    )
    found = {
        (src, dst): [p.what for p in validate(moved(src=src, dst=dst, due=(0,)), gemm(8, 8, 8), arch)
                     if p.where.startswith("moves[0]") and "joins" in p.what]
        for src, dst in permutations(arch.memories, 2)
    }  # fmt: skip
    joined = {("ddr", "hbm"), ("hbm", "sram"), ("hbm", "side"), ("sram", "side")}
    assert {pair for pair, what in found.items() if not what} == joined | {(b, a) for a, b in joined}
