"""Row: one point of a stored sweep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .outcome import Outcome, Status
from .span import Scalar


@dataclass(frozen=True)
class Row:
    """One point of a stored sweep; `outcome` is None while it has not been evaluated."""

    settings: Mapping[str, Scalar]
    outcome: Outcome | None
    number: int = 0
    """Its place among all points of the sweep."""

    @property
    def status(self) -> str:
        """In words."""
        return self.outcome.status.value if self.outcome is not None else "not evaluated"

    @property
    def result(self) -> Mapping[str, Scalar] | None:
        """What the simulation gave; None for a point without a result."""
        return self.outcome.values if self.outcome is not None and self.outcome.status is Status.DONE else None
