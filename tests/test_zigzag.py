"""Layers of ResNet-18 on ZigZag's machines, against the energies and cycles that ZigZag 3.9.1 gives for them.

Figures: zigzag-dse 3.9.1 with its own resnet18.onnx, hardware and mapping files, objective energy (tpu_like: the
published mapping K 32, C 32; meta_prototype: K 32, C 2, OX 4, OY 4), as benchmarks/zigzag/compare.py prints them.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from accelsim import simulate
from accelsim.arch.architecture import Architecture
from accelsim.arch.loader import load_spec, loads_architecture
from accelsim.ir import Einsum, Role, View, Workload
from accelsim.ir.build import WorkloadBuilder
from accelsim.ir.roles import rank_roles
from accelsim.ir.standalone import standalone
from accelsim.mapping.tree import Op, walk
from accelsim.workloads import load_model

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


# -- MobileNetV2: every layer has a layout of its own ------------------------------------------------------------------

FREE = """
name: free
clock: 1 GHz
memories:
  dram: {kind: dram, capacity: 1 GiB, bandwidth: 8 B/cycle, read_energy: 9 pJ/byte, write_energy: 9 pJ/byte}
  buffer:
    {kind: buffer, parent: dram, capacity: 1 MiB, bandwidth: 128 B/cycle, read_energy: 1 pJ/B, write_energy: 1 pJ/B}
units:
  array:
    kind: spatial
    memory: buffer
    dimensions: {x: 16, y: 16}
    registers: {input: {capacity: 1 B}, weight: {capacity: 1 B}, output: {capacity: 4 B}}
    mac_energy: 0.1 pJ
    transfer_energy: 0 pJ/byte
"""


def along(arch: Architecture, name: str) -> dict[str, str]:
    """Dimensions of the array that are in use for a layer of MobileNetV2, with the roles of what lies along them."""
    model = load_model("mobilenet_v2", bits=8)
    einsum = next(e for e, _ in model.einsums() if e.name == name)
    mapping = simulate(arch, standalone(model, einsum)).mapping
    assert mapping is not None
    (op,) = (node for _, node in walk(mapping.root) if isinstance(node, Op))
    assert op.layout is not None
    found: dict[str, set[str]] = {}
    for spread in op.layout.spreads:
        found.setdefault(spread.dimension, set()).add(rank_roles(einsum)[spread.rank])
    return {d: " ".join(sorted(roles)) for d, roles in found.items()}


def test_depthwise_layers_are_not_mapped_like_dense_ones() -> None:
    """On ZigZag's machine they lie along positions alone; an array of free spreads is filled with what they have."""
    meta = load_spec(MACHINES / "meta_prototype.yaml").build()
    dense, depthwise = "inverted_4.unit.conv", "inverted_4.depth_unit.depthwise"
    positions = {"D3": "column", "D4": "row"}
    channels, groups = along(meta, dense), along(meta, depthwise)
    assert channels["D1"] == "output_channel"
    assert channels["D2"] == "input_channel"
    assert groups
    assert groups.items() <= positions.items()
    free = loads_architecture(FREE)
    channels, groups = along(free, dense), along(free, depthwise)
    dense_roles, own_roles = (set(" ".join(found.values()).split()) for found in (channels, groups))
    assert channels.keys() == groups.keys() == {"x", "y"}
    assert {"input_channel", "output_channel"} & dense_roles
    assert not {"input_channel", "output_channel"} & own_roles


# -- Networks of the layers alone --------------------------------------------------------------------------------------


def test_layers_are_connected_where_operators_between_them_keep_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sum hands on what is made last; what a pool makes is read from the DRAM, as what it pools is written there."""
    monkeypatch.syspath_prepend(str(MACHINES))
    networks = import_module("networks")
    builder = WorkloadBuilder("net", bits=8)
    weights = [builder.weight(f"w{i}", (8, 8, 1, 1)) for i in range(4)]
    first = builder.conv(builder.input("x", (1, 8, 8, 8)), weights[0])
    second = builder.conv(builder.relu(first), weights[1])
    third = builder.conv(builder.elementwise("add", first, second), weights[2])
    builder.output(builder.conv(builder.pool(third, "max", (2, 2), (2, 2)), weights[3]))
    found = networks.connected(builder.build())
    views = {item.output: item.input for item in found.body if isinstance(item, View)}
    layers = [item for item in found.body if isinstance(item, Einsum)]
    made = [e.output.tensor for e in layers]
    read = [views.get(e.inputs[0].tensor, e.inputs[0].tensor) for e in layers]
    assert read[:3] == ["x", made[0], made[1]]
    assert [found.tensors[name].role for name in made] == [Role.ACTIVATION, Role.ACTIVATION, Role.OUTPUT, Role.OUTPUT]
    assert found.tensors[read[3]].role is Role.INPUT
