"""Spatial arrays against an interpreter that walks every point of a tile (`support.interpreter`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.einsums import SMALL, at, gemm, group_conv, machine
from support.interpreter import Counts, Interpreter

from accelsim.arch.component import OPERANDS, Operand
from accelsim.arch.layout import Layout, Spread
from accelsim.components.base import Cost, SpatialOption
from accelsim.components.nest import LayoutNest
from accelsim.components.spatial import VARIANT, SpatialArray
from accelsim.components.spatial_kernel import TileCosts
from accelsim.components.spatial_layout import FILLINGS, Filling, RegisterFile
from accelsim.errors import BadInput, DoesNotFit, SpecError
from accelsim.ir import Access, Apply, Einsum, Read
from accelsim.ir.roles import RankRole
from accelsim.mapping.tree import Mapping as Plan
from accelsim.mapping.tree import Op
from accelsim.mapping.yaml_form import dumps, loads

BITS = (8, 16, 24)
"""Widths of input, weight and result."""
WIDTHS: Mapping[Operand, int] = {"input": 1, "weight": 2, "output": 4}
"""Bytes of what is inside the array: results are partial sums of 32 bits."""


def access(einsum: Einsum, operand: Operand) -> Access:
    return {"input": einsum.inputs[0], "weight": einsum.inputs[1], "output": einsum.output}[operand]


@dataclass(frozen=True)
class Case:
    """An array, an Einsum, a layout for it, and the extents of a tile."""

    unit: SpatialArray
    einsum: Einsum
    layout: Layout
    extents: Mapping[str, int]

    def cost(self, **how: bool) -> Cost:
        option = self.unit.option(self.einsum, VARIANT, self.layout)
        return self.unit.cost(self.einsum, option, {r: np.array([n]) for r, n in self.extents.items()}, BITS, **how)

    def counts(self, walked: Interpreter, operand: Operand) -> Counts:
        """What the interpreter counts for an operand."""
        used, dimensions = access(self.einsum, operand), tuple(self.unit.dimensions)
        if operand not in self.layout.holds:
            return walked.streamed(used, dimensions, output=operand == "output")
        private = tuple(d for d in dimensions if d not in self.unit.registers[operand].shared)
        depth, sliding = self.layout.holds[operand], self.unit.registers[operand].sliding
        return walked.held(used, private, depth, output=operand == "output", sliding=sliding and self.slides(depth))

    def slides(self, depth: int) -> bool:
        """Whether the loop inside which the input is held moves a window of neighbouring words, the same on every
        element."""
        loop = self.layout.loops[depth - 1][0] if depth else ""
        for index in self.einsum.inputs[0].indices:
            if loop in index.ranks and len(index.ranks) > 1:
                return all(self.layout.factor(r) == 1 and (r == loop or c == 1) for r, c in index.terms)
        return False


SMALL_SIZE = st.integers(1, 4)
EINSUMS = st.one_of(
    st.builds(gemm, *[st.integers(1, 7)] * 4),
    st.builds(group_conv, n=st.integers(1, 2), m=SMALL_SIZE, c=SMALL_SIZE,
              side=st.tuples(st.integers(1, 6), st.just(1)), window=st.tuples(st.integers(1, 4), st.just(1)),
              stride=st.integers(1, 3), dilation=st.integers(1, 3)),
    st.builds(group_conv, g=SMALL_SIZE, m=st.integers(1, 5), c=st.integers(1, 3),
              side=st.tuples(st.just(1), st.integers(1, 6)), window=st.tuples(st.just(1), st.integers(1, 3)),
              stride=st.integers(1, 2)),
    st.builds(group_conv, g=st.integers(1, 4), side=st.tuples(*[st.integers(1, 4)] * 2),
              window=st.tuples(*[st.integers(1, 3)] * 2)),
)  # fmt: skip


@st.composite
def cases(draw: st.DrawFn) -> Case:
    einsum = draw(EINSUMS)
    extents = {r: draw(st.integers(1, n)) if draw(st.booleans()) else n for r, n in einsum.sizes.items()}
    dimensions = {d: draw(st.integers(1, 6)) for d in ("rows", "columns", "slices")[: draw(st.integers(1, 3))]}
    spreads: list[Spread] = []
    room, factor = dict(dimensions), dict.fromkeys(einsum.sizes, 1)
    for rank, dimension in draw(
        st.lists(st.tuples(st.sampled_from(list(einsum.sizes)), st.sampled_from(list(dimensions))), max_size=4,
                 unique=True)
    ):  # fmt: skip
        chosen = draw(st.integers(1, room[dimension]))
        spreads.append(Spread(rank, dimension, chosen))
        room[dimension] //= chosen
        factor[rank] *= chosen
    if "g" in einsum.sizes and "m" in einsum.sizes and "p" in einsum.sizes and factor["g"] == 1 and draw(st.booleans()):
        spreads = [Spread(s.rank, s.dimension, s.factor, "g") if s.rank == "m" else s for s in spreads
                   if s.rank != "g"]  # fmt: skip
    loops = tuple(
        (r, factor[r] * draw(st.integers(1, ceil(einsum.sizes[r] / factor[r]))))
        for r in draw(st.lists(st.sampled_from(list(einsum.sizes)), max_size=6))
    )
    registers: dict[Operand, RegisterFile] = {}
    holds: dict[Operand, int] = {}
    for operand in OPERANDS:
        shared = tuple(d for d in dimensions if draw(st.booleans()))
        registers[operand] = RegisterFile(capacity=2**20, shared=shared, sliding=operand == "input")
        apart = [{s.dimension in shared for s in spreads if s.rank == r} for r in einsum.sizes]
        if draw(st.booleans()) and all(len(a) < 2 for a in apart):
            holds[operand] = draw(st.integers(0, len(loops)))
    unit = SpatialArray(
        name="array", memory="s", dimensions=dimensions, registers=registers, through={"output_channel": "group"},
        mac_bits=16,
    )  # fmt: skip
    return Case(unit, einsum, Layout(tuple(spreads), loops, holds), extents)


def check(case: Case, cost: Cost, *, resumed: bool = False, unfinished: bool = False) -> None:
    walked = Interpreter(case.einsum, case.layout, case.extents)
    found = {o: case.counts(walked, o) for o in OPERANDS}
    distinct = prod(case.extents[r] for r in case.einsum.sizes if r in case.einsum.output.ranks)
    if resumed:
        found["output"].back += distinct
        found["output"].network += distinct
        found["output"].read += distinct
        found["output"].write += distinct
    assert cost.actions["mac"][0] == walked.macs == prod(case.extents.values())
    assert [int(r[0]) for r in cost.reads] == [found["input"].memory, 2 * found["weight"].memory]
    assert cost.partial_reads[0] == 4 * found["output"].back
    between = found["output"].memory - distinct
    assert cost.writes[0] == 4 * between + (4 if unfinished else 3) * distinct
    assert cost.actions["transfer"][0] == sum(WIDTHS[o] * found[o].network for o in OPERANDS)
    for operand in OPERANDS:
        for way in ("read", "write"):
            counted = [int(n[0]) for name, n in cost.actions.items() if name == f"{operand}_{way}"]
            expected = [WIDTHS[operand] * getattr(found[operand], way)] if operand in case.layout.holds else []
            assert counted == expected
    assert cost.cycles[0] == walked.steps
    assert cost.latency[0] == 0
    check_compiled(case, cost, resumed=resumed, unfinished=unfinished)


def check_compiled(case: Case, cost: Cost, *, resumed: bool = False, unfinished: bool = False) -> None:
    """What mappers take for the cost of one tile."""
    costs = TileCosts(case.unit, case.einsum, BITS)
    words = costs.cost(costs.body(case.layout), case.extents, resumed=resumed, unfinished=unfinished).tolist()
    expected = [cost.cycles, cost.latency, *cost.reads, cost.writes, cost.partial_reads]
    expected += [cost.actions["mac"], cost.actions["transfer"]]
    registers = [cost.actions.get(f"{o}_{way}", np.zeros(1, np.int64)) for o in OPERANDS for way in ("read", "write")]
    assert words[:14] == [int(n[0]) for n in (*expected, *registers)]
    one = {r: np.array([n]) for r, n in case.extents.items()}
    needed = case.unit.register_bytes(case.einsum, case.layout, one, BITS)
    assert words[14:17] == [int(needed[o][0]) if o in needed else 0 for o in OPERANDS]


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


def matmul_unit(network: Mapping[Operand, float], *, double: bool = False, **ports: float) -> SpatialArray:
    """Two rows of elements with registers for the weight, in a machine of 1 GHz."""
    unit = SpatialArray(
        memory="s", dimensions={"rows": 2}, network=network, mac_bits=16, latency=3,
        registers={"weight": RegisterFile(capacity=1024, double_buffered=double)},
    )  # fmt: skip
    fed = machine(unit, **(ports or {"bandwidth": float("inf")}))
    assert isinstance(fed, SpatialArray)
    return fed


def matmul_cost(unit: SpatialArray, loops: tuple[tuple[str, int], ...], hold: int) -> Cost:
    """8 bits; m = 6 rows of inputs by k = 4 by n = 8, of which two lie side by side."""
    einsum = gemm(1, 6, 8, 4)
    option = unit.option(einsum, VARIANT, Layout((Spread("n", "rows", 2),), loops, {"weight": hold}))
    return unit.cost(einsum, option, {r: np.array([n]) for r, n in einsum.sizes.items()}, (8, 8, 8))


@given(
    cases(), st.lists(st.sampled_from([None, 0.3e9, 1e9, 5e9]), min_size=4, max_size=4), st.booleans(),
    st.lists(st.sampled_from(FILLINGS), min_size=3, max_size=3),
)  # fmt: skip
@settings(SMALL, max_examples=400)
def test_mappers_take_the_same_times(
    case: Case, rates: list[float | None], double: bool, fillings: list[Filling]
) -> None:
    network = {o: rate for o, rate in zip(OPERANDS, rates, strict=False) if rate is not None}
    files = {
        o: case.unit.registers[o].model_copy(update={"double_buffered": double, "filling": filling})
        for o, filling in zip(OPERANDS, fillings, strict=True)
    }
    unit = case.unit.model_copy(update={"network": network, "registers": files})
    fed = machine(unit, bandwidth=rates[3] or float("inf"))
    assert isinstance(fed, SpatialArray)
    here = Case(fed, case.einsum, case.layout, case.extents)
    cost = here.cost()
    check_compiled(here, cost)
    assert cost.cycles[0] >= case.cost().cycles[0]


def test_fills_hide_behind_the_last_sweep() -> None:
    """Weights in four pieces of 8 bytes, each used in 6 · 4 steps: 6 sweeps of 4 steps.

    At one byte per cycle a piece takes 8 cycles; 4 hide behind the last sweep, 4 stop the array, and so does the first
    piece. A loop over k inside the hold and outside of m makes one sweep of 24 steps of it.
    """
    slow = matmul_unit({"weight": 1e9})
    assert matmul_cost(slow, (("n", 2),), 1).cycles[0] == 96 + 8 + 3 * 4
    assert matmul_cost(slow, (("n", 2), ("k", 1)), 1).cycles[0] == 96 + 8
    assert matmul_cost(matmul_unit({"weight": 2e9}), (("n", 2),), 1).cycles[0] == 96 + 4
    assert matmul_cost(matmul_unit({}), (("n", 2),), 1).cycles[0] == 96


def test_double_buffered_fills_hide_behind_the_whole_visit() -> None:
    cost = matmul_cost(matmul_unit({"weight": 1e9}, double=True), (("n", 2),), 1)
    assert (cost.cycles[0], cost.latency[0]) == (96, 3 + 8)
    cost = matmul_cost(matmul_unit({"weight": 0.25e9}, double=True), (("n", 2),), 1)
    assert (cost.cycles[0], cost.latency[0]) == (128, 3 + 32)


def test_results_drain_at_the_end_of_a_tile_as_within() -> None:
    """Sums of four steps, two side by side: two bytes, of which one leaves while the last step runs."""
    unit = SpatialArray(
        memory="s", dimensions={"rows": 2}, network={"output": 1e9}, mac_bits=16, latency=3,
        registers={"output": RegisterFile(capacity=4)},
    )  # fmt: skip
    fed = machine(unit, bandwidth=float("inf"))
    layout = Layout((Spread("n", "rows", 2),), (("m", 1), ("n", 2)), {"output": 2})
    einsum = gemm(1, 6, 8, 4)
    option = fed.option(einsum, VARIANT, layout)
    for rows in (1, 2, 3, 6):
        extents = {r: np.array([n]) for r, n in {**einsum.sizes, "m": rows}.items()}
        assert fed.cost(einsum, option, extents, (8, 8, 8)).cycles[0] == rows * 4 * (4 + 2 - 1)


def filled(filling: Filling, rate: float) -> int:
    """Cycles of `matmul_cost` with four pieces of weights that pass at so many bytes per cycle."""
    unit = matmul_unit({"weight": rate * 1e9})
    file = unit.registers["weight"].model_copy(update={"filling": filling})
    changed = unit.model_copy(update={"registers": {"weight": file}})
    return int(matmul_cost(changed, (("n", 2),), 1).cycles[0])


def test_fills_may_stop_the_array_or_queue() -> None:
    """Four pieces of 8 bytes, each used in 24 steps, 6 sweeps of 4."""
    assert filled("last_use", 1) == 96 + 8 + 3 * (8 - 4)
    assert filled("ahead", 1) == 96 + 8
    assert filled("stop", 1) == 96 + 4 * 8
    assert filled("ahead", 0.25) == 96 + 32 + 3 * (32 - 24)


@pytest.mark.parametrize(("filling", "waits"), [("ahead", 10 + 2 * (10 - 5)), ("stop", 21 * 4)])
def test_a_window_that_starts_anew_is_filled_whole(filling: Filling, waits: int) -> None:
    """Windows of 5 words in 7 places of a row of 11, one row after the other for 3 channels: 2 cycles for a word, which
    hide behind the 5 steps of a place if they may. Without queues every fill counts as the mean, 33 words in 21."""
    einsum = group_conv(c=3, side=(1, 7), window=(1, 5))
    file = RegisterFile(capacity=16, sliding=True, filling=filling)
    unit = SpatialArray(memory="s", dimensions={"rows": 1}, network={"input": 0.5e9}, registers={"input": file})
    fed = machine(unit, bandwidth=float("inf"))
    assert isinstance(fed, SpatialArray)
    option = fed.option(einsum, VARIANT, Layout((), (("c", 1), ("q", 1)), {"input": 2}))
    cost = fed.cost(einsum, option, {r: np.array([n]) for r, n in einsum.sizes.items()}, (8, 8, 8))
    assert cost.reads[0][0] == 33
    assert cost.cycles[0] == 3 * 7 * 5 + waits


def test_networks_and_ports_bound_the_steps() -> None:
    """Inputs pass in every step, 96 bytes in all; of outputs 4 bytes are written and, but for the first time, read."""
    assert matmul_cost(matmul_unit({"input": 0.5e9}), (), 0).cycles[0] == 2 * 96
    outputs = 4 * (2 * 96 - 48) + 48
    assert matmul_cost(matmul_unit({"output": 2e9}), (), 0).cycles[0] == outputs / 2
    fed = matmul_cost(matmul_unit({}, read_bandwidth=1e9, write_bandwidth=float("inf")), (), 0)
    assert fed.reads[0][0] + fed.reads[1][0] + fed.partial_reads[0] == fed.cycles[0] == 96 + 32 + 4 * (2 * 96 - 48)


def test_wide_operands_take_several_steps() -> None:
    unit = SpatialArray(memory="s", dimensions={"rows": 2}, mac_bits=8)
    einsum, layout = gemm(1, 6, 8, 4), Layout((Spread("n", "rows", 2),))
    extents = {r: np.array([n]) for r, n in einsum.sizes.items()}
    cost = unit.cost(einsum, unit.option(einsum, VARIANT, layout), extents, (16, 12, 8))
    assert cost.cycles[0] == 4 * 96
    assert cost.actions["mac"][0] == 4 * 192
    assert cost.reads[0][0] == 2 * 96


# What is refused


def test_registers_that_are_too_small() -> None:
    unit = SpatialArray(name="array", memory="s", dimensions={"rows": 2},
                        registers={"weight": RegisterFile(capacity=15)})  # fmt: skip
    with pytest.raises(DoesNotFit, match="array: registers of weight: gemm needs 16 bytes in one and it has 15, 1 too"):
        matmul_cost(unit, (), 0)
    assert matmul_cost(unit, (("k", 2),), 1).actions["weight_write"][0] == 32


LAYOUTS: Sequence[tuple[Layout | None, str]] = [
    (None, "array: conv needs a layout"),
    (Layout((Spread("z", "rows", 2),)), r"conv has no rank 'z'; it has n, g, m, p, q, c, r, s"),
    (Layout((Spread("m", "rows", 2, "z"),)), r"conv has no rank 'z'"),
    (Layout((Spread("m", "depth", 2),)), r"array has no dimension 'depth'; it has rows, columns"),
    (Layout((Spread("p", "rows", 2),)), r"p \(row\) cannot lie along rows \(filter_row, output_channel, input_channel"),
    (Layout((Spread("c", "columns", 2),)), r"c \(input_channel\) cannot lie along columns \(all but sums can\)"),
    (Layout((Spread("m", "rows", 3), Spread("r", "rows", 2))), r"array: 6 elements along rows, which has 4"),
    (Layout((Spread("m", "rows", 2), Spread("m", "rows", 2))), r"a rank of conv is spread twice along one dimension"),
    (Layout((Spread("m", "rows", 2, "n"),)), r"m \(output_channel\) cannot run on through n \(batch\); what can: out"),
    (Layout((Spread("m", "rows", 2, "g"), Spread("g", "columns", 2))), r"cannot run on through g, which is spread"),
    (Layout((), (("z", 2),)), r"conv has no rank 'z'"),
    (Layout((Spread("m", "rows", 2),), (("m", 3),)), r"a loop over m in tiles of 3, not a multiple of the 2 that"),
    (Layout((), (), {"input": 0}), r"array has no registers for its input"),
    (Layout((), (("p", 1),), {"weight": 2}), r"weight is held inside loop 2 of 1"),
    (Layout((Spread("m", "rows", 2), Spread("m", "columns", 2)), (), {"weight": 0}),
     r"m lies along dimensions of which only some share the registers of weight"),
]  # fmt: skip


@pytest.mark.parametrize(("layout", "message"), LAYOUTS)
def test_layouts_that_cannot_be_carried_out(layout: Layout | None, message: str) -> None:
    unit = SpatialArray(
        name="array", memory="s", dimensions={"rows": 4, "columns": 4}, sums=("rows",),
        spread={"rows": ("output_channel", "input_channel")}, fill={"rows": ("filter_row",)},
        registers={"weight": RegisterFile(capacity=64, shared=("columns",))}, through={"output_channel": "group"},
    )  # fmt: skip
    with pytest.raises(BadInput, match=message):
        unit.option(group_conv(2, 2, 5, 2, (4, 4), (3, 3)), VARIANT, layout)


def test_other_variants_and_other_einsums() -> None:
    unit = SpatialArray(name="array", memory="s", dimensions={"rows": 4})
    exp = Einsum("e", Access("O", at("i")), (Access("A", at("i")),), Apply("exp", (Read(0),)), {"i": 3})
    assert unit.spatial_options(exp) == ()
    with pytest.raises(BadInput, match="array cannot run e as 'spatial'; it can as nothing of the kind: it is"):
        unit.option(exp, VARIANT, Layout())
    with pytest.raises(BadInput, match="array cannot run gemm as 'os'; it can as spatial"):
        unit.option(gemm(1, 2, 2, 2), "os", Layout())
    with pytest.raises(BadInput, match="array: cannot run gemm as `os`"):
        unit.cost(gemm(1, 1, 1, 1), SpatialOption("os", {}), {r: np.array([1]) for r in "gmnk"}, BITS)


@pytest.mark.parametrize(
    ("key", "value"),
    [("spread", {"depth": ["row"]}), ("fill", {"depth": ["row"]}), ("sums", ["depth"]),
     ("registers", {"weight": {"capacity": "4 B", "shared": ["depth"]}})],
)  # fmt: skip
def test_dimensions_that_are_not_there(key: str, value: object) -> None:
    where = "registers.weight.shared" if key == "registers" else key
    with pytest.raises(ValueError, match=f"{where}: no dimension `depth` \\(has: rows\\)"):
        SpatialArray.model_validate({"kind": "spatial", "memory": "s", "dimensions": {"rows": 4}, key: value})


# Options


def steps(unit: SpatialArray, einsum: Einsum) -> int:
    """Of the first option, as `cost` counts them."""
    option = unit.spatial_options(einsum)[0]
    return int(unit.cost(einsum, option, {r: np.array([n]) for r, n in einsum.sizes.items()}, (8, 8, 8)).cycles[0])


@given(EINSUMS, st.lists(st.integers(1, 6), min_size=1, max_size=3), st.booleans())
@SMALL
def test_options_are_sorted_and_can_be_carried_out(einsum: Einsum, sizes: list[int], through: bool) -> None:
    unit = SpatialArray(
        memory="s", dimensions={f"d{i}": n for i, n in enumerate(sizes)}, mac_bits=64,
        through={"output_channel": "group"} if through else {},
    )  # fmt: skip
    options = unit.spatial_options(einsum)
    extents = {r: np.array([n]) for r, n in einsum.sizes.items()}
    found = [int(unit.cost(einsum, o, extents, BITS).cycles[0]) for o in options]
    assert found == sorted(found)
    assert all(unit.option(einsum, VARIANT, o.layout) == o for o in options)
    assert len({o.layout for o in options}) == len(options)
    assert found[0] >= prod(einsum.sizes.values()) / prod(sizes)


def test_a_rank_may_lie_along_several_dimensions() -> None:
    unit = SpatialArray(memory="s", dimensions={"rows": 4, "columns": 5}, sums=())
    assert steps(unit, gemm(1, 1, 20, 7)) == 7
    option = unit.spatial_options(gemm(1, 1, 20, 7))[0]
    assert dict(option.spatial) == {"n": "rows, columns"}


def test_what_fills_a_dimension_lies_there_first() -> None:
    """12 x 14 elements with rows of filters by rows of outputs: 27 output rows fold into two strips of 14 columns."""
    unit = SpatialArray(
        memory="s", dimensions={"rows": 12, "columns": 14}, fill={"columns": ("row",), "rows": ("filter_row", "row")},
        spread={"rows": ("input_channel", "output_channel"), "columns": ("output_channel",)}, shares="factors",
    )  # fmt: skip
    layer = group_conv(c=4, m=6, side=(27, 27), window=(5, 5))
    layout = unit.spatial_options(layer)[0].layout
    assert layout is not None
    assert set(layout.spreads) == {Spread("p", "columns", 14), Spread("r", "rows", 5), Spread("p", "rows", 2)}
    assert steps(unit, layer) == 27 * 5 * 4 * 6
    narrow = group_conv(c=4, m=6, side=(7, 7), window=(3, 3))  # four sets of 3 rows, two of 7 columns
    assert steps(unit, narrow) == 7 * 3 * 4 * 6 // 8


def test_shares_that_are_factors_leave_elements_idle() -> None:
    """Of 7 rows, 3 and 2 may be shared out, or 7 alone."""
    any_, factors = (SpatialArray(memory="s", dimensions={"rows": 7}, shares=s) for s in ("any", "factors"))
    assert steps(any_, gemm(1, 3, 2, 1)) == 1
    assert steps(factors, gemm(1, 3, 2, 1)) == 2


def test_running_on_saves_the_rest_of_every_group() -> None:
    layer = group_conv(g=6, m=4)
    spread: Mapping[str, tuple[RankRole, ...]] = {"rows": ("output_channel",)}
    apart = SpatialArray(memory="s", dimensions={"rows": 3}, spread=spread)
    through = SpatialArray(memory="s", dimensions={"rows": 3}, spread=spread, through={"output_channel": "group"})
    assert steps(apart, layer) == 12
    assert steps(through, layer) == 8
    assert through.spatial_options(layer)[0].layout == Layout((Spread("m", "rows", 3, "g"),))


# Text

NAMES = st.text("ab.0- ", min_size=1, max_size=3).filter(lambda t: t.strip() == t)
LAYOUT = st.builds(
    Layout,
    st.lists(st.builds(Spread, NAMES, NAMES, st.integers(1, 99), st.none() | NAMES), max_size=3).map(tuple),
    st.lists(st.tuples(NAMES, st.integers(1, 99)), max_size=3).map(tuple),
    st.dictionaries(st.sampled_from(OPERANDS), st.integers(0, 3)),
)


@given(LAYOUT)
@SMALL
def test_layouts_in_mapping_files(layout: Layout) -> None:
    plan = Plan("w", "a", Op("e", "u", VARIANT, layout))
    again = loads(dumps(plan)).root
    assert again == plan.root
    assert hash(again) == hash(plan.root)


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("spread: [{rank: m, factor: 2}]", "along"),
        ("spread: [{rank: m, along: rows, factor: 0}]", "factor"),
        ("spread: [{rank: m, along: rows, factor: 2, trough: g}]", "trough"),
        ("loops: [{rank: m, tiles: 2}]", "tile"),
        ("hold: {weights: 1}", "weight"),
        ("hold: {weight: -1}", "weight"),
    ],
)
def test_layouts_that_are_written_wrong(written: str, problem: str) -> None:
    text = f"workload: w\narchitecture: a\nroot: {{op: e, unit: u, variant: spatial, {written}}}\n"
    with pytest.raises(SpecError, match=problem):
        loads(text)
