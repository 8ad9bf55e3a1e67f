"""The experiment on Eyeriss moves with its machine as it should."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from accelsim import simulate
from accelsim.arch.loader import load_spec
from accelsim.errors import DoesNotFit
from accelsim.experiments.eyeriss.experiment import (
    LAYERS,
    Layer,
    active_pes,
    compressed_words,
    machine,
    mapping,
    run,
    workload,
)
from accelsim.mapping.validate import validate

FREE = {"memories.dram.bandwidth": "unlimited", "memories.dram.latency": "0 ns"}


def milliseconds(values: Mapping[str, object], *, free: bool = True, layers: Sequence[Layer] = LAYERS) -> float:
    """Time of some layers on the chip with some values changed."""
    arch = load_spec("eyeriss").with_values({**(FREE if free else {}), **values}).build()
    return sum(run(layer, arch).latency_s * 1e3 for layer in layers)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_mappings_are_valid_and_never_faster_than_the_array(layer: Layer) -> None:
    arch, model = machine(free_link=True), workload(layer)
    plan = mapping(layer, arch, next(e for e, _ in model.einsums()))
    assert validate(plan, model, arch) == []
    report = simulate(arch, model, mapping=plan)
    assert report.cycles >= report.macs / active_pes(layer, arch)


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
    slow, given, fast = (milliseconds({key: value}) for value in values)
    assert slow > given > fast


def test_a_faster_link_makes_the_total_time_shorter() -> None:
    slow, given, fast = (
        milliseconds({"memories.dram.bandwidth": value}, free=False) for value in ("384 MB/s", "480 MB/s", "576 MB/s")
    )
    assert slow > given > fast > milliseconds({})


@pytest.mark.parametrize(
    ("key", "less", "more"),
    [("memories.glb.capacity", "80 KiB", "120 KiB"), ("memories.filters.capacity", "6554 B", "9830 B"),
     ("units.pes.registers.input.capacity", "19 B", "29 B"), ("units.pes.registers.weight.capacity", "358 B", "538 B")],
)  # fmt: skip
def test_less_room_does_not_fit_and_more_is_no_slower(key: str, less: str, more: str) -> None:
    """The published mapping fills the buffers and the registers of inputs and filters; those of partial sums have 24
    words for 16."""
    with pytest.raises(DoesNotFit):
        milliseconds({key: less}, free=False)
    layers = LAYERS[2:4]
    assert milliseconds({key: more}, free=False, layers=layers) <= milliseconds({}, free=False, layers=layers)


@pytest.mark.parametrize(
    ("key", "value"),
    [("units.pes.registers.output.capacity", "39 B"), ("units.vector.lanes", 5), ("memories.dram.capacity", "5 GiB")],
)
def test_what_processing_does_not_depend_on(key: str, value: object) -> None:
    """Registers of sums have room to spare, the vector unit has nothing to do, and DRAM holds every layer."""
    assert milliseconds({key: value}) == milliseconds({})


def test_run_lengths_never_make_a_map_longer() -> None:
    """64 bits for three values and the zeros before them."""
    assert compressed_words(2000, 0.0) == 1000
    assert compressed_words(2000, 0.25) == 1000
    assert compressed_words(2000, 0.625) == pytest.approx(500)
