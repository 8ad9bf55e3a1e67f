"""Small Einsums, and compute units set to work on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import settings

from accelsim.arch import Architecture
from accelsim.components import ComputeUnit, Cost, compute_units
from accelsim.components.buffer import Buffer
from accelsim.ir import Access, Affine, Apply, Einsum, Read

SMALL = settings(deadline=None, derandomize=True, max_examples=150)


def at(*ranks: str) -> tuple[Affine, ...]:
    """Indices that are ranks by themselves."""
    return tuple(Affine(((r, 1),)) for r in ranks)


def gemm(g: int, m: int, n: int, k: int) -> Einsum:
    """A batch of g matrix products."""
    return Einsum(
        "gemm",
        Access("O", at("g", "m", "n")),
        (Access("A", at("g", "m", "k")), Access("B", at("g", "k", "n"))),
        Apply("mul", (Read(0), Read(1))),
        {"g": g, "m": m, "n": n, "k": k},
        reduce="add",
    )


def conv(c: int, f: int, side: int, window: int) -> Einsum:
    """A convolution without padding."""
    image = (Affine((("c", 1),)), Affine((("y", 1), ("r", 1))), Affine((("x", 1), ("s", 1))))
    return Einsum(
        "conv",
        Access("O", at("f", "y", "x")),
        (Access("I", image), Access("W", at("f", "c", "r", "s"))),
        Apply("mul", (Read(0), Read(1))),
        {"f": f, "c": c, "y": side, "x": side, "r": window, "s": window},
        reduce="add",
    )


def run(unit: ComputeUnit, einsum: Einsum, variant: str, bits: Sequence[int] = (8, 8, 8)) -> Cost:
    """Cost of the whole Einsum as one tile."""
    (option,) = [o for o in unit.spatial_options(einsum) if o.variant == variant]
    return unit.cost(einsum, option, {r: np.array([s]) for r, s in einsum.sizes.items()}, bits)


def machine(unit: ComputeUnit, **ports: float) -> ComputeUnit:
    """The unit in a machine of 1 GHz, fed by a buffer with these ports."""
    memory = Buffer(capacity=2**20, **ports)
    return compute_units(Architecture("m", 1e9, {"s": memory}, {"u": unit}))["u"]
