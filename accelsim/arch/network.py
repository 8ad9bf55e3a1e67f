"""Network: sockets, switches and the cables between them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from ..errors import BadInput

TOPOLOGIES = ("ring", "full", "switch")


@dataclass(frozen=True)
class Cable:
    """One way from a node to another, in bytes per second and seconds for the first byte."""

    src: int
    dst: int
    bandwidth: float
    latency: float = 0.0
    energy_per_byte: float = 0.0


@dataclass(frozen=True)
class Network:
    """Nodes 0 to `sockets` - 1 compute; the others are switches, which forward what reaches them.

    Raises:
        BadInput: a cable has no bandwidth, leads nowhere, or a socket cannot reach another.
    """

    sockets: int
    cables: tuple[Cable, ...]
    switches: int = 0
    name: str = "network"

    def __post_init__(self) -> None:
        nodes = self.sockets + self.switches
        if self.sockets < 1 or self.switches < 0:
            raise BadInput(f"{self.name}: {self.sockets} sockets and {self.switches} switches (at least 1 socket)")
        for c in self.cables:
            if not (0 <= c.src < nodes and 0 <= c.dst < nodes) or c.src == c.dst:
                raise BadInput(f"{self.name}: a cable from node {c.src} to {c.dst} (nodes are 0 to {nodes - 1})")
            if c.bandwidth <= 0 or c.latency < 0:
                raise BadInput(f"{self.name}: cable {c.src} to {c.dst}: {c.bandwidth} byte/s and {c.latency} s "
                               "(bandwidth above 0, latency of at least 0)")
        unreached = [(a, b) for a in range(self.sockets) for b in range(self.sockets) if b not in self._ways[a]]
        if unreached:
            raise BadInput(f"{self.name}: no way from socket {unreached[0][0]} to {unreached[0][1]}")

    @cached_property
    def _ways(self) -> tuple[dict[int, tuple[int, ...]], ...]:
        """From each socket to each node: the cables of a way with the fewest of them, among equals the first."""
        leaving: dict[int, list[int]] = {}
        for i, cable in enumerate(self.cables):
            leaving.setdefault(cable.src, []).append(i)
        found = []
        for start in range(self.sockets):
            ways: dict[int, tuple[int, ...]] = {start: ()}
            reached = deque([start])
            while reached:
                here = reached.popleft()
                if here != start and here < self.sockets and not self._forwards:
                    continue
                for i in leaving.get(here, ()):
                    there = self.cables[i].dst
                    if there not in ways:
                        ways[there] = (*ways[here], i)
                        reached.append(there)
            found.append(ways)
        return tuple(found)

    @property
    def _forwards(self) -> bool:
        """Sockets forward where there are no switches to do it."""
        return self.switches == 0

    def route(self, src: int, dst: int) -> tuple[int, ...]:
        """Indices of the cables from a socket to another, in order.

        Raises:
            BadInput: no such socket.
        """
        for socket in (src, dst):
            if not 0 <= socket < self.sockets:
                raise BadInput(f"{self.name}: no socket {socket} (sockets are 0 to {self.sockets - 1})")
        return self._ways[src][dst]


def ring(sockets: int, bandwidth: float, latency: float = 0.0, energy_per_byte: float = 0.0) -> Network:
    """Every socket has a cable to and from each of its two neighbours; `bandwidth` is that of a cable, one way."""
    pairs = {(i, (i + step) % sockets) for i in range(sockets) for step in (1, -1)} if sockets > 1 else set()
    return _cabled(sockets, sorted(pairs), bandwidth, latency, energy_per_byte, "ring")


def full(sockets: int, bandwidth: float, latency: float = 0.0, energy_per_byte: float = 0.0) -> Network:
    """Every socket has a cable to and from every other one; `bandwidth` is that of a cable, one way."""
    pairs = [(i, j) for i in range(sockets) for j in range(sockets) if i != j]
    return _cabled(sockets, pairs, bandwidth, latency, energy_per_byte, "full")


def switch(sockets: int, bandwidth: float, latency: float = 0.0, energy_per_byte: float = 0.0) -> Network:
    """All sockets hang on one switch; `bandwidth` is that of a socket's port, each way, `latency` from end to end."""
    cables = [c for i in range(sockets) for c in (
        Cable(i, sockets, bandwidth, latency / 2, energy_per_byte / 2),
        Cable(sockets, i, bandwidth, latency / 2, energy_per_byte / 2),
    )]  # fmt: skip
    return Network(sockets, tuple(cables), 1, "switch")


def nodes(inner: Network, count: int, bandwidth: float, latency: float = 0.0) -> Network:
    """`count` nodes of equal networks whose first switches, or else first sockets, hang on one further switch.

    Socket s of node n is socket ``n * inner.sockets + s``. `bandwidth` and `latency` are of a way to that switch.
    """
    sockets, outer = inner.sockets * count, inner.sockets * count + inner.switches * count

    def place(node: int, of: int) -> int:
        if of < inner.sockets:
            return node * inner.sockets + of
        return sockets + node * inner.switches + of - inner.sockets

    cables = [Cable(place(n, c.src), place(n, c.dst), c.bandwidth, c.latency, c.energy_per_byte)
              for n in range(count) for c in inner.cables]  # fmt: skip
    if count > 1:
        gates = range(1 if inner.switches else inner.sockets)
        for n in range(count):
            for g in gates:
                gate = place(n, inner.sockets + g if inner.switches else g)
                cables += [Cable(gate, outer, bandwidth, latency), Cable(outer, gate, bandwidth, latency)]
    return Network(sockets, tuple(cables), inner.switches * count + (count > 1), f"{count} x {inner.name}")


def network_of(
    topology: str, sockets: int, bandwidth: float, latency: float = 0.0, energy_per_byte: float = 0.0
) -> Network:
    """A network by the name of its topology. Raises BadInput for a name that is not one of `TOPOLOGIES`."""
    makers = {"ring": ring, "full": full, "switch": switch}
    if topology not in makers:
        raise BadInput(f"no topology `{topology}` (known: {', '.join(TOPOLOGIES)})")
    return makers[topology](sockets, bandwidth, latency, energy_per_byte)


def _cabled(
    sockets: int, pairs: Iterable[tuple[int, int]], bandwidth: float, latency: float, energy: float, name: str
) -> Network:
    return Network(sockets, tuple(Cable(a, b, bandwidth, latency, energy) for a, b in pairs), 0, name)
