"""Precision: the bits of a Workload's tensors by role and by name, without touching what it computes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase

from ..errors import BadInput
from .workload import Item, Repeat, Role, View, Workload

ROLES = tuple(role.value for role in Role)


def with_precision(workload: Workload, bits: Mapping[str, int]) -> Workload:
    """The same Workload with other bits per element.

    Args:
        workload: any.
        bits: keys are roles (``weight``, ``activation``, ``input``, ``output``, ``state``), names of tensors, or
            patterns of names with ``*``, ``?`` and ``[...]``. Names go before roles; of several names and patterns
            that fit a tensor, the last one counts. What fits none keeps its bits.

    A view has the bits of the tensor whose bytes it is, and rows that are looked up have those of their table: a
    name that fits either means the stored tensor. Bytes follow the bits; how fast a unit computes with narrower
    operands is for the unit to say.

    Raises:
        BadInput: bits below 1, a name that fits no tensor (with the nearest), or two tensors that a Repeat hands from
            one to the other and that would differ.

    Example:
        >>> narrow = with_precision(workload, {"weight": 4, "activation": 8, "*.bias": 32})  # doctest: +SKIP
    """
    for key, width in bits.items():
        if not isinstance(width, int) or isinstance(width, bool) or width < 1:
            raise BadInput(f"{workload.name}: precision of '{key}' is {width!r} (a whole number of bits from 1)")
    stored = _stored(workload)
    given: dict[str, int] = {}
    for name in workload.tensors:
        role = workload.tensors[stored.get(name, name)].role.value
        if name not in stored and role in bits:
            given[name] = bits[role]
    for pattern, width in bits.items():
        if pattern not in ROLES:
            given.update(dict.fromkeys(_matching(workload, pattern, stored), width))
    tensors = {
        name: replace(tensor, bits=given.get(stored.get(name, name), tensor.bits))
        for name, tensor in workload.tensors.items()
    }
    changed = replace(workload, tensors=tensors)
    for produced, held in _carried(workload.body):
        one, other = tensors[produced], tensors[held]
        if one.bits != other.bits and workload.tensors[produced].bits == workload.tensors[held].bits:
            raise BadInput(
                f"{workload.name}: '{produced}' ({one.role}) would have {one.bits} bits and '{held}' ({other.role}) "
                f"{other.bits}, and an iteration hands one on as the other (give both the same: {held}={one.bits})"
            )
    return changed


def parse_precision(text: str) -> dict[str, int]:
    """Bits by role or name from ``weight=4,activation=8``; ``+`` separates as well as a comma. Raises BadInput."""
    found: dict[str, int] = {}
    for part in text.replace("+", ",").split(","):
        name, equals, width = (piece.strip() for piece in part.rpartition("="))
        if not equals or not name or not width.isdecimal() or int(width) < 1:
            raise BadInput(f"precision '{part.strip()}': write NAME=BITS, such as weight=4,activation=8,*.bias=32 "
                           f"(names: {', '.join(ROLES)}, tensors, or patterns of these)")  # fmt: skip
        if name in found:
            raise BadInput(f"precision '{text}': '{name}' is given twice")
        found[name] = int(width)
    return found


def _matching(workload: Workload, pattern: str, stored: Mapping[str, str]) -> list[str]:
    """The stored tensors that a name or pattern means. A name that is a tensor's own is no pattern."""
    if pattern in workload.tensors:
        return [stored.get(pattern, pattern)]
    found = [stored.get(name, name) for name in workload.tensors if fnmatchcase(name, pattern)]
    if not found:
        near = get_close_matches(pattern, [*ROLES, *workload.tensors], n=3, cutoff=0.4)
        hint = f"nearest: {', '.join(near)}; " if near else ""
        raise BadInput(f"{workload.name}: precision of '{pattern}' fits no tensor ({hint}roles: {', '.join(ROLES)})")
    return found


def _stored(workload: Workload) -> dict[str, str]:
    """Of each view, and of looked-up rows, the tensor that decides on the bits."""
    sources = {view.output: view.input for view in _views(workload.body)}
    found = {}
    for name in sources:
        source = name
        while source in sources:
            source = sources[source]
        found[name] = source
    return found


def _views(items: Iterable[Item]) -> Iterator[View]:
    for item in items:
        if isinstance(item, View):
            yield item
        elif isinstance(item, Repeat):
            yield from _views(item.body)


def _carried(items: Iterable[Item]) -> Iterator[tuple[str, str]]:
    for item in items:
        if isinstance(item, Repeat):
            yield from item.carried
            yield from _carried(item.body)
