"""Addresses for buffers whose lifetimes are known, in one memory: first fit by several keys, then an exact search.

Dynamic storage allocation: buffers that are alive at the same time must not overlap, and none may reach beyond the
capacity. The problem is NP-complete (Garey and Johnson, problem SR2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import BadInput, Problem, SpecError
from .packing_sections import Section, sections_of

DEFAULT_NODES = 2_000_000
"""Nodes of the exact search before it stops, by default: some tens of seconds."""


@dataclass(frozen=True)
class Buffer:
    """Something that needs a contiguous range of addresses for a while.

    Attributes:
        name: unique in a packing.
        lower, upper: it is alive from `lower` up to but not at `upper`, in any unit of time.
        size: in any unit of memory, such as bytes; more than 0.
        alignment: its address must be a multiple of this.
        address: where it must be, if that is given.
    """

    name: str
    lower: int
    upper: int
    size: int
    alignment: int = 1
    address: int | None = None


@dataclass(frozen=True)
class Packing:
    """What `pack` found.

    Attributes:
        addresses: by name of the buffer; None where none were found.
        complete: the answer is final: there are addresses, or there can be none. False where the search stopped.
        peak: the first address that no buffer reaches; 0 without addresses.
        nodes: of the exact search; 0 where first fit, or the load, settled it.
        full: where there can be no addresses, a section that alone is loaded beyond the capacity, if there is one.
        reason: why there are no addresses, in words; empty where there are.
    """

    addresses: dict[str, int] | None
    complete: bool
    peak: int
    nodes: int
    full: Section | None = None
    reason: str = ""


def pack(buffers: Sequence[Buffer], capacity: int, *, nodes: int = DEFAULT_NODES) -> Packing:
    """Addresses from 0 on and below `capacity`, such that buffers alive at the same time do not overlap.

    The same input gives the same answer: limits are in nodes of the search and not in seconds.

    Args:
        buffers: in any order; of several answers, which is found may depend on it.
        capacity: of the memory, in the unit of the sizes.
        nodes: of the exact search; 0 for first fit alone.

    Raises:
        SpecError: a buffer without size or lifetime, a name used twice, a fixed address that is not a multiple of the
            alignment.
    """
    _check(buffers, capacity)
    sections, ranges = sections_of(buffers)
    fullest = max(sections, key=lambda s: s.load, default=None)
    if fullest is not None and fullest.load > capacity:
        reason = f"from {fullest.lower} to {fullest.upper} buffers of {fullest.load} are alive, of {capacity} that fit"
        return Packing(None, True, 0, 0, fullest, reason)
    overlapping = _overlaps(ranges)
    for key in KEYS.values():
        found = first_fit(buffers, capacity, key, overlapping)
        if found is not None:
            return _packed(buffers, found, 0)
    if nodes <= 0:
        return Packing(None, False, 0, 0, None, "first fit found no addresses, and there was no search")
    from .packing_search import exact  # compiles

    searched = exact(buffers, capacity, ranges, len(sections), nodes)
    if searched.addresses is not None:
        return _packed(buffers, searched.addresses, searched.nodes)
    if searched.complete:
        reason = f"the buffers overlap or exceed {capacity} wherever they lie, though no load does"
    else:
        reason = f"stopped after {searched.nodes} nodes of the search; more may find addresses"
    return Packing(None, searched.complete, 0, searched.nodes, None, reason)


KEYS: dict[str, Callable[[Buffer, int], tuple[float, ...]]] = {
    "size": lambda b, conflict: (-b.size, b.lower - b.upper),
    "area": lambda b, conflict: (-b.size * (b.upper - b.lower), -b.size),
    "lifetime": lambda b, conflict: (b.lower - b.upper, -b.size),
    "conflict": lambda b, conflict: (-conflict, -b.size),
    "start": lambda b, conflict: (b.lower, -b.size),
    "end": lambda b, conflict: (-b.upper, -b.size),
}
"""Orders in which first fit takes buffers: by sizes, lifetimes, their product, the bytes that are alive with it."""


def first_fit(
    buffers: Sequence[Buffer],
    capacity: int,
    key: Callable[[Buffer, int], tuple[float, ...]],
    overlapping: Sequence[Sequence[int]],
) -> list[int] | None:
    """The lowest free address for one buffer after the other; those with given addresses first.

    Args:
        buffers: in any order.
        capacity: of the memory.
        key: of a buffer and of the sum of the sizes of all that overlap with it; buffers go in its order.
        overlapping: for each buffer the indices of those alive with it.
    """
    found = _first_fit(buffers, capacity, key, overlapping)
    placed = [a for a in found if a is not None]
    return placed if len(placed) == len(found) else None


def _first_fit(
    buffers: Sequence[Buffer],
    capacity: int,
    key: Callable[[Buffer, int], tuple[float, ...]],
    overlapping: Sequence[Sequence[int]],
) -> list[int | None]:
    """As `first_fit`; None for buffers that find no hole."""
    conflict = [sum(buffers[o].size for o in others) for others in overlapping]
    order = sorted(range(len(buffers)), key=lambda i: (buffers[i].address is None, *key(buffers[i], conflict[i]), i))
    placed: list[int | None] = [None] * len(buffers)
    for index in order:
        b = buffers[index]
        taken = sorted((a, a + buffers[o].size) for o in overlapping[index] if (a := placed[o]) is not None)
        address = b.address if b.address is not None else 0
        for start, end in taken:
            if end <= address:
                continue
            if address + b.size <= start:
                break
            if b.address is not None:
                address = capacity  # it must be there, and cannot
                break
            address = -(-end // b.alignment) * b.alignment
        if address + b.size <= capacity:
            placed[index] = address
    return placed


def _overlaps(ranges: Sequence[tuple[int, int]]) -> list[list[int]]:
    """For each buffer those that are alive with it, by the sections that they live in."""
    first = np.array([r[0] for r in ranges], np.int64)
    last = np.array([r[1] for r in ranges], np.int64)
    found = []
    for index, (start, stop) in enumerate(ranges):
        alive = (first < stop) & (start < last)
        alive[index] = False
        found.append(np.flatnonzero(alive).tolist())
    return found


def _packed(buffers: Sequence[Buffer], addresses: Sequence[int], nodes: int) -> Packing:
    peak = max((a + b.size for a, b in zip(addresses, buffers, strict=True)), default=0)
    return Packing({b.name: a for b, a in zip(buffers, addresses, strict=True)}, True, peak, nodes)


def _check(buffers: Sequence[Buffer], capacity: int) -> None:
    problems = []
    if capacity < 0:
        raise BadInput(f"capacity {capacity}: 0 or more")
    seen: set[str] = set()
    for b in buffers:
        where = f"buffer {b.name}"
        if b.name in seen:
            problems.append(Problem(where, "named twice"))
        seen.add(b.name)
        if b.size <= 0:
            problems.append(Problem(where, f"size {b.size}", "more than 0"))
        if b.upper <= b.lower:
            problems.append(Problem(where, f"alive from {b.lower} to {b.upper}", "the end is after the start"))
        if b.alignment <= 0:
            problems.append(Problem(where, f"alignment {b.alignment}", "1 or more"))
        elif b.address is not None and (b.address < 0 or b.address % b.alignment):
            problems.append(Problem(where, f"address {b.address}", f"0 or more, and a multiple of {b.alignment}"))
    if problems:
        raise SpecError(problems)
