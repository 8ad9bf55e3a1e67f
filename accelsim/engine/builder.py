"""ProgramBuilder: puts a Program together from named parts and checks it once."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np

from ..errors import ProgramError
from .program import MAX_TICK, NONE, REPEAT, RUN, UNBOUNDED, Fifo, IntArray, Platform, Pool, Program, Server


@dataclass(frozen=True)
class Phase:
    """What one firing needs and does. `inputs` are (fifo, need, take), `outputs` (fifo, need, put) in port order."""

    work: int = 1
    arg: int = 0
    inputs: tuple[tuple[int, int, int], ...] = ()
    outputs: tuple[tuple[int, int, int], ...] = ()
    take: tuple[int, int] | None = None
    """(pool, bytes)"""
    gives: tuple[tuple[int, int], ...] = ()
    """(pool, bytes) each"""
    actions: tuple[tuple[Hashable, int], ...] = ()
    """(name, count) each"""
    segment: int = 0
    chain: int = NONE
    part: int = NONE


@dataclass(frozen=True)
class Run:
    """Fire one phase `count` times."""

    phase: Phase
    count: int = 1


@dataclass(frozen=True)
class Repeat:
    """Run a body `count` times."""

    count: int
    body: tuple[Run | Repeat, ...]


Schedule: TypeAlias = Sequence[Run | Repeat]


class ProgramBuilder:
    """Collects servers, pools, FIFOs and actors; `build` checks them and returns the Program.

    Actors are declared first and get their schedule later, so that FIFOs between them can be named in it.
    """

    def __init__(self, name: str = "program", *, tick_hz: Fraction | int = 1_000_000_000) -> None:
        self.name = name
        self.tick_hz = Fraction(tick_hz)
        self._servers: list[Server] = []
        self._pools: list[Pool] = []
        self._fifos: list[Fifo] = []
        self._actors: list[tuple[str, int, Hashable]] = []
        self._schedules: dict[int, tuple[Run | Repeat, ...]] = {}

    def server(self, server: Server) -> int:
        self._servers.append(server)
        return len(self._servers) - 1

    def pool(self, pool: Pool) -> int:
        self._pools.append(pool)
        return len(self._pools) - 1

    def actor(self, name: str, *, server: int = NONE, label: Hashable = None, schedule: Schedule = ()) -> int:
        self._actors.append((name, server, label))
        actor = len(self._actors) - 1
        if schedule:
            self.schedule(actor, schedule)
        return actor

    def schedule(self, actor: int, schedule: Schedule) -> None:
        """Set what an actor does, replacing any earlier schedule."""
        self._schedules[actor] = tuple(schedule)

    def fifo(
        self,
        src: int,
        dst: int,
        *,
        depth: int = 1,
        init: int = 0,
        latency: int = 0,
        credit_latency: int = 0,
        space_at_start: bool = False,
        data_at_start: bool = False,
        name: str | None = None,
    ) -> int:
        label = name or f"{self._actors[src][0]} -> {self._actors[dst][0]}"
        self._fifos.append(Fifo(label, src, dst, depth, init, latency, credit_latency, space_at_start, data_at_start))
        return len(self._fifos) - 1

    def build(self) -> Program:
        """Return the Program.

        Raises:
            ProgramError: a part is malformed; the message names it.
        """
        check_platform(self._servers, self._pools)
        _check_fifos(self._fifos, [name for name, _, _ in self._actors])
        ops: list[tuple[int, int, int]] = []
        phases: list[Phase] = []
        code_ptr = [0]
        for a, (name, server, _) in enumerate(self._actors):
            if not NONE <= server < len(self._servers):
                raise ProgramError(f"actor {name}: server {server} does not exist")
            known: dict[Phase, int] = {}
            _flatten(self._schedules.get(a, ()), ops, phases, known, name)
            for phase in known:
                self._check_phase(a, phase)
            code_ptr.append(len(ops))
        return self._assemble(ops, phases, code_ptr)

    def _check_phase(self, a: int, phase: Phase) -> None:
        name = self._actors[a][0]
        if phase.work < 1:
            raise ProgramError(f"actor {name}: work must be at least 1, not {phase.work}")
        for kind, ports, side in (("input", phase.inputs, "dst"), ("output", phase.outputs, "src")):
            seen: set[int] = set()
            for f, need, moved in ports:
                if not 0 <= f < len(self._fifos) or getattr(self._fifos[f], side) != a:
                    raise ProgramError(f"actor {name}: {kind} FIFO {f} does not end here")
                fifo = self._fifos[f]
                if f in seen:
                    raise ProgramError(f"actor {name}: {kind} FIFO {fifo.name} stands twice in one phase")
                seen.add(f)
                if need < 1 or not 0 <= moved <= need:
                    raise ProgramError(f"actor {name}: {fifo.name} needs {need} and moves {moved} tokens")
                if fifo.depth != UNBOUNDED and need > fifo.depth:
                    raise ProgramError(f"actor {name}: needs {need} tokens of {fifo.name}, which holds {fifo.depth}")
        for pool, amount in ((phase.take,) if phase.take else ()) + phase.gives:
            if not 0 <= pool < len(self._pools) or amount < 1:
                raise ProgramError(f"actor {name}: {amount} bytes of pool {pool}")
        if phase.take and phase.take[1] > self._pools[phase.take[0]].capacity:
            pool_ = self._pools[phase.take[0]]
            raise ProgramError(f"actor {name}: takes {phase.take[1]} bytes of {pool_.name}, which has {pool_.capacity}")
        if phase.segment < 0:
            raise ProgramError(f"actor {name}: negative segment")

    def _assemble(self, ops: list[tuple[int, int, int]], phases: list[Phase], code_ptr: list[int]) -> Program:
        actions: dict[Hashable, int] = {}
        for phase in phases:
            for action, _ in phase.actions:
                actions.setdefault(action, len(actions))
        code = np.array(ops, np.int64).reshape(-1, 3)
        ins = _ragged([p.inputs for p in phases], 3)
        outs = _ragged([p.outputs for p in phases], 3)
        gives = _ragged([p.gives for p in phases], 2)
        acts = _ragged([tuple((actions[n], c) for n, c in p.actions) for p in phases], 2)
        return Program(
            name=self.name,
            tick_hz=self.tick_hz,
            platform=Platform(tuple(self._servers), tuple(self._pools)),
            fifos=tuple(self._fifos),
            actor_names=tuple(n for n, _, _ in self._actors),
            actor_labels=tuple(label for _, _, label in self._actors),
            actor_server=_column([s for _, s, _ in self._actors]),
            code_ptr=_column(code_ptr),
            code_op=code[:, 0].copy(),
            code_arg=code[:, 1].copy(),
            code_count=code[:, 2].copy(),
            phase_work=_column([p.work for p in phases]),
            phase_arg=_column([p.arg for p in phases]),
            phase_segment=_column([p.segment for p in phases]),
            phase_chain=_column([p.chain for p in phases]),
            phase_part=_column([p.part for p in phases]),
            in_ptr=ins[0],
            in_fifo=ins[1][:, 0].copy(),
            in_need=ins[1][:, 1].copy(),
            in_take=ins[1][:, 2].copy(),
            out_ptr=outs[0],
            out_fifo=outs[1][:, 0].copy(),
            out_need=outs[1][:, 1].copy(),
            out_put=outs[1][:, 2].copy(),
            take_pool=_column([p.take[0] if p.take else NONE for p in phases]),
            take_bytes=_column([p.take[1] if p.take else 0 for p in phases]),
            give_ptr=gives[0],
            give_pool=gives[1][:, 0].copy(),
            give_bytes=gives[1][:, 1].copy(),
            action_ptr=acts[0],
            action_id=acts[1][:, 0].copy(),
            action_count=acts[1][:, 1].copy(),
            actions=tuple(actions),
        )


def check_platform(servers: Sequence[Server], pools: Sequence[Pool]) -> None:
    """Raise ProgramError for a server or pool that cannot be."""
    for s in servers:
        if s.rate <= 0 or s.burst < 0:
            raise ProgramError(f"server {s.name}: rate {s.rate} must be positive and burst {s.burst} not negative")
        if max(s.rate.numerator, s.rate.denominator) >= 2**31:
            raise ProgramError(f"server {s.name}: terms of rate {s.rate} must be below 2^31; use limit_denominator")
    for k in pools:
        if not 0 <= k.used <= k.capacity < MAX_TICK:
            raise ProgramError(f"pool {k.name}: {k.used} bytes used of {k.capacity}")


def _check_fifos(fifos: Iterable[Fifo], names: Sequence[str]) -> None:
    for f in fifos:
        if not (0 <= f.src < len(names) and 0 <= f.dst < len(names)):
            raise ProgramError(f"FIFO {f.name}: joins actors that do not exist")
        if f.depth != UNBOUNDED and f.depth < 1:
            raise ProgramError(f"FIFO {f.name}: depth {f.depth}, must be at least 1")
        if f.init < 0 or (f.depth != UNBOUNDED and f.init > f.depth):
            raise ProgramError(f"FIFO {f.name}: {f.init} initial tokens in a depth of {f.depth}")
        if f.latency < int(f.data_at_start) or f.credit_latency < int(f.space_at_start):
            raise ProgramError(f"FIFO {f.name}: latency {f.latency}, credit latency {f.credit_latency}")


def _flatten(
    schedule: Schedule, ops: list[tuple[int, int, int]], phases: list[Phase], known: dict[Phase, int], name: str
) -> None:
    for item in schedule:
        if item.count < 0:
            raise ProgramError(f"actor {name}: negative count {item.count}")
        if item.count == 0:
            continue
        if isinstance(item, Run):
            if item.phase not in known:
                known[item.phase] = len(phases)
                phases.append(item.phase)
            p = known[item.phase]
            if ops and ops[-1][:2] == (RUN, p):  # adjacent runs of one phase are one run
                ops[-1] = (RUN, p, ops[-1][2] + item.count)
            else:
                ops.append((RUN, p, item.count))
        else:
            first = len(ops)
            if item.count == 1:
                _flatten(item.body, ops, phases, known, name)
                continue
            ops.append((REPEAT, NONE, 0))  # a wall, so that runs do not merge across the start of a body
            _flatten(item.body, ops, phases, known, name)
            del ops[first]
            for i in range(first, len(ops)):
                if ops[i][0] == REPEAT:
                    ops[i] = (REPEAT, ops[i][1] - 1, ops[i][2])
            if len(ops) == first + 1 and ops[first][0] == RUN:
                ops[first] = (RUN, ops[first][1], ops[first][2] * item.count)
            elif len(ops) > first:
                ops.append((REPEAT, first, item.count))


def _column(values: Sequence[int]) -> IntArray:
    return np.array(values, np.int64)


def _ragged(rows: Sequence[Sequence[tuple[int, ...]]], width: int) -> tuple[IntArray, IntArray]:
    ptr = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(r) for r in rows], out=ptr[1:])
    flat = [entry for row in rows for entry in row]
    return ptr, np.array(flat, np.int64).reshape(-1, width)


def gather_actions(counts: Mapping[Hashable, int]) -> tuple[tuple[Hashable, int], ...]:
    """Action counts as the sorted, zero-free tuple that a Phase carries."""
    return tuple(sorted(((k, v) for k, v in counts.items() if v), key=lambda kv: str(kv[0])))
