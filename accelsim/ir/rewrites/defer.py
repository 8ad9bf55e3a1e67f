"""Moving what lacks the reduced ranks past a reduction."""

from __future__ import annotations

from math import prod

from ..einsum import Access, Const, Einsum
from ..workload import Workload
from .facts import Ring
from .normal import Monomial, Normal, Poly, ring_of
from .terms import Draft, Leaf, NotApplicable, Op, Term, leaves, ranks_of, term_of


def defer(workload: Workload, einsum: str, value: str, *, distribute: bool = False) -> Workload:
    """Take factors that depend on a value and lack the reduced ranks out of a reduction: sum(a / s) = sum(a) / s.

    Element-wise intermediates between the value and the Einsum are put into it first. It holds because the factors'
    operation distributes over the reduction (`facts.RINGS`); functions such as exp are taken apart where their values
    stay in range. With `distribute`, products are also distributed over sums that mention the value:
    sum((x - s)^2) = sum(x^2) - 2 s sum(x) + n s^2, which may cancel digits.

    Args:
        workload: a cascade.
        einsum: name of an Einsum that reduces.
        value: tensor that stands ready before it, such as the result of another reduction.
        distribute: see above.

    Raises:
        NotApplicable: the Einsum does not depend on the value, or not through such factors.
        BadInput: the Workload is no cascade.
    """
    draft = Draft(workload)
    target = draft.einsum(einsum)
    ring = reduction(draft, target)
    term = draft.inlined(term_of(target), value)
    normal = Normal(ring, focus_in(term, value, target), frozenset(target.reduced_ranks), keep=not distribute)
    poly = normal.of(term)
    parts = {monomial: normal.split(monomial) for monomial in poly}
    if any(normal.mentioned(carried) for _, carried in parts.values()):
        raise NotApplicable(f"'{einsum}' depends on '{value}' not through factors that leave its reduction alone")
    if all(not free for free, _ in parts.values()):
        raise NotApplicable(f"'{einsum}' has no factor of '{value}' to move")
    draft.einsums.remove(target)
    results: dict[Monomial, Poly] = {}
    for _, carried in parts.values():
        if carried not in results:
            results[carried] = _reduced(draft, normal, target, carried)
    total: Poly = {}
    for monomial, (free, carried) in parts.items():
        outside = normal.product({free: poly[monomial]}, results[carried])
        total = normal.plus(total, outside) if total else outside
    draft.write(target.output, normal.term(total), name=target.name, kind=target.kind)
    return draft.finished()


def reduction(draft: Draft, target: Einsum) -> Ring:
    """The ring of an Einsum that reduces, alone writes its tensor, and writes it whole. Raises NotApplicable."""
    if not target.reduced_ranks or target.iterative:
        raise NotApplicable(f"'{target.name}' is no reduction")
    if draft.producer(target.output.tensor) is None or not target.output.plain:
        raise NotApplicable(f"'{target.name}' writes a part of '{target.output.tensor}'")
    return ring_of(target.reduce)


def focus_in(term: Term, value: str, target: Einsum) -> Leaf:
    """The one access of a term to a value that lacks the reduced ranks. Raises NotApplicable."""
    found = {access for access in leaves(term) if access.tensor == value}
    if len(found) != 1:
        raise NotApplicable(f"'{target.name}' depends on '{value}' in {len(found)} ways")
    (access,) = found
    if not access.ranks.isdisjoint(target.reduced_ranks):
        raise NotApplicable(f"'{value}' carries a rank that '{target.name}' reduces")
    return Leaf(access)


def missing(draft: Draft, target: Einsum, term: Term, but: str = "") -> int:
    """How many equal summands stand for each point of a term that lacks some of the reduced ranks."""
    return prod(draft.sizes[r] for r in target.reduced_ranks if r not in ranks_of(term) and r != but)


def _reduced(draft: Draft, normal: Normal, target: Einsum, carried: Monomial) -> Poly:
    """The reduction of a product of factors, as a poly over a new tensor."""
    times = 1.0 if normal.ring.idempotent else float(missing(draft, target, normal.monomial(carried, _one(normal))))
    constant: Poly = normal.one if normal.ring.idempotent else {(): times}
    if not carried:
        return constant
    name = draft.fresh(f"{target.output.tensor}_part", target.output.tensor)
    output = Access(name, target.output.indices)
    draft.write(output, normal.monomial(carried, _one(normal)), reduce=target.reduce)
    return normal.product(constant, normal.factor(Leaf(output)))


def _one(normal: Normal) -> float:
    return normal.ring.times.identity


def scaled(term: Term, by: int) -> Term:
    return term if by == 1 else Op("mul", (term, Const(float(by))))
