"""Where the tensors of a level may be cut among its loops, whatever their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, permutations, product
from typing import Literal, NamedTuple


class Cut(NamedTuple):
    """How a tensor is cut.

    Attributes:
        ranks: whose loops stand around its tile.
        slides: the innermost one, if tiles slide along it.
        single: one buffer for all its tiles.
    """

    ranks: frozenset[str]
    slides: str = ""
    single: bool = False


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
) -> CutTable:
    """Cuts of operands: each directly inside a loop that matters to it, or outside of all.

    Args:
        orders: ranks of the loops, outermost first.
        ranks: those that matter to each operand.
        slides: those along which its tiles overlap.
        further: ranks that matter to each operand that comes farther in.
        buffers: which operands may have a single buffer: none, any one whose tiles a loop changes (of an outer level),
            any one and all together (of one further in).
    """
    kinds: dict[tuple[frozenset[str], ...], dict[tuple[Cut, ...], tuple[str, ...]]] = {}
    for order in orders:
        found = kinds.setdefault(tuple(_still(order, mine) for mine in further), {})
        options = [
            [
                Cut(frozenset()),
                *(Cut(frozenset(order[: i + 1]), r if r in sliding else "") for i, r in enumerate(order) if r in mine),
            ]
            for mine, sliding in zip(ranks, slides, strict=True)
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


def orders_of(outer: Sequence[str], inner: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Loop orders in which some ranks stand outermost, in the order given, and the others in any."""
    return tuple((*outer, *p) for p in permutations(inner))
