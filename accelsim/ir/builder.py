"""The part of the workload builder that knows no operator: tensors, Einsums, views, repeats, names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import TypeAlias

import numpy as np

from ..errors import BadInput
from .einsum import Access, Affine, Apply, Const, Einsum, Expr, Read
from .operators import OPERATORS
from .validate import validate
from .workload import Item, Repeat, Role, Tensor, View, Workload

IndexLike: TypeAlias = Affine | str | int
"""An index: an Affine, the name of a rank, or a constant."""


def affine(index: IndexLike) -> Affine:
    """The Affine that `index` stands for."""
    if isinstance(index, Affine):
        return index
    return Affine((), index) if isinstance(index, int) else Affine(((index, 1),))


@dataclass
class RepeatScope:
    """What a ``with builder.repeat(...)`` block yields: says what the iterations hand on and what they share."""

    name: str
    count: int
    carried: list[tuple[str, str]] = field(default_factory=list)
    shared: set[str] = field(default_factory=set)

    def carry(self, produced: str, held: str) -> None:
        """`produced`, made by the body, is what the next iteration finds under the name `held`."""
        self.carried.append((produced, held))

    def share(self, *names: str) -> None:
        """These tensors, first used inside, are the same in every iteration."""
        self.shared.update(names)


class Builder:
    """Collects tensors and items, and hands back a validated Workload.

    Args:
        name: of the Workload.
        bits: bits of a tensor that is declared or produced without a width of its own.
    """

    def __init__(self, name: str, *, bits: int = 16) -> None:
        self.name = name
        self.bits = bits
        self.tensors: dict[str, Tensor] = {}
        self.constants: dict[str, np.ndarray] = {}
        """Values of the weights that the builder made up itself (the divisors of a padded average pool)."""
        self.notes: list[str] = []
        """What the Workload's `notes` shall say."""
        self._body: list[list[Item]] = [[]]
        self._names: set[str] = set()
        self._storage: dict[str, str] = {}

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a declared tensor; BadInput if there is none of that name."""
        return self.tensor(name).shape

    def tensor(self, name: str) -> Tensor:
        """A declared tensor; BadInput if there is none of that name."""
        if name not in self.tensors:
            raise BadInput(f"{self.name}: no tensor '{name}' (declare it before it is used)")
        return self.tensors[name]

    def unique(self, hint: str) -> str:
        """A name no tensor and no Einsum bears yet: `hint`, or `hint_2`, `hint_3` ..."""
        name, i = hint, 1
        while name in self._names or name in self.tensors:
            i += 1
            name = f"{hint}_{i}"
        return name

    # -- tensors ---------------------------------------------------------------------------------------------------

    def declare(self, name: str, shape: Sequence[int], role: Role, bits: int | None = None) -> str:
        """Declare a tensor of any role; returns its name. Raises BadInput for a name used twice or a bad shape."""
        if name in self.tensors:
            raise BadInput(f"{self.name}: tensor '{name}' is declared twice")
        dims = tuple(int(d) for d in shape)
        if any(d < 1 for d in dims):
            raise BadInput(f"{self.name}: tensor '{name}' has shape {dims} (every dimension must be at least 1)")
        width = self.bits if bits is None else bits
        if width < 1:
            raise BadInput(f"{self.name}: tensor '{name}' has {width} bits per element (at least 1)")
        self.tensors[name] = Tensor(name, dims, role, width)
        return name

    def input(self, name: str, shape: Sequence[int], bits: int | None = None) -> str:
        return self.declare(name, shape, Role.INPUT, bits)

    def weight(self, name: str, shape: Sequence[int], bits: int | None = None) -> str:
        return self.declare(name, shape, Role.WEIGHT, bits)

    def state(self, name: str, shape: Sequence[int], bits: int | None = None) -> str:
        return self.declare(name, shape, Role.STATE, bits)

    def activation(self, name: str, shape: Sequence[int], bits: int | None = None) -> str:
        return self.declare(name, shape, Role.ACTIVATION, bits)

    def output(self, name: str) -> str:
        """Mark a produced tensor (and what it is a view of) as an output of the Workload."""
        for one in (name, self.storage(name)):
            tensor = self.tensor(one)
            if tensor.role is Role.ACTIVATION:
                self.tensors[one] = replace(tensor, role=Role.OUTPUT)
        return name

    def storage(self, name: str) -> str:
        """The tensor whose bytes `name` is a view of: itself, if it is none."""
        while name in self._storage:
            name = self._storage[name]
        return name

    # -- items -----------------------------------------------------------------------------------------------------

    def add(self, item: Item) -> None:
        """Append an item as it is. Einsums written by hand go through here."""
        if isinstance(item, Einsum):
            if item.name in self._names:
                raise BadInput(f"{self.name}: two Einsums are called '{item.name}'")
            self._names.add(item.name)
        elif isinstance(item, View) and not item.rows:
            self._storage[item.output] = item.input
        self._body[-1].append(item)

    def view(self, x: str, shape: Sequence[int], *, out: str | None = None) -> str:
        """`x` under another shape of as many elements; it keeps role and bits."""
        source = self.tensor(x)
        name = self.declare(out or self.unique(f"{x}.view"), shape, source.role, source.bits)
        if self.tensors[name].elements != source.elements:
            raise BadInput(f"{self.name}: cannot view '{x}' {source.shape} as '{name}' {tuple(shape)}: elements differ")
        self.add(View(name, x))
        return name

    @contextmanager
    def repeat(
        self, name: str, count: int, *, carried: Sequence[tuple[str, str]] = (), shared: Sequence[str] = ()
    ) -> Iterator[RepeatScope]:
        """Items appended inside the block run `count` times; see `Repeat`.

        Pairs can be given here, or inside the block by `scope.carry(produced, held)` once the names are known.
        """
        if count < 1:
            raise BadInput(f"{self.name}: repeat '{name}' runs {count} times (at least once)")
        scope = RepeatScope(name, count, list(carried), set(shared))
        self._body.append([])
        try:
            yield scope
        except BaseException:
            self._body.pop()
            raise
        body = tuple(self._body.pop())
        self.add(Repeat(name, count, body, tuple(scope.carried), frozenset(scope.shared)))

    def build(self) -> Workload:
        """The Workload, validated. Raises SpecError naming every Einsum and tensor that is wrong."""
        workload = Workload(self.name, dict(self.tensors), tuple(self._body[0]), tuple(self.notes))
        validate(workload)
        return workload

    # -- Einsums over whole tensors ----------------------------------------------------------------------------------

    def _into(
        self, hint: str, shape: Sequence[int], out: str | None, bits: int | None, at: Sequence[int] | None
    ) -> tuple[str, tuple[int, ...]]:
        """Name of the output tensor, declared if it is new, and the offset at which it is written."""
        if out is None or out not in self.tensors:
            if at is not None:
                raise BadInput(f"{self.name}: '{hint}' writes at an offset of '{out}', which is not declared")
            return self.activation(out or self.unique(hint), shape, bits), (0,) * len(shape)
        offset = tuple(at) if at is not None else (0,) * len(shape)
        if len(offset) != len(shape) or len(self.shape(out)) != len(shape):
            raise BadInput(f"{self.name}: '{hint}' of shape {tuple(shape)} cannot be written into '{out}' "
                           f"{self.shape(out)} at {offset}: numbers of dimensions differ")
        return out, offset

    def compute(
        self,
        expr: Expr | str,
        inputs: Sequence[Access],
        out_indices: Sequence[IndexLike],
        sizes: Mapping[str, int],
        *,
        reduce: str = "",
        kind: str = "",
        name: str = "compute",
        out: str | None = None,
        at: Sequence[int] | None = None,
        bits: int | None = None,
        iterative: str = "",
    ) -> str:
        """Append one Einsum; returns the name of the tensor it writes.

        Args:
            expr: map expression over the inputs, or the name of an operator that takes them all.
            inputs: accesses, in the order `Read` names them; equal accesses become one.
            out_indices: one index of the output per dimension.
            sizes: the iteration space.
            reduce: reduction operator, where ranks are not in the output.
            kind: what the model calls it.
            name: of the Einsum, made unique.
            out: output tensor: a new name, or a declared tensor to be written at offset `at`.
            at: offset of the written box in `out`, one number per dimension.
            bits: of the output, if it is new.
            iterative: see `Einsum`.
        """
        unique: dict[Access, int] = {}
        position = [unique.setdefault(a, len(unique)) for a in inputs]
        if isinstance(expr, str):
            tree = chain(expr, len(inputs))
        else:
            tree = expr
        tree = renumber(tree, position)
        indices = tuple(affine(i) for i in out_indices)
        shape = [1 + i.bounds(sizes)[1] for i in indices]
        einsum_name = self.unique(name) if out is None else self._einsum_name(name)
        target, offset = self._into(einsum_name, shape, out, bits, at)
        indices = tuple(replace(i, offset=i.offset + o) for i, o in zip(indices, offset, strict=True))
        output = Access(target, indices)
        self.add(Einsum(einsum_name, output, tuple(unique), tree, dict(sizes), reduce, kind, iterative))
        return target

    def _broadcast(self, name: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that NumPy broadcasts others to; of any size, while NumPy has to count elements in 64 bits."""
        sizes: list[int] = []
        for column in zip_longest(*(reversed(shape) for shape in shapes), fillvalue=1):
            others = {n for n in column if n != 1}
            if len(others) > 1:
                raise BadInput(f"{self.name}: '{name}': shapes {', '.join(map(str, shapes))} do not broadcast")
            sizes.append(max(others, default=1))
        return tuple(reversed(sizes))

    @staticmethod
    def _aligned(shape: tuple[int, ...], full: tuple[int, ...], prefix: str) -> tuple[Affine, ...]:
        """Indices of a tensor of `shape` in a space of shape `full`, aligned at the right; broadcast ones are 0."""
        skip = len(full) - len(shape)
        return tuple(
            affine(0) if size == 1 and full[skip + i] > 1 else affine(f"{prefix}{skip + i}")
            for i, size in enumerate(shape)
        )

    def elementwise(
        self, op: Expr | str, *tensors: str, kind: str = "", name: str = "", out: str | None = None,
        at: Sequence[int] | None = None, bits: int | None = None,
    ) -> str:
        """An operator, or an expression over ``Read(0)``, ``Read(1)`` ..., of tensors under numpy broadcasting."""
        hint = name or (op if isinstance(op, str) else "elementwise")
        expr = chain(op, len(tensors)) if isinstance(op, str) else op
        shapes = [self.shape(t) for t in tensors]
        full = self._broadcast(hint, *shapes)
        inputs = [Access(t, self._aligned(s, full, "i")) for t, s in zip(tensors, shapes, strict=True)]
        sizes = {f"i{d}": size for d, size in enumerate(full)}
        return self.compute(expr, inputs, list(sizes), sizes, kind=kind or hint, name=hint, out=out, at=at, bits=bits)

    def _einsum_name(self, hint: str) -> str:
        name, i = hint, 1
        while name in self._names:
            i += 1
            name = f"{hint}_{i}"
        return name


def chain(op: str, count: int) -> Expr:
    """The operator over `count` inputs: applied once, or from left to right for a binary one (``a + b + c``)."""
    if op not in OPERATORS:
        raise BadInput(f"no operator '{op}' (one of {', '.join(OPERATORS)})")
    arity = OPERATORS[op].arity
    if op == "copy" and count == 1:
        return Read(0)
    if arity == count:
        return Apply(op, tuple(Read(i) for i in range(count)))
    if arity != 2 or count < 1:
        raise BadInput(f"operator '{op}' takes {arity} tensors, not {count}")
    tree: Expr = Read(0)
    for i in range(1, count):
        tree = Apply(op, (tree, Read(i)))
    return tree


def renumber(expr: Expr, position: Sequence[int]) -> Expr:
    """The expression with input i read as input ``position[i]``."""
    if isinstance(expr, Read):
        return Read(position[expr.index])
    if isinstance(expr, Const):
        return expr
    return replace(expr, args=tuple(renumber(arg, position) for arg in expr.args))
