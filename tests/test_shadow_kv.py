"""Caches in two tiers: bytes by hand, steps that add up, what fits, and what moves a step."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.errors import BadInput, DoesNotFit
from accelsim.experiments.loader import table
from accelsim.experiments.shadow_kv import experiment
from accelsim.experiments.shadow_kv.caches import (
    FEW_BITS,
    LOW_RANK,
    Changes,
    drafted,
    link_bytes,
    machine,
    made,
    model,
    most,
    nested,
    shadowed,
    whole,
)
from accelsim.mappers.offload import Machine, Model, Part, Rates, Work
from accelsim.mappers.offload.machine import Role
from accelsim.mappers.offload.shadow import Shadow, decode
from accelsim.mapping.tiers.problem import Tier

LONG = 131072


def small(context: int, capacity: int | None = None) -> tuple[Machine, Model]:
    """One layer with keys and values of 50 elements each, at 1 byte or operation per microsecond everywhere."""
    flat: dict[Role, float] = {"weight": 1e6, "cache": 1e6, "hidden": 1e6}
    rates = Rates((flat,), (flat,), 1e6, 1e6, 1e6)
    part = Part("layer", 1, 1000, 200, Work(1, 1, 1), Work(500, 400 * context, 1), context)
    on = Machine("two", (Tier("near", capacity), Tier("far")), rates, rates)
    return on, Model("small", (part,), 10)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    st.integers(1, 4), st.integers(10, 3000), st.integers(1, 400), st.integers(1, 16), st.integers(1, 20),
    st.sampled_from([0.0, 0.25, 1.0]),
)  # fmt: skip
def test_steps_add_up(n: int, context: int, budget: int, chunk: int, rank: int, reused: float) -> None:
    """Choosing, then the longer of values and keys made anew, then attention and products."""
    on, it = small(context)
    seconds, ledger = decode(on, it, Shadow(budget, chunk, rank, reused=reused), n, context)
    marks, chosen = -(-context // chunk), min(budget, context)
    choose = n * marks * max(200, 100)
    values = n * round(chosen * (1 - reused)) * 100
    remade = n * max(2 * chosen * rank * 50, chosen * (2 * rank + 100) + 100 * rank)
    attend = n * chosen * max(400, 200)
    products = max(n * 500, 1000)
    expected = choose + max(values, remade, n * 100) + attend + products
    assert seconds * 1e6 == pytest.approx(expected, rel=1e-6)
    assert ledger.link_bytes["in"] == values and ledger.link_bytes["out"] == n * 100
    assert ledger.peaks["far"] == n * context * 100
    near = 1000 + n * (10 + 2 * rank * (context + 50) + marks * 100 + chosen * 200)
    assert ledger.peaks["near"] == near


def test_what_does_not_fit_says_how_much() -> None:
    on, it = small(100, 5000)
    needed = decode(*small(100), Shadow(10, 4, 2), 3, 100)[1].peaks["near"]
    with pytest.raises(DoesNotFit, match=f"{needed:,} bytes of near are needed, {needed - 5000:,} more"):
        decode(on, it, Shadow(10, 4, 2), 3, 100)


@pytest.mark.parametrize(
    "values", [{"rank": 0}, {"key_bits": 4.0}, {"budget": 0}, {"reused": 1.5}, {"window": -1}, {"chunk": 0}]
)
def test_shadows_that_cannot_be(values: dict[str, float]) -> None:
    with pytest.raises(BadInput):
        replace(LOW_RANK, **values)  # type: ignore[arg-type]


def test_rows_against_laws() -> None:
    laws = {(r["quantity"], r["where"]): float(r["value"]) for r in table("accelsim.experiments.shadow_kv", "laws.csv")}
    share = "near bytes over those of the whole cache"
    for name in experiment.SHADOWS:
        assert experiment.near_share(name) == pytest.approx(laws[share, name], rel=1e-5)
    assert link_bytes(LOW_RANK, 3, LONG) == 3 * laws["bytes over the link per token and sequence", "rank 160"]
    for acceptance in (0.5, 0.8):
        law = laws["tokens per second over those of streaming", f"draft of 4 bits, 4 tokens, acceptance {acceptance}"]
        assert made(4, acceptance) == pytest.approx(law)
        assert 0.95 * law < experiment.over_streaming(4, acceptance) <= law


def test_shadows_pay_with_long_contexts() -> None:
    """Four times as many sequences fit. With 32K tokens the link makes them slower than whole caches, with 128K not."""
    for context, faster in ((32768, False), (LONG, True)):
        near, shadow = (most(f) for f in (lambda n, c=context: whole(n, c, near=True),
                                          lambda n, c=context: shadowed(LOW_RANK, n, c)))
        assert shadow > 4 * near
        gain = shadow / shadowed(LOW_RANK, shadow, context) / (near / whole(near, context, near=True))
        assert (gain > 1) is faster
        bound = machine().decode.inward[0]["cache"] / link_bytes(LOW_RANK, 1, context)
        assert shadow / shadowed(LOW_RANK, shadow, context) < bound


def test_a_round_of_a_draft_checks_with_one_stream() -> None:
    cache = 4 * LONG * model(LONG).cache_bytes
    for tokens in (2, 8):
        drafts = tokens * whole(4, LONG, near=True, bits=4)
        assert cache / 24.5e9 < drafted(4, LONG, tokens) < cache / 24.5e9 + drafts + 0.02


def test_a_nested_draft_reads_half_of_what_checks_it() -> None:
    """Time is the caches' and the weights' bytes."""
    part, on = model(32768, 1, 8).parts[0], machine().decode
    assert on.local is not None
    read = [16 * 32768 * model(32768, 1, bits).cache_bytes + model(32768).weight_bytes for bits in (4, 8)]
    assert part.cache_bytes == 2 * 1024 * (8 + 0.5) / 8
    assert nested(16, 32768, 3) == pytest.approx((3 * read[0] + read[1]) / on.local, rel=0.05)


@pytest.mark.parametrize(
    ("path", "values", "moves"),
    [("links.pcie.bandwidth", ("19.6 GB/s", "29.4 GB/s"), True),
     ("memories.host.bandwidth", ("160 GB/s", "240 GB/s"), False),
     ("memories.hbm.bandwidth", ("1.63 TB/s", "2.45 TB/s"), True)],
)  # fmt: skip
def test_what_moves_a_step(path: str, values: tuple[str, str], moves: bool) -> None:
    """Values wait for the link, and the other steps for the GPU's memory; the host's is faster than the link."""

    def step(changes: Changes = ()) -> float:
        return shadowed(FEW_BITS, 8, LONG, changes)

    slow, fast = (step(((path, v),)) for v in values)
    if moves:
        assert fast < 0.98 * step() and slow > 1.02 * step()
    else:
        assert fast == slow == step()
