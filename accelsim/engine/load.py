"""From Programs to the compiled kernel's tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numba as nb
import numpy as np

from ..errors import ProgramError
from . import columns as c
from ._jit import jit, quietly, uncompiled
from .program import MAX_TICK, NONE, ROUND_ROBIN, UNBOUNDED, IntArray, Platform, Program, StepFunction

MOST_SLOTS = 1 << 31
"""Slots of all bounded FIFOs of a Program together; those never reached cost no memory."""
LONGEST_LATENCY = 1 << 61
STEP_SIGNATURE = nb.int64(nb.int64[::1], nb.int64, nb.int64, nb.int64)
FULL = 1 << 62


@dataclass
class Part:
    """The tables of one Program, indices counted from its own first row."""

    actors: IntArray
    code: IntArray
    phases: IntArray
    ports: IntArray
    gives: IntArray
    fifos: IntArray
    n_slots: int
    owner: IntArray
    """[p] the actor that fires each phase"""
    scope: IntArray
    """[a, then servers, then pools] number of the part that can run by itself, or NONE for what nobody uses; in a
    session NONE too for whatever may contend"""
    n_scopes: int


@jit
def times(a: int, b: int) -> int:
    """a * b for positive numbers, saturating."""
    return c.FAR if a > c.FAR // b else a * b


@jit
def annotate(code: IntArray, actors: IntArray, firings: IntArray, around: IntArray, factor: IntArray) -> None:
    """Fill I_UP and I_DEPTH of all code, each actor's A_BODY and A_TOTAL, and each phase's firings (saturating).

    Scratch, longer than the code: `around`, the loops around an instruction, outermost first; `factor`, the rounds of
    the first n of them, without the outermost.
    """
    for a in range(actors.shape[0]):
        depth = 0
        body = 0
        total = 0
        for i in range(actors[a, c.A_HI] - 1, actors[a, c.A_LO] - 1, -1):  # a loop stands behind its body
            while depth > 0 and i < code[around[depth - 1], c.I_ARG]:
                depth -= 1
                if depth == 0:
                    actors[a, c.A_BODY] = max(actors[a, c.A_BODY], body)
            code[i, c.I_UP] = around[depth - 1] if depth > 0 else -1
            code[i, c.I_DEPTH] = depth
            count = code[i, c.I_COUNT]
            if code[i, c.I_OP] == 1:
                if depth == 0:
                    body = 0
                around[depth] = i
                factor[depth + 1] = 1 if depth == 0 else times(factor[depth], count)
                depth += 1
                continue
            n = count
            if depth == 0:
                actors[a, c.A_BODY] = max(actors[a, c.A_BODY], 1)
            else:
                n = times(n, factor[depth])
                body = min(body + n, c.FAR)
                n = times(n, code[around[0], c.I_COUNT])
            total = min(total + n, c.FAR)
            p = code[i, c.I_ARG]
            firings[p] = min(firings[p] + n, c.FAR)
        if depth > 0:
            actors[a, c.A_BODY] = max(actors[a, c.A_BODY], body)
        actors[a, c.A_TOTAL] = total


@jit
def join(group: IntArray, left: IntArray, right: IntArray) -> None:
    """Merge the groups of the pairs; afterwards `group` names each node's least member."""
    for x in range(left.shape[0]):
        a, b = left[x], right[x]
        while group[a] != a:
            group[a] = group[group[a]]
            a = group[a]
        while group[b] != b:
            group[b] = group[group[b]]
            b = group[b]
        if a < b:
            group[b] = a
        else:
            group[a] = b
    for a in range(group.shape[0]):
        group[a] = group[group[a]]


@jit
def no_step(state: IntArray, work: int, arg: int, now: int) -> int:
    """Fill the places of step functions that no server uses."""
    return 1


def load(program: Program, *, session: bool, python: bool = False) -> Part:
    """Build the tables of a Program. In a session every actor with a server is timed, for others may come to share it.

    Raises:
        ProgramError: a number is beyond what the kernel can count.
    """
    n = program.n_actors
    actors = np.zeros((n, c.A_COLUMNS), np.int64)
    actors[:, c.A_SERVER] = program.actor_server
    actors[:, c.A_LO] = program.code_ptr[:-1]
    actors[:, c.A_HI] = program.code_ptr[1:]
    actors[:, c.A_BEGIN] = actors[:, c.A_FIRST] = actors[:, c.A_NEXT] = actors[:, c.A_BACK] = -1
    empty = actors[:, c.A_LO] == actors[:, c.A_HI]
    actors[:, c.A_PC] = np.where(empty, -1, actors[:, c.A_LO])
    actors[empty, c.A_STATUS] = c.FINISHED

    code = np.zeros((len(program.code_op), c.I_COLUMNS), np.int64)
    code[:, c.I_OP], code[:, c.I_ARG] = program.code_op, program.code_arg
    code[:, c.I_COUNT] = program.code_count
    firings = np.zeros(program.n_phases, np.int64)
    (uncompiled(annotate) if python else annotate)(
        code, actors, firings, np.zeros(len(code) + 1, np.int64), np.zeros(len(code) + 1, np.int64)
    )

    owner = _owners(program)
    phases = _phases(program, owner)
    actors[:, c.A_TIMED] = _timed(program, owner, empty, session)
    ports = np.zeros((len(program.in_fifo) + len(program.out_fifo), c.Q_COLUMNS), np.int64)
    _merge_ports(program, phases, ports)
    gives = np.stack([program.give_pool, program.give_bytes], axis=1).astype(np.int64)
    fifos, n_slots = _fifos(program, firings)
    scope, n_scopes = _scopes(program, actors, fifos, owner, session, python)
    return Part(actors, code, phases, ports, gives, fifos, n_slots, owner, scope, n_scopes)


def _owners(program: Program) -> IntArray:
    """[p] the actor that fires each phase."""
    owner = np.full(program.n_phases, NONE, np.int64)
    runs = program.code_op == 0
    of_code = np.repeat(np.arange(program.n_actors), np.diff(program.code_ptr))
    owner[program.code_arg[runs]] = of_code[runs]
    return owner


def _phases(program: Program, owner: IntArray) -> IntArray:
    phases = np.zeros((program.n_phases, c.P_COLUMNS), np.int64)
    phases[:, c.P_WORK], phases[:, c.P_ARG] = program.phase_work, program.phase_arg
    phases[:, c.P_POOL], phases[:, c.P_BYTES] = program.take_pool, program.take_bytes
    phases[:, c.P_GIVE], phases[:, c.P_GIVE_END] = program.give_ptr[:-1], program.give_ptr[1:]
    server = np.where(owner == NONE, NONE, program.actor_server[owner])
    num = np.array([s.rate.numerator for s in program.platform.servers] + [1], np.int64)[server]
    den = np.array([s.rate.denominator for s in program.platform.servers] + [1], np.int64)[server]
    bad = np.flatnonzero(program.phase_work > (MAX_TICK - 1 - num) // den)
    if len(bad):
        p = int(bad[0])
        raise ProgramError(
            f"actor {program.actor_names[owner[p]]}: work {int(program.phase_work[p])} at a rate of "
            f"{int(num[p])}/{int(den[p])} is beyond 2^62; run less at a time"
        )
    whole = program.phase_work * den
    phases[:, c.P_TICKS], phases[:, c.P_PART] = whole // num, whole % num
    return phases


def _timed(program: Program, owner: IntArray, empty: Any, session: bool) -> Any:
    """[a] whether the actor shares a server or uses a pool."""
    servers = program.actor_server[~empty & (program.actor_server != NONE)]
    shared = np.bincount(servers, minlength=len(program.platform.servers) + 1) > (0 if session else 1)
    shared[-1] = False  # the place that NONE points to
    timed = shared[program.actor_server]
    with_pool = (program.take_pool != NONE) | (np.diff(program.give_ptr) > 0)
    timed[owner[with_pool & (owner != NONE)]] = True
    return timed


def _merge_ports(program: Program, phases: IntArray, ports: IntArray) -> None:
    """Lay each phase's output rows behind its input rows."""
    n_in, n_out = np.diff(program.in_ptr), np.diff(program.out_ptr)
    first = program.in_ptr[:-1] + program.out_ptr[:-1]
    phases[:, c.P_IN], phases[:, c.P_OUT], phases[:, c.P_END] = first, first + n_in, first + n_in + n_out
    for count, ptr, start, rows in (
        (n_in, program.in_ptr, first, (program.in_fifo, program.in_need, program.in_take)),
        (n_out, program.out_ptr, first + n_in, (program.out_fifo, program.out_need, program.out_put)),
    ):
        at = np.arange(ptr[-1]) + np.repeat(start - ptr[:-1], count)
        for column, values in zip((c.Q_FIFO, c.Q_NEED, c.Q_MOVE), rows, strict=True):
            ports[at, column] = values


def _fifos(program: Program, firings: IntArray) -> tuple[IntArray, int]:
    fifos = np.zeros((len(program.fifos), c.F_COLUMNS), np.int64)
    for i, f in enumerate(program.fifos):
        if max(f.latency, f.credit_latency) > LONGEST_LATENCY:
            raise ProgramError(f"FIFO {f.name}: latency {f.latency}, credit latency {f.credit_latency} beyond 2^61")
        fifos[i, c.F_SRC], fifos[i, c.F_DST], fifos[i, c.F_DEPTH] = f.src, f.dst, min(f.depth, FULL)
        fifos[i, c.F_W], fifos[i, c.F_EARLY] = f.init, f.data_at_start
        fifos[i, c.F_LATENCY], fifos[i, c.F_CREDIT], fifos[i, c.F_AT_START] = (
            f.latency, f.credit_latency, f.space_at_start,
        )  # fmt: skip
    largest = np.zeros(len(fifos), np.int64)
    np.maximum.at(largest, program.in_fifo, program.in_need)
    np.maximum.at(largest, program.out_fifo, program.out_need)
    fifos[:, c.F_LARGEST] = largest
    # as good as unbounded when all tokens there will ever be fit in, which also spares the ring of a huge depth
    put = np.zeros(len(fifos))
    np.add.at(put, program.out_fifo, np.repeat(firings.astype(float), np.diff(program.out_ptr)) * program.out_put)
    depth = fifos[:, c.F_DEPTH]
    never_full = (depth > 1024) & (1.001 * (put + fifos[:, c.F_W] + largest) < depth)
    unbounded = (depth == UNBOUNDED) | never_full
    fifos[:, c.F_BOUNDED] = ~unbounded
    depth[unbounded] = FULL
    size = np.where(unbounded, np.maximum(64, 4 * largest + 2 * fifos[:, c.F_W]), depth)
    if float(size.sum(dtype=float)) > MOST_SLOTS:
        worst = program.fifos[int(size.argmax())]
        raise ProgramError(f"FIFO {worst.name}: depth {worst.depth} is more than can be simulated; use UNBOUNDED")
    cap = 1 << np.ceil(np.log2(np.maximum(size, 1))).astype(np.int64)
    fifos[:, c.F_MASK] = cap - 1
    fifos[:, c.F_BASE] = np.cumsum(cap) - cap
    return fifos, int(cap.sum())


_steps: dict[Any, Any] = {}


def compiled_step(step: StepFunction) -> Any:
    """Return a step function as a first-class compiled function; each is compiled once."""
    if step not in _steps:
        source: Callable[..., Any] = getattr(step, "py_func", step)
        try:
            _steps[step] = quietly(nb.njit(STEP_SIGNATURE, cache=True), source)
        except RuntimeError:  # numba finds no file to keep the code of functions made on the fly
            _steps[step] = quietly(nb.njit(STEP_SIGNATURE), source)
    return _steps[step]


def load_servers(platform: Platform, *, python: bool) -> tuple[IntArray, IntArray, IntArray, tuple[Any, ...]]:
    """Return the table of servers, their state words, which of these are times, and the step functions."""
    servers = np.zeros((len(platform.servers), c.V_COLUMNS), np.int64)
    words: list[int] = []
    is_time: list[int] = []
    steps: list[StepFunction] = []
    for i, s in enumerate(platform.servers):
        row = servers[i]
        row[c.V_NUM], row[c.V_DEN] = s.rate.numerator, s.rate.denominator
        row[c.V_POLICY], row[c.V_BURST] = s.policy, min(s.burst, FULL)
        row[c.V_STEP] = -1
        if s.step is not None:
            if s.step not in steps:
                steps.append(s.step)
            row[c.V_STEP] = steps.index(s.step)
        row[c.V_STATE], row[c.V_STATE_END] = len(words), len(words) + len(s.state)
        words += s.state
        is_time += [int(w in s.state_times) for w in range(len(s.state))]
        row[c.V_HORIZON] = -1 if s.state_horizon is None else s.state_horizon
        row[c.V_ACTOR] = row[c.V_LAST] = row[c.V_HEAD] = row[c.V_TAIL] = -1
        row[c.V_FREE_AT] = -1
    if python:
        fns: list[Any] = [getattr(step, "py_func", step) for step in steps]
        return servers, np.array(words, np.int64), np.array(is_time, np.int64), tuple(fns) or (None,)
    fns = [compiled_step(step) for step in steps]
    places = 4
    while places < len(fns):
        places *= 2
    fns += [compiled_step(no_step)] * (places - len(fns))
    return servers, np.array(words, np.int64), np.array(is_time, np.int64), tuple(fns)


def load_pools(platform: Platform) -> IntArray:
    pools = np.zeros((len(platform.pools), c.K_COLUMNS), np.int64)
    for i, k in enumerate(platform.pools):
        pools[i, c.K_CAPACITY] = k.capacity
        pools[i, c.K_FREE] = pools[i, c.K_LEAST] = k.capacity - k.used
    pools[:, c.K_HEAD] = pools[:, c.K_TAIL] = -1
    return pools


def list_clients(servers: IntArray, actors: IntArray) -> tuple[IntArray, IntArray]:
    """Fill each server's clients and each actor's place among them; return the clients and the words of flags."""
    of = actors[:, c.A_SERVER]
    clients = np.flatnonzero(of != NONE)
    clients = clients[np.argsort(of[clients], kind="stable")]
    first = np.searchsorted(of[clients], np.arange(len(servers) + 1))
    servers[:, c.V_CLIENTS], servers[:, c.V_CLIENTS_END] = first[:-1], first[1:]
    actors[clients, c.A_CLIENT] = np.arange(len(clients)) - first[of[clients]]
    n_words = (np.diff(first) + 31) // 32
    servers[:, c.V_BITS] = np.cumsum(n_words) - n_words
    waiting = np.zeros(int(n_words.sum()), np.int64)
    in_round = (actors[clients, c.A_STATUS] == c.IN_SERVER) & (servers[of[clients], c.V_POLICY] == ROUND_ROBIN)
    asking = clients[in_round]
    place = actors[asking, c.A_CLIENT]
    np.bitwise_or.at(waiting, servers[of[asking], c.V_BITS] + (place >> 5), 1 << (place & 31))
    return clients, waiting


def _scopes(
    program: Program, actors: IntArray, fifos: IntArray, owner: IntArray, session: bool, python: bool
) -> tuple[IntArray, int]:
    """Number what hangs together over FIFOs, servers and pools."""
    n, n_servers, n_pools = len(actors), len(program.platform.servers), len(program.platform.pools)
    served = np.flatnonzero(actors[:, c.A_SERVER] != NONE)
    takers = np.flatnonzero((program.take_pool != NONE) & (owner != NONE))
    givers = np.repeat(owner, np.diff(program.give_ptr))
    left = np.concatenate([fifos[:, c.F_SRC], served, owner[takers], givers])
    right = np.concatenate(
        [
            fifos[:, c.F_DST],
            n + actors[served, c.A_SERVER],
            n + n_servers + program.take_pool[takers],
            n + n_servers + program.give_pool,
        ]
    )
    group = np.arange(n + n_servers + n_pools)
    (uncompiled(join) if python else join)(group, left, right)
    alone = group < n
    if session:
        shared = np.zeros(n + 1, bool)
        shared[group[np.flatnonzero(actors[:, c.A_TIMED])]] = True
        alone &= ~shared[np.minimum(group, n)]
    scope = np.full(len(group), NONE, np.int64)
    names, scope[alone] = np.unique(group[alone], return_inverse=True)
    return scope, len(names)


def list_scopes(labels: Sequence[IntArray], n_scopes: int) -> tuple[IntArray, IntArray]:
    """Return the table of scopes and their members, from each table's row labels (NONE: in no scope)."""
    scopes = np.zeros((max(n_scopes, 1), c.X_COLUMNS), np.int64)
    members: list[IntArray] = []
    base = 0
    for kind, label in enumerate(labels):
        order = np.argsort(label, kind="stable")
        first = np.searchsorted(label[order], np.arange(n_scopes + 1))
        scopes[:n_scopes, 2 * kind], scopes[:n_scopes, 2 * kind + 1] = base + first[:-1], base + first[1:]
        members.append(order)
        base += len(order)
    return scopes, np.concatenate(members) if members else np.zeros(0, np.int64)
