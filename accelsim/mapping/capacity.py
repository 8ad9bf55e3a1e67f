"""What lies in each memory at each step of a Mapping: whether it fits, and whether addresses collide."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..arch.architecture import Architecture
from .counting import Tally, Use, stay_bytes, steps_kept, tile_bytes
from .halo import overlap, window
from .handing import passages
from .registers import holder, users_of_stay
from .scope import Place, Scope, within
from .spills import keeper, kept_bytes
from .tree import WHOLE, Move, Par, Pipe, Position, Stay, format_position

SHOWN = 6
"""Contents of a memory that a message lists, largest first."""


@dataclass(frozen=True)
class Content:
    """Something that takes up `nbytes` of a memory from step `first` to step `last`."""

    what: str
    nbytes: int
    first: int
    last: int


@dataclass(frozen=True)
class Peak:
    """The most bytes that a memory holds, the first position at which it holds them, and what they are."""

    nbytes: int = 0
    position: Position = ()
    contents: tuple[Content, ...] = ()

    def __str__(self) -> str:
        largest = sorted(self.contents, key=lambda c: (-c.nbytes, c.what))
        shown = ", ".join(f"{c.what} {c.nbytes:,}" for c in largest[:SHOWN])
        rest = len(largest) - SHOWN
        return shown + (f", and {rest} more" if rest > 0 else "")


def contents(scope: Scope, arch: Architecture, tallies: Sequence[Tally]) -> dict[str, list[Content]]:
    """Everything that lies in each memory, and in registers of units.

    A Stay takes its tensor's bytes, or inside Loops those of its largest tile, for every instance that it holds. A Move
    takes `buffers` times its largest tile: a load at its destination from the start of `issue` to the end of the child
    of a Seq in which it is due, a store at its source from the start of the child of a Seq in which it is issued to the
    end of `due`; neither where the tensor stays there. A Pipe takes `depths` times the tile that one stage hands to
    another, and what Loops that retain keep of it for their next iteration, or that part of all this which stays.
    """
    found: dict[str, list[Content]] = {name: [] for name in arch.memories}
    for stay in scope.mapping.stays:
        unit = holder(scope, users_of_stay(scope, stay), stay.tensor)
        found.setdefault(unit or stay.memory, []).extend(_held(scope, stay))
    for move, counted in zip(scope.mapping.moves, tallies, strict=True):
        memory = move.src if move.store else move.dst
        if stays_at(scope, move.tensor, memory, move.issue if move.store else move.due):
            continue
        begin, end = buffer_life(scope, move)
        buffers = move.buffers * (2 if counted.reloads else 1)
        what = f"{buffers} buffers of {move.tensor}" if buffers > 1 else f"a buffer of {move.tensor}"
        if move.ring:
            pieces = f"{buffers} places of pieces" if buffers > 1 else "a place of a piece"
            what = f"a tile of {move.tensor}" if move.store else f"{pieces} of {move.tensor}"
        life = scope.tree.first[begin], scope.tree.last[end]
        served = scope.served(move.tensor, move.issue if move.store else move.due, store=move.store)
        unit = holder(scope, served, move.tensor)
        found.setdefault(unit or memory, []).append(Content(what, counted.held, *life))
    for pipe, memory, tensor, depth, nbytes in _handed(scope, arch):
        kept = keeper(scope, tensor, memory, pipe)
        if kept is not None and scope.tree.loops[pipe] == scope.tree.loops[kept.start]:
            nbytes = max(0, kept_bytes(nbytes, kept.share) - stay_bytes(scope, kept))  # beside the one that stays
        elif kept is not None:
            nbytes = kept_bytes(nbytes, 1 - kept.share)  # the other part lies in the place of the larger tile
        if not stays_at(scope, tensor, memory, pipe):
            what = f"{depth} results of {tensor} between stages"
            life = scope.tree.first[pipe], scope.tree.last[pipe]
            found.setdefault(memory, []).append(Content(what, nbytes, *life))
    for passage in passages(scope, arch):
        for memory in passage.way[:-1]:
            read = any(
                scope.handed(passage.maker, r) == passage.pipe and _reads(scope, arch, r, passage.tensor, memory)
                for r in scope.readers[passage.tensor]
            )
            if not read and not stays_at(scope, passage.tensor, memory, passage.pipe):
                what = f"{passage.depth} results of {passage.tensor} on their way to {passage.way[-1]}"
                life = scope.tree.first[passage.pipe], scope.tree.last[passage.pipe]
                found[memory].append(Content(what, passage.depth * passage.largest, *life))
    return found


def _held(scope: Scope, stay: Stay) -> list[Content]:
    """What a Stay takes up; over another one, as long as both last, only what it has more, and what waits aside."""
    first, last = scope.tree.first[stay.start], scope.tree.last[stay.end]
    nbytes = stay_bytes(scope, stay)
    under = covered(scope, stay)
    if under is None:
        return [Content(stay.tensor, nbytes, first, last)]
    both = min(last, scope.tree.last[under.end])
    found = [
        Content(stay.tensor, max(0, nbytes - stay_bytes(scope, under)), first, both),
        Content(f"results of {stay.tensor} that wait aside", stay.aside, first, both),
    ]
    return found + ([Content(stay.tensor, nbytes, both + 1, last)] if both < last else [])


def covered(scope: Scope, stay: Stay) -> Stay | None:
    """The Stay in whose place another one lies."""
    for other in scope.stays.get(stay.over, ()):
        if other.memory == stay.memory and other.end == stay.start:
            return other
    return None


def stays_at(scope: Scope, tensor: str, memory: str, at: Position) -> bool:
    """Whether all of a tensor stays in a memory all through a position."""
    whole = (s for s in scope.stays.get(tensor, ()) if s.memory == memory and s.share == WHOLE)
    return any(scope.tree.covers(s, at) for s in whole)


def buffer_life(scope: Scope, move: Move) -> tuple[Position, Position]:
    """The positions from whose start to whose end the buffers of a Move are taken."""
    tree = scope.tree
    if move.store:
        return tree.child_of_seq(move.issue, tree.loops[move.due]), move.due
    begin = tree.child_of_seq(move.issue)
    return begin, tree.child_of_seq(move.due, tree.loops[begin])


def _reads(scope: Scope, arch: Architecture, reader: Place, tensor: str, memory: str) -> bool:
    """Whether an Op reads a tensor from a memory."""
    feeds = arch.units[reader.op.unit].feeds(len(reader.einsum.inputs))
    read = zip(reader.einsum.inputs, feeds, strict=False)
    return any(m == memory and tensor in scope.names.known_as(a.tensor) for a, m in read)


def _handed(scope: Scope, arch: Architecture) -> list[tuple[Position, str, str, int, int]]:
    """(Pipe, memory, tensor, depth, bytes) of what the stages of Pipes hand on."""
    depths: dict[tuple[Position, str, str], tuple[int, list[Place]]] = {}
    for maker in scope.places:
        if maker.op.over:
            continue  # it lies in the place of what another stage has handed on
        tensor = scope.names.stored(maker.einsum.output.tensor)
        for reader in scope.readers.get(tensor, ()):
            at = scope.handed(maker, reader)
            if at is None:
                continue
            pipe, stage = scope.tree.nodes[at], reader.at[len(at)]
            assert isinstance(pipe, Pipe) and isinstance(stage, int)
            feeds = arch.units[reader.op.unit].feeds(len(reader.einsum.inputs))
            unit = holder(scope, (maker, reader), tensor)
            for access, near in zip(reader.einsum.inputs, feeds, strict=False):
                if tensor in scope.names.known_as(access.tensor):
                    memory = unit or near
                    depth, makers = depths.get((at, memory, tensor), (0, []))
                    depths[at, memory, tensor] = max(depth, pipe.depths[stage - 1]), [*makers, maker]
    return [
        (at, memory, tensor, depth, max(_made(scope, maker, len(scope.tree.loops[at]), depth) for maker in makers))
        for (at, memory, tensor), (depth, makers) in depths.items()
    ]


def _made(scope: Scope, maker: Place, depth: int, slots: int) -> int:
    """Bytes of so many tiles of a result, and of what Loops that retain keep of the tiles before."""
    extents, steps = maker.extents(depth), steps_kept(scope, maker)
    if steps is not None:
        extents[maker.einsum.iterative] = min(extents[maker.einsum.iterative], steps)

    def nbytes(extents: Mapping[str, int]) -> int:
        return tile_bytes(scope, [Use(maker, maker.levels[:depth], (maker.einsum.output,))], [extents])

    cutting = [d for d, level in enumerate(maker.levels[:depth]) if level.rank in maker.einsum.output.ranks]
    retaining = [d for d in cutting if maker.levels[d].retains]
    if retaining and retaining[-1] == cutting[-1]:
        inner = maker.levels[retaining.pop()]
        total = nbytes({**extents, inner.rank: window(inner.boxes, slots)})
    else:
        total = slots * nbytes(extents)
    for d in retaining:
        level = maker.levels[d]
        total += nbytes({**maker.extents(d + 1), level.rank: overlap(level.boxes)})
    return total


# -- peaks -----------------------------------------------------------------------------------------------------------


def peaks(scope: Scope, found: Mapping[str, Sequence[Content]]) -> dict[str, Peak]:
    """The peak of each memory. Of Seqs that run at once, in Pipes and Pars, the peaks add up."""
    return {memory: _peak(scope, list(items), 0, scope.tree.end, scope.tree.blocks) for memory, items in found.items()}


def _peak(scope: Scope, items: list[Content], first: int, last: int, blocks: Sequence[Position]) -> Peak:
    """The peak from step `first` to step `last`."""
    tree = scope.tree
    while blocks:
        block, rest = blocks[0], blocks[1:]
        inner = [b for b in rest if within(b, block)]
        items = _folded(scope, items, block, inner)
        blocks = [b for b in rest if not within(b, block)]
    change: dict[int, int] = {}
    for item in items:
        change[item.first] = change.get(item.first, 0) + item.nbytes
        change[item.last + 1] = change.get(item.last + 1, 0) - item.nbytes
    most = level = 0
    where = first
    for step in sorted(change):
        level += change[step]
        if level > most and first <= step <= last:
            most, where = level, step
    live = tuple(item for item in items if item.first <= where <= item.last and item.nbytes)
    return Peak(most, tree.steps[where], live)


def _folded(scope: Scope, items: list[Content], block: Position, inner: Sequence[Position]) -> list[Content]:
    """The items with those inside one child of a Pipe or Par replaced by the peak of that child.

    What reaches from one child into another, or out of the block, is taken to last throughout the block.
    """
    tree = scope.tree
    first, last = tree.first[block], tree.last[block]
    node = tree.nodes[block]
    assert isinstance(node, Pipe | Par)
    spans = [(*block, i) for i in range(len(node.children))]
    own: dict[Position, list[Content]] = {child: [] for child in spans}
    outside: list[Content] = []
    for item in items:
        child = next((c for c in spans if tree.first[c] <= item.first and item.last <= tree.last[c]), None)
        if child is not None:
            own[child].append(item)
        elif item.last < first or last < item.first:
            outside.append(item)
        else:
            outside.append(Content(item.what, item.nbytes, min(item.first, first), max(item.last, last)))
    for child, mine in own.items():
        peak = _peak(scope, mine, tree.first[child], tree.last[child], [b for b in inner if within(b, child)])
        if peak.nbytes:
            what = f"child {format_position(child)} at its peak ({peak})"
            outside.append(Content(what, peak.nbytes, first, last))
    return outside


def overfull(arch: Architecture, found: Mapping[str, Peak]) -> list[str]:
    """A line for each memory that holds more than it can, and for each unit whose registers do."""
    lines = []
    for name, peak in found.items():
        in_memory = name in arch.memories
        capacity = arch.memories[name].capacity if in_memory else arch.units[name].register_capacity
        if peak.nbytes > capacity:
            what = f"memory {name} is overfull" if in_memory else f"the register file of {name} is overfull"
            lines.append(
                f"{what} at position {format_position(peak.position)}: {peak.nbytes:,} bytes, "
                f"{peak.nbytes - capacity:,} more than it has ({capacity:,}); it holds {peak}"
            )
    return lines


# -- addresses -------------------------------------------------------------------------------------------------------


def collisions(scope: Scope, arch: Architecture) -> list[str]:
    """A line for each Stay whose addresses lie beyond its memory, or are in use by an earlier Stay when it begins."""
    found: list[str] = []
    by_memory: dict[str, list[Stay]] = {}
    for stay in scope.mapping.stays:
        if stay.address is None:
            continue
        end = stay.address + stay_bytes(scope, stay)
        if end > arch.memories[stay.memory].capacity:
            found.append(
                f"{_shown(scope, stay)} ends {end - arch.memories[stay.memory].capacity:,} bytes beyond {stay.memory} "
                f"({arch.memories[stay.memory].capacity:,} bytes)"
            )
        by_memory.setdefault(stay.memory, []).append(stay)
    for stays in by_memory.values():
        spans = _addressed(scope, stays)
        pairs = _colliding(scope, spans)
        for block in scope.tree.blocks:
            pairs += _colliding_across(scope, block, spans)
        for a, b in dict.fromkeys(pairs):
            common = sorted((_range(scope, a), _range(scope, b)))
            overlap = min(common[0][1], common[1][1]) - common[1][0]
            found.append(
                f"{_shown(scope, a)} and {_shown(scope, b)} lie in the same {overlap:,} bytes of {a.memory} "
                f"from {common[1][0]:,} on at the same time"
            )
    return found


def _addressed(scope: Scope, stays: Sequence[Stay]) -> list[tuple[Stay, int, int]]:
    """Stays with their first and last steps; of two in one place the larger alone has the steps that both last."""
    spans = {stay: (scope.tree.first[stay.start], scope.tree.last[stay.end]) for stay in stays}
    for stay in stays:
        under = covered(scope, stay)
        if under in spans and under is not None and under.address == stay.address:
            (first, last), (begin, end) = spans[under], spans[stay]
            if stay_bytes(scope, under) < stay_bytes(scope, stay):
                spans[under] = first, begin - 1
            else:
                spans[stay] = last + 1, end
    return [(stay, first, last) for stay, (first, last) in spans.items() if first <= last]


def _range(scope: Scope, stay: Stay) -> tuple[int, int]:
    assert stay.address is not None
    return stay.address, stay.address + stay_bytes(scope, stay)


def _shown(scope: Scope, stay: Stay) -> str:
    low, high = _range(scope, stay)
    life = f"{format_position(stay.start)} to {format_position(stay.end)}"
    return f"stay of {stay.tensor} at {low:,}-{high:,} (from {life})"


def _colliding(scope: Scope, spans: Sequence[tuple[Stay, int, int]]) -> list[tuple[Stay, Stay]]:
    """Pairs of Stays that share addresses and steps: a sweep over steps, with what is live sorted by address."""
    events = sorted(
        [(first, 1, i) for i, (_, first, _) in enumerate(spans)]
        + [(last + 1, 0, i) for i, (_, _, last) in enumerate(spans)]
    )
    live: list[tuple[int, int, int]] = []
    found: list[tuple[Stay, Stay]] = []
    for _, begins, i in events:
        low, high = _range(scope, spans[i][0])
        entry = (low, high, i)
        at = bisect_left(live, entry)
        if not begins:
            if at < len(live) and live[at] == entry:
                del live[at]
            continue
        clash = next((e for e in (live[at - 1 : at] + live[at : at + 1]) if e[0] < high and low < e[1]), None)
        if clash is not None:
            found.append((spans[clash[2]][0], spans[i][0]))
        else:
            insort(live, entry)
    return found


def _colliding_across(scope: Scope, block: Position, spans: Sequence[tuple[Stay, int, int]]) -> list[tuple[Stay, Stay]]:
    """Pairs of Stays in different children of a Pipe or Par, which run at once, that share addresses."""
    inside = [(s, s.start[len(block)]) for s, _, _ in spans if within(s.start, block) and len(s.start) > len(block)]
    found: list[tuple[Stay, Stay]] = []
    for i, (a, child) in enumerate(inside):
        for b, other in inside[i + 1 :]:
            (low, high), (start, end) = _range(scope, a), _range(scope, b)
            if child != other and low < end and start < high:
                found.append((a, b))
    return found
