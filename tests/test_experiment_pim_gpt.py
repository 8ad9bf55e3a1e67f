"""PIM-GPT: its rows hold, and every part of the machine moves what it should."""

from __future__ import annotations

import pytest
from support.experiments import rows_of

from accelsim.experiments.pim_gpt.experiment import Changes, moved, token

MODEL, CONTEXT = "gpt2", 512


def test_rows_hold_and_both_baselines_stand_beside_the_published_range() -> None:
    found = rows_of("pim_gpt")
    assert [row for row in found if row.ok is False] == []
    assert {row.where.split(",")[0] for row in found if row.quantity == "latency per token"} == {
        f"{family}-{size}" if size else family
        for family, sizes in {"gpt2": ("", "medium", "large", "xl"), "gpt3": ("small", "medium", "large", "xl")}.items()
        for size in sizes
    }
    assert [row.published for row in found if row.quantity == "speed-up over the implied measured T4"] == [41, 137]
    roofline = [row.accelsim for row in found if row.quantity == "speed-up over a roofline T4"]
    assert len(roofline) == 8 and all(gain is not None and 1 < gain < 41 for gain in roofline)


@pytest.mark.parametrize(
    ("slower", "faster"),
    [
        ((("clock", "800 MHz"),), (("clock", "1200 MHz"),)),
        ((("units.pim.interval", 2),), ()),
        ((("units.pim.activate", 14),), (("units.pim.activate", 10),)),
        ((("units.asic.lanes", 102),), (("units.asic.lanes", 154),)),
        ((("memories.dram.channels", 6),), (("memories.dram.channels", 10),)),
        ((("memories.sram.bandwidth", "400 B/cycle"),), (("memories.sram.bandwidth", "1200 B/cycle"),)),
    ],
)
def test_slower_parts_take_longer(slower: Changes, faster: Changes) -> None:
    assert token(MODEL, CONTEXT, slower).seconds > token(MODEL, CONTEXT, faster).seconds


@pytest.mark.parametrize("capacity", ["120 KiB", "200 KiB"])
def test_room_on_the_chip_changes_nothing_once_vectors_fit(capacity: str) -> None:
    assert token(MODEL, CONTEXT, (("memories.sram.capacity", capacity),)).seconds == token(MODEL, CONTEXT).seconds


def test_energy_per_product_moves_energy_alone() -> None:
    low, high = (token(MODEL, CONTEXT, (("units.pim.mac_energy", e),)) for e in ("0.466 pJ", "0.7 pJ"))
    assert low.seconds == high.seconds and low.joules["pim"] < high.joules["pim"]


def test_filled_rows_hit_more_often() -> None:
    alone = moved(MODEL, CONTEXT, (("units.pim.row_filling", False),))
    assert alone.row_hit_rate < moved(MODEL, CONTEXT).row_hit_rate < 1
