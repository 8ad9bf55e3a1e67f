"""Plans with addresses close to one without: a beam search over steps, whose states are what lies where.

It never fails where a memory holds every operator: where what the plan keeps has no room in one piece, what costs least
leaves. Where prices say what had better leave, there is no plan to follow (`racing`). Neighbours of which one leaves
before the other make a hole, which costs the more the longer it is there and the dearer the memory is meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .arrangement import Along, Arrangement

if TYPE_CHECKING:
    from .layout_kernel import Branches, States, Tables

Step = tuple[NDArray[np.int64], NDArray[np.int64]]
"""What a step did: of each of its touches the address and the role (`layout_kernel`)."""
Noise = Callable[[int], NDArray[np.float64]]
"""What so many keys are off by."""

WIDTH = 64
"""States of the beam."""
BRANCHES = 3
"""States that follow each state of the beam."""
UNLIKE, PRICED = 0.01, 0.04
"""What neighbours of unlike lifetimes cost over the horizon, in tensors that leave: after a plan it tips the scale
between equal costs, where memory has a price it is what holes of any step cost."""
WASTE = 0.1
"""Bytes that such neighbours leave unused, in tensors, where these have a price; less where the horizon is longer."""
HORIZON = 40
"""Steps beyond which lifetimes are alike, at least; where many gaps are longer, so is the horizon."""
LONG = 0.95
"""Share of the gaps that are within the horizon, at least."""


def laid_out(along: Along, dropped: Collection[int] = (), *, width: int = WIDTH) -> Arrangement | None:
    """A plan that drops these gaps and, where what is left has no addresses, others; some may be kept after all.

    Args:
        along: the order's gaps.
        dropped: of the plan without addresses.
        width: of the beam.

    Returns:
        None where the beam ends with no state.
    """
    steps = len(along.lives.operators)
    if not steps:
        return Arrangement(along, set())
    beam = Beam(along, tables_of(along, dropped, None), width, steps)
    if not beam.run(0, steps):
        return None
    return traced(along, beam.path(0, steps, int(np.argmin(beam.states.paid[: beam.left]))))


class Beam:
    """A beam that starts with nothing in the memory, and knows what it did in its last `steps` steps.

    Attributes:
        states: behind the last step; those of the beam are the first `left`.
        least: the key of the best of them.
    """

    def __init__(self, along: Along, tables: Tables, width: int, steps: int) -> None:
        from . import layout_kernel as kernel

        self.kernel, self.tables = kernel, tables
        most = _most_blocks(along)
        touches = max(len(op.touches) for op in along.lives.operators)
        tensors = len(along.lives.problem.tensors)
        self.states, self._following = (_states(width, most, tensors) for _ in range(2))
        self._branches = tuple(_branches(BRANCHES, most, touches) for _ in range(2))
        rows, places = width * BRANCHES, BRANCHES * (2 * most + 4)
        self._offers = kernel.Offers(np.zeros(places), _ints(places), _ints(places))
        self._pool = kernel.Pool(
            _ints(rows), _ints(rows, most), _ints(rows, most), _ints(rows, most), np.zeros(rows), np.zeros(rows),
            _ints(rows), _ints(rows), _ints(rows), _ints(rows, most), _ints(rows),
            _ints(rows, touches), _ints(rows, touches),
        )  # fmt: skip
        self._record = kernel.Record(_ints(steps, width), _ints(steps, width, touches), _ints(steps, width, touches))
        self._salt = np.random.default_rng(0).integers(0, 1 << 62, tensors)
        self._seen, self._alike = (_ints(1 << (4 * rows).bit_length()) for _ in range(2))
        self.left, self.least = 1, 0.0

    def copied(self) -> States:
        """Its states, in arrays of their own."""
        s = self.states
        return self.kernel.States(
            s.blocks.copy(), s.tensor.copy(), s.address.copy(), s.gap.copy(), s.paid.copy(), s.stored.copy()
        )

    def run(self, first: int, end: int, *, noise: Noise | None = None) -> bool:
        """Run the steps from `first` to before `end`; whether any state is left.

        With `noise`, states go on as if their keys were off by as much.
        """
        kernel, pool = self.kernel, self._pool
        for step in range(first, end):
            a, b = self._branches
            count = kernel.expand(self.tables, self.states, self.left, step, a, b, self._offers, pool, self._salt)
            keys = pool.key[:count] if noise is None else pool.key[:count] + noise(count)
            order = np.argsort(keys, kind="stable")
            self.left = kernel.follow(
                self.tables, self.states, self._following, step, pool, order, self._seen, self._alike, self._record
            )  # fmt: skip
            self.states, self._following = self._following, self.states
            if not self.left:
                return False
            self.least = float(pool.key[:count].min())
        return True

    def ancestor(self, first: int, end: int, row: int) -> int:
        """The state behind the step before `first` from which one behind the step before `end` comes."""
        for step in range(end - 1, first - 1, -1):
            row = int(self._record.parent[step % len(self._record.parent), row])
        return row

    def path(self, first: int, end: int, row: int) -> list[Step]:
        """What the steps from `first` to before `end` did, on the way to a state behind them."""
        found = []
        for step in range(end - 1, first - 1, -1):
            at = step % len(self._record.parent)
            found.append((self._record.at[at, row].copy(), self._record.role[at, row].copy()))
            row = int(self._record.parent[at, row])
        return found[::-1]


def traced(along: Along, path: Sequence[Step]) -> Arrangement:
    """The plan in which each step does what it says."""
    from .layout_kernel import FRESH, OVER

    dropped: set[int] = set()
    address: dict[tuple[str, int], int] = {}
    for step, (at, role) in enumerate(path):
        for j, name in enumerate(along.lives.operators[step].touches):
            address[name, step] = int(at[j])
            gap = along.ends.get((name, step))
            if gap is not None and role[j] in (FRESH, OVER):
                dropped.add(gap)
    return Arrangement(along, dropped, address)


def tables_of(along: Along, dropped: Collection[int], prices: NDArray[np.float64] | None) -> Tables:
    """What a beam is given: the gaps that are dropped, or what a byte is worth at each step."""
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
    lengths = [g.last - g.first for g in gaps]
    horizon = max(HORIZON, int(np.quantile(lengths, LONG)) if gaps else 0)
    clock = unlike / horizon * np.arange(len(price)) + WASTE * HORIZON / horizon * tensor * price

    def ints(values: Sequence[int]) -> np.ndarray:
        return np.array(values, np.int64)

    return Tables(
        ints([along.capacity]), ints(size), ints(ends), ints(touch), ints(out), ints(over), ints(write), load, store,
        ints([g.last for g in gaps]), ints(_until(along, gone)), price, rent, _later(along, price, rent),
        clock, ints([horizon]),
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
