"""Why an Einsum cannot be planned, in words."""

from __future__ import annotations

from ...arch.architecture import Architecture
from ...components.spatial import SpatialArray
from ...errors import AccelsimError, ConstraintError, DoesNotFit, MappingError
from ...ir import Einsum
from ...mapping.constraints import OpConstraint
from .nest import Shortfall


def refusal(einsum: Einsum, plan: Shortfall, constraint: OpConstraint, arch: Architecture) -> AccelsimError:
    """What to raise for an Einsum that has no plan: ConstraintError, MappingError or DoesNotFit."""
    if plan.needed:
        return DoesNotFit(
            f"{plan.memory}: the smallest tiles of {einsum.name} need {plan.needed:,} bytes and it has "
            f"{plan.capacity:,}, {plan.needed - plan.capacity:,} too few"
        )
    what = f"{einsum.name} ({einsum.kind or 'Einsum'})"
    if not constraint.is_free:
        return ConstraintError(_unable(what, constraint, arch))
    return MappingError(f"no unit of {arch.name} can run {what}")


def _unable(what: str, constraint: OpConstraint, arch: Architecture) -> str:
    """Why no unit runs an Einsum as the user wants it."""
    asked = [constraint.variant and f"as {constraint.variant}", constraint.unit and f"on {constraint.unit}"]
    asked += [f"with {' and '.join(ranks) or 'nothing'} along {d}" for d, ranks in constraint.spread.items()]
    told = " ".join(x for x in asked if x)
    hint = ""
    if constraint.spread:
        arrays = [u for u in arch.units.values() if isinstance(u, SpatialArray)]
        can = [f"{d} of {u.name}: {_along(u, d)}" for u in arrays for d in u.dimensions]
        hint = f"; along {', '.join(can)}, two ranks at most" if can else "; it has no spatial array"
    return f"constraint: no unit of {arch.name} can run {what} {told}".rstrip() + hint


def _along(unit: SpatialArray, dimension: str) -> str:
    """What may lie along a dimension of an array, in words."""
    able = unit.rules.able(dimension)
    return "any rank" if able is None else " or ".join(able)


def check_constraint(einsum: Einsum, constraint: OpConstraint) -> None:
    """Refuse what names no rank of the Einsum, or a tile larger than its rank."""
    for rank in constraint.ranks:
        if rank not in einsum.sizes:
            raise ConstraintError(f"constraint: {einsum.name} has no rank {rank!r}; it has {', '.join(einsum.sizes)}")
    for rank, tile in constraint.tiles.items():
        if not 1 <= tile <= einsum.sizes[rank]:
            raise ConstraintError(
                f"constraint: tile {tile} of rank {rank} of {einsum.name}, whose size is {einsum.sizes[rank]}"
            )
