"""Architectures of AccelForge as machines: what becomes of each node, what is said, what is refused."""

from pathlib import Path

import pytest
from support.cli import accelsim
from support.machines import gemm

from accelsim.arch.architecture import Architecture
from accelsim.arch.loader import load_architecture
from accelsim.components.spatial import SpatialArray
from accelsim.components.vector import VectorUnit
from accelsim.errors import SpecError
from accelsim.simulation import simulate

MACHINE = """
arch:
  nodes:
  - !Memory
    name: Outside
    size: inf
    actions:
    - {name: read, energy: 7e-12, throughput: 8 * 16e9}
    - {name: write, energy: 8e-12, throughput: 8 * 16e9}
    tensors: {keep: ~Intermediates, may_keep: All}
  - !Memory
    name: Shared
    size: 1024*64*8 # 64 kB
    total_latency: max(a.n_calls / a.throughput for a in actions)
    area: 1e-6
    actions:
    - {name: read, energy: 16e-12, bits_per_action: 16, throughput: 64e9 / 2}
    - {name: write, energy: 32e-12, bits_per_action: 16, throughput: 8e9}
    tensors: {keep: input | output}
  - !Compute
    name: Scalar
    actions: [{name: compute, energy: 0, throughput: 4e9}]
    enabled: len(All) == 2
  - !Container
    name: Elements
    spatial:
    - {name: across, fanout: 8, reuse: input}
    - {name: down, fanout: 2 * 2, reuse: output, min_usage: 1}
  - !Memory
    name: Word
    size: weight.bits_per_value if weight else 0
    actions: [{name: read, energy: 0}, {name: write, energy: 0}]
    tensors: {keep: weight}
  - !Compute
    name: MAC
    actions: [{name: compute, energy: 0.5e-12, throughput: 5e8}]
    enabled: len(All) == 3
"""


def machine(text: str, folder: Path) -> Architecture:
    file = folder / "small.yaml"
    file.write_text(text, encoding="utf-8")
    return load_architecture(file)


def test_every_node_has_its_place(tmp_path: Path) -> None:
    arch = machine(MACHINE, tmp_path)
    assert arch.clock == 5e8
    assert list(arch.memories) == ["Outside", "Shared", "Word_all"]
    _, shared, words = arch.memories.values()
    assert (shared.parent, words.parent) == ("Outside", "Outside")
    assert (shared.capacity, words.capacity) == (64 * 1024, 8 * 4 * 2)
    array, vector = arch.units["array"], arch.units["vector"]
    assert isinstance(array, SpatialArray) and isinstance(vector, VectorUnit)
    assert dict(array.dimensions) == {"across": 8, "down": 4}
    assert dict(array.spread) == {
        "across": ("output_channel",),
        "down": ("input_channel", "filter_column", "filter_row"),
    }
    assert array.feeds(2) == ("Shared", "Word_all", "Shared")
    assert vector.lanes == 8  # 4e9 operations per second at 500 MHz


def test_energies_and_rates_are_per_byte(tmp_path: Path) -> None:
    """7 pJ per bit are 56 pJ per byte, 16 pJ per 16 bits are 8; 32e9 actions of 16 bits are 64 GB per second."""
    arch = machine(MACHINE, tmp_path)
    outside, shared, words = arch.memories.values()
    assert outside.action_energy()["read"] == pytest.approx(56e-12)
    assert (shared.action_energy()["read"], shared.action_energy()["write"]) == pytest.approx((8e-12, 16e-12))
    assert words.action_energy()["read"] == 0
    assert arch.units["array"].action_energy()["mac"] == pytest.approx(0.5e-12)
    assert [port[1] for way in ("read", "write") if (port := shared.port(way))] == [64e9, 16e9]
    assert [port[1] for way in ("read", "write") if (port := outside.port(way))] == [16e9] * 2


def test_runs(tmp_path: Path) -> None:
    """Operands of a product that fits pass the edge once."""
    report = simulate(machine(MACHINE, tmp_path), gemm(8, 16, 32, bits=8), objective="energy")
    assert report.macs == 8 * 16 * 32
    assert report.traffic_bytes["Outside"]["write"] == 8 * 16


def test_what_was_not_followed_is_said(tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(MACHINE.replace("size: inf", "size: inf\n    colour: red"), encoding="utf-8")
    told = accelsim("validate", file).output
    assert "Outside: not followed: colour" in told
    assert "down: not followed: min_usage" in told
    assert "Word: one value, taken to be 16 bits" in told


@pytest.mark.parametrize(
    ("old", "new", "place", "told"),
    [
        ("size: 1024*64*8", "size: len(All)", "size: 1024*64*8", "`len(All)`"),
        ("fanout: 8", "fanout: 2.5", "fanout: 8", "fan-out"),
        ("energy: 7e-12", "energy: cheap", "energy: 7e-12", "`cheap`"),
        ("!Container", "", "name: Elements", "no tag"),
        ("!Compute\n    name: MAC", "!Toll\n    name: MAC", "nodes:", "no arithmetic"),
    ],
)
def test_refusals_name_the_place(tmp_path: Path, old: str, new: str, place: str, told: str) -> None:
    line = next(n for n, text in enumerate(MACHINE.splitlines(), 1) if place in text)
    with pytest.raises(SpecError) as refused:
        machine(MACHINE.replace(old, new), tmp_path)
    message = str(refused.value)
    assert told in message
    assert f"small.yaml:{line}:" in message
