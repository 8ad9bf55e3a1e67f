"""The experiment on least traffic: its nests by hand, the mapper among them, and how it moves with the machine."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim import simulate
from accelsim.arch.loader import load_spec
from accelsim.errors import DoesNotFit
from accelsim.experiments.gemm_bound.experiment import MIB, SIZE, product, simulated, space
from accelsim.experiments.gemm_bound.nests import balanced, least_traffic
from accelsim.experiments.loader import data_path, table
from accelsim.ir import Einsum, parse_cascade
from accelsim.ir.minimum_traffic import minimum_traffic
from accelsim.mappers.tile.search import tile_sizes
from accelsim.report import Report

FOLDER = "accelsim.experiments.gemm_bound"
RECORDS = table(FOLDER, "traffic.csv")


def test_nests_by_hand() -> None:
    """4 x 4 x 4: with 2 x 2 outputs (single), a column of A and a row of B (double), 4 + 2·(2 + 2) bytes."""
    sizes, tiles = dict.fromkeys("mnk", 4), {rank: [1, 2, 4] for rank in "mnk"}
    tight, tighter = least_traffic(sizes, [12, 11], tiles)
    assert tight is not None
    assert tighter is not None
    assert tight.traffic_bytes == 2 * 16 + 2 * 16 + 16 < tighter.traffic_bytes
    assert least_traffic(sizes, [4], tiles) == [None]
    assert balanced(10) == [1, 2, 3, 4, 5, 10]


def test_table_is_what_the_nests_give() -> None:
    """With the sizes of the best nests, and some beside; the table itself comes of all 127."""
    sizes = {rank: sorted({1, 512, 1024, *(int(r[f"tile_{rank}"]) for r in RECORDS)}) for rank in "mnk"}
    found = least_traffic(dict.fromkeys("mnk", SIZE), [int(r["buffer_MiB"]) * MIB for r in RECORDS], sizes)
    assert [x and x.traffic_bytes for x in found] == [int(r["least_MiB"]) * MIB for r in RECORDS]


def test_tile_mapper_finds_the_best_of_its_sizes() -> None:
    capacities = [int(r["buffer_MiB"]) for r in RECORDS]
    tiles = dict.fromkeys("mnk", tile_sizes(SIZE))
    found = least_traffic(dict.fromkeys("mnk", SIZE), [c * MIB for c in capacities], tiles)
    assert [x and x.traffic_bytes for x in found] == [simulated(f"{c} MiB") for c in capacities]


@given(st.tuples(*(st.integers(1, 8) for _ in range(3))), st.integers(4, 200))
@settings(deadline=None, max_examples=40)
def test_analysis_is_never_above_the_nests(sizes: tuple[int, int, int], buffer: int) -> None:
    """It knows all of these nests, and asks no room for partial results that come back."""
    ranks = dict(zip("mnk", sizes, strict=True))
    workload = parse_cascade("Z[m,n] = A[m,k] * B[k,n]", ranks, bits=8)
    (einsum,) = workload.body
    assert isinstance(einsum, Einsum)
    (tried,) = least_traffic(ranks, [buffer], {r: balanced(n) for r, n in ranks.items()})
    if tried is None:
        return
    assert minimum_traffic(einsum, buffer, workload.tensors, room="streams").traffic_bytes <= tried.traffic_bytes


def test_ideal_below_streams_below_double_buffers() -> None:
    for r in RECORDS:
        nbytes = int(r["buffer_MiB"]) * MIB
        ideal, streams, double = (space(room).minimum(nbytes).traffic_bytes for room in ("ideal", "streams", "double"))
        assert ideal <= streams <= double


# -- the machine -----------------------------------------------------------------------------------------------------


def run(**values: object) -> Report:
    spec = load_spec(data_path(FOLDER, "machine.yaml"))
    paths = {path.replace("__", "."): value for path, value in values.items()}
    return simulate(spec.with_values(paths).build(), product(1024), objective="energy")


def traffic(report: Report) -> int:
    return sum(report.traffic_bytes["dram"].values())


def test_more_buffer_moves_less() -> None:
    """20 % up and down from several sizes: bytes fall in steps, with the number of tiles, and never rise."""
    steps = 0
    for kib in (80, 160, 320, 640, 1280):
        capacities = (f"{share * kib // 10} KiB" for share in (8, 10, 12))
        less, same, more = (traffic(run(memories__buffer__capacity=capacity)) for capacity in capacities)
        assert less >= same >= more
        steps += less > more
    assert steps > 0


@pytest.mark.parametrize("way", ["read", "write"])
def test_costlier_bytes_cost_more(way: str) -> None:
    low, base, high = (run(**{f"memories__dram__{way}_energy": f"{pj} pJ/bit"}) for pj in (0.8, 1, 1.2))
    assert low.energy_J < base.energy_J < high.energy_J


@pytest.mark.parametrize("path, low, high", [
    ("memories__dram__bandwidth", "0.8 TB/s", "1.2 TB/s"),
    ("memories__dram__capacity", "0.8 TB", "1.2 TB"),
    ("clock", "0.8 GHz", "1.2 GHz"),
    ("units__array__rows", 205, 307),
    ("units__array__cols", 205, 307),
    ("units__array__accumulator_bits", 26, 38),
])  # fmt: skip
def test_time_is_no_matter_of_traffic(path: str, low: object, high: object) -> None:
    """Only energy is asked for, and none of these has any: the same bytes move, if in more or less time."""
    base = run()
    assert traffic(run(**{path: low})) == traffic(run(**{path: high})) == traffic(base)


@pytest.mark.parametrize("path, low, high", [
    ("memories__dram__bandwidth", "0.8 TB/s", "1.2 TB/s"),
    ("clock", "0.8 GHz", "1.2 GHz"),
])  # fmt: skip
def test_faster_parts_take_less_time(path: str, low: object, high: object) -> None:
    assert run(**{path: low}).latency_s >= run().latency_s >= run(**{path: high}).latency_s
    assert run(**{path: low}).latency_s > run(**{path: high}).latency_s


def test_too_small_a_buffer_is_told() -> None:
    with pytest.raises(DoesNotFit):
        run(memories__buffer__capacity="2 B")
