"""The one exception tree of accelsim.

A message says what is wrong, where (file:line or object path), and what would be valid.
`exit_code` is what the command line returns for that family of errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


class AccelsimError(Exception):
    """Base of every error that accelsim raises on purpose."""

    exit_code = 1


class BadInput(AccelsimError):
    """The user's file, option or value is wrong."""

    exit_code = 2


class DoesNotFit(AccelsimError):
    """A resource is too small; the message names it and the shortfall."""

    exit_code = 3


@dataclass(frozen=True)
class Problem:
    """One thing wrong with an input: where it stands, what it is, what would be valid."""

    where: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text} ({self.hint})" if self.hint else text


class SpecError(BadInput):
    """All problems of one input at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(p) for p in self.problems))


class ConstraintError(AccelsimError):
    """A constraint of the user's that no Mapping can keep to, or that this mapper cannot honour."""


class MappingError(BadInput):
    """A Mapping that is not well formed, or that its independent replay refutes."""


class UnsupportedPrecision(MappingError):
    """A compute unit that does not compute with operands of these widths; the message names those it does."""


class UnsupportedSparsity(MappingError):
    """A compute unit that does not skip zeros that lie so; the message names what it can skip."""


class ProgramError(AccelsimError):
    """A Program that is not well formed, or that asks the engine for the impossible."""


class Deadlock(ProgramError):
    """Nothing can move and work is left; the message names the cycle of waits.

    Attributes:
        cycle: names of the actors that wait for each other, in order; empty where no cycle closes.
        full: FIFOs of the Program, by index, for whose space an actor of the cycle waits.
        freeing: the smallest depths of FIFOs, by index, that would have kept it off, where they were searched for.
        firings: completed firings by name of actor.
    """

    def __init__(
        self,
        message: str,
        cycle: Sequence[str] = (),
        full: Sequence[int] = (),
        firings: Mapping[str, int] | None = None,
        freeing: Mapping[int, int] | None = None,
    ) -> None:
        super().__init__(message)
        self.cycle, self.full = tuple(cycle), tuple(full)
        self.firings, self.freeing = dict(firings or {}), dict(freeing or {})


class TimeOverflow(ProgramError):
    """Simulated time would leave the range of 64-bit ticks: what was asked for is too long."""

    exit_code = 2


class ContradictingTimings(BadInput):
    """Times of a DRAM that no command sequence can keep together; the message names them."""


class AddressBeyondCapacity(BadInput):
    """A request to a DRAM outside of its capacity; the message names the first one and the capacity."""
