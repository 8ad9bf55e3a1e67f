"""Results on their way out in free places of rings: one room for what leaves and what comes next."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.arch.loader import loads_architecture
from accelsim.engine import compiled, reference
from accelsim.engine.checker import check
from accelsim.engine.trace import Trace
from accelsim.ir import Workload, parse_cascade
from accelsim.lowering import lower
from accelsim.mapping.replay import replay
from accelsim.mapping.tree import BODY, Loop, Mapping, Move, Op, Pipe, Stay
from accelsim.mapping.validate import validate
from accelsim.mapping.yaml_form import loads
from accelsim.mapping.yaml_text import dumps
from accelsim.report.cautions import moved_bytes

MACHINE = loads_architecture("""
name: one_lane
clock: 1 GHz
memories:
  dram: {kind: dram, capacity: 1 GiB, bandwidth: 1 B/cycle}
  sram: {kind: buffer, capacity: 1 MiB, bandwidth: unlimited, parent: dram}
units:
  sums: {kind: vector, memory: sram, lanes: 1}
  products: {kind: vector, memory: sram, lanes: 1}
""")
SUM, SPREAD = (BODY, 0), (BODY, 1)


def rows(number: int, read: int, written: int) -> Workload:
    """Of each row the sum, and its products with other numbers."""
    text = "S[n] = A[n,k]\nO[n,j] = S[n] * C[j]"
    return parse_cascade(text, {"n": number, "k": read, "j": written}, name="rows", bits=8)


def mapping(piece: int, tile: int, places: int, waiting: int, *, lent: bool = True, after: str = "") -> Mapping:
    """Row by row: what is read comes into a ring of `places` pieces, and results leave through `waiting` tiles."""
    add, spread = Loop("k", piece, Op("S", "sums", "simd")), Loop("j", tile, Op("O", "products", "simd"))
    body = Pipe((add, spread), (1,))
    moves = (
        Move("A", "dram", "sram", (BODY,), (BODY,), places, pieces=(*SUM, BODY), ring=True, after=after),
        Move("O", "sram", "dram", (*SPREAD, BODY), (), waiting, store=True, ring=lent),
    )
    stays = tuple(Stay(t, m, (), ()) for t, m in (("A", "dram"), ("O", "dram"), ("C", "sram")))
    return Mapping("rows", "one_lane", Loop("n", 1, body), stays, moves)


def traced(workload: Workload, value: Mapping) -> Trace:
    assert validate(value, workload, MACHINE) == []
    program = lower(MACHINE, workload, value)
    trace = compiled.run(program, record=100_000)
    assert trace.differences(reference.run(program, record=100_000)) == []
    assert check(program, trace) == []
    return trace


def test_results_wait_where_nothing_has_come_yet() -> None:
    """One row: 4 tiles of 16 results are made in 16 cycles each while DRAM takes 16 for the one before. With one place
    of their own making and storing take turns, and with free places of the ring they overlap."""
    workload = rows(1, 64, 64)
    alone = traced(workload, mapping(16, 16, 8, 1, lent=False)).finish
    assert alone - traced(workload, mapping(16, 16, 8, 4)).finish == 3 * 16
    assert traced(workload, mapping(16, 16, 8, 1)).finish == alone


def test_what_comes_next_waits_for_places_that_are_lent() -> None:
    """The next row has no place while results lie in those of the ring, which has room for one row alone."""
    workload = rows(2, 64, 64)
    program = lower(MACHINE, workload, mapping(16, 16, 4, 4))
    assert [pool.capacity for pool in program.platform.pools] == [4 * 16 + 16]
    trace = traced(workload, mapping(16, 16, 4, 4))
    assert trace.pool_peak.tolist() == [80]
    assert trace.stall[:, 2].sum() > 0
    assert not lower(MACHINE, workload, mapping(16, 16, 4, 4, lent=False)).platform.pools


def test_results_in_rings_take_one_tile_beside() -> None:
    workload = rows(2, 64, 64)
    one = replay(mapping(16, 8, 6, 1, lent=False), workload, MACHINE)
    for waiting in (1, 5, 9):
        found = replay(mapping(16, 8, 6, waiting), workload, MACHINE)
        assert found.peaks["sram"].nbytes == one.peaks["sram"].nbytes
        assert found.traffic_bytes == one.traffic_bytes


@settings(deadline=None, derandomize=True, max_examples=60)
@given(*[st.integers(1, 4)] * 3, *[st.integers(1, 5)] * 2, st.integers(0, 5), st.integers(1, 9))
def test_rings_that_lend_never_block(
    number: int, pieces: int, tiles: int, piece: int, tile: int, more: int, waiting: int
) -> None:
    """Kernels and checker agree, all bytes move, and the pool is never fuller than the replay says."""
    workload, value = rows(number, pieces * piece, tiles * tile), mapping(piece, tile, pieces + more, waiting)
    assert loads(dumps(value)) == value
    trace = traced(workload, value)
    recount = replay(value, workload, MACHINE)
    assert moved_bytes(trace) == {key: n for key, n in recount.traffic_bytes.items() if n}
    beside = tiles * tile + 1  # the other factors, and a sum between the stages
    assert trace.pool_peak[0] <= (pieces + more) * piece + tile == recount.peaks["sram"].nbytes - beside


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.integers(3, 6), *[st.integers(1, 4)] * 2, *[st.integers(1, 5)] * 2, st.integers(0, 12), st.integers(1, 9))
def test_what_is_needed_later_comes_after_results(
    number: int, pieces: int, tiles: int, piece: int, tile: int, more: int, waiting: int
) -> None:
    """A row begins to come when the results of the row two before have been made, and not before, if it may."""
    workload = rows(number, pieces * piece, tiles * tile)
    value = mapping(piece, tile, pieces + more, waiting, after="O")
    assert loads(dumps(value)) == value
    trace = traced(workload, value)
    recount = replay(value, workload, MACHINE)
    assert moved_bytes(trace) == {key: n for key, n in recount.traffic_bytes.items() if n}
    assert trace.slices is not None
    names = [trace.program.actor_names[a] for a in trace.slices.actor]
    starts = [t for name, t in zip(names, trace.slices.start, strict=True) if name == "load A for S (dram)"]
    ends = [t for name, t in zip(names, trace.slices.end, strict=True) if name == "O"]
    assert len(starts) == number * pieces and len(ends) == number * tiles
    assert all(starts[row * pieces] >= ends[(row - 1) * tiles - 1] for row in range(2, number))
    first = traced(workload, replace(value, moves=(replace(value.moves[0], after=""), value.moves[1])))
    assert first.slices is not None and (trace.slices.start[:pieces] == first.slices.start[:pieces]).all()


def test_results_are_not_crowded_out() -> None:
    """Results of 6 pieces, made 2 by 2, with room for two rows: rows that come early leave them one place."""
    workload = rows(12, 4, 12)
    early, late = (traced(workload, mapping(2, 4, 4, 9, after=name)).finish for name in ("", "O"))
    assert late < early


def test_the_next_row_does_not_wait() -> None:
    """While the results of one row are made the next one comes, and the one after that does not."""
    trace = traced(rows(3, 4, 12), mapping(4, 4, 4, 9, after="O"))
    assert trace.slices is not None
    spans: dict[str, list[tuple[int, int]]] = {}
    for actor, start, end in zip(trace.slices.actor, trace.slices.start, trace.slices.end, strict=True):
        spans.setdefault(trace.program.actor_names[actor], []).append((int(start), int(end)))
    loads_of_rows, results = spans["load A for S (dram)"], spans["O"]
    assert loads_of_rows[1][0] == loads_of_rows[0][1] < results[0][0]
    assert loads_of_rows[2][0] >= results[2][1]


def changed(value: Mapping, **keys: object) -> Mapping:
    return replace(value, moves=(value.moves[0], replace(value.moves[1], **keys)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (changed(mapping(4, 4, 4, 2), issue=SPREAD), "no Op that makes them stands at body.1"),
        (changed(mapping(4, 4, 4, 2), issue=SPREAD, pieces=(*SPREAD, BODY)), "they leave in pieces"),
        (replace(mapping(4, 4, 4, 2), moves=mapping(4, 4, 4, 2).moves[1:]), "no load comes into a ring in sram"),
    ],
)
def test_what_cannot_lie_in_rings(value: Mapping, told: str) -> None:
    problems = validate(value, rows(2, 16, 16), MACHINE)
    assert any(f"cannot lie in places of rings: {told}" in str(p) for p in problems)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (mapping(4, 4, 4, 2, after="S"), "cannot come after S: no results of that name lie in places of rings in sram"),
        (mapping(4, 4, 4, 2, after="O", lent=False), "cannot come after O: no results of that name"),
        (changed(mapping(4, 4, 4, 2), after="A"), "cannot come after A: it does not come into a ring"),
    ],
)
def test_what_cannot_come_after(value: Mapping, told: str) -> None:
    assert any(told in str(p) for p in validate(value, rows(2, 16, 16), MACHINE))


def test_partial_results_do_not_lie_in_rings() -> None:
    value = mapping(4, 4, 4, 2)
    store = Move("S", "sram", "dram", (*SUM, BODY), (), 2, store=True, ring=True)
    problems = validate(replace(value, moves=(*value.moves, store)), rows(2, 16, 16), MACHINE)
    assert any("cannot lie in places of rings: they may be partial" in str(p) for p in problems)
