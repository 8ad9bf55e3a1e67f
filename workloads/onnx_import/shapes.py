"""Operators that move data or only rename it: views, copies, slices, gathers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from .graph import MOST_POSITIONS, GraphImport, operator
from .loading import Node, Value


def _axis(g: GraphImport, node: Node, axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise g.wrong(node, f"axis {axis} (one of {-rank}..{rank - 1})")
    return axis % rank


def _needed(g: GraphImport, node: Node, position: int, attribute: str) -> list[int]:
    values = g.integers(node, position, attribute)
    if values is None:
        raise g.wrong(node, f"{attribute} is missing")
    return values


# -- views ---------------------------------------------------------------------------------------------------------


@operator("Reshape")
def reshape(g: GraphImport, node: Node) -> None:
    """0 keeps a dimension (unless ``allowzero``), and one -1 takes what is left."""
    x, wanted = g.value(node, 0), _needed(g, node, 1, "shape")
    if not node.attributes.get("allowzero", 0):
        if any(n == 0 and i >= len(x.shape) for i, n in enumerate(wanted)):
            raise g.wrong(node, f"shape {wanted} keeps a dimension that '{x.name}' {x.shape} does not have")
        wanted = [x.shape[i] if n == 0 else n for i, n in enumerate(wanted)]
    shape = list(wanted)
    if shape.count(-1) == 1:
        shape[shape.index(-1)] = prod(x.shape) // max(1, -prod(shape))
    if prod(shape) != prod(x.shape) or min(shape, default=1) < 0:
        raise g.wrong(node, f"'{x.name}' {x.shape} cannot take shape {wanted}: the numbers of elements differ")
    g.view(node, shape)


@operator("Flatten")
def flatten(g: GraphImport, node: Node) -> None:
    x = g.value(node, 0)
    axis, rank = int(node.attributes.get("axis", 1)), len(x.shape)
    if not -rank <= axis <= rank:
        raise g.wrong(node, f"axis {axis} (one of {-rank}..{rank})")
    axis += rank if axis < 0 else 0
    g.view(node, (prod(x.shape[:axis]), prod(x.shape[axis:])))


@operator("Squeeze")
def squeeze(g: GraphImport, node: Node) -> None:
    x, axes = g.value(node, 0), g.integers(node, 1, "axes")
    if axes is None:
        gone = {i for i, n in enumerate(x.shape) if n == 1}
    else:
        gone = {_axis(g, node, a, len(x.shape)) for a in axes}
        if any(x.shape[a] != 1 for a in gone):
            raise g.wrong(node, f"axes {axes} of '{x.name}' {x.shape} are not all of size 1")
    g.view(node, [n for i, n in enumerate(x.shape) if i not in gone])


@operator("Unsqueeze")
def unsqueeze(g: GraphImport, node: Node) -> None:
    x, axes = g.value(node, 0), _needed(g, node, 1, "axes")
    rank = len(x.shape) + len(axes)
    new = {_axis(g, node, a, rank) for a in axes}
    if len(new) != len(axes):
        raise g.wrong(node, f"axes {axes} name one dimension twice")
    old = iter(x.shape)
    g.view(node, [1 if i in new else next(old) for i in range(rank)])


@operator("Identity")
def identity(g: GraphImport, node: Node) -> None:
    g.view(node, g.value(node, 0).shape)


@operator("Dropout")
def dropout(g: GraphImport, node: Node) -> None:
    """Inference: the same bytes."""
    training = g.maybe(node, 2)
    if training is not None and training.scalar != 0.0:
        raise g.unsupported(node, "training is not supported (export the model for inference)")
    if g.uses_more_than_first(node):
        raise g.unsupported(node, "its mask (second output) is used, which is not supported")
    g.view(node, g.value(node, 0).shape)


# -- copies --------------------------------------------------------------------------------------------------------


@operator("Transpose")
def transpose(g: GraphImport, node: Node) -> None:
    """A view when only dimensions of size 1 change places, else a copy."""
    x = g.value(node, 0)
    rank = len(x.shape)
    perm = [int(p) for p in node.attributes.get("perm", reversed(range(rank)))]
    if sorted(perm) != list(range(rank)):
        raise g.wrong(node, f"perm {perm} of '{x.name}' {x.shape}")
    moved = [p for p in perm if x.shape[p] > 1]
    if moved == sorted(moved):
        g.view(node, [x.shape[p] for p in perm])
    else:
        g.built(node, g.builder.transpose(g.tensor(x), perm, name=node.name, out=node.outputs[0]))


@operator("Concat")
def concat(g: GraphImport, node: Node) -> None:
    parts = [g.value(node, i) for i in range(len(node.inputs))]
    if "axis" not in node.attributes:
        raise g.wrong(node, "axis is missing")
    filled = [p for p in parts if 0 not in p.shape] or parts[:1]
    if len(filled) == 1:
        g.view(node, filled[0].shape, source=filled[0])
        return
    names = [g.tensor(p) for p in filled]
    g.built(node, g.builder.concat(names, int(node.attributes["axis"]), name=node.name, out=node.outputs[0]))


def _slice(g: GraphImport, node: Node, x: Value, box: Sequence[tuple[int, int, int]], position: int = 0) -> None:
    """Output number `position` is a copy of the box given by (first, number, step) per dimension."""
    if any(n == 0 for _, n, _ in box):
        g.result(node, [n for _, n, _ in box], position=position)
        return
    starts, sizes, steps = (list(column) for column in zip(*box, strict=True))
    out = g.builder.slice(
        g.tensor(x), starts, sizes, steps, kind=node.op_type, name=node.name, out=node.outputs[position]
    )
    g.result(node, g.builder.shape(out), position=position)


@operator("Slice")
def slice_(g: GraphImport, node: Node) -> None:
    x = g.value(node, 0)
    starts, ends = _needed(g, node, 1, "starts"), _needed(g, node, 2, "ends")
    axes = g.integers(node, 3, "axes") or list(range(len(starts)))
    steps = g.integers(node, 4, "steps") or [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise g.wrong(node, f"starts {starts}, ends {ends}, axes {axes} and steps {steps} do not fit together")
    box = [(0, n, 1) for n in x.shape]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        d = _axis(g, node, axis, len(x.shape))
        taken = range(x.shape[d])[slice(start, end, step)]
        box[d] = (taken.start, len(taken), taken.step)
    if all(n == size for (_, n, _), size in zip(box, x.shape, strict=True)) and all(step > 0 for _, _, step in box):
        g.view(node, x.shape)
    else:
        _slice(g, node, x, box)


@operator("Split")
def split(g: GraphImport, node: Node) -> None:
    """One copy per output; without sizes, equal parts (the last may be smaller)."""
    x = g.value(node, 0)
    axis = _axis(g, node, int(node.attributes.get("axis", 0)), len(x.shape))
    sizes = g.integers(node, 1, "split")
    if sizes is None:
        part = -(-x.shape[axis] // len(node.outputs))
        sizes = [min(part, x.shape[axis] - i * part) for i in range(len(node.outputs))]
    if sum(sizes) != x.shape[axis] or len(sizes) != len(node.outputs) or min(sizes) < 0:
        raise g.wrong(node, f"split {sizes} of axis {axis} of '{x.name}' {x.shape} into {len(node.outputs)} outputs")
    start = 0
    for position, size in enumerate(sizes):
        if node.outputs[position]:
            box = [(start, size, 1) if d == axis else (0, n, 1) for d, n in enumerate(x.shape)]
            _slice(g, node, x, box, position)
        start += size


@operator("Gather")
def gather(g: GraphImport, node: Node) -> None:
    """One known position is a slice, several are strided copies; positions that the data choose are a look-up."""
    x, rows = g.value(node, 0), g.value(node, 1)
    axis = _axis(g, node, int(node.attributes.get("axis", 0)), len(x.shape))
    if rows.data is not None and rows.data.size == 1:
        at = int(rows.data.reshape(-1)[0])
        if not -x.shape[axis] <= at < x.shape[axis]:
            raise g.wrong(node, f"position {at} along axis {axis} of '{x.name}' {x.shape}")
        starts = [at % n if d == axis else 0 for d, n in enumerate(x.shape)]
        sizes = [1 if d == axis else n for d, n in enumerate(x.shape)]
        shape = (*x.shape[:axis], *rows.shape, *x.shape[axis + 1 :])
        if sizes == list(x.shape):
            g.view(node, shape)
            return
        part = g.builder.slice(g.tensor(x), starts, sizes, kind=node.op_type, name=node.name)
        g.built(node, g.builder.view(part, shape, out=node.outputs[0]))
        return
    if rows.data is None:
        g.built(node, g.builder.gather(g.tensor(x), g.tensor(rows), axis=axis, name=node.name, out=node.outputs[0]))
        return
    size = x.shape[axis]
    positions = [int(p) + (size if p < 0 else 0) for p in rows.data.reshape(-1)]
    if not positions or not all(0 <= p < size for p in positions):
        raise g.wrong(node, f"positions {positions[:8]} along axis {axis} of '{x.name}' {x.shape}")
    flat = len(rows.shape) == 1
    taken = g.builder.take(g.tensor(x), {axis: positions}, kind=node.op_type, name=node.name,
                           out=node.outputs[0] if flat else None)  # fmt: skip
    if not flat:
        taken = g.builder.view(taken, (*x.shape[:axis], *rows.shape, *x.shape[axis + 1 :]), out=node.outputs[0])
    g.built(node, taken)


@operator("Pad")
def pad(g: GraphImport, node: Node) -> None:
    """A constant outside by a padded read; the other modes by copies of what they repeat."""
    x, widths = g.value(node, 0), _needed(g, node, 1, "pads")
    mode = node.attributes.get("mode", "constant")
    rank = len(x.shape)
    axes = [_axis(g, node, a, rank) for a in (g.integers(node, 3, "axes") or range(rank))]
    if len(widths) != 2 * len(axes):
        raise g.wrong(node, f"pads {widths} for {len(axes)} axes (all begins, then all ends)")
    before, after = [0] * rank, [0] * rank
    for i, axis in enumerate(axes):
        before[axis], after[axis] = widths[i], widths[len(axes) + i]
    if not any(before) and not any(after):
        g.view(node, x.shape)
    elif mode == "constant":
        value = g.number(node, 2, "value") or 0.0
        g.built(node, g.builder.pad(g.tensor(x), before, after, value, name=node.name, out=node.outputs[0]))
    elif mode in PADDED:
        if max(map(abs, widths)) > MOST_POSITIONS:
            raise g.wrong(node, f"pads {widths} (at most {MOST_POSITIONS} of mode '{mode}')")
        positions = {
            d: [PADDED[mode](i, x.shape[d]) for i in range(-before[d], x.shape[d] + after[d])]
            for d in range(rank) if before[d] or after[d]
        }  # fmt: skip
        g.built(node, g.builder.take(g.tensor(x), positions, kind="Pad", name=node.name, out=node.outputs[0]))
    else:
        raise g.wrong(node, f"mode '{mode}' (one of constant, {', '.join(PADDED)})")


def _reflected(i: int, size: int) -> int:
    """Reflection without repeating the edge: ... 2 1 0 1 2 ... n-1 n-2 ..."""
    if size == 1:
        return 0
    i %= 2 * (size - 1)
    return min(i, 2 * (size - 1) - i)


PADDED: dict[str, Callable[[int, int], int]] = {
    "reflect": _reflected,
    "edge": lambda i, size: min(max(i, 0), size - 1),
    "wrap": lambda i, size: i % size,
}
"""By mode: the element that stands at position i, which may lie outside, of a dimension of that size."""


@operator("Expand")
def expand(g: GraphImport, node: Node) -> None:
    x, shape = g.value(node, 0), _needed(g, node, 1, "shape")
    pairs = zip(reversed(shape), reversed(x.shape), strict=False)
    if len(shape) <= len(x.shape) and all(n in (1, m) for n, m in pairs):
        g.view(node, x.shape)
    else:
        g.built(node, g.builder.expand(g.tensor(x), shape, name=node.name, out=node.outputs[0]))


@operator("Tile")
def tile(g: GraphImport, node: Node) -> None:
    """Each dimension repeated whole: a broadcast along a new dimension before it, written out."""
    x, repeats = g.value(node, 0), _needed(g, node, 1, "repeats")
    if len(repeats) != len(x.shape) or min(repeats, default=1) < 1:
        raise g.wrong(node, f"repeats {repeats} of '{x.name}' {x.shape} (one number from 1 per dimension)")
    if all(r == 1 for r in repeats):
        g.view(node, x.shape)
        return
    b = g.builder
    apart = b.view(g.tensor(x), [n for size in x.shape for n in (1, size)])
    copies = [n for size, r in zip(x.shape, repeats, strict=True) for n in (r, size)]
    whole = b.expand(apart, copies, kind=node.op_type, name=node.name)
    shape = [size * r for size, r in zip(x.shape, repeats, strict=True)]
    g.built(node, b.view(whole, shape, out=node.outputs[0]))


@operator("Trilu", "Range", "CumSum", "EyeLike", "OneHot", "Mod")
def known_only(g: GraphImport, node: Node) -> None:
    """Operators that make masks and positions before the run: of small constants folded, of large ones their shape."""
    x = g.value(node, 0)
    if node.op_type not in ("Trilu", "CumSum") or not x.constant:
        raise g.unsupported(node, "is supported for values known before the run only")
    g.built(node, g.builder.elementwise("copy", g.tensor(x), kind=node.op_type, name=node.name, out=node.outputs[0]))


@operator("DepthToSpace", "SpaceToDepth")
def depth_to_space(g: GraphImport, node: Node) -> None:
    """A reshape, a transposition and a reshape, as the ONNX operator reference defines them."""
    x = g.value(node, 0)
    block = int(node.attributes.get("blocksize", 1))
    if len(x.shape) != 4 or block < 1:
        raise g.wrong(node, f"blocksize {block} of '{x.name}' {x.shape} (an image N, C, H, W and a size from 1)")
    n, c, h, w = x.shape
    b = g.builder
    depth_first = node.attributes.get("mode", "DCR") == "DCR"
    if node.op_type == "SpaceToDepth":
        inner = b.view(g.tensor(x), (n, c, h // block, block, w // block, block))
        perm = (0, 3, 5, 1, 2, 4) if depth_first else (0, 1, 3, 5, 2, 4)
        shape = (n, c * block * block, h // block, w // block)
    elif depth_first:
        inner = b.view(g.tensor(x), (n, block, block, c // block**2, h, w))
        perm, shape = (0, 3, 4, 1, 5, 2), (n, c // block**2, h * block, w * block)
    else:
        inner = b.view(g.tensor(x), (n, c // block**2, block, block, h, w))
        perm, shape = (0, 1, 4, 2, 5, 3), (n, c // block**2, h * block, w * block)
    moved = b.transpose(inner, perm, kind=node.op_type, name=node.name)
    g.built(node, b.view(moved, shape, out=node.outputs[0]))
