"""Scenario: what arrives when, under which policy, from which seed."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from ..errors import BadInput
from .driver import Request

P_co = TypeVar("P_co", covariant=True)


class Arrivals(Protocol):
    """Whatever makes requests from a seed, in order of arrival; equal seeds give equal requests."""

    def requests(self, seed: int) -> tuple[Request, ...]:
        """Raises BadInput where they cannot be."""


@dataclass(frozen=True)
class Listed:
    """Arrivals given one by one: (tick, what is wanted), in any order; ties keep theirs."""

    arrivals: tuple[tuple[int, Hashable], ...]

    def requests(self, seed: int) -> tuple[Request, ...]:
        if any(tick < 0 for tick, _ in self.arrivals):
            raise BadInput("arrivals: ticks must not be negative")
        ordered = sorted(self.arrivals, key=lambda arrival: arrival[0])
        return tuple(Request(i, tick, wants) for i, (tick, wants) in enumerate(ordered))


@dataclass(frozen=True)
class Poisson:
    """Arrivals with exponentially distributed gaps, each wanting one of `objects` by a Zipf law.

    Object k (0 the most popular) is wanted with a probability in proportion to (k + 1) ** -skew; a skew of 0 wants
    all alike.
    """

    count: int
    mean_gap_ticks: float
    objects: int
    skew: float = 0.0

    def requests(self, seed: int) -> tuple[Request, ...]:
        if self.count < 0 or self.mean_gap_ticks < 0 or self.objects < 1:
            raise BadInput(f"arrivals: {self} needs a count and gap of at least 0 and at least one object")
        rng = np.random.default_rng(seed)
        ticks = np.floor(np.cumsum(rng.exponential(self.mean_gap_ticks, self.count))).astype(np.int64)
        weights = np.arange(1, self.objects + 1, dtype=float) ** -self.skew
        wants = rng.choice(self.objects, self.count, p=weights / weights.sum())
        return tuple(Request(i, int(t), int(w)) for i, (t, w) in enumerate(zip(ticks, wants, strict=True)))


@dataclass(frozen=True)
class Scenario(Generic[P_co]):
    """A Driver's value: equal Scenarios give equal logs."""

    arrivals: Arrivals
    policy: P_co
    seed: int = 0
