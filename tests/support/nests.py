"""Every loop nest of a small Einsum, walked tile by tile: what `accelsim.ir.minimum_traffic` is judged by.

It knows nothing of that analysis: nests are sequences of loops, a rank is cut up to `cuts` times, each operand is held
at any depth, and elements are counted one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product

from accelsim.ir import Access, Einsum, Tensor

Loop = tuple[str, int]


def cuttings(size: int, cuts: int, *, divide: bool) -> set[tuple[int, ...]]:
    """Sequences of ever smaller tiles of a rank, each a part of the one before unless that is the whole rank."""
    found: set[tuple[int, ...]] = {()}
    for _ in range(cuts):
        longer = set()
        for tiles in found:
            around = tiles[-1] if tiles else size
            for tile in range(1, around):
                if around % tile == 0 or (around == size and not divide):
                    longer.add((*tiles, tile))
        found |= longer
    return found


def orders(chains: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[Loop, ...]]:
    """All ways to merge the loops of the ranks, the larger tile of a rank outside."""
    if not any(chains.values()):
        yield ()
    for rank, tiles in chains.items():
        if tiles:
            for rest in orders({**chains, rank: tiles[1:]}):
                yield ((rank, tiles[0]), *rest)


def nests(einsum: Einsum, cuts: int, *, divide: bool) -> Iterator[tuple[Loop, ...]]:
    """All nests of an Einsum in which no rank is cut more than `cuts` times."""
    choices = [[(r, c) for c in cuttings(s, cuts, divide=divide)] for r, s in einsum.sizes.items()]
    for chains in product(*choices):
        yield from orders(dict(chains))


def accesses_of(einsum: Einsum) -> list[Access]:
    return [*dict.fromkeys(einsum.inputs), einsum.output]


class Walker:
    """Loads of one access's tile in a nest, and the elements of its largest tile."""

    def __init__(self, einsum: Einsum, tensors: Mapping[str, Tensor]) -> None:
        self.einsum, self.tensors = einsum, tensors
        self.known: dict[tuple[Access, tuple[Loop, ...]], tuple[int, int, int]] = {}

    def walk(self, access: Access, above: tuple[Loop, ...]) -> tuple[int, int, int]:
        """(elements of the largest tile, elements moved in, elements of first visits)."""
        if (access, above) not in self.known:
            largest = moved = first = 0
            held: object = None
            seen = set()
            for box in self._boxes(above, {r: (0, s) for r, s in self.einsum.sizes.items()}):
                mine = tuple(sorted((r, span) for r, span in box.items() if r in access.ranks))
                if mine == held:
                    continue
                held = mine
                elements = self._elements(access, box)
                largest = max(largest, len(elements))
                moved += len(elements)
                if mine not in seen:
                    seen.add(mine)
                    first += len(elements)
            self.known[access, above] = largest, moved, first
        return self.known[access, above]

    def brought(self, access: Access, nest: tuple[Loop, ...]) -> tuple[int, int]:
        """(elements of one access over all tiles of a nest, moved by it or not; those of first visits)."""
        moved, first = 0, {}
        for box in self._boxes(nest, {r: (0, s) for r, s in self.einsum.sizes.items()}):
            elements = len(self._elements(access, box))
            moved += elements
            first[tuple(sorted((r, span) for r, span in box.items() if r in access.ranks))] = elements
        return moved, sum(first.values())

    def _boxes(self, loops: tuple[Loop, ...], box: dict[str, tuple[int, int]]) -> Iterator[dict[str, tuple[int, int]]]:
        if not loops:
            yield box
            return
        (rank, tile), *rest = loops
        low, high = box[rank]
        for at in range(low, high, tile):
            yield from self._boxes(tuple(rest), {**box, rank: (at, min(at + tile, high))})

    def _elements(self, access: Access, box: Mapping[str, tuple[int, int]]) -> set[tuple[int, ...]]:
        shape = self.tensors[access.tensor].shape
        names = sorted(access.ranks)
        found = set()
        for point in product(*(range(*box[r]) for r in names)):
            at = dict(zip(names, point, strict=True))
            element = tuple(i.offset + sum(c * at[r] for r, c in i.terms) for i in access.indices)
            if all(0 <= e < n for e, n in zip(element, shape, strict=True)):
                found.add(element)
        return found


def least_traffic(
    einsum: Einsum, tensors: Mapping[str, Tensor], buffers_bits: list[int], *, room: str, cuts: int, divide: bool
) -> list[int | None]:
    """Least bits moved at each buffer size over all nests and depths; None where nothing fits.

    Args:
        einsum, tensors: what is computed.
        buffers_bits: sizes of the buffer.
        room: of a tile that a loop moves: ``slices``: its bytes; ``double``: twice; ``streams``: twice, but for one.
        cuts: how often a rank is cut at most.
        divide: whether tiles must divide.
    """
    walker = Walker(einsum, tensors)
    best: dict[int, int] = {}
    for nest in nests(einsum, cuts, divide=divide):
        options = []
        for access in accesses_of(einsum):
            mine = set()
            for depth in range(len(nest) + 1):
                largest, moved, first = walker.walk(access, nest[:depth])
                again = room != "slices" and any(r in access.ranks for r, _ in nest[:depth])
                times = 2 * moved - first if access is einsum.output else moved
                bits = tensors[access.tensor].bits
                mine.add((bits * largest, bits * largest * again, bits * times))
            options.append(mine)
        for pick in product(*options):
            second = [p[1] for p in pick]
            taken = sum(p[0] for p in pick) + sum(second) - (max(second) if room == "streams" else 0)
            traffic = sum(p[2] for p in pick)
            best[taken] = min(best.get(taken, traffic), traffic)
    return [min((t for r, t in best.items() if r <= size), default=None) for size in buffers_bits]


def least_ideal_traffic(
    einsum: Einsum, tensors: Mapping[str, Tensor], buffers_bits: list[int], *, divide: bool
) -> list[int | None]:
    """The same, if one operand alone needs room and all others are brought anew for each of its tiles."""
    walker = Walker(einsum, tensors)
    best: dict[int, int] = {}
    for nest in nests(einsum, 1, divide=divide):
        for resident in accesses_of(einsum):
            if not {r for r, _ in nest} <= resident.ranks:
                continue
            room = walker.walk(resident, nest)[0] * tensors[resident.tensor].bits
            traffic = 0
            for access in accesses_of(einsum):
                moved, first = walker.brought(access, nest)
                times = 2 * moved - first if access is einsum.output else moved
                traffic += times * tensors[access.tensor].bits
            best[room] = min(best.get(room, traffic), traffic)
    return [min((t for r, t in best.items() if r <= size), default=None) for size in buffers_bits]
