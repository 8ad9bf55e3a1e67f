"""The steady-state fluid bound: the least time that one period takes of what a Program does over and over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ...errors import BadInput
from ..bounds import program_bound
from ..program import Program
from .bound import MOST_CELLS, Price, how_many, solve
from .curves import Curves, cells
from .instants import Instants, busiest
from .period import one_period

AROUND = 3
"""Periods looked at on both sides of one; of an actor that can be further away its mean rate alone is known."""


@dataclass(frozen=True)
class SteadyBound:
    """Ticks below which no run of a Program of equal periods can finish, and no period of it can last on average.

    Attributes:
        ticks: of the whole run, never below the program bound.
        period: ticks of one period.
        periods: how many there are.
        prices: of what limits the period, the highest first.
        instants: how many instants of a period it looks at.
    """

    ticks: Fraction
    period: Fraction
    periods: int
    prices: tuple[Price, ...]
    instants: int


def steady_bound(program: Program, *, instants: int | None = None, references: Sequence[int] = ()) -> SteadyBound:
    """Return the steady-state fluid bound of a Program whose actors all do the same n times over.

    It is n times the shortest period T of a flow that is the same in every period, less the longest latency L of a
    FIFO, which the last tokens of a run need until they are where the first of the next run are. No run takes less:

    - Let a run take F ticks. It leaves every FIFO and pool as it has found them, so that it can be done again and
      again, every F + L ticks: an endless run of the Program's phases, in which no order between firings is broken.
    - Shift that endless run by one period of the Program's work, and give it the time back that a period takes on
      average, (F + L) / n. All its rows of the linear program (`fluid_bound` lists them) hold as before: they are the
      same in every period, but for whole periods on both sides. After n such shifts it is what it was.
    - The mean of these n has the rows, too, since each is linear. It is the same in every period, which takes it
      (F + L) / n. So that is no less than T, and F no less than n * T - L.

    What is known of how far actors can be from one another must then hold in every period, and not know of the first
    or the last; it is worked out with some periods around. Start and end of the run, which make the fluid bound of a
    short run higher, count for nothing here; but a linear program of one period has room for many more instants.

    Args:
        program: any Program that leaves no tokens or bytes behind. Where its actors have only one period in common,
            that is all of it.
        instants: how many instants of a period there are, at most; by default as for `fluid_bound`.
        references: actors, as for `fluid_bound`.

    Raises:
        BadInput: a period has too many firings, or the Program leaves its FIFOs or pools other than it finds them.
        ProgramError: no run of it comes to its end.
    """
    once, periods = one_period(program)
    if (number := (2 * AROUND + 1) * cells(once)) > MOST_CELLS:
        raise BadInput(f"{program.name} has too many firings in a period for a fluid bound: {number:,} counts, at most "
                       f"{MOST_CELLS:,}")  # fmt: skip
    _check_balance(Curves(once))
    least = program_bound(program)
    curves = Curves(once, AROUND)
    chosen = tuple(references) or busiest(program, curves)
    if not chosen:
        return SteadyBound(least, least / periods, periods, (), 0)
    at = Instants(curves, chosen, how_many(program) if instants is None else instants)
    period, prices = solve(curves, at, float(least) / periods)
    latency = max((max(f.latency, f.credit_latency) for f in program.fifos), default=0)
    return SteadyBound(max(least, periods * period - latency), period, periods, prices, at.number)


def _check_balance(curves: Curves) -> None:
    """Raises BadInput where a period does not put as much into a FIFO, or a pool, as it takes."""
    fifos, pools = curves.program.fifos, curves.program.platform.pools
    for f, (put, taken) in enumerate(curves.moved):
        if put != taken:
            raise BadInput(f"{curves.program.name} has no steady state: FIFO {fifos[f].name} gets {put} tokens in all, "
                           f"of which {taken} are taken")  # fmt: skip
    for pool, (took, gave) in zip(pools, zip(curves.taken, curves.given, strict=True), strict=True):
        bytes_taken, bytes_given = (sum(int(np.max(curve)) for curve in of.values()) for of in (took, gave))
        if bytes_taken != bytes_given:
            raise BadInput(f"{curves.program.name} has no steady state: of pool {pool.name} {bytes_taken} bytes are "
                           f"taken, and {bytes_given} given back")  # fmt: skip
