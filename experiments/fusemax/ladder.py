"""The designs of the ladder at work: unfused attention, FLAT, and the three steps to FuseMax."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from math import inf

from ... import simulate
from ...arch.architecture import Architecture
from ...arch.loader import RawSpec, load_spec
from ...errors import DoesNotFit
from ...ir import Workload
from ...mapping.tree import Mapping as MappingValue
from ...report import Report
from ..loader import data_path, table
from .baselines import flat, flat_off_chip, unfused
from .bindings import bindings, side_and_capacity
from .cascade import BATCH, MODELS, THREE_STAGES, Model, linear_layers, one_pass, three_passes, tokens_of
from .mappings import PRODUCTS, fused, linear, resident_blocks, serial

DESIGNS = ("unfused", "flat", "cascade", "architecture", "binding")
KEPT_TOKENS = 131072
"""The longest sequence of which FLAT keeps rows of scores (published)."""
CLOSE = 1.02
"""Mappings that take no longer than that times the fastest are as good as it; the one that moves the least is run."""
SMALLEST_TILE = 16
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
    full: DoesNotFit | None = None
    side, _ = side_and_capacity(arch)
    while side:
        work = one_pass(model, tokens, batch, side)
        try:
            return _fastest(arch, work, _one_pass(design, model, tokens, side, work, arch))
        except DoesNotFit as error:
            full = full or error
        side = side // 2 if side % 2 == 0 and side > SMALLEST_TILE else 0  # tiles that leave a part of the array idle
    assert full is not None
    raise full


def _fastest(arch: Architecture, work: Workload, choices: Iterator[MappingValue]) -> Report:
    """The fastest Mapping that fits, or one with whole tiles that is close to it and moves less.

    Choices stand in the order of their traffic, and so of their bounds: none that follows can be faster than the bound
    of the first one that fits, or than its own, and the search ends when one of these is reached.

    Raises:
        DoesNotFit: none fits; as the last one has it.
    """
    full = DoesNotFit(f"{work.name} has no tiles on {arch.name}")
    found: list[Report] = []
    for mapping in choices:
        try:
            report = simulate(arch, work, mapping=mapping)
        except DoesNotFit as error:
            full = error
            continue
        if report.bounds.program >= min((r.cycles for r in found), default=inf):
            break
        found.append(report)
        if report.cycles <= CLOSE * found[0].bounds.program:
            break
    if not found:
        raise full
    fastest = min(found, key=lambda r: r.cycles)
    close = (r for r in found if r.cycles <= CLOSE * fastest.cycles and not _rings(r))
    return min((fastest, *close), key=lambda r: (_moved(r), r.cycles))


def _rings(report: Report) -> bool:
    """Whether its tiles come in pieces: such mappings are for where they are the fastest."""
    assert report.mapping is not None
    return any(move.ring for move in report.mapping.moves)


def _moved(report: Report) -> int:
    return sum(report.traffic_bytes["dram"].values())


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


def _one_pass(
    design: str, model: Model, tokens: int, side: int, work: Workload, arch: Architecture
) -> Iterator[MappingValue]:
    """Mappings by resident blocks, the published one first, and with less and less in the buffer beside.

    Smaller blocks are for FuseMax's binding alone; the steps before it run as published.
    """
    _, capacity = side_and_capacity(arch)
    words = 2 * model.head_size + (514 if design == "cascade" else 2)  # of a resident query, as published
    published = resident_blocks(model.head_size, tokens, side, capacity, words)
    if design == "cascade":
        yield fused(work.name, side, published, on_array=PRODUCTS, depth=2)
    elif design == "architecture":
        yield from (serial(work.name, side, published, blocks=blocks) for blocks in (2, 1))
    else:
        yield from bindings(model, work, side, tokens // side, published, arch)
