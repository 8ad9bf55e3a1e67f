"""Densities of a Workload's tensors by role and by name, without touching what it computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..errors import BadInput
from .by_name import ROLES, by_name, carried_pairs
from .density import Density, DensityLike
from .einsum import Einsum, contraction
from .workload import Role, Workload

_FOR_WEIGHTS = "N:M is for weights (other tensors have a share, such as 0.5)"


def with_density(
    workload: Workload, density: Mapping[str, DensityLike] | None = None, /, **roles: DensityLike
) -> Workload:
    """The same Workload with zeros among the elements of its tensors.

    Args:
        workload: any.
        density: keys are roles, names or patterns, as `by_name` takes them; what fits none keeps its density. Values
            are shares of elements that are not zero (above 0, up to 1), N:M, or a text with a format, as
            `Density.parse` takes them.
        roles: more of these, as keywords.

    N:M keeps N of every M neighbours along the rank that a contraction sums over (`group_rank`). Given for the role
    ``weight`` it means the weights that have such a rank of at least M; a bias, or a filter per channel, stays as it
    is.

    Bytes held and moved follow the format; what zeros save in a unit is for the unit to say. The density of a result
    is what is said here: nothing is worked out from its operands.

    Raises:
        BadInput: what `Density` and `by_name` refuse, N:M of what is no weight, or two tensors that a Repeat hands from
            one to the other and that would differ.

    Example:
        >>> sparse = with_density(workload, weight="2:4/nm_index", activation=0.6)  # doctest: +SKIP
        >>> sparse = with_density(workload, {"*.up": "0.3/bitmask"})  # doctest: +SKIP
    """
    values: dict[str, Density] = {}
    for key, value in {**(density or {}), **roles}.items():
        try:
            values[key] = value if isinstance(value, Density) else Density.parse(value)
        except BadInput as error:
            raise BadInput(f"{workload.name}: {key}: {error}") from None
    lengths = _group_lengths(workload)
    given = by_name(workload, values, "density", lambda name, d: not d.group or d.group <= lengths.get(name, 0))
    for key, value in values.items():
        if value.group and key in ROLES and key != Role.WEIGHT:
            raise BadInput(f"{workload.name}: density {value} of '{key}': {_FOR_WEIGHTS}")
    tensors = dict(workload.tensors)
    for name, value in given.items():
        source = tensors[workload.origin(name)]
        if value.group and source.role is not Role.WEIGHT:
            raise BadInput(f"{workload.name}: density {value} of '{source.name}' ({source.role}): {_FOR_WEIGHTS}")
        tensors[name] = replace(tensors[name], density=value.of(source.shape))
    changed = replace(workload, tensors=tensors)
    for produced, held in carried_pairs(workload.body):
        one, other = tensors[produced], tensors[held]
        if one.density != other.density:
            raise BadInput(
                f"{workload.name}: '{produced}' ({one.role}) would have density {one.density} and '{held}' "
                f"({other.role}) {other.density}, and an iteration hands one on as the other (give both the same: "
                f"{held}={one.density})"
            )
    return changed


def parse_density(text: str) -> dict[str, Density]:
    """Densities by role or name from ``weight=2:4/nm_index,activation=0.6``; ``+`` separates as well as a comma.

    Raises:
        BadInput: it is not of that form; what `Density` refuses.
    """
    found: dict[str, Density] = {}
    for part in text.replace("+", ",").split(","):
        name, equals, value = (piece.strip() for piece in part.rpartition("="))
        if not equals or not name or not value:
            raise BadInput(f"density '{part.strip()}': write NAME=DENSITY, such as weight=2:4/nm_index,activation=0.6 "
                           f"(names: {', '.join(ROLES)}, tensors, or patterns of these)")  # fmt: skip
        if name in found:
            raise BadInput(f"density '{text}': '{name}' is given twice")
        found[name] = Density.parse(value)
    return found


def group_rank(einsum: Einsum, operand: int) -> str | None:
    """The rank along which the groups of an N:M operand of a contraction lie.

    It is the last rank, in the order of the operand's dimensions, that is summed over, has a dimension of the operand
    to itself, and slides no window over the other one: the input channel of a convolution, the contracted rank of a
    matrix product. None if there is none.
    """
    c = contraction(einsum)
    if c is None:
        return None
    kept = {*c.m, *c.n}
    slid = {r for index in einsum.inputs[1 - operand].indices if kept & {*index.ranks} for r in index.ranks}
    alone = [index.ranks[0] for index in einsum.inputs[operand].indices if len(index.ranks) == 1]
    return next((r for r in reversed(alone) if r in c.k and r not in slid), None)


def _group_lengths(workload: Workload) -> dict[str, int]:
    """Of the stored tensors that contractions read, the shortest rank along which their groups would lie."""
    found: dict[str, int] = {}
    for einsum, _ in workload.einsums():
        for i, access in enumerate(einsum.inputs if einsum.is_contraction else ()):
            rank = group_rank(einsum, i)
            name = workload.origin(access.tensor)
            length = einsum.sizes[rank] if rank else 0
            found[name] = min(found.get(name, length), length)
    return found
