"""Plans whose tensors are copied within the memory: replayed, as cheap as without addresses, few bytes copied."""

from __future__ import annotations

import random
from dataclasses import replace
from math import inf

import pytest
from support.far_graphs import far_graph
from test_ilp_layout import graph

from accelsim.errors import BadInput, MappingError
from accelsim.mappers.ilp import copying, residency
from accelsim.mappers.ilp.arrangement import Along
from accelsim.mappers.ilp.check import check_plan
from accelsim.mappers.ilp.copying import copied
from accelsim.mappers.ilp.gap_model import BYTES, Model
from accelsim.mappers.ilp.lives import Lives
from accelsim.mappers.ilp.packing import Buffer, pack
from accelsim.mappers.ilp.plan import Copy, Residence, build_plan
from accelsim.mappers.ilp.problem import GraphProblem, Operator, Tensor, peak_bytes
from accelsim.mappers.ilp.residency import best_residency
from accelsim.mappers.ilp.solver import SolverOptions


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_costs_what_is_least_without_addresses(seed: int, in_place: bool) -> None:
    problem = graph(60, seed, in_place=in_place)
    least, most = problem.largest_working_set, peak_bytes(problem, range(60))
    for capacity in (least, (2 * least + most) // 3, most):
        without = best_residency(problem, range(60), capacity, addresses=False)
        plan = best_residency(problem, range(60), capacity, copies=True)
        assert plan.claim is not None and without.claim is not None
        assert plan.claim.proven and plan.claim.value == without.claim.value
        assert check_plan(problem, plan) == plan.traffic(problem)
        assert all(r.address is not None for r in plan.residences)
    assert plan == best_residency(problem, range(60), capacity, copies=True)


STEPS = 10


def intervals(seed: int) -> GraphProblem:
    """Twelve tensors of up to four bytes, each of them read at two steps."""
    rng = random.Random(seed)
    tensors = {f"t{i}": Tensor(f"t{i}", rng.randint(1, 4), source=True) for i in range(12)}
    ends = {name: rng.sample(range(STEPS), 2) for name in tensors}
    reads = [tuple(name for name in tensors if step in ends[name]) for step in range(STEPS)]
    return GraphProblem("intervals", tensors, tuple(Operator(f"o{i}", names, ()) for i, names in enumerate(reads)))


def test_next_to_nothing_is_copied_where_the_exact_packer_needs_no_copies() -> None:
    moved = []
    for seed in range(60):
        problem = intervals(seed)
        capacity = peak_bytes(problem, range(STEPS))
        plan = copied(Along(Lives(problem, range(STEPS)), capacity, BYTES), ()).plan()
        moved.append(check_plan(problem, plan).copied)
        buffers = [Buffer(r.tensor, r.first, r.last + 1, problem.tensors[r.tensor].nbytes) for r in plan.residences]
        assert pack(buffers, capacity).addresses is not None
    assert sum(m > 0 for m in moved) <= 6 and max(moved) <= 4


def test_room_for_all_needs_no_copies() -> None:
    problem = far_graph(0, 50)
    along = Along(Lives(problem, range(50)), 3 * peak_bytes(problem, range(50)), BYTES)
    assert not copied(along, ()).copies and copied(along, ()).value == 0


PARTS = GraphProblem(
    "parts",
    {n: Tensor(n, z, source=True) for n, z in {"a": 2, "b": 3, "c": 2, "d": 4}.items()},
    (
        Operator("o0", ("a", "b", "c"), ()),
        Operator("o1", ("b",), ()),
        Operator("o2", ("b", "d"), ()),
    ),
)
"""Of 7 bytes, `b` between `a` and `c` is in the way of `d`."""


def test_what_lies_in_the_middle_moves() -> None:
    plan = best_residency(PARTS, range(3), 7, copies=True)
    at = {"a": 0, "b": 2, "c": 5, "d": 3}
    middle = replace(plan, residences=tuple(replace(r, address=at[r.tensor]) for r in plan.residences), copies=())
    with pytest.raises(MappingError, match="overlaps"):
        check_plan(PARTS, middle)
    moved = replace(middle, copies=(Copy("b", 2, 0),))  # over a part of its own old place
    assert check_plan(PARTS, moved) == moved.traffic(PARTS)
    assert moved.traffic(PARTS).copied == 3 and moved.traffic(PARTS).spilled == 0


@pytest.mark.parametrize(
    ("copies", "message"),
    [
        ([Copy("b", 1, 5), Copy("b", 2, 0)], ""),  # behind step 0 `c` has left
        ([Copy("b", 0, 0)], "is not in the memory"),
        ([Copy("d", 1, 0)], "is not in the memory"),
        ([Copy("b", 2, 5)], "beyond the memory"),
        ([Copy("b", 2, -1)], "beyond the memory"),
        ([Copy("x", 2, 0)], "copied before step 2"),
        ([Copy("b", 3, 0)], "copied before step 3"),
    ],
)
def test_wrong_copies_are_told(copies: list[Copy], message: str) -> None:
    plan = best_residency(PARTS, range(3), 7, copies=True)
    at = {"a": 0, "b": 2, "c": 5, "d": 3}
    wrong = replace(plan, residences=tuple(replace(r, address=at[r.tensor]) for r in plan.residences))
    if not message:
        copies[0] = replace(copies[0], address=4)
        assert check_plan(PARTS, replace(wrong, copies=tuple(copies))).copied == 6
        return
    with pytest.raises(MappingError, match=message):
        check_plan(PARTS, replace(wrong, copies=tuple(copies)))


def test_copies_onto_others_and_without_addresses() -> None:
    held = replace(PARTS, operators=(*PARTS.operators[:2], Operator("o2", ("a", "b"), ())))
    plan = best_residency(held, range(3), 7, copies=True)
    at = {r.tensor: r.address for r in plan.residences}
    assert at["a"] is not None
    with pytest.raises(MappingError, match="onto a"):
        check_plan(held, replace(plan, copies=(Copy("b", 1, at["a"]),)))
    bare = best_residency(held, range(3), 7, addresses=False)
    with pytest.raises(MappingError, match="residences without addresses"):
        check_plan(held, replace(bare, copies=(Copy("b", 1, 0),)))
    with pytest.raises(BadInput, match="copies within the memory"):
        best_residency(held, range(3), 7, addresses=False, copies=True)


def test_a_second_beam_is_as_wide_as_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = far_graph(2, 60)
    lives = Lives(problem, range(60))
    along = Along(lives, peak_bytes(problem, range(60)) * 6 // 10, BYTES)
    dropped, _ = Model.of(lives, along.capacity).dropped([BYTES], SolverOptions())
    now, widths, beam = [0.0], list[int](), copying._Copying

    def timed(along: Along, dropped: set[int], residences: tuple[Residence, ...], width: int) -> copying._Copying:
        widths.append(width)
        now[0] += width / copying.WIDTH
        return beam(along, dropped, residences, width)

    monkeypatch.setattr(copying, "_Copying", timed)
    monkeypatch.setattr("accelsim.mappers.ilp.copying.time.perf_counter", lambda: now[0])
    least = copying._bytes(copied(along, dropped, ends=1.5))
    assert widths == [copying.WIDTH] and least > 0
    assert copying._bytes(copied(along, dropped, ends=now[0] + 11.0)) <= least
    assert widths[2:] == [7 * copying.WIDTH]
    copied(along, dropped, ends=inf)
    assert widths[4:] == [copying.WIDE]


def test_a_beam_that_is_late_is_given_up() -> None:
    problem = far_graph(2, 60)
    along = Along(Lives(problem, range(60)), peak_bytes(problem, range(60)), BYTES)
    residences = build_plan(along.lives, (), along.capacity).residences
    assert copying._Copying(along, set(), residences, 4).run(ends=0.0) is None
    assert copying._Copying(along, set(), residences, 4).run() is not None


def test_ctrl_c_still_gives_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = far_graph(3, 60)
    capacity = peak_bytes(problem, range(60)) * 6 // 10

    def pressed(*_: object) -> None:
        raise KeyboardInterrupt

    plain = best_residency(problem, range(60), capacity, copies=True)
    for name in ("_whole", "_solved"):
        with monkeypatch.context() as patch:
            patch.setattr(residency._Search, name, pressed)
            plan = best_residency(problem, range(60), capacity, copies=True)
        assert plan.claim is not None and plan.claim.interrupted and plain.claim is not None
        assert check_plan(problem, plan).spilled == plan.claim.value >= plain.claim.value
