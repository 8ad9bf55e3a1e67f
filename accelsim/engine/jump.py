# mypy: disable-error-code="no-any-return"
"""The jump: when the state of a network recurs, its future is its past, shifted in time.

Cuts are taken of the anchor, an actor whose schedule has a long body: at the ends of rounds of its loops (one level
per depth) and inside its long runs. At a cut every other actor has run as far as it can. Each level keeps one snapshot,
replaced at cuts 1, 2, 4, 8 ... of that level, so that a period of any length is found in time proportional to it and
to the transient before it (R. P. Brent, "An improved Monte Carlo factorization algorithm", BIT 20, 1980).

Two states are alike when, for each actor, at most one counter of its schedule differs among those around the next
firing, and all times have the same meaning: times of slots no later than the last end of the actor that looks at them
are past, whatever their value; all others moved with the actor that wrote them. An actor that did not fire must find
everything exactly where it was. Two actors that share a bounded FIFO, and all timed actors, must have moved by the same
time; a reader behind an unbounded FIFO may move further than its writer, if it never waited for it.
"""

from __future__ import annotations

from . import columns as c
from ._jit import jit
from .program import IntArray
from .queues import heap_push


@jit
def choose_anchor(n: c.Net) -> None:
    """Take for anchor the unfinished actor with the longest loop body, then the fewest firings, of those that fired
    since the last choice; timed actors first, for private ones move within their slack only."""
    g, actors = n.globals, n.actors
    best = -1
    for x in range(n.scopes[g[c.G_SCOPE], c.X_ACTORS], n.scopes[g[c.G_SCOPE], c.X_ACTORS_END]):
        a = n.members[x]
        moved = actors[a, c.A_FIRED] > actors[a, c.A_MARK]
        actors[a, c.A_MARK] = actors[a, c.A_FIRED]
        if not moved or actors[a, c.A_PC] < 0:
            continue
        if best >= 0:
            if actors[a, c.A_TIMED] != actors[best, c.A_TIMED]:
                if actors[a, c.A_TIMED] == 0:
                    continue
            elif actors[a, c.A_BODY] != actors[best, c.A_BODY]:
                if actors[a, c.A_BODY] < actors[best, c.A_BODY]:
                    continue
            elif actors[a, c.A_TOTAL] >= actors[best, c.A_TOTAL]:
                continue
        best = a
    g[c.G_LAST_CUT] = g[c.G_FIRED]
    # while the anchor waits, each of the others may go through a body of its own before it moves on
    others = n.scopes[g[c.G_SCOPE], c.X_ACTORS_END] - n.scopes[g[c.G_SCOPE], c.X_ACTORS]
    g[c.G_STALE] = min(2 * others * min(actors[best, c.A_BODY], c.MOST_STALE), c.MOST_STALE) if best >= 0 else 0
    if best != g[c.G_ANCHOR]:
        g[c.G_ANCHOR] = best
        for level in range(c.LEVELS):
            n.levels[level, c.L_VALID] = 0
            n.levels[level, c.L_FIRED] = g[c.G_FIRED]


@jit
def cut(n: c.Net, level: int) -> bool:
    """Compare the state with the level's snapshot and jump, or keep it. False when the jump would leave the time's
    range, which the run without it would do too."""
    g, lv = n.globals, n.levels
    g[c.G_LAST_CUT] = g[c.G_FIRED]
    lv[level, c.L_FIRED] = g[c.G_FIRED]
    place = n.actors[g[c.G_ANCHOR], c.A_PC]
    if lv[level, c.L_VALID] != 0 and lv[level, c.L_PLACE] == place:
        periods = match(n, level) if lv[level, c.L_VALID] != c.TOO_LARGE else 0
        if periods < 0:
            return False
        if periods > 0 and periods >= g[c.G_SPACING] // max(1, g[c.G_PERIOD]):
            shift_state(n, level, periods)
            lv[level, c.L_VALID] = 0
            g[c.G_SPACING] = g[c.G_LEAST_SPACING]
            g[c.G_MISSES] = 0
            return True
    else:
        lv[level, c.L_VALID] = 0
        lv[level, c.L_INDEX] = 0
        lv[level, c.L_NEXT] = 1
    lv[level, c.L_INDEX] += 1
    if lv[level, c.L_INDEX] >= lv[level, c.L_NEXT]:
        lv[level, c.L_NEXT] = 2 * lv[level, c.L_INDEX]
        lv[level, c.L_PLACE] = place
        keep(n, level)
    g[c.G_MISSES] += 1
    if g[c.G_MISSES] >= c.PATIENCE:
        g[c.G_MISSES] = 0
        g[c.G_SPACING] = min(2 * g[c.G_SPACING], c.WIDEST * g[c.G_LEAST_SPACING])
    return True


@jit
def copy_row(to: IntArray, table: IntArray, row: int) -> None:
    for column in range(table.shape[1]):
        to[row, column] = table[row, column]


@jit
def keep(n: c.Net, level: int) -> None:
    """Take the snapshot of a level. Without room for its slots nothing is compared with it until the next one."""
    g, lv, sc = n.globals, n.levels, n.scopes
    scope = g[c.G_SCOPE]
    lv[level, c.L_VALID] = 1
    lv[level, c.L_NOW] = g[c.G_NOW]
    for x in range(sc[scope, c.X_ACTORS], sc[scope, c.X_ACTORS_END]):
        a = n.members[x]
        copy_row(n.shot_actors[level], n.actors, a)
        i = n.actors[a, c.A_PC]
        while i >= 0:
            n.shot_code[level, i] = n.code[i, c.I_DONE]
            i = n.code[i, c.I_UP]
    for x in range(sc[scope, c.X_PHASES], sc[scope, c.X_PHASES_END]):
        p = n.members[x]
        n.shot_phases[level, p] = n.phases[p, c.P_FIRED]
    for x in range(sc[scope, c.X_SERVERS], sc[scope, c.X_SERVERS_END]):
        s = n.members[x]
        copy_row(n.shot_servers[level], n.servers, s)
        for w in range(n.servers[s, c.V_STATE], n.servers[s, c.V_STATE_END]):
            n.shot_words[level, w] = n.words[w]
    for x in range(sc[scope, c.X_POOLS], sc[scope, c.X_POOLS_END]):
        k = n.members[x]
        copy_row(n.shot_pools[level], n.pools, k)
    used = 0
    for x in range(sc[scope, c.X_FIFOS], sc[scope, c.X_FIFOS_END]):
        f = n.members[x]
        copy_row(n.shot_fifos[level], n.fifos, f)
        for side in range(2):
            used = walk_slots(n, level, f, side, used, False)
            if used < 0:
                lv[level, c.L_VALID] = c.TOO_LARGE
                return


@jit
def walk_slots(n: c.Net, level: int, f: int, side: int, used: int, check: bool) -> int:
    """Keep, or compare with those kept, the times of a FIFO's tokens (side 0) or spaces (1) that lie ahead of the actor
    that looks at them. Returns the words of the snapshot used, or -1 when it is full, or the times differ."""
    fifos, kept = n.fifos, n.shot_slots
    reader = fifos[f, c.F_DST] if side == 0 else fifos[f, c.F_SRC]
    first = fifos[f, c.F_R] if side == 0 else fifos[f, c.F_W]
    at = fifos[f, c.F_W] if side == 0 else fifos[f, c.F_R] + fifos[f, c.F_DEPTH]
    if n.actors[reader, c.A_PC] < 0 or (side == 1 and fifos[f, c.F_BOUNDED] == 0):
        at = first
    past = n.actors[reader, c.A_PREV]
    head = used
    used += 1
    while at > first:
        at -= 1
        ahead = n.slots[fifos[f, c.F_BASE] + (at & fifos[f, c.F_MASK])] - past
        if ahead <= 0:
            break
        if used >= kept.shape[1]:
            return -1
        if check:
            if used - head > kept[level, head] or kept[level, used] != ahead:
                return -1
        else:
            kept[level, used] = ahead
        used += 1
    if head >= kept.shape[1]:
        return -1
    if check:
        if kept[level, head] != used - head - 1:
            return -1
    else:
        kept[level, head] = used - head - 1
    return used


@jit
def match(n: c.Net, level: int) -> int:
    """How many periods, from the level's snapshot to now, can follow unchanged: 0 if the state is another one, -1 if
    the time's range ends first. Leaves the period in `shift`, `rise` and G_PERIOD."""
    g, sc, actors = n.globals, n.scopes, n.actors
    scope = g[c.G_SCOPE]
    passed = g[c.G_NOW] - n.levels[level, c.L_NOW]
    for x in range(sc[scope, c.X_SERVERS], sc[scope, c.X_SERVERS_END]):
        n.shift[actors.shape[0] + n.members[x]] = 0
    most = c.FAR
    still = c.FAR  # first event of an actor that the period leaves alone
    timed = False
    g[c.G_PERIOD] = 0
    for x in range(sc[scope, c.X_ACTORS], sc[scope, c.X_ACTORS_END]):
        a = n.members[x]
        k = match_actor(n, level, a, passed)
        if k == 0:
            return 0
        most = min(most, k)
        moves = n.shift[a] > 0 or n.rise[a, 0] == c.PIECES
        if actors[a, c.A_TIMED] != 0:
            timed = timed or moves
            status = actors[a, c.A_STATUS]
            if not moves and (status == c.PENDING or status == c.SERVED):
                still = min(still, actors[a, c.A_EVENT])
        if moves and actors[a, c.A_SERVER] >= 0:
            n.shift[actors.shape[0] + actors[a, c.A_SERVER]] = passed if actors[a, c.A_TIMED] != 0 else n.shift[a]
    if most == c.FAR or (timed and passed <= 0):
        return 0
    used = 0
    for x in range(sc[scope, c.X_FIFOS], sc[scope, c.X_FIFOS_END]):
        used = match_fifo(n, level, n.members[x], used)
        if used < 0:
            return 0
    for x in range(sc[scope, c.X_SERVERS], sc[scope, c.X_SERVERS_END]):
        if not match_server(n, level, n.members[x]):
            return 0
    for x in range(sc[scope, c.X_POOLS], sc[scope, c.X_POOLS_END]):
        k = n.members[x]
        for column in (c.K_FREE, c.K_HEAD, c.K_TAIL):
            if n.pools[k, column] != n.shot_pools[level, k, column]:
                return 0
    if timed:
        if g[c.G_SESSION] != 0:
            for i in range(g[c.G_HEAP]):
                if n.heap_code[i] >> c.CLASS_SHIFT == c.COMPLETES:
                    still = min(still, n.heap_time[i])
        most = min(most, (min(still - 1, g[c.G_UNTIL]) - g[c.G_NOW]) // passed)
    for x in range(sc[scope, c.X_ACTORS], sc[scope, c.X_ACTORS_END]):
        a = n.members[x]
        if n.shift[a] > 0 and (c.TIME_LIMIT - actors[a, c.A_PREV]) // n.shift[a] < most:
            return -1
    return max(most, 0)


@jit
def match_actor(n: c.Net, level: int, a: int, passed: int) -> int:
    """How many periods an actor's schedule allows, 0 if it stands elsewhere; fills `shift` and `rise`."""
    old, new = n.shot_actors[level, a], n.actors[a]
    n.shift[a] = 0
    n.rise[a, 0] = -1
    if old[c.A_PC] != new[c.A_PC] or old[c.A_STATUS] != new[c.A_STATUS]:
        return 0
    status = new[c.A_STATUS]
    timed = new[c.A_TIMED] != 0
    fired = new[c.A_FIRED] - old[c.A_FIRED]
    if timed and (status == c.IN_POOL or status == c.IN_SERVER) and old[c.A_NEXT] != new[c.A_NEXT]:
        return 0
    if fired == 0:
        if not timed or status == c.BLOCKED or status == c.FINISHED:
            return c.FAR
        if old[c.A_BEGIN] != new[c.A_BEGIN] or old[c.A_REQUEST] != new[c.A_REQUEST]:
            return 0
        taken = old[c.A_REMAIN] - new[c.A_REMAIN]
        if taken == 0 or (status != c.IN_SERVER and status != c.SERVED):
            same = old[c.A_EVENT] == new[c.A_EVENT] or (status != c.PENDING and status != c.SERVED)
            return c.FAR if same and (status != c.IN_SERVER or old[c.A_SINCE] == new[c.A_SINCE]) else 0
        mark = c.A_EVENT if status == c.SERVED else c.A_SINCE
        if taken < 0 or new[mark] - old[mark] != passed:
            return 0
        n.rise[a, 0] = c.PIECES
        n.rise[a, 1] = taken
        return (new[c.A_REMAIN] - 1) // taken
    g = n.globals
    g[c.G_PERIOD] += fired
    n.shift[a] = new[c.A_PREV] - old[c.A_PREV]
    if timed and not moved_alike(old, new, status, passed):
        return 0
    changed = -1
    i = new[c.A_PC]
    while i >= 0:
        if n.code[i, c.I_DONE] != n.shot_code[level, i]:
            changed = i
        i = n.code[i, c.I_UP]
    i = new[c.A_PC]
    while i != changed:
        if n.code[i, c.I_DONE] != n.shot_code[level, i]:
            return 0
        i = n.code[i, c.I_UP]
    rise = n.code[changed, c.I_DONE] - n.shot_code[level, changed]
    n.rise[a, 0] = changed
    n.rise[a, 1] = rise
    return (n.code[changed, c.I_COUNT] - 1 - n.code[changed, c.I_DONE]) // rise


@jit
def moved_alike(old: IntArray, new: IntArray, status: int, passed: int) -> bool:
    """Whether all times of a timed actor that fired went on by `passed`."""
    if new[c.A_PREV] - old[c.A_PREV] != passed:
        return False
    if status == c.PENDING:
        return new[c.A_EVENT] - old[c.A_EVENT] == passed
    if status == c.BLOCKED:
        return True
    if new[c.A_REQUEST] - old[c.A_REQUEST] != passed:
        return False
    if status == c.IN_POOL:
        return True
    if new[c.A_REMAIN] != old[c.A_REMAIN]:
        return False
    if old[c.A_BEGIN] < 0 or new[c.A_BEGIN] < 0:
        if old[c.A_BEGIN] != new[c.A_BEGIN]:
            return False
    elif new[c.A_BEGIN] - old[c.A_BEGIN] != passed:
        return False
    mark = c.A_EVENT if status == c.SERVED else c.A_SINCE
    return new[mark] - old[mark] == passed


@jit
def match_fifo(n: c.Net, level: int, f: int, used: int) -> int:
    """Compare a FIFO with its snapshot; returns the words of the snapshot used, or -1 if it differs."""
    fifos = n.fifos
    old = n.shot_fifos[level, f]
    if fifos[f, c.F_W] - fifos[f, c.F_R] != old[c.F_W] - old[c.F_R]:
        return -1
    writer, reader = n.shift[fifos[f, c.F_SRC]], n.shift[fifos[f, c.F_DST]]
    drifts = False
    if writer > 0 and reader > 0 and writer != reader:
        drifts = True
        if fifos[f, c.F_BOUNDED] != 0 or writer > reader or fifos[f, c.F_DATA] != old[c.F_DATA]:
            return -1
    after = walk_slots(n, level, f, 0, used, True)
    if after < 0 or (drifts and after != used + 1):
        return -1
    return walk_slots(n, level, f, 1, after, True)


@jit
def reference_time(n: c.Net, actors: IntArray, s: int, now: int) -> int:
    """The time no later than which a server is never asked again: its only actor's last end, or the tick."""
    a = n.clients[n.servers[s, c.V_CLIENTS]]
    return now if actors[a, c.A_TIMED] != 0 else actors[a, c.A_PREV]


@jit
def match_server(n: c.Net, level: int, s: int) -> bool:
    old, new = n.shot_servers[level, s], n.servers[s]
    shift = n.shift[n.actors.shape[0] + s]
    if shift == 0:
        return True
    for column in (c.V_ACTOR, c.V_LAST, c.V_HEAD, c.V_TAIL, c.V_WAITING):
        if old[column] != new[column]:
            return False
    private = n.actors[n.clients[new[c.V_CLIENTS]], c.A_TIMED] == 0
    if private or new[c.V_ACTOR] >= 0:
        if old[c.V_CREDIT] != new[c.V_CREDIT]:
            return False
        if private and new[c.V_CREDIT] != 0 and new[c.V_FREE_AT] - old[c.V_FREE_AT] != shift:
            return False
    then = reference_time(n, n.shot_actors[level], s, n.levels[level, c.L_NOW])
    now = reference_time(n, n.actors, s, n.globals[c.G_NOW])
    for w in range(new[c.V_STATE], new[c.V_STATE_END]):
        was, has = n.shot_words[level, w], n.words[w]
        if n.word_is_time[w] != 0:
            was -= then
            has -= now
            if new[c.V_HORIZON] >= 0:
                was = max(was, -new[c.V_HORIZON] - 1)
                has = max(has, -new[c.V_HORIZON] - 1)
        if was != has:
            return False
    return True


@jit
def shift_state(n: c.Net, level: int, periods: int) -> None:
    """Let `periods` more periods pass."""
    g, sc, actors = n.globals, n.scopes, n.actors
    scope = g[c.G_SCOPE]
    passed = g[c.G_NOW] - n.levels[level, c.L_NOW]
    for x in range(sc[scope, c.X_FIFOS], sc[scope, c.X_FIFOS_END]):
        f = n.members[x]
        old = n.shot_fifos[level, f]
        for column in (c.F_DATA, c.F_SPACE):
            n.fifos[f, column] += periods * (n.fifos[f, column] - old[column])
        shift_slots(n, f, 0, periods * n.shift[n.fifos[f, c.F_SRC]])
        shift_slots(n, f, 1, periods * n.shift[n.fifos[f, c.F_DST]])
    for x in range(sc[scope, c.X_SERVERS], sc[scope, c.X_SERVERS_END]):
        s = n.members[x]
        shift = periods * n.shift[actors.shape[0] + s]
        if shift == 0:
            continue
        n.servers[s, c.V_FREE_AT] += shift
        now = reference_time(n, actors, s, g[c.G_NOW])
        horizon = n.servers[s, c.V_HORIZON]
        for w in range(n.servers[s, c.V_STATE], n.servers[s, c.V_STATE_END]):
            if n.word_is_time[w] != 0 and (horizon < 0 or n.words[w] >= now - horizon):
                n.words[w] += shift
    for x in range(sc[scope, c.X_PHASES], sc[scope, c.X_PHASES_END]):
        p = n.members[x]
        n.phases[p, c.P_FIRED] += periods * (n.phases[p, c.P_FIRED] - n.shot_phases[level, p])
    timed = False
    for x in range(sc[scope, c.X_ACTORS], sc[scope, c.X_ACTORS_END]):
        timed = shift_actor(n, level, n.members[x], periods, periods * passed) or timed
    g[c.G_JUMPS] += 1
    g[c.G_JUMPED] += periods * g[c.G_PERIOD]
    if timed:
        g[c.G_NOW] += periods * passed
        entries = g[c.G_HEAP]
        g[c.G_HEAP] = 0
        for i in range(entries):  # in place: the heap grows over the entries already taken
            time, code = n.heap_time[i], n.heap_code[i]
            if code >> c.CLASS_SHIFT != c.COMPLETES:
                time = actors[code & c.ACTOR_BITS, c.A_EVENT]
            heap_push(n.heap_time, n.heap_code, g, time, code)


@jit
def shift_slots(n: c.Net, f: int, side: int, shift: int) -> None:
    """Shift the times that lie ahead of the actor that looks at them; the past stays past."""
    fifos = n.fifos
    reader = fifos[f, c.F_DST] if side == 0 else fifos[f, c.F_SRC]
    first = fifos[f, c.F_R] if side == 0 else fifos[f, c.F_W]
    at = fifos[f, c.F_W] if side == 0 else fifos[f, c.F_R] + fifos[f, c.F_DEPTH]
    if shift == 0 or n.actors[reader, c.A_PC] < 0 or (side == 1 and fifos[f, c.F_BOUNDED] == 0):
        return
    past = n.actors[reader, c.A_PREV]
    while at > first:
        at -= 1
        slot = fifos[f, c.F_BASE] + (at & fifos[f, c.F_MASK])
        if n.slots[slot] <= past:
            return
        n.slots[slot] += shift


@jit
def shift_actor(n: c.Net, level: int, a: int, periods: int, time: int) -> bool:
    """Shift one actor; returns whether it is timed and moved."""
    old, new = n.shot_actors[level, a], n.actors[a]
    for column in range(c.A_FIRED, c.A_COLUMNS):
        if column != c.A_FIRST:
            new[column] += periods * (new[column] - old[column])
    if n.rise[a, 0] == c.PIECES:
        new[c.A_REMAIN] -= periods * n.rise[a, 1]
        new[c.A_EVENT] += time
        new[c.A_SINCE] += time
        return True
    if n.shift[a] == 0:
        return False
    n.code[n.rise[a, 0], c.I_DONE] += periods * n.rise[a, 1]
    shift = periods * n.shift[a]
    for column in (c.A_PREV, c.A_EVENT, c.A_REQUEST, c.A_SINCE):
        new[column] += shift
    if new[c.A_BEGIN] >= 0:
        new[c.A_BEGIN] += shift
    return bool(new[c.A_TIMED] != 0)
