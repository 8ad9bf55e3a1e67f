"""A banked DRAM in the engine: transfers cost what the command-level model says, and both kernels agree."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.einsums import SMALL
from support.machines import gemm

from accelsim import simulate
from accelsim.arch.loader import loads_architecture
from accelsim.components.banked_dram import BankedDram
from accelsim.components.dram_step import BASE, END, SWEEP, server, step
from accelsim.components.dram_timing import DEFAULT_MAPPING, preset
from accelsim.components.dram_trace import Controller, run_trace
from accelsim.engine import compiled, reference
from accelsim.engine.load import compiled_step
from accelsim.errors import SpecError
from accelsim.lowering import lower

IntArray = NDArray[np.int64]
MAPPING = "ro ba co pc bg ch"
MACHINE = """
name: banked
clock: 1 GHz
memories:
  dram: {{kind: banked_dram, preset: {preset}, channels: {channels}, mapping: {mapping}}}
  sram: {{kind: buffer, parent: dram, capacity: 64 KiB, bandwidth: unlimited}}
units:
  array: {{kind: systolic, memory: sram, rows: 32, cols: 32, mac_bits: 8}}
"""


def served(name: str, channels: int, transfers: list[tuple[int, int]], refresh: bool) -> float:
    """Cycles of transfers one after the other; a tick is a 16th of a cycle, so that a burst may take less than one."""
    device = preset(name).with_(channels=channels)
    tick_hz = 16 / Fraction(f"{device.clock_s:.12g}")
    made = server("d", device, MAPPING, tick_hz, queue=32, streams=False, refresh=refresh)
    state, now, run = np.array(made.state, np.int64), 0, compiled_step(step)
    for address, work in transfers:
        now += run(state, work, address, now)
    return now / 16


def commanded(name: str, channels: int, transfers: list[tuple[int, int]], refresh: bool) -> int:
    device = preset(name).with_(channels=channels)
    bursts = [np.arange(a, a + w, device.burst_bytes) for a, w in transfers]
    return run_trace(device, np.concatenate(bursts), mapping=MAPPING, controller=Controller(refresh=refresh)).cycles


@pytest.mark.parametrize(("name", "channels"), [("DDR4_2400R", 1), ("HBM2_2000Mbps", 4), ("LPDDR5_6400", 2)])
@pytest.mark.parametrize("refresh", [False, True])
@pytest.mark.parametrize(
    ("pattern", "margin"), [("stream", 0.01), ("long", 0.01), ("rows", 0.02), ("random", 0.25), ("tiles", 0.1)]
)
def test_transfers_cost_what_commands_do(name: str, channels: int, refresh: bool, pattern: str, margin: float) -> None:
    device = preset(name).with_(channels=channels)
    random = np.random.default_rng(1)
    burst = device.burst_bytes
    lines = device.capacity // burst
    step_rows = device.channels * device.banks * device.row_bytes
    transfers = {
        "stream": [(i * 4096, 4096) for i in range(800)],
        "long": [(0, 4 << 20)],
        "rows": [(i * step_rows, burst) for i in range(5000)],
        "random": [(int(x) * burst, burst) for x in random.integers(0, lines, 8000)],
        "tiles": [(int(x) * 8192, 2048) for x in random.integers(0, lines * burst // 8192, 1500)],
    }[pattern]
    told = commanded(name, channels, transfers, refresh)
    assert served(name, channels, transfers, refresh) == pytest.approx(told, rel=margin)


@given(st.lists(st.tuples(st.integers(0, 2**28), st.integers(1, 20_000), st.integers(0, 300)), min_size=1, max_size=30))
@settings(SMALL, max_examples=30)
def test_never_faster_than_the_bus_and_the_same_at_any_time(transfers: list[tuple[int, int, int]]) -> None:
    device = preset("HBM2_2000Mbps").with_(channels=2)
    made = server("d", device, MAPPING, Fraction(10**9), queue=32, streams=False)
    state, later = np.array(made.state, np.int64), np.array(made.state, np.int64)
    later[[BASE, END]] += 12_345
    now, busy, moved, gap = 0, 0, 0, 1
    for address, work, idle in transfers:
        ticks = step(state, work, address, now)
        assert ticks == step(later, work, address, now + 12_345) >= 1
        busy, moved = (busy + ticks, moved + work) if gap == 0 else (ticks, work)
        assert busy * 64 >= moved  # both channels at 32 bytes per tick
        now, gap = now + ticks + idle, idle


def test_a_machine_with_banks_runs_on_both_kernels() -> None:
    cycles = {}
    model = gemm(96, 80, 512, bits=8)
    machines = [
        ("DDR4_3200W", 1, "ro ba co bg ch"),
        ("DDR4_3200W", 1, "co ro ba bg ch"),
        ("DDR4_3200W", 2, "ro ba co bg ch"),
        ("HBM2_2000Mbps", 2, "ro ba co bg pc ch"),
    ]
    for preset_name, channels, mapping in machines:
        arch = loads_architecture(MACHINE.format(preset=preset_name, channels=channels, mapping=mapping))
        report = simulate(arch, model)
        assert report.mapping is not None
        program = lower(arch, model, report.mapping)
        assert compiled.run(program).differences(reference.run(program)) == []
        cycles[preset_name, channels, mapping] = float(report.cycles)
        assert report.energy_J > 0
    one, scattered, two, hbm = cycles.values()
    assert scattered > one > two > hbm


def test_a_component_knows_its_device_and_refuses_what_contradicts_it() -> None:
    memory = BankedDram(name="d", preset="DDR4_8Gb_x8_2400")
    assert memory.capacity == 8 << 30
    assert memory.bandwidth == pytest.approx(64 / (4 * 0.83e-9))
    wrong = [
        ("preset: DDR4_8Gb_x8_240", "DDR4_8Gb_x8_2400"),
        ("preset: DDR4_3200W, timing: {tRC: 10}", "tRC = 10"),
        ("preset: DDR4_3200W, mapping: ro ba", "bg"),
        ("preset: DDR4_3200W, capacity: 1 TiB", "more than"),
    ]
    for text, told in wrong:
        with pytest.raises(SpecError, match=told):
            loads_architecture(
                f"name: m\nclock: 1 GHz\nmemories:\n  d: {{kind: banked_dram, {text}}}\n"
                "units:\n  u: {kind: vector, memory: d, lanes: 4}\n"
            )


@pytest.mark.parametrize(("name", "channels", "queue"), [("HBM3_6400Mbps", 5, 32), ("DDR4_3200W", 2, 1)])
def test_rounds_through_open_rows_cost_what_their_bursts_cost(name: str, channels: int, queue: int) -> None:
    """Whole rounds over all bank groups are taken at once, to the same state and time as burst by burst."""
    device = preset(name).with_(channels=channels)
    made = server("d", device, DEFAULT_MAPPING, Fraction(10**9), queue=queue, streams=True)
    assert made.state[SWEEP] == channels * device.pseudo_channels * device.bank_groups
    rounds, single = np.array(made.state), np.array(made.state)
    single[SWEEP] = 0
    rng, now = np.random.default_rng(0), 0
    for _ in range(120):
        work = int(rng.choice([64, 4096, int(rng.integers(1, 10**6)), 2**18, 10**7]))
        begin = int(rng.choice([0, 4096 * 7, int(rng.integers(0, 2**20)) * 4096 % device.capacity]))
        now += int(rng.integers(0, 5000)) * int(rng.integers(0, 2))
        ticks = step(rounds, work, begin, now)
        assert ticks == step(single, work, begin, now)
        single[SWEEP] = rounds[SWEEP]
        assert np.array_equal(rounds, single)
        single[SWEEP] = 0
        now += int(ticks)
