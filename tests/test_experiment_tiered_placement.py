"""Placement over tiers: a throughput that is shown and not judged; machines whose figures move it the right way."""

from __future__ import annotations

from itertools import islice

import pytest

from accelsim.experiments.tiered_placement.experiment import (
    OPTIONS,
    RESERVE,
    RULES,
    placements,
    rows,
    simulated,
    speed_up,
)
from accelsim.experiments.tiered_placement.offload import Decoder, serve
from accelsim.experiments.tiered_placement.scenes import beside_data, experts, kv_blocks, routed
from accelsim.mappers.ilp.tiers.addresses import place_addressed
from accelsim.mappers.ilp.tiers.policies import largest_stay, least_recently_used
from accelsim.mappers.ilp.tiers.search import place

FASTER = ("cpu_to_gpu", "gpu_to_cpu_cache", "prefill_matmul", "gpu_memory")
"""Links and computing that both phases wait for, and memory for weights."""
NOT_WAITED_FOR = {
    "decode_attention": "the GPU computes while keys and values are loaded",
    "cpu_memory": "it holds weights and KV either way",
    "cpu_attention": "attention is on the GPU",
}


def pcie(factor: float) -> dict[str, str]:
    return {"links.pcie.bandwidth": f"{factor * 32} GB/s"}


def test_the_program_delegates_attention_to_the_cpu() -> None:
    """As the published run does; its throughput is shown and not judged."""
    assert serve().attention == "GPU"
    assert serve(cpu_attention=True).attention == "CPU"
    assert serve(cpu_attention=True).tokens_per_second > serve().tokens_per_second
    assert all(row.tolerance is None and row.note.startswith("unreachable") for row in islice(rows(), 3))


@pytest.mark.parametrize("name", FASTER)
def test_what_moves_the_throughput(name: str) -> None:
    less, more = (serve(scaled=(name, factor)).tokens_per_second for factor in (0.8, 1.2))
    assert less < serve().tokens_per_second < more


@pytest.mark.parametrize("name", NOT_WAITED_FOR)
def test_what_does_not(name: str) -> None:
    assert serve(scaled=(name, 1.2)).tokens_per_second == pytest.approx(serve().tokens_per_second, rel=1e-3)


def test_more_batches_share_loads() -> None:
    rates = [serve(Decoder(batches=n)).tokens_per_second for n in (1, 2, 3)]
    assert rates == sorted(rates)


def test_plans_beat_rules() -> None:
    found = placements(kv_blocks(), "hbm", 4 * 64 * 2**20)
    best = found.pop("tiered program")
    assert found.pop("bound") <= best * (1 + 1e-6)
    assert best <= found.pop("tiered program with addresses") < min(found.values())
    assert all(best < seconds for seconds in found.values())


def test_experts_over_three_tiers_beat_rules() -> None:
    """With addresses, within a percent of the bound of all plans; of those under the rule, none is as fast."""
    problem = experts()
    plan = place_addressed(problem, options=OPTIONS)
    assert all(r.address is not None for r in plan.rooms)
    best = simulated(problem, plan)
    assert plan.claim is not None and plan.claim.bound <= best * (1 + 1e-6) <= plan.claim.bound * 1.01
    stays = place(problem, options=RULES, pinned=largest_stay(problem, "hbm", reserve=RESERVE))
    assert stays.claim is not None and best < stays.claim.bound <= simulated(problem, stays) * (1 + 1e-6)
    assert all(best < simulated(problem, least_recently_used(problem, ahead=ahead)) for ahead in (True, False))


def test_link_to_the_host() -> None:
    """±20 % of its bandwidth moves requests that wait for it."""
    times = [simulated(p, place(p)) for p in (kv_blocks(changes=pcie(n)) for n in (0.8, 1.0, 1.2))]
    assert times[0] > times[1] > times[2]


def test_experts_beside_their_data() -> None:
    """More skew, more gain; both ends of the split are never better than the best of all splits."""
    gains = [speed_up("encoder", skew=s)[0] for s in (0.5, 1.0, 1.5)]
    assert gains == sorted(gains)
    problem = beside_data(routed(16, 400, 1.0))
    best = simulated(problem, place(problem))
    alone = [beside_data(routed(16, 400, 1.0), changes=pcie(n)) for n in (0.8, 1.2)]
    assert simulated(alone[0], place(alone[0])) > best > simulated(alone[1], place(alone[1]))
