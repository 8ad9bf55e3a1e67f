"""The experiment on Eyeriss: its mappings, what was deduced of them, and how it moves with its machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import ceil

import pytest

from accelsim import simulate
from accelsim.errors import DoesNotFit
from accelsim.experiments.eyeriss.experiment import (
    LIMITS,
    UNLIMITED,
    buffer_megabytes,
    energy_by_level,
    figure,
    link_megabytes,
    machine,
    milliseconds,
    run,
    waits,
)
from accelsim.experiments.eyeriss.layers import BATCH, Layer, layers, workload
from accelsim.experiments.eyeriss.row_stationary import active_pes, mapping
from accelsim.experiments.loader import Row
from accelsim.mapping.validate import validate

ALEXNET, VGG = layers("alexnet"), layers("vgg16")
ALL = (*ALEXNET, *VGG)
BLOCKS = (VGG[0], VGG[3], VGG[5], VGG[8], VGG[12])


def processing(values: Mapping[str, object], some: Sequence[Layer] = (*ALEXNET, VGG[1])) -> float:
    """Milliseconds of some layers on the chip with some values changed."""
    return sum(milliseconds(layer, values) for layer in some)


def total(values: Mapping[str, object], some: Sequence[Layer] = (*ALEXNET, VGG[12])) -> float:
    return sum(run(layer, machine(values), compressed=True).latency_s * 1e3 for layer in some)


@pytest.mark.parametrize("layer", ALL, ids=lambda layer: f"{layer.network}-{layer.name}")
def test_mappings_are_valid_and_never_faster_than_the_array(layer: Layer) -> None:
    arch, model = machine(free_link=True), workload(layer)
    plan = mapping(layer, arch, next(e for e, _ in model.einsums()))
    assert validate(plan, model, arch) == []
    report = simulate(arch, model, mapping=plan)
    assert report.cycles >= report.macs / active_pes(layer, arch)


@pytest.mark.parametrize("layer", BLOCKS, ids=lambda layer: layer.name)
def test_waits_vanish_with_unlimited_bandwidth(layer: Layer) -> None:
    """What is left is the arithmetic in steps: passes over filters and channels, windows, columns, strips of rows."""
    report = run(layer, machine(UNLIMITED, free_link=True))
    side, passes = layer.side - 2, ceil(layer.channels / layer.q / layer.r) * layer.filters // layer.p // layer.t
    strips, images = ceil(side / layer.e), 3
    steps = strips * images * side * passes * layer.p * layer.q * layer.kernel
    assert steps <= report.cycles <= steps * 1.003


def test_what_vgg_waits_for_is_its_sums() -> None:
    """4 words per cycle each way: channels / (q r) accesses of every sum, as a share of the time."""
    for layer in VGG[:7]:
        sums = 3 * (layer.side - 2) ** 2 * layer.filters * layer.channels / layer.q / layer.r
        assert sums / 4 / 200e3 == pytest.approx(milliseconds(layer), rel=0.07)
        assert max(LIMITS, key=waits(layer).__getitem__) == "partial sums"


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("clock", ("160 MHz", "200 MHz", "240 MHz")),
        ("units.pes.network.weight", ("6.4 B/cycle", "8 B/cycle", "9.6 B/cycle")),
        ("units.pes.network.input", ("1.6 B/cycle", "2 B/cycle", "2.4 B/cycle")),
        ("units.pes.network.output", ("6.4 B/cycle", "8 B/cycle", "9.6 B/cycle")),
        ("memories.glb.bandwidth", ("160 B/cycle", "200 B/cycle", "240 B/cycle")),
        ("memories.filters.bandwidth", ("12.8 B/cycle", "16 B/cycle", "19.2 B/cycle")),
    ],
)
def test_what_is_faster_makes_processing_faster(key: str, values: tuple[str, ...]) -> None:
    """±20 %."""
    slow, given, fast = (processing({key: value}) for value in values)
    assert slow > given > fast


def test_a_faster_link_makes_the_total_time_shorter() -> None:
    slow, given, fast = (total({"memories.dram.bandwidth": f"{rate} MB/s"}) for rate in (384, 480, 576))
    assert slow > given > fast > processing({}, (*ALEXNET, VGG[12]))
    late, soon = (total({"memories.dram.latency": latency}) for latency in ("120 ns", "80 ns"))
    assert late > given > soon


def test_filters_wait_for_those_before_where_their_memory_has_no_room_for_both() -> None:
    less, given, more = (total({"memories.filters.capacity": f"{size} B"}) for size in (13107, 16384, 19661))
    assert less > given == more


@pytest.mark.parametrize(
    ("key", "less", "more"),
    [("memories.glb.capacity", "80 KiB", "120 KiB"), ("units.pes.registers.input.capacity", "19 B", "29 B"),
     ("units.pes.registers.weight.capacity", "358 B", "538 B")],
)  # fmt: skip
def test_less_room_does_not_fit_and_more_changes_nothing(key: str, less: str, more: str) -> None:
    """The mapping is the chip's: it fills the buffer and the registers of inputs and filters, and uses no more."""
    with pytest.raises(DoesNotFit):
        processing({key: less})
    assert processing({key: more}) == processing({})


@pytest.mark.parametrize(
    ("key", "value"),
    [("units.pes.registers.output.capacity", "39 B"), ("units.vector.lanes", 5), ("memories.dram.capacity", "5 GiB"),
     ("units.pes.mac_energy", "6 pJ")],
)  # fmt: skip
def test_what_processing_does_not_depend_on(key: str, value: object) -> None:
    """Registers of sums have room to spare, the vector unit has nothing to do, and DRAM holds every layer."""
    assert processing({key: value}) == processing({})


@pytest.mark.parametrize(
    ("key", "low", "high"),
    [("units.pes.mac_energy", "3.86 pJ", "5.78 pJ"), ("units.pes.transfer_energy", "3.86 pJ/B", "5.78 pJ/B"),
     ("memories.glb.read_energy", "11.6 pJ/B", "17.4 pJ/B"), ("memories.dram.read_energy", "386 pJ/B", "578 pJ/B"),
     ("units.pes.registers.weight.read_energy", "1.93 pJ/B", "2.89 pJ/B")],
)  # fmt: skip
def test_energies_move_their_level(key: str, low: str, high: str) -> None:
    less, given, more = (energy_by_level(run(ALEXNET[3], machine(v))) for v in ({key: low}, {}, {key: high}))
    moved = [level for level in given if less[level] != given[level]]
    assert len(moved) == 1
    assert less[moved[0]] < given[moved[0]] < more[moved[0]]


def test_compression_shortens_what_has_zeros_and_nothing_else() -> None:
    """conv1 of AlexNet has no zeros to speak of: 21 bits for every value would be more than 16."""
    arch = machine()
    for layer in (ALEXNET[0], ALEXNET[3]):
        plain, coded = (run(layer, arch, compressed=c) for c in (False, True))
        read = [r.traffic_bytes["dram"]["read"] for r in (plain, coded)]
        assert (read[1] < read[0]) is (layer.name == "conv4")
        assert link_megabytes(coded) < link_megabytes(plain)


# The mapping of VGG-16 is deduced: of all that fit, it has the accesses to the buffer that were published.


def words(layer: Layer, m: int, n: int, e: int, f: int, passes: int, filters: int) -> float:
    """Accesses to the buffer, as `buffer_megabytes` counts them, by a closed form."""
    side, images = layer.side - 2, BATCH["vgg16"]
    rows, columns = side + 2 * ceil(side / e), side + 2 * ceil(side / f)
    sums = 2 * layer.filters * side**2 * images * passes
    inputs = rows * columns * images * layer.channels * ceil(layer.filters / m) * ceil(m / filters)
    fetched = 9 * layer.channels * layer.filters * ceil(side / e) * ceil(side / f) * ceil(images / n)
    return (sums + inputs + fetched) * 2 / 2**20


def fitting(layer: Layer) -> Iterator[tuple[float, int, int, int]]:
    """Of all that fits: how far its accesses are from the published ones, channels and filters of a pass, rows."""
    side, pes = layer.side - 2, int(layer.published("active_pes"))
    for e, r, t in product((7, 13, 14, 26, 28, 39, 52, 56), (1, 2, 4), (1, 2, 4)):
        strips = ceil(e / 14)
        if e > side or 3 * e * r * t != pes or r * t > 4 // strips * (14 // ceil(e / strips)):
            continue
        for p, q, n, f in product((4, 8, 12, 16, 20, 24), (1, 2, 3, 4), (1, 2, 3), {side, side // 2}):
            for m in range(p * t, layer.filters + 1, p * t):
                banks = ceil(m * n * e * f * 2 / 4096) + ceil(q * r * n * (e + 2) * (f + 2) * 2 / 4096)
                if layer.filters % m == 0 and p * q * 3 <= 224 and q * r <= layer.channels and banks <= 25:
                    found = words(layer, m, n, e, f, ceil(layer.channels / q / r), p * t)
                    yield abs(found / layer.published("glb_MB") - 1), q * r, p * t, e


@pytest.mark.parametrize("layer", VGG, ids=lambda layer: layer.name)
def test_no_mapping_that_fits_has_accesses_nearer_to_the_published_ones(layer: Layer) -> None:
    own = words(layer, layer.m, layer.n, layer.e, layer.f, ceil(layer.channels / layer.q / layer.r), layer.p * layer.t)
    assert buffer_megabytes(layer, run(layer, machine(free_link=True))) == pytest.approx(own, rel=1e-3)
    error = abs(own / layer.published("glb_MB") - 1)
    found = sorted(fitting(layer))
    assert error <= found[0][0] + 1e-12 < 6e-4
    near = {(channels, filters) for miss, channels, filters, _ in found if miss <= 6e-4}
    assert (layer.q * layer.r, layer.p * layer.t) in near


def test_the_figure_has_both_times_of_every_layer() -> None:
    rows = [
        Row(quantity, layer.where, published, 3.0, "ms", 0.1, "a paper")
        for layer in ALL
        for quantity, published in (("active PEs", 2.0), ("processing time", 2.0), ("total time", 4.0))
    ]
    drawn = figure([*rows, Row("processing time", "AlexNet, all convolutions", 1, 1, "ms", 0.1, "a paper")])
    data = drawn["data"]
    assert isinstance(data, list)
    assert [set(series["y"]) for series in data] == [{1.0}, {1.5}, {2.0}, {1.5}]
    assert all(series["x"] == [layer.where for layer in ALL] for series in data)
