"""A Driver for users who come back: their keys and values wait in the lower tier while others' have their place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from ...engine.program import Program
from ...errors import BadInput, DoesNotFit
from ..driver import Request, Submission

Stage: TypeAlias = Literal["out", "in", "turn"]


@dataclass(frozen=True)
class SessionState:
    """Sessions with their blocks in the upper tier, from the least to the most recent turn, and what is to be done."""

    upper: tuple[int, ...] = ()
    begun: frozenset[int] = frozenset()
    """Sessions that have had a turn."""
    waiting: tuple[Request, ...] = ()
    """The first of them is being served, if there are stages."""
    stages: tuple[tuple[Stage, int], ...] = ()
    """What is left to do for it: moves with their blocks, and its turn."""


@dataclass(frozen=True)
class Sessions:
    """One turn at a time, in order of arrival; each request wants a session, by number.

    A session that is not in the upper tier has those with the least recent turns leave it until it fits, then comes in
    (but for its first turn), then has its turn. What leaves has changed since it came, so that all of it is written.

    Attributes:
        session_blocks: of each session.
        blocks: of the upper tier.
        turn_program: of a turn, from session and whether it is its first.
        move_program: of blocks that leave (``out``) or come back (``in``).
        block_bytes: of a block, for messages.
    """

    session_blocks: tuple[int, ...]
    blocks: int
    turn_program: Callable[[int, bool], Program]
    move_program: Callable[[Literal["out", "in"], int], Program]
    block_bytes: int

    def start(self, policy: None, seed: int) -> SessionState:
        """Return empty tiers; nothing in this Driver is left to chance.

        Raises:
            DoesNotFit: a session is larger than the upper tier.
        """
        largest = max(self.session_blocks, default=0)
        if largest > self.blocks:
            short = (largest - self.blocks) * self.block_bytes
            raise DoesNotFit(f"KV cache: a session has {largest} blocks and there are {self.blocks}, {short:,} bytes "
                             "too few")  # fmt: skip
        return SessionState()

    def on_arrival(
        self, state: SessionState, request: Request, now: int
    ) -> tuple[SessionState, tuple[Submission, ...]]:
        if not isinstance(request.wants, int) or not 0 <= request.wants < len(self.session_blocks):
            raise BadInput(f"request {request.id}: wants session {request.wants} of {len(self.session_blocks)}")
        state = replace(state, waiting=(*state.waiting, request))
        return (state, ()) if state.stages else self._next(state)

    def on_complete(
        self, state: SessionState, fragment: Submission, now: int
    ) -> tuple[SessionState, tuple[Submission, ...]]:
        state = replace(state, stages=state.stages[1:])
        if state.stages:
            return state, (self._submission(state),)
        return self._next(replace(state, waiting=state.waiting[1:]))

    def _next(self, state: SessionState) -> tuple[SessionState, tuple[Submission, ...]]:
        """Begin with the first request that waits."""
        if not state.waiting:
            return state, ()
        session = _session(state.waiting[0])
        mine = self.session_blocks[session]
        others, leaving = [s for s in state.upper if s != session], 0
        while sum(self.session_blocks[s] for s in others) + mine > self.blocks:
            leaving += self.session_blocks[others.pop(0)]
        stages: list[tuple[Stage, int]] = [("out", leaving)] if leaving else []
        if session in state.begun and session not in state.upper:
            stages.append(("in", mine))
        stages.append(("turn", int(session not in state.begun)))
        state = replace(state, upper=(*others, session), begun=state.begun | {session}, stages=tuple(stages))
        return state, (self._submission(state),)

    def _submission(self, state: SessionState) -> Submission:
        """What begins the first stage; `count` of a turn says whether it is the session's first."""
        request, (stage, count) = state.waiting[0], state.stages[0]
        if stage == "turn":
            return Submission(self.turn_program(_session(request), bool(count)), (request.id,), stage)
        return Submission(self.move_program(stage, count), (request.id,), stage)


def _session(request: Request) -> int:
    assert isinstance(request.wants, int)  # checked on arrival
    return request.wants
