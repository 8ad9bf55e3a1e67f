"""What one Einsum is made of as stages: its operators, a product with its sum, a recurrence as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod

from ...ir import Einsum
from ...ir.einsum import Access, Apply, Expr, Read
from ...ir.operators import OPERATORS, operator_of


def applications(expr: Expr) -> Iterator[Apply]:
    """All applications of operators, those inside first; one that stands at several places once."""
    seen: set[int] = set()

    def walk(node: Expr) -> Iterator[Apply]:
        if isinstance(node, Apply) and id(node) not in seen:
            seen.add(id(node))
            for arg in node.args:
                yield from walk(arg)
            yield node

    return walk(expr)


@dataclass(frozen=True)
class Part:
    """A stage of an Einsum.

    Attributes:
        name: inside it.
        operators: that it applies.
        reads: accesses from outside.
        inside: parts whose results it reads.
        ranks: that its results depend on.
        is_last: whether it makes the Einsum's result.
    """

    name: str
    operators: tuple[Apply, ...]
    reads: tuple[Access, ...]
    inside: tuple[str, ...]
    ranks: frozenset[str]
    is_last: bool


def ranks_of(e: Einsum, expr: Expr) -> frozenset[str]:
    """The ranks that the value of an expression depends on."""
    if isinstance(expr, Read):
        return e.inputs[expr.index].ranks
    return frozenset().union(*(ranks_of(e, arg) for arg in expr.args)) if isinstance(expr, Apply) else frozenset()


def parts_of(e: Einsum, split: bool) -> Iterator[Part]:
    """The stages of an Einsum: its operators, the sum of a product with the product, or all in one."""
    everything = frozenset(e.sizes)
    applied = tuple(applications(e.expr))
    if not split or e.iterative or not applied:
        yield Part("", applied, e.inputs, (), everything, True)
        return
    fused = isinstance(e.expr, Apply) and e.expr.op == "mul" and e.reduce == "add"
    extra = bool(e.reduced_ranks) and not fused
    names = _names(e.expr)
    for node in applied:
        last = node is e.expr and not extra
        reads = dict.fromkeys(e.inputs[a.index] for a in node.args if isinstance(a, Read))
        inside = dict.fromkeys(names[id(a)] for a in node.args if isinstance(a, Apply))
        ranks = everything if last else ranks_of(e, node)
        yield Part(names[id(node)], (node,), tuple(reads), tuple(inside), ranks, last)
    if extra:
        yield Part("", (), (), (names[id(e.expr)],), everything, True)


def operations(e: Einsum, part: Part, streamed: set[str]) -> dict[str, int]:
    """Operations of one firing by cost class, as `ir.operators.operation_terms` counts them."""

    def points(ranks: Iterable[str]) -> int:
        return prod(e.sizes[r] for r in ranks if r not in streamed)

    if part.is_last and e.is_contraction:
        return {"mac": points(e.sizes)}
    costs: dict[str, int] = {}
    for node in part.operators:
        operator = operator_of(node)
        for cost in operator.costs if operator else ():
            costs[cost] = costs.get(cost, 0) + points(ranks_of(e, node))
    if part.is_last and e.reduced_ranks:
        for cost in OPERATORS[e.reduce].costs:
            costs[cost] = costs.get(cost, 0) + points(e.sizes)
    return costs


def _names(expr: Expr) -> dict[int, str]:
    """A name for every application, that of its operator, numbered where it occurs more than once."""
    seen: dict[str, int] = {}
    found: dict[int, str] = {}
    for node in applications(expr):
        seen[node.op] = seen.get(node.op, 0) + 1
        found[id(node)] = node.op if seen[node.op] == 1 else f"{node.op}{seen[node.op]}"
    return found
