"""Executable semantics of Workloads on numpy: clear rather than fast, in float64.

It says what a Workload means, and so judges importers, mappers and rewrites; nothing in the simulator depends on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput
from ..text.names import nearest
from .einsum import Access, Affine, Einsum
from .operators import OPERATORS, compute
from .workload import Item, Repeat, Role, View, Workload

Array = NDArray[Any]


def evaluate(workload: Workload, inputs: Mapping[str, Any]) -> dict[str, Array]:
    """Values of every tensor that the Workload produces, and of every state.

    Args:
        workload: a valid Workload.
        inputs: values of the inputs and weights, and of the states that are read before they are written. A tensor
            that has one instance per iteration of a Repeat (`Workload.instances`) has the iterations as leading
            dimensions: the weights of 12 layers are one array of 12.

    Returns:
        Arrays by tensor name. States and outputs made inside a Repeat have the iterations as leading dimensions; an
        activation made there is that of the last iteration. Elements of states that nothing wrote are NaN.

    Raises:
        BadInput: a value is missing, belongs to no tensor, or has another shape than its tensor.
    """
    return _Run(workload, inputs).results()


class _Run:
    def __init__(self, workload: Workload, inputs: Mapping[str, Any]) -> None:
        self.workload = workload
        self.views: dict[str, str] = {}
        self.held: dict[str, Array] = {}
        self.iteration: list[int] = []
        self.memory: dict[str, Array] = {}
        self.depth: dict[str, int] = {}
        looked_up = _looked_up(workload.body)
        for name, counts in workload.instances().items():
            tensor = workload.tensors[name]
            leading = () if tensor.role is Role.ACTIVATION else counts
            shape = (*leading, *tensor.shape)
            self.depth[name] = len(leading)
            if name in inputs:
                value = np.array(inputs[name])
                if value.shape != shape:
                    raise BadInput(f"{workload.name}: value of '{name}' has shape {value.shape}, must be {shape}")
                self.memory[name] = value if value.dtype.kind in "iu" else value.astype(np.float64)
            elif tensor.role in (Role.INPUT, Role.WEIGHT) and name not in looked_up:
                raise BadInput(f"{workload.name}: no value for {tensor.role} '{name}' {shape}")
            else:
                self.memory[name] = np.full(shape, np.nan)
        for name in inputs:
            if name not in workload.tensors:
                hint = nearest(name, workload.tensors)
                raise BadInput(f"{workload.name}: value given for '{name}', which is no tensor ({hint})")

    def results(self) -> dict[str, Array]:
        with np.errstate(all="ignore"):
            self.items(self.workload.body)
        shown = {n: v for n, v in self.memory.items() if self.workload.tensors[n].role not in (Role.INPUT, Role.WEIGHT)}
        for name in self.views:
            source = self.memory[self.workload.storage(name)]
            leading = source.shape[: self.depth[self.workload.storage(name)]]
            shown[name] = source.reshape((*leading, *self.workload.tensors[name].shape))
        return shown

    def value(self, name: str) -> Array:
        """The array that `name` stands for in this iteration; writing to it writes the tensor."""
        if name in self.held:
            return self.held[name]
        if name in self.views:
            return self.value(self.views[name]).reshape(self.workload.tensors[name].shape)
        here: tuple[Any, ...] = (*self.iteration[: self.depth[name]], ...)  # with the ellipsis a scalar is an array too
        one: Array = self.memory[name][here]
        return one

    def items(self, items: tuple[Item, ...]) -> None:
        for item in items:
            if isinstance(item, Einsum):
                self.einsum(item)
            elif isinstance(item, Repeat):
                self.repeat(item)
            elif item.rows:
                chosen = self.value(item.rows).astype(np.int64)
                self.value(item.output)[...] = np.take(self.value(item.input), chosen, axis=item.axis)
            else:
                self.views[item.output] = item.input

    def repeat(self, item: Repeat) -> None:
        with self._scope():
            for i in range(item.count):
                self.iteration[-1] = i
                self.items(item.body)
                carried = {held: self.value(produced).copy() for produced, held in item.carried}
                self.held.update(carried)

    @contextmanager
    def _scope(self) -> Iterator[None]:
        """One more level of iteration; what its iterations hand on is forgotten afterwards."""
        outer = dict(self.held)
        self.iteration.append(0)
        yield
        self.iteration.pop()
        self.held = outer

    def einsum(self, einsum: Einsum) -> None:
        values = {rank: np.arange(size) for rank, size in einsum.sizes.items()}
        if not einsum.iterative:
            self.points(einsum, values)
            return
        for step in range(einsum.sizes[einsum.iterative]):
            self.points(einsum, {**values, einsum.iterative: np.array([step])})

    def points(self, einsum: Einsum, values: Mapping[str, Array]) -> None:
        """Compute the Einsum at the given values of its ranks."""
        ranks = list(values)
        gone = tuple(ranks.index(r) for r in einsum.reduced_ranks)
        read = [self.read(access, values) for access in einsum.inputs]
        if einsum.is_contraction:
            result = self.contract(einsum, read, ranks)
        else:
            result = np.asarray(compute(einsum.expr, read))
            if gone:
                full = np.broadcast_to(result, tuple(len(v) for v in values.values()))
                result = OPERATORS[einsum.reduce].apply.reduce(full, axis=gone, keepdims=True)  # type: ignore[attr-defined]
        target = self.value(einsum.output.tensor)
        where = tuple(_positions(index, values) for index in einsum.output.indices)
        target[where] = result if where else result.reshape(())

    def contract(self, einsum: Einsum, read: list[Array], ranks: list[str]) -> Array:
        """The same sum of products by numpy.einsum, which does not hold every product at once."""
        operands: list[Any] = []
        for access, value in zip(einsum.inputs, read, strict=True):
            axes = [i for i, r in enumerate(ranks) if r in access.ranks]
            operands += [value.reshape([value.shape[i] for i in axes]), axes]
        carried = einsum.inputs[0].ranks | einsum.inputs[1].ranks
        free = [r for r in ranks if r not in carried]
        kept = [i for i, r in enumerate(ranks) if r in einsum.output.ranks and r in carried]
        result: Array = np.einsum(*operands, kept, optimize=True)
        for r in free:
            if r not in einsum.output.ranks:
                result = result * einsum.sizes[r]
        return result.reshape([result.shape[kept.index(i)] if i in kept else 1 for i in range(len(ranks))])

    def read(self, access: Access, values: Mapping[str, Array]) -> Array:
        """Values of an access, one dimension per rank; ranks that the access does not carry have size 1."""
        source = self.value(access.tensor)
        where = [_positions(index, values) for index in access.indices]
        if not where:
            return source.reshape((1,) * len(values))
        if access.pad is None:
            return source[tuple(where)].astype(np.float64)
        inside = np.array(True)
        for dim, at in enumerate(where):
            inside = inside & (at >= 0) & (at < source.shape[dim])
            where[dim] = np.clip(at, 0, source.shape[dim] - 1)
        return np.where(inside, source[tuple(where)], access.pad)


def _positions(index: Affine, values: Mapping[str, Array]) -> Array:
    """Values of an index, one dimension per rank."""
    ranks = list(values)
    total = np.full((1,) * len(ranks), index.offset)
    for rank, c in index.terms:
        shape = [1] * len(ranks)
        shape[ranks.index(rank)] = -1
        total = total + c * values[rank].reshape(shape)
    return total


def _looked_up(items: tuple[Item, ...]) -> frozenset[str]:
    """The tensors that are rows of a table: the run fills them in."""
    found: set[str] = set()
    for item in items:
        if isinstance(item, View) and item.rows:
            found.add(item.output)
        elif isinstance(item, Repeat):
            found |= _looked_up(item.body)
    return frozenset(found)
