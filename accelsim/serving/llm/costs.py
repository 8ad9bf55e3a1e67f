"""What a step costs: fragments simulated at chosen sizes, each once, and interpolated between them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from math import exp, log
from typing import Literal, NamedTuple, TypeAlias

from .state import Shape

Part: TypeAlias = Literal["dense", "attention", "head"]


class StepCost(NamedTuple):
    """Of one replica: seconds, joules of all its sockets, bytes through the memory next to each socket's chip."""

    seconds: float
    joules: float
    nbytes: float

    def plus(self, other: StepCost) -> StepCost:
        return StepCost(self.seconds + other.seconds, self.joules + other.joules, self.nbytes + other.nbytes)


NOTHING = StepCost(0.0, 0.0, 0.0)


class Fragment(NamedTuple):
    """A part of a step of `sequences` sequences alike, of `tokens` new tokens each after `past` others.

    ``dense`` and ``head`` have one sequence, of as many tokens as pass the weights, or have logits.
    """

    part: Part
    sequences: int
    tokens: int
    past: int


@dataclass(frozen=True, eq=False)
class StepCosts:
    """Costs of steps as sums of fragments; `simulate` is asked once for each fragment at a knot.

    Knots are powers of two of tokens, powers of four of sequences, and 0, 64, 256, 1024 ... 4 Mi tokens of past.
    Between them (and beyond the last of past) costs are linear in sequences and in past, and a power law in the tokens
    of a chunk, whose attention grows with their square. Decodes of several contexts are taken at the mean one: their
    attention is all but linear in it.

    Attributes:
        simulate: cost of a fragment.
        step_s: seconds that every step takes besides.
        known: the fragments simulated so far.
    """

    simulate: Callable[[Fragment], StepCost]
    step_s: float = 0.0
    known: dict[Fragment, StepCost] = field(default_factory=dict)
    _steps: dict[Shape, StepCost] = field(default_factory=dict)

    def of(self, shape: Shape) -> StepCost:
        """The cost of a step."""
        found = self._steps.get(shape)
        if found is None:
            found = self._steps[shape] = self._sum(shape).plus(StepCost(self.step_s, 0.0, 0.0))
        return found

    def _sum(self, shape: Shape) -> StepCost:
        chunks = shape.chunks
        total = self.dense(shape.decodes + sum(tokens for tokens, _ in chunks))
        if shape.sampled:
            total = total.plus(self.head(shape.sampled))
        if shape.decodes:
            total = total.plus(self.decodes(shape.decodes, shape.decode_context / shape.decodes - 1))
        for tokens, past in chunks:
            total = total.plus(self.chunk(tokens, past))
        return total

    def dense(self, tokens: int) -> StepCost:
        """All tokens of a step through the weights."""
        return self._along(tokens, 2, lambda n: self._at("dense", 1, n, 0))

    def head(self, tokens: int) -> StepCost:
        """Logits of so many tokens."""
        return self._along(tokens, 2, lambda n: self._at("head", 1, n, 0))

    def decodes(self, sequences: int, past: float) -> StepCost:
        """Attention of one token of each of `sequences` sequences, `past` tokens before it on average."""
        return self._along(sequences, 4, lambda n: self._after(past, n, 1))

    def chunk(self, tokens: int, past: int) -> StepCost:
        """Attention of a chunk of a prompt."""
        low, high = _knots(tokens, 2)
        below = self._after(past, 1, low)
        return below if low == high else _power(below, self._after(past, 1, high), low, high, tokens)

    def _after(self, past: float, sequences: int, tokens: int) -> StepCost:
        low, high = _past_knots(past)
        below = self._at("attention", sequences, tokens, low)
        if low == high:
            return below
        return _linear(below, self._at("attention", sequences, tokens, high), (past - low) / (high - low))

    def _along(self, size: int, ratio: int, at: Callable[[int], StepCost]) -> StepCost:
        low, high = _knots(size, ratio)
        return at(low) if low == high else _linear(at(low), at(high), (size - low) / (high - low))

    def _at(self, part: Part, sequences: int, tokens: int, past: int) -> StepCost:
        fragment = Fragment(part, sequences, tokens, past)
        found = self.known.get(fragment)
        if found is None:
            found = self.known[fragment] = self.simulate(fragment)
        return found


def _knots(size: int, ratio: int) -> tuple[int, int]:
    """The powers of `ratio` around a size; twice the size itself where it is one."""
    low = 1
    while low * ratio <= size:
        low *= ratio
    return (low, low) if low == size else (low, low * ratio)


PAST_KNOTS = (0, *(64 * 4**k for k in range(9)))


def _past_knots(past: float) -> tuple[int, int]:
    """The knots around a past; the last two of all, 1 and 4 Mi tokens, for those beyond."""
    at = min(bisect_left(PAST_KNOTS, past), len(PAST_KNOTS) - 1)
    high = PAST_KNOTS[at]
    return (high, high) if high == past else (PAST_KNOTS[at - 1], high)


def _linear(a: StepCost, b: StepCost, share: float) -> StepCost:
    rest = 1.0 - share
    return StepCost(a.seconds * rest + b.seconds * share, a.joules * rest + b.joules * share,
                    a.nbytes * rest + b.nbytes * share)  # fmt: skip


def _power(a: StepCost, b: StepCost, low: int, high: int, size: int) -> StepCost:
    share = log(size / low) / log(high / low)
    return StepCost(*(exp(log(x) + (log(y) - log(x)) * share) if x > 0 and y > 0 else x + (y - x) * share
                      for x, y in zip(a, b, strict=True)))  # fmt: skip
