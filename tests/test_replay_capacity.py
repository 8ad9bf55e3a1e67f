"""The independent replay: what memories hold at their fullest, and addresses that collide."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.machines import array_machine
from support.replays import (
    LAYER,
    MACHINE,
    ONE,
    SETTINGS,
    TWO,
    chain,
    chained,
    home,
    layers,
    looped,
    on_chip,
    stepped,
    vector_op,
)

from accelsim.errors import DoesNotFit, MappingError
from accelsim.ir import WorkloadBuilder
from accelsim.mapping import (
    Iterate,
    Mapping,
    Move,
    Node,
    Op,
    Par,
    Position,
    Seq,
    Stay,
    replay,
)
from accelsim.mapping.capacity import Content, collisions, peaks
from accelsim.mapping.scope import Scope

# -- capacity --------------------------------------------------------------------------------------------------------


def test_peak_and_traffic_of_a_chain_on_the_chip() -> None:
    result = replay(*on_chip(5))
    assert result.traffic_bytes == {
        ("dram", "read"): 64, ("sram", "write"): 64, ("sram", "read"): 64, ("dram", "write"): 64,
    }  # fmt: skip
    assert (result.peaks["sram"].nbytes, result.peaks["sram"].position) == (128, (0,))
    assert result.peaks["dram"].nbytes == 128
    assert result.transfers == 2


def test_an_overfull_memory_is_named_with_position_and_bytes() -> None:
    mapping, workload, arch = on_chip(5, "150 B")
    assert replay(mapping, workload, arch).peaks["sram"].nbytes == 128
    longer = (*mapping.stays[:3], Stay("t1", "sram", (1,), (3,)), *mapping.stays[4:])
    with pytest.raises(DoesNotFit) as caught:
        replay(replace(mapping, stays=longer), workload, arch)
    assert str(caught.value) == (
        "memory sram is overfull at position 3: 192 bytes, 42 more than it has (150); it holds t1 64, t2 64, t3 64"
    )


def test_overfull_buffers_of_a_move() -> None:
    mapping, workload, arch = on_chip(3, "130 B")
    replay(mapping, workload, arch)
    moves = (replace(mapping.moves[0], buffers=2), mapping.moves[1])
    with pytest.raises(DoesNotFit, match=r"overfull at position 0: 192 bytes, 62 more .* 2 buffers of x 128, t0 64"):
        replay(replace(mapping, moves=moves), workload, arch)


def test_buffers_of_a_load_ahead_and_of_a_store_behind() -> None:
    """Loads live from their issue, stores to their due; a tensor that stays there needs none."""
    b = WorkloadBuilder("two", bits=8)
    x, y = b.input("x", (64,)), b.input("y", (100,))
    for i, name in enumerate((x, y, y)):
        b.output(b.elementwise("exp", name, out=f"t{i}", name=f"op{i}"))
    stays = home("x", "y", "t0", "t1", "t2")
    stores = tuple(Move(f"t{i}", "sram", "dram", (i,), (i,), 1, store=True) for i in range(3))
    loads = (Move("x", "dram", "sram", (0,), (0,), 1), Move("y", "dram", "sram", (1,), (1,), 1))
    base = chained(3, stays, (*loads, Move("y", "dram", "sram", (2,), (2,), 1), *stores))

    def peak(mapping: Mapping) -> tuple[int, Position]:
        found = replay(mapping, b.build(), MACHINE).peaks["sram"]
        return found.nbytes, found.position

    assert peak(base) == (200, (1,))
    early = replace(base, moves=(loads[0], replace(loads[1], issue=(0,)), *base.moves[2:]))
    assert peak(early) == (64 + 64 + 100, (0,))
    late = replace(base, moves=(*base.moves[:4], replace(stores[1], due=(2,)), stores[2]))
    assert peak(late) == (300, (2,))
    staying = replace(base, stays=(*stays, Stay("y", "sram", (1,), (2,))), moves=(*loads, *stores))
    assert peak(staying) == (200, (1,))
    assert replay(staying, b.build(), MACHINE).tensor_bytes["y", "dram", "read"] == 100


def test_buffers_of_moves_that_reach_out_of_a_loop_are_taken_all_through_it() -> None:
    first: Position = (0, "body", 0)
    second: Position = (0, "body", 1)
    mapping = Mapping(
        "stepped",
        "array_machine",
        Seq((Iterate("layer", 3, Seq((ONE, TWO))),)),
        (*home("w", "s"), Stay("t", "sram", first, second)),
        (Move("w", "dram", "sram", first, first, 1), Move("s", "sram", "dram", second, second, 1, store=True)),
    )

    def peak(issue: Position = first, due: Position = second) -> tuple[int, Position]:
        moves = (replace(mapping.moves[0], issue=issue), replace(mapping.moves[1], due=due))
        found = replay(replace(mapping, moves=moves), stepped(), MACHINE).peaks["sram"]
        return found.nbytes, found.position

    assert peak() == (20, first)
    assert peak(issue=(0,)) == (30, second)
    assert peak(due=(0,)) == (30, first)
    assert peak(issue=(), due=()) == (30, first)


@SETTINGS
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 99)), max_size=12))
def test_peaks_are_the_largest_sums_over_steps(lives: list[tuple[int, int, int]]) -> None:
    mapping, workload, _ = on_chip(10)
    items = [Content(f"c{i}", nbytes, min(a, b), max(a, b)) for i, (a, b, nbytes) in enumerate(lives)]
    peak = peaks(Scope(mapping, workload), {"sram": items})["sram"]
    sums = [sum(c.nbytes for c in items if c.first <= step <= c.last) for step in range(10)]
    assert peak.nbytes == max(sums)
    assert peak.position == (sums.index(max(sums)),)
    assert sum(c.nbytes for c in peak.contents) == peak.nbytes


@SETTINGS
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3), st.integers(0, 3), st.integers(1, 99)), max_size=8),
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 99)), max_size=4),
)
def test_what_runs_at_once_adds_up(
    inside: list[tuple[int, int, int, int]], around: list[tuple[int, int, int]]
) -> None:
    """Two Seqs of four in a Par, one step before and one after: the worst pair of steps of the two decides."""
    seqs = [Seq(tuple(vector_op(4 * c + i) for i in range(4))) for c in range(2)]
    root = Seq((vector_op(8), Par(tuple(seqs)), vector_op(9)))
    scope = Scope(Mapping("chain", "a", root), chain(10))
    items = [
        Content("c", n, 1 + 4 * child + min(a, b), 1 + 4 * child + max(a, b)) for child, a, b, n in inside
    ]
    outer = [Content("o", n, min(a, b), max(a, b)) for a, b, n in around]
    crosses = [o for o in outer if not any(f <= o.first and o.last <= f + 3 for f in (1, 5))]
    local = items + [o for o in outer if o not in crosses]
    best = 0
    for step in (0, 9):
        best = max(best, sum(o.nbytes for o in crosses if o.first <= step <= o.last))
    common = sum(o.nbytes for o in crosses if o.first <= 8 and o.last >= 1)
    for i in range(1, 5):
        for j in range(5, 9):
            live = sum(c.nbytes for c in local if c.first <= i <= c.last or c.first <= j <= c.last)
            best = max(best, common + live)
    assert peaks(scope, {"sram": items + outer})["sram"].nbytes == best


def test_instances_of_a_repeat_take_their_bytes() -> None:
    workload, mapping = layers(), looped()
    result = replay(mapping, workload, MACHINE)
    assert result.tensor_bytes["w", "dram", "read"] == 6 * 16
    assert result.peaks["dram"].nbytes == 6 * 16 + 3 * 16
    part = Stay("w", "dram", (), (), None, (0, 4)), Stay("w", "dram", (), (), None, (4, 2))
    split = Seq((Iterate("layer", 4, LAYER), Iterate("layer", 2, LAYER, 4), Op("last", "vector", "simd")))
    moves = (*mapping.moves[:3], *(replace(m, issue=(1, "body"), due=(1, "body")) for m in mapping.moves[:3]),
             *(replace(m, issue=(2,), due=(2,)) for m in mapping.moves[3:]))  # fmt: skip
    halves = replace(mapping, root=split, stays=(*part, *mapping.stays[1:]), moves=moves)
    again = replay(halves, workload, MACHINE)
    assert again.tensor_bytes == result.tensor_bytes
    assert again.peaks["dram"].nbytes == result.peaks["dram"].nbytes
    short = replace(halves, stays=(replace(part[0], iterations=(0, 3)), *halves.stays[1:]))
    with pytest.raises(MappingError, match=r"mm at 0\.body reads w, loaded from dram .* does not stay in dram"):
        replay(short, workload, MACHINE)


# -- addresses -------------------------------------------------------------------------------------------------------


def test_two_stays_in_the_same_bytes_at_the_same_time() -> None:
    mapping, workload, arch = on_chip(4)
    placed = tuple(replace(s, address=a) for s, a in zip(mapping.stays[2:], (0, 64, 0), strict=True))
    good = replace(mapping, stays=(*mapping.stays[:2], *placed))
    replay(good, workload, arch)
    bad = replace(good, stays=(*good.stays[:3], replace(placed[1], address=40), placed[2]))
    with pytest.raises(MappingError) as caught:
        replay(bad, workload, arch)
    assert str(caught.value).splitlines() == [
        "stay of t0 at 0-64 (from 0 to 1) and stay of t1 at 40-104 (from 1 to 2) lie in the same 24 bytes of sram from "
        "40 on at the same time",
    ]
    beyond = replace(good, stays=(*good.stays[:3], replace(placed[1], address=2**20 - 60), placed[2]))
    with pytest.raises(MappingError, match=r"stay of t1 at .* ends 4 bytes beyond sram \(1,048,576 bytes\)"):
        replay(beyond, workload, arch)


@SETTINGS
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 300)), max_size=8), st.booleans())
def test_collisions_are_those_of_all_pairs(lives: list[tuple[int, int, int]], parallel: bool) -> None:
    """The sweep finds a collision if and only if some pair of Stays shares a byte and a moment."""
    ops = [vector_op(i) for i in range(10)]
    halves = Par((Seq(tuple(ops[:5])), Seq(tuple(ops[5:]))))
    root: Node = halves if parallel else Seq(tuple(ops))
    where = [(i // 5, i % 5) if parallel else (i,) for i in range(10)]
    spans = []
    for i, (a, b, address) in enumerate(lives):
        first, last = min(a, b), max(a, b)
        if parallel and first // 5 != last // 5:
            last = 4
        spans.append((first, last, address, Stay(f"t{i}", "sram", where[first], where[last], address)))
    scope = Scope(Mapping("chain", "a", root, tuple(s[-1] for s in spans)), chain(10))
    clash = any(
        abs(a[2] - b[2]) < 64 and ((a[0] <= b[1] and b[0] <= a[1]) or (parallel and a[0] // 5 != b[0] // 5))
        for i, a in enumerate(spans)
        for b in spans[i + 1 :]
    )
    assert bool(collisions(scope, array_machine())) == clash
