"""Dropped gaps that are kept again: replayed, never worse, all of them where there is room."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from support.far_graphs import far_graph

from accelsim.mappers.ilp import reinsertion_kernel as kernel
from accelsim.mappers.ilp.arrangement import Along, Arrangement
from accelsim.mappers.ilp.check import check_plan
from accelsim.mappers.ilp.gap_model import BYTES, Model
from accelsim.mappers.ilp.layout import laid_out
from accelsim.mappers.ilp.lives import Lives
from accelsim.mappers.ilp.problem import GraphProblem, Operator, Tensor, peak_bytes
from accelsim.mappers.ilp.reinsertion import BATCH, _state, _tables, reinserted
from accelsim.mappers.ilp.solver import SolverOptions
from accelsim.mappers.ilp.windows import Settings

COUNT = 80
SETTINGS = Settings(True, SolverOptions())


def nothing_kept(along: Along) -> Arrangement:
    """Every operator's tensors come for it, and lie one after the other."""
    address = {}
    for step, op in enumerate(along.lives.operators):
        end = 0
        for name in op.touches:
            address[name, step] = end
            end += along.nbytes(name)
    return Arrangement(along, set(range(len(along.lives.gaps))), address)


@pytest.mark.parametrize("seed", range(4))
def test_plans_replay_and_are_better_but_never_than_the_bound(seed: int) -> None:
    problem = far_graph(seed, COUNT)
    lives = Lives(problem, range(COUNT))
    along = Along(lives, peak_bytes(problem, range(COUNT)) * 65 // 100, BYTES)
    dropped, solutions = Model.of(lives, along.capacity).dropped([BYTES], SolverOptions())
    start = laid_out(along, dropped, width=8)
    assert start is not None
    before = set(start.dropped), dict(start.address)
    found, stopped = reinserted(start, SETTINGS, rounds=4)
    assert not stopped and (start.dropped, start.address) == before
    assert check_plan(problem, found.plan()).spilled == found.value <= start.value
    assert found.value >= solutions[0].bound - 1e-6
    again, _ = reinserted(start, SETTINGS, rounds=4)
    assert (again.dropped, again.address) == (found.dropped, found.address)
    worst, _ = reinserted(nothing_kept(along), SETTINGS, rounds=4)
    assert check_plan(problem, worst.plan()).spilled == worst.value < nothing_kept(along).value / 2


def test_roomy_memory_keeps_everything_again() -> None:
    problem = far_graph(0, COUNT)
    along = Along(Lives(problem, range(COUNT)), 2 * peak_bytes(problem, range(COUNT)), BYTES)
    found, _ = reinserted(nothing_kept(along), SETTINGS, rounds=4)
    assert found.value == 0 and not found.dropped
    check_plan(problem, found.plan())


def test_what_is_in_the_way_gives_way() -> None:
    """Of 13 bytes, `a`, `b` and `c` take 12 as they lie; `d` needs the last of them while `c` is away, or the hole."""
    tensors = {n: Tensor(n, z, source=True) for n, z in {"a": 4, "b": 4, "c": 4, "d": 1}.items()}
    reads = ("a", "b", "c", "d", "c", "b", "a")
    problem = GraphProblem("four", tensors, tuple(Operator(f"o{i}", (name,), ()) for i, name in enumerate(reads)))
    along = Along(Lives(problem, range(len(reads))), 13, BYTES)
    place = {"a": 0, "b": 5, "c": 9, "d": 12}
    start = Arrangement(along, {along.begins["c", 2]}, {(name, step): place[name] for step, name in enumerate(reads)})
    assert check_plan(problem, start.plan()).spilled == start.value == 4
    found, _ = reinserted(start, SETTINGS, rounds=4)
    assert found.value == 0 and found.address["d", 3] != 12
    check_plan(problem, found.plan())


def test_nothing_to_do_and_no_time() -> None:
    problem = far_graph(1, COUNT)
    along = Along(Lives(problem, range(COUNT)), 2 * peak_bytes(problem, range(COUNT)), BYTES)
    start = nothing_kept(along)
    assert reinserted(start, replace(SETTINGS, ends=0.0)) == (start, False)
    assert reinserted(start, replace(SETTINGS, enough=start.value)) == (start, False)
    best, _ = reinserted(start, SETTINGS, rounds=4)
    assert reinserted(best, SETTINGS) == (best, False)


@pytest.mark.parametrize("seed", range(3))
def test_the_place_of_least_overlap_is_that_of_trying_all(seed: int) -> None:
    rng = random.Random(seed)
    problem = far_graph(0, COUNT)
    along = Along(Lives(problem, range(COUNT)), 60, BYTES)
    uses = [(name, step) for name, steps in along.lives.touches.items() for step in steps]
    start = Arrangement(along, set(range(len(along.lives.gaps))), dict.fromkeys(uses, 0))
    tables = _tables(along, uses)
    state = _state(start, uses, tables, seed)
    for _ in range(60):
        count, size = rng.randint(0, 8), rng.randint(1, 30)
        blocks = [(rng.randint(0, 50), rng.randint(1, 20), float(rng.randint(1, 4))) for _ in range(count)]
        for k, (at, nbytes, weight) in enumerate(blocks):
            state.at[k], state.bytes[k], state.heavy[k] = at, nbytes, weight
        overlap = [
            sum(w * max(0, min(place + size, at + nbytes) - max(place, at)) for at, nbytes, w in blocks)
            for place in range(along.capacity - size + 1)
        ]
        least, place = kernel._place(tables, state, count, size, -1, kernel.NEVER)
        assert least == min(overlap) == overlap[place]
        assert kernel._place(tables, state, count, size, -1, least)[0] == least
        assert kernel._place(tables, state, count, size, -1, least - 0.5) == (kernel.NEVER, -1)
        assert kernel._place(tables, state, count, size, place, kernel.NEVER)[1] != place


def test_the_search_looks_at_the_clock_every_few_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = far_graph(0, COUNT)
    along = Along(Lives(problem, range(COUNT)), peak_bytes(problem, range(COUNT)) * 6 // 10, BYTES)
    now, done = [0.0], list[int]()

    def a_second(tables: object, state: object, best: object, rounds: int) -> None:
        done.append(rounds)
        now[0] += 1.0

    monkeypatch.setattr(kernel, "search", a_second)
    monkeypatch.setattr("accelsim.mappers.ilp.windows.time.perf_counter", lambda: now[0])
    reinserted(nothing_kept(along), replace(SETTINGS, ends=4.5))
    assert done == [BATCH] * 5
    reinserted(nothing_kept(along), SETTINGS, rounds=1)
    assert sum(done[5:]) >= len(along.lives.gaps) > BATCH
