"""What tiles of strided and dilated indices touch: against sets of points, in the mapper, the replay and the run."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.machines import array_machine

from accelsim import simulate
from accelsim.engine import compiled
from accelsim.engine.labels import Action
from accelsim.ir import Access, Affine, Apply, Einsum, Read, Role, Tensor, Workload, WorkloadBuilder
from accelsim.lowering import lower
from accelsim.mappers.tile.operand import Operand
from accelsim.mapping import Loop, Mapping, Move, Op, Stay, replay
from accelsim.mapping.compulsory import compulsory_traffic

SETTINGS = settings(deadline=None, derandomize=True, max_examples=150)
SIZES = {"p": 7, "q": 5, "r": 3, "s": 2}
RANKS = list(SIZES)
coefficients = st.lists(st.integers(-9, 9).filter(bool), min_size=1, max_size=4)
tiles = st.tuples(*(st.integers(1, n) for n in SIZES.values()))


def index_of(steps: list[int], offset: int = 0) -> Affine:
    """An index that is never below 0."""
    terms = tuple(zip(RANKS, steps, strict=False))
    return Affine(terms, offset - Affine(terms).bounds(SIZES)[0])


def values(index: Affine, box: dict[str, range]) -> set[int]:
    return {index.offset + sum(c * i for (_, c), i in zip(index.terms, at, strict=True))
            for at in product(*(box[r] for r in index.ranks))}  # fmt: skip


@SETTINGS
@given(coefficients, st.lists(tiles, min_size=1, max_size=4))
def test_values_of_an_index(steps: list[int], extents: list[tuple[int, ...]]) -> None:
    index = index_of(steps)
    expected = [len(values(index, {r: range(n) for r, n in zip(RANKS, tile, strict=True)})) for tile in extents]
    assert [index.count(dict(zip(RANKS, tile, strict=True))) for tile in extents] == expected
    access, shape = Access("x", (index,)), (1 + index.bounds(SIZES)[1],)
    operand = Operand("x", (access,), (shape,), SIZES, Fraction(8), False, ("dram", "sram"))
    columns = {r: np.array([tile[i] for tile in extents]) for i, r in enumerate(RANKS)}
    assert operand.tile_bytes(columns).tolist() == expected


def einsum_of(indices: list[Affine]) -> Workload:
    accesses = tuple(Access("x", (i,)) for i in indices)
    expr = Read(0) if len(indices) == 1 else Apply("mul", (Read(0), Read(1)))
    einsum = Einsum("e", Access("y", ()), accesses, expr, SIZES, "add")
    length = 1 + max(i.bounds(SIZES)[1] for i in indices)
    tensors = Tensor("x", (length,), Role.INPUT, 8), Tensor("y", (), Role.OUTPUT, 8)
    return Workload("one", {t.name: t for t in tensors}, (einsum,))


MACHINE = array_machine(bandwidth="16 GB/s")


def moved(workload: Workload, loops: list[tuple[str, int]], *, sliding: bool = False) -> tuple[int, int, int]:
    """Bytes of x that leave the DRAM in the replay and in the run, and that must."""
    body: Loop | Op = Op("e", "vector", "simd")
    for rank, tile in reversed(loops):
        body = Loop(rank, tile, body)
    at = ("body",) * len(loops)
    mapping = Mapping(
        "one", MACHINE.name, body, (Stay("x", "dram", (), ()), Stay("y", "dram", (), ())),
        (Move("x", "dram", "sram", (), at, sliding=sliding), Move("y", "sram", "dram", (), (), store=True)),
    )  # fmt: skip
    program = lower(MACHINE, workload, mapping)
    trace = compiled.run(program)
    read = sum(n for a, n in zip(trace.program.actions, trace.action_counts(), strict=True)
               if isinstance(a, Action) and (a.component, a.action, a.tensor) == ("dram", "read", "x"))  # fmt: skip
    replayed = replay(mapping, workload, MACHINE).tensor_bytes["x", "dram", "read"]
    return replayed, read, compulsory_traffic(workload).reads["x"]


@SETTINGS
@given(coefficients, tiles, st.permutations(RANKS))
def test_tiles_move_their_points(steps: list[int], tile: tuple[int, ...], order: list[str]) -> None:
    index = index_of(steps)
    loops = [(r, tile[RANKS.index(r)]) for r in order if r in index.ranks]
    cut = dict(loops)
    starts = product(*(range(0, SIZES[r], cut.get(r, SIZES[r])) for r in RANKS))
    expected = 0
    for first in starts:
        box = {r: range(a, min(a + cut.get(r, SIZES[r]), SIZES[r])) for r, a in zip(RANKS, first, strict=True)}
        expected += len(values(index, box))
    replayed, read, least = moved(einsum_of([index]), loops)
    assert replayed == read == expected >= least


@SETTINGS
@given(coefficients, tiles, st.permutations(RANKS))
def test_slid_tiles_bring_what_the_one_before_lacks(steps: list[int], tile: tuple[int, ...], order: list[str]) -> None:
    index = index_of(steps)
    loops = [(r, tile[RANKS.index(r)]) for r in order if r in index.ranks]
    rank, width = loops[-1]
    expected = 0
    for first in product(*(range(0, SIZES[r], t) for r, t in loops[:-1])):
        box = {r: range(n) for r, n in SIZES.items()}
        box |= {r: range(a, min(a + t, SIZES[r])) for (r, t), a in zip(loops, first, strict=False)}
        before: set[int] = set()
        for a in range(0, SIZES[rank], width):
            here = values(index, {**box, rank: range(a, min(a + width, SIZES[rank]))})
            expected += len(here - before)
            before = here
    replayed, read, least = moved(einsum_of([index]), loops, sliding=True)
    assert replayed == read == expected >= least
    shape = (1 + index.bounds(SIZES)[1],)
    operand = Operand("x", (Access("x", (index,)),), (shape,), SIZES, Fraction(8), False, ("dram", "sram"))
    whole = {r: np.array([n]) for r, n in SIZES.items()}
    cut = {r: np.array([t]) for r, t in loops}
    assert operand.swept_bytes(whole, cut, list(cut), rank).tolist() == [expected]


@SETTINGS
@given(coefficients, st.integers(0, 4), tiles)
def test_two_reads_share_no_more_than_they_touch(steps: list[int], apart: int, tile: tuple[int, ...]) -> None:
    """Equal reads are one; others take their points, or the box around both where that is smaller."""
    indices = [index_of(steps), index_of(steps, apart)]
    loops = [(r, tile[RANKS.index(r)]) for r in indices[0].ranks]
    replayed, read, least = moved(einsum_of(indices), loops)
    assert replayed == read >= least
    access = tuple(Access("x", (i,)) for i in indices)
    shape = (1 + indices[1].bounds(SIZES)[1],)
    operand = Operand("x", access, (shape, shape), SIZES, Fraction(8), False, ("dram", "sram"))
    whole = {r: np.array([n]) for r, n in SIZES.items()}
    assert operand.swept_bytes(whole, {r: np.array([t]) for r, t in loops}, [r for r, _ in loops]).tolist() == [read]
    if not apart:
        assert moved(einsum_of(indices[:1]), loops)[1] == read


@pytest.mark.parametrize(("stride", "window"), [(1, 1), (2, 1), (3, 2), (2, 3)])
def test_a_strided_convolution_reads_its_points(stride: int, window: int) -> None:
    """A small one fits whole: for the least energy every point that is read comes once, and no other does.

    For the least latency some may come again, if the run is faster for it.
    """
    builder = WorkloadBuilder("strided", bits=8)
    x, w = builder.input("x", (1, 4, 19, 19)), builder.weight("w", (4, 4, window, window))
    builder.output(builder.conv(x, w, strides=(stride, stride)))
    model = builder.build()
    report, fastest = (simulate(MACHINE, model, objective=objective) for objective in ("energy", "latency"))
    places = (19 - window) // stride + 1
    along = len({stride * p + r for p in range(places) for r in range(window)})
    assert report.traffic_bytes["dram"] == {"read": 4 * along**2 + 16 * window**2, "write": 4 * places**2}
    assert fastest.traffic_bytes["dram"]["read"] >= report.traffic_bytes["dram"]["read"]
    assert fastest.cycles <= report.cycles
