"""Register files of spatial arrays, and which layouts an array with them can carry out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field

from ..arch.component import Operand
from ..arch.layout import Layout
from ..arch.units import Bytes, EnergyPerByte
from ..errors import BadInput
from ..ir import Einsum
from ..ir.roles import RankRole
from .spreads import SpreadRules

Filling: TypeAlias = Literal["last_use", "ahead", "stop"]
FILLINGS: tuple[Filling, ...] = get_args(Filling)


class RegisterFile(BaseModel):
    """Registers for one operand in every element of an array, or in every group of elements that share one."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    capacity: Annotated[Bytes, Field(description="Bytes of one of them.")]
    shared: Annotated[
        tuple[str, ...], Field(description="Dimensions of the array along which elements share one.")
    ] = ()  # fmt: skip
    double_buffered: Annotated[
        bool, Field(description="Half is filled while the other half is used; else a word at its last use.")
    ] = False  # fmt: skip
    sliding: Annotated[
        bool, Field(description="A piece that a loop slides along a window keeps the words of both places.")
    ] = False  # fmt: skip
    filling: Annotated[
        Filling,
        Field(
            description="What a fill overlaps with, unless double-buffered: `last_use` of each word that it replaces; "
            "`ahead`, words that wait in queues, with all of the visit before; `stop`, with nothing."
        ),
    ] = "last_use"
    read_energy: Annotated[EnergyPerByte | None, Field(description="Of a byte read by an element.")] = None
    write_energy: Annotated[EnergyPerByte | None, Field(description="Of a byte written.")] = None


def check_layout(
    who: str,
    einsum: Einsum,
    layout: Layout,
    roles: Mapping[str, RankRole],
    rules: SpreadRules,
    registers: Mapping[Operand, RegisterFile],
) -> None:
    """Raise BadInput for a layout that an array with these rules and registers cannot carry out.

    Args:
        who: the array, as messages call it.
        einsum: what is laid out.
        layout: how.
        roles: of its ranks.
        rules: what may lie along which dimension.
        registers: by operand.
    """
    _check_spreads(who, einsum, layout, roles, rules)
    for rank, tile in layout.loops:
        if rank not in einsum.sizes:
            raise BadInput(f"{who}: {einsum.name} has no rank {rank!r}; it has {', '.join(einsum.sizes)}")
        factor = layout.factor(rank)
        if tile % factor and tile < einsum.sizes[rank]:
            raise BadInput(f"{who}: a loop over {rank} in tiles of {tile}, not a multiple of the {factor} that "
                           "lie side by side")  # fmt: skip
    for operand, depth in layout.holds.items():
        if operand not in registers:
            raise BadInput(f"{who} has no registers for its {operand}")
        if depth > len(layout.loops):
            raise BadInput(f"{who}: {operand} is held inside loop {depth} of {len(layout.loops)}")
        for rank in einsum.sizes:
            along = {s.dimension in registers[operand].shared for s in layout.spreads if s.rank == rank}
            if len(along) > 1:
                raise BadInput(f"{who}: {rank} lies along dimensions of which only some share the registers "
                               f"of {operand}")  # fmt: skip


def _check_spreads(
    who: str, einsum: Einsum, layout: Layout, roles: Mapping[str, RankRole], rules: SpreadRules
) -> None:
    used = dict.fromkeys(rules.dimensions, 1)
    for s in layout.spreads:
        for rank in (s.rank, s.through):
            if rank is not None and rank not in einsum.sizes:
                raise BadInput(f"{who}: {einsum.name} has no rank {rank!r}; it has {', '.join(einsum.sizes)}")
        if s.dimension not in rules.dimensions:
            raise BadInput(f"{who} has no dimension {s.dimension!r}; it has {', '.join(rules.dimensions)}")
        able = rules.able(s.dimension)
        if (able is not None and roles[s.rank] not in able) or not rules.adds(s.rank, einsum, s.dimension):
            can = "all but sums" if able is None else ", ".join(able)
            raise BadInput(f"{who}: {s.rank} ({roles[s.rank]}) cannot lie along {s.dimension} ({can} can)")
        if s.through is not None and rules.through.get(roles[s.rank]) != roles[s.through]:
            can = ", ".join(f"{a} through {b}" for a, b in rules.through.items()) or "none"
            raise BadInput(f"{who}: {s.rank} ({roles[s.rank]}) cannot run on through {s.through} "
                           f"({roles[s.through]}); what can: {can}")  # fmt: skip
        if s.through is not None and layout.factor(s.through) > 1:
            raise BadInput(f"{who}: {s.rank} cannot run on through {s.through}, which is spread itself")
        used[s.dimension] *= s.factor
    places = [(s.rank, s.dimension) for s in layout.spreads]
    if len(set(places)) != len(places):
        raise BadInput(f"{who}: a rank of {einsum.name} is spread twice along one dimension")
    for dimension, factor in used.items():
        if factor > rules.dimensions[dimension]:
            raise BadInput(f"{who}: {factor} elements along {dimension}, which has {rules.dimensions[dimension]}")
