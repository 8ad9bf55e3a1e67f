"""Choosing the site of every task: a linear program over loads for a start and a bound, the engine as the judge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import comb, prod

import numpy as np
from numpy.typing import NDArray

from ...engine import compiled
from ...errors import BadInput, DoesNotFit
from ...lowering.sites import SiteProblem, Task, Way, program_of

_Counts = tuple[tuple[int, ...], ...]
"""Per class of tasks that are alike, how many run in each way."""
MOST_CHOICES = 1024
"""Choices up to which every one is looked at."""


@dataclass(frozen=True)
class SitePlan:
    """A way for every task.

    Attributes:
        chosen: index of the way, by task.
        seconds: of a run of its Program.
        bound: no choice takes less, by the work of the busiest resource.
        complete: every choice is slower or as slow; else it is the best of those that were tried.
        runs: of Programs, that the search took.
    """

    chosen: tuple[int, ...]
    seconds: float
    bound: float
    complete: bool
    runs: int

    def sites(self, problem: SiteProblem) -> tuple[str, ...]:
        """Site by task."""
        return tuple(t.ways[c].site for t, c in zip(problem.tasks, self.chosen, strict=True))

    def at(self, problem: SiteProblem, site: str) -> int:
        """Tasks at a site."""
        return self.sites(problem).count(site)


def simulated(problem: SiteProblem, chosen: Sequence[int]) -> float:
    """Seconds of the Program of a choice."""
    trace = compiled.run(program_of(problem, chosen))
    return trace.finish / float(trace.program.tick_hz)


def loads(problem: SiteProblem, way: Way) -> Mapping[str, float]:
    """Seconds that a way keeps each resource busy, at least."""
    found: dict[str, float] = {}
    for stage in way.stages:
        rate = float(problem.servers[stage.resource].rate) * problem.tick_hz
        found[stage.resource] = found.get(stage.resource, 0.0) + stage.work / rate
    return found


@dataclass(frozen=True)
class _Class:
    """Tasks that are alike, by index, and what each of their ways asks of every resource: (ways, resources)."""

    members: tuple[int, ...]
    load: NDArray[np.float64]


def _classes(problem: SiteProblem) -> list[_Class]:
    """Alike are tasks with the same ways, after the same tasks and before the same tasks."""
    before: dict[str, list[str]] = {}
    for task in problem.tasks:
        for name in task.after:
            before.setdefault(name, []).append(task.name)
    found: dict[tuple[object, ...], list[int]] = {}
    for i, task in enumerate(problem.tasks):
        found.setdefault((task.ways, task.after, tuple(before.get(task.name, ()))), []).append(i)
    return [_Class(tuple(m), _loads(problem, problem.tasks[m[0]])) for m in found.values()]


def _loads(problem: SiteProblem, task: Task) -> NDArray[np.float64]:
    names = list(problem.servers)
    table = np.zeros((len(task.ways), len(names)))
    for w, way in enumerate(task.ways):
        for name, seconds in loads(problem, way).items():
            table[w, names.index(name)] = seconds
    return table


class _Judge:
    """Runs choices, given as counts of ways per class, and keeps the best."""

    def __init__(self, problem: SiteProblem, classes: Sequence[_Class]) -> None:
        self.problem, self.classes, self.runs = problem, classes, 0
        self.best: tuple[float, _Counts] = (float("inf"), ())
        self._seen: dict[_Counts, float] = {}

    def chosen(self, counts: Sequence[Sequence[int]]) -> tuple[int, ...]:
        ways = [0] * len(self.problem.tasks)
        for group, of in zip(self.classes, counts, strict=True):
            dealt = [w for w, n in enumerate(of) for _ in range(n)]
            for i, w in zip(group.members, dealt, strict=True):
                ways[i] = w
        return tuple(ways)

    def bound(self, counts: Sequence[Sequence[int]]) -> float:
        total = sum(np.asarray(of) @ group.load for group, of in zip(self.classes, counts, strict=True))
        return float(np.max(total)) * self.problem.repeats

    def seconds(self, counts: _Counts) -> float:
        """Seconds of a choice, or its bound where that is no better than the best one."""
        if counts not in self._seen:
            least = self.bound(counts)
            if least >= self.best[0]:
                return least
            self._seen[counts] = simulated(self.problem, self.chosen(counts))
            self.runs += 1
            self.best = min(self.best, (self._seen[counts], counts))
        return self._seen[counts]


def choose(problem: SiteProblem) -> SitePlan:
    """The choice of ways with the least seconds; ties go to ways that stand first.

    Few choices are all looked at, but for those whose bound is no better than what was found. Of many, it looks at the
    answer of an integer program over loads and at those in which the tasks with most work run in one way and all others
    in another, and then moves one task at a time as long as that helps.

    Raises:
        DoesNotFit: a task needs more room than there is.
    """
    classes = _classes(problem)
    judge = _Judge(problem, classes)
    options = prod(_compositions(len(g.members), len(g.load)) for g in classes)
    start, bound = _relaxed(problem, classes)
    judge.seconds(start)
    complete = options <= MOST_CHOICES
    if complete:
        for counts in product(*(list(_splits(len(g.members), len(g.load))) for g in classes)):
            judge.seconds(counts)
    else:
        for counts in _thresholds(classes):
            judge.seconds(counts)
        _descend(judge)
    seconds, counts = judge.best
    return SitePlan(judge.chosen(counts), seconds, min(bound, seconds), complete, judge.runs)


def _compositions(items: int, bins: int) -> int:
    """Ways to deal alike items to bins."""
    return comb(items + bins - 1, bins - 1)


def _splits(items: int, bins: int) -> Iterator[tuple[int, ...]]:
    if bins == 1:
        yield (items,)
        return
    for first in range(items, -1, -1):
        for rest in _splits(items - first, bins - 1):
            yield (first, *rest)


def _relaxed(problem: SiteProblem, classes: Sequence[_Class]) -> tuple[_Counts, float]:
    """Counts of ways that make the busiest resource least busy, and how busy it is at least, by an integer program."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    widths = [len(g.load) for g in classes]
    n = sum(widths)
    resources = classes[0].load.shape[1]
    use = np.zeros((resources, n + 1))
    deal = np.zeros((len(classes), n + 1))
    upper = np.zeros(n + 1)
    at = 0
    scale = max(float(g.load.max()) * len(g.members) for g in classes)
    for i, group in enumerate(classes):
        use[:, at : at + widths[i]] = group.load.T / scale
        deal[i, at : at + widths[i]] = 1
        upper[at : at + widths[i]] = len(group.members)
        at += widths[i]
    use[:, n] = -1
    upper[n] = np.inf
    sizes = [len(g.members) for g in classes]
    cost = np.zeros(n + 1)
    cost[n] = 1
    found = milp(cost, integrality=np.array([1] * n + [0]), bounds=Bounds(np.zeros(n + 1), upper),
                 constraints=[LinearConstraint(use, -np.inf, 0), LinearConstraint(deal, sizes, sizes)],
                 options={"mip_rel_gap": 1e-3})  # fmt: skip
    if found.x is None:
        raise BadInput(f"{problem.name}: no choice of sites ({found.message})")
    counts, at = [], 0
    for width in widths:
        counts.append(tuple(round(x) for x in found.x[at : at + width]))
        at += width
    dual = found.mip_dual_bound if found.mip_dual_bound is not None else found.fun
    return tuple(counts), max(0.0, float(dual)) * scale * problem.repeats


def _thresholds(classes: Sequence[_Class]) -> Iterator[_Counts]:
    """The tasks with most work in one way, so many of them, and all others in another; for all pairs of ways."""
    order = sorted(range(len(classes)), key=lambda c: (-float(classes[c].load[0].sum()), c))
    ways = min((len(g.load) for g in classes if len(g.load) > 1), default=1)
    sizes = [len(g.members) for g in classes]
    for many, few in ((a, b) for a in range(ways) for b in range(ways) if a != b):
        for most in range(sum(sizes) + 1):
            counts: list[tuple[int, ...]] = [(n,) for n in sizes]
            left = most
            for c in order:
                width = len(classes[c].load)
                if width > 1:
                    taken = min(left, sizes[c])
                    left -= taken
                    counts[c] = tuple(taken * (w == many) + (sizes[c] - taken) * (w == few) for w in range(width))
            yield tuple(counts)


def _descend(judge: _Judge) -> None:
    """One task moved to another way, as long as that makes it faster."""
    while True:
        before = judge.best[0]
        for counts in _moves(judge.best[1]):
            if judge.seconds(counts) < before:
                break
        else:
            return


def _moves(counts: _Counts) -> Iterator[_Counts]:
    for c, of in enumerate(counts):
        for a in range(len(of)):
            for b in range(len(of)):
                if a != b and of[a]:
                    yield _moved(counts, c, a, b)


def _moved(counts: _Counts, c: int, a: int, b: int) -> _Counts:
    of = list(counts[c])
    of[a] -= 1
    of[b] += 1
    return (*counts[:c], tuple(of), *counts[c + 1 :])


def every_choice(problem: SiteProblem) -> tuple[float, tuple[int, ...]]:
    """The least seconds over all choices, task by task, none left out; for few tasks.

    Raises:
        DoesNotFit: there are more than 4096 choices.
    """
    ways = [range(len(t.ways)) for t in problem.tasks]
    if prod(map(len, ways)) > 4096:
        raise DoesNotFit(f"{problem.name}: {prod(map(len, ways)):,} choices are too many to run them all (4096)")
    return min((simulated(problem, chosen), chosen) for chosen in product(*ways))
