"""Where a straight run of Einsums is cut into groups: the least sum, whatever comes to nothing beside good groups."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import combinations, pairwise

import pytest

from accelsim.mappers.cascade.partition import LONG, SLACK, best_cuts

Key = tuple[int, int]


def _least(single: list[float], costs: dict[Key, float]) -> float:
    """Over all sets of groups that do not meet, by trying every one."""
    best = sum(single)
    for number in range(1, len(single) // 2 + 1):
        for chosen in combinations(sorted(costs), number):
            if all(a[1] <= b[0] for a, b in pairwise(chosen)):
                best = min(best, sum(single) + sum(costs[k] - sum(single[slice(*k)]) for k in chosen))
    return best


def _asked(costs: dict[Key, float]) -> Callable[[int, int], tuple[float, str] | None]:
    return lambda i, j: (costs[i, j], f"{i}-{j}") if (i, j) in costs else None


@pytest.mark.parametrize("seed", range(20))
def test_the_least_sum(seed: int) -> None:
    """Where bounds are loose, some groups cannot be made, and items' costs are known as bounds only."""
    rng = random.Random(seed)
    single = [rng.uniform(1, 10) for _ in range(7)]
    keys = [(i, j) for i in range(7) for j in range(i + 2, 8)]
    costs = {k: rng.uniform(0.4, 1.3) * sum(single[slice(*k)]) for k in keys if rng.random() < 0.8}
    bounds = {k: rng.uniform(0.3, 1.0) * costs.get(k, sum(single[slice(*k)])) for k in keys}
    nearer = {k: rng.uniform(bounds[k], cost) for k, cost in costs.items()}
    unknown = {i for i in range(7) if rng.random() < 0.5}
    given = [cost * (rng.uniform(0.5, 1.0) if i in unknown else 1) for i, cost in enumerate(single)]
    found = best_cuts(given, bounds, (_asked(nearer), _asked(costs)), 1000, unknown, single.__getitem__)
    least = _least(single, costs)
    assert least <= found.cost + 1e-9 <= least / (1 - SLACK) + 2e-9
    assert found.complete and found.bound <= least + 1e-9
    alone = [i for i in range(7) if not any(i in range(*key) for key in found.groups)]
    assert sum(costs[k] for k in found.groups) + sum(single[i] for i in alone) == pytest.approx(found.cost)


def test_hopeless_groups_take_no_room_of_good_ones() -> None:
    """Long groups with low bounds that cannot be made hide good pairs until no more groups may be costed elsewhere."""
    number = 2 * LONG
    single = [10.0] * number
    pairs = {(i, i + 2): 12.0 for i in range(0, number, 2)}
    long = {(i, j): float(j - i) for i in range(LONG) for j in range(i + 3, min(LONG, i + 20) + 1)}
    asked = _asked(pairs)
    found = best_cuts(single, pairs | long, (asked, asked), len(pairs) // 2)
    assert dict(found.groups) == {key: f"{key[0]}-{key[1]}" for key in pairs}


def test_an_item_leaves_the_group_that_it_came_to_first() -> None:
    """Of four items the first two gain most together, then the others; it is less to take the last three together."""
    number = 2 * LONG
    single = [10.0] * number
    costs: dict[Key, float] = {}
    for i in range(0, number, 4):
        costs |= {(i, i + 2): 12.0, (i + 2, i + 4): 13.0, (i + 1, i + 4): 14.0}
    hopeless = {(i, j): float(j - i) for i in range(LONG) for j in range(i + 5, min(LONG, i + 20) + 1)}
    asked = _asked(costs)
    found = best_cuts(single, costs | hopeless, (asked, asked), len(costs))
    assert list(found.groups) == [(i + 1, i + 4) for i in range(0, number, 4)]
    assert found.cost == pytest.approx(24.0 * number / 4)
