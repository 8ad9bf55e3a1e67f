"""An independent check of DRAM commands: every pair of them that a time of the device speaks of, looked at alone.

It shares no code with what makes the commands, is plain Python, and knows the rules of JESD79-4 and JESD235 as pairs of
commands and the least time between them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .dram_timing import DramDevice

KINDS = ("ACT", "PRE", "RD", "WR", "PREA", "REF")


class Command(NamedTuple):
    """A command on the bus of a channel; `bank` counts through pseudo-channels and groups, -1 for all."""

    time: int
    kind: str
    bank: int
    row: int


def violations(device: DramDevice, commands: Iterable[Command], *, refresh: bool = True) -> Iterator[str]:
    """Sentences on what the commands of one channel break, in order of time."""
    ordered = sorted(commands)
    yield from _rows(ordered)
    yield from _pairs(device, ordered)
    yield from _windows(device, ordered)
    if refresh and device.timing.tREFI:
        yield from _refreshes(device, ordered)


def _rows(commands: list[Command]) -> Iterator[str]:
    """Rows are opened before they are read, and closed before another is opened or the device is refreshed."""
    rows: dict[int, int] = {}
    for c in commands:
        if c.kind == "ACT":
            if c.bank in rows:
                yield f"{c}: row {rows[c.bank]} is open"
            rows[c.bank] = c.row
        elif c.kind == "PRE":
            rows.pop(c.bank, None)
        elif c.kind == "PREA":
            rows.clear()
        elif c.kind == "REF":
            if rows:
                yield f"{c}: banks {sorted(rows)} are open"
        elif rows.get(c.bank) != c.row:
            yield f"{c}: its row is not open"


def _least(device: DramDevice, before: Command, after: Command) -> int:
    """Least time from one command to a later one, 0 where no rule names the pair."""
    t = device.timing
    per_pseudo = device.bank_groups * device.banks_per_group
    pair = before.kind, after.kind
    if after.kind == "REF":
        return {"PRE": t.tRP, "PREA": t.tRP, "REF": t.tRFC}.get(before.kind, 0)
    if before.kind == "REF":
        return t.tRFC if after.kind == "ACT" else 0
    if before.kind == "PREA":
        return t.tRP if after.kind == "ACT" else 0
    if after.kind == "PREA":
        after = after._replace(kind="PRE", bank=before.bank)
        pair = before.kind, "PRE"
    if before.bank == after.bank:
        bank = {
            ("ACT", "ACT"): t.tRC, ("ACT", "RD"): t.tRCD_rd, ("ACT", "WR"): t.tRCD_wr, ("ACT", "PRE"): t.tRAS,
            ("PRE", "ACT"): t.tRP, ("RD", "PRE"): t.tRTP, ("WR", "PRE"): t.CWL + t.burst + t.tWR,
        }.get(pair)  # fmt: skip
        if bank is not None:
            return bank
    if before.bank // per_pseudo != after.bank // per_pseudo:
        return 0
    same = before.bank // device.banks_per_group == after.bank // device.banks_per_group
    ccd = max(t.burst, t.tCCD_L if same else t.tCCD_S)
    return {
        ("ACT", "ACT"): t.tRRD_L if same else t.tRRD_S, ("RD", "RD"): ccd, ("WR", "WR"): ccd,
        ("RD", "WR"): t.CL + t.burst + t.turn - t.CWL, ("WR", "RD"): t.CWL + t.burst + (t.tWTR_L if same else t.tWTR_S),
    }.get(pair, 0)  # fmt: skip


def _pairs(device: DramDevice, commands: list[Command]) -> Iterator[str]:
    t = device.timing
    reach = max(t.tRC, t.tRFC, t.CL + t.burst + t.turn, t.CWL + t.burst + max(t.tWR, t.tWTR_L, t.tWTR_S), t.tRRD_L)
    recent: deque[Command] = deque()
    for c in commands:
        while recent and c.time - recent[0].time >= reach:
            recent.popleft()
        for before in recent:
            least = _least(device, before, c)
            if c.time - before.time < least:
                yield f"{c}: {c.time - before.time} after {before}, at least {least}"
        recent.append(c)


def _windows(device: DramDevice, commands: list[Command]) -> Iterator[str]:
    """At most four activations of a pseudo-channel in any tFAW."""
    per_pseudo = device.bank_groups * device.banks_per_group
    acts: dict[int, deque[int]] = {}
    for c in commands:
        if c.kind == "ACT" and device.timing.tFAW:
            window = acts.setdefault(c.bank // per_pseudo, deque(maxlen=4))
            if len(window) == 4 and c.time - window[0] < device.timing.tFAW:
                yield f"{c}: fifth activation within {c.time - window[0]}, tFAW is {device.timing.tFAW}"
            window.append(c.time)


def _refreshes(device: DramDevice, commands: list[Command]) -> Iterator[str]:
    """Refreshes come once per tREFI, none later than the next one is due."""
    t = device.timing
    times = [c.time for c in commands if c.kind == "REF"]
    last = commands[-1].time if commands else 0
    for i, at in enumerate(times, 1):
        if not i * t.tREFI <= at < (i + 1) * t.tREFI:
            yield f"refresh {i} at {at}, not between {i * t.tREFI} and {(i + 1) * t.tREFI}"
    if last >= (len(times) + 2) * t.tREFI:
        yield f"{len(times)} refreshes until {last}, one is due every {t.tREFI}"
