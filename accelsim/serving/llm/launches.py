"""How many kernels a library launches for a Workload."""

from __future__ import annotations

from ...ir import Role, Workload

_ROWS, _ATTENTION = "rows", "attention"


def kernels(workload: Workload) -> int:
    """Kernels of one run, counted as libraries fuse them.

    Products of one input with several weights are one kernel, with the biases of their results; attention is one, from
    its scores to its values; of element-wise Einsums those that follow each other are one. Where a layer repeats, its
    ends are not joined.
    """
    count, before = 0, ("", 0)
    for einsum, times in workload.einsums():
        weighted = any(workload.tensors[workload.storage(a.tensor)].role is Role.WEIGHT for a in einsum.inputs)
        kind = before[0] if before[1] == times else ""
        if einsum.is_contraction:
            kind = f"product of {einsum.inputs[0].tensor}" if weighted else _ATTENTION
        elif kind != _ATTENTION and not (kind.startswith("product") and weighted):
            kind = _ROWS
        count += times * ((kind, times) != before)
        before = kind, times
    return count
