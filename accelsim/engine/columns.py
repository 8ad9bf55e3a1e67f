"""Columns of the compiled kernel's tables. Every table is int64; a row is an actor, a FIFO and so on."""

from __future__ import annotations

from typing import NamedTuple

from .program import MAX_TICK, IntArray

# actors: what they are
A_SERVER = 0
A_TIMED = 1  # 0: private, its firings depend on nobody's order
A_LO = 2  # first instruction
A_HI = 3  # behind the last
A_FRAGMENT = 4
A_CLIENT = 5  # place among the clients of its server
A_BODY = 6  # firings in one round of its longest outermost loop
A_TOTAL = 7  # firings in all (saturating)
# actors: where they stand
A_PC = 8  # instruction of the next or running firing, -1 when finished
A_STATUS = 9
A_PREV = 10  # end of the previous firing
A_EVENT = 11  # time of its entry in the heap (PENDING, SERVED)
A_REQUEST = 12  # request time at the pool or server
A_SINCE = 13  # waiting at the server since
A_REMAIN = 14  # work left behind the piece being served
A_BEGIN = 15  # grant of the first piece, -1 before it
A_NEXT = 16  # links of the queue it stands in
A_BACK = 17
A_QUEUED = 18  # listed for a visit
A_SOFT = 19  # stopped by a ring that could grow
A_MARK = 20  # firings when the anchor was last chosen
# actors: what they did
A_FIRED = 21
A_FIRST = 22  # first start, -1 if none
A_BUSY = 23
A_STALL = 24  # four columns, by cause
A_COLUMNS = 28

BLOCKED, PENDING, IN_POOL, IN_SERVER, SERVED, FINISHED = 0, 1, 2, 3, 4, 5

# instructions
I_OP = 0
I_ARG = 1
I_COUNT = 2
I_DONE = 3  # firings of this run, or rounds of this loop, that are over
I_UP = 4  # the loop around it, -1 if none
I_DEPTH = 5  # loops around it
I_COLUMNS = 6

# phases
P_WORK = 0
P_ARG = 1
P_IN = 2  # first input port
P_OUT = 3  # first output port, behind the inputs
P_END = 4
P_POOL = 5
P_BYTES = 6
P_GIVE = 7
P_GIVE_END = 8
P_FIRED = 9
P_TICKS = 10  # work * den // num of the actor's server
P_PART = 11  # and its remainder
P_COLUMNS = 12

# ports
Q_FIFO = 0
Q_NEED = 1
Q_MOVE = 2
Q_COLUMNS = 3

# FIFOs. Slots lie on a ring: tokens at R .. W-1 with the times they become visible, spaces at W .. R+depth-1 with the
# times they become free. Either side is serial, so times never fall along the ring.
F_SRC = 0
F_DST = 1
F_DEPTH = 2
F_BOUNDED = 3
F_BASE = 4
F_MASK = 5
F_R = 6
F_W = 7
F_LATENCY = 8
F_CREDIT = 9
F_AT_START = 10
F_DATA = 11  # stalls of the consumer
F_SPACE = 12  # stalls of the producer
F_LARGEST = 13  # most tokens that one firing needs or moves
F_EARLY = 14  # tokens count their latency from the start of the firing
F_COLUMNS = 15

# servers
V_NUM = 0
V_DEN = 1
V_POLICY = 2
V_BURST = 3
V_STEP = 4
V_STATE = 5
V_STATE_END = 6
V_HORIZON = 7
V_CLIENTS = 8  # first client in the list of clients
V_CLIENTS_END = 9
V_ACTOR = 10  # being served, or -1
V_FREE_AT = 11  # end of the last service
V_CREDIT = 12
V_LAST = 13  # client granted last
V_HEAD = 14
V_TAIL = 15
V_WAITING = 16
V_TOUCHED = 17
V_BITS = 18  # first word of the clients' flags, 32 to a word
V_COLUMNS = 19

# pools
K_CAPACITY = 0
K_FREE = 1
K_HEAD = 2
K_TAIL = 3
K_LEAST = 4  # least that was ever free
K_TOUCHED = 5
K_COLUMNS = 6

# globals
G_NOW = 0
G_UNTIL = 1
G_BUDGET = 2  # visits and ticks left before the kernel looks up
G_HEAP = 3
G_WORK_HEAD = 4
G_WORK = 5
G_TIMED = 6
G_SOFT = 7
G_POOLS = 8
G_SERVERS = 9
G_GROW = 10
G_LEFT = 11  # unfinished actors
G_DONE = 12  # fragments that completed in this tick
G_SESSION = 13
G_WHO = 14  # what an error is about
G_FIRED = 15
G_RECORD = 16
G_RECORDED = 17
G_JUMP = 18
G_ANCHOR = 19
G_CUT = 20  # level of the cut asked for, plus one
G_LAST_CUT = 21  # firings at the last cut of any level
G_SPACING = 22  # fewest firings between two cuts of one level
G_MISSES = 23
G_JUMPS = 24
G_JUMPED = 25
G_SCOPE = 26  # the part of the network that runs: row of the scope table
G_LEAST_SPACING = 27
G_PERIOD = 28  # firings in the period found last
G_STALE = 29  # firings without a cut after which another anchor is looked for
G_COLUMNS = 30

# scopes: ranges of members
X_ACTORS, X_ACTORS_END, X_FIFOS, X_FIFOS_END, X_PHASES, X_PHASES_END = 0, 1, 2, 3, 4, 5
X_SERVERS, X_SERVERS_END, X_POOLS, X_POOLS_END = 6, 7, 8, 9
X_COLUMNS = 10

# levels of cuts: 0 inside a run, 1 + depth at the end of a round of a loop
LEVELS = 6
L_INDEX = 0  # cuts of this level so far
L_NEXT = 1  # index at which the snapshot is replaced
L_VALID = 2
L_NOW = 3
L_FIRED = 4  # firings at the last cut of this level
L_PLACE = 5  # anchor's instruction at the snapshot
L_COLUMNS = 6
TOO_LARGE = 2  # in L_VALID: the snapshot has no room for its slots

# classes of heap entries, in the order within a tick
ENDS, ASKS, COMPLETES = 0, 1, 2
CLASS_SHIFT = 40  # above the actor in the second key; times have a key of their own
ACTOR_BITS = (1 << CLASS_SHIFT) - 1

# why the kernel came back
IDLE, AT_UNTIL, COMPLETED, PAUSED, GROW, OVERFLOW, OVERGIVEN = 0, 1, 2, 3, 4, 5, 6

FIRST_SLOT = 2  # slot 0 is always 0, slot 1 takes what nobody reads
BATCH = 1 << 12  # firings after which a visit ends
WIDEST = 16  # how much rarer cuts become while nothing recurs
PATIENCE = 512  # cuts before they become rarer
MOST_STALE = 1 << 22
STRIDE = 256  # most firings of the anchor between two looks
TIME_LIMIT = MAX_TICK
LONGEST = MAX_TICK - 1  # service of one piece
FAR = 1 << 62
PIECES = -2


class Net(NamedTuple):
    """All tables of a run. Arrays are C-contiguous int64."""

    actors: IntArray
    code: IntArray
    phases: IntArray
    ports: IntArray
    gives: IntArray
    """[row, 2] pool, bytes"""
    fifos: IntArray
    slots: IntArray
    servers: IntArray
    words: IntArray
    """state words of the stateful servers"""
    word_is_time: IntArray
    clients: IntArray
    """actors by server, in order of id"""
    waiting: IntArray
    """bits of the clients that stand in the round of their server"""
    pools: IntArray
    heap_time: IntArray
    heap_code: IntArray
    work: IntArray
    """ring of private actors to visit"""
    timed: IntArray
    """timed actors to look at"""
    soft: IntArray
    """actors stopped by a ring that could grow"""
    touched_pools: IntArray
    touched_servers: IntArray
    fragments: IntArray
    """[fragment, 3] unfinished actors, last end so far, completed in this tick"""
    reads: IntArray
    """scratch of a visit"""
    writes: IntArray
    record: IntArray
    """[n, 4] start, actor, phase, end: a heap with the latest at the top"""
    globals: IntArray
    scopes: IntArray
    members: IntArray
    levels: IntArray
    """bookkeeping of the cuts and their snapshots"""
    shot_actors: IntArray
    shot_code: IntArray
    shot_phases: IntArray
    shot_fifos: IntArray
    shot_servers: IntArray
    shot_words: IntArray
    shot_pools: IntArray
    shot_slots: IntArray
    shift: IntArray
    """[actor, then server] ticks by which one period moves it; scratch of a jump"""
    rise: IntArray
    """[actor, 2] loop or run that a period takes further (or PIECES of the firing), and by how much"""
