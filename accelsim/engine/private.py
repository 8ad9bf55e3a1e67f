# mypy: disable-error-code="no-any-return"
"""Private actors: those that share no server and no pool. They run to block, with no event at all.

A FIFO's ring holds the times of its tokens and spaces, future ones too, so an actor whose tokens and spaces exist
knows when it fires: at the latest of those times and of its own last end. What it does depends on nobody's order.
"""

from __future__ import annotations

from typing import Any

from ..jit import inlined
from . import columns as c
from ._jit import jit
from .program import IntArray
from .queues import finish_actor, next_instruction, notify, record

# columns of the scratch tables: one row per slot read or written in a firing
R_BASE, R_MASK, R_AT, R_MOVE, R_SPACE, R_FIFO, R_STALL = 0, 1, 2, 3, 4, 5, 6
W_BASE, W_MASK, W_AT, W_MOVE, W_AT_START, W_DELAY = 0, 1, 2, 3, 4, 5
STEADY_SLOTS = 3  # most reads, and writes, of the firings that take the short way


@inlined
def possible(fifos: IntArray, ports: IntArray, actors: IntArray, first: int, outputs: int, end: int, most: int) -> int:
    """How often a phase can fire with the tokens and spaces there are, at most `most`.

    Returns -1 - f when only the size of ring f stops it.
    """
    m = most
    for q in range(first, outputs):
        f = ports[q, c.Q_FIFO]
        need = ports[q, c.Q_NEED]
        have = fifos[f, c.F_W] - fifos[f, c.F_R]
        if have < need:
            return 0
        move = ports[q, c.Q_MOVE]
        if move == 1:
            m = min(m, have - need + 1)
        elif move > 1:
            m = min(m, (have - need) // move + 1)
    short = -1
    for q in range(outputs, end):
        f = ports[q, c.Q_FIFO]
        need = ports[q, c.Q_NEED]
        move = ports[q, c.Q_MOVE]
        used = fifos[f, c.F_W] - fifos[f, c.F_R]
        if fifos[f, c.F_BOUNDED] != 0:
            have = fifos[f, c.F_DEPTH] - used
            if have < need:
                return 0
            if move == 1:
                m = min(m, have - need + 1)
            elif move > 1:
                m = min(m, (have - need) // move + 1)
        elif move > 0 and actors[fifos[f, c.F_DST], c.A_PC] >= 0:
            room = fifos[f, c.F_MASK] + 1 - used
            if room < move:
                short = f
            else:
                m = min(m, room // move)
    return m if short < 0 else -1 - short


@inlined
def list_slots(
    fifos: IntArray,
    ports: IntArray,
    actors: IntArray,
    reads: IntArray,
    writes: IntArray,
    first: int,
    outputs: int,
    end: int,
) -> tuple[int, int, bool]:
    """Fill the scratch rows of a phase's slots; return how many are read and written, and whether one by one."""
    nr = 0
    nw = 0
    single = True
    for q in range(first, outputs):
        f = ports[q, c.Q_FIFO]
        move = ports[q, c.Q_MOVE]
        reads[nr, R_BASE] = fifos[f, c.F_BASE]
        reads[nr, R_MASK] = fifos[f, c.F_MASK]
        reads[nr, R_AT] = fifos[f, c.F_R] + ports[q, c.Q_NEED] - 1
        reads[nr, R_MOVE] = move
        reads[nr, R_SPACE] = 0
        reads[nr, R_FIFO] = f
        reads[nr, R_STALL] = 0
        nr += 1
        if move > 0 and fifos[f, c.F_BOUNDED] != 0:
            writes[nw, W_BASE] = fifos[f, c.F_BASE]
            writes[nw, W_MASK] = fifos[f, c.F_MASK]
            writes[nw, W_AT] = fifos[f, c.F_R] + fifos[f, c.F_DEPTH]
            writes[nw, W_MOVE] = move
            writes[nw, W_AT_START] = fifos[f, c.F_AT_START]
            writes[nw, W_DELAY] = fifos[f, c.F_CREDIT]
            nw += 1
            single = single and move == 1
    for q in range(outputs, end):
        f = ports[q, c.Q_FIFO]
        move = ports[q, c.Q_MOVE]
        if fifos[f, c.F_BOUNDED] != 0:
            reads[nr, R_BASE] = fifos[f, c.F_BASE]
            reads[nr, R_MASK] = fifos[f, c.F_MASK]
            reads[nr, R_AT] = fifos[f, c.F_W] + ports[q, c.Q_NEED] - 1
            reads[nr, R_MOVE] = move
            reads[nr, R_SPACE] = 1
            reads[nr, R_FIFO] = f
            reads[nr, R_STALL] = 0
            nr += 1
        if move > 0 and (fifos[f, c.F_BOUNDED] != 0 or actors[fifos[f, c.F_DST], c.A_PC] >= 0):
            writes[nw, W_BASE] = fifos[f, c.F_BASE]
            writes[nw, W_MASK] = fifos[f, c.F_MASK]
            writes[nw, W_AT] = fifos[f, c.F_W]
            writes[nw, W_MOVE] = move
            writes[nw, W_AT_START] = fifos[f, c.F_EARLY]
            writes[nw, W_DELAY] = fifos[f, c.F_LATENCY]
            nw += 1
            single = single and move == 1
    return nr, nw, single


@inlined
def pad_slots(reads: IntArray, writes: IntArray, nr: int, nw: int) -> None:
    """Fill up to three reads and three writes with the slots that mean nothing."""
    for j in range(nr, STEADY_SLOTS):
        reads[j, R_BASE] = 0
        reads[j, R_MASK] = 0
        reads[j, R_AT] = 0
        reads[j, R_MOVE] = 0
    for j in range(nw, STEADY_SLOTS):
        writes[j, W_BASE] = 1
        writes[j, W_MASK] = 0
        writes[j, W_AT] = 0
        writes[j, W_AT_START] = 0
        writes[j, W_DELAY] = 0


@inlined
def fire_steady(slots: IntArray, reads: IntArray, writes: IntArray, prev: int, m: int, ticks: int, third: bool) -> int:
    """Fire m times with up to two reads, two single writes and a constant service time; return the last end.

    `third`, a constant where this is called, says whether there may be three of each: most runs do without their cost.
    Stops early, with an end beyond TIME_LIMIT, when the time leaves its range.
    """
    b0, m0, i0, d0 = reads[0, R_BASE], reads[0, R_MASK], reads[0, R_AT], reads[0, R_MOVE]
    b1, m1, i1, d1 = reads[1, R_BASE], reads[1, R_MASK], reads[1, R_AT], reads[1, R_MOVE]
    b2, m2, i2, d2 = reads[2, R_BASE], reads[2, R_MASK], reads[2, R_AT], reads[2, R_MOVE]
    wb0, wm0, w0 = writes[0, W_BASE], writes[0, W_MASK], writes[0, W_AT]
    wb1, wm1, w1 = writes[1, W_BASE], writes[1, W_MASK], writes[1, W_AT]
    wb2, wm2, w2 = writes[2, W_BASE], writes[2, W_MASK], writes[2, W_AT]
    # a write at the start is one at the end that comes the service time earlier
    late0 = writes[0, W_DELAY] - ticks * writes[0, W_AT_START]
    late1 = writes[1, W_DELAY] - ticks * writes[1, W_AT_START]
    late2 = writes[2, W_DELAY] - ticks * writes[2, W_AT_START]
    latest = c.TIME_LIMIT - ticks
    s0 = 0
    s1 = 0
    s2 = 0
    for _ in range(m):
        t0 = slots[b0 + (i0 & m0)]
        t1 = slots[b1 + (i1 & m1)]
        t2 = slots[b2 + (i2 & m2)] if third else t1
        i0 += d0
        i1 += d1
        i2 += d2
        ready = max(prev, t0, t1, t2)
        if ready > latest:
            return c.TIME_LIMIT + 1
        # the first of those that come last is waited for
        wait = ready - prev
        if t0 == ready:
            s0 += wait
        elif t1 == ready:
            s1 += wait
        else:
            s2 += wait
        prev = ready + ticks
        slots[wb0 + (w0 & wm0)] = prev + late0
        slots[wb1 + (w1 & wm1)] = prev + late1
        if third:
            slots[wb2 + (w2 & wm2)] = prev + late2
        w0 += 1
        w1 += 1
        w2 += 1
    reads[0, R_STALL] = s0
    reads[1, R_STALL] = s1
    reads[2, R_STALL] = s2
    return prev


@inlined
def fire_any(n: c.Net, fns: tuple[Any, ...], a: int, p: int, m: int, nr: int, nw: int) -> int:
    """Fire m times, whatever the phase and the server; return the last end, beyond TIME_LIMIT if that was left."""
    actors, slots, reads, writes, servers, phases = n.actors, n.slots, n.reads, n.writes, n.servers, n.phases
    g = n.globals
    s = actors[a, c.A_SERVER]
    work = phases[p, c.P_WORK]
    prev = actors[a, c.A_PREV]
    busy = 0
    for _ in range(m):
        ready = prev
        last = -1
        for j in range(nr):
            t = slots[reads[j, R_BASE] + (reads[j, R_AT] & reads[j, R_MASK])]
            if t > ready:
                ready = t
                last = j
            reads[j, R_AT] += reads[j, R_MOVE]
        if last >= 0:
            reads[last, R_STALL] += ready - prev
        if ready > c.TIME_LIMIT:
            return ready
        end = ready
        if s < 0:
            end += work
        else:
            burst = servers[s, c.V_BURST]
            left = work
            while left > 0:
                piece = min(burst, left) if burst > 0 else left
                left -= piece
                end += serve(servers, n.words, fns, s, phases, p, piece, work, end)
                if end > c.TIME_LIMIT:
                    return end
        busy += end - ready
        if end > c.TIME_LIMIT:
            return end
        if actors[a, c.A_FIRST] < 0:
            actors[a, c.A_FIRST] = ready
        if g[c.G_RECORD] > 0:
            record(n.record, g, a, p, ready, end)
        for j in range(nw):
            t = (ready if writes[j, W_AT_START] != 0 else end) + writes[j, W_DELAY]
            at = writes[j, W_AT]
            for k in range(writes[j, W_MOVE]):
                slots[writes[j, W_BASE] + ((at + k) & writes[j, W_MASK])] = t
            writes[j, W_AT] = at + writes[j, W_MOVE]
        prev = end
    actors[a, c.A_BUSY] += busy
    return prev


@jit
def serve(
    servers: IntArray,
    words: IntArray,
    fns: tuple[Any, ...],
    s: int,
    phases: IntArray,
    p: int,
    piece: int,
    work: int,
    now: int,
) -> int:
    """Serve one piece that starts now: keep the server's credit and free time, return the ticks it lasts."""
    if servers[s, c.V_STEP] >= 0:
        step = fns[servers[s, c.V_STEP]]
        state = words[servers[s, c.V_STATE] : servers[s, c.V_STATE_END]]
        ticks = min(max(1, step(state, piece, phases[p, c.P_ARG], now)), c.LONGEST)
    else:
        num = servers[s, c.V_NUM]
        credit = servers[s, c.V_CREDIT] if servers[s, c.V_FREE_AT] == now else 0
        if piece == work:  # divided once, when the Program was loaded
            part = phases[p, c.P_PART] - credit
            ticks = phases[p, c.P_TICKS]
        else:
            whole = piece * servers[s, c.V_DEN]
            ticks = whole // num
            part = whole - ticks * num - credit
        if part > 0:
            ticks += 1
            part -= num
        elif part <= -num:
            ticks -= 1
            part += num
        if ticks < 1:
            part -= (1 - ticks) * num
            ticks = 1
        servers[s, c.V_CREDIT] = min(num, -part)
    servers[s, c.V_FREE_AT] = now + ticks
    return ticks


@inlined
def visit(n: c.Net, fns: tuple[Any, ...], a: int) -> int:
    """Fire a private actor until it blocks, or often enough for others to be seen to; return 0, or OVERFLOW."""
    actors, code, phases, ports, fifos = n.actors, n.code, n.phases, n.ports, n.fifos
    reads, writes, g = n.reads, n.writes, n.globals
    fired = 0
    while actors[a, c.A_PC] >= 0:
        if fired >= c.BATCH:
            notify(actors, g, n.work, n.timed, a)
            return 0
        i = actors[a, c.A_PC]
        p = code[i, c.I_ARG]
        anchor = g[c.G_ANCHOR] == a
        most = min(code[i, c.I_COUNT] - code[i, c.I_DONE], c.STRIDE if anchor else c.BATCH)
        if actors[a, c.A_FIRST] < 0:
            most = 1
        first, outputs, end = phases[p, c.P_IN], phases[p, c.P_OUT], phases[p, c.P_END]
        m = possible(fifos, ports, actors, first, outputs, end, most)
        if m <= 0:
            if m < 0 and actors[a, c.A_SOFT] == 0:
                actors[a, c.A_SOFT] = 1
                n.soft[g[c.G_SOFT]] = a
                g[c.G_SOFT] += 1
            return 0
        nr, nw, single = list_slots(fifos, ports, actors, reads, writes, first, outputs, end)
        s = actors[a, c.A_SERVER]
        steady = single and nr <= STEADY_SLOTS and nw <= STEADY_SLOTS and (s < 0 or servers_steady(n.servers, s))
        if steady and actors[a, c.A_FIRST] >= 0 and g[c.G_RECORD] == 0:
            pad_slots(reads, writes, nr, nw)
            ticks = phases[p, c.P_TICKS]
            prev = actors[a, c.A_PREV]
            if nr <= 2 and nw <= 2:
                prev = fire_steady(n.slots, reads, writes, prev, m, ticks, False)
            else:
                prev = fire_steady(n.slots, reads, writes, prev, m, ticks, True)
            actors[a, c.A_BUSY] += m * ticks
        else:
            prev = fire_any(n, fns, a, p, m, nr, nw)
        if prev > c.TIME_LIMIT:
            g[c.G_WHO] = a
            return c.OVERFLOW
        actors[a, c.A_PREV] = prev
        for j in range(nr):
            f = reads[j, R_FIFO]
            stall = reads[j, R_STALL]
            fifos[f, c.F_DATA + reads[j, R_SPACE]] += stall
            actors[a, c.A_STALL + reads[j, R_SPACE]] += stall
        for q in range(first, outputs):
            f = ports[q, c.Q_FIFO]
            if ports[q, c.Q_MOVE] > 0:
                fifos[f, c.F_R] += m * ports[q, c.Q_MOVE]
                if fifos[f, c.F_SRC] != a:
                    notify(actors, g, n.work, n.timed, fifos[f, c.F_SRC])
        for q in range(outputs, end):
            f = ports[q, c.Q_FIFO]
            reader = fifos[f, c.F_DST]
            if ports[q, c.Q_MOVE] > 0 and (fifos[f, c.F_BOUNDED] != 0 or actors[reader, c.A_PC] >= 0):
                fifos[f, c.F_W] += m * ports[q, c.Q_MOVE]
                if reader != a:
                    notify(actors, g, n.work, n.timed, reader)
        fired += m
        g[c.G_FIRED] += m
        phases[p, c.P_FIRED] += m
        actors[a, c.A_FIRED] += m
        code[i, c.I_DONE] += m
        level = 0
        if code[i, c.I_DONE] == code[i, c.I_COUNT]:
            around = next_instruction(actors, code, a)
            if actors[a, c.A_PC] < 0:
                finish_actor(actors, n.fragments, n.heap_time, n.heap_code, g, a)
                if anchor:
                    g[c.G_ANCHOR] = -1
                return 0
            if around >= 0:
                level = min(1 + code[around, c.I_DEPTH], c.LEVELS - 1)
        if anchor and g[c.G_FIRED] - n.levels[level, c.L_FIRED] >= g[c.G_SPACING]:
            g[c.G_CUT] = level + 1
            return 0
    return 0


@inlined
def servers_steady(servers: IntArray, s: int) -> bool:
    """Whether a server's time is its work times a whole number, so that it keeps no credit and needs no pieces."""
    return servers[s, c.V_STEP] < 0 and servers[s, c.V_NUM] == 1
