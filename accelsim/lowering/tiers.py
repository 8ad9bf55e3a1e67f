"""Placements over tiers as Programs: steps run one after the other, and every transfer is an actor of its own.

A transfer may begin once the step before its position has ended, which is when its room is free, and must have ended
for what needs it: a step that reads what it brings or takes the room that it leaves, a transfer that sends it on. It
does not hold up other steps, so that what is loaded ahead moves while several of them compute. Channels serve in the
order of the plan's positions, of one position what is needed first, so that nothing overtakes what the plan has before
it: a run is as fast as the plan walked through position by position, or faster. What is sent on in one position leaves
as it comes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from math import ceil

from ..engine.builder import Phase, ProgramBuilder, Run
from ..engine.program import Program, Server
from ..mapping.tiers.plan import Room, TierPlan, Transfer
from ..mapping.tiers.problem import Choice, TierProblem

TICKS = 10**12
"""Per second: what lasts no time takes one of them, and adds nothing that can be seen."""


def program_of(problem: TierProblem, plan: TierPlan) -> Program:
    """The Program of a plan, of one period where it is periodic, whose actions count bytes by name of the link.

    Args:
        problem: what it is a plan of.
        plan: one that `check_tier_plan` accepts.
    """
    return _Lowering(problem, plan).program()


@dataclass(eq=False)
class _Task:
    """An actor that fires once.

    Attributes:
        server: ``compute``, or a channel.
        actions: link to bytes.
        after: tasks that end before it begins.
        behind: tasks that begin before it does, and bring what it sends on.
        turn: the task before it on its channel.
    """

    name: str
    server: str
    seconds: float
    actions: dict[str, int]
    after: dict[_Task, None] = field(default_factory=dict)
    behind: dict[_Task, None] = field(default_factory=dict)
    turn: _Task | None = None

    def all_behind(self) -> Iterator[_Task]:
        """Tasks that bring what this one sends on: it does not end before they do."""
        for task in self.behind:
            yield task
            yield from task.all_behind()


class _Lowering:
    def __init__(self, problem: TierProblem, plan: TierPlan) -> None:
        self.problem, self.plan = problem, plan
        self.choices = [
            next(c for c in step.choices if c.name == name)
            for step, name in zip(problem.framed, plan.choices, strict=True)
        ]
        self.tasks: list[_Task] = []
        self.steps: list[list[_Task]] = []
        """Of each step: computing, and what streams meanwhile."""
        self.moving: list[_Task] = []
        self.number: dict[_Task, int] = {}
        """Of transfers."""
        self.rooms: dict[tuple[str, str], list[Room]] = {}
        for room in plan.rooms:
            self.rooms.setdefault((room.item, room.tier), []).append(room)
        self.needing: dict[tuple[str, str], list[int]] = {}
        """(item, tier) to steps that read it there; (item, "") to those that write it."""
        for s, choice in enumerate(self.choices):
            for key in (*choice.reads.items(), *((item, "") for item in choice.writes)):
                self.needing.setdefault(key, []).append(s)
        self.transfers = sorted(_cut(plan.transfers), key=self._turn)
        self.arriving: dict[tuple[int, str], list[int]] = {}
        """(position, tier) to the transfers that end there."""
        for number, t in enumerate(self.transfers):
            self.arriving.setdefault((t.position, problem.by_link[t.link].dst), []).append(number)

    def _turn(self, t: Transfer) -> tuple[object, ...]:
        """Transfers go by the step that they may begin with, then by the one that waits for them."""
        return t.position // self.problem.stride, self._due(t), t.position, t.link, t.item, t.low

    def program(self) -> Program:
        waiting = list(enumerate(self.transfers))[::-1]
        for s, choice in enumerate(self.choices):
            self._step(s, choice)
            while waiting and waiting[-1][1].position <= self.problem.position(s):
                self._transfer(s, *waiting.pop())
        self._sent_on()
        self.number = {task: n for n, task in enumerate(self.moving)}
        for transfer, task in zip(self.transfers, self.moving, strict=True):
            self._wait_for(transfer, task)
        for task in self.tasks:
            task.after.update(dict.fromkeys(b for a in list(task.after) for b in a.all_behind()))
        self._take_turns()
        return self._build()

    def _take_turns(self) -> None:
        """Edges between tasks that follow each other on a channel, by position: what a step streams comes first."""
        waiting = [(self.problem.position(s), -1, k, t) for s, x in enumerate(self.steps) for k, t in enumerate(x[1:])]
        waiting += [(t.position, self._hops(n), n, self.moving[n]) for n, t in enumerate(self.transfers)]
        last: dict[str, _Task] = {}
        for *_, task in sorted(waiting, key=lambda entry: entry[:3]):
            task.turn = last.get(task.server)
            last[task.server] = task

    def _hops(self, number: int) -> int:
        """Transfers of the same position that must come before this one, one after the other."""
        task, position = self.moving[number], self.transfers[number].position
        before = [n for b in {**task.after, **task.behind} if (n := self.number.get(b, -1)) >= 0]
        return max((1 + self._hops(n) for n in before if self.transfers[n].position == position), default=0)

    def _add(self, task: _Task, before: int) -> _Task:
        """A task behind step number `before`."""
        if before >= 0:
            task.after.update(dict.fromkeys(self.steps[before]))
        self.tasks.append(task)
        return task

    def _step(self, s: int, choice: Choice) -> None:
        name = self.problem.framed[s].name
        found = [self._add(_Task(name, "compute", choice.seconds, {}), s - 1)]
        for link, nbytes in choice.streams.items():
            if nbytes:
                seconds = nbytes / self.problem.by_link[link].bandwidth
                channel = self.problem.by_link[link].shared
                found.append(self._add(_Task(f"{name}, {link}", channel, seconds, {link: nbytes}), s - 1))
        self.steps.append(found)

    def _transfer(self, s: int, number: int, t: Transfer) -> None:
        link = self.problem.by_link[t.link]
        seconds = (t.high - t.low) / link.bandwidth
        task = _Task(f"{t.item} over {t.link} {number}", link.shared, seconds, {t.link: t.high - t.low})
        self.moving.append(self._add(task, s - 1))

    # -- what waits for a transfer ------------------------------------------------------------------------------------

    def _sent_on(self) -> None:
        """Edges from transfers to those of the same bytes over the next link."""
        by_item: dict[tuple[str, str], list[int]] = {}
        for number, t in enumerate(self.transfers):
            by_item.setdefault((t.item, self.problem.by_link[t.link].src), []).append(number)
        for number, t in enumerate(self.transfers):
            for later in by_item.get((t.item, self.problem.by_link[t.link].dst), ()):
                u = self.transfers[later]
                if u.position < t.position or max(t.low, u.low) >= min(t.high, u.high):
                    continue
                if u.position == t.position and self._there_before(u):
                    continue
                first, second = self.moving[number], self.moving[later]
                if u.position == t.position and (u.low, u.high) == (t.low, t.high):
                    second.behind[first] = None
                else:
                    second.after[first] = None

    def _there_before(self, t: Transfer) -> bool:
        """Whether a transfer's bytes lie where it begins before its position, in one room or in one after the other."""
        tier = self.problem.by_link[t.link].src
        if self.problem.items[t.item].home == tier:
            return True
        return all(self._has_room(t, tier, position) for position in (t.position - 1, t.position))

    def _has_room(self, t: Transfer, tier: str, position: int) -> bool:
        """Whether rooms of a tier at a position have all bytes of a transfer."""
        spans = [(r.low, r.high) for r in self.rooms.get((t.item, tier), ()) if r.first <= position <= r.last]
        end = t.low
        for low, high in sorted(spans):
            end = max(end, high) if low <= end else end
        return end >= t.high

    def _due(self, t: Transfer) -> int:
        """The first step that waits for a transfer: it reads or writes its item, or may take the room of its bytes."""
        link, behind = self.problem.by_link[t.link], self._step_behind(t.position)
        steps = [len(self.choices)]
        for key in ((t.item, link.dst), (t.item, "")):
            found = self.needing.get(key, [])
            steps += found[bisect_left(found, behind) :][:1]
        steps += [self._step_behind(end) for tier in (link.src, link.dst) for end in self._ends(t, tier)]
        return min(steps)

    def _wait_for(self, t: Transfer, task: _Task) -> None:
        """Edges to the step that waits for a transfer, and to transfers that take the room it leaves before that."""
        due, tier = self._due(t), self.problem.by_link[t.link].src
        for end in self._ends(t, tier):
            for position in range(end + 1, self.problem.position(end // self.problem.stride) + 1):
                for other in self.arriving.get((position, tier), ()):
                    self.moving[other].after[task] = None
        for waiting in self.steps[due] if due < len(self.steps) else ():
            waiting.after[task] = None

    def _step_behind(self, position: int) -> int:
        """The first step behind a position."""
        return (position + 1) // self.problem.stride

    def _ends(self, t: Transfer, tier: str) -> Iterator[int]:
        """Last positions of rooms that a transfer's bytes have in a tier while it moves."""
        for room in self.rooms.get((t.item, tier), ()):
            if room.first <= t.position <= room.last and max(room.low, t.low) < min(room.high, t.high):
                yield room.last

    # -- actors -------------------------------------------------------------------------------------------------------

    def _build(self) -> Program:
        builder = ProgramBuilder(self.plan.problem, tick_hz=TICKS)
        names = ["compute", *dict.fromkeys(x.shared for x in self.problem.links)]
        servers = {n: builder.server(Server(n if n == "compute" else f"channel {n}")) for n in names}
        actors = {
            task: builder.actor(f"{k} {task.name}", server=servers[task.server], label=task.server)
            for k, task in enumerate(self.tasks)
        }
        inputs: dict[_Task, list[tuple[int, int, int]]] = {task: [] for task in self.tasks}
        outputs: dict[_Task, list[tuple[int, int, int]]] = {task: [] for task in self.tasks}
        for task in self.tasks:
            for before in dict.fromkeys([*task.after, *task.behind, *([task.turn] if task.turn else [])]):
                begun = before not in task.after
                fifo = builder.fifo(actors[before], actors[task], latency=int(begun), data_at_start=begun)
                inputs[task].append((fifo, 1, 1))
                outputs[before].append((fifo, 1, 1))
        for task, actor in actors.items():
            actions = tuple((n, b) for n, b in sorted(task.actions.items()) if b)
            phase = Phase(
                _ticks(task.seconds), inputs=tuple(inputs[task]), outputs=tuple(outputs[task]), actions=actions
            )
            builder.schedule(actor, [Run(phase)])
        return builder.build()


def _cut(transfers: Iterable[Transfer]) -> list[Transfer]:
    """Transfers of one item in one position, cut so that what is sent on are the same bytes that come."""
    together: dict[tuple[str, int], list[Transfer]] = {}
    for t in transfers:
        together.setdefault((t.item, t.position), []).append(t)
    found = []
    for group in together.values():
        ends = sorted({x for t in group for x in (t.low, t.high)})
        for t in group:
            inside = [x for x in ends if t.low <= x <= t.high]
            found += [replace(t, low=a, high=b) for a, b in pairwise(inside)]
    return found


def _ticks(seconds: float) -> int:
    return max(1, ceil(Fraction(seconds) * TICKS))
