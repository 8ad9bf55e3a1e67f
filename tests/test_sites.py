"""Tasks at sites: their Programs against hand-made times, the search against every choice, what it refuses."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.einsums import SMALL

from accelsim import load_architecture, load_model
from accelsim.components.dram_step import ALL_BANKS, server, step
from accelsim.components.dram_timing import DEFAULT_MAPPING, preset
from accelsim.engine import compiled, reference
from accelsim.engine.program import Server
from accelsim.errors import BadInput, DoesNotFit
from accelsim.ir import parse_cascade
from accelsim.mappers.sites import (
    SiteProblem,
    Sites,
    Stage,
    Task,
    Way,
    beside,
    chain,
    choose,
    every_choice,
    program_of,
    simulated,
)
from accelsim.mappers.sites.ways import STORED

EXAMPLES = Path(__file__).resolve().parent.parent / "docs" / "examples"
GIGA = 10**9
SERVERS = {n: Server(n, Fraction(rate)) for n, rate in {"link": 1, "host": 4, "near": 2}.items()}


def task(name: str, weights: int, work: int, activations: int, pieces: int = 1, after: tuple[str, ...] = ()) -> Task:
    """Moved over the link and computed at the host, or computed beside the memory with activations sent there."""
    host = Way("host", (
        Stage("weights", "link", weights, pieces, queue="weights"),
        Stage("compute", "host", work, pieces, follows=(0,)),
    ))  # fmt: skip
    near = Way("near", (
        Stage("in", "link", activations, queue="in"),
        Stage("compute", "near", work, after=(0,)),
        Stage("out", "link", activations, after=(1,), queue="out"),
    ))  # fmt: skip
    return Task(name, (host, near), after)


def problem(*tasks: Task, pools: dict[str, int] | None = None, repeats: int = 1) -> SiteProblem:
    return SiteProblem("test", GIGA, SERVERS, tasks, pools or {}, repeats)


def ticks(found: SiteProblem, chosen: tuple[int, ...]) -> int:
    program = program_of(found, chosen)
    trace = compiled.run(program)
    assert not trace.differences(reference.run(program))
    done = dict(zip(program.actions, trace.action_counts().tolist(), strict=True))
    asked: dict[object, int] = {}
    for t, c in zip(found.tasks, chosen, strict=True):
        for stage in t.ways[c].stages:
            asked[stage.resource] = asked.get(stage.resource, 0) + stage.work * found.repeats
    assert done == asked
    return trace.finish


def test_pieces_overlap_and_whole_stages_do_not() -> None:
    assert ticks(problem(task("a", 100, 400, 1)), (0,)) == 100 + 100
    assert ticks(problem(task("a", 100, 400, 1, pieces=10)), (0,)) == 100 + 10
    assert ticks(problem(task("a", 100, 400, 10)), (1,)) == 10 + 200 + 10


def test_sites_work_at_once_and_share_the_link() -> None:
    two = problem(task("a", 100, 4, 20), task("b", 100, 100, 20))
    assert ticks(two, (0, 0)) == 100 + 100 + 25
    # The activations of b go in after the weights of a, which asked first, and come out over an idle link.
    assert ticks(two, (0, 1)) == 100 + 20 + 50 + 20


def test_a_task_waits_for_those_before() -> None:
    chained = problem(task("a", 10, 4, 1), task("b", 10, 4, 1, after=("a",)))
    assert ticks(chained, (0, 0)) == 2 * (10 + 1)
    assert ticks(problem(*chained.tasks, repeats=5), (0, 0)) == 10 * (10 + 1)


def test_room_holds_up_what_comes_early() -> None:
    def moved(name: str, after: tuple[str, ...]) -> Task:
        stages = (
            Stage("weights", "link", 50, early=True, room=("room", 50), queue="weights"),
            Stage("wait", "near", 2, queue=""),
            Stage("compute", "host", 400, after=(0, 1)),
        )
        return Task(name, (Way("host", stages),), after)

    tasks = moved("a", ()), moved("b", ("a",))
    assert ticks(problem(*tasks, pools={"room": 100}), (0, 0)) == 50 + 100 + 1 + 100
    assert ticks(problem(*tasks, pools={"room": 60}), (0, 0)) == 2 * (50 + 100)
    with pytest.raises(DoesNotFit, match="needs 50 bytes of room, which has room for 40"):
        program_of(problem(*tasks, pools={"room": 40}), (0, 0))


@given(st.lists(st.tuples(st.integers(20, 60), st.integers(1, 200), st.integers(1, 20)), min_size=1, max_size=6))
@settings(SMALL, max_examples=15)
def test_the_search_finds_what_every_choice_finds(sizes: list[tuple[int, int, int]]) -> None:
    ordered = sorted(sizes, key=lambda s: -s[1])
    found = problem(*(task(f"t{i}", *s) for i, s in enumerate(ordered)))
    plan = choose(found)
    least, _ = every_choice(found)
    assert plan.complete and plan.seconds == least == simulated(found, plan.chosen)
    assert plan.bound <= least


def test_many_tasks_are_no_worse_than_any_threshold() -> None:
    found = problem(*(task(f"t{i}", 50, 300 - 7 * i, 3) for i in range(40)))
    plan = choose(found)
    assert not plan.complete
    assert plan.seconds <= min(simulated(found, [0] * n + [1] * (40 - n)) for n in range(41))
    assert plan.bound <= plan.seconds


def test_what_is_wrong_with_a_problem_is_named() -> None:
    with pytest.raises(BadInput, match="no resource bus"):
        problem(Task("a", (Way("x", (Stage("s", "bus", 1),)),)))
    with pytest.raises(BadInput, match="which no task before it is"):
        problem(task("a", 1, 1, 1, after=("b",)))
    with pytest.raises(BadInput, match="can run nowhere"):
        problem(Task("a", ()))
    with pytest.raises(BadInput, match="3 units of work in 4 pieces"):
        problem(task("a", 3, 8, 1, pieces=4))
    with pytest.raises(BadInput, match="in other pieces"):
        problem(Task("a", (Way("x", (Stage("s", "link", 4, 2), Stage("t", "host", 4, 4, follows=(0,)))),)))
    with pytest.raises(DoesNotFit, match="too many to run them all"):
        every_choice(problem(*(task(f"t{i}", 9, 9, 1) for i in range(13))))


def test_what_comes_early_does_not_let_work_begin_early() -> None:
    """Weights may come before the task before is over; the work on them waits, also where nothing else is brought."""
    def early(name: str, after: tuple[str, ...]) -> Task:
        stages = Stage("weights", "link", 50, early=True), Stage("compute", "host", 400, follows=(0,))
        return Task(name, (Way("host", stages),), after)

    assert ticks(problem(early("a", ()), early("b", ("a",))), (0, 0)) == 50 + 100 + 100
    assert ticks(problem(early("a", ()), early("b", ("a",)), repeats=3), (0, 0)) == 50 + 6 * 100


def test_chains_repeat_on_their_own() -> None:
    def one(name: str, resource: str, work: int) -> Task:
        return Task(name, (Way("x", (Stage("s", resource, work),)),))

    both = problem(one("slow", "near", 20), one("fast", "host", 20), repeats=10)
    program = program_of(both, (0, 0))
    trace = compiled.run(program)
    assert dict(zip(program.actor_names, trace.end.tolist(), strict=True)) == {"slow x s": 100, "fast x s": 50}


def test_units_in_a_memory_keep_its_banks() -> None:
    """Work on all banks takes its time at the peak rate, closes rows, and is not disturbed by a second user."""
    device = preset("HBM3_6400Mbps").with_(channels=4)
    made = server("d", device, DEFAULT_MAPPING, Fraction(GIGA), queue=32, streams=True, refresh=False)
    state, nbytes = np.array(made.state), 2**20
    peak = nbytes / device.peak_bandwidth * 1e9
    first = int(step(state, nbytes, 0, 0))
    held = int(step(state, nbytes, ALL_BANKS, first))
    assert peak <= held <= peak + (device.timing.tRP + device.timing.tRC) * device.clock_s * 1e9 + 2
    again = int(step(state, nbytes, ALL_BANKS, first + held))
    assert again == pytest.approx(peak, abs=2)
    assert int(step(state, nbytes, 0, first + held + again)) >= first


def test_sites_of_a_machine_with_units_in_its_memory() -> None:
    arch = load_architecture(str(EXAMPLES / "hbm3_hybrid.yaml"))
    workload = load_model("opt-125m", phase="decode", context=64, batch=8)
    homes = {n: "dram" for n, t in workload.tensors.items() if t.role in STORED}
    times = {}
    for shared in (True, False):
        sites = Sites(arch, workload, "sram", homes, shared_banks=shared)
        assert list(sites.units) == ["sram", "dram"]
        layer = [e.name for e, n in workload.einsums() if n > 1]
        found = beside("x", 10**12, sites, chain(sites, layer), copies=2, repeats=2)
        plan = choose(found)
        assert set(plan.sites(found)) == {"sram", "dram"}
        times[shared] = plan.seconds
    assert times[False] <= times[True]


def test_an_einsum_without_operands_is_a_task_like_others() -> None:
    running = parse_cascade("""
        size i = 3; size p = 16
        R[0,p] = 0
        R[i+1,p] = R[i,p] * A[i,p] + X[i,p]
        Y[p] = R[I,p]
    """)
    sites = Sites(load_architecture("edge_npu"), running, "dram")
    names = [einsum.name for einsum, _ in running.einsums()]
    tasks = chain(sites, names)
    assert [t.name for t in tasks] == names[:1]
    assert all(way.stages for t in tasks for way in t.ways)
