"""A Driver for objects in two tiers: the upper one caches what was used last, a miss moves an object up first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

from ..engine.builder import Phase, ProgramBuilder, Run
from ..engine.program import Platform, Pool, Program, Server
from ..errors import BadInput, DoesNotFit
from .driver import Request, Submission

LINK, UNIT = 0, 1
UPPER_TIER = 0
HIT, MISS = "hit", "miss"


@dataclass(frozen=True)
class AtOnce:
    """The policy: so many requests are worked on at once, the others wait in order of arrival."""

    requests: int


@dataclass(frozen=True)
class TieredState:
    """Objects of the upper tier from the least to the most recently wanted, and who waits for or works on what."""

    limit: int
    cached: tuple[int, ...] = ()
    loading: frozenset[int] = frozenset()
    waiting: tuple[Request, ...] = ()
    working: tuple[tuple[int, int], ...] = ()
    """(request, object)"""


@dataclass(frozen=True)
class TieredCache:
    """A Driver whose requests each want one object: found in the upper tier (hit) or moved there first (miss).

    Least recently used objects make room. Requests start in order of arrival; the first in line waits while its object
    is still on its way, and while an object that has to make room for it is in use. So hits are those of a plain LRU
    cache, whatever the timing.
    """

    object_bytes: tuple[int, ...]
    capacity_bytes: int
    """Of the upper tier."""
    link_rate: Fraction
    """Bytes per tick between the tiers."""
    compute_ticks: int
    """Per request, on the one compute unit."""
    link_burst_bytes: int = 0

    @cached_property
    def platform(self) -> Platform:
        """What a Session for this Driver runs on."""
        link = Server("link", self.link_rate, burst=self.link_burst_bytes)
        return Platform((link, Server("unit")), (Pool("upper tier", self.capacity_bytes),))

    def start(self, policy: AtOnce, seed: int) -> TieredState:
        """Return the state of an empty cache; nothing in this Driver is left to chance.

        Raises:
            DoesNotFit: an object is larger than the upper tier.
            BadInput: the policy lets no request start.
        """
        if policy.requests < 1:
            raise BadInput(f"policy: {policy.requests} requests at once, must be at least 1")
        largest = max(self.object_bytes, default=0)
        if largest > self.capacity_bytes:
            raise DoesNotFit(f"upper tier: {self.capacity_bytes} bytes, an object has {largest}")
        return TieredState(policy.requests)

    def on_arrival(self, state: TieredState, request: Request, now: int) -> tuple[TieredState, tuple[Submission, ...]]:
        if not isinstance(request.wants, int) or not 0 <= request.wants < len(self.object_bytes):
            raise BadInput(f"request {request.id}: wants {request.wants}, of objects 0 to {len(self.object_bytes) - 1}")
        return self._admit(replace(state, waiting=(*state.waiting, request)))

    def on_complete(
        self, state: TieredState, fragment: Submission, now: int
    ) -> tuple[TieredState, tuple[Submission, ...]]:
        (request,) = fragment.requests
        ended = dict(state.working)[request]
        loading = state.loading - {ended} if fragment.note == MISS else state.loading
        working = tuple(w for w in state.working if w[0] != request)
        return self._admit(replace(state, loading=loading, working=working))

    def _admit(self, state: TieredState) -> tuple[TieredState, tuple[Submission, ...]]:
        """Start waiting requests in order, as long as the first of them can."""
        submissions: list[Submission] = []
        while state.waiting and len(state.working) < state.limit:
            request, wanted = state.waiting[0], _object(state.waiting[0])
            if wanted in state.loading:
                break
            rest = tuple(n for n in state.cached if n != wanted)
            hit = wanted in state.cached
            victims = () if hit else self._victims(rest, wanted)
            if any(n in victims for _, n in state.working):
                break
            state = replace(
                state,
                cached=(*rest[len(victims) :], wanted),
                loading=state.loading if hit else state.loading | {wanted},
                waiting=state.waiting[1:],
                working=(*state.working, (request.id, wanted)),
            )
            program = self._program(wanted, None if hit else sum(self.object_bytes[n] for n in victims))
            submissions.append(Submission(program, (request.id,), HIT if hit else MISS))
        return state, tuple(submissions)

    def _victims(self, cached: tuple[int, ...], wanted: int) -> tuple[int, ...]:
        """Return the least recently wanted objects that make room for one more."""
        free = self.capacity_bytes - sum(self.object_bytes[n] for n in cached)
        count = 0
        while free < self.object_bytes[wanted]:
            free += self.object_bytes[cached[count]]
            count += 1
        return cached[:count]

    def _program(self, wanted: int, freed_bytes: int | None) -> Program:
        """Return the Program of a request: compute alone, or after dropping `freed_bytes` and moving the object up."""
        b = ProgramBuilder(f"object {wanted}")
        for server in self.platform.servers:
            b.server(server)
        b.pool(self.platform.pools[UPPER_TIER])
        compute = b.actor("compute", server=UNIT, label=wanted)
        if freed_bytes is None:
            b.schedule(compute, [Run(Phase(work=self.compute_ticks))])
            return b.build()
        size = self.object_bytes[wanted]
        load = b.actor("load", server=LINK, label=wanted)
        moved = b.fifo(load, compute)
        b.schedule(compute, [Run(Phase(work=self.compute_ticks, inputs=((moved, 1, 1),)))])
        inputs: tuple[tuple[int, int, int], ...] = ()
        if freed_bytes:
            drop = b.actor("drop", label=wanted)
            dropped = b.fifo(drop, load)
            inputs = ((dropped, 1, 1),)
            gives = ((UPPER_TIER, freed_bytes),)
            b.schedule(drop, [Run(Phase(outputs=((dropped, 1, 1),), gives=gives))])
        b.schedule(load, [Run(Phase(work=size, inputs=inputs, outputs=((moved, 1, 1),), take=(UPPER_TIER, size)))])
        return b.build()


def notes_one_by_one(driver: TieredCache, wanted: Sequence[int]) -> tuple[str, ...]:
    """Whether each request is a hit or a miss where it comes when the one before it is done: what the Driver decides,
    whatever the times.

    Raises:
        BadInput, DoesNotFit: see `TieredCache`.
    """
    state, notes = driver.start(AtOnce(1), 0), list[str]()
    for i, object_ in enumerate(wanted):
        state, (submission,) = driver.on_arrival(state, Request(i, i, object_), i)
        state, _ = driver.on_complete(state, submission, i)
        notes.append(submission.note)
    return tuple(notes)


def _object(request: Request) -> int:
    assert isinstance(request.wants, int)  # checked on arrival
    return request.wants
