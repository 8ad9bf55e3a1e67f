"""What a step costs: fragments simulated at chosen sizes, each once, and interpolated between them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from math import exp, log
from typing import Literal, NamedTuple, TypeAlias

from ...errors import BadInput
from .state import Shape

Part: TypeAlias = Literal["dense", "attention", "head"]


class StepCost(NamedTuple):
    """Of one replica: seconds, joules of all its sockets, bytes through the memory next to each socket's chip; kernels
    and exchanges, whose overheads are not in the seconds."""

    seconds: float
    joules: float
    nbytes: float
    kernels: float = 0.0
    exchanges: float = 0.0

    def plus(self, other: StepCost) -> StepCost:
        return StepCost(*(a + b for a, b in zip(self, other, strict=True)))


@dataclass(frozen=True)
class Overheads:
    """What software takes beside the machine.

    Attributes:
        kernel_s: seconds of every kernel: its launch, and what its beginning and end leave idle.
        exchange_s: seconds of every exchange between sockets.
        step_s: seconds of every step.
        sequence_s: seconds of every sequence in a step: what a host does one by one between steps, to schedule it, to
            gather its inputs and to hand its token on.
        grouped_attention: share that kernels of attention reach of what is simulated, 0 to 1, where several heads of
            queries share one of keys: kernels that work head by head read the keys again and again, from caches.
    """

    kernel_s: float = 0.0
    exchange_s: float = 0.0
    step_s: float = 0.0
    grouped_attention: float = 1.0
    sequence_s: float = 0.0

    def __post_init__(self) -> None:
        if min(self.kernel_s, self.exchange_s, self.step_s, self.sequence_s) < 0 or not 0 < self.grouped_attention <= 1:
            raise BadInput(f"overheads: {self} (times of at least 0, a share above 0 and of at most 1)")

    def of_step(self, shape: Shape, cost: StepCost) -> StepCost:
        """A step with them; attention has been slowed already."""
        sequences = shape.decodes + len(shape.chunks)
        more = self.step_s + self.sequence_s * sequences
        more += self.kernel_s * cost.kernels + self.exchange_s * cost.exchanges
        return cost._replace(seconds=cost.seconds + more)


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
        overheads: of software.
        known: the fragments simulated so far.
    """

    simulate: Callable[[Fragment], StepCost]
    overheads: Overheads = Overheads()
    known: dict[Fragment, StepCost] = field(default_factory=dict)
    _steps: dict[Shape, StepCost] = field(default_factory=dict)

    def of(self, shape: Shape) -> StepCost:
        """The cost of a step."""
        found = self._steps.get(shape)
        if found is None:
            found = self._steps[shape] = self.overheads.of_step(shape, self._sum(shape))
        return found

    def _sum(self, shape: Shape) -> StepCost:
        chunks = shape.chunks
        total = self.dense(shape.tokens)
        if shape.sampled:
            total = total.plus(self.head(shape.sampled))
        if shape.decodes:
            past = shape.decode_context / shape.decodes - 1
            total = total.plus(self.decodes(shape.decodes, past, 1 + shape.ahead))
        for tokens, past in chunks:
            total = total.plus(self.chunk(tokens, past))
        return total

    def dense(self, tokens: int) -> StepCost:
        """All tokens of a step through the weights."""
        return self._along(tokens, 2, lambda n: self._at("dense", 1, n, 0))

    def head(self, tokens: int) -> StepCost:
        """Logits of so many tokens."""
        return self._along(tokens, 2, lambda n: self._at("head", 1, n, 0))

    def decodes(self, sequences: int, past: float, tokens: int = 1) -> StepCost:
        """Attention of `tokens` tokens of each of `sequences` sequences, `past` tokens before them on average."""
        return self._along(sequences, 4, lambda n: self._after(past, n, tokens))

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
            found = self.simulate(fragment)
            if part == "attention":
                found = found._replace(seconds=found.seconds / self.overheads.grouped_attention)
            self.known[fragment] = found
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
    return StepCost(a[0] * rest + b[0] * share, a[1] * rest + b[1] * share, a[2] * rest + b[2] * share,
                    a[3] * rest + b[3] * share, a[4] * rest + b[4] * share)  # fmt: skip


def _power(a: StepCost, b: StepCost, low: int, high: int, size: int) -> StepCost:
    share = log(size / low) / log(high / low)
    return StepCost(*(exp(log(x) + (log(y) - log(x)) * share) if x > 0 and y > 0 else x + (y - x) * share
                      for x, y in zip(a, b, strict=True)))  # fmt: skip
