"""Reductions that wait for another one, made to run along with it.

Let r be a complete reduction over a rank, and D = sum g(x, r) a sum over the same rank, so that D starts a new pass.
Take r step by step: R[i+1] = R[i] plus what step i adds. If a change of r changes g in a way that does not depend on
x, g(x, R[i+1]) = sum over k of c_k(R[i], R[i+1]) g_k(x, R[i]), and the g_k change in the same way into each other, then
all sums of the g_k run along:

    D[i+1] = sum over k of c_k(R[i], R[i+1]) D_k[i] + g(x_i, R[i+1])

and the last step of D is what it was. Such are exp(x - r), where c = exp(R[i] - R[i+1]) since exp turns a difference
into a quotient, and powers of x - r, whose g_k are the lower powers and a count (the shift identity). What they are
multiplied by does not matter as long as it does not depend on r; factors that lack the rank are moved past the sum, as
by `defer`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite

from ..builder import affine
from ..einsum import Access, Affine, Const, Einsum
from ..workload import Workload
from .defer import focus_in, missing, reduction, scaled
from .facts import ASSOCIATIVE, SUMS, first_step, shift_is_safe
from .normal import Monomial, Normal, Poly, Shifted, shifted
from .terms import Draft, Leaf, NotApplicable, Op, Term, ranks_of, term_of

MOST_SUMS = 12


@dataclass
class _Sum:
    """A sum that shall run along: what remains outside, and the kernels to be summed."""

    target: Einsum
    normal: Normal
    poly: Poly
    kernels: list[Monomial] = field(default_factory=list)


def running(workload: Workload, einsum: str, rank: str) -> Workload:
    """Run a complete reduction step by step along a rank, and with it every sum over the rank that depends on it.

    Its other reduced ranks are reduced within each step, so that a rank that was split runs block by block. Sums that
    cannot be corrected stay as they are.

    Args:
        workload: a cascade.
        einsum: name of the Einsum that reduces.
        rank: that it reduces, to step along.

    Raises:
        NotApplicable: there is no such reduction, or no sum that depends on it in a way that can be corrected.
        BadInput: the Workload is no cascade.
    """
    draft = Draft(workload)
    lead = draft.einsum(einsum)
    if lead.reduce not in ASSOCIATIVE or rank not in lead.reduced_ranks or lead.iterative:
        raise NotApplicable(f"'{einsum}' does not reduce '{rank}' in an order that is free")
    if draft.producer(lead.output.tensor) is None or not lead.output.plain:
        raise NotApplicable(f"'{einsum}' writes a part of '{lead.output.tensor}'")
    sums: list[_Sum] = []
    reasons = []
    for target in draft.einsums:
        waits = any(draft.depends(a.tensor, lead.output.tensor) for a in target.inputs)
        if target is lead or rank not in target.reduced_ranks or target.iterative or not waits:
            continue
        try:
            sums.append(_sum(draft, lead, target))
        except NotApplicable as error:
            reasons.append(str(error))
    if not sums:
        raise NotApplicable("; ".join(reasons) or f"no sum over '{rank}' waits for '{lead.output.tensor}'")
    _Runs(draft, lead, rank).write(sums)
    return draft.finished()


def _sum(draft: Draft, lead: Einsum, target: Einsum) -> _Sum:
    """Take a sum apart. Raises NotApplicable where a change of the leading value cannot be corrected."""
    if reduction(draft, target) is not SUMS:
        raise NotApplicable(f"'{target.name}' is no sum")
    value = lead.output.tensor
    term = draft.inlined(term_of(target), value)
    focus = focus_in(term, value, target)
    if focus.access != lead.output:
        raise NotApplicable(f"'{target.name}' reads '{value}' under other ranks than '{lead.name}' writes it")
    normal = Normal(SUMS, focus, frozenset(target.reduced_ranks))
    poly = normal.of(term)
    found = _Sum(target, normal, poly)
    for monomial in poly:
        _, carried = normal.split(monomial)
        for factor, power in carried:
            if isinstance(factor, Shifted):
                safe = shift_is_safe(lead.reduce, factor.coefficient * power) if factor.op else (
                    power > 0 and isfinite(first_step(lead.reduce)))
                if not safe:
                    raise NotApplicable(f"the correction of '{target.name}' along '{lead.name}' leaves the numbers")
            elif normal.mentioned(((factor, power),)):
                raise NotApplicable(f"'{target.name}' depends on '{value}' through what has no correction")
        if carried not in found.kernels:
            found.kernels.append(carried)
    if not any(normal.mentioned(kernel) for kernel in found.kernels):
        raise NotApplicable(f"'{target.name}' depends on '{value}' through factors alone: defer them")
    return found


class _Runs:
    """Writes the running tensors of one leading reduction."""

    def __init__(self, draft: Draft, lead: Einsum, rank: str) -> None:
        self.draft, self.lead, self.rank = draft, lead, rank
        self.steps = draft.sizes[rank]
        self.name = draft.fresh(f"{lead.output.tensor}_run", lead.output.tensor)
        self.shared: dict[Term, Leaf] = {}

    def at(self, tensor: str, step: Affine, output: Access) -> Leaf:
        return Leaf(Access(tensor, (step, *output.indices)))

    @property
    def now(self) -> Affine:
        return affine(self.rank)

    @property
    def next(self) -> Affine:
        return Affine(((self.rank, 1),), 1)

    def write(self, sums: list[_Sum]) -> None:
        draft, lead = self.draft, self.lead
        out = lead.output
        for old in (lead, *(s.target for s in sums)):
            draft.einsums.remove(old)
        draft.write(self.at(self.name, affine(0), out).access, Const(first_step(lead.reduce)))
        step = self.step(lead, term_of(lead))
        before = self.at(self.name, self.now, out)
        draft.write(self.at(self.name, self.next, out).access, Op(lead.reduce, (before, step)), iterative=self.rank)
        draft.write(out, self.at(self.name, affine(self.steps), out), name=lead.name, kind=lead.kind)
        for one in sums:
            self.sum(one)

    def step(self, target: Einsum, term: Term) -> Term:
        """What one step adds: a term, reduced over the ranks beside the one that is stepped along."""
        if all(r == self.rank or r not in ranks_of(term) for r in target.reduced_ranks):
            return term
        draft, tensor = self.draft, target.output.tensor
        along = (self.now,) if self.rank in ranks_of(term) else ()
        block = Access(draft.fresh(f"{tensor}_block", tensor), (*along, *target.output.indices))
        draft.write(block, term, reduce=target.reduce)
        return Leaf(block)

    def share(self, term: Term, hint: str) -> Leaf:
        """An element-wise tensor of what several Einsums read."""
        if term not in self.shared:
            tensor = self.lead.output.tensor
            ranks = [r for r in self.draft.sizes if r in ranks_of(term)]
            access = Access(self.draft.fresh(f"{tensor}_{hint}", tensor), tuple(map(affine, ranks)))
            self.draft.write(access, term)
            self.shared[term] = Leaf(access)
        return self.shared[term]

    def change(self) -> Term:
        """The leading value before a step, less that after it."""
        out = self.lead.output
        return Op("sub", (self.at(self.name, self.now, out), self.at(self.name, self.next, out)))

    def rebased(self, normal: Normal, kernel: Monomial) -> dict[Monomial, Poly]:
        """A kernel at the leading value after a step: kernels at that before it, with their coefficients."""
        found = normal.one
        corrections: set[Leaf] = set()
        for factor, power in kernel:
            if not isinstance(factor, Shifted):
                found = normal.product(found, normal.factor(factor, power))
                continue
            if factor.op:
                c = -factor.coefficient
                by = self.change() if c == 1 else Op("mul", (self.change(), Const(c)))
                correction = self.share(Op(factor.op, (by,)), "fix")
                found = normal.product(found, normal.product(normal.factor(factor, power),
                                                             normal.factor(correction, power)))
            else:
                correction = self.share(self.change(), "change")
                for _ in range(power):
                    found = normal.product(found, shifted(factor, correction, normal))
            corrections.add(correction)
        grouped: dict[Monomial, Poly] = {}
        for monomial, c in found.items():
            outside = tuple(item for item in monomial if item[0] in corrections)
            inside = tuple(item for item in monomial if item[0] not in corrections)
            grouped.setdefault(inside, {})[outside] = c
        return grouped

    def sum(self, one: _Sum) -> None:
        """Write the running sums that a sum is made of, and the sum from their last steps."""
        draft, target, normal = self.draft, one.target, one.normal
        changes: dict[Monomial, dict[Monomial, Poly]] = {}
        waiting = list(one.kernels)
        while waiting:
            kernel = waiting.pop(0)
            if kernel not in changes:
                changes[kernel] = self.rebased(normal, kernel)
                waiting += [k for k in changes[kernel] if k not in changes]
            if len(changes) > MOST_SUMS:
                raise NotApplicable(f"'{target.name}' needs more than {MOST_SUMS} running sums")
        tensor, out = target.output.tensor, target.output
        runs = {kernel: draft.fresh(f"{tensor}_run", tensor) for kernel in changes}
        for kernel, change in changes.items():
            term = self.kernel(normal, kernel)
            step = scaled(self.step(target, term), missing(draft, target, term, but=self.rank))
            total: Poly = {}
            for source, by in change.items():
                before = normal.factor(self.at(runs[source], self.now, out))
                total = normal.plus(total, normal.product(before, by)) if total else normal.product(before, by)
            draft.write(self.at(runs[kernel], affine(0), out).access, Const(0.0))
            recurrence = Op("add", (normal.term(total), step))
            draft.write(self.at(runs[kernel], self.next, out).access, recurrence, iterative=self.rank)
        whole: Poly = {}
        for monomial, c in one.poly.items():
            free, carried = normal.split(monomial)
            last = normal.factor(self.at(runs[carried], affine(self.steps), out))
            part = normal.product({free: c}, last)
            whole = normal.plus(whole, part) if whole else part
        draft.write(out, normal.term(whole), name=target.name, kind=target.kind)

    def kernel(self, normal: Normal, kernel: Monomial) -> Term:
        """A kernel at the leading value after a step; functions of it are tensors that all sums share."""
        focus = self.at(self.name, self.next, self.lead.output)
        shown: Monomial = tuple(
            (self.share(normal.monomial(((factor, 1),), 1.0, focus), "shift"), power)
            if isinstance(factor, Shifted) and factor.op else (factor, power)
            for factor, power in kernel
        )  # fmt: skip
        return normal.monomial(shown, 1.0, focus)
