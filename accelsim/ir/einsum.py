"""Extended Einsums: a value computed at every point of an iteration space, then reduced over some of its ranks.

An Einsum ``O[m,n] = reduce(add over k) of A[m,k] * B[k,n]`` is held as its iteration space (ranks with sizes), its
accesses (tensors under affine indices, so that a convolution is one Einsum) and an expression tree of map operators
over those accesses. Operators are named; each has a cost class, which compute units price.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from math import gcd, prod
from typing import TypeAlias

import numpy as np

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


def quoted(name: str) -> str:
    """A name as the cascade notation writes it: in quotes, if it is no identifier."""
    return name if _PLAIN_NAME.fullmatch(name) else f"'{name}'"


@dataclass(frozen=True)
class Affine:
    """An index: the sum of coefficient * rank over `terms`, plus `offset`."""

    terms: tuple[tuple[str, int], ...] = ()
    offset: int = 0

    @cached_property
    def ranks(self) -> tuple[str, ...]:
        return tuple(r for r, _ in self.terms)

    @cached_property
    def steps(self) -> tuple[tuple[int, tuple[str, ...]], ...]:
        """The absolute coefficients, ascending, each with its ranks."""
        found: dict[int, tuple[str, ...]] = {}
        for r, c in self.terms:
            if c:
                found[abs(c)] = (*found.get(abs(c), ()), r)
        return tuple(sorted(found.items()))

    def extent(self, sizes: Mapping[str, int]) -> int:
        """Length of the interval that holds all values of the index over a box of the given rank sizes."""
        return 1 + sum(abs(c) * (sizes[r] - 1) for r, c in self.terms)

    def count(self, sizes: Mapping[str, int]) -> int:
        """Number of different values over a box of the given rank sizes: `extent` less what strides step over."""
        if len(self.terms) == 1 and self.terms[0][1]:
            return sizes[self.terms[0][0]]
        return distinct_sums(tuple((c, 1 + sum(sizes[r] - 1 for r in ranks)) for c, ranks in self.steps))

    def bounds(self, sizes: Mapping[str, int]) -> tuple[int, int]:
        """Smallest and largest value of the index over a box of the given rank sizes."""
        spans = [c * (sizes[r] - 1) for r, c in self.terms]
        return self.offset + sum(s for s in spans if s < 0), self.offset + sum(s for s in spans if s > 0)

    def __str__(self) -> str:
        parts = [r if c == 1 else f"{c}*{r}" for r, c in self.terms]
        if self.offset or not parts:
            parts.append(str(self.offset))
        return "+".join(parts).replace("+-", "-")


@lru_cache(maxsize=1 << 16)
def distinct_sums(terms: tuple[tuple[int, int], ...]) -> int:
    """Number of different sums of step * (0 ... number - 1) over the (step, number) of `terms`, steps ascending.

    Two terms (a, m) and (b, n) with g = gcd(a, b) reach a sum once more for every pair of points that lie b/g and -a/g
    apart, which are (m - b/g)(n - a/g), each no less than 0. Of more terms each goes on with the progression so far, or
    steps over all of it; where it does neither, sums are listed.
    """
    terms = tuple((step, number) for step, number in terms if number > 1)
    if not terms:
        return 1
    if len(terms) == 2:
        (a, m), (b, n) = terms
        g = gcd(a, b)
        return m * n - max(0, m - b // g) * max(0, n - a // g)
    below, reach = 1, 0
    step, number = terms[0]
    for further, times in terms[1:]:
        end = reach + step * (number - 1)
        if further % step == 0 and further // step <= number:
            number += further // step * (times - 1)
        elif further > end:
            below, reach, step, number = below * number, end, further, times
        else:
            sums = np.zeros(1, np.int64)
            for step, number in terms:
                sums = np.unique(sums[:, None] + step * np.arange(number))
            return len(sums)
    return below * number


@dataclass(frozen=True)
class Access:
    """A tensor read or written at affine indices, one per dimension of the tensor.

    Indices that fall outside the tensor (the padding of a convolution) read `pad`; where it is None, every index must
    stay inside the tensor.
    """

    tensor: str
    indices: tuple[Affine, ...]
    pad: float | None = None

    @cached_property
    def ranks(self) -> frozenset[str]:
        return frozenset(r for i in self.indices for r in i.ranks)

    @property
    def plain(self) -> bool:
        """Whether every index is one rank, without a step or an offset."""
        return all(len(i.terms) == 1 and i.terms[0][1] == 1 and not i.offset for i in self.indices)

    def __str__(self) -> str:
        text = f"{quoted(self.tensor)}[{','.join(str(i) for i in self.indices)}]"
        return text if self.pad is None else f"pad({text}, {self.pad!r})"


@dataclass(frozen=True)
class Const:
    """A number in an expression."""

    value: float


@dataclass(frozen=True)
class Read:
    """The value of the Einsum's input number `index`."""

    index: int


@dataclass(frozen=True)
class Definition:
    """A map operator that is not built in.

    Attributes:
        name: of the operator.
        arguments: their names.
        expr: its value; `Read` numbers the arguments.
        costs: operations of one application as (cost class, number); empty for those that `expr` is made of.
    """

    name: str
    arguments: tuple[str, ...]
    expr: Expr
    costs: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        """The declaration in the cascade notation."""
        costs = ", ".join(f"{c} {n}" for c, n in self.costs)
        value = _format(self.expr, self.arguments, 0)
        return f"operator {self.name}({', '.join(self.arguments)}) = {value}" + (f" costs {costs}" if costs else "")


@dataclass(frozen=True)
class Apply:
    """A map operator applied to sub-expressions: a key of `operators.OPERATORS`, or what `definition` says."""

    op: str
    args: tuple[Expr, ...]
    definition: Definition | None = None


Expr: TypeAlias = Const | Read | Apply


def definitions(expr: Expr) -> Iterator[Definition]:
    """The operators of an expression that are not built in, each after those that it is made of."""
    if isinstance(expr, Apply):
        for arg in expr.args:
            yield from definitions(arg)
        if expr.definition is not None:
            yield from definitions(expr.definition.expr)
            yield expr.definition


@dataclass(frozen=True)
class Einsum:
    """One extended Einsum.

    Attributes:
        name: unique in its Workload.
        output: where the value goes; ranks of `sizes` that it does not carry are reduced by `reduce`.
        inputs: accesses, in the order `Read` names them.
        expr: the map expression over the inputs.
        sizes: the iteration space, rank name to size, in a stable order.
        reduce: reduction operator (``add``, ``max`` ...); empty when nothing is reduced.
        kind: what the model called it (``Conv``, ``Softmax.exp`` ...), for the report only.
        iterative: rank that the Einsum steps along when its output is read back at the previous step
            (``RM[i+1] = max(RM[i], LM[i])``), or empty.
    """

    name: str
    output: Access
    inputs: tuple[Access, ...]
    expr: Expr
    sizes: Mapping[str, int]
    reduce: str = ""
    kind: str = ""
    iterative: str = ""

    @property
    def points(self) -> int:
        """Points of the iteration space."""
        return prod(self.sizes.values())

    @cached_property
    def reduced_ranks(self) -> tuple[str, ...]:
        kept = self.output.ranks
        return tuple(r for r in self.sizes if r not in kept)

    @cached_property
    def is_contraction(self) -> bool:
        """True for a sum of products of exactly two inputs: what a MAC array does."""
        e = self.expr
        return (
            self.reduce == "add"
            and isinstance(e, Apply)
            and e.op == "mul"
            and len(self.inputs) == 2
            and set(e.args) == {Read(0), Read(1)}
        )

    def __str__(self) -> str:
        """The Einsum in the cascade notation, without its sizes: ``GM[p] = max(m) QK[m,p]``."""
        reduced = self.reduced_ranks
        plain_sum = self.reduce == "add" or not reduced
        reduction = "" if plain_sum else f"{self.reduce}({','.join(reduced)}) "
        return f"{self.output} = {reduction}{_format(self.expr, self.inputs, 0)}"


_INFIX = {"add": ("+", 1), "sub": ("-", 1), "mul": ("*", 2), "div": ("/", 2)}


def _format(expr: Expr, inputs: Sequence[Access | str], level: int) -> str:
    """An expression, in parentheses if it binds less tightly than `level`."""
    if isinstance(expr, Const):
        return repr(expr.value)
    if isinstance(expr, Read):
        return str(inputs[expr.index])
    if expr.op not in _INFIX:
        return f"{expr.op}({', '.join(_format(arg, inputs, 0) for arg in expr.args)})"
    symbol, own = _INFIX[expr.op]
    left, right = expr.args
    text = f"{_format(left, inputs, own)} {symbol} {_format(right, inputs, own + 1)}"
    return f"({text})" if own < level else text


@dataclass(frozen=True)
class Contraction:
    """The ranks of a two-operand contraction sorted as a batched GEMM: O[g,m,n] += A[g,m,k] * B[g,k,n].

    `a` and `b` are positions in `Einsum.inputs`; `b` is the weight when one of them is.
    """

    a: int
    b: int
    g: tuple[str, ...]
    m: tuple[str, ...]
    n: tuple[str, ...]
    k: tuple[str, ...]


def contraction(einsum: Einsum, *, weight: int | None = None) -> Contraction | None:
    """Sort the ranks of a contraction, or None when the Einsum is not one.

    Args:
        einsum: any Einsum.
        weight: position of the operand to be called B; default: the second.
    """
    if not einsum.is_contraction:
        return None
    b = 1 if weight is None else weight
    a = 1 - b
    in_a, in_b, out = einsum.inputs[a].ranks, einsum.inputs[b].ranks, einsum.output.ranks
    g: list[str] = []
    m: list[str] = []
    n: list[str] = []
    k: list[str] = []
    for r in einsum.sizes:
        if r not in out:
            k.append(r)
        elif r in in_a and r in in_b:
            g.append(r)
        elif r in in_b:
            n.append(r)
        else:
            m.append(r)
    return Contraction(a, b, tuple(g), tuple(m), tuple(n), tuple(k))


@dataclass(frozen=True)
class Operations:
    """Operation counts by cost class; ``mac`` is a multiply fused with its accumulation."""

    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def macs(self) -> int:
        return self.counts.get("mac", 0)

    def __add__(self, other: Operations) -> Operations:
        keys = sorted({*self.counts, *other.counts})
        return Operations({k: self.counts.get(k, 0) + other.counts.get(k, 0) for k in keys})

    def scaled(self, factor: int) -> Operations:
        return Operations({k: v * factor for k, v in self.counts.items()})
