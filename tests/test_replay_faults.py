"""The independent replay: planted faults are found, and told where they are."""

from __future__ import annotations

from dataclasses import replace

from support.machines import array_machine, gemm
from support.replays import MACHINE, ONE, TWO, chained, fault, home, on_chip, stepped, vector_op

from accelsim.arch.architecture import Architecture
from accelsim.ir import Workload, WorkloadBuilder
from accelsim.mapping import (
    Iterate,
    Loop,
    Mapping,
    Move,
    Op,
    Par,
    Position,
    Seq,
    Stay,
    replay,
)

# -- planted faults --------------------------------------------------------------------------------------------------


def test_structure_is_checked_first() -> None:
    mapping, workload, arch = on_chip(3)
    assert fault(replace(mapping, root=Seq((vector_op(0), vector_op(1)))), workload, arch).startswith(
        "position .: Einsum op2 is never run"
    )
    twice = Seq(tuple(vector_op(i) for i in (0, 1, 2, 2)))
    assert "is run twice" in fault(replace(mapping, root=twice), workload, arch)


def test_use_before_load() -> None:
    mapping, workload, arch = on_chip(3)
    assert fault(replace(mapping, moves=mapping.moves[1:]), workload, arch) == (
        "op0 at 0 reads x in sram, but it neither stays there then nor is moved there at or above the Op; "
        "it stays in dram from . to ."
    )
    short = (*mapping.stays[:2], Stay("t0", "sram", (0,), (0,)), mapping.stays[3])
    assert fault(replace(mapping, stays=short), workload, arch) == (
        "op1 at 1 reads t0 in sram, but it neither stays there then nor is moved there at or above the Op; "
        "it stays in sram from 0 to 0"
    )


def test_load_from_where_it_is_not() -> None:
    mapping, workload, arch = on_chip(3)
    away = (Stay("x", "dram", (1,), (2,)), *mapping.stays[1:])
    assert fault(replace(mapping, stays=away), workload, arch) == (
        "op0 at 0 reads x, loaded from dram for position 0, but it does not stay in dram from 0 to there; "
        "it stays in dram from 1 to 2"
    )
    absent = mapping.stays[1:]
    assert fault(replace(mapping, stays=absent), workload, arch).endswith("from 0 to there; it stays nowhere")


def spilled(due: Position, issue: Position, stay_from: Position = (0,)) -> tuple[Mapping, Workload, Architecture]:
    """A chain whose first activation goes off the chip and comes back for the third operator."""
    b = WorkloadBuilder("spill", bits=8)
    x = b.input("x", (64,))
    t0 = b.elementwise("exp", x, out="t0", name="op0")
    t1 = b.elementwise("exp", t0, out="t1", name="op1")
    b.output(b.elementwise("add", t0, t1, out="y", name="op2"))
    stays = (*home("x", "y"), Stay("t0", "dram", stay_from, (2,)), Stay("t0", "sram", (0,), (1,)),
             Stay("t1", "sram", (1,), (2,)))  # fmt: skip
    moves = (
        Move("x", "dram", "sram", (0,), (0,), 1),
        Move("t0", "sram", "dram", (0,), due, 1, store=True),
        Move("t0", "dram", "sram", issue, (2,), 1),
        Move("y", "sram", "dram", (2,), (2,), 1, store=True),
    )
    return chained(3, stays, moves), b.build(), array_machine()


def test_an_activation_is_read_only_after_it_has_been_stored() -> None:
    result = replay(*spilled(due=(0,), issue=(1,)))
    assert result.tensor_bytes["t0", "dram", "write"] == result.tensor_bytes["t0", "dram", "read"] == 64
    replay(*spilled(due=(1,), issue=(2,)))
    assert fault(*spilled(due=(1,), issue=(1,))) == (
        "op2 at 2 reads t0 from dram at 1, but op0 at 0 has stored it there only by the end of 1"
    )
    assert "has stored it there only by the end of ." in fault(*spilled(due=(), issue=(2,)))
    assert fault(*spilled(due=(0,), issue=(2,), stay_from=(1,))) == (
        "op2 at 2 reads t0 from dram at 2, but op0 at 0, which makes it, does not put it into that stay"
    )
    mapping, workload, arch = spilled(due=(0,), issue=(2,))
    unstored = replace(mapping, moves=(mapping.moves[0], *mapping.moves[2:]))
    assert "op0 at 0, which makes it, does not put it into that stay" in fault(unstored, workload, arch)


def test_ops_out_of_order() -> None:
    mapping, workload, arch = on_chip(3)
    swapped = replace(
        mapping,
        root=Seq((vector_op(0), vector_op(2), vector_op(1))),
        stays=(*home("x", "t2"), Stay("t0", "sram", (0,), (2,)), Stay("t1", "sram", (1,), (2,))),
        moves=(mapping.moves[0], Move("t2", "sram", "dram", (1,), (1,), 1, store=True)),
    )
    assert fault(swapped, workload, arch) == (
        "op2 at 1 reads t1 from sram at 1, but op1 at 2, which makes it, has not ended before"
    )
    at_once = replace(mapping, root=Par((vector_op(0), vector_op(1), vector_op(2))), stays=(*home("x", "t2"),
        Stay("t0", "sram", (), ()), Stay("t1", "sram", (), ())))  # fmt: skip
    assert "op1 at 1 reads t0 from sram at 1, but op0 at 0, which makes it, has not ended before" in fault(
        at_once, workload, arch
    )


def test_a_result_that_nothing_keeps_and_an_output_that_stays_on_the_chip() -> None:
    mapping, workload, arch = on_chip(3)
    assert fault(replace(mapping, moves=mapping.moves[:1]), workload, arch).splitlines() == [
        "op2 at 2 makes t2 in sram, but nothing keeps it: it neither stays there, nor is stored from there at or above "
        "the Op, nor handed to a later stage of a Pipe",
        "op2 at 2 makes t2, an output, which never gets to a stay in dram that lasts to the end of the run; it stays "
        "in dram from . to .",
    ]
    inside = (mapping.stays[0], *mapping.stays[2:], Stay("t2", "sram", (2,), (2,)))
    assert "never gets to a stay in dram" in fault(replace(mapping, stays=inside), workload, arch)
    early = (mapping.stays[0], Stay("t2", "dram", (0,), (2,)), *mapping.stays[2:])
    replay(replace(mapping, stays=early), workload, arch)


def test_data_before_the_run_is_only_in_stays_that_begin_with_it() -> None:
    mapping, workload, arch = on_chip(3)
    preloaded = replace(mapping, stays=(*mapping.stays, Stay("x", "sram", (0,), (0,))), moves=mapping.moves[1:])
    assert replay(preloaded, workload, arch).traffic_bytes == {("sram", "read"): 64, ("dram", "write"): 64}
    b = WorkloadBuilder("late", bits=8)
    x, w = b.input("x", (64,)), b.weight("w", (64,))
    t = b.elementwise("exp", x, out="t0", name="op0")
    b.output(b.elementwise("add", t, w, out="t1", name="op1"))
    late = chained(2, (*home("x", "t1"), Stay("w", "sram", (1,), (1,)), Stay("t0", "sram", (0,), (1,))),
                   (mapping.moves[0], Move("t1", "sram", "dram", (1,), (1,), store=True)))  # fmt: skip
    assert fault(late, b.build()) == (
        "op1 at 1 reads w from sram, but its stay there does not begin with the run, and nothing is moved into it "
        "before"
    )


def test_a_stay_in_a_loop_neither_begins_nor_ends_with_the_run() -> None:
    inside = (0, "body", 0), (0, "body", 1)
    root = Seq((Iterate("layer", 3, Seq((ONE, TWO))),))
    store = Move("s", "sram", "dram", inside[1], inside[1], 1, store=True)
    stays = (*home("s"), Stay("t", "sram", *inside))
    preloaded = Mapping("stepped", "a", root, (*stays, Stay("w", "sram", inside[0], inside[0])), (store,))
    assert "its stay there does not begin with the run" in fault(preloaded, stepped())
    outside = replace(preloaded, stays=(*stays, Stay("w", "sram", (0,), (0,))))
    assert replay(outside, stepped(), MACHINE).peaks["sram"].nbytes == 30 + 10 + 10
    dropped = replace(outside, stays=(Stay("s", "dram", inside[1], inside[1]), *outside.stays[1:]))
    assert "never gets to a stay in dram that lasts to the end of the run" in fault(dropped, stepped())


def test_a_stay_in_a_loop_does_not_hold_for_the_loop() -> None:
    """What is loaded for the whole loop must stay all through it, not within each of its iterations."""
    workload = gemm(8, 8, 8)
    mapping = Mapping(
        "gemm",
        "array_machine",
        Loop("n", 4, Op("matmul", "array", "os")),
        (*home("B", "matmul"), Stay("A", "dram", ("body",), ("body",))),
        (
            Move("A", "dram", "sram", (), ()),
            Move("B", "dram", "sram", (), ("body",)),
            Move("matmul", "sram", "dram", ("body",), (), store=True),
        ),
    )
    assert "reads A, loaded from dram for position ., but it does not stay in dram" in fault(mapping, workload)
    replay(replace(mapping, stays=home("A", "B", "matmul")), workload, MACHINE)


def test_a_load_needs_its_source_from_its_issue_on() -> None:
    b = WorkloadBuilder("two", bits=8)
    for i, name in enumerate((b.input("x", (8,)), b.input("y", (8,)))):
        b.output(b.elementwise("exp", name, out=f"t{i}", name=f"op{i}"))
    moves = (
        *(Move(name, "dram", "sram", (i,), (i,)) for i, name in enumerate("xy")),
        *(Move(f"t{i}", "sram", "dram", (i,), (i,), store=True) for i in range(2)),
    )
    mapping = chained(2, home("x", "y", "t0", "t1"), moves)
    replay(mapping, b.build(), MACHINE)
    staged = replace(mapping, stays=(*home("x", "t0", "t1"), Stay("y", "dram", (1,), (1,))),
                     moves=(moves[0], replace(moves[1], issue=(0,)), *moves[2:]))  # fmt: skip
    assert "loaded from dram for position 1, but it does not stay in dram from 0 to there" in fault(staged, b.build())


def test_a_load_fills_a_stay_for_later_reads_only() -> None:
    b = WorkloadBuilder("filled", bits=8)
    w = b.weight("w", (8,))
    for i in range(3):
        b.output(b.elementwise("exp", w, out=f"t{i}", name=f"op{i}"))
    stores = tuple(Move(f"t{i}", "sram", "dram", (i,), (i,), store=True) for i in range(3))
    fill = Move("w", "dram", "sram", (0,), (0,), 1)
    stays = (*home("w", "t0", "t1", "t2"), Stay("w", "sram", (0,), (2,)))
    assert replay(chained(3, stays, (fill, *stores)), b.build(), MACHINE).tensor_bytes["w", "dram", "read"] == 8
    late = chained(3, (*home("w", "t0", "t1", "t2"), Stay("w", "sram", (1,), (2,))),
                   (fill, replace(fill, issue=(2,), due=(2,)), *stores))  # fmt: skip
    assert "op1 at 1 reads w from sram, but its stay there does not begin with the run" in fault(late, b.build())


def test_a_store_must_end_within_the_stay_that_it_fills() -> None:
    mapping, workload, arch = spilled(due=(1,), issue=(2,))
    short = (*mapping.stays[:2], Stay("t0", "dram", (0,), (0,)), *mapping.stays[3:])
    assert "does not stay in dram from 2 to there" in fault(replace(mapping, stays=short), workload, arch)
    cut = (*short, Stay("t0", "dram", (1,), (2,)))
    assert "does not put it into that stay" in fault(replace(mapping, stays=cut), workload, arch)
    b = WorkloadBuilder("short", bits=8)
    b.output(b.elementwise("exp", b.input("x", (8,)), out="t0", name="op0"))
    b.output(b.elementwise("exp", "t0", out="t1", name="op1"))
    with b.repeat("layer", 2):
        b.elementwise("exp", "t1", out="u", name="op2")
    stays = (*home("x", "t1"), Stay("t0", "sram", (0,), (1,)), Stay("t1", "sram", (1,), (2,)),
             Stay("u", "sram", (2, "body"), (2, "body")))  # fmt: skip
    root = Seq((vector_op(0), vector_op(1), Iterate("layer", 2, vector_op(2))))
    moves = (Move("x", "dram", "sram", (0,), (0,)), Move("t0", "sram", "dram", (0,), (1,), store=True),
             Move("t1", "sram", "dram", (1,), (2,), store=True))  # fmt: skip
    lasting = Mapping("short", "a", root, (*stays, Stay("t0", "dram", (0,), (2,))), moves)
    replay(lasting, b.build(), MACHINE)


def test_a_result_that_is_read_but_kept_nowhere() -> None:
    mapping, workload, arch = on_chip(3)
    found = fault(replace(mapping, stays=(*mapping.stays[:2], mapping.stays[3])), workload, arch)
    assert "op0 at 0 makes t0 in sram, but nothing keeps it" in found
    assert "op1 at 1 reads t0 in sram, but it neither stays there" in found
