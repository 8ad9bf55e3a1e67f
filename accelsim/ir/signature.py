"""What makes Einsums alike."""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache

from .einsum import Einsum
from .same import Same


def signature(einsum: Einsum) -> Hashable:
    """All of an Einsum but its name, what the model called it, and the names of its tensors."""
    return _signature(Same(einsum))


@lru_cache(maxsize=2**12)
def _signature(of: Same[Einsum]) -> Hashable:
    einsum = of.value
    return (
        tuple(einsum.sizes.items()),
        tuple(a.indices for a in einsum.inputs),
        einsum.output.indices,
        einsum.expr,
        einsum.reduce,
        einsum.iterative,
        tuple(einsum.inputs.index(a) for a in einsum.inputs),
    )
