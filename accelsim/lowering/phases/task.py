"""Tasks: what a phase gives to cores, with their data and their loops, and the graph that they form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from math import prod

import numpy as np

from ...components.core_pool import CorePool
from ...components.pipelined import Loop
from ...errors import BadInput
from ...ir import Einsum, Role, Workload
from ...ir.workload import Repeat


@dataclass(frozen=True)
class Read:
    """A tensor that a task reads.

    Attributes:
        dims: the ranks that index each dimension of the tensor; the first of them walks along it.
        nbytes: of the whole tensor.
        ahead: elements of a dimension that a window reaches beyond where the walking rank stands.
        shape: of the tensor as its maker sees it, where that has other dimensions; empty for the same.
        stored: its name in memory, where it is a part of a tensor.
    """

    tensor: str
    dims: tuple[tuple[str, ...], ...]
    nbytes: int
    ahead: int = 0
    shape: tuple[int, ...] = ()
    stored: str = ""

    @property
    def name(self) -> str:
        """Of the tensor in memory."""
        return self.stored or self.tensor


@dataclass(frozen=True)
class Task:
    """One task: an iteration space, what it reads, what it makes.

    Attributes:
        sizes: its ranks.
        output_dims: the rank that walks along each dimension of the result.
        work: cycles of one multiplier for all points; of a sum of products one per point.
        message: bytes that every socket sends to others. Such a task runs on the network and needs no cores.
        kind: what the model calls it, for grouping.
        persistent: its result goes to off-chip memory, whoever reads it.
        einsums: what it computes, where it is of a Workload.
    """

    name: str
    sizes: Mapping[str, int]
    reads: tuple[Read, ...]
    output: str
    output_dims: tuple[str, ...]
    output_bytes: int
    work: Fraction
    loop: Loop = field(default=Loop())
    message: int = 0
    kind: str = ""
    persistent: bool = False
    einsums: tuple[Einsum, ...] = ()

    @property
    def points(self) -> int:
        return prod(self.sizes.values())


@dataclass(frozen=True)
class TaskGraph:
    """Tasks in a valid order, run `repeat` times one after the other.

    Raises:
        BadInput: a task reads a result before it is made, two tasks make one tensor, or a loop names no rank of its
            task.
    """

    name: str
    tasks: tuple[Task, ...]
    repeat: int = 1

    def __post_init__(self) -> None:
        made: set[str] = set()
        outputs = {t.output for t in self.tasks}
        for task in self.tasks:
            where = f"{self.name}, task {task.name}"
            for read in task.reads:
                if read.tensor in outputs and read.tensor not in made:
                    raise BadInput(f"{where}: reads {read.tensor}, which is made later (order tasks by their data)")
            if task.output in made:
                raise BadInput(f"{where}: {task.output} is made twice")
            made.add(task.output)
            loop = task.loop
            for rank in (*(r for r, _ in loop.unroll), *loop.inner, *filter(None, (loop.outer,))):
                if rank not in task.sizes:
                    raise BadInput(f"{where}: no rank {rank} (has: {', '.join(task.sizes)})")
        if not self.tasks or self.repeat < 1:
            raise BadInput(f"{self.name}: {len(self.tasks)} tasks, repeated {self.repeat} times; at least 1 of both")

    @cached_property
    def by_name(self) -> Mapping[str, Task]:
        return {t.name: t for t in self.tasks}

    @cached_property
    def memo(self) -> dict[object, object]:
        """What mappers worked out of these tasks and may need again; no part of the value."""
        return {}

    @cached_property
    def makers(self) -> Mapping[str, Task]:
        """The task that makes each tensor."""
        return {t.output: t for t in self.tasks}

    @cached_property
    def readers(self) -> Mapping[str, tuple[str, ...]]:
        """The tasks that read each result."""
        reads = {t.name: {r.tensor for r in t.reads} for t in self.tasks}
        return {t.output: tuple(name for name, tensors in reads.items() if t.output in tensors) for t in self.tasks}

    @property
    def work(self) -> Fraction:
        """Cycles of one multiplier for everything."""
        return sum((t.work for t in self.tasks if not t.message), Fraction(0)) * self.repeat

    @property
    def compulsory_bytes(self) -> int:
        """Bytes that must come from or go to off-chip memory: what no task makes, once, and what none reads."""
        inputs = {r.tensor: r.nbytes for t in self.tasks for r in t.reads if r.tensor not in self.makers}
        outputs = sum(t.output_bytes for t in self.tasks if t.persistent or not self.readers[t.output])
        return (sum(inputs.values()) + outputs) * self.repeat


def task_graphs(workload: Workload, pool: CorePool) -> tuple[TaskGraph, ...]:
    """The tasks of a Workload, one per Einsum, those that make parts of one tensor one after the other as one: a graph
    for every Repeat, and one for what stands before, between and after them. They run one after the other.

    Raises:
        BadInput: a Repeat inside a Repeat, an iterative Einsum, or one that the pool cannot run.
    """
    graphs: list[TaskGraph] = []
    alone: list[Einsum] = []
    awaited = _awaited(workload)

    def tasks(einsums: Sequence[Einsum]) -> tuple[Task, ...]:
        here = {e.name for e in einsums}
        leave = {t for t, readers in awaited.items() if readers - here}
        return tuple(replace(t, persistent=t.persistent or t.output in leave) for t in _tasks(einsums, workload, pool))

    def close() -> None:
        if alone:
            graphs.append(TaskGraph(f"{workload.name}.{len(graphs)}", tasks(alone)))
            alone.clear()

    for item in workload.body:
        if isinstance(item, Einsum):
            alone.append(item)
        elif isinstance(item, Repeat):
            close()
            if any(isinstance(i, Repeat) for i in item.body):
                raise BadInput(f"{workload.name}: {item.name} holds another Repeat; phases are made of one level")
            body = [e for e in item.body if isinstance(e, Einsum)]
            graphs.append(TaskGraph(f"{workload.name}.{item.name}", tasks(body), item.count))
    close()
    return tuple(graphs)


def _awaited(workload: Workload) -> dict[str, set[str]]:
    """The Einsums that read each stored tensor; what the next iteration takes over and tables are read by nobody."""
    found: dict[str, set[str]] = {}
    for einsum, _ in workload.einsums():
        for access in einsum.inputs:
            found.setdefault(workload.storage(access.tensor), set()).add(einsum.name)
    carried = [made for item in workload.body if isinstance(item, Repeat) for made, _ in item.carried]
    for tensor in (*carried, *workload.tables.values()):
        found.setdefault(workload.storage(tensor), set()).add("")
    return found


def _tasks(einsums: Sequence[Einsum], workload: Workload, pool: CorePool) -> tuple[Task, ...]:
    tasks: list[Task] = []
    written: dict[str, int] = {}
    """Bytes of each tensor that these tasks write."""
    for einsum in einsums:
        task = _task(einsum, workload, pool, written)
        if tasks and tasks[-1].output == task.output:
            before = tasks.pop()
            reads = {(r.tensor, r.dims): r for r in (*before.reads, *task.reads)}
            task = replace(
                before, reads=tuple(reads.values()), work=before.work + task.work,
                output_bytes=before.output_bytes + task.output_bytes, einsums=(*before.einsums, *task.einsums),
            )  # fmt: skip
        written[task.output] = task.output_bytes
        tasks.append(task)
    return tuple(tasks)


def _task(einsum: Einsum, workload: Workload, pool: CorePool, written: Mapping[str, int]) -> Task:
    if einsum.iterative:
        raise BadInput(f"{einsum.name}: steps along {einsum.iterative}; phases run no iterative Einsums")
    work, common = pool.work(einsum, {r: np.array([n], np.int64) for r, n in einsum.sizes.items()})
    reads: list[Read] = []
    for access in einsum.inputs:
        source = workload.storage(access.tensor)
        shape = workload.tensors[access.tensor].shape
        dims = tuple(i.ranks for i in access.indices)
        windows = [i for i in access.indices if len(i.ranks) > 1]
        ahead = max((i.extent(einsum.sizes) - einsum.sizes[i.ranks[0]] for i in windows), default=0)
        nbytes = workload.tensors[source].nbytes
        new = written.get(source, nbytes)
        if new < nbytes:
            reads.append(Read(f"{source} before", dims, nbytes - new, stored=source))
        seen = () if source == access.tensor else shape
        reads.append(Read(source, dims, new, ahead, seen))
    made = workload.tensors[einsum.output.tensor]
    out = tuple(i.ranks[0] if i.ranks else "" for i in einsum.output.indices)
    nbytes = made.bytes_of(prod(einsum.sizes[r] for r in einsum.output.ranks))
    return Task(
        einsum.name, dict(einsum.sizes), tuple(reads), made.name, out, nbytes, Fraction(int(work[0]), common),
        kind=einsum.kind, persistent=made.role in (Role.STATE, Role.OUTPUT), einsums=(einsum,),
    )  # fmt: skip
