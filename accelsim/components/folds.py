"""What a two-dimensional array at least needs for a contraction, whichever of its dataflows runs whichever tiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Literal

from ..ir import Einsum
from ..ir.einsum import contraction
from .base import once

Dataflow = Literal["os", "ws", "is"]
"""What is stationary: outputs, second or first operand."""
ALONG: Mapping[Dataflow, tuple[str, str]] = {"os": ("m", "n"), "ws": ("k", "n"), "is": ("k", "m")}
"""What lies along rows and columns of the array, by dataflow."""


def used_elements(einsum: Einsum, slices: int, dataflows: Sequence[Dataflow], rows: int, cols: int) -> int:
    """Elements that can work at a time on one product of the contraction, the most of all dataflows.

    Args:
        einsum: the contraction.
        slices: products that each of its MACs takes, as if K were so much longer.
        dataflows: those that the array has.
        rows: elements along its columns.
        cols: elements along its rows.
    """
    size = dict(_sizes(einsum))
    size["k"] *= slices
    return max(min(rows, size[ALONG[d][0]]) * min(cols, size[ALONG[d][1]]) for d in dataflows)


def least_reads(einsum: Einsum, dataflows: Sequence[Dataflow], rows: int, cols: int) -> tuple[float, float]:
    """Elements of both operands that enter the array, each the least of all dataflows.

    An operand that streams past the other is read again for every fold along the side that it does not lie on; one that
    is stationary at least once.
    """
    size = _sizes(einsum)
    points = prod(einsum.sizes.values())
    first, second = (once(einsum, access) for access in einsum.inputs)
    a = min(first if d == "is" else points / min(cols, size["n"]) for d in dataflows)
    streamed = {"os": min(rows, size["m"]), "is": min(cols, size["m"])}
    b = min(second if d == "ws" else points / streamed[d] for d in dataflows)
    return max(a, first), max(b, second)


def _sizes(einsum: Einsum) -> Mapping[str, int]:
    c = contraction(einsum)
    assert c is not None
    return {letter: prod(einsum.sizes[r] for r in of) for letter, of in zip("gmnk", (c.g, c.m, c.n, c.k), strict=True)}
