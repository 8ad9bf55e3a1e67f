"""Where the tensors of a level may be cut among its loops, whatever their order."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, permutations, product
from typing import Literal, NamedTuple


class Pieces(NamedTuple):
    """The loops inside of a tile's cut, as they cut it into pieces.

    Attributes:
        lead: those that do, up to the first one that does not.
        again: those that do not, up to the last one that does.
        more: those that do inside of one that does not: their pieces all come in its first iteration.
    """

    lead: frozenset[str] = frozenset()
    again: frozenset[str] = frozenset()
    more: frozenset[str] = frozenset()

    @staticmethod
    def of(loops: Sequence[str], matter: Collection[str], able: Collection[str]) -> Pieces:
        """Of loops, outermost first; pieces end at one that matters but is not `able` to cut them."""
        end = next((i for i, r in enumerate(loops) if r in matter and r not in able), len(loops))
        end = max((i + 1 for i, r in enumerate(loops[:end]) if r in able), default=0)
        first = next((i for i, r in enumerate(loops[:end]) if r not in able), end)
        rest = loops[first:end]
        more = frozenset(r for r in rest if r in able)
        return Pieces(frozenset(loops[:first]), frozenset(rest) - more, more)


WHOLE = Pieces()


class Cut(NamedTuple):
    """How a tensor is cut.

    Attributes:
        ranks: whose loops stand around its tile.
        slides: the innermost one, if tiles slide along it.
        single: one buffer for all its tiles.
        pieces: in which a tile comes or leaves.
    """

    ranks: frozenset[str]
    slides: str = ""
    single: bool = False
    pieces: Pieces = WHOLE


@dataclass(frozen=True)
class Space:
    """The tilings to look at: sizes of every tiled rank, and the orders of loops that are allowed."""

    sizes: Mapping[str, Sequence[int]]
    orders: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class CutTable:
    """Every combination of cuts that some order of the loops allows.

    Attributes:
        cuts: the combinations, those of one entry of `still` after the other.
        orders: for each of them an order that allows it.
        still: kinds of orders: of every operand that comes farther in, the innermost loops that do not change its tile.
        begin: the first combination of each kind, and the number of all.
    """

    cuts: tuple[tuple[Cut, ...], ...]
    orders: tuple[tuple[str, ...], ...]
    still: tuple[tuple[frozenset[str], ...], ...]
    begin: tuple[int, ...]


@lru_cache(maxsize=2**10)
def cut_table(
    orders: tuple[tuple[str, ...], ...],
    ranks: tuple[frozenset[str], ...],
    slides: tuple[frozenset[str], ...],
    further: tuple[frozenset[str], ...] = (),
    *,
    buffers: Literal["", "outer", "nested"] = "",
    able: tuple[frozenset[str], ...] = (),
) -> CutTable:
    """Cuts of operands: each directly inside a loop that matters to it, or outside of all.

    Args:
        orders: ranks of the loops, outermost first.
        ranks: those that matter to each operand.
        slides: those along which its tiles overlap.
        further: ranks that matter to each operand that comes farther in.
        buffers: which operands may have a single buffer: none, any one whose tiles a loop changes (of an outer level),
            any one and all together (of one further in).
        able: ranks whose loops cut the tiles of each operand into pieces; none if they are not given.
    """
    able = able or (frozenset(),) * len(ranks)
    kinds: dict[tuple[frozenset[str], ...], dict[tuple[Cut, ...], tuple[str, ...]]] = {}
    for order in orders:
        found = kinds.setdefault(tuple(_still(order, mine) for mine in further), {})
        options = [
            [
                Cut(frozenset(), pieces=Pieces.of(order, mine, cutting)),
                *(
                    Cut(frozenset(order[: i + 1]), r)
                    if r in sliding
                    else Cut(frozenset(order[: i + 1]), pieces=Pieces.of(order[i + 1 :], mine, cutting))
                    for i, r in enumerate(order)
                    if r in mine
                ),
            ]
            for mine, sliding, cutting in zip(ranks, slides, able, strict=True)
        ]
        for cuts in product(*options):
            found.setdefault(cuts, order)
            for i, cut in enumerate(cuts):
                if buffers == "nested" or (buffers and cut.ranks):
                    found.setdefault((*cuts[:i], cut._replace(single=True), *cuts[i + 1 :]), order)
            if buffers == "nested":
                found.setdefault(tuple(cut._replace(single=True) for cut in cuts), order)
    return CutTable(
        tuple(cuts for found in kinds.values() for cuts in found),
        tuple(order for found in kinds.values() for order in found.values()),
        tuple(kinds),
        tuple(accumulate(map(len, kinds.values()), initial=0)),
    )


def _still(order: Sequence[str], matter: frozenset[str]) -> frozenset[str]:
    """The innermost loops of an order, inside of the last one that matters."""
    last = max((i for i, r in enumerate(order) if r in matter), default=-1)
    return frozenset(order[last + 1 :])


def orders_of(outer: Sequence[str], inner: Sequence[str], together: Sequence[str] = ()) -> tuple[tuple[str, ...], ...]:
    """Loop orders in which some ranks stand outermost, in the order given, and the others in any.

    Of the ranks `together` the outer ones may also stand directly around the first inner one.
    """
    found = [(*outer, *p) for p in permutations(inner)]
    moved = [r for r in outer if r in together]
    last = next((r for r in inner if r in together), None)
    if moved and last is not None:
        rest = [r for r in outer if r not in together]
        for p in permutations(inner):
            at = p.index(last)
            found.append((*rest, *p[:at], *moved, *p[at:]))
    return tuple(dict.fromkeys(found))
