"""Loop nests as ZigZag has them (one order of all loops, and for every operand how many of them each of its memories
holds), to and from Mappings of accelsim.

A nest of ZigZag divides: the loops over a dimension multiply to the steps that its spread leaves, so that all tiles are
alike. accelsim's tiles may be ragged; `nests_of` then gives the nests whose tiles are the next smaller and larger ones
that divide. Tiles that slide (a load brings only what the one before did not hold), moves in pieces and the number of
buffers have no word in ZigZag.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, product
from math import ceil, prod
from typing import Any

from accelsim.arch.architecture import Architecture
from accelsim.arch.component import OPERANDS, Operand
from accelsim.arch.layout import Layout, Spread
from accelsim.ir import Access, Einsum
from accelsim.ir.roles import rank_roles
from accelsim.mappers.tile.nest import Level
from accelsim.mappers.tile.pieces import pieces_of
from accelsim.mapping.tree import BODY, Loop, Move, Node, Op, Position, Seq, walk
from accelsim.mapping.tree import Mapping as MappingValue

LETTERS: Mapping[Operand, str] = {"input": "I", "weight": "W", "output": "O"}
NAMES = {
    "batch": ("B",), "group": ("G",), "output_channel": ("K",), "input_channel": ("C",), "row": ("OY",),
    "column": ("OX", "D"), "filter_row": ("FY",), "filter_column": ("FX",),
}  # fmt: skip
"""Role of a rank to ZigZag's names for it, in a convolution and in a product of matrices."""
Loops = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Nest:
    """A nest of ZigZag for one layer.

    Attributes:
        loops: (dimension, size), innermost first.
        held: letter of an operand to the number of these loops inside each of its memories, innermost first; the last
            one has all.
        spread: dimension of the array to the dimension of the layer along it, and its points side by side.
        sizes: of the dimensions of the layer.
        exact: whether it says what the Mapping says that it was made of, but for slides, pieces and buffers.
    """

    loops: Loops
    held: Mapping[str, tuple[int, ...]]
    spread: Mapping[str, tuple[str, int]]
    sizes: Mapping[str, int]
    exact: bool = True

    @property
    def levels(self) -> dict[str, list[Loops]]:
        """The loops of every memory of every operand, as ZigZag's `TemporalMapping` wants them."""
        return {
            letter: [self.loops[a:b] for a, b in zip((0, *ends), ends, strict=False)]
            for letter, ends in self.held.items()
        }

    @staticmethod
    def read(layer: Mapping[str, Any]) -> Nest:
        """From what `peer.py` prints of a layer."""
        levels = layer["levels"]
        held = {letter: tuple(accumulate(map(len, mine))) for letter, mine in levels.items()}
        loops = next(tuple((d, int(n)) for level in mine for d, n in level) for mine in levels.values())
        spread = {along: (d, ceil(n)) for along, (d, n) in layer["spread"].items()}
        return Nest(loops, held, spread, layer["sizes"])

    def factor(self, dimension: str) -> int:
        """Points of a dimension side by side."""
        return prod(n for d, n in self.spread.values() if d == dimension)

    def steps(self, dimension: str) -> int:
        """Steps over a dimension, as many as all loops over it take."""
        return ceil(self.sizes.get(dimension, 1) / self.factor(dimension))


def names_of(einsum: Einsum, nest: Nest) -> dict[str, str]:
    """Every rank's name in a layer of ZigZag's."""
    return {rank: next(n for n in NAMES[role] if n in nest.sizes) for rank, role in rank_roles(einsum).items()}


# -- from accelsim -----------------------------------------------------------------------------------------------------


def nests_of(mapping: MappingValue, einsum: Einsum, arch: Architecture, like: Nest) -> list[Nest]:
    """The nests that say what a Mapping of one Einsum on one array says, or are nearest to it, with the spread and the
    memories of `like`, a nest of ZigZag's for the same layer."""
    name = names_of(einsum, like)
    cut: list[tuple[str, int]] = []
    node: Node = mapping.root
    while not isinstance(node, Op):
        if isinstance(node, Loop):
            cut.append((node.rank, node.tile))
        assert isinstance(node, Seq | Loop)
        node = node.children[0] if isinstance(node, Seq) else node.body
    assert node.layout is not None
    around = len(cut)
    factor = {r: node.layout.factor(r) for r in einsum.sizes}
    cut += [*node.layout.loops, *factor.items()]
    ends: dict[str, list[int]] = {}
    for operand, letter in LETTERS.items():
        ends[letter] = [*_cuts(mapping, einsum, arch, operand, node.unit), 0]
        if len(ends[letter]) < len(like.held[letter]):
            ends[letter].insert(0, around + node.layout.holds.get(operand, len(cut) - around))
    same = all(factor[r] == like.factor(name[r]) for r in einsum.sizes) and not node.layout.joined
    wanted = [(name[r], ceil(t / like.factor(name[r]))) for r, t in cut]
    found: dict[Loops, Nest] = {}
    for sizes, divides in _dividing(wanted, {d: like.steps(d) for d in name.values()}):
        kept = [i for i, n in enumerate(sizes) if n > 1]
        loops = tuple((wanted[i][0], sizes[i]) for i in reversed(kept))
        held = {letter: tuple(sum(i >= end for i in kept) for end in mine) for letter, mine in ends.items()}
        found.setdefault(loops, replace(like, loops=loops, held=held, exact=same and divides))
    return list(found.values())


def _cuts(mapping: MappingValue, einsum: Einsum, arch: Architecture, operand: Operand, unit: str) -> Iterator[int]:
    """Loops around an operand's tile in each memory on the chip, the one next to the unit first."""
    tensor, stored = _access(einsum, operand).tensor, operand == "output"
    for memory in _chain(arch, operand, unit)[:-1]:
        moves = (m for m in mapping.moves if m.tensor == tensor and m.store == stored)
        move = next(m for m in moves if memory == (m.src if stored else m.dst))
        yield (move.issue if stored else move.due).count(BODY)


def _chain(arch: Architecture, operand: Operand, unit: str) -> list[str]:
    """The memories of an operand, the one next to the unit first."""
    chain = [arch.units[unit].feeds(2)[OPERANDS.index(operand)]]
    while arch.memories[chain[-1]].on_chip:
        chain.append(str(arch.memories[chain[-1]].parent))
    return chain


def _access(einsum: Einsum, operand: Operand) -> Access:
    return {"input": einsum.inputs[0], "weight": einsum.inputs[1], "output": einsum.output}[operand]


def _dividing(tiles: Sequence[tuple[str, int]], steps: Mapping[str, int]) -> Iterator[tuple[list[int], bool]]:
    """Sizes of loops whose tiles, in steps, divide, and whether they are those wanted: else the next ones either
    way."""
    if not tiles:
        yield [], True
        return
    (dimension, tile), left = tiles[0], steps[tiles[0][0]]
    tile = max(1, min(tile, left))
    able = [n for n in range(1, left + 1) if left % n == 0]
    for n in sorted({max(n for n in able if n <= tile), min(n for n in able if n >= tile)}):
        for sizes, divides in _dividing(tiles[1:], {**steps, dimension: n}):
            yield [left // n, *sizes], divides and n == tile


# -- to accelsim -------------------------------------------------------------------------------------------------------


def mappings_of(nest: Nest, mapping: MappingValue, einsum: Einsum, arch: Architecture) -> Iterator[MappingValue]:
    """What a nest of ZigZag says, as Mappings: with one or two buffers for each tensor in each memory, tiles in pieces
    where they can be, and as tiles of the array the largest that no memory cuts, or those of one visit of the results'
    registers. `mapping` is one of the same Einsum; its tensors stay where they are before and after."""
    (op,) = (node for _, node in walk(mapping.root) if isinstance(node, Op))
    rank = {d: r for r, d in names_of(einsum, nest).items()}
    extent = {rank[d]: nest.factor(d) for d in rank}
    tiles: list[tuple[str, int]] = []
    for d, n in nest.loops:
        tiles.insert(0, (rank[d], min(extent[rank[d]], einsum.sizes[rank[d]])))
        extent[rank[d]] *= n
    ends: dict[Operand, list[int]] = {}
    for operand, letter in LETTERS.items():
        outside = [len(nest.loops) - n for n in nest.held[letter]]
        ends[operand] = [_outward(tiles, end, _access(einsum, operand)) for end in outside][:-1]
    memories = {o: _chain(arch, o, op.unit) for o in LETTERS}
    registers = {}
    for operand in LETTERS:
        registered = len(ends[operand]) == len(memories[operand])
        own = ends[operand].pop(0) if registered else len(tiles)
        registers[operand] = _outward(tiles, own, _access(einsum, operand))
    depth = {(o, i): ends[o][i] for o in LETTERS for i in range(len(memories[o]) - 1)}
    least = max(depth.values(), default=0)
    spreads = tuple(Spread(rank[d], along, n) for along, (d, n) in nest.spread.items() if n > 1)
    for around in sorted({least, max(least, registers["output"])}):
        holds = {o: max(0, n - around) for o, n in registers.items()}
        inner: Node = replace(op, layout=Layout(spreads, tuple(tiles[around:]), holds))
        for r, tile in reversed(tiles[:around]):
            inner = Loop(r, tile, inner)
        pieces = _pieces(einsum, tiles[:around], depth, memories)
        for buffers in product(*((1, 2) if n else (1,) for n in depth.values())):
            moves = tuple(
                _move(einsum, way, depth, memories, number, pieces.get(way))
                for way, number in zip(depth, buffers, strict=True)
            )
            yield replace(mapping, root=Seq((inner,)), moves=moves, claim=None)


def _outward(tiles: Sequence[tuple[str, int]], end: int, access: Access) -> int:
    """A cut farther out, past loops that do not change the tile."""
    while end and tiles[end - 1][0] not in access.ranks:
        end -= 1
    return end


def _pieces(
    einsum: Einsum,
    loops: Sequence[tuple[str, int]],
    depth: Mapping[tuple[Operand, int], int],
    memories: Mapping[Operand, Sequence[str]],
) -> dict[tuple[Operand, int], int]:
    """Loops around the pieces of tiles, where tiles move in pieces."""
    ways = {(_access(einsum, o).tensor, memories[o][i], o == "output"): (o, i) for o, i in depth}
    farthest = max((i for _, i in depth), default=0)
    levels = []
    for level in range(farthest + 1):  # the farthest from the unit first: from there all loops count as of one level
        mine = {key: depth[way] for key, way in ways.items() if len(memories[way[0]]) - 2 - way[1] == level}
        past = len(loops) if level else 0
        levels.append(Level(tuple(loops) if not level else (), {key: n - past for key, n in mine.items()}, {}, {}))
    accesses = {(_access(einsum, o).tensor, o == "output"): [_access(einsum, o)] for o in LETTERS}
    return {ways[key]: n for key, n in pieces_of(einsum, accesses, levels).items()}


def _move(
    einsum: Einsum,
    way: tuple[Operand, int],
    depth: Mapping[tuple[Operand, int], int],
    memories: Mapping[Operand, Sequence[str]],
    buffers: int,
    pieces: int | None,
) -> Move:
    def at(loops: int) -> Position:
        return (0, *(BODY,) * loops)

    operand, i = way
    tensor, near, far = _access(einsum, operand).tensor, memories[operand][i], memories[operand][i + 1]
    here, outside = at(depth[way]), at(depth.get((operand, i + 1), 0))
    within = None if pieces is None else at(pieces)
    if operand == "output":
        return Move(tensor, near, far, here, outside, buffers, store=True, pieces=within)
    return Move(tensor, far, near, outside, here, buffers, pieces=within)
