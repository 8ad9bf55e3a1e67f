# mypy: disable-error-code="no-any-return"
"""The kernel's main loop: private actors to block, then the next tick of the timed ones, and cuts for the jump."""

from __future__ import annotations

from typing import Any

from ..jit import inlined
from . import columns as c
from ._jit import jit
from .jump import choose_anchor, cut
from .private import possible, visit
from .queues import notify
from .timed import look, tick


@inlined
def drain(n: c.Net, fns: tuple[Any, ...]) -> int:
    """Visit the listed actors until none is left. Returns 0, PAUSED or OVERFLOW."""
    g, actors = n.globals, n.actors
    while True:
        if g[c.G_TIMED] > 0:
            look(
                actors, n.code, n.phases, n.ports, n.fifos, n.slots, n.heap_time, n.heap_code, g, n.timed
            )  # fmt: skip
        stale = max(16 * g[c.G_SPACING], g[c.G_STALE])
        if g[c.G_JUMP] != 0 and g[c.G_CUT] == 0 and g[c.G_FIRED] - g[c.G_LAST_CUT] > stale:
            choose_anchor(n)
        if g[c.G_WORK] == 0:
            return 0
        if g[c.G_BUDGET] <= 0:
            return c.PAUSED
        g[c.G_BUDGET] -= 1
        a = n.work[g[c.G_WORK_HEAD]]
        g[c.G_WORK_HEAD] = (g[c.G_WORK_HEAD] + 1) & (n.work.shape[0] - 1)
        g[c.G_WORK] -= 1
        actors[a, c.A_QUEUED] = 0
        if g[c.G_CUT] > 0 and g[c.G_ANCHOR] == a:
            continue  # held until the others have run to block and the state is cut
        status = visit(n, fns, a)
        if status != 0:
            return status


@inlined
def rings_short(n: c.Net) -> bool:
    """Whether an actor must fire before the next tick and only the size of a ring stops it."""
    g, actors = n.globals, n.actors
    kept = 0
    short = False
    for x in range(g[c.G_SOFT]):
        a = n.soft[x]
        actors[a, c.A_SOFT] = 0
        if actors[a, c.A_PC] < 0:
            continue
        p = n.code[actors[a, c.A_PC], c.I_ARG]
        phases = n.phases
        if possible(n.fifos, n.ports, actors, phases[p, c.P_IN], phases[p, c.P_OUT], phases[p, c.P_END], 1) < 0:
            actors[a, c.A_SOFT] = 1
            n.soft[kept] = a
            kept += 1
            short = short or g[c.G_HEAP] == 0 or actors[a, c.A_PREV] < n.heap_time[0]
    g[c.G_SOFT] = kept
    return short


@jit
def run_net(n: c.Net, fns: tuple[Any, ...]) -> int:
    """Run until something needs the caller; returns why (IDLE ... OVERGIVEN)."""
    g = n.globals
    while True:
        status = drain(n, fns)
        if status != 0:
            return status
        if g[c.G_CUT] > 0:
            level = g[c.G_CUT] - 1
            g[c.G_CUT] = 0
            a = g[c.G_ANCHOR]
            if a >= 0:
                if not cut(n, level):
                    g[c.G_WHO] = a
                    return c.OVERFLOW
                notify(n.actors, g, n.work, n.timed, a)
            continue
        if g[c.G_GROW] != 0 or (g[c.G_SOFT] > 0 and rings_short(n)):
            return c.GROW
        if g[c.G_HEAP] == 0:
            return c.IDLE
        now = n.heap_time[0]
        if now > c.TIME_LIMIT:
            g[c.G_WHO] = n.heap_code[0] & c.ACTOR_BITS
            return c.OVERFLOW
        if now > g[c.G_UNTIL]:
            return c.AT_UNTIL
        if g[c.G_BUDGET] <= 0:
            return c.PAUSED
        g[c.G_BUDGET] -= 1
        status = tick(n, fns, now)
        if status != 0:
            return status
