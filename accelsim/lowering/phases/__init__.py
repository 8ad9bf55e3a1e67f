"""Phases: tasks that share out a pool of cores, one arrangement after the other, lowered to a Program of their own.

A `TaskGraph` (`task_graphs` makes them of a Workload) is what runs, a `Fabric` what it runs on, and a `Plan` says which
tasks run in which phase, on how many cores, along which rank, and what stays on the chip. `lay_out` works a phase out,
`lower_plan` makes the Program.
"""

from ...arch.architecture import Architecture
from ...components.pipelined import Loop
from ...engine.program import Program
from ...ir import Workload
from ...mapping.phases import Phase, Phases, Stage
from .handover import hands_on, walks
from .layout import Layout, Stream, Transfer, lay_out, whole_rate, work_out
from .plan import Fabric, Plan, fabric_of, plans_of, settled
from .program import layouts, longest_first, lower_plan, lower_plans, off_chip_bytes
from .task import Read, Task, TaskGraph, task_graphs


def lower_phases(arch: Architecture, workload: Workload, phases: Phases) -> Program:
    """The Program of a Mapping with phases.

    Raises:
        BadInput: the phases are not of this Workload and machine.
        DoesNotFit: a phase needs more cores or bytes than there are.
    """
    plans = plans_of(phases, workload, arch)
    fabric = plans[0].fabric
    links = [name for name, link in arch.links.items() if {*link.between} == {fabric.off_chip, fabric.on_chip}]
    return lower_plans(f"{workload.name} on {arch.name}", plans, workload, links)


__all__ = [
    "Fabric", "Layout", "Loop", "Phase", "Plan", "Read", "Stage", "Stream", "Task", "TaskGraph", "Transfer",
    "fabric_of", "hands_on", "lay_out", "layouts", "longest_first", "lower_phases", "lower_plan", "lower_plans",
    "off_chip_bytes", "plans_of", "settled", "task_graphs", "walks", "whole_rate", "work_out",
]  # fmt: skip
