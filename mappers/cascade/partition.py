"""Where a straight run of Einsums is cut into groups: dynamic programming over cut points, with bounds.

A group's cost is expensive to find and its lower bound cheap. So cuts are chosen by bounds where costs are not known
yet, the groups that they name are looked at more closely, and so on, until the cuts chosen name none but costed groups:
they are then the best there are, of the costs that groups have, as far as what was known before never exceeds these.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, TypeVar

T = TypeVar("T")
SLACK = 0.01
"""A partition is good enough within this share of what bounds say any other could come to."""


LONG = 24
"""Of runs of more items, groups that come about by merging neighbours are looked at, those near the best of these, and
a few more."""
FURTHER = 12
"""Those with most to gain by their bounds."""


@dataclass(frozen=True)
class Cuts(Generic[T]):
    """A partition: the groups in it, items between them being by themselves.

    Attributes:
        groups: (first, last) of every group, `last` exclusive, to how it is done.
        cost: of all items.
        bound: below which no partition can come.
        complete: False where the search ended before the two met.
    """

    groups: Mapping[tuple[int, int], T]
    cost: float
    bound: float
    complete: bool


def best_cuts(
    single: Sequence[float],
    bounds: Mapping[tuple[int, int], float],
    refined: Sequence[Callable[[int, int], tuple[float, T] | None]],
    most: int,
    unknown: Collection[int] = (),
    settle: Callable[[int], float] = float,
) -> Cuts[T]:
    """The partition of least summed cost.

    Args:
        single: cost of every item by itself, or a lower bound of that.
        bounds: (first, last) of what may be a group to a lower bound of its cost.
        refined: functions of such a group, each dearer and nearer to its cost than the one before, the last one being
            its cost; with it how the group is done. None where it cannot be.
        most: groups for which the last one is asked at most.
        unknown: items of which `single` has bounds.
        settle: gives the cost of one of these.
    """
    single, bounded = list(single), set(unknown)
    values: dict[tuple[int, int], tuple[float, int]] = {key: (b, 0) for key, b in bounds.items()}
    """What is known of a group's cost, and how many functions have been asked."""
    known: dict[tuple[int, int], tuple[float, T]] = {}
    asked = 0

    def look(key: tuple[int, int]) -> None:
        nonlocal asked
        level = values.pop(key)[1]
        found = refined[level](*key)
        last = level == len(refined) - 1
        asked += last
        if found is not None:
            values[key] = found[0], level + 1
            if last:
                known[key] = found

    def refine() -> tuple[float, float, bool, list[tuple[int, int]]]:
        """Until the cuts chosen name none but costed groups: the bound, the least sum, whether they met, its groups."""
        while True:
            value, chosen = _cut(single, {key: v for key, (v, _) in values.items()})
            settled = [math.inf if i in bounded else cost for i, cost in enumerate(single)]
            surely, sure = _cut(settled, {key: found[0] for key, found in known.items()})
            wanted = [key for key in chosen if key not in known]
            alone = bounded.difference(*(range(*key) for key in chosen))
            done = not (wanted or alone) or value >= surely * (1 - SLACK)
            if done or (asked >= most and surely < math.inf):
                return min(value, surely), surely, done, sure
            for key in wanted if asked < most else ():
                look(key)
            if not wanted or asked >= most:  # groups first: of better ones the items are not wanted by themselves
                for i in sorted(alone or bounded):
                    single[i] = settle(i)
                bounded.difference_update(alone or set(bounded))

    if len(single) > LONG:
        _merge(single, values, look)
        hopes = {key: values.pop(key) for key, (_, level) in list(values.items()) if not level}
        # What is foreseen first, lest those of which little is known take all that may be costed.
        _, least, _, chosen = refine()
        while near := hopes.keys() & _near(chosen, len(single)):
            values.update((key, hopes.pop(key)) for key in sorted(near))
            _, cost, _, chosen = refine()
            if cost >= least:
                break
            least = cost
        likely = sorted(hopes, key=lambda key: hopes[key][0] - sum(single[key[0] : key[1]]))
        values.update((key, hopes[key]) for key in likely[:FURTHER])
    value, surely, done, sure = refine()
    return Cuts({key: known[key][1] for key in sure}, surely, value, done and len(single) <= LONG)


def _merge(
    single: Sequence[float], values: dict[tuple[int, int], tuple[float, int]], look: Callable[[tuple[int, int]], None]
) -> None:
    """Look at the groups that come about when neighbours are put together, those first that gain most by it."""
    parts = [(i, i + 1) for i in range(len(single))]
    costs = {(i, i + 1): cost for i, cost in enumerate(single)}

    def gain(k: int) -> tuple[float, bool]:
        """What putting a part and the next one together gains, or at most gains; and whether that is known."""
        key = parts[k][0], parts[k + 1][1]
        cost, looked = values.get(key, (math.inf, 1))
        return costs[parts[k]] + costs[parts[k + 1]] - cost, bool(looked)

    while len(parts) > 1:
        # Those that may gain most are looked at until the one that does is known: the others gain less.
        (most, sure), k = max((gain(k), -k) for k in range(len(parts) - 1))
        if most <= 0:
            return
        key = parts[-k][0], parts[1 - k][1]
        if not sure:
            look(key)
            continue
        costs[key] = values[key][0]
        parts[-k : 2 - k] = [key]


def _near(groups: Sequence[tuple[int, int]], items: int) -> set[tuple[int, int]]:
    """Groups and items of a partition, longer or shorter by an item at either end, and neighbours together: merging
    alone leaves an item with the group to which it came first."""
    ends = {i for group in groups for i in group}
    inside = {i for first, last in groups for i in range(first, last)}
    cuts = sorted(ends | {i for i in range(items + 1) if i not in inside})
    parts = list(pairwise(cuts))
    near = {(first + a, last + b) for first, last in parts for a in (-1, 0, 1) for b in (-1, 0, 1)}
    return near | {(a[0], b[1]) for a, b in pairwise(parts)}


def _cut(single: Sequence[float], costs: Mapping[tuple[int, int], float]) -> tuple[float, list[tuple[int, int]]]:
    """The least sum, and the groups that give it; of equals those with fewer groups that begin later."""
    ending: dict[int, list[int]] = {}
    for first, last in costs:
        ending.setdefault(last, []).append(first)
    best = [0.0] + [math.inf] * len(single)
    begin = [0] * (len(single) + 1)
    for j in range(1, len(single) + 1):
        best[j], begin[j] = best[j - 1] + single[j - 1], j - 1
        for i in sorted(ending.get(j, ()), reverse=True):
            if best[i] + costs[i, j] < best[j]:
                best[j], begin[j] = best[i] + costs[i, j], i
    groups = []
    j = len(single)
    while j:
        if (begin[j], j) in costs and j - begin[j] > 1:
            groups.append((begin[j], j))
        j = begin[j]
    return best[-1], groups[::-1]
