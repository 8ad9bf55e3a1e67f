"""A graph of ATen operators as plain values: what an exported program says, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

Argument: TypeAlias = "Ref | int | float | bool | str | tuple[Argument, ...] | None"


@dataclass(frozen=True)
class Ref:
    """An argument that is a tensor of the graph, by name."""

    name: str


@dataclass(frozen=True)
class Meta:
    """Element type as torch calls it (``float32``, ``bool`` ...) and elements by dimension."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Call:
    """One operator at work.

    Attributes:
        name: of the node, behind the path of its module.
        target: of the operator, ``aten.conv2d.default``.
        args: by position; types, devices and memory formats as text.
        kwargs: by name.
        outputs: names of the results; '' for one that nothing takes.
    """

    name: str
    target: str
    args: tuple[Argument, ...]
    kwargs: Mapping[str, Argument]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Recording:
    """A functional graph: no operator changes a tensor in place.

    Attributes:
        name: of the model.
        inputs: tensors that are fed, buffers that the program updates among them.
        weights: parameters, buffers and constants, with their elements where these are few and known.
        calls: in a valid order.
        outputs: tensors that the program returns or keeps.
        metas: of every tensor.
    """

    name: str
    inputs: Sequence[str]
    weights: Mapping[str, np.ndarray[Any, Any] | None]
    calls: Sequence[Call]
    outputs: Sequence[str]
    metas: Mapping[str, Meta] = field(default_factory=dict)
