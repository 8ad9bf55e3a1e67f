"""Neurons of a window of tokens, from how often each is active: shares held, and new with the next token.

Neurons are active independently from token to token, each at a rate of its own; rates are beta-distributed. Then the
share of neurons that were active in none of k tokens is the product over i < k of (b + i) / (n + i), where b / n is the
share that is inactive in one token (Polya's urn). One number is left, n: the smaller, the more neurons are hot or cold.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod


@dataclass(frozen=True)
class Neurons:
    """`active` is the share of neurons that a token needs, `spread` the n of the module."""

    active: float
    spread: float

    def held(self, window: int) -> float:
        """Share that at least one of so many tokens needs."""
        inactive = (1 - self.active) * self.spread
        return 1 - prod((inactive + i) / (self.spread + i) for i in range(window))

    def new(self, window: int) -> float:
        """Share that the next token needs and none of so many before it did."""
        return self.held(window + 1) - self.held(window)


def neurons_of(active: float, held: float, window: int) -> Neurons:
    """Neurons of which a token needs a share, and a window of tokens another one."""
    low, high = 1e-6, 1e6
    for _ in range(200):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if Neurons(active, middle).held(window) < held else (low, middle)
    return Neurons(active, low)
