"""Gates: the tokens by which the parts of a Mapping's Program wait for the end of those before them."""

from __future__ import annotations

from collections import defaultdict

from ..engine.program import UNBOUNDED
from ..errors import MappingError
from ..mapping.scope import within
from ..mapping.tree import Position, format_position
from .actors import Actor, Actors
from .order import Gate, gates, last_ops
from .parts import Part
from .waits import Wait


class Barriers:
    """Joins actors that wait for each other because of the tree alone.

    Raises:
        MappingError: a Move is issued inside a loop outside of which it is due.
    """

    def __init__(self, actors: Actors) -> None:
        self.actors, self.root = actors, actors.mapping.root
        self.parts, self.chain, self.of_op = actors.parts, actors.chain, actors.of_op
        self.ending_below: dict[Position, list[int]] = defaultdict(list)
        """Stores that must have ended when the node at a position ends: those due at or below it."""
        for i, part in enumerate(self.parts):
            if part.move.store:
                for n in range(len(part.move.due) + 1):
                    self.ending_below[part.move.due[:n]].append(i)
        self.ends: dict[tuple[Position, int], list[Actor]] = {}
        self.joined: set[tuple[int, int, int, bool]] = set()

    def make(self) -> None:
        """All of them."""
        for i, part in enumerate(self.parts):
            if self.chain[i] and not part.move.store:
                for gate in gates(self.root, part.move.issue):
                    self.gate(gate, self.chain[i][0], part.depth)
        loads: dict[Position, list[Part]] = defaultdict(list)
        for i, part in enumerate(self.parts):
            if self.chain[i] and not part.move.store:
                for user in part.users:
                    loads[user.at].append(part)
        for leaf in self.actors.leaves:
            mine = gates(self.root, leaf.at)
            held = [gates(self.root, p.move.issue) for p in loads[leaf.at]]
            if mine not in held:  # otherwise the tile that it waits for has waited
                for gate in mine:
                    self.gate(gate, self.of_op[leaf.at], len(leaf.levels))

    def gate(self, gate: Gate, waiting: Actor, depth: int) -> None:
        """Have an actor at a loop depth wait for what a gate names."""
        if depth < gate.depth:
            where = format_position(waiting.leaf.at)
            raise MappingError(f"a move for {where} is issued inside a loop outside of which it is due")
        for ending in self._ends(gate.after, gate.depth):
            key = (ending.index, waiting.index, gate.depth, gate.back)
            if key in self.joined:
                continue
            self.joined.add(key)
            fifo = self.actors.builder.fifo(
                ending.index,
                waiting.index,
                depth=UNBOUNDED,
                latency=self.actors.result_latency(ending),
                name=f"end of {format_position(gate.after)}",
            )
            ending.outputs.append(Wait(fifo, gate.depth, gate=True, back=gate.back))
            waiting.inputs.append(Wait(fifo, gate.depth, gate=True, back=gate.back))

    def _ends(self, at: Position, depth: int) -> list[Actor]:
        """The actors with whose last firings the node at `at` ends, seen from loop depth `depth`."""
        if (at, depth) not in self.ends:
            last = last_ops(self.root, at)
            found: list[Actor] = []
            stored: set[Position] = set()
            for i in self.ending_below[at]:
                part = self.parts[i]
                if not self.chain[i] or part.depth < depth:
                    continue
                if any(within(x, part.move.due) for x in last):  # otherwise a gate inside has waited for it
                    stored.update(maker.at for maker in part.users)
                    found.append(self.chain[i][-1])
            found += [self.of_op[x] for x in last if x not in stored]
            self.ends[at, depth] = found
        return self.ends[at, depth]
