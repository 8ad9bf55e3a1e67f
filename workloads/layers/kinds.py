"""Kinds of layers on images (batch, channels, height, width), and layers that hold layers."""

from __future__ import annotations

from ...ir import Apply, Const, Expr, Read, product
from .registry import Layers, Place, Size, layer

_X = Read(0)


def pair(place: Place, size: Size, what: str) -> tuple[int, int]:
    """Height and width of a size."""
    sizes = [size, size] if isinstance(size, int) else size
    if len(sizes) != 2:
        raise place.wrong(f"{what} has {len(sizes)} numbers", "one, or one for height and one for width")
    return sizes[0], sizes[1]


def image_shape(place: Place, x: str) -> tuple[int, ...]:
    """(batch, channels, height, width). Raises SpecError for what is no image."""
    shape = place.b.shape(x)
    if len(shape) != 4:
        raise place.wrong(f"takes (batch, channels, height, width), not {shape}")
    return shape


def _channels(place: Place, x: str) -> int:
    """Of (batch, channels, ...). Raises SpecError where there are none."""
    shape = place.b.shape(x)
    if len(shape) < 2:
        raise place.wrong(f"takes (batch, channels, ...), not {shape}")
    return shape[1]


def _pads(place: Place, pad: Size) -> tuple[int, ...]:
    """Top, left, bottom, right."""
    if isinstance(pad, list) and len(pad) == 4:
        return tuple(pad)
    return pair(place, pad, "pad") * 2


@layer
def conv(
    place: Place, x: str, *, out: int, kernel: Size = 1, stride: Size = 1, pad: Size = 0, groups: int | str = 1,
    dilation: Size = 1, bias: bool = True,
) -> str:
    """Convolution to `out` channels; ``groups: depthwise`` is one group per input channel.

    `pad` is one number, height and width, or top, left, bottom and right.
    """
    b = place.b
    channels = _channels(place, x)
    if isinstance(groups, str):
        if groups != "depthwise":
            raise place.wrong(f"groups is '{groups}'", "a whole number, or depthwise")
        groups = channels
    if channels % groups:
        raise place.wrong(f"{groups} groups of {channels} channels", "a number that divides them")
    weight = b.weight(f"{place.name}.weight", (out, channels // groups, *pair(place, kernel, "kernel")))
    vector = b.weight(f"{place.name}.bias", (out,)) if bias else None
    return b.conv(x, weight, vector, pair(place, stride, "stride"), _pads(place, pad),
                  pair(place, dilation, "dilation"), groups, name=place.name)


@layer
def depthwise(
    place: Place, x: str, *, kernel: Size, stride: Size = 1, pad: Size = 0, dilation: Size = 1, bias: bool = True
) -> str:
    """Convolution of every channel on its own."""
    return conv(place, x, out=_channels(place, x), kernel=kernel, stride=stride, pad=pad, groups="depthwise",
                dilation=dilation, bias=bias)


@layer
def transposed_conv(
    place: Place, x: str, *, out: int, kernel: Size = 1, stride: Size = 1, pad: Size = 0, bias: bool = True
) -> str:
    """Transposed convolution to `out` channels; `pad` crops the result as `conv` pads its input."""
    b = place.b
    weight = b.weight(f"{place.name}.weight", (_channels(place, x), out, *pair(place, kernel, "kernel")))
    vector = b.weight(f"{place.name}.bias", (out,)) if bias else None
    return b.conv_transpose(x, weight, vector, pair(place, stride, "stride"), _pads(place, pad), name=place.name)


@layer
def batch_norm(place: Place, x: str) -> str:
    """Scale and shift per channel."""
    channels = (_channels(place, x),)
    scale, shift = (place.b.weight(f"{place.name}.{w}", channels) for w in ("scale", "shift"))
    return place.b.batch_norm(x, scale, shift, name=place.name)


@layer
def lrn(place: Place, x: str, *, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> str:
    """Local response normalisation over `size` channels."""
    return place.b.lrn(x, size, alpha, beta, bias, name=place.name)


@layer
def l2_norm(place: Place, x: str, *, eps: float = 1e-10) -> str:
    """Every pixel over its length along channels, times a learned scale per channel (arXiv:1506.04579).

    It divides by the root of the mean, and the root of the number of channels is part of the scale.
    """
    scale = place.b.weight(f"{place.name}.scale", (_channels(place, x), 1, 1))
    return place.b.rms_norm(x, scale, 1, eps, kind="L2Norm", name=place.name)


@layer
def max_pool(
    place: Place, x: str, *, kernel: Size, stride: Size | None = None, pad: Size = 0, ceil: bool = False
) -> str:
    """Maximum of windows; the stride is the kernel unless given. ``ceil`` rounds the number of windows up."""
    return _pool(place, x, "max", kernel, stride, pad, ceil, "MaxPool")


@layer
def avg_pool(
    place: Place, x: str, *, kernel: Size, stride: Size | None = None, pad: Size = 0, ceil: bool = False
) -> str:
    """Average of windows, padding counted as zeros."""
    return _pool(place, x, "average", kernel, stride, pad, ceil, "AveragePool")


def _pool(
    place: Place, x: str, op: str, kernel: Size, stride: Size | None, pad: Size, ceil: bool, kind: str
) -> str:
    size = pair(place, kernel, "kernel")
    steps = size if stride is None else pair(place, stride, "stride")
    return place.b.pool(x, op, size, steps, _pads(place, pad), ceil_mode=ceil, count_include_pad=True, kind=kind,
                        name=place.name)


@layer
def adaptive_pool(place: Place, x: str, *, out: Size) -> str:
    """Average to `out` windows per dimension, which must divide the input; nothing, if it is of that size."""
    sides, wanted = place.b.shape(x)[2:], pair(place, out, "out")
    if tuple(sides) == wanted:
        return x
    if len(sides) != 2 or any(w < 1 or s % w for s, w in zip(sides, wanted, strict=True)):
        raise place.wrong(f"windows of equal size do not take {tuple(sides)} to {wanted}",
                          "another input resolution")
    kernel = [s // w for s, w in zip(sides, wanted, strict=True)]
    return _pool(place, x, "average", kernel, None, 0, False, "AdaptivePool")


@layer
def global_pool(place: Place, x: str) -> str:
    """Average of every channel: (batch, channels, 1, 1)."""
    return place.b.global_pool(x, "average", name=place.name)


@layer
def flatten(place: Place, x: str) -> str:
    """All dimensions but the batch as one."""
    return place.b.view(x, (place.b.shape(x)[0], place.b.tensor(x).elements // place.b.shape(x)[0]))


@layer
def upsample(place: Place, x: str, *, factor: int) -> str:
    """Nearest neighbour, height and width times a whole factor."""
    return place.b.upsample(x, (1, 1, factor, factor), name=place.name)


@layer
def channels(place: Place, x: str, *, first: int, count: int) -> str:
    """`count` channels from `first` on."""
    shape = place.b.shape(x)
    if first + count > _channels(place, x) or count < 1:
        raise place.wrong(f"channels {first} to {first + count - 1} of {shape[1]}")
    return place.b.slice(x, (0, first, *(0 for _ in shape[2:])), (shape[0], count, *shape[2:]), name=place.name)


@layer
def channel_shuffle(place: Place, x: str, *, groups: int) -> str:
    """Interleave groups of channels (ShuffleNet, arXiv:1707.01083)."""
    b, (n, c, h, w) = place.b, image_shape(place, x)
    if groups < 1 or c % groups:
        raise place.wrong(f"{groups} groups of {c} channels", "a number that divides them")
    split = b.view(x, (n, groups, c // groups, h, w))
    return b.view(b.transpose(split, (0, 2, 1, 3, 4), kind="ChannelShuffle", name=place.name), (n, c, h, w))


# -- element by element ----------------------------------------------------------------------------------------------


def _clipped(x: Expr, high: float) -> Expr:
    return Apply("min", (Apply("max", (x, Const(0.0))), Const(high)))


_HARD = product(_clipped(Apply("add", (_X, Const(3.0))), 6.0), Const(1 / 6))


def _elementwise(name: str, kind: str, expr: Expr) -> None:
    def run(place: Place, x: str) -> str:
        return place.b.elementwise(expr, x, kind=kind, name=place.name)

    run.__name__ = name
    run.__doc__ = f"{kind}, element by element."
    layer(run)


def _register_activations() -> None:
    from ...ir import ACTIVATIONS

    for name, expr in ACTIVATIONS.items():
        _elementwise(name, name.capitalize(), expr)
    _elementwise("relu6", "Relu6", _clipped(_X, 6.0))
    _elementwise("hard_sigmoid", "HardSigmoid", _HARD)  # arXiv:1905.02244
    _elementwise("hard_swish", "HardSwish", product(_X, _HARD))


_register_activations()


@layer
def prelu(place: Place, x: str) -> str:
    """ReLU with a learned slope per channel for negative elements."""
    slope = place.b.weight(f"{place.name}.slope", (_channels(place, x),))
    low = Apply("mul", (Apply("min", (_X, Const(0.0))), Read(1)))
    expr = Apply("add", (Apply("max", (_X, Const(0.0))), low))
    return place.b.per_channel(expr, x, slope, kind="PRelu", name=place.name)


@layer
def softmax(place: Place, x: str, *, axis: int = 1) -> str:
    """Softmax along an axis."""
    return place.b.softmax(x, axis, name=place.name)


# -- layers that hold layers -------------------------------------------------------------------------------------------


@layer
def residual(place: Place, x: str, *, body: Layers, shortcut: Layers | None = None) -> str:
    """Sum of a body and a shortcut, which is the input itself unless given."""
    main = place.run(body, x)
    other = x if shortcut is None else place.run(shortcut, x)
    if place.b.shape(main) != place.b.shape(other):
        raise place.wrong(f"the body gives {place.b.shape(main)} and the shortcut {place.b.shape(other)}",
                          "equal shapes")
    return place.b.elementwise("add", main, other, kind="Residual", name=place.name)


@layer
def concat(place: Place, x: str, *, branches: list[Layers]) -> str:
    """Results of branches joined along channels; an empty branch is the input itself."""
    if not branches:
        raise place.wrong("joins no branches")
    return place.b.concat([place.run(branch, x) for branch in branches], 1, name=place.name)


@layer
def scale(place: Place, x: str, *, branch: Layers) -> str:
    """The input times a branch, broadcast (squeeze and excitation, arXiv:1709.01507)."""
    return place.b.elementwise("mul", x, place.run(branch, x), kind="Scale", name=place.name)


@layer
def times(place: Place, x: str, *, count: int, layers: Layers) -> str:
    """The layers written out `count` times, one after the other."""
    for _ in range(count):
        x = place.run(layers, x)
    return x


@layer
def repeat(place: Place, x: str, *, count: int, layers: Layers) -> str:
    """A Repeat: the layers `count` times, with weights of their own; the shape comes out as it went in."""
    with place.b.repeat(place.name, count) as scope:
        result = place.run(layers, x)
        if place.b.shape(result) != place.b.shape(x):
            raise place.wrong(f"takes {place.b.shape(x)} to {place.b.shape(result)}", "equal shapes, or times")
        scope.carry(result, x)
    return result
