"""Outcome: what became of one point."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from ..errors import AccelsimError, DoesNotFit
from .point import Point
from .span import Scalar

Evaluate: TypeAlias = Callable[[Point], Mapping[str, Scalar]]
"""Simulates a point: its results by column name. It must be picklable, and depend on nothing but the point."""


class Status(StrEnum):
    """What became of a point."""

    DONE = "done"
    DOES_NOT_FIT = "does not fit"
    FAILED = "failed"
    """An AccelsimError: the same will happen again."""
    CRASHED = "crashed"
    """An error that accelsim did not foresee, or the loss of the worker: a resumed sweep tries again."""
    DOMINATED = "dominated"
    """Not simulated, or not to the end: results of another point better its bounds, so it cannot be on the front."""


class Bettered(Exception):
    """Ends the simulation of a point that results of another one better, whatever it would give."""


@dataclass(frozen=True)
class Outcome:
    """Status, results by column, and the reason of a failure."""

    status: Status
    values: Mapping[str, Scalar] = field(default_factory=dict)
    error: str = ""
    """Name of the exception class."""
    message: str = ""


DOMINATED = Outcome(Status.DOMINATED, {}, "", "results of another point better its bounds")


def evaluated(evaluate: Evaluate, point: Point) -> Outcome:
    """Call `evaluate` and turn whatever happens into an Outcome."""
    try:
        return Outcome(Status.DONE, dict(evaluate(point)))
    except Bettered:
        return DOMINATED
    except DoesNotFit as error:
        return failure(Status.DOES_NOT_FIT, error)
    except AccelsimError as error:
        return failure(Status.FAILED, error)
    except Exception as error:
        return failure(Status.CRASHED, error)


def failure(status: Status, error: BaseException) -> Outcome:
    return Outcome(status, {}, type(error).__name__, str(error))
