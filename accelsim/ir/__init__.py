"""Workloads as cascades of extended Einsums."""

from .einsum import Access, Affine, Apply, Const, Contraction, Einsum, Expr, Operations, Read, contraction
from .operators import COST_CLASSES, OPERATORS, Operator, count_operations
from .workload import Item, Repeat, Role, Tensor, View, Workload

__all__ = [
    "COST_CLASSES",
    "OPERATORS",
    "Access",
    "Affine",
    "Apply",
    "Const",
    "Contraction",
    "Einsum",
    "Expr",
    "Item",
    "Operations",
    "Operator",
    "Read",
    "Repeat",
    "Role",
    "Tensor",
    "View",
    "Workload",
    "contraction",
    "count_operations",
]
