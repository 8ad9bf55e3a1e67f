"""Phases: tasks split over all cores of a pool or piped over parts of it, one arrangement after the other.

`Fabric` is what they run on, `TaskGraph` what runs, `Plan` what runs when; `sequential`, `dataflow` and
`reconfigurable` make Plans, `simulate_plan` runs one through the engine.
"""

from .arrange import with_residents
from .model import all_reduced, joined, operators
from .plan import Fabric, Phase, Plan, Stage, fabric_of, plan_from_dict
from .result import PhaseResult, Result, StageResult, machine_bound, simulate_plan
from .search import STYLES, dataflow, groups, plan_style, reconfigurable, run_style, sequential
from .task import Loop, Read, Task, TaskGraph, task_graphs

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
    "plan_from_dict",
    "plan_style",
    "reconfigurable",
    "run_style",
    "sequential",
    "simulate_plan",
    "task_graphs",
    "with_residents",
]  # fmt: skip
