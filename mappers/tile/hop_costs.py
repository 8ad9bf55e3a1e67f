"""What the operands of a level cost, cut in every way, over all tilings at once."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...ir import Einsum
from .cuts import Cut
from .nest import Hop, Lasts
from .operand import Array, Extents, Floats

if TYPE_CHECKING:  # numba takes a while to load
    from . import stage_kernel as kernel
Numbers: TypeAlias = NDArray[Any]
ONCE = np.ones(1, np.int64)


@dataclass(frozen=True)
class HopCost:
    """Of one operand cut at one place, one entry per tiling."""

    held: Numbers
    bytes_in: Floats
    bytes_out: Floats
    instances: Numbers
    tile: Numbers
    buffers: Numbers
    piece: Floats
    spread: Floats
    share: Floats


class Leasts(NamedTuple):
    """Of one operand over all its cuts, one entry per tiling."""

    bytes_in: Floats
    bytes_out: Floats
    piece: Floats
    held: Floats


class HopCosts:
    """The costs of a level. They depend on no machine but for the names of its memories, see `hop_costs`.

    Args:
        hops: operands that move here.
        options: of every operand, the ways in which it may be cut.
        ranks: those that are tiled.
    """

    def __init__(
        self, einsum: Einsum, hops: Sequence[Hop], options: Sequence[Sequence[Cut]], ranks: Sequence[str]
    ) -> None:
        self.einsum, self.hops, self.ranks = einsum, hops, ranks
        self.reduced = frozenset(einsum.reduced_ranks)
        self.options = [(i, cut) for i, cuts in enumerate(options) for cut in cuts]
        self.first = [0, *accumulate(map(len, options))]
        """The first of the options of every operand, and the number of all."""
        keys = dict.fromkeys((i, cut.ranks & hops[i].operand.ranks, cut.slides) for i, cut in self.options)
        self.rows = {key: number for number, key in enumerate(keys)}
        """Operands with the ranks that matter to their bytes where they are cut, and along which their tiles slide."""
        self._moved: dict[Hashable, tuple[Array, Array, Array]] = {}
        self._whole: tuple[Floats, tuple[Leasts, ...]] | None = None
        """Of all tilings of the whole Einsum."""

    def table(
        self, extents: Extents, tile: Extents, sums: Array, lasts: Lasts
    ) -> tuple[Floats, tuple[Leasts, ...]]:
        """By option, field of `HopCost` and tiling, inside one tile of these extents; and the least by operand."""
        again = any(int(extents[r][0]) < n for r, n in self.einsum.sizes.items())
        if again or lasts or int(sums[0]) > 1:
            return self._table(extents, tile, sums, lasts, int(again))
        if self._whole is None:
            self._whole = self._table(extents, tile, sums, lasts, 0)
        return self._whole

    def _table(
        self, extents: Extents, tile: Extents, sums: Array, lasts: Lasts, again: int
    ) -> tuple[Floats, tuple[Leasts, ...]]:
        from . import stage_kernel as kernel

        trips, size, swept = self._bytes(extents, tile)
        number = trips.shape[1]
        longest = np.ones((len(self.options), number), np.int64)
        for hop, begin, end in zip(self.hops, self.first, self.first[1:], strict=False):
            if hop.key in lasts:
                uncut = self._ways.cut[begin:end].sum(axis=1) == 0
                longest[begin:end][uncut] = lasts[hop.key]
        table = np.empty((len(longest), kernel.FIELDS, number))
        kernel.fill(
            self._ways, trips, size, swept, np.full(number, again), np.full(number, sums[0]), longest, table
        )  # fmt: skip
        fields = kernel.BYTES_IN, kernel.BYTES_OUT, kernel.PIECE, kernel.HELD
        least = (Leasts(*(table[begin:end, f].min(axis=0) for f in fields)) for begin, end in pairwise(self.first))
        return table, tuple(least)

    def of(self, hop: Hop, cut: Cut, extents: Extents, tile: Extents, sums: Array, lasts: Lasts) -> HopCost:
        """What an operand costs if it is cut so."""
        from . import stage_kernel as kernel

        mine = cut.ranks & hop.operand.ranks
        here = {**extents, **{r: np.minimum(t, extents[r]) for r, t in tile.items() if r in mine}}
        again = ONCE > 1
        for r, n in self.einsum.sizes.items():
            again = again | (extents[r] < n)
        size, swept = hop.operand.tile_bytes(here), hop.operand.swept_bytes(extents, tile, mine, cut.slides)
        times = ONCE if cut.ranks else lasts.get(hop.key, ONCE)
        trips = [-(-extents[r] // t) for r, t in tile.items()]
        given = np.stack(np.broadcast_arrays(size, swept, again.astype(np.int64), sums, times, *trips))
        table = np.empty((1, kernel.FIELDS, given.shape[1]))
        ways = self._ways_of([(hop, cut)], [0], list(tile))
        kernel.fill(ways, given[5:], given[:1], given[1:2], given[2], given[3], given[4:5], table)
        return HopCost(*table[0])

    def _bytes(self, extents: Extents, tile: Extents) -> tuple[Array, Array, Array]:
        """Of all tilings: trips of the loops, and bytes as `stage_kernel.fill` wants them."""
        from .operand_kernel import bytes_of

        key = tuple(int(n[0]) for n in extents.values())
        if key in self._moved:
            return self._moved[key]
        number = len(next(iter(tile.values()), ONCE))
        trips = np.array([-(-extents[r] // t) for r, t in tile.items()], np.int64).reshape(-1, number)
        size, swept = (np.empty((len(self.rows), number), np.int64) for _ in range(2))
        ranks = list(self.einsum.sizes)
        whole = np.array([extents[r][0] for r in ranks], np.int64)
        tiles = np.empty((number, len(ranks)), np.int64)  # a scalar has no ranks
        for i, r in enumerate(ranks):
            tiles[:, i] = tile.get(r, extents[r])
        for (at, mine, slides), i in self.rows.items():
            operand, packed = self.hops[at].operand, self._packed[at]
            if packed is None:
                size[i] = operand.tile_bytes({**extents, **{r: tile[r] for r in mine}})
                swept[i] = operand.swept_bytes(extents, tile, mine, slides)
                continue
            width, is_cut = int(operand.width) // 8, np.array([r in mine for r in ranks])
            sliding = ranks.index(slides) if slides else -1
            bytes_of(packed, width, whole, tiles, is_cut, sliding, whole.copy(), size[i], swept[i])
        self._moved[key] = trips, size, swept
        return self._moved[key]

    @cached_property
    def _packed(self) -> list[Array | None]:
        from .operand_kernel import packed

        return [packed(hop.operand, list(self.einsum.sizes)) for hop in self.hops]

    @cached_property
    def _ways(self) -> kernel.Ways:
        rows = [self.rows[i, cut.ranks & self.hops[i].operand.ranks, cut.slides] for i, cut in self.options]
        return self._ways_of([(self.hops[i], cut) for i, cut in self.options], rows, self.ranks)

    def _ways_of(self, ways: Sequence[tuple[Hop, Cut]], rows: Sequence[int], ranks: Sequence[str]) -> kernel.Ways:
        from . import stage_kernel as kernel

        shape = len(ways), len(ranks)
        return kernel.Ways(
            np.array([[r in cut.ranks for r in ranks] for _, cut in ways], np.int64).reshape(shape),
            np.array([[r in hop.operand.ranks for r in ranks] for hop, _ in ways], np.int64).reshape(shape),
            np.array([r in self.reduced for r in ranks], np.int64),
            np.array(rows, np.int64),
            np.array([hop.operand.is_output for hop, _ in ways], np.int64),
            np.array([cut.single for _, cut in ways], np.int64),
            *(
                np.array([[r in cut.pieces[group] for r in ranks] for _, cut in ways], np.int64).reshape(shape)
                for group in range(3)
            ),
        )


@dataclass(frozen=True)
class Asked:
    """A call of `hop_costs`; `identity` stands for all of it."""

    identity: Hashable
    einsum: Einsum = field(compare=False)
    hops: Sequence[Hop] = field(compare=False)
    options: Sequence[Sequence[Cut]] = field(compare=False)
    ranks: Sequence[str] = field(compare=False)


@lru_cache(maxsize=2**8)
def hop_costs(asked: Asked) -> HopCosts:
    """The costs of a level, remembered from machine to machine."""
    return HopCosts(asked.einsum, asked.hops, asked.options, asked.ranks)


def grid(lists: Mapping[str, Sequence[int]]) -> dict[str, Array]:
    """Tile sizes of all tilings that take one size of each rank's list."""
    found = np.meshgrid(*(np.array(n, np.int64) for n in lists.values()), indexing="ij")
    return {r: n.ravel() for r, n in zip(lists, found, strict=True)}
