"""The traffic that no Mapping avoids: what a Workload must read from, and write to, memory outside the chip."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..ir import Access, Affine, Einsum, Item, Repeat, Role, Tensor, Workload
from ..ir.same import Same

_STANDING = (Role.INPUT, Role.WEIGHT, Role.STATE)
_KEPT = (Role.OUTPUT, Role.STATE)
Use: TypeAlias = tuple[Tensor, Einsum, Access]
"""An access of an Einsum, and the tensor that it names: a stored one, or a view."""
Intervals = NDArray[np.int64]
"""[n, 2] disjoint half-open intervals, ascending."""


@dataclass(frozen=True)
class CompulsoryTraffic:
    """Bytes that must cross the chip's edge at least once, in all and by stored tensor (all its instances)."""

    reads: Mapping[str, int] = field(default_factory=dict)
    writes: Mapping[str, int] = field(default_factory=dict)

    @property
    def read_bytes(self) -> int:
        return sum(self.reads.values())

    @property
    def write_bytes(self) -> int:
        return sum(self.writes.values())


@dataclass
class _Uses:
    """How a stored tensor is touched, and how many instances of it come from, and go to, outside."""

    instances: int | None = None
    reads: list[Use] = field(default_factory=list)
    writes: list[Use] = field(default_factory=list)


def compulsory_traffic(workload: Workload, *, resident: Collection[str] = ()) -> CompulsoryTraffic:
    """Bytes that every Mapping moves over the chip's edge.

    Inputs, weights and states start outside the chip, outputs and states end there. So each element that an Einsum
    reads of the former, and that no Einsum has written before, is read once; each that is written of the latter is
    written once. Elements that no index touches do not count (a stride larger than the kernel, a slice). Rows gathered
    from a table count as what is read of it; the row numbers themselves do not count. A tensor that the iterations of a
    Repeat hand on counts once for the Repeat.

    Args:
        workload: what is computed.
        resident: stored tensors that are on the chip before and after the run.
    """
    return _traffic(Same(workload), frozenset(resident))


@lru_cache(maxsize=16)
def _traffic(of: Same[Workload], resident: frozenset[str]) -> CompulsoryTraffic:
    workload = of.value
    uses: dict[str, _Uses] = {}
    for item, times in _visits(workload):
        for access, written in [*((a, False) for a in item.inputs), (item.output, True)]:
            name = workload.storage(access.tensor)
            use = uses.setdefault(name, _Uses())
            copies = times(access.tensor, name)
            use.instances = copies if use.instances is None else min(use.instances, copies)
            (use.writes if written else use.reads).append((workload.tensors[access.tensor], item, access))
    reads: dict[str, int] = {}
    writes: dict[str, int] = {}
    for name, use in uses.items():
        tensor = workload.tensors[name]
        if name in resident or use.instances is None:
            continue
        source = workload.origin(name)
        if workload.tensors[source].role in _STANDING and source not in resident and use.reads:
            elements = touched(tensor, use.reads, without=use.writes)
            if elements:
                reads[name] = tensor.bytes_of(elements) * use.instances
        if tensor.role in _KEPT and use.writes:
            writes[name] = tensor.bytes_of(touched(tensor, use.writes)) * use.instances
    return CompulsoryTraffic(reads, writes)


class _Times:
    """Counts the instances of a tensor: one per iteration of every Repeat around, but for shared and carried ones."""

    def __init__(self, around: tuple[Repeat, ...]) -> None:
        self._around = around
        self._single = [r.shared | {name for pair in r.carried for name in pair} for r in around]

    def __call__(self, *names: str) -> int:
        result = 1
        for repeat, single in zip(self._around, self._single, strict=True):
            if not single.isdisjoint(names):
                continue
            result *= repeat.count
        return result


def _visits(workload: Workload) -> Iterator[tuple[Einsum, _Times]]:
    def visit(items: tuple[Item, ...], around: tuple[Repeat, ...]) -> Iterator[tuple[Einsum, _Times]]:
        times = _Times(around)
        for item in items:
            if isinstance(item, Repeat):
                yield from visit(item.body, (*around, item))
            elif isinstance(item, Einsum):
                yield item, times

    return visit(workload.body, ())


def touched(
    tensor: Tensor, uses: list[Use], without: Iterable[Use] = ()
) -> int:
    """Elements of a stored tensor that any of `uses`, and none of `without`, touches (at least that many).

    Accesses through views of another shape are not placed among the others: if there are any, the largest single use
    less everything that may be written counts.
    """
    without = list(without)
    if all(t.shape == tensor.shape for t, _, _ in (*uses, *without)):
        return _covered([_inner_box(*use) for use in uses], [_box(*use) for use in without])
    excluded = sum(_covered([_box(*use)], []) for use in without)
    return max(0, max(_covered([_inner_box(*use)], []) for use in uses) - excluded)


def _box(tensor: Tensor, einsum: Einsum, access: Access) -> list[Intervals]:
    """The values of each index: their product holds all that the access touches."""
    return [positions(i, einsum.sizes, n) for i, n in zip(access.indices, tensor.shape, strict=True)]


def _inner_box(tensor: Tensor, einsum: Einsum, access: Access) -> list[Intervals]:
    """A box of elements that the access does touch: a rank that stands in two indices (a diagonal) is held at 0."""
    ranks = [r for index in access.indices for r in index.ranks]
    sizes = {r: 1 if ranks.count(r) > 1 else n for r, n in einsum.sizes.items()}
    return [positions(i, sizes, n) for i, n in zip(access.indices, tensor.shape, strict=True)]


def _covered(boxes: list[list[Intervals]], holes: list[list[Intervals]]) -> int:
    """Points inside any of the boxes and none of the holes; boxes are products of one set per dimension."""
    everything = [*boxes, *holes]
    volume: dict[int, int] = {(1 << len(everything)) - 1: 1}
    """Bit set of the boxes that still hold a point, by the dimensions seen, to the number of such points."""
    for dimension in range(len(everything[0])):
        widths = _widths([box[dimension] for box in everything])
        further: dict[int, int] = {}
        for mask, points in volume.items():
            for inside, width in widths.items():
                if mask & inside:
                    further[mask & inside] = further.get(mask & inside, 0) + points * width
        volume = further
    wanted = (1 << len(boxes)) - 1
    return sum(points for mask, points in volume.items() if mask & wanted and not mask >> len(boxes))


def _widths(sets: list[Intervals]) -> dict[int, int]:
    """Bit set of the sets that hold a value, to the number of such values."""
    if all(len(s) == 1 and s[0, 0] == sets[0][0, 0] and s[0, 1] == sets[0][0, 1] for s in sets):
        return {(1 << len(sets)) - 1: int(sets[0][0, 1] - sets[0][0, 0])}
    cuts = np.unique(np.concatenate([s.ravel() for s in sets]))
    if len(cuts) < 2:
        return {}
    member = np.stack([np.searchsorted(s[:, 0], cuts[:-1], "right") > np.searchsorted(s[:, 1], cuts[:-1], "right")
                       for s in sets])  # fmt: skip
    kinds, which = np.unique(member, axis=1, return_inverse=True)
    lengths = np.bincount(which.ravel(), weights=np.diff(cuts), minlength=kinds.shape[1])
    result: dict[int, int] = {}
    for column, length in zip(kinds.T, lengths, strict=True):
        mask = sum(1 << i for i, inside in enumerate(column) if inside)
        if mask:
            result[mask] = int(length)
    return result


def positions(index: Affine, sizes: Mapping[str, int], size: int) -> Intervals:
    """The values of an index inside a dimension of `size` elements."""
    start, _ = index.bounds(sizes)
    starts, width = np.array([start], np.int64), 1
    for step, count in sorted((abs(c), sizes[r]) for r, c in index.terms if c and sizes[r] > 1):
        if step <= width:
            width += step * (count - 1)
        else:
            starts = (starts[:, None] + step * np.arange(count)).ravel()
    starts = np.unique(starts)
    low, high = np.clip(starts, 0, size), np.clip(starts + width, 0, size)
    low, high = low[high > low], high[high > low]
    if not len(low):
        return np.zeros((0, 2), np.int64)
    first = np.ones(len(low), np.bool_)
    first[1:] = low[1:] > high[:-1]
    last = np.append(np.flatnonzero(first)[1:] - 1, len(low) - 1)
    return np.stack([low[first], high[last]], axis=1)
