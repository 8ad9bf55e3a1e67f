"""The designs of the ladder at work: unfused attention, FLAT, and the three steps to FuseMax."""

from __future__ import annotations

from functools import cache

from ... import simulate
from ...arch.architecture import Architecture
from ...arch.loader import load_spec
from ...components.buffer import Buffer
from ...components.pe_array import PeArray
from ...errors import DoesNotFit
from ...ir import Workload
from ...mapping.tree import Mapping as MappingValue
from ...report import Report
from ..loader import data_path
from .baselines import flat, flat_off_chip, unfused
from .cascade import THREE_STAGES, Model, linear_layers, one_pass, three_passes
from .mappings import PRODUCTS, fused, resident_blocks, serial

DESIGNS = ("unfused", "flat", "cascade", "architecture", "binding")
KEPT_TOKENS = 131072
"""The longest sequence of which FLAT keeps rows of scores (published)."""


@cache
def run(design: str, model: Model, tokens: int, machine: tuple[tuple[str, object], ...] = ()) -> Report:
    """A design of the ladder at work on the attention of a model.

    Args:
        design: one of DESIGNS.
        model: what is computed.
        tokens: length of the sequence.
        machine: keys of the machine and other values for them.

    Raises:
        DoesNotFit: the buffer is too small for the published mapping.
    """
    arch = machine_of(design, machine)
    if design in ("unfused", "flat"):
        work, mapping = _baseline(design, model, tokens, arch)
        return simulate(arch, work, mapping=mapping)
    try:
        work, mapping = _one_pass(design, model, tokens, arch, 2)
        return simulate(arch, work, mapping=mapping)
    except DoesNotFit:
        work, mapping = _one_pass(design, model, tokens, arch, 1)
        return simulate(arch, work, mapping=mapping)


@cache
def run_linear(design: str, model: Model, tokens: int) -> Report:
    """The rest of the layer on the machine of a design, as the mapper of loop nests has it."""
    return simulate(machine_of(design), linear_layers(model, tokens))


def machine_of(design: str, machine: tuple[tuple[str, object], ...] = ()) -> Architecture:
    """The machine of a design, with other values for some of its keys."""
    file = "flat.yaml" if design in ("unfused", "flat", "cascade") else "fusemax.yaml"
    values: dict[str, object] = {}
    if design == "cascade":
        values["memories.buffer.capacity"] = "16 MiB"  # as published
    if design == "architecture":
        values["units.array2d.overlap"] = False
    return load_spec(data_path(__package__, file)).with_values({**values, **dict(machine)}).build()


def side_and_capacity(arch: Architecture) -> tuple[int, int]:
    """Rows of the 2D array, and bytes of the buffer."""
    array, buffer = arch.units["array2d"], arch.memories["buffer"]
    assert isinstance(array, PeArray) and isinstance(buffer, Buffer)
    return array.rows, buffer.capacity


def _baseline(design: str, model: Model, tokens: int, arch: Architecture) -> tuple[Workload, MappingValue]:
    side, capacity = side_and_capacity(arch)
    work = three_passes(model, tokens)
    if design == "unfused":
        return work, unfused(work.name, tokens, model.head_size, side, capacity)
    if tokens <= KEPT_TOKENS:
        return work, flat(work.name, tokens, model.head_size, side, capacity)
    return three_passes(model, tokens, text=THREE_STAGES), flat_off_chip(work.name, tokens, side, capacity)


def _one_pass(design: str, model: Model, tokens: int, arch: Architecture, blocks: int) -> tuple[Workload, MappingValue]:
    side, capacity = side_and_capacity(arch)
    work = one_pass(model, tokens, block=side)
    words = 2 * model.head_size + (514 if design == "cascade" else 2)  # of a resident query, as published
    resident = resident_blocks(model.head_size, tokens, side, capacity, words)
    if design == "cascade":
        return work, fused(work.name, side, resident, on_array=PRODUCTS, depth=2)
    if design == "architecture":
        return work, serial(work.name, side, resident, blocks=blocks)
    return work, fused(work.name, side, resident, blocks=blocks)
