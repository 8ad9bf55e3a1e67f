"""Phases: tasks that share out a pool of cores, one arrangement after the other, lowered to a Program of their own.

A `TaskGraph` (`task_graphs` makes them of a Workload) is what runs, a `Fabric` what it runs on, and a `Plan` says which
tasks run in which phase, on how many cores, along which rank, and what stays on the chip. `lay_out` works a phase out,
`lower_plan` makes the Program.
"""

from ...components.pipelined import Loop
from .handover import hands_on, walks
from .layout import Layout, Stream, Transfer, lay_out, whole_rate, work_out
from .plan import Fabric, Phase, Plan, Stage, fabric_of, plan_from_dict
from .program import layouts, lower_plan, off_chip_bytes
from .task import Read, Task, TaskGraph, task_graphs

__all__ = [
    "Fabric", "Layout", "Loop", "Phase", "Plan", "Read", "Stage", "Stream", "Task", "TaskGraph", "Transfer",
    "fabric_of", "hands_on", "lay_out", "layouts", "lower_plan", "off_chip_bytes", "plan_from_dict", "task_graphs",
    "walks", "whole_rate", "work_out",
]  # fmt: skip
