"""Caches that keep a budget of tokens: the others are evicted, whichever a policy picks (H2O, StreamingLLM, SnapKV)."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from ...errors import BadInput
from ...ir import Access, Affine, Einsum, Item, Repeat, Role, View, Workload, validate
from .notes import noted

Axis = tuple[str, int]
"""A tensor and one of its axes."""


def evicted(workload: Workload, budget: int, *, axis: int = 1) -> Workload:
    """The Workload whose caches hold `budget` tokens, the new ones included, and attend to these alone.

    Everything along the tokens of a cache shrinks with it: scores, their softmax, and the products with values. What
    choosing the tokens costs is not counted.

    Args:
        workload: a decode; states with fewer tokens stay as they are.
        budget: tokens that every cache keeps.
        axis: of the states, along which tokens lie.

    Raises:
        BadInput: no state is larger, or a step writes more tokens than the budget (a prefill keeps what it has just
            made until it is over).
    """
    if budget < 1:
        raise BadInput(f"{workload.name}: a cache keeps 1 token at least, not {budget}")
    states = [n for n, t in workload.tensors.items() if t.role is Role.STATE and workload.storage(n) == n]
    large = [n for n in states if len(workload.tensors[n].shape) > axis and workload.tensors[n].shape[axis] > budget]
    if not large:
        raise BadInput(f"{workload.name}: no state has more than {budget} tokens along axis {axis}")
    shrinking = _Shrinking(workload)
    for name in large:
        shrinking.start(name, axis, budget)
    return noted(shrinking.workload(), f"caches keep {budget:,} tokens, the others are evicted")


class _Shrinking:
    def __init__(self, workload: Workload) -> None:
        self.base = workload
        self.extents: dict[Axis, int] = {}
        self.ranks: dict[tuple[str, str], int] = {}
        """(Einsum, rank) to its new extent."""
        self.einsums = [e for e, _ in workload.einsums()]
        self.views = [v for v in _views(workload.body) if not v.rows]

    def start(self, name: str, axis: int, extent: int) -> None:
        waiting: list[Axis] = [(name, axis)]
        old = self.base.tensors[name].shape[axis]
        while waiting:
            tensor, at = key = waiting.pop()
            if key in self.extents or self.base.tensors[tensor].shape[at] != old:
                continue
            self.extents[key] = extent
            waiting += [other for v in self.views for other in self._through(v, tensor, at)]
            for e in self.einsums:
                waiting += self._along(e, tensor, at, extent)

    def _through(self, view: View, tensor: str, axis: int) -> list[Axis]:
        """The axis of the other side of a view that is the same: of equal size, with as many elements before it."""
        if tensor not in (view.input, view.output):
            return []
        other = view.output if tensor == view.input else view.input
        here, there = self.base.tensors[tensor].shape, self.base.tensors[other].shape
        before = prod(here[:axis])
        found = [i for i, n in enumerate(there) if n == here[axis] and prod(there[:i]) == before]
        if not found:
            raise BadInput(f"{self.base.name}: view {view.output} mixes the tokens of {tensor} with something else")
        return [(other, found[0])]

    def _along(self, e: Einsum, tensor: str, axis: int, extent: int) -> list[Axis]:
        """Axes that a rank of an Einsum joins to one that it reads; what it writes there moves towards the front."""
        found: list[Axis] = []
        for access in e.inputs:
            if access.tensor != tensor:
                continue
            (rank, step), *more = access.indices[axis].terms or (("", 0),)
            whole = self.base.tensors[tensor].shape[axis]
            if more or step != 1 or access.indices[axis].offset or e.sizes[rank] != whole:
                raise BadInput(f"{self.base.name}: {e.name} does not read all tokens of {tensor} alike")
            self.ranks[e.name, rank] = extent
            for other in (*e.inputs, e.output):
                found += [(other.tensor, i) for i, x in enumerate(other.indices) if x == Affine(((rank, 1),), 0)]
        return found

    def workload(self) -> Workload:
        tensors = {}
        for name, tensor in self.base.tensors.items():
            shape = tuple(self.extents.get((name, i), n) for i, n in enumerate(tensor.shape))
            tensors[name] = replace(tensor, shape=shape)
        changed = replace(self.base, tensors=tensors, body=tuple(map(self._item, self.base.body)))
        validate(changed)
        return changed

    def _item(self, item: Item) -> Item:
        if isinstance(item, Repeat):
            return replace(item, body=tuple(map(self._item, item.body)))
        if isinstance(item, View):
            return item
        sizes = {r: self.ranks.get((item.name, r), n) for r, n in item.sizes.items()}
        return replace(item, sizes=sizes, output=self._written(item, item.output))

    def _written(self, e: Einsum, access: Access) -> Access:
        """New tokens are the last ones that a cache holds."""
        indices = list(access.indices)
        for i, index in enumerate(indices):
            new, old = self.extents.get((access.tensor, i)), self.base.tensors[access.tensor].shape[i]
            if new is None or any((e.name, r) in self.ranks for r in index.ranks):
                continue
            if index.offset < old - new:
                raise BadInput(f"{self.base.name}: {e.name} writes more tokens to {access.tensor} than the {new} that "
                               "it keeps")  # fmt: skip
            indices[i] = replace(index, offset=index.offset - (old - new))
        return replace(access, indices=tuple(indices))


def _views(items: tuple[Item, ...]) -> list[View]:
    found: list[View] = []
    for item in items:
        if isinstance(item, Repeat):
            found += _views(item.body)
        elif isinstance(item, View):
            found.append(item)
    return found
