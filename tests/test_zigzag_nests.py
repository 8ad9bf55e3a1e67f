"""Nests that ZigZag 3.9.1 found for layers of ResNet-18 on `meta_prototype`, to Mappings and back, and run.

Nests and figures: zigzag-dse 3.9.1 with its own resnet18.onnx, meta_prototype.yaml and meta_prototype_like.yaml,
objective latency, as benchmarks/zigzag/peer.py prints them; picojoules without rounding up to words.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from accelsim import simulate
from accelsim.arch.loader import load_spec
from accelsim.errors import DoesNotFit, MappingError
from accelsim.ir import Einsum, Workload
from accelsim.ir.build import WorkloadBuilder
from accelsim.mapping.tree import Mapping

FOLDER = Path(__file__).parents[1] / "benchmarks" / "zigzag"
SPREAD = {"D1": ("K", 32), "D2": ("C", 2), "D3": ("OX", 4), "D4": ("OY", 4)}
WINDOW = [("FY", 3), ("FX", 3)]


def found(channels: int, filters: int, side: int, levels: dict[str, Any], pj: float, words: int) -> dict[str, Any]:
    sizes = {"B": 1, "K": filters, "G": 1, "OX": side, "OY": side, "C": channels, "FX": 3, "FY": 3}
    return {"sizes": sizes, "levels": levels, "spread": SPREAD, "pj": pj, "words": words}


FIRST, SECOND = [("C", 32), *WINDOW], [("C", 64), *WINDOW]
FOUND = {
    "layer1.0.conv1": found(
        64, 64, 56,
        {
            "O": [FIRST, [("OY", 14), ("K", 2), ("OX", 14)], []],
            "W": [[], [*FIRST, ("OY", 14), ("K", 2), ("OX", 14)], [], []],
            "I": [[*FIRST, ("OY", 14), ("K", 2)], [("OX", 14)], []],
        },
        52_869_866.24, 54_784,
    ),
    "layer2.0.conv2": found(
        128, 128, 28,
        {
            "O": [SECOND, [("OY", 7), ("OX", 7), ("K", 4)], []],
            "W": [[], [*SECOND, ("OY", 7), ("OX", 7)], [("K", 4)], []],
            "I": [[*SECOND, ("OY", 7)], [("OX", 7), ("K", 4)], []],
        },
        44_927_822.08, 43_520,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def nests() -> Iterator[ModuleType]:
    """The module of the benchmark."""
    spec = spec_from_file_location("zigzag_nests", FOLDER / "nests.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["zigzag_nests"] = module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["zigzag_nests"]


def layer(what: dict[str, Any]) -> tuple[Workload, Einsum]:
    sizes = what["sizes"]
    builder = WorkloadBuilder("layer", bits=8)
    x = builder.input("x", (1, sizes["C"], sizes["OY"], sizes["OX"]))
    w = builder.weight("w", (sizes["K"], sizes["C"], 3, 3))
    builder.output(builder.conv(x, w, pads=[1] * 4))
    workload = builder.build()
    (einsum,) = (item for item in workload.body if isinstance(item, Einsum))
    return workload, einsum


def run(workload: Workload, mapping: Mapping) -> tuple[float, float, float] | None:
    """Cycles, picojoules, words of the DRAM."""
    try:
        report = simulate(load_spec(FOLDER / "meta_prototype.yaml").build(), workload, mapping=mapping)
    except (DoesNotFit, MappingError):
        return None
    assert report.energy_J is not None
    return float(report.cycles), report.energy_J * 1e12, sum(report.traffic_bytes["dram"].values()) / 8


@pytest.mark.parametrize("name", FOUND)
def test_what_zigzag_finds_costs_here_what_it_costs_there(name: str, nests: ModuleType) -> None:
    """The same words and energy, and more cycles than accelsim's own Mapping."""
    workload, einsum = layer(FOUND[name])
    arch = load_spec(FOLDER / "meta_prototype.yaml").build()
    own = simulate(arch, workload)
    assert own.mapping is not None
    nest = nests.Nest.read(FOUND[name])
    runs = [run(workload, m) for m in nests.mappings_of(nest, own.mapping, einsum, arch)]
    fitting = [r for r in runs if r is not None]
    assert len(fitting) > 1
    assert {words for _, _, words in fitting} == {FOUND[name]["words"]}
    assert all(pj == pytest.approx(FOUND[name]["pj"], rel=1e-4) for _, pj, _ in fitting)
    assert own.cycles < min(cycles for cycles, _, _ in fitting)


@pytest.mark.parametrize("name", FOUND)
def test_there_and_back(name: str, nests: ModuleType) -> None:
    workload, einsum = layer(FOUND[name])
    arch = load_spec(FOLDER / "meta_prototype.yaml").build()
    own = simulate(arch, workload, objective="energy").mapping
    nest = nests.Nest.read(FOUND[name])
    assert {o: [list(level) for level in mine] for o, mine in nest.levels.items()} == FOUND[name]["levels"]
    for mapping in nests.mappings_of(nest, own, einsum, arch):
        (back,) = nests.nests_of(mapping, einsum, arch, nest)
        assert back.exact
        assert back.loops == nest.loops
        assert back.held["I"] == nest.held["I"]
        assert all(a >= b for o in nest.held for a, b in zip(back.held[o], nest.held[o], strict=True))


def test_ragged_tiles_become_the_next_ones_that_divide(nests: ModuleType) -> None:
    tiles = [("C", 12), ("C", 1), ("K", 2)]
    steps = {"C": 32, "K": 2}
    assert list(nests._dividing(tiles, steps)) == [([4, 8, 1], False), ([2, 16, 1], False)]
    assert list(nests._dividing([("C", 8), ("C", 1), ("K", 1)], steps)) == [([4, 8, 2], True)]


def test_a_tile_with_one_buffer_is_asked_for_first() -> None:
    """Weights with room for one tile wait for their own load, and not for that of the inputs after next."""
    builder = WorkloadBuilder("depthwise", bits=8)
    x = builder.input("x", (1, 384, 14, 14))
    builder.output(builder.conv(x, builder.weight("w", (384, 1, 3, 3)), pads=[1] * 4, groups=384))
    spec = load_spec(FOLDER / "tpu_like.yaml").with_values({"memories.wrf.capacity": "72 B"})
    report = simulate(spec.build(), builder.build())
    assert report.mapping is not None
    assert report.mapping.claim is not None
    assert [(m.tensor, m.buffers) for m in report.mapping.moves if not m.store] == [("w", 1), ("x", 2)]
    assert report.cycles == report.mapping.claim.value
