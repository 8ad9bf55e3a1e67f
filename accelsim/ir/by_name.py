"""Values for tensors of a Workload that are given by role, name or pattern: bits, densities."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import TypeVar

from ..errors import BadInput
from ..text.names import near
from .workload import Item, Repeat, Role, Workload

ROLES = tuple(role.value for role in Role)
T = TypeVar("T")


def by_name(
    workload: Workload, values: Mapping[str, T], what: str, reaches: Callable[[str, T], bool] = lambda name, value: True
) -> dict[str, T]:
    """Of each tensor its value, where it has one.

    Args:
        workload: any.
        values: keys are roles (``weight``, ``activation``, ``input``, ``output``, ``state``), names of tensors, or
            patterns of names with ``*``, ``?`` and ``[...]``. Names go before roles; of several names and patterns that
            fit a tensor, the last one counts.
        what: the quantity, for messages.
        reaches: whether the value of a role means a stored tensor of that role; a name always does.

    A view has the value of the tensor whose bytes it is, and rows that are looked up have that of their table: a name
    that fits either means the stored tensor.

    Raises:
        BadInput: a name that fits no tensor, with the nearest.
    """
    stored = _stored(workload)
    given: dict[str, T] = {}
    for name, tensor in workload.tensors.items():
        role = tensor.role.value
        if name not in stored and role in values and reaches(name, values[role]):
            given[name] = values[role]
    for pattern, value in values.items():
        if pattern not in ROLES:
            given.update(dict.fromkeys(_matching(workload, pattern, stored, what), value))
    return {name: given[stored.get(name, name)] for name in workload.tensors if stored.get(name, name) in given}


def carried_pairs(items: Iterable[Item]) -> Iterator[tuple[str, str]]:
    """What iterations hand on: (tensor produced, tensor that holds it in the next one)."""
    for item in items:
        if isinstance(item, Repeat):
            yield from item.carried
            yield from carried_pairs(item.body)


def _matching(workload: Workload, pattern: str, stored: Mapping[str, str], what: str) -> list[str]:
    """The stored tensors that a name or pattern means. A name that is a tensor's own is no pattern."""
    if pattern in workload.tensors:
        return [stored.get(pattern, pattern)]
    found = [stored.get(name, name) for name in workload.tensors if fnmatchcase(name, pattern)]
    if not found:
        hint = near(pattern, [*ROLES, *workload.tensors])
        raise BadInput(f"{workload.name}: {what} of '{pattern}' fits no tensor ({hint}roles: {', '.join(ROLES)})")
    return found


def _stored(workload: Workload) -> dict[str, str]:
    """Of each view, and of looked-up rows, the tensor whose bytes they are."""
    return {view.output: workload.origin(view.output) for view in workload.views()}
