"""Speculative decoding: a small model proposes tokens, the large one checks them all in one step."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import BadInput

_MASK = 2**64 - 1


@dataclass(frozen=True)
class Draft:
    """Tokens that a draft model proposes for each decode, and how many of them hold.

    Each token is accepted with the same probability, one after the other up to the first that is not; the large model
    adds one of its own (Leviathan et al., arXiv:2211.17192). A step so makes (1 - a^(k+1)) / (1 - a) tokens on average.

    Attributes:
        tokens: k, proposed in each step.
        acceptance: a, 0 to 1.
        seed: of the draws, each of which depends on the request and its place in it alone.

    Raises:
        BadInput: a number is out of range.
    """

    tokens: int
    acceptance: float
    seed: int = 0

    def __post_init__(self) -> None:
        if self.tokens < 1 or not 0 <= self.acceptance <= 1:
            raise BadInput(f"speculative: {self.tokens} tokens, acceptance {self.acceptance} (at least 1, and a share)")

    def made(self, request: int, generated: int, left: int) -> int:
        """Tokens that a step makes for a request which has `generated` of them and wants `left` more."""
        found = 1
        while found < min(left, self.tokens + 1) and self._draw(request, generated + found) < self.acceptance:
            found += 1
        return found

    def _draw(self, request: int, place: int) -> float:
        """Uniform in [0, 1): the finaliser of SplitMix64 (Steele et al., OOPSLA 2014) on seed, request and place."""
        x = (self.seed * 0x9E3779B97F4A7C15 + request * 0xBF58476D1CE4E5B9 + place * 0x94D049BB133111EB) & _MASK
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            x = ((x ^ (x >> shift)) * factor) & _MASK
        return ((x ^ (x >> 31)) >> 11) / 2**53
