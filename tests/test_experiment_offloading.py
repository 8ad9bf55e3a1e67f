"""FlexGen's offloaded OPT-30B: throughput, what moves it, and what does not fit."""

from __future__ import annotations

import pytest

from accelsim.errors import DoesNotFit
from accelsim.experiments.offloading.experiment import BLOCK, LOOSE, PUBLISHED
from accelsim.experiments.offloading.served import Options, planned, ran
from accelsim.mappers.offload import Block


def throughput(options: Options) -> float:
    return BLOCK.tokens / planned("opt-30b", BLOCK, options).seconds


def test_simulated_throughput_is_the_published_one() -> None:
    """7.32 token/s (Sheng et al., 2023, table 2), within 5 %; and of the shares that they ran with."""
    policy = planned("opt-30b", BLOCK)
    assert ran("opt-30b", BLOCK, policy).tokens_per_second == pytest.approx(7.32, rel=0.05)
    given = planned("opt-30b", BLOCK, LOOSE, given=PUBLISHED)
    assert ran("opt-30b", BLOCK, given, LOOSE).tokens_per_second == pytest.approx(7.32, rel=0.05)


@pytest.mark.parametrize(
    "name",
    ["cpu to gpu", "products", "attention on the CPU", "gpu_memory"],
)
def test_what_moves_the_throughput(name: str) -> None:
    slower, base, faster = (throughput(Options(changes=((name, f),))) for f in (0.8, 1.0, 1.2))
    assert slower < base < faster


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("disk to cpu", "all fits into the host"),
        ("gpu to cpu, cache", "a prefill computes for longer than caches take to leave"),
        ("gpu to cpu, hidden", "the same"),
        ("attention on the GPU", "all attention of a decode is beside the caches"),
        ("cpu_memory", "all fits into the host"),
    ],
)
def test_what_does_not(name: str, why: str) -> None:
    base = throughput(Options())
    assert throughput(Options(changes=((name, 1.2),))) == pytest.approx(base, rel=0.003), why


def test_a_model_too_large_says_where() -> None:
    with pytest.raises(DoesNotFit, match=r"gpu lacks [\d,]+ bytes"):
        planned("opt-175b", Block(64, 8, 512, 32))
    with pytest.raises(DoesNotFit, match=r"disk lacks [\d,]+ bytes"):
        planned("opt-175b", Block(8, 128, 512, 32))
