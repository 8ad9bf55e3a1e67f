"""Better plans with addresses by local search: a dropped gap is kept again, and what then overlaps gives way.

Tensors may overlap for a while. Each of them in turn goes where it overlaps least, or a gap of it is dropped where that
costs less than the overlap; what overlaps none the less weighs more from then on, until nothing does (guided local
search: Voudouris and Tsang, European Journal of Operational Research 113, 1999; of packings: Faroe, Pisinger and
Zachariasen, INFORMS Journal on Computing 15, 2003). A plan that costs more is taken back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .arrangement import Along, Arrangement
from .windows import TOLERANCE, Settings

if TYPE_CHECKING:
    from .reinsertion_kernel import State, Tables

ROUNDS = 40
"""Times, per gap, that a dropped gap is kept again."""
BATCH = 10
"""Gaps between which the search may end: among hundreds of tensors each takes some hundredths of a second."""


def reinserted(start: Arrangement, settings: Settings, *, rounds: int = ROUNDS) -> tuple[Arrangement, bool]:
    """A plan with addresses that costs no more, and whether Ctrl-C ended the search.

    Args:
        start: with addresses for every use. Where results take the place of inputs it stays as it is.
        settings: when to stop, what is good enough, the seed.
        rounds: per gap.
    """
    along = start.along
    if along.lives.in_place or not start.dropped:
        return start, False
    from . import reinsertion_kernel as kernel

    uses = [(name, step) for name, steps in along.lives.touches.items() for step in steps]
    tables = _tables(along, uses)
    state = _state(start, uses, tables, settings.options.seed)
    best = kernel.Saved(state.address.copy(), state.kept.copy(), state.drops.copy(), state.cost.copy())
    stopped = False
    try:
        for _ in range(0, rounds * len(along.lives.gaps), BATCH):
            if settings.over or best.cost[0] <= settings.enough + TOLERANCE:
                break
            kernel.search(tables, state, best, BATCH)
    except KeyboardInterrupt:
        stopped = True
    dropped = {along.begins[use] for use, kept in zip(uses, best.kept, strict=True) if use in along.begins and not kept}
    found = Arrangement(along, dropped, dict(zip(uses, best.address.tolist(), strict=True)))
    return (found if found.value < start.value else start), stopped


def _tables(along: Along, uses: Sequence[tuple[str, int]]) -> Tables:
    from .reinsertion_kernel import Tables

    lives, cost = along.lives, along.cost
    link, epoch = _ints(0 for _ in uses), _ints(0 for _ in uses)
    load, store = np.zeros(len(uses)), np.zeros(len(uses))
    for k, use in enumerate(uses):
        if use in along.begins:
            gap = lives.gaps[along.begins[use]]
            link[k], epoch[k], load[k] = 1, gap.epoch, gap.nbytes * cost.load
            store[k] = 0.0 if lives.epochs[gap.epoch].stored else gap.nbytes * cost.store
    steps = list(lives.touches.values())
    end, near, back = _neighbours(_ints(s[0] for s in steps), _ints(s[-1] for s in steps))
    return Tables(
        _ints([along.capacity]), _ints(along.nbytes(name) for name in lives.touches),
        _ints(np.cumsum([0, *(len(s) for s in steps)])), _ints(step for _, step in uses),
        _ints(k for k, s in enumerate(steps) for _ in s), link, load, store, epoch, end, near, back,
    )  # fmt: skip


def _neighbours(first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tensors that may be in the memory with each: where its own end, which they are, and its place among theirs."""
    found = []
    for i in range(len(first)):
        alive = (first <= last[i]) & (first[i] <= last)
        alive[i] = False
        found.append(np.flatnonzero(alive))
    near = np.concatenate(found).astype(np.int64) if found else _ints([])
    mine = np.repeat(np.arange(len(found)), [len(f) for f in found])
    back = np.empty(len(near), np.int64)
    back[np.lexsort((mine, near))] = np.arange(len(near))
    return _ints(np.cumsum([0, *(len(f) for f in found)])), near, back


def _state(start: Arrangement, uses: Sequence[tuple[str, int]], tables: Tables, seed: int) -> State:
    from .reinsertion_kernel import WEIGHT, State

    along, count = start.along, len(uses)
    drops = _ints(0 for _ in range(max(1, len(along.lives.epochs))))
    for i in start.dropped:
        drops[along.lives.gaps[i].epoch] += 1
    kept = _ints(along.begins.get(use, -1) not in {-1, *start.dropped} for use in uses)
    at, nbytes, pair, use, order, row, queue, queued, gone = (np.zeros(count, np.int64) for _ in range(9))
    return State(
        _ints(start.address[use] for use in uses), kept, drops, np.array([start.value], np.float64),
        np.full(len(tables.near), WEIGHT), np.zeros(len(tables.near) + 1, np.int64),
        np.random.default_rng(seed).integers(1, 1 << 63, 1, np.uint64), np.zeros(count), at, nbytes, pair, use,
        order, row, queue, queued, gone, np.zeros(2, np.int64),
    )  # fmt: skip


def _ints(values: Iterable[int]) -> np.ndarray:
    return np.array(list(values), np.int64)
