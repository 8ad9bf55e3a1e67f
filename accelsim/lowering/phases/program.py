"""From a Plan to a Program: a stage is an actor with its cores, a stream a FIFO, a load or store an actor on its port.

Phases follow each other through one actor that waits for all of a phase, spends the switch, and starts all of the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

from ...components.pipelined import Timing
from ...engine.builder import Phase as Firing
from ...engine.builder import ProgramBuilder, Repeat, Run
from ...engine.labels import Action, ActorLabel
from ...engine.program import ROUND_ROBIN, Program, Server
from ...ir import Workload
from .layout import Layout, Stream, Transfer, lay_out
from .plan import Fabric, Plan
from .work import Work

_BURST = 4096
"""Bytes that a shared channel serves before it looks at the next stream."""


def layouts(plan: Plan) -> tuple[Layout, ...]:
    """Every phase of a Plan, worked out. Raises DoesNotFit, see `layout.lay_out`."""
    return tuple(
        lay_out(plan.graph, plan.fabric, phase, plan.held[k], f"phase {k}") for k, phase in enumerate(plan.phases)
    )


def longest_first(layout: Layout) -> list[str]:
    """The tasks of a phase by the time that they work; the cores of the longest one are part 0 of the pool."""
    return sorted(layout.timings, key=lambda name: (-layout.timings[name].total, name))


def lower_plan(plan: Plan) -> Program:
    """The Program of a Plan; a tick is a cycle of the pool's clock.

    Raises:
        DoesNotFit: a phase needs more bytes on the chip than there are.
    """
    return lower_plans(plan.graph.name, (plan,))


def lower_plans(
    name: str, plans: Sequence[Plan], workload: Workload | None = None, links: Sequence[str] = ()
) -> Program:
    """The Program of Plans on one fabric that run one after the other.

    Args:
        name: of the Program.
        plans: at least one.
        workload: whose Einsums the tasks are, to count what the cores do; without it only transfers are counted.
        links: between the on-chip and the off-chip memory, that count what passes.

    Raises:
        DoesNotFit: a phase needs more bytes on the chip than there are.
    """
    builder = ProgramBuilder(name, tick_hz=Fraction(plans[0].fabric.clock_hz))
    servers: dict[object, int] = {}
    parts: list[_Lowering] = []
    for plan in plans:
        first = sum(len(p.plan.phases) for p in parts)
        parts.append(_Lowering(builder, servers, plan, first, Work(plan.fabric, workload) if workload else None, links))
    for before, part in pairwise(parts):
        before.hand_over(part)
    for part in parts:
        part.schedule()
    return builder.build()


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
    actions: Callable[[int], Mapping[Action, int]] = field(default=lambda _: {})
    """What it counts at each firing."""
    before: list[_Port] = field(default_factory=list)
    """Further inputs of the first run of its part, if that is repeated."""
    after: list[_Port] = field(default_factory=list)
    """Further outputs of the last run of its part."""


class _Lowering:
    """The actors of one Plan, whose phases are numbered from `first` on."""

    def __init__(
        self, builder: ProgramBuilder, servers: dict[object, int], plan: Plan, first: int, work: Work | None,
        links: Sequence[str],
    ) -> None:  # fmt: skip
        self.builder, self.servers, self.plan, self.fabric = builder, servers, plan, plan.fabric
        self.first, self.work, self.links = first, work, links
        self.layouts = layouts(plan)
        wait = max(1, self.fabric.cycles(self.fabric.switch_s))
        self.gates = []
        for k in range(first, first + len(self.layouts)):
            index = builder.actor(f"switch {k}", label=ActorLabel(f"switch {k}", self.fabric.pool.name, "load"))
            self.gates.append(_Actor(index, 1, lambda _: wait))
        self.ends: list[list[_Actor]] = []
        """What each phase waits for before it ends."""
        for k, layout in enumerate(self.layouts):
            actors = _PhaseLowering(self, first + k, layout).actors()
            for actor in actors:
                self._join(self.gates[k], actor)
            self.ends.append(actors)
        for k in range(len(self.layouts)):
            again = k == 0
            if again and plan.graph.repeat == 1:
                continue
            for actor in self.ends[k - 1]:
                self._join(actor, self.gates[k], init=1 if again else 0)

    def _join(self, src: _Actor, dst: _Actor, *, init: int = 0) -> None:
        """A token from the last firing of one to the first firing of the other."""
        fifo = self.builder.fifo(src.index, dst.index, depth=1 + init, init=init)
        src.outputs.append(last(fifo, src.firings))
        dst.inputs.append(first(fifo))

    def hand_over(self, following: _Lowering) -> None:
        """Let another Plan begin when this one has ended."""
        gate = following.gates[0]
        for actor in self.ends[-1]:
            fifo = self.builder.fifo(actor.index, gate.index, depth=1)
            actor.after.append(last(fifo, actor.firings))
            gate.before.append(first(fifo))

    def schedule(self) -> None:
        for k, gate in enumerate(self.gates):
            self._schedule(self.first + k, gate)
        for k, actors in enumerate(self.ends):
            for actor in actors:
                self._schedule(self.first + k, actor)

    def _schedule(self, segment: int, actor: _Actor) -> None:
        times = self.plan.graph.repeat
        alike = actor.inputs, actor.outputs
        begin = [*actor.inputs, *actor.before], actor.outputs
        end = actor.inputs, [*actor.outputs, *actor.after]
        body = tuple(_runs(actor, segment, *alike))
        if times == 1:
            runs: tuple[Run | Repeat, ...] = tuple(_runs(actor, segment, begin[0], end[1]))
        elif actor.before:
            runs = (*_runs(actor, segment, *begin), *_repeated(times - 2, body),
                    *_runs(actor, segment, *end))  # fmt: skip
        elif actor.after:
            runs = (*_repeated(times - 1, body), *_runs(actor, segment, *end))
        else:
            runs = _repeated(times, body)
        self.builder.schedule(actor.index, runs)

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
        self.outer = {stage.task: stage.outer for stage in layout.stages}
        self.stages: dict[str, _Actor] = {}

    def actors(self) -> list[_Actor]:
        top, layout, order = self.top, self.layout, longest_first(self.layout)
        for name, time in layout.timings.items():
            message = top.plan.graph.by_name[name].message
            place = "network" if message else f"{self.fabric.pool.name}/{order.index(name)}"
            server = top.server(place, place, Fraction(1))
            index = top.builder.actor(
                f"{name}, phase {self.k}", server=server, label=ActorLabel(name, self.fabric.pool.name, "compute")
            )
            made = _Actor(index, time.firings, _work(time), frozenset({time.extra}))
            if top.work is not None:
                made.actions, cuts = top.work.of(top.plan.graph.by_name[name], self.outer[name], time.firings)
                made.breaks |= cuts
            self.stages[name] = made
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
        name = f"{self.fabric.off_chip}/port {number}, phase {self.k}"
        return top.server(("port", self.k, number), name, rate, shared=True)

    def _mover(self, t: Transfer, role: str) -> _Actor:
        label = ActorLabel(t.task, self.fabric.off_chip, role, t.stored)
        index = self.top.builder.actor(f"{role} {t.tensor}, {t.task}", server=self._channel(), label=label)
        outside, inside = self.fabric.off_chip, self.fabric.on_chip
        src, dst = (outside, inside) if role == "load" else (inside, outside)
        moved = [Action(src, "read", t.task, t.stored, dst), Action(dst, "write", t.task, t.stored, src)]
        moved += [Action(link, "transfer", t.task, t.stored) for link in self.top.links]
        least, larger = divmod(t.total, t.pieces)

        def piece(i: int) -> int:
            return least + (1 if i < larger else 0)

        def count(i: int) -> Mapping[Action, int]:
            return dict.fromkeys(moved, piece(i))

        return _Actor(index, t.pieces, lambda i: max(1, piece(i)), frozenset({larger}), actions=count)

    def _load(self, t: Transfer) -> _Actor:
        mover, stage = self._mover(t, "load"), self.stages[t.task]
        latency = self.fabric.cycles(self.fabric.latency_s)
        name = f"{t.tensor} to {t.task}"
        fifo = self.top.builder.fifo(mover.index, stage.index, depth=t.slots, latency=latency, name=name)
        mover.outputs.append(_every(fifo))
        stage.inputs.append(first(fifo) if t.pieces == 1 else _every(fifo))
        return mover

    def _store(self, t: Transfer) -> _Actor:
        mover, stage = self._mover(t, "store"), self.stages[t.task]
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


def _repeated(times: int, body: tuple[Run, ...]) -> tuple[Run | Repeat, ...]:
    return () if times == 0 else body if times == 1 else (Repeat(times, body),)


def _work(time: Timing) -> Callable[[int], int]:
    return lambda i: max(1, time.cycles + (1 if i < time.extra else 0))


def _runs(actor: _Actor, segment: int, inputs: Sequence[_Port], outputs: Sequence[_Port]) -> Iterator[Run]:
    """Its firings, in runs between the places where something changes."""
    places = {0, *actor.breaks}
    for port in (*inputs, *outputs):
        places |= port.edges
    ordered = [p for p in sorted(places) if 0 <= p < actor.firings] + [actor.firings]
    for start, end in pairwise(ordered):
        yield Run(
            Firing(
                work=actor.work(start),
                inputs=_ports(inputs, start),
                outputs=_ports(outputs, start),
                actions=tuple((a, n) for a, n in sorted(actor.actions(start).items()) if n),
                segment=segment,
            ),
            end - start,
        )


def _ports(ports: Sequence[_Port], i: int) -> tuple[tuple[int, int, int], ...]:
    return tuple((p.fifo, n, n) for p in ports if (n := p.tokens(i)))


def off_chip_bytes(actions: Mapping[Action, int], memory: str, verb: str) -> int:
    """Bytes that transfers read from or write to a memory, from counts of actions."""
    return sum(n for a, n in actions.items() if (a.component, a.action) == (memory, verb) and a.peer)
