"""Driver: decisions taken while time passes, as a pure state machine beside a resumable engine."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ..engine.program import Program


@dataclass(frozen=True)
class Request:
    """One arrival: `id` counts from 0 in order of arrival, `wants` is what the Driver makes of it."""

    id: int
    arrival: int
    """Tick."""
    wants: Hashable


@dataclass(frozen=True, eq=False)
class Submission:
    """A static Program to run on behalf of some requests; `note` goes to their log."""

    program: Program
    requests: tuple[int, ...]
    note: str = ""


P = TypeVar("P", contravariant=True)
S = TypeVar("S")


class Driver(Protocol[P, S]):
    """A seeded pure state machine: states are immutable values, equal calls give equal answers.

    P is the type of its policy, the parameters that a Scenario may vary; S the type of its states.
    """

    def start(self, policy: P, seed: int) -> S:
        """Return the state before the first arrival.

        Raises:
            AccelsimError: the policy cannot be followed on this machine.
        """

    def on_arrival(self, state: S, request: Request, now: int) -> tuple[S, tuple[Submission, ...]]:
        """Return the next state, and what to submit in tick `now`, the request's arrival."""

    def on_complete(self, state: S, fragment: Submission, now: int) -> tuple[S, tuple[Submission, ...]]:
        """Return the next state, and what to submit after tick `now`, in which the fragment completed."""
