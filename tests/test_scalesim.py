"""SCALE-Sim: its timing against runs of it and a walk over folds, its configurations as machines, what moves what."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cli import accelsim
from support.einsums import SMALL, gemm, machine, run
from support.scalesim_layers import layers

from accelsim import simulate
from accelsim.arch import Architecture, load_architecture, loads_architecture
from accelsim.arch.imports.scalesim_cfg import parse_scalesim_cfg
from accelsim.arch.loader import RawSpec, load_spec
from accelsim.components.buffer import Buffer
from accelsim.components.stream_buffer import StreamBuffer
from accelsim.components.systolic import SystolicArray
from accelsim.errors import BadInput, SpecError
from accelsim.experiments.loader import data_path
from accelsim.experiments.scalesim import experiment
from accelsim.report import Report
from accelsim.workloads.text import loads_scalesim

HALF_A_PLACE = 0.51e-6
CYCLES = ("last_cycle", "sram_ifmap_reads", "sram_filter_reads", "sram_ofmap_writes")
PERCENTAGES = ("mapping_util_pct", "compute_util_pct", "overall_util_pct")


# -- The timing ------------------------------------------------------------------------------------------------------


def name(record: dict[str, str]) -> str:
    return "-".join(record[c] for c in (*experiment.COLUMNS, "dataflow", "rows", "cols"))


@pytest.mark.parametrize("record", layers(), ids=name)
def test_figures_equal_those_of_runs(record: dict[str, str]) -> None:
    report = experiment.run(experiment.layer("L", record), record["dataflow"], int(record["rows"]), int(record["cols"]))
    found = experiment.figures(report)
    assert {c: getattr(found, c) for c in CYCLES} == {c: int(record[c]) for c in CYCLES}
    for column in PERCENTAGES:
        assert getattr(found, column) == pytest.approx(float(record[column]), abs=HALF_A_PLACE)
    for operand in ("ifmap", "filter"):
        words = getattr(found, f"dram_{operand}_reads")
        assert words <= int(record[f"dram_{operand}_reads"])
        if words < 50 * (1024 * int(record[f"{operand}_sram_kB"]) // 100):
            assert words == int(record[f"dram_{operand}_reads"])


def test_enough_of_the_layers_fit_their_buffers() -> None:
    """The last comparison above would otherwise be empty; the buffers of others are too small for SCALE-Sim."""
    fits = [
        int(r[f"dram_{operand}_reads"]) < 50 * (1024 * int(r[f"{operand}_sram_kB"]) // 100)
        for r, operand in product(layers(), ("ifmap", "filter"))
    ]
    assert fits.count(True) > 40
    assert fits.count(False) > 10


def walk(dataflow: str, g: int, m: int, n: int, k: int, rows: int, cols: int) -> tuple[int, int, int, int]:
    """(cycles, words of A, of B, of results): fold by fold, only the elements in use moving words."""
    along_rows, along_cols, streamed = {"os": (m, n, k), "ws": (k, n, m), "is": (k, m, n)}[dataflow]
    cycles = a = b = out = 0
    for _, i, j in product(range(g), range(0, along_rows, rows), range(0, along_cols, cols)):
        height, width = min(rows, along_rows - i), min(cols, along_cols - j)
        if dataflow == "os":
            cycles += streamed + rows + cols - 2
            a, b, out = a + height * streamed, b + width * streamed, out + height * width + rows + cols
        else:
            cycles += streamed + 2 * rows + cols - 2
            fixed, moving = height * width, height * streamed
            a, b = (a + moving, b + fixed) if dataflow == "ws" else (a + fixed, b + moving)
            out += width * streamed
    return cycles, a, b, out


@SMALL
@given(st.sampled_from(["os", "ws", "is"]), *[st.integers(1, 3)], *[st.integers(1, 40)] * 3, *[st.integers(1, 17)] * 2)
def test_costs_are_those_of_a_walk_over_folds(
    dataflow: str, g: int, m: int, n: int, k: int, rows: int, cols: int
) -> None:
    array = SystolicArray(memory="s", rows=rows, cols=cols, timing="scalesim")
    cost = run(array, gemm(g, m, n, k), dataflow)
    found = (cost.cycles, *cost.reads, cost.writes)
    assert tuple(int(x[0]) for x in found) == walk(dataflow, g, m, n, k, rows, cols)
    assert int(cost.partial_reads[0]) == int(cost.latency[0]) == 0
    assert int(cost.actions["mac"][0]) == g * m * n * k


def test_nothing_waits_and_words_have_any_width() -> None:
    """A slow memory and wide words hold up the physical array alone; bytes are words times their width."""
    einsum = gemm(1, 20, 30, 40)
    for timing, waits in (("scalesim", False), ("physical", True)):
        array = SystolicArray(memory="s", rows=8, cols=8, timing=timing)
        fast, slow = run(array, einsum, "ws"), run(machine(array, bandwidth=1e9), einsum, "ws")
        assert (slow.cycles > fast.cycles).all() == waits
        wide = run(array, einsum, "ws", (16, 16, 16))
        assert (wide.cycles > fast.cycles).all() == waits
    plain = run(SystolicArray(memory="s", rows=8, cols=8, timing="scalesim"), einsum, "ws", (8, 8, 8))
    wide = run(SystolicArray(memory="s", rows=8, cols=8, timing="scalesim"), einsum, "ws", (8, 16, 24))
    assert [int(x[0]) for x in (*wide.reads, wide.writes)] == [
        int(x[0]) * times for x, times in zip((*plain.reads, plain.writes), (1, 2, 3), strict=True)
    ]


def test_cycles_of_both_timings_agree_where_nothing_waits() -> None:
    for dataflow in ("os", "ws", "is"):
        costs = [
            run(SystolicArray(memory="s", rows=5, cols=7, timing=timing), gemm(2, 23, 31, 40), dataflow)
            for timing in ("physical", "scalesim")
        ]
        np.testing.assert_array_equal(costs[0].cycles, costs[1].cycles)


@pytest.mark.parametrize("key", ["overlap: true", "arrays: 2", "accumulators: 4 KiB"])
def test_what_scalesim_does_not_know_is_refused(key: str) -> None:
    text = CALC_YAML.replace("timing: scalesim", f"timing: scalesim, {key}")
    with pytest.raises(SpecError, match="knows one array without `overlap`, `shift_out` and `accumulators`"):
        loads_architecture(text)
    loads_architecture(text.replace("scalesim", "physical"))


CALC_YAML = """\
clock: 1 GHz
memories:
  dram: {kind: dram, capacity: 1 GiB, bandwidth: unlimited}
  sram: {kind: stream_buffer, parent: dram, window: 3 KiB, bandwidth: unlimited}
units:
  array: {kind: systolic, memory: sram, rows: 8, cols: 8, dataflows: [ws], timing: scalesim}
"""


def test_figures_are_of_one_layer_on_one_array() -> None:
    two = loads_scalesim("Layer, M, N, K,\nA, 1, 2, 3,\nB, 1, 2, 3,\n")
    with pytest.raises(BadInput, match="not one layer on one systolic array"):
        experiment.figures(simulate(loads_architecture(CALC_YAML), two))


# -- The stream buffer -----------------------------------------------------------------------------------------------


def test_tensors_larger_than_the_window_pass_through_it_once() -> None:
    workload = loads_scalesim("Layer, M, N, K,\nL, 300, 50, 200,\n")
    report = simulate(loads_architecture(CALC_YAML), workload)
    assert report.traffic_bytes["dram"] == {"read": 300 * 200 + 50 * 200, "write": 300 * 50}
    assert report.cycles == 25 * 7 * (300 + 16 + 8 - 2)
    small = CALC_YAML.replace("kind: stream_buffer", "kind: buffer").replace("window", "capacity")
    tiled = simulate(loads_architecture(small), workload)
    assert tiled.traffic_bytes["dram"]["read"] > 300 * 200 + 50 * 200


def test_energy_and_area_are_those_of_the_window() -> None:
    window, same, larger = (
        loads_architecture(
            "technology: 45 nm\n" + CALC_YAML.replace("kind: stream_buffer", kind).replace("window: 3 KiB", size)
        )
        for kind, size in (
            ("banks: 3, kind: stream_buffer", "window: 768 KiB"),
            ("banks: 3, kind: buffer", "capacity: 768 KiB"),
            ("banks: 3, kind: buffer", "capacity: 8 MiB"),
        )
    )
    found, like, unlike = (arch.memories["sram"] for arch in (window, same, larger))
    assert isinstance(found, StreamBuffer)
    assert isinstance(like, Buffer)
    assert found.action_energy() == like.action_energy() != unlike.action_energy()
    assert found.area_mm2 == like.area_mm2 != unlike.area_mm2


# -- Configurations --------------------------------------------------------------------------------------------------

CFG = """\
[general]
run_name = small_ws

[architecture_presets]
ArrayHeight:    12
ArrayWidth:     14
IfmapSramSzkB:    36
FilterSramSzkB:   18
OfmapSramSzkB:    10
IfmapOffset:    0
; a comment
Dataflow : ws
Bandwidth : 10
NewKey: 3

[sparsity]
SparsitySupport : false
BlockSize : 8

[run_presets]
InterfaceBandwidth: CALC
UseRamulatorTrace: False
"""
USER_CFG = CFG.replace("CALC", "USER")
TOPOLOGY = """\
Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,
Conv1, 30, 30, 3, 3, 3, 32, 2,
Conv2 , 14, 14, 1, 1, 32, 40, 1,
"""


def built(text: str) -> Architecture:
    return RawSpec("m", parse_scalesim_cfg(text, "m.cfg")).build()


def test_a_configuration_is_a_machine() -> None:
    arch = built(CFG)
    (array,) = arch.units.values()
    assert isinstance(array, SystolicArray)
    assert (arch.name, array.rows, array.cols) == ("small_ws", 12, 14)
    assert (array.dataflows, array.timing) == (("ws",), "scalesim")
    assert array.feeds(2) == ("ifmap_sram", "filter_sram", "ofmap_sram")
    srams = [arch.memories[name] for name in array.feeds(2)]
    assert [sram.window for sram in srams if isinstance(sram, StreamBuffer)] == [36 * 1024, 18 * 1024, 10 * 1024]
    assert arch.memories["dram"].port("read") is None
    assert arch.description == (
        "As SCALE-Sim's configuration has it, bandwidth mode CALC. Without effect here: IfmapOffset, BlockSize. "
        "Not understood: [architecture_presets] NewKey."
    )
    assert loads_architecture(arch.to_yaml()) == arch


@pytest.mark.parametrize(("bandwidth", "words"), [("10", 10), ("4, 5,6", 15)])
def test_user_bandwidth_is_a_physical_machine(bandwidth: str, words: int) -> None:
    arch = built(USER_CFG.replace("Bandwidth : 10", f"Bandwidth = {bandwidth}"))
    srams = [arch.memories[name] for name in ("ifmap_sram", "filter_sram", "ofmap_sram")]
    assert [sram.capacity for sram in srams if isinstance(sram, Buffer)] == [36 * 1024, 18 * 1024, 10 * 1024]
    assert arch.memories["dram"].port("read") == arch.memories["dram"].port("write") == ("dram", words * 1e9)
    (array,) = arch.units.values()
    assert isinstance(array, SystolicArray)
    assert array.timing == "physical"


def test_the_command_runs_configuration_and_topology(tmp_path: Path) -> None:
    cfg, topology = tmp_path / "small.cfg", tmp_path / "net.csv"
    cfg.write_text(CFG)
    topology.write_text(TOPOLOGY)
    ran = accelsim("run", cfg, topology, "--json")
    assert ran.code == 0, ran.output
    told = json.loads(ran.output)
    # folds of K over 12 rows and N over 14 columns; M + 2 * 12 + 14 - 2 cycles each
    want = {"Conv1": 3 * 3 * (15 * 15 + 36), "Conv2": 3 * 3 * (14 * 14 + 36)}
    assert {o["name"]: o["cycles"] for o in told["operators"]} == want
    assert told["cycles"] == sum(want.values())
    assert told["traffic_bytes"]["dram"] == {
        "read": 30 * 30 * 3 + 27 * 32 + 14 * 14 * 32 + 32 * 40,
        "write": 15 * 15 * 32 + 14 * 14 * 40,
    }
    taller = json.loads(accelsim("run", cfg, topology, "--set", "units.array.rows=24", "--json").output)
    assert taller["cycles"] == 2 * 3 * (15 * 15 + 60) + 2 * 3 * (14 * 14 + 60)
    checked = accelsim("validate", cfg)
    assert checked.code == 0
    assert "Not understood: [architecture_presets] NewKey" in checked.output
    assert load_architecture(cfg).spec_hash == built(CFG).spec_hash


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("ArrayHeight:    12", "ArrayHeight: twelve", r"m\.cfg:5: arrayheight is `twelve` \(a positive whole number\)"),
        ("ArrayWidth:     14\n", "", r"m\.cfg:4: missing key `arraywidth` in \[architecture_presets\]"),
        ("Dataflow : ws", "Dataflow : rs", r"m\.cfg:12: dataflow is `rs` \(one of os, ws, is\)"),
        ("CALC", "calc", r"m\.cfg:21: interfacebandwidth is `calc` \(one of CALC, USER\)"),
        (CFG[CFG.index("[run_presets]"):], "", r"m\.cfg:1: missing key `interfacebandwidth` in \[run_presets\]"),
        ("SparsitySupport : false", "SparsitySupport : true", r"m\.cfg:17: sparsitysupport is `true`.*set it to False"),
        ("UseRamulatorTrace: False", "UseRamulatorTrace: True", r"m\.cfg:22: useramulatortrace .*not modelled"),
        ("Bandwidth : 10", "bandwidth 10", r"m\.cfg:13: `bandwidth 10` is not read"),
        ("NewKey: 3", "ArrayWidth: 3", r"m\.cfg:14: ArrayWidth is there twice \(first in line 6\)"),
        ("ArrayWidth:     14", f"ArrayWidth: {2**21}", r"m\.cfg:6: units\.array\.cols"),
    ],
)
def test_what_is_wrong_with_a_configuration(old: str, new: str, message: str) -> None:
    assert old in CFG
    with pytest.raises(SpecError, match=message):
        built(CFG.replace(old, new))


def test_everything_wrong_is_told_at_once_and_in_order(tmp_path: Path) -> None:
    text = USER_CFG.replace("Bandwidth : 10", "Bandwidth : 0").replace("36", "x").replace(" : ws", " : w")
    with pytest.raises(SpecError) as caught:
        built(text)
    assert [p.where for p in caught.value.problems] == ["m.cfg:7", "m.cfg:12", "m.cfg:13"]
    missing = accelsim("run", tmp_path / "none.cfg", "gpt2")
    assert missing.code == 2
    assert "none.cfg" in missing.output


# -- Which way results move ------------------------------------------------------------------------------------------


def calc(path: str, value: object, dataflow: str = "os") -> Report:
    """900³ on the experiment's array, a value of its machine file replaced."""
    spec = load_spec(data_path("accelsim.experiments.scalesim", "array.yaml"))
    arch = spec.with_values({"units.array.dataflows": [dataflow], path: value}).build()
    return simulate(arch, loads_scalesim("Layer, M, N, K,\nL, 900, 900, 900,\n"))


@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
@pytest.mark.parametrize("dimension", ["rows", "cols"])
def test_more_elements_fewer_cycles(dataflow: str, dimension: str) -> None:
    """±20 % of rows and columns, for a product of many folds."""
    cycles = [calc(f"units.array.{dimension}", n, dataflow).cycles for n in (16, 20, 24)]
    assert cycles[0] > cycles[1] > cycles[2]


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("clock", ["0.8 GHz", "1.2 GHz"]),
        ("memories.filter_sram.window", ["154 KiB", "230 KiB"]),
        ("memories.dram.capacity", ["820 GiB", "1230 GiB"]),
    ],
)
def test_what_moves_no_count(path: str, values: list[str]) -> None:
    """The clock scales seconds, the window energy; a mode in which nothing waits has cycles and words of the array."""
    few, more = (calc(path, value) for value in values)
    assert experiment.figures(few) == experiment.figures(more)
    assert few.cycles == more.cycles
    assert (few.latency_s > more.latency_s) == (path == "clock")
    assert (few.energy_J < more.energy_J) == (path == "memories.filter_sram.window")


def physical(path: str, value: object) -> Report:
    spec = RawSpec("m", parse_scalesim_cfg(USER_CFG)).with_values({path: value})
    return simulate(spec.build(), loads_scalesim(TOPOLOGY))


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("memories.dram.bandwidth", ["8 B/cycle", "10 B/cycle", "12 B/cycle"]),
        ("units.array.rows", [10, 12, 14]),
        ("memories.ofmap_sram.capacity", ["8 KiB", "10 KiB", "12 KiB"]),
    ],
)
def test_more_of_a_physical_machine_takes_no_longer(path: str, values: list[object]) -> None:
    cycles = [physical(path, value).cycles for value in values]
    assert cycles[0] >= cycles[1] >= cycles[2]
    assert cycles[0] > cycles[2] or path == "memories.ofmap_sram.capacity"  # DRAM decides
