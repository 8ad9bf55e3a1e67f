"""A Mapping walked tile by tile: what is moved, and what must have ended before what may start.

Nothing is shared with lowering: every iteration of every loop is visited, and every tile is a box of coordinates. Which
rank of an Einsum a loop cuts is told by whoever made the tree.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, field
from typing import TypeAlias

from accelsim.ir import Einsum, Workload
from accelsim.mapping.tree import BODY, Iterate, Loop, Mapping, Move, Node, Op, Par, Pipe, Position, Seq

Cuts: TypeAlias = MappingABC[tuple[str, Position], str]
"""(Einsum, position of a Loop around it) to the rank that it cuts; missing where it cuts none."""
Event: TypeAlias = tuple[str, str | int, int]
"""(``op``, ``load`` or ``store``; Einsum or number of the Move; which firing)."""
Box: TypeAlias = tuple[tuple[int, int], ...]


@dataclass
class Tile:
    """A tile of a Move: which box of the tensor, in which iteration, and the firings of Ops that use or make it."""

    box: Box
    nbytes: int
    users: list[Event] = field(default_factory=list)
    onward: list[Event] = field(default_factory=list)
    """Tiles of further Moves that are taken from it (loads), or that it is put together from (stores)."""
    before: int | None = None
    """Of a store: the visit that left the partial result that this one resumes."""


@dataclass
class Instance:
    """One run of a node: what must not start before it begins, and what has ended when it ends."""

    starters: list[Event] = field(default_factory=list)
    enders: list[Event] = field(default_factory=list)


@dataclass
class Hand:
    """What one entry of a Pipe hands from one Op to another: first and last firing of each."""

    maker: str
    reader: str
    depth: int
    made: list[tuple[int, int]] = field(default_factory=list)
    read: list[tuple[int, int]] = field(default_factory=list)


class Walk:
    """The result of the walk.

    Attributes:
        tiles: by Move, in order.
        barriers: (what must have ended, what may only then start), one pair per barrier passed.
        hands: what Pipes hand on.
        firings: of each Op, by Einsum; `extents` the tile of each.
    """

    def __init__(self, mapping: Mapping, workload: Workload, cuts: Cuts) -> None:
        self.mapping, self.workload, self._cuts = mapping, workload, cuts
        self.einsums = {e.name: e for e, _ in workload.einsums()}
        self.tiles: dict[int, list[Tile]] = {i: [] for i in range(len(mapping.moves))}
        self.barriers: list[tuple[Instance, Instance]] = []
        self.hands: dict[tuple[Position, str, str], Hand] = {}
        self.firings: dict[str, int] = defaultdict(int)
        self.extents: dict[str, list[dict[str, int]]] = defaultdict(list)
        self._open: dict[int, Tile] = {}
        self._iterations: list[int] = []
        self._instances: dict[Position, Instance] = {}
        self._late: dict[Position, list[Event]] = defaultdict(list)
        self._below: dict[Position, list[str]] = defaultdict(list)
        self._single: dict[Position, Instance] = {}
        self._note(mapping.root, ())
        self._enter(mapping.root, (), {(n, r): (0, s) for n, e in self.einsums.items() for r, s in e.sizes.items()})

    def _note(self, node: Node, at: Position) -> None:
        if isinstance(node, Op):
            for n in range(len(at) + 1):
                self._below[at[:n]].append(node.einsum)
        for step, child in _steps(node):
            self._note(child, (*at, step))

    def partial(self, store: Move) -> bool:
        """Whether a loop around the position where a store is cut cuts a rank that is reduced."""
        makers = [e for e in self.einsums.values() if e.output.tensor == store.tensor]
        reduced = {(e.name, r) for e in makers for r in e.reduced_ranks}
        around = [store.issue[:n] for n in range(len(store.issue))]
        return any((e, rank) in reduced for (e, at), rank in self._cuts.items() if at in around)

    # Walking

    def _enter(self, node: Node, at: Position, boxes: dict[tuple[str, str], tuple[int, int]]) -> Instance:
        here = self._instances[at] = Instance(enders=self._late.pop(at, []))
        moves = [(i, m) for i, m in enumerate(self.mapping.moves) if (m.issue if m.store else m.due) == at]
        for i, move in sorted(moves, key=lambda x: "far" not in (x[1].src, x[1].dst)):  # outer parts of chains first
            self._open_tile(i, boxes, at)
            if not move.store:
                self._mark(("load", i, len(self.tiles[i]) - 1), move.issue, start=True)
        if isinstance(node, Op):
            event = ("op", node.einsum, self.firings[node.einsum])
            self.firings[node.einsum] += 1
            self.extents[node.einsum].append({r: boxes[node.einsum, r][1] for r in self.einsums[node.einsum].sizes})
            self._mark(event, at, start=True, end=True)
            for i, tile in self._open.items():
                if self._serves(i, node.einsum):
                    tile.users.append(event)
        elif isinstance(node, Loop | Iterate):
            self._repeat(node, at, boxes)
        elif isinstance(node, Seq):
            before = None
            for k, child in enumerate(node.children):
                now = self._enter(child, (*at, k), boxes)
                if before is not None:
                    self.barriers.append((before, now))
                before = now
        else:
            self._at_once(node, at, boxes)
        for i, move in moves:
            del self._open[i]
            if move.store:
                stored: Event = ("store", i, len(self.tiles[i]) - 1)
                if move.due != at[: len(move.due)]:
                    self._late[move.due].append(stored)
                else:
                    self._mark(stored, move.due, end=True)
        return here

    def _repeat(self, node: Loop | Iterate, at: Position, boxes: dict[tuple[str, str], tuple[int, int]]) -> None:
        inner = (*at, BODY)
        cut = [(e, self._cuts[e, at]) for e in self._below[at] if (e, at) in self._cuts]
        count = node.count if isinstance(node, Iterate) else -(-boxes[cut[0]][1] // node.tile)
        before = None
        for i in range(count):
            now = dict(boxes)
            if isinstance(node, Iterate):
                self._iterations.append(i)
            else:
                for key in cut:
                    offset, extent = boxes[key]
                    now[key] = offset + i * node.tile, min(node.tile, extent - i * node.tile)
            ran = self._enter(node.body, inner, now)
            if before is not None and (isinstance(node, Iterate) or _alone(node.body)):
                self.barriers.append((before, ran))
            before = ran
            if isinstance(node, Iterate):
                self._iterations.pop()

    def _at_once(self, node: Pipe | Par, at: Position, boxes: dict[tuple[str, str], tuple[int, int]]) -> None:
        fired = {e: self.firings[e] for e in self._below[at]}
        for k, child in enumerate(node.children):
            last = self._single.get((*at, k))
            now = self._enter(child, (*at, k), boxes)
            if last is not None and _alone(child):
                self.barriers.append((last, now))
            self._single[*at, k] = now
        if not isinstance(node, Pipe):
            return
        stage = {e: k for k in range(len(node.children)) for e in self._below[*at, k]}
        for reader, k in stage.items():
            for maker, j in stage.items():
                if j < k and self.einsums[maker].output.tensor in [a.tensor for a in self.einsums[reader].inputs]:
                    hand = self.hands.setdefault((at, maker, reader), Hand(maker, reader, node.depths[k - 1]))
                    hand.made.append((fired[maker], self.firings[maker] - 1))
                    hand.read.append((fired[reader], self.firings[reader] - 1))

    # Tiles

    def _serves(self, i: int, einsum: str) -> bool:
        move, e = self.mapping.moves[i], self.einsums[einsum]
        return move.tensor in ([e.output.tensor] if move.store else [a.tensor for a in e.inputs])

    def _open_tile(self, i: int, boxes: dict[tuple[str, str], tuple[int, int]], at: Position) -> None:
        move = self.mapping.moves[i]
        hull: list[tuple[int, int]] = []
        for e in self._below[at]:
            if not self._serves(i, e):
                continue
            einsum = self.einsums[e]
            accesses = [einsum.output] if move.store else [a for a in einsum.inputs if a.tensor == move.tensor]
            for access in accesses:
                box = [boxes[e, index.terms[0][0]] for index in access.indices]
                low = [(o, o + n) for o, n in box]
                hull = [(min(a, c), max(b, d)) for (a, b), (c, d) in zip(hull, low, strict=True)] if hull else low
        nbytes = 1
        for a, b in hull:
            nbytes *= b - a
        tile = Tile((*((i, i) for i in self._iterations), *hull), nbytes)
        seen = [k for k, t in enumerate(self.tiles[i]) if t.box == tile.box]
        if move.store and seen:
            tile.before = seen[-1]
        event = ("store" if move.store else "load", i, len(self.tiles[i]))
        self.tiles[i].append(tile)
        for j, other in self._open.items():
            theirs = self.mapping.moves[j]
            met = (theirs.src, move.dst) if move.store else (theirs.dst, move.src)
            if theirs.tensor == move.tensor and theirs.store == move.store and met[0] == met[1]:
                other.onward.append(event)
        self._open[i] = tile

    def _mark(self, event: Event, at: Position, *, start: bool = False, end: bool = False) -> None:
        """Note an event with the runs under way, or last, of a node and those around it."""
        for n in range(len(at) + 1):
            if start:
                self._instances[at[:n]].starters.append(event)
            if end:
                self._instances[at[:n]].enders.append(event)


def _steps(node: Node) -> list[tuple[int | str, Node]]:
    if isinstance(node, Op):
        return []
    if isinstance(node, Loop | Iterate):
        return [(BODY, node.body)]
    return list(enumerate(node.children))


def _alone(node: Node) -> bool:
    """Whether a node is over before it runs again."""
    return isinstance(node, Seq | Iterate) or (isinstance(node, Loop) and _alone(node.body))


__all__ = ["Cuts", "Einsum", "Event", "Hand", "Instance", "Tile", "Walk"]
