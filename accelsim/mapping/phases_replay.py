"""Independent replay of phases: what they move and hold at least, recounted from the Workload without lowering."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from ..arch.architecture import Architecture
from ..errors import Problem
from ..ir import Access, Einsum, Repeat, Role, Workload
from ..text.names import nearest
from .phases import Phase, Phases, Stage

KEPT = (Role.STATE, Role.OUTPUT)
"""Roles of tensors whose new values leave the chip, whoever reads them there."""


@dataclass(frozen=True)
class Section:
    """A part of a Workload: its tasks, each under the name of its first Einsum, and how often they run."""

    name: str
    tasks: tuple[tuple[Einsum, ...], ...]
    count: int = 1


def sections(workload: Workload) -> Iterator[Section]:
    """The parts of a Workload that phases are made of: each Repeat, and what stands before, between and after them."""
    alone: list[Einsum] = []
    for item in workload.body:
        if isinstance(item, Einsum):
            alone.append(item)
        elif isinstance(item, Repeat):
            if alone:
                yield Section("", _tasks(alone))
            alone = []
            yield Section(item.name, _tasks([e for e in item.body if isinstance(e, Einsum)]), item.count)
    if alone:
        yield Section("", _tasks(alone))


def _tasks(einsums: list[Einsum]) -> tuple[tuple[Einsum, ...], ...]:
    """Neighbours that make parts of one tensor are one task."""
    found: list[list[Einsum]] = []
    for einsum in einsums:
        if found and found[-1][-1].output.tensor == einsum.output.tensor:
            found[-1].append(einsum)
        else:
            found.append([einsum])
    return tuple(map(tuple, found))


def leaving(workload: Workload) -> list[frozenset[str]]:
    """For each part the tensors it makes that leave the chip whoever reads them: results, state, what other parts read,
    and what one iteration of a Repeat hands to the next."""
    parts = list(sections(workload))
    reads = [{workload.storage(a.tensor) for task in p.tasks for e in task for a in e.inputs} for p in parts]
    carried = {workload.storage(made) for i in workload.body if isinstance(i, Repeat) for made, _ in i.carried}
    carried |= {workload.storage(table) for table in workload.tables.values()}
    found = []
    for k, part in enumerate(parts):
        made = {task[0].output.tensor for task in part.tasks}
        elsewhere = set[str]().union(*(r for j, r in enumerate(reads) if j != k))
        kept = {t for t in made if workload.tensors[t].role in KEPT}
        found.append(frozenset(kept | made & (elsewhere | carried)))
    return found


def phase_problems(phases: Phases, workload: Workload, arch: Architecture) -> list[Problem]:
    """What is wrong with phases as far as it shows without the unit: parts, tasks, ranks, order, what is kept."""
    found: list[Problem] = []
    if phases.unit not in arch.units:
        hint = nearest(phases.unit, list(arch.units))
        return [Problem("phases.unit", f"the machine has no unit {phases.unit!r}", hint)]
    parts = list(sections(workload))
    if len(parts) != len(phases.parts):
        names = ", ".join(p.name or p.tasks[0][0].name for p in parts)
        return [Problem("phases.parts", f"{len(phases.parts)} parts", f"{len(parts)}, one for each of {names}")]
    for i, (section, part) in enumerate(zip(parts, phases.parts, strict=True)):
        tasks = {task[0].name: task for task in section.tasks}
        makers = {task[0].output.tensor: name for name, task in tasks.items()}
        done: set[str] = set()
        for k, phase in enumerate(part):
            for n, stage in enumerate(phase.stages):
                at = f"phases.parts[{i}][{k}].stages[{n}]"
                found += _stage_problems(stage, at, tasks, makers, done, workload)
                done.add(stage.task)
            made = {tasks[s.task][0].output.tensor for s in phase.stages if s.task in tasks}
            found += [
                Problem(f"phases.parts[{i}][{k}].keep", f"{t!r} is not made there", nearest(t, sorted(made)))
                for t in phase.keep if t not in made
            ]  # fmt: skip
        if missing := [name for name in tasks if name not in done]:
            found.append(Problem(f"phases.parts[{i}]", f"no phase runs {', '.join(missing[:8])}"))
    return found


def _stage_problems(
    stage: Stage, at: str, tasks: dict[str, tuple[Einsum, ...]], makers: dict[str, str], done: set[str],
    workload: Workload,
) -> Iterator[Problem]:  # fmt: skip
    if stage.task not in tasks:
        yield Problem(at, f"no task {stage.task!r}", nearest(stage.task, list(tasks)))
        return
    if stage.task in done:
        yield Problem(at, f"{stage.task} runs twice")
    ranks = tasks[stage.task][0].sizes
    if stage.outer and stage.outer not in ranks:
        yield Problem(at, f"{stage.task} has no rank {stage.outer!r}", f"it has {', '.join(ranks)}")
    if bool(stage.outer) != bool(stage.pieces):
        yield Problem(at, "`outer` and `pieces` go together", "outer: m, pieces: 64")
    elif stage.pieces > ranks.get(stage.outer, stage.pieces):
        yield Problem(at, f"{stage.pieces} pieces along {stage.outer}", f"at most {ranks[stage.outer]}")
    reads = {workload.storage(a.tensor) for e in tasks[stage.task] for a in e.inputs}
    for tensor in sorted(reads):
        if tensor in makers and makers[tensor] not in done and makers[tensor] != stage.task:
            yield Problem(at, f"{stage.task} reads {tensor} of {makers[tensor]}, which has not run")
    for tensor in stage.resident:
        if tensor not in reads:
            yield Problem(at, f"{stage.task} does not read {tensor!r}", nearest(tensor, sorted(reads)))


@dataclass
class Moved:
    """What phases move between the memory of their unit and the one behind it, by tensor, and hold at least.

    Attributes:
        read, written: bytes through the off-chip memory.
        transfers: pieces.
        held: the most bytes of tensors that are on the chip whole, and the part and phase in which they are.
    """

    read: dict[str, int]
    written: dict[str, int]
    transfers: int = 0
    held: int = 0
    where: tuple[int, int] = (0, 0)
    contents: tuple[tuple[str, int], ...] = ()


def moved(phases: Phases, workload: Workload) -> Moved:
    """Count what valid phases move over the whole run."""
    result = Moved(defaultdict(int), defaultdict(int))
    gone = leaving(workload)
    for i, (section, part) in enumerate(zip(sections(workload), phases.parts, strict=True)):
        _Part(workload, section, gone[i], result).count(i, part)
    return result


class _Part:
    def __init__(self, workload: Workload, section: Section, leaving: frozenset[str], result: Moved) -> None:
        self.workload, self.section, self.leaving, self.result = workload, section, leaving, result
        self.tasks = {task[0].name: task for task in section.tasks}
        self.maker = {task[0].output.tensor: name for name, task in self.tasks.items()}
        self.reads = {
            name: {workload.storage(a.tensor) for e in task for a in e.inputs} for name, task in self.tasks.items()
        }
        self.order = list(self.tasks)

    def bytes_made(self, name: str) -> int:
        task = self.tasks[name]
        tensor = self.workload.tensors[task[0].output.tensor]
        return sum(tensor.bytes_of(prod(e.sizes[r] for r in e.output.ranks)) for e in task)

    def count(self, number: int, part: tuple[Phase, ...]) -> None:
        when = {s.task: k for k, phase in enumerate(part) for s in phase.stages}
        kept = {t: k for k, phase in enumerate(part) for t in phase.keep}
        for k, phase in enumerate(part):
            holds: dict[str, int] = {}
            for tensor, since in kept.items():
                last = max((when[n] for n, r in self.reads.items() if tensor in r), default=-1)
                if since <= k <= last:
                    holds[tensor] = self.bytes_made(self.maker[tensor])
            for stage in phase.stages:
                for tensor, times, nbytes in self._loads(stage, k, when, kept):
                    self.result.read[tensor] += times * nbytes * self.section.count
                    self.result.transfers += times * self.section.count
                    if times == 1:
                        holds[f"{tensor} for {stage.task}"] = nbytes if tensor in stage.resident else 0
                made = self.tasks[stage.task][0].output.tensor
                readers = [n for n, r in self.reads.items() if made in r]
                outside = not readers or any(when[n] != k for n in readers)
                if made in self.leaving or (made not in phase.keep and outside):
                    self.result.written[made] += self.bytes_made(stage.task) * self.section.count
                    self.result.transfers += self.section.count
            if sum(holds.values()) > self.result.held:
                self.result.held, self.result.where = sum(holds.values()), (number, k)
                self.result.contents = tuple(sorted(holds.items(), key=lambda x: -x[1]))

    def _loads(
        self, stage: Stage, k: int, when: dict[str, int], kept: dict[str, int]
    ) -> Iterator[tuple[str, int, int]]:
        """Tensors that come from off-chip memory for a stage, how often, and bytes each time."""
        accesses: dict[str, list[Access]] = defaultdict(list)
        for einsum in self.tasks[stage.task]:
            for access in einsum.inputs:
                accesses[self.workload.storage(access.tensor)].append(access)
        for tensor, ways in accesses.items():
            nbytes = self.workload.tensors[tensor].nbytes
            fresh = self._written_before(stage.task, tensor)
            walks = all(any(i.ranks and i.ranks[0] == stage.outer for i in a.indices) for a in ways)
            again = stage.pieces > 1 and tensor not in stage.resident and not walks
            times = stage.pieces if again else 1
            maker = self.maker.get(tensor)
            new = nbytes if fresh is None else min(nbytes, fresh)
            if new < nbytes:
                yield tensor, times, nbytes - new
            here = maker is not None and fresh is not None and when[maker] == k
            if not here and kept.get(tensor, k) >= k:
                yield tensor, times, new

    def _written_before(self, task: str, tensor: str) -> int | None:
        """Bytes of a tensor that a task before this one makes; None where none does."""
        maker = self.maker.get(tensor)
        if maker is None or self.order.index(maker) >= self.order.index(task):
            return None
        return self.bytes_made(maker)
