"""Copies within a memory as actors: one after the other, between what ends before a position and what begins in it."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

from ..engine.program import UNBOUNDED
from ..mapping.scope import within
from ..mapping.tree import Move, Position, levels
from .actors import Actor, Actors
from .barriers import Barriers
from .firing import Firings
from .order import gates
from .parts import Part
from .waits import Wait


class Copies:
    """Makes the actors of copies, and joins them to the others, which are there already."""

    def __init__(self, actors: Actors, firings: Firings, barriers: Barriers) -> None:
        self.actors, self.firings, self.barriers = actors, firings, barriers
        self.root = actors.mapping.root

    def make(self) -> None:
        """All of them."""
        groups: dict[Position, list[Move]] = defaultdict(list)
        for move in self.actors.mapping.moves:
            if move.is_copy:
                groups[move.due].append(move)
        for due, moves in groups.items():
            waiting = self._begins(due)
            chains = [chain for move in moves if (chain := self._chain(move))]
            depth = len(levels(self.root, due))
            for before, after in pairwise(chains):
                self._wait(before[-1], after[0], depth)
            for gate in gates(self.root, due) if chains else ():
                self.barriers.gate(gate, chains[0][0], depth)
            for actor in waiting if chains else ():
                self._wait(chains[-1][-1], actor, depth)

    def _begins(self, due: Position) -> list[Actor]:
        """The Ops at or below a position, and the loads that may be issued there."""
        found = []
        for actor in self.actors.all:
            part = actor.part
            at = actor.leaf.at if part is None else part.cut if part.move.store else part.move.issue
            if within(at, due):
                found.append(actor)
        return found

    def _chain(self, move: Move) -> list[Actor]:
        """The actors of one copy; none where it takes no time, and is counted on an Op."""
        leaf = next(leaf for leaf in self.actors.leaves if within(leaf.at, move.due))
        depth = len(levels(self.root, move.due))
        part = Part(move, depth, leaf, (leaf,), depth)
        chain = self.actors.transfer(part)
        if not chain:
            self.firings.count_free(part)
        return chain

    def _wait(self, before: Actor, after: Actor, depth: int) -> None:
        """Have an actor wait for the end of a copy in the same iteration of the loops around."""
        assert before.part is not None
        move = before.part.move
        fifo = self.actors.builder.fifo(
            before.index, after.index, depth=UNBOUNDED, latency=self.actors.latency(move.src, move.dst),
            name=f"{move.tensor} has moved within {move.dst}",
        )  # fmt: skip
        before.outputs.append(Wait(fifo, depth, gate=True))
        after.inputs.append(Wait(fifo, depth, gate=True))
