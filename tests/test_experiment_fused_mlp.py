"""A fused MLP on the roofline: rows within tolerance, and a machine that is moved by 20 %."""

from __future__ import annotations

import pytest
from support.experiments import rows_of

from accelsim.experiments.fused_mlp.experiment import WIDTHS, figure, intensity, roofline_s, run


def test_rows_with_a_tolerance_are_within_it() -> None:
    found = rows_of("fused_mlp")
    assert [r.where for r in found if r.ok is False] == []
    assert sum(r.ok is True for r in found) == 7 * len(WIDTHS)
    roof, before, after = figure(found)["data"]
    assert all(b < a for b, a in zip(before["y"], after["y"], strict=True))
    assert max(after["y"]) < max(roof["y"])


@pytest.mark.parametrize(("way", "per_width"), [("layer by layer", 2 * 4 / (2 * 14)), ("fused", 2 * 4 / (2 * 2))])
def test_intensity_grows_with_the_width(way: str, per_width: float) -> None:
    """Two operations per product of four layers, over 14 or 2 tensors of activations of two bytes."""
    assert intensity(128, way) == pytest.approx(128 * per_width, rel=0.02)


@pytest.mark.parametrize(
    ("width", "way", "key", "smaller", "larger", "slows"),
    [
        (64, "fused", "memories.hbm.bandwidth", "1631 GB/s", "2447 GB/s", True),
        (64, "layer by layer", "memories.hbm.bandwidth", "1631 GB/s", "2447 GB/s", True),
        (128, "fused", "clock", "1128 MHz", "1692 MHz", True),
        (32, "layer by layer", "clock", "1128 MHz", "1692 MHz", False),  # memory limits
        (32, "layer by layer", "units.cuda.lanes", 5530, 8294, False),
        (64, "layer by layer", "memories.l2.capacity", "32 MiB", "48 MiB", False),  # nothing is read twice
    ],
)
def test_a_smaller_machine_is_never_faster(
    width: int, way: str, key: str, smaller: object, larger: object, slows: bool
) -> None:
    less, more = (run(width, way, ((key, value),)) for value in (smaller, larger))
    assert less.latency_s > 1.1 * more.latency_s if slows else less.latency_s == pytest.approx(more.latency_s, rel=0.01)
    for report in (less, more):
        assert report.latency_s >= roofline_s(report, width, way)
