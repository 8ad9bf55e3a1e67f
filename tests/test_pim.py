"""Computing in memory: closed forms of its streams, layouts, bounds, whole models by its mapper, its experiments."""

from __future__ import annotations

import io
from fractions import Fraction
from math import ceil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from support.einsums import SMALL
from support.machines import gemm

from accelsim import load_architecture, load_model, simulate
from accelsim.arch.loader import load_spec, loads_architecture
from accelsim.components.pim import PimArray
from accelsim.engine import compiled, reference
from accelsim.engine.builder import Phase, ProgramBuilder, Run
from accelsim.errors import AccelsimError, BadInput, DoesNotFit
from accelsim.experiments.pim_machines.attacc import CHANNELS, attention_cycles, lone_move_cycles
from accelsim.experiments.pim_machines.experiment import attacc_stack, gemv_seconds, rows
from accelsim.ir import parse_cascade
from accelsim.lowering import lower
from accelsim.mappers.pim import in_memory
from accelsim.report import Report, print_report
from accelsim.study.evaluation import machine

EXAMPLES = Path(__file__).resolve().parent.parent / "docs" / "examples"


def unit(name: str, **changes: object) -> PimArray:
    values = {k.replace("__", "."): v for k, v in changes.items()}
    found = load_spec(name).with_values(values).build().units["pim"]
    assert isinstance(found, PimArray)
    return found


def printed(report: Report) -> str:
    out = io.StringIO()
    print_report(report, Console(file=out, width=200))
    return " ".join(out.getvalue().split())


def walk(array: PimArray, bursts: int, rows: int) -> int:
    """Cycles of a stream, command by command: rows as full as can be, banks of a unit in turn."""
    t = array.device.timing
    per_row = [bursts // rows + (i < bursts % rows) for i in range(rows)]
    ready = [0] * array.banks_per_unit
    now = 0
    for i, n in enumerate(per_row):
        bank = i % array.banks_per_unit
        begin = max(now, ready[bank] + array.opening)
        last = begin + (n - 1) * array.interval
        ready[bank] = last + t.tRTP + t.tRP
        now = last + array.interval
    return now if array.banks_per_unit > 1 else ready[0]


@given(st.integers(1, 64), st.integers(1, 40))
@settings(SMALL, max_examples=60)
def test_a_stream_of_one_bank_equals_a_walk_over_commands(columns: int, count: int) -> None:
    array = unit("gddr6_aim")
    found = array.stream_cycles(np.asarray(columns * count), np.asarray(count))
    assert found == walk(array, columns * count, count)


@given(st.integers(1, 32), st.integers(1, 40), st.sampled_from([2, 4, 8]))
@settings(SMALL, max_examples=60)
def test_banks_in_turn_hide_the_opening_of_rows(columns: int, count: int, banks: int) -> None:
    """Never faster than a walk, and slower by no more than an opening and the pauses that whole rounds round up."""
    array = unit("attacc", units__pim__banks_per_unit=banks)
    found = int(array.stream_cycles(np.asarray(columns * count), np.asarray(count)))
    told = walk(array, columns * count, count)
    t = array.device.timing
    gap = t.tRTP + t.tRP + array.opening
    assert told - gap <= found <= told + 2 * gap


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 20), st.integers(0, 7))
@settings(SMALL, max_examples=80)
def test_never_faster_than_the_banks(k: int, n: int, matrices: int, split: int) -> None:
    """Bursts of all units hold all elements; rows all bursts; a cycle moves no more than the banks can."""
    for name in ("pim_gpt", "gddr6_aim", "hbm_pim"):
        array = unit(name)
        lay = array.layout(np.array([k]), np.array([n]), np.array([matrices]), 2**split, 16)
        elements = k * n * matrices
        assert int(lay.bursts[0]) * array.width * array.units >= elements
        assert int(lay.rows[0]) * array.device.row_bytes >= int(lay.bursts[0]) * array.width * 2
        cycles = int(array.refreshed(array.stream_cycles(lay.bursts, lay.rows))[0])
        assert cycles * array.device.clock_s * array.internal_bandwidth >= elements * 2
        assert lay.results[0] >= n * matrices and lay.inputs[0] >= k * matrices


def test_row_filling_and_splits() -> None:
    """64-wide heads fill rows of 1024 numbers together, not alone; a split of K trades partial sums for more units."""
    array, alone = unit("pim_gpt"), unit("pim_gpt", units__pim__row_filling=False)
    k, n, heads = np.array([64]), np.array([1024]), np.array([12])
    filled, apart = array.layout(k, n, heads, 1, 16), alone.layout(k, n, heads, 1, 16)
    assert int(filled.bursts[0]) == int(apart.bursts[0]) == 12 * 1024 // 128 * 4
    assert int(filled.rows[0]) == ceil(12 * 1024 / 128 * 64 / 1024) and int(apart.rows[0]) == 12 * 1024 // 128
    few = np.array([8])
    whole, split = (array.layout(np.array([4096]), few, np.array([1]), s, 16) for s in (1, 16))
    assert split.bursts[0] < whole.bursts[0] and split.results[0] > whole.results[0]


def test_whole_models_on_both_kernels_and_what_they_move() -> None:
    arch = load_architecture("pim_gpt")
    model = load_model("gpt2", phase="decode", context=256)
    report = simulate(arch, model, mapper="pim")
    assert report.mapping is not None
    program = lower(arch, model, report.mapping)
    assert compiled.run(program).differences(reference.run(program)) == []
    stored = sum(t.nbytes * n for t, n in ((model.tensors[k], v) for k, v in model.copies().items())
                 if t.role.name in ("WEIGHT", "STATE"))  # fmt: skip
    moved = sum(report.traffic_bytes["dram"].values())
    assert moved < stored / 100
    assert report.latency_s > model.macs * 2 / unit("pim_gpt").internal_bandwidth
    longer = simulate(arch, load_model("gpt2", phase="decode", context=1024), mapper="pim")
    assert longer.latency_s > report.latency_s


def test_traffic_below_the_compulsory_one_names_the_units_that_read_in_memory() -> None:
    """The matrix stays where it is; all of it is compulsory for a machine that computes on its chip alone."""
    model = gemm(1, 512, 512)
    inside = simulate(load_architecture("pim_gpt"), model, mapper="pim")
    text = printed(inside)
    assert sum(inside.traffic_bytes["dram"].values()) < sum(inside.bounds.traffic.reads.values())
    assert "in part inside the memory of pim" in text
    outside = simulate(load_architecture("edge_npu"), model)
    assert "in part inside the memory" not in printed(outside)


@pytest.mark.parametrize(
    ("path", "slower"),
    [("units.pim.interval", 2), ("units.pim.activate", 20), ("memories.dram.channels", 4), ("units.asic.lanes", 64),
     ("clock", "500 MHz"), ("memories.dram.timing", {"tRFC": 900}), ("units.pim.row_filling", False)],
)  # fmt: skip
def test_slower_parts_make_slower_machines(path: str, slower: object) -> None:
    model = load_model("gpt2", phase="decode", context=512)
    base = simulate(load_architecture("pim_gpt"), model, mapper="pim").latency_s
    worse = simulate(load_spec("pim_gpt").with_values({path: slower}).build(), model, mapper="pim").latency_s
    assert worse > base


def test_what_does_not_fit_or_makes_no_sense_is_named() -> None:
    small = load_spec("pim_gpt").with_values({"memories.dram.channels": 1}).build()
    with pytest.raises(DoesNotFit, match="weights, caches"):
        simulate(small, load_model("gpt2-xl", phase="decode", context=1024), mapper="pim")
    tight = load_spec("pim_gpt").with_values({"units.pim.cache_space": "32 MiB"}).build()
    simulate(tight, load_model("gpt2", phase="decode", context=512))
    with pytest.raises(DoesNotFit, match=r"caches of gpt2.decode take 37,748,736 bytes.* reserved for caches"):
        simulate(tight, load_model("gpt2", phase="decode", context=1024))
    wide = load_spec("pim_gpt").with_values({"units.pim.cache_space": "4000 MiB"}).build()
    with pytest.raises(DoesNotFit, match="weights and inputs"):
        simulate(wide, load_model("gpt2", phase="decode", context=64))
    with pytest.raises(BadInput, match="kind `pim`"):
        simulate(load_architecture("tpu_like"), gemm(8, 8, 8), mapper="pim")
    machine_text = """
name: m
clock: 1 GHz
memories:
  dram: {kind: dram, capacity: 1 GiB, bandwidth: 10 GB/s}
units:
  pim: {kind: pim, memory: dram, interval: 1, vector_buffer: 2 KiB}
"""
    with pytest.raises(AccelsimError, match="banked_dram"):
        loads_architecture(machine_text)


def test_levels_of_attacc_keep_their_order_and_move_with_their_times() -> None:
    cycles = {level: attention_cycles(attacc_stack(level, True), 188, 2048) for level in ("BA", "BG", "BUFFER")}
    assert cycles["BA"] < cycles["BG"] < cycles["BUFFER"]
    assert attention_cycles(attacc_stack("BA", False), 188, 2048) < cycles["BA"]
    base = machine("attacc", (("memories.dram.channels", 16),)).units["pim"]
    longer = machine("attacc", (("memories.dram.channels", 16), ("units.pim.activate", 23))).units
    assert isinstance(base, PimArray) and isinstance(longer["pim"], PimArray)
    assert attention_cycles(longer["pim"], 188, 2048) > attention_cycles(base, 188, 2048)


@pytest.mark.parametrize(
    ("level", "length", "groups", "moves", "pace"),
    [("BA", 2175, 9, 72, 2), ("BG", 2175, 9, 72, 2), ("BUFFER", 2175, 68, 68, 4), ("BA", 256, 1, 8, 2)],
)
def test_a_head_without_a_partner_moves_after_every_group_of_scores(
    level: str, length: int, groups: int, moves: int, pace: int
) -> None:
    """720, 720 and 4692 moves of a head over 2175 tokens, as the shipped counts of commands say; softmaxes one more
    than groups. With a partner all of it is hidden, where rows have to be opened, as much as that takes."""
    array = attacc_stack(level, True)
    alone = lone_move_cycles(array, length)
    assert alone == (groups + 1) * (moves + 1) * pace
    pair, one = attention_cycles(array, 2 * CHANNELS, length), attention_cycles(array, 1, length)
    bursts = -(-length * 128 // (array.units_per_channel * 16))
    opened = int(array.stream_cycles(np.asarray(bursts), np.asarray(-(-bursts // 32)))) - bursts * array.interval
    lost = alone - opened if alone > opened else 0
    refresh = 5070 / (5070 - 8 - 19 - 260 - 19)
    assert one == pytest.approx(pair / 2 + lost * refresh, abs=2)


def test_more_vectors_take_longer_and_larger_matrices_too() -> None:
    array = unit("hbm_pim")
    times = [gemv_seconds(array, size, batch) for size, batch in ((1024, 1), (1024, 2), (2048, 2), (4096, 2))]
    assert times == sorted(times) and len(set(times)) == 4


def test_rows_of_pim_machines_hold() -> None:
    found = list(rows())
    assert [row for row in found if row.ok is False] == []
    judged = [row for row in found if row.tolerance is not None]
    assert sum(row.quantity == "cycles" for row in judged) >= 81 and len(judged) >= 88


@pytest.mark.parametrize("batch", [1, 64])
def test_each_product_runs_where_it_takes_least(batch: int) -> None:
    """No slower than the better one of both machines, and with other sites for few and for many sequences."""
    workload = load_model("opt-125m", phase="decode", context=64, batch=batch)
    seconds = {
        n: simulate(load_architecture(str(EXAMPLES / f"hbm3_{n}.yaml")), workload).latency_s
        for n in ("host", "pim", "hybrid")
    }
    assert seconds["hybrid"] <= min(seconds.values()) * 1.02
    sites = {c.einsum.name for c in in_memory(workload, load_architecture(str(EXAMPLES / "hbm3_hybrid.yaml")))}
    assert ("logits" in sites) == (batch == 1)


@pytest.mark.parametrize(("pins", "copies"), [(None, 32), (1, 1), (8, 8)])
def test_channels_take_turns_at_the_pins_and_share_vectors(pins: int | None, copies: int) -> None:
    """A vector of all channels takes as long as one; results take turns, and a hop is paid both ways."""
    array = unit("gddr6_aim", **({} if pins is None else {"units__pim__pins": pins}))
    assert array.pins_at_once == copies
    far = unit("gddr6_aim", **({} if pins is None else {"units__pim__pins": pins}), units__pim__hop="100 ns",
               units__pim__hop_bandwidth="16 GB/s")  # fmt: skip
    einsum = next(e for e, _ in gemm(1, 4096, 4096, bits=16).einsums())
    extents = {r: np.array([n]) for r, n in einsum.sizes.items()}
    option = array.spatial_options(einsum)[0]
    cost, reached = (a.cost(einsum, option, extents, [16, 16, 16]) for a in (array, far))
    lay = array.layout(np.array([4096]), np.array([4096]), np.array([1]), 1, 16)
    moved = 2 * 256 + max(2, 3 * copies // 32) * -(-int(lay.results[0]) * 2 // (32 * copies))
    commands = array.stream_cycles(lay.bursts, lay.rows)[0]
    assert cost.cycles[0] == array.refreshed(np.array([commands + moved]))[0]
    assert cost.latency[0] == 0
    assert reached.latency[0] == 400 + (2 * 4096 + 2 * int(lay.results[0])) / 16e9 * 2e9


@pytest.mark.parametrize(
    ("given", "pins", "ticks"),
    [(None, None, 200), (1, None, 200), (2, None, 200), (3, None, 300), (7, None, 700), (3, 1, 6400), (3, 16, 400),
     (7, 16, 700), (65, 1, 6500)],
)  # fmt: skip
def test_awaited_results_are_read_more_slowly_than_vectors_are_written(
    given: int | None, pins: int | None, ticks: int
) -> None:
    """100 bursts of 32 bytes from each of 32 channels, 100 reads; never faster than the pins, whose bursts take 2."""
    array = unit("gddr6_aim", units__pim__result_interval=given, units__pim__pins=pins)
    nbytes = np.asarray(100 * 32 * 32)
    assert array.result_cycles(nbytes) == ticks
    assert array.pin_cycles(nbytes) == 200 * (32 // (pins or 32))


@pytest.mark.parametrize("order", ["host first", "commands first"])
def test_commands_and_host_traffic_wait_for_each_other(order: str) -> None:
    """In any Program with both at one memory: rows that the host opened are closed for commands, and the other way."""
    array = unit("gddr6_aim")
    keeping, memory = array.keeping, load_spec("gddr6_aim").build().memories["dram"]
    assert keeping is not None
    cycles = int(array.stream_cycles(np.asarray(6400), np.asarray(100)))
    commands = Phase(work=ceil(cycles * keeping.work_per_cycle), arg=keeping.arg)
    traffic = Phase(work=2**20, arg=0)

    def finish(*phases: Phase) -> int:
        b = ProgramBuilder(tick_hz=2 * 10**9)
        server = memory.server("read", Fraction(2 * 10**9))
        assert server is not None
        shared = b.server(server)
        for i, phase in enumerate(phases):
            b.actor(f"actor{i}", server=shared, schedule=[Run(phase, 3)])
        program = b.build()
        assert compiled.run(program).differences(reference.run(program)) == []
        return int(compiled.run(program).finish)

    alone = finish(commands), finish(traffic)
    both = finish(commands, traffic) if order == "commands first" else finish(traffic, commands)
    assert alone[0] == 3 * cycles
    t = array.device.timing
    assert sum(alone) + 2 * t.tRP <= both <= sum(alone) + 6 * (t.tRP + t.tRAS + t.tRCD_rd + t.tRTP)


def test_units_with_rows_of_their_own_work_beside_host_traffic() -> None:
    workload = load_model("opt-125m", phase="decode", context=64)
    cycles, busy = [], []
    for shared in (True, False):
        spec = load_spec(str(EXAMPLES / "hbm3_hybrid.yaml")).with_values({"units.pim.shared_banks": shared})
        report = simulate(spec.build(), workload)
        cycles.append(float(report.cycles))
        busy.append({c.name: c.busy for c in report.components})
    assert cycles[0] > cycles[1]
    assert busy[0]["dram"] > busy[0]["pim"] > 0.5
    assert busy[1]["dram"] < busy[1]["pim"]


def test_an_einsum_that_only_fills_a_tensor_runs_beside_the_memory() -> None:
    """The first value of a recurrence has no operands, and so no matrix in the banks."""
    running = parse_cascade("""
        size i = 3; size p = 16
        R[0,p] = 0
        R[i+1,p] = R[i,p] * A[i,p] + X[i,p]
        Y[p] = R[I,p]
    """)
    report = simulate(load_architecture("gddr6_aim"), running)
    assert {row.unit for row in report.operators} == {"vector"}
    assert report.traffic_bytes["dram"] == {"read": 2 * 3 * 16 * 2, "write": 16 * 2}
