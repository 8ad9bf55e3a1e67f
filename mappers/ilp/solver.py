"""Solving 0/1 programs with PuLP: HiGHS in this process by default, CBC where that is missing or asked for.

CP-SAT, where it is asked for, is in `cpsat`; it takes no continuous variables.
"""

from __future__ import annotations

import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ...errors import AccelsimError, BadInput

SolverName = Literal["auto", "highs", "cbc", "cpsat"]
INTEGRAL = 1e-6
"""A variable is 1 within this; solvers are exact to 1e-6."""

POLL_SECONDS = 0.2
"""Between looks whether Ctrl-C was pressed while HiGHS works."""

PATIENCE_SECONDS = 1.0
"""What a solver that Ctrl-C stops may take to tell what it has found."""

NO_SOLVER = "none needed"
"""The solver of a program without variables."""


class SolverMissing(AccelsimError):
    """No solver of integer programs is installed; the message names what to install."""


@dataclass(frozen=True)
class SolverOptions:
    """Which solver, and when it stops.

    Attributes:
        name: ``auto`` is HiGHS, or CBC where highspy is not installed; ``cpsat`` is for 0/1 programs alone.
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
    if options.name == "cpsat":
        from .cpsat import solved

        return solved(program, options)
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
        also = "; cpsat has no continuous variables" if wanted == "cpsat" else ", and cpsat for 0/1 programs"
        raise BadInput(f"no solver '{wanted}' here (auto, highs or cbc{also})")
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

        left = False
        """It went on after it was told to stop, and is not looked at any more."""
        found: Sequence[float] | None = None
        bound = 0.0

        def callSolver(self, lp: Any) -> None:  # noqa: N802  (PuLP's name)
            import threading

            if threading.current_thread() is threading.main_thread():
                lp.solverModel.cbMipImprovingSolution += self.improved
                self.left = not interruptibly(lp.solverModel)
            else:
                lp.solverModel.solve()

        def improved(self, event: Any) -> None:
            self.found, self.bound = list(event.data_out.mip_solution), float(event.data_out.mip_dual_bound)

        def findSolutionValues(self, lp: Any) -> Any:  # noqa: N802
            if self.left:
                if self.found is None:
                    return pulp.LpStatusNotSolved, pulp.LpSolutionNoSolutionFound
                for variable in lp.variables():
                    variable.varValue = self.found[variable.index]
                return pulp.LpStatusOptimal, pulp.LpSolutionIntegerFeasible
            try:
                return super().findSolutionValues(lp)
            except KeyError:  # PuLP has no word for a limit on nodes; values are set by then, and checked later
                return pulp.LpStatusOptimal, pulp.LpSolutionIntegerFeasible

    extra: dict[str, Any] = {"random_seed": options.seed, "mip_abs_gap": 1e-6}
    if options.nodes is not None:
        extra["mip_max_nodes"] = options.nodes
    solver = Interruptible(msg=False, threads=1, gapRel=options.gap, timeLimit=options.seconds, **extra)
    model.solve(solver)
    state = model.solverModel
    name = f"HiGHS {state.version()}"
    if solver.left:
        return solver.bound, True, name
    bound = float(state.getInfo().mip_dual_bound)
    interrupted = state.getModelStatus().name == "kInterrupt"
    return bound, interrupted, name


def interruptibly(highs: Any) -> bool:
    """Solve in a thread beside this one, which Ctrl-C stops; a second Ctrl-C is raised.

    Returns:
        Whether it has ended. It looks up between steps that may take long, and is then left to itself.
    """
    highs.HandleUserInterrupt = True
    highs.startSolve()
    try:
        while not highs.wait(POLL_SECONDS)[0]:
            pass
    except KeyboardInterrupt:
        highs.cancelSolve()
        return any(highs.wait(POLL_SECONDS)[0] for _ in range(round(PATIENCE_SECONDS / POLL_SECONDS)))
    return True


def _cbc_path(pulp: Any) -> str | None:
    """CBC as PuLP brings it along; None for the one on the search path, where it brings none."""
    bundled = getattr(pulp, "PULP_CBC_CMD", None)
    return str(bundled.pulp_cbc_path) if bundled is not None else None


def _cbc(pulp: Any, model: Any, options: SolverOptions) -> tuple[float, bool, str]:
    """Bound, whether it was interrupted, and the solver's name."""
    solver = pulp.COIN_CMD(path=_cbc_path(pulp), msg=False, threads=1, gapRel=options.gap, gapAbs=1e-6)
    # CBC takes a seed of 0 for the time of day.
    settings = ["randomSeed", str(options.seed + 1), "randomCbcSeed", str(options.seed + 1)]
    settings += ["maxNodes", str(options.nodes)] if options.nodes is not None else []
    settings += ["sec", str(options.seconds)] if options.seconds is not None else []
    settings += [word for pair in solver.getOptions() for word in pair.split()]
    with tempfile.TemporaryDirectory() as folder:
        problem, answer, log = (Path(folder) / f"cbc.{kind}" for kind in ("mps", "sol", "log"))
        variables, names, rows, _ = model.writeMPS(str(problem), rename=1)
        words = [f"-{word}" if n % 2 == 0 else word for n, word in enumerate(settings)]
        words += ["-solve", "-printingOptions", "all", "-solution", str(answer)]
        with log.open("w", encoding="utf-8") as told:
            # In a session of its own, so that Ctrl-C comes from here alone: at the second one it would leave no answer.
            process = subprocess.Popen(
                [solver.path, str(problem), *words], stdin=subprocess.DEVNULL, stdout=told, stderr=told,
                start_new_session=True,
            )  # fmt: skip
            interrupted = _ended(process)
        text = log.read_text(encoding="utf-8", errors="replace")
        if not interrupted and (process.returncode or not answer.exists()):
            raise AccelsimError(f"CBC ended with {process.returncode} and no answer: {text[-500:]}")
        bound = _told(text)
        if bound is None and interrupted:  # before it told of any
            bound = _relaxed(solver.path, problem)
        status, found = pulp.LpStatusNotSolved, pulp.LpSolutionNoSolutionFound
        if answer.exists() and answer.stat().st_size:
            status, values, *_, found = solver.readsol_MPS(str(answer), model, variables, names, rows)
            model.assignVarsVals(values)
        if interrupted and found == pulp.LpSolutionOptimal:
            found = pulp.LpSolutionIntegerFeasible
        model.assignStatus(status, found)
    return bound or 0.0, interrupted, "CBC"


NUMBER = r"([-+]?[\d.]+(?:e[-+]?\d+)?)\b"
BOUNDS = tuple(
    re.compile(words + NUMBER)
    for words in (r"Lower bound:\s+", r"best possible\s+", r"Continuous objective value is\s+", r"objective value\s+")
)
"""Where CBC tells of a bound, the best last: at the end, while it searches, of the linear relaxation."""


def _told(text: str) -> float | None:
    """The best bound in what CBC has printed, the last of its kind."""
    for words in BOUNDS:
        if said := words.findall(text):
            return float(said[-1])
    return None


def _relaxed(path: str, problem: Path) -> float | None:
    """Bound of the linear relaxation; None where even that takes too long."""
    try:
        ran = subprocess.run(
            [path, str(problem), "-initialSolve", "-quit"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=PATIENCE_SECONDS, check=False, start_new_session=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return None
    return _told(ran.stdout)


def _ended(process: subprocess.Popen[bytes]) -> bool:
    """Wait until a process ends; whether Ctrl-C ended it, which it is told, and killed if that takes it too long."""
    try:
        process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        return True
    except BaseException:
        process.kill()
        process.wait()
        raise
    return False
