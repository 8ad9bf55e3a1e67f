"""Tasks that can run at several sites of a machine, as stages of work on its resources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from ...engine.program import Server
from ...errors import BadInput


@dataclass(frozen=True)
class Stage:
    """Work on one resource, in one or more pieces.

    Attributes:
        name: of what it does; stages that differ in nothing else are alike.
        resource: name of the server that does it.
        work: in units of the server: bytes of a port or link, cycles of a unit.
        pieces: into which the work is cut; at least one unit of work each.
        after: stages of the same way, by index, that are over before it begins.
        follows: stages of the same way that it follows piece by piece, two behind at most; as many pieces as it has.
        early: it does not wait for the tasks before; it moves what is there from the beginning.
        queue: stages of one queue begin when those of the task before in it are over; empty for none.
        latency_s: until what it has done is seen by what comes after.
        room: pool and bytes that it takes, until the way is over.
        arg: what a stateful server is told with the work; alike stages may differ in it.
    """

    name: str = field(compare=False)
    resource: str
    work: int
    pieces: int = 1
    after: tuple[int, ...] = ()
    follows: tuple[int, ...] = ()
    early: bool = False
    queue: str = ""
    latency_s: float = 0.0
    room: tuple[str, int] | None = None
    arg: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Way:
    """One way to run a task: at a site, by stages whose order is that of the tuple."""

    site: str
    stages: tuple[Stage, ...]

    @cached_property
    def waiting(self) -> tuple[bool, ...]:
        """By stage, whether it waits for the tasks before: it is not early, and nothing before it in the way waits."""
        waits: list[bool] = []
        behind: list[bool] = []
        for s in self.stages:
            held = any(behind[i] for i in (*s.after, *s.follows))
            waits.append(not s.early and not held)
            behind.append(waits[-1] or held)
        return tuple(waits)

    @cached_property
    def last(self) -> tuple[int, ...]:
        """Stages that no other one waits for or follows."""
        before = {i for s in self.stages for i in (*s.after, *s.follows)}
        return tuple(i for i in range(len(self.stages)) if i not in before)


@dataclass(frozen=True)
class Task:
    """Something to run, in one of its ways, when the tasks `after` which it comes are over."""

    name: str
    ways: tuple[Way, ...]
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class SiteProblem:
    """Tasks in a valid order, and what they share.

    Attributes:
        tick_hz: ticks per second.
        servers: of resources, by name.
        pools: bytes that stages may take, by name.
        repeats: how often all tasks are run, each time when the last ones of their chain in the time before are over.
    """

    name: str
    tick_hz: int
    servers: Mapping[str, Server]
    tasks: tuple[Task, ...]
    pools: Mapping[str, int] = field(default_factory=dict)
    repeats: int = 1

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for task in self.tasks:
            if task.name in seen:
                raise BadInput(f"{self.name}: two tasks are called {task.name}")
            if not task.ways:
                raise BadInput(f"{self.name}: task {task.name} can run nowhere")
            for before in task.after:
                if before not in seen:
                    raise BadInput(f"{self.name}: task {task.name} comes after {before}, which no task before it is")
            seen.add(task.name)
            for way in task.ways:
                self._check(task, way)

    @cached_property
    def chains(self) -> Mapping[str, str]:
        """By task, the first task of those that depend on each other."""
        found: dict[str, str] = {}
        for task in self.tasks:
            joined = {found[b] for b in task.after}
            name = next((t for t in found.values() if t in joined), task.name)
            found = {t: name if c in joined else c for t, c in found.items()} | {task.name: name}
        return found

    def _check(self, task: Task, way: Way) -> None:
        where = f"{self.name}: task {task.name} at {way.site}"
        for i, stage in enumerate(way.stages):
            if stage.resource not in self.servers:
                raise BadInput(f"{where}: no resource {stage.resource} (there are {', '.join(self.servers)})")
            if not 1 <= stage.pieces <= stage.work:
                raise BadInput(f"{where}: {stage.name} is {stage.work} units of work in {stage.pieces} pieces")
            if any(not 0 <= j < i for j in (*stage.after, *stage.follows)):
                raise BadInput(f"{where}: {stage.name} waits for a stage that is not before it")
            if any(way.stages[j].pieces != stage.pieces for j in stage.follows):
                raise BadInput(f"{where}: {stage.name} follows a stage in other pieces")
            if stage.room is not None and stage.room[0] not in self.pools:
                raise BadInput(f"{where}: no pool {stage.room[0]} (there are {', '.join(self.pools)})")
