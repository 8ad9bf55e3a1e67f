"""A Workload's Einsums as tasks one after the other, once or for several sub-batches beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from .model import SiteProblem, Task
from .ways import STORED, Sites


def chain(sites: Sites, names: Sequence[str], prefix: str = "") -> tuple[Task, ...]:
    """Every product with a stored matrix as a task of its own, and what lies between two of them as one.

    Args:
        sites: of the machine.
        names: of Einsums, in order.
        prefix: of the names of tasks.
    """
    groups: list[list[str]] = []
    alone = True
    for name in names:
        einsum = sites.einsums[name]
        matrix = sites.workload.tensors[sites.workload.storage(einsum.inputs[-1].tensor)]
        product = einsum.is_contraction and len(einsum.inputs) == 2 and matrix.role in STORED
        if product or alone:
            groups.append([name])
        else:
            groups[-1].append(name)
        alone = product
    tasks: list[Task] = []
    for group in groups:
        before = (tasks[-1].name,) if tasks else ()
        tasks.append(Task(f"{prefix}{group[0]}", sites.ways(group), before))
    return tuple(tasks)


def beside(name: str, tick_hz: int, chains: Sequence[Sequence[Task]], sites: Sites, repeats: int = 1) -> SiteProblem:
    """Chains that run at once, task by task in turns, and share what the machine has.

    Args:
        name: of the problem.
        tick_hz: ticks per second.
        chains: as `chain` makes them, with prefixes of their own.
        sites: of the machine.
        repeats: how often they run, each time after all of the last.
    """
    longest = max(map(len, chains))
    tasks = tuple(c[i] for i in range(longest) for c in chains if i < len(c))
    return SiteProblem(name, tick_hz, sites.servers(tick_hz), tasks, {}, repeats)


def alike(problem: SiteProblem, chosen: Mapping[str, str]) -> tuple[int, ...]:
    """A choice by site: the way at the site named for a task, else the first one."""
    ways = []
    for task in problem.tasks:
        sites = [w.site for w in task.ways]
        ways.append(sites.index(chosen[task.name]) if chosen.get(task.name) in sites else 0)
    return tuple(ways)


def apart(tasks: Sequence[Task], prefix: str) -> tuple[Task, ...]:
    """The same tasks under other names."""
    return tuple(replace(t, name=f"{prefix}{t.name}", after=tuple(f"{prefix}{a}" for a in t.after)) for t in tasks)
