"""The loop between a Driver and a Session, and the log it leaves."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ..engine.session import Session
from ..errors import ProgramError
from .driver import Driver, Submission
from .scenario import Scenario

P = TypeVar("P")
S = TypeVar("S")


@dataclass(frozen=True)
class Served:
    """One request, in ticks: from its arrival to the end of the last fragment that names it."""

    request: int
    arrival: int
    start: int
    """Start of the first firing on its behalf."""
    finish: int
    notes: tuple[str, ...]
    """Of its fragments, in order of submission."""

    @property
    def latency(self) -> int:
        return self.finish - self.arrival


@dataclass(frozen=True)
class ServeLog:
    """What became of each request, by id, and when the last fragment completed (0 if there was none)."""

    served: tuple[Served, ...]
    finish: int
    fragments: int


@dataclass(frozen=True)
class Completion:
    """A fragment that has completed: its id in the Session, what was submitted, the tick of its last end, and the first
    tick in which it could begin."""

    fragment: int
    submission: Submission
    tick: int
    ready: int


def completions(driver: Driver[P, S], scenario: Scenario[P], session: Session) -> Iterator[Completion]:
    """Run a Scenario to its end on a Session that nothing else uses; yield fragments as they complete.

    What a Driver submits at an arrival may fire in that very tick; what it submits at a completion, in the next. In one
    tick, completions come before arrivals.

    Raises:
        ProgramError: the Driver submitted a Program that the Session refuses.
        Deadlock: a submitted Program can never end.
    """
    state = driver.start(scenario.policy, scenario.seed)
    pending = deque(scenario.arrivals.requests(scenario.seed))
    submitted: dict[int, tuple[Submission, int]] = {}

    def submit(submissions: Iterable[Submission], at: int) -> None:
        for submission in submissions:
            submitted[session.submit(submission.program, at)] = submission, at

    while True:
        completed = session.advance(pending[0].arrival - 1 if pending else None)
        for fragment, tick in completed:
            submission, ready = submitted.pop(fragment)
            state, submissions = driver.on_complete(state, submission, tick)
            submit(submissions, tick + 1)
            yield Completion(fragment, submission, tick, ready)
        if completed:
            continue
        if not pending:
            return
        now = pending[0].arrival
        while pending and pending[0].arrival == now:
            state, submissions = driver.on_arrival(state, pending.popleft(), now)
            submit(submissions, now)


def serve(driver: Driver[P, S], scenario: Scenario[P], session: Session) -> ServeLog:
    """Run a Scenario to its end on a Session that nothing else uses, and log what became of each request.

    Raises:
        ProgramError: the Driver left a request unserved, or submitted a Program that the Session refuses.
        Deadlock: a submitted Program can never end.
    """
    done = sorted(completions(driver, scenario, session), key=lambda c: c.fragment)
    arrivals = {r.id: r.arrival for r in scenario.arrivals.requests(scenario.seed)}
    return ServeLog(_served(done, session, arrivals), max((c.tick for c in done), default=0), len(done))


def _served(done: Sequence[Completion], session: Session, arrivals: dict[int, int]) -> tuple[Served, ...]:
    mine: dict[int, list[Completion]] = {request: [] for request in arrivals}
    starts = {}
    for completion in done:
        begun = session.trace(completion.fragment).start
        starts[completion.fragment] = int(begun[begun >= 0].min(initial=np.iinfo(np.int64).max))
        for request in completion.submission.requests:
            mine[request].append(completion)
    unserved = [request for request, found in mine.items() if not found]
    if unserved:
        raise ProgramError(f"the driver left {len(unserved)} requests unserved, the first of them {unserved[0]}")
    return tuple(
        Served(
            request,
            arrivals[request],
            min(starts[c.fragment] for c in found),
            max(c.tick for c in found),
            tuple(c.submission.note for c in found),
        )
        for request, found in mine.items()
    )
