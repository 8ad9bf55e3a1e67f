"""Replacement policies: their plans pass the independent check and never spill less than the best residency."""

from __future__ import annotations

from pathlib import Path

import pytest

from accelsim import load_model, simulate
from accelsim.arch.loader import loads_architecture
from accelsim.errors import BadInput, DoesNotFit
from accelsim.mappers.baselines import POLICIES, replace_by
from accelsim.mappers.baselines.mappers import POLICIES as MAPPERS
from accelsim.mappers.baselines.mappers import plan_by
from accelsim.mappers.baselines.memory import Block, Memory
from accelsim.mappers.ilp.exported import as_exported
from accelsim.mappers.ilp.graph import GraphOptions, graph_of
from accelsim.mappers.ilp.mapper import plan_workload
from accelsim.mappers.ilp.problem import GraphProblem, peak_bytes
from accelsim.mappers.ilp.residency import best_residency
from accelsim.simulation import mapper_names


def densenet() -> GraphProblem:
    return graph_of(as_exported(load_model("densenet121", bits=8)), GraphOptions(parameters=False)).problem


@pytest.mark.parametrize("arena", [False, True])
@pytest.mark.parametrize("policy", POLICIES)
def test_policies_spill_no_less_than_the_best(policy: str, arena: bool) -> None:
    problem = densenet()
    order = range(len(problem.operators))
    capacity = problem.largest_working_set
    best = best_residency(problem, order, capacity, addresses=False).traffic(problem).spilled
    plan = replace_by(policy, problem, order, capacity, arena=arena)
    assert plan.traffic(problem).spilled >= best > 0
    assert all((r.address is not None) == arena for r in plan.residences)


@pytest.mark.parametrize("policy", ["belady", "lru", "greedy"])
def test_nothing_is_spilled_at_the_peak(policy: str) -> None:
    problem = densenet()
    order = range(len(problem.operators))
    assert replace_by(policy, problem, order, peak_bytes(problem, order)).traffic(problem).spilled == 0


def test_what_is_refused() -> None:
    problem = densenet()
    order = range(len(problem.operators))
    with pytest.raises(BadInput, match="no policy 'fifo'"):
        replace_by("fifo", problem, order, 1 << 30)
    with pytest.raises(DoesNotFit, match="1 too few"):
        replace_by("lru", problem, order, problem.largest_working_set - 1)


# -- greedy ----------------------------------------------------------------------------------------------------------


def full_memory(arena: bool) -> tuple[Memory, list[str]]:
    """Of 20 bytes, five of them free at the end: a, b and c, of which b alone is clean."""
    gone: list[str] = []
    memory = Memory("greedy", 20, arena, gone.append)
    for address, (name, nbytes, next_use) in zip((0, 6, 10), (("a", 6, 9), ("b", 4, 3), ("c", 5, 7)), strict=True):
        memory.held[name] = Block(address, nbytes, 0, next_use, nbytes * (1 if name == "b" else 2))
    return memory, gone


@pytest.mark.parametrize(
    ("arena", "nbytes", "address", "gone"),
    [(True, 5, 15, []), (True, 6, 10, ["c"]), (True, 11, 6, ["b", "c"]), (False, 9, 0, ["b"]), (False, 10, 0, ["c"])],
)
def test_greedy_evicts_what_costs_least(arena: bool, nbytes: int, address: int, gone: list[str]) -> None:
    """In an arena the cheapest range (6 bytes: c and the hole behind it), else the cheapest set."""
    memory, evicted = full_memory(arena)
    assert memory.room(nbytes, ()) == address
    assert evicted == gone


def test_greedy_keeps_what_it_must() -> None:
    memory, _ = full_memory(True)
    assert memory.room(16, ("a",)) is None
    memory, _ = full_memory(False)
    assert memory.room(16, ("a",)) is None


# -- as mappers ------------------------------------------------------------------------------------------------------

NETWORK = """
input: [8, 16, 16]
blocks:
  pair:
    layers:
    - residual: [conv: {out: 24, kernel: 3, pad: 1}, relu, conv: {out: 24, kernel: 3, pad: 1}]
    - relu
layers:
- conv: {out: 24, kernel: 3, pad: 1}
- relu
- pair
- pair
- concat:
  - [conv: 8]
  - [conv: {out: 8, kernel: 3, pad: 1}]
- conv: 10
- global_pool
- flatten
"""


def test_policies_are_mappers(tmp_path: Path) -> None:
    """What they claim is what runs (checked by the mapper itself); the program is no worse, and no policy the worst."""
    path = tmp_path / "residuals.yaml"
    path.write_text(NETWORK)
    model = load_model(path, bits=8)
    arch = loads_architecture("extends: edge_npu\nmemories: {sram: {capacity: 16 KiB}}\n")
    assert set(MAPPERS) <= set(mapper_names())
    best = plan_workload(model, arch, objective="energy")
    found = {name: plan_by(name, model, arch, objective="energy") for name in MAPPERS}
    for name, plan in found.items():
        report = simulate(arch, model, mapper=name, objective="energy")
        assert report.mapping == plan.mapping
        assert sum(report.to_json()["traffic_bytes"]["dram"].values()) == plan.traffic_bytes
        assert plan.value >= best.value * (1 - 1e-4)
        assert plan.traffic_bytes <= found["none"].traffic_bytes
        held = [s for s in plan.mapping.stays if s.memory == "sram"]
        assert bool(held) is (name != "none")
        assert all((s.address is not None) is (name == "belady_arena") for s in held)
    assert found["belady"].traffic_bytes < found["none"].traffic_bytes
    assert found["belady"].traffic_bytes <= found["belady_arena"].traffic_bytes
