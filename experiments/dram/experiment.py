"""DRAM timing and energy: closed laws, DRAMsim3 and Ramulator 2.1 on synthetic patterns, and tile transfers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

import numpy as np

from ...components.dram_step import server
from ...components.dram_timing import DramDevice, preset, preset_names
from ...components.dram_trace import Controller, TraceResult, run_trace
from ..loader import ANOTHER_ROUTE, Row, table
from .patterns import IntArray, addresses, writes
from .peers import RAMULATOR_MAPPING, dramsim3, ramulator

LAWFUL = (
    "DDR3_1600H", "DDR4_2400R", "DDR4_3200W", "DDR5_4800AN", "LPDDR4_8Gb_x16_2400", "LPDDR5_6400", "HBM2_2000Mbps",
    "HBM2E_3600Mbps", "HBM3_6400Mbps", "HBM4_8000Mbps", "GDDR6_14000_1250mV_double",
)  # fmt: skip
TRANSFERRED = (("DDR3_1600H", 1), ("DDR4_2400R", 1), ("DDR5_4800AN", 2), ("LPDDR4_8Gb_x16_2400", 1), ("LPDDR5_6400", 1),
               ("HBM2_2000Mbps", 4), ("HBM2E_3600Mbps", 2), ("HBM3_6400Mbps", 2), ("HBM4_8000Mbps", 2),
               ("GDDR6_14000_1250mV_double", 1))  # fmt: skip
TRANSFER_PATTERNS = ("stream_rd", "hit_1bank", "conflict_1bank", "allbank_newrow", "twobg_hit", "rand_rd")
LAW = "closed law of the timing constraints (JESD79, JESD235)"
COMMANDS = f"{ANOTHER_ROUTE}every command (accelsim/components/dram_trace.py)"
QUIET = Controller(refresh=False)
OF_ROWS = {"activate": 0.08, "refresh": 0.03}
"""Tolerances: DRAMsim3 opens up to 8 % more rows in streams over interleaved banks; one refresh of 36 is 3 %."""
HALF_A_DIGIT = 5e-4
"""Of the uJ in the table."""
TWICE = "unreachable: DRAMsim3 has exactly twice as much in every run of LPDDR4, for a reason that is not known here"
_N = 20_000


def laws(device: DramDevice) -> Mapping[str, float]:
    """Cycles per access that the constraints allow, by pattern, without refresh."""
    t, pcs = device.timing, device.pseudo_channels
    short, long = max(t.tCCD_S, t.burst), max(t.tCCD_L, t.burst)
    rotation = max(t.tFAW / 4, t.tRRD_S, t.tRC * pcs / device.banks) / pcs
    if device.split_bus and pcs > 1:  # an activation and a precharge on the one row bus
        rotation = max(rotation, t.act_bus + 1)
    return {
        "stream_rd": max(short, long / device.bank_groups) / pcs,
        "hit_1bank": ((device.columns - 1) * long + t.tRTP + t.tRP + t.tRCD_rd) / device.columns,
        "conflict_1bank": float(t.tRC),
        "allbank_newrow": rotation,
    }


def dependent_laws(device: DramDevice) -> Mapping[str, float]:
    """Cycles per access when each waits for the one before."""
    t = device.timing
    reach = t.tRP + t.tRCD_rd + t.CL + t.burst
    return {"hit_samerow": t.CL + t.burst, "conflict_1bank": max(t.tRC, reach)}


def rows() -> Iterator[Row]:
    """Laws; the simulators' runs; what mapping and type change; tile transfers against commands."""
    yield from _laws()
    for record in table(__package__, "simulators.csv"):
        yield from _simulated(record)
    yield from _mappings()
    for name, channels in TRANSFERRED:
        yield from _transfers(preset(name).with_(channels=channels))
    yield from _worst_transfers()


def _laws() -> Iterator[Row]:
    for name in LAWFUL:
        device = preset(name)
        for pattern, law in laws(device).items():
            cycles = _run(device, pattern, _N, RAMULATOR_MAPPING, QUIET).cycles / _N
            eight = pattern == "allbank_newrow" and device.banks == 8
            yield Row("cycles per access", f"{name}, {pattern}", law, cycles, "cycles", 0.04 if eight else 0.01, LAW)
        for pattern, law in dependent_laws(device).items():
            one = Controller(refresh=False, outstanding=1)
            cycles = _run(device, pattern, 2000, RAMULATOR_MAPPING, one).cycles / 2000
            yield Row("cycles per dependent access", f"{name}, {pattern}", law, cycles, "cycles", 0.01, LAW)
        t = device.timing
        on = _run(device, "stream_rd", 60_000, RAMULATOR_MAPPING, Controller()).cycles
        share = on / _run(device, "stream_rd", 60_000, RAMULATOR_MAPPING, QUIET).cycles
        law = 1 / (1 - (t.tRTP + t.tRP + t.tRFC + t.tRCD_rd) / t.tREFI)
        yield Row("cycles with refresh over without", f"{name}, stream_rd", law, share, "ratio", 0.01, LAW)


def _simulated(record: Mapping[str, str]) -> Iterator[Row]:
    """A run of a simulator: its cycles, and its energies where it has currents."""
    refresh, n, pattern = record["refresh"] == "on", int(record["requests"]), record["pattern"]
    if record["simulator"].startswith("DRAMsim3"):
        device, mapping, controller = dramsim3(record["config"], refresh, int(record["outstanding"]))
    else:
        device, mapping, controller = ramulator(record["config"], record["standard"], refresh)
    result = _run(device, pattern, n, mapping, controller)
    where = f"{record['simulator'].partition('@')[0]} {record['config']}, {pattern}, refresh {record['refresh']}"
    where += f", {record['outstanding']} outstanding" if record["outstanding"] == "1" else ""
    scale = 2 if float(record["cycle_ns"]) * 1.5e-9 < device.clock_s else 1  # counts half cycles
    loose = pattern.startswith("rand") or pattern.endswith("_mix") or pattern == "allbank_newrow"
    tolerance = None if record["defect"] else 0.05 if loose else 0.03
    published = float(record["cycles"]) / scale
    yield Row("cycles", where, published, result.cycles, "cycles", tolerance, record["source"], record["defect"])
    if record["closed_form_cycles"] and not record["defect"]:
        law = float(record["closed_form_cycles"]) / scale
        tolerance = 0.04 if device.banks == 8 and pattern == "allbank_newrow" else 0.01
        yield Row("cycles by the closed form", where, law, result.cycles, "cycles", tolerance, record["closed_form"])
    if record["read_write_uJ"]:
        joules = result.energy_J["read"] + result.energy_J["write"]
        wrong = "peer defect: its GDDR6 burst counts one cycle" if record["standard"] == "GDDR6" else ""
        source = f"{record['source']}; its figure lacks the factor tCK, put in"
        published, found = float(record["read_write_uJ"]), joules * 1e6
        yield Row("energy of reads and writes", where, published, found, "uJ", None if wrong else 0.01, source, wrong)
    yield from _rows_and_refreshes(record, where, result)


def _rows_and_refreshes(record: Mapping[str, str], where: str, result: TraceResult) -> Iterator[Row]:
    """Energy of activations, their precharges with them, and of refreshes, where the simulator says it."""
    for what, key in (("activations", "activate"), ("refreshes", "refresh")):
        published = float(record[f"{key}_uJ"] or 0)
        if not published:
            continue
        reason = ""
        if key == "refresh":  # as many as fit the run, which a defect makes longer or shorter
            reason = TWICE if record["standard"] == "LPDDR4" else record["defect"]
        tolerance = None if reason else OF_ROWS[key] + HALF_A_DIGIT / published
        yield Row(f"energy of {what}", where, published, result.energy_J[key] * 1e6, "uJ", tolerance, record["source"],
                  reason)  # fmt: skip


def _mappings() -> Iterator[Row]:
    """What another address mapping makes of a stream, by the laws."""
    for name in ("DDR4_2400R", "DDR5_4800AN", "LPDDR5_6400", "HBM3_6400Mbps"):
        device = preset(name)
        t = device.timing
        short, long = max(t.tCCD_S, t.burst), max(t.tCCD_L, t.burst)
        law = max(short, long) + (t.tRP + t.tRCD_rd + t.tRTP - long) / device.columns
        cases = {
            "ro ba co pc bg": short / device.pseudo_channels,
            "bg ba pc ro co": law,
            "co bg ba pc ro": float(t.tRC),
        }
        for mapping, published in cases.items():
            cycles = _run(device, "stream_rd", _N, mapping, QUIET).cycles / _N
            yield Row("cycles per access", f"{name}, stream, mapping {mapping}", published, cycles, "cycles", 0.01, LAW)


def _transfers(device: DramDevice) -> Iterator[Row]:
    """Transfers of up to 64 bursts through the engine's server against every command, on each pattern."""
    for pattern in TRANSFER_PATTERNS:
        for refresh in (False, True):
            commanded, found = _both(device, pattern, _N, refresh)
            where = f"{device.name} x {device.channels}, {pattern}, refresh {'on' if refresh else 'off'}"
            tolerance = 0.03 if pattern in ("stream_rd", "twobg_hit") else 0.25 if pattern == "rand_rd" else 0.08
            note = "single bursts wait for each other's banks in order" if pattern == "rand_rd" else ""
            yield Row("cycles of tile transfers", where, commanded, found, "cycles", tolerance, COMMANDS, note)


def _worst_transfers() -> Iterator[Row]:
    """Of all presets the one whose tile transfers are furthest from every command, on each pattern."""
    for pattern in TRANSFER_PATTERNS:
        for refresh in (False, True):
            pairs = {name: _both(preset(name), pattern, 4000, refresh) for name in preset_names()}
            errors = {name: abs(found / commanded - 1) for name, (commanded, found) in pairs.items()}
            ordered = sorted(errors, key=errors.__getitem__)
            within = {share: errors[ordered[len(pairs) * share // 100]] for share in (50, 90)}
            note = "; ".join(f"{share} % of {len(pairs)} presets within {error:.1%}" for share, error in within.items())
            worst = ordered[-1]
            where = f"{worst}, the worst of all presets, {pattern}, refresh {'on' if refresh else 'off'}"
            tolerance: float | None = 0.12
            if pattern == "stream_rd":
                tolerance = None
                note += "; unreachable: the server does not let rows wait for room in the read queue"
            yield Row("cycles of tile transfers", where, *pairs[worst], "cycles", tolerance, COMMANDS, note)


def _both(device: DramDevice, pattern: str, n: int, refresh: bool) -> tuple[float, float]:
    """Cycles of every command, and of the engine's server."""
    mapping = RAMULATOR_MAPPING + " ch"
    wanted = addresses(pattern, n, device, mapping)
    result = run_trace(device, wanted, mapping=mapping, controller=Controller(refresh=refresh))
    return result.cycles, transferred(device, wanted, refresh)


def transferred(device: DramDevice, wanted: IntArray, refresh: bool, ticks: int = 16) -> float:
    """Cycles that the engine's server takes for these bursts, in transfers of up to 64 that follow each other."""
    from ...engine.load import compiled_step

    tick_hz = ticks / Fraction(f"{device.clock_s:.12g}")
    made = server("dram", device, RAMULATOR_MAPPING + " ch", tick_hz, queue=32, streams=False, refresh=refresh)
    assert made.step is not None
    run, state, now = compiled_step(made.step), np.array(made.state, np.int64), 0
    ends = np.flatnonzero(np.diff(wanted) != device.burst_bytes) + 1
    begins = np.concatenate(([0], ends, [len(wanted)]))
    for begin, end in zip(begins[:-1].tolist(), begins[1:].tolist(), strict=True):
        for first in range(begin, end, 64):
            now += run(state, (min(first + 64, end) - first) * device.burst_bytes, int(wanted[first]), now)
    return now / ticks


def _run(device: DramDevice, pattern: str, n: int, mapping: str, controller: Controller) -> TraceResult:
    wanted = addresses(pattern, n, device, mapping)
    return run_trace(device, wanted, writes(pattern, n), mapping=mapping, controller=controller)


def figure(rows: Sequence[Row]) -> dict[str, object]:
    """Cycles of the simulators against accelsim's."""
    data = []
    for name in ("DRAMsim3", "Ramulator2.1"):
        points = [r for r in rows if r.quantity == "cycles" and r.where.startswith(name)]
        data.append({"type": "scatter", "mode": "markers", "name": name, "x": [r.published for r in points],
                     "y": [r.accelsim for r in points], "text": [r.where for r in points]})  # fmt: skip
    axes = {"xaxis": {"title": "cycles, simulator", "type": "log"}, "yaxis": {"title": "cycles", "type": "log"}}
    return {"data": data, "layout": axes}
