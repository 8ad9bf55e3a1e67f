"""Sub-batches beside each other: who gains, what banks of their own are worth, what moves it."""

from __future__ import annotations

import pytest

from accelsim.errors import DoesNotFit
from accelsim.experiments.neupims.experiment import FOUR, layer_seconds, machine, problem
from accelsim.mappers.sites import choose

LOAD = (64, 160)


def test_modes() -> None:
    alone, turns = (layer_seconds(m, *LOAD) for m in ("NPU alone", "in turns"))
    assert turns < alone
    own, shared = (layer_seconds(m, *LOAD) for m in ("two sub-batches", "two, banks shared"))
    assert own <= shared
    # Few sequences: both halves wait for the same weights.
    assert own > turns


def test_many_sequences_gain_from_turns() -> None:
    case = (512, 480, FOUR)
    assert layer_seconds("two sub-batches", *case) < 0.95 * layer_seconds("in turns", *case)


def test_attention_is_in_the_memory() -> None:
    found = problem(machine(), *LOAD, copies=1, shared=True)
    plan = choose(found)
    where = dict(zip([t.name for t in found.tasks], plan.sites(found), strict=True))
    assert where["0.layer.attention.scores"] == where["0.layer.attention.values"] == "dram"


@pytest.mark.parametrize(
    ("changes", "slower"),
    [
        ((("units.pim.interval", 5),), True),
        ((("memories.dram.channels", 52),), True),
        ((("units.vector.lanes", 3277),), True),
        ((("units.tensor.clock", "1.2 GHz"),), False),
    ],
)
def test_what_moves_the_time_of_a_layer(changes: tuple[tuple[str, object], ...], slower: bool) -> None:
    """The memory and the vector unit are waited for; a faster array, with few sequences, saves little or nothing."""
    base, got = layer_seconds("in turns", *LOAD), layer_seconds("in turns", *LOAD, changes)
    assert got > base if slower else 0.8 * base < got <= base


def test_caches_that_do_not_fit() -> None:
    with pytest.raises(DoesNotFit, match="what stays in memory `dram`"):
        problem(machine(), 512, 480, copies=2, shared=False)
