"""Who waits for whom: the gates that Seqs and sequential loops put between the parts of a Mapping's tree.

A gate at loop depth d passes one token per run of the body at that depth: from the last firing there of an actor of the
part before, to the first firing of an actor of the part after. A back gate does so from one iteration of a loop to the
next; it stands at the depth of the loop's body and skips the first (for the waiting side) and last iteration.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..mapping.scope import within
from ..mapping.tree import Iterate, Loop, Mapping, Node, Op, Par, Pipe, Position, Seq, children, find, walk


@dataclass(frozen=True)
class Gate:
    """Wait for the end of the node at `after`, at loop depth `depth`."""

    after: Position
    depth: int
    back: bool = False


def sequential(node: Node) -> bool:
    """Whether the iterations of a loop with this body run one after the other."""
    return isinstance(node, Seq | Iterate) or (isinstance(node, Loop) and sequential(node.body))


def gates(root: Node, at: Position) -> tuple[Gate, ...]:
    """What must have ended before the node at `at` may begin.

    In a Pipe or Par a child that is a Seq, or a loop around one, runs once at a time, though the iterations of the loop
    around the Pipe or Par overlap.
    """
    nodes, depths = path(root, at)
    found: list[Gate] = []
    alone: Position | None = None
    for i in range(len(at) - 1, -1, -1):
        parent, step, depth = nodes[i], at[i], depths[i + 1]
        if isinstance(parent, Seq):
            if isinstance(step, int) and step > 0:
                found.append(Gate((*at[:i], step - 1), depth))
                break
        elif isinstance(parent, Pipe | Par):
            if sequential(nodes[i + 1]):
                alone = at[: i + 1]
        elif isinstance(parent, Iterate) or (isinstance(parent, Loop) and sequential(parent.body)):
            found.append(Gate(at[: i + 1], depth, back=True))
        elif alone is not None:
            found.append(Gate(alone, depth, back=True))
    return tuple(found)


def path(root: Node, at: Position) -> tuple[list[Node], list[int]]:
    """The nodes from the root to a position, and how many loops are around each."""
    nodes, depths = [root], [0]
    for step in at:
        node = nodes[-1]
        depths.append(depths[-1] + isinstance(node, Loop | Iterate))
        nodes.append(below(node, step))
    return nodes, depths


def below(node: Node, step: int | str) -> Node:
    """The node one step below another."""
    if isinstance(node, Loop | Iterate):
        return node.body
    assert not isinstance(node, Op) and isinstance(step, int)
    return node.children[step]


def last_ops(root: Node, at: Position) -> list[Position]:
    """Positions of the Ops with which the node at `at` ends."""
    node = find(root, at)
    below = list(children(node))
    if not below:
        return [at]
    if isinstance(node, Seq):
        below = below[-1:]
    return [p for step, _ in below for p in last_ops(root, (*at, step))]


def tied_children(mapping: Mapping) -> dict[Position, tuple[bool, ...]]:
    """For every Seq, which boundaries between child b and b + 1 a Move crosses.

    A Move that is issued before the Seq, or due after it, crosses them all; so does one cut at the Seq or around it,
    whose next tile may be on its way while the Seq runs. A Seq of one child has one entry, for this last case alone.
    """
    seqs = {at: len(node.children) for at, node in walk(mapping.root) if isinstance(node, Seq)}
    tied = {at: [False] * max(1, n - 1) for at, n in seqs.items()}
    cuts = {move.issue if move.store else move.due for move in mapping.moves if not move.is_copy}
    for at, row in tied.items():
        if any(at[:i] in cuts for i in range(len(at) + 1)):
            row[:] = [True] * len(row)
    for move in mapping.moves:
        inside, other = (move.issue, move.due) if move.store else (move.due, move.issue)
        for i in range(len(inside)):
            if seqs.get(inside[:i], 0) < 2:
                continue
            row = tied[inside[:i]]
            if not within(other, inside[:i]) or len(other) == i:
                row[:] = [True] * len(row)
                continue
            here, there = inside[i], other[i]
            assert isinstance(here, int) and isinstance(there, int)
            early, late = (here, there) if move.store else (there, here)
            if early > late:  # reaches into another iteration of the loop around
                row[:] = [True] * len(row)
            row[early:late] = [True] * (late - early)
    return {at: tuple(row) for at, row in tied.items()}


def segment_key(root: Node, tied: dict[Position, tuple[bool, ...]], at: Position) -> Position:
    """Names the stretch between two barriers in which the node at `at` runs.

    The children of a Seq are such stretches where no Move crosses the boundary between them: then everything before it
    has ended when anything after it begins, so that their bounds add up.
    """
    key: list[int | str] = []
    node = root
    for i, step in enumerate(at):
        if isinstance(node, Pipe | Par):
            break
        if isinstance(node, Seq) and isinstance(step, int):
            row = tied[at[:i]]
            if all(row):
                break
            first = last = step
            while first > 0 and row[first - 1]:
                first -= 1
            while last < len(row) and row[last]:
                last += 1
            key += [*at[:i], first]
            if last > first:
                break
        node = below(node, step)
    return tuple(key)


def chain_key(root: Node, at: Position) -> tuple[Position, Position]:
    """The chain of parts that run strictly one after the other in which the Op at `at` runs, and its part of it.

    A chain is the whole tree, or a child of a Pipe or Par; its parts are the children of the Seqs there, but for what
    stands in a further Pipe or Par.
    """
    chain: Position = ()
    part: list[int | str] = []
    node = root
    for i, step in enumerate(at):
        if isinstance(node, Pipe | Par):
            if part:
                break
            chain = at[: i + 1]
        elif isinstance(node, Seq):
            part += at[len(chain) + len(part) : i + 1]
        node = below(node, step)
    return chain, tuple(part)
