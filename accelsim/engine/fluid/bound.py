"""The fluid bound: a linear program of how much every actor can have done by when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ...errors import BadInput, ProgramError
from ..bounds import program_bound
from ..program import Program
from .curves import Curves, cells
from .instants import START, Instants, busiest
from .rows import FluidRows

INSTANTS, FEWEST = 512, 32
MOST_UNKNOWNS = 20_000
"""Of a Program with many actors: fewer instants, so that these times those are no more, but for the fewest."""
MOST_CELLS = 60_000_000
"""Numbers in the cumulative counts of a Program: half a gigabyte."""
EXACT = 1e-6
"""The solver's feasibility, and what it may put its optimum too high by."""
INFEASIBLE = 2


@dataclass(frozen=True)
class Price:
    """What more of a resource would gain.

    Attributes:
        kind: ``server``, ``actor`` (without a server, so that it serves itself), ``fifo`` or ``pool``.
        index: of the resource.
        name: of the resource.
        elasticity: by how many percent the bound falls for one percent more of its rate, depth or capacity.
    """

    kind: str
    index: int
    name: str
    elasticity: float


@dataclass(frozen=True)
class FluidBound:
    """Ticks below which no run of a Program can finish, with the room of its FIFOs and pools taken into account.

    Attributes:
        ticks: the bound, never below the program bound.
        prices: of what limits it, the highest first; empty where the program bound is as high.
        instants: how many instants it looks at.
    """

    ticks: Fraction
    prices: tuple[Price, ...]
    instants: int


def fluid_bound(program: Program, *, instants: int | None = None, references: Sequence[int] = ()) -> FluidBound:
    """Return the fluid bound of a Program.

    It is the least end time of a linear program whose unknowns are the times of some instants, at which reference
    actors end given firings, and the part of its work that every other actor has done by then; the started firing
    counts by the part that is served. Every run that comes to its end is a solution:

    - Between two instants that come one after the other in every run (firings of one actor do, and what FIFOs say of
      other actors' at least and at most) a server does no more than its rate times the time between. Where it
      keeps the rest of a tick, that counts as done, and is at most a tick.
    - A firing has the tokens and slots that it asks for when it starts, and what it gives is there at its end or, for
      FIFOs that say so, from its start. Over its firings, what an actor has asked for is a curve of its work, and so is
      what it has given. An instant says from which firing to which it can be; lines below the one curve and above the
      other over these firings are linear in its work. A reference is exactly where it is.
    - What is taken of a pool and not given back is no more than its capacity, with the same lines.
    - The firing that ends at an instant began a FIFO's latency after the end of what it waited for, if both actors are
      references.

    Left out is that firings are whole, what happens between instants, latencies of other actors, and the order in
    which servers serve. More instants make it higher, and take longer, more than in proportion. Prices are dual
    values: what the bound gains at first, but for what more room adds to the firings at which an actor can be.

    Args:
        program: any Program.
        instants: how many instants there are, at most; by default 512, or fewer where there are many actors.
        references: the actors whose firings they are; by default two, the busiest of the two resources whose busiest
            actors work longest.

    Raises:
        BadInput: the Program has too many firings.
        ProgramError: no run of it comes to its end.
    """
    if (number := cells(program)) > MOST_CELLS:
        raise BadInput(f"{program.name} has too many firings for a fluid bound: {number:,} counts, at most "
                       f"{MOST_CELLS:,}; give it fewer repeats")  # fmt: skip
    least = program_bound(program)
    curves = Curves(program)
    chosen = tuple(references) or busiest(program, curves)
    if not chosen:
        return FluidBound(least, (), 0)
    at = Instants(curves, chosen, how_many(program) if instants is None else instants)
    ticks, prices = solve(curves, at, float(least))
    if ticks <= least:
        return FluidBound(least, (), at.number)
    return FluidBound(ticks, prices, at.number)


def how_many(program: Program) -> int:
    """Instants, where nobody says how many."""
    return min(INSTANTS, max(FEWEST, MOST_UNKNOWNS // program.n_actors))


def solve(curves: Curves, at: Instants, about: float) -> tuple[Fraction, tuple[Price, ...]]:
    """The least end time, or the shortest period, of the linear program at some instants, and the prices.

    Args:
        curves: of the Program.
        at: the instants.
        about: ticks to measure time by.

    Raises:
        ProgramError: no run of the Program comes to its end.
    """
    from scipy.optimize import linprog

    made = FluidRows(curves, at, max(1.0, about / at.number))
    rows = made.rows
    cost = np.zeros(len(rows.low))
    cost[made.times[-1]] = 1.0
    bounds = np.array([rows.low, rows.high]).T
    found = linprog(cost, A_ub=rows.matrix, b_ub=rows.limits, bounds=bounds, method="highs-ipm")
    name = curves.program.name
    if found.status == INFEASIBLE:
        raise ProgramError(f"{name} cannot run to its end: no order of its firings has the room that it needs")
    if found.status != 0:
        return Fraction(0), ()
    ticks = Fraction(found.fun * made.scale * (1 - EXACT))
    return ticks, _prices(curves.program, made, found.x, found.ineqlin.marginals)


def _prices(program: Program, made: FluidRows, x: np.ndarray, duals: np.ndarray) -> tuple[Price, ...]:
    """Elasticities from the dual values of what resources limit; a server's rate stretches the time that it has."""
    gain: dict[tuple[str, int], float] = {}
    for row, (resource, size) in made.rows.priced.items():
        if isinstance(size, tuple):
            before, after, periods = size
            size = float(x[made.times[after]] - (x[made.times[before]] if before != START else 0.0))
            size += periods * float(x[made.times[-1]])
        gain[resource] = gain.get(resource, 0.0) - float(duals[row]) * size
    names = {"server": [s.name for s in program.platform.servers], "actor": list(program.actor_names),
             "fifo": [f.name for f in program.fifos], "pool": [p.name for p in program.platform.pools]}  # fmt: skip
    end = float(x[made.times[-1]])
    prices = (Price(kind, i, names[kind][i], ticks / end) for (kind, i), ticks in gain.items() if ticks / end > EXACT)
    return tuple(sorted(prices, key=lambda price: (-price.elasticity, price.kind, price.index)))
