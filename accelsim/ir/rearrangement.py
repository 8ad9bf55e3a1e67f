"""Copies that only permute or choose elements, left out: what reads them reads where the elements were."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from .builder import renumber
from .einsum import Access, Affine, Einsum, Read
from .workload import Item, Repeat, Role, View, Workload


def read_in_place(workload: Workload) -> Workload:
    """The same values with fewer copies.

    A copy that permutes, slices or broadcasts is left out where every reader can index the original instead: all
    readers are Einsums, and views between them and the copy at most split dimensions. Else a permutation is left out
    where its maker can write in that order: nothing else reads the original. Copies that change nothing but the bits
    (conversions), that gather, pad or join, and those inside Repeats stay.
    """
    return _Pass(workload).result()


class _Pass:
    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.tensors = dict(workload.tensors)
        self.items: list[Item | None] = list(workload.body)
        self.views: dict[str, list[View]] = {}
        self.view_of: dict[str, View] = {}
        self.readers: dict[str, set[int]] = {}
        self.writers: dict[str, list[int]] = {}
        self.nested: set[str] = set()
        for i, item in enumerate(workload.body):
            if isinstance(item, Repeat):
                self.nested |= set(_names(item))
            elif isinstance(item, View):
                self.views.setdefault(item.input, []).append(item)
                self.view_of[item.output] = item
                if item.rows:
                    self.nested |= {item.input, item.rows, item.output}
            else:
                for access in item.inputs:
                    self.readers.setdefault(access.tensor, set()).add(i)
                self.writers.setdefault(item.output.tensor, []).append(i)

    def result(self) -> Workload:
        for i, item in enumerate(self.workload.body):
            current = self.items[i]
            if isinstance(item, Einsum) and isinstance(current, Einsum) and self._moves(current):
                self._read_there(i, current) or self._write_there(i, current)
        kept = tuple(item for item in self.items if item is not None)
        return replace(self.workload, tensors=self.tensors, body=kept)

    # -- what a copy is ------------------------------------------------------------------------------------------

    def _moves(self, copy: Einsum) -> bool:
        """Whether an Einsum is the only writer of its output, whole, and only rearranges its one input."""
        if not isinstance(copy.expr, Read) or len(copy.inputs) != 1 or copy.reduced_ranks or copy.iterative:
            return False
        (source,), target = copy.inputs, copy.output
        if source.pad is not None or self.nested & {source.tensor, target.tensor}:
            return False
        before, after = self.tensors[source.tensor], self.tensors[target.tensor]
        whole = _whole(target, copy, after.shape)
        same = source.indices == target.indices and before.shape == after.shape
        return whole and not same and before.bits == after.bits and len(self.writers[target.tensor]) == 1

    def _permutes(self, copy: Einsum) -> bool:
        """Whether a copy reads every element of its input once."""
        (source,) = copy.inputs
        seen, made = ({r for r in access.ranks if copy.sizes[r] > 1} for access in (source, copy.output))
        return seen == made and _whole(source, copy, self.tensors[source.tensor].shape)

    # -- readers read the original -------------------------------------------------------------------------------

    def _read_there(self, i: int, copy: Einsum) -> bool:
        """Make every reader read the original, if all can."""
        if self.tensors[copy.output.tensor].role is not Role.ACTIVATION:
            return False
        if any(at > i for at in self.writers.get(self.workload.storage(copy.inputs[0].tensor), [])):
            return False
        changed: dict[int, Einsum] = {}
        names = list(self._shown(copy.output.tensor))
        permutes = self._permutes(copy)
        for at in {at for name in names for at in self.readers.get(name, ())}:
            reader = self.items[at]
            if not isinstance(reader, Einsum):
                return False
            accesses = []
            for access in reader.inputs:
                moved = self._moved(access, copy, permutes) if access.tensor in names else access
                if moved is None:
                    return False
                accesses.append(moved)
            changed[at] = _with_inputs(reader, accesses)
        if not changed or set(names) & self.nested:
            return False
        for at, reader in changed.items():
            self.items[at] = reader
            for access in reader.inputs:
                self.readers.setdefault(access.tensor, set()).add(at)
        self._drop(i, copy.inputs[0].tensor, names)
        return True

    def _shown(self, name: str) -> Iterator[str]:
        """A tensor and every view of it."""
        yield name
        for view in self.views.get(name, ()):
            yield from self._shown(view.output)

    def _moved(self, access: Access, copy: Einsum, permutes: bool) -> Access | None:
        """An access to a copy, or to a view of it, as one to the original; None where its indices are not affine."""
        if access.pad is not None and not (permutes and access.tensor == copy.output.tensor):
            return None
        indices: Sequence[Affine] | None = access.indices
        name = access.tensor
        while name != copy.output.tensor and indices is not None:
            view = self.view_of[name]
            indices = _unsplit(indices, self.tensors[name].shape, self.tensors[view.input].shape)
            name = view.input
        if indices is None:
            return None
        by_rank = {i.ranks[0]: at for i, at in zip(copy.output.indices, indices, strict=True) if i.terms}
        source = copy.inputs[0]
        return Access(source.tensor, tuple(_composed(i, by_rank) for i in source.indices), access.pad)

    # -- the maker writes in the other order ---------------------------------------------------------------------

    def _write_there(self, i: int, copy: Einsum) -> bool:
        """Make the writers of the original write the permuted copy, if nothing else reads the original."""
        (source,), target = copy.inputs, copy.output.tensor
        name = source.tensor
        makers = self.writers.get(name, [])
        if self.tensors[name].role is not Role.ACTIVATION or name in self.view_of or self.views.get(name):
            return False
        if not self._permutes(copy) or self.readers[name] != {i} or not makers:
            return False
        dimension = {index.ranks[0]: d for d, index in enumerate(source.indices) if index.terms}
        order = [dimension.get(index.ranks[0]) if index.terms else None for index in copy.output.indices]
        for at in makers:
            maker = self.items[at]
            if at > i or not isinstance(maker, Einsum) or maker.iterative:
                return False
        for at in makers:
            maker = self.items[at]
            assert isinstance(maker, Einsum)
            written = tuple(Affine() if d is None else maker.output.indices[d] for d in order)
            self.items[at] = replace(maker, output=Access(target, written))
        self.writers[target] = makers
        self._drop(i, name, [name])
        return True

    def _drop(self, i: int, source: str, names: Sequence[str]) -> None:
        """Take a copy out, with the tensors that nothing holds any more and their views."""
        self.items[i] = None
        self.readers[source].discard(i)
        gone = set(names)
        for at, item in enumerate(self.items):
            if isinstance(item, View) and item.output in gone:
                self.items[at] = None
        for name in gone:
            del self.tensors[name]


def _names(repeat: Repeat) -> Iterator[str]:
    """Every tensor that a Repeat names."""
    yield from repeat.shared
    for pair in repeat.carried:
        yield from pair
    for item in repeat.body:
        if isinstance(item, Repeat):
            yield from _names(item)
        elif isinstance(item, View):
            yield from (item.output, item.input, item.rows)
        else:
            yield from (access.tensor for access in (*item.inputs, item.output))


def _whole(access: Access, einsum: Einsum, shape: Sequence[int]) -> bool:
    """Whether an access goes once to every element: each rank along a dimension of its own, of its size."""
    ranks = []
    for index, size in zip(access.indices, shape, strict=True):
        if not index.terms and not index.offset and size == 1:
            continue
        if len(index.terms) != 1 or index.offset or index.terms[0][1] != 1 or einsum.sizes[index.ranks[0]] != size:
            return False
        ranks.append(index.ranks[0])
    return len(set(ranks)) == len(ranks)


def _composed(index: Affine, by_rank: dict[str, Affine]) -> Affine:
    """An index with indices in the place of its ranks; a rank without one has size 1, and is 0."""
    terms: dict[str, int] = {}
    offset = index.offset
    for rank, coefficient in index.terms:
        inner = by_rank.get(rank, Affine())
        offset += coefficient * inner.offset
        for r, c in inner.terms:
            terms[r] = terms.get(r, 0) + coefficient * c
    return Affine(tuple((r, c) for r, c in terms.items() if c), offset)


def _unsplit(indices: Sequence[Affine], shape: Sequence[int], base: Sequence[int]) -> list[Affine] | None:
    """Indices of a view as those of what it is a view of, if it splits dimensions and adds or drops those of size 1."""
    found: list[Affine] = []
    inner = [(n, index) for n, index in zip(shape, indices, strict=True) if n > 1]
    at = 0
    for size in base:
        terms: dict[str, int] = {}
        offset, left = 0, size
        while left > 1:
            if at == len(inner) or left % inner[at][0]:
                return None
            n, index = inner[at]
            left //= n
            offset += left * index.offset
            for rank, coefficient in index.terms:
                terms[rank] = terms.get(rank, 0) + left * coefficient
            at += 1
        found.append(Affine(tuple(terms.items()), offset))
    return found if at == len(inner) else None


def _with_inputs(einsum: Einsum, accesses: Sequence[Access]) -> Einsum:
    """The Einsum over other accesses, equal ones as one."""
    unique: dict[Access, int] = {}
    position = [unique.setdefault(access, len(unique)) for access in accesses]
    return replace(einsum, inputs=tuple(unique), expr=renumber(einsum.expr, position))
