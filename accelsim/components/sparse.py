"""What units make of zeros: energy that gating saves, cycles that skipping saves, and who waits for whom then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import ceil, exp, lgamma, log, log1p, prod
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, PrivateAttr, WithJsonSchema, field_validator, model_validator

from ..errors import BadInput, UnsupportedPrecision, UnsupportedSparsity
from ..ir import Density, Einsum
from ..ir.density import FINEST, rounded_up
from .base import ComputeUnit, IntArray

LARGEST_WINDOW = 2**12


@dataclass(frozen=True)
class Skipped:
    """Zeros that a unit skips.

    Attributes:
        operand: position of the operand that they belong to.
        kept: share of its elements that are run, on the mean.
        ratio: N:M that is run; None: zeros are skipped where they lie.
    """

    operand: int
    kept: Fraction
    ratio: Density | None = None


class SparseUnit(ComputeUnit):
    """A unit that may have hardware for zeros; `over` gives it the densities of its operands.

    With `gating`, a multiply-accumulate of which an operand is zero takes its cycle but no energy: of two operands with
    zeros at independent places, the product of their densities takes energy. With `skipping`, products with zeros of
    one operand take neither cycle nor energy; zeros of the other one, and those that the unit cannot skip, are
    multiplied like other numbers. Bytes that a unit reads, and what its registers and network do, are those of
    dense operands unless it says otherwise.
    """

    sparsity: Annotated[
        Literal["none", "gating", "skipping"],
        Field(description="Zeros are multiplied, take no energy (gating), or no cycles either (skipping)."),
    ] = "none"
    sparse_ratios: Annotated[
        tuple[str, ...],
        BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
        WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
        Field(description="N:M of weights that `skipping` supports, such as `2:4`; one, or a list."),
    ] = ()
    operand_bits: Annotated[
        tuple[Annotated[int, Field(ge=1, le=64)], ...] | None,
        Field(description="Operand widths that it computes with, in bits; any unless given."),
    ] = None

    _gated: Fraction = PrivateAttr(default=Fraction(1))
    _skipped: Skipped | None = PrivateAttr(default=None)

    @field_validator("sparse_ratios")
    @classmethod
    def _ratios(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            try:
                ratio = Density.parse(text)
            except BadInput as error:
                raise ValueError(str(error)) from None
            if not ratio.group or ratio.is_full or ratio.format != "dense":
                raise ValueError(f"`{text}` is no ratio: write N:M with N below M, such as 2:4")
        return value

    @model_validator(mode="after")
    def _something_to_skip(self) -> Self:
        if self.sparse_ratios and self.sparsity != "skipping":
            raise ValueError("sparse_ratios are for `sparsity: skipping`")
        return self

    def check_widths(self, einsum: Einsum, bits: Sequence[int]) -> None:
        """Raise UnsupportedPrecision if it does not compute with inputs of these widths."""
        for which, width in zip(("first", "second"), bits, strict=False):
            if self.operand_bits is not None and width not in self.operand_bits:
                can = ", ".join(map(str, self.operand_bits))
                raise UnsupportedPrecision(f"{self.name or self.kind}: cannot compute {einsum.name} with a {which} "
                                           f"operand of {width} bits (can: {can})")  # fmt: skip

    @property
    def window(self) -> int | None:
        """Words of which it skips zeros that lie at random; None: it skips none."""
        return None

    def may_skip(self, densities: Sequence[Density]) -> int | None:
        """Position of the operand whose zeros it skips: of the two of a contraction the one that is N:M."""
        return next((i for i in (1, 0) if densities[i].group), None)

    def over(self, einsum: Einsum, densities: Sequence[Density]) -> Self:
        """This unit at work on operands with zeros.

        Raises:
            UnsupportedSparsity: it skips zeros, but not of weights with this N:M.
        """
        if self.sparsity == "none" or not einsum.is_contraction or all(d.is_full for d in densities):
            return self
        copy = self.model_copy()
        if self.sparsity == "gating":
            copy._gated = rounded_up(prod((d.share for d in densities), start=Fraction(1)))
        else:
            copy._skipped = self._find_skipped(einsum, densities)
        return copy

    def _find_skipped(self, einsum: Einsum, densities: Sequence[Density]) -> Skipped | None:
        at = self.may_skip(densities)
        if at is None or densities[at].is_full:
            return None
        density = densities[at]
        able = [r for r in map(Density.parse, self.sparse_ratios) if density.group and _meets(density, r)]
        if able:
            ratio = min(able, key=lambda r: r.share)
            return Skipped(at, ratio.share, ratio)
        if self.window is not None:
            return Skipped(at, rounded_up(density.share))
        if not density.group:
            return None
        can = ", ".join(self.sparse_ratios) or "no N:M"
        raise UnsupportedSparsity(f"{self.name or self.kind}: cannot skip zeros of {density.kept}:{density.group} "
                                  f"weights of {einsum.name} (can: {can})")  # fmt: skip

    @property
    def gated(self) -> Fraction:
        """Share of the multiply-accumulates that are run that take energy."""
        return self._gated

    @property
    def skipped(self) -> Skipped | None:
        """What it skips of the operands that it was given."""
        return self._skipped

    def least_shares(self, einsum: Any, densities: Any) -> tuple[float, float]:
        unit = self.over(einsum, densities)
        run = float(unit.skipped.kept) if unit.skipped is not None else 1.0
        return run, run * float(unit.gated)


def _meets(density: Density, ratio: Density) -> bool:
    """Whether weights with N of every M kept hold at most what a ratio allows in each of its groups."""
    n, m, group = density.kept, density.group, ratio.group
    if m % group == 0:
        return min(n, group) <= ratio.kept
    return group % m == 0 and n * (group // m) <= ratio.kept


def share_of(amount: IntArray, share: Fraction) -> IntArray:
    """A share, up to 1, of whole numbers, rounded up; no intermediate value is larger than `FINEST` squared or them."""
    whole, rest = amount // share.denominator, amount % share.denominator
    return whole * share.numerator - (-rest * share.numerator // share.denominator)


def shortened(extent: IntArray, ratio: Density) -> IntArray:
    """Elements left of a rank of which a ratio keeps N of every M, a last group being cut short."""
    whole, rest = extent // ratio.group, extent % ratio.group
    return whole * ratio.kept + np.minimum(rest, ratio.kept)


@lru_cache(maxsize=2**12)
def slowest_share(elements: int, window: int, share: Fraction) -> Fraction:
    """Cycles per product of elements that skip zeros and wait for each other after every `window` products.

    Every element has `window` products of its own, each of which is kept with probability `share` whatever the others
    are; all wait for the one that keeps most. That is the expectation of the maximum of `elements` binomials,

        E[max] = sum over k from 0 to window - 1 of 1 - F(k)^elements, with F the distribution function of
        Binomial(window, share),

    over `window`, rounded up to 2**-20.
    """
    if share == 1:
        return Fraction(1)
    p, below, expected = float(share), 0.0, 0.0
    for k in range(window):
        choose = lgamma(window + 1) - lgamma(k + 1) - lgamma(window - k + 1)
        below = min(1.0, below + exp(choose + k * log(p) + (window - k) * log1p(-p)))
        expected += 1.0 - below**elements
    return Fraction(min(FINEST, max(ceil(expected / window * FINEST - 1e-4), ceil(share * FINEST))), FINEST)
