"""Plans with addresses close to one without: a beam search over steps, whose states are what lies where.

It never fails where a memory holds every operator: where what the plan keeps has no room in one piece, what costs least
leaves. Where prices say what had better leave (`prices`), there is no plan to follow. Neighbours of which one leaves
before the other make a hole, which costs the more the longer it is there and the dearer the memory is meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .arrangement import Along, Arrangement

if TYPE_CHECKING:
    from .layout_kernel import Branches, Record, States, Tables

WIDTH = 2048
"""States of the beam."""
WORK = 2_000_000
"""States times steps; a beam over more steps is narrower."""
BRANCHES = 3
"""States that follow each state of the beam."""
UNLIKE, PRICED = 0.01, 0.04
"""What neighbours of unlike lifetimes cost over the horizon, in tensors that leave: after a plan it tips the scale
between equal costs, where memory has a price it is what holes of any step cost."""
WASTE = 0.1
"""Bytes that such neighbours leave unused, in tensors, where these have a price."""
HORIZON = 40
"""Steps beyond which lifetimes are alike."""


def laid_out(
    along: Along, dropped: Collection[int] = (), *, width: int = WIDTH, prices: NDArray[np.float64] | None = None
) -> Arrangement | None:
    """A plan that drops these gaps and, where what is left has no addresses, others; some may be kept after all.

    Args:
        along: the order's gaps.
        dropped: of the plan without addresses.
        width: of the beam.
        prices: by step, of a byte; they say what had better leave if nothing is to be dropped.

    Returns:
        None where the beam ends with no state.
    """
    from . import layout_kernel as kernel

    steps = len(along.lives.operators)
    if not steps:
        return Arrangement(along, set())
    width = max(8, min(width, WORK // steps))
    tables = _tables(along, dropped, prices)
    most = _most_blocks(along)
    touches = max(len(op.touches) for op in along.lives.operators)
    tensors = len(along.lives.problem.tensors)
    states, following = (_states(width, most, tensors) for _ in range(2))
    branches, others = (_branches(BRANCHES, most, touches) for _ in range(2))
    rows, places = width * BRANCHES, BRANCHES * (2 * most + 4)
    offers = kernel.Offers(np.zeros(places), _ints(places), _ints(places))
    pool = kernel.Pool(
        _ints(rows), _ints(rows, most), _ints(rows, most), _ints(rows, most), np.zeros(rows), np.zeros(rows),
        _ints(rows), _ints(rows), _ints(rows), _ints(rows, most), _ints(rows),
        _ints(rows, touches), _ints(rows, touches),
    )  # fmt: skip
    record = kernel.Record(_ints(steps, width), _ints(steps, width, touches), _ints(steps, width, touches))
    salt = np.random.default_rng(0).integers(0, 1 << 62, tensors)
    seen, alike = (_ints(1 << (4 * rows).bit_length()) for _ in range(2))
    left = 1
    for step in range(steps):
        count = kernel.expand(tables, states, left, step, branches, others, offers, pool, salt)
        order = np.argsort(pool.key[:count], kind="stable")
        left = kernel.follow(tables, states, following, step, pool, order, seen, alike, record)
        if not left:
            return None
        states, following = following, states
    return _traced(along, record, int(np.argmin(states.paid[:left])))


def _traced(along: Along, record: Record, row: int) -> Arrangement:
    """The plan that ends in a state."""
    from .layout_kernel import FRESH, OVER

    dropped: set[int] = set()
    address: dict[tuple[str, int], int] = {}
    for step in range(len(along.lives.operators) - 1, -1, -1):
        for j, name in enumerate(along.lives.operators[step].touches):
            address[name, step] = int(record.at[step, row, j])
            gap = along.ends.get((name, step))
            if gap is not None and record.role[step, row, j] in (FRESH, OVER):
                dropped.add(gap)
        row = int(record.parent[step, row])
    return Arrangement(along, dropped, address)


def _tables(along: Along, dropped: Collection[int], prices: NDArray[np.float64] | None) -> Tables:
    from .layout_kernel import NEVER, Tables

    lives, cost = along.lives, along.cost
    names = {name: i for i, name in enumerate(lives.problem.tensors)}
    ends = [0]
    touch: list[int] = []
    out: list[int] = []
    over: list[int] = []
    write: list[int] = []
    for step, op in enumerate(lives.operators):
        places = {name: len(touch) + j for j, name in enumerate(op.touches)}
        here = [n for n in op.touches if (step, n) in lives.in_place]
        results = {lives.in_place[step, old][0]: old for old in here}
        for name in op.touches:
            touch.append(names[name])
            out.append(along.begins.get((name, step), -1))
            over.append(places[results[name]] if name in results else -1)
            write.append(name in op.writes)
        ends.append(len(touch))
    gaps, gone = lives.gaps, set(dropped)
    load = np.array([g.nbytes * cost.load for g in gaps], np.float64)
    store = np.array([0.0 if lives.epochs[g.epoch].stored else g.nbytes * cost.store for g in gaps], np.float64)
    size = [t.nbytes for t in lives.problem.tensors.values()]
    price = np.zeros(len(lives.operators) + 1)
    rent = np.zeros(len(gaps))
    rent[list(gone)] = NEVER
    if prices is not None:
        np.cumsum(prices, out=price[1:])
    tensor = float(np.mean([g.nbytes for g in gaps])) if gaps else 0.0
    unlike = (UNLIKE if prices is None else PRICED) * tensor * cost.load
    clock = unlike / HORIZON * np.arange(len(price)) + WASTE * tensor * price

    def ints(values: Sequence[int]) -> np.ndarray:
        return np.array(values, np.int64)

    return Tables(
        ints([along.capacity]), ints(size), ints(ends), ints(touch), ints(out), ints(over), ints(write), load, store,
        ints([g.last for g in gaps]), ints(_until(along, gone)), price, rent, _later(along, price, rent),
        clock, ints([HORIZON]),
    )  # fmt: skip


def _later(along: Along, price: NDArray[np.float64], rent: NDArray[np.float64]) -> NDArray[np.float64]:
    """By gap, for those of the same content behind it: what their room costs beyond the less of that and loading."""
    gaps = along.lives.gaps
    found = np.zeros(len(gaps))
    for members in along.of_epoch.values():
        total = 0.0
        for i in reversed(members):
            gap = gaps[i]
            found[i] = total
            room = rent[i] + gap.nbytes * (price[gap.last] - price[gap.first + 1])
            total += max(0.0, room - gap.nbytes * along.cost.load)
    return found


def _until(along: Along, dropped: Collection[int]) -> Sequence[int]:
    """By gap, the step to which its tensor stays: where it begins if it is dropped, else to the end of what follows."""
    gaps = along.lives.gaps
    found = [0] * len(gaps)
    for i in range(len(gaps) - 1, -1, -1):
        gap = gaps[i]
        following = along.begins.get((gap.tensor, gap.last))
        stays = following is not None and following not in dropped
        found[i] = gap.first if i in dropped else found[following] if stays and following is not None else gap.last
    return found


def _most_blocks(along: Along) -> int:
    """Tensors that may be in the memory at once, at most."""
    found = [len(gaps) + len(op.touches) for gaps, op in zip(along.rows, along.lives.operators, strict=True)]
    return 2 * max(found, default=0) + 2


def _ints(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.int64)


def _states(rows: int, most: int, tensors: int) -> States:
    from .layout_kernel import States

    blocks = [_ints(rows, most) for _ in range(3)]
    stored = np.zeros((rows, tensors), np.uint8)
    return States(_ints(rows), blocks[0], blocks[1], blocks[2], np.zeros(rows), stored)


def _branches(rows: int, most: int, touches: int) -> Branches:
    from .layout_kernel import Branches

    return Branches(
        _ints(rows), _ints(rows, most), _ints(rows, most), _ints(rows, most), _ints(rows, most), np.zeros(rows),
        np.zeros(rows), _ints(rows, touches + 1), _ints(rows), _ints(rows, most), _ints(rows),
    )  # fmt: skip
