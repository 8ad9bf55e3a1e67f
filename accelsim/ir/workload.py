"""Workload: a DAG of extended Einsums over typed tensors, with repeats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from functools import cached_property
from math import prod
from typing import TypeAlias

from .density import FULL, Density, rounded_up
from .einsum import Contraction, Einsum, Operations, contraction
from .operators import count_operations


class Role(StrEnum):
    """What a tensor is for; decides where it lives before and after the run, and how the report groups it."""

    INPUT = "input"
    WEIGHT = "weight"
    ACTIVATION = "activation"
    OUTPUT = "output"
    STATE = "state"
    """Lives from one run to the next, such as a KV cache; it is off chip before and after."""


MOST_BITS = 64
"""Of an element where the user says how many it has; no unit multiplies wider operands."""


@dataclass(frozen=True)
class Tensor:
    """A named array of `shape` elements of `bits` bits each.

    `metadata_bits` are stored beside every element on the mean: its share of what a group has in common, such as a
    scale of 8 bits per 128 elements (1/16). They are held and moved with the elements; units compute with `bits`.
    `density` says which elements are zeros and in what format it is held and moved; see `ir.density`.
    """

    name: str
    shape: tuple[int, ...]
    role: Role
    bits: int = 16
    metadata_bits: Fraction = Fraction(0)
    density: Density = FULL

    @cached_property
    def stored_bits(self) -> Fraction:
        """Bits of an element as it is held and moved, on the mean: in the format of its density, and with metadata."""
        return rounded_up(self.density.bits(self.bits, self.shape) + self.metadata_bits)

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes, rounded up to whole bytes once for the tensor."""
        return self.bytes_of(self.elements)

    def bytes_of(self, elements: int) -> int:
        """Bytes of so many of its elements as they are stored, rounded up once."""
        width = self.stored_bits
        return -(-elements * width.numerator // (8 * width.denominator))


@dataclass(frozen=True)
class View:
    """`output` is another shape of the bytes of `input`: a reshape, a squeeze, an identity. It costs nothing.

    With `rows`, the name of an integer tensor of shape (..., ), `output` is instead the rows ``input[rows]`` of a table
    of shape (V, ...): shape ``rows.shape + input.shape[1:]``. Which rows these are is data, so the accesses of Einsums
    stay affine; an Einsum that reads `output` reads that many bytes of the table. With `axis`, positions along that
    dimension are chosen instead of rows (``numpy.take``): shape ``input.shape[:axis] + rows.shape +
    input.shape[axis+1:]``.
    """

    output: str
    input: str
    rows: str = ""
    axis: int = 0


@dataclass(frozen=True)
class Repeat:
    """A body run `count` times, one iteration after the other: the layers of a transformer.

    Every tensor first used inside is one per iteration (each layer has its own weights and state), except those in
    `shared`. `carried` pairs (a tensor the body produces, the tensor that holds it in the next iteration); the latter
    is, in the first iteration and after the Repeat, whatever stands before the Repeat under that name.
    """

    name: str
    count: int
    body: tuple[Item, ...]
    carried: tuple[tuple[str, str], ...] = ()
    shared: frozenset[str] = frozenset()


Item: TypeAlias = Einsum | View | Repeat


@dataclass(frozen=True)
class Workload:
    """Tensors by name, and what is computed, in a valid order.

    `notes` are sentences that every report of it repeats: what the importer left out. They are no part of its value.
    """

    name: str
    tensors: Mapping[str, Tensor]
    body: tuple[Item, ...]
    notes: tuple[str, ...] = field(default=(), compare=False)

    def _repr_html_(self) -> str:
        """What it holds and computes, in notebooks."""
        from .notebook import workload_html

        return workload_html(self)

    def einsums(self) -> Iterator[tuple[Einsum, int]]:
        """Every Einsum with the number of times it runs, in order."""
        yield from _walk(self.body, 1)

    def views(self) -> Iterator[View]:
        """Every View, in order."""
        yield from _views(self.body)

    def operations(self) -> Operations:
        """Operation counts by cost class over the whole Workload."""
        total = Operations()
        for einsum, times in self.einsums():
            total += count_operations(einsum).scaled(times)
        return total

    @property
    def macs(self) -> int:
        return self.operations().macs

    def storage(self, name: str) -> str:
        """The tensor whose bytes `name` is a view of: itself, if it is none."""
        while name in self._sources:
            name = self._sources[name]
        return name

    def origin(self, name: str) -> str:
        """The tensor that the elements of `name` come from: what it is a view of, or the table of its rows."""
        name = self.storage(name)
        while name in self.tables:
            name = self.storage(self.tables[name])
        return name

    @cached_property
    def _sources(self) -> Mapping[str, str]:
        return {v.output: v.input for v in self.views() if not v.rows}

    @cached_property
    def tables(self) -> Mapping[str, str]:
        """For each tensor that holds looked-up rows, the table that they are rows of."""
        return {v.output: v.input for v in self.views() if v.rows}

    def instances(self) -> dict[str, tuple[int, ...]]:
        """For each stored tensor, the counts of the Repeats of which it has one instance per iteration.

        Outermost first. These are the Repeats around all of its uses, up to the first that shares it or hands it on.
        """
        found: dict[str, tuple[int, ...]] = {}

        def use(name: str, path: tuple[int, ...], shared: Mapping[str, tuple[int, ...]]) -> None:
            name = self.storage(name)
            here = shared.get(name, path)
            found[name] = min(found.get(name, here), here, key=len)

        def visit(items: tuple[Item, ...], path: tuple[int, ...], shared: Mapping[str, tuple[int, ...]]) -> None:
            for item in items:
                if isinstance(item, Repeat):
                    outside = {*item.shared, *(name for pair in item.carried for name in pair)}
                    visit(item.body, (*path, item.count), {**dict.fromkeys(outside, path), **shared})
                elif isinstance(item, View):
                    for name in (item.rows, item.input, item.output) if item.rows else ():
                        use(name, path, shared)
                else:
                    for access in (*item.inputs, item.output):
                        use(access.tensor, path, shared)

        visit(self.body, (), {})
        return found

    def copies(self) -> dict[str, int]:
        """How many instances of each stored tensor exist over the run (one per iteration inside a Repeat)."""
        return {name: prod(counts) for name, counts in self.instances().items()}

    def bytes_by_role(self) -> dict[Role, int]:
        """Bytes of all instances of the stored tensors, by role: what has to be held, not what is moved.

        Of a table whose rows are looked up, the table counts, and its rows do not.
        """
        total = dict.fromkeys(Role, 0)
        for name, copies in self.copies().items():
            if name not in self.tables:
                tensor = self.tensors[name]
                total[tensor.role] += tensor.nbytes * copies
        return total


def contraction_of(einsum: Einsum, workload: Workload) -> Contraction | None:
    """`contraction` of an Einsum, with B the operand that is a weight or a state (the second, if none or both are)."""
    if not einsum.is_contraction:
        return None
    roles = [workload.tensors[access.tensor].role for access in einsum.inputs]
    resident = [role in (Role.WEIGHT, Role.STATE) for role in roles]
    return contraction(einsum, weight=0 if resident == [True, False] else 1)


def _walk(items: tuple[Item, ...], times: int) -> Iterator[tuple[Einsum, int]]:
    for item in items:
        if isinstance(item, Einsum):
            yield item, times
        elif isinstance(item, Repeat):
            yield from _walk(item.body, times * item.count)


def _views(items: tuple[Item, ...]) -> Iterator[View]:
    for item in items:
        if isinstance(item, View):
            yield item
        elif isinstance(item, Repeat):
            yield from _views(item.body)
