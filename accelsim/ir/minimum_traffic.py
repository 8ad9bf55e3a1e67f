"""The least traffic of one Einsum between an unbounded memory and a buffer, over all of its loop nests.

*The space.* A nest is a sequence of loops; each takes a tile of one rank and steps through it in smaller tiles, and a
rank may be cut as often as wanted. Each operand is held at a depth of its own: its tile spans what the loops below
that depth run through, and it is loaded when a loop above moves it, whole, halo included (a partial result is stored
when it moves on, and loaded when it comes back). So loops that do not move an operand re-use its tile. Operands at the
same time in the buffer must fit beside each other; an innermost slice may be as small as one element.

*What need not be searched.* Let the operands be X1, X2 ... from the outermost depth in. Loops above X1's depth that do
not move X1 may sink below it: X1's traffic falls, its tile stays, and no other operand is visited more often. So above
X1 only loops that move X1 are left, between X1 and X2 only loops that move X2, and so on; their order among each other
changes nothing. What remains is an order of the operands and, per operand, the tile of each of its ranks inside the
tile held around it. All figures are then products over ranks (ranks that share an index, as those of a convolution,
taken together), sums over operands. Candidates of a rank that another one beats in every factor are dropped, and
products whose bound, all ranks left at their best, is above the best found are cut off: the result is exact.

*Tiles.* A tile divides the tile around it, unless that is the whole rank; tiles at the end of a rank are cut short, or,
with ``divide=True``, all divide. Elements that no index touches (strides wider than a kernel, padding) cost nothing.

*Room.* ``"slices"``: each held tile takes its bytes. ``"double"``: twice its bytes, unless no loop moves it.
``"streams"``: the same, but one operand, whichever, has a single buffer (its transfers overlap with nothing).
``"ideal"``: the tile of X1, any operand, may fill the buffer; the others stream past it once per tile, without room.

For a product Z[m,n] = A[m,k] B[k,n] with a tile m × n of Z in the buffer, the ideal moves |A| N/n + |B| M/m + |Z|; at
its best, m = n = √S, that is 2MNK/√S + MN elements. The leading term is the least of any order of the products, loop
nest or not: 2MNK/√S - 2S (Smith, Lowery, Langou and van de Geijn, "A tight I/O lower bound for matrix multiplication",
2019). A convolution whose buffer kept the halo of one tile for the next could move less than any nest here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import permutations
from math import lcm
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput, DoesNotFit
from .einsum import Einsum
from .minimum_traffic_tiles import Group, Ranks, group_table
from .workload import Tensor

Array = NDArray[np.int64]
Room = Literal["ideal", "slices", "streams", "double"]

CHUNK = 1 << 18
"""Products of candidates that are looked at in one go."""
BEAM = 512
"""Products that the first, greedy pass keeps from group to group."""


@dataclass(frozen=True)
class Hold:
    """One operand in the buffer.

    Attributes:
        tensor: its name.
        tile: ranks that index it, to how much of each it spans.
        room_bytes: bytes it takes in the buffer (0 for one that streams past in the ideal).
        read_bytes: moved into the buffer in all.
        write_bytes: moved out of it in all.
    """

    tensor: str
    tile: Mapping[str, int]
    room_bytes: int
    read_bytes: int
    write_bytes: int


@dataclass(frozen=True)
class MinimumTraffic:
    """The least traffic of an Einsum, and a nest that has it.

    Attributes:
        einsum: its name.
        buffer_bytes: of the buffer.
        traffic_bytes: moved in both directions.
        room_bytes: what the nest uses of the buffer.
        holds: the operands from the outermost depth in; just above each stand the loops that move it.
        sizes: of the ranks.
    """

    einsum: str
    buffer_bytes: int
    traffic_bytes: int
    room_bytes: int
    holds: tuple[Hold, ...]
    sizes: Mapping[str, int]

    @property
    def loops(self) -> tuple[tuple[tuple[str, int], ...], ...]:
        """Per hold, the loops just above it as (rank, tile)."""
        inside = dict(self.sizes)
        found = []
        for hold in self.holds:
            found.append(tuple((r, t) for r, t in hold.tile.items() if t < inside[r]))
            inside.update(hold.tile)
        return tuple(found)

    def __str__(self) -> str:
        lines, depth = [f"{self.einsum}: {self.traffic_bytes:,} bytes through a buffer of {self.buffer_bytes:,}"], 1
        for hold, loops in zip(self.holds, self.loops, strict=True):
            for rank, tile in loops:
                lines.append(f"{'  ' * depth}for {rank} in tiles of {tile:,}")
                depth += 1
            tile_text = ", ".join(f"{r} {t:,}" for r, t in hold.tile.items())
            lines.append(f"{'  ' * depth}hold {hold.tensor} ({tile_text or 'a scalar'}): {hold.room_bytes:,} bytes; "
                         f"{hold.read_bytes:,} read, {hold.write_bytes:,} written")
        return "\n".join(lines)


def minimum_traffic(
    einsum: Einsum,
    buffer_bytes: int,
    tensors: Mapping[str, Tensor],
    *,
    room: Room = "slices",
    divide: bool = False,
) -> MinimumTraffic:
    """The least bytes that an Einsum moves between a memory and a buffer, over the space of the module.

    ::

        least = minimum_traffic(einsum, 2**20, workload.tensors, room="ideal")
        least.traffic_bytes, least.holds[0].tile

    Args:
        einsum: any Einsum that is not iterative; two accesses to one tensor count as two operands.
        buffer_bytes: of the buffer.
        tensors: shape and bits of the tensors it touches, by name.
        room: what takes room in the buffer: see the module.
        divide: whether tiles must divide what they are cut from.

    Raises:
        DoesNotFit: the buffer is too small for the smallest tiles.
        BadInput: the Einsum is iterative, or its counts do not fit 62 bits; no such `room`.
    """
    return TrafficSpace(einsum, tensors, room=room, divide=divide).minimum(buffer_bytes)


def traffic_curve(
    einsum: Einsum,
    tensors: Mapping[str, Tensor],
    buffers_bytes: Iterable[int],
    *,
    room: Room = "slices",
    divide: bool = False,
) -> tuple[MinimumTraffic, ...]:
    """`minimum_traffic` at several buffer sizes; it never rises with the size.

    Raises:
        DoesNotFit, BadInput: as there.
    """
    space = TrafficSpace(einsum, tensors, room=room, divide=divide)
    return tuple(space.minimum(nbytes) for nbytes in buffers_bytes)


class TrafficSpace:
    """The candidates of one Einsum, which do not depend on the buffer; arguments as of `minimum_traffic`."""

    def __init__(
        self, einsum: Einsum, tensors: Mapping[str, Tensor], *, room: Room = "slices", divide: bool = False
    ) -> None:
        if einsum.iterative:
            raise BadInput(f"{einsum.name}: iterates over '{einsum.iterative}', whose order is not free; there is no "
                           "minimum over orders to give")
        if room not in get_args(Room):
            raise BadInput(f"no room '{room}' (one of {', '.join(get_args(Room))})")
        accesses = (*dict.fromkeys(einsum.inputs), einsum.output)
        self.einsum, self.room = einsum, room
        widths = [tensors[a.tensor].stored_bits for a in accesses]
        self.unit = 8 * lcm(*(w.denominator for w in widths))
        """Rooms and traffic are counted in parts of a byte, this many to one, in which every width is whole."""
        self.widths = [int(w * self.unit / 8) for w in widths]
        self.out = len(accesses) - 1
        if 2 * einsum.points * sum(self.widths) >= 2**62:
            raise BadInput(f"{einsum.name}: {einsum.points:,} points are more than this analysis counts exactly")
        self.ranks = Ranks(einsum, accesses, [tensors[a.tensor].shape for a in accesses])
        groups = self.ranks.groups()
        n = len(accesses)
        # In the ideal only the outermost operand matters: the others stream in any order.
        firsts = [(i, *(j for j in range(n) if j != i)) for i in range(n)]
        ideal = room == "ideal"
        orders = firsts if ideal else list(permutations(range(n)))
        self.orders = [_Order(self, order, [group_table(self.ranks, g, order, divide, ideal) for g in groups])
                       for order in orders]

    def minimum(self, buffer_bytes: int) -> MinimumTraffic:
        """The least traffic through a buffer of that many bytes. Raises DoesNotFit."""
        where = self._best(lambda rows, order: (order.traffic(rows), order.room(rows)), self.unit * buffer_bytes)
        if where is None:
            smallest = self._best(lambda rows, order: (order.room(rows), order.traffic(rows)), None)
            assert smallest is not None
            needed = self._describe(*smallest, buffer_bytes).room_bytes
            raise DoesNotFit(f"{self.einsum.name}: needs a buffer of {needed:,} bytes for its smallest tiles, and this "
                             f"one has {buffer_bytes:,}, {needed - buffer_bytes:,} too few")
        return self._describe(*where, buffer_bytes)

    def _best(self, judge: Judge, room: int | None) -> tuple[_Order, tuple[int, ...]] | None:
        """The order and candidates with the least key inside the room, or None: a greedy pass, then all the rest."""
        best: tuple[int, int] | None = None
        where = None
        for beam in (BEAM, None):
            for order in self.orders:
                found = order.search(judge, room, best, beam)
                if found is not None:
                    best, where = found[0], (order, found[1])
        return where

    def _describe(self, order: _Order, choice: tuple[int, ...], buffer_bytes: int) -> MinimumTraffic:
        tiles: list[dict[str, int]] = [{} for _ in order.operands]
        row = np.ones((1, order.columns), np.int64)
        for group, i in zip(order.groups, choice, strict=True):
            row *= group.factors[i]
            for level, tile in enumerate(tiles):
                tile.update(zip(group.ranks, map(int, group.tiles[i, level]), strict=True))
        rooms, reads, writes = order.rooms(row)[0], order.reads(row)[0], order.writes(row)[0]
        holds = []
        for level, x in enumerate(order.operands):
            access = self.ranks.accesses[x]
            tile = {r: tiles[level][r] for r in self.einsum.sizes if r in access.ranks}
            amounts = (-(-int(part[level]) // self.unit) for part in (rooms, reads, writes))
            holds.append(Hold(access.tensor, tile, *amounts))
        traffic, room = int(order.traffic(row)[0]), int(order.room(row)[0])
        return MinimumTraffic(self.einsum.name, buffer_bytes, -(-traffic // self.unit), -(-room // self.unit),
                              tuple(holds), dict(self.einsum.sizes))


Judge = Callable[[Array, "_Order"], tuple[Array, Array]]


class _Order:
    """The search with the operands held in one order, outermost first.

    `Group.factors` are multiplied over the groups: all that is asked of a nest is in these products.
    """

    def __init__(self, space: TrafficSpace, operands: tuple[int, ...], groups: list[Group]) -> None:
        self.operands = operands
        self.groups = sorted(groups, key=lambda g: len(g.factors))
        n = len(operands)
        self.columns = 3 * n + 1
        self.out = operands.index(space.out)
        self.widths = np.array([space.widths[x] for x in operands], np.int64)
        self.kind = space.room
        least = [np.ones(self.columns, np.int64)]
        for group in reversed(self.groups):
            least.append(least[-1] * group.factors.min(axis=0))
        self.rest = least[::-1]
        """Per number of groups chosen, the least product of the factors of the others."""

    def rooms(self, rows: Array) -> Array:
        """[row, operand] room that products of factors take, in parts of a byte (`TrafficSpace.unit`)."""
        n = len(self.operands)
        taken: Array = rows[:, :n] * self.widths
        if self.kind == "ideal":
            taken[:, 1:] = 0
        elif self.kind != "slices":
            second = taken * (np.minimum(rows[:, 2 * n : 3 * n], 2) - 1)
            if self.kind == "streams":
                second[np.arange(len(rows)), second.argmax(axis=1)] = 0
            taken += second
        return taken

    def room(self, rows: Array) -> Array:
        total: Array = self.rooms(rows).sum(axis=1)
        return total

    def reads(self, rows: Array) -> Array:
        """[row, operand] what they move into the buffer: of the output, all visits but the first."""
        moved = self._moved(rows)
        moved[:, self.out] *= rows[:, -1] - 1
        return moved

    def writes(self, rows: Array) -> Array:
        """[row, operand] what they move out of it: of the output, every visit."""
        moved = np.zeros((len(rows), len(self.operands)), np.int64)
        moved[:, self.out] = self._moved(rows)[:, self.out] * rows[:, -1]
        return moved

    def traffic(self, rows: Array) -> Array:
        moved = self._moved(rows)
        moved[:, self.out] *= 2 * rows[:, -1] - 1
        total: Array = moved.sum(axis=1)
        return total

    def _moved(self, rows: Array) -> Array:
        n = len(self.operands)
        result: Array = rows[:, n : 2 * n] * self.widths
        return result

    def search(
        self, judge: Judge, room: int | None, best: tuple[int, int] | None, beam: int | None
    ) -> tuple[tuple[int, int], tuple[int, ...]] | None:
        """(key, candidate of each group) with the least key, if that is below `best`, else None.

        Args:
            judge: keys of products of factors as two columns, neither of which falls with any factor.
            room: in the buffer; None for no limit.
            best: the least key so far.
            beam: how many products to keep from group to group, which is fast and not exact; None for all.
        """
        found: tuple[tuple[int, int], tuple[int, ...]] | None = None
        stack = [(np.ones((1, self.columns), np.int64), np.zeros((1, 0), np.int64))]
        while stack:
            rows, picks = stack.pop()
            depth = picks.shape[1]
            if depth == len(self.groups):
                first, second = judge(rows, self)
                i = int(np.lexsort((second, first))[0])
                key = (int(first[i]), int(second[i]))
                if best is None or key < best:
                    best, found = key, (key, tuple(map(int, picks[i])))
                continue
            factors = self.groups[depth].factors
            more = (rows[:, None, :] * factors[None, :, :]).reshape(-1, self.columns)
            bounds = more * self.rest[depth + 1]
            first, second = judge(bounds, self)
            keep = np.ones(len(more), np.bool_) if room is None else self.room(bounds) <= room
            if best is not None:
                keep &= (first < best[0]) | ((first == best[0]) & (second < best[1]))
            kept = np.flatnonzero(keep)
            kept = kept[np.lexsort((second[kept], first[kept]))][:beam]
            width = CHUNK // (len(self.groups[depth + 1].factors) if depth + 1 < len(self.groups) else 1) or 1
            pieces = []
            for at in range(0, len(kept), width):
                part = kept[at : at + width]
                pieces.append((more[part], np.column_stack([picks[part // len(factors)], part % len(factors)])))
            stack.extend(reversed(pieces))  # the piece with the best bounds first
        return found

