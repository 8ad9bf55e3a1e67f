"""What validation and replay look up: positions with their order, Ops with the ranks that loops cut, names of tensors.

Nothing here is shared with lowering, so that a fault in either shows where the two meet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod

from ..ir import Access, Affine, Einsum, Item, Repeat, View, Workload
from .halo import Cut, Spans, Uncuttable, halo_cuts
from .tree import Iterate, Loop, Node, Op, Par, Pipe, Position, Seq, Stay, children
from .tree import Mapping as MappingValue


def within(at: Position, outer: Position) -> bool:
    """Whether a position is `outer` or below it."""
    return at[: len(outer)] == outer


def fork(a: Position, b: Position) -> int:
    """Number of steps that two positions share."""
    n = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        n += 1
    return n


class Tree:
    """The nodes of a Mapping by position, and when they run.

    Time is counted in steps: the largest nodes with no Seq inside. Children of a Pipe or Par that have Seqs inside run
    at once, though their steps are numbered one after the other; `blocks` names these Pipes and Pars.

    Attributes:
        nodes: position to node, parents first.
        loops: position to the positions of the Loops and Iterates around it, outermost first.
        first, last: position to its first and last step.
        steps: positions of the steps in order.
        blocks: Pipes and Pars of more than one step, outer ones first.
    """

    def __init__(self, root: Node) -> None:
        self.nodes: dict[Position, Node] = {}
        self.loops: dict[Position, tuple[Position, ...]] = {}
        self.first: dict[Position, int] = {}
        self.last: dict[Position, int] = {}
        self.steps: list[Position] = []
        self.blocks: list[Position] = []
        self._holds: dict[int, bool] = {}
        self._visit(root, (), (), inside=False)
        self.end = len(self.steps) - 1

    def _holds_seq(self, node: Node) -> bool:
        if id(node) not in self._holds:
            below = [self._holds_seq(child) for _, child in children(node)]
            self._holds[id(node)] = (isinstance(node, Seq) and bool(below)) or any(below)
        return self._holds[id(node)]

    def _visit(self, node: Node, at: Position, loops: tuple[Position, ...], *, inside: bool) -> None:
        """Enter a node; `inside` a step, all positions are that step."""
        self.nodes[at] = node
        self.loops[at] = loops
        whole = not inside and not self._holds_seq(node)
        if whole:
            self.steps.append(at)
        self.first[at] = len(self.steps) - 1 if inside or whole else len(self.steps)
        if not (inside or whole) and isinstance(node, Pipe | Par):
            self.blocks.append(at)
        below = (*loops, at) if isinstance(node, Loop | Iterate) else loops
        for step, child in children(node):
            self._visit(child, (*at, step), below, inside=inside or whole)
        self.last[at] = len(self.steps) - 1

    def before(self, a: Position, b: Position) -> bool:
        """Whether all of `a` has ended when `b` begins, in the same iteration of the loops around both."""
        n = fork(a, b)
        if n == len(a) or n == len(b) or not isinstance(self.nodes[a[:n]], Seq):
            return False
        x, y = a[n], b[n]
        return isinstance(x, int) and isinstance(y, int) and x < y

    def covers(self, stay: Stay, at: Position) -> bool:
        """Whether a Stay lasts from the start to the end of a position."""
        return (
            within_loops(self.loops[stay.start], self.loops[at])
            and self.first[stay.start] <= self.first[at]
            and self.last[at] <= self.last[stay.end]
        )

    def from_start(self, stay: Stay) -> bool:
        """Whether a Stay begins with the run."""
        return not self.loops[stay.start] and self.first[stay.start] == 0

    def to_end(self, stay: Stay) -> bool:
        """Whether a Stay ends with the run."""
        return not self.loops[stay.end] and self.last[stay.end] == self.end

    def child_of_seq(self, at: Position, loops: tuple[Position, ...] | None = None) -> Position:
        """The innermost child of a Seq that contains a position, or the root; at most so deep in loops."""
        for n in range(len(at), 0, -1):
            if isinstance(self.nodes[at[: n - 1]], Seq) and (loops is None or len(self.loops[at[:n]]) <= len(loops)):
                return at[:n]
        return ()


def within_loops(outer: tuple[Position, ...], inner: tuple[Position, ...]) -> bool:
    """Whether all of the loops `outer` are among the loops `inner` around something else."""
    return inner[: len(outer)] == outer


@dataclass(frozen=True)
class Level:
    """A Loop or Iterate around an Op.

    Attributes:
        rank: the rank of the Op's Einsum that a Loop cuts; empty when it cuts none, or for an Iterate.
        spans: of a Loop with a halo that cuts it, the first and last point of the rank in each iteration.
        boxes: the same for all points that must be there then, of which a Loop that retains makes but a part.
    """

    at: Position
    node: Loop | Iterate
    rank: str
    spans: Spans = ()
    boxes: Spans = ()

    @property
    def widths(self) -> tuple[int, ...]:
        """Points of the rank in each iteration of a Loop with a halo."""
        return tuple(high - low + 1 for low, high in self.spans)

    @property
    def retains(self) -> bool:
        """Whether it cuts a rank, and what is made of that in one iteration is there in the next."""
        return bool(self.spans) and isinstance(self.node, Loop) and self.node.halo == "retained"


@dataclass(frozen=True)
class Place:
    """An Op in the tree.

    Attributes:
        at: its position.
        number: where its Einsum stands in the Workload.
        repeats: the Repeats around the Einsum in the Workload, outermost first.
        levels: the loops around it, outermost first.
    """

    at: Position
    op: Op
    einsum: Einsum
    number: int
    repeats: tuple[str, ...]
    levels: tuple[Level, ...]
    ranges: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Repeat to the (start, count) of the iterations that run here."""

    def extents(self, depth: int) -> dict[str, int]:
        """The largest extents of all ranks inside the first `depth` levels."""
        found = dict(self.einsum.sizes)
        for level in self.levels[:depth]:
            if level.spans:
                found[level.rank] = max(level.widths)
            elif level.rank and isinstance(level.node, Loop):
                found[level.rank] = min(found[level.rank], level.node.tile)
        return found

    def history(self, depth: int) -> tuple[int, tuple[tuple[Position, tuple[int, ...]], ...]]:
        """What decides how often the Loop at a depth runs: size of the rank it cuts, and what has cut it before."""
        rank = self.levels[depth].rank
        return self.einsum.sizes[rank], tuple((x.at, x.widths) for x in self.levels[:depth] if x.rank == rank)

    @property
    def label(self) -> str:
        return f"{self.einsum.name} at {'.'.join(map(str, self.at)) or '.'}"


class Names:
    """Einsums, Repeats and tensors of a Workload by name."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.einsums: dict[str, tuple[Einsum, int, tuple[str, ...]]] = {}
        """Name to the Einsum, its number in order, and the Repeats around it."""
        self.repeats: dict[str, tuple[Repeat, tuple[str, ...], tuple[int, int]]] = {}
        """Name to the Repeat, the Repeats around it, and the numbers of its first Einsum and of the one after it."""
        self.carried: list[tuple[str, str, str]] = []
        """(Repeat, stored tensor that it makes, stored tensor that this is in the next iteration)"""
        self.rows: dict[str, str] = {}
        """A tensor of rows of a table to the tensor that says which."""
        self._used: dict[str, tuple[str, ...]] = {}
        self._collect(workload.body, ())
        self.carried = [(r, self.stored(a), self.stored(b)) for r, a, b in self.carried]
        self._counts = workload.instances()

    def _collect(self, items: tuple[Item, ...], path: tuple[str, ...]) -> None:
        for item in items:
            if isinstance(item, Einsum):
                self.einsums[item.name] = (item, len(self.einsums), path)
                for access in (*item.inputs, item.output):
                    self._used.setdefault(self.stored(access.tensor), path)
            elif isinstance(item, View):
                if item.rows:
                    self.rows[item.output] = item.rows
                    for name in (item.output, item.input, item.rows):
                        self._used.setdefault(self.stored(name), path)
            else:
                first = len(self.einsums)
                self._collect(item.body, (*path, item.name))
                self.repeats[item.name] = (item, path, (first, len(self.einsums)))
                self.carried += [(item.name, a, b) for a, b in item.carried]

    def stored(self, name: str) -> str:
        """The tensor whose bytes `name` is a view of."""
        return self.workload.storage(name)

    def known_as(self, name: str) -> tuple[str, ...]:
        """The stored tensors in which a read of `name` may find it: itself, and the table that it is rows of."""
        found = [self.stored(name)]
        while found[-1] in self.workload.tables:
            found.append(self.stored(self.workload.tables[found[-1]]))
        return tuple(found)

    def chooser(self, name: str) -> str:
        """The tensor that says which rows of a table `name` is, or empty."""
        return self.rows.get(self.stored(name), "")

    def instance_repeats(self, tensor: str) -> tuple[tuple[str, int], ...]:
        """(name, count) of the Repeats of which a stored tensor has one instance per iteration, outermost first."""
        counts = self._counts.get(tensor, ())
        return tuple(zip(self._used.get(tensor, ()), counts, strict=False))

    def bytes_of(self, access: Access, elements: int) -> int:
        return self.workload.tensors[access.tensor].bytes_of(elements)


class Scope:
    """A Mapping, its Workload, and the Ops of the one with the Einsums of the other.

    Ops that name no Einsum are left out: `validate` reports them.
    """

    def __init__(self, mapping: MappingValue, workload: Workload) -> None:
        self.mapping = mapping
        self.workload = workload
        self.tree = Tree(mapping.root)
        self.names = Names(workload)
        bare = [(at, node) for at, node in self.tree.nodes.items() if isinstance(node, Op)]
        self._einsum_at = {at: self.names.einsums[op.einsum][0] for at, op in bare if op.einsum in self.names.einsums}
        self._makers: dict[str, list[Position]] = {}
        for at, einsum in self._einsum_at.items():
            self._makers.setdefault(einsum.output.tensor, []).append(at)
        self._resolved: dict[tuple[Position, Position], str] = {}
        self._halos: dict[Position, dict[Position, Cut]] = {}
        self.uncuttable: dict[Position, str] = {}
        """Position of a Loop with a halo to why it cannot cut the Ops below."""
        self.places = [self._place(at, op) for at, op in bare if at in self._einsum_at]
        self.readers: dict[str, list[Place]] = {}
        """Stored tensor, or table of rows, to the Ops that read it, in order."""
        self.writers: dict[str, list[Place]] = {}
        self.below: dict[Position, list[Place]] = {}
        """Position of a Loop or Iterate to the Ops in it."""
        self.stays: dict[str, list[Stay]] = {}
        """Tensor to its Stays."""
        for stay in mapping.stays:
            self.stays.setdefault(stay.tensor, []).append(stay)
        for place in self.places:
            for name in dict.fromkeys(n for a in place.einsum.inputs for n in self.names.known_as(a.tensor)):
                self.readers.setdefault(name, []).append(place)
            self.writers.setdefault(self.names.stored(place.einsum.output.tensor), []).append(place)
            for level in place.levels:
                self.below.setdefault(level.at, []).append(place)

    def _place(self, at: Position, op: Op) -> Place:
        einsum, number, repeats = self.names.einsums[op.einsum]
        levels: list[Level] = []
        ranges: dict[str, tuple[int, int]] = {}
        for outer in self.tree.loops[at]:
            node = self.tree.nodes[outer]
            if isinstance(node, Iterate):
                ranges[node.repeat] = (node.start, node.count)
                levels.append(Level(outer, node, ""))
            elif isinstance(node, Loop) and node.halo:
                cut = self._halo(outer, node).get(at, Cut())
                levels.append(Level(outer, node, cut.rank, cut.spans, cut.boxes))
            elif isinstance(node, Loop):
                levels.append(Level(outer, node, self._cut(at, outer, node.rank)))
        return Place(at, op, einsum, number, repeats, tuple(levels), ranges)

    def _halo(self, loop: Position, node: Loop) -> dict[Position, Cut]:
        """What a Loop with a halo cuts of the Ops below it."""
        if loop not in self._halos:
            below = {at: einsum for at, einsum in self._einsum_at.items() if within(at, loop)}
            try:
                cuts = halo_cuts(list(below.values()), node.rank, node.tile, node.halo)
            except Uncuttable as error:
                self.uncuttable[loop] = str(error)
                cuts = [Cut()] * len(below)
            self._halos[loop] = dict(zip(below, cuts, strict=True))
        return self._halos[loop]

    def _cut(self, at: Position, loop: Position, rank: str) -> str:
        """The rank of the Einsum at `at` that a Loop around it cuts.

        Where a Pipe between the two hands it a tensor that the Loop cuts along a dimension, the rank by which it reads
        that dimension; else its own rank of that name.
        """
        key = at, loop
        if key not in self._resolved:
            self._resolved[key] = self._handed_rank(at, loop, rank) or (
                rank if rank in self._einsum_at[at].sizes else ""
            )
        return self._resolved[key]

    def _handed_rank(self, at: Position, loop: Position, rank: str) -> str:
        for n in range(len(loop) + 1, len(at)):
            if not isinstance(self.tree.nodes[at[:n]], Pipe):
                continue
            for access in self._einsum_at[at].inputs:
                for maker in self._makers.get(access.tensor, ()):
                    if not (within(maker, at[:n]) and _stage(maker, n) < _stage(at, n)):
                        continue
                    theirs = self._cut(maker, loop, rank)
                    indices = self._einsum_at[maker].output.indices
                    for made, read in zip(indices, access.indices, strict=True):
                        alone = _alone(self._einsum_at[maker], made) == theirs
                        if theirs and alone and _alone(self._einsum_at[at], read):
                            return _alone(self._einsum_at[at], read)
        return ""

    def served(self, tensor: str, cut: Position, *, store: bool) -> list[Place]:
        """The Ops at or below a position that read (for a store: write) a stored tensor."""
        table = self.writers if store else self.readers
        return [p for p in table.get(tensor, ()) if within(p.at, cut)]

    def accesses(self, place: Place, tensor: str, *, store: bool) -> list[Access]:
        """The accesses by which an Op reads (for a store: writes) a stored tensor."""
        if store:
            return [place.einsum.output]
        return [a for a in place.einsum.inputs if tensor in self.names.known_as(a.tensor)]

    def handed(self, maker: Place, reader: Place) -> Position | None:
        """The Pipe through which one Op hands its result to another in a later stage, or None."""
        n = fork(maker.at, reader.at)
        if n == min(len(maker.at), len(reader.at)) or not isinstance(self.tree.nodes[maker.at[:n]], Pipe):
            return None
        return maker.at[:n] if _stage(maker.at, n) < _stage(reader.at, n) else None

    def whole_bytes(self, stay: Stay) -> int:
        """Bytes of a Stay's whole tensor, times the instances that it holds."""
        return self.workload.tensors[stay.tensor].nbytes * self.instances(stay)

    def instances(self, stay: Stay) -> int:
        """Instances of its tensor that a Stay holds."""
        loops = [self.tree.nodes[at] for at in self.tree.loops[stay.start]]
        around = {loop.repeat for loop in loops if isinstance(loop, Iterate)}
        counts = [count for name, count in self.names.instance_repeats(stay.tensor) if name not in around]
        if stay.iterations is not None and counts:
            counts[0] = stay.iterations[1]
        return prod(counts)

    def holds(self, stay: Stay, place: Place) -> bool:
        """Whether a Stay holds the instances that an Op uses."""
        if stay.iterations is None:
            return True
        around = len(self.tree.loops[stay.start])
        inner = [x.node.repeat for x in place.levels[around:] if isinstance(x.node, Iterate)]
        held = [name for name, _ in self.names.instance_repeats(stay.tensor) if name in inner]
        if not held:
            return True
        start, count = place.ranges[held[0]]
        first, number = stay.iterations
        return first <= start and start + count <= first + number


def _alone(einsum: Einsum, index: Affine) -> str:
    """The one rank of an index, those of one point left out where there are others; empty for several."""
    ranks = index.ranks if len(index.ranks) == 1 else [r for r in index.ranks if einsum.sizes[r] > 1]
    return ranks[0] if len(ranks) == 1 else ""


def _stage(at: Position, n: int) -> int:
    """The number of the child of a Pipe at step n of a position."""
    step = at[n]
    return step if isinstance(step, int) else -1


def overlap(a: Place, b: Place, repeats: Iterable[str]) -> bool:
    """Whether two Ops run any common iterations of these Repeats."""
    for name in repeats:
        if name in a.ranges and name in b.ranges:
            (s, n), (t, m) = a.ranges[name], b.ranges[name]
            if s + n <= t or t + m <= s:
                return False
    return True

