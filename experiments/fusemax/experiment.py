"""FuseMax (MICRO 2024): unfused attention, FLAT, and the steps to FuseMax, by their published mappings.

The bound of each Program is compared with the published latency, which is a bound itself; the simulated latency must
lie at most 5 % above it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...report.page import Figure
from ..loader import Row
from .attention import attention_rows
from .found import found_rows
from .machines import machine_rows, small_buffer_rows
from .pareto import pareto_figure, pareto_rows
from .ratios import ratio_rows


def rows() -> Iterator[Row]:
    """Attention by design, model and length, ratios in a layer and their means, other machines, mappings found; last
    machines with small buffers, of which one is outside the band."""
    yield from attention_rows()
    yield from ratio_rows()
    yield from machine_rows()
    yield from pareto_rows()
    yield from found_rows()
    yield from small_buffer_rows()


def figure(rows: Sequence[Row]) -> Figure:
    """Latency and energy over processing elements, see `pareto.pareto_figure`."""
    return pareto_figure(rows)
