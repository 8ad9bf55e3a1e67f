"""The compiled kernel's tables: Programs put in, run, and read out as Traces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from ..errors import Deadlock, ProgramError, TimeOverflow
from . import columns as c
from ._jit import quietly, uncompiled
from .deadlock import explain
from .kernel import run_net
from .load import Part, list_clients, list_scopes, load, load_pools, load_servers
from .program import NONE, IntArray, Platform, Program
from .trace import Slices, Trace

BUDGET = 1 << 18
"""Visits and ticks after which the kernel comes back, so that a run can be interrupted."""
MOST_KEPT_SLOTS = 1 << 20
"""Words that a snapshot may need for slots; a state with more of them ahead is not looked at for a jump."""
ACTORS, CODE, PHASES, PORTS, GIVES, FIFOS = range(6)
TABLES = 6


@dataclass(eq=False)
class Live:
    """One Program in the tables: its rows are contiguous in each, and so are its slots."""

    program: Program
    fragment: int
    part: Part
    row: int
    """in the table of fragments"""
    at: list[int]
    """first row in each of the six tables"""
    slots_at: int
    n_slots: int

    @property
    def tables(self) -> list[IntArray]:
        p = self.part
        return [p.actors, p.code, p.phases, p.ports, p.gives, p.fifos]

    def rows(self, table: int) -> slice:
        return slice(self.at[table], self.at[table] + len(self.tables[table]))


def _kept_slots(n_slots: int, n_fifos: int) -> int:
    """Words of a snapshot for the slots of all FIFOs and their counts."""
    return min(n_slots + 2 * n_fifos, MOST_KEPT_SLOTS) + 1


class TooLong(ProgramError):
    """A run that was to end after so many steps has not ended."""


class Tables:
    """The kernel's tables and the Programs in them."""

    def __init__(self, platform: Platform, *, session: bool, jump: bool, python: bool, record: int) -> None:
        self.platform, self.session, self.jump, self.python = platform, session, jump, python
        servers, self.words, self.word_is_time, self.fns = load_servers(platform, python=python)
        self.kernel: Callable[[c.Net, Any], int] = uncompiled(run_net) if python else run_net
        self.parts: WeakKeyDictionary[Program, Part] = WeakKeyDictionary()
        self.live: list[Live] = []
        self.n_scopes = 1
        self.owner = np.zeros(0, np.int64)
        self.globals = np.zeros(c.G_COLUMNS, np.int64)
        self.globals[[c.G_NOW, c.G_RECORD, c.G_SESSION]] = -1, record, session
        self.record = np.zeros((max(record, 1), 4), np.int64)
        pools = load_pools(platform)
        none = np.zeros(0, np.int64), np.full(len(servers), NONE, np.int64), np.full(len(pools), NONE, np.int64)
        widths = (c.A_COLUMNS, c.I_COLUMNS, c.P_COLUMNS, c.Q_COLUMNS, 2, c.F_COLUMNS)
        empty = [np.zeros((0, width), np.int64) for width in widths]
        self._build(
            empty, _fresh_slots(0), np.zeros((0, 3), np.int64), np.zeros((0, 2), np.int64), servers, pools, none
        )

    def add(self, program: Program, fragment: int, start: int) -> Live:
        """Put a Program into the tables."""
        if not self.session:
            part = load(program, session=False, python=self.python)
        elif program in self.parts:
            part = self.parts[program]
        else:
            part = self.parts[program] = load(program, session=True, python=self.python)
        dead = sum(len(live.part.actors) for live in self.live if self.net.fragments[live.row, 2] != 0)
        if 2 * dead > len(self.net.actors):
            self._leave_out_completed()
        net = self.net
        at = [len(table) for table in net[:TABLES]]
        new = Live(program, fragment, part, len(net.fragments), at, len(net.slots), part.n_slots)
        rows = [table.copy() for table in new.tables]
        rows[ACTORS][:, c.A_PREV], rows[ACTORS][:, c.A_FRAGMENT] = start, new.row
        _rebase(rows, at, new.slots_at)
        g = net.globals
        unfinished = int((part.actors[:, c.A_PC] >= 0).sum())
        g[c.G_LEFT] += unfinished
        heap = self._heap()
        if unfinished == 0 and self.session:
            heap = np.concatenate([heap, [[start, (c.COMPLETES << c.CLASS_SHIFT) + new.row]]])
        n, n_servers = len(part.actors), len(self.platform.servers)
        first = int(self.session)  # scope 0 of a session is all that may contend
        scope = np.concatenate([np.zeros(at[ACTORS], np.int64), part.scope[:n] + first])
        users = np.zeros(len(part.scope) - n, np.int64) if self.session else part.scope[n:]
        self.owner = np.concatenate([self.owner, np.where(part.owner == NONE, NONE, part.owner + at[ACTORS])])
        self.live.append(new)
        self.n_scopes = part.n_scopes + first
        self._build(
            [np.concatenate([old, added]) for old, added in zip(net[:TABLES], rows, strict=True)],
            np.concatenate([net.slots, np.zeros(part.n_slots, np.int64)]) if at[ACTORS] else _fresh_slots(part.n_slots),
            np.concatenate([net.fragments, [[unfinished, start, 0]]]),
            heap,
            net.servers,
            net.pools,
            (scope, users[:n_servers], users[n_servers:]),
        )
        return new

    def _leave_out_completed(self) -> None:
        """Rebuild the tables without the Programs that have completed."""
        net = self.net
        kept = [live for live in self.live if net.fragments[live.row, 2] == 0]
        pieces: list[list[IntArray]] = [[table[:0]] for table in net[:TABLES]]
        owners, at = [self.owner[:0]], [0] * TABLES
        slots = _fresh_slots(sum(live.n_slots for live in kept))
        slots_at = c.FIRST_SLOT
        new_actor = np.full(len(net.actors) + 1, NONE, np.int64)  # the last place for NONE
        new_row = np.full(len(net.fragments) + 1, NONE, np.int64)
        for row, live in enumerate(kept):
            rows = [table[live.rows(t)].copy() for t, table in enumerate(net[:TABLES])]
            slots[slots_at : slots_at + live.n_slots] = net.slots[live.slots_at : live.slots_at + live.n_slots]
            new_actor[live.rows(ACTORS)] = np.arange(at[ACTORS], at[ACTORS] + len(rows[ACTORS]))
            new_row[live.row] = row
            owner = self.owner[live.rows(PHASES)]
            owners.append(np.where(owner == NONE, NONE, owner + at[ACTORS] - live.at[ACTORS]))
            _rebase(rows, [b - a for a, b in zip(live.at, at, strict=True)], slots_at - live.slots_at)
            rows[ACTORS][:, c.A_FRAGMENT] = row
            for piece, moved in zip(pieces, rows, strict=True):
                piece.append(moved)
            live.row, live.at, live.slots_at = row, at, slots_at
            at, slots_at = [a + len(r) for a, r in zip(at, rows, strict=True)], slots_at + live.n_slots
        tables = [np.concatenate(piece) for piece in pieces]
        fragments = net.fragments[np.flatnonzero(new_row[:-1] != NONE)]
        heap = self._moved_heap(new_actor, new_row)
        servers, pools = self._moved_queues(tables[ACTORS], new_actor)
        self.owner, self.live = np.concatenate(owners), kept
        none = np.zeros(len(servers), np.int64), np.zeros(len(pools), np.int64)
        self.n_scopes = 1
        self._build(tables, slots, fragments, heap, servers, pools, (np.zeros(len(tables[ACTORS]), np.int64), *none))

    def _heap(self) -> IntArray:
        """[entry, 2] time and code of the events."""
        n = int(self.net.globals[c.G_HEAP])
        return np.stack([self.net.heap_time[:n], self.net.heap_code[:n]], axis=1)

    def _moved_heap(self, new_actor: IntArray, new_row: IntArray) -> IntArray:
        """[entry, 2] time and code of the events, with the new indices."""
        heap = self._heap()
        kind, index = heap[:, 1] >> c.CLASS_SHIFT, heap[:, 1] & c.ACTOR_BITS
        fragment = kind == c.COMPLETES
        moved = np.where(fragment, new_row[np.where(fragment, index, NONE)], new_actor[np.where(fragment, NONE, index)])
        heap[:, 1] = (kind << c.CLASS_SHIFT) + moved
        return heap

    def _moved_queues(self, actors: IntArray, new_actor: IntArray) -> tuple[IntArray, IntArray]:
        """Servers and pools whose queues name the new indices; the actors' own links are changed in place."""
        servers, pools = self.net.servers.copy(), self.net.pools.copy()
        for column in (c.A_NEXT, c.A_BACK):
            actors[:, column] = new_actor[actors[:, column]]
        for column in (c.V_ACTOR, c.V_HEAD, c.V_TAIL):
            servers[:, column] = new_actor[servers[:, column]]
        for column in (c.K_HEAD, c.K_TAIL):
            pools[:, column] = new_actor[pools[:, column]]
        last = servers[:, c.V_LAST]
        for s in np.flatnonzero(last >= 0):
            first = servers[s, c.V_CLIENTS]
            last[s] = int((new_actor[self.net.clients[first : first + last[s] + 1]] != NONE).sum()) - 1
        return servers, pools

    def _build(
        self,
        tables: list[IntArray],
        slots: IntArray,
        fragments: IntArray,
        heap: IntArray,
        servers: IntArray,
        pools: IntArray,
        scope: tuple[IntArray, IntArray, IntArray],
    ) -> None:
        """Lay out a Net: the tables, the queues and the room for snapshots."""
        actors, code, phases, ports, gives, fifos = tables
        n, g, words = len(actors), self.globals, self.words
        actors[:, [c.A_QUEUED, c.A_SOFT]] = 0
        clients, waiting = list_clients(servers, actors)
        order = np.lexsort((heap[:, 1], heap[:, 0]))  # a sorted list is a heap
        times, codes = (np.zeros(n + len(fragments) + 1, np.int64) for _ in range(2))
        times[: len(heap)], codes[: len(heap)] = heap[order].T
        g[[c.G_HEAP, c.G_WORK_HEAD, c.G_WORK, c.G_TIMED, c.G_SOFT, c.G_GROW]] = len(heap), 0, 0, 0, 0, 0
        of_phase = np.where(self.owner == NONE, NONE, np.append(scope[0], NONE)[self.owner])
        scopes, members = list_scopes([scope[0], scope[0][fifos[:, c.F_SRC]], of_phase, *scope[1:]], self.n_scopes)
        most_ports = int((phases[:, c.P_END] - phases[:, c.P_IN]).max(initial=0)) + 3

        def room(*shape: int) -> IntArray:
            return np.empty((c.LEVELS, *shape) if self.jump else (1,) * (len(shape) + 1), np.int64)

        kept_slots = _kept_slots(len(slots), len(fifos))
        self.net = c.Net(
            actors=actors, code=code, phases=phases, ports=ports, gives=gives, fifos=fifos, slots=slots,
            servers=servers, words=words, word_is_time=self.word_is_time, clients=clients, waiting=waiting, pools=pools,
            heap_time=times, heap_code=codes, work=np.zeros(1 << max(n, 1).bit_length(), np.int64),
            timed=np.zeros(n + 1, np.int64), soft=np.zeros(n + 1, np.int64),
            touched_pools=np.zeros(len(pools) + 1, np.int64), touched_servers=np.zeros(len(servers) + 1, np.int64),
            fragments=fragments, reads=np.zeros((most_ports, 7), np.int64), writes=np.zeros((most_ports, 6), np.int64),
            record=self.record, globals=g, scopes=scopes, members=members,
            levels=np.zeros((c.LEVELS, c.L_COLUMNS), np.int64),
            shot_actors=room(n, c.A_COLUMNS), shot_code=room(len(code)), shot_phases=room(len(phases)),
            shot_fifos=room(len(fifos), c.F_COLUMNS), shot_servers=room(len(servers), c.V_COLUMNS),
            shot_words=room(len(words)), shot_pools=room(len(pools), c.K_COLUMNS), shot_slots=room(kept_slots),
            shift=np.zeros(n + len(servers) + 1, np.int64), rise=np.zeros((n + 1, 2), np.int64),
        )  # fmt: skip

    def enter(self, scope: int) -> None:
        """Make ready to run one scope."""
        net = self.net
        g, actors = net.globals, net.actors
        row = net.scopes[scope]
        mine = net.members[row[c.X_ACTORS] : row[c.X_ACTORS_END]]
        idle = actors[mine, c.A_PC] >= 0
        private = mine[idle & (actors[mine, c.A_TIMED] == 0)]
        timed = mine[idle & (actors[mine, c.A_TIMED] != 0) & (actors[mine, c.A_STATUS] == c.BLOCKED)]
        net.work[: len(private)], net.timed[: len(timed)] = private, timed
        g[c.G_WORK_HEAD], g[c.G_WORK], g[c.G_TIMED] = 0, len(private), len(timed)
        actors[private, c.A_QUEUED] = actors[timed, c.A_QUEUED] = 1
        size = len(mine) + int(row[c.X_FIFOS_END] - row[c.X_FIFOS])
        left = actors[mine, c.A_TOTAL].astype(float).sum()
        g[c.G_JUMP] = self.jump and left > 16 * size
        g[c.G_SCOPE], g[c.G_ANCHOR], g[c.G_CUT], g[c.G_LAST_CUT] = scope, -1, 0, g[c.G_FIRED]
        g[c.G_STALE] = 0
        g[c.G_SPACING] = g[c.G_LEAST_SPACING] = 8 + size
        net.levels[:] = 0

    def go(self, until: int, most: int = 0) -> int:
        """Run the scope; returns IDLE, AT_UNTIL or COMPLETED.

        Raises:
            TooLong: `most` visits and ticks, about, have passed, where that is not 0.
            TimeOverflow: a time passes MAX_TICK.
            ProgramError: a pool is given more bytes than were taken from it.
        """
        g = self.net.globals
        g[c.G_UNTIL] = until
        g[c.G_DONE] = 0
        passed = 0
        while True:
            g[c.G_BUDGET] = BUDGET
            if self.python:
                with np.errstate(over="raise"):
                    status = self.kernel(self.net, self.fns)
            else:
                status = quietly(self.kernel, self.net, self.fns)
            if status == c.GROW:
                self._grow()
            elif status == c.OVERFLOW:
                raise TimeOverflow(f"{self._name(int(g[c.G_WHO]))}: {self._too_late()}")
            elif status == c.OVERGIVEN:
                pool = self.platform.pools[int(g[c.G_WHO])]
                raise ProgramError(f"pool {pool.name}: given more bytes than were taken; it has {pool.capacity}")
            elif status != c.PAUSED:
                return status
            else:
                passed += BUDGET
                if most and passed >= most:
                    raise TooLong(f"more than {most:,} visits of actors and ticks, and no state that recurs soon")

    def _too_late(self) -> str:
        rate = self.live[0].program.tick_hz
        return (f"time passes 2^62 ticks, {2.0**62 / float(rate):.3g} s at {float(rate):.3g} ticks per second; run "
                "less at a time, or a machine with a slower `clock` where that is the tick")  # fmt: skip

    def _name(self, actor: int) -> str:
        for live in self.live:
            if live.at[ACTORS] <= actor < live.at[ACTORS] + len(live.part.actors):
                return f"actor {live.program.actor_names[actor - live.at[ACTORS]]}"
        return "a fragment"

    def _grow(self) -> None:
        """Double the rings that are too small for the next firing of their producer: those of timed actors, and those
        of the private one that lags behind in time, for the others may only be ahead of it."""
        net = self.net
        fifos, g = net.fifos, net.globals
        cap = fifos[:, c.F_MASK] + 1
        used = fifos[:, c.F_W] - fifos[:, c.F_R]
        short = (fifos[:, c.F_BOUNDED] == 0) & (used + fifos[:, c.F_LARGEST] > cap)
        producer = net.actors[fifos[:, c.F_SRC]]
        private = short & (producer[:, c.A_TIMED] == 0) & (producer[:, c.A_PC] >= 0)
        if private.any():
            ended = producer[:, c.A_PREV]
            short &= ~private | (ended == ended[private].min())
        new_cap = np.where(short, 2 * cap, cap)
        base = c.FIRST_SLOT + np.cumsum(new_cap) - new_cap
        slots = np.zeros(c.FIRST_SLOT + int(new_cap.sum()), np.int64)
        for f in range(len(fifos)):
            old = net.slots[fifos[f, c.F_BASE] : fifos[f, c.F_BASE] + cap[f]]
            if short[f]:
                at = np.arange(fifos[f, c.F_R], fifos[f, c.F_W])
                slots[base[f] + (at & (new_cap[f] - 1))] = old[at & (cap[f] - 1)]
            else:
                slots[base[f] : base[f] + cap[f]] = old
        fifos[:, c.F_BASE], fifos[:, c.F_MASK] = base, new_cap - 1
        for live in self.live:
            rows = live.rows(FIFOS)
            live.n_slots = int(new_cap[rows].sum())
            if live.n_slots:
                live.slots_at = int(base[rows.start])
        soft = net.soft[: g[c.G_SOFT]]
        for a in soft[net.actors[soft, c.A_QUEUED] == 0]:
            net.work[(g[c.G_WORK_HEAD] + g[c.G_WORK]) & (len(net.work) - 1)] = a
            net.actors[a, c.A_QUEUED] = 1
            g[c.G_WORK] += 1
        net.actors[soft, c.A_SOFT] = 0
        g[c.G_SOFT] = g[c.G_GROW] = 0
        kept = net.shot_slots
        if self.jump and len(slots) > kept.shape[1]:  # snapshots need room for them too; those taken stay valid
            room = np.empty((c.LEVELS, _kept_slots(len(slots), len(fifos))), np.int64)
            room[:, : kept.shape[1]] = kept
            kept = room
        self.net = net._replace(slots=slots, shot_slots=kept)

    def completed(self) -> list[Live]:
        """The fragments that completed in the last tick, by id."""
        return [live for live in self.live if self.net.fragments[live.row, 2] == 1]

    def deadlock(self) -> Deadlock:
        """Explain why nothing can move, for the first fragment that is stuck."""
        net = self.net
        stuck = next(live for live in self.live if net.fragments[live.row, 0] > 0)
        actors, fifos = net.actors[stuck.rows(ACTORS)], net.fifos[stuck.rows(FIFOS)]
        in_pool = actors[:, c.A_STATUS] == c.IN_POOL
        phase = net.code[np.where(in_pool, actors[:, c.A_PC], 0), c.I_ARG]
        used = fifos[:, c.F_W] - fifos[:, c.F_R]
        return explain(
            stuck.program,
            fired=actors[:, c.A_FIRED],
            tokens=used,
            slots=fifos[:, c.F_DEPTH] - used,
            pool_free=net.pools[:, c.K_FREE],
            waiting_pool=np.where(in_pool, net.phases[phase, c.P_POOL], NONE),
        )

    def pool_peak(self) -> IntArray:
        """[k] most bytes taken at once so far."""
        peak: IntArray = self.net.pools[:, c.K_CAPACITY] - self.net.pools[:, c.K_LEAST]
        return peak

    def trace(self, live: Live) -> Trace:
        """Read out a Program that has run to its end."""
        net, program = self.net, live.program
        actors, fifos, phases = (net_rows.copy() for net_rows in (
            net.actors[live.rows(ACTORS)], net.fifos[live.rows(FIFOS)], net.phases[live.rows(PHASES)],
        ))  # fmt: skip
        fired, busy = actors[:, c.A_FIRED], actors[:, c.A_BUSY]
        server_busy, server_work = (np.zeros(len(self.platform.servers), np.int64) for _ in range(2))
        served = program.actor_server != NONE
        np.add.at(server_busy, program.actor_server[served], busy[served])
        owner = live.part.owner
        of = np.where(owner == NONE, NONE, program.actor_server[owner])
        work = phases[:, c.P_FIRED] * phases[:, c.P_WORK]
        if float((phases[:, c.P_FIRED].astype(float) * phases[:, c.P_WORK]).sum()) > 2.0**62:
            raise TimeOverflow(f"program {program.name}: more than 2^62 units of work; run less at a time")
        np.add.at(server_work, of[of != NONE], work[of != NONE])
        g = net.globals
        slices = None
        if g[c.G_RECORD] > 0:
            rows = net.record[: g[c.G_RECORDED]]
            rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
            slices = Slices(
                rows[:, 1].copy(), rows[:, 2].copy(), rows[:, 0].copy(), rows[:, 3].copy(), int(fired.sum()) - len(rows)
            )
        return Trace(
            program=program,
            finish=int(net.fragments[live.row, 1]),
            firings=fired.copy(),
            phase_firings=phases[:, c.P_FIRED].copy(),
            start=actors[:, c.A_FIRST].copy(),
            end=np.where(fired > 0, actors[:, c.A_PREV], 0),
            busy=busy.copy(),
            stall=actors[:, c.A_STALL : c.A_STALL + 4].copy(),
            fifo_data_stall=fifos[:, c.F_DATA].copy(),
            fifo_space_stall=fifos[:, c.F_SPACE].copy(),
            server_busy=server_busy,
            server_work=server_work,
            pool_peak=self.pool_peak(),
            slices=slices,
            jumps=int(g[c.G_JUMPS]),
            jumped_firings=int(g[c.G_JUMPED]),
        )


def _fresh_slots(n: int) -> IntArray:
    """Slots of which those never reached cost no memory."""
    return np.zeros(c.FIRST_SLOT + n, np.int64)


def _rebase(rows: list[IntArray], by: list[int], slots_by: int) -> None:
    """Add to all indices in a Program's rows how far the tables they point into have moved."""
    actors, code, phases, ports, _, fifos = rows
    actors[:, [c.A_LO, c.A_HI]] += by[CODE]
    actors[:, c.A_PC] += np.where(actors[:, c.A_PC] >= 0, by[CODE], 0)
    code[:, c.I_ARG] += np.where(code[:, c.I_OP] == 0, by[PHASES], by[CODE])
    code[:, c.I_UP] += np.where(code[:, c.I_UP] >= 0, by[CODE], 0)
    phases[:, [c.P_IN, c.P_OUT, c.P_END]] += by[PORTS]
    phases[:, [c.P_GIVE, c.P_GIVE_END]] += by[GIVES]
    ports[:, c.Q_FIFO] += by[FIFOS]
    fifos[:, [c.F_SRC, c.F_DST]] += by[ACTORS]
    fifos[:, c.F_BASE] += slots_by
