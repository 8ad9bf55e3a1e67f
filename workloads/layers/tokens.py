"""Kinds of layers on tokens (batch, tokens, width) and on grids of tokens (batch, height, width, channels)."""

from __future__ import annotations

from math import sqrt

from ...ir import Access, Affine, Apply, Const, Read, affine, product
from .kinds import image_shape
from .registry import Place, layer


@layer
def linear(place: Place, x: str, *, out: int, bias: bool = True) -> str:
    """``W x + b`` on the last dimension."""
    b = place.b
    weight = b.weight(f"{place.name}.weight", (out, b.shape(x)[-1]))
    vector = b.weight(f"{place.name}.bias", (out,)) if bias else None
    return b.linear(x, weight, vector, name=place.name)


@layer
def layer_norm(place: Place, x: str, *, eps: float = 1e-5) -> str:
    """Layer normalisation of the last dimension."""
    width = place.b.shape(x)[-1:]
    weight, bias = (place.b.weight(f"{place.name}.{w}", width) for w in ("weight", "bias"))
    return place.b.layer_norm(x, weight, bias, eps=eps, name=place.name)


@layer
def tokens(place: Place, x: str) -> str:
    """(batch, channels, height, width) to (batch, height * width, channels)."""
    n, c, h, w = image_shape(place, x)
    return place.b.transpose(place.b.view(x, (n, c, h * w)), (0, 2, 1), name=place.name)


@layer
def grid(place: Place, x: str) -> str:
    """(batch, channels, height, width) to (batch, height, width, channels)."""
    image_shape(place, x)
    return place.b.transpose(x, (0, 2, 3, 1), name=place.name)


@layer
def transpose(place: Place, x: str) -> str:
    """Tokens and width change places: (batch, tokens, width) to (batch, width, tokens)."""
    _tokens(place, x)
    return place.b.transpose(x, (0, 2, 1), name=place.name)


@layer
def mean(place: Place, x: str) -> str:
    """Average over all dimensions but the first and the last: (batch, width)."""
    inner = tuple(range(1, len(place.b.shape(x)) - 1))
    return place.b.reduce(x, "add", inner, mean=True, name=place.name)


@layer
def class_token(place: Place, x: str) -> str:
    """A learned token before the others, then learned positions added to all."""
    b, (n, t, c) = place.b, _tokens(place, x)
    first, learned = b.weight(f"{place.name}.weight", (c,)), b.weight(f"{place.name}.positions", (t + 1, c))
    out = b.activation(b.unique(place.name), (n, t + 1, c))
    inputs = [Access(first, (affine("k"),)), Access(learned, (affine(0), affine("k")))]
    b.compute("add", inputs, ["b", 0, "k"], {"b": n, "k": c}, kind="ClassToken", name=place.name, out=out)
    row = Affine((("s", 1),), 1)
    inputs = [Access(x, (affine("b"), affine("s"), affine("k"))), Access(learned, (row, affine("k")))]
    return b.compute("add", inputs, ["b", row, "k"], {"b": n, "s": t, "k": c}, kind="Position",
                     name=f"{place.name}.position", out=out)


@layer
def token(place: Place, x: str, *, index: int = 0) -> str:
    """One token: (batch, width)."""
    n, t, c = _tokens(place, x)
    if index >= t:
        raise place.wrong(f"token {index} of {t}")
    return place.b.view(place.b.slice(x, (0, index, 0), (n, 1, c), name=place.name), (n, c))


@layer
def attention(place: Place, x: str, *, heads: int) -> str:
    """Self-attention of all tokens with biases; (batch, tokens, width) stays."""
    b = place.b
    n, t, c = _tokens(place, x)
    size = _head_size(place, c, heads)
    q, k, v = (b.view(_project(place, x, part, c), (n, t, heads, size)) for part in "qkv")
    ranks = {"b": n, "h": heads, "p": t, "m": t}
    inputs = [Access(_scaled(place, q, size), _at("b", "p", "h", "e")), Access(k, _at("b", "m", "h", "e"))]
    scores = b.compute("mul", inputs, list(ranks), {**ranks, "e": size}, reduce="add", kind="Attention.scores",
                       name=f"{place.name}.scores")
    share = b.softmax(scores, -1, name=f"{place.name}.softmax")
    inputs = [Access(share, _at(*ranks)), Access(v, _at("b", "m", "h", "f"))]
    mixed = b.compute("mul", inputs, ["b", "p", "h", "f"], {**ranks, "f": size}, reduce="add",
                      kind="Attention.values", name=f"{place.name}.values")
    return _project(place, b.view(mixed, (n, t, c)), "out", c)


@layer
def window_attention(place: Place, x: str, *, heads: int, window: int, shift: int = 0) -> str:
    """Self-attention inside windows of window x window tokens of a grid (Swin, arXiv:2103.14030).

    Biases, and a learned bias per head and relative position. `shift` rolls the grid before and after; with it, the
    mask that keeps tokens apart that were not neighbours is not modelled. Height and width must be multiples of the
    window.
    """
    b = place.b
    n, height, width, c = _grid(place, x)
    if window < 1 or height % window or width % window or shift >= window:
        raise place.wrong(f"windows of {window} with shift {shift} do not tile {height} x {width}",
                          "a side that divides both, and a smaller shift")
    size = _head_size(place, c, heads)
    x = _roll(place, x, shift, f"{place.name}.roll")
    q, k, v = (_project(place, x, part, c) for part in "qkv")
    outer = {"b": n, "y": height // window, "x": width // window, "h": heads, "p": window, "q": window}
    space = {**outer, "r": window, "s": window}

    def inside(row: str, column: str, rank: str) -> tuple[Affine, ...]:
        return (affine("b"), Affine((("y", window), (row, 1))), Affine((("x", window), (column, 1))),
                Affine((("h", size), (rank, 1))))

    queries = Access(_scaled(place, q, size), inside("p", "q", "e"))
    scores = b.compute("mul", [queries, Access(k, inside("r", "s", "e"))], list(space),
                       {**space, "e": size}, reduce="add", kind="Attention.scores", name=f"{place.name}.scores")
    span = 2 * window - 1
    table = b.weight(f"{place.name}.relative", (span * span, heads))
    relative = Affine((("p", span), ("r", -span), ("q", 1), ("s", -1)), (window - 1) * (span + 1))
    biased = b.compute("add", [Access(scores, _at(*space)), Access(table, (relative, affine("h")))], list(space), space,
                       kind="Attention.bias", name=f"{place.name}.bias")
    share = _softmax(place, biased, outer, space)
    mixed = b.compute("mul", [Access(share, _at(*space)), Access(v, inside("r", "s", "f"))], inside("p", "q", "f"),
                      {**space, "f": size}, reduce="add", kind="Attention.values", name=f"{place.name}.values")
    return _roll(place, _project(place, mixed, "out", c), -shift, f"{place.name}.unroll")


@layer
def patch_merging(place: Place, x: str) -> str:
    """Every 2 x 2 tokens of a grid become one of four times the width (Swin)."""
    b = place.b
    n, height, width, c = _grid(place, x)
    if height % 2 or width % 2:
        raise place.wrong(f"a grid of {height} x {width}", "an even height and width")
    ranks = {"b": n, "y": height // 2, "x": width // 2, "u": 2, "v": 2, "k": c}
    source = Access(x, (affine("b"), Affine((("y", 2), ("u", 1))), Affine((("x", 2), ("v", 1))), affine("k")))
    # The reference joins (0, 0), (1, 0), (0, 1), (1, 1): rows change first.
    target = ("b", "y", "x", Affine((("v", 2 * c), ("u", c), ("k", 1))))
    return b.compute(Read(0), [source], target, ranks, kind="PatchMerging", name=place.name)


# -- parts -------------------------------------------------------------------------------------------------------------


def _at(*ranks: str) -> tuple[Affine, ...]:
    return tuple(map(affine, ranks))


def _tokens(place: Place, x: str) -> tuple[int, ...]:
    shape = place.b.shape(x)
    if len(shape) != 3:
        raise place.wrong(f"takes (batch, tokens, width), not {shape}")
    return shape


def _grid(place: Place, x: str) -> tuple[int, ...]:
    shape = place.b.shape(x)
    if len(shape) != 4:
        raise place.wrong(f"takes a grid (batch, height, width, channels), not {shape}", "grid makes one of an image")
    return shape


def _head_size(place: Place, width: int, heads: int) -> int:
    if heads < 1 or width % heads:
        raise place.wrong(f"{heads} heads of a width of {width}", "a number that divides it")
    return width // heads


def _project(place: Place, x: str, part: str, width: int) -> str:
    weight = place.b.weight(f"{place.name}.{part}.weight", (width, place.b.shape(x)[-1]))
    bias = place.b.weight(f"{place.name}.{part}.bias", (width,))
    return place.b.linear(x, weight, bias, name=f"{place.name}.{part}")


def _scaled(place: Place, q: str, size: int) -> str:
    factor = product(Read(0), Const(1 / sqrt(size)))
    return place.b.elementwise(factor, q, kind="Attention.scale", name=f"{place.name}.scale")


def _softmax(place: Place, x: str, outer: dict[str, int], space: dict[str, int]) -> str:
    """Softmax over the ranks of `space` that `outer` lacks."""
    b, every = place.b, Access(x, _at(*space))
    name = f"{place.name}.softmax"
    top = b.compute("copy", [every], list(outer), space, reduce="max", kind="Softmax.max", name=f"{name}.max")
    shifted = Apply("exp", (Apply("sub", (Read(0), Read(1))),))
    e = b.compute(shifted, [every, Access(top, _at(*outer))], list(space), space, kind="Softmax.exp",
                  name=f"{name}.exp")
    total = b.compute("copy", [Access(e, _at(*space))], list(outer), space, reduce="add", kind="Softmax.sum",
                      name=f"{name}.sum")
    return b.compute("div", [Access(e, _at(*space)), Access(total, _at(*outer))], list(space), space,
                     kind="Softmax.div", name=f"{name}.div")


def _roll(place: Place, x: str, shift: int, name: str) -> str:
    """The grid rolled up and left by `shift` (down and right, if negative): four boxes are copied."""
    if not shift:
        return x
    b = place.b
    n, height, width, c = b.shape(x)
    out = b.activation(b.unique(name), (n, height, width, c))
    cuts = []  # per dimension, two runs of it: (from, to, length)
    for side in (height, width):
        split = shift % side
        cuts.append(((split, 0, side - split), (0, side - split, split)))
    for row, to_row, rows in cuts[0]:
        for column, to_column, columns in cuts[1]:
            ranks = {"b": n, "y": rows, "x": columns, "k": c}
            source = Access(x, (affine("b"), Affine((("y", 1),), row), Affine((("x", 1),), column), affine("k")))
            b.compute(Read(0), [source], list(ranks), ranks, kind="Roll", name=name, out=out,
                      at=(0, to_row, to_column, 0))
    return out
