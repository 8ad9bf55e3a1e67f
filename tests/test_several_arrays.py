"""Several systolic arrays on a chip: who gets what, what is read once for all, and what of a fold hides."""

from __future__ import annotations

from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.einsums import SMALL, gemm, machine, run
from support.machines import gemm as product

from accelsim import simulate
from accelsim.arch import Architecture
from accelsim.arch.loader import loads_architecture
from accelsim.components.spatial import SpatialArray
from accelsim.components.systolic import SystolicArray
from accelsim.errors import BadInput, SpecError, UnsupportedPrecision
from accelsim.mapping.constraints import Constraints, OpConstraint
from accelsim.mapping.tree import Op, walk

DEALS = ("rows", "columns", "contraction", "groups")
DATAFLOWS = ("os", "ws", "is")
SIDES = {
    "os": {"rows": 4, "columns": 5},
    "ws": {"contraction": 4, "columns": 5},
    "is": {"contraction": 4, "rows": 5},
}
SHARED = {"rows": 1, "columns": 0}
"""Position of the operand that all arrays want."""
RANK = dict(zip(DEALS, ("m", "n", "k", "g"), strict=True))


def shares(size: int, arrays: int, side: int) -> list[int]:
    """Parts for the arrays, handed out from the first one on until nothing is left."""
    part = ceil(ceil(size / arrays) / side) * side
    return [min(part, size - start) for start in range(0, size, part)]


@given(
    st.sampled_from(DATAFLOWS),
    st.sampled_from(DEALS),
    st.integers(1, 9),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, 64, 4096]),
    st.tuples(st.integers(1, 5), *[st.integers(1, 30)] * 3),
)
@settings(SMALL, max_examples=400)
def test_every_array_runs_its_share(
    dataflow: str,
    deal: str,
    arrays: int,
    multicast: bool,
    adders: bool,
    accumulators: int | None,
    gmnk: tuple[int, ...],
) -> None:
    one = SystolicArray(memory="s", rows=4, cols=5, accumulators=accumulators, accumulator_bits=24)
    many = one.model_copy(
        update={"arrays": arrays, "deals": ("folds", deal), "multicast": multicast, "adders": adders}
    )  # fmt: skip
    sizes = dict(zip("gmnk", gmnk, strict=True))
    parts = shares(sizes[RANK[deal]], arrays, SIDES[dataflow].get(deal, 1))
    each = [run(one, gemm(*{**sizes, RANK[deal]: part}.values()), dataflow, (8, 8, 16)) for part in parts]
    if arrays == 1:
        assert [o.variant for o in many.spatial_options(gemm(*gmnk))].count(dataflow) == 1
        many = many.model_copy(update={"deals": (deal,)})
    cost = run(many, gemm(*gmnk), f"{dataflow}/{deal}", (8, 8, 16))
    assert len(parts) <= arrays
    assert cost.cycles[0] == max(int(c.cycles[0]) for c in each)
    assert cost.cycles[0] * many.peak_rates()["mac"] >= cost.actions["mac"][0] == sum(c.actions["mac"][0] for c in each)
    even = {**sizes, RANK[deal]: ceil(sizes[RANK[deal]] / arrays)}
    assert cost.cycles[0] == run(one, gemm(*even.values()), dataflow).cycles[0]  # whole sides lengthen no share
    for operand in (0, 1):
        read = [int(c.reads[operand][0]) for c in each]
        once = multicast and SHARED.get(deal) == operand
        assert cost.reads[operand][0] == (max(read) if once else sum(read))
    results = gmnk[0] * gmnk[1] * gmnk[2]
    if deal != "contraction":
        assert cost.writes[0] == sum(c.writes[0] for c in each)
        assert cost.partial_reads[0] == sum(c.partial_reads[0] for c in each)
    else:
        passes = [int(c.partial_reads[0]) // (3 * results) + 1 for c in each]
        together = max(passes) if adders else sum(passes)
        assert cost.partial_reads[0] == 3 * results * (together - 1)
        assert cost.writes[0] == 2 * results + cost.partial_reads[0]


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_one_array_is_what_it_was(dataflow: str) -> None:
    plain = SystolicArray(memory="s", rows=4, cols=5)
    for deal in DEALS:
        alone = plain.model_copy(update={"deals": (deal,), "multicast": False})
        costs = [run(plain, gemm(2, 9, 11, 13), dataflow), run(alone, gemm(2, 9, 11, 13), f"{dataflow}/{deal}")]
        assert len({(int(c.cycles[0]), *(int(r[0]) for r in c.reads), int(c.writes[0])) for c in costs}) == 1


def test_a_shared_operand_is_read_once() -> None:
    """Four arrays of 4 x 4 that keep weights: each has 4 of 16 columns, and all want the same 64 x 4 inputs."""
    for multicast, inputs in ((True, 64 * 4), (False, 4 * 64 * 4)):
        unit = SystolicArray(memory="s", rows=4, cols=4, arrays=4, deals=DEALS, multicast=multicast)
        cost = run(unit, gemm(1, 64, 16, 4), "ws/columns")
        assert cost.cycles[0] == 64 + 4 + 4 + 4 - 2
        assert [int(r[0]) for r in cost.reads] == [inputs, 4 * 16]
        assert run(machine(unit, bandwidth=4e9), gemm(1, 64, 16, 4), "ws/columns").cycles[0] == ceil(
            (inputs + 64 + 64 * 16) / 4
        )


def test_partial_results_between_tiles_stay_with_their_array() -> None:
    unit = SystolicArray(memory="s", rows=4, cols=4, arrays=2, deals=("contraction",), accumulators=4 * 64)
    einsum = gemm(1, 8, 8, 16)
    (option,) = [o for o in unit.spatial_options(einsum) if o.variant == "ws/contraction"]
    assert dict(option.spatial) == {"k": "rows, arrays", "n": "columns"}
    extents = {r: np.array([n]) for r, n in einsum.sizes.items()}
    unfinished = unit.cost(einsum, option, extents, (8, 8, 8), resumed=True, unfinished=True)
    assert (unfinished.writes[0], unfinished.partial_reads[0]) == (0, 0)
    last = unit.cost(einsum, option, extents, (8, 8, 8), resumed=True)
    assert (last.writes[0], last.partial_reads[0]) == (64 + 4 * 64, 4 * 64)


CHIP = """
name: chip
clock: 1 GHz
memories:
  dram: {{kind: dram, standard: DDR4, capacity: 64 GiB, bandwidth: 512 GB/s}}
  sram: {{kind: buffer, capacity: 1 MiB, parent: dram, bandwidth: {bandwidth}}}
units:
  array: {{kind: systolic, memory: sram, rows: 8, cols: 8, arrays: 4, mac_bits: 16, dataflows: [{dataflow}],
    overlap: true, {more}}}
"""


def chip(more: str, dataflow: str = "ws", bandwidth: str = "64 GB/s") -> Architecture:
    return loads_architecture(CHIP.format(more=more, dataflow=dataflow, bandwidth=bandwidth))


def test_the_mapper_deals_so_that_least_is_read() -> None:
    """Many rows on weights of one fold of each array: columns, whose inputs all arrays share. On 8 columns: rows."""
    deals = "deals: [rows, columns, contraction]"
    for sizes, chosen in (((512, 32, 8), "ws/columns"), ((512, 8, 8), "ws/rows")):
        report = simulate(chip(deals), product(*sizes))
        assert report.mapping is not None
        assert [n.variant for _, n in walk(report.mapping.root) if isinstance(n, Op)] == [chosen]
        folds = simulate(chip("deals: [folds]"), product(*sizes))
        single = simulate(chip("deals: [columns], multicast: false"), product(*sizes))
        assert report.cycles <= folds.cycles
        assert report.cycles <= single.cycles
        assert 0 < report.utilization["array"]["mac"] <= 1


@pytest.mark.parametrize("deal", DEALS)
def test_a_deal_can_be_asked_for(deal: str) -> None:
    arch = chip("deals: [folds, rows, columns, contraction, groups]")
    constraints = Constraints((("*", OpConstraint(variant=f"ws/{deal}")),))
    report = simulate(arch, product(100, 60, 50), constraints=constraints)
    assert 0 < report.utilization["array"]["mac"] <= 1
    assert report.cycles * 4 * 64 >= report.macs == 100 * 60 * 50


@given(st.sampled_from(DATAFLOWS), st.sets(st.sampled_from(["fill", "skew", "drain"])), st.booleans(),
       st.tuples(*[st.integers(1, 30)] * 3))  # fmt: skip
@SMALL
def test_what_of_a_fold_hides(dataflow: str, hidden: set[str], shift_out: bool, mnk: tuple[int, int, int]) -> None:
    unit = SystolicArray(memory="s", rows=4, cols=5, overlap=tuple(sorted(hidden)), shift_out=shift_out)
    m, n, k = mnk
    along_rows, along_cols, stream = {"os": (m, n, k), "ws": (k, n, m), "is": (k, m, n)}[dataflow]
    folds = ceil(along_rows / 4) * ceil(along_cols / 5)
    fill, skew, drain = (0 if dataflow == "os" else 4), 7, (4 if dataflow == "os" and shift_out else 0)
    left = sum(n for what, n in (("fill", fill), ("skew", skew), ("drain", drain)) if what not in hidden)
    # What is shifted in or out behind a fold takes a cycle per row of the array.
    interval = max(stream + left, 4 if ("drain" if dataflow == "os" else "fill") in hidden else 0)
    cost = run(unit, gemm(1, m, n, k), dataflow)
    assert cost.cycles[0] == folds * interval
    assert cost.cycles[0] + cost.latency[0] == (folds - 1) * interval + stream + fill + skew + drain
    everything = unit.model_copy(update={"overlap": True})
    assert run(everything, gemm(1, m, n, k), dataflow).cycles[0] <= cost.cycles[0]


def test_the_equations_of_the_paper_have_the_drain() -> None:
    """Samajdar et al., equation 3: an output-stationary fold takes 2 rows + cols + K - 2 cycles."""
    unit = SystolicArray(memory="s", rows=16, cols=8, shift_out=True)
    assert run(unit, gemm(1, 16, 8, 100), "os").cycles[0] == 2 * 16 + 8 + 100 - 2


def test_widths_that_an_array_does_not_have() -> None:
    for unit, variant in (
        (SystolicArray(memory="s", rows=4, cols=4, name="pe", operand_bits=(4, 8)), "os"),
        (SpatialArray(memory="s", dimensions={"x": 4}, name="pe", operand_bits=(4, 8)), "spatial"),
    ):
        option = next(o for o in unit.spatial_options(gemm(1, 4, 4, 4)) if o.variant == variant)
        extents = {r: np.array([n]) for r, n in gemm(1, 4, 4, 4).sizes.items()}
        unit.cost(gemm(1, 4, 4, 4), option, extents, (8, 4, 16))
        with pytest.raises(
            UnsupportedPrecision, match=r"pe: cannot compute gemm with a second operand of 16 bits \(can"
        ):
            unit.cost(gemm(1, 4, 4, 4), option, extents, (8, 16, 16))


def test_what_cannot_be_dealt() -> None:
    unit = SystolicArray(memory="s", rows=4, cols=4, arrays=2, name="pe", deals=("rows",))
    with pytest.raises(BadInput, match=r"pe cannot run gemm as 'ws/columns'; it can as"):
        unit.option(gemm(1, 4, 4, 4), "ws/columns", None)
    for keys in ("deals: [rows, rows]", "deals: [slices]", "overlap: [spill]"):
        with pytest.raises(SpecError, match=r"units\.array"):
            chip(keys)


@pytest.mark.parametrize("deal", DEALS)
def test_one_array_runs_as_by_folds_however_it_would_deal(deal: str) -> None:
    text = """
        name: m
        clock: 1 GHz
        memories:
          dram: {kind: dram, capacity: 1 GiB, bandwidth: 16 B/cycle}
          sram: {kind: buffer, parent: dram, capacity: 8 KiB, bandwidth: 64 B/cycle}
        units:
          array: {kind: systolic, memory: sram, rows: 4, cols: 4, deals: [%s]}
          vector: {kind: vector, memory: sram, lanes: 2}
    """
    workload = product(24, 20, 16)
    dealt, folds = (simulate(loads_architecture(text % d), workload, objective="energy") for d in (deal, "folds"))
    assert dealt.cycles == folds.cycles
    assert dealt.energy_J == pytest.approx(folds.energy_J)
    array = loads_architecture(text % deal).units["array"]
    assert isinstance(array, SystolicArray)
    einsum, _ = next(workload.einsums())
    plain = array.model_copy(update={"deals": ("folds",)})
    for dataflow in DATAFLOWS:
        assert array.least_cycles(einsum, f"{dataflow}/{deal}") == plain.least_cycles(einsum, dataflow) > 0
