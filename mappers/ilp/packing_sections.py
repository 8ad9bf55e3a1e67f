"""Sections of time for address packing: the largest sets of buffers that are alive at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Alive(Protocol):
    """What is alive from `lower` up to but not at `upper`, and takes `size` units."""

    @property
    def lower(self) -> int: ...
    @property
    def upper(self) -> int: ...
    @property
    def size(self) -> int: ...


@dataclass(frozen=True)
class Section:
    """A stretch of time whose buffers all overlap each other.

    Attributes:
        lower, upper: it goes from `lower` up to but not at `upper`.
        load: the sum of the sizes of the buffers alive in it.
    """

    lower: int
    upper: int
    load: int


def sections_of(buffers: Sequence[Alive]) -> tuple[list[Section], list[tuple[int, int]]]:
    """The maximal sets of buffers alive at once, in order of time, and for each buffer the sections it lives in.

    Buffers overlap in time exactly where they share a section: a stretch of time whose buffers all live in a
    neighbouring stretch, too, says nothing new and is left out. The sections of a buffer are the range from the first
    up to but not at the second of its pair of indices.
    """
    events = sorted({b.lower for b in buffers} | {b.upper for b in buffers})
    starts: dict[int, list[int]] = {}
    ends: dict[int, list[int]] = {}
    for index, b in enumerate(buffers):
        starts.setdefault(b.lower, []).append(index)
        ends.setdefault(b.upper, []).append(index)
    found: list[Section] = []
    first: list[int] = [0] * len(buffers)
    last: list[int] = [0] * len(buffers)
    load, grown, since = 0, False, 0
    for event in events:
        if event in ends:
            if grown:
                found.append(Section(since, event, load))
            grown = False
            for index in ends[event]:
                load -= buffers[index].size
                last[index] = len(found)
        if event in starts:
            grown, since = True, event
            for index in starts[event]:
                load += buffers[index].size
                first[index] = len(found)
    return found, list(zip(first, last, strict=True))
