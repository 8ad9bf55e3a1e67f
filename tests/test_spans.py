"""Spans of work: the same completions as the engine's kernels."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from accelsim.engine.builder import Phase, ProgramBuilder, Run
from accelsim.engine.compiled import CompiledSession
from accelsim.engine.program import Platform, Program, Server
from accelsim.engine.session import Session
from accelsim.errors import ProgramError
from accelsim.serving.spans import SpanSession

HZ = Fraction(1_000)
PLATFORM = Platform((Server("a"), Server("b")))


def span(server: int, work: int, firings: int = 1) -> Program:
    b = ProgramBuilder(tick_hz=HZ)
    for s in PLATFORM.servers:
        b.server(s)
    b.actor("work", server=server, schedule=[Run(Phase(work=work), firings)])
    return b.build()


def story(session: Session, seed: int) -> list[object]:
    """What a session answers to random calls."""
    rng, told = np.random.default_rng(seed), list[object]()
    for _ in range(60):
        if rng.random() < 0.5:
            at = None if rng.random() < 0.3 else session.now + int(rng.integers(0, 30))
            told.append(session.submit(span(int(rng.integers(2)), int(rng.integers(1, 20))), at))
        else:
            told.append(session.advance(None if rng.random() < 0.5 else session.now + int(rng.integers(0, 25))))
        told.append(session.now)
    return told


@pytest.mark.parametrize("seed", range(12))
def test_completions_are_those_of_the_engine(seed: int) -> None:
    assert story(SpanSession(PLATFORM, HZ), seed) == story(CompiledSession(PLATFORM, HZ), seed)


def test_other_programs_are_refused() -> None:
    session = SpanSession(PLATFORM, HZ)
    with pytest.raises(ProgramError, match="more than one firing"):
        session.submit(span(0, 5, 2))
    with pytest.raises(ProgramError, match="ticks a second"):
        SpanSession(PLATFORM, Fraction(7)).submit(span(0, 5))
    with pytest.raises(ProgramError, match="rate of one"):
        SpanSession(Platform((Server("slow", Fraction(1, 2)),)), HZ)
    with pytest.raises(ProgramError, match="no traces"):
        session.trace(session.submit(span(1, 3)))
