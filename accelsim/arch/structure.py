"""What can be wrong between the components of a machine: references, the tree of memories, names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..text.names import nearest_key


class Fault(NamedTuple):
    """Something wrong between components: the path of the key in the machine, what it is, what would be valid."""

    path: tuple[str, ...]
    what: str
    hint: str


def structure_faults(
    parents: Mapping[str, str | None], fed_by: Mapping[str, Mapping[str, str]], joins: Mapping[str, Sequence[str]]
) -> list[Fault]:
    """What is wrong between components.

    Args:
        parents: memory to its parent.
        fed_by: compute unit to its memories, by the key that names them, as far as they are known.
        joins: link to the two memories that it joins, empty where they are not known.
    """
    faults = []
    if not parents:
        faults.append(Fault(("memories",), "a machine needs at least one memory", "such as a `dram` and a `buffer`"))
    if not fed_by:
        faults.append(Fault(("units",), "a machine needs at least one compute unit", "such as a `systolic` array"))
    for name, parent in parents.items():
        if parent is not None and parent not in parents:
            faults.append(Fault(("memories", name, "parent"), f"no memory `{parent}`", nearest_key(parent, parents)))
    faults += _tree_faults(parents)
    for name, memories in fed_by.items():
        for key, memory in memories.items():
            if memory not in parents:
                path = ("units", name, *key.split("."))
                faults.append(Fault(path, f"no memory `{memory}`", nearest_key(memory, parents)))
    pairs: dict[frozenset[str], str] = {}
    for name, between in joins.items():
        for memory in between:
            if memory not in parents:
                faults.append(Fault(("links", name, "between"), f"no memory `{memory}`", nearest_key(memory, parents)))
        if len(set(between)) == 1:
            faults.append(Fault(("links", name, "between"), f"joins `{between[0]}` to itself", "name two memories"))
        if between and (other := pairs.setdefault(frozenset(between), name)) != name:
            faults.append(Fault(("links", name, "between"), f"joins the same memories as link `{other}`",
                                "one link between two memories: add up the bandwidths"))  # fmt: skip
    owner: dict[str, str] = {}
    for section, names in (("memories", list(parents)), ("units", list(fed_by)), ("links", list(joins))):
        for part in names:
            if (first := owner.setdefault(part, section)) != section:
                faults.append(Fault((section, part), f"`{part}` stands under {first} too",
                                    "every component has a name of its own"))  # fmt: skip
    return faults


def _tree_faults(parents: Mapping[str, str | None]) -> list[Fault]:
    faults = []
    roots = sorted(n for n, p in parents.items() if p is None)
    for name in roots[1:]:
        faults.append(Fault(("memories", name), f"a second memory without a parent, beside `{roots[0]}`",
                            "give all but the outermost memory a `parent`"))  # fmt: skip
    seen: set[str] = set()
    for start in sorted(parents):
        trail: list[str] = []
        at: str | None = start
        while at is not None and at in parents and at not in seen and at not in trail:
            trail.append(at)
            at = parents[at]
        if at is not None and at in trail:
            cycle = [*trail[trail.index(at) :], at]
            faults.append(Fault(("memories", cycle[0], "parent"), f"parents go in a circle: {' -> '.join(cycle)}",
                                "one memory, the outermost, has no parent"))  # fmt: skip
        seen.update(trail)
    return faults
