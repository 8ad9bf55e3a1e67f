"""Why a Program stopped: the cycle of waits, in words. Both kernels call `explain`."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import Deadlock
from .program import NONE, RUN, UNBOUNDED, IntArray, Program

LISTED = 12
"""Most actors or FIFOs that one list of the message names."""


@dataclass(frozen=True)
class _Wait:
    """One reason why an actor cannot move, and the actors that alone could end it."""

    actor: int
    why: str
    on: tuple[int, ...]
    full: int = NONE
    """The FIFO for whose space it waits."""


def explain(
    program: Program,
    *,
    fired: IntArray,
    tokens: IntArray,
    slots: IntArray,
    pool_free: IntArray,
    waiting_pool: IntArray,
) -> Deadlock:
    """Return the Deadlock that names what waits for what, when nothing can move any more.

    Args:
        program: the Program (in a session, of the fragment that is stuck).
        fired: [a] completed firings.
        tokens: [f] tokens in each FIFO, those in flight included.
        slots: [f] free slots in each FIFO, anything large for an unbounded one.
        pool_free: [k] bytes left in each pool.
        waiting_pool: [a] the pool in whose queue the actor stands, or NONE.
    """
    phases = [phase_at(program, a, int(fired[a])) for a in range(program.n_actors)]
    stuck = [a for a, p in enumerate(phases) if p != NONE]
    waits: dict[int, list[_Wait]] = {}
    for a in stuck:
        if waiting_pool[a] != NONE:
            waits[a] = [_wait_for_pool(program, a, phases, int(waiting_pool[a]), pool_free, waiting_pool)]
        else:
            waits[a] = _waits_for_ports(program, a, phases, tokens, slots)
    total = [total_firings(program, a) for a in range(program.n_actors)]
    names = program.actor_names
    lines = [f"program {program.name}: nothing can move and {len(stuck)} of {program.n_actors} actors have work left"]
    chain = _cycle(stuck, waits)
    lines.append("cycle of waits:" if chain and chain[-1].on else "waits:")
    lines += [f"  {names[w.actor]} {w.why}" for w in chain]
    lines.append("firings: " + _listed([f"{names[a]} {int(fired[a])} of {total[a]}" for a in stuck]))
    full = [
        f"{f.name} (depth {f.depth})" for i, f in enumerate(program.fifos) if f.depth != UNBOUNDED and slots[i] <= 0
    ]
    empty = [f.name for i, f in enumerate(program.fifos) if tokens[i] <= 0]
    lines.append("full FIFOs: " + _listed(full))
    lines.append("empty FIFOs: " + _listed(empty))
    closed = [w for w in chain if w.on]
    return Deadlock(
        "\n".join(lines),
        cycle=[names[w.actor] for w in closed],
        full=[w.full for w in closed if w.full != NONE],
        firings={names[a]: int(fired[a]) for a in range(program.n_actors)},
    )


def total_firings(program: Program, actor: int) -> int:
    """How often an actor fires in all."""
    lo, hi = int(program.code_ptr[actor]), int(program.code_ptr[actor + 1])
    return _sizes(program, lo, hi)[1]


def phase_at(program: Program, actor: int, fired: int) -> int:
    """Return the phase an actor fires next after `fired` firings, or NONE when it has finished."""
    lo, hi = int(program.code_ptr[actor]), int(program.code_ptr[actor + 1])
    body, total = _sizes(program, lo, hi)
    if fired >= total:
        return NONE
    end = hi
    while True:
        for i in _tops(program, lo, end):  # the items of this body, in order
            size = body[i] * int(program.code_count[i])
            if fired < size:
                break
            fired -= size
        if program.code_op[i] == RUN:
            return int(program.code_arg[i])
        fired %= body[i]
        lo, end = int(program.code_arg[i]), i


def _tops(program: Program, lo: int, hi: int) -> list[int]:
    """The instructions of [lo, hi) that lie in no REPEAT of that range, in order."""
    tops: list[int] = []
    i = hi - 1
    while i >= lo:
        tops.append(i)
        i = i - 1 if program.code_op[i] == RUN else int(program.code_arg[i]) - 1
    return tops[::-1]


def _sizes(program: Program, lo: int, hi: int) -> tuple[dict[int, int], int]:
    """Firings in one round of each instruction of [lo, hi), and in all."""
    body: dict[int, int] = {}
    open_: list[tuple[int, int]] = []  # finished items on this level: (first instruction, firings)
    for i in range(lo, hi):
        first, count = i, int(program.code_count[i])
        if program.code_op[i] == RUN:
            body[i] = 1
        else:
            first = int(program.code_arg[i])
            body[i] = 0
            while open_ and open_[-1][0] >= first:
                body[i] += open_.pop()[1]
        open_.append((first, body[i] * count))
    return body, sum(n for _, n in open_)


def _waits_for_ports(program: Program, a: int, phases: list[int], tokens: IntArray, slots: IntArray) -> list[_Wait]:
    p, names = phases[a], program.actor_names
    found = []
    for row in range(int(program.in_ptr[p]), int(program.in_ptr[p + 1])):
        i, need = int(program.in_fifo[row]), int(program.in_need[row])
        fifo = program.fifos[i]
        if tokens[i] < need:
            gone = "" if phases[fifo.src] != NONE else ", which has finished"
            why = f"waits for data of FIFO {fifo.name} from {names[fifo.src]}{gone} ({int(tokens[i])} of {need} tokens)"
            found.append(_Wait(a, why, (fifo.src,) if not gone else ()))
    for row in range(int(program.out_ptr[p]), int(program.out_ptr[p + 1])):
        i, need = int(program.out_fifo[row]), int(program.out_need[row])
        fifo = program.fifos[i]
        if fifo.depth != UNBOUNDED and slots[i] < need:
            gone = "" if phases[fifo.dst] != NONE else ", which has finished"
            why = f"waits for space in FIFO {fifo.name} from {names[fifo.dst]}{gone} ({int(slots[i])} of {need} slots)"
            found.append(_Wait(a, why, (fifo.dst,) if not gone else (), i))
    return found or [_Wait(a, "waits for its server", ())]


def _wait_for_pool(
    program: Program, a: int, phases: list[int], pool: int, pool_free: IntArray, waiting_pool: IntArray
) -> _Wait:
    name, p = program.platform.pools[pool].name, phases[a]
    needed, free = int(program.take_bytes[p]), int(pool_free[pool])
    owner = program.actor_of_phase()
    if needed <= free:  # it would fit: the head of the queue blocks it
        ahead = tuple(b for b, k in enumerate(waiting_pool) if k == pool and b != a)
        return _Wait(a, f"waits behind others for pool {name} ({needed} bytes, {free} free)", ahead)
    givers: set[int] = set()
    for q in range(program.n_phases):
        rows = range(int(program.give_ptr[q]), int(program.give_ptr[q + 1]))
        if any(program.give_pool[row] == pool for row in rows) and phases[owner[q]] != NONE:
            givers.add(int(owner[q]))
    listed = _listed([program.actor_names[b] for b in sorted(givers)])
    why = f"waits for pool {name} ({needed} bytes, {free} free), to which {listed} could give"
    return _Wait(a, why, tuple(sorted(givers)))


def _cycle(stuck: list[int], waits: dict[int, list[_Wait]]) -> list[_Wait]:
    """A cycle in the graph of waits, or for want of one the waits that nobody can end."""
    done: set[int] = set()
    for root in stuck:
        path: list[_Wait] = []
        on_path: dict[int, int] = {}
        stack = [(root, _edges(root, waits))]
        while stack:
            a, edges = stack[-1]
            on_path.setdefault(a, len(stack) - 1)
            if not edges:
                stack.pop()
                done.add(a)
                del on_path[a]
                if path:
                    path.pop()
                continue
            wait, b = edges.pop(0)
            if b in on_path:
                return [*path, wait][on_path[b] :]
            if b not in done:
                path.append(wait)
                stack.append((b, _edges(b, waits)))
    return [w for a in stuck for w in waits[a] if not w.on][:LISTED]


def _edges(a: int, waits: dict[int, list[_Wait]]) -> list[tuple[_Wait, int]]:
    return [(w, b) for w in waits.get(a, []) for b in w.on]


def _listed(items: list[str]) -> str:
    if not items:
        return "none"
    more = f" and {len(items) - LISTED} more" if len(items) > LISTED else ""
    return ", ".join(items[:LISTED]) + more
