"""Better plans with addresses by local search: what was dropped is kept again, and what is in its way goes elsewhere.

Simulated annealing (Kirkpatrick, Gelatt and Vecchi, Science 1983) over gaps and addresses at once, where windows of
steps and the packer have come to an end: in a memory that is full at every step, what can be kept depends on holes.
"""

from __future__ import annotations

import numpy as np

from .arrangement import Along, Arrangement
from .windows import TOLERANCE, Settings

MOVES = 10
"""Moves per gap."""
BATCHES = 100
"""Temperatures, from the first to none."""
LOG = 10_000
"""Changes that a move may log, and some for each use."""
HEAT = 0.15
"""The first temperature, in what a mean gap costs to drop."""


def repacked(start: Arrangement, settings: Settings, *, moves: int = MOVES) -> tuple[Arrangement, bool]:
    """A plan with addresses that costs no more, and whether Ctrl-C ended the search.

    Args:
        start: with addresses for every use. Where results take the place of inputs it stays as it is.
        settings: when to stop; the seed.
        moves: per gap.
    """
    along = start.along
    if along.lives.in_place or not start.dropped:
        return start, False
    from . import repack_kernel as kernel

    uses = [(name, step) for name, steps in along.lives.touches.items() for step in steps]
    tables = _tables(along, uses)
    state = _state(start, uses, tables, settings.options.seed)
    best = np.stack([state.address, state.kept])
    least = value = float(state.cost[0])
    heat = HEAT * float(np.mean(tables.load[tables.link > 0]))
    batch = max(1, moves * len(along.lives.gaps) // BATCHES)
    stopped = False
    try:
        for number in range(BATCHES):
            if settings.over or least <= settings.enough + TOLERANCE:
                break
            cooled = heat * (1 - number / BATCHES) ** 2
            least = kernel.search(tables, state, best, least, batch, cooled, number * batch)
    except KeyboardInterrupt:
        stopped = True
    if least >= value:
        return start, stopped
    return _read(along, uses, best), stopped


def _read(along: Along, uses: list[tuple[str, int]], best: np.ndarray) -> Arrangement:
    dropped = {i for k, use in enumerate(uses) if (i := along.begins.get(use, -1)) >= 0 and not best[1, k]}
    return Arrangement(along, dropped, {use: int(best[0, k]) for k, use in enumerate(uses)})


def _tables(along: Along, uses: list[tuple[str, int]]):  # type: ignore[no-untyped-def]
    from .repack_kernel import Tables

    lives, cost = along.lives, along.cost
    numbers = {use: k for k, use in enumerate(uses)}
    link, epoch = np.zeros(len(uses), np.int64), np.zeros(len(uses), np.int64)
    load, store = np.zeros(len(uses)), np.zeros(len(uses))
    for i, gap in enumerate(lives.gaps):
        k = numbers[gap.tensor, gap.first]
        assert along.begins[uses[k]] == i
        link[k], epoch[k], load[k] = 1, gap.epoch, gap.nbytes * cost.load
        store[k] = 0.0 if lives.epochs[gap.epoch].stored else gap.nbytes * cost.store
    used = [[numbers[name, step] for name in op.touches] for step, op in enumerate(lives.operators)]
    over = [
        sorted(numbers[g.tensor, g.first] for i in row if (g := lives.gaps[i]).first < step)
        for step, row in enumerate(along.rows)
    ]
    return Tables(
        _ints([along.capacity]), _ints([step for _, step in uses]), _ints([along.nbytes(name) for name, _ in uses]),
        link, load, store, epoch, *_flat(used), *_flat(over),
    )  # fmt: skip


def _flat(rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the rows, and what is in them."""
    return _ints(np.cumsum([0, *(len(row) for row in rows)])), _ints([x for row in rows for x in row])


def _ints(values: object) -> np.ndarray:
    return np.array(values, np.int64)


def _state(start: Arrangement, uses: list[tuple[str, int]], tables, seed: int):  # type: ignore[no-untyped-def]
    from .repack_kernel import State

    along, count = start.along, len(uses)
    kept = [int((i := along.begins.get(use, -1)) >= 0 and i not in start.dropped) for use in uses]
    drops = np.zeros(max(1, len(along.lives.epochs)), np.int64)
    for i in start.dropped:
        drops[along.lives.gaps[i].epoch] += 1
    return State(
        _ints([start.address[use] for use in uses]), _ints(kept), drops, np.array([start.value]),
        np.random.default_rng(seed).integers(1, 1 << 63, 1, np.uint64), np.zeros(count, np.int64),
        np.zeros((LOG + 40 * count, 3), np.int64), np.zeros(1, np.int64), np.zeros(count, np.int64), np.zeros(count),
        np.zeros(count, np.int64), np.zeros(count, np.int64),
    )  # fmt: skip
