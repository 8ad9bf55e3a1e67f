"""Tasks that run in one phase: how many cores each gets, along which rank it runs, and what it holds throughout."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from heapq import heapify, heapreplace

from ...errors import DoesNotFit
from ...lowering.phases import Fabric, Layout, Phase, Stage, Task, TaskGraph, lay_out, walks, work_out

_EVEN = 1.02
"""How much longer than all work on all cores the slowest stage may take before cores are moved."""
_STEPS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Cores that are moved at a time."""
_DONORS = 3
"""Stages, the quickest first, that may give cores."""
_NEAR = 1.5
"""How much slower than the best so far a choice of ranks may begin to be worth a search."""


def allot(tasks: Sequence[Task], cores: int) -> Mapping[str, int]:
    """Cores for each task, so that the slowest is as fast as can be, by work alone.

    Raises:
        DoesNotFit: there are more tasks than cores.
    """
    busy = [t for t in tasks if not t.message]
    if len(busy) > cores:
        raise DoesNotFit(f"{len(busy)} stages at once, but there are {cores} cores")
    shares = {t.name: 0 if t.message else 1 for t in tasks}
    left = cores - len(busy)
    if left and busy:
        total = sum((_work(t) for t in busy), Fraction(0))
        for t in busy:
            shares[t.name] = max(1, int(_work(t) * cores / total))
        while sum(shares.values()) > cores:
            most = max(shares, key=lambda n: (shares[n], n))
            shares[most] -= 1
        by_name = {t.name: t for t in busy}
        heap = [(-_work(t) / shares[t.name], t.name) for t in busy]
        heapify(heap)
        for _ in range(cores - sum(shares.values())):
            name = heap[0][1]
            shares[name] += 1
            heapreplace(heap, (-_work(by_name[name]) / shares[name], name))
    return shares


def _work(task: Task) -> Fraction:
    return task.work * task.loop.ii


def estimate(layout: Layout, graph: TaskGraph, fabric: Fabric) -> float:
    """Cycles of a phase, switch included, from when stages can start and how long they and their streams take."""
    rates = [float(r) for r in layout.rates]
    wait = fabric.cycles(fabric.latency_s)
    starts: dict[str, float] = {}
    ends: dict[str, float] = {}
    for stage in layout.stages:
        name = stage.task
        time = layout.timings[name]
        start, end, span = 0.0, 0.0, float(time.total)
        for t, rate in zip(layout.loads, rates, strict=False):
            if t.task == name:
                start = max(start, t.piece / rate + wait)
                if t.pieces > 1:
                    span = max(span, t.total / rate)
        for s in layout.streams:
            if s.reader != name:
                continue
            if s.whole:
                start = max(start, ends[s.maker] + s.latency)
                continue
            need = (s.tokens // time.firings + s.ahead) / s.tokens
            start = max(start, starts[s.maker] + need * (ends[s.maker] - starts[s.maker]) + s.latency)
            end = max(end, ends[s.maker] + s.latency + span / time.firings)
        starts[name], ends[name] = start, max(end, start + span)
    finish = max(ends.values())
    for t, rate in zip(layout.stores, rates[len(layout.loads) :], strict=True):
        streamed = starts[t.task] + t.total / rate
        finish = max(finish, streamed, ends[t.task] + layout.timings[t.task].latency + t.piece / rate)
    messages = [n for n in ends if graph.by_name[n].message]
    finish = max(finish, sum(layout.timings[n].total for n in messages))
    if fabric.port_rate is None:
        moved = sum(t.total for t in (*layout.loads, *layout.stores))
        finish = max(finish, moved / float(fabric.channel_rate))
    return finish + fabric.cycles(fabric.switch_s)


def arrange(graph: TaskGraph, fabric: Fabric, names: Sequence[str], held: frozenset[str]) -> Phase:
    """The phase that runs these tasks at once, by `estimate` the fastest that was tried; it keeps nothing.

    Ranks are chosen task by task, from several starts: those that follow what the task reads, and its own.

    Raises:
        DoesNotFit: more tasks than cores, or their data do not fit on the chip.
    """
    tasks = [graph.by_name[n] for n in names]
    cores = allot(tasks, fabric.pool.cores)
    trials: dict[tuple[Stage, ...], _Trial] = {}

    def attempt(stages: tuple[Stage, ...]) -> _Trial:
        if stages not in trials:
            phase, layout = with_residents(graph, fabric, stages, held)
            beyond = max(0, layout.nbytes - fabric.capacity)
            trials[stages] = _Trial((beyond, estimate(layout, graph, fabric)), phase, layout)
        return trials[stages]

    for outers in _starts(graph, tasks):
        stages = tuple(Stage(t.name, cores[t.name], outer) for t, outer in zip(tasks, outers, strict=True))
        now = attempt(stages)
        beyond, cycles = min(t.score for t in trials.values())
        if now.score <= (beyond, cycles * _NEAR):
            _balance(_descend(now, graph, attempt), graph, fabric, attempt)
    best = min(trials.values(), key=lambda t: t.score)
    lay_out(graph, fabric, best.phase, held)
    return best.phase


@dataclass(frozen=True)
class _Trial:
    score: tuple[int, float]
    """Bytes that do not fit on the chip, and estimated cycles."""
    phase: Phase
    layout: Layout

    def waits(self, task: str) -> bool:
        """Whether a task takes or gives something whole, or loads something again and again; or nothing fits."""
        whole = any(s.whole and task in (s.maker, s.reader) for s in self.layout.streams)
        again = any(t.task == task and t.again for t in self.layout.loads)
        return whole or again or self.score[0] > 0 or len(self.phase.stages) == 1


def _descend(now: _Trial, graph: TaskGraph, attempt: Callable[[tuple[Stage, ...]], _Trial]) -> _Trial:
    """Change the outermost rank of one stage after the other as long as that makes the phase fit or faster."""
    for i, stage in enumerate(now.phase.stages):
        task = graph.by_name[stage.task]
        if task.loop.outer or not now.waits(task.name):
            continue
        for outer in candidates(task):
            before = tuple(_bare(s) for s in now.phase.stages)
            if outer == before[i].outer:
                continue
            found = attempt((*before[:i], replace(before[i], outer=outer), *before[i + 1 :]))
            if found.score < now.score:
                now = found
    return now


def _balance(now: _Trial, graph: TaskGraph, fabric: Fabric, attempt: Callable[[tuple[Stage, ...]], _Trial]) -> None:
    """Give the slowest stage cores of others, as long as that makes the phase faster.

    Shares by work alone leave a stage behind whose ranks do not come out even on them. With some that do not, fewer
    cores are quicker in all.
    """
    busy = [s.task for s in now.phase.stages if s.cores]
    least = sum((_work(graph.by_name[n]) for n in busy), Fraction(0)) / fabric.pool.lanes
    while len(busy) > 1 and now.score[0] == 0:
        times = now.layout.timings
        *donors, slowest = sorted(busy, key=lambda n: (times[n].total, n))
        if times[slowest].total <= least * _EVEN:
            return
        for donor, taker in (*((d, slowest) for d in donors[:_DONORS]), (slowest, donors[-1])):
            trials = [attempt(moved) for n in _STEPS if (moved := _moved(now.phase.stages, donor, taker, n))]
            best = min(trials, key=lambda t: t.score, default=now)
            if best.score < now.score:
                now = best
                break
        else:
            return


def _moved(stages: tuple[Stage, ...], donor: str, taker: str, n: int) -> tuple[Stage, ...]:
    """The stages with so many cores of one at another; empty where it has no more than those."""
    cores = {s.task: s.cores for s in stages}
    if cores[donor] <= n:
        return ()
    cores[donor], cores[taker] = cores[donor] - n, cores[taker] + n
    return tuple(_bare(s) if cores[s.task] == s.cores else replace(s, cores=cores[s.task], resident=())
                 for s in stages)  # fmt: skip


def _bare(stage: Stage) -> Stage:
    """The stage with nothing resident."""
    return replace(stage, resident=()) if stage.resident else stage


def candidates(task: Task) -> Iterator[str]:
    """Ranks that may be outermost: those of the result, then those that are reduced; none at last."""
    seen = [r for r in (*dict.fromkeys(task.output_dims), *task.sizes) if task.sizes.get(r, 1) > 1]
    yield from (r for r in dict.fromkeys(seen) if r not in task.loop.inner)
    yield ""


def _starts(graph: TaskGraph, tasks: Sequence[Task]) -> Iterator[tuple[str, ...]]:
    """Outermost ranks of all tasks to begin with.

    All along one dimension of the first result; each task's own, or what follows the own ranks of what it reads.
    """
    own = {t.name: t.loop.outer or next(candidates(t)) for t in tasks}
    follow = tuple(t.loop.outer or next(_following(graph, t, own), own[t.name]) for t in tasks)
    along = [_aligned(graph, tasks, rank) for rank in candidates(tasks[0]) if rank]
    yield from dict.fromkeys((follow, tuple(own.values()), *along))


def _aligned(graph: TaskGraph, tasks: Sequence[Task], along: str) -> tuple[str, ...]:
    """`along` for the first task, and for others the rank that walks as the maker of what they read does."""
    found: dict[str, str] = {}
    for task in tasks:
        first = along if along in candidates(task) else next(candidates(task))
        found[task.name] = task.loop.outer or next(_following(graph, task, found), first)
    return tuple(found.values())


def _following(graph: TaskGraph, task: Task, outers: Mapping[str, str]) -> Iterator[str]:
    """Ranks that walk along the dimension of what a task reads along which its maker makes it."""
    for read in task.reads:
        maker = graph.makers.get(read.tensor)
        outer = outers.get(maker.name, "") if maker is not None else ""
        if maker is None or not outer or outer not in maker.output_dims:
            continue
        dim = maker.output_dims.index(outer)
        yield from (rank for rank in candidates(task) if rank and walks(read, rank) == dim)


def with_residents(
    graph: TaskGraph, fabric: Fabric, stages: tuple[Stage, ...], held: frozenset[str]
) -> tuple[Phase, Layout]:
    """The stages with every tensor resident that would be loaded again and again, as far as there is room."""
    layout = work_out(graph, fabric, Phase(stages), held)
    again = sorted((-t.pieces, t.task, t.stored) for t in layout.loads if t.again)
    for chosen in (again, *((one,) for one in again)) if again else ():
        more: dict[str, tuple[str, ...]] = {}
        for _, name, tensor in chosen:
            more[name] = (*more.get(name, ()), tensor)
        trial = tuple(replace(s, resident=(*s.resident, *more[s.task])) if s.task in more else s for s in stages)
        found = work_out(graph, fabric, Phase(trial), held)
        if found.nbytes <= fabric.capacity:
            stages, layout = trial, found
            if len(chosen) == len(again):
                break
    return Phase(stages), layout
