"""Resize and Upsample: nearest, linear and cubic, by any scale, one pass per dimension.

Formulas of the ONNX operator Resize: an output element o stands at a coordinate of the input; nearest takes the element
there, linear weighs 2 neighbours and cubic 4 (more when antialiased), and neighbours beyond the edge are the edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from .graph import MOST_POSITIONS, GraphImport, operator
from .loading import Node, Value

Array: TypeAlias = np.ndarray[Any, Any]

COORDINATES = (
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_half_pixel_for_nn",
    "tf_crop_and_resize",
)  # fmt: skip
MODES = ("nearest", "linear", "cubic")
SNAP = 1e-9
"""Coordinates this close to a whole number are that number, so that equal phases stay equal in floating point."""


@dataclass(frozen=True)
class Pass:
    """How one dimension is resized: elements before and after, the scale, and the region of interest."""

    axis: int
    size: int
    outputs: int
    scale: float
    region: tuple[float, float]

    @property
    def idle(self) -> bool:
        return self.size == self.outputs and abs(self.scale - 1.0) < SNAP and self.region == (0.0, 1.0)


@operator("Upsample", "Resize")
def resize(g: GraphImport, node: Node) -> None:
    x = g.value(node, 0)
    mode = str(node.attributes.get("mode", "nearest")).replace("bilinear", "linear").replace("trilinear", "linear")
    if mode not in MODES or _transformation(node) not in COORDINATES:
        raise g.wrong(node, f"mode '{mode}' with coordinates '{_transformation(node)}' (modes: {', '.join(MODES)}; "
                            f"coordinates: {', '.join(COORDINATES)})")  # fmt: skip
    todo = [p for p in _passes(g, node, x) if not p.idle]
    if not todo:
        g.view(node, x.shape)
        return
    coordinates = {p.axis: _coordinates(g, node, p) for p in todo}
    b, kind, hint, out = g.builder, node.op_type, node.name, node.outputs[0]
    if mode == "nearest":
        positions = {p.axis: _nearest(node, coordinates[p.axis], p.size).tolist() for p in todo}
        g.built(node, b.take(g.tensor(x), positions, kind=kind, name=hint, out=out))
        return
    name = g.tensor(x)
    todo.sort(key=lambda p: p.outputs / p.size)  # what shrinks goes first: the later passes have less to do
    for i, p in enumerate(todo):
        first, weights = _taps(node, mode, coordinates[p.axis], p)
        name = b.interpolate(name, p.axis, first.tolist(), weights, kind=kind, name=hint,
                             out=out if i == len(todo) - 1 else None)  # fmt: skip
    g.built(node, name)


def _old(node: Node) -> bool:
    return node.op_type == "Upsample" or node.opset < 11


def _transformation(node: Node) -> str:
    return str(node.attributes.get("coordinate_transformation_mode", "asymmetric" if _old(node) else "half_pixel"))


def _passes(g: GraphImport, node: Node, x: Value) -> list[Pass]:
    """One Pass per dimension, from scales or from sizes, of all dimensions or of `axes`."""
    rank = len(x.shape)
    given = [int(a) for a in node.attributes.get("axes", range(rank))]
    axes = [a % rank for a in given if -rank <= a < rank]
    if not axes or len(set(axes)) != len(given) or 0 in x.shape:
        raise g.wrong(node, f"axes {given} of '{x.name}' {x.shape} (each once, of {-rank}..{rank - 1})")
    sizes_given: list[int] | None = None
    scales = g.maybe(node, 1 if _old(node) else 2)
    if "scales" in node.attributes:
        factors = [float(f) for f in node.attributes["scales"]]
    elif scales is not None and 0 not in scales.shape:
        if scales.data is None:
            raise g.unsupported(node, f"scales '{scales.name}' must be known before the run")
        factors = [float(f) for f in scales.data.reshape(-1)]
    else:
        sizes_given = g.integers(node, 3, "sizes")
        if sizes_given is None:
            raise g.wrong(node, "neither scales nor sizes are given")
        factors = [to / x.shape[a] for to, a in zip(sizes_given, axes, strict=False)]
    if len(factors) != len(axes) or min(factors) <= 0:
        raise g.wrong(node, f"factors {factors} for {len(axes)} dimensions of '{x.name}' {x.shape} (positive numbers)")
    policy = node.attributes.get("keep_aspect_ratio_policy", "stretch")
    if sizes_given is None:
        outputs = [int(x.shape[a] * f) for a, f in zip(axes, factors, strict=True)]
    elif policy == "stretch":
        outputs = sizes_given
    else:
        factors = [min(factors) if policy == "not_larger" else max(factors)] * len(axes)
        outputs = [int(x.shape[a] * f + 0.5) for a, f in zip(axes, factors, strict=True)]
    if max(outputs) > MOST_POSITIONS:
        raise g.wrong(node, f"it makes {max(outputs)} positions of one dimension (at most {MOST_POSITIONS})")
    if min(outputs) < 1:
        raise g.wrong(node, f"factors {factors} leave nothing of '{x.name}' {x.shape}")
    regions = _regions(g, node, len(axes))
    return [Pass(a, x.shape[a], o, f, r) for a, o, f, r in zip(axes, outputs, factors, regions, strict=True)]


def _regions(g: GraphImport, node: Node, axes: int) -> list[tuple[float, float]]:
    """Start and end per dimension for ``tf_crop_and_resize``: parts of the input's extent."""
    if _transformation(node) != "tf_crop_and_resize":
        return [(0.0, 1.0)] * axes
    roi = g.maybe(node, 1)
    if roi is None or roi.data is None or roi.data.size != 2 * axes:
        raise g.unsupported(node, f"its region of interest must be {2 * axes} numbers known before the run")
    numbers = [float(v) for v in roi.data.reshape(-1)]
    return list(zip(numbers[:axes], numbers[axes:], strict=True))


def _coordinates(g: GraphImport, node: Node, p: Pass) -> Array:
    """Where each output stands in the input; NaN where it is extrapolated (to 0)."""
    o = np.arange(p.outputs, dtype=np.float64)
    width = p.scale * p.size
    match _transformation(node):
        case "asymmetric":
            at = o / p.scale
        case "align_corners":
            at = np.zeros_like(o) if width == 1 else o * (p.size - 1) / (width - 1)
        case "tf_half_pixel_for_nn":
            at = (o + 0.5) / p.scale
        case "pytorch_half_pixel" if width == 1:
            at = np.full_like(o, -0.5)
        case "half_pixel_symmetric":
            at = (o + 0.5) / p.scale - 0.5 + p.size / 2 * (1 - p.outputs / width)
        case "tf_crop_and_resize":
            start, end = p.region
            step = (end - start) * (p.size - 1)
            at = start * (p.size - 1) + (np.full_like(o, step / 2) if width == 1 else o * step / (width - 1))
            if ((at < 0) | (at > p.size - 1)).any():
                if node.attributes.get("mode") == "nearest" or node.attributes.get("extrapolation_value", 0.0):
                    raise g.unsupported(node, "extrapolation is supported by 0, linear or cubic")
                at = np.where((at < 0) | (at > p.size - 1), np.nan, at)
        case _:
            at = (o + 0.5) / p.scale - 0.5
    whole = np.rint(at)
    return np.where(np.abs(at - whole) < SNAP, whole, at)


def _nearest(node: Node, at: Array, size: int) -> Array:
    """The element at each coordinate, by ``nearest_mode``."""
    rounding = node.attributes.get("nearest_mode", "floor" if _old(node) else "round_prefer_floor")
    if rounding == "floor":
        found = np.floor(at)
    elif rounding == "ceil":
        found = np.ceil(at)
    else:
        found = np.ceil(at - 0.5) if rounding == "round_prefer_floor" else np.floor(at + 0.5)
    clipped: Array = np.clip(found, 0, size - 1).astype(np.int64)
    return clipped


def _taps(node: Node, mode: str, at: Array, p: Pass) -> tuple[Array, Array]:
    """First neighbour of each output, and the weights (outputs, taps); beyond an edge, they are added to the edge."""
    antialias = bool(node.attributes.get("antialias", 0))
    scale = min(p.scale, 1.0) if antialias else 1.0
    reach = 1 if mode == "linear" else 2
    # The kernel spans `reach` elements on both sides, stretched by the scale where it smooths.
    before = int(np.floor(-reach / scale)) + 1
    taps = 2 - 2 * before
    extrapolated = np.isnan(at)
    at = np.where(extrapolated, 0.0, at)
    base = np.floor(at).astype(np.int64)
    distance = (before + np.arange(taps) - (at - base)[:, None]) * scale
    weights = _kernel(mode, distance, float(node.attributes.get("cubic_coeff_a", -0.75)))
    positions = base[:, None] + before + np.arange(taps)
    outside = (positions < 0) | (positions >= p.size)
    if node.attributes.get("exclude_outside", 0):
        weights = np.where(outside, 0.0, weights)
    if antialias or node.attributes.get("exclude_outside", 0):
        weights = weights / weights.sum(axis=1, keepdims=True)
    weights = np.where(extrapolated[:, None], 0.0, weights)
    first = np.clip(base + before, 1 - taps, p.size - 1)
    return first, _onto_edges(weights, positions, outside, first, p.size)


def _kernel(mode: str, distance: Array, a: float) -> Array:
    """The triangle, or Keys' cubic (IEEE Trans. ASSP 29(6), 1981), at distances in elements."""
    d = np.abs(distance)
    if mode == "linear":
        triangle: Array = np.clip(1 - d, 0, 1)
        return triangle
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def _onto_edges(weights: Array, positions: Array, outside: Array, first: Array, size: int) -> Array:
    """Move the weight of positions outside onto the nearest edge, which is among the taps from `first` on."""
    moved = np.where(outside, 0.0, weights)
    for row in np.nonzero((outside & (weights != 0)).any(axis=1))[0]:
        edges = np.clip(positions[row], 0, size - 1)
        for tap in np.nonzero(outside[row])[0]:
            moved[row, int(edges[tap] - first[row])] += weights[row, tap]
    return moved
