"""The machines and controllers of the simulators' runs, as far as their configurations say."""

from __future__ import annotations

from dataclasses import replace

from ...components.dram_timing import DramDevice, preset
from ...components.dram_trace import Controller

_DRAMSIM3 = {
    "DDR4_2400_1r": ("DDR4_8Gb_x8_2400", "rochrababgco"),
    "DDR4_3200_1r": ("DDR4_8Gb_x8_3200", "rochrababgco"),
    "HBM2_1ch": ("HBM2_8Gb_x128", "rorabgbachco"),
    "HBM2_8ch": ("HBM2_8Gb_x128", "rorabgbachco"),
    "GDDR6_1ch": ("GDDR6_8Gb_x16", "rochrababgco"),
    "LPDDR4_2400": ("LPDDR4_8Gb_x16_2400", "rochrababgco"),
    "DDR3_1600": ("DDR3_8Gb_x8_1600", "rochrababgco"),
}
"""Preset and address mapping of the configurations."""
_DRAMSIM3_CONTROLLER = Controller(bank_queue=8, drain_high=32, drain_low=0, hit_cap=4, delay=2)
"""Queues of 32 transactions, eight commands per bank, writes that drain when full and until empty, at most four hits in
a row past an older request (command_queue.cc), one cycle each to enter and to return."""
_RAMULATOR_REFRESH_NS = {"DDR3": 160, "HBM": 160, "HBM2": 160, "HBM3": 260}
"""The configurations name timings but no density. In these runs a refresh costs what the simulator's tables have for
2 Gb (HBM3: 4 Gb a channel), not for the density that the preset has."""
RAMULATOR_MAPPING = "ro ba co pc bg"


def dramsim3(config: str, refresh: bool, outstanding: int) -> tuple[DramDevice, str, Controller]:
    """Device, address mapping and controller of a run of DRAMsim3."""
    base = config.removesuffix("_noref").removesuffix("_bgil").removesuffix("_chil")
    name, mapping = _DRAMSIM3[base]
    device = preset(name)
    if base.startswith("HBM2"):  # the files give tRTP_S and tRTP_L, which it does not read; 5 is its default
        device = device.with_(tRTP=5)
    if base.startswith("GDDR6"):  # bank groups are disabled in the file, and a burst takes 3 cycles
        device = device.with_(bank_groups=1, banks_per_group=16, tCCD_L=3)
    if base.endswith("8ch"):
        device = device.with_(channels=8)
    if "_bgil" in config:
        mapping = "rochrabacobg"
    if "_chil" in config:
        mapping = "rorabgbacoch"
    return device, mapping, replace(_DRAMSIM3_CONTROLLER, outstanding=outstanding, refresh=refresh)


def ramulator(config: str, standard: str, refresh: bool) -> tuple[DramDevice, str, Controller]:
    """Device, address mapping and controller of a run of Ramulator 2.1: 32 requests each way, marks of 0.8 and 0.2."""
    device = preset(config.partition("/")[2])
    if standard in _RAMULATOR_REFRESH_NS:
        device = device.with_(tRFC=round(_RAMULATOR_REFRESH_NS[standard] * 1e-9 / device.clock_s))
    return device, RAMULATOR_MAPPING, Controller(refresh=refresh)
