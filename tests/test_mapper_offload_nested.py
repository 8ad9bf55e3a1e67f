"""Nested bits: orders of loads by hand, bounds, and what the sweep shows."""

from __future__ import annotations

import pytest
from support.experiments import rows_of

from accelsim.errors import BadInput
from accelsim.experiments.nested_experts.experiment import RATIOS, drawn, gain
from accelsim.mappers.offload.nested import NestedExpert, expert_by_expert, hottest_bits_first, run

COLD = NestedExpert("cold", (2.0, 1.0), (1.0, 0.0))
HOT = NestedExpert("hot", (2.0, 1.0), (3.0, 4.0))


def test_by_hand() -> None:
    """Cold first: loads to 2, 4, 5; it computes from 2 to 3, hot from 4 to 7 and 11. Hot first: 2 to 5, 9 and 10."""
    assert list(expert_by_expert((COLD, HOT))) == [(0, 0), (1, 0), (1, 1)]
    assert list(hottest_bits_first((COLD, HOT))) == [(1, 0), (1, 1), (0, 0)]
    assert run((COLD, HOT), expert_by_expert((COLD, HOT))) == pytest.approx(11)
    assert run((COLD, HOT), hottest_bits_first((COLD, HOT))) == pytest.approx(10)
    assert run((COLD, HOT), expert_by_expert((COLD, HOT)), nested=False) == pytest.approx(12)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_pass_takes_as_long_as_either_server_and_no_longer_than_both(ratio: float, seed: int) -> None:
    experts = drawn(ratio, 1.0, seed)
    loading = sum(sum(x.planes[: x.wanted]) for x in experts)
    computing = sum(sum(x.levels) for x in experts)
    assert computing == pytest.approx(ratio * loading)
    for order in (expert_by_expert, hottest_bits_first):
        assert max(loading, computing) <= run(experts, order(experts)) * (1 + 1e-9)
        assert run(experts, order(experts)) <= run(experts, order(experts), nested=False) * (1 + 1e-9)
        assert run(experts, order(experts), nested=False) <= (loading + computing) * (1 + 1e-9)


def test_gains() -> None:
    """Skewed experts that compute as long as they load gain most; where loads take the time, nothing does."""
    assert gain(1.0, 2.0, 0) > 1.2
    assert gain(0.25, 0.0, 0) == pytest.approx(1.0, abs=0.05)
    assert len(rows_of("nested_experts")) == 13


def test_orders_that_cannot_be() -> None:
    with pytest.raises(BadInput, match="loaded in order"):
        run((HOT,), [(0, 1), (0, 0)])
    with pytest.raises(BadInput, match="loaded in order"):
        run((HOT,), [(0, 0)])
    with pytest.raises(BadInput, match="for every plane"):
        NestedExpert("x", (1.0,), (1.0, 2.0))
    assert run((NestedExpert("idle", (1.0,), (0.0,)),), []) == 0.0
