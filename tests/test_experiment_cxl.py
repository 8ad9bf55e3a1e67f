"""Cards on CXL: policies of placement as sums, and what moves the throughput of fine-tuning."""

from __future__ import annotations

from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.errors import DoesNotFit
from accelsim.experiments.cxl.experiment import CONTEXTS, case, relative
from accelsim.experiments.cxl.finetune import Case, figures, objects, seconds, stores
from accelsim.mappers.offload.stripes import Held, Policy, Store, critical_local, interleaved, local_first

BEST = "critical objects local"
POLICIES = (critical_local, interleaved, local_first)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(1, 10**12), st.floats(1.0, 1e12)), min_size=1, max_size=4),
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=5),
    st.sampled_from(POLICIES),
)
def test_every_byte_has_a_place_and_no_store_overflows(
    rooms: list[tuple[int, float]], shares: list[tuple[float, bool]], policy: Policy
) -> None:
    where = [Store(f"s{i}", n, b) for i, (n, b) in enumerate(rooms)]
    total = sum(n for n, _ in rooms)
    whole = sum(s for s, _ in shares) or 1.0
    held = [Held(f"h{i}", int(total * s / whole * 0.999), c) for i, (s, c) in enumerate(shares)]
    placed = policy(where, held)
    assert {h.name: sum(placed[h.name].values()) for h in held} == {h.name: h.nbytes for h in held}
    assert all(sum(row[s.name] for row in placed.values()) <= s.capacity for s in where)
    with pytest.raises(DoesNotFit, match="1 more than fit"):
        policy(where, [Held("all", total + 1)])


def test_policies_by_hand() -> None:
    where = [Store("DRAM", 100, 4.0), Store("a", 1000, 1.0), Store("b", 1000, 3.0)]
    held = [Held("weights", 80), Held("moments", 90, critical=True)]
    assert local_first(where, held) == {
        "weights": {"DRAM": 80, "a": 0, "b": 0}, "moments": {"DRAM": 20, "a": 70, "b": 0},
    }  # fmt: skip
    assert critical_local(where, held) == {
        "moments": {"DRAM": 90, "a": 0, "b": 0}, "weights": {"DRAM": 0, "a": 20, "b": 60},
    }  # fmt: skip
    assert interleaved(where, [Held("x", 30)])["x"] == {"DRAM": 10, "a": 10, "b": 10}
    assert interleaved(where, [Held("x", 500)])["x"] == {"DRAM": 100, "a": 200, "b": 200}


def test_published_throughput() -> None:
    """97 to 99 % of DRAM alone with one card, about 100 % with two (Liaw and Chen, 2025)."""
    assert mean(relative(c, 1, BEST) for c in CONTEXTS) == pytest.approx(0.98, rel=0.03)
    assert mean(relative(c, 2, BEST) for c in CONTEXTS) == pytest.approx(1.0, rel=0.02)
    assert relative(4096, 1, "interleaved") < 0.9 < relative(4096, 1, BEST)


def test_the_optimiser_waits_for_bytes_and_the_rest_for_the_gpu() -> None:
    """Of DRAM alone: 3 + 1 forward passes of computing, and 28 bytes per weight."""
    on, alone = figures(), case(8192, 0)
    found = seconds(alone)
    held = {h.name: h.nbytes for h in objects(alone)}
    weights = held["weights"] // 2
    slower = seconds(alone, (("GPU efficiency", 0.5),))
    assert slower - found == pytest.approx(found - (2 + 8 + 16 + 2) * weights / on["DRAM"], rel=0.01)


@pytest.mark.parametrize(
    ("name", "policy", "moves"),
    [("card", "interleaved", 1), ("DRAM", "interleaved", 0), ("DRAM", BEST, 1), ("GPU efficiency", BEST, 1),
     ("GPU link", BEST, 0)],
)  # fmt: skip
def test_what_moves_the_time(name: str, policy: str, moves: int) -> None:
    """Interleaved, the card is what the optimiser waits for; the GPU's link is never the limit."""
    base, more, less = (seconds(case(4096, 1, policy), c) for c in ((), ((name, 1.2),), ((name, 0.8),)))
    if moves:
        assert more < base < less
    else:
        assert more == pytest.approx(base, rel=0.002) and less == pytest.approx(base, rel=0.02)


def test_too_little_memory_says_how_much() -> None:
    with pytest.raises(DoesNotFit, match=r"[\d,]+ more than fit into DRAM of [\d,]+"):
        seconds(Case("llama-2-70b", cards=0))
    assert [s.name for s in stores(2, figures())] == ["DRAM", "card 0", "card 1"]
