"""The least traffic of a cascade whose Einsums run together, as a function of the buffer: a lower bound.

A schedule that runs the Einsums of a cascade interleaved, in any tiles, runs each of them as some nest through at most
the whole buffer. Beside running each alone, it can save

- of a tensor that one Einsum makes and others read: the first time it leaves and, per reader, the first time it comes;
- of a tensor that stands ready and several accesses read: all first readings but one.

Whatever comes back beyond that, comes back here too. So

    traffic ≥ Σ least traffic of each Einsum alone (`minimum_traffic`) - what can be saved.

A second bound is the live footprint (`footprint`): of what crosses from one pass over a rank to a later one, at each
point of its other ranks, only the buffer's size can stay; the rest is written and read again, or read again where it
stands ready. The larger of the two holds, for schedules that compute nothing twice; with a buffer that is large enough
it is the compulsory traffic.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from .einsum import Access, Einsum
from .families import cascade_einsums
from .footprint import Crossing, access_bits, compulsory_bytes, live_footprint, schedule_accesses
from .minimum_traffic import Room, TrafficSpace
from .passes import most_passes
from .workload import Role, Workload

OPERANDS = 4
"""Einsums with more count with each of them once: the orders in which they can be held are too many to search."""


@dataclass(frozen=True)
class FusedTraffic:
    """Bounds of the traffic of a cascade through one buffer.

    Attributes:
        buffer_bytes: of the buffer.
        alone_bytes: least traffic of its Einsums one after the other, each through the whole buffer.
        fused_bytes: what no schedule that runs them together goes below.
        footprint: the tensor that decides, where that is the live footprint; empty where it is the Einsums' nests.
    """

    buffer_bytes: int
    alone_bytes: int
    fused_bytes: int
    footprint: str


def fused_traffic_curve(
    workload: Workload, buffers_bytes: Iterable[int], *, room: Room = "slices"
) -> tuple[FusedTraffic, ...]:
    """Bounds of the traffic of a cascade at several buffer sizes; they never rise with the size.

    Args:
        workload: a cascade; Einsums that iterate, or have many operands, count with what they must read and write.
        buffers_bytes: sizes of the buffer.
        room: what takes room in it: see `minimum_traffic`.

    Raises:
        BadInput: the Workload is no cascade, or an Einsum has too many points.
        DoesNotFit: a buffer is too small for the smallest tiles of an Einsum.
    """
    einsums = cascade_einsums(workload)
    searched = [e for e in einsums if not e.iterative and len(_distinct(e)) <= OPERANDS]
    spaces = [TrafficSpace(e, workload.tensors, room=room) for e in searched]
    once = sum(_once(_distinct(e), e, workload) for e in einsums if e not in searched)
    saved = _saved(einsums, workload)
    least = sum(compulsory_bytes(workload))
    crossings = live_footprint(workload, most_passes(workload)).crossings
    found = []
    for size in buffers_bytes:
        alone = once + sum(space.minimum(size).traffic_bytes for space in spaces)
        spills = [(least + _spilled(c, size, workload), c.tensor) for c in crossings]
        spill, tensor = max(spills, default=(least, ""))
        fused = max(alone - saved, least)
        found.append(FusedTraffic(size, alone, max(fused, spill), tensor if spill > fused else ""))
    return tuple(found)


def _distinct(einsum: Einsum) -> tuple[Access, ...]:
    return tuple(dict.fromkeys(schedule_accesses(einsum)))


def _once(accesses: Iterable[Access], einsum: Einsum, workload: Workload) -> int:
    """Bytes of the boxes that accesses reach, each moved once."""
    return sum(ceil(access_bits(a, einsum, workload) / 8) for a in accesses)


def _saved(einsums: Iterable[Einsum], workload: Workload) -> int:
    """Bytes that running Einsums together can save, at most."""
    read: dict[str, list[Fraction]] = defaultdict(list)
    made: dict[str, Fraction] = {}
    for einsum in einsums:
        for access in _distinct(einsum):
            bits = access_bits(access, einsum, workload)
            if access == einsum.output:
                made[access.tensor] = made.get(access.tensor, Fraction(0)) + bits
            else:
                read[access.tensor].append(bits)
    saved = Fraction(0)
    for tensor, times in read.items():
        saved += sum(times)
        if tensor not in made:
            saved -= max(times)
    saved += sum(bits for tensor, bits in made.items() if workload.tensors[tensor].role is Role.ACTIVATION)
    return ceil(saved / 8)


def _spilled(crossing: Crossing, buffer_bytes: int, workload: Workload) -> int:
    """Bytes of a tensor that must leave and come back between passes, or come again."""
    over = max(0, crossing.bytes_per_point - buffer_bytes)
    times = len(crossing.read) + (workload.tensors[crossing.tensor].role is Role.ACTIVATION)
    return crossing.nbytes * over // crossing.bytes_per_point * times
