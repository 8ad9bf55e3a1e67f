"""DRAM traces: every command keeps every time of the device, closed laws hold, nothing is lost, bad input is named."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.cli import accelsim
from support.einsums import SMALL

from accelsim.components import dram_trace
from accelsim.components.dram_check import Command, violations
from accelsim.components.dram_timing import AddressMapping, DramDevice, preset, preset_names
from accelsim.components.dram_trace import Controller, PagePolicy, locate, run_trace
from accelsim.errors import AddressBeyondCapacity, BadInput, ContradictingTimings

IntArray = NDArray[np.int64]
QUIET = Controller(refresh=False)


def at(device: DramDevice, mapping: str, **fields: IntArray) -> IntArray:
    """Addresses of bursts by channel (ch), pseudo-channel (pc), bank group (bg), bank (ba), row (ro), column (co)."""
    total = np.zeros(len(next(iter(fields.values()))), np.int64)
    scale = 1
    for name, size, weight in AddressMapping(mapping, device).segments:
        if name in fields:
            total += fields[name] // weight % size * scale
        scale *= size
    return total * device.burst_bytes


@given(
    st.sampled_from(["DDR4_2400R", "HBM2_2000Mbps", "HBM3_6400Mbps", "LPDDR5_6400", "DDR3_1600H", "GDDR6_AiM"]),
    st.sampled_from(get_args(PagePolicy)),
    st.sampled_from([0, 2, 8]),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, 3]),
    st.booleans(),
)
@settings(SMALL, max_examples=60)
def test_commands_obey_every_time(
    name: str, page: PagePolicy, bank_queue: int, seed: int, sparse: int, refresh: bool
) -> None:
    device = preset(name)
    if refresh:
        device = device.with_(tRFC=60, tREFI=700)
    random = np.random.default_rng(seed)
    n = 400
    most = {"bg": device.bank_groups, "ba": 2, "ro": 3, "co": device.columns, "pc": device.pseudo_channels}
    fields = {name: random.integers(0, size, n) for name, size in most.items()}
    mapping = "ro ba co pc bg"
    controller = Controller(page=page, bank_queue=bank_queue, hit_cap=int(random.integers(0, 3)), refresh=refresh,
                            outstanding=int(random.integers(0, 9)))  # fmt: skip
    times = np.cumsum(random.integers(0, 40, n)) * sparse
    addresses = at(device, mapping, **fields)
    result = run_trace(device, addresses, random.random(n) < 0.4, times, mapping=mapping, controller=controller,
                       commands=10 * n)  # fmt: skip
    assert list(violations(device, result.commands[0], refresh=refresh)) == []
    columns = [c for c in result.commands[0] if c.kind in ("RD", "WR")]
    where = locate(device, mapping, addresses)
    assert sorted((c.bank, c.row) for c in columns) == sorted(zip(where.bank.tolist(), where.row.tolist(), strict=True))
    assert result.reads + result.writes == n and (result.done >= times).all()
    acts = sum(c.kind == "ACT" for c in result.commands[0])
    assert result.activates == acts and result.row_hits >= n - acts


@pytest.mark.parametrize(
    ("commands", "told"),
    [
        ([(0, "ACT", 0, 1), (15, "RD", 0, 1)], "at least 16"),
        ([(0, "RD", 0, 1)], "not open"),
        ([(0, "ACT", 0, 1), (3, "ACT", 4, 1)], "at least 4"),
        ([(0, "ACT", 0, 1), (16, "RD", 0, 1), (21, "RD", 0, 1)], "at least 6"),
        ([(0, "ACT", 0, 1), (30, "PRE", 0, 1)], "at least 39"),
        ([(0, "ACT", 0, 1), (16, "WR", 0, 1), (40, "PRE", 0, 1)], "at least 34"),
        ([(0, "ACT", 0, 1), (50, "REF", -1, -1)], "are open"),
        ([(i * 6, "ACT", i, 1) for i in range(5)], "fifth activation"),
        ([(0, "REF", -1, -1), (400, "ACT", 0, 1)], "at least 433"),
    ],
)
def test_the_checker_sees_what_is_broken(commands: list[tuple[int, str, int, int]], told: str) -> None:
    found = list(violations(preset("DDR4_2400R"), [Command(*c) for c in commands], refresh=False))
    assert any(told in sentence for sentence in found)


def law_patterns(device: DramDevice, n: int) -> dict[str, tuple[IntArray, float]]:
    """Addresses and cycles per access of the closed laws."""
    t = device.timing
    i = np.arange(n)
    mapping = "ro ba co pc bg"
    short, long, z = max(t.tCCD_S, t.burst), max(t.tCCD_L, t.burst), np.zeros(n, np.int64)
    pcs, groups = device.pseudo_channels, device.bank_groups
    row = ((device.columns - 1) * long + t.tRTP + t.tRP + t.tRCD_rd) / device.columns
    hit = at(device, mapping, ro=i // device.columns, co=i % device.columns, bg=z)
    everywhere = at(device, mapping, pc=i % pcs, bg=i // pcs % groups, ba=i // pcs // groups % device.banks_per_group,
                    ro=i // device.banks)  # fmt: skip
    rotation = max(t.tFAW / 4, t.tRRD_S, t.tRC / device.bank_groups / device.banks_per_group) / pcs
    if device.split_bus and pcs > 1:
        rotation = max(rotation, t.act_bus + 1)
    return {
        "stream": (i * device.burst_bytes, (short if groups * short >= long else long / groups) / pcs),
        "one bank": (hit, row),
        "one bank, new rows": (at(device, mapping, ro=i % device.rows, co=z), float(t.tRC)),
        "all banks, new rows": (everywhere, rotation),
    }


def recorded(count: int) -> str:
    """One digest of what random traces take, over presets, policies, mappings, queues and refresh."""
    digest, names = hashlib.sha256(), preset_names()
    mappings = ("ro ba co bg pc ch", "ro ba co pc bg ch", "rorabgbapcchco", "co ro ba bg pc ch")
    for i in range(count):
        random = np.random.default_rng(i)
        device = preset(names[i % len(names)]).with_(channels=int(random.integers(1, 4)))
        if i % 3 == 0:
            device = device.with_(tREFI=device.timing.tRC * int(random.integers(3, 30)) + device.timing.tRFC)
        controller = Controller(
            page=get_args(PagePolicy)[i % 3], bank_queue=(0, 0, 0, 1, 8)[i % 5], hit_cap=(0, 0, 0, 2)[i % 4],
            read_queue=(32, 4)[i % 2], outstanding=(0, 0, 0, 0, 0, 0, 16)[i % 7], refresh=random.random() < 0.7,
        )  # fmt: skip
        n = int(random.integers(50, 1000))
        lines = min(device.capacity // device.burst_bytes, device.columns * device.banks * 10 ** int(i % 4))
        times = np.cumsum(random.integers(0, 40, n)) if i % 4 == 1 else None
        addresses = random.integers(0, lines, n) * device.burst_bytes
        writes = random.random(n) < i % 5 / 4
        result = run_trace(device, addresses, writes, times, mapping=mappings[i % 4], controller=controller)
        counts = result.row_hits, result.activates, result.precharges, result.refreshes
        digest.update(result.done.tobytes() + repr(counts).encode())
    return digest.hexdigest()


def test_traces_take_what_they_took() -> None:
    """The digest is that of the first kernel, which had lists of banks and one queue of each; the rewrite kept it."""
    assert recorded(300) == "88423c5dac5a35b04ea46feedafde339e6e82143258f31a11667ea7f1fa9f889"


LAWFUL = (
    "DDR4_8Gb_x8_2400", "DDR4_3200W", "DDR5_4800AN", "LPDDR4_8Gb_x16_2400", "LPDDR5_6400", "HBM2_2000Mbps",
    "HBM2E_3600Mbps", "HBM3_6400Mbps", "HBM4_8000Mbps", "GDDR6_14000_1250mV_double", "DDR3_1600H",
)  # fmt: skip


@pytest.mark.parametrize("name", LAWFUL)
def test_closed_laws(name: str) -> None:
    """Within 1 %, the rotation over the eight banks of DDR3 within 4 %."""
    device = preset(name)
    for what, (addresses, per_access) in law_patterns(device, 20_000).items():
        result = run_trace(device, addresses, mapping="ro ba co pc bg", controller=QUIET)
        margin = 0.04 if what == "all banks, new rows" and device.standard == "DDR3" else 0.01
        assert result.cycles / 20_000 == pytest.approx(per_access, rel=margin), what


def test_dependent_accesses() -> None:
    device = preset("DDR4_2400R")
    t = device.timing
    one = replace(QUIET, outstanding=1)
    n = 1000
    hits = run_trace(device, np.arange(n) % device.columns * 64, mapping="robabgco", controller=one)
    assert hits.cycles / n == pytest.approx(t.CL + t.burst, rel=0.01)
    rows = at(device, "robabgco", ro=np.arange(n))
    conflicts = run_trace(device, rows, mapping="robabgco", controller=one)
    assert conflicts.cycles / n == pytest.approx(max(t.tRC, t.tRP + t.tRCD_rd + t.CL + t.burst), rel=0.01)


def test_refresh_takes_its_share() -> None:
    device = preset("DDR4_2400R")
    t = device.timing
    n = 60_000
    addresses = np.arange(n) * 64
    off = run_trace(device, addresses, controller=QUIET).cycles
    on = run_trace(device, addresses).cycles
    assert on / off == pytest.approx(1 / (1 - (t.tRTP + t.tRP + t.tRFC + t.tRCD_rd) / t.tREFI), rel=0.003)


def test_page_policies_differ_where_they_should() -> None:
    """Closing pays where rows change and time passes between requests; leaving open pays in streams of hits."""
    device = preset("DDR4_2400R")
    n = 4000
    times = np.arange(n) * 200
    changing = at(device, "robabgco", ro=np.arange(n) % 512, bg=np.arange(n) % 4)
    staying = at(device, "robabgco", ro=np.arange(n) // 512, co=np.arange(n) % 64, bg=np.arange(n) % 4)

    def latency(addresses: IntArray, page: PagePolicy) -> float:
        controller = Controller(page=page, refresh=False)
        return run_trace(device, addresses, times=times, mapping="robabgco", controller=controller).latency_cycles

    assert latency(changing, "closed") < latency(changing, "open")
    assert latency(staying, "open") < latency(staying, "closed")
    for addresses in (changing, staying):
        worst, best = sorted((latency(addresses, "open"), latency(addresses, "closed")), reverse=True)
        assert latency(addresses, "adaptive") - best < 0.05 * (worst - best)


def test_mapping_and_channels() -> None:
    """Two channels halve a stream when they share it burst by burst, and not when the mapping keeps it in one."""
    device = preset("DDR4_2400R").with_(channels=2)
    addresses = np.arange(8192) * 64
    fast = run_trace(device, addresses, mapping="ro ba co bg ch", controller=QUIET).cycles
    slow = run_trace(device, addresses, mapping="ch ro ba co bg", controller=QUIET).cycles
    assert slow / fast == pytest.approx(2, rel=0.02)
    split = locate(device, "ro ba co bg ch co2", np.arange(16) * 64)
    assert split.channel.tolist() == [0] * 4 + [1] * 4 + [0] * 4 + [1] * 4
    assert split.column.tolist() == [0, 1, 2, 3] * 4
    three = device.with_(channels=3)
    assert locate(three, "ro ba co bg ch", np.arange(6) * 64).channel.tolist() == [0, 1, 2, 0, 1, 2]


def test_channels_side_by_side_are_as_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    device, random = preset("HBM2_2000Mbps").with_(channels=4), np.random.default_rng(1)
    addresses = random.integers(0, device.capacity // device.burst_bytes, 3000) * device.burst_bytes
    writes = random.random(3000) < 0.5
    alone = run_trace(device, addresses, writes, commands=200)
    monkeypatch.setattr(dram_trace, "SIDE_BY_SIDE", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2}, raising=False)
    together = run_trace(device, addresses, writes, commands=200)
    assert np.array_equal(alone.done, together.done)
    for name in ("cycles", "reads", "writes", "row_hits", "latency_cycles", "energy_J", "commands"):
        assert getattr(alone, name) == getattr(together, name), name


def test_energy_is_that_of_the_currents() -> None:
    """DDR4 8 Gb x8 2400: figures of the reference table, in joules."""
    per = preset("DDR4_8Gb_x8_2400").energies()
    assert per["activate"] == pytest.approx(3.45e-9, rel=0.001)
    assert per["read"] / 512 == pytest.approx(5.727e-12, rel=0.001)
    assert per["write"] / 512 == pytest.approx(4.98e-12, rel=0.001)
    assert per["refresh"] == pytest.approx(692.7e-9, rel=0.001)


def test_every_preset_is_sound() -> None:
    names = preset_names()
    assert {preset(n).standard for n in names} >= {"DDR4", "DDR5", "LPDDR4", "LPDDR5", "GDDR6", "HBM2", "HBM2E", "HBM3",
                                                   "HBM4"}  # fmt: skip
    for name in names:
        device = preset(name)
        assert device.source and device.capacity > 0
        result = run_trace(device, np.arange(3000) * device.burst_bytes, controller=QUIET)
        assert 0.5 < result.bandwidth / device.peak_bandwidth <= 1.0 + 1e-9, name


def test_bad_input_is_named() -> None:
    device = preset("DDR4_2400R")
    with pytest.raises(ContradictingTimings, match="tRC = 54 is less than tRAS \\+ tRP"):
        device.with_(tRC=54)
    with pytest.raises(ContradictingTimings, match="tREFI"):
        device.with_(tREFI=400)
    with pytest.raises(AddressBeyondCapacity, match="request 1: address 0x200000000"):
        run_trace(device, np.array([0, device.capacity]))
    with pytest.raises(AddressBeyondCapacity, match="request 0"):
        run_trace(device, np.array([-64]))
    wrong = [("ro ba co", "bg"), ("ro ba co bg xx", "xx"), ("ro ba co bg bg", "twice"), ("R", "write fields")]
    for mapping, told in [*wrong, ("ro ba co3 bg", "columns")]:
        with pytest.raises(BadInput, match=told):
            AddressMapping(mapping, device)
    with pytest.raises(BadInput, match="DDR4_2400"):
        preset("DDR4_2400")
    with pytest.raises(BadInput, match="fall"):
        run_trace(device, np.zeros(2, np.int64), times=np.array([3, 2]))
    with pytest.raises(BadInput, match="drain_low"):
        Controller(drain_high=40)
    with pytest.raises(BadInput, match="tRCX"):
        device.with_(tRCX=1)


def test_trace_files_on_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "requests.trc"
    file.write_text("# address kind time\n0x0 R 0\n0x40, W, 10\n64 READ 12.5ns\n\n0x80 R\n")
    ran = accelsim("dram", "DDR4_3200W", str(file), "--check", "--json")
    told = json.loads(ran.output)
    assert ran.code == 0 and told["requests"] == 4 and told["writes"] == 1 and told["violations"] == []
    assert told["energy_J"]["total"] == pytest.approx(sum(v for k, v in told["energy_J"].items() if k != "total"))
    slower = json.loads(accelsim("dram", "DDR4_3200W", str(file), "--json", "--set", "tRCD_rd=40").output)
    assert slower["cycles"] > told["cycles"]
    for arguments, text, message in (
        (("DDR4_3200", str(file)), None, "DDR4_3200W"),
        (("DDR4_3200W", str(file), "--set", "tRC=5"), None, "tRC = 5 is less than tRAS"),
        (("DDR4_3200W", str(file), "--page", "half"), None, "adaptive"),
        (("DDR4_3200W", str(file), "--mapping", "ro co"), None, "bank"),
        (("DDR4_3200W", str(file)), "0xffffffffffff R 0\n", "outside"),
        (("DDR4_3200W", str(file)), "0 R 5\n64 R 4\n12 Q\n", "requests.trc:3: kind `Q`"),
        (("DDR4_3200W", str(file)), "0x R 5\n", "address `0x` is no whole number"),
        (("DDR4_3200W", str(file)), "0x8000000000000000 R\n", "out of range (below 2^63)"),
        (("DDR4_3200W", str(file)), "0 R 1/0ns\n", "time `1/0ns` is no whole number of cycles"),
        (("DDR4_3200W", str(file)), "\n", "no requests"),
    ):
        if text is not None:
            file.write_text(text)
        ran = accelsim("dram", *arguments)
        assert ran.code == 2 and message in ran.output, arguments
