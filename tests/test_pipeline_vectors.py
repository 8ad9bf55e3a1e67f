"""Ranks inside a firing: chosen so that a cascade is fastest on a budget."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import pytest

from accelsim.errors import BadInput, DoesNotFit
from accelsim.ir import Workload
from accelsim.mappers.pipeline import Budget, Lanes, Timing, build_stages, fastest_pipeline, plan_pipeline
from accelsim.workloads import zoo
from accelsim.workloads.text.cascade_file import loads_cascade

ALL = ("mac", "mul", "exp", "add", "max", "div")


def attention(name: str = "attention_3pass", **ranks: int) -> Workload:
    return loads_cascade(zoo.cascade_text(name), name, ranks={"b": 1, "h": 2, **ranks})


def budget(lanes: int, **others: object) -> Budget:
    return Budget((Lanes("pool", lanes, ALL),), **others)  # type: ignore[arg-type]


@pytest.mark.parametrize("lanes", [160, 100_000])
@pytest.mark.parametrize("rate", [None, Fraction(16)])
def test_as_fast_as_the_best_of_all_choices(lanes: int, rate: Fraction | None) -> None:
    """Within a tenth of what planning every choice finds, and never slower than streaming every rank."""
    workload = attention(m=12, p=8)
    given = budget(lanes, off_chip_bytes_per_cycle=rate, launch_cycles=50)
    found = fastest_pipeline(workload, given)
    every = [
        plan_pipeline(workload, given, inside=inside).cycles
        for n in range(4)
        for inside in combinations(("h", "p", "m"), n)
    ]
    assert min(every) <= found.cycles <= 1.1 * min(every)
    assert found.cycles <= every[0]


def test_with_enough_lanes_every_stage_fires_once() -> None:
    plan = fastest_pipeline(attention(m=16, p=8), budget(10**6))
    assert plan.stages.order == ("b",)
    assert plan.cycles == 1 + len(plan.stages.stages) + 1  # one after the other: operands, stages, results


def test_ranks_of_a_recurrence_stream() -> None:
    workload = attention("attention_1pass", p=64)
    plan = fastest_pipeline(workload, budget(10**6), timing=Timing(recurrence=4))
    assert "i" in plan.stages.order
    with pytest.raises(BadInput, match="steps along 'i'"):
        build_stages(workload, inside=("i",))


def test_a_larger_budget_is_never_slower() -> None:
    workload = attention(m=32, p=32)
    cycles = [fastest_pipeline(workload, budget(n)).cycles for n in (160, 400, 3000, 40_000)]
    assert cycles == sorted(cycles, reverse=True)
    assert cycles[0] > 20 * cycles[-1]


def test_what_fits_nowhere_says_what_it_needs() -> None:
    with pytest.raises(DoesNotFit, match="bytes on the chip"):
        fastest_pipeline(attention(m=8, p=8), budget(1000, on_chip_bytes=10))
    with pytest.raises(DoesNotFit, match="units of 'pool'"):
        fastest_pipeline(attention(m=8, p=8), budget(3), most_kernels=1)


def test_ranks_are_cut_where_operands_do_not_fit() -> None:
    """With room for few keys, a block of queries shares each read of them; results and operations stay the same."""
    workload = attention(m=64, p=64)
    tight = budget(4000, on_chip_bytes=6000, off_chip_bytes_per_cycle=Fraction(4))
    found = fastest_pipeline(workload, tight)
    assert any(r.endswith("1") for r in found.stages.order)
    assert found.stages.workload.macs == workload.macs
    assert all(k.on_chip_bytes <= 6000 for k in found.kernels)
    whole = min(plan_pipeline(workload, tight, inside=i).cycles for i in ((), ("h",)))
    assert found.cycles < whole / 2


def test_transfers_between_kernels_are_as_small_as_the_room_asks_for() -> None:
    workload = attention(m=64, p=64)
    plans = [
        plan_pipeline(workload, Budget(stages=4, on_chip_bytes=room, off_chip_bytes_per_cycle=Fraction(64)))
        for room in (10**6, 30_000)
    ]
    large, small = ({t.tensor: t for t in p.kernels[0].transfers if t.writes} for p in plans)
    (one,), (other,) = large.values(), small.values()
    assert (one.tensor, one.total) == (other.tensor, other.total)
    assert one.nbytes > other.nbytes
