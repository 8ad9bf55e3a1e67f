"""The loop between a Driver and a Session, and the log it leaves."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
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


class _Run:
    """The fragments of one run of the loop."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.submitted: dict[int, Submission] = {}
        self.ended: dict[int, int] = {}

    def submit(self, submissions: Iterable[Submission], at: int) -> None:
        for submission in submissions:
            self.submitted[self.session.submit(submission.program, at)] = submission


def serve(driver: Driver[P, S], scenario: Scenario[P], session: Session) -> ServeLog:
    """Run a Scenario to its end on a Session that nothing else uses.

    What a Driver submits at an arrival may fire in that very tick; what it submits at a completion, in the next.

    Raises:
        ProgramError: the Driver left a request unserved, or submitted a Program that the Session refuses.
        Deadlock: a submitted Program can never end.
    """
    requests = scenario.arrivals.requests(scenario.seed)
    state = driver.start(scenario.policy, scenario.seed)
    pending = deque(requests)
    run = _Run(session)
    while True:
        completed = session.advance(pending[0].arrival - 1 if pending else None)
        for fragment, tick in completed:
            run.ended[fragment] = tick
            state, submissions = driver.on_complete(state, run.submitted[fragment], tick)
            run.submit(submissions, tick + 1)
        if completed:
            continue
        if not pending:
            break
        now = pending[0].arrival
        while pending and pending[0].arrival == now:
            state, submissions = driver.on_arrival(state, pending.popleft(), now)
            run.submit(submissions, now)
    arrivals = {r.id: r.arrival for r in requests}
    return ServeLog(_served(run, arrivals), max(run.ended.values(), default=0), len(run.submitted))


def _served(run: _Run, arrivals: dict[int, int]) -> tuple[Served, ...]:
    fragments: dict[int, list[int]] = {request: [] for request in arrivals}
    for fragment, submission in run.submitted.items():
        for request in submission.requests:
            fragments[request].append(fragment)
    unserved = [request for request, mine in fragments.items() if not mine]
    if unserved:
        raise ProgramError(f"the driver left {len(unserved)} requests unserved, the first of them {unserved[0]}")
    starts = {}
    for fragment in run.submitted:
        begun = run.session.trace(fragment).start
        starts[fragment] = int(begun[begun >= 0].min(initial=np.iinfo(np.int64).max))
    return tuple(
        Served(
            request,
            arrivals[request],
            min(starts[f] for f in mine),
            max(run.ended[f] for f in mine),
            tuple(run.submitted[f].note for f in mine),
        )
        for request, mine in fragments.items()
    )
