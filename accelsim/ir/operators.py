"""The operators of extended Einsums: what they compute and what they cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from .einsum import Apply, Const, Einsum, Expr, Operations, Read


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


def operation_terms(einsum: Einsum) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What one run of an Einsum computes, as (cost class, ranks): one operation per point of those ranks.

    A map operator costs one operation per point of the ranks its arguments carry, so that a factor shared by many
    points is computed once; the reduction costs one per point. A product that is summed is one ``mac`` per point; a
    value or a constant that is only written is one ``copy`` per point.
    """
    everything = tuple(einsum.sizes)
    if einsum.is_contraction:
        return (("mac", everything),)
    terms: list[tuple[str, tuple[str, ...]]] = []

    def visit(e: Expr) -> frozenset[str]:
        if isinstance(e, Const):
            return frozenset()
        if isinstance(e, Read):
            return einsum.inputs[e.index].ranks
        assert isinstance(e, Apply)
        ranks = frozenset().union(*(visit(arg) for arg in e.args))
        mine = tuple(r for r in everything if r in ranks)
        terms.extend((cost_class, mine) for cost_class in OPERATORS[e.op].costs)
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
