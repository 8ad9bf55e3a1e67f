"""Experts with nested bits: loading the bits first that most tokens wait for, against whole experts one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from statistics import mean

import numpy as np

from ...mappers.offload.nested import NestedExpert, expert_by_expert, hottest_bits_first, run
from ..loader import SHOWN, Row, table

EXPERTS, TOKENS, SEEDS = 8, 64, 8
PLANE_BITS = (2, 1, 1)
"""Of the coarsest plane, and of those that refine it to 3 and 4 bits."""
RATIOS = (0.25, 0.5, 1.0, 2.0)
SKEWS = (0.0, 1.0, 2.0)


def drawn(ratio: float, skew: float, seed: int) -> list[NestedExpert]:
    """Experts in any order of popularity, which falls as a Zipf law; tokens want one of three widths each.

    Args:
        ratio: seconds that all tokens compute, over those that all planes that are wanted load.
        skew: exponent of the law.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    weights = np.arange(1, EXPERTS + 1, dtype=float) ** -skew
    rng.shuffle(weights)
    counts = rng.multinomial(TOKENS, weights / weights.sum())
    levels = [rng.multinomial(n, [1 / len(PLANE_BITS)] * len(PLANE_BITS)) for n in counts]
    planes = tuple(bits / sum(PLANE_BITS) for bits in PLANE_BITS)
    plain = [NestedExpert(f"expert {i}", planes, tuple(map(float, row))) for i, row in enumerate(levels)]
    each = ratio * sum(sum(x.planes[: x.wanted]) for x in plain) / TOKENS
    return [NestedExpert(x.name, planes, tuple(each * n for n in x.levels)) for x in plain]


@cache
def gain(ratio: float, skew: float, seed: int) -> float:
    """Of the hottest bits first, each computed with as it comes, over whole experts one by one."""
    experts = drawn(ratio, skew, seed)
    whole = run(experts, expert_by_expert(experts), nested=False)
    return whole / run(experts, hottest_bits_first(experts))


def rows() -> Iterator[Row]:
    """Gain by skew of popularity and by computing over loading, and the largest."""
    for r in table(__package__ or "", "published.csv"):
        most = max(gain(ratio, skew, seed) for ratio in RATIOS for skew in SKEWS for seed in range(SEEDS))
        yield Row(r["quantity"], r["where"], float(r["value"]), most, r["unit"], None, r["source"], r["note"])
    for skew in SKEWS:
        for ratio in RATIOS:
            found = [gain(ratio, skew, seed) for seed in range(SEEDS)]
            where = f"{EXPERTS} experts, skew {skew:g}, computing over loading {ratio:g}"
            note = f"mean of {SEEDS} draws; {min(found):.3f} to {max(found):.3f}"
            yield Row("gain", where, None, mean(found), "", None, SHOWN, note)


def figure(rows: Sequence[Row]) -> dict[str, object]:
    """Mean gain over computing over loading, by skew."""
    data = []
    for k, skew in enumerate(SKEWS):
        found = [r.accelsim for r in rows if r.quantity == "gain"][k * len(RATIOS) : (k + 1) * len(RATIOS)]
        data.append({"type": "scatter", "name": f"skew {skew:g}", "x": list(RATIOS), "y": found})
    return {"data": data, "layout": {"xaxis": {"title": "computing over loading", "type": "log"},
                                     "yaxis": {"title": "gain"}}}  # fmt: skip
