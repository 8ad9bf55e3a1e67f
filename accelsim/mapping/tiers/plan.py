"""Plans over tiers: which choice each step takes, what lies in which tier from when to when, and what moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Room:
    """Bytes `low` to `high` of an item have room in a tier at positions `first` to `last`, both included.

    `address` is that of the first of them, counted from where what is at home in the tier ends; None where
    fragmentation is left out.
    """

    item: str
    tier: str
    low: int
    high: int
    first: int
    last: int
    address: int | None = None


@dataclass(frozen=True)
class Transfer:
    """Bytes `low` to `high` of an item cross a link at a position, and are there from the next one on."""

    item: str
    link: str
    position: int
    low: int
    high: int


@dataclass(frozen=True)
class TierClaim:
    """What whoever made a plan says of it.

    Attributes:
        objective: what was minimised.
        value: of the plan; `bound`: no plan has a smaller one.
        gap: (value - bound) / value, 0 where both are 0.
        proven: the gap is within what was asked for.
        solver, seed, seconds: how it was found.
        stopped: by Ctrl-C or a limit.
    """

    objective: str
    value: float
    bound: float
    gap: float
    proven: bool
    solver: str
    seed: int
    seconds: float
    stopped: bool = False


@dataclass(frozen=True)
class TierPlan:
    """A schedule of a `TierProblem`: choices by step, rooms and transfers. Homes need no rooms."""

    problem: str
    choices: tuple[str, ...]
    rooms: tuple[Room, ...]
    transfers: tuple[Transfer, ...]
    claim: TierClaim | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Ledger:
    """What a plan comes to, recounted position by position.

    Attributes:
        seconds: of all positions; `position_seconds` of each.
        joules: computing and moving.
        link_bytes: transfers and streams by link.
        peaks: most bytes by tier, homes included.
    """

    seconds: float
    joules: float
    link_bytes: Mapping[str, int]
    peaks: Mapping[str, int]
    position_seconds: tuple[float, ...]

    @property
    def nbytes(self) -> int:
        """Bytes over all links."""
        return sum(self.link_bytes.values())
