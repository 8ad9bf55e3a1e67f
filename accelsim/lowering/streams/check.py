"""What can be wrong with a stream graph, found before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from math import gcd, lcm

from ...arch.units import rate_fraction
from ...engine.program import UNBOUNDED
from ...text.names import nearest
from .graph import KINDS, Fault, Node, Stream, StreamGraph
from .rates import cycle_length


def faults(graph: StreamGraph) -> tuple[list[Fault], tuple[int, ...]]:
    """Everything that is wrong with a graph, and, if nothing is, the firings of every node in all."""
    found = [*_names(graph), *_node_faults(graph), *_stream_faults(graph), *_units(graph)]
    if found:
        return found, ()
    found += [*_unconnected(graph), *_circles(graph)]
    firings, unbalanced = _balance(graph)
    return [*found, *unbalanced], tuple(firings)


def _names(graph: StreamGraph) -> Iterator[Fault]:
    for key, names in (
        ("nodes", [n.name for n in graph.nodes]), ("streams", [s.name for s in graph.streams]),
        ("memories", [m.name for m in graph.memories]), ("units", [u.name for u in graph.units]),
    ):  # fmt: skip
        for i, name in enumerate(names):
            if name in names[:i]:
                yield (key, i if key == "streams" else name), f"two are called '{name}'", "names are unique"
    if not graph.nodes:
        yield ("nodes",), "there is no node", "at least one"
    if graph.iterations < 1:
        yield ("iterations",), f"is {graph.iterations}", "at least 1"
    if graph.cycle_hz <= 0:
        yield ("clock",), f"is {graph.cycle_hz} Hz", "more than 0"
    for m in graph.memories:
        try:
            rate_fraction(m.rate)
        except ValueError as error:
            yield (("memories", m.name), str(error), "in bytes per cycle, such as 64")
            continue
        if m.burst < 0:
            yield ("memories", m.name), f"{m.rate} bytes per cycle in bursts of {m.burst}", "a burst of 0 or more"


def _node_faults(graph: StreamGraph) -> Iterator[Fault]:
    memories, pools = [m.name for m in graph.memories], [u.name for u in graph.units]
    for n in graph.nodes:
        at = ("nodes", n.name)
        if n.kind not in KINDS:
            yield (*at, "kind"), f"unknown kind '{n.kind}'", nearest(n.kind, KINDS)
        least = (("latency", n.latency, 0), ("ii", n.ii, 1), ("length", n.length, 1), ("firings", n.firings, 0),
                 ("units", n.units, 1))
        for key, value, low in least:
            if value < low:
                yield (*at, key), f"is {value}", f"at least {low}"
        if n.memory and n.memory not in memories:
            yield (*at, "memory"), f"no memory '{n.memory}'", nearest(n.memory, memories)
        if bool(n.memory) != (n.bytes > 0):
            yield (*at, "bytes"), f"moves {n.bytes} bytes through memory '{n.memory}'", "name both, or neither"
        if n.kind in ("memory", "traffic") and not n.memory:
            yield at, f"a node of kind {n.kind} names no memory", "memory: NAME and bytes: N"
        if n.unit and n.unit not in pools:
            yield (*at, "unit"), f"no units '{n.unit}'", nearest(n.unit, pools)


def _stream_faults(graph: StreamGraph) -> Iterator[Fault]:
    nodes = {n.name: n for n in graph.nodes}
    for i, s in enumerate(graph.streams):
        at: tuple[str | int, ...] = ("streams", i)
        for key, name, port in (("from", s.src, s.src_port), ("to", s.dst, s.dst_port)):
            if name not in nodes:
                yield (*at, key), f"no node '{name}'", nearest(name, nodes)
            elif port and port not in (ports := nodes[name].outputs if key == "from" else nodes[name].inputs):
                side = "output" if key == "from" else "input"
                yield (*at, key), f"node '{name}' has no {side} '{port}'", nearest(port, ports)
        most = max(s.put.largest, s.take.largest)
        if s.depth != UNBOUNDED and s.depth < max(1, most):
            yield ((*at, "depth"), f"stream {s.name} has depth {s.depth}",
                   f"at least {most}, the most that a firing moves")
        elif not 0 <= s.init <= (s.init if s.depth == UNBOUNDED else s.depth):
            yield (*at, "init"), f"{s.init} initial tokens in a depth of {s.depth}", "from 0 to the depth"
        if s.latency < 0:
            yield (*at, "latency"), f"is {s.latency}", "at least 0"
        if s.credit_latency < (0 if s.space_at_end else 1):
            yield (*at, "credit_latency"), f"is {s.credit_latency}", "at least 1, or 0 where space returns at the end"
        if s.bits < 1:
            yield (*at, "bits"), f"is {s.bits}", "at least 1"


def _units(graph: StreamGraph) -> Iterator[Fault]:
    for pool in graph.units:
        users = [n for n in graph.nodes if n.unit == pool.name]
        taken = sum(n.units for n in users)
        if pool.count < 1:
            yield ("units", pool.name), f"is {pool.count}", "at least 1"
        elif taken > pool.count:
            names = ", ".join(f"{n.name} {n.units}" for n in users)
            yield (("units", pool.name), f"its stages need {taken} units and there are {pool.count} ({names})",
                   "fewer or smaller stages, or several kernels")


def _unconnected(graph: StreamGraph) -> Iterator[Fault]:
    for n in graph.nodes:
        at = ("nodes", n.name)
        for side, named, ends in (
            ("input", n.inputs, [s.dst_port for s in graph.streams if s.dst == n.name]),
            ("output", n.outputs, [s.src_port for s in graph.streams if s.src == n.name]),
        ):
            for port in named:
                if port not in ends:
                    yield at, f"{side} '{port}' of node '{n.name}' is not connected", f"a stream {_to(side, n, port)}"
            if side == "input" and len(set(ends) - {""}) < len([e for e in ends if e]):
                twice = next(e for e in ends if e and ends.count(e) > 1)
                yield at, f"input '{twice}' of node '{n.name}' is connected twice", "one stream to each input"
            if ends and (n.kind, side) in (("source", "input"), ("sink", "output")):
                yield at, f"node '{n.name}' of kind {n.kind} has a connected {side}", "kind: map, or stage"
            fewest = KINDS[n.kind][side == "output"]
            if n.kind == "matmul" and n.inputs == ():
                fewest = min(fewest, 1)  # its other operand may lie in the node
            if len(ends) < fewest and not named:
                yield (at, f"node '{n.name}' of kind {n.kind} has {len(ends)} connected {side}s",
                       f"at least {fewest}: a stream {_to(side, n, '')}")
        if n.kind == "memory" and not any(n.name in (s.src, s.dst) for s in graph.streams):
            yield at, f"node '{n.name}' reads and writes nothing: no stream is connected to it", "or kind: traffic"


def _to(side: str, node: Node, port: str) -> str:
    end = f"{node.name}.{port}" if port else node.name
    return f"to {end}" if side == "input" else f"from {end}"


def visible_after(node: Node, stream: Stream) -> int:
    """Cycles from the start (of a node on a memory: from the end) of a firing until its tokens are visible."""
    return node.latency + stream.latency


def _circles(graph: StreamGraph) -> Iterator[Fault]:
    """Streams without latency, and circles in which every node waits for the next before it fires at all."""
    nodes = {n.name: n for n in graph.nodes}
    instant = [s for s in graph.streams if not nodes[s.src].memory and visible_after(nodes[s.src], s) < 1]
    circle = _circle(instant)
    if circle:
        way = " -> ".join([*(s.src for s in circle), circle[0].src])
        yield (("streams", graph.streams.index(circle[0])), f"zero-latency cycle {way}",
               "a latency of at least 1 in its nodes or streams")
    for s in instant:
        if s not in circle:
            yield (("streams", graph.streams.index(s), "latency"), f"tokens of stream {s.name} take no time",
                   "latency of its source and of the stream together: at least 1")
    circle = _circle(s for s in graph.streams if s.init < s.take.runs[0][1])
    if circle:
        way = " -> ".join([*(s.src for s in circle), circle[0].src])
        yield (("streams", graph.streams.index(circle[0])), f"cycle {way} has no initial tokens, so that none of its "
               "nodes can ever fire", "init: N on one of its streams")


def _circle(streams: Iterable[Stream]) -> list[Stream]:
    """Streams that close a circle, or none."""
    after: dict[str, list[Stream]] = {}
    for s in streams:
        after.setdefault(s.src, []).append(s)
    done: set[str] = set()
    for root in after:
        path: list[Stream] = []
        stack = [iter(after[root])] if root not in done else []
        while stack:
            step = next(stack[-1], None)
            if step is None:
                stack.pop()
                if path:
                    done.add(path.pop().dst)
                continue
            s = step
            on_path = [p.src for p in path] + [s.src]
            if s.dst in on_path:
                return [*path, s][on_path.index(s.dst) :]
            if s.dst not in done:
                path.append(s)
                stack.append(iter(after.get(s.dst, ())))
        done.add(root)
    return []


def _balance(graph: StreamGraph) -> tuple[list[int], list[Fault]]:
    """Firings of every node such that each stream is given what is taken from it, and where rates do not allow it."""
    index = {n.name: i for i, n in enumerate(graph.nodes)}
    length = [cycle_length(graph.ports(i)) for i in range(len(graph.nodes))]
    beside: list[list[tuple[int, Stream]]] = [[] for _ in graph.nodes]
    for s in graph.streams:
        beside[index[s.src]].append((index[s.dst], s))
        beside[index[s.dst]].append((index[s.src], s))

    def put(s: Stream) -> Fraction:
        return Fraction(s.put.tokens, s.put.firings)

    def take(s: Stream) -> Fraction:
        return Fraction(s.take.tokens, s.take.firings)

    firings: list[Fraction] = [Fraction(0)] * len(graph.nodes)
    result, found = [0] * len(graph.nodes), list[Fault]()
    for root in range(len(graph.nodes)):
        if firings[root]:
            continue
        firings[root] = Fraction(1)
        group, queue = [root], [root]
        while queue:
            a = queue.pop()
            for b, s in beside[a]:
                if not firings[b]:
                    ratio = put(s) / take(s) if index[s.src] == a else take(s) / put(s)
                    firings[b] = firings[a] * ratio
                    group.append(b)
                    queue.append(b)
        bad = _inconsistent(graph, group, index, firings, put, take)
        found += bad
        if not bad:
            _scale(graph, group, length, firings, result, found)
    return result, found


def _inconsistent(
    graph: StreamGraph, group: Sequence[int], index: Mapping[str, int], firings: Sequence[Fraction],
    put: Callable[[Stream], Fraction], take: Callable[[Stream], Fraction],
) -> list[Fault]:
    found: list[Fault] = []
    inside = {graph.nodes[i].name for i in group}
    for i, s in enumerate(graph.streams):
        if s.src not in inside:
            continue
        given, taken = firings[index[s.src]] * put(s), firings[index[s.dst]] * take(s)
        if given != taken:
            found.append((
                ("streams", i),
                f"inconsistent rates: in stream {s.name}, '{s.src}' puts {s.put} and '{s.dst}' takes {s.take} per "
                f"firing; by the other streams that is {given / taken} tokens put for each one taken",
                "rates under which every stream gets as many tokens as are taken from it",
            ))  # fmt: skip
    return found


def _scale(
    graph: StreamGraph, group: Sequence[int], length: Sequence[int], firings: Sequence[Fraction], result: list[int],
    found: list[Fault],
) -> None:
    """Whole firings of connected nodes: as often as one of them says, else the graph's iterations of the least."""
    rounds = [firings[i] / length[i] for i in group]
    common = lcm(*(r.denominator for r in rounds))
    unit = Fraction(common, gcd(*(int(r * common) for r in rounds)))
    times, said = Fraction(graph.iterations), ""
    for i in group:
        node = graph.nodes[i]
        if not node.firings:
            continue
        wanted = Fraction(node.firings) / (firings[i] * unit)
        if wanted.denominator != 1:
            found.append((("nodes", node.name, "firings"), f"'{node.name}' fires {node.firings} times",
                          f"a multiple of {firings[i] * unit}, so that all rates come out even"))
        elif said and wanted != times:
            found.append((("nodes", node.name, "firings"), f"'{node.name}' fires {node.firings} times, and by the "
                          f"firings of '{said}' it is {firings[i] * unit * times}", "say it for one node"))
        else:
            times, said = wanted, node.name
    for i in group:
        result[i] = int(firings[i] * unit * times)
