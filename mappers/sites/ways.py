"""Ways of running Einsums at the sites of a machine, from its memories, links and units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from math import ceil, prod

import numpy as np

from ...arch.architecture import Architecture
from ...arch.component import LinkBase, Memory
from ...components import ComputeUnit, compute_units
from ...components.dram_step import STREAM_GRAIN
from ...components.flash import Flash
from ...components.pim import PimArray
from ...engine.program import Server
from ...errors import BadInput, DoesNotFit
from ...ir import Access, Einsum, Role, Workload
from ...lowering.sites import Stage, Way

PIECE = 256 * 1024
"""Bytes of a piece of a transfer."""
MOST_PIECES = 64
"""Pieces of a transfer: beyond, they grow."""
STORED = (Role.WEIGHT, Role.STATE)
"""Roles of tensors that are there from the beginning."""


def check_room(arch: Architecture, held: Mapping[str, int], caches: Mapping[str, int] | None = None) -> None:
    """Whether memories hold so many bytes that stay in them, by name, and so many of KV caches beside them.

    A memory may reserve room for caches (`cache_space`); without that both share its capacity.

    Raises:
        BadInput: there is no such memory.
        DoesNotFit: one does not; the message says which, and by how much.
    """
    caches = caches or {}
    for name in dict.fromkeys((*held, *caches)):
        if name not in arch.memories:
            raise BadInput(f"{arch.name} has no memory `{name}` (there are {', '.join(arch.memories)})")
        memory, stays, cached = arch.memories[name], held.get(name, 0), caches.get(name, 0)
        reserved = getattr(memory, "cache_space", None)
        asked = [("what stays", stays + cached, memory.capacity, "")]
        if reserved is not None:
            asked = [
                ("KV caches", cached, reserved, " reserved for caches"),
                ("what stays", stays, memory.capacity - reserved, " beside what caches reserve"),
            ]
        for what, needed, room, why in asked:
            if needed > room:
                raise DoesNotFit(
                    f"{arch.name}: {what} in memory `{name}` takes {needed:,} bytes, it holds {room:,}{why}"
                )


@dataclass(frozen=True)
class Sites:
    """The sites of a machine, and where tensors lie.

    A site is the units at one memory, and bears its name; operands that a unit takes from other memories come there.

    Attributes:
        homes: memory by stored tensor; others, and what passes between tasks, lie in `hub`.
        hub: a memory.
        pools: by memory, the name of the pool from which stored tensors that come to rest there take room.
        chunks: by tensor, the bytes of it that lie together, where not all do: flash reads pages that hold a chunk.
        shares: by tensor in chunks, the share of all chunks there that it is, any as likely as others; without it,
            every chunk has pages of its own.
        shared_banks: units in a memory keep its banks from other accesses; else they have row buffers of their own, and
            both go on at once.
        ordered: units run one whole task after the other, in their order, rather than whatever asks first.
    """

    arch: Architecture
    workload: Workload
    hub: str
    homes: Mapping[str, str] = field(default_factory=dict)
    pools: Mapping[str, str] = field(default_factory=dict)
    chunks: Mapping[str, int] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)
    shared_banks: bool = True
    ordered: bool = False

    def __post_init__(self) -> None:
        for name in (self.hub, *self.homes.values(), *self.pools):
            if name not in self.arch.memories:
                raise BadInput(f"{self.arch.name} has no memory `{name}` (there are {', '.join(self.arch.memories)})")
        for name in (*self.homes, *self.chunks, *self.shares):
            if name not in self.workload.tensors:
                raise BadInput(f"{self.workload.name} has no tensor `{name}`")

    @cached_property
    def units(self) -> Mapping[str, tuple[ComputeUnit, ...]]:
        """Units by site, the sites nearest to the hub first."""
        found: dict[str, tuple[ComputeUnit, ...]] = {}
        for unit in compute_units(self.arch).values():
            found[unit.memory] = (*found.get(unit.memory, ()), unit)
        return {n: found[n] for n in sorted(found, key=lambda n: (len(self.arch.path(self.hub, n)), n))}

    @cached_property
    def einsums(self) -> Mapping[str, Einsum]:
        return {e.name: e for e, _ in self.workload.einsums()}

    @cached_property
    def readers(self) -> Mapping[str, frozenset[str]]:
        """Einsums that read a tensor, by its storage."""
        found: dict[str, frozenset[str]] = {}
        for einsum in self.einsums.values():
            for access in einsum.inputs:
                base = self.workload.storage(access.tensor)
                found[base] = found.get(base, frozenset()) | {einsum.name}
        return found

    @cached_property
    def addresses(self) -> Mapping[str, int]:
        """Byte address of each tensor, one after the other; all memories count alike."""
        found, at = {}, 0
        for name, tensor in self.workload.tensors.items():
            found[name] = at
            at += -(-tensor.nbytes // STREAM_GRAIN) * STREAM_GRAIN
        return found

    def home(self, tensor: str) -> str:
        return self.homes.get(tensor, self.hub)

    def servers(self, tick_hz: int) -> dict[str, Server]:
        """Units, links and the ports of off-chip memories, by name."""
        found: dict[str, Server] = {}
        for unit in compute_units(self.arch).values():
            found[unit.name] = unit.server(Fraction(tick_hz))
        for link in self.arch.links.values():
            for memory in link.between:
                server = link.server(memory, Fraction(tick_hz))
                if server is not None:
                    found[server.name] = server
        for tier in self.arch.off_chip:
            for direction in ("read", "write"):
                server = tier.server(direction, Fraction(tick_hz), streams=True)
                if server is not None:
                    found[server.name] = server
        return found

    def ways(self, names: Sequence[str], only: Sequence[str] = (), *, ahead: bool = True) -> tuple[Way, ...]:
        """Every way to run these Einsums as one task: at each site that can, all of them there.

        Args:
            names: of Einsums, in order.
            only: sites to look at; all unless given.
            ahead: stored tensors may come before the tasks before are over, as it is known that they are needed.

        Raises:
            BadInput: no site can.
        """
        found = [w for site in self.units if not only or site in only for w in self._at(site, names, ahead)]
        if not found:
            raise BadInput(f"{self.arch.name}: no site runs {', '.join(names)} ({', '.join(only or self.units)})")
        return tuple(found)

    def _at(self, site: str, names: Sequence[str], ahead: bool) -> Iterator[Way]:
        einsums = [self.einsums[n] for n in names]
        best = [self._fastest(site, e) for e in einsums]
        if all(b is not None for b in best):
            yield _Writer(self, site, names, ahead).way(einsums, [b for b in best if b is not None])

    def _fastest(self, site: str, einsum: Einsum) -> tuple[ComputeUnit, int] | None:
        """The unit at a site that runs an Einsum in the least time, and its cycles; the same for alike ones."""
        accesses = (*einsum.inputs, einsum.output)
        key = (site, tuple(einsum.sizes.items()), einsum.expr, einsum.reduce, tuple(a.indices for a in accesses),
               tuple(self.workload.tensors[a.tensor].bits for a in accesses))  # fmt: skip
        if key not in self._found:
            self._found[key] = self._search(site, einsum)
        return self._found[key]

    def _in_banks(self, einsum: Einsum) -> bool:
        """Whether the last operand of an Einsum is stored."""
        last = [self.workload.storage(access.tensor) for access in einsum.inputs[-1:]]
        return any(self.workload.tensors[name].role in STORED for name in last)

    @cached_property
    def _found(self) -> dict[tuple[object, ...], tuple[ComputeUnit, int] | None]:
        return {}

    def _search(self, site: str, einsum: Einsum) -> tuple[ComputeUnit, int] | None:
        extents = {r: np.array([n], np.int64) for r, n in einsum.sizes.items()}
        bits = [self.workload.tensors[a.tensor].bits for a in (*einsum.inputs, einsum.output)]
        found: list[tuple[float, str, ComputeUnit, int]] = []
        for unit in self.units[site]:
            if isinstance(unit, PimArray) and not self._in_banks(einsum):
                continue
            for option in unit.spatial_options(einsum):
                cost = unit.cost(einsum, option, extents, bits)
                cycles = int((cost.cycles + cost.latency).flat[0])
                found.append((cycles / unit.clock_hz, unit.name, unit, cycles))
        if not found:
            return None
        _, _, unit, cycles = min(found, key=lambda f: f[:2])
        return unit, cycles


class _Writer:
    """Writes the stages of one way."""

    def __init__(self, sites: Sites, site: str, names: Sequence[str], ahead: bool) -> None:
        self.sites, self.site, self.names, self.ahead = sites, site, frozenset(names), ahead
        self.stages: list[Stage] = []
        self.there: set[str] = set()

    def way(self, einsums: Sequence[Einsum], best: Sequence[tuple[ComputeUnit, int]]) -> Way:
        workload = self.sites.workload
        previous: tuple[int, ...] = ()
        for einsum, (unit, cycles) in zip(einsums, best, strict=True):
            feeds = unit.feeds(len(einsum.inputs))
            bases = {workload.storage(a.tensor): m for a, m in zip(einsum.inputs, feeds, strict=False)}
            fed = [b for b in bases if b not in self.there]
            read = {workload.storage(a.tensor): self._touched(einsum, a) for a in einsum.inputs}
            pieces = self._pieces([read[b] for b in fed], cycles)
            brought = [i for b in fed for i in self._bring(b, bases[b], read[b], pieces)]
            follows = tuple(i for i in brought if self.stages[i].pieces == pieces)
            after = tuple(i for i in brought if i not in follows)
            resource, work, arg = self._served(unit, cycles)
            self.stages.append(
                Stage(
                    einsum.name,
                    resource,
                    work,
                    pieces if follows else 1,
                    (*previous, *after),
                    follows,
                    queue=f"{unit.name} tasks" if self.sites.ordered else "",
                    arg=arg,
                )
            )
            previous = (len(self.stages) - 1,)
            out = workload.storage(einsum.output.tensor)
            self.there |= {*fed, out}
            if self._leaves(out):
                self._take(out, feeds[-1], self._touched(einsum, einsum.output), previous)
        return Way(self.site, tuple(self.stages))

    def _served(self, unit: ComputeUnit, cycles: int) -> tuple[str, int, int]:
        """The server of a run, its work and its argument: the unit's own, or the banks that it keeps meanwhile."""
        keeping = unit.keeping
        if keeping is None or not self.sites.shared_banks:
            return unit.name, cycles, 0
        port = self.sites.arch.memories[keeping.memory].port("read")
        assert port is not None
        return port[0], ceil(cycles * keeping.work_per_cycle), keeping.arg

    def _leaves(self, tensor: str) -> bool:
        readers = self.sites.readers.get(tensor, frozenset())
        return not readers or not readers <= self.names

    @staticmethod
    def _pieces(sizes: Sequence[int], work: int) -> int:
        least = min([work, *sizes])
        return max(1, min(ceil(max(sizes, default=0) / PIECE), MOST_PIECES, least))

    def _bring(self, tensor: str, to: str, nbytes: int, pieces: int) -> tuple[int, ...]:
        """Stages that bring a tensor to the site: leg by leg, at rest in every off-chip memory between."""
        early = self.ahead and self.sites.workload.tensors[tensor].role in STORED
        end: tuple[int, ...] = ()
        legs = self._legs(self.sites.home(tensor), to)
        for k, leg in enumerate(legs):
            last = k == len(legs) - 1
            n = pieces if last else self._pieces([nbytes], MOST_PIECES)
            end = self._leg(tensor, leg, nbytes, n, end, early=early)
        return end

    def _take(self, tensor: str, src: str, nbytes: int, made: tuple[int, ...]) -> None:
        """Stages that take a result to where it lies."""
        end = made
        for leg in self._legs(src, self.sites.home(tensor)):
            end = self._leg(tensor, leg, nbytes, 1, end, early=False)

    def _legs(self, src: str, dst: str) -> list[list[Memory | LinkBase]]:
        """A path, cut at every off-chip memory between its ends; nothing from a memory to itself."""
        legs: list[list[Memory | LinkBase]] = []
        leg: list[Memory | LinkBase] = []
        path = self.sites.arch.path(src, dst)
        for i, part in enumerate(path):
            leg.append(part)
            if isinstance(part, Memory) and i > 0 and (i == len(path) - 1 or not part.on_chip):
                legs.append(leg)
                leg = [part]
        return legs

    def _touched(self, einsum: Einsum, access: Access) -> int:
        """Bytes that an Einsum reads or writes of a tensor."""
        tensor = self.sites.workload.tensors[access.tensor]
        return min(tensor.nbytes, tensor.bytes_of(prod(einsum.sizes[r] for r in access.ranks)))

    def _leg(
        self,
        tensor: str,
        leg: Sequence[Memory | LinkBase],
        nbytes: int,
        pieces: int,
        after: tuple[int, ...],
        *,
        early: bool,
    ) -> tuple[int, ...]:
        """Read, pass links, write, each following the one before piece by piece."""
        first, last = leg[0], leg[-1]
        assert isinstance(first, Memory) and isinstance(last, Memory)
        parts: list[tuple[str, str, float, int]] = []
        for i, part in enumerate(leg):
            if isinstance(part, LinkBase):
                parts.append((part.port(leg[i + 1].name), part.name, part.latency, nbytes))
            elif not part.on_chip and part is first and (port := part.port("read")) is not None:
                parts.append((port[0], f"read {part.name}", part.latency, self._read(part, tensor, nbytes)))
            elif not part.on_chip and part is last and (port := part.port("write")) is not None:
                parts.append((port[0], f"write {part.name}", 0.0, nbytes))
        stored = self.sites.workload.tensors[tensor].role in STORED
        room = (self.sites.pools[last.name], nbytes) if stored and last.name in self.sites.pools else None
        pieces = min(pieces, nbytes)
        before = after
        follows: tuple[int, ...] = ()
        for k, (resource, what, latency, work) in enumerate(parts):
            queue = f"{resource} {first.name} to {last.name}" if k == 0 else ""
            self.stages.append(Stage(f"{tensor}: {what}", resource, work, pieces, before, follows,
                                     early, queue, latency, room if k == 0 else None,
                                     self.sites.addresses[tensor]))  # fmt: skip
            before, follows = (), (len(self.stages) - 1,)
        return follows or after

    def _read(self, memory: Memory, tensor: str, nbytes: int) -> int:
        """Bytes that a memory reads to give so many of a tensor."""
        chunk = self.sites.chunks.get(tensor)
        if not isinstance(memory, Flash) or chunk is None:
            return nbytes
        return memory.moved_bytes(nbytes, chunk, self.sites.shares.get(tensor, 0.0))
