"""Smaller KV caches on one GPU: published shares, what moves a step, and what fits."""

from __future__ import annotations

import pytest

from accelsim.experiments.kv_compression.experiment import MODEL, saved_by_deepseek, share
from accelsim.experiments.kv_compression.schemes import SCHEMES, decode, seconds, sequences
from accelsim.ir import Role

QUANTISED = "2 bits, groups of 32"


def test_published_shares() -> None:
    assert saved_by_deepseek() == pytest.approx(0.933, abs=0.002)
    assert share(QUANTISED) == 3 / 16
    assert share("two layers share") == 0.5
    assert share("20 % of tokens kept") == pytest.approx(0.2, rel=0.001)


def test_steps_take_at_least_their_bytes_and_less_than_with_the_whole_cache() -> None:
    whole = seconds(MODEL, "16 bits", 16, 1024)
    for scheme in SCHEMES:
        step, workload = seconds(MODEL, scheme, 16, 1024), decode(MODEL, scheme, 16, 1024)
        held = workload.bytes_by_role()
        assert step <= whole * 1.001
        # a cache that layers share is read by each of them, so that its bytes are no more than a bound
        assert step >= (held[Role.STATE] + held[Role.WEIGHT] - 2 * 32000 * 4096) / 2.04e12
        assert bool(workload.notes) == (scheme not in ("16 bits", "8 heads of keys and values", "latent, 512 + 64"))


@pytest.mark.parametrize("scheme", ["16 bits", QUANTISED])
def test_what_moves_a_step(scheme: str) -> None:
    """A decode waits for memory: its bandwidth counts, the L2's capacity does not."""
    base = seconds(MODEL, scheme, 16, 1024)
    for bandwidth, longer in (("1.63 TB/s", True), ("2.45 TB/s", False)):
        changed = seconds(MODEL, scheme, 16, 1024, (("memories.hbm.bandwidth", bandwidth),))
        assert (changed > base) is longer
    assert seconds(MODEL, scheme, 16, 1024, (("memories.l2.capacity", "48 MiB"),)) == pytest.approx(base, rel=0.01)


def test_as_many_as_fit() -> None:
    """80 GB less 13.5 GB of weights, over 2.1 GB of a whole cache of 4,096 tokens, and a little for a step."""
    assert sequences(MODEL, "16 bits", 4096) == 30
    more = sequences(MODEL, "16 bits", 4096, (("memories.hbm.capacity", "96 GB"),))
    assert more == 30 + 8 or more == 30 + 7
    assert sequences(MODEL, QUANTISED, 4096) > 5 * 30
