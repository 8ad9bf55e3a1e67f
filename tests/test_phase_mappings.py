"""Mappings with phases: written and read back, refused where they are wrong, recounted, run alike in both kernels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fuzz.seeds import ATTENTION, GPT2, POOL_MACHINE
from support.random_cascades import random_cascade

from accelsim import simulate
from accelsim.arch import Architecture, load_spec, loads_architecture
from accelsim.components.core_pool import CorePool
from accelsim.components.pipelined import Loop
from accelsim.engine import compiled, reference
from accelsim.errors import AccelsimError, BadInput, DoesNotFit, MappingError, SpecError
from accelsim.ir import Workload, parse_cascade
from accelsim.lowering.phases import fabric_of, lower_phases, plans_of, task_graphs
from accelsim.mappers.phases import STYLES, groups, plan_style, reconfigurable, simulate_plan
from accelsim.mappers.phases.mapper import map_workload, mapping_of
from accelsim.mapping import Mapping, Phases, dumps_mapping, loads_mapping, replay
from accelsim.workloads.huggingface import load_config
from accelsim.workloads.text import loads_cascade


def machine(cores: int = 12, capacity: str = "256 KiB") -> Architecture:
    text = POOL_MACHINE.replace("cores: 12", f"cores: {cores}").replace("256 KiB", capacity)
    return loads_architecture(text)


def attention() -> Workload:
    return loads_cascade(ATTENTION, "attention.yaml")


def transformer(phase: str = "prefill") -> Workload:
    read = load_config(GPT2, name="transformer")
    return read.prefill(seq=4) if phase == "prefill" else read.decode(context=9)


def mapping(workload: Workload, arch: Architecture, style: str = "reconfigurable", *, keep: bool = False) -> Mapping:
    fabric = fabric_of(arch)
    graphs = task_graphs(workload, fabric.pool)
    plans = []
    for g in graphs:
        if keep:
            plans.append(groups(g, fabric, [(t.name,) for t in g.tasks], keep=True))
        elif style == "reconfigurable":
            plans.append(reconfigurable(g, fabric, longest=3))  # longer phases take most of the time of the search
        else:
            plans.append(plan_style(g, fabric, style))
    return mapping_of(workload, arch, plans)


WORKLOADS: dict[str, Callable[[], Workload]] = {
    "attention": attention, "prefill": transformer, "decode": lambda: transformer("decode"),
}  # fmt: skip


@pytest.mark.parametrize("name", WORKLOADS)
@pytest.mark.parametrize("style", [*STYLES[::2], "kept"])
def test_bytes_are_recounted_and_times_add_up(name: str, style: str) -> None:
    """`simulate` compares the bytes of the replay with those of the run; parts run one after the other."""
    workload, arch = WORKLOADS[name](), machine()
    made = mapping(workload, arch, style, keep=style == "kept")
    assert loads_mapping(dumps_mapping(made)) == made
    report = simulate(arch, workload, mapping=made)
    assert made.phases is not None
    results = [simulate_plan(p) for p in plans_of(made.phases, workload, arch)]
    assert report.cycles == sum(r.cycles for r in results)
    assert report.bounds.machine <= report.bounds.program <= report.cycles
    assert report.macs == workload.macs == sum(r.count for r in report.energy if r.action == "mac")
    assert report.traffic_bytes["dram"] == {
        "read": sum(r.read_bytes for r in results), "write": sum(r.written_bytes for r in results),
    }  # fmt: skip
    assert 0 < report.utilization["pool"]["mac"] <= report.utilization["pool"]["busy"] <= 1


@pytest.mark.parametrize(
    ("place", "fault"),
    [
        ("accelsim.lowering.phases.layout._leaves", lambda *_: False),  # a result that is not stored
        ("accelsim.lowering.phases.layout.walks", lambda *_: 0),  # a tensor that is loaded once instead of again
        ("accelsim.mapping.phases_replay.leaving", lambda w: [frozenset()] * 9),
    ],
)
def test_a_seeded_fault_in_either_shows_where_they_meet(
    place: str, fault: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    apart = "layout" in place
    workload, arch = transformer("decode"), machine() if apart else machine(cores=64, capacity="4 MiB")
    made = mapping(workload, arch, "sequential" if apart else "dataflow")
    assert made.phases is not None
    parts = tuple(
        tuple(replace(p, stages=tuple(replace(s, resident=()) for s in p.stages)) for p in part)
        for part in made.phases.parts
    )
    bare = replace(made, phases=replace(made.phases, parts=parts))
    simulate(arch, workload, mapping=bare)
    monkeypatch.setattr(place, fault)
    with pytest.raises(AccelsimError, match="count different bytes"):
        simulate(arch, workload, mapping=bare)


def test_both_kernels_run_parts_that_repeat_alike() -> None:
    for name, make in WORKLOADS.items():
        workload, arch = make(), machine()
        phases = mapping(workload, arch, "sequential").phases
        assert phases is not None
        program = lower_phases(arch, workload, phases)
        assert compiled.run(program).differences(reference.run(program)) == [], name


def test_random_cascades_in_phases() -> None:
    ran, refused = 0, []
    for seed in range(36):
        workload = random_cascade(seed)
        if workload is None or any(e.iterative for e, _ in workload.einsums()):
            continue
        arch = machine(cores=40)
        try:
            made = map_workload(workload, arch)
        except BadInput as error:
            refused.append(str(error))
            continue
        assert simulate(arch, workload, mapping=made).cycles == made.claim.value  # type: ignore[union-attr]
        ran += 1
    assert ran > 12
    # Parts of one tensor that are not made one after the other are what tasks cannot be.
    assert all("made later" in why or "made twice" in why for why in refused), refused


def test_what_two_parts_share_leaves_the_chip() -> None:
    """A result that a Repeat makes and reads, and that is read again behind it, is stored."""
    workload, arch = transformer(), machine(cores=64, capacity="4 MiB")
    graphs = task_graphs(workload, fabric_of(arch).pool)
    for k, graph in enumerate(graphs):
        later = {r.name for g in graphs[k + 1 :] for t in g.tasks for r in t.reads}
        assert all(t.persistent for t in graph.tasks if t.output in later)


VALID = dumps_mapping(Mapping("attention", "pool", mapping(attention(), machine(), "sequential").root, phases=mapping(
    attention(), machine(), "sequential").phases))  # fmt: skip


@pytest.mark.parametrize(
    ("sound", "wrong", "message"),
    [
        ("task: SN", "task: SM", r"stages\[0\]: no task 'SM'"),
        ("task: SN", "task: GM", "runs twice|has not run|no task"),
        ("unit: pool", "unit: pol", "did you mean 'pool'"),
        ("outer: m", "outer: z", "has no rank 'z'"),
        ("  parts:", "  part:", "unknown key 'part'"),
        ("task: QK, cores: 12", "task: QK, cores: 13", "13 of 12 cores"),
        ("task: QK, cores: 12", "task: QK, cores: 0", "at least 1"),
        ("resident: [", "resident: [W, ", "does not read 'W'"),
        ("unit: pool", "unit: pool\n  switch: host2", "no switch `host2`"),
    ],
)
def test_what_is_wrong_with_a_mapping(sound: str, wrong: str, message: str) -> None:
    assert sound in VALID, VALID
    with pytest.raises((BadInput, DoesNotFit), match=message):
        simulate(machine(), attention(), mapping=loads_mapping(VALID.replace(sound, wrong, 1)))


def test_parts_tasks_and_order() -> None:
    arch, workload = machine(), attention()
    made = mapping(workload, arch, "sequential")
    assert made.phases is not None
    (part,) = made.phases.parts

    def run(phases: Phases) -> None:
        simulate(arch, workload, mapping=replace(made, phases=phases))

    with pytest.raises(SpecError, match="2 parts"):
        run(replace(made.phases, parts=(part, part)))
    with pytest.raises(SpecError, match="no phase runs AV"):
        run(replace(made.phases, parts=(part[:-1],)))
    with pytest.raises(SpecError, match="reads QK of QK, which has not run"):
        run(replace(made.phases, parts=((part[1], part[0], *part[2:]),)))
    with pytest.raises(SpecError, match="'QK' is not made there"):
        run(replace(made.phases, parts=((part[0], replace(part[1], keep=("QK",)), *part[2:]),)))
    stage = replace(part[0].stages[0], outer="m", pieces=1000)
    with pytest.raises(SpecError, match="1000 pieces along"):
        run(replace(made.phases, parts=((replace(part[0], stages=(stage,)), *part[1:]),)))


def test_memory_is_recounted() -> None:
    arch, workload = machine(), transformer()
    made = mapping(workload, arch, keep=True)
    peak = replay(made, workload, arch).peaks["sram"]
    assert 0 < peak.nbytes <= 256 * 1024
    small = machine(capacity=f"{peak.nbytes - 1} B")
    with pytest.raises(DoesNotFit, match="bytes in sram, which has"):
        replay(made, workload, small)
    assert made.phases is not None
    with pytest.raises(MappingError, match="no unit"):
        replay(replace(made, phases=replace(made.phases, unit="other")), workload, arch)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 30), st.integers(1, 8))
def test_a_stage_on_all_cores_takes_what_a_tile_costs(m: int, n: int, k: int, cores: int, multipliers: int) -> None:
    """One source of times: the unit's `cost` and the stages of phases agree, for products and for other classes."""
    pool = CorePool(memory="sram", cores=cores, multipliers=multipliers, rates={"exp": Fraction(1, 6)})
    text = "S[m,n] = A[m,k] * B[k,n]\nE[m,n] = exp(S[m,n])"
    for einsum, _ in parse_cascade(f"size m={m}; size n={n}; size k={k}\n{text}", name="x").einsums():
        extents = {r: np.array([x, 1, x], np.int64) for r, x in einsum.sizes.items()}
        cost = pool.cost(einsum, pool.spatial_options(einsum)[0], extents, [16] * (len(einsum.inputs) + 1))
        work, common = pool.work(einsum, extents)
        time = pool.timing(einsum.name, einsum.sizes, Fraction(int(work[0]), common), Loop(), cores=cores)
        assert cost.cycles.tolist()[0] == time.total
        assert cost.cycles.tolist()[0] == cost.cycles.tolist()[2]
        assert time.total * pool.lanes * common >= int(work[0])


def test_more_pieces_are_a_decision() -> None:
    """A plan may ask for finer pieces than unrolling leaves, down to the elements of the rank."""
    arch, workload = machine(), attention()
    pool = fabric_of(arch).pool
    (graph,) = task_graphs(workload, pool)
    task = graph.by_name["QK"]
    coarse = pool.timing(task.name, task.sizes, task.work, task.loop, cores=5, outer="p")
    fine = pool.timing(task.name, task.sizes, task.work, task.loop, cores=5, outer="p", pieces=5)
    assert (coarse.firings, fine.firings) == (1, 5)
    assert coarse.total <= fine.total
    with pytest.raises(BadInput, match="at most 5"):
        pool.timing(task.name, task.sizes, task.work, task.loop, cores=5, outer="p", pieces=6)


def test_the_fastest_style_is_taken() -> None:
    arch, workload = machine(), attention()
    made = map_workload(workload, arch)
    assert made.claim is not None
    (graph,) = task_graphs(workload, fabric_of(arch).pool)
    assert made.claim.value == simulate_plan(reconfigurable(graph, fabric_of(arch))).cycles
    assert made.claim.bound <= made.claim.value


def test_what_is_kept_too_long_is_no_plan_and_no_failure() -> None:
    """Four blocks: results that are kept as long as the phase that makes them allows leave a later phase no room."""
    arch = load_spec("alveo_u280_cores").with_values({
        "units.cores.cores": 16, "units.cores.multipliers": 4, "memories.onchip.capacity": "18432 B",
    }).build()  # fmt: skip
    workload = parse_cascade("""
        size m = 1; size n = 48; size k = 16; size h = 8
        C[m,n] = A[m,k] * B[k,n]
        D[h] = X[h+6]
        E[h,n] = D[h] * G[n]
        Z[m,n] = C[m,n] + E[0,n]
    """, bits=32)
    report = simulate(arch, workload, mapper="phases")
    assert report.bounds.machine <= report.bounds.program <= report.cycles
    fabric = fabric_of(arch)
    (graph,) = task_graphs(workload, fabric.pool)
    with pytest.raises(DoesNotFit):
        groups(graph, fabric, [(t.name,) for t in graph.tasks], keep=True)
