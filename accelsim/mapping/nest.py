"""Loop nests as text that a person can read: of a whole Mapping, or what one operator sees of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from .counting import Tally, stay_bytes
from .scope import Place, Scope
from .tree import Iterate, Loop, Mapping, Move, Node, Op, Par, Pipe, Position, Seq, Stay, child, format_position

INDENT = "  "


def tree_text(mapping: Mapping) -> str:
    """The whole tree with the Moves where they are cut; Stays come first."""
    cuts = _cuts(mapping)
    lines = [_stay(stay) for stay in mapping.stays]
    _write(mapping.root, (), 0, cuts, lines)
    return "\n".join(lines)


def operator_nests(scope: Scope, tallies: Sequence[Tally]) -> dict[str, str]:
    """Einsum to the loops around it, the Moves that serve it where they are cut, and the Stays of its tensors.

    Args:
        scope: of a Mapping that is well formed.
        tallies: of its Moves, in their order.
    """
    cuts = _cuts(scope.mapping)
    largest = {id(move): counted.largest for move, counted in zip(scope.mapping.moves, tallies, strict=True)}
    found: dict[str, list[str]] = defaultdict(list)
    for place in scope.places:
        found[place.einsum.name].append("\n".join(_operator(scope, place, cuts, largest)))
    return {name: "\n\n".join(texts) for name, texts in found.items()}


def _cuts(mapping: Mapping) -> dict[Position, list[Move]]:
    """Moves by the position at which their tensor is cut."""
    found: dict[Position, list[Move]] = defaultdict(list)
    for move in mapping.moves:
        found[move.issue if move.store else move.due].append(move)
    return found


# -- one operator ----------------------------------------------------------------------------------------------------


def _operator(scope: Scope, place: Place, cuts: dict[Position, list[Move]], largest: dict[int, int]) -> list[str]:
    reads = {name for access in place.einsum.inputs for name in scope.names.known_as(access.tensor)}
    written = scope.names.stored(place.einsum.output.tensor)
    tree = scope.tree
    lines = [
        _stay(stay, stay_bytes(scope, stay))
        for name in sorted({*reads, written})
        for stay in scope.stays.get(name, ())
        if tree.first[stay.start] <= tree.first[place.at] and tree.last[place.at] <= tree.last[stay.end]
    ]
    after: list[str] = []
    node: Node = scope.mapping.root
    depth = level = 0
    for n in range(len(place.at) + 1):
        at, pad = place.at[:n], INDENT * depth
        for move in cuts.get(at, ()):
            if not move.store and move.tensor in reads:
                lines.append(pad + _move(move, largest[id(move)]))
            elif move.store and move.tensor == written:
                after.append(pad + _move(move, largest[id(move)]))
        if n == len(place.at):
            extents = place.extents(len(place.levels))
            tile = ", ".join(f"{rank} {size}" for rank, size in extents.items())
            lines.append(f"{pad}{_line(node)}" + (f", on a tile of {tile}" if tile else ""))
            break
        step = place.at[n]
        if isinstance(node, Loop | Iterate):
            lines.append(pad + _line(node) + _trips(place, level))
            depth, level = depth + 1, level + 1
        elif isinstance(node, Seq | Pipe | Par) and isinstance(step, int) and len(node.children) > 1:
            lines.append(pad + _which(node, step))
        below = child(node, step)
        assert below is not None  # positions of a Scope are those of its tree
        node = below
    return lines + after[::-1]


def _trips(place: Place, level: int) -> str:
    """How many tiles the Loop at a level cuts out of what, where it cuts a rank of the operator."""
    loop, rank = place.levels[level].node, place.levels[level].rank
    if isinstance(loop, Iterate):
        return ""
    if not rank:
        return ", repeats this operator"
    extent = place.extents(level)[rank]
    named = f" (its {rank})" if rank != loop.rank else ""
    spans = place.levels[level].spans
    return f"{named}: {len(spans) or -(-extent // loop.tile):,} of {extent:,}"


def _which(node: Seq | Pipe | Par, step: int) -> str:
    of = f"{step + 1} of {len(node.children)}"
    if isinstance(node, Seq):
        return f"step {of}, one after the other"
    if isinstance(node, Par):
        return f"branch {of}, at once"
    parts = [f"stage {of}, overlapping"]
    if step:
        taken = ", taken over in pieces" if step in node.pieces else ""
        parts.append(f"{node.depths[step - 1]} buffers before it{taken}")
    if step < len(node.depths):
        parts.append(f"{node.depths[step]} buffers after it")
    return ", ".join(parts)


# -- the whole tree --------------------------------------------------------------------------------------------------


def _write(node: Node, at: Position, depth: int, cuts: dict[Position, list[Move]], lines: list[str]) -> None:
    pad = INDENT * depth
    lines += [pad + _move(move) for move in cuts.get(at, ()) if not move.store]
    lines.append(pad + _line(node))
    if isinstance(node, Loop | Iterate):
        _write(node.body, (*at, "body"), depth + 1, cuts, lines)
    elif isinstance(node, Seq | Pipe | Par):
        for step, below in enumerate(node.children):
            _write(below, (*at, step), depth + 1, cuts, lines)
    lines += [pad + _move(move) for move in cuts.get(at, ()) if move.store]


def _line(node: Node) -> str:
    match node:
        case Op():
            over = f", in the place of {node.over}" if node.over else ""
            return f"{node.einsum} on {node.unit}" + (f", {node.variant}" if node.variant else "") + over
        case Loop():
            halo = f", the operators before make what it needs, {node.halo}" if node.halo else ""
            return f"for {node.rank} in tiles of {node.tile:,}{halo}"
        case Iterate():
            first = f" from {node.start}" if node.start else ""
            return f"for {node.count:,} iterations of {node.repeat}{first}"
        case Seq():
            return "one after the other"
        case Pipe():
            depths = ", ".join(map(str, node.depths))
            pieces = f", pieces into {', '.join(map(str, node.pieces))}" if node.pieces else ""
            return "overlapping stages" + (f", with {depths} buffers between them{pieces}" if depths else "")
        case Par():
            return "at once"


def _stay(stay: Stay, nbytes: int | None = None) -> str:
    size = "" if nbytes is None else f" ({nbytes:,} bytes)"
    life = f"from {format_position(stay.start)} to {format_position(stay.end)}" if stay.start or stay.end else "always"
    address = "" if stay.address is None else f", at address {stay.address:,}"
    some = "" if stay.iterations is None else f", {stay.iterations[1]} iterations from {stay.iterations[0]}"
    over = f", in the place of {stay.over}" if stay.over else ""
    aside = f" with {stay.aside:,} bytes aside" if stay.aside else ""
    part = "" if stay.share == 1 else f"{stay.share} of "
    return f"{part}{stay.tensor}{size} stays in {stay.memory} {life}{address}{some}{over}{aside}"


def _move(move: Move, nbytes: int | None = None) -> str:
    """What is moved; with the bytes of a tile (the largest)."""
    several = "s" if move.buffers != 1 else ""
    buffers = f"{move.buffers} buffer{several}"
    if move.ring:
        buffers = f"{move.buffers} place{several} {'in rings' if move.store else 'of pieces'}"
    of = "" if nbytes is None else f" of {nbytes:,} bytes"
    if move.is_copy:
        return f"copy {move.tensor} within {move.dst}, to where it stays from {format_position(move.due)} on" + of
    when = ""
    if move.issue != move.due:
        when = f", done by the end of {format_position(move.due)}" if move.store else (
            f", issued from {format_position(move.issue)} on"
        )  # fmt: skip
    after = f", after the {move.after} of two before" if move.after else ""
    return f"{'store' if move.store else 'load'} {move.tensor}: {move.src} → {move.dst}, {buffers}{of}{when}{after}"
