"""Mapping: every decision of a mapper as a plain value.

A tree says what runs, in which order, in which tiles, on which unit; two tables say where tensors stay and how they
move. Positions are paths in the tree, never times: the steps from the root, an integer for a child of a Seq, Pipe or
Par, ``body`` for the body of a Loop or Iterate; the root itself is ``.``. So ``3.body`` is the body of the loop that is
child 3 of the root.

How a tree runs:

- **Op** runs one Einsum tile on a unit: the extents of its ranks are what the loops around it left.
- **Loop** cuts the extent of a rank, as it stands there, into tiles (the last one may be ragged) and runs its body once
  per tile. Where the body is one Op or Pipe its iterations overlap, as far as buffers allow.
  With a `halo` it cuts its rank of the last Op below it alone, and every Op before that makes, in each iteration, the
  box of its result that the Ops after it read then: neighbouring iterations make again what their boxes share, or,
  where the Loop retains, find it there.
- **Iterate** runs its body once for each of `count` iterations, from `start` on, of a Repeat of the Workload, one after
  the other.
- **Seq** runs its children one after the other: a child begins when everything in the one before it, stores included,
  has ended, except Moves issued earlier or due later. A loop whose body is a Seq runs its iterations so, too.
- **Pipe** runs its children as stages that overlap: each time the Pipe is entered, a stage hands its result to the next
  through a buffer of `depths[i]` such results.
  What a stage among `pieces` takes over, it takes piece by piece, as far as Loops in both stages cut it alike: a piece
  is there when the last pass over it in the earlier stage has ended, and its place is free after its last use. It takes
  over whole what it reads by several accesses, under another shape, from another memory, or in the place of a tensor.
- **Par** runs its children at once.

Tables:

- **Stay**: the tensor (one iteration's instance, inside an Iterate; the tile that is made in one iteration, inside
  Loops) is in that memory, at that address, from the start of one position to the end of another. A Stay that begins at
  the root's start holds data that is there before the run.
- **Move**: the tensor's tile, as cut by the loops around `due` (a load) or `issue` (a store), goes from `src` to `dst`
  each time that position is entered (left). A load may be issued from the start of `issue` on, and is limited by its
  `buffers` at the destination, each of which holds one tile until the position is left. A store leaves through
  `buffers` of its own and must have ended when `due` ends; where loops over reduced ranks stand outside `issue`, it
  takes partial results away, which come back before the next visit through as many buffers again. `issue` and `due`
  are equal, or one is around the other, or a load is issued (a store due) in an earlier (later) child of a Seq.

Details that follow from these:

- A loop around a Pipe cuts its later stages through the tensors that the stages hand on, under the names of the first
  stage; elsewhere a loop cuts the Einsums below it that have a rank of its name, and repeats the others.
- The boxes of a Loop with a `halo` are ``clipped`` to their tensors, or ``whole``, with what lies beyond the borders,
  computed as if it were there. Such a Loop alone cuts the ranks that it cuts, from outside to its body; what the Ops
  before the last one make is read in it alone, through plain accesses (no reshaped views).
- ``retained`` boxes are clipped, and of each an Op makes the points that no iteration before has made. Such results
  pass through Pipes alone. Each takes what its `depths` tiles hold, and the points that the box of one iteration shares
  with the next (line buffers): those of all tiles of the loops inside, where there are loops inside.
- A Stay may lie `over` another tensor's, in the same memory and where that one ends: the Op there makes its result in
  the place of what it reads, element by element or, where the two share other ranks (a depthwise convolution its
  channels), slice by slice. Only what it has more takes room while both last, and `aside` bytes in which results wait
  until their place is free.
- Stays all through one Pipe, one over the other, are a room for what its stages make one after another, element by
  element: `depths` do not count for these, and what comes first into the room follows what was last in it tile by tile,
  as far as Loops inside the Pipe cut both alike. Tiles that Pipes further in hand on lie in the room.
- An Op may make its result `over` an operand that an earlier stage of a Pipe hands to it, element by element. It takes
  no room of its own: the place is one of the `depths` tiles of the operand, and free when all that take the result
  over, inside that Pipe, have used it. The Op waits until all others have read the operand.
- A Stay with a `share` below 1 keeps that part of the tile that is made inside it, and the rest spills: Moves inside
  it, to and from its memory, carry the rest of each tile alone, through buffers of their own. An Op that makes the
  tensor there has a store at or above it, and one that reads it a load, but for those to which a Pipe hands whole tiles
  inside further loops; a Pipe in the loops of the Stay hands on the part that is kept.
- Where all of a tensor stays in a memory throughout a position, a Move to or from there at that position needs no
  buffers: it fills or empties the Stay. A Stay begins and ends in the same loop bodies.
- What an Op has in `registers` takes room there, and none in the unit's memory: tiles between stages of a Pipe, a Stay
  of what one Op makes for another, buffers of Moves, which then leave out that memory. All Ops so joined have it there.
- What a Pipe hands on lies in the memory of the stage that uses it. Where the stage that makes it writes to another
  memory, and no Move brings it, it goes there by itself, tile by tile, over links or by way of common parents
  (`handing.way_between`), once for all stages that read it there; `depths` tiles have room in every memory on the way.
- A Seq inside a stage of a Pipe, or a child of a Par, runs once at a time; the iterations of a loop around a Par
  overlap. A later stage of a Pipe that feeds an earlier one in the next iteration does not make it wait.
- A `sliding` load moves of each tile but the first, in the Loop directly around its cut, only what the tile before did
  not hold: the rows of a window that two tiles share stay. It serves one access of one Op, and that Loop cuts a rank of
  one index of it. In a Loop with a halo it serves all accesses at once, if they are cut along the same dimension: what
  moves is what lies beyond all that was touched before, clipped to the tensor.
- A Move with `pieces`, a position below its cut with Loops and Pipes alone in between, moves its tile in pieces, as
  those of the Loops that change the tensor cut it: what is at `pieces` waits, in the first pass over them, for its
  piece alone (a load), or lets it leave in the last pass (a store). It serves one access of one Op, and moves whole
  results. Pieces of a load with one buffer come ahead of their use by two iterations of the Loops down to the first one
  between that does not change the tensor, and by what the latency on the way takes.
- The buffers of a load in pieces are a `ring` if pieces come into the places of those before, each free after its last
  use, and not the places of whole tiles. They are then places of pieces, and as many as a tile has at least. All its
  pieces are equal, and none of them overlap.
- Results that wait for a store may lie in the free places of rings of their memory in the same outermost Pipe: such a
  store is a `ring` too. It has room for one tile beside, and its `buffers` are the most that wait at once. It is issued
  at the Op that makes them, which leaves no partial results. What next comes into a ring then waits until they left.
- A load into a ring may come `after` such results, named by their tensor: its tile of one iteration of the loops around
  `due` waits until those of the iteration two before have all been made. Else what is needed later takes their places.
- A Move from a memory to itself is a copy: it takes a tensor, whole, from the address of the Stay that ends when `due`
  begins to that of the Stay that begins there; the two may overlap. `due`, which is `issue`, is a later child of a Seq,
  in no Loop. Copies into one position are made one after the other, in the order of the table, when everything before
  it has ended and before anything in it begins: none may write where another tensor lies that stays.
- Gathered rows are moved under the name of their table.
- A tile of a tensor is the box that an access touches; accesses that loops shift alike share one box where it is
  smaller, others add up, at most to the whole tensor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, TypeAlias

from ..arch.layout import Layout
from ..errors import MappingError
from .phases import Phases

Position: TypeAlias = tuple[int | str, ...]
Halo: TypeAlias = Literal["", "clipped", "whole", "retained"]
HALOS: tuple[Halo, ...] = ("clipped", "whole", "retained")
BODY = "body"
WHOLE = Fraction(1)


@dataclass(frozen=True)
class Op:
    """Run one tile of the Einsum `einsum` on `unit`, in the way `variant` of the unit's spatial options.

    `layout` says how the unit's elements share the tile, where they have loops and registers of their own. Tiles of
    the operands in `registers`, and of the result if it is named there, are found and left in registers of the unit.
    `over` names the operand in whose place it makes its result.
    """

    einsum: str
    unit: str
    variant: str
    layout: Layout | None = None
    registers: tuple[str, ...] = ()
    over: str = ""


@dataclass(frozen=True)
class Loop:
    """Run `body` once per tile of `rank`; `halo` cuts the last Op below, and the others by what it needs of them."""

    rank: str
    tile: int
    body: Node
    halo: Halo = ""


@dataclass(frozen=True)
class Iterate:
    """Run `body` for iterations `start` to `start + count` of the Workload's Repeat `repeat`."""

    repeat: str
    count: int
    body: Node
    start: int = 0


@dataclass(frozen=True)
class Seq:
    """Children one after the other."""

    children: tuple[Node, ...]


@dataclass(frozen=True)
class Pipe:
    """Children as overlapping stages; `depths[i]` buffers stand between stage i and i+1.

    The stages of `pieces` take over piece by piece what earlier ones hand to them.
    """

    children: tuple[Node, ...]
    depths: tuple[int, ...]
    pieces: tuple[int, ...] = ()


@dataclass(frozen=True)
class Par:
    """Children at once."""

    children: tuple[Node, ...]


Node: TypeAlias = Op | Loop | Iterate | Seq | Pipe | Par


@dataclass(frozen=True)
class Stay:
    """`tensor` is in `memory` from the start of `start` to the end of `end`.

    Of a tensor that has one instance per iteration of a Repeat, a Stay inside the Iterate holds the current one, a Stay
    outside holds all of them, or those of `iterations` (first, number). `over` names the tensor in whose place it lies,
    with `aside` bytes beside it. `share` is the part of each tile that it keeps; the rest is moved.
    """

    tensor: str
    memory: str
    start: Position
    end: Position
    address: int | None = None
    iterations: tuple[int, int] | None = None
    over: str = ""
    aside: int = 0
    share: Fraction = WHOLE


@dataclass(frozen=True)
class Move:
    """`tensor` goes from `src` to `dst`: a load is cut at `due`, a store at `issue`. A copy stays in one memory."""

    tensor: str
    src: str
    dst: str
    issue: Position
    due: Position
    buffers: int = 2
    store: bool = False
    sliding: bool = False
    pieces: Position | None = None
    ring: bool = False
    after: str = ""

    @property
    def is_copy(self) -> bool:
        """Whether it moves its tensor within a memory."""
        return self.src == self.dst


@dataclass(frozen=True)
class Claim:
    """What the mapper says of its Mapping, to be re-checked by running it.

    `value` and `bound` are in cycles of the machine's clock for latency, in joules for energy, in joule seconds for
    edp; `gap` is (value - bound) / value. `complete` is False when the mapper stopped early.
    """

    objective: str
    value: float
    bound: float
    gap: float
    seed: int = 0
    seconds: float = 0.0
    complete: bool = True
    mapper: str = ""


@dataclass(frozen=True)
class Mapping:
    """Tree, tables and claim. `workload` and `architecture` name what it was made for.

    A Mapping onto a pool of cores has `phases` in place of the tree and the tables.
    """

    workload: str
    architecture: str
    root: Node
    stays: tuple[Stay, ...] = ()
    moves: tuple[Move, ...] = ()
    claim: Claim | None = field(default=None, compare=False)
    phases: Phases | None = None

    def _repr_html_(self) -> str:
        """The loop nest, in notebooks."""
        from html import escape

        from .nest import tree_text

        title = escape(f"{self.workload} on {self.architecture}")
        return f"<p><b>{title}</b></p><pre>{escape(tree_text(self))}</pre>"


def children(node: Node) -> Iterator[tuple[int | str, Node]]:
    """The steps below a node and the nodes they lead to."""
    if isinstance(node, Loop | Iterate):
        yield BODY, node.body
    elif isinstance(node, Seq | Pipe | Par):
        yield from enumerate(node.children)


def child(node: Node, step: int | str) -> Node | None:
    """The node that a step leads to, None where there is none."""
    if isinstance(node, Loop | Iterate):
        return node.body if step == BODY else None
    if isinstance(node, Seq | Pipe | Par) and isinstance(step, int) and 0 <= step < len(node.children):
        return node.children[step]
    return None


def walk(node: Node, at: Position = ()) -> Iterator[tuple[Position, Node]]:
    """Every node with its position, parents first, in order."""
    yield at, node
    for step, child in children(node):
        yield from walk(child, (*at, step))


def find(root: Node, at: Position) -> Node:
    """The node at a position.

    Raises:
        MappingError: there is none.
    """
    node = root
    for i, step in enumerate(at):
        below = child(node, step)
        if below is None:
            valid = ", ".join(str(s) for s, _ in children(node)) or "nothing"
            raise MappingError(f"position {format_position(at)}: below {format_position(at[:i])} there is {valid}")
        node = below
    return node


def levels(root: Node, at: Position) -> tuple[Loop | Iterate, ...]:
    """The loops that enclose a position, outermost first."""
    found: list[Loop | Iterate] = []
    node: Node | None = root
    for step in at:
        if isinstance(node, Loop | Iterate):
            found.append(node)
        node = child(node, step) if node is not None else None
    return tuple(found)


def format_position(at: Position) -> str:
    return ".".join(str(s) for s in at) or "."


def parse_position(text: str) -> Position:
    """The inverse of `format_position`; whether it exists is for `find` to say."""
    text = text.strip()
    if text in ("", "."):
        return ()
    return tuple(int(s) if s.isdecimal() and len(s) < 19 else s for s in text.split("."))
