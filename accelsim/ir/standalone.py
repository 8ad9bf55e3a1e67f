"""One Einsum of a Workload as a Workload of its own."""

from __future__ import annotations

from dataclasses import replace

from ..errors import BadInput
from .einsum import Access, Einsum
from .validate import validate
from .workload import Role, Tensor, Workload


def standalone(workload: Workload, einsum: Einsum) -> Workload:
    """The Workload that computes `einsum` alone, once: its operands stand ready, and its result is what is asked for.

    Weights and states stay what they are, other operands become inputs, the result an output: the box that is written,
    where that is a part of a tensor (the new rows of a cache). Rows that are looked up are taken as found. Bits and
    metadata are those of the Workload, so that `with_precision` may change them by role.

    Raises:
        BadInput: the Einsum reads its own output, so that it has no operands that stand ready.
    """
    out = einsum.output
    if out.tensor in {access.tensor for access in einsum.inputs}:
        raise BadInput(f"{workload.name}: {einsum.name} reads what it writes ('{out.tensor}'): it cannot stand alone")
    tensors: dict[str, Tensor] = {}
    for access in einsum.inputs:
        held = workload.tensors[access.tensor]
        kept = held.role in (Role.WEIGHT, Role.STATE)
        tensors[access.tensor] = held if kept else replace(held, role=Role.INPUT)
    starts = [index.bounds(einsum.sizes)[0] for index in out.indices]
    shape = tuple(index.extent(einsum.sizes) for index in out.indices)
    indices = tuple(replace(i, offset=i.offset - start) for i, start in zip(out.indices, starts, strict=True))
    tensors[out.tensor] = replace(workload.tensors[out.tensor], shape=shape, role=Role.OUTPUT)
    alone = replace(einsum, output=Access(out.tensor, indices))
    single = Workload(f"{workload.name}.{einsum.name}", tensors, (alone,))
    validate(single)
    return single
