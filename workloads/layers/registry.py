"""The kinds of layers: functions with typed keyword arguments, registered by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from ...errors import BadInput, SpecError
from ...ir import WorkloadBuilder
from ...text.document import Document, Steps
from ...text.names import nearest, short

Size: TypeAlias = "int | list[int]"
"""One number for both spatial dimensions, or one per dimension."""


@dataclass(frozen=True)
class Layers:
    """A list of layers inside a layer: where it stands, and the parameters that hold there."""

    path: Steps
    items: list[Any]
    parameters: Mapping[str, Any]


class Place(Protocol):
    """Where a layer is built."""

    @property
    def b(self) -> WorkloadBuilder: ...

    @property
    def name(self) -> str:
        """Of the layer, for its Einsums and weights; not used yet."""

    def run(self, layers: Layers, x: str) -> str:
        """Build a list of layers on x; returns their result."""

    def wrong(self, what: str, hint: str = "") -> SpecError:
        """The error that says what is wrong with this layer, and where it stands."""


Kind: TypeAlias = Callable[..., str]
KINDS: dict[str, Kind] = {}


def layer(function: Kind) -> Kind:
    """Register ``f(place, x, *, argument, ...) -> result`` as the kind of layer of that name.

    Arguments are annotated ``int``, ``float``, ``bool``, ``str``, ``Size``, ``Layers`` or ``list[Layers]``; those
    without a default must be given.
    """
    KINDS[function.__name__.strip("_")] = function
    return function


@dataclass(frozen=True)
class Argument:
    """An argument of a kind: its name, annotation, and whether it must be given."""

    name: str
    type: str
    required: bool


def arguments(kind: Kind) -> list[Argument]:
    """The arguments of a kind, the first of which a bare value stands for."""
    found = list(inspect.signature(kind).parameters.values())[2:]
    return [Argument(p.name, str(p.annotation), p.default is inspect.Parameter.empty) for p in found]


def check(document: Document, path: Steps, argument: Argument, value: Any, parameters: Mapping[str, Any]) -> Any:
    """A value as the argument's type takes it. Raises SpecError with its line."""
    number = isinstance(value, int) and not isinstance(value, bool)
    match argument.type.removesuffix(" | None"):
        case "int" if number and value >= 0:
            return value
        case "float" if number or isinstance(value, float):
            return float(value)
        case "bool" if isinstance(value, bool):
            return value
        case "str" if isinstance(value, str):
            return value
        case "int | str" if (number and value >= 1) or isinstance(value, str):
            return value
        case "Size" if number and value >= 0:
            return value
        case "Size" if isinstance(value, list) and all(isinstance(v, int) and v >= 0 for v in value):
            return value
        case "Layers" if isinstance(value, list):
            return Layers(path, value, parameters)
        case "list[Layers]" if isinstance(value, list) and all(isinstance(v, list) for v in value):
            return [Layers((*path, i), v, parameters) for i, v in enumerate(value)]
    valid = {"int": "a whole number, 0 or more", "float": "a number", "bool": "true or false", "str": "a word",
             "int | str": "a whole number of at least 1, or a word", "Layers": "a list of layers",
             "Size": "a whole number, 0 or more, or a list of them", "list[Layers]": "a list of lists of layers"}
    raise document.error(path, f"is {short(value)}", valid[argument.type.removesuffix(" | None")])


def kind_of(document: Document, path: Steps, name: str, blocks: Mapping[str, Any]) -> Kind | None:
    """The kind of that name, or None for a block. Raises SpecError with the nearest name."""
    if name in blocks:
        return None
    if name not in KINDS:
        raise document.error(path, f"no kind of layer '{name}'", nearest(name, [*KINDS, *blocks]))
    return KINDS[name]


def built(place: Place, what: Callable[[], str]) -> str:
    """Run a builder's operator; what it finds wrong is reported with the layer's line."""
    try:
        return what()
    except SpecError:
        raise
    except BadInput as error:
        raise place.wrong(str(error)) from None
