"""From a cascade of Einsums to stages of a pipeline, and the streams between them.

*What streams.* A rank streams, one token after the other, if every result carries it (a batch rank), if it is
iterative, or if a tensor between two Einsums carries it and the second reduces over it. All other ranks lie inside a
firing: a dot product over the channels of queries and keys is one firing, and a token may be a vector. Batch ranks are
outermost.

*Stages.* Every application of an operator is a stage of its own, but for a product that is summed at once (a dot
product) and for recurrences: an iterative Einsum is one stage, a running scan, and so are the maps at its points that
read its state, for the state does not leave the stage. A copy is no stage. Tensors that no Einsum produces lie in the
stage that reads them.

*Rates.* A stage runs through a nest of streaming ranks: those of the streams that it reads, in one order for all
stages. It takes a token at every value of the ranks that the token carries and at the first value of the others, over
which it holds it; it puts one at the last value of the ranks it has reduced. Where it makes tokens along a rank that
its nest has not, they come as a burst at the end; where it reads a tensor in another order than it comes in, or at more
than one place at once, it takes all of that part of it first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from ...errors import BadInput
from ...ir import Einsum, Workload
from ...ir.einsum import Access, Affine, Read
from ...ir.families import cascade_einsums
from ...lowering.streams import Rate
from ...text.names import nearest
from .parts import operations, parts_of

MOST_RUNS = 100_000
"""Runs of a rate beyond which a pipeline is refused."""


@dataclass(frozen=True)
class Stage:
    """What one node of the pipeline does.

    Attributes:
        name: of the Einsum, or of an operator inside it (``SN.sub``).
        einsum: the Einsum that it works for.
        kind: source, map, reduce or scan.
        nest: streaming ranks with sizes, outermost first; it fires once at each of their points.
        inner: points of the ranks inside one firing.
        operations: of one firing, by cost class.
        resident: tensors that lie in the stage: inputs of the cascade.
        held_bytes: of streamed tokens that it holds to read them again, and of partial results.
        steps_apart: firings from one step of its recurrence to the next; 0 where it has none.
    """

    name: str
    einsum: str
    kind: str
    nest: tuple[tuple[str, int], ...]
    inner: int
    operations: Mapping[str, int] = field(compare=False, hash=False)
    resident: tuple[str, ...] = ()
    held_bytes: int = 0
    steps_apart: int = 0

    @property
    def firings(self) -> int:
        return prod(size for _, size in self.nest)


@dataclass(frozen=True)
class Link:
    """Tokens of a tensor from one stage to another; `dst` is empty where they leave the pipeline."""

    src: str
    dst: str
    tensor: str
    put: Rate
    take: Rate
    bits: int


@dataclass(frozen=True)
class Stages:
    """Stages in an order in which they can run, and their links."""

    workload: Workload
    order: tuple[str, ...]
    stages: tuple[Stage, ...]
    links: tuple[Link, ...]

    def stage(self, name: str) -> Stage:
        return next(s for s in self.stages if s.name == name)


@dataclass(frozen=True)
class _Made:
    """A tensor that a stage produces.

    Attributes:
        stage: that puts its tokens.
        nest: of that stage.
        access: how it writes them; an iterative dimension with offset 1.
        iterative: the rank of that dimension, or empty.
    """

    stage: str
    nest: tuple[tuple[str, int], ...]
    access: Access
    iterative: str
    sizes: Mapping[str, int]


def build_stages(
    workload: Workload, *, order: Sequence[str] = (), inside: Sequence[str] = (), split: bool = True
) -> Stages:
    """The stages of a cascade.

    Args:
        workload: a cascade.
        order: ranks to stream, outermost first, also such as would not by themselves; those that do and that it
            leaves out follow in their own order.
        inside: ranks that shall lie inside a firing though they would stream: tokens become vectors along them, and
            as many points are worked on at once as a stage has lanes.
        split: whether operators of a map are stages of their own; False: an Einsum is one stage.

    Raises:
        BadInput: no cascade, an unknown rank in `order` or `inside`, a recurrence along one inside, or tokens in too
            irregular an order.
    """
    einsums = cascade_einsums(workload)
    streaming = streaming_ranks(einsums)
    known = {r for e in einsums for r in e.sizes}
    for rank in (*order, *inside):
        if rank not in known:
            raise BadInput(f"{workload.name}: no rank '{rank}' to stream ({nearest(rank, known)})")
    for e in einsums:
        if e.iterative and e.iterative in inside:
            raise BadInput(f"{workload.name}: {e.name} steps along '{e.iterative}', which cannot lie inside a firing")
    ranks = (*order, *(r for r in streaming if r not in (*order, *inside)))
    return _Builder(workload, einsums, ranks, split).build()


def is_start(einsum: Einsum, einsums: Sequence[Einsum]) -> bool:
    """Whether an Einsum only gives the first value of a recurrence."""
    return not einsum.iterative and any(e.iterative and e.output.tensor == einsum.output.tensor for e in einsums)


def streaming_ranks(einsums: Sequence[Einsum]) -> tuple[str, ...]:
    """The ranks that stream, batch ranks first; see the module."""
    steps = [e for e in einsums if not is_start(e, einsums)]
    found: dict[str, None] = {}
    for rank in _in_order(steps[0]):
        if all(rank in e.output.ranks for e in steps):
            found[rank] = None
    later: dict[str, None] = {}
    made = {e.output.tensor: e for e in steps}
    for e in steps:
        if e.iterative:
            later[e.iterative] = None
        for access in e.inputs:
            producer = made.get(access.tensor)
            if producer is None or producer is e:
                continue
            for index, out in zip(access.indices, producer.output.indices, strict=True):
                if any(r in e.reduced_ranks for r in index.ranks):
                    later |= dict.fromkeys((*out.ranks, *(r for r in index.ranks if r in e.reduced_ranks)))
    appeared = dict.fromkeys(r for e in steps for r in _in_order(e))
    found |= {r: None for r in appeared if r in later}
    return tuple(found)


def _in_order(einsum: Einsum) -> list[str]:
    return [r for index in einsum.output.indices for r in index.ranks] + list(einsum.reduced_ranks)


class _Builder:
    def __init__(self, workload: Workload, einsums: Sequence[Einsum], ranks: Sequence[str], split: bool) -> None:
        self.workload, self.einsums, self.ranks, self.split = workload, einsums, tuple(ranks), split
        self.made: dict[str, _Made] = {}
        self.stages: list[Stage] = []
        self.links: list[Link] = []

    def build(self) -> Stages:
        starts = {e.output.tensor: e for e in self.einsums if is_start(e, self.einsums)}
        inside = self._maps_in_scans()
        for e in self.einsums:
            if is_start(e, self.einsums):
                continue
            if e.name in inside:
                self._join_scan(e, inside[e.name])
            elif self._is_copy(e):
                host = self.made[e.inputs[0].tensor]
                self.made[e.output.tensor] = _Made(host.stage, host.nest, e.output, "", e.sizes)
            else:
                self._add(e, starts.get(e.output.tensor))
        for name, tensor in self.workload.tensors.items():
            if name in self.made and tensor.role == "output":
                self._sink(name)
        return Stages(self.workload, self.ranks, tuple(self.stages), _merged(self.links))

    def _is_copy(self, e: Einsum) -> bool:
        """Whether an Einsum only renames what a stage produces, all of it or the end of a recurrence."""
        made = self.made.get(e.inputs[0].tensor) if e.expr == Read(0) and not e.reduced_ranks else None
        if made is None or len(e.inputs) != 1 or e.iterative:
            return False
        return all(
            index.ranks == out.ranks or (out.ranks == (made.iterative,) and not index.ranks)
            for index, out in zip(e.inputs[0].indices, made.access.indices, strict=True)
        )

    def _maps_in_scans(self) -> dict[str, str]:
        """Maps at the points of a scan that read its state, by name: the scan's tensor."""
        scans = {e.output.tensor: e for e in self.einsums if e.iterative}
        found: dict[str, str] = {}
        for e in self.einsums:
            if e.iterative or e.reduced_ranks or is_start(e, self.einsums):
                continue
            for access in e.inputs:
                scan = scans.get(access.tensor)
                follows = scan is not None and any(scan.iterative in index.ranks for index in access.indices)
                if scan is not None and follows and set(e.sizes) == set(scan.sizes):
                    known = {a.tensor for a in (*scan.inputs, scan.output)}
                    produced = {x.output.tensor for x in self.einsums}
                    others = {a.tensor for a in e.inputs} & produced
                    if others <= known | {m for m in found if found[m] == access.tensor}:
                        found[e.name] = access.tensor
                        break
        return found

    def _join_scan(self, e: Einsum, scan: str) -> None:
        """Make a map part of the stage of a scan, whose nest it shares."""
        host = self.made[scan]
        i = next(i for i, s in enumerate(self.stages) if s.name == host.stage)
        stage = self.stages[i]
        costs = dict(stage.operations)
        for part in parts_of(e, split=False):
            for cost, n in operations(e, part, {r for r, _ in stage.nest}).items():
                costs[cost] = costs.get(cost, 0) + n
        resident = dict.fromkeys((*stage.resident, *(a.tensor for a in e.inputs if a.tensor not in self.made)))
        self.stages[i] = Stage(stage.name, stage.einsum, stage.kind, stage.nest, stage.inner, costs, tuple(resident),
                               stage.held_bytes, stage.steps_apart)
        self.made[e.output.tensor] = _Made(host.stage, host.nest, e.output, "", e.sizes)

    def _add(self, e: Einsum, start: Einsum | None) -> None:
        nest = self._nest(e)
        nests: dict[str, tuple[tuple[str, int], ...]] = {}
        inners: dict[str, int] = {}
        for part in parts_of(e, self.split):
            own = e.name if part.is_last else f"{e.name}.{part.name}"
            mine = nests[part.name] = tuple((r, n) for r, n in nest if r in part.ranks)
            streamed = {r for r, _ in mine}
            inner = inners[part.name] = prod(n for r, n in e.sizes.items() if r in part.ranks and r not in streamed)
            more = [a for a in start.inputs if a.tensor in self.made] if start and part.is_last else []
            sources = [a for a in (*part.reads, *more) if a.tensor in self.made]
            held = sum(self._held(a, mine) for a in sources)
            if part.is_last and e.reduced_ranks:
                held += self._partials(e, nest)
            resident = tuple(dict.fromkeys(a.tensor for a in part.reads
                                           if a.tensor not in self.made and a.tensor != e.output.tensor))
            kind = self._kind(e, part.is_last, bool(sources or part.inside))
            steps = _inside_of(e.iterative, mine) if e.iterative else 0
            costs = operations(e, part, streamed)
            self.stages.append(Stage(own, e.name, kind, mine, inner, costs, resident, held, steps))
            for a in part.reads:
                if a.tensor in self.made and not (e.iterative and a.tensor == e.output.tensor):
                    self._link(a, own, mine)
            for a in more:
                self._link(a, own, mine, held_over=e.iterative)
            for name in part.inside:
                inside = {r for r, _ in nests[name]}
                take = pattern(mine, {r: "any" if r in inside else "first" for r, _ in mine})
                bits = inners[name] * self._bits(e.output.tensor)
                self.links.append(Link(f"{e.name}.{name}", own, f"{e.name}.{name}", Rate(), take, bits))
        self.made[e.output.tensor] = _Made(e.name, nest, e.output, e.iterative, e.sizes)

    @staticmethod
    def _kind(e: Einsum, is_last: bool, fed: bool) -> str:
        if not fed:
            return "source"
        if e.iterative:
            return "scan"
        return "reduce" if is_last and e.reduced_ranks else "map"

    def _nest(self, e: Einsum) -> tuple[tuple[str, int], ...]:
        """The streaming ranks through which an Einsum runs, outermost first."""
        given = {r for a in e.inputs if a.tensor in self.made and a.tensor != e.output.tensor
                 for index in a.indices for r in index.ranks}
        wanted = (given & set(self.ranks)) | ({e.iterative} - {""})
        out = e.output.ranks & set(self.ranks)
        if not wanted - out or not any(r in wanted for r in e.reduced_ranks):
            wanted |= out
        return tuple((r, e.sizes[r]) for r in self.ranks if r in wanted)

    def _bits(self, tensor: str) -> int:
        return self.workload.tensors[tensor].bits

    def _sink(self, tensor: str) -> None:
        made = self.made[tensor]
        bits = self._width(tensor, made) * self._bits(tensor)
        self.links.append(Link(made.stage, "", tensor, self._put(made, made.access), Rate(), bits))

    def _put(self, made: _Made, access: Access) -> Rate:
        """Tokens that the producer puts per firing for a reader that accesses its result so."""
        carried = made.access.ranks
        only_end = made.iterative and not any(
            out.ranks == (made.iterative,) and index.ranks
            for out, index in zip(made.access.indices, access.indices, strict=True)
        )
        moves = {r: "any" if r in carried and not (only_end and r == made.iterative) else "last" for r, _ in made.nest}
        streamed = {r for r, _ in made.nest}
        burst = 1
        for index in made.access.indices:
            burst *= prod(made.sizes[r] for r, _ in self._axes(index) if r not in streamed)
        return pattern(made.nest, moves, burst)

    def _axes(self, index: Affine) -> list[tuple[str, int]]:
        """Streaming ranks of an index with their coefficients, the slowest first."""
        return sorted(((r, c) for r, c in index.terms if r in self.ranks), key=lambda axis: -abs(axis[1]))

    def _width(self, tensor: str, made: _Made) -> int:
        """Elements of a token: those along dimensions, or parts of them, that do not stream."""
        shape, width = self.workload.tensors[tensor].shape, 1
        for n, index in zip(shape, made.access.indices, strict=True):
            if index.ranks != (made.iterative,) and index.ranks:
                width *= n // prod(made.sizes[r] for r, _ in self._axes(index))
        return width

    def _link(self, a: Access, reader: str, nest: tuple[tuple[str, int], ...], held_over: str = "") -> None:
        made = self.made[a.tensor]
        put = self._put(made, a)
        moves, tokens = self._take(a, made, nest)
        if held_over:
            moves[held_over] = "first"
        bits = self._width(a.tensor, made) * self._bits(a.tensor)
        self.links.append(Link(made.stage, reader, a.tensor, put, pattern(nest, moves, tokens), bits))

    def _arriving(self, made: _Made) -> list[tuple[int, int, str, int]]:
        """The ranks along which tokens come, the slowest first, as (dimension, place in it, rank, coefficient): by the
        nest of the producer, then inside a burst."""
        streamed = [r for r, _ in made.nest]
        axes = [(d, k, r, c) for d, index in enumerate(made.access.indices)
                for k, (r, c) in enumerate(self._axes(index))]
        by_nest = sorted((axis for axis in axes if axis[2] in streamed), key=lambda axis: streamed.index(axis[2]))
        return by_nest + [axis for axis in axes if axis[2] not in streamed]

    def _take(self, a: Access, made: _Made, nest: tuple[tuple[str, int], ...]) -> tuple[dict[str, str], int]:
        """How a reader runs along each rank of its nest, and the tokens that it takes at once."""
        position = {r: i for i, (r, _) in enumerate(nest)}
        moves = dict.fromkeys(position, "first")
        behind, tokens, whole = -1, 1, True
        for dim, place, produced, coefficient in self._arriving(made):
            index, step = a.indices[dim], produced == made.iterative != ""
            if step and not index.ranks:
                continue  # the end of a recurrence: one token, already chosen by what is put
            size = made.sizes[produced]
            axes = self._axes(index)
            plain = place < len(axes) and axes[place][1] == coefficient and (step or index.offset == 0)
            rank = axes[place][0] if plain else ""
            if whole and rank in position and position[rank] > behind and nest[position[rank]][1] == size:
                moves[rank] = "any"
                behind = position[rank]
            else:
                whole = False
                tokens *= size
        return moves, tokens

    def _held(self, a: Access, nest: tuple[tuple[str, int], ...]) -> int:
        """Bytes of the tokens that a reader keeps to read them again."""
        made = self.made[a.tensor]
        moves, tokens = self._take(a, made, nest)
        outer = next((i for i, (r, _) in enumerate(nest) if moves[r] == "first"), len(nest))
        kept = tokens * prod(size for r, size in nest[outer:] if moves[r] == "any")
        if kept == 1 and outer == len(nest):
            return 0
        return -(-kept * self._width(a.tensor, made) * self._bits(a.tensor) // 8)

    def _partials(self, e: Einsum, nest: tuple[tuple[str, int], ...]) -> int:
        """Bytes of the results that a reduction has under way at once."""
        outer = next((i for i, (r, _) in enumerate(nest) if r in e.reduced_ranks), len(nest))
        streamed = {r for r, _ in nest}
        open_ = prod(size for r, size in nest[outer:] if r not in e.reduced_ranks)
        inside = prod(size for r, size in e.sizes.items() if r in e.output.ranks and r not in streamed)
        return -(-open_ * inside * self._bits(e.output.tensor) // 8) if outer < len(nest) else 0


def _inside_of(rank: str, nest: Sequence[tuple[str, int]]) -> int:
    """Points of the ranks of a nest that lie inside another one."""
    place = next(i for i, (r, _) in enumerate(nest) if r == rank)
    return prod(size for _, size in nest[place + 1 :])


def pattern(nest: Sequence[tuple[str, int]], moves: Mapping[str, str], tokens: int = 1) -> Rate:
    """The rate of a port that moves tokens at any, the first or the last value of each rank of a nest.

    Raises:
        BadInput: it has more than MOST_RUNS runs.
    """
    runs: list[tuple[int, int]] = [(1, tokens)]
    length = 1
    last_fixed = next((i for i, (r, n) in enumerate(nest) if moves[r] != "any" and n > 1), len(nest))
    for rank, size in reversed(nest[last_fixed:]):
        if size == 1:
            continue
        if moves[rank] == "any":
            runs = [(length * size, runs[0][1])] if len(runs) == 1 else runs * size
        else:
            rest = [((size - 1) * length, 0)]
            runs = runs + rest if moves[rank] == "first" else rest + runs
        length *= size
        if len(runs) > MOST_RUNS:
            raise BadInput(f"tokens that come at {len(runs)} separate times in {length} firings are too irregular")
    return Rate(tuple(runs))


def _merged(links: Sequence[Link]) -> tuple[Link, ...]:
    """Links of one rate between the same stages as one: their tokens travel together."""
    found: dict[tuple[str, str, Rate, Rate], Link] = {}
    for link in links:
        key = (link.src, link.dst, link.put, link.take)
        if key in found and link.dst:
            old = found[key]
            if link.tensor in old.tensor.split("+"):
                continue
            link = Link(link.src, link.dst, f"{old.tensor}+{link.tensor}", link.put, link.take, old.bits + link.bits)
        elif key in found:
            key = (link.src, f"{link.dst} {link.tensor}", link.put, link.take)
        found[key] = link
    return tuple(found.values())
