"""Operators that read an axis at positions known before the run: padding by reflection, gathering, interpolation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from math import prod

import numpy as np

from ..errors import BadInput
from .builder import Builder, affine
from .einsum import Access, Affine, Apply, Expr, Read
from .strides import Piece, pieces
from .workload import View

MOST_PIECES = 27
"""Einsums that lists of positions may fall into (a reflection in three dimensions); with more, they are looked up."""

ROW_BITS = 32
"""Bits of a position that is looked up."""


class ResampleOps(Builder):
    """Reads at lists of positions: affine pieces where there are few, else `View` of positions."""

    def look_up(self, table: str, rows: str, *, axis: int = 0, name: str = "gather") -> str:
        """The View of rows of a table, or of positions along another axis, that an integer tensor names."""
        source = self.tensor(table)
        if not 0 <= axis < len(source.shape):
            raise BadInput(f"{self.name}: '{name}' looks up along axis {axis} of '{table}' {source.shape}")
        shape = source.shape[:axis] + self.shape(rows) + source.shape[axis + 1:]
        chosen = self.declare(self.unique(f"{name}.rows"), shape, source.role, source.bits)
        self.add(View(chosen, table, rows, axis))
        return chosen

    def _held(self, name: str, values: np.ndarray, bits: int) -> str:
        """A weight that the builder makes up, with its values."""
        weight = self.weight(self.unique(name), values.shape, bits)
        self.constants[weight] = values
        return weight

    def take(
        self, x: str, positions: Mapping[int, Sequence[int]], *, kind: str = "Gather", name: str = "take",
        out: str | None = None,
    ) -> str:
        """`x` at the given positions along each axis named, as ``numpy.take`` along one after the other; copies.

        One copy per combination of affine pieces of the lists (`strides.pieces`): a reflection before and after has
        three. Where that is more than `MOST_PIECES`, the lists are integer weights and the copy reads what they name.

        Raises:
            BadInput: a position or an axis that `x` does not have, or an empty list.
        """
        shape, bits = self.shape(x), self.tensor(x).bits
        for axis, wanted in positions.items():
            if not 0 <= axis < len(shape) or not len(wanted) or min(wanted) < 0 or max(wanted) >= shape[axis]:
                raise BadInput(f"{self.name}: '{name}' takes {list(wanted)[:8]} along axis {axis} of '{x}' {shape}")
        split = {axis: pieces(wanted) for axis, wanted in positions.items()}
        if prod(len(found) for found in split.values()) > MOST_PIECES:
            for axis, wanted in positions.items():
                rows = self._held(f"{name}.positions", np.asarray(wanted, np.int64), ROW_BITS)
                x = self.look_up(x, rows, axis=axis, name=name)
            return self.elementwise("copy", x, kind=kind, name=name, out=out, bits=bits)
        full = [len(positions[d]) if d in positions else n for d, n in enumerate(shape)]
        target = self.activation(out or self.unique(name), full, bits)
        for chosen in product(*split.values()):
            self._box(x, dict(zip(split, chosen, strict=True)), target, kind, name)
        return target

    def _box(self, x: str, chosen: Mapping[int, Piece], target: str, kind: str, name: str) -> None:
        """Copy one combination of pieces into its place."""
        sizes: dict[str, int] = {}
        source: list[Affine] = []
        place: list[Affine] = []
        for d, size in enumerate(self.shape(x)):
            if d in chosen:
                sizes.update(chosen[d].sizes(f"i{d}", f"j{d}"))
                source.append(chosen[d].source(f"i{d}", f"j{d}"))
                place.append(chosen[d].place(f"i{d}", f"j{d}"))
            else:
                sizes[f"i{d}"] = size
                source.append(affine(f"i{d}"))
                place.append(affine(f"i{d}"))
        at = [chosen[d].start if d in chosen else 0 for d in range(len(place))]
        inputs = [Access(x, tuple(source))]
        self.compute(Read(0), inputs, place, sizes, kind=kind, name=f"{name}.copy", out=target, at=at)

    def interpolate(
        self, x: str, axis: int, first: Sequence[int], weights: np.ndarray, *, kind: str = "Resize",
        name: str = "interpolate", out: str | None = None,
    ) -> str:
        """Element o along `axis` becomes ``sum over t of weights[o, t] * x[first[o] + t]``; other axes stay.

        Positions outside the axis must weigh 0. The weights (outputs, taps) are a weight tensor; each output costs one
        multiply-accumulate per tap. Where the positions are regular (a scale that is a ratio of small numbers) the
        reads are affine; else each tap is looked up.
        """
        shape, bits = self.shape(x), self.tensor(x).bits
        outputs, taps = weights.shape
        factors = self._held(f"{name}.weights", np.asarray(weights, np.float64), bits)
        others = {f"i{d}": n for d, n in enumerate(shape) if d != axis}
        split = pieces(first)
        full = [*shape[:axis], outputs, *shape[axis + 1:]]
        target = self.activation(out or self.unique(name), full, bits)

        def around(index: Affine) -> tuple[Affine, ...]:
            return tuple(index if d == axis else affine(f"i{d}") for d in range(len(shape)))

        if len(split) > MOST_PIECES:
            terms: list[Expr] = []
            inputs: list[Access] = []
            for t in range(taps):
                clamped = np.clip(np.asarray(first) + t, 0, shape[axis] - 1)
                rows = self.look_up(x, self._held(f"{name}.positions", clamped, ROW_BITS), axis=axis, name=name)
                terms.append(Apply("mul", (Read(2 * t), Read(2 * t + 1))))
                inputs += [Access(rows, around(affine("o"))), Access(factors, (affine("o"), affine(t)))]
            expr = terms[0]
            for term in terms[1:]:
                expr = Apply("add", (expr, term))
            return self.compute(expr, inputs, around(affine("o")), {**others, "o": outputs}, kind=kind, name=name,
                                out=target, bits=bits)  # fmt: skip
        for piece in split:
            ranks = piece.sizes("o", "f")
            sizes = {**others, **ranks, "t": taps}
            source, place = piece.source("o", "f"), piece.place("o", "f")
            source = Affine((*source.terms, ("t", 1)), source.offset)
            low, high = source.bounds(sizes)
            row = Affine(place.terms, piece.start)
            inputs = [
                Access(x, around(source), 0.0 if low < 0 or high >= shape[axis] else None),
                Access(factors, (row, affine("t"))),
            ]
            at = [piece.start if d == axis else 0 for d in range(len(shape))]
            self.compute("mul", inputs, around(place), sizes, reduce="add", kind=kind, name=name, out=target, at=at)
        return target
