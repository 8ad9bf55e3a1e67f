"""Layouts of spatial arrays: those that cannot be carried out, the options of an Einsum, and their form in files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.einsums import SMALL, at, gemm, group_conv
from support.spatial_cases import BITS, EINSUMS

from accelsim.arch.component import OPERANDS
from accelsim.arch.layout import Layout, Spread
from accelsim.components.base import SpatialOption
from accelsim.components.spatial import VARIANT, SpatialArray
from accelsim.components.spatial_layout import RegisterFile
from accelsim.errors import BadInput, SpecError
from accelsim.ir import Access, Apply, Einsum, Read
from accelsim.ir.roles import RankRole
from accelsim.mapping.tree import Mapping as Plan
from accelsim.mapping.tree import Op
from accelsim.mapping.yaml_form import loads
from accelsim.mapping.yaml_text import dumps

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
