"""FuseMax on other machines: the mapping follows the array and the buffer, and the simulation stays in its band."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from ... import simulate
from ...engine.fluid import fluid_bound, steady_bound
from ...report import Report
from ..loader import Row
from . import closed_forms
from .attention import LATENCY_DIGITS, TRAFFIC_DIGITS, band, bound_s
from .bindings import side_and_capacity
from .cascade import MODELS, Model, one_pass, tokens_of
from .ladder import run

BERT = MODELS[0]
RULE = "the published rule and cycles of a tile, with this machine's numbers"

BOUND = "the bound of its own Program"
OUTSIDE = "outside 5 %: DRAM would have to be busy throughout, but has nowhere to put what it could bring"
ROOM = "the fluid bound knows the room of the buffer; what lies between the two bounds is want of room"
STEADY = "the fluid bound of one group of resident blocks, times as many as there are: no order of transfers is faster"
SEQUENCES = 4
FEW_HEADS, INSTANTS = 4, 256
"""Of one sequence, and of the fluid bound of these; as many are looked at of one group of resident blocks."""
PRODUCTS_WITH_VALUES = "SLNV"
"""Of the actors the one whose firings as instants give the highest bound."""


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


@dataclass(frozen=True)
class Small:
    """A large array with few MiB, and how many blocks of keys its sequences have."""

    side: int
    head_size: int
    mebibytes: int
    megahertz: int
    exp_cycles: int
    blocks: int

    def variant(self) -> Variant:
        rate = f"1/{self.exp_cycles}"
        values = {**side_values(self.side), "clock": f"{self.megahertz} MHz",
                  "memories.buffer.capacity": f"{self.mebibytes} MiB",
                  "units.array2d.rates.exp": rate, "units.array1d.rates.exp": rate}  # fmt: skip
        name = (f"{self.side} x {self.side} array, heads of {self.head_size}, {self.mebibytes} MiB, "
                f"{self.megahertz} MHz, exp in {self.exp_cycles} cycles, {self.blocks} blocks of keys")  # fmt: skip
        return Variant(name, values, replace(BERT, head_size=self.head_size), self.exp_cycles)

    def run(self) -> Report:
        variant = self.variant()
        return run("binding", variant.model, self.side * self.blocks, tuple(variant.machine.items()), SEQUENCES)


SMALL_BUFFERS = (Small(512, 64, 1, 1783, 3, 16), Small(256, 96, 1, 1807, 5, 8), Small(384, 128, 1, 1084, 7, 64),
                 Small(512, 256, 3, 2430, 3, 64), Small(384, 192, 2, 1701, 3, 16), Small(512, 192, 4, 2408, 6, 8),
                 Small(512, 192, 2, 1463, 2, 8), Small(384, 192, 3, 2640, 8, 8), Small(384, 128, 1, 2000, 10, 16),
                 Small(512, 96, 1, 1301, 1, 8), Small(384, 256, 4, 2828, 1, 16), Small(384, 192, 3, 2795, 4, 16),
                 Small(384, 128, 2, 2460, 12, 8))  # fmt: skip
"""Machines out of 1400 at random that keep the band only with tiles that come and go in pieces."""
OUTSIDE_BAND = (Small(512, 48, 1, 2657, 9, 16), Small(512, 96, 2, 2362, 11, 16))
"""Those of 3000 whose fastest mappings are not in the band: DRAM would have to be busy throughout."""


def small_buffer_rows() -> Iterator[Row]:
    """The band of these machines, and how far above their bounds those outside are."""
    for small in SMALL_BUFFERS:
        yield band(f"binding, {small.variant().name}", small.run())
    for small in OUTSIDE_BAND:
        report, where = small.run(), f"binding, {small.variant().name}"
        yield Row("simulated latency above its bound", where, None, report.cycles / report.bounds.program - 1, "", None,
                  BOUND, OUTSIDE)  # fmt: skip
        yield from steady_rows(where, report)
        yield from room_rows(small, report)


def steady_rows(where: str, report: Report) -> Iterator[Row]:
    """The steady-state fluid bound of a report's Mapping: above the program bound, and what is simulated above it."""
    program = report.trace.program
    reference = program.actor_names.index(PRODUCTS_WITH_VALUES)
    ticks = float(steady_bound(program, instants=INSTANTS, references=(reference,)).ticks)
    above = ticks / report.bounds.program - 1
    yield Row("steady fluid bound above its bound", where, None, above, "", None, BOUND, STEADY)
    yield Row("simulated latency above its steady fluid bound", where, None, report.cycles / ticks - 1, "", None, BOUND,
              STEADY)  # fmt: skip


def room_rows(small: Small, report: Report) -> Iterator[Row]:
    """The Mapping of a report at work on a few heads, beside its program bound and its fluid bound."""
    model = replace(small.variant().model, heads=FEW_HEADS)
    work = one_pass(model, small.side * small.blocks, 1, small.side)
    few = simulate(report.arch, work, mapping=report.mapping)
    fluid = fluid_bound(few.trace.program, instants=INSTANTS)
    where = f"binding, {small.variant().name}, {FEW_HEADS} heads"
    for name, bound in (("its", few.bounds.program), ("its fluid", float(fluid.ticks))):
        yield Row(f"simulated latency above {name} bound", where, None, few.cycles / bound - 1, "", None, BOUND, ROOM)


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
