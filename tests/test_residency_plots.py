"""Plots of memories: every Stay is a rectangle at its address, and none covers another."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

from accelsim import load_architecture, load_model, simulate
from accelsim.experiments.cosma.experiment import BASELINES, REDUCTION, figure
from accelsim.experiments.loader import Row
from accelsim.mapping.scope import Scope
from accelsim.report.residency import MOST_TENSORS, Box, boxes, memory_map, residency_timeline

HELD = (
    Box("a", "input", 0, 1, 40, 0),
    Box("b", "activation", 1, 3, 60, 40),
    Box("c", "activation", 2, 2, 40, 0),
    Box("d", "activation", 2, 3, 10),
)


def test_rectangles() -> None:
    """Of those with an address: from the first step to the end of the last one, one trace per kind."""
    inputs, activations, capacity = memory_map(HELD, 100, ["x", "y", "z", "w"])["data"]
    assert (inputs["name"], inputs["x"], inputs["y"]) == ("input", [0, 2, 2, 0, 0, None], [0, 0, 40, 40, 0, None])
    assert activations["x"] == [1, 4, 4, 1, 1, None, 2, 3, 3, 2, 2, None]
    assert activations["y"] == [40, 40, 100, 100, 40, None, 0, 0, 40, 40, 0, None]
    assert activations["text"][0] == "b: 60 B at 40<br>steps 1 (y) to 3 (w)"
    assert capacity["y"] == [100, 100] and capacity["x"] == [0, 4]


def test_timeline() -> None:
    """A bar per stay, tensors in the order in which they come, the first on top; of many those that weigh most."""
    drawn = residency_timeline({"dram": (Box("a", "input", 0, 3, 40),), "sram": HELD})
    dram, sram = drawn["data"]
    assert (dram["y"], dram["base"], dram["x"]) == (["a"], [0], [4])
    assert (sram["y"], sram["base"], sram["x"]) == (["a", "b", "c", "d"], [0, 1, 2, 2], [2, 3, 1, 2])
    assert drawn["layout"]["yaxis"]["categoryarray"] == ["d", "c", "b", "a"]
    many = [Box(f"t{i}", "weight", 0, 0, i + 1) for i in range(MOST_TENSORS + 5)]
    shown = residency_timeline({"sram": many})["data"][0]["y"]
    assert set(shown) == {f"t{i}" for i in range(5, MOST_TENSORS + 5)}


def test_stays_of_a_mapping(tmp_path: Path) -> None:
    arch, model = load_architecture("edge_npu"), load_model("squeezenet1_1", bits=8)
    report = simulate(arch, model)
    assert report.mapping is not None
    found = boxes(Scope(report.mapping, model), arch)
    assert sum(map(len, found.values())) == len(report.mapping.stays)
    placed = [b for b in found["sram"] if b.address is not None]
    assert placed and all(b.nbytes == model.tensors[b.tensor].nbytes for b in placed)
    for a, b in combinations(placed, 2):
        together = a.first <= b.last and b.first <= a.last
        assert not together or (a.address or 0) >= (b.address or 0) + b.nbytes or (
            (b.address or 0) >= (a.address or 0) + a.nbytes
        )  # fmt: skip
    page = tmp_path / "page.html"
    report.to_html(page)
    assert "Addresses in sram" in page.read_text() and "Which tensor stays where" in page.read_text()


def test_reductions_by_network() -> None:
    """Degenerate rows stay out, and networks without others have no bar."""
    rows = [
        Row(REDUCTION, f"{network}, {name}, default order", None, gain, "", None, "", note)
        for name in BASELINES
        for network, gain, note in (
            ("ViT", 0.25, "below"), ("ViT", 0.75, "below"), ("ViT", 1.0, "degenerate"), ("FCN", 1.0, "degenerate"),
        )
    ]  # fmt: skip
    drawn: Any = figure(rows)
    *bars, published = drawn["data"]
    assert [bar["name"] for bar in bars] == list(BASELINES)
    assert all((bar["x"], bar["y"]) == (["ViT"], [0.5]) for bar in bars)
    assert sorted(set(published["y"])) == [0.84, 0.85]
