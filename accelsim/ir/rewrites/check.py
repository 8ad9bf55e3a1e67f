"""Whether two cascades compute the same, by evaluation."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from ...errors import BadInput
from ..einsum import Access, Affine, Einsum
from ..evaluate import evaluate
from ..families import blocks, cascade_einsums
from ..validate import validate
from ..workload import Role, Workload

SMALLEST = (3, 4, 5, 2)
"""Sizes of ranks of a cascade that is shrunk, in turn."""


def same_value(before: Workload, after: Workload, *, seed: int = 0, tolerance: float = 1e-6) -> bool:
    """Whether two cascades of the same inputs give the same results and states on random inputs, in float64.

    Inputs are normal, of standard deviation 2; results may differ by `tolerance` of their size or of 1.
    """
    rng = np.random.default_rng(seed)
    written = {e.output.tensor for e in cascade_einsums(before)}
    values = {t.name: 2 * rng.standard_normal(t.shape) for t in before.tensors.values() if t.name not in written}
    one, other = evaluate(before, values), evaluate(after, {n: v for n, v in values.items() if n in after.tensors})
    results = [t.name for t in before.tensors.values() if t.role in (Role.OUTPUT, Role.STATE) and t.name in written]
    return all(np.allclose(one[n], other[n], rtol=tolerance, atol=tolerance, equal_nan=True) for n in results)


def shrunk(workload: Workload) -> Workload:
    """The same cascade over a few elements per rank, so that it can be evaluated at once.

    Strides of blocks follow the sizes of the ranks inside them, and constant indices at the end of a dimension stay
    there.

    Raises:
        BadInput: its indices do not shrink (other strides, or numbers in the middle of a dimension).
    """
    einsums = cascade_einsums(workload)
    old = {r: s for e in einsums for r, s in e.sizes.items()}
    sizes = {r: min(s, SMALLEST[i % len(SMALLEST)]) for i, (r, s) in enumerate(old.items())}
    whole = _wholes(einsums, old, sizes)
    sizes |= whole
    steps = {(e.output.tensor, d) for e in einsums for d, i in enumerate(e.output.indices) if e.iterative in i.ranks}
    shapes: dict[str, list[int]] = {name: [1] * len(t.shape) for name, t in workload.tensors.items()}

    def access(a: Access) -> Access:
        indices = []
        for d, index in enumerate(a.indices):
            order = blocks(replace(index, offset=0), old)
            stride, terms = 1, dict(index.terms)
            for rank in reversed(order if len(order) > 1 else ()):
                terms[rank], stride = stride, stride * sizes[rank]
            dim, offset = workload.tensors[a.tensor].shape[d], index.offset
            if not index.terms and offset and offset == dim - 1:
                offset = -1  # known when the shape is
            indices.append(Affine(tuple(terms.items()), offset))
        return replace(a, indices=tuple(indices))

    drafted = [replace(e, inputs=tuple(map(access, e.inputs)), output=access(e.output),
                       sizes={r: sizes[r] for r in e.sizes}) for e in einsums]
    for e in drafted:
        for a in (*e.inputs, e.output):
            for d, index in enumerate(a.indices):
                shapes[a.tensor][d] = max(shapes[a.tensor][d], index.bounds(e.sizes)[1] + 1)
    assert all(shapes[name][d] > 1 for name, d in steps)

    def ended(a: Access) -> Access:
        ends = (replace(i, offset=shapes[a.tensor][d] - 1) if not i.terms and i.offset == -1 else i
                for d, i in enumerate(a.indices))
        return replace(a, indices=tuple(ends))

    body = tuple(replace(e, inputs=tuple(map(ended, e.inputs)), output=ended(e.output)) for e in drafted)
    tensors = {name: replace(t, shape=tuple(shapes[name])) for name, t in workload.tensors.items()}
    result = Workload(workload.name, tensors, body)
    try:
        validate(result)
    except BadInput as error:
        raise BadInput(f"{workload.name} does not shrink: {error}") from None
    return result


def _wholes(einsums: tuple[Einsum, ...], old: dict[str, int], sizes: dict[str, int]) -> dict[str, int]:
    """New sizes of ranks that run through a dimension that other ranks run through by blocks."""
    cut: dict[tuple[str, int], int] = {}
    for e in einsums:
        for a in (*e.inputs, e.output):
            for d, index in enumerate(a.indices):
                parts = blocks(index, old)
                if len(parts) > 1:
                    cut[a.tensor, d] = prod(sizes[r] for r in parts)
    found = {}
    for e in einsums:
        for a in (*e.inputs, e.output):
            for d, index in enumerate(a.indices):
                if (a.tensor, d) in cut and len(index.terms) == 1 and not index.offset:
                    found[index.ranks[0]] = cut[a.tensor, d]
    return found
