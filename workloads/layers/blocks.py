"""Kinds of layers that hold layers linked in a pattern of their own."""

from __future__ import annotations

from math import isqrt

from .registry import Layers, Place, layer

MOST_LAYERS = 1000
LARGEST_FACTOR = 16


def harmonic_links(count: int, channels: int, growth: int, factor: float) -> list[tuple[int, list[int]]]:
    """Channels and sources of layers 0 to `count` of a harmonic dense block; layer 0 is its input.

    Layer l takes the layers ``l - 2**n`` for every n of which ``2**n`` divides l, the nearest first, and gives
    ``growth * factor**n`` channels for the largest such n, rounded to an even number (arXiv:1909.00948, section 3.1;
    rounding and order of https://github.com/PingoLH/Pytorch-HarDNet/blob/master/hardnet.py).
    """
    found: list[tuple[int, list[int]]] = [(channels, [])]
    for position in range(1, count + 1):
        sources, width, step = [], float(growth), 1
        while position % step == 0:
            sources.append(position - step)
            width *= factor if step > 1 else 1
            step *= 2
        found.append((int(width + 1) // 2 * 2, sources))
    return found


@layer
def harmonic_block(
    place: Place, x: str, *, count: int, growth: int, factor: float, each: Layers, fourth: Layers | None = None,
    keep: bool = False,
) -> str:
    """Layers that take those before them at distances of powers of two (arXiv:1909.00948, figure 2).

    The layers of `each` are built `count` times, with ``$out``, the channels to give, and ``$middle``, the geometric
    mean of those taken and given; every fourth one is built from `fourth`, if given. The result is the joined layers of
    odd positions and the last one, after the input if `keep`.
    """
    b = place.b
    if not (1 <= count <= MOST_LAYERS and growth >= 1 and 0 < factor <= LARGEST_FACTOR):
        raise place.wrong(f"{count} layers, growth {growth}, factor {factor}",
                          f"1 to {MOST_LAYERS} layers, growth from 1, a factor of at most {LARGEST_FACTOR}")
    if len(b.shape(x)) < 2:
        raise place.wrong(f"takes (batch, channels, ...), not {b.shape(x)}")
    links = harmonic_links(count, b.shape(x)[1], growth, factor)
    made = [x]
    for position, (out, sources) in enumerate(links[1:], 1):
        taken = sum(links[s][0] for s in sources)
        chosen = fourth if fourth is not None and position % 4 == 0 else each
        names = {**chosen.parameters, "out": out, "middle": isqrt(taken * out)}
        joined = made[sources[0]] if len(sources) == 1 else b.concat([made[s] for s in sources], 1, name=place.name)
        result = place.run(Layers(chosen.path, chosen.items, names), joined)
        if b.shape(result)[1] != out:
            raise place.wrong(f"layer {position} gives {b.shape(result)[1]} channels", f"{out} ($out)")
        made.append(result)
    kept = [made[i] for i in range(count + 1) if i % 2 or i == count or (keep and i == 0)]
    return kept[0] if len(kept) == 1 else b.concat(kept, 1, name=place.name)
