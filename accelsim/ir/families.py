"""Which ranks traverse the same thing: a rank that is cut into blocks and its parts are one family."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from ..errors import BadInput
from .einsum import Affine, Einsum
from .workload import Workload


@dataclass(frozen=True)
class Family:
    """A rank and what it is cut into, such as m, and i blocks of j.

    Attributes:
        name: the rank; where no Einsum has it whole, its parts from the outermost: ``i*j``.
        forms: the ranks that together run through all of it, in every form that occurs: ``(("m",), ("i", "j"))``.
        size: of the rank.
    """

    name: str
    forms: tuple[tuple[str, ...], ...]
    size: int

    @property
    def ranks(self) -> frozenset[str]:
        return frozenset(rank for form in self.forms for rank in form)

    def touched_by(self, einsum: Einsum) -> bool:
        """True if the Einsum runs through the rank or through a part of it."""
        return not self.ranks.isdisjoint(einsum.sizes)

    def run_by(self, einsum: Einsum) -> bool:
        """True if the Einsum runs through every element of the rank; False where it only sees one value per block."""
        return any(all(rank in einsum.sizes for rank in form) for form in self.forms)


def cascade_einsums(workload: Workload) -> tuple[Einsum, ...]:
    """The Einsums of a Workload that is a cascade.

    Raises:
        BadInput: it has views or repeats, or a rank of two sizes: its ranks do not have one meaning throughout.
    """
    einsums = tuple(item for item in workload.body if isinstance(item, Einsum))
    if len(einsums) < len(workload.body):
        raise BadInput(f"{workload.name}: has views or repeats, and the analyses of cascades take Einsums alone")
    sizes: dict[str, int] = {}
    for einsum in einsums:
        for rank, size in einsum.sizes.items():
            if sizes.setdefault(rank, size) != size:
                raise BadInput(f"{workload.name}: rank '{rank}' has size {sizes[rank]}, and {size} in '{einsum.name}'; "
                               "in a cascade a rank has one size")
    return einsums


def families(workload: Workload) -> tuple[Family, ...]:
    """The families of all ranks, in order of appearance.

    A rank is cut where one index runs through it by blocks: ``J*i+j`` with j of size J. The parts belong to the rank
    that is the whole index of the same dimension elsewhere, if no Einsum has it beside them (keys in blocks and
    queries may index one tensor, and are two ranks).

    Raises:
        BadInput: the Workload is no cascade.
    """
    einsums = cascade_einsums(workload)
    sizes = {rank: size for einsum in einsums for rank, size in einsum.sizes.items()}
    beside = {rank: {r for e in einsums if rank in e.sizes for r in e.sizes} for rank in sizes}
    whole: dict[tuple[str, int], set[str]] = {}
    cut: dict[tuple[str, ...], set[tuple[str, int]]] = {}
    for einsum in einsums:
        for access in (*einsum.inputs, einsum.output):
            for dim, index in enumerate(access.indices):
                parts = blocks(index, sizes)
                if len(parts) > 1:
                    cut.setdefault(parts, set()).add((access.tensor, dim))
                elif parts:
                    whole.setdefault((access.tensor, dim), set()).update(parts)
    parents: dict[tuple[str, ...], str] = {}
    for parts, places in cut.items():
        size = prod(sizes[rank] for rank in parts)
        able = {r for place in places for r in whole.get(place, ()) if sizes[r] == size and beside[r].isdisjoint(parts)}
        parents[parts] = able.pop() if len(able) == 1 else "*".join(parts)
    return tuple(_families(sizes, parents))


def _families(sizes: dict[str, int], parents: dict[tuple[str, ...], str]) -> Iterable[Family]:
    done: set[str] = set()
    for rank in sizes:
        name = next((parents[parts] for parts in parents if rank in parts), rank)
        if name in done:
            continue
        done.add(name)
        forms = [parts for parts, parent in parents.items() if parent == name]
        if name in sizes:
            forms.insert(0, (name,))
        yield Family(name, tuple(forms), prod(sizes[r] for r in forms[0]))


def blocks(index: Affine, sizes: dict[str, int]) -> tuple[str, ...]:
    """The ranks of an index that runs through its values one by one, the slowest first; empty for other indices."""
    stride = 1
    found: list[str] = []
    for rank, coefficient in sorted(index.terms, key=lambda term: abs(term[1])):
        if coefficient != stride:
            return ()
        stride *= sizes[rank]
        found.insert(0, rank)
    return tuple(found) if index.offset == 0 else ()
