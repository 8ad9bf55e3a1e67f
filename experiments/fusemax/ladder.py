"""The designs of the ladder at work: unfused attention, FLAT, and the three steps to FuseMax."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from functools import cache, partial
from itertools import product
from math import ceil, floor, inf

from ... import simulate
from ...arch.architecture import Architecture
from ...arch.loader import RawSpec, load_spec
from ...components.buffer import Buffer
from ...components.pe_array import PeArray
from ...errors import DoesNotFit
from ...ir import Workload
from ...mapping.replay import replay
from ...mapping.tree import Mapping as MappingValue
from ...report import Report
from ..loader import data_path, table
from .baselines import flat, flat_off_chip, unfused
from .cascade import BATCH, MODELS, THREE_STAGES, WORD_BITS, Model, linear_layers, one_pass, three_passes, tokens_of
from .mappings import PRODUCTS, Pieces, fused, fused_in_pieces, largest_divisor, linear, resident_blocks, serial

DESIGNS = ("unfused", "flat", "cascade", "architecture", "binding")
KEPT_TOKENS = 131072
"""The longest sequence of which FLAT keeps rows of scores (published)."""
CLOSE = 1.02
"""Mappings that take no longer than that times the fastest are as good as it; the one that moves the least is run."""
STREAMED = (4, 2, 1)
"""Buffers of keys, and of values."""
PRODUCED = (3, 2, 1)
"""Tiles of products that wait to be added."""
PARTS = (8, 16)
"""Pieces of a tile, where whole ones leave too little room."""
AHEAD = tuple(Fraction(n, 16) for n in (8, 6, 4, 3, 2, 0))
"""The part of a tile of keys, and of values, that comes ahead of its use beside a whole tile of each."""
FINER = ((1, 2), (2, 4), (4, 4), (8, 4), (8, 8), (16, 16), (8, 2))
"""Pieces of queries, and of results, in one of keys: smaller ones leave more of the DRAM to keys and values."""
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
        yield from _bindings(model, work, side, tokens // side, published, arch)


def _bindings(
    model: Model, work: Workload, side: int, blocks_of_queries: int, published: int, arch: Architecture
) -> Iterator[MappingValue]:
    """FuseMax's binding, whose scores and exponentials take no more than the words of an element's registers."""
    tiles = 2 + -(-side // (2 * model.head_size + 10))  # that cover the fill of the array
    depth = min(tiles, _words_of_registers(arch) - 1)
    for resident in _fewest(blocks_of_queries, published):
        if published % resident == 0:
            make = partial(fused, work.name, side, resident, depth=depth)
            for results, blocks, streamed, products in product((2, resident), (2, 1), STREAMED, PRODUCED):
                yield make(blocks=blocks, streamed=streamed, products=products, results=results)
        for parts in PARTS:
            yield from _in_pieces(model, work, side, resident, parts, depth, arch)


def _fewest(blocks: int, most: int) -> list[int]:
    """Numbers of resident blocks, the largest first: of those that read keys as often as each other the smallest."""
    return [n for n in range(most, 0, -1) if n == 1 or ceil(blocks / n) < ceil(blocks / (n - 1))]


def _in_pieces(
    model: Model, work: Workload, side: int, resident: int, parts: int, depth: int, arch: Architecture
) -> Iterator[MappingValue]:
    """The same in pieces; the room that they leave is for keys and values, and for the queries that come next.

    Results lie in what of that is free, and in one place of their own.
    """
    channels = largest_divisor(model.head_size, max(1, model.head_size // parts))
    number = model.head_size // channels
    make = partial(fused_in_pieces, work.name, side, resident, depth=depth)
    try:
        least = replay(make(Pieces(channels, channels, channels, number * resident, number)), work, arch)
    except DoesNotFit:
        return
    room = side_and_capacity(arch)[1] - least.peaks["buffer"].nbytes
    room = room // (side * channels * WORD_BITS // 8) + 1  # pieces of keys; one of results is there
    for part, finer in product(AHEAD, FINER):
        ahead = floor(part * number)
        coming, leaving = (largest_divisor(channels, n) for n in finer)
        next_queries = floor((room - 2 * ahead - Fraction(1, leaving)) * coming)
        if next_queries < 0:
            continue
        resident_queries = number * resident * coming
        yield make(Pieces(channels, channels // coming, channels // leaving,
                          resident_queries + min(next_queries, resident_queries), number + ahead,
                          results=number * resident * leaving))  # fmt: skip


def _words_of_registers(arch: Architecture) -> int:
    """Words of an element of the 2D array, each of one tile of scores or exponentials."""
    return 8 * arch.units["array2d"].register_capacity // (side_and_capacity(arch)[0] ** 2 * WORD_BITS)
