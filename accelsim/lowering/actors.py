"""The actors of a Mapping's Program while they are put together: one per Op, and one per port that a Move passes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from math import ceil

from ..arch.architecture import Architecture
from ..components.base import ComputeUnit, SpatialOption
from ..engine.builder import ProgramBuilder
from ..engine.labels import ActorLabel
from ..engine.program import NONE
from ..errors import DoesNotFit, MappingError
from ..ir import Workload
from ..mapping.tree import Mapping, Position, format_position
from .costs import OpCosts, op_costs, option_of
from .order import chain_key, segment_key, tied_children
from .parts import Leaf, Names, Part, leaves_of, parts_of
from .ports import Port, Route, ServerSet, route
from .waits import Wait


@dataclass
class Actor:
    """An actor while it is put together."""

    index: int
    leaf: Leaf
    depth: int
    segment: int
    inputs: list[Wait] = field(default_factory=list)
    outputs: list[Wait] = field(default_factory=list)
    port: Port | None = None
    part: Part | None = None
    extra: dict[Hashable, int] = field(default_factory=dict)
    """Actions counted at its very first firing, on behalf of transfers that take no time."""
    reload: bool = False
    takes: tuple[int, int] | None = None
    """Of a pool (pool, bytes) what each of its firings takes."""
    frees: tuple[int, int] | None = None
    """The same, what each gives back."""
    chain: tuple[int, int] = (NONE, NONE)
    """Its chain, and its part of that, for the program bound."""


def reducing(leaf: Leaf, depth: int) -> frozenset[int]:
    """Loop depths above `depth` whose loops cut a rank that the Einsum reduces."""
    ranks = leaf.einsum.reduced_ranks
    return frozenset(d for d in range(depth) if leaf.cuts[d] in ranks)


class Actors:
    """The actors, the servers that they run on, and the Program that they go into.

    Raises:
        MappingError: the Mapping names things that are not there, or asks a unit for what it cannot do.
        DoesNotFit: Ops hold more parts of a unit than it has.
    """

    def __init__(self, arch: Architecture, workload: Workload, mapping: Mapping) -> None:
        self.arch, self.workload, self.mapping = arch, workload, mapping
        self.names = Names(workload)
        self.leaves = leaves_of(mapping, self.names)
        self.parts = parts_of(mapping, self.leaves, self.names)
        self.builder = ProgramBuilder(f"{workload.name} on {arch.name}", tick_hz=Fraction(arch.clock))
        self.servers = ServerSet(self.builder, arch)
        self.all: list[Actor] = []
        self.of_op: dict[Position, Actor] = {}
        self.chain: dict[int, list[Actor]] = {}
        """Index of a part to the actors of its transfer, in order; empty when it takes no time."""
        self.back: dict[int, list[Actor]] = {}
        """The same for reloads of the partial results that a store takes away."""
        self.costs: dict[Position, OpCosts] = {}
        self._tied = tied_children(mapping)
        self._segments: dict[Position, int] = {}
        self._chains: dict[Position, int] = {}
        self._parts_of_chains: dict[tuple[Position, Position], int] = {}
        self._held: dict[str, dict[str, int]] = defaultdict(dict)
        """Unit to the parts of it that Einsums have to themselves."""
        self._routes: dict[tuple[str, str], Route] = {}

    def make(self) -> None:
        """All of them, but for what crosses memories between the stages of Pipes (`transfer`)."""
        for leaf in self.leaves:
            self._op_actor(leaf)
        for i, part in enumerate(self.parts):
            self.chain[i] = self.transfer(part)
            if part.move.store and reducing(part.leaf, part.depth):
                self.back[i] = self.transfer(part, reload=True)

    def _segment(self, at: Position) -> int:
        key = segment_key(self.mapping.root, self._tied, at)
        return self._segments.setdefault(key, len(self._segments))

    def _chain(self, leaf: Leaf) -> tuple[int, int]:
        """Of an Op, its chain and part for the program bound; Moves may run beside any part and have none."""
        key = chain_key(self.mapping.root, leaf.at)
        chain = self._chains.setdefault(key[0], len(self._chains))
        return chain, self._parts_of_chains.setdefault(key, len(self._parts_of_chains))

    def _add(self, name: str, label: ActorLabel, server: int, leaf: Leaf, depth: int, at: Position) -> Actor:
        index = self.builder.actor(name, server=server, label=label)
        actor = Actor(index, leaf, depth, self._segment(at))
        self.all.append(actor)
        return actor

    def _op_actor(self, leaf: Leaf) -> None:
        unit = self.arch.units.get(leaf.op.unit)
        where = format_position(leaf.at)
        if not isinstance(unit, ComputeUnit):
            raise MappingError(f"position {where}: the machine has no unit {leaf.op.unit!r}")
        option: SpatialOption = option_of(unit, leaf.einsum, leaf.op, where)
        bits = [self.names.bits(a.tensor) for a in (*leaf.einsum.inputs, leaf.einsum.output)]
        self.costs[leaf.at] = op_costs(unit, leaf.einsum, leaf.op, option, bits, self.names, leaf.shapes)
        label = ActorLabel(leaf.einsum.name, unit.name, "compute")
        server = self.servers.unit(unit, self._part(unit, leaf, option, bits))
        self.of_op[leaf.at] = self._add(leaf.einsum.name, label, server, leaf, len(leaf.levels), leaf.at)
        self.of_op[leaf.at].chain = self._chain(leaf)

    @cached_property
    def _copies(self) -> MappingABC[str, int]:
        return self.workload.copies()

    def _part(self, unit: ComputeUnit, leaf: Leaf, option: SpatialOption, bits: list[int]) -> str:
        """The name of the part of a unit that an Op has to itself; empty where Ops take turns.

        Raises:
            DoesNotFit: Ops hold more parts of the unit than it has.
        """
        held = unit.held(leaf.einsum, option, bits)
        if held is None:
            return ""
        of_unit = self._held[unit.name]
        of_unit[leaf.einsum.name] = held * self._copies[self.names.storage(leaf.einsum.inputs[-1].tensor)]
        if (total := sum(of_unit.values())) > unit.parts:
            raise DoesNotFit(f"{self.arch.name}: {', '.join(list(of_unit)[-3:])} and others hold {total:,} parts of "
                             f"unit `{unit.name}`, which has {unit.parts:,}")  # fmt: skip
        return leaf.einsum.name

    def transfer(self, part: Part, *, reload: bool = False) -> list[Actor]:
        """One actor per port that the Move passes; while one passes on a tile the one before takes the next."""
        move = part.move
        src, dst = (move.dst, move.src) if reload else (move.src, move.dst)
        role = "copy" if move.is_copy else "load" if reload or not move.store else "store"
        chain: list[Actor] = []
        for port in self.route(src, dst).ports:
            label = ActorLabel(part.leaf.einsum.name, port.component, role, move.tensor)
            verb = "reload" if reload else role
            actor = self._add(
                f"{verb} {move.tensor} for {part.leaf.einsum.name} ({port.name})",
                label,
                self.servers.port(port),
                part.leaf,
                part.depth,
                part.cut,
            )
            actor.port, actor.part, actor.reload = port, part, reload
            if chain:
                at = part.depth + part.in_pieces
                self.join(chain[-1], actor, depth=move.buffers, at=at, latency=0)
            chain.append(actor)
        return chain

    def route(self, src: str, dst: str) -> Route:
        """The way from one memory to another."""
        if (src, dst) not in self._routes:
            self._routes[src, dst] = route(self.arch, src, dst)
        return self._routes[src, dst]

    def join(
        self,
        src: Actor,
        dst: Actor,
        *,
        depth: int,
        at: int,
        latency: int,
        name: str | None = None,
        partial: int | None = None,
    ) -> None:
        """A buffer of `depth` tiles, cut at loop depth `at`, from one actor to another."""
        fifo = self.builder.fifo(src.index, dst.index, depth=depth, latency=latency, name=name)
        src.outputs.append(Wait(fifo, at))
        dst.inputs.append(Wait(fifo, at, partial=partial))

    def latency(self, src: str, dst: str) -> int:
        """Ticks from the end of a load to its last byte being there: access latencies on the way."""
        seconds = self.route(src, dst).latency
        return ceil(Fraction(seconds).limit_denominator(10**12) * Fraction(self.arch.clock))

    def result_latency(self, actor: Actor) -> int:
        """Ticks from the end of an actor's firing to its result being there: those of an Op."""
        if actor.part is not None:
            return 0
        cycles = self.costs[actor.leaf.at].latency
        return ceil(cycles * Fraction(self.arch.clock) / Fraction(self.arch.units[actor.leaf.op.unit].clock_hz))
