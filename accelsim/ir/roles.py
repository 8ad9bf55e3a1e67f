"""What the ranks of a contraction are to a machine: channels, positions, filter taps, by structure and not by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from .einsum import Einsum, contraction

RankRole = Literal[
    "group", "batch", "row", "column", "output_channel", "input_channel", "filter_row", "filter_column"
]  # fmt: skip
RANK_ROLES: tuple[RankRole, ...] = get_args(RankRole)


def rank_roles(einsum: Einsum) -> Mapping[str, RankRole]:
    """The role of every rank of a contraction; empty for other Einsums.

    Ranks of both operands and the result are groups; those of the second operand and the result are output channels;
    reduced ones that share an index with a rank of the result are filter taps, the others input channels. Of the ranks
    of the first operand and the result, the last one (of a convolution: the last that slides) is the column, the one
    before it the row, the others are batches. In a matrix product O[m,n] = A[m,k] * B[k,n], m is the column, n the
    output channel and k the input channel.
    """
    c = contraction(einsum)
    if c is None:
        return {}
    roles: dict[str, RankRole] = {**dict.fromkeys(c.g, "group"), **dict.fromkeys(c.n, "output_channel")}
    partner: dict[str, str] = {}
    for index in einsum.inputs[c.a].indices:
        slid = [r for r in index.ranks if r in c.m]
        if slid:
            partner |= {r: slid[0] for r in index.ranks if r in c.k}
    order = [r for index in einsum.output.indices for r in index.ranks if r in c.m]
    positions = [r for r in order if r in partner.values()] or order
    place: dict[str, RankRole] = dict(zip(reversed(positions), ("column", "row"), strict=False))
    roles |= {r: place.get(r, "batch") for r in c.m}
    for r in c.k:
        at = place.get(partner.get(r, ""))
        roles[r] = "filter_row" if at == "row" else "filter_column" if at == "column" else "input_channel"
    return roles
