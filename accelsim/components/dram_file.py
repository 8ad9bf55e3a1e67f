"""Trace files of DRAM requests: one request a line, `address R|W time`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInput, Problem, SpecError

_KINDS = {"R": False, "W": True, "READ": False, "WRITE": True, "P_MEM_RD": False, "P_MEM_WR": True}
_MOST_PROBLEMS = 20
_ADDRESS = re.compile(r"0[xX][0-9a-fA-F]{1,32}|0|[1-9][0-9]{0,32}")
_CYCLES = re.compile(r"[0-9]{1,32}")
_NANOSECONDS = re.compile(r"([0-9]{1,32}(?:\.[0-9]{1,32})?)ns")


@dataclass(frozen=True, eq=False)
class Requests:
    """Requests: byte addresses, which of them write, and the clock cycles at which they come."""

    addresses: NDArray[np.int64]
    writes: NDArray[np.bool_]
    times: NDArray[np.int64]


def parse_trace(text: str, name: str, clock_s: float) -> Requests:
    """The requests of a trace file.

    A line has an address (decimal, or hexadecimal with 0x), R or W (READ and WRITE too), and a time: in cycles of the
    DRAM's clock, in nanoseconds as `12.5ns`, or none, which is that of the line before. Fields are apart by blanks or
    commas; empty lines and what follows a `#` are left out.

    Args:
        clock_s: seconds of a cycle, to which times in nanoseconds are rounded up.

    Raises:
        SpecError: every line that is not so, and times that fall.
    """
    problems: list[Problem] = []
    addresses, writes, times = [], [], []
    last = 0
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.partition("#")[0].replace(",", " ").split()
        if not fields:
            continue
        try:
            if not 2 <= len(fields) <= 3:
                raise ValueError(f"a line of {len(fields)} field{'s' if len(fields) > 1 else ''}, where 2 or 3 are due")
            address = _address(fields[0])
            if fields[1].upper() not in _KINDS:
                raise ValueError(f"kind `{_short(fields[1])}` is neither R nor W")
            time = _cycles(fields[2], clock_s) if len(fields) == 3 else last
            if time < last:
                raise ValueError(f"time {time} is before {last}, that of the line before")
        except ValueError as error:
            problems.append(Problem(f"{name}:{number}", str(error), "write `address R|W time`, such as `0x1f40 R 120`"))
            if len(problems) == _MOST_PROBLEMS:
                break
            continue
        addresses.append(address)
        writes.append(_KINDS[fields[1].upper()])
        times.append(time)
        last = time
    if problems:
        raise SpecError(problems)
    if not addresses:
        raise BadInput(f"{name}: no requests (write `address R|W time` on each line)")
    return Requests(np.array(addresses, np.int64), np.array(writes, bool), np.array(times, np.int64))


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."


def _address(text: str) -> int:
    if not _ADDRESS.fullmatch(text):
        raise ValueError(f"address `{_short(text)}` is no whole number, decimal or hexadecimal with 0x")
    address = int(text, 0)
    if address >= 2**63:
        raise ValueError(f"address {text} is out of range (below 2^63)")
    return address


def _cycles(text: str, clock_s: float) -> int:
    if found := _NANOSECONDS.fullmatch(text):
        cycles = math.ceil(Fraction(found[1]) / Fraction(f"{clock_s * 1e9:.12g}"))
    elif _CYCLES.fullmatch(text):
        cycles = int(text)
    else:
        raise ValueError(f"time `{_short(text)}` is no whole number of cycles, nor one of nanoseconds such as 12.5ns")
    if cycles >= 2**60:
        raise ValueError(f"time {text} is out of range (below 2^60 cycles)")
    return cycles
