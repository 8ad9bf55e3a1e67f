"""Spatial arrays against an interpreter that walks every point of a tile (`support.interpreter`)."""

from __future__ import annotations

from itertools import pairwise
from math import ceil

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from support.einsums import SMALL, group_conv
from support.interpreter import Interpreter
from support.spatial_cases import BITS, WIDTHS, Case, access, cases, check

from accelsim.arch.component import OPERANDS, Operand
from accelsim.arch.layout import Layout, Spread
from accelsim.components.base import SpatialOption
from accelsim.components.nest import LayoutNest
from accelsim.components.spatial import VARIANT, SpatialArray
from accelsim.components.spatial_layout import RegisterFile
from accelsim.ir import Access


@given(cases())
@settings(SMALL, max_examples=300)
def test_cost_equals_a_walk_over_every_point(case: Case) -> None:
    """Words, register accesses, transfers and steps, all exactly. Padding counts as words; a piece that slides on is
    brought anew, whole."""
    check(case, case.cost())


@given(cases(), st.booleans(), st.booleans())
@settings(SMALL, max_examples=100)
def test_partial_sums_of_tiles_before_and_after(case: Case, resumed: bool, unfinished: bool) -> None:
    """A tile that adds to partial sums reads each once more; one that leaves some writes them at their width."""
    check(case, case.cost(resumed=resumed, unfinished=unfinished), resumed=resumed, unfinished=unfinished)


@given(cases())
@settings(SMALL, max_examples=200)
def test_registers_hold_what_the_fullest_must(case: Case) -> None:
    one = {r: np.array([n]) for r, n in case.extents.items()}
    needed = case.unit.register_bytes(case.einsum, case.layout, one, BITS)
    walked = Interpreter(case.einsum, case.layout, case.extents)
    assert list(needed) == list(case.layout.holds)
    for operand, amount in needed.items():
        assert amount[0] == WIDTHS[operand] * case.counts(walked, operand).held


@given(
    st.integers(2, 4), st.integers(2, 8), st.integers(2, 5), st.integers(1, 3),
    st.sets(st.sampled_from(OPERANDS)), st.sets(st.sampled_from(("rows", "columns"))), st.booleans(),
)  # fmt: skip
@settings(SMALL, max_examples=200)
def test_spreads_that_run_on_through_another_rank(
    groups: int, each: int, factor: int, channels: int, held: set[Operand], shared: set[str], looped: bool
) -> None:
    """A step takes output channels of two groups where the first ends inside it, as long as no loop cuts either."""
    einsum = group_conv(g=groups, m=each, c=channels, side=(3, 1), window=(2, 1))
    files = {o: RegisterFile(capacity=2**20, shared=tuple(shared)) for o in OPERANDS}
    unit = SpatialArray(name="array", memory="s", dimensions={"rows": 5, "columns": 2}, registers=files,
                        through={"output_channel": "group"}, mac_bits=16)  # fmt: skip
    spreads = (Spread("m", "rows", factor, "g"), Spread("r", "columns", 2))
    loops = (("p", 2), ("g", 1)) if looped else (("p", 2),)
    case = Case(unit, einsum, Layout(spreads, loops, dict.fromkeys(sorted(held), 1)), einsum.sizes)
    check(case, case.cost())
    wide = min(factor, each)
    assert case.cost().cycles[0] == 3 * channels * (
        groups * ceil(each / wide) if looped else ceil(groups * each / wide)
    )
    walked, one = Interpreter(einsum, case.layout, einsum.sizes), {r: np.array([n]) for r, n in einsum.sizes.items()}
    needed = unit.register_bytes(einsum, case.layout, one, BITS)
    assert all(n[0] == case.counts(walked, o).held * WIDTHS[o] for o, n in needed.items())


@given(
    st.permutations(["m", "c", "q"]), st.integers(1, 3), st.integers(2, 9), st.integers(1, 4), st.integers(1, 3),
    st.integers(1, 2), st.sampled_from([(), ("q",), ("s",), ("m",)]), st.integers(1, 3),
)  # fmt: skip
@settings(SMALL, max_examples=300)
def test_windows_that_slide(
    order: list[str], depth: int, side: int, window: int, stride: int, dilation: int, spread: tuple[str, ...], tile: int
) -> None:
    """A window that slides inside the loops around it brings new words only, whatever loops go over it again."""
    einsum = group_conv(m=3, c=2, side=(1, side), window=(1, window), stride=stride, dilation=dilation)
    spreads = tuple(Spread(r, "rows", 2) for r in spread)
    tiles = {"m": 2, "c": 1, "q": 2 * tile if spread else tile}
    loops = tuple((r, tiles[r]) for r in order)
    files: dict[Operand, RegisterFile] = {"input": RegisterFile(capacity=2**20, sliding=True)}
    unit = SpatialArray(name="array", memory="s", dimensions={"rows": 2}, registers=files, mac_bits=16)
    case = Case(unit, einsum, Layout(spreads, loops, {"input": depth}), einsum.sizes)
    check(case, case.cost())


@given(cases())
@settings(SMALL, max_examples=150)
def test_visits_and_steps_of_a_sweep(case: Case) -> None:
    """Visits exactly; sweeps where nothing is ragged, for they go by the largest tiles."""
    one = {r: np.array([n]) for r, n in case.extents.items()}
    nest = LayoutNest(case.einsum, case.layout, one, np.ones(1, np.int64))
    walked = Interpreter(case.einsum, case.layout, case.extents)
    tiles = {r: [n] for r, n in case.extents.items()}
    for rank, tile in nest.loops:
        tiles[rank].append(min(int(tile), tiles[rank][-1]))
    even = all(a % b == 0 for steps in tiles.values() for a, b in pairwise(steps))
    for operand, depth in case.layout.holds.items():
        used = access(case.einsum, operand)
        assert nest.visits(used, depth)[0] == case.counts(walked, operand).visits
        if even and not walked.joined:
            assert nest.sweeps(used, depth)[0] == sweeps(walked, used, depth)


def sweeps(walked: Interpreter, used: Access, depth: int) -> int:
    """Into how many like parts the iterations inside a hold fall that each go over all of its boxes."""
    first = walked.bodies[0][0][depth]
    boxes: list[object] = []
    for around, steps in walked.bodies:
        if around[depth] == first:
            boxes += [tuple(sorted((r, e.point[r]) for e in step for r in used.ranks)) for step in steps]
    for parts in range(len(boxes), 0, -1):
        length = len(boxes) // parts
        if boxes == boxes[:length] * parts:
            break
    return parts


@given(st.lists(cases(), min_size=1, max_size=1), st.lists(st.integers(0, 10**6), min_size=2, max_size=6))
@settings(SMALL, max_examples=100)
def test_arrays_of_candidates_are_candidates_one_by_one(one: list[Case], seeds: list[int]) -> None:
    """Tiles and extents may differ between candidates; each costs what it costs alone."""
    (case,) = one
    loops = [[(r, layout_tile(case, r, seed + i)) for i, (r, _) in enumerate(case.layout.loops)] for seed in seeds]
    extents = [{r: 1 + (seed // (i + 1)) % n for i, (r, n) in enumerate(case.einsum.sizes.items())} for seed in seeds]
    stacked = tuple((r, np.array([row[i][1] for row in loops])) for i, (r, _) in enumerate(case.layout.loops))
    layout = Layout(case.layout.spreads, stacked, case.layout.holds)  # type: ignore[arg-type]
    columns = {r: np.array([row[r] for row in extents]) for r in case.einsum.sizes}
    together = case.unit.cost(case.einsum, SpatialOption(VARIANT, {}, layout), columns, BITS)
    needed = case.unit.register_bytes(case.einsum, layout, columns, BITS)
    for i, (row, extent) in enumerate(zip(loops, extents, strict=True)):
        single = Case(case.unit, case.einsum, Layout(case.layout.spreads, tuple(row), case.layout.holds), extent)
        alone = single.cost()
        for name in ("cycles", "latency", "writes", "partial_reads"):
            assert getattr(together, name)[i] == getattr(alone, name)[0]
        assert [r[i] for r in together.reads] == [r[0] for r in alone.reads]
        assert {a: n[i] for a, n in together.actions.items()} == {a: n[0] for a, n in alone.actions.items()}
        bytes_alone = case.unit.register_bytes(
            case.einsum, single.layout, {r: np.array([n]) for r, n in extent.items()}, BITS
        )
        assert {o: n[i] for o, n in needed.items()} == {o: n[0] for o, n in bytes_alone.items()}


def layout_tile(case: Case, rank: str, seed: int) -> int:
    """A tile of a rank that a spread divides."""
    factor = case.layout.factor(rank)
    return factor * (1 + seed % ceil(case.einsum.sizes[rank] / factor))


# Time
