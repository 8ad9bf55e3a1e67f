# ruff: noqa: N815 (JEDEC's names of times)
"""What a DRAM is: geometry and times, its presets, and how addresses map to channels, banks, rows and columns.

Times are in cycles of the command clock, as data sheets of the JEDEC standards name them.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arch.energy import dram_level, standards, transfer
from ..errors import BadInput, ContradictingTimings
from ..text.names import nearest

IntArray = NDArray[np.int64]
FIELDS = {"ch": "channels", "pc": "pseudo-channels", "bg": "bank groups", "ba": "banks", "ro": "rows", "co": "columns"}
DEFAULT_MAPPING = "ro ba co bg pc ch"
"""Rows highest, bursts dealt round channels, pseudo-channels and bank groups: a stream runs at the bus' rate."""


@dataclass(frozen=True)
class Timing:
    """Times in clock cycles.

    `burst` is how long a burst holds the data bus. `turn` is the gap on it from a read to a write (2 cycles: one of
    preamble and one to turn round, as DRAMsim3 and Ramulator 2.1 have it). An activation holds the command bus for
    `act_bus` cycles. tREFI 0: no refresh; tFAW 0: no such window.
    """

    CL: int
    CWL: int
    burst: int
    tRCD_rd: int
    tRCD_wr: int
    tRP: int
    tRAS: int
    tRC: int
    tCCD_S: int
    tCCD_L: int
    tRRD_S: int
    tRRD_L: int
    tFAW: int
    tWR: int
    tWTR_S: int
    tWTR_L: int
    tRTP: int
    tRFC: int
    tREFI: int
    turn: int = 2
    act_bus: int = 1

    def __post_init__(self) -> None:
        wrong = [f"{f.name} = {getattr(self, f.name)} is negative" for f in fields(self) if getattr(self, f.name) < 0]
        wrong += [f"{name} = 0 (at least 1)" for name in ("burst", "tRP", "tRAS", "act_bus") if not getattr(self, name)]
        if self.tRC < self.tRAS + self.tRP:
            wrong.append(f"tRC = {self.tRC} is less than tRAS + tRP = {self.tRAS} + {self.tRP}")
        if self.tRAS < self.tRCD_rd:
            wrong.append(f"tRAS = {self.tRAS} is less than tRCD = {self.tRCD_rd}")
        if 0 < self.tFAW < self.tRRD_S:
            wrong.append(f"tFAW = {self.tFAW} is less than tRRD_S = {self.tRRD_S}")
        if 0 < self.tREFI <= self.tRFC + self.tRC:
            wrong.append(f"tREFI = {self.tREFI} is no more than tRFC + tRC = {self.tRFC} + {self.tRC}")
        if wrong:
            raise ContradictingTimings("DRAM timing: " + "; ".join(wrong))

    def words(self) -> IntArray:
        """The timing table of `dram_kernel`."""
        return np.array([getattr(self, f.name) for f in fields(self)], np.int64)


@dataclass(frozen=True)
class Currents:
    """Currents of a device in milliamperes, its voltage, and the devices that work side by side in a channel."""

    VDD: float
    IDD0: float
    IDD2N: float
    IDD3N: float
    IDD4R: float
    IDD4W: float
    IDD5AB: float
    devices: int = 1

    def energies(self, timing: Timing, clock_s: float) -> Mapping[str, float]:
        """Joules of an activation with its precharge, a burst, a refresh, and watts of standby.

        Micron TN-40-07; ACT = VDD (IDD0 tRC - IDD3N tRAS - IDD2N tRP), RD = VDD (IDD4R - IDD3N) burst, and so on.
        """
        scale = self.VDD * 1e-3 * self.devices
        return {
            "activate": scale * (self.IDD0 * timing.tRC - self.IDD3N * timing.tRAS - self.IDD2N * timing.tRP) * clock_s,
            "read": scale * (self.IDD4R - self.IDD3N) * timing.burst * clock_s,
            "write": scale * (self.IDD4W - self.IDD3N) * timing.burst * clock_s,
            "refresh": scale * (self.IDD5AB - self.IDD3N) * timing.tRFC * clock_s,
            "standby_W": scale * self.IDD3N,
        }


@dataclass(frozen=True)
class DramDevice:
    """A DRAM channel and how many of them there are.

    Attributes:
        clock_s: seconds of a cycle.
        burst_bytes: bytes of one column command.
        pseudo_channels: data buses of a channel, each with bank groups of its own, behind one command bus.
        rows: of each bank.
        split_bus: row and column commands have a bus each (HBM).
    """

    name: str
    standard: str
    timing: Timing
    clock_s: float
    burst_bytes: int
    bank_groups: int
    banks_per_group: int
    row_bytes: int
    rows: int
    pseudo_channels: int = 1
    channels: int = 1
    split_bus: bool = False
    currents: Currents | None = None
    source: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        for key in (
            "burst_bytes",
            "bank_groups",
            "banks_per_group",
            "row_bytes",
            "rows",
            "pseudo_channels",
            "channels",
        ):
            value = getattr(self, key)
            if value < 1 or (key != "channels" and value & (value - 1)):
                raise BadInput(f"DRAM {self.name}: {key} = {value} is not a power of two")
        if self.row_bytes % self.burst_bytes:
            raise BadInput(f"DRAM {self.name}: a row of {self.row_bytes} bytes is no whole number of bursts of "
                           f"{self.burst_bytes}")  # fmt: skip

    @property
    def columns(self) -> int:
        """Bursts of a row."""
        return self.row_bytes // self.burst_bytes

    @property
    def banks(self) -> int:
        """Banks of a channel, over its pseudo-channels."""
        return self.pseudo_channels * self.bank_groups * self.banks_per_group

    @property
    def capacity(self) -> int:
        """Bytes of all channels."""
        return self.channels * self.banks * self.rows * self.row_bytes

    @property
    def peak_bandwidth(self) -> float:
        """Bytes per second of all data buses."""
        per_burst = max(self.timing.burst, self.timing.tCCD_S) * self.clock_s
        return self.channels * self.pseudo_channels * self.burst_bytes / per_burst

    def energies(self) -> Mapping[str, float]:
        """Joules of ``activate``, ``read``, ``write``, ``refresh`` and ``standby_W`` in watts, of one channel.

        Without currents, a bit moved costs what `arch.energy` has for its standard (the nearest one), a bit of an
        opened row what HBM's does.
        """
        if self.currents is not None:
            return self.currents.energies(self.timing, self.clock_s)
        opened = dram_level("row").value
        if self.standard.startswith("HBM"):
            per_bit = dram_level("host").value - opened
        else:
            like = next((s for s in ("GDDR6", "LPDDR4") if self.standard.startswith(s[:-1])), "DDR4")
            per_bit = transfer("dram", self.standard if self.standard in standards("dram") else like).value / 8
        burst = per_bit * 8 * self.burst_bytes
        return {
            "activate": opened * 8 * self.row_bytes,
            "read": burst,
            "write": burst,
            "refresh": 0.0,
            "standby_W": 0.0,
        }

    def with_(self, **changes: Any) -> DramDevice:
        """A copy; keys of the timing are found there, the rest are fields of the device."""
        known = {f.name for f in fields(Timing)}
        own = {f.name for f in fields(self)} - {"timing"}
        for key in changes:
            if key not in known | own:
                raise BadInput(f"DRAM {self.name}: no `{key}` ({nearest(key, sorted(known | own))})")
        timing = replace(self.timing, **{k: v for k, v in changes.items() if k in known})
        return replace(self, timing=timing, **{k: v for k, v in changes.items() if k in own})


@cache
def _table() -> Mapping[str, Mapping[str, str]]:
    text = resources.files(__package__ or "").joinpath("dram_presets.csv").read_text(encoding="utf-8")
    return {row["preset"]: row for row in csv.DictReader(text.splitlines())}


def preset_names() -> list[str]:
    """Names of the DRAM presets."""
    return list(_table())


@cache
def preset(name: str) -> DramDevice:
    """One channel of a preset. Raises BadInput where there is none of that name, with the nearest ones."""
    if name not in _table():
        raise BadInput(f"no DRAM preset `{name}` ({nearest(name, preset_names())})")
    row = _table()[name]
    times = {f.name: int(row[f.name]) for f in fields(Timing) if f.name in row}
    pseudo, groups, per_group = int(row["pseudo_channels"]), int(row["bank_groups"]), int(row["banks_per_group"])
    row_bytes = int(row["row_bytes"])
    currents = None
    if row["VDD"]:
        keys = ("VDD", "IDD0", "IDD2N", "IDD3N", "IDD4R", "IDD4W", "IDD5AB")
        currents = Currents(**{k: float(row[k]) for k in keys}, devices=int(row["devices"]))
    return DramDevice(
        name, row["standard"], Timing(**times, burst=int(row["burst_cycles"])), float(row["tCK_ns"]) * 1e-9,
        int(row["bytes_per_request"]), groups, per_group, row_bytes,
        int(float(row["channel_GiB"]) * 2**30) // (pseudo * groups * per_group * row_bytes), pseudo,
        split_bus=row["split_bus"] == "1", currents=currents, source=row["source"], note=row["note"],
    )  # fmt: skip


@dataclass(frozen=True)
class AddressMapping:
    """Which bits of an address choose what: fields from the highest to the lowest, such as ``ro ba co bg ch``.

    Fields are ch, pc, bg, ba, ro, co; spaces may be left out (``rochrababgco``). A field with a number has so many bits
    and may stand several times (``ro ba co bg ch co2``: the two lowest bits of the column are below the channel's); the
    place without a number takes the rest. Fields that the device has one of may be left out.
    """

    text: str
    device: DramDevice
    segments: tuple[tuple[str, int, int], ...] = field(init=False)
    """From the lowest: field, size, and the weight of the segment within its field."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "segments", self._parse())

    def _sizes(self) -> dict[str, int]:
        d = self.device
        return {"ch": d.channels, "pc": d.pseudo_channels, "bg": d.bank_groups, "ba": d.banks_per_group, "ro": d.rows,
                "co": d.columns}  # fmt: skip

    def _parse(self) -> tuple[tuple[str, int, int], ...]:
        sizes = self._sizes()
        if not re.fullmatch(r"(?:[a-z]{2}\d*[\s,:-]*)+", self.text):
            raise BadInput(f"address mapping `{self.text}`: write fields from the highest to the lowest, such as "
                           f"`{DEFAULT_MAPPING}`")  # fmt: skip
        tokens = [(name, int(bits) if bits else None) for name, bits in re.findall(r"([a-z]{2})(\d*)", self.text)]
        tokens = [(n, b) for n, b in tokens if n != "ra"]
        unknown = [name for name, _ in tokens if name not in sizes]
        if unknown:
            raise BadInput(f"address mapping `{self.text}`: no field `{unknown[0]}` ({', '.join(sizes)})")
        for name, size in sizes.items():
            places = [bits for n, bits in tokens if n == name]
            if places.count(None) > 1:
                raise BadInput(f"address mapping `{self.text}`: `{name}` stands twice without a number of bits")
            given = 2 ** sum(b for b in places if b is not None)
            whole = given == size or (None in places and size % given == 0)
            if not whole and (places or size > 1):
                raise BadInput(f"address mapping `{self.text}`: `{name}` must make up {size} {FIELDS[name]}")
        found = []
        weight = dict.fromkeys(sizes, 1)
        for name, bits in reversed(tokens):
            given = 2 ** sum(b for n, b in tokens if n == name and b is not None)
            size = sizes[name] // given if bits is None else 2**bits
            found.append((name, size, weight[name]))
            weight[name] *= size
        return tuple(found)

    def words(self) -> IntArray:
        """[segment, 4], lowest first: index of the field in FIELDS, size, weight, bits (-1: no power of two)."""
        order = list(FIELDS)
        return np.array(
            [(order.index(n), size, weight, size.bit_length() - 1 if size & (size - 1) == 0 else -1)
             for n, size, weight in self.segments],
            np.int64,
        )  # fmt: skip
