"""FuseMax on other machines: the mapping follows the array and the buffer, and the simulation stays in its band."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from ..loader import Row
from . import closed_forms
from .attention import LATENCY_DIGITS, TRAFFIC_DIGITS, band, bound_s
from .cascade import MODELS, Model, tokens_of
from .ladder import run, side_and_capacity

BERT = MODELS[0]
RULE = "the published rule and cycles of a tile, with this machine's numbers"

BOUND = "the bound of its own Program"
OUTSIDE = "more than the 5 % of all other machines: the buffer has no room for tiles to come while one is used"


@dataclass(frozen=True)
class Variant:
    """A machine or model that differs from the published one."""

    name: str
    machine: Mapping[str, object] = field(default_factory=dict)
    model: Model = BERT
    exp_cycles: int = 6


def variants() -> Iterator[Variant]:
    """Array sizes, frequencies, head sizes, buffers, rates of exp."""
    for side in (16, 32, 64, 128, 512):
        yield Variant(f"{side} x {side} array", side_values(side))
    for clock in ("470 MHz", "1.5 GHz", "3 GHz"):
        yield Variant(clock, {"clock": clock})
    for size in (16, 32, 128, 256):
        yield Variant(f"heads of {size}", model=replace(BERT, head_size=size))
    for buffer in ("2 MiB", "4 MiB", "8 MiB", "32 MiB", "64 MiB"):
        yield Variant(f"buffer of {buffer}", {"memories.buffer.capacity": buffer})
    for cycles in (1, 3, 12):
        rate = f"1/{cycles}"
        yield Variant(f"exp in {cycles} cycles", {"units.array2d.rates.exp": rate, "units.array1d.rates.exp": rate},
                      exp_cycles=cycles)  # fmt: skip


def small_buffers() -> Iterator[Variant]:
    """The machines out of 200 at random on which no way of replaying the mapping keeps the band: large arrays with
    1 or 2 MiB, where keys and values have one buffer each, or the next queries none."""
    for side, size, mebibytes, megahertz, cycles in (
        (384, 192, 2, 1701, 3), (512, 64, 1, 1783, 3), (256, 96, 1, 1807, 5), (384, 128, 1, 1084, 7)
    ):  # fmt: skip
        rate = f"1/{cycles}"
        values = {**side_values(side), "clock": f"{megahertz} MHz", "memories.buffer.capacity": f"{mebibytes} MiB",
                  "units.array2d.rates.exp": rate, "units.array1d.rates.exp": rate}  # fmt: skip
        name = f"{side} x {side} array, heads of {size}, {mebibytes} MiB, {megahertz} MHz, exp in {cycles} cycles"
        yield Variant(name, values, replace(BERT, head_size=size), cycles)


def small_buffer_rows() -> Iterator[Row]:
    """How far above their bounds these machines are, with 4 sequences of as many blocks of keys as they were found
    with."""
    for variant, blocks in zip(small_buffers(), (16, 16, 8, 64), strict=True):
        side = variant.machine["units.array2d.rows"]
        assert isinstance(side, int)
        report = run("binding", variant.model, side * blocks, tuple(variant.machine.items()), 4)
        yield Row("simulated latency above its bound", f"binding, {variant.name}, {blocks} blocks of keys", None,
                  report.cycles / report.bounds.program - 1, "", None, BOUND, OUTSIDE)  # fmt: skip


def side_values(side: int) -> dict[str, object]:
    """Keys of the machine that a square array of that side has, and its row of lanes."""
    return {"units.array2d.rows": side, "units.array2d.cols": side, "units.array1d.lanes": side}


def machine_rows() -> Iterator[Row]:
    """Bound, band and traffic of every variant."""
    for variant in variants():
        for length in ("4K", "64K"):
            yield from _rows(variant, length)


def _rows(variant: Variant, length: str) -> Iterator[Row]:
    where, tokens, model = f"binding, {variant.name}, {length}", tokens_of(length), variant.model
    report = run("binding", model, tokens, tuple(variant.machine.items()))
    side, buffer = side_and_capacity(report.arch)
    rule = closed_forms.resident_traffic_bytes(model, tokens, 2 * model.head_size + 2, side, buffer)
    moved = float(sum(report.traffic_bytes["dram"].values()))
    cycles = closed_forms.binding_cycles(model, tokens, side, variant.exp_cycles)
    expected = max(cycles / float(report.arch.clock), moved / closed_forms.DRAM_BYTES_PER_S)
    yield Row("latency bound", where, expected, bound_s(report), "s", LATENCY_DIGITS, RULE)
    yield band(where, report)
    yield Row("DRAM traffic", where, float(rule), moved, "byte", TRAFFIC_DIGITS, RULE)
