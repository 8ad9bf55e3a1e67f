"""The DRAM experiment: its rows hold on a part of the table, and every time moves the patterns that it bounds."""

from __future__ import annotations

import pytest

from accelsim.components.dram_timing import DramDevice, preset
from accelsim.components.dram_trace import Controller, run_trace
from accelsim.experiments.dram.experiment import dependent_laws, laws, rows
from accelsim.experiments.dram.patterns import addresses, writes

MAPPING = "ro ba co pc bg"


def test_every_row_with_a_tolerance_holds_and_few_lack_one() -> None:
    found = list(rows())
    assert [row for row in found if row.ok is False] == []
    untold = [row for row in found if row.tolerance is None]
    assert len(untold) <= 19 and all("peer defect" in row.note or "unreachable" in row.note for row in untold)
    assert sum(row.quantity == "cycles" for row in found) == 123
    assert sum(row.quantity == "energy of activations" for row in found) == 76


def cycles(device: DramDevice, pattern: str, outstanding: int = 0, refresh: bool = False) -> float:
    n = 4000
    controller = Controller(outstanding=outstanding, refresh=refresh)
    wanted = addresses(pattern, n, device, MAPPING)
    return run_trace(device, wanted, writes(pattern, n), mapping=MAPPING, controller=controller).cycles / n


MOVED = [
    ("tRCD_rd", "hit_1bank", 0), ("tRP", "hit_1bank", 0), ("tRTP", "hit_1bank", 0), ("tCCD_L", "hit_1bank", 0),
    ("tRC", "conflict_1bank", 0), ("tFAW", "allbank_newrow", 0), ("CL", "hit_samerow", 1), ("burst", "hit_samerow", 1),
    ("tWTR_S", "stream_mix", 0), ("CWL", "stream_mix", 0), ("tRCD_rd", "rand_rd", 1),
]  # fmt: skip


@pytest.mark.parametrize(("time", "pattern", "outstanding"), MOVED)
def test_a_time_moves_what_it_bounds(time: str, pattern: str, outstanding: int) -> None:
    """±20 %, rounded away from the time itself; longer is slower."""
    device = preset("DDR4_8Gb_x8_2400").with_(tRC=70)
    own = getattr(device.timing, time)
    step = max(1, round(own * 0.2))
    shorter, longer = (device.with_(**{time: own + change}) for change in (-step, step))
    assert cycles(shorter, pattern, outstanding) < cycles(longer, pattern, outstanding)


@pytest.mark.parametrize("time", ["tWTR_L", "tWR", "tRFC", "tRCD_wr"])
def test_what_a_stream_of_reads_does_not_depend_on(time: str) -> None:
    """Rows change rarely, nothing is written, and refresh is off."""
    device = preset("DDR4_8Gb_x8_2400")
    longer = device.with_(**{time: round(getattr(device.timing, time) * 1.2)})
    assert cycles(device, "stream_rd") == cycles(longer, "stream_rd")


def test_refresh_moves_with_its_times() -> None:
    device = preset("DDR4_8Gb_x8_2400")
    t = device.timing
    base = cycles(device, "stream_rd", refresh=True)
    assert cycles(device.with_(tRFC=round(t.tRFC * 1.2)), "stream_rd", refresh=True) > base
    assert cycles(device.with_(tREFI=round(t.tREFI * 0.5)), "stream_rd", refresh=True) > base


def test_laws_differ_between_types() -> None:
    ddr4, hbm = preset("DDR4_2400R"), preset("HBM2_2000Mbps")
    assert laws(ddr4)["stream_rd"] == 4 and laws(hbm)["stream_rd"] == 1
    assert dependent_laws(ddr4)["hit_samerow"] == 20
