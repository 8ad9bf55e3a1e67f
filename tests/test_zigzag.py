"""Layers of ResNet-18 on ZigZag's machines, against the energies and cycles that ZigZag 3.9.1 gives for them.

Figures: zigzag-dse 3.9.1 with its own resnet18.onnx, hardware and mapping files, objective energy (tpu_like: the
published mapping K 32, C 32; meta_prototype: K 32, C 2, OX 4, OY 4), as benchmarks/zigzag/compare.py prints them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from accelsim import simulate
from accelsim.arch.loader import load_spec
from accelsim.ir import Workload
from accelsim.ir.build import WorkloadBuilder

MACHINES = Path(__file__).parents[1] / "benchmarks" / "zigzag"
LAYERS = {
    "layer1": (64, 64, 56, 3, 1),
    "layer2.0.conv1": (64, 128, 56, 3, 2),
    "layer2.0.conv2": (128, 128, 28, 3, 1),
    "layer3.0.conv1": (128, 256, 28, 3, 2),
}
"""Channels in and out, side of the input, side of the filter, stride."""
ZIGZAG = [
    ("tpu_like", "layer1", 66_996_199.936, 54_784),
    ("tpu_like", "layer2.0.conv1", 47_270_885.888, 46_848),
    ("tpu_like", "layer2.0.conv2", 57_967_469.312, 43_520),
    ("tpu_like", "layer3.0.conv1", 52_822_913.536, 55_680),
    ("meta_prototype", "layer1", 52_871_873.28, 54_784),
]
"""Machine, layer, picojoules, 64-bit words over the port of the DRAM."""


def layer(name: str) -> Workload:
    channels, filters, side, window, stride = LAYERS[name]
    builder = WorkloadBuilder(name, bits=8)
    x, w = builder.input("x", (1, channels, side, side)), builder.weight("w", (filters, channels, window, window))
    builder.output(builder.conv(x, w, strides=(stride, stride), pads=[window // 2] * 4))
    return builder.build()


@pytest.mark.parametrize(("machine", "name", "picojoules", "words"), ZIGZAG)
def test_least_energy_is_no_higher(machine: str, name: str, picojoules: float, words: int) -> None:
    report = simulate(load_spec(MACHINES / f"{machine}.yaml").build(), layer(name), objective="energy")
    assert report.energy_J is not None
    assert report.energy_J * 1e12 <= picojoules
    assert sum(report.traffic_bytes["dram"].values()) == 8 * words


def test_fewest_cycles_are_fewer() -> None:
    """ZigZag's 138,048 cycles of the first layer load the whole input before the first multiplication."""
    report = simulate(load_spec(MACHINES / "tpu_like.yaml").build(), layer("layer1"))
    assert 112_896 <= report.cycles < 138_048
