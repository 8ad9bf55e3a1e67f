"""StreamGraph: nodes and streams as values, checked as a whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import gcd

from ...engine.program import ROUND_ROBIN
from ...errors import Problem, SpecError
from .rates import ONE, PortRate, Rate, cycle_length, every

KINDS: Mapping[str, tuple[int, int]] = {
    "source": (0, 1), "sink": (1, 0), "map": (1, 1), "reduce": (1, 1), "scan": (1, 1), "repeat": (1, 1),
    "broadcast": (1, 2), "join": (2, 1), "matmul": (2, 1), "memory": (0, 0), "traffic": (0, 0), "stage": (0, 0),
}  # fmt: skip
"""Kinds of nodes, and the fewest inputs and outputs of each. `memory` reads or writes, `traffic` may be alone, and of a
`stage` nothing is known."""


@dataclass(frozen=True)
class Memory:
    """A shared channel: bytes per cycle, first come or round robin in bursts of so many bytes (0: whole firings)."""

    name: str
    rate: Fraction
    policy: int = ROUND_ROBIN
    burst: int = 0


@dataclass(frozen=True)
class UnitPool:
    """Units of one kind that nodes occupy for good: compute tiles, memory tiles, multipliers."""

    name: str
    count: int


@dataclass(frozen=True)
class Node:
    """One stage.

    Attributes:
        name: of the node, unique.
        kind: a key of KINDS; what it says of rates is worked out when streams are added (`GraphBuilder.stream`).
        latency: cycles from the start of a firing until its tokens are visible; of a node on a memory, from the end.
        ii: initiation interval, cycles from the start of a firing to the earliest start of the next.
        length: tokens of one reduction, of one repeat, of one row of a scan.
        firings: in all; 0 where they follow from the rates and the graph's iterations.
        memory: the shared channel that its firings use, or empty.
        bytes: that one firing moves through the memory.
        unit: the pool of units that it occupies, or empty.
        units: how many of them.
        inputs: names of its input ports, each of which must be connected; empty where ports have no names.
        outputs: of its output ports.
    """

    name: str
    kind: str = "map"
    latency: int = 1
    ii: int = 1
    length: int = 1
    firings: int = 0
    memory: str = ""
    bytes: int = 0
    unit: str = ""
    units: int = 1
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stream:
    """A FIFO from one node to another.

    Attributes:
        src: node that puts tokens, by name.
        dst: node that takes them.
        depth: tokens it holds, those in flight and slots whose credit is under way included; or UNBOUNDED.
        put: tokens per firing of `src`.
        take: tokens per firing of `dst`.
        latency: cycles on the way, beside those of `src`.
        credit_latency: cycles until the slot of a token that was taken can be filled again.
        init: tokens that are there at the start.
        space_at_end: a slot is given back at the end of the firing that takes its token, not at its start.
        bits: of a token.
        name: unique.
        src_port: named port of `src`, or empty.
        dst_port: of `dst`.
    """

    src: str
    dst: str
    depth: int = 2
    put: Rate = ONE
    take: Rate = ONE
    latency: int = 0
    credit_latency: int = 1
    init: int = 0
    space_at_end: bool = False
    bits: int = 16
    name: str = ""
    src_port: str = ""
    dst_port: str = ""


Fault = tuple[tuple[str | int, ...], str, str]
"""Path in the graph's YAML form, what is wrong, what would be valid."""


@dataclass(frozen=True)
class StreamGraph:
    """Nodes and streams that are known to fit together; made by `GraphBuilder.build`.

    `cycle_hz` is the clock, `firings` the total of every node, in order.
    """

    name: str
    nodes: tuple[Node, ...]
    streams: tuple[Stream, ...]
    memories: tuple[Memory, ...] = ()
    units: tuple[UnitPool, ...] = ()
    iterations: int = 1
    cycle_hz: Fraction = Fraction(1_000_000_000)
    firings: tuple[int, ...] = field(default=(), compare=False)

    def ports(self, node: int) -> list[PortRate]:
        """The ports of a node, inputs first, each in order of the streams."""
        name = self.nodes[node].name
        ins = [PortRate(i, False, s.take) for i, s in enumerate(self.streams) if s.dst == name]
        return ins + [PortRate(i, True, s.put) for i, s in enumerate(self.streams) if s.src == name]

    def stream(self, name: str) -> int:
        """Index of a stream, by name or as ``src -> dst``. Raises SpecError when there is none."""
        for i, s in enumerate(self.streams):
            if name in (s.name, f"{s.src} -> {s.dst}"):
                return i
        raise SpecError([Problem(self.name, f"no stream '{name}'", ", ".join(s.name for s in self.streams))])

    @property
    def rounds(self) -> int:
        """How often the graph repeats: the most equal parts that its firings can be cut into."""
        cycles = (cycle_length(self.ports(i)) for i in range(len(self.nodes)))
        return gcd(*(n // cycle for n, cycle in zip(self.firings, cycles, strict=True)))

    def shortened(self, rounds: int) -> StreamGraph:
        """The graph with only so many of its rounds, no more than it has; until they end it runs alike."""
        kept, whole = max(1, min(rounds, self.rounds)), self.rounds
        nodes = tuple(replace(n, firings=n.firings * kept // whole) for n in self.nodes)
        return replace(self, nodes=nodes, firings=tuple(n * kept // whole for n in self.firings))

    def with_depths(self, depths: Mapping[int, int]) -> StreamGraph:
        """The same graph with other depths, by index of the stream."""
        streams = tuple(replace(s, depth=depths.get(i, s.depth)) for i, s in enumerate(self.streams))
        return replace(self, streams=streams, firings=self.firings)


class GraphBuilder:
    """Collects nodes and streams; `build` checks them together."""

    def __init__(self, name: str = "graph", *, iterations: int = 1, cycle_hz: Fraction | int = 1_000_000_000) -> None:
        self.name, self.iterations, self.cycle_hz = name, iterations, Fraction(cycle_hz)
        self.nodes: list[Node] = []
        self.streams: list[Stream] = []
        self.memories: list[Memory] = []
        self.units: list[UnitPool] = []

    def memory(self, name: str, rate: Fraction | int, *, policy: int = ROUND_ROBIN, burst: int = 0) -> str:
        """Add a shared channel of so many bytes per cycle; returns its name."""
        self.memories.append(Memory(name, Fraction(rate), policy, burst))
        return name

    def unit_pool(self, name: str, count: int) -> str:
        """Add units that nodes can occupy; returns its name."""
        self.units.append(UnitPool(name, count))
        return name

    def node(
        self, name: str, kind: str = "map", *, latency: int = 1, ii: int = 1, length: int = 1, firings: int = 0,
        memory: str = "", bytes: int = 0, unit: str = "", units: int = 1, inputs: Sequence[str] = (),
        outputs: Sequence[str] = (),
    ) -> str:
        """Add a node (see `Node`); returns its name."""
        self.nodes.append(
            Node(name, kind, latency, ii, length, firings, memory, bytes, unit, units, tuple(inputs), tuple(outputs))
        )
        return name

    def stream(
        self, src: str, dst: str, *, depth: int = 2, put: Rate | None = None, take: Rate | None = None,
        latency: int = 0, credit_latency: int = 1, init: int = 0, space_at_end: bool | None = None, bits: int = 16,
        name: str = "",
    ) -> int:
        """Add a stream from ``node`` or ``node.port`` to another; returns its index.

        Without a rate, a reduction puts one token at the last of its `length` firings, a repeat takes one at the first
        of them, and all others move one token per firing. Nodes on a memory give slots back at the end.
        """
        known = {n.name: n for n in self.nodes}
        at = [self._endpoint(end, known) for end in (src, dst)]
        (from_, out_port), (to, in_port) = at
        source, sink = known.get(from_), known.get(to)
        if put is None:
            put = every(source.length, at="last") if source and source.kind in ("reduce", "matmul") else ONE
        if take is None:
            take = every(sink.length) if sink and sink.kind == "repeat" else ONE
        at_end = bool(sink and sink.memory) if space_at_end is None else space_at_end
        taken = {s.name for s in self.streams}
        label = name or f"{from_} -> {to}"
        if not name and label in taken:
            label = next(f"{label} ({i})" for i in range(2, len(taken) + 3) if f"{label} ({i})" not in taken)
        self.streams.append(
            Stream(from_, to, depth, put, take, latency, credit_latency, init, at_end, bits, label, out_port, in_port)
        )
        return len(self.streams) - 1

    @staticmethod
    def _endpoint(end: str, known: Mapping[str, Node]) -> tuple[str, str]:
        """Node and port of ``node`` or ``node.port``."""
        node, dot, port = end.rpartition(".")
        return (node, port) if dot and end not in known and node in known else (end, "")

    def build(self, where: Callable[[tuple[str | int, ...]], str] | None = None) -> StreamGraph:
        """The graph, checked.

        Args:
            where: from a path such as ``("nodes", "exp")`` to how messages call it; default: the path itself.

        Raises:
            SpecError: everything that is wrong: unconnected ports, depths of 0, inconsistent rates, cycles without
                latency or without initial tokens, more units than there are.
        """
        from .check import faults

        graph = StreamGraph(self.name, tuple(self.nodes), tuple(self.streams), tuple(self.memories),
                            tuple(self.units), self.iterations, self.cycle_hz)
        found, firings = faults(graph)
        if found:
            name = where or (lambda path: f"{self.name}: " + ".".join(map(str, path)))
            raise SpecError([Problem(name(path), what, hint) for path, what, hint in found])
        return replace(graph, firings=firings)
