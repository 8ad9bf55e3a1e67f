"""What a cascade must hold and move, by how far it is fused. No machine is needed.

*Live footprint of a rank.* Run the passes over a rank one after the other, and within each run one element of it after
the other: what one pass makes or reads along the rank and a later one reads must be held in between, all of it (or
made or read again), so the footprint grows with the rank. Everything else is needed one element at a time.

*Levels of fusion.* Without fusion every Einsum reads its operands and writes its result. Fused by pass, only what
crosses from one pass over a rank to another is written and read again. Fused in full, operands are read once and
results are written once: the compulsory traffic, under which no schedule can go.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, prod

from .einsum import Access, Einsum
from .families import cascade_einsums
from .passes import RankPasses, most_passes
from .workload import Role, Workload


@dataclass(frozen=True)
class Crossing:
    """A tensor that lives from one pass over a rank to a later one.

    Attributes:
        tensor: its name.
        given: whether it stands ready before the first pass, so that it may be read again in place of being held.
        made: the pass that produces it, or reads it first.
        read: the passes after that in which it is read.
        nbytes: of the whole tensor.
        bytes_per_point: along the rank alone, at one point of its other ranks.
    """

    tensor: str
    given: bool
    made: int
    read: tuple[int, ...]
    nbytes: int
    bytes_per_point: int


@dataclass(frozen=True)
class LiveFootprint:
    """What must be held between the passes over one rank.

    Attributes:
        rank: its name.
        crossings: the tensors whose room grows with the rank; none: the footprint is constant in it.
        nbytes: the most of them that live at a time, whole.
        bytes_per_point: the same at one point of all other ranks.
    """

    rank: str
    crossings: tuple[Crossing, ...]
    nbytes: int
    bytes_per_point: int

    @property
    def grows(self) -> bool:
        return bool(self.crossings)


def live_footprint(workload: Workload, over: RankPasses) -> LiveFootprint:
    """The footprint of one rank of a cascade, from the passes over it."""
    einsums = cascade_einsums(workload)
    written = {e.output.tensor for e in einsums}
    crossings = []
    for name, at in over.tensors.items():
        if len(at) < 2:
            continue
        tensor = workload.tensors[name]
        along = {d for e in einsums for a in (*e.inputs, e.output) if a.tensor == name
                 for d, index in enumerate(a.indices) if over.family.ranks & set(index.ranks)}
        elements = prod(tensor.shape[d] for d in along)
        crossings.append(Crossing(name, name not in written, at[0], at[1:], tensor.nbytes, tensor.bytes_of(elements)))
    borders = range(1, over.count)
    whole = max((sum(c.nbytes for c in crossings if c.made <= b < c.read[-1]) for b in borders), default=0)
    point = max((sum(c.bytes_per_point for c in crossings if c.made <= b < c.read[-1]) for b in borders), default=0)
    return LiveFootprint(over.rank, tuple(crossings), whole, point)


@dataclass(frozen=True)
class FusionLevel:
    """Traffic at one level of fusion.

    Attributes:
        name: ``unfused``, ``by pass`` or ``full``.
        nbytes: read and written.
        operations: all of them, a multiply-accumulate counting two.
    """

    name: str
    nbytes: int
    operations: int

    @property
    def intensity(self) -> float:
        """Operations per byte."""
        return self.operations / self.nbytes


def compulsory_bytes(workload: Workload) -> tuple[int, int]:
    """Bytes read and written by any schedule: what stands ready and is used, and the results.

    A tensor that is read in boxes counts the largest box; states that are written count as results.

    Raises:
        BadInput: the Workload is no cascade.
    """
    einsums = cascade_einsums(workload)
    written = {e.output.tensor for e in einsums}
    read: dict[str, Fraction] = {}
    for einsum in einsums:
        for access in einsum.inputs:
            if access.tensor not in written:
                read[access.tensor] = max(read.get(access.tensor, Fraction(0)), access_bits(access, einsum, workload))
    results = [t for t in workload.tensors.values() if t.name in written and t.role in (Role.OUTPUT, Role.STATE)]
    return sum(ceil(bits / 8) for bits in read.values()), sum(t.nbytes for t in results)


def fusion_levels(workload: Workload) -> tuple[FusionLevel, ...]:
    """Traffic and operational intensity unfused, fused by the passes over the rank that has most, and in full.

    Raises:
        BadInput: the Workload is no cascade.
    """
    einsums = cascade_einsums(workload)
    counts = workload.operations().counts
    operations = sum(n * (2 if cost_class == "mac" else 1) for cost_class, n in counts.items())
    alone = sum(_moved(schedule_accesses(e), e, workload) for e in einsums)
    least = sum(compulsory_bytes(workload))
    crossing = sum(c.nbytes * (len(c.read) + (workload.tensors[c.tensor].role is Role.ACTIVATION))
                   for c in live_footprint(workload, most_passes(workload)).crossings)
    levels = (("unfused", alone), ("by pass", least + crossing), ("full", least))
    return tuple(FusionLevel(name, nbytes, operations) for name, nbytes in levels)


def schedule_accesses(einsum: Einsum) -> tuple[Access, ...]:
    """What an Einsum touches; the steps of a recurrence before the last stay where it computes."""
    read = [a for a in einsum.inputs if not (einsum.iterative and a.tensor == einsum.output.tensor)]
    return (*read, einsum.output)


def _moved(accesses: Iterable[Access], einsum: Einsum, workload: Workload) -> int:
    largest: dict[str, Fraction] = {}
    for access in accesses:
        largest[access.tensor] = max(largest.get(access.tensor, Fraction(0)), access_bits(access, einsum, workload))
    return sum(ceil(bits / 8) for bits in largest.values())


def access_bits(access: Access, einsum: Einsum, workload: Workload) -> Fraction:
    """Bits of the box that an access reaches."""
    tensor = workload.tensors[access.tensor]
    spans = (min(index.extent(einsum.sizes), size) for index, size in zip(access.indices, tensor.shape, strict=True))
    return prod(spans) * tensor.stored_bits
