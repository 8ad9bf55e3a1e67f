"""From a Plan to a Program: a stage is an actor with its cores, a stream a FIFO, a load or store an actor on its port.

Phases follow each other through one actor that waits for all of a phase, spends the switch, and starts all of the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

from ...components.pipelined import Timing
from ...engine.builder import Phase as Firing
from ...engine.builder import ProgramBuilder, Repeat, Run
from ...engine.labels import Action, ActorLabel
from ...engine.program import ROUND_ROBIN, Program, Server
from .layout import Layout, Stream, Transfer, lay_out
from .plan import Fabric, Plan

_BURST = 4096
"""Bytes that a shared channel serves before it looks at the next stream."""


def layouts(plan: Plan) -> tuple[Layout, ...]:
    """Every phase of a Plan, worked out. Raises DoesNotFit, see `layout.lay_out`."""
    return tuple(
        lay_out(plan.graph, plan.fabric, phase, plan.held[k], f"phase {k}") for k, phase in enumerate(plan.phases)
    )


def lower_plan(plan: Plan) -> Program:
    """The Program of a Plan; a tick is a cycle of the pool's clock.

    Raises:
        DoesNotFit: a phase needs more bytes on the chip than there are.
    """
    return _Lowering(plan).program()


@dataclass
class _Port:
    """One end of a FIFO at an actor: how many tokens its firing number i needs."""

    fifo: int
    tokens: Callable[[int], int]
    edges: frozenset[int]
    """Firings at which `tokens` differs from that before."""


@dataclass
class _Actor:
    index: int
    firings: int
    work: Callable[[int], int]
    breaks: frozenset[int] = frozenset()
    inputs: list[_Port] = field(default_factory=list)
    outputs: list[_Port] = field(default_factory=list)
    moves: tuple[Action, Callable[[int], int]] | None = None
    """What it counts, and how much of it at each firing."""


class _Lowering:
    def __init__(self, plan: Plan) -> None:
        self.plan, self.fabric = plan, plan.fabric
        self.layouts = layouts(plan)
        self.builder = ProgramBuilder(plan.graph.name, tick_hz=Fraction(self.fabric.clock_hz))
        self.actors: list[tuple[int, _Actor]] = []
        """With the phase that each belongs to."""
        self.servers: dict[object, int] = {}

    def program(self) -> Program:
        wait = max(1, self.fabric.cycles(self.fabric.switch_s))
        gates = []
        for k in range(len(self.layouts)):
            index = self.builder.actor(f"switch {k}", label=ActorLabel(f"switch {k}", self.fabric.pool.name, "load"))
            gates.append(_Actor(index, 1, lambda _: wait))
        ends: list[list[_Actor]] = []
        for k, layout in enumerate(self.layouts):
            actors = _PhaseLowering(self, k, layout).actors()
            for actor in actors:
                self._join(gates[k], actor)
            ends.append(actors)
        for k in range(len(self.layouts)):
            again = k == 0
            if again and self.plan.graph.repeat == 1:
                continue
            for actor in ends[k - 1]:
                self._join(actor, gates[k], init=1 if again else 0)
        for k, gate in enumerate(gates):
            self._schedule(k, gate)
        for k, actors in enumerate(ends):
            for actor in actors:
                self._schedule(k, actor)
        return self.builder.build()

    def _join(self, src: _Actor, dst: _Actor, *, init: int = 0) -> None:
        """A token from the last firing of one to the first firing of the other."""
        fifo = self.builder.fifo(src.index, dst.index, depth=1 + init, init=init)
        src.outputs.append(last(fifo, src.firings))
        dst.inputs.append(first(fifo))

    def _schedule(self, segment: int, actor: _Actor) -> None:
        body = tuple(_runs(actor, segment))
        repeat = self.plan.graph.repeat
        self.builder.schedule(actor.index, body if repeat == 1 else (Repeat(repeat, body),))

    def server(self, key: object, name: str, rate: Fraction, *, shared: bool = False) -> int:
        if key not in self.servers:
            limited = rate.limit_denominator(1 << 16)
            policy, burst = (ROUND_ROBIN, _BURST) if shared else (0, 0)
            self.servers[key] = self.builder.server(Server(name, limited, policy, burst))
        return self.servers[key]


class _PhaseLowering:
    """The actors of one phase."""

    def __init__(self, lowering: _Lowering, k: int, layout: Layout) -> None:
        self.top, self.k, self.layout = lowering, k, layout
        self.fabric: Fabric = lowering.fabric
        self.streams_used = 0
        self.stages: dict[str, _Actor] = {}

    def actors(self) -> list[_Actor]:
        top, layout = self.top, self.layout
        for name, time in layout.timings.items():
            message = top.plan.graph.by_name[name].message
            key, place = ("network", "network") if message else ((self.k, name), f"{name}, phase {self.k}")
            server = top.server(key, place, Fraction(1))
            index = top.builder.actor(
                f"{name}, phase {self.k}", server=server, label=ActorLabel(name, self.fabric.pool.name, "compute")
            )
            self.stages[name] = _Actor(index, time.firings, _work(time), frozenset({time.extra}))
        for stream in layout.streams:
            self._stream(stream)
        moves = [self._load(t) for t in layout.loads] + [self._store(t) for t in layout.stores]
        return [*self.stages.values(), *moves]

    def _stream(self, s: Stream) -> None:
        maker, reader = self.stages[s.maker], self.stages[s.reader]
        put, take = s.tokens // maker.firings, s.tokens // reader.firings
        if s.whole:
            fifo = self.top.builder.fifo(maker.index, reader.index, depth=1, latency=s.latency, name=s.tensor)
            maker.outputs.append(last(fifo, maker.firings))
            reader.inputs.append(first(fifo))
            return
        fifo = self.top.builder.fifo(maker.index, reader.index, depth=s.depth, latency=s.latency, name=s.tensor)
        maker.outputs.append(_Port(fifo, lambda _: put, frozenset()))

        def taken(i: int) -> int:
            if i == 0:
                return min(s.tokens, take + s.ahead)
            return min(s.tokens, (i + 1) * take + s.ahead) - min(s.tokens, i * take + s.ahead)

        start = max(1, (s.tokens - s.ahead) // take - 1)
        reader.inputs.append(_Port(fifo, taken, frozenset({1, *range(start, min(reader.firings, start + 4))})))

    def _channel(self) -> int:
        """The server of the next off-chip stream: ports of its own while there are enough, else one in turn."""
        pool, top = self.fabric.pool, self.top
        rate = self.layout.rates[self.streams_used]
        if self.fabric.port_rate is None or pool.ports is None:
            return top.server("channel", self.fabric.off_chip, rate, shared=True)
        number = self.streams_used % pool.ports
        self.streams_used += 1
        name = f"{self.fabric.off_chip} port {number}, phase {self.k}"
        return top.server(("port", self.k, number), name, rate, shared=True)

    def _mover(self, t: Transfer, role: str, verb: str) -> _Actor:
        label = ActorLabel(t.task, self.fabric.off_chip, role, t.tensor)
        index = self.top.builder.actor(f"{role} {t.tensor}, {t.task}", server=self._channel(), label=label)
        action = Action(self.fabric.off_chip, verb, t.task, t.tensor, self.fabric.on_chip)
        least, larger = divmod(t.total, t.pieces)

        def piece(i: int) -> int:
            return least + (1 if i < larger else 0)

        return _Actor(index, t.pieces, lambda i: max(1, piece(i)), frozenset({larger}), moves=(action, piece))

    def _load(self, t: Transfer) -> _Actor:
        mover, stage = self._mover(t, "load", "read"), self.stages[t.task]
        latency = self.fabric.cycles(self.fabric.latency_s)
        name = f"{t.tensor} to {t.task}"
        fifo = self.top.builder.fifo(mover.index, stage.index, depth=t.slots, latency=latency, name=name)
        mover.outputs.append(_every(fifo))
        stage.inputs.append(first(fifo) if t.pieces == 1 else _every(fifo))
        return mover

    def _store(self, t: Transfer) -> _Actor:
        mover, stage = self._mover(t, "store", "write"), self.stages[t.task]
        time = self.layout.timings[t.task]
        name = f"{t.tensor} from {t.task}"
        fifo = self.top.builder.fifo(stage.index, mover.index, depth=t.slots, latency=time.latency, name=name)
        stage.outputs.append(last(fifo, stage.firings) if t.pieces == 1 else _every(fifo))
        mover.inputs.append(_every(fifo))
        return mover


def first(fifo: int) -> _Port:
    """One token at the first firing."""
    return _Port(fifo, lambda i: 1 if i == 0 else 0, frozenset({1}))


def last(fifo: int, firings: int) -> _Port:
    """One token at the last of so many firings."""
    return _Port(fifo, lambda i: 1 if i == firings - 1 else 0, frozenset({firings - 1}))


def _every(fifo: int) -> _Port:
    return _Port(fifo, lambda _: 1, frozenset())


def _work(time: Timing) -> Callable[[int], int]:
    return lambda i: max(1, time.cycles + (1 if i < time.extra else 0))


def _runs(actor: _Actor, segment: int) -> Iterator[Run]:
    """Its firings, in runs between the places where something changes."""
    places = {0, *actor.breaks}
    for port in (*actor.inputs, *actor.outputs):
        places |= port.edges
    ordered = [p for p in sorted(places) if 0 <= p < actor.firings] + [actor.firings]
    for start, end in pairwise(ordered):
        yield Run(
            Firing(
                work=actor.work(start),
                inputs=_ports(actor.inputs, start),
                outputs=_ports(actor.outputs, start),
                actions=_actions(actor, start),
                segment=segment,
            ),
            end - start,
        )


def _actions(actor: _Actor, i: int) -> tuple[tuple[Action, int], ...]:
    if actor.moves is None:
        return ()
    action, count = actor.moves
    return ((action, count(i)),)


def _ports(ports: list[_Port], i: int) -> tuple[tuple[int, int, int], ...]:
    return tuple((p.fifo, n, n) for p in ports if (n := p.tokens(i)))


def off_chip_bytes(actions: Mapping[Action, int], verb: str) -> int:
    """Bytes read from or written to off-chip memory, from counts of actions."""
    return sum(n for a, n in actions.items() if a.action == verb)
