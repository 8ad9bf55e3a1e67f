"""Digital logic in memory: rows of cells that all do the same step at a time, each on numbers of its own.

A row is a lane. An operation is a sequence of steps (reads, writes, searches, and logic such as a NOR that leaves its
result in a cell), each done in every row of every array at once. How many steps of which sort an operation takes is its
recipe, a polynomial in the bits of exponent and mantissa: with f the steps of a full adder, adding mantissas takes
about f·m of them and multiplying about f·m². Cells of a row hold both operands, the result, and what the recipe keeps
between its steps (`workspace`).

Work is dealt out over lanes point by point of the result, and with the variant ``split2``, ``split4`` ... in so many
parts of what is summed, whose sums are then moved together and added in pairs. Operands are copied into the lane that
uses them, by the recipe of ``copy``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from math import ceil, prod
from types import MappingProxyType
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, PrivateAttr, field_validator, model_validator

from ..arch.component import Price
from ..arch.energy import Figure
from ..arch.layout import Layout
from ..arch.units import ENERGY, Area, Energy, Quantity, Time
from ..errors import BadInput, UnsupportedPrecision
from ..ir import Einsum, count_operations
from ..ir.operators import operation_terms
from .base import ComputeUnit, Cost, Extents, IntArray, SpatialOption, bytes_of
from .elementwise import Points, check_classes

Step = Literal["read", "write", "search", "nor"]
STEPS: tuple[Step, ...] = ("read", "write", "search", "nor")
Term = Literal["one", "e", "m", "ee", "em", "mm"]
Recipe = Mapping[Step, Mapping[Term, float]]
FORMATS: Mapping[str, tuple[int, int]] = MappingProxyType({
    "fp8_e4m3": (4, 3), "fp8_e5m2": (5, 2), "fp16": (5, 10), "bf16": (8, 7), "tf32": (8, 10), "fp32": (8, 23),
    "fp64": (11, 52), "int4": (0, 4), "int8": (0, 8), "int16": (0, 16), "int32": (0, 32),
})  # fmt: skip
"""Bits of exponent and mantissa, with a sign beside them (fp16, fp32, fp64: IEEE 754); of integers, none and all."""
_MADE_OF = MappingProxyType({"mac": ("mul", "add"), "max": ("add",)})
"""What stands in for a class without a recipe: a comparison is a subtraction."""
_EXACT = 1e-9
_ROUNDS = 16
"""Rounds of all lanes that parts are offered for: further ones fill the last round no better."""
_Work = Callable[[str, IntArray, IntArray, IntArray], None]


class MemoryLogic(ComputeUnit):
    """`arrays` of `rows` by `cols` cells; see the module. It runs Einsums whose operations all have recipes.

    A number of `bits` has the one of `formats` that is as wide. Classes without a recipe: a multiply-accumulate is a
    product and a sum, a maximum a sum.
    """

    kind: Literal["memory_logic"] = "memory_logic"
    arrays: Annotated[int, Field(ge=1, le=2**24, description="Arrays that work at a time.")]
    rows: Annotated[int, Field(ge=1, le=2**16, description="Rows of an array: lanes.")]
    cols: Annotated[int, Field(ge=1, le=2**16, description="Cells of a row.")]
    formats: Annotated[
        tuple[str, ...], Field(min_length=1, description="Formats of numbers, such as bf16 or fp32; one of a width.")
    ]
    step_times: Annotated[Mapping[Step, Time], Field(description="Of a step in all rows, by its sort.")]
    step_energies: Annotated[Mapping[Step, Energy], Field(description="Of a step in one row, by its sort.")]
    recipes: Annotated[
        Mapping[str, Recipe],
        Field(description="Steps of an operation by cost class and sort: coefficients of one, e, m, ee, em and mm, for "
              "exponents of e bits and mantissas of m."),
    ] = Field(default_factory=dict)  # fmt: skip
    integer_recipes: Annotated[
        Mapping[str, Recipe], Field(description="The same for integers of m bits, where a format is one.")
    ] = Field(default_factory=dict)  # fmt: skip
    workspace: Annotated[
        Mapping[str, Mapping[Term, float]],
        Field(description="Cells that an operation takes beside operands and result, by cost class."),
    ] = Field(default_factory=dict)  # fmt: skip
    cell_area: Annotated[Area | None, Field(description="Of a cell.")] = None
    periphery_area: Annotated[Area | None, Field(description="Of drivers and amplifiers of an array.")] = None

    actions: ClassVar[Mapping[str, Quantity]] = MappingProxyType(
        {**{f"{step}_step": ENERGY for step in STEPS}, "mac": ENERGY}
    )

    _steps: dict[tuple[str, int], Mapping[Step, int]] = PrivateAttr(default_factory=dict)

    @field_validator("recipes", "integer_recipes", "workspace")
    @classmethod
    def _classes(cls, value: Mapping[str, Mapping[str, object]]) -> Mapping[str, Mapping[str, object]]:
        return check_classes(value)

    @field_validator("formats")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in FORMATS:
                raise ValueError(f"no format `{name}` (known: {', '.join(FORMATS)})")
        widths = [_width(name) for name in value]
        if len(set(widths)) != len(widths):
            raise ValueError(f"two formats of {max(widths, key=widths.count)} bits: give one of a width")
        return value

    @model_validator(mode="after")
    def _timed(self) -> Self:
        for fmt in self.formats:
            key, table = ("recipes", self.recipes) if FORMATS[fmt][0] else ("integer_recipes", self.integer_recipes)
            if "copy" not in table:
                raise ValueError(f"no recipe of `copy` in `{key}`, by which operands come into their rows as {fmt}")
            for name, recipe in table.items():
                for step in recipe:
                    for said, by_step in (("step_times", self.step_times), ("step_energies", self.step_energies)):
                        if step not in by_step:
                            raise ValueError(f"the recipe of {name} takes steps `{step}`, of which `{said}` says "
                                             "nothing")  # fmt: skip
                if sum(n * self.step_times[step] for step, n in _evaluated(recipe, *FORMATS[fmt]).items()) <= 0:
                    raise ValueError(f"the recipe of {name} takes no time as {fmt}")
        return self

    # Operations

    @property
    def lanes(self) -> int:
        return self.arrays * self.rows

    def format_of(self, bits: int) -> tuple[int, int]:
        """Bits of exponent and mantissa of a number of so many bits.

        Raises:
            UnsupportedPrecision: no format of the unit is as wide.
        """
        for name in self.formats:
            if _width(name) == bits:
                return FORMATS[name]
        can = ", ".join(f"{name} ({_width(name)} bits)" for name in self.formats)
        raise UnsupportedPrecision(f"{self.name or self.kind}: no format of {bits} bits (it computes with {can})")

    def steps(self, cost_class: str, bits: int) -> Mapping[Step, int]:
        """Steps of one operation on numbers of so many bits, by sort, each rounded up.

        Raises:
            BadInput: there is no recipe of it.
            UnsupportedPrecision: there is no format of this width.
        """
        key = cost_class, bits
        if key not in self._steps:
            self._steps[key] = self._worked_out(cost_class, bits)
        return self._steps[key]

    def _worked_out(self, cost_class: str, bits: int) -> Mapping[Step, int]:
        e, m = self.format_of(bits)
        table = self.recipes if e else self.integer_recipes
        if cost_class in table:
            return _evaluated(table[cost_class], e, m)
        if not _has(table, cost_class):
            raise BadInput(f"{self.name or self.kind}: no recipe of {cost_class} (it has {', '.join(table)})")
        total: dict[Step, int] = {}
        for part in _MADE_OF[cost_class]:
            for step, n in self.steps(part, bits).items():
                total[step] = total.get(step, 0) + n
        return total

    def _able(self, cost_class: str) -> bool:
        """Whether there is a recipe for every format."""
        return all(_has(self.recipes if FORMATS[name][0] else self.integer_recipes, cost_class)
                   for name in self.formats)  # fmt: skip

    def _operation_seconds(self, cost_class: str, bits: int) -> float:
        return sum(n * self.step_times[step] for step, n in self.steps(cost_class, bits).items())

    def operation_cycles(self, cost_class: str, bits: int) -> int:
        """Cycles of one operation in all lanes."""
        return max(1, ceil(self._operation_seconds(cost_class, bits) * self.clock_hz - _EXACT))

    def cells(self, cost_class: str, bits: int) -> int:
        """Cells of a row for one operation: two operands, the result and the workspace."""
        e, m = self.format_of(bits)
        parts = (cost_class,) if cost_class in self.workspace else _MADE_OF.get(cost_class, (cost_class,))
        return 3 * bits + max(ceil(_value(self.workspace.get(p, {}), e, m) - _EXACT) for p in parts)

    # What mappers and lowering ask

    def peak_rates(self) -> Mapping[str, float]:
        """Operations per cycle of all lanes in the format in which they take least."""
        able = [c for c in (*self.recipes, *self.integer_recipes, *_MADE_OF) if self._able(c)]
        widths = [_width(name) for name in self.formats]
        return {c: self.lanes / min(self.operation_cycles(c, bits) for bits in widths) for c in able}

    def _least(self, einsum: Einsum, bits: Sequence[int]) -> Mapping[str, int]:
        """Operations of an Einsum that no option does without, by cost class; none without a format of this width."""
        if not any(_width(name) == max(bits) for name in self.formats):
            return {}
        found = dict(count_operations(einsum).counts)
        found["copy"] = found.get("copy", 0) + len(einsum.inputs) * einsum.points
        return found

    def least_feed_cycles(self, einsum: Einsum, bits: Sequence[int]) -> float:
        """Also the cycles of all operations at this width, one after the other, with all lanes busy."""
        found = self._least(einsum, bits)
        working = sum(n * self.operation_cycles(c, max(bits)) for c, n in found.items()) / self.lanes
        return max(super().least_feed_cycles(einsum, bits), working)

    def least_actions(self, einsum: Einsum, bits: Sequence[int]) -> Mapping[str, float]:
        total: dict[str, float] = {}
        for c, n in self._least(einsum, bits).items():
            for step, steps in self.steps(c, max(bits)).items():
                total[f"{step}_step"] = total.get(f"{step}_step", 0.0) + float(n * steps)
        return total

    def spatial_options(self, einsum: Einsum) -> Sequence[SpatialOption]:
        """Parts of what is summed, in powers of two, up to a few rounds of all lanes; a single one at least."""
        if not all(self._able(c) for c, _ in operation_terms(einsum)):
            return ()
        if einsum.reduce not in ("", "add", "max", "min"):
            return ()
        summed = prod(einsum.sizes[r] for r in einsum.reduced_ranks)
        most = min(summed, max(1, _ROUNDS * self.lanes * summed // einsum.points))
        return tuple(SpatialOption(f"split{2**i}", {}) for i in range(most.bit_length()))

    def option(self, einsum: Einsum, variant: str, layout: Layout | None) -> SpatialOption:
        """Any number of parts."""
        number = variant.removeprefix("split")
        able = variant.startswith("split") and number.isdecimal() and 0 < int(number) <= self.lanes
        if able and layout is None and self.spatial_options(einsum):
            return SpatialOption(variant, {})
        return super().option(einsum, variant, layout)

    def cost(
        self,
        einsum: Einsum,
        option: SpatialOption,
        extents: Extents,
        bits: Sequence[int],
        *,
        resumed: bool = False,
        unfinished: bool = False,
    ) -> Cost:
        """Cost of tiles, see the module; all numbers have the width of the widest.

        Raises:
            BadInput: an operation has no recipe.
            UnsupportedPrecision: no format has this width, or a row is too short for it.
        """
        terms = operation_terms(einsum)
        if not option.variant.startswith("split") or not all(self._able(c) for c, _ in terms):
            missing = ", ".join(sorted({c for c, _ in terms if not self._able(c)})) or option.variant
            raise BadInput(f"{self.name or self.kind}: cannot run {einsum.name}: no recipe of {missing}")
        width = max(bits)
        for c, _ in terms:
            if (needed := self.cells(c, width)) > self.cols:
                raise UnsupportedPrecision(f"{self.name or self.kind}: {c} of {width} bits takes {needed} cells of a "
                                           f"row, which has {self.cols}")  # fmt: skip
        points = Points(einsum, extents)
        kept, gone = einsum.output.ranks, frozenset(einsum.reduced_ranks)
        results, summed = points.of(kept & frozenset(einsum.sizes)), points.of(gone)
        split = np.minimum(int(option.variant.removeprefix("split")), summed)
        counts: dict[str, IntArray] = {}
        cycles = np.zeros_like(points.one)

        def work(cost_class: str, lanes: IntArray, serial: IntArray, number: IntArray) -> None:
            nonlocal cycles
            cycles = cycles + -(-lanes // self.lanes) * serial * self.operation_cycles(cost_class, width)
            for step, n in self.steps(cost_class, width).items():
                key = f"{step}_step"
                counts[key] = counts.get(key, np.zeros_like(points.one)) + n * number

        serial = -(-summed // split)
        for c, ranks in terms:
            own = points.of(frozenset(ranks) & gone)
            work(c, results * np.minimum(split, own), -(-own // np.minimum(split, own)), points.of(frozenset(ranks)))
        for _ in einsum.inputs:
            work("copy", results * split, serial, results * summed)
        self._joined(einsum, results, split, work)
        zero = np.zeros_like(points.one)
        counts["mac"] = sum((points.of(frozenset(ranks)) for c, ranks in terms if c == "mac"), start=zero)
        reads = tuple(bytes_of(points.of(a.ranks), b) for a, b in zip(einsum.inputs, bits[:-1], strict=True))
        writes = bytes_of(results, width if unfinished else bits[-1])
        partial = bytes_of(results, width) * resumed
        cycles = np.maximum(np.maximum(cycles, 1), self.feed_cycles(reads, writes, partial))
        return Cost(cycles, zero, reads, writes, partial, counts)

    def _joined(self, einsum: Einsum, results: IntArray, split: IntArray, work: _Work) -> None:
        """Sums of parts in pairs: a half of them is moved, and added, until one is left."""
        how = "max" if einsum.reduce in ("max", "min") else "add"
        left = split
        one = np.ones_like(split)
        while int(left.max(initial=1)) > 1:
            pairs = left // 2
            for c in ("copy", how):
                work(c, results * pairs, np.where(pairs > 0, one, 0), results * pairs)
            left = left - pairs

    # Energy and area

    def prices(self) -> Mapping[str, Price]:
        found = {f"{s}_step": Price(f"step_energies.{s}", self.step_energies.get(s, 0.0), None) for s in STEPS}
        return {**found, "mac": Price("mac_energy", 0.0, None)}

    def default_area(self) -> Figure | None:
        if self.cell_area is None:
            return None
        cells = self.arrays * self.rows * self.cols * self.cell_area
        return Figure(cells + self.arrays * (self.periphery_area or 0.0), "cells and periphery as stated")


def _width(name: str) -> int:
    e, m = FORMATS[name]
    return (1 + e if e else 0) + m


def _has(table: Mapping[str, Recipe], cost_class: str) -> bool:
    return cost_class in table or all(part in table for part in _MADE_OF.get(cost_class, ("",)))


def _evaluated(recipe: Recipe, e: int, m: int) -> Mapping[Step, int]:
    return {step: ceil(_value(terms, e, m) - _EXACT) for step, terms in recipe.items()}


def _value(terms: Mapping[Term, float], e: int, m: int) -> float:
    of: Mapping[Term, int] = {"one": 1, "e": e, "m": m, "ee": e * e, "em": e * m, "mm": m * m}
    return float(sum(Fraction(n).limit_denominator(1000) * of[term] for term, n in terms.items()))
