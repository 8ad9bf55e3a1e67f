"""The FIFOs through which Ops and transfers of a Mapping's Program hand tiles to each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from math import ceil

from ..engine.program import UNBOUNDED
from ..errors import MappingError
from ..mapping.scope import within
from ..mapping.tree import Move, Position, format_position, levels
from .actors import Actor, Actors, reducing
from .firing import Firings
from .in_place import InPlace, in_place
from .lent import lend
from .parts import Part
from .rooms import Room, rooms, shared_loops
from .stages import HandedPieces, Handing, handings, pieces_handed, spilled_between
from .waits import Wait

ITERATIONS_AHEAD = 2
"""Iterations whose tiles may come before results are made: the one that is in use, and the next."""


class Joins:
    """Joins actors by what they move, make and use.

    Raises:
        MappingError: nothing uses what a load brings, or makes what a store takes away.
    """

    def __init__(self, actors: Actors, firings: Firings) -> None:
        self.actors, self.firings = actors, firings
        self.parts, self.names, self.builder = actors.parts, actors.names, actors.builder
        self.chain, self.back, self.of_op = actors.chain, actors.back, actors.of_op
        self.rooms = list(rooms(actors.mapping))
        self.lent = lend(actors)
        self.by_tensor: dict[str, list[int]] = defaultdict(list)
        for i, part in enumerate(self.parts):
            self.by_tensor[part.move.tensor].append(i)

    def make(self) -> None:
        """All of them."""
        for i, part in enumerate(self.parts):
            if part.move.store:
                self._drain(i, part)
            else:
                self._feed(i, part)
        for i, part in enumerate(self.parts):
            if part.move.after:
                self._after(i, part)
        self._stages()
        for room in self.rooms:
            self._room(room)
        self._spills()

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
            self.firings.count_free(part)
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
            self.firings.count_free(part)
        if move in self.lent:
            makers[0][0].takes = chain[0].frees = self.lent[move]
        name = f"{move.tensor} in {move.src}"
        for maker, _ in makers if chain else ():
            latency = self.actors.result_latency(maker)
            if part.in_pieces:
                self._in_pieces(maker, chain[0], part, latency, name)
                fifo = self.builder.fifo(maker.index, chain[0].index, depth=move.buffers, latency=latency, name=name)
                maker.outputs.append(Wait(fifo, part.depth))
                chain[0].inputs.append(Wait(fifo, part.depth, late=True))
                continue
            self.actors.join(maker, chain[0], depth=move.buffers, at=part.depth, latency=latency, name=name)
        if i in self.back:
            self._return(i, part, makers)

    def _return(self, i: int, part: Part, makers: list[tuple[Actor, Actor | None]]) -> None:
        """Join a store to the way back of the partial results that it takes away, and that to what needs them."""
        move, chain, back = part.move, self.chain[i], self.back[i]
        takers = [taker for _, taker in makers if taker is not None]
        if not back:
            self.firings.count_free(part, reload=True)
        if not chain and not back:
            return
        # One FIFO per loop that comes back to a tile: in each, tiles come back in the order in which they left.
        for loop in sorted(reducing(part.leaf, part.depth)):
            for leaving in chain[-1:] or [maker for maker, _ in makers]:
                for coming in back[:1] or takers:
                    latency = self.actors.result_latency(leaving)
                    name = f"partial {move.tensor}"
                    fifo = self.builder.fifo(leaving.index, coming.index, depth=UNBOUNDED, latency=latency, name=name)
                    leaving.outputs.append(Wait(fifo, part.depth, by=loop))
                    coming.inputs.append(Wait(fifo, part.depth, by=loop))
        for taker in takers if back else ():
            self._deliver(back, taker, part, f"partial {move.tensor} in {move.src}", partial=part.depth)

    def _takers(self, i: int) -> list[Actor]:
        """What uses the tiles of a load: further Moves that take the tensor on, and Ops that its memory feeds."""
        part, move = self.parts[i], self.parts[i].move
        found = [
            self.of_op[x.at]
            for x in part.users
            if x.reads_from(move.tensor, move.dst, self.actors.arch.units[x.op.unit], self.names)
        ]
        for j in self.by_tensor[move.tensor]:
            other = self.parts[j]
            if not other.move.store and other.move.src == move.dst and within(other.cut, part.cut):
                found += [self.chain[j][0]] if self.chain[j] else self._takers(j)
        return list({actor.index: actor for actor in found}.values())

    def _makers(self, i: int) -> list[tuple[Actor, Actor | None]]:
        """Ops that make the tiles of a store, or Moves that bring them, each with what needs the partial ones back."""
        part, move = self.parts[i], self.parts[i].move
        ops = [self.of_op[x.at] for x in part.users if self.actors.arch.units[x.op.unit].feeds(0)[-1] == move.src]
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

    def _deliver(self, chain: list[Actor], taker: Actor, part: Part, name: str, *, partial: int | None = None) -> None:
        """Join a transfer to what uses its tiles, through slots that are taken from its first port's start on."""
        move = part.move
        src, dst = (move.dst, move.src) if move.store else (move.src, move.dst)
        latency = self.actors.latency(src, dst)
        slots, at = move.buffers, part.depth
        if part.in_pieces:
            self._in_pieces(chain[-1], taker, part, latency, name)
            if move.ring:
                self._ring(chain[0], taker, part, name)
                return
            fifo = self.builder.fifo(chain[0].index, taker.index, depth=slots, latency=0, name=f"slots of {name}")
            chain[0].outputs.append(Wait(fifo, at))
            taker.inputs.append(Wait(fifo, at, late=True))
            return
        self.actors.join(chain[-1], taker, depth=slots, at=at, latency=latency, name=name, partial=partial)
        if len(chain) > 1:
            self.actors.join(chain[0], taker, depth=slots, at=at, latency=0, name=f"slots of {name}", partial=partial)

    def _in_pieces(self, src: Actor, dst: Actor, part: Part, latency: int, name: str) -> None:
        """Hand over a tile piece by piece, in the first (a load) or last pass (a store) over the loops inside."""
        depth = UNBOUNDED
        one = part.move.buffers == 1 and not part.move.ring  # otherwise tiles come ahead as far as buffers allow
        if one and not part.move.store:
            nbytes, number = part.largest_piece(self.names), part.ahead(self.names)
            slowest = min(port.server.rate for port in self.actors.route(part.move.src, part.move.dst).ports)
            depth = number + ceil(latency * slowest / max(1, nbytes))
        fifo = self.builder.fifo(src.index, dst.index, depth=depth, latency=latency, name=f"pieces of {name}")
        once = self._other_loops(part)
        whole, cut = Wait(fifo, part.depth + 1), Wait(fifo, part.inner, gate=True, once=once)
        src.outputs.append(cut if part.move.store else whole)
        dst.inputs.append(whole if part.move.store else cut)

    def _ring(self, src: Actor, dst: Actor, part: Part, name: str) -> None:
        """Places of pieces, each taken from its transfer's start to its end in the last pass over the loops inside."""
        slots = part.move.buffers
        fifo = self.builder.fifo(src.index, dst.index, depth=slots, latency=0, name=f"places in the ring of {name}")
        src.takes = frees = self.lent.get(part.move)
        src.outputs.append(Wait(fifo, part.depth + 1))
        dst.inputs.append(Wait(fifo, part.inner, late=True, once=self._other_loops(part), frees=frees))

    def _after(self, i: int, part: Part) -> None:
        """Have a load wait until the results of the iteration two before, which leave by way of rings, are made."""
        move = part.move
        for j in self.by_tensor[move.after]:
            store = self.parts[j].move
            if not (store.store and store.ring and store.src == move.dst) or not self.chain[i]:
                continue
            maker, load = self._makers(j)[0][0], self.chain[i][0]
            name = f"{move.tensor} after {move.after} of two before"
            fifo = self.builder.fifo(maker.index, load.index, depth=UNBOUNDED, init=ITERATIONS_AHEAD, name=name)
            maker.outputs.append(Wait(fifo, part.depth, gate=True))
            load.inputs.append(Wait(fifo, part.depth, gate=True))

    def _other_loops(self, part: Part) -> int:
        """Depths (bits) of the loops between a tile and its pieces that do not cut it."""
        cutting = part.cutting(self.names)
        return sum(1 << d for d in range(part.depth, part.inner) if d not in cutting)

    def _stages(self) -> None:
        """Buffers between the stages of every Pipe; what crosses memories is moved once for all that read it there."""
        crossing: dict[tuple[Position, Position, tuple[str, ...]], list[Handing]] = defaultdict(list)
        found = list(handings(self.actors.arch, self.actors.mapping, self.actors.leaves, self.names))
        for over in in_place(self.actors.mapping, found):
            self._over(over)
        for handing in found:
            if len(handing.way) > 1:
                crossing[handing.producer.at, handing.stage, handing.way].append(handing)
                continue
            producer, consumer = self.of_op[handing.producer.at], self.of_op[handing.consumer.at]
            latency, name = self.actors.result_latency(producer), handing.name
            if any(room.pipe == handing.stage[:-1] and handing.tensor in room.tensors for room in self.rooms):
                self._wait(producer, consumer, handing.loops, latency, name)
                continue
            cut = pieces_handed(handing, self.names) if handing.in_pieces else None
            slots = UNBOUNDED if producer.leaf.op.over else handing.slots  # those of what it lies over
            if cut is not None:
                self._hand_pieces(producer, consumer, cut, slots, latency, name)
                continue
            self.actors.join(producer, consumer, depth=slots, at=handing.loops, latency=latency, name=name)
        for same in crossing.values():
            self._cross(same)

    def _hand_pieces(self, src: Actor, dst: Actor, cut: HandedPieces, slots: int, latency: int, name: str) -> None:
        """Hand a result over piece by piece: made in the last pass over the loops inside, its place taken in the first
        one there and free after the last one that reads it."""
        data = self.builder.fifo(src.index, dst.index, depth=UNBOUNDED, latency=latency, name=f"pieces of {name}")
        src.outputs.append(Wait(data, cut.made_at, gate=True, once=cut.made_in))
        dst.inputs.append(Wait(data, cut.read_at, gate=True, once=cut.read_in))
        if slots != UNBOUNDED:
            self._places(src, dst, slots, cut, cut, name)

    def _places(self, src: Actor, dst: Actor, slots: int, made: HandedPieces, read: HandedPieces, name: str) -> None:
        """Places of pieces, each taken in the first pass that makes it, and free after the last one that reads it."""
        places = self.builder.fifo(src.index, dst.index, depth=slots * made.number, latency=0, name=f"places of {name}")
        src.outputs.append(Wait(places, made.made_at, early=True, once=made.made_in))
        dst.inputs.append(Wait(places, read.read_at, late=True, once=read.read_in))

    def _over(self, over: InPlace) -> None:
        """Have places of an operand last until all have used the result that is made over it."""
        operand = over.operand
        src, place = self.of_op[operand.producer.at], self.of_op[operand.consumer.at]
        cut = pieces_handed(operand, self.names) if operand.in_pieces else None
        for result in over.results:
            dst, name = self.of_op[result.consumer.at], f"{operand.tensor} until {result.consumer.einsum.name}"
            read = pieces_handed(result, self.names) if result.in_pieces else None
            if cut is not None and result.loops >= cut.read_at:  # in the same pass over the pieces
                self._places(src, dst, operand.slots, cut, cut, name)
            elif cut is not None and read is not None and read.number == cut.number:
                self._places(src, dst, operand.slots, cut, read, name)
            else:
                self.actors.join(src, dst, depth=operand.slots, at=operand.loops, latency=0, name=name)
        for reader, loops in over.before:
            self._wait(self.of_op[reader.at], place, loops, 0, f"{operand.tensor} has been read")

    def _wait(self, src: Actor, dst: Actor, at: int, latency: int, name: str) -> None:
        """Have one actor wait for what another has done in a loop body, through as many slots as there may be."""
        fifo = self.builder.fifo(src.index, dst.index, depth=UNBOUNDED, latency=latency, name=name)
        src.outputs.append(Wait(fifo, at, gate=True))
        dst.inputs.append(Wait(fifo, at))

    def _room(self, room: Room) -> None:
        """What comes first into a room waits until its last user has gone, tile by tile where both have the same loops.

        What takes the place of another tensor there waits for all that read that one.
        """
        at = len(levels(self.actors.mapping.root, room.pipe))
        inside = [leaf for leaf in self.actors.leaves if within(leaf.at, room.pipe)]
        makers = [[x for x in inside if self.names.writes(x.einsum, tensor)] for tensor in room.tensors]
        for tensor, following in zip(room.tensors, [*makers[1:], []], strict=True):
            for reader in inside:
                if reader in following or not self.names.reads(reader.einsum, tensor):
                    continue
                name = f"room of {room.tensors[0]} until {reader.einsum.name}"
                for first in makers[0]:
                    loops, tiles = shared_loops(first, reader, tensor, at, self.names)
                    actor = self.of_op[first.at]
                    latency = self.actors.result_latency(actor)
                    self.actors.join(actor, self.of_op[reader.at], depth=tiles, at=at + loops, latency=latency,
                                     name=name)  # fmt: skip
                for maker in following:
                    self._wait(self.of_op[reader.at], self.of_op[maker.at], at, 0, f"{name} has read {tensor}")

    def _cross(self, same: Sequence[Handing]) -> None:
        """Move a result from stage to stages that read it from another memory, hop by hop."""
        first, slots = same[0], max(h.slots for h in same)
        at, loops = first.stage, first.loops
        left = self.of_op[first.producer.at]
        name = f"{first.tensor} in {first.way[0]}"
        arriving: list[tuple[Actor, int, str]] = [(left, self.actors.result_latency(left), name)]
        for src, dst in pairwise(first.way):
            move = Move(first.tensor, src, dst, at, at, slots, store=True)
            part = Part(move, loops, first.producer, (first.producer,), loops)
            chain = self.actors.transfer(part)
            if not chain:
                self.firings.count_free(part)
                continue
            for actor, latency, name in arriving:
                self.actors.join(actor, chain[0], depth=slots, at=loops, latency=latency, name=name)
            arriving = [(chain[-1], self.actors.latency(src, dst), f"{first.tensor} in {dst}")]
            if len(chain) > 1:
                arriving.append((chain[0], 0, f"slots of {first.tensor} in {dst}"))
        for handing in same:
            for actor, latency, name in arriving:
                consumer, name = self.of_op[handing.consumer.at], f"{name} for {handing.consumer.einsum.name}"
                self.actors.join(actor, consumer, depth=handing.slots, at=loops, latency=latency, name=name)

    def _spills(self) -> None:
        """What one stage of a Pipe stores of a tile that does not stay is there before a later stage loads it."""
        latency_of = self.actors.result_latency
        for i, j, loops in spilled_between(self.actors.mapping, self.parts):
            store, load = self.parts[i].move, self.parts[j].move
            for leaving in self.chain[i][-1:] or [maker for maker, _ in self._makers(i)]:
                for coming in self.chain[j][:1] or self._takers(j):
                    stored = leaving.part is not None
                    latency = self.actors.latency(store.src, store.dst) if stored else latency_of(leaving)
                    name = f"spilled {load.tensor} for {coming.leaf.einsum.name}"
                    self.actors.join(leaving, coming, depth=UNBOUNDED, at=loops, latency=latency, name=name)
