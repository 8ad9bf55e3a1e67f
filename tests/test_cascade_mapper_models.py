"""The fusion mapper on models: transformers with Repeats and views, chains of convolutions with halos."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from accelsim import load_architecture, simulate
from accelsim.arch.loader import loads_architecture
from accelsim.ir import Einsum, Role, Workload
from accelsim.mappers.cascade import map_workload
from accelsim.mappers.cascade.search import GroupSearch
from accelsim.mapping.replay import replay
from accelsim.mapping.tree import Iterate, Loop, Mapping, Op, Pipe, walk
from accelsim.workloads import load_model


@cache
def part(model: str, first: str, last: str) -> Workload:
    """The Einsums of a model from one to another: what they read from before stands ready."""
    whole = load_model(model)
    items = [item for item in whole.body if isinstance(item, Einsum)]
    names = [e.name for e in items]
    body = tuple(items[names.index(first) : names.index(last) + 1])
    made, out = {e.output.tensor for e in body}, body[-1].output.tensor
    tensors = {}
    for einsum in body:
        for access in (*einsum.inputs, einsum.output):
            tensor = whole.tensors[access.tensor]
            ready = access.tensor not in made and tensor.role is Role.ACTIVATION
            role = Role.OUTPUT if access.tensor == out else Role.INPUT if ready else tensor.role
            tensors[access.tensor] = replace(tensor, role=role)
    return Workload(f"{model} from {first} to {last}", tensors, body)


CHAINS = (
    ("mobilenet_v2", "inverted_2.unit.conv", "residual"),
    ("resnet18", "further.unit.conv", "further.relu_2"),
)


@pytest.mark.parametrize("chain", CHAINS, ids=[c[0] for c in CHAINS])
def test_convolutions_are_fused_with_halos(chain: tuple[str, str, str]) -> None:
    arch, work = load_architecture("edge_npu"), part(*chain)
    mapping = map_workload(work, arch, objective="energy")
    fused, layers = (simulate(arch, work, **how) for how in ({"mapping": mapping}, {"mapper": "tile"}))
    assert any(isinstance(node, Loop) and node.halo for _, node in walk(mapping.root))
    assert sum(fused.traffic_bytes["dram"].values()) < 0.7 * sum(layers.traffic_bytes["dram"].values())
    assert fused.energy_dynamic_J < 0.8 * layers.energy_dynamic_J
    assert sum(replay(mapping, work, arch).macs.values()) >= work.macs  # halos are made again


def test_a_chain_of_convolutions_is_never_slower() -> None:
    arch, work = (
        load_architecture("edge_npu"),
        part("mobilenet_v2", "inverted.depth_unit.depthwise", "inverted_2.relu6"),
    )
    fused, layers = (simulate(arch, work, mapper=name) for name in ("cascade", "tile"))
    assert fused.cycles < layers.cycles
    assert sum(fused.traffic_bytes["dram"].values()) < sum(layers.traffic_bytes["dram"].values())


def ops(mapping: Mapping) -> list[str]:
    return sorted(node.einsum for _, node in walk(mapping.root) if isinstance(node, Op))


def test_a_transformer_with_repeats_and_views() -> None:
    arch = load_architecture("edge_npu")
    work = load_model("gpt2", seq=128)
    mapping = map_workload(work, arch)
    assert ops(mapping) == sorted(einsum.name for einsum, _ in work.einsums())
    assert [node.count for _, node in walk(mapping.root) if isinstance(node, Iterate)] == [12]
    assert any(isinstance(node, Pipe) for _, node in walk(mapping.root))
    fused, layers = simulate(arch, work, mapping=mapping), simulate(arch, work, mapper="tile")
    assert fused.macs == layers.macs
    assert fused.cycles < layers.cycles
    assert fused.bounds.machine <= fused.bounds.program <= fused.cycles


def test_loops_around_a_group_stand_in_the_order_that_moves_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys and values of GPT-2, whose weights do not fit: once for all tokens, not once for each tile of them."""
    chip = """
        name: chip
        clock: 800 MHz
        memories:
          dram: {kind: dram, capacity: 2 GiB, bandwidth: 12.8 GB/s, standard: LPDDR4}
          sram: {kind: buffer, parent: dram, capacity: 512 KiB, bandwidth: 64 B/cycle}
        units:
          array: {kind: systolic, memory: sram, rows: 16, cols: 16, dataflows: [os, ws]}
          vector: {kind: vector, memory: sram, lanes: 16}
        """
    arch, model = loads_architecture(chip), load_model("gpt2", seq=64, bits=8)
    found = simulate(arch, model, mapper="cascade")
    monkeypatch.setattr(GroupSearch, "_turned", lambda self, best: None)
    other = simulate(arch, model, mapper="cascade")
    assert found.cycles <= other.cycles
    assert found.traffic_bytes["dram"]["read"] < 0.7 * other.traffic_bytes["dram"]["read"]
