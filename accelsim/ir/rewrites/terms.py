"""Expressions over accesses, and cascades under construction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from typing import TypeAlias

from ...errors import BadInput
from ..builder import affine
from ..einsum import Access, Affine, Apply, Const, Definition, Einsum, Expr, Read
from ..families import cascade_einsums
from ..validate import validate
from ..workload import Role, Tensor, Workload


class NotApplicable(BadInput):
    """A rewrite whose preconditions do not hold; the message says which."""


@dataclass(frozen=True)
class Leaf:
    """The value of an access."""

    access: Access


@dataclass(frozen=True)
class Op:
    """An operator applied to terms."""

    op: str
    args: tuple[Term, ...]
    definition: Definition | None = None


Term: TypeAlias = Const | Leaf | Op


def term_of(einsum: Einsum) -> Term:
    """The map expression of an Einsum over its accesses."""

    def convert(e: Expr) -> Term:
        if isinstance(e, Read):
            return Leaf(einsum.inputs[e.index])
        return e if isinstance(e, Const) else Op(e.op, tuple(map(convert, e.args)), e.definition)

    return convert(einsum.expr)


def leaves(term: Term) -> Iterator[Access]:
    if isinstance(term, Leaf):
        yield term.access
    elif isinstance(term, Op):
        for arg in term.args:
            yield from leaves(arg)


def ranks_of(term: Term) -> frozenset[str]:
    return frozenset(r for access in leaves(term) for r in access.ranks)


def mentions(term: Term, tensor: str) -> bool:
    return any(access.tensor == tensor for access in leaves(term))


def replaced(term: Term, change: Callable[[Access], Term]) -> Term:
    """The term with every access replaced."""
    if isinstance(term, Leaf):
        return change(term.access)
    return replace(term, args=tuple(replaced(a, change) for a in term.args)) if isinstance(term, Op) else term


def substituted(index: Affine, by: Mapping[str, Affine]) -> Affine:
    """An index with ranks replaced by indices."""
    terms: dict[str, int] = {}
    offset = index.offset
    for rank, c in index.terms:
        new = by.get(rank, affine(rank))
        offset += c * new.offset
        for r, k in new.terms:
            terms[r] = terms.get(r, 0) + c * k
    return Affine(tuple((r, c) for r, c in terms.items() if c), offset)


def moved(access: Access, by: Mapping[str, Affine]) -> Access:
    return replace(access, indices=tuple(substituted(i, by) for i in access.indices))


class Draft:
    """A cascade that is being rewritten: Einsums in any order, ranks of one size, names for what is new."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.einsums = list(cascade_einsums(workload))
        self.sizes = {r: s for e in self.einsums for r, s in e.sizes.items()}
        self.bits: dict[str, int] = {}
        self.taken = {*workload.tensors, *(e.name for e in self.einsums)}

    def producer(self, tensor: str) -> Einsum | None:
        """The one Einsum that writes a tensor; None where there is none or several."""
        found = [e for e in self.einsums if e.output.tensor == tensor]
        return found[0] if len(found) == 1 else None

    def einsum(self, name: str) -> Einsum:
        for e in self.einsums:
            if e.name == name:
                return e
        raise NotApplicable(f"{self.workload.name}: no Einsum '{name}' (there are "
                            f"{', '.join(e.name for e in self.einsums)})")

    def fresh(self, hint: str, like: str) -> str:
        """A new tensor's name; its elements are as wide as those of the tensor `like`."""
        name, i = hint, 1
        while name in self.taken:
            i += 1
            name = f"{hint}{i}"
        self.taken.add(name)
        self.bits[name] = self.bits[like] if like in self.bits else self.workload.tensors[like].bits
        return name

    def write(
        self, output: Access, term: Term, *, reduce: str = "", iterative: str = "", name: str = "", kind: str = ""
    ) -> None:
        """Add an Einsum; ranks that its output lacks are reduced."""
        number: dict[Access, int] = {}

        def convert(t: Term) -> Expr:
            if isinstance(t, Leaf):
                return Read(number.setdefault(t.access, len(number)))
            return t if isinstance(t, Const) else Apply(t.op, tuple(map(convert, t.args)), t.definition)

        expr = convert(term)
        ranks = [r for access in (output, *number) for i in access.indices for r in i.ranks]
        space = {r: self.sizes[r] for r in ranks}
        gone = any(r not in output.ranks for r in space)
        label, i = name or output.tensor, 1
        while any(e.name == label for e in self.einsums):
            i += 1
            label = f"{name or output.tensor}_{i}"
        self.einsums.append(Einsum(label, output, tuple(number), expr, space, reduce if gone else "", kind, iterative))

    def inlined(self, term: Term, focus: str) -> Term:
        """The term with every element-wise intermediate that depends on a tensor replaced by what it computes."""

        def change(access: Access) -> Term:
            if access.tensor == focus or not self.depends(access.tensor, focus):
                return Leaf(access)
            return self.inlined(self.computed(access), focus)

        return replaced(term, change)

    def depends(self, tensor: str, focus: str) -> bool:
        """Whether a tensor depends on another through element-wise Einsums alone."""
        if tensor == focus:
            return True
        made_by = self.producer(tensor)
        if made_by is None or made_by.iterative or made_by.reduced_ranks:
            return False
        return any(self.depends(a.tensor, focus) for a in made_by.inputs)

    def computed(self, access: Access) -> Term:
        """What an element-wise Einsum computes for an access to its result."""
        made_by = self.producer(access.tensor)
        assert made_by is not None
        if access.pad is not None:
            raise NotApplicable(f"{self.workload.name}: '{access}' is padded")
        by: dict[str, Affine] = {}
        for written, read in zip(made_by.output.indices, access.indices, strict=True):
            if len(written.terms) == 1 and written.terms[0][1] == 1 and not written.offset:
                by[written.ranks[0]] = read
            elif written != read:
                raise NotApplicable(f"{self.workload.name}: '{access}' and what '{made_by.name}' writes differ in form")
        return replaced(term_of(made_by), lambda a: Leaf(moved(a, by)))

    def finished(self) -> Workload:
        """The Workload: Einsums that nothing needs removed, the others in an order in which they can run."""
        old = self.workload.tensors
        wanted = {t.name for t in old.values() if t.role in (Role.OUTPUT, Role.STATE)}
        while True:
            needed = wanted | {a.tensor for e in self.einsums for a in e.inputs if a.tensor != e.output.tensor}
            kept = [e for e in self.einsums if e.output.tensor in needed]
            if len(kept) == len(self.einsums):
                break
            self.einsums = kept
        tensors: dict[str, Tensor] = {}
        for e in self.einsums:
            for access in (*e.inputs, e.output):
                if access.tensor in old:
                    tensors.setdefault(access.tensor, old[access.tensor])
            if e.output.tensor not in old:
                name = e.output.tensor
                reach = tuple(i.bounds(self.sizes)[1] + 1 for i in e.output.indices)
                shape = tuple(map(max, reach, tensors[name].shape)) if name in tensors else reach
                tensors[name] = Tensor(name, shape, Role.ACTIVATION, self.bits[name])
        inputs = {name: t for name, t in old.items() if name in tensors}
        result = Workload(self.workload.name, {**inputs, **tensors}, tuple(_ordered(self.einsums, self.workload.name)))
        validate(result)
        return result


def _ordered(einsums: list[Einsum], name: str) -> Iterable[Einsum]:
    producers: dict[str, list[int]] = {}
    for i, e in enumerate(einsums):
        producers.setdefault(e.output.tensor, []).append(i)
    sorter = TopologicalSorter({
        i: {j for a in e.inputs for j in producers.get(a.tensor, []) if j != i} for i, e in enumerate(einsums)
    })  # fmt: skip
    try:
        sorter.prepare()
    except CycleError:
        raise NotApplicable(f"{name}: what would run along with the reduction waits for itself") from None
    found: list[Einsum] = []
    ready = sorted(sorter.get_ready())
    while ready:
        first = ready.pop(0)
        found.append(einsums[first])
        sorter.done(first)
        ready = sorted([*ready, *sorter.get_ready()])
    return found
