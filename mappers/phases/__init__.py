"""Phases: tasks split over all cores of a pool or piped over parts of it, one arrangement after the other.

`sequential`, `dataflow` and `reconfigurable` make Plans of `accelsim.lowering.phases`, `simulate_plan` runs one through
the engine.
"""

from ...lowering.phases import (
    Fabric,
    Loop,
    Phase,
    Plan,
    Read,
    Stage,
    Task,
    TaskGraph,
    fabric_of,
    task_graphs,
)
from .arrange import with_residents
from .model import all_reduced, joined, operators
from .result import PhaseResult, Result, StageResult, machine_bound, simulate_plan
from .search import STYLES, dataflow, groups, plan_style, reconfigurable, run_style, sequential

__all__ = [
    "STYLES",
    "Fabric",
    "Loop",
    "Phase",
    "PhaseResult",
    "Plan",
    "Read",
    "Result",
    "Stage", "StageResult",
    "Task",
    "TaskGraph",
    "all_reduced",
    "dataflow",
    "fabric_of",
    "groups",
    "joined",
    "machine_bound",
    "operators",
    "plan_style",
    "reconfigurable",
    "run_style",
    "sequential",
    "simulate_plan",
    "task_graphs",
    "with_residents",
]  # fmt: skip
