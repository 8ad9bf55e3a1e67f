# mypy: disable-error-code="no-any-return"
"""The kernel's queues: the heap of events and the lists of actors to visit."""

from __future__ import annotations

from ..jit import inlined
from . import columns as c
from ._jit import jit
from .program import IntArray


@jit
def heap_push(times: IntArray, codes: IntArray, g: IntArray, time: int, code: int) -> None:
    """Add an event; order is (time, code), the code being class and actor."""
    i = g[c.G_HEAP]
    g[c.G_HEAP] = i + 1
    while i > 0:
        up = (i - 1) >> 1
        if times[up] < time or (times[up] == time and codes[up] <= code):
            break
        times[i] = times[up]
        codes[i] = codes[up]
        i = up
    times[i] = time
    codes[i] = code


@jit
def heap_pop(times: IntArray, codes: IntArray, g: IntArray) -> int:
    """Remove the first event and return its code."""
    first = codes[0]
    n = g[c.G_HEAP] - 1
    g[c.G_HEAP] = n
    time, code = times[n], codes[n]
    i = 0
    while True:
        down = 2 * i + 1
        if down >= n:
            break
        other = down + 1
        if other < n and (times[other] < times[down] or (times[other] == times[down] and codes[other] < codes[down])):
            down = other
        if time < times[down] or (time == times[down] and code <= codes[down]):
            break
        times[i] = times[down]
        codes[i] = codes[down]
        i = down
    times[i] = time
    codes[i] = code
    return first


@inlined
def notify(actors: IntArray, g: IntArray, work: IntArray, timed: IntArray, a: int) -> None:
    """List an actor whose FIFOs changed for a visit."""
    if actors[a, c.A_QUEUED] != 0:
        return
    if actors[a, c.A_TIMED] != 0:
        if actors[a, c.A_STATUS] == c.BLOCKED:
            actors[a, c.A_QUEUED] = 1
            timed[g[c.G_TIMED]] = a
            g[c.G_TIMED] += 1
    elif actors[a, c.A_PC] >= 0:
        actors[a, c.A_QUEUED] = 1
        work[(g[c.G_WORK_HEAD] + g[c.G_WORK]) & (work.shape[0] - 1)] = a
        g[c.G_WORK] += 1


@inlined
def next_instruction(actors: IntArray, code: IntArray, a: int) -> int:
    """Step behind a run that is over; return the loop that begins its next round, or -1."""
    i = actors[a, c.A_PC]
    code[i, c.I_DONE] = 0
    i += 1
    end = actors[a, c.A_HI]
    while i < end and code[i, c.I_OP] == 1:
        code[i, c.I_DONE] += 1
        if code[i, c.I_DONE] < code[i, c.I_COUNT]:
            actors[a, c.A_PC] = code[i, c.I_ARG]
            return i
        code[i, c.I_DONE] = 0
        i += 1
    actors[a, c.A_PC] = i if i < end else -1
    return -1


@jit
def finish_actor(actors: IntArray, fragments: IntArray, times: IntArray, codes: IntArray, g: IntArray, a: int) -> None:
    """Book an actor that has fired for the last time; a complete fragment gets its event."""
    actors[a, c.A_STATUS] = c.FINISHED
    g[c.G_LEFT] -= 1
    f = actors[a, c.A_FRAGMENT]
    fragments[f, 0] -= 1
    fragments[f, 1] = max(fragments[f, 1], actors[a, c.A_PREV])
    if fragments[f, 0] == 0 and g[c.G_SESSION] != 0:
        heap_push(times, codes, g, fragments[f, 1], (c.COMPLETES << c.CLASS_SHIFT) + f)


@jit
def record(rows: IntArray, g: IntArray, actor: int, phase: int, start: int, end: int) -> None:
    """Keep the firings with the least (start, actor): a heap whose top is the latest of those kept."""
    n = g[c.G_RECORDED]
    if n < g[c.G_RECORD]:
        g[c.G_RECORDED] = n + 1
        i = n
        while i > 0:
            up = (i - 1) >> 1
            if rows[up, 0] > start or (rows[up, 0] == start and rows[up, 1] >= actor):
                break
            for column in range(4):
                rows[i, column] = rows[up, column]
            i = up
    else:
        if start > rows[0, 0] or (start == rows[0, 0] and actor >= rows[0, 1]):
            return
        i = 0
        while True:
            down = 2 * i + 1
            if down >= n:
                break
            other = down + 1
            if other < n and (
                rows[other, 0] > rows[down, 0] or (rows[other, 0] == rows[down, 0] and rows[other, 1] > rows[down, 1])
            ):
                down = other
            if start > rows[down, 0] or (start == rows[down, 0] and actor >= rows[down, 1]):
                break
            for column in range(4):
                rows[i, column] = rows[down, column]
            i = down
    rows[i, 0] = start
    rows[i, 1] = actor
    rows[i, 2] = phase
    rows[i, 3] = end
