"""Rows of fused kernels, and what every parameter of the machine does to them."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

import pytest

from accelsim.arch.architecture import Architecture
from accelsim.errors import DoesNotFit
from accelsim.experiments.loader import Row
from accelsim.experiments.sn40l_fusion import calibrated, experiment
from accelsim.experiments.sn40l_fusion.experiment import (
    ASSUMPTIONS,
    DECODE,
    MONARCH,
    _intensities,
    allowed,
    intensities,
    of_run,
)
from accelsim.experiments.sn40l_fusion.launches import (
    Interval,
    Kernels,
    common,
    launch_at,
    of_fusion,
    of_hardware,
)
from accelsim.experiments.sn40l_fusion.models import (
    BLOOM,
    FALCON,
    flash_fft_convolution,
    flops,
    language_model,
    modules,
    monarch,
    partial,
)
from accelsim.experiments.sn40l_fusion.runs import (
    BY_MODULE,
    FFT,
    LEVELS,
    PAPER,
    Measured,
    Run,
    fabric,
    graphs_of,
    inside,
    kernels,
    machine,
    machine_of,
    measured,
    references,
    run_plans,
    without_launches,
)
from accelsim.mappers.phases import operators

MODEL = "llama-2-7b"


def within(rows: list[Row]) -> bool:
    return all(r.ok is not False for r in rows)


def test_decode_and_convolution_within_tolerance() -> None:
    for run in (DECODE, FFT):
        rows = list(of_run(run))
        assert within(rows)
        assert any(r.tolerance is not None for r in rows)


def test_every_run_of_the_paper_has_both_ranges() -> None:
    for run in PAPER:
        found = {r["quantity"]: (r["low"], r["high"]) for r in references(run) if r["low"] != r["high"]}
        if run.phase:
            assert found["speed-up"] == (("1.5", "3") if run.phase == "prefill" else ("1", "13"))
            assert found["launch"] == (("1", "1.1") if run.phase == "prefill" else ("1.4", "8"))
        else:
            assert {r["quantity"] for r in references(run)} == {"speed-up", "launch"}


@pytest.mark.parametrize(("model", "ok"), [("mistral-7b", True), ("llama-2-7b", False)])
def test_the_model_that_gains_most_is_named(model: str, ok: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(run: Run, level: str) -> tuple[Measured, Measured]:
        seconds = 2.0 if level == "unfused" and run.model == model else 1.0
        return Measured(seconds, 1, 1), Measured(0.5, 1, 1)

    monkeypatch.setattr(experiment, "measured", fake)
    row = experiment.largest()
    assert row.ok is ok
    assert f"{model} decode 4K: 2.00" in row.note


def test_the_convolution_is_launched_on_one_socket() -> None:
    """Three commands of a microsecond; a launch by hardware costs what it costs on eight."""
    soft, hard = measured(FFT, "unfused")
    assert soft.calls == 21
    assert soft.seconds - hard.seconds == pytest.approx(21 * 2e-6, rel=1e-3)


def test_intensities() -> None:
    rows = list(_intensities())
    assert len(rows) == 3
    assert within(rows)
    m, k, n, p, b = (MONARCH[x] for x in ("rows", "inner", "columns", "out", "batch"))
    graph = monarch(**MONARCH)
    assert flops(graph) == b * m * n * (2 * k + 1 + 2 * p)
    ends = 2 * (b * m * k + k * n + m * n + m * p + b * n * p)
    assert intensities(machine())["full"] == pytest.approx(flops(graph) / ends, rel=1e-6)


@pytest.mark.parametrize("shape", [(32, 64, 128, 16, 8), (64, 16, 32, 128, 4), (8, 256, 64, 8, 32)])
def test_intensities_of_other_shapes(shape: tuple[int, ...]) -> None:
    """Bytes of every tensor that passes between kernels, counted by hand."""
    m, k, n, p, b = shape
    found = intensities(machine(), {"rows": m, "inner": k, "columns": n, "out": p, "batch": b})
    ends = b * m * k + k * n + m * n + m * p + b * n * p
    z, work = b * m * n, b * m * n * (2 * k + 1 + 2 * p)
    for level, crossings in (("none", 6), ("partial", 2), ("full", 0)):
        assert found[level] == pytest.approx(work / (2 * (ends + crossings * z)), rel=1e-9)


def test_assumed_figures_move_speed_ups_the_right_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dearer launches by software make fusion and hardware worth more; dearer ones by hardware the latter less."""
    monkeypatch.setattr(experiment, "ASSUMPTIONS", {k: (*v[:3], (DECODE,)) for k, v in ASSUMPTIONS.items()})
    rows = {(r.quantity, r.where): r.accelsim or 0.0 for r in experiment._assumptions()}
    assert len(rows) == 2 * 2 * len(ASSUMPTIONS)

    def ratio(quantity: str, where: str) -> float:
        return rows[quantity, f"{DECODE}, {where}"]

    for quantity in ("fused over unfused", "hardware over software launch"):
        assert ratio(quantity, "software launch: 12 us") < ratio(quantity, "software launch: 48 us")
    launch = "hardware over software launch"
    assert ratio(launch, "hardware launch: 0.5 us") > ratio(launch, "hardware launch: 2 us")
    fused = "fused over unfused"
    assert ratio(fused, "hardware launch: 0.5 us") == ratio(fused, "hardware launch: 2 us")


def test_shards_hold_an_eighth_of_the_model() -> None:
    graphs = language_model(MODEL, fabric(machine(), "software").pool, phase="decode", tokens=1024)
    layer = next(g for g in graphs if g.repeat == 32)
    weights = sum(r.nbytes for t in layer.tasks for r in t.reads if r.tensor.endswith(".weight") and len(r.dims) == 2)
    assert weights == 2 * (4 * 4096 * 4096 + 3 * 4096 * 11008) // 8
    reduces = [t for t in layer.tasks if t.message]
    assert [t.message for t in reduces] == [2 * 4096 * 2 * 7 // 8] * 2


@pytest.mark.parametrize(
    ("model", "layers", "weights", "exchanges"),
    [
        (BLOOM, 70, 4 * 14336**2 + 2 * 14336 * 57344, 2),
        (FALCON, 60, 2 * 8192**2 + 2 * 8192 * 512 + 2 * 8192 * 32768, 1),  # attention and MLP side by side: one sum
    ],
)
def test_shards_of_models_that_no_family_reads(model: str, layers: int, weights: int, exchanges: int) -> None:
    graphs = graphs_of(Run(model, "decode", 1024), fabric(machine(), "software"))
    layer = next(g for g in graphs if g.repeat == layers)
    held = {
        r.tensor: r.nbytes for t in layer.tasks for r in t.reads if r.tensor.endswith(".weight") and len(r.dims) == 2
    }
    assert sum(held.values()) == 2 * weights // 8
    assert len([t for t in layer.tasks if t.message]) == exchanges


def test_operators_and_partial_kernels() -> None:
    on = fabric(machine(), "software")
    layer = next(g for g in graphs_of(DECODE, on) if g.repeat == 32)
    units = operators(layer)
    assert ("layer.attention.max", "layer.attention.exp", "layer.attention.sum", "layer.attention.div") in units
    assert len(units) == 20
    assert len(partial(layer)) == 12
    assert [n for u in units for n in u] == [t.name for t in layer.tasks]
    assert decode("unfused").calls == 20 * 32 + 3


@pytest.mark.parametrize(("model", "count"), [(MODEL, 16), (BLOOM, 14), (FALCON, 14)])
def test_modules_of_a_layer(model: str, count: int) -> None:
    """Without all-reduces of their own; keys and queries rotated at once where they are rotated; scaled scores."""
    layer = max(graphs_of(Run(model, "decode", 1024), fabric(machine(), "software")), key=lambda g: g.repeat)
    units = modules(layer)
    assert len(units) == count
    assert [n for u in units for n in u] == [t.name for t in layer.tasks]
    assert ("layer.q_scale", "layer.attention.scores") in units
    assert (("layer.q_rotary", "layer.k_rotary") in units) is (model != BLOOM)
    assert all(len(u) > 1 for u in units if u[-1].endswith(".reduce"))


def test_calibrated_decode_of_the_largest_models() -> None:
    """The cost that one figure of Mistral's asks for puts every run of others into its ranges."""
    assert calibrated.launch_s() * 1e6 == pytest.approx(176.7, abs=0.5)
    largest = list(calibrated._of(calibrated.LARGEST))
    assert [r.accelsim for r in largest if r.published == 13.0] == [pytest.approx(13.0, rel=1e-3)]
    assert all(r.tolerance is None for r in largest if r.quantity.startswith("fused"))
    for run in (Run(FALCON, "decode", 2048), Run("llama-2-70b", "decode", 4096), FFT):
        rows = list(calibrated._of(run))
        assert within(rows)
        assert all(r.tolerance is not None for r in rows if r.published is not None)


def test_calibrated_runs_have_their_prompts_and_launches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the largest model, whose prompts are taken not to fit, one at a time."""
    monkeypatch.setattr(calibrated, "fits", lambda run: run.model != BLOOM)
    made = {run: calibrated.calibrated(run) for run in PAPER}
    tokens = {r.model: m.prompts * r.tokens for r, m in made.items() if r.phase == "prefill"}
    assert tokens.pop(BLOOM) == 8192
    assert set(tokens.values()) == {32768}
    assert all(m.prompts == 1 for r, m in made.items() if r.phase != "prefill")
    switch = {r: fabric(machine_of(m), "software").switch_s for r, m in made.items()}
    assert switch[FFT] == pytest.approx(switch[DECODE] / 8, rel=1e-3)
    assert switch[DECODE] == pytest.approx(calibrated.launch_s(), rel=1e-3)
    assert measured(DECODE, BY_MODULE)[0].calls == 16 * 32 + 3


def test_what_has_no_room_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert calibrated.fits(DECODE)

    def short(run: Run, level: str) -> tuple[Measured, Measured]:
        raise DoesNotFit("sram: 1 byte too few")

    monkeypatch.setattr(calibrated, "measured", short)
    assert not calibrated.fits(DECODE)


def test_ranges_are_compared_with_one_decimal() -> None:
    assert inside(1.149, 1.0, 1.1) == inside(1.35, 1.4, 8.0) == 1.0
    assert inside(1.151, 1.0, 1.1) == inside(1.34, 1.4, 8.0) == 0.0


def test_factors_of_a_convolution() -> None:
    graph = flash_fft_convolution((4, 8), 3)
    macs = sum(t.points for t in graph.tasks if t.kind == "Linear")
    assert macs == 2 * 3 * 32 * (4 * 4 + 4 * 8)  # four real products per complex one, there and back
    assert len(graph.tasks) == 2 * 4 + 1


def decode(level: str, orchestration: str = "hardware", changed: Mapping[str, object] | None = None) -> Measured:
    """Fixed kernels on a changed machine."""
    arch: Architecture = machine(**(changed or {}))
    return run_plans(kernels(DECODE, level), fabric(arch, orchestration))


def test_fusion_never_moves_more_and_never_launches_more() -> None:
    found = [decode(level) for level in LEVELS]
    assert found[0].nbytes > found[1].nbytes > found[2].nbytes
    assert found[0].calls > found[1].calls > found[2].calls
    assert found[0].seconds > found[1].seconds > found[2].seconds


@pytest.mark.parametrize(
    ("key", "low", "high", "better"),
    [
        ("memories.hbm.bandwidth", "1.44 TB/s", "2.16 TB/s", "more"),
        ("memories.hbm.latency", "80 ns", "120 ns", "less"),
        ("units.pool.switches", {"hardware": "0.8 us"}, {"hardware": "1.2 us"}, "less"),
        ("units.pool.network_latency", "1.6 us", "2.4 us", "less"),
        ("units.pool.network_bandwidth", "160 GB/s", "240 GB/s", "more"),
        ("clock", "1278 MHz", "1917 MHz", "more"),
        ("units.pool.operation_latency", 4, 8, "less"),
        ("units.pool.hop_latency", 0, 2, "less"),
    ],
)
def test_parameters_move_decode_the_right_way(key: str, low: object, high: object, better: str) -> None:
    few, many = (decode("fused", changed={key: v}).seconds for v in (low, high))
    base = decode("fused").seconds
    assert (few > base > many) if better == "more" else (few < base < many)


def test_what_does_not_matter_in_decode() -> None:
    """Multipliers wait for weights, and a layer needs an eighth of the memory on the chip."""
    base = decode("fused").seconds
    assert decode("fused", changed={"memories.sram.capacity": "416 MiB"}).seconds == base
    assert decode("fused", changed={"units.pool.multipliers": 230}).seconds == pytest.approx(base, rel=0.02)


def test_software_launch_costs_its_difference() -> None:
    soft, hard = decode("unfused", "software"), decode("unfused")
    assert soft.seconds - hard.seconds == pytest.approx(soft.calls * 23e-6, rel=1e-3)


def test_time_is_affine_in_the_cost_of_a_launch() -> None:
    """At the cost that `launches` gives for a ratio, the simulated ratio is that one."""
    unfused, fused = (without_launches(DECODE, level)[0] for level in ("unfused", "fused"))
    launch_s = launch_at(unfused, fused, 10.0)
    changed = {"units.pool.switches": {"software": f"{launch_s * 1e9} ns"}}
    slow, fast = (decode(level, "software", changed).seconds for level in ("unfused", "fused"))
    assert slow / fast == pytest.approx(10.0, rel=1e-3)
    low = allowed(DECODE, next(r for r in references(DECODE) if r["quantity"] == "launch")).low
    at_least = decode("fused", "software", {"units.pool.switches": {"software": f"{low * 1e9} ns"}}).seconds
    assert at_least / decode("fused").seconds == pytest.approx(1.4, rel=1e-3)


def test_one_launch_for_all_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """A range that nothing reaches leaves none; the row names what binds."""
    monkeypatch.setattr(experiment, "PAPER", (DECODE,))
    rows = list(experiment._launches())
    assert rows[-1].accelsim == 1.0
    assert [r.quantity.split()[0] for r in rows] == ["most", "least", "most", "one"]
    real = references

    def raised(run: Run) -> list[dict[str, str]]:
        return [{**r, "low": "7"} if r["quantity"] == "launch" else dict(r) for r in real(run)]

    monkeypatch.setattr(experiment, "references", raised)
    last = list(experiment._launches())[-1]
    assert last.accelsim == 0.0
    assert "hardware over software launch: at least" in last.note
    assert "fused over unfused: at most" in last.note


def test_intervals_of_launches() -> None:
    slow, fast = Kernels(10.0, 8), Kernels(4.0, 1)
    assert launch_at(slow, fast, 4.0) == 1.5  # 10 + 8 * 1.5 = 4 * (4 + 1.5)
    assert launch_at(slow, fast, 8.0) == launch_at(slow, fast, 9.0) == inf
    assert of_fusion(slow, fast, 2.0, 4.0) == Interval(0.0, 1.5)  # 2.5 without launches
    assert of_hardware(fast, 5.0, 1.4, 2.0) == Interval(3.0, 6.0)
    assert common([Interval(0.0, 2.0), Interval(3.0)]).empty
    assert common([Interval(1.0, 5.0), Interval(0.0, 4.0)]) == Interval(1.0, 4.0)
