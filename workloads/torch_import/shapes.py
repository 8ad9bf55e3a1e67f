"""Operators that rename, move, choose or make elements."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from .recording import Meta, Ref
from .translation import Operation, Refused, aten

# -- views -----------------------------------------------------------------------------------------------------------


@aten("view", "reshape", "_unsafe_view", "_reshape_alias", "flatten", "unflatten", "unsqueeze", "squeeze", "view_as",
      "reshape_as", "atleast_1d", "ravel")
def renamed(op: Operation) -> None:
    if op.overload == "dtype":
        raise Refused("another type for the same bytes is not supported")
    op.renamed(op.tensor(0))


@aten("clone", "contiguous", "detach", "alias", "lift_fresh_copy", "lift_fresh", "lift", "positive", "_conj",
      "resolve_conj", "resolve_neg", "detach_copy")
def same(op: Operation) -> None:
    """The same elements. A copy that torch makes for its strides is none here: a permuted tensor is written out."""
    op.emit("Identity", [op.tensor(0)])


@aten("copy")
def copy(op: Operation) -> None:
    """The second tensor in the shape and type of the first."""
    source = op.cast(op.tensor(1, "src"), op.result.dtype)
    if op.shape(source) == op.result.shape:
        op.emit("Identity", [source])
    else:
        op.emit("Expand", [source, op.integers(op.result.shape)])


@aten("dropout", "native_dropout", "feature_dropout", "alpha_dropout")
def dropout(op: Operation) -> None:
    if op.get(2, "train", False):
        raise Refused("training is not supported (export the model for inference, after .eval())")
    op.emit("Identity", [op.tensor(0)])


@aten("to", "_to_copy", "type_as", "float", "half", "bfloat16")
def convert(op: Operation) -> None:
    name = op.tensor(0)
    if op.t.metas[name].dtype == op.result.dtype:
        op.emit("Identity", [name])
    else:
        op.emit("Cast", [name], {"to": op.t.elem_type(op.out)})


# -- permutations and copies -----------------------------------------------------------------------------------------


def _transpose(op: Operation, perm: Sequence[int]) -> None:
    op.emit("Transpose", [op.tensor(0)], {"perm": list(perm)})


@aten("permute", "numpy_T", "t", "mT", "adjoint", "transpose", "swapaxes", "swapdims", "movedim")
def permute(op: Operation) -> None:
    rank, name = len(op.shape(op.tensor(0))), op.call.target.split(".")[1]
    perm = list(range(rank))
    if name == "permute":
        perm = op.axes(op.get(1, "dims"), rank)
    elif name in ("numpy_T", "t"):
        perm.reverse()
    elif name == "movedim":
        sources, places = op.axes(op.get(1, "source"), rank), op.axes(op.get(2, "destination"), rank)
        order = [d for d in perm if d not in sources]
        for place, source in sorted(zip(places, sources, strict=True)):
            order.insert(place, source)
        perm = order
    else:
        a, b = (-2, -1) if name in ("mT", "adjoint") else (op.get(1, "dim0"), op.get(2, "dim1"))
        first, second = op.axis(a, rank), op.axis(b, rank)
        perm[first], perm[second] = second, first
    _transpose(op, perm)


@aten("expand", "expand_as", "broadcast_to")
def expand(op: Operation) -> None:
    op.emit("Expand", [op.tensor(0), op.integers(op.result.shape)])


@aten("repeat", "tile")
def repeat(op: Operation) -> None:
    """Each dimension repeated whole; dimensions that are new go first."""
    x, times = op.tensor(0), [int(n) for n in op.get(1, "repeats")]
    rank = max(len(times), len(op.shape(x)))
    x = op.renamed(x, (*(1 for _ in range(rank - len(op.shape(x)))), *op.shape(x)))
    op.emit("Tile", [x, op.integers([*(1 for _ in range(rank - len(times))), *times])])


@aten("repeat_interleave")
def repeat_interleave(op: Operation) -> None:
    """Each element several times: a broadcast along a new dimension after its own."""
    x, times, dim = op.tensor(0), op.get(1, "repeats"), op.get(2, "dim")
    if not isinstance(times, int):
        raise Refused("repeats that depend on the data are not supported")
    shape = op.shape(x) if dim is not None else (prod(op.shape(x)),)
    axis = op.axis(dim or 0, len(shape)) + 1
    x = op.renamed(x, (*shape[:axis], 1, *shape[axis:]))
    full = (*shape[:axis], times, *shape[axis:])
    op.renamed(op.step("Expand", [x, op.integers(full)], full))


@aten("cat", "concat", "concatenate")
def cat(op: Operation) -> None:
    parts = [name for name in op.tensors(0, "tensors") if op.shape(name) != (0,)]
    parts = [op.cast(name, op.result.dtype) for name in parts]
    op.emit("Concat", parts, {"axis": op.axis(op.get(1, "dim", 0), len(op.result.shape))})


@aten("stack")
def stack(op: Operation) -> None:
    rank = len(op.result.shape)
    axis = op.axis(op.get(1, "dim", 0), rank)
    shape = [1 if d == axis else n for d, n in enumerate(op.result.shape)]
    op.emit("Concat", [op.renamed(name, shape) for name in op.tensors(0, "tensors")], {"axis": axis})


# -- parts -----------------------------------------------------------------------------------------------------------


def _slice(op: Operation, x: str, axis: int, start: int, end: int, step: int = 1) -> list[str]:
    """Inputs of a Slice along one axis."""
    return [x, *(op.integers([v]) for v in (start, end, axis, step))]


def _piece(op: Operation, x: str, axis: int, start: int, end: int) -> list[str]:
    """The part of a tensor as a list of one, or an empty list where it has no elements."""
    if end <= start:
        return []
    shape = tuple(end - start if d == axis else n for d, n in enumerate(op.shape(x)))
    return [op.step("Slice", _slice(op, x, axis, start, end), shape)]


def _range(op: Operation, size: int, position: int) -> tuple[int, int, int]:
    """Start, end and step of arguments from `position` on, inside 0..size."""
    start, end, step = (op.get(position + i, n) for i, n in enumerate(("start", "end", "step")))
    taken = range(size)[slice(start, end, step)]
    return taken.start, taken.stop, taken.step


@aten("slice")
def slice_(op: Operation) -> None:
    x = op.tensor(0)
    axis = op.axis(op.get(1, "dim", 0), len(op.shape(x)))
    op.emit("Slice", _slice(op, x, axis, *_range(op, op.shape(x)[axis], 2)))


@aten("narrow")
def narrow(op: Operation) -> None:
    x = op.tensor(0)
    axis = op.axis(op.get(1, "dim"), len(op.shape(x)))
    start = int(op.get(2, "start")) % op.shape(x)[axis]
    op.emit("Slice", _slice(op, x, axis, start, start + int(op.get(3, "length"))))


@aten("select")
def select(op: Operation) -> None:
    x = op.tensor(0)
    axis = op.axis(op.get(1, "dim"), len(op.shape(x)))
    at = op.t.constant(f"{op.call.name}/index", np.array(int(op.get(2, "index")) % op.shape(x)[axis]), "int64")
    op.emit("Gather", [x, at], {"axis": axis})


@aten("split", "split_with_sizes", "chunk")
def split(op: Operation) -> None:
    x = op.tensor(0)
    axis = op.axis(op.get(2, "dim", 0), len(op.shape(x)))
    size, given = op.shape(x)[axis], op.get(1, "split_size")
    if isinstance(given, int):
        part = -(-size // given) if "chunk" in op.call.target else given
        given = [min(part, size - at) for at in range(0, size, part)]
    _split(op, x, axis, given)


@aten("tensor_split")
def tensor_split(op: Operation) -> None:
    """Into parts, the first of which are larger by one, or before positions."""
    x, given = op.tensor(0), op.get(1, "sections")
    axis = op.axis(op.get(2, "dim", 0), len(op.shape(x)))
    size = op.shape(x)[axis]
    if isinstance(given, int):
        sizes = [size // given + (i < size % given) for i in range(given)]
    else:
        cuts = [0, *(slice(int(i)).indices(size)[1] for i in given), size]
        sizes = [end - start for start, end in pairwise(cuts)]
    _split(op, x, axis, sizes)


def _split(op: Operation, x: str, axis: int, given: Sequence[int]) -> None:
    outputs = [*op.call.outputs, *("" for _ in range(len(given) - len(op.call.outputs)))]
    op.emit("Split", [x, op.integers(given)], {"axis": axis}, outputs=outputs)


@aten("unbind")
def unbind(op: Operation) -> None:
    x = op.tensor(0)
    shape = op.shape(x)
    axis = op.axis(op.get(1, "dim", 0), len(shape))
    part = Meta(op.t.metas[x].dtype, tuple(1 if d == axis else n for d, n in enumerate(shape)))
    parts = [op.t.unique(f"{op.call.name}/{i}") if name else "" for i, name in enumerate(op.call.outputs)]
    for name in filter(None, parts):
        op.t.metas[name] = part
    op.emit("Split", [x, op.integers([1] * shape[axis])], {"axis": axis}, outputs=parts)
    for name, out in zip(parts, op.call.outputs, strict=True):
        if out:
            squeezed = op.integers(op.t.metas[out].shape)
            op.emit("Reshape", [name, squeezed], {"allowzero": 1}, outputs=(out,))


@aten("slice_scatter", "select_scatter")
def slice_scatter(op: Operation) -> None:
    """A tensor with a part of it replaced: what stays and what is new, written out as one."""
    x, new = op.tensor(0), op.tensor(1, "src")
    axis, one = op.axis(op.get(2, "dim", 0), len(op.shape(x))), "select" in op.call.target
    size = op.shape(x)[axis]
    if one:
        start = int(op.get(3, "index")) % size
        end, step = start + 1, 1
        new = op.renamed(new, (*op.shape(x)[:axis], 1, *op.shape(x)[axis + 1 :]))
    else:
        start, end, step = _range(op, size, 3)
    if step != 1:
        raise Refused(f"a step of {step} is not supported")
    op.emit("Concat", [*_piece(op, x, axis, 0, start), new, *_piece(op, x, axis, end, size)], {"axis": axis})


@aten("roll")
def roll(op: Operation) -> None:
    x, shifts, dims = op.tensor(0), op.get(1, "shifts"), op.get(2, "dims", ())
    shifts, dims = ([v] if isinstance(v, int) else list(v) for v in (shifts, dims))
    shape = op.shape(x)
    if not dims:
        raise Refused("of all elements as one row is not supported (give dims)")
    moves = [(int(d) % len(shape), int(s) % shape[int(d)]) for s, d in zip(shifts, dims, strict=True)]
    moves = [(axis, by) for axis, by in moves if by]
    for axis, by in moves[:-1]:
        cut = shape[axis] - by
        x = op.step("Concat", [*_piece(op, x, axis, cut, shape[axis]), *_piece(op, x, axis, 0, cut)], shape, "",
                    {"axis": axis})
    if not moves:
        op.emit("Identity", [x])
        return
    axis, by = moves[-1]
    cut = shape[axis] - by
    op.emit("Concat", [*_piece(op, x, axis, cut, shape[axis]), *_piece(op, x, axis, 0, cut)], {"axis": axis})


@aten("flip")
def flip(op: Operation) -> None:
    x = op.tensor(0)
    axes = op.axes(op.get(1, "dims"), len(op.shape(x)))
    ends = [-op.shape(x)[a] - 1 for a in axes]
    op.emit("Slice", [x, *(op.integers(v) for v in ([-1] * len(axes), ends, axes, [-1] * len(axes)))])


@aten("embedding")
def embedding(op: Operation) -> None:
    op.emit("Gather", [op.tensor(0, "weight"), op.tensor(1, "indices")], {"axis": 0})


@aten("index_select")
def index_select(op: Operation) -> None:
    x = op.tensor(0)
    op.emit("Gather", [x, op.tensor(2, "index")], {"axis": op.axis(op.get(1, "dim"), len(op.shape(x)))})


@aten("index")
def index(op: Operation) -> None:
    """Positions along one dimension."""
    places = [(d, i) for d, i in enumerate(op.get(1, "indices")) if isinstance(i, Ref)]
    if len(places) != 1 or op.t.metas[places[0][1].name].dtype == "bool":
        raise Refused("is supported for whole numbers along one dimension")
    axis, rows = places[0]
    op.emit("Gather", [op.tensor(0), rows.name], {"axis": axis})


# -- padding and other sizes -----------------------------------------------------------------------------------------

MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _pad(op: Operation, mode: str, value: float) -> None:
    """`pad` holds before and after of the last dimension, then of the one before it, and so on."""
    x, widths = op.tensor(0), [int(n) for n in op.get(1, "pad")]
    rank = len(op.shape(x))
    before, after = [0] * rank, [0] * rank
    for i in range(len(widths) // 2):
        before[rank - 1 - i], after[rank - 1 - i] = widths[2 * i], widths[2 * i + 1]
    inputs = [x, op.integers([*before, *after])]
    op.emit("Pad", [*inputs, op.number(value)] if mode == "constant" else inputs, {"mode": mode})


@aten("pad", "constant_pad_nd")
def pad(op: Operation) -> None:
    if "constant" in op.call.target:
        _pad(op, "constant", float(op.get(2, "value", 0)))
    else:
        _pad(op, MODES[op.get(2, "mode", "constant")], float(op.get(3, "value") or 0))


@aten("reflection_pad1d", "reflection_pad2d", "reflection_pad3d")
def reflection_pad(op: Operation) -> None:
    _pad(op, "reflect", 0.0)


@aten("replication_pad1d", "replication_pad2d", "replication_pad3d")
def replication_pad(op: Operation) -> None:
    _pad(op, "edge", 0.0)


@aten("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_linear1d", "upsample_bilinear2d",
      "upsample_trilinear3d", "upsample_bicubic2d")
def upsample(op: Operation) -> None:
    """Coordinates as torch computes them (``UpSample.h``): the first element for nearest, else half pixels."""
    name = op.call.target.split(".")[1]
    nearest = "nearest" in name
    aligned = not nearest and bool(op.get(2, "align_corners", False))
    attributes: dict[str, Any] = {
        "mode": "nearest" if nearest else "cubic" if "cubic" in name else "linear",
        "coordinate_transformation_mode": "asymmetric" if nearest else "align_corners" if aligned else "half_pixel",
    }
    if nearest:
        attributes["nearest_mode"] = "floor"
    if "cubic" in name:
        attributes["cubic_coeff_a"] = -0.75
    op.emit("Resize", [op.tensor(0), None, None, op.integers(op.result.shape)], attributes)


@aten("pixel_shuffle")
def pixel_shuffle(op: Operation) -> None:
    op.emit("DepthToSpace", [op.tensor(0)], {"blocksize": int(op.get(1, "upscale_factor")), "mode": "CRD"})


@aten("pixel_unshuffle")
def pixel_unshuffle(op: Operation) -> None:
    op.emit("SpaceToDepth", [op.tensor(0)], {"blocksize": int(op.get(1, "downscale_factor")), "mode": "CRD"})


@aten("channel_shuffle", "native_channel_shuffle")
def channel_shuffle(op: Operation) -> None:
    x, groups = op.tensor(0), int(op.get(1, "groups"))
    n, c, *rest = op.shape(x)
    apart = op.renamed(x, (n, groups, c // groups, *rest))
    order = (0, 2, 1, *range(3, 3 + len(rest)))
    op.renamed(op.step("Transpose", [apart], (n, c // groups, groups, *rest), "", {"perm": list(order)}))


# -- known before the run --------------------------------------------------------------------------------------------


@aten("full", "full_like", "new_full", "ones", "ones_like", "new_ones", "zeros", "zeros_like", "new_zeros", "empty",
      "empty_like", "new_empty", "scalar_tensor")
def fill(op: Operation) -> None:
    """All elements alike; those of an empty tensor are whatever they are."""
    name = op.call.target.split(".")[1]
    value: Any = 1 if "ones" in name else 0
    if "full" in name:
        value = op.get(1 if name != "new_full" else 2, "fill_value")
    elif name == "scalar_tensor":
        value = op.get(0, "s")
    op.known(np.full(op.result.shape, value, _numpy(op)) if op.few else None)


@aten("arange")
def arange(op: Operation) -> None:
    numbers = [a for a in op.call.args if isinstance(a, int | float)]
    start, end, step = {1: [0, *numbers, 1], 2: [*numbers, 1]}.get(len(numbers), numbers)
    op.known(np.arange(start, end, step).astype(_numpy(op)) if op.few else None)


@aten("tril", "triu")
def triangle(op: Operation) -> None:
    upper = op.call.target.startswith("aten.triu")
    op.emit("Trilu", [op.tensor(0), op.integers([int(op.get(1, "diagonal", 0))])], {"upper": int(upper)})


@aten("cumsum")
def cumsum(op: Operation) -> None:
    op.emit("CumSum", [op.cast(op.tensor(0), op.result.dtype), op.integers([int(op.get(1, "dim"))])])


def _numpy(op: Operation) -> Any:
    kind = op.result.dtype
    return bool if kind == "bool" else np.float64 if "float" in kind else np.dtype(kind)
