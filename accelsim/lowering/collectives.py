"""Collectives as Programs: messages between sockets, each on the cables of its way, after those that it waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from math import ceil
from typing import NamedTuple

from ..arch.network import Network
from ..components.base import server_rate
from ..engine import compiled
from ..engine.builder import Phase, ProgramBuilder, Run
from ..engine.program import NONE, ROUND_ROBIN, UNBOUNDED, Platform, Program, Server
from ..errors import BadInput

PACKET_BYTES = 1 << 16
"""What a switch forwards at a time, and what messages that share a cable take in turn."""
TICK_HZ = Fraction(10**10)


class Message(NamedTuple):
    """`nbytes` from a socket to another, sent when all messages in `after` (by index, earlier ones) have arrived."""

    src: int
    dst: int
    nbytes: int
    after: tuple[int, ...] = ()


Messages = tuple[Message, ...]


def shares(nbytes: int, parts: int) -> list[int]:
    """`nbytes` in `parts` parts, the first ones a byte larger where it does not divide."""
    return [nbytes // parts + (i < nbytes % parts) for i in range(parts)]


def ring_reduce_scatter(sockets: int, nbytes: int) -> Messages:
    """In step s socket i sends part i - s to its neighbour, which adds its own: n - 1 steps of a part each."""
    return _around(sockets, nbytes, sockets - 1)


def ring_all_gather(sockets: int, nbytes: int) -> Messages:
    """In step s socket i hands on part i - s; `nbytes` are those of the whole result."""
    return _around(sockets, nbytes, sockets - 1)


def ring_all_reduce(sockets: int, nbytes: int) -> Messages:
    """Reduce-scatter, then all-gather: 2 (n - 1) steps of a part each (Patarasuk and Yuan, 2009)."""
    return _around(sockets, nbytes, 2 * (sockets - 1))


def _around(sockets: int, nbytes: int, steps: int) -> Messages:
    parts, found = shares(nbytes, sockets), list[Message]()
    for step in range(steps):
        for i in range(sockets):
            before = (sockets * (step - 1) + (i - 1) % sockets,) if step else ()
            found.append(Message(i, (i + 1) % sockets, parts[(i - step) % sockets], before))
    return tuple(found)


def direct_reduce_scatter(sockets: int, nbytes: int) -> Messages:
    """Every socket sends every other one that one's part, all at once."""
    parts = shares(nbytes, sockets)
    return tuple(Message(i, (i + s) % sockets, parts[(i + s) % sockets])
                 for s in range(1, sockets) for i in range(sockets))  # fmt: skip


def direct_all_gather(sockets: int, nbytes: int) -> Messages:
    """Every socket sends its part to every other one, all at once; `nbytes` are those of the whole result."""
    parts = shares(nbytes, sockets)
    return tuple(Message(i, (i + s) % sockets, parts[i]) for s in range(1, sockets) for i in range(sockets))


def direct_all_reduce(sockets: int, nbytes: int) -> Messages:
    """A direct reduce-scatter, then a direct all-gather from each socket as soon as its part is complete."""
    first = direct_reduce_scatter(sockets, nbytes)
    ready = [tuple(k for k, m in enumerate(first) if m.dst == i) for i in range(sockets)]
    return first + tuple(m._replace(after=ready[m.src]) for m in direct_all_gather(sockets, nbytes))


def direct_all_to_all(sockets: int, nbytes: int) -> Messages:
    """Every socket has `nbytes`, an equal part of them for each socket; its own stays."""
    return tuple(Message(i, (i + s) % sockets, part) for s in range(1, sockets) for i in range(sockets)
                 for part in (shares(nbytes, sockets)[(i + s) % sockets],))  # fmt: skip


def ring_all_to_all(sockets: int, nbytes: int) -> Messages:
    """In step s socket i hands on what began at i - s and goes farther: n - 1 steps, each of a part less."""
    parts, found = shares(nbytes, sockets), list[Message]()
    for step in range(sockets - 1):
        for i in range(sockets):
            before = (sockets * (step - 1) + (i - 1) % sockets,) if step else ()
            left = sum(parts[(i + d) % sockets] for d in range(1, sockets - step))
            found.append(Message(i, (i + 1) % sockets, left, before))
    return tuple(found)


def _over_tree(sockets: int, up: Callable[[list[int]], int], down: Callable[[list[int]], int]) -> Messages:
    """On a binary tree of sockets, `up` bytes from each subtree once all below has come, then `down` bytes into it once
    all from outside has."""
    children = {i: [c for c in (2 * i + 1, 2 * i + 2) if c < sockets] for i in range(sockets)}
    below: dict[int, list[int]] = {}
    sent_up: dict[int, int] = {}
    sent_down: dict[int, int] = {}
    found: list[Message] = []
    for i in range(sockets - 1, 0, -1):
        below[i] = [i, *(k for c in children[i] for k in below[c])]
        sent_up[i] = len(found)
        found.append(Message(i, (i - 1) // 2, up(below[i]), tuple(sent_up[c] for c in children[i])))
    for i in range(1, sockets):
        parent = (i - 1) // 2
        waits = (*(sent_up[c] for c in children[parent] if c != i), *([sent_down[parent]] if parent else []))
        sent_down[i] = len(found)
        found.append(Message(parent, i, down(below[i]), waits))
    return tuple(found)


def _sum(parts: Sequence[int], of: Iterable[int]) -> int:
    return sum(parts[k] for k in of)


def tree_all_gather(sockets: int, nbytes: int) -> Messages:
    """Parts of each subtree go up, those of all others come down; `nbytes` are those of the whole result."""
    own = partial(_sum, shares(nbytes, sockets))
    return _over_tree(sockets, own, lambda mine: nbytes - own(mine))


def tree_reduce_scatter(sockets: int, nbytes: int) -> Messages:
    """Sums over each subtree go up for the parts of all others, sums over those come down for its own."""
    own = partial(_sum, shares(nbytes, sockets))
    return _over_tree(sockets, lambda mine: nbytes - own(mine), own)


def tree_all_to_all(sockets: int, nbytes: int) -> Messages:
    """What sockets of a subtree have for others goes up, what those have for them comes down."""
    own = partial(_sum, shares(nbytes, sockets))
    return _over_tree(sockets, lambda mine: len(mine) * (nbytes - own(mine)),
                      lambda mine: (sockets - len(mine)) * own(mine))  # fmt: skip


def tree_all_reduce(sockets: int, nbytes: int, pieces: int = 8) -> Messages:
    """Sums go up a binary tree to socket 0 and the result comes down, in `pieces` pieces that follow each other."""
    found: list[Message] = []
    up: dict[tuple[int, int], int] = {}
    down: dict[tuple[int, int], int] = {}
    parts = shares(nbytes, pieces)
    children = {i: [c for c in (2 * i + 1, 2 * i + 2) if c < sockets] for i in range(sockets)}
    for p, size in enumerate(parts):
        for i in range(sockets - 1, 0, -1):
            up[p, i] = len(found)
            found.append(Message(i, (i - 1) // 2, size, tuple(up[p, c] for c in children[i])))
    for p, size in enumerate(parts):
        for i in range(1, sockets):
            parent = (i - 1) // 2
            waits = (down[p, parent],) if parent else tuple(up[p, c] for c in children[0])
            down[p, i] = len(found)
            found.append(Message(parent, i, size, waits))
    return tuple(found)


COLLECTIVES: dict[str, dict[str, Callable[[int, int], Messages]]] = {
    "all_reduce": {"ring": ring_all_reduce, "tree": tree_all_reduce, "direct": direct_all_reduce},
    "reduce_scatter": {"ring": ring_reduce_scatter, "tree": tree_reduce_scatter, "direct": direct_reduce_scatter},
    "all_gather": {"ring": ring_all_gather, "tree": tree_all_gather, "direct": direct_all_gather},
    "all_to_all": {"ring": ring_all_to_all, "tree": tree_all_to_all, "direct": direct_all_to_all},
}
"""Messages by collective and algorithm, from sockets and bytes."""


def collective(kind: str, algorithm: str, sockets: int, nbytes: int) -> Messages:
    """The messages of a collective over sockets 0 to `sockets` - 1.

    `nbytes` are those of the whole tensor: what every socket has before an all-reduce, reduce-scatter or all-to-all,
    and after an all-gather.

    Raises:
        BadInput: there is no such collective or algorithm, or nothing to send.
    """
    if kind not in COLLECTIVES:
        raise BadInput(f"no collective `{kind}` (known: {', '.join(COLLECTIVES)})")
    if algorithm not in COLLECTIVES[kind]:
        raise BadInput(f"no algorithm `{algorithm}` of {kind} (known: {', '.join(COLLECTIVES[kind])})")
    if nbytes < 1 or sockets < 1:
        raise BadInput(f"{kind} of {nbytes} bytes over {sockets} sockets (at least 1 of each)")
    return COLLECTIVES[kind][algorithm](sockets, nbytes)


def platform_of(network: Network, tick_hz: Fraction = TICK_HZ) -> Platform:
    """The cables as servers, in order; messages take turns packet by packet."""
    return Platform(tuple(
        Server(f"cable {c.src} to {c.dst}", server_rate(network.name, c.bandwidth, tick_hz), ROUND_ROBIN, PACKET_BYTES)
        for c in network.cables
    ))  # fmt: skip


@dataclass(frozen=True, eq=False)
class Lowered:
    """The Program of messages, and by message the actor that stands for its arrival (none for one without bytes)."""

    program: Program
    arrivals: tuple[int, ...]


@dataclass
class _Sender:
    """A message on one cable: FIFO ports of every packet, of the first one alone, and of the last one alone."""

    actor: int
    nbytes: int
    every_in: list[int] = field(default_factory=list)
    every_out: list[int] = field(default_factory=list)
    first_in: list[int] = field(default_factory=list)
    last_out: list[int] = field(default_factory=list)

    def schedule(self) -> list[Run]:
        """Packets where others follow or lead, else all bytes at once."""
        size = PACKET_BYTES if self.every_in or self.every_out else self.nbytes
        count = -(-self.nbytes // size)
        if count == 1:
            return [self._run(self.nbytes, True, True)]
        last = self.nbytes - (count - 1) * size
        return [self._run(size, True, False), self._run(size, False, False, count - 2), self._run(last, False, True)]

    def _run(self, size: int, first: bool, last: bool, count: int = 1) -> Run:
        taken = self.every_in + (self.first_in if first else [])
        put = self.every_out + (self.last_out if last else [])
        return Run(Phase(size, inputs=tuple((f, 1, 1) for f in taken), outputs=tuple((f, 1, 1) for f in put)), count)


def lower_messages(network: Network, messages: Sequence[Message], tick_hz: Fraction = TICK_HZ) -> Lowered:
    """Lower messages to a Program on `platform_of(network)`.

    A message is an actor on every cable of its way; on ways of several cables packets follow each other through. It has
    arrived a cable's latency after its last byte was sent. Adding up what was received takes no time, and messages of
    no bytes are as if they had arrived with what they wait for.

    Raises:
        BadInput: a message waits for a later one, or goes to a socket that is not there.
    """
    b = ProgramBuilder(network.name, tick_hz=tick_hz)
    for server in platform_of(network, tick_hz).servers:
        b.server(server)
    latencies = [ceil(Fraction(cable.latency).limit_denominator(10**15) * tick_hz) for cable in network.cables]
    ways: list[list[_Sender]] = []
    delays: list[int] = []
    for number, message in enumerate(messages):
        if any(not 0 <= k < number for k in message.after):
            raise BadInput(f"message {number} waits for {message.after} (only for earlier ones)")
        way: list[_Sender] = []
        delay = 0
        for cable in network.route(message.src, message.dst) if message.nbytes else ():
            sender = _Sender(b.actor(f"{message.src} to {message.dst}", server=cable, label=number), message.nbytes)
            if way:
                hop = b.fifo(way[-1].actor, sender.actor, depth=UNBOUNDED, latency=delay)
                way[-1].every_out.append(hop)
                sender.every_in.append(hop)
            way.append(sender)
            delay = latencies[cable]
        for k in _sent(messages, message.after) if way else ():
            fifo = b.fifo(ways[k][-1].actor, way[0].actor, latency=delays[k])
            ways[k][-1].last_out.append(fifo)
            way[0].first_in.append(fifo)
        ways.append(way)
        delays.append(delay)
    arrivals = [_arrival(b, way[-1], delay) if way else NONE for way, delay in zip(ways, delays, strict=True)]
    for way in ways:
        for sender in way:
            b.schedule(sender.actor, sender.schedule())
    return Lowered(b.build(), tuple(arrivals))


def _arrival(b: ProgramBuilder, sender: _Sender, delay: int) -> int:
    """The actor whose end is the arrival: the sender itself, or where it takes time, one that serves for a tick."""
    if delay < 1:
        return sender.actor
    sink = b.actor("arrived")
    fifo = b.fifo(sender.actor, sink, latency=delay - 1)
    sender.last_out.append(fifo)
    b.schedule(sink, [Run(Phase(inputs=((fifo, 1, 1),)))])
    return sink


def _sent(messages: Sequence[Message], after: tuple[int, ...]) -> list[int]:
    """What is to be waited for, messages without bytes replaced by what they wait for."""
    found: set[int] = set()
    for k in after:
        found.update([k] if messages[k].nbytes else _sent(messages, messages[k].after))
    return sorted(found)


def arrival_seconds(network: Network, messages: Sequence[Message], tick_hz: Fraction = TICK_HZ) -> tuple[float, ...]:
    """When each message has arrived, in seconds, all of them on the network together."""
    if network.sockets == 1 or not any(m.nbytes for m in messages):
        return tuple(0.0 for _ in messages)
    lowered = lower_messages(network, messages, tick_hz)
    trace = compiled.run(lowered.program)
    return tuple(0.0 if a == NONE else float(int(trace.end[a]) / tick_hz) for a in lowered.arrivals)


def collective_seconds(network: Network, kind: str, nbytes: int, algorithm: str = "auto") -> float:
    """Simulated time of a collective over all sockets of an idle network; ``auto`` is the fastest algorithm.

    Raises:
        BadInput: as `collective`.
    """
    if network.sockets == 1:
        return 0.0
    if algorithm == "auto":
        return min(collective_seconds(network, kind, nbytes, name) for name in COLLECTIVES.get(kind, {"": None}))
    return max(arrival_seconds(network, collective(kind, algorithm, network.sockets, nbytes)))
