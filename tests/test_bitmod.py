"""BitMoD's experiment: its products, how it moves with the machine, and what a product's count is made of."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import pytest

from accelsim.arch import Architecture
from accelsim.experiments.bitmod import experiment
from accelsim.experiments.bitmod.experiment import Product, bounded, figure, products, run, spec
from accelsim.experiments.loader import Row
from accelsim.mappers.tile.bound import product_bound
from accelsim.workloads import load_model

LOSSY = {"prefill": "weight=4:8/128+state=8", "decode": "weight=3:8/128+state=8"}


def cycles(phase: str, values: dict[str, object], machine: str = "bitmod", precision: str = "") -> Fraction:
    arch = spec(machine, phase).with_values(values).build()
    return bounded(arch, products("opt-1.3b", phase, precision or LOSSY[phase]))


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_products_are_all_macs_of_the_model(phase: str) -> None:
    """Nothing else in the model multiplies and adds, and equal products are counted together."""
    model = load_model("llama-2-7b", phase=phase, **{"seq" if phase == "prefill" else "context": 256})  # type: ignore[arg-type]
    found = products("llama-2-7b", phase, LOSSY[phase])
    contractions = [(e, times) for e, times in model.einsums() if e.is_contraction]
    assert sum(p.times * p.einsum.points for p in found) == sum(t * e.points for e, t in contractions)
    assert sum(p.times for p in found) == sum(t for _, t in contractions) == 32 * 9 + 1
    assert len(found) == 6


def product(part: str, phase: str = "prefill") -> Product:
    return next(p for p in products("llama-2-7b", phase, LOSSY[phase]) if part in p.einsum.name)


@pytest.mark.parametrize(
    "part, compute, fetches, read, written",
    [
        # 256 x 4096 by 4096 x 4096: weights of 4.0625 bits, read again for every 64 of 256 rows.
        ("layer.q", 8 * 128 * 1024 * 2, (1, 4), 2**21 + 4 * 8_519_680, 2**21),
        # 11008 along the reduction: 5.4 MiB of activations make eleven blocks, and weights are read eleven times.
        ("layer.down", 8 * 128 * 2752 * 2, (1, 11), 5_636_096 + 11 * 22_896_640, 2**21),
        # 32 heads of 256 x 128 by 128 x 256; keys of 8 bits in two blocks, queries of 16 bits read for each.
        ("layer.attention.scores", 32 * 8 * 8 * 32 * 4, (2, 1), 2 * 2**21 + 2**20, 2**22),
    ],
)
def test_counts_of_one_product(part: str, compute: int, fetches: tuple[int, int], read: int, written: int) -> None:
    p = product(part)
    found = product_bound(p.workload, p.einsum, spec("bitmod", "prefill").build())
    assert found.compute_cycles == compute
    assert found.fetches == fetches
    assert (found.read_bytes, found.write_bytes) == (read, written)
    assert found.traffic_cycles == Fraction(read + written, 32)
    assert found.cycles == max(compute, found.traffic_cycles)


@pytest.mark.parametrize(
    "phase, key, low, high, moves",
    [
        ("prefill", "units.array.rows", 26, 38, True),
        ("prefill", "units.array.cols", 26, 38, True),
        ("prefill", "units.array.dot_width", 3, 5, True),
        ("prefill", "memories.dram.bandwidth", "25.6 B/cycle", "38.4 B/cycle", True),
        ("decode", "memories.dram.bandwidth", "25.6 B/cycle", "38.4 B/cycle", True),
        # One row of activations fits either way, so nothing is fetched anew, and traffic decides, not the array.
        ("decode", "memories.weights.capacity", "410 KiB", "614 KiB", False),
        ("decode", "memories.inputs.capacity", "410 KiB", "614 KiB", False),
        ("decode", "units.array.rows", 52, 76, False),
        ("decode", "units.array.dot_width", 3, 5, False),
        # Bandwidth is stated per cycle; energies take no time.
        ("decode", "clock", "0.8 GHz", "1.2 GHz", False),
        ("decode", "units.array.element_energy", "0.7 pJ", "1 pJ", False),
        ("decode", "memories.dram.read_energy", "15 pJ/bit", "22 pJ/bit", False),
        ("decode", "memories.dram.write_energy", "15 pJ/bit", "22 pJ/bit", False),
    ],
)
def test_more_of_anything_is_no_slower(phase: str, key: str, low: object, high: object, moves: bool) -> None:
    """±20 %: what the phase is bound by moves its cycles, the rest leaves them alone (OPT-1.3B, lossy)."""
    less, same, more = cycles(phase, {key: low}), cycles(phase, {}), cycles(phase, {key: high})
    assert less >= same >= more
    assert (less > more) is moves


@pytest.mark.parametrize("key", ["memories.inputs.capacity", "memories.weights.capacity"])
def test_smaller_buffers_fetch_more(key: str) -> None:
    """In prefill of Llama-2-7B, the down projection and attention are bound by what they fetch anew."""
    parts = products("llama-2-7b", "prefill", LOSSY["prefill"])
    found = [bounded(spec("bitmod", "prefill").with_values({key: c}).build(), parts) for c in ("410 KiB", "614 KiB")]
    assert found[0] > bounded(spec("bitmod", "prefill").build(), parts) > found[1]


def test_wider_weights_take_longer_and_metadata_travels() -> None:
    by_bits = [cycles("prefill", {}, precision=f"weight={bits}:8/128+state=8") for bits in (3, 4, 6, 8)]
    assert by_bits[0] <= by_bits[1] < by_bits[2] < by_bits[3]
    assert cycles("decode", {}, precision="weight=3+state=8") < cycles("decode", {})


def test_the_array_turns_in_decode() -> None:
    array = spec("olive", "decode").build().units["array"].model_dump()
    assert (array["rows"], array["cols"]) == (72, 16)


@pytest.mark.parametrize("phase", ["prefill", "decode"])
@pytest.mark.parametrize("machine, precision", [("bitmod", ""), ("ant", "weight=5+state=16")])
def test_no_run_cut_along_rows_and_columns_beats_the_count(phase: str, machine: str, precision: str) -> None:
    arch = spec(machine, phase).build()
    for p in products("opt-1.3b", phase, precision or LOSSY[phase]):
        assert run(arch, [p], cut_all=False) >= bounded(arch, [p]), p.einsum.name


def test_a_decoded_token_takes_what_is_counted() -> None:
    """Nothing is fetched anew, so that no tiling beats the count; the mapper's comes within a hundredth."""
    arch = spec("bitmod", "decode").build()
    parts = products("opt-1.3b", "decode", LOSSY["decode"])
    assert 1 <= run(arch, parts, cut_all=True) / bounded(arch, parts) < 1.01


def test_a_cut_reduction_spares_what_is_fetched_anew() -> None:
    """The down projection: bound by traffic as counted, by arithmetic in a run, within a hundredth of it."""
    arch, p = spec("bitmod", "prefill").build(), product("layer.down")
    counted = product_bound(p.workload, p.einsum, arch)
    assert counted.traffic_cycles > 1.4 * counted.compute_cycles
    assert 1 <= run(arch, [p], cut_all=True) / p.times / counted.compute_cycles < 1.01


def _rows_of_a_run(monkeypatch: pytest.MonkeyPatch, runs: dict[str, float]) -> dict[str, Row]:
    """Rows of BitMoD's decode run where some products take so many times their count and the others take theirs."""

    def at_pace(arch: Architecture, parts: Sequence[Product], *, cut_all: bool) -> float:
        return float(sum(runs.get(p.einsum.name, 1) * bounded(arch, [p]) for p in parts))

    monkeypatch.setattr(experiment, "run", at_pace)
    r = {"model": "llama-2-7b", "phase": "decode", "machine": "bitmod", "precision": LOSSY["decode"],
         "cycles": "81344464", "source": "s"}  # fmt: skip
    return {row.quantity: row for row in experiment._runs(r, "somewhere")}


def test_a_product_below_its_count_is_missed_even_if_another_makes_up_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    arch, down, scores = spec("bitmod", "decode").build(), product("layer.down", "decode"), product("scores", "decode")
    at_count = _rows_of_a_run(monkeypatch, {})
    assert at_count[experiment.BELOW].accelsim == 0 and at_count[experiment.BELOW].ok
    assert at_count[experiment.CUT].accelsim == 81344464
    above = _rows_of_a_run(monkeypatch, {down.einsum.name: 2})
    assert above[experiment.BELOW].accelsim == 0 and above[experiment.BELOW].ok
    mixed = _rows_of_a_run(monkeypatch, {down.einsum.name: 2, scores.einsum.name: 0.5})
    assert (mixed[experiment.CUT].accelsim or 0) > 81344464
    assert mixed[experiment.BELOW].accelsim == bounded(arch, [scores]) / 2
    assert mixed[experiment.BELOW].ok is False


def test_the_figure_shows_the_model_that_is_run() -> None:
    where = ["llama-2-7b decode, ant weight=5+state=16", "llama-2-7b decode, bitmod weight=3:8/128+state=8"]
    rows = [Row(q, w, 10 * i, 10 * i + j, "cycles", None, "s", "n")
            for i, w in enumerate([*where, "opt-1.3b decode, ant weight=5+state=16"])
            for j, q in enumerate((experiment.COUNT, experiment.FREE, experiment.CUT))]  # fmt: skip
    drawn = [t for t in figure(rows)["data"] if t["xaxis"] == "x2"]
    assert [t["x"] for t in drawn] == [["ant, 5 bits", "bitmod, 3 bits"]] * 4
    assert [t["y"] for t in drawn] == [[0, 10], [0, 10], [1, 11], [2, 12]]
