"""What is declared of operators: the algebra from which rewrites follow.

Rewrites know no softmax and no variance. They know that sums may be taken in any order, what distributes over what,
and which functions turn one operation into another.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from ..operators import OPERATORS


@dataclass(frozen=True)
class Group:
    """An associative, commutative operation that can be undone: `minus` undoes it, `negate` inverts one value."""

    op: str
    minus: str
    negate: str

    @property
    def identity(self) -> float:
        value = OPERATORS[self.op].identity
        assert value is not None
        return value


ADD = Group("add", "sub", "neg")
MUL = Group("mul", "div", "recip")


@dataclass(frozen=True)
class Ring:
    """A reduction `plus` and a group `times` that distributes over it: (a plus b) times c = a times c plus b times c.

    Attributes:
        plus: the operator that reduces: associative and commutative.
        times: the group.
        undone: the group that `plus` belongs to; None where it cannot be undone (max, min).
        idempotent: a plus a = a.
    """

    plus: str
    times: Group
    undone: Group | None
    idempotent: bool

    def add(self, a: float, b: float) -> float:
        return float(OPERATORS[self.plus].apply(a, b))

    def multiply(self, a: float, b: float) -> float:
        return float(OPERATORS[self.times.op].apply(a, b))

    def invert(self, a: float) -> float:
        return float(OPERATORS[self.times.negate].apply(a))


SUMS = Ring("add", MUL, ADD, idempotent=False)
RINGS = {ring.plus: ring for ring in (SUMS, Ring("max", ADD, None, idempotent=True),
                                      Ring("min", ADD, None, idempotent=True))}
"""By the operator that reduces."""


@dataclass(frozen=True)
class Homomorphism:
    """A function that turns one group into another: op(a source b) = op(a) target op(b); `inverse` undoes it.

    Where it does not `split`, the parts may leave the range of numbers though the whole does not (exp(a) / exp(b) for
    exp(a - b)), so that rewrites may only shift what it is applied to by a difference that is known to be harmless.
    """

    op: str
    source: Group
    target: Group
    inverse: str
    splits: bool


HOMOMORPHISMS = {
    h.op: h for h in (Homomorphism("exp", ADD, MUL, "log", splits=False), Homomorphism("log", MUL, ADD, "exp", True))
}

ASSOCIATIVE = ("add", "mul", "max", "min")
"""Operators that may reduce in any order, and so along a rank step by step."""


def first_step(op: str) -> float:
    """What a running reduction starts from."""
    value = OPERATORS[op].identity
    assert value is not None
    return value


def shift_is_safe(op: str, coefficient: float) -> bool:
    """Whether exp(x + coefficient * r) may be corrected along a running reduction r by `op`, from its identity on.

    The correction is exp(coefficient * (new - old)). A running maximum starts at -inf and only rises, so that it is at
    most 1 for a negative coefficient, and without bound for a positive one.
    """
    start = first_step(op)
    return isfinite(start) or start * coefficient > 0
