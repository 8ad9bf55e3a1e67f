"""Graphs of models for phases: operators that no kernel parts, and messages between sockets that share every task."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from fractions import Fraction

from ...ir import Apply
from ...ir.einsum import Read as Value
from ...lowering.phases import Read, Task, TaskGraph


def operators(graph: TaskGraph) -> tuple[tuple[str, ...], ...]:
    """Neighbouring tasks that a model calls one operator: the steps of a softmax or a normalisation.

    Tasks belong together when their kinds have one head (``Softmax.max``, ``Softmax.exp``) and their names one
    stem. What follows a product and only adds its bias belongs to it.
    """
    found: list[list[str]] = []
    before: tuple[str, str] | None = None
    for task in graph.tasks:
        head, _, step = task.kind.partition(".")
        stem = task.name.rpartition(".")[0]
        key = (head, stem) if step else None
        if step == "bias" or (key is not None and key == before):
            found[-1].append(task.name)
        else:
            found.append([task.name])
        before = key
    return tuple(tuple(f) for f in found)


def all_reduced(graph: TaskGraph, makers: Collection[str], sockets: int) -> TaskGraph:
    """The graph of one of `sockets` sockets that each hold a part of the weights, with the all-reduces that this takes.

    Args:
        graph: of one socket's share of the work.
        makers: tasks whose results are partial sums. So is what adds up two of them that nothing else reads, as the
            results of attention and MLP side by side; sockets then exchange that sum alone.
        sockets: that add them up: each sends 2 (sockets - 1) / sockets of the bytes (reduce-scatter and all-gather).
    """
    if sockets == 1:
        return graph
    reduced = _reduced(graph, makers)
    tasks: list[Task] = []
    renamed: dict[str, str] = {}
    for task in graph.tasks:
        reads = tuple(replace(r, tensor=renamed.get(r.tensor, r.tensor)) for r in task.reads)
        tasks.append(replace(task, reads=reads))
        if task.name not in reduced:
            continue
        renamed[task.output] = f"{task.output} reduced"
        sizes = {r: task.sizes[r] for r in task.output_dims if r}
        read = Read(task.output, tuple((r,) if r else () for r in task.output_dims), task.output_bytes)
        message = -(-2 * (sockets - 1) * task.output_bytes // sockets)
        tasks.append(Task(f"{task.name}.reduce", sizes, (read,), renamed[task.output], task.output_dims,
                          task.output_bytes, Fraction(1), message=message, kind="AllReduce"))  # fmt: skip
    return replace(graph, tasks=tuple(tasks))


def _reduced(graph: TaskGraph, makers: Collection[str]) -> set[str]:
    """The tasks behind whose results all-reduces stand."""
    found: set[str] = set()
    for task in graph.tasks:
        before = [graph.makers[r.tensor].name if r.tensor in graph.makers else "" for r in task.reads]
        if task.name in makers:
            found.add(task.name)
        elif _is_sum(task) and found.issuperset(before) and all(len(graph.readers[r.tensor]) == 1 for r in task.reads):
            found = found.difference(before) | {task.name}
    return found


def _is_sum(task: Task) -> bool:
    """Whether it adds two tensors, element by element."""
    return [(e.expr, e.reduce) for e in task.einsums] == [(Apply("add", (Value(0), Value(1))), "")]


def joined(units: Sequence[Sequence[str]], starts: Collection[str]) -> tuple[tuple[str, ...], ...]:
    """Units put together into groups, a new one at each unit that begins with one of the tasks `starts`."""
    found: list[list[str]] = []
    for unit in units:
        if not found or unit[0] in starts:
            found.append([])
        found[-1].extend(unit)
    return tuple(tuple(f) for f in found)
