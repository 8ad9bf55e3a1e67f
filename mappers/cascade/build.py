"""The part of a Mapping's tree and tables that a group's plan stands for."""

from __future__ import annotations

from collections.abc import Sequence

from ...mapping.tree import BODY, Loop, Move, Node, Op, Pipe, Position
from .plan import Loops, Placed, Transfer
from .search import GroupPlan


class GroupTree:
    """A plan as a tree below `at`, with the Moves that feed it and take its results away."""

    def __init__(self, plan: GroupPlan, at: Position) -> None:
        self.plan, self.at = plan, at
        self.found = plan.arrangement
        self.stages: dict[int, list[Placed]] = {}
        for place in self.found.places:
            self.stages.setdefault(place.stage, []).append(place)

    def node(self) -> Node:
        """Loops around a Pipe of passes."""
        stages = tuple(self._stage(here) for _, here in sorted(self.stages.items()))
        blocks = self.found.tiling.blocks
        body: Node = stages[0] if len(stages) == 1 else Pipe(stages, (blocks,) * (len(stages) - 1))
        everyone = self.found.places
        return self._nest(self.found.outer, everyone, body)

    def _stage(self, here: Sequence[Placed]) -> Node:
        ops = tuple(self._op(place) for place in here)
        body: Node = ops[0] if len(ops) == 1 else Pipe(ops, (self.found.tiling.depth,) * (len(ops) - 1))
        return self._nest(here[0].loops[len(self.found.outer) :], here, body)

    def _op(self, place: Placed) -> Op:
        way = self.plan.bound.ways[self.found.places.index(place)]
        return Op(self.found.group.einsums[place.member].name, way.unit.name, way.option.variant, way.option.layout)

    def _nest(self, loops: Loops, inside: Sequence[Placed], body: Node) -> Node:
        """Loops, each under the name that its rank has in the first Einsum inside that has it."""
        for number, tile in reversed(loops):
            if number < 0:
                body = Loop(self.found.group.windows[number], tile, body, self.found.group.halo(number))
                continue
            names = (self.found.group.rank(p.member, number) for p in inside)
            body = Loop(next(name for name in names if name), tile, body)
        return body

    def moves(self) -> list[Move]:
        found = []
        for t in self.found.transfers:
            cut = self._cut(t)
            # Of what passes several memories, in tiles of one size, only the last Move may take long.
            last = t.store and not any(x.store and (x.tensor, x.src) == (t.tensor, t.dst) for x in self.found.transfers)
            due, deep = self.at if last else cut, self.found.buffers(t)
            found.append(Move(t.tensor, t.src, t.dst, cut, due, deep, store=t.store, sliding=t.run_bytes > 0))
        return found

    def _cut(self, transfer: Transfer) -> Position:
        if transfer.stage < 0:
            return (*self.at, *(BODY,) * len(transfer.loops))
        outer = len(self.found.outer)
        at = (*self.at, *(BODY,) * outer, *((transfer.stage,) if len(self.stages) > 1 else ()))
        return (*at, *(BODY,) * (len(transfer.loops) - outer))
