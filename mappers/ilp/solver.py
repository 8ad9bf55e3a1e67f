"""Solving 0/1 programs with PuLP: HiGHS in this process by default, CBC where that is missing or asked for."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ...errors import AccelsimError, BadInput

SolverName = Literal["auto", "highs", "cbc"]
INTEGRAL = 1e-6
"""A variable is 1 within this; solvers are exact to 1e-6."""

POLL_SECONDS = 0.2
"""Between looks whether Ctrl-C was pressed while HiGHS works."""

NO_SOLVER = "none needed"
"""The solver of a program without variables."""


class SolverMissing(AccelsimError):
    """No solver of integer programs is installed; the message names what to install."""


@dataclass(frozen=True)
class SolverOptions:
    """Which solver, and when it stops.

    Attributes:
        name: ``auto`` is HiGHS, or CBC where highspy is not installed.
        seconds: limit of time per program; None for none. Results may then differ from run to run.
        nodes: limit of branch-and-bound nodes per program; None for none.
        gap: relative gap at which an answer is good enough.
        seed: of the solver's random choices.
    """

    name: SolverName = "auto"
    seconds: float | None = None
    nodes: int | None = None
    gap: float = 0.0
    seed: int = 0


DEFAULT = SolverOptions()


@dataclass
class Program:
    """Minimise a linear cost of 0/1 variables under rows ``sum of coefficient * variable <= limit``."""

    cost: list[float] = field(default_factory=list)
    rows: list[tuple[Mapping[int, float], float]] = field(default_factory=list)

    def variable(self, cost: float = 0.0) -> int:
        self.cost.append(cost)
        return len(self.cost) - 1

    def row(self, terms: Mapping[int, float], limit: float) -> None:
        self.rows.append((terms, limit))

    def value(self, chosen: Sequence[int]) -> float:
        return sum(c for c, x in zip(self.cost, chosen, strict=True) if x)

    def holds(self, chosen: Sequence[int]) -> bool:
        """Whether a choice keeps all rows."""
        slack = INTEGRAL
        return all(sum(a * chosen[v] for v, a in terms.items()) <= limit + slack for terms, limit in self.rows)


@dataclass(frozen=True)
class Solution:
    """What a solver found.

    Attributes:
        chosen: 0 or 1 by variable; None where it found nothing.
        value: its cost.
        bound: no choice costs less.
        proven: `chosen` costs least, or, where it is None, there is no choice.
        solver: the one that ran, with its version.
        seconds: it took.
        interrupted: it was stopped by Ctrl-C.
    """

    chosen: tuple[int, ...] | None
    value: float
    bound: float
    proven: bool
    solver: str
    seconds: float
    interrupted: bool = False


def solve(program: Program, options: SolverOptions = DEFAULT) -> Solution:
    """Minimise; the same program, solver, node limit and seed give the same answer.

    Raises:
        SolverMissing: neither solver is installed.
        BadInput: an unknown solver, or one that is asked for and not installed.
    """
    started = time.perf_counter()
    if not program.cost:
        feasible = all(limit >= 0 for _, limit in program.rows)
        return Solution(() if feasible else None, 0.0, 0.0, True, NO_SOLVER, 0.0)
    pulp = _pulp()
    name = _name(pulp, options.name)
    model = pulp.LpProblem("accelsim", pulp.LpMinimize)
    variables = [model.add_variable(f"x{i}", cat="Binary") for i in range(len(program.cost))]
    model += pulp.LpAffineExpression([(v, c) for v, c in zip(variables, program.cost, strict=True) if c])
    for terms, limit in program.rows:
        model += pulp.LpAffineExpression([(variables[v], a) for v, a in terms.items()]) <= limit
    run = _highs if name == "highs" else _cbc
    bound, interrupted, solver = run(pulp, model, options)
    # PuLP's `status` says "Optimal" on a time limit; its `sol_status` does not. A HiGHS that found nothing before its
    # limit has values all the same: they are checked.
    values = [v.varValue for v in variables]
    found: tuple[int, ...] | None = None
    if model.sol_status in (pulp.LpSolutionOptimal, pulp.LpSolutionIntegerFeasible) and None not in values:
        rounded = tuple(round(float(v)) for v in values)
        if all(abs(x - v) < 1e-3 for x, v in zip(rounded, values, strict=True)) and program.holds(rounded):
            found = rounded
    seconds = time.perf_counter() - started
    if found is None:
        infeasible = model.sol_status == pulp.LpSolutionInfeasible
        return Solution(None, float("inf"), bound, infeasible, solver, seconds, interrupted)
    value = program.value(found)
    optimal = model.sol_status == pulp.LpSolutionOptimal and not interrupted
    # "Optimal" is within the gap that was allowed; only without one is the value its own bound.
    bound = value if optimal and options.gap <= 0 else min(value, bound)
    return Solution(found, value, bound, optimal and options.gap <= 0, solver, seconds, interrupted)


def _pulp() -> Any:
    try:
        import pulp
    except ImportError:
        raise SolverMissing("integer programs need PuLP: pip install 'pulp[highs]>=3.3,<4'") from None
    return pulp


def _name(pulp: Any, wanted: str) -> str:
    made: dict[str, Callable[[], Any]] = {
        "highs": lambda: pulp.HiGHS(msg=False),
        "cbc": lambda: pulp.COIN_CMD(path=_cbc_path(pulp), msg=False),
    }
    if wanted not in ("auto", *made):
        raise BadInput(f"no solver '{wanted}' (auto, highs or cbc)")
    there = [name for name, make in made.items() if wanted in ("auto", name) and make().available()]
    if wanted != "auto" and wanted not in there:
        raise BadInput(f"solver {wanted} is not installed: pip install 'pulp[{wanted}]>=3.3,<4'")
    if not there:
        raise SolverMissing("no solver of integer programs is installed: pip install 'pulp[highs]>=3.3,<4'")
    return there[0] if wanted == "auto" else wanted


def _highs(pulp: Any, model: Any, options: SolverOptions) -> tuple[float, bool, str]:
    """Bound, whether it was interrupted, and the solver's name and version."""

    class Interruptible(pulp.HiGHS):  # type: ignore[misc]
        """HiGHS that Ctrl-C stops with the best answer so far."""

        def callSolver(self, lp: Any) -> None:  # noqa: N802  (PuLP's name)
            import threading

            if threading.current_thread() is threading.main_thread():
                interruptibly(lp.solverModel)
            else:
                lp.solverModel.solve()

        def findSolutionValues(self, lp: Any) -> Any:  # noqa: N802
            try:
                return super().findSolutionValues(lp)
            except KeyError:  # PuLP has no word for a limit on nodes; values are set by then, and checked later
                return pulp.LpStatusOptimal, pulp.LpSolutionIntegerFeasible

    extra: dict[str, Any] = {"random_seed": options.seed, "mip_abs_gap": 1e-6}
    if options.nodes is not None:
        extra["mip_max_nodes"] = options.nodes
    model.solve(Interruptible(msg=False, threads=1, gapRel=options.gap, timeLimit=options.seconds, **extra))
    state = model.solverModel
    bound = float(state.getInfo().mip_dual_bound)
    interrupted = state.getModelStatus().name == "kInterrupt"
    return bound, interrupted, f"HiGHS {state.version()}"


def interruptibly(highs: Any) -> None:
    """Solve in a thread beside this one, which Ctrl-C stops; a second Ctrl-C is raised."""
    highs.HandleUserInterrupt = True
    highs.startSolve()
    try:
        while not highs.wait(POLL_SECONDS)[0]:
            pass
    except KeyboardInterrupt:
        highs.cancelSolve()
        while not highs.wait(POLL_SECONDS)[0]:
            pass


def _cbc_path(pulp: Any) -> str | None:
    """CBC as PuLP brings it along; None for the one on the search path, where it brings none."""
    bundled = getattr(pulp, "PULP_CBC_CMD", None)
    return str(bundled.pulp_cbc_path) if bundled is not None else None


def _cbc(pulp: Any, model: Any, options: SolverOptions) -> tuple[float, bool, str]:
    """Bound, False, and the solver's name."""
    extra = ["randomSeed", str(options.seed), "randomCbcSeed", str(options.seed)]
    if options.nodes is not None:
        extra += ["maxNodes", str(options.nodes)]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "cbc.log"
        solver = pulp.COIN_CMD(
            path=_cbc_path(pulp), msg=False, threads=1, gapRel=options.gap, gapAbs=1e-6, timeLimit=options.seconds,
            logPath=str(log),
            options=[" ".join(pair) for pair in zip(extra[::2], extra[1::2], strict=True)],
        )  # fmt: skip
        solver.tmpDir = folder
        model.solve(solver)
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    said = re.findall(r"Lower bound:\s+(\S+)", text)
    return float(said[-1]) if said else 0.0, False, "CBC"
