"""A Workload's Einsums as tasks one after the other, once or for several sub-batches beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...ir import Role
from ...lowering.sites import SiteProblem, Task
from .ways import STORED, Sites


def chain(sites: Sites, names: Sequence[str], roles: Sequence[Role] = STORED) -> tuple[Task, ...]:
    """Every product with a matrix of one of these roles as a task of its own, and what lies between two as one.

    Args:
        sites: of the machine.
        names: of Einsums, in order.
        roles: weights and caches unless given; with caches alone, all between attention and attention is one task.
    """
    groups: list[list[str]] = []
    alone = True
    for name in names:
        einsum = sites.einsums[name]
        product = einsum.is_contraction and len(einsum.inputs) == 2 and (
            sites.workload.tensors[sites.workload.storage(einsum.inputs[-1].tensor)].role in roles
        )
        if product or alone:
            groups.append([name])
        else:
            groups[-1].append(name)
        alone = product
    tasks: list[Task] = []
    for group in groups:
        before = (tasks[-1].name,) if tasks else ()
        tasks.append(Task(group[0], sites.ways(group), before))
    return tuple(tasks)


def beside(
    name: str, tick_hz: int, sites: Sites, tasks: Sequence[Task], *, copies: int = 1, repeats: int = 1
) -> SiteProblem:
    """A chain, or several like it that run at once, task by task in turns, and share what the machine has.

    Args:
        name: of the problem.
        tick_hz: ticks per second.
        sites: of the machine.
        tasks: as `chain` makes them.
        copies: chains; names of their tasks begin with their number.
        repeats: how often each of them runs.
    """
    every = tuple(
        replace(t, name=f"{i}.{t.name}", after=tuple(f"{i}.{a}" for a in t.after)) for t in tasks for i in range(copies)
    )
    return SiteProblem(name, tick_hz, sites.servers(tick_hz), every, {}, repeats)
