"""What a Workload computes and nothing reads: the rows of a convolution that a stride or a pooling leaves out.

A Mapping need not make such points (a Loop with a halo makes what is read of a box, see `halo`), so that a bound that
holds for every Mapping must not count them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..ir import Access, Affine, Einsum, Item, Repeat, Role, Workload
from ..ir.same import Same
from .compulsory import Intervals, positions


class _Points(NamedTuple):
    """`number` points of a rank: `start`, and then each `step` after the one before."""

    start: int
    step: int
    number: int


def without_unread(workload: Workload) -> Workload:
    """The Workload without points whose results nothing reads; itself where there are none.

    Points are left out rank by rank, where what is read of a rank of a result is evenly spaced; else its longest run,
    or the starts of its runs, stand for it, whichever are more, so that never more is left in than is read. Outputs and
    states are read after the run; of what a View or the next iteration of a Repeat takes, all counts as read.
    """
    return _without_unread(Same(workload))


@lru_cache(maxsize=16)
def _without_unread(of: Same[Workload]) -> Workload:
    workload = of.value
    kept = {t.name for t in workload.tensors.values() if t.role in (Role.OUTPUT, Role.STATE)}
    for view in workload.views():
        kept |= {view.input, view.output, view.rows}
    kept |= {name for repeat in _repeats(workload.body) for pair in repeat.carried for name in pair}
    readers: dict[str, list[tuple[Einsum, Access]]] = {}
    less: dict[str, Einsum] = {}
    for einsum, _ in reversed(list(workload.einsums())):
        made = einsum.output.tensor
        if made not in kept and made in readers and not einsum.iterative:
            wanted = _wanted(einsum, readers[made], workload.tensors[made].shape)
            if wanted:
                less[einsum.name] = einsum = _only(einsum, wanted)
        for access in einsum.inputs:
            readers.setdefault(access.tensor, []).append((einsum, access))
    return replace(workload, body=_replaced(workload.body, less)) if less else workload


def _repeats(items: Sequence[Item]) -> list[Repeat]:
    return [r for item in items if isinstance(item, Repeat) for r in (item, *_repeats(item.body))]


def _replaced(items: Sequence[Item], less: Mapping[str, Einsum]) -> tuple[Item, ...]:
    return tuple(
        replace(item, body=_replaced(item.body, less)) if isinstance(item, Repeat)
        else less.get(item.name, item) if isinstance(item, Einsum) else item
        for item in items
    )  # fmt: skip


def _wanted(maker: Einsum, readers: Sequence[tuple[Einsum, Access]], shape: Sequence[int]) -> dict[str, _Points]:
    """Of ranks of which not every point is read, those that are."""
    ranks = [r for index in maker.output.indices for r in index.ranks]
    found = {}
    for dim, (index, size) in enumerate(zip(maker.output.indices, shape, strict=True)):
        if len(index.terms) != 1 or index.terms[0][1] != 1 or ranks.count(index.terms[0][0]) > 1:
            continue
        if any(_covers(access.indices[dim], reader.sizes, size) for reader, access in readers):
            continue
        ((rank, _),) = index.terms
        parts = [positions(access.indices[dim], reader.sizes, size) for reader, access in readers]
        points = _evenly(_union(parts), index.offset, maker.sizes[rank])
        if points.number and points.number < maker.sizes[rank]:
            found[rank] = points
    return found


def _covers(index: Affine, sizes: Mapping[str, int], size: int) -> bool:
    """Whether an index, by the simplest of reasons, takes every value inside a dimension of `size` elements."""
    low, high = index.bounds(sizes)
    if low > 0 or high < size - 1:
        return False
    width = 1
    for step, count in sorted((abs(c), sizes[r]) for r, c in index.terms if c):
        if step > width and count > 1:
            return False
        width += step * (count - 1)
    return True


def _union(parts: Sequence[Intervals]) -> Intervals:
    """Intervals that hold what any of `parts` holds; neighbours are one."""
    spans = np.concatenate(parts)
    spans = spans[np.argsort(spans[:, 0], kind="stable")]
    ends = np.maximum.accumulate(spans[:, 1])
    first = np.append(True, spans[1:, 0] > ends[:-1])
    last = np.append(np.flatnonzero(first)[1:] - 1, len(spans) - 1)
    return np.stack([spans[first, 0], ends[last]], axis=1)


def _evenly(spans: Intervals, offset: int, size: int) -> _Points:
    """Most of the points of a rank, evenly spaced, that lie in `spans` of the positions that it has with `offset`."""
    low, high = np.clip(spans[:, 0] - offset, 0, size), np.clip(spans[:, 1] - offset, 0, size)
    low, high = low[high > low], high[high > low]
    if not len(low):
        return _Points(0, 1, 0)
    longest = int(np.argmax(high - low))
    run = _Points(int(low[longest]), 1, int(high[longest] - low[longest]))
    steps = np.diff(low)
    if run.number >= len(low) or (steps != steps[0]).any():
        return run
    return _Points(int(low[0]), int(steps[0]), len(low))


def _only(einsum: Einsum, wanted: Mapping[str, _Points]) -> Einsum:
    """The Einsum at these points of its ranks alone."""

    def moved(access: Access) -> Access:
        return replace(access, indices=tuple(at(index) for index in access.indices))

    def at(index: Affine) -> Affine:
        points = {r: wanted[r] for r in index.ranks if r in wanted}
        terms = tuple((r, c * points[r].step if r in points else c) for r, c in index.terms)
        return Affine(terms, index.offset + sum(c * points[r].start for r, c in index.terms if r in points))

    sizes = {r: wanted[r].number if r in wanted else n for r, n in einsum.sizes.items()}
    return replace(einsum, sizes=sizes, output=moved(einsum.output), inputs=tuple(map(moved, einsum.inputs)))
