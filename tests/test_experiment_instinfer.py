"""Attention beside flash: gains, shares, what moves them, and caches that do not fit."""

from __future__ import annotations

import pytest

from accelsim.errors import DoesNotFit
from accelsim.experiments.instinfer.experiment import machine, step
from accelsim.experiments.instinfer.layer import OPT_13B, Load, Model, problem
from accelsim.mappers.sites import choose, every_choice

DENSE, SPARSE = Load(64), Load(64, sparsity=8)
SSD, CSD = "FlexGen on an SSD", "one CSD"


def test_gains_are_those_of_the_ways_of_the_caches() -> None:
    """A dense step is as long as its caches take: over the SSD's link, or from the flash."""
    caches = 64 * 1536 * 2 * 2 * 5120 * 40
    assert step(SSD, DENSE).seconds == pytest.approx(caches / 7e9, rel=0.01)
    assert step(CSD, DENSE).seconds == pytest.approx(caches / 11.2e9, rel=0.02)
    assert step("two CSDs", DENSE).seconds == pytest.approx(caches / 22.4e9, rel=0.04)
    assert step(CSD, DENSE).sites == ("engine_buffer",)
    assert step(SSD, DENSE).cache_share == pytest.approx(0.989, abs=0.02)


def test_sparse_attention_reads_three_sixteenths() -> None:
    assert step(CSD, DENSE).seconds / step(CSD, SPARSE).seconds == pytest.approx(16 / 3, rel=0.1)
    tokens = [step(CSD, Load(64, sparsity=8, chunk=n)).tokens_per_second for n in (1, 2, 4, 8, 16, 32)]
    assert tokens[:5] == sorted(tokens[:5]) and tokens[4] == tokens[5]


@pytest.mark.parametrize(
    ("name", "key", "base", "unit"),
    [
        (CSD, "memories.flash.channel_bandwidth", 1.4, "GB/s"),
        (SSD, "links.nvme.bandwidth", 7, "GB/s"),
    ],
)
def test_what_moves_the_throughput(name: str, key: str, base: float, unit: str) -> None:
    got = [step(name, DENSE, changes=((key, f"{base * f:g} {unit}"),)).tokens_per_second for f in (0.8, 1.0, 1.2)]
    assert got[0] < 0.85 * got[1] and got[2] > 1.15 * got[1]


@pytest.mark.parametrize(
    ("name", "key", "value", "why"),
    [
        (CSD, "memories.hbm.bandwidth", "614 GB/s", "weights take 3 % of the time that caches take"),
        (CSD, "memories.flash.page_read", "60 us", "32 dies read pages while one sends its own"),
        (CSD, "units.engine.lanes", 51, "the engine waits for its flash"),
        (CSD, "links.p2p.bandwidth", "5.6 GB/s", "queries and results are few bytes"),
        (SSD, "links.pcie.bandwidth", "25.6 GB/s", "the SSD's link is slower"),
        (SSD, "memories.host.bandwidth", "61.4 GB/s", "the SSD's link is slower"),
        (SSD, "memories.flash.channel_bandwidth", "1.12 GB/s", "the SSD's link is slower"),
    ],
)
def test_what_does_not(name: str, key: str, value: object, why: str) -> None:
    got = step(name, DENSE, changes=((key, value),)).tokens_per_second
    assert got == pytest.approx(step(name, DENSE).tokens_per_second, rel=0.01), why


def test_the_sites_are_the_best_of_all() -> None:
    small = Model(4, 512, 8, 1000)
    for load in (Load(1, 64, 64), Load(8, 512, 512, sparsity=8)):
        found = problem(machine("drive"), small, load)
        assert choose(found).seconds == every_choice(found)[0]


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(DoesNotFit, match="KV caches in memory `flash` takes 1,717,986,918,400 bytes, it holds "
                                         "1,099,511,627,776 reserved for caches"):  # fmt: skip
        problem(machine("drive"), OPT_13B, Load(1024))
    with pytest.raises(DoesNotFit, match="what stays in memory `hbm`"):
        problem(machine("drive"), Model(96, 12288, 96), Load(1))
