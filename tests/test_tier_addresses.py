"""Addresses in tiers: closed forms, plans that the replay accepts, and faults that it finds."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from accelsim.errors import MappingError
from accelsim.mappers.ilp.solver import SolverOptions
from accelsim.mappers.ilp.tiers.addresses import place_addressed
from accelsim.mappers.ilp.tiers.search import place
from accelsim.mapping.tiers.addresses import address_faults
from accelsim.mapping.tiers.check import check_tier_plan
from accelsim.mapping.tiers.plan import Room, TierPlan, Transfer
from accelsim.mapping.tiers.problem import Choice, Item, Link, Step, Tier, TierProblem


def problem_of(capacity: int, sizes: dict[str, int], reads: str, *, periodic: bool, workspace: int = 0) -> TierProblem:
    """Steps that read one item each, by a letter; 1 byte per nanosecond from the far tier, steps of 100 ns."""
    room = {"near": workspace} if workspace else {}
    steps = tuple(
        Step(f"{k}", (Choice("near", 100e-9, {name: "near"}, workspace=room),)) for k, name in enumerate(reads)
    )
    items = {n: Item(n, size, home="far") for n, size in sizes.items()}
    tiers = (Tier("near", capacity), Tier("far"))
    return TierProblem("letters", tiers, (Link("load", "far", "near", 1e9),), items, steps, periodic)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("periodic", [False, True])
def test_plans_have_addresses(seed: int, periodic: bool) -> None:
    """Checked by the replay; no better than without addresses, and the bound is of those."""
    rng = random.Random(seed)
    sizes = {n: rng.randint(100, 900) for n in "abcdef"}
    reads = "".join(rng.choice("abcdef") for _ in range(12))
    used = {n: size for n, size in sizes.items() if n in reads}
    problem = problem_of(2200, used, reads, periodic=periodic, workspace=150)
    options = SolverOptions(gap=0.01, nodes=200)
    plan, free = place_addressed(problem, options=options), place(problem, options=options)
    assert all(r.address is not None for r in plan.rooms)
    assert plan.claim is not None and free.claim is not None
    assert plan.claim.bound <= plan.claim.value * (1 + 1e-9)
    assert plan.claim.value >= free.claim.bound * (1 - 1e-9)
    ledger = check_tier_plan(problem, plan)
    assert ledger.peaks["near"] <= 2200


def test_faults_are_found() -> None:
    problem = problem_of(1000, {"a": 400, "b": 400, "c": 300}, "abcab", periodic=False, workspace=100)
    plan = place_addressed(problem, options=SolverOptions())
    rooms = list(plan.rooms)

    def with_rooms(rooms: list[Room]) -> TierPlan:
        return replace(plan, rooms=tuple(rooms))

    with pytest.raises(MappingError, match="some rooms have addresses"):
        check_tier_plan(problem, with_rooms([replace(rooms[0], address=None), *rooms[1:]]))
    with pytest.raises(MappingError, match="overlaps"):
        check_tier_plan(problem, with_rooms([replace(r, address=r.low) for r in rooms]))
    with pytest.raises(MappingError, match=r"ends at 1,\d\d\d of near, which has 1,000"):
        check_tier_plan(problem, with_rooms([replace(r, address=(r.address or 0) + 900) for r in rooms]))


def roomy(rooms: list[Room], transfers: tuple[Transfer, ...] = (), *, periodic: bool = False) -> list[str]:
    """Faults of rooms alone, of three items in 1,000 bytes."""
    problem = problem_of(1000, {"a": 400, "b": 400, "c": 300}, "abcab", periodic=periodic)
    plan = TierPlan("letters", ("near",) * 5, tuple(rooms), transfers)
    return address_faults(problem, plan, [s.choices[0] for s in problem.steps])


def test_what_is_used_lies_in_one_piece_and_nothing_moves() -> None:
    low, high = Room("a", "near", 0, 200, 0, 9, 0), Room("a", "near", 200, 400, 0, 9, 200)
    assert not roomy([low, high])
    apart = [low, replace(high, address=500)]
    assert roomy(apart) == [f"position {p}: a is used in near, and lies in pieces" for p in (1, 7)]
    assert not roomy([replace(r, first=2, last=6) for r in apart])  # it passes
    assert "position 0: a at 100 of near overlaps a" in roomy([low, replace(high, high=399, address=100)])
    assert "position 0: a lies in near at two addresses" in roomy([low, replace(low, low=100, address=600)])
    later = [replace(low, last=3), replace(low, first=4, address=300)]
    assert roomy(later) == ["position 4: a moves within near"]
    assert roomy(later, (Transfer("a", "load", 4, 0, 199),)) == ["position 4: a moves within near"]
    assert not roomy(later, (Transfer("a", "load", 4, 100, 200), Transfer("a", "load", 4, 0, 100)))
    assert not roomy([later[0], replace(later[1], first=5)])
    assert roomy(later, (Transfer("a", "load", 4, 0, 200),), periodic=True) == ["position 0: a moves within near"]


def test_what_stays_over_the_end_of_a_period_keeps_its_address() -> None:
    """Three items of 300 in 900 bytes: all stay, one above the other, for ever."""
    problem = problem_of(900, dict.fromkeys("abc", 300), "abcacb", periodic=True)
    plan = place_addressed(problem, options=SolverOptions())
    assert not plan.transfers
    bases = {(r.item, (r.address or 0) - r.low) for r in plan.rooms}
    assert sorted(base for _, base in bases) == [0, 300, 600]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("periodic", [False, True])
def test_items_of_one_size_lose_next_to_nothing(seed: int, periodic: bool) -> None:
    """Where sizes divide the tier the plan takes no longer than the best one without addresses.

    But for periodic steps: three items of which any two overlap, each with one place, need three places, though never
    more than two are there.
    """
    rng = random.Random(seed)
    reads = "".join(rng.choice("abcdef") for _ in range(14))
    size, slots = rng.randint(30, 400), rng.randint(1, 4)
    problem = problem_of(size * slots, dict.fromkeys(sorted(set(reads)), size), reads, periodic=periodic)
    options = SolverOptions(gap=0.0)
    plan, free = place_addressed(problem, options=options), place(problem, options=options)
    assert plan.claim is not None and free.claim is not None and free.claim.proven
    assert plan.claim.value == pytest.approx(free.claim.value, rel=0.07 if periodic else 1e-6)
    assert all(r.address is not None for r in plan.rooms)


def test_what_passes_fills_holes_and_bytes_come_in_the_order_of_their_room() -> None:
    """What stays fills the middle tier but for less than an item, and the others pass through that.

    The near tier has room for one item and a tenth of the next, which comes while the first is read: its last bytes
    or its first ones, by turns.
    """
    step = [Step(f"{k}", (Choice("near", 100e-9, {name: "near"}),)) for k, name in enumerate("abcdabcd")]
    items = {n: Item(n, 100, home="far") for n in "abcd"}
    tiers = (Tier("near", 110), Tier("middle", 230), Tier("far"))
    links = (Link("in", "middle", "near", 10e9), Link("up", "far", "middle", 1e9))
    problem = TierProblem("through", tiers, links, items, tuple(step), periodic=True)
    plan, free = place_addressed(problem, options=SolverOptions()), place(problem, options=SolverOptions())
    assert plan.claim is not None and free.claim is not None
    assert plan.claim.value == pytest.approx(free.claim.value, rel=1e-6)
    assert any(r.high - r.low < 100 for r in plan.rooms if r.tier == "middle")
    assert {(r.address or 0) - r.low for r in plan.rooms if r.tier == "near"} >= {0, 10}
