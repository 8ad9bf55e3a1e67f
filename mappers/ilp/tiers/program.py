"""Mixed linear programs: continuous and 0/1 variables, rows with two limits, through PuLP to HiGHS or CBC."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from .. import solver as zero_one
from ..solver import SolverOptions

INFINITY = float("inf")
TOLERANCE = 1e-5
Terms = Sequence[tuple[int, float]]


@dataclass(frozen=True)
class MixedSolution:
    """What a solver found.

    Attributes:
        values: by variable; None where it found none.
        value: cost of them; `bound`: none costs less.
        optimal: within the gap that was allowed.
        infeasible: there are none.
        solver, seconds, interrupted: which one, for how long, and whether Ctrl-C stopped it.
    """

    values: tuple[float, ...] | None
    value: float
    bound: float
    optimal: bool
    infeasible: bool
    solver: str
    seconds: float
    interrupted: bool = False


class MixedProgram:
    """Minimise a linear cost under rows ``low <= sum of coefficient * variable <= high``."""

    def __init__(self) -> None:
        self.lower: list[float] = []
        self.upper: list[float] = []
        self.binary: list[bool] = []
        self.rows: list[tuple[Terms, float, float]] = []

    def variable(self, lower: float = 0.0, upper: float = INFINITY, *, binary: bool = False) -> int:
        self.lower.append(lower)
        self.upper.append(upper)
        self.binary.append(binary)
        return len(self.lower) - 1

    def row(self, terms: Iterable[tuple[int, float]], low: float, high: float) -> None:
        """A variable that stands twice counts by the sum of its coefficients; rows of none are left out."""
        added: dict[int, float] = {}
        for v, a in terms:
            added[v] = added.get(v, 0.0) + a
        kept = [(v, a) for v, a in added.items() if a]
        if kept or low > 0 or high < 0:
            self.rows.append((kept, low, high))

    def equal(self, terms: Iterable[tuple[int, float]], value: float = 0.0) -> None:
        self.row(terms, value, value)

    def at_most(self, terms: Iterable[tuple[int, float]], value: float = 0.0) -> None:
        self.row(terms, -INFINITY, value)

    def holds(self, values: Sequence[float]) -> bool:
        """Whether values keep all rows, to within what solvers call equal."""
        for terms, low, high in self.rows:
            total = sum(a * values[v] for v, a in terms)
            slack = TOLERANCE * max(1.0, *(abs(a * values[v]) for v, a in terms), 0.0)
            if not low - slack <= total <= high + slack:
                return False
        return True

    def solve(
        self,
        cost: Mapping[int, float],
        options: SolverOptions,
        *,
        relaxed: bool = False,
        upper: Mapping[int, float] | None = None,
        lower: Mapping[int, float] | None = None,
    ) -> MixedSolution:
        """Minimise.

        Args:
            cost: by variable; others cost nothing.
            options: of the solver.
            relaxed: 0/1 variables may be anything between.
            upper, lower: limits of variables that stand for those of the program.
        """
        started = time.perf_counter()
        if any(not terms for terms, _, _ in self.rows):
            return MixedSolution(None, INFINITY, INFINITY, False, True, "none needed", 0.0)
        pulp = zero_one._pulp()
        name = zero_one._name(pulp, options.name)
        model = pulp.LpProblem("accelsim", pulp.LpMinimize)
        lows, highs = {**dict(enumerate(self.lower)), **(lower or {})}, {**dict(enumerate(self.upper)), **(upper or {})}
        whole = [b and not relaxed and lows[i] != highs[i] for i, b in enumerate(self.binary)]
        variables = [
            model.add_variable(f"x{i}", lows[i], None if highs[i] == INFINITY else highs[i],
                               cat="Integer" if whole[i] else "Continuous")
            for i in range(len(self.lower))
        ]  # fmt: skip
        model += pulp.LpAffineExpression([(variables[v], c) for v, c in cost.items() if c])
        for terms, low, high in self.rows:
            total = pulp.LpAffineExpression([(variables[v], a) for v, a in terms])
            if low == high:
                model += total == low
                continue
            if high < INFINITY:
                model += total <= high
            if low > -INFINITY:
                model += total >= low
        run = zero_one._highs if name == "highs" else zero_one._cbc
        bound, interrupted, solver = run(pulp, model, options)
        # PuLP knows no value of a variable that stands nowhere.
        values = [lows[i] if v.varValue is None else float(v.varValue) for i, v in enumerate(variables)]
        seconds = time.perf_counter() - started
        found = model.sol_status in (pulp.LpSolutionOptimal, pulp.LpSolutionIntegerFeasible)
        if not found or not self.holds(values):
            infeasible = model.sol_status == pulp.LpSolutionInfeasible
            return MixedSolution(None, INFINITY, bound, False, infeasible, solver, seconds, interrupted)
        value = sum(c * values[v] for v, c in cost.items())
        optimal = model.sol_status == pulp.LpSolutionOptimal and not interrupted
        if optimal and (options.gap <= 0 or not any(whole)):
            bound = value
        return MixedSolution(
            tuple(values), value, min(bound, value), optimal, False, solver, seconds, interrupted
        )
