"""0/1 programs with CP-SAT of OR-Tools, the optional extra ``cpsat``; one thread, so that answers repeat."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from importlib import import_module
from math import lcm
from typing import Any

from ...errors import BadInput
from .solver import POLL_SECONDS, Program, Solution, SolverMissing, SolverOptions

LARGEST = 1 << 50
"""Of the whole numbers that a row is made of; CP-SAT adds them up in 64 bits."""


def solved(program: Program, options: SolverOptions) -> Solution:
    """Minimise. A limit on nodes is one on conflicts.

    Raises:
        SolverMissing: OR-Tools is not installed.
        BadInput: a row whose coefficients are no whole numbers of some unit.
    """
    started = time.perf_counter()
    try:
        cp = import_module("ortools.sat.python.cp_model")
    except ImportError:
        raise SolverMissing("solver cpsat is not installed: pip install 'accelsim[cpsat]'") from None
    model = cp.CpModel()
    variables = [model.new_bool_var("") for _ in program.cost]
    for terms, limit in program.rows:
        whole, most = _whole(terms, limit)
        model.add(cp.LinearExpr.weighted_sum([variables[v] for v in whole], list(whole.values())) <= most)
    model.minimize(cp.LinearExpr.weighted_sum(variables, [_plain(c) for c in program.cost]))
    solver = cp.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.catch_sigint_signal = False  # Ctrl-C comes from here alone
    solver.parameters.random_seed = options.seed
    solver.parameters.relative_gap_limit = options.gap
    if options.seconds is not None:
        solver.parameters.max_time_in_seconds = options.seconds
    if options.nodes is not None:
        solver.parameters.max_number_of_conflicts = options.nodes
    answer: list[Any] = []
    interrupted = _interrupted(solver, model, answer)
    status = {cp.OPTIMAL: "optimal", cp.FEASIBLE: "feasible", cp.INFEASIBLE: "infeasible"}.get(answer[0], "unknown")
    name = f"CP-SAT {import_module('ortools').__version__}"
    seconds = time.perf_counter() - started
    if status not in ("optimal", "feasible"):
        bound = solver.best_objective_bound if status == "unknown" else 0.0
        return Solution(None, float("inf"), bound, status == "infeasible", name, seconds, interrupted)
    found = tuple(int(solver.value(v)) for v in variables)
    value = program.value(found)
    proven = status == "optimal" and options.gap <= 0 and not interrupted
    bound = value if proven else min(value, solver.best_objective_bound)
    return Solution(found, value, bound, proven, name, seconds, interrupted)


def _plain(cost: float) -> int | float:
    return int(cost) if float(cost).is_integer() else float(cost)


def _whole(terms: Mapping[int, float], limit: float) -> tuple[dict[int, int], int]:
    """A row in whole numbers."""
    ratios = {v: float(a).as_integer_ratio() for v, a in terms.items()}
    scale = lcm(*(below for _, below in ratios.values()))
    whole = {v: above * (scale // below) for v, (above, below) in ratios.items()}
    above, below = float(limit).as_integer_ratio()
    most = above * scale // below
    if max(scale, abs(most), sum(map(abs, whole.values()))) > LARGEST:
        raise BadInput("solver cpsat takes rows of whole numbers, and one has others (take highs or cbc)")
    return whole, most


def _interrupted(solver: Any, model: Any, answer: list[Any]) -> bool:
    """Solve in a thread beside this one, which Ctrl-C stops with the best answer so far; its status is the answer."""
    done = threading.Event()

    def run() -> None:
        try:
            answer.append(solver.solve(model))
        finally:
            done.set()

    threading.Thread(target=run, daemon=True).start()
    try:
        while not done.wait(POLL_SECONDS):
            pass
    except KeyboardInterrupt:
        solver.stop_search()
        done.wait()
        return True
    return False
