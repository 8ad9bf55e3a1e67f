"""Programs of one firing, which stand for steps and moves where only their lengths matter."""

from __future__ import annotations

from functools import cache

from accelsim.engine.builder import Phase, ProgramBuilder, Run
from accelsim.engine.program import Platform, Program


@cache
def step_of(platform: Platform, server: int, ticks: int) -> Program:
    """A server of the platform works for so many ticks."""
    b = ProgramBuilder()
    for s in platform.servers:
        b.server(s)
    b.actor("work", server=server, schedule=[Run(Phase(work=ticks))])
    return b.build()
