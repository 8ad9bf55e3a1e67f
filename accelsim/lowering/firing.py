"""What the actors of a Mapping's Program do: their schedules, firing by firing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from dataclasses import replace
from fractions import Fraction
from math import floor

from ..engine.builder import Phase, Run, gather_actions
from ..engine.labels import Action
from ..engine.program import NONE
from ..mapping.tree import WHOLE, Loop, Position
from .actors import Actor, Actors, reducing
from .addresses import addresses
from .parts import Part, nest_of
from .pieces import firings, pieces_of
from .schedule import Block, Place, nest_schedule, total_actions
from .waits import in_tokens, out_tokens


class Firings:
    """Schedules of actors whose FIFOs are known."""

    def __init__(self, actors: Actors) -> None:
        self.actors, self.names = actors, actors.names
        self.addresses = addresses(actors.mapping, actors.workload)
        self.stores_of: dict[Position, list[Part]] = defaultdict(list)
        """Stores by the position of the Op that makes what they take away."""
        for part in actors.parts:
            if part.move.store:
                for maker in part.users:
                    self.stores_of[maker.at].append(part)

    def schedule(self, actor: Actor) -> Block:
        """All firings of an actor."""
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
            nest, lambda place: self._block(actor, place), reducing=reducing(actor.leaf, stored), watched=watched
        )

    def count_free(self, part: Part, *, reload: bool = False) -> None:
        """Count the bytes of a transfer that takes no time on the Op it serves."""
        actor = self.actors.of_op[part.leaf.at]
        probe = Actor(NONE, part.leaf, part.depth, 0, part=part, reload=reload)
        for action, count in total_actions(self.schedule(probe)).items():
            actor.extra[action] = actor.extra.get(action, 0) + count

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

        tensor = self.actors.workload.tensors[use.access.tensor]
        return firings(pieces_of(tensor, use.access, use.extents, loops), piece)

    def _phase(self, actor: Actor, place: Place, nbytes: int | None = None) -> Phase:
        """One firing at a place; of a transfer `nbytes`, or those of the tile there."""
        if actor.part is not None:
            work, actions = self._move_work(actor, place, nbytes)
            arg = self._address(actor)
        else:
            costs = self.actors.costs[actor.leaf.at].at(
                tuple(x for x in place.extents if x[0] in actor.leaf.einsum.sizes),
                resumed=place.resumed != 0,
                unfinished=place.unfinished != 0,
            )
            work, arg = self.actors.costs[actor.leaf.at].served(costs.cycles)
            actions = dict(costs.actions)
            # Results that stay in the buffer are partial to the unit, but not to the stores outside these loops.
            leaving = (1 << max((p.depth for p in self.stores_of[actor.leaf.at]), default=0)) - 1
            place = replace(place, resumed=place.resumed & leaving, unfinished=place.unfinished & leaving)
        if actor.extra and place.first == 0:
            for action, count in actor.extra.items():
                actions[action] = actions.get(action, 0) + count
        chain, part = actor.chain
        freed = [w.frees for w in actor.inputs if w.frees is not None and in_tokens(w, place)]
        return Phase(
            work=max(1, work),
            arg=arg,
            inputs=tuple((w.fifo, 1, t) for w in actor.inputs if (t := in_tokens(w, place)) is not None),
            outputs=tuple((w.fifo, 1, t) for w in actor.outputs if (t := out_tokens(w, place)) is not None),
            take=actor.takes,
            gives=(*freed, *([actor.frees] if actor.frees is not None else [])),
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
        if move.is_copy:
            nbytes = self.actors.workload.tensors[move.tensor].nbytes
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
            for component, action, other in ((src, "read", dst), (dst, "write", src)):
                if part.unit and component == (move.src if move.store else move.dst):
                    actions[Action(part.unit, "register", operator, move.tensor)] = nbytes
                else:
                    actions[Action(component, action, operator, move.tensor, other)] = nbytes
            for link in self.actors.arch.links.values():
                if {*link.between} == {src, dst}:
                    actions[Action(link.name, "transfer", operator, move.tensor)] = nbytes
        return nbytes, actions
