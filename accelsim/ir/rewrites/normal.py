"""Sums of products: a term as far as the algebra of a ring takes it apart around one value, the focus.

What does not mention the focus stays whole. Products and quotients come apart into factors, sums that mention the focus
into summands; functions that turn one group into another are taken through (`facts.HOMOMORPHISMS`).

A *shifted* factor is a difference x - c * focus, or a function like exp of one, whose other part carries a reduced
rank: it is kept whole, since a change of the focus changes it in a known way, and since its parts may be far larger
than it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from ..einsum import Apply, Const, Definition, Expr, Read
from .facts import HOMOMORPHISMS, RINGS, SUMS, Homomorphism, Ring
from .terms import Leaf, NotApplicable, Op, Term, mentions, ranks_of

MOST_MONOMIALS = 16
MOST_POWER = 4


@dataclass(frozen=True)
class Shifted:
    """`op` of (`rest` + `coefficient` * focus); without `op` the sum itself."""

    op: str
    rest: Term
    coefficient: float


Factor: TypeAlias = Leaf | Op | Shifted
Monomial: TypeAlias = tuple[tuple[Factor, int], ...]
Poly: TypeAlias = dict[Monomial, float]


class Normal:
    """Normal forms in one ring around one focus.

    Args:
        ring: of the reduction that the terms stand in.
        focus: the access to the value.
        reduced: the ranks that are reduced.
        keep: whether shifted sums are kept whole; else products are distributed over them.
    """

    def __init__(self, ring: Ring, focus: Leaf, reduced: frozenset[str], *, keep: bool = True) -> None:
        self.ring, self.focus, self.reduced, self.keep = ring, focus, reduced, keep
        self.tensor = focus.access.tensor
        self.one: Poly = {(): ring.times.identity}

    def of(self, term: Term) -> Poly:
        """The normal form of a term. Raises NotApplicable where it is too large."""
        ring = self.ring
        if isinstance(term, Const):
            return {(): term.value}
        if isinstance(term, Leaf):
            return self.factor(term)
        if term.definition is not None and mentions(term, self.tensor):
            return self.of(_applied(term.definition, term.args))
        if term.op == "copy":
            return self.of(term.args[0])
        if term.op in (ring.times.op, ring.times.minus):
            left, right = (self.of(arg) for arg in term.args)
            return self.product(left, right if term.op == ring.times.op else self.inverse(right, term.args[1]))
        if term.op == ring.times.negate:
            return self.inverse(self.of(term.args[0]), term.args[0])
        if not mentions(term, self.tensor):
            return self.factor(term)
        if term.op == ring.plus or (ring.undone and term.op in (ring.undone.minus, ring.undone.negate)):
            return self.wrapped(self.summed(term))
        if term.op == "pow" and ring is SUMS and isinstance(term.args[1], Const):
            return self.power(term, term.args[1].value)
        image = HOMOMORPHISMS.get(term.op)
        if image is not None and image.target == ring.times:
            return self.image(image, term)
        return self.factor(term)

    def factor(self, factor: Factor, power: int = 1) -> Poly:
        return {((factor, power),): self.ring.times.identity}

    # -- sums --------------------------------------------------------------------------------------------------------

    def summed(self, term: Term) -> Poly:
        """A sum as the sum of its parts, shifted sums taken apart."""
        ring, undone = self.ring, self.ring.undone
        if isinstance(term, Op) and term.definition is None and mentions(term, self.tensor):
            if term.op == ring.plus:
                return self.plus(self.summed(term.args[0]), self.summed(term.args[1]))
            if undone and term.op == undone.minus:
                return self.plus(self.summed(term.args[0]), self.scaled(self.summed(term.args[1]), -1.0))
            if undone and term.op == undone.negate:
                return self.scaled(self.summed(term.args[0]), -1.0)
        found: Poly = {}
        for monomial, coefficient in self.of(term).items():
            first = monomial[0] if len(monomial) == 1 else None
            if ring is SUMS and first and first[1] == 1 and isinstance(first[0], Shifted) and not first[0].op:
                parts = self.plus({((self.focus, 1),): first[0].coefficient}, self.parts(first[0].rest))
                found = self.plus(found, self.scaled(parts, coefficient))
            else:
                found = self.plus(found, {monomial: coefficient})
        return found

    def parts(self, rest: Term) -> Poly:
        return self.of(rest)

    def wrapped(self, poly: Poly) -> Poly:
        """A sum that is a shift of the focus as one factor, others as they are."""
        shift = self.shift(poly)
        return self.factor(Shifted("", *shift)) if shift is not None and self.keep else poly

    def shift(self, poly: Poly) -> tuple[Term, float] | None:
        """The rest and the coefficient of the focus, where a sum is a shift of what carries a reduced rank."""
        alone: Monomial = ((self.focus, 1),)
        if self.ring is not SUMS or alone not in poly or not poly[alone]:
            return None
        rest = {m: c for m, c in poly.items() if m != alone}
        if any(self.mentioned(m) for m in rest):
            return None
        term = self.term(rest)
        return (term, poly[alone]) if ranks_of(term) & self.reduced else None

    def plus(self, a: Poly, b: Poly) -> Poly:
        found = dict(a)
        for monomial, c in b.items():
            found[monomial] = self.ring.add(found[monomial], c) if monomial in found else c
        found = {m: c for m, c in found.items() if c or self.ring is not SUMS} or {(): 0.0}
        if len(found) > MOST_MONOMIALS:
            raise NotApplicable(f"a sum of more than {MOST_MONOMIALS} products")
        return found

    def scaled(self, poly: Poly, by: float) -> Poly:
        return {m: by * c for m, c in poly.items()}

    # -- products ----------------------------------------------------------------------------------------------------

    def product(self, a: Poly, b: Poly) -> Poly:
        found: Poly = {}
        for m, c in a.items():
            for n, d in b.items():
                powers: dict[Factor, int] = dict(m)
                for factor, power in n:
                    powers[factor] = powers.get(factor, 0) + power
                monomial = tuple(sorted(((f, p) for f, p in powers.items() if p), key=lambda item: repr(item[0])))
                found = self.plus(found, {monomial: self.ring.multiply(c, d)})
        return found

    def inverse(self, poly: Poly, term: Term) -> Poly:
        if len(poly) > 1:
            whole = self.term(poly) if not isinstance(term, Op) else term
            assert isinstance(whole, Op)
            return self.factor(whole, -1)
        ((monomial, c),) = poly.items()
        return {tuple((factor, -power) for factor, power in monomial): self.ring.invert(c)}

    def power(self, term: Op, exponent: float) -> Poly:
        if exponent not in range(1, MOST_POWER + 1):
            return self.factor(term)
        base = found = self.of(term.args[0])
        for _ in range(int(exponent) - 1):
            found = self.product(found, base)
        return found

    def image(self, h: Homomorphism, term: Op) -> Poly:
        """A function of a sum as a product, as far as that is safe."""
        if self.ring is not SUMS:
            parts = Normal(SUMS, self.focus, self.reduced).of(term.args[0])
            if len(parts) > 1 or next(iter(parts.values())) <= 0:
                return self.factor(term)
            ((monomial, c),) = parts.items()
            pieces: Poly = {(): float(_value(Op(h.op, (Const(c),))))}
            for factor, power in monomial:
                piece = Op(h.op, (_plain(factor, self.focus),))
                pieces = self.product(pieces, self.factor(piece, power))
            return pieces
        outside, left = self.one, Poly()
        for monomial, c in self.summed(term.args[0]).items():
            inner = monomial[0][0] if len(monomial) == 1 and monomial[0][1] == 1 else None
            if isinstance(inner, Op) and inner.op == h.inverse and c == int(c):
                base = self.of(inner.args[0])
                for _ in range(abs(int(c))):
                    outside = self.product(outside, base if c > 0 else self.inverse(base, inner.args[0]))
            else:
                left[monomial] = c
        if not left:
            return outside
        shift = self.shift(left)
        if shift is not None:
            return self.product(outside, self.factor(Shifted(h.op, *shift)))
        return self.product(outside, self.factor(Op(h.op, (self.term(left),))))

    # -- back to terms -----------------------------------------------------------------------------------------------

    def mentioned(self, monomial: Monomial) -> bool:
        return any(isinstance(f, Shifted) or mentions(f, self.tensor) for f, _ in monomial)

    def carries(self, factor: Factor) -> bool:
        return isinstance(factor, Shifted) or bool(ranks_of(factor) & self.reduced)

    def split(self, monomial: Monomial) -> tuple[Monomial, Monomial]:
        """What lacks the reduced ranks, and what carries one."""
        free = tuple(item for item in monomial if not self.carries(item[0]))
        return free, tuple(item for item in monomial if self.carries(item[0]))

    def term(self, poly: Mapping[Monomial, float], focus: Leaf | None = None) -> Term:
        """The term of a sum of products, with the focus, where it is given, in place of that of the normal form."""
        ring, terms = self.ring, list(poly.items())
        terms.sort(key=lambda item: item[1] < 0 if ring is SUMS else False)
        found: Term | None = None
        for monomial, c in terms:
            negative = found is not None and ring is SUMS and c < 0
            one = self.monomial(monomial, -c if negative else c, focus)
            op = ring.undone.minus if negative and ring.undone else ring.plus
            found = one if found is None else Op(op, (found, one))
        return Const(0.0) if found is None else found

    def monomial(self, monomial: Monomial, coefficient: float, focus: Leaf | None = None) -> Term:
        times, focus = self.ring.times, focus or self.focus
        up = [_plain(f, focus) for f, p in monomial for _ in range(p)]
        down = [_plain(f, focus) for f, p in monomial for _ in range(-p)]
        if self.ring is SUMS and coefficient == -1 and up:
            up[0] = Op("neg", (up[0],))
        elif coefficient != times.identity or not up:
            up.append(Const(coefficient))
        found = up[0]
        for factor in up[1:]:
            found = Op(times.op, (found, factor))
        for factor in down:
            found = Op(times.minus, (found, factor))
        return found


def ring_of(reduce: str) -> Ring:
    """The ring of a reduction. Raises NotApplicable where nothing is known to distribute over it."""
    if reduce not in RINGS:
        raise NotApplicable(f"nothing distributes over a reduction by '{reduce}'")
    return RINGS[reduce]


def shifted(factor: Shifted, delta: Leaf, normal: Normal) -> Poly:
    """A shifted sum at a new focus, by the same at the old one: ``x + c new = (x + c old) - c (old - new)``."""
    return normal.plus(normal.factor(factor), {((delta, 1),): -factor.coefficient})


def _plain(factor: Factor, focus: Leaf) -> Term:
    if not isinstance(factor, Shifted):
        return factor
    c = factor.coefficient
    scaled: Term = focus if abs(c) == 1 else Op("mul", (focus, Const(abs(c))))
    total = Op("sub" if c < 0 else "add", (factor.rest, scaled))
    return Op(factor.op, (total,)) if factor.op else total


def _applied(definition: Definition, args: tuple[Term, ...]) -> Term:
    def convert(e: Expr) -> Term:
        if isinstance(e, Read):
            return args[e.index]
        return Op(e.op, tuple(map(convert, e.args)), e.definition) if isinstance(e, Apply) else e

    return convert(definition.expr)


def _value(term: Op) -> float:
    from ..operators import OPERATORS

    (arg,) = term.args
    assert isinstance(arg, Const)
    return float(OPERATORS[term.op].apply(arg.value))
