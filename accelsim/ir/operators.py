"""The operators of extended Einsums: what they compute and what they cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from ..errors import BadInput
from ..text.names import nearest
from .einsum import Apply, Const, Definition, Einsum, Expr, Operations, Read
from .same import Same


@dataclass(frozen=True)
class Operator:
    """A map or reduce operator: its number of arguments, numpy semantics and (for reductions) identity.

    `costs` are the operations, by cost class, of one application: one each. A reciprocal square root is one operation
    of the class of square roots, as units for special functions have it.
    """

    name: str
    arity: int
    apply: Callable[..., Any]
    costs: tuple[str, ...]
    identity: float | None = None


COST_CLASSES = ("mac", "mul", "add", "max", "exp", "div", "sqrt", "log", "tanh", "erf", "copy")
"""What compute units price. ``copy`` moves a value unchanged (transpose, concatenation, gather, padding)."""


def _erf(x: Any) -> Any:
    from scipy.special import erf

    return erf(x)


OPERATORS: dict[str, Operator] = {
    op.name: op
    for op in (
        Operator("mul", 2, np.multiply, ("mul",), 1.0),
        Operator("add", 2, np.add, ("add",), 0.0),
        Operator("sub", 2, np.subtract, ("add",)),
        Operator("max", 2, np.maximum, ("max",), -np.inf),
        Operator("min", 2, np.minimum, ("max",), np.inf),
        Operator("div", 2, np.divide, ("div",)),
        Operator("pow", 2, np.power, ("log", "mul", "exp")),
        Operator("exp", 1, np.exp, ("exp",)),
        Operator("log", 1, np.log, ("log",)),
        Operator("sqrt", 1, np.sqrt, ("sqrt",)),
        Operator("rsqrt", 1, lambda x: 1.0 / np.sqrt(x), ("sqrt",)),
        Operator("recip", 1, np.reciprocal, ("div",)),
        Operator("tanh", 1, np.tanh, ("tanh",)),
        Operator("erf", 1, _erf, ("erf",)),
        Operator("sigmoid", 1, lambda x: 1.0 / (1.0 + np.exp(-x)), ("exp", "add", "div")),
        Operator("neg", 1, np.negative, ("add",)),
        Operator("abs", 1, np.abs, ("max",)),
        Operator("floor", 1, np.floor, ("max",)),
        Operator("round", 1, np.rint, ("max",)),
        Operator("less", 2, lambda a, b: np.less(a, b).astype(float), ("max",)),
        Operator("equal", 2, lambda a, b: np.equal(a, b).astype(float), ("max",)),
        Operator("select", 3, lambda c, a, b: np.where(np.not_equal(c, 0), a, b), ("max",)),
        Operator("sin", 1, np.sin, ("tanh",)),
        Operator("cos", 1, np.cos, ("tanh",)),
        Operator("copy", 1, lambda x: x, ("copy",)),
    )
}


def operator_of(apply: Apply) -> Operator | None:
    """The operator that is applied; None if it is neither defined nor built in."""
    return OPERATORS.get(apply.op) if apply.definition is None else _defined(apply.definition)


@lru_cache(maxsize=1024)
def _defined(definition: Definition) -> Operator:
    def apply(*values: Any) -> Any:
        return compute(definition.expr, values)

    costs = tuple(c for c, n in definition.costs for _ in range(n)) or tuple(_made_of(definition.expr))
    return Operator(definition.name, len(definition.arguments), apply, costs)


def _made_of(expr: Expr) -> Iterator[str]:
    """Cost classes of the operators in an expression that work on its inputs; what works on numbers alone is known."""
    if isinstance(expr, Apply) and _reads(expr):
        for arg in expr.args:
            yield from _made_of(arg)
        operator = operator_of(expr)
        yield from operator.costs if operator is not None else ()


def _reads(expr: Expr) -> bool:
    return isinstance(expr, Read) or (isinstance(expr, Apply) and any(_reads(arg) for arg in expr.args))


MOST_OPERATIONS = 1000
"""Operations of one class that one application of an operator may cost."""


def definition_problems(definition: Definition) -> list[tuple[str, str]]:
    """What is wrong with a definition, and what would be valid; not what is wrong inside those that it uses."""
    name, found = definition.name, []
    if name in OPERATORS:
        found.append((f"operator '{name}' is built in", "give it another name"))
    read: set[int] = set()

    def visit(e: Expr) -> None:
        if isinstance(e, Read):
            read.add(e.index)
        elif isinstance(e, Apply):
            operator = operator_of(e)
            if operator is None:
                found.append((f"operator '{name}' applies '{e.op}', which is none", nearest(e.op, OPERATORS, "")))
            elif operator.arity != len(e.args):
                found.append((f"operator '{e.op}' has {len(e.args)} arguments", f"takes {operator.arity}"))
            for arg in e.args:
                visit(arg)

    visit(definition.expr)
    if not definition.arguments or len(set(definition.arguments)) < len(definition.arguments):
        found.append((f"operator '{name}' needs arguments of different names", f"{name}(x) or {name}(x, y)"))
    elif read != set(range(len(definition.arguments))):
        unused = [a for i, a in enumerate(definition.arguments) if i not in read]
        what = f"does not use {', '.join(unused)}" if unused else "reads more than its arguments"
        found.append((f"operator '{name}' {what}", "each argument at least once"))
    classes = [c for c, _ in definition.costs]
    for cost_class, number in definition.costs:
        if cost_class not in COST_CLASSES:
            hint = nearest(cost_class, COST_CLASSES, f"one of {', '.join(COST_CLASSES)}")
            found.append((f"no cost class '{cost_class}'", hint))
        elif classes.count(cost_class) > 1:
            found.append((f"operator '{name}' has two costs '{cost_class}'", "give their sum"))
        if not 1 <= number <= MOST_OPERATIONS:
            found.append((f"operator '{name}' costs {number} {cost_class}", f"1 to {MOST_OPERATIONS} operations"))
    return found


def compute(expr: Expr, values: Sequence[Any]) -> Any:
    """The value of an expression over values of its inputs, by numpy's rules of broadcasting.

    Raises:
        BadInput: an operator is neither defined nor built in.
    """
    if isinstance(expr, Const):
        return np.float64(expr.value)
    if isinstance(expr, Read):
        return values[expr.index]
    operator = operator_of(expr)
    if operator is None:
        raise BadInput(f"no operator '{expr.op}'")
    return operator.apply(*(compute(arg, values) for arg in expr.args))


def operation_terms(einsum: Einsum) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What one run of an Einsum computes, as (cost class, ranks): one operation per point of those ranks.

    A map operator costs one operation per point of the ranks its arguments carry, so that a factor shared by many
    points is computed once; the reduction costs one per point. A product that is summed is one ``mac`` per point; a
    value or a constant that is only written is one ``copy`` per point.
    """
    return _terms(Same(einsum))


@lru_cache(maxsize=2**12)
def _terms(of: Same[Einsum]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    einsum = of.value
    everything = tuple(einsum.sizes)
    if einsum.is_contraction:
        return (("mac", everything),)
    terms: list[tuple[str, tuple[str, ...]]] = []

    def visit(e: Expr) -> frozenset[str]:
        if isinstance(e, Const):
            return frozenset()
        if isinstance(e, Read):
            return einsum.inputs[e.index].ranks
        ranks = frozenset().union(*(visit(arg) for arg in e.args))
        mine = tuple(r for r in everything if r in ranks)
        operator = operator_of(e)
        if operator is None:
            raise BadInput(f"{einsum.name}: no operator '{e.op}'")
        terms.extend((cost_class, mine) for cost_class in operator.costs)
        return ranks

    visit(einsum.expr)
    if einsum.reduced_ranks:
        terms.extend((cost_class, everything) for cost_class in OPERATORS[einsum.reduce].costs)
    elif not isinstance(einsum.expr, Apply):
        terms.append(("copy", everything))
    return tuple(terms)


def count_operations(einsum: Einsum) -> Operations:
    """Operations of one run of an Einsum, by cost class; see `operation_terms`."""
    counts: dict[str, int] = {}
    for cost_class, ranks in operation_terms(einsum):
        counts[cost_class] = counts.get(cost_class, 0) + prod(einsum.sizes[r] for r in ranks)
    return Operations(dict(sorted(counts.items())))
