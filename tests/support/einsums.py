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


def group_conv(
    n: int = 1, g: int = 1, m: int = 1, c: int = 1, side: tuple[int, int] = (1, 1), window: tuple[int, int] = (1, 1),
    stride: int = 1, dilation: int = 1,
) -> Einsum:
    """A convolution with padding of g groups of c channels each to m channels each."""
    image = [Affine(((a, stride), (b, dilation)), -1) for a, b in (("p", "r"), ("q", "s"))]
    return Einsum(
        "conv",
        Access("O", (Affine((("n", 1),)), Affine((("g", m), ("m", 1))), *at("p", "q"))),
        (
            Access("I", (Affine((("n", 1),)), Affine((("g", c), ("c", 1))), *image), 0.0),
            Access("W", (Affine((("g", m), ("m", 1))), *at("c", "r", "s"))),
        ),
        Apply("mul", (Read(0), Read(1))),
        {"n": n, "g": g, "m": m, "p": side[0], "q": side[1], "c": c, "r": window[0], "s": window[1]},
        reduce="add",
    )  # fmt: skip


def run(unit: ComputeUnit, einsum: Einsum, variant: str, bits: Sequence[int] = (8, 8, 8)) -> Cost:
    """Cost of the whole Einsum as one tile."""
    (option,) = [o for o in unit.spatial_options(einsum) if o.variant == variant]
    return unit.cost(einsum, option, {r: np.array([s]) for r, s in einsum.sizes.items()}, bits)


def machine(unit: ComputeUnit, **ports: float) -> ComputeUnit:
    """The unit in a machine of 1 GHz, fed by a buffer with these ports."""
    memory = Buffer(capacity=2**20, **ports)
    return compute_units(Architecture("m", 1e9, {"s": memory}, {"u": unit}))["u"]
