"""Addresses in tiers: closed forms, plans that the replay accepts, and faults that it finds."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from accelsim.errors import MappingError
from accelsim.mappers.ilp.solver import SolverOptions
from accelsim.mappers.ilp.tiers.addresses import addresses_of, place_addressed
from accelsim.mappers.ilp.tiers.search import place
from accelsim.mapping.tiers.check import check_tier_plan
from accelsim.mapping.tiers.plan import Room, TierPlan
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
    whole = Room("a", "near", 0, 400, 0, 9)
    split = [replace(whole, last=3, address=0), replace(whole, first=4, address=500)]
    others = [replace(r, address=None) for r in rooms if r.item != "a"]
    again, failed = addresses_of(problem, with_rooms(others))
    assert not failed
    with pytest.raises(MappingError, match="moves within near"):
        check_tier_plan(problem, with_rooms([*split, *again]))


def test_what_stays_over_the_end_of_a_period_keeps_its_address() -> None:
    """Three items of 300 in 900 bytes: all stay, one above the other, for ever."""
    problem = problem_of(900, dict.fromkeys("abc", 300), "abcacb", periodic=True)
    plan = place_addressed(problem, options=SolverOptions())
    assert not plan.transfers
    bases = {(r.item, (r.address or 0) - r.low) for r in plan.rooms}
    assert sorted(base for _, base in bases) == [0, 300, 600]
