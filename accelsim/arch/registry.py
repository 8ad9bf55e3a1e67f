"""The kinds of components: built-in ones and those of other packages, all through one entry-point group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType

from ..errors import BadInput
from .component import Component

GROUP = "accelsim.components"

_overrides: dict[str, type[Component]] = {}


@lru_cache(maxsize=1)
def _installed() -> Mapping[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise BadInput(f"component kind `{point.name}` is registered twice: {_origin(other)} and {_origin(point)} "
                           "(uninstall one of the packages)")  # fmt: skip
    return MappingProxyType(found)


def kind_names() -> tuple[str, ...]:
    """Names of all kinds, sorted; imports none of them."""
    return tuple(sorted({*_installed(), *_overrides}))


@lru_cache(maxsize=256)
def _load(name: str) -> type[Component]:
    point = _installed()[name]
    try:
        kind = point.load()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise BadInput(f"component kind `{name}`: cannot import {_origin(point)}: {reason}") from error
    if not (isinstance(kind, type) and issubclass(kind, Component)):
        raise BadInput(f"component kind `{name}`: {_origin(point)} is not a subclass of accelsim.arch.Component")
    return kind


def component_kind(name: str) -> type[Component]:
    """Return the class of a kind.

    Raises:
        BadInput: the package that registers it cannot be imported, or registers something else.
        KeyError: no such kind.
    """
    return _overrides[name] if name in _overrides else _load(name)


def component_kinds() -> dict[str, type[Component]]:
    """Every kind with its class.

    Raises:
        BadInput: a package that registers a kind cannot be imported.
    """
    return {name: component_kind(name) for name in kind_names()}


@contextmanager
def temporary_kinds(kinds: Mapping[str, type[Component]]) -> Iterator[None]:
    """Within the context, these kinds exist too: for tests, and to try out a component before packaging it."""
    before = dict(_overrides)
    _overrides.update(kinds)
    try:
        yield
    finally:
        _overrides.clear()
        _overrides.update(before)


def _origin(point: EntryPoint) -> str:
    return f"{point.value} (package {point.dist.name})" if point.dist else point.value
