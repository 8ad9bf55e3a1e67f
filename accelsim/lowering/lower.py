"""Lowering: the only maker of Programs from Mappings.

Every Op becomes an actor on its unit that fires once per tile; every Move becomes one actor per port it passes, that
fires once per tile moved. A buffer is a FIFO as deep as it has slots: its token is a tile, which the using Op needs at
every firing and takes at its last one inside the body where the tile is cut. Seqs become gate tokens. A transfer over
ports without bandwidth limit takes no time and becomes no actor; its bytes are counted on the Op it serves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from math import ceil, floor

from ..arch.architecture import Architecture
from ..components.base import ComputeUnit, SpatialOption
from ..engine.builder import Phase, ProgramBuilder, Run, gather_actions
from ..engine.labels import Action, ActorLabel
from ..engine.program import NONE, UNBOUNDED, Program
from ..engine.refine import exact_ticks
from ..errors import DoesNotFit, MappingError
from ..ir import Workload
from ..mapping.tree import WHOLE, Loop, Mapping, Move, Position, format_position
from .addresses import addresses
from .costs import OpCosts, option_of
from .order import Gate, chain_key, gates, last_ops, segment_key, tied_children, within
from .parts import Leaf, Names, Part, leaves_of, nest_of, parts_of
from .pieces import firings, pieces_of
from .ports import Port, Route, ServerSet, route
from .schedule import Block, Place, nest_schedule, total_actions
from .stages import Handing, handings, spilled_between
from .waits import Wait, in_tokens, out_tokens


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
    chain: tuple[int, int] = (NONE, NONE)
    """Its chain, and its part of that, for the program bound."""


def lower(arch: Architecture, workload: Workload, mapping: Mapping) -> Program:
    """Make the Program that carries out a Mapping.

    Args:
        arch: the machine.
        workload: what is computed.
        mapping: a Mapping of `workload` onto `arch`.

    Returns:
        A Program whose tick is a cycle of the machine's clock, or the part of one in which transfers last whole ticks.

    Raises:
        MappingError: the Mapping names things that are not there, or asks a unit for what it cannot do.
    """
    if mapping.phases is not None:
        from .phases import lower_phases

        return lower_phases(arch, workload, mapping.phases)
    return exact_ticks(_Lowering(arch, workload, mapping).program())


class _Lowering:
    def __init__(self, arch: Architecture, workload: Workload, mapping: Mapping) -> None:
        self.arch, self.workload, self.mapping = arch, workload, mapping
        self.names = Names(workload)
        self.leaves = leaves_of(mapping, self.names)
        self.parts = parts_of(mapping, self.leaves, self.names)
        self.by_tensor: dict[str, list[int]] = defaultdict(list)
        self.stores_of: dict[Position, list[Part]] = defaultdict(list)
        """Stores by the position of the Op that makes what they take away."""
        self.ending_below: dict[Position, list[int]] = defaultdict(list)
        """Stores that must have ended when the node at a position ends: those due at or below it."""
        for i, part in enumerate(self.parts):
            self.by_tensor[part.move.tensor].append(i)
            if part.move.store:
                for maker in part.users:
                    self.stores_of[maker.at].append(part)
                for n in range(len(part.move.due) + 1):
                    self.ending_below[part.move.due[:n]].append(i)
        self.builder = ProgramBuilder(f"{workload.name} on {arch.name}", tick_hz=Fraction(arch.clock))
        self.servers = ServerSet(self.builder, arch)
        self.tied = tied_children(mapping)
        self.segments: dict[Position, int] = {}
        self.parts_of_chains: dict[tuple[Position, Position], int] = {}
        self.chains: dict[Position, int] = {}
        self.actors: list[Actor] = []
        self.op_actor: dict[Position, Actor] = {}
        self.held: dict[str, dict[str, int]] = defaultdict(dict)
        """Unit to the parts of it that Einsums have to themselves."""
        self.chain: dict[int, list[Actor]] = {}
        """Index of a part to the actors of its transfer, in order; empty when it takes no time."""
        self.back: dict[int, list[Actor]] = {}
        """The same for reloads of the partial results that a store takes away."""
        self.addresses = addresses(mapping, workload)
        self.routes: dict[tuple[str, str], Route] = {}
        self.costs: dict[Position, OpCosts] = {}
        self.ends: dict[tuple[Position, int], list[Actor]] = {}

    def program(self) -> Program:
        for leaf in self.leaves:
            self._op_actor(leaf)
        for i, part in enumerate(self.parts):
            self.chain[i] = self._transfer(part)
            if part.move.store and self._reducing(part.leaf, part.depth):
                self.back[i] = self._transfer(part, reload=True)
        for i, part in enumerate(self.parts):
            if part.move.store:
                self._drain(i, part)
            else:
                self._feed(i, part)
        self._stages()
        self._spills()
        self._gates()
        for actor in self.actors:
            self.builder.schedule(actor.index, self._schedule(actor))
        return self.builder.build()

    # Actors

    def _segment(self, at: Position) -> int:
        key = segment_key(self.mapping.root, self.tied, at)
        return self.segments.setdefault(key, len(self.segments))

    def _chain(self, leaf: Leaf) -> tuple[int, int]:
        """Of an Op, its chain and part for the program bound; Moves may run beside any part and have none."""
        key = chain_key(self.mapping.root, leaf.at)
        chain = self.chains.setdefault(key[0], len(self.chains))
        return chain, self.parts_of_chains.setdefault(key, len(self.parts_of_chains))

    def _add(self, name: str, label: ActorLabel, server: int, leaf: Leaf, depth: int, at: Position) -> Actor:
        index = self.builder.actor(name, server=server, label=label)
        actor = Actor(index, leaf, depth, self._segment(at))
        self.actors.append(actor)
        return actor

    def _op_actor(self, leaf: Leaf) -> None:
        unit = self.arch.units.get(leaf.op.unit)
        where = format_position(leaf.at)
        if not isinstance(unit, ComputeUnit):
            raise MappingError(f"position {where}: the machine has no unit {leaf.op.unit!r}")
        option: SpatialOption = option_of(unit, leaf.einsum, leaf.op, where)
        bits = [self.names.bits(a.tensor) for a in (*leaf.einsum.inputs, leaf.einsum.output)]
        self.costs[leaf.at] = OpCosts(unit, leaf.einsum, option, bits, self.names, leaf.shapes)
        label = ActorLabel(leaf.einsum.name, unit.name, "compute")
        server = self.servers.unit(unit, self._part(unit, leaf, option, bits))
        self.op_actor[leaf.at] = self._add(leaf.einsum.name, label, server, leaf, len(leaf.levels), leaf.at)
        self.op_actor[leaf.at].chain = self._chain(leaf)

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
        of_unit = self.held[unit.name]
        of_unit[leaf.einsum.name] = held * self._copies[self.names.storage(leaf.einsum.inputs[-1].tensor)]
        if (total := sum(of_unit.values())) > unit.parts:
            raise DoesNotFit(f"{self.arch.name}: {', '.join(list(of_unit)[-3:])} and others hold {total:,} parts of "
                             f"unit `{unit.name}`, which has {unit.parts:,}")  # fmt: skip
        return leaf.einsum.name

    def _transfer(self, part: Part, *, reload: bool = False) -> list[Actor]:
        """One actor per port that the Move passes; while one passes on a tile the one before takes the next."""
        move = part.move
        src, dst = (move.dst, move.src) if reload else (move.src, move.dst)
        role = "load" if reload or not move.store else "store"
        chain: list[Actor] = []
        for port in self._route(src, dst).ports:
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
                self._join(chain[-1], actor, depth=move.buffers, at=at, latency=0)
            chain.append(actor)
        return chain

    def _route(self, src: str, dst: str) -> Route:
        if (src, dst) not in self.routes:
            self.routes[src, dst] = route(self.arch, src, dst)
        return self.routes[src, dst]

    # FIFOs

    def _join(
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

    def _deliver(self, chain: list[Actor], taker: Actor, part: Part, name: str, *, partial: int | None = None) -> None:
        """Join a transfer to what uses its tiles, through slots that are taken from its first port's start on."""
        move = part.move
        src, dst = (move.dst, move.src) if move.store else (move.src, move.dst)
        latency = self._latency(src, dst)
        slots, at = move.buffers, part.depth
        if part.in_pieces:
            self._in_pieces(chain[-1], taker, part, latency, name)
            fifo = self.builder.fifo(chain[0].index, taker.index, depth=slots, latency=0, name=f"slots of {name}")
            chain[0].outputs.append(Wait(fifo, at))
            taker.inputs.append(Wait(fifo, at, late=True))
            return
        self._join(chain[-1], taker, depth=slots, at=at, latency=latency, name=name, partial=partial)
        if len(chain) > 1:
            self._join(chain[0], taker, depth=slots, at=at, latency=0, name=f"slots of {name}", partial=partial)

    def _in_pieces(self, src: Actor, dst: Actor, part: Part, latency: int, name: str) -> None:
        """Hand over a tile piece by piece, in the first (a load) or last pass (a store) over the loops inside."""
        depth = UNBOUNDED
        if not part.move.store and part.move.buffers == 1:  # otherwise tiles come ahead as far as buffers allow
            nbytes, number = part.largest_piece(self.names), part.ahead(self.names)
            slowest = min(port.server.rate for port in self._route(part.move.src, part.move.dst).ports)
            depth = number + ceil(latency * slowest / max(1, nbytes))
        fifo = self.builder.fifo(src.index, dst.index, depth=depth, latency=latency, name=f"pieces of {name}")
        cutting = part.cutting(self.names)
        once = sum(1 << d for d in range(part.depth, part.inner) if d not in cutting)
        whole, cut = Wait(fifo, part.depth + 1), Wait(fifo, part.inner, gate=True, once=once)
        src.outputs.append(cut if part.move.store else whole)
        dst.inputs.append(whole if part.move.store else cut)

    def _latency(self, src: str, dst: str) -> int:
        """Ticks from the end of a load to its last byte being there: access latencies on the way."""
        seconds = self._route(src, dst).latency
        return ceil(Fraction(seconds).limit_denominator(10**12) * Fraction(self.arch.clock))

    def _takers(self, i: int) -> list[Actor]:
        """What uses the tiles of a load: further Moves that take the tensor on, and Ops that its memory feeds."""
        part, move = self.parts[i], self.parts[i].move
        found = [
            self.op_actor[x.at]
            for x in part.users
            if x.reads_from(move.tensor, move.dst, self.arch.units[x.op.unit], self.names)
        ]
        for j in self.by_tensor[move.tensor]:
            other = self.parts[j]
            if not other.move.store and other.move.src == move.dst and within(other.cut, part.cut):
                found += [self.chain[j][0]] if self.chain[j] else self._takers(j)
        return list({actor.index: actor for actor in found}.values())

    def _makers(self, i: int) -> list[tuple[Actor, Actor | None]]:
        """Ops that make the tiles of a store, or Moves that bring them, each with what needs the partial ones back."""
        part, move = self.parts[i], self.parts[i].move
        ops = [self.op_actor[x.at] for x in part.users if self.arch.units[x.op.unit].feeds(0)[-1] == move.src]
        found: dict[int, tuple[Actor, Actor | None]] = {op.index: (op, op) for op in ops}
        for j in self.by_tensor[move.tensor]:
            other = self.parts[j]
            if not other.move.store or other.move.dst != move.src or not within(other.cut, part.cut):
                continue
            for maker, taker in self._makers(j):
                out = self.chain[j][-1] if self.chain[j] else maker
                back = self.back[j][0] if self.back.get(j) else taker
                found[out.index] = out, back if j in self.back else None
        return list(found.values())

    def _feed(self, i: int, part: Part) -> None:
        """Join a load to what uses its tiles."""
        move = part.move
        takers = self._takers(i)
        if not takers:
            raise MappingError(
                f"move of {move.tensor} into {move.dst} at {format_position(part.cut)}: nothing uses it there"
            )
        chain = self.chain[i]
        if not chain:
            self._count_free(part)
            return
        for taker in takers:
            self._deliver(chain, taker, part, f"{move.tensor} in {move.dst} for {taker.leaf.einsum.name}")

    def _drain(self, i: int, part: Part) -> None:
        """Join what makes a tile to the store that takes it away, and its way back while it is partial."""
        move = part.move
        makers = self._makers(i)
        if not makers:
            raise MappingError(
                f"move of {move.tensor} out of {move.src} at {format_position(part.cut)}: nothing makes it there"
            )
        chain = self.chain[i]
        if not chain:
            self._count_free(part)
        name = f"{move.tensor} in {move.src}"
        for maker, _ in makers if chain else ():
            latency = self._result_latency(maker)
            if part.in_pieces:
                self._in_pieces(maker, chain[0], part, latency, name)
                fifo = self.builder.fifo(maker.index, chain[0].index, depth=move.buffers, latency=latency, name=name)
                maker.outputs.append(Wait(fifo, part.depth))
                chain[0].inputs.append(Wait(fifo, part.depth, late=True))
                continue
            self._join(maker, chain[0], depth=move.buffers, at=part.depth, latency=latency, name=name)
        if i in self.back:
            self._return(i, part, makers)

    def _return(self, i: int, part: Part, makers: list[tuple[Actor, Actor | None]]) -> None:
        """Join a store to the way back of the partial results that it takes away, and that to what needs them."""
        move, chain, back = part.move, self.chain[i], self.back[i]
        takers = [taker for _, taker in makers if taker is not None]
        if not back:
            self._count_free(part, reload=True)
        if not chain and not back:
            return
        # One FIFO per loop that comes back to a tile: in each, tiles come back in the order in which they left.
        for loop in sorted(self._reducing(part.leaf, part.depth)):
            for leaving in chain[-1:] or [maker for maker, _ in makers]:
                for coming in back[:1] or takers:
                    latency = self._result_latency(leaving)
                    name = f"partial {move.tensor}"
                    fifo = self.builder.fifo(leaving.index, coming.index, depth=UNBOUNDED, latency=latency, name=name)
                    leaving.outputs.append(Wait(fifo, part.depth, by=loop))
                    coming.inputs.append(Wait(fifo, part.depth, by=loop))
        for taker in takers if back else ():
            self._deliver(back, taker, part, f"partial {move.tensor} in {move.src}", partial=part.depth)

    def _result_latency(self, actor: Actor) -> int:
        """Ticks from the end of an actor's firing to its result being there: those of an Op."""
        if actor.part is not None:
            return 0
        cycles = self.costs[actor.leaf.at].latency
        return ceil(cycles * Fraction(self.arch.clock) / Fraction(self.arch.units[actor.leaf.op.unit].clock_hz))

    def _count_free(self, part: Part, *, reload: bool = False) -> None:
        """Count the bytes of a transfer that takes no time on the Op it serves."""
        actor = self.op_actor[part.leaf.at]
        probe = Actor(NONE, part.leaf, part.depth, 0, part=part, reload=reload)
        for action, count in total_actions(self._schedule(probe)).items():
            actor.extra[action] = actor.extra.get(action, 0) + count

    def _stages(self) -> None:
        """Buffers between the stages of every Pipe; what crosses memories is moved once for all that read it there."""
        crossing: dict[tuple[Position, Position, tuple[str, ...]], list[Handing]] = defaultdict(list)
        for handing in handings(self.arch, self.mapping, self.leaves, self.names):
            if len(handing.way) > 1:
                crossing[handing.producer.at, handing.stage, handing.way].append(handing)
                continue
            producer, consumer = self.op_actor[handing.producer.at], self.op_actor[handing.consumer.at]
            latency, name = self._result_latency(producer), handing.name
            self._join(producer, consumer, depth=handing.slots, at=handing.loops, latency=latency, name=name)
        for same in crossing.values():
            self._cross(same)

    def _cross(self, same: Sequence[Handing]) -> None:
        """Move a result from stage to stages that read it from another memory, hop by hop."""
        first, slots = same[0], max(h.slots for h in same)
        at, loops = first.stage, first.loops
        left = self.op_actor[first.producer.at]
        name = f"{first.tensor} in {first.way[0]}"
        arriving: list[tuple[Actor, int, str]] = [(left, self._result_latency(left), name)]
        for src, dst in pairwise(first.way):
            move = Move(first.tensor, src, dst, at, at, slots, store=True)
            part = Part(move, loops, first.producer, (first.producer,), loops)
            chain = self._transfer(part)
            if not chain:
                self._count_free(part)
                continue
            for actor, latency, name in arriving:
                self._join(actor, chain[0], depth=slots, at=loops, latency=latency, name=name)
            arriving = [(chain[-1], self._latency(src, dst), f"{first.tensor} in {dst}")]
            if len(chain) > 1:
                arriving.append((chain[0], 0, f"slots of {first.tensor} in {dst}"))
        for handing in same:
            for actor, latency, name in arriving:
                consumer, name = self.op_actor[handing.consumer.at], f"{name} for {handing.consumer.einsum.name}"
                self._join(actor, consumer, depth=handing.slots, at=loops, latency=latency, name=name)

    def _spills(self) -> None:
        """What one stage of a Pipe stores of a tile that does not stay is there before a later stage loads it."""
        for i, j, loops in spilled_between(self.mapping, self.parts):
            store, load = self.parts[i].move, self.parts[j].move
            for leaving in self.chain[i][-1:] or [maker for maker, _ in self._makers(i)]:
                for coming in self.chain[j][:1] or self._takers(j):
                    stored = leaving.part is not None
                    latency = self._latency(store.src, store.dst) if stored else self._result_latency(leaving)
                    name = f"spilled {load.tensor} for {coming.leaf.einsum.name}"
                    self._join(leaving, coming, depth=UNBOUNDED, at=loops, latency=latency, name=name)

    # Gates

    def _gates(self) -> None:
        joined: set[tuple[int, int, int, bool]] = set()
        for i, part in enumerate(self.parts):
            if self.chain[i] and not part.move.store:
                for gate in gates(self.mapping.root, part.move.issue):
                    self._gate(gate, self.chain[i][0], part.depth, joined)
        loads: dict[Position, list[Part]] = defaultdict(list)
        for i, part in enumerate(self.parts):
            if self.chain[i] and not part.move.store:
                for user in part.users:
                    loads[user.at].append(part)
        for leaf in self.leaves:
            mine = gates(self.mapping.root, leaf.at)
            held = [gates(self.mapping.root, p.move.issue) for p in loads[leaf.at]]
            if mine not in held:  # otherwise the tile that it waits for has waited
                for gate in mine:
                    self._gate(gate, self.op_actor[leaf.at], len(leaf.levels), joined)

    def _gate(self, gate: Gate, waiting: Actor, depth: int, joined: set[tuple[int, int, int, bool]]) -> None:
        if depth < gate.depth:
            where = format_position(waiting.leaf.at)
            raise MappingError(f"a move for {where} is issued inside a loop outside of which it is due")
        for ending in self._ends(gate.after, gate.depth):
            key = (ending.index, waiting.index, gate.depth, gate.back)
            if key in joined:
                continue
            joined.add(key)
            fifo = self.builder.fifo(
                ending.index,
                waiting.index,
                depth=UNBOUNDED,
                latency=self._result_latency(ending),
                name=f"end of {format_position(gate.after)}",
            )
            ending.outputs.append(Wait(fifo, gate.depth, gate=True, back=gate.back))
            waiting.inputs.append(Wait(fifo, gate.depth, gate=True, back=gate.back))

    def _ends(self, at: Position, depth: int) -> list[Actor]:
        """The actors with whose last firings the node at `at` ends, seen from loop depth `depth`."""
        if (at, depth) not in self.ends:
            last = last_ops(self.mapping.root, at)
            found: list[Actor] = []
            stored: set[Position] = set()
            for i in self.ending_below[at]:
                part = self.parts[i]
                if not self.chain[i] or part.depth < depth:
                    continue
                if any(within(x, part.move.due) for x in last):  # otherwise a gate inside has waited for it
                    stored.update(maker.at for maker in part.users)
                    found.append(self.chain[i][-1])
            found += [self.op_actor[x] for x in last if x not in stored]
            self.ends[at, depth] = found
        return self.ends[at, depth]

    # Schedules

    @staticmethod
    def _reducing(leaf: Leaf, depth: int) -> frozenset[int]:
        """Loop depths above `depth` whose loops cut a rank that the Einsum reduces."""
        ranks = leaf.einsum.reduced_ranks
        return frozenset(d for d in range(depth) if leaf.cuts[d] in ranks)

    def _schedule(self, actor: Actor) -> Block:
        if actor.part is not None:
            nest = actor.part.nest(self.names)
            stored = actor.depth if actor.part.move.store else 0
        else:
            nest = nest_of((actor.leaf,), actor.depth)
            stored = actor.depth
        watched = 0
        for wait in (*actor.inputs, *actor.outputs):
            watched |= wait.once
        return nest_schedule(
            nest, lambda place: self._block(actor, place), reducing=self._reducing(actor.leaf, stored), watched=watched
        )

    def _block(self, actor: Actor, place: Place) -> Block:
        """What an actor does at a place: one firing, or one for each piece of a tile."""
        part = actor.part
        if actor.reload and not place.resumed:
            return ()
        if part is None or not part.in_pieces:
            return (Run(self._phase(actor, place)),)
        use = part.uses(place, self.names)[0]
        loops = [(part.leaf.cuts[d], level.tile) for d in part.cutting(self.names)
                 if isinstance(level := part.leaf.levels[d], Loop)]  # fmt: skip
        between = part.depth + 1

        def piece(nbytes: int, first: bool, last: bool) -> Phase:
            here = replace(place, first=place.first if first else between, last=place.last if last else between)
            return self._phase(actor, here, nbytes)

        return firings(pieces_of(self.workload.tensors[use.access.tensor], use.access, use.extents, loops), piece)

    def _phase(self, actor: Actor, place: Place, nbytes: int | None = None) -> Phase:
        """One firing at a place; of a transfer `nbytes`, or those of the tile there."""
        if actor.part is not None:
            work, actions = self._move_work(actor, place, nbytes)
            arg = self._address(actor)
        else:
            costs = self.costs[actor.leaf.at].at(
                tuple(x for x in place.extents if x[0] in actor.leaf.einsum.sizes),
                resumed=place.resumed != 0,
                unfinished=place.unfinished != 0,
            )
            work, arg = self.costs[actor.leaf.at].served(costs.cycles)
            actions = dict(costs.actions)
            # Results that stay in the buffer are partial to the unit, but not to the stores outside these loops.
            leaving = (1 << max((p.depth for p in self.stores_of[actor.leaf.at]), default=0)) - 1
            place = replace(place, resumed=place.resumed & leaving, unfinished=place.unfinished & leaving)
        if actor.extra and place.first == 0:
            for action, count in actor.extra.items():
                actions[action] = actions.get(action, 0) + count
        chain, part = actor.chain
        return Phase(
            work=max(1, work),
            arg=arg,
            inputs=tuple((w.fifo, 1, t) for w in actor.inputs if (t := in_tokens(w, place)) is not None),
            outputs=tuple((w.fifo, 1, t) for w in actor.outputs if (t := out_tokens(w, place)) is not None),
            actions=gather_actions(actions),
            segment=actor.segment,
            chain=chain,
            part=part,
        )

    def _address(self, actor: Actor) -> int:
        """Of the tensor that a transfer is of, in the memory whose port it takes; 0 for Ops and links."""
        if actor.part is None or actor.port is None:
            return 0
        return self.addresses.get((actor.port.component, actor.part.move.tensor), 0)

    def _move_work(self, actor: Actor, place: Place, nbytes: int | None) -> tuple[int, dict[Hashable, int]]:
        part = actor.part
        assert part is not None
        move, operator = part.move, part.leaf.einsum.name
        if nbytes is None:
            uses, around = part.uses(place, self.names), part.depth - 1
            along = part.slides_along(self.names)
            nbytes = self.names.slid_bytes(uses, along) if along >= 0 else self.names.tile_bytes(uses, part.depth)
            if move.sliding and along < 0 and place.first == part.depth:
                nbytes = self.names.fresh_bytes(uses[0], part.leaf.levels[around], part.leaf.cuts[around])
            if part.rest != WHOLE:
                nbytes = floor(nbytes * part.rest + Fraction(1, 2))
        src, dst = (move.dst, move.src) if actor.reload else (move.src, move.dst)
        actions: dict[Hashable, int] = {}
        if actor.port is None or actor.port.first:
            actions[Action(src, "read", operator, move.tensor, dst)] = nbytes
            actions[Action(dst, "write", operator, move.tensor, src)] = nbytes
            for link in self.arch.links.values():
                if {*link.between} == {src, dst}:
                    actions[Action(link.name, "transfer", operator, move.tensor)] = nbytes
        return nbytes, actions
