"""The ports a transfer passes, and the servers they and the units are in a Program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property, lru_cache

from ..arch.architecture import Architecture
from ..arch.component import LinkBase
from ..components.base import ComputeUnit
from ..engine.builder import ProgramBuilder
from ..engine.program import Server
from ..errors import MappingError
from ..ir.same import Same


@dataclass(frozen=True)
class Port:
    """One server that a transfer occupies; `first` is the one that counts its bytes."""

    name: str
    component: str
    server: Server
    first: bool


def links_between(arch: Architecture, src: str, dst: str) -> list[LinkBase]:
    """The links that join two memories."""
    return [link for link in arch.links.values() if {*link.between} == {src, dst}]


def ports_between(arch: Architecture, src: str, dst: str) -> tuple[Port, ...]:
    """The servers that a transfer from one memory to another occupies one after the other, tile by tile.

    The port of an on-chip buffer that is no slower than another server on the way hides behind that one: bytes are
    written as they come (cut-through), through a port of its own beside the one that feeds the units. Within a memory
    of one port a transfer is read, then written.
    """
    for name in (src, dst):
        if name not in arch.memories:
            raise MappingError(f"the machine has no memory {name!r}; it has {', '.join(arch.memories)}")
    tick_hz = Fraction(arch.clock)
    source, target = arch.memories[src], arch.memories[dst]
    found: list[tuple[str, Server, bool]] = []
    for component, server, hides in (
        (src, source.server("read", tick_hz, streams=True), source.on_chip),
        *((link.name, link.server(dst, tick_hz), False) for link in links_between(arch, src, dst)),
        (dst, target.server("write", tick_hz, streams=True), target.on_chip),
    ):
        if server is not None:
            found.append((component, server, hides))
    slow = [
        (component, server)
        for i, (component, server, hides) in enumerate(found)
        if not hides or all(server.rate < other.rate for j, (_, other, _) in enumerate(found) if j != i)
    ] or [(component, server) for component, server, _ in found[:1]]
    if src == dst and len({server.name for _, server, _ in found}) == 1:
        slow = [(component, server) for component, server, _ in found]
    return tuple(Port(server.name, component, server, i == 0) for i, (component, server) in enumerate(slow))


@dataclass(frozen=True)
class Route:
    """What a transfer between two memories takes.

    Attributes:
        ports: as `ports_between`.
        latency: seconds from the end of its last port's service to its last byte being there.
        joules_per_byte: read there, moved over links, and written here.
    """

    ports: tuple[Port, ...]
    latency: float
    joules_per_byte: float

    @cached_property
    def cycles_per_byte(self) -> Mapping[str, float]:
        """Cycles of the machine's clock per byte, by port."""
        return {port.name: float(1 / port.server.rate) for port in self.ports}


def route(arch: Architecture, src: str, dst: str) -> Route:
    """The way from one memory to another that is its parent, its child, or joined to it by a link; or to itself."""
    return _route(Same(arch), src, dst)


@lru_cache(maxsize=256)
def _route(on: Same[Architecture], src: str, dst: str) -> Route:
    arch = on.value
    ports = ports_between(arch, src, dst)
    links = links_between(arch, src, dst)
    prices = ((arch.memories[src], "read"), (arch.memories[dst], "write"), *((link, "transfer") for link in links))
    energy = sum(part.action_energy().get(action, 0.0) for part, action in prices)  # flash need not give any
    return Route(ports, arch.memories[src].latency + sum(link.latency for link in links), energy)


class ServerSet:
    """Servers of a Program, each made when first asked for."""

    def __init__(self, builder: ProgramBuilder, arch: Architecture) -> None:
        self._builder, self._arch, self._tick_hz = builder, arch, Fraction(arch.clock)
        self._index: dict[str, int] = {}

    def port(self, port: Port) -> int:
        return self._get(port.server)

    def unit(self, unit: ComputeUnit, part: str = "") -> int:
        """The unit as a server, or the part of it that an Einsum has to itself; or the memory that it keeps."""
        if unit.keeping is not None:
            kept = self._arch.memories[unit.keeping.memory].server("read", self._tick_hz, streams=True)
            assert kept is not None
            return self._get(kept)
        server = unit.server(self._tick_hz)
        return self._get(replace(server, name=f"{server.name}/{part}") if part else server)

    def _get(self, server: Server) -> int:
        if server.name not in self._index:
            self._index[server.name] = self._builder.server(server)
        return self._index[server.name]
