# mypy: disable-error-code="no-any-return"
"""Timed actors: those that share a server or a pool. Their requests and ends go through the heap, tick by tick."""

from __future__ import annotations

from typing import Any

from ..jit import inlined
from . import columns as c
from ._jit import jit
from .private import serve
from .program import IntArray
from .queues import finish_actor, heap_pop, heap_push, next_instruction, notify, record


@jit
def look(
    actors: IntArray,
    code: IntArray,
    phases: IntArray,
    ports: IntArray,
    fifos: IntArray,
    slots: IntArray,
    times: IntArray,
    codes: IntArray,
    g: IntArray,
    timed: IntArray,
) -> None:
    """Give every listed actor whose tokens and spaces all exist its request event."""
    for x in range(g[c.G_TIMED]):
        a = timed[x]
        actors[a, c.A_QUEUED] = 0
        if actors[a, c.A_STATUS] != c.BLOCKED:
            continue
        p = code[actors[a, c.A_PC], c.I_ARG]
        outputs = phases[p, c.P_OUT]
        prev = actors[a, c.A_PREV]
        ready = prev
        last = -1
        for q in range(phases[p, c.P_IN], phases[p, c.P_END]):
            f = ports[q, c.Q_FIFO]
            need = ports[q, c.Q_NEED]
            used = fifos[f, c.F_W] - fifos[f, c.F_R]
            at = fifos[f, c.F_R] + need - 1
            have = used
            if q >= outputs:
                if fifos[f, c.F_BOUNDED] == 0:
                    if used + need > fifos[f, c.F_MASK] + 1 and actors[fifos[f, c.F_DST], c.A_PC] >= 0:
                        g[c.G_GROW] = 1
                    continue
                have = fifos[f, c.F_DEPTH] - used
                at += used
            if have < need:
                ready = -1
                break
            t = slots[fifos[f, c.F_BASE] + (at & fifos[f, c.F_MASK])]
            if t > ready:
                ready = t
                last = q
        if ready < 0:
            continue
        if last >= 0:
            side = 1 if last >= outputs else 0
            fifos[ports[last, c.Q_FIFO], c.F_DATA + side] += ready - prev
            actors[a, c.A_STALL + side] += ready - prev
        actors[a, c.A_STATUS] = c.PENDING
        actors[a, c.A_EVENT] = ready
        heap_push(times, codes, g, ready, (c.ASKS << c.CLASS_SHIFT) + a)
    g[c.G_TIMED] = 0


@jit
def ask_server(
    actors: IntArray, servers: IntArray, waiting: IntArray, g: IntArray, touched: IntArray, a: int, since: int
) -> None:
    """Put a firing, or the rest of one, into the queue of its server."""
    s = actors[a, c.A_SERVER]
    actors[a, c.A_STATUS] = c.IN_SERVER
    actors[a, c.A_SINCE] = since
    servers[s, c.V_WAITING] += 1
    if servers[s, c.V_TOUCHED] == 0:
        servers[s, c.V_TOUCHED] = 1
        touched[g[c.G_SERVERS]] = s
        g[c.G_SERVERS] += 1
    if servers[s, c.V_POLICY] == 1:
        client = actors[a, c.A_CLIENT]
        waiting[servers[s, c.V_BITS] + (client >> 5)] |= 1 << (client & 31)
        return
    time = actors[a, c.A_REQUEST]
    # from the back, for most come last, except the rest of a firing, which comes first
    ahead = servers[s, c.V_TAIL]
    head = servers[s, c.V_HEAD]
    if head >= 0 and (time < actors[head, c.A_REQUEST] or (time == actors[head, c.A_REQUEST] and a < head)):
        ahead = -1
    while ahead >= 0 and (actors[ahead, c.A_REQUEST] > time or (actors[ahead, c.A_REQUEST] == time and ahead > a)):
        ahead = actors[ahead, c.A_BACK]
    behind = head if ahead < 0 else actors[ahead, c.A_NEXT]
    actors[a, c.A_BACK] = ahead
    actors[a, c.A_NEXT] = behind
    if ahead < 0:
        servers[s, c.V_HEAD] = a
    else:
        actors[ahead, c.A_NEXT] = a
    if behind < 0:
        servers[s, c.V_TAIL] = a
    else:
        actors[behind, c.A_BACK] = a


@jit
def ask_pool(actors: IntArray, pools: IntArray, g: IntArray, touched: IntArray, a: int, k: int, now: int) -> None:
    """Put a firing at the end of a pool's queue; within a tick actors come in order of their id."""
    actors[a, c.A_STATUS] = c.IN_POOL
    actors[a, c.A_REQUEST] = now
    actors[a, c.A_NEXT] = -1
    tail = pools[k, c.K_TAIL]
    actors[a, c.A_BACK] = tail
    if tail < 0:
        pools[k, c.K_HEAD] = a
    else:
        actors[tail, c.A_NEXT] = a
    pools[k, c.K_TAIL] = a
    touch_pool(pools, g, touched, k)


@jit
def touch_pool(pools: IntArray, g: IntArray, touched: IntArray, k: int) -> None:
    if pools[k, c.K_TOUCHED] == 0:
        pools[k, c.K_TOUCHED] = 1
        touched[g[c.G_POOLS]] = k
        g[c.G_POOLS] += 1


@jit
def lowest_bit(word: int) -> int:
    """The place of the lowest bit set in a word of 32."""
    at = 0
    for width in (16, 8, 4, 2, 1):
        if word & ((1 << width) - 1) == 0:
            word >>= width
            at += width
    return at


@jit
def next_client(actors: IntArray, servers: IntArray, waiting: IntArray, clients: IntArray, s: int) -> int:
    """Remove the next actor to serve from a server's queue."""
    servers[s, c.V_WAITING] -= 1
    if servers[s, c.V_POLICY] == 1:
        n = servers[s, c.V_CLIENTS_END] - servers[s, c.V_CLIENTS]
        first = servers[s, c.V_LAST] + 1 if servers[s, c.V_LAST] + 1 < n else 0
        at = first >> 5
        word = waiting[servers[s, c.V_BITS] + at] >> (first & 31)
        client = first
        while word == 0:
            at = at + 1 if (at + 1) << 5 < n else 0
            word = waiting[servers[s, c.V_BITS] + at]
            client = at << 5
        client += lowest_bit(word)
        waiting[servers[s, c.V_BITS] + at] ^= 1 << (client & 31)
        servers[s, c.V_LAST] = client
        return clients[servers[s, c.V_CLIENTS] + client]
    a = servers[s, c.V_HEAD]
    behind = actors[a, c.A_NEXT]
    servers[s, c.V_HEAD] = behind
    if behind < 0:
        servers[s, c.V_TAIL] = -1
    else:
        actors[behind, c.A_BACK] = -1
    return a


@inlined
def begin(n: c.Net, a: int, now: int) -> None:
    """The first piece is granted: tokens leave the FIFOs that return their slots at the start, early ones enter."""
    actors, fifos, ports = n.actors, n.fifos, n.ports
    actors[a, c.A_BEGIN] = now
    if actors[a, c.A_FIRST] < 0:
        actors[a, c.A_FIRST] = now
    p = n.code[actors[a, c.A_PC], c.I_ARG]
    for q in range(n.phases[p, c.P_IN], n.phases[p, c.P_OUT]):
        f = ports[q, c.Q_FIFO]
        if fifos[f, c.F_AT_START] != 0 and ports[q, c.Q_MOVE] > 0:
            return_slots(n.slots, fifos, f, ports[q, c.Q_MOVE], now)
            notify(actors, n.globals, n.work, n.timed, fifos[f, c.F_SRC])
    for q in range(n.phases[p, c.P_OUT], n.phases[p, c.P_END]):
        if fifos[ports[q, c.Q_FIFO], c.F_EARLY] != 0:
            put_tokens(n, ports[q, c.Q_FIFO], ports[q, c.Q_MOVE], now)


@inlined
def put_tokens(n: c.Net, f: int, put: int, now: int) -> None:
    """Put tokens into a FIFO whose reader still wants them."""
    fifos, slots = n.fifos, n.slots
    reader = fifos[f, c.F_DST]
    if put > 0 and (fifos[f, c.F_BOUNDED] != 0 or n.actors[reader, c.A_PC] >= 0):
        at = fifos[f, c.F_W]
        for k in range(put):
            slots[fifos[f, c.F_BASE] + ((at + k) & fifos[f, c.F_MASK])] = now + fifos[f, c.F_LATENCY]
        fifos[f, c.F_W] = at + put
        notify(n.actors, n.globals, n.work, n.timed, reader)


@jit
def return_slots(slots: IntArray, fifos: IntArray, f: int, take: int, now: int) -> None:
    if fifos[f, c.F_BOUNDED] != 0:
        at = fifos[f, c.F_R] + fifos[f, c.F_DEPTH]
        for k in range(take):
            slots[fifos[f, c.F_BASE] + ((at + k) & fifos[f, c.F_MASK])] = now + fifos[f, c.F_CREDIT]
    fifos[f, c.F_R] += take


@inlined
def complete(n: c.Net, a: int, now: int) -> int:
    """A firing ends: tokens and slots move, pools get their bytes back, the actor goes on. Returns 0 or OVERGIVEN."""
    actors, code, phases, ports, fifos, slots, g = n.actors, n.code, n.phases, n.ports, n.fifos, n.slots, n.globals
    i = actors[a, c.A_PC]
    p = code[i, c.I_ARG]
    outputs = phases[p, c.P_OUT]
    for q in range(phases[p, c.P_IN], outputs):
        f = ports[q, c.Q_FIFO]
        if fifos[f, c.F_AT_START] == 0 and ports[q, c.Q_MOVE] > 0:
            return_slots(slots, fifos, f, ports[q, c.Q_MOVE], now)
            notify(actors, g, n.work, n.timed, fifos[f, c.F_SRC])
    for q in range(outputs, phases[p, c.P_END]):
        if fifos[ports[q, c.Q_FIFO], c.F_EARLY] == 0:
            put_tokens(n, ports[q, c.Q_FIFO], ports[q, c.Q_MOVE], now)
    for w in range(phases[p, c.P_GIVE], phases[p, c.P_GIVE_END]):
        k = n.gives[w, 0]
        n.pools[k, c.K_FREE] += n.gives[w, 1]
        if n.pools[k, c.K_FREE] > n.pools[k, c.K_CAPACITY]:
            g[c.G_WHO] = k
            return c.OVERGIVEN
        touch_pool(n.pools, g, n.touched_pools, k)
    if g[c.G_RECORD] > 0:
        record(n.record, g, a, p, actors[a, c.A_BEGIN], now)
    actors[a, c.A_PREV] = now
    actors[a, c.A_BEGIN] = -1
    actors[a, c.A_FIRED] += 1
    phases[p, c.P_FIRED] += 1
    g[c.G_FIRED] += 1
    code[i, c.I_DONE] += 1
    actors[a, c.A_STATUS] = c.BLOCKED
    level = 0
    if code[i, c.I_DONE] == code[i, c.I_COUNT]:
        around = next_instruction(actors, code, a)
        if around >= 0:
            level = min(1 + code[around, c.I_DEPTH], c.LEVELS - 1)
    if actors[a, c.A_PC] < 0:
        finish_actor(actors, n.fragments, n.heap_time, n.heap_code, g, a)
        if g[c.G_ANCHOR] == a:
            g[c.G_ANCHOR] = -1
        return 0
    notify(actors, g, n.work, n.timed, a)
    if g[c.G_ANCHOR] == a and g[c.G_FIRED] - n.levels[level, c.L_FIRED] >= g[c.G_SPACING]:
        g[c.G_CUT] = level + 1
    return 0


@inlined
def end_piece(n: c.Net, a: int, now: int) -> int:
    """A piece ends, and with the last one the firing. Returns 0 or OVERGIVEN."""
    actors, servers, g = n.actors, n.servers, n.globals
    s = actors[a, c.A_SERVER]
    if s >= 0:
        servers[s, c.V_ACTOR] = -1
        if actors[a, c.A_REMAIN] > 0:
            ask_server(actors, servers, n.waiting, g, n.touched_servers, a, now)
            return 0
        if servers[s, c.V_TOUCHED] == 0 and servers[s, c.V_WAITING] > 0:
            servers[s, c.V_TOUCHED] = 1
            n.touched_servers[g[c.G_SERVERS]] = s
            g[c.G_SERVERS] += 1
    return complete(n, a, now)


@inlined
def grant_pools(n: c.Net, now: int) -> None:
    """Serve the queues of the pools touched in this tick; whoever is granted goes to its server, or serves itself."""
    actors, pools, phases, g = n.actors, n.pools, n.phases, n.globals
    for x in range(g[c.G_POOLS]):
        k = n.touched_pools[x]
        pools[k, c.K_TOUCHED] = 0
        while pools[k, c.K_HEAD] >= 0:
            a = pools[k, c.K_HEAD]
            p = n.code[actors[a, c.A_PC], c.I_ARG]
            if phases[p, c.P_BYTES] > pools[k, c.K_FREE]:
                break
            pools[k, c.K_FREE] -= phases[p, c.P_BYTES]
            pools[k, c.K_LEAST] = min(pools[k, c.K_LEAST], pools[k, c.K_FREE])
            behind = actors[a, c.A_NEXT]
            pools[k, c.K_HEAD] = behind
            if behind < 0:
                pools[k, c.K_TAIL] = -1
            else:
                actors[behind, c.A_BACK] = -1
            actors[a, c.A_STALL + 2] += now - actors[a, c.A_REQUEST]
            go_to_server(n, a, p, now)
    g[c.G_POOLS] = 0


@inlined
def go_to_server(n: c.Net, a: int, p: int, now: int) -> None:
    actors = n.actors
    actors[a, c.A_REQUEST] = now
    actors[a, c.A_REMAIN] = n.phases[p, c.P_WORK]
    if actors[a, c.A_SERVER] >= 0:
        ask_server(actors, n.servers, n.waiting, n.globals, n.touched_servers, a, now)
    else:
        actors[a, c.A_REMAIN] = 0
        begin(n, a, now)
        run_for(n, a, now, n.phases[p, c.P_WORK])


@inlined
def run_for(n: c.Net, a: int, now: int, ticks: int) -> None:
    actors = n.actors
    actors[a, c.A_STATUS] = c.SERVED
    actors[a, c.A_BUSY] += ticks
    actors[a, c.A_EVENT] = now + ticks
    heap_push(n.heap_time, n.heap_code, n.globals, now + ticks, (c.ENDS << c.CLASS_SHIFT) + a)


@inlined
def grant_servers(n: c.Net, fns: tuple[Any, ...], now: int) -> None:
    """Let the free servers touched in this tick begin their next pieces."""
    actors, servers, g = n.actors, n.servers, n.globals
    for x in range(g[c.G_SERVERS]):
        s = n.touched_servers[x]
        servers[s, c.V_TOUCHED] = 0
        if servers[s, c.V_ACTOR] >= 0 or servers[s, c.V_WAITING] == 0:
            continue
        a = next_client(actors, servers, n.waiting, n.clients, s)
        actors[a, c.A_STALL + 3] += now - actors[a, c.A_SINCE]
        if actors[a, c.A_BEGIN] < 0:
            begin(n, a, now)
        p = n.code[actors[a, c.A_PC], c.I_ARG]
        burst = servers[s, c.V_BURST]
        remain = actors[a, c.A_REMAIN]
        piece = min(burst, remain) if burst > 0 else remain
        actors[a, c.A_REMAIN] = remain - piece
        servers[s, c.V_ACTOR] = a
        run_for(n, a, now, serve(servers, n.words, fns, s, n.phases, p, piece, n.phases[p, c.P_WORK], now))
    g[c.G_SERVERS] = 0


@inlined
def tick(n: c.Net, fns: tuple[Any, ...], now: int) -> int:
    """Process all events of one tick. Returns 0, OVERGIVEN, or COMPLETED."""
    times, codes, g, actors = n.heap_time, n.heap_code, n.globals, n.actors
    g[c.G_NOW] = now
    while g[c.G_HEAP] > 0 and times[0] == now and codes[0] >> c.CLASS_SHIFT == c.ENDS:
        status = end_piece(n, heap_pop(times, codes, g) & c.ACTOR_BITS, now)
        if status != 0:
            return status
    look(actors, n.code, n.phases, n.ports, n.fifos, n.slots, times, codes, g, n.timed)
    while g[c.G_HEAP] > 0 and times[0] == now:
        event = heap_pop(times, codes, g)
        a = event & c.ACTOR_BITS
        if event >> c.CLASS_SHIFT == c.COMPLETES:
            n.fragments[a, 2] = 1
            g[c.G_DONE] += 1
            continue
        p = n.code[actors[a, c.A_PC], c.I_ARG]
        if n.phases[p, c.P_POOL] >= 0:
            ask_pool(actors, n.pools, g, n.touched_pools, a, n.phases[p, c.P_POOL], now)
        else:
            go_to_server(n, a, p, now)
    grant_pools(n, now)
    grant_servers(n, fns, now)
    return c.COMPLETED if g[c.G_DONE] > 0 else 0
