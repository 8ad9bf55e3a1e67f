"""The designs of the ladder at work: unfused attention, FLAT, and the three steps to FuseMax."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import cache

from ... import simulate
from ...arch.architecture import Architecture
from ...arch.loader import RawSpec, load_spec
from ...components.buffer import Buffer
from ...components.pe_array import PeArray
from ...errors import DoesNotFit
from ...ir import Workload
from ...mapping.tree import Mapping as MappingValue
from ...report import Report
from ..loader import data_path, table
from .baselines import flat, flat_off_chip, unfused
from .cascade import BATCH, MODELS, THREE_STAGES, Model, linear_layers, one_pass, three_passes, tokens_of
from .mappings import PRODUCTS, fused, linear, resident_blocks, serial

DESIGNS = ("unfused", "flat", "cascade", "architecture", "binding")
KEPT_TOKENS = 131072
"""The longest sequence of which FLAT keeps rows of scores (published)."""
WORTH = 0.95
"""The largest blocks that fit are replayed, unless with less in the buffer the latency falls below that part of it."""
SPILL_DENOMINATOR = 1000
"""Published parts have six digits, and are of blocks of at most so many times 256 KiB."""


@cache
def run(
    design: str, model: Model, tokens: int, machine: tuple[tuple[str, object], ...] = (), batch: int = BATCH
) -> Report:
    """A design of the ladder at work on the attention of a model.

    Args:
        design: one of DESIGNS.
        model: what is computed.
        tokens: length of the sequence.
        machine: keys of the machine and other values for them.
        batch: sequences.

    Raises:
        DoesNotFit: the buffer is too small for the published mapping.
    """
    arch = machine_of(design, machine)
    if design in ("unfused", "flat"):
        work, mapping = _baseline(design, model, tokens, batch, arch)
        return simulate(arch, work, mapping=mapping)
    work = one_pass(model, tokens, batch, side_and_capacity(arch)[0])
    full: DoesNotFit | None = None
    best: Report | None = None
    for mapping in _one_pass(design, model, tokens, work.name, arch):
        try:
            report = simulate(arch, work, mapping=mapping)
        except DoesNotFit as error:
            full = error
            continue
        if best is None or report.cycles < WORTH * best.cycles:
            best = report
        if WORTH * best.cycles <= report.bounds.program:  # with less in the buffer, the bounds of others are no lower
            return best
    if best is not None:
        return best
    assert full is not None
    raise full


@cache
def run_linear(design: str, model: Model, tokens: int) -> Report:
    """The rest of the layer on the machine of a design."""
    arch, work = machine_of(design), linear_layers(model, tokens)
    return simulate(arch, work, mapping=linear(work, side_and_capacity(arch)[1]))


@cache
def _spec(file: str) -> RawSpec:
    return load_spec(data_path(__package__, file))


@cache
def machine_of(design: str, machine: tuple[tuple[str, object], ...] = ()) -> Architecture:
    """The machine of a design, with other values for some of its keys."""
    file = "flat.yaml" if design in ("unfused", "flat", "cascade") else "fusemax.yaml"
    values: dict[str, object] = {}
    if design == "cascade":
        values["memories.buffer.capacity"] = "16 MiB"  # as published
    if design == "architecture":
        values["units.array2d.overlap"] = False
    return _spec(file).with_values({**values, **dict(machine)}).build()


def side_and_capacity(arch: Architecture) -> tuple[int, int]:
    """Rows of the 2D array, and bytes of the buffer."""
    array, buffer = arch.units["array2d"], arch.memories["buffer"]
    assert isinstance(array, PeArray) and isinstance(buffer, Buffer)
    return array.rows, buffer.capacity


@cache
def spilled_part(head_size: int, tokens: int) -> Fraction:
    """The part of its scores that FLAT spills (published for some head sizes and lengths; else nothing is spilled)."""
    sizes = {model.name: model.head_size for model in MODELS}
    for row in table(__package__, "flat_spill.csv"):
        if sizes[row["model"]] == head_size and tokens_of(row["tokens"]) == tokens:
            return Fraction(row["spilled_fraction"]).limit_denominator(SPILL_DENOMINATOR)
    return Fraction(0)


def _baseline(design: str, model: Model, tokens: int, batch: int, arch: Architecture) -> tuple[Workload, MappingValue]:
    side, capacity = side_and_capacity(arch)
    work = three_passes(model, tokens, batch)
    if design == "unfused":
        return work, unfused(work.name, tokens, model.head_size, side, capacity)
    if tokens <= KEPT_TOKENS:
        spilled = spilled_part(model.head_size, tokens)
        return work, flat(work.name, tokens, model.head_size, side, capacity, spilled)
    return three_passes(model, tokens, batch, THREE_STAGES), flat_off_chip(work.name, tokens, side, capacity)


def _one_pass(design: str, model: Model, tokens: int, name: str, arch: Architecture) -> Iterator[MappingValue]:
    """Mappings of a design, the published one first; then, for small buffers, with less in them at once."""
    side, capacity = side_and_capacity(arch)
    words = 2 * model.head_size + (514 if design == "cascade" else 2)  # of a resident query, as published
    published = resident_blocks(model.head_size, tokens, side, capacity, words)
    depth = 2 + -(-side // (2 * model.head_size + 10))  # enough tiles to cover the fill of the array
    for resident in (r for r in range(published, 0, -1) if published % r == 0):
        for blocks in (2, 1):
            if design == "cascade":
                yield fused(name, side, resident, on_array=PRODUCTS, depth=2)
            elif design == "architecture":
                yield serial(name, side, resident, blocks=blocks)
            else:
                yield fused(name, side, resident, depth=depth, blocks=blocks)
    if design == "binding":
        for fewer in range(depth, 1, -1):
            yield fused(name, side, 1, depth=fewer)
            yield fused(name, side, 1, depth=fewer, products=1, streamed=1)
