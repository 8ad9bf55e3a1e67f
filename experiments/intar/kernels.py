"""The five kernels as graphs of tasks. Elementwise functions (ReLU, softmax, SiLU) run beside the multipliers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from math import gcd, prod

from ...mappers.phases import Read, Task, TaskGraph

BYTES = 2
"""int16"""


def _task(
    name: str, sizes: Mapping[str, int], reads: Mapping[str, tuple[str, int]], output: str, dims: str, elements: int
) -> Task:
    """A task of products; `reads` gives the ranks of each tensor's dimensions and its elements.

    Dimensions stand apart by blanks, ranks of one dimension by ``+``.
    """
    accesses = tuple(
        Read(tensor, tuple(tuple(d.split("+")) for d in ranks.split()), n * BYTES)
        for tensor, (ranks, n) in reads.items()
    )
    return Task(name, sizes, accesses, output, tuple(dims.split()), elements * BYTES, Fraction(prod(sizes.values())))


def attention(tokens: int = 256, width: int = 1024) -> TaskGraph:
    """One head of self-attention over `tokens` of `width` channels, with its projections."""
    m, d = tokens, width
    sizes = {"nb": d, "m": m, "k": d}
    made = [
        _task(x, sizes, {"X": ("m k", m * d), f"W{x}": ("k nb", d * d)}, x, "m nb", m * d) for x in ("Q", "K", "V")
    ]
    scores = _task("S", {"m": m, "p": m, "d": d}, {"Q": ("m d", m * d), "K": ("p d", m * d)}, "S", "m p", m * m)
    values = _task("A", {"f": d, "m": m, "p": m}, {"S": ("m p", m * m), "V": ("p f", m * d)}, "A", "m f", m * d)
    return TaskGraph("attention", (made[0], made[1], scores, made[2], values))


def mlp(widths: Sequence[int] = (256, 1024, 2048, 256)) -> TaskGraph:
    """Layers at batch 1; outputs in blocks of 16, or of the largest power of two that goes into a width."""
    tasks = []
    for i, (k, n) in enumerate(pairwise(widths), 1):
        x, y = ("X" if i == 1 else f"H{i - 1}"), ("Y" if i == len(widths) - 1 else f"H{i}")
        reads, block = {x: ("k", k), f"W{i}": ("k nb+n", k * n)}, gcd(n, 16)
        tasks.append(_task(f"F{i}", {"nb": n // block, "n": block, "k": k}, reads, y, "nb", n))
    return TaskGraph("mlp", tuple(tasks))


def cnn(image: int = 224) -> TaskGraph:
    """Four 3x3 convolutions of one channel; upsampling follows the first two, pooling the others."""
    tasks, side, x = [], image, "X"
    for i, (out, scale) in enumerate(((image, 2.0), (2 * image, 2.0), (4 * image, 0.5), (2 * image, 0.5)), 1):
        result = side * side if i == 1 else (out // 2) ** 2 if scale < 1 else out * out
        y = "Y" if i == 4 else f"H{i}"
        held = side * side
        sizes = {"y": out, "x": out, "r": 3, "s": 3}
        read = Read(x, (("y", "r"), ("x", "s")), held * BYTES, ahead=1)
        kernel = Read(f"W{i}", (("r",), ("s",)), 9 * BYTES)
        tasks.append(Task(f"C{i}", sizes, (read, kernel), y, ("y", "x"), result * BYTES, Fraction(out * out * 9)))
        side, x = (out if scale > 1 else out // 2), y
    return TaskGraph("cnn", tuple(tasks))


def vae() -> TaskGraph:
    """Convolutions of 8x8 and 4x4 on two channels of 28x28, then the same transposed.

    The designs make each channel of the decoder's hidden maps twice, once for each output, instead of keeping them:
    `p` counts these passes.
    """
    encoder1 = _task("E1", {"f": 2, "c": 2, "y": 21, "x": 21, "r": 8, "s": 8},
                     {"X": ("c y+r x+s", 2 * 28 * 28), "W1": ("f c r s", 256)}, "H1", "f y x", 2 * 21 * 21)  # fmt: skip
    encoder2 = _task("E2", {"f": 2, "c": 2, "y": 18, "x": 18, "r": 4, "s": 4},
                     {"H1": ("c y+r x+s", 2 * 21 * 21), "W2": ("f c r s", 64)}, "H2", "f y x", 2 * 18 * 18)  # fmt: skip
    decoder1 = _task("D1", {"p": 4, "c": 2, "y": 25, "x": 25, "r": 8, "s": 8},
                     {"H2": ("c y+r x+s", 2 * 18 * 18), "W3": ("c p r s", 256)}, "H3", "p y x", 4 * 625)  # fmt: skip
    decoder2 = _task("D2", {"p": 4, "y": 28, "x": 28, "r": 4, "s": 4},
                     {"H3": ("p y+r x+s", 4 * 625), "W4": ("p r s", 64)}, "Y", "f y x", 2 * 28 * 28)  # fmt: skip
    return TaskGraph("vae", (encoder1, encoder2, decoder1, decoder2))


def gating(batch: int = 32, width: int = 4096, hidden: int = 11008) -> TaskGraph:
    """Up and gate projections of `batch` rows, their product, and the down projection."""
    b, d, h = batch, width, hidden
    sizes = {"h": h, "b": b, "d": d}
    up, gate = (_task(x, sizes, {"X": ("b d", b * d), f"W{x}": ("d h", d * h)}, x, "b h", b * h) for x in ("U", "G"))
    reads = {"U": ("b h", b * h), "G": ("b h", b * h), "WO": ("h o", h * d)}
    return TaskGraph("gating", (up, gate, _task("O", {"h": h, "b": b, "o": d}, reads, "Y", "b o", b * d)))


KERNELS: Mapping[str, Callable[[], TaskGraph]] = {
    "attention": attention, "mlp": mlp, "cnn": cnn, "vae": vae, "gating": gating,
}  # fmt: skip
"""At their published sizes."""
