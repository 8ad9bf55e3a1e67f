"""Weights of which whole blocks are zero and left out, in storage and in computing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from math import ceil

from ...errors import BadInput
from ...ir import Access, Affine, Einsum, Item, Repeat, Role, Workload, validate
from ...ir.by_name import by_name
from .notes import noted

INDEX_BITS = 16
"""Of the place of a block along the sum, kept beside it."""


def block_sparse(workload: Workload, kept: Mapping[str, Fraction | float], *, block: int) -> Workload:
    """The Workload whose matrices keep a share of their square blocks (Gray et al., 2017).

    Every row of blocks keeps the same number of them, so that work is even: products run over the kept blocks alone,
    which lie together, with an index of 16 bits each. What they read of the other operand differs from row to row of
    blocks; per row it is the share that is kept. Tables whose rows are looked up stay whole.

    Args:
        workload: any.
        kept: share by role (``weight``), name or pattern, above 0 and at most 1.
        block: side of a block, in elements.

    Raises:
        BadInput: a share or block that cannot be, a name that fits no weight of a product, or with the role alone, no
            product with weights.
    """
    if block < 1 or any(not 0 < share <= 1 for share in kept.values()):
        raise BadInput(f"{workload.name}: blocks have a side of 1 or more, and shares kept are above 0 and at most 1")
    given = by_name(workload, kept, "block sparsity")
    matrices: dict[str, tuple[int, int]] = {}
    tables = set(workload.tables.values())
    for e, _ in workload.einsums():
        if not e.is_contraction:
            continue
        for access in e.inputs:
            tensor = workload.tensors[access.tensor]
            if tensor.role is Role.WEIGHT and access.tensor in given and access.tensor not in tables:
                matrices[access.tensor] = _summed(workload, e, access)
    named = [n for n in given if n in kept and n not in matrices]
    if named or not matrices:
        raise BadInput(f"{workload.name}: {', '.join(named) or 'nothing that is named'} is no weight of a product")
    extents = {n: _extent(size, given[n], block) for n, (_, size) in matrices.items()}
    tensors = dict(workload.tensors)
    for name, (axis, _) in matrices.items():
        tensor = tensors[name]
        shape = tuple(extents[name] if i == axis else n for i, n in enumerate(tensor.shape))
        metadata = tensor.metadata_bits + Fraction(INDEX_BITS, block**2)
        tensors[name] = replace(tensor, shape=shape, metadata_bits=metadata)
    body = tuple(_item(item, matrices, extents) for item in workload.body)
    changed = replace(workload, tensors=tensors, body=body)
    validate(changed)
    return noted(changed, f"{len(matrices)} matrices keep some of their blocks of {block} x {block}")


def _summed(workload: Workload, e: Einsum, access: Access) -> tuple[int, int]:
    """The axis of a matrix along which products are summed, and its size."""
    axes = [i for i, x in enumerate(access.indices) if x.terms and x.terms[0][0] in e.reduced_ranks]
    if len(axes) != 1 or any(len(x.terms) > 1 or x.offset for x in access.indices):
        raise BadInput(f"{workload.name}: {e.name} is no product with a matrix, whose blocks could be left out")
    return axes[0], workload.tensors[access.tensor].shape[axes[0]]


def _extent(size: int, share: Fraction | float, block: int) -> int:
    return min(size, ceil(ceil(size / block) * Fraction(share).limit_denominator(10**6)) * block)


def _item(item: Item, matrices: Mapping[str, tuple[int, int]], extents: Mapping[str, int]) -> Item:
    if isinstance(item, Repeat):
        return replace(item, body=tuple(_item(i, matrices, extents) for i in item.body))
    if not isinstance(item, Einsum):
        return item
    sizes = dict(item.sizes)
    for access in item.inputs:
        if access.tensor in matrices and item.is_contraction:
            index: Affine = access.indices[matrices[access.tensor][0]]
            sizes[index.terms[0][0]] = extents[access.tensor]
    return replace(item, sizes=sizes)
