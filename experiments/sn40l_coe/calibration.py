"""Constants of the nodes: from NVIDIA's latencies of an expert run, and from the published ratios of expert runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import log
from typing import TYPE_CHECKING

from .node import SN40L, Constants, Node

if TYPE_CHECKING:
    import numpy as np

Ratios = Mapping[tuple[str, int], float]
"""By node and tokens: an expert run there over one on the SN40L."""


def on_latencies(nodes: Mapping[str, Node], seconds: Mapping[str, float], tokens: int) -> dict[str, Node]:
    """The nodes, those of `seconds` with the time per pass that makes an expert run of `tokens` tokens take so long."""
    def fitted(n: Node, wanted: float) -> Node:
        return replace(n, constants=Constants(pass_s=max(0.0, (wanted - n.run_s(tokens)) / tokens)))

    return {name: fitted(n, seconds[name]) if name in seconds else n for name, n in nodes.items()}


def on_ratios(nodes: Mapping[str, Node], ratios: Ratios) -> dict[str, Node]:
    """The nodes, the SN40L with the times per run and per pass that are nearest to `ratios`."""
    return _nearest(nodes, ratios, lambda x: {SN40L: Constants(run_s=x[0], pass_s=x[1])}, 2)


def on_ratios_alone(nodes: Mapping[str, Node], ratios: Ratios, *, everywhere: bool = False) -> dict[str, Node]:
    """The nodes with a time per run and, but for the SN40L, one per pass that are nearest to `ratios`.

    Args:
        everywhere: the time per run is one of all nodes, not of the SN40L alone.
    """
    others = sorted({name for name, _ in ratios})

    def constants(x: np.ndarray) -> dict[str, Constants]:
        run_s = x[0] if everywhere else 0.0
        return {SN40L: Constants(run_s=x[0]),
                **{n: Constants(run_s, t) for n, t in zip(others, x[1:], strict=True)}}  # fmt: skip

    return _nearest(nodes, ratios, constants, 1 + len(others))


def _nearest(
    nodes: Mapping[str, Node], ratios: Ratios, constants: Callable[[np.ndarray], Mapping[str, Constants]], count: int
) -> dict[str, Node]:
    """The nodes with the constants of 0 or more that make the squares of the logarithms of ratios least."""
    from scipy.optimize import least_squares

    def given(x: np.ndarray) -> dict[str, Node]:
        found = constants(x)
        return {name: replace(n, constants=found.get(name, n.constants)) for name, n in nodes.items()}

    def errors(x: np.ndarray) -> list[float]:
        made = given(x)
        return [log(made[name].run_s(tokens) / made[SN40L].run_s(tokens) / ratio)
                for (name, tokens), ratio in ratios.items()]  # fmt: skip

    return given(least_squares(errors, [1e-3] * count, bounds=(0, 1), x_scale=1e-3).x)
