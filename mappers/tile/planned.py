"""Plans of Einsums, remembered: equal tasks share one answer, whatever the names in them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

from .nest import Level, Shortfall
from .search import Plan, Task

Planner: TypeAlias = Callable[[Task], Plan | Shortfall]


@dataclass(frozen=True)
class Call:
    """A call of a planner; `identity` stands for all of it."""

    identity: Hashable
    planner: Planner = field(compare=False)
    task: Task = field(compare=False)
    names: Mapping[str, list[str]] = field(compare=False)


@lru_cache(maxsize=2**14)
def planned(call: Call) -> tuple[Plan | Shortfall, Mapping[str, list[str]]]:
    """The plan, and the tensors that it was made for, by unit."""
    return call.planner(call.task), call.names


def renamed(level: Level, names: Mapping[str, str]) -> Level:
    """A level with the tensors of an equal Einsum."""
    new = {way: (names[way[0]], *way[1:]) for way in level.depth}
    return Level(
        level.loops,
        {new[way]: v for way, v in level.depth.items()},
        {new[way]: v for way, v in level.buffers.items()},
        {new[way]: v for way, v in level.tile_bytes.items()},
        frozenset(new[way] for way in level.slides),
    )
