"""The Report: energies, traffic, times and bounds against independent arithmetic; its forms for others."""

from __future__ import annotations

import gzip
import io
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from rich.console import Console
from support.sample_report import (
    CLOCK,
    DRAM_BYTES_PER_CYCLE,
    ENERGY,
    EXP_CYCLES,
    INPUT_BYTES,
    LAYERS,
    MATMUL_CYCLES,
    OUTPUT_BYTES,
    WEIGHT_BYTES,
    K,
    M,
    N,
    Sample,
    sample,
)

from accelsim import simulate
from accelsim.arch import loads_architecture
from accelsim.components.flash import Flash
from accelsim.engine.labels import Action, ActorLabel
from accelsim.engine.trace import Slices
from accelsim.errors import BadInput
from accelsim.ir import parse_cascade
from accelsim.mapping.tree import Mapping, Stay
from accelsim.report import Bounds, Report, make_report, print_report, schema, write_perfetto
from accelsim.report.times import activities


def report_of(s: Sample, **options: Any) -> Report:
    return make_report(s.arch, s.workload, s.mapping, s.program, s.trace, **options)


@pytest.fixture(scope="module")
def run() -> Sample:
    return sample()


@pytest.fixture(scope="module")
def report(run: Sample) -> Report:
    return report_of(run)


def test_energy_by_hand(report: Report) -> None:
    by_hand = (
        ENERGY["dram", "read"] * (INPUT_BYTES + LAYERS * WEIGHT_BYTES)
        + ENERGY["dram", "write"] * OUTPUT_BYTES
        + ENERGY["bus", "transfer"] * LAYERS * WEIGHT_BYTES
        + ENERGY["buffer", "write"] * (INPUT_BYTES + LAYERS * (WEIGHT_BYTES + OUTPUT_BYTES))
        + ENERGY["buffer", "read"] * LAYERS * (WEIGHT_BYTES + INPUT_BYTES + OUTPUT_BYTES)
        + ENERGY["array", "mac"] * LAYERS * M * N * K
        + ENERGY["vector", "exp"] * LAYERS * M * N
    )
    assert report.energy_J == pytest.approx(by_hand, rel=1e-12)


def test_energy_from_the_trace_alone(run: Sample, report: Report) -> None:
    """Firing by firing over the recorded slices, instead of phase by phase over counts."""
    p, slices = run.program, run.trace.slices
    assert slices is not None
    total = 0.0
    for phase in slices.phase:
        for i in range(p.action_ptr[phase], p.action_ptr[phase + 1]):
            action: Any = p.actions[p.action_id[i]]
            total += int(p.action_count[i]) * ENERGY[action.component, action.action]
    assert report.energy_J == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("part", ["operators", "components", "tiers+rest", "energy"])
def test_energy_adds_up_in_every_table(report: Report, part: str) -> None:
    if part == "tiers+rest":
        rest = sum(c.energy_J for c in report.components if c.category != "memory")
        total = sum(t.energy_J for t in report.tiers) + rest
    else:
        total = sum(row.energy_J for row in getattr(report, part))
    assert total == pytest.approx(report.energy_J, rel=1e-12)


def test_energy_that_the_machine_does_not_give_is_told(run: Sample, report: Report) -> None:
    """Flash has no default energy: what it moves takes none, and the terminal says so."""
    flash = Flash(capacity=2**30, dies=1, channels=1, page=4096, page_read=1e-6, page_program=1e-4,
                  channel_bandwidth=1e9)  # fmt: skip
    without = report_of(replace(run, arch=replace(run.arch, memories={**run.arch.memories, "dram": flash})))
    assert without.provenance["actions_without_energy"] == ["dram.read", "dram.write"]
    assert {c.name: c.energy_J for c in without.components}["dram"] == 0
    told = []
    for given in (report, without):
        out = io.StringIO()
        print_report(given, Console(file=out, width=100))
        told.append("dram.read, dram.write  whose energy the machine does not give" in out.getvalue())
    assert told == [False, True]


def leaking(run: Sample) -> Report:
    """The sample with 2 mW in the buffer and 3 mW in the array; 0.5 mm2 in the array."""
    memories = {**run.arch.memories, "buffer": run.arch.memories["buffer"].model_copy(update={"leakage": 2e-3})}
    array = run.arch.units["array"].model_copy(update={"leakage": 3e-3, "area": 0.5})
    units = {**run.arch.units, "array": array}
    return report_of(replace(run, arch=replace(run.arch, memories=memories, units=units)))


def test_leakage_is_power_times_latency(run: Sample, report: Report) -> None:
    with_leakage = leaking(run)
    assert with_leakage.energy_leakage_J == pytest.approx(5e-3 * report.latency_s, rel=1e-12)
    assert with_leakage.energy_dynamic_J == pytest.approx(report.energy_J, rel=1e-12)
    assert with_leakage.energy_J == pytest.approx(report.energy_J + 5e-3 * report.latency_s, rel=1e-12)
    assert sum(c.energy_J for c in with_leakage.components) == pytest.approx(with_leakage.energy_J, rel=1e-12)
    assert sum(row.energy_J for row in with_leakage.energy) == pytest.approx(with_leakage.energy_J, rel=1e-12)
    assert sum(row.energy_J for row in with_leakage.operators) == pytest.approx(report.energy_J, rel=1e-12)
    assert {c.name: c.leakage_J for c in with_leakage.components} == {
        "dram": None, "bus": None, "vector": None,
        "buffer": pytest.approx(2e-3 * report.latency_s), "array": pytest.approx(3e-3 * report.latency_s),
    }  # fmt: skip
    assert with_leakage.traffic_bytes == report.traffic_bytes
    assert with_leakage.cycles == report.cycles


def test_what_is_not_given_is_listed_and_never_zero(run: Sample, report: Report) -> None:
    assert report.provenance["without_leakage"] == ["buffer", "dram", "array", "vector", "bus"]
    assert report.provenance["without_area"] == ["buffer", "dram", "array", "vector", "bus"]
    data = report.to_json()
    assert data["area_mm2"] is None
    assert data["energy_leakage_J"] == 0
    assert set(data["leakage_by_component_J"].values()) == {None}
    given = leaking(run)
    jsonschema.validate(given.to_json(), schema())
    assert given.provenance["without_leakage"] == ["dram", "vector", "bus"]
    assert given.to_json()["area_mm2"] == 0.5
    assert given.to_json()["energy_by_component_J"]["array"] > data["energy_by_component_J"]["array"]
    out = io.StringIO()
    print_report(given, Console(file=out, width=100))
    assert "not given for 3 of 5 components" in out.getvalue()


def test_traffic(report: Report) -> None:
    assert report.traffic_bytes == {
        "dram": {"read": INPUT_BYTES + LAYERS * WEIGHT_BYTES, "write": OUTPUT_BYTES},
        "buffer": {
            "read": LAYERS * (WEIGHT_BYTES + INPUT_BYTES + OUTPUT_BYTES),
            "write": INPUT_BYTES + LAYERS * (WEIGHT_BYTES + OUTPUT_BYTES),
        },
    }
    assert list(report.traffic_bytes) == ["dram", "buffer"]  # outermost first


def test_traffic_by_tensor_and_operator(report: Report) -> None:
    tensors = {t.tensor: t for t in report.tensors}
    assert (tensors["w"].off_chip_read_bytes, tensors["w"].bytes) == (LAYERS * WEIGHT_BYTES, LAYERS * WEIGHT_BYTES)
    assert (tensors["y"].off_chip_write_bytes, tensors["y"].compulsory_bytes) == (OUTPUT_BYTES, OUTPUT_BYTES)
    assert tensors["h"].off_chip_read_bytes == 0
    assert tensors["h"].on_chip_read_bytes == LAYERS * OUTPUT_BYTES
    mm, act = report.operators
    assert (mm.off_chip_read_bytes, mm.off_chip_write_bytes) == (INPUT_BYTES + LAYERS * WEIGHT_BYTES, 0)
    assert (act.off_chip_read_bytes, act.off_chip_write_bytes) == (0, OUTPUT_BYTES)
    assert mm.intensity == LAYERS * M * N * K / (INPUT_BYTES + LAYERS * WEIGHT_BYTES)


def test_macs_and_utilization(run: Sample, report: Report) -> None:
    assert report.macs == LAYERS * M * N * K
    cycles = run.trace.finish
    macs = pytest.approx(LAYERS * M * N * K / (16 * 32 * cycles))
    assert report.utilization == {
        "array": {"busy": LAYERS * MATMUL_CYCLES / cycles, "mac": macs},
        "vector": {"busy": LAYERS * EXP_CYCLES / cycles, "mac": 0.0},
    }
    tiers = {t.memory: t for t in report.tiers}
    moved = INPUT_BYTES + LAYERS * WEIGHT_BYTES + OUTPUT_BYTES
    assert tiers["dram"].busy == moved / DRAM_BYTES_PER_CYCLE / cycles
    assert tiers["buffer"].peak_bytes == run.trace.pool_peak[0] > INPUT_BYTES
    assert tiers["dram"].bytes_per_s == pytest.approx(moved / (cycles / CLOCK))


def test_macs_without_counted_actions_come_from_the_workload(run: Sample) -> None:
    """A unit that counts no ``mac`` is credited with the operators that ran on it alone."""
    renamed = [
        replace(a, action="pass") if isinstance(a, Action) and a.action == "mac" else a for a in run.program.actions
    ]
    program = replace(run.program, actions=tuple(renamed))
    report = report_of(replace(run, program=program, trace=replace(run.trace, program=program)))
    assert report.utilization["array"]["mac"] == pytest.approx(LAYERS * M * N * K / (16 * 32 * run.trace.finish))
    assert report.provenance["actions_without_energy"] == ["array.pass"]


def test_cycles_are_of_the_machine_clock() -> None:
    """Ticks of 1 GHz under a clock of 500 MHz: half as many cycles, the same seconds."""
    slow, fast = sample(), sample(tick_hz=Fraction(CLOCK) * 2)
    assert slow.trace.finish == fast.trace.finish
    one, half = report_of(slow), report_of(fast)
    assert one.cycles == slow.trace.finish
    assert half.cycles * 2 == one.cycles
    assert one.latency_s == slow.trace.finish / CLOCK
    assert half.latency_s * 2 == one.latency_s
    assert half.bounds.program * 2 == one.bounds.program
    assert sum(row.cycles for row in half.operators) == pytest.approx(half.cycles)


def test_bounds_hold(report: Report) -> None:
    # The gathering of what one memory channel has to do, and what the machine has to.
    moved = (INPUT_BYTES + LAYERS * WEIGHT_BYTES + OUTPUT_BYTES) / DRAM_BYTES_PER_CYCLE
    assert report.bounds.program == moved
    assert report.bounds.machine == pytest.approx(moved, rel=1e-9)
    assert report.bounds.machine <= report.bounds.program <= report.cycles
    assert report.bounds.machine_limit == "off-chip traffic"
    assert report.bounds.energy_J > 0  # the Program by hand leaves accesses out; real runs keep above it elsewhere


def test_given_bounds_are_taken(run: Sample) -> None:
    given = Bounds(machine=1.0, program=2.0)
    assert report_of(run, bounds=given).bounds is given


def test_shares_add_up_to_the_latency(report: Report) -> None:
    assert sum(row.cycles for row in report.operators) == pytest.approx(report.cycles, rel=1e-12)
    for row in report.operators:
        waits = row.wait_data + row.wait_space + row.wait_pool + row.wait_server + row.wait_drain
        assert waits + min(row.busy_cycles, row.cycles) == pytest.approx(row.cycles, rel=1e-12)


def test_stalls_account_for_every_cycle_of_an_actor(run: Sample, report: Report) -> None:
    assert sum(s.actors for s in report.stalls) == sum(isinstance(x, ActorLabel) for x in run.program.actor_labels)
    for row in report.stalls:
        parts = row.before + row.busy + row.data + row.space + row.pool + row.server + row.after
        assert parts == row.actors * report.cycles


def test_operators_one_after_the_other_get_their_spans(run: Sample) -> None:
    """Two operators without overlap: each owns the time to its end, the gap belongs to the one that follows."""
    program = run.program
    n = program.n_actors
    loads, computes = ActorLabel("a", "dram", "load", "x"), ActorLabel("a", "array", "compute")
    labels = (loads, computes, ActorLabel("b", "vector", "compute"), *(None for _ in range(n - 3)))
    labelled = replace(program, actor_labels=labels)
    zeros = np.zeros(n, np.int64)

    def column(*values: int) -> Any:
        return np.array([*values, *([0] * (n - len(values)))], np.int64)

    stall = np.zeros((n, 4), np.int64)
    stall[:3, 0] = 0, 50, 420
    trace = replace(
        run.trace, program=labelled, finish=700, firings=column(1, 1, 1), start=column(0, 50, 420),
        end=column(50, 400, 700), busy=column(50, 350, 280), stall=stall, server_busy=zeros[:4],
    )  # fmt: skip
    found = activities(trace)
    assert {name: x.share for name, x in found.items()} == {"a": 400.0, "b": 300.0}
    assert found["a"].waited() == {"data": 50.0, "space": 0.0, "pool": 0.0, "server": 0.0, "drain": 0.0}
    assert found["b"].waited()["data"] == 20.0  # the gap from 400 to 420


def test_operators_that_overlap_share_by_service(run: Sample) -> None:
    """Active from 0 to 100 both, in service 60 and 20 ticks: three quarters and one."""
    n = run.program.n_actors
    labels = (ActorLabel("a", "array", "compute"), ActorLabel("b", "vector", "compute"), *(None for _ in range(n - 2)))

    def column(*values: int) -> Any:
        return np.array([*values, *([0] * (n - len(values)))], np.int64)

    trace = replace(
        run.trace, program=replace(run.program, actor_labels=labels), finish=100, firings=column(2, 2),
        start=column(0, 0), end=column(100, 100), busy=column(60, 20), stall=np.zeros((n, 4), np.int64),
    )  # fmt: skip
    found = activities(trace)
    assert found["a"].share == pytest.approx(75)
    assert found["b"].share == pytest.approx(25)


def test_bottleneck_names_the_busiest_component_and_why(report: Report) -> None:
    busy = 100 * (INPUT_BYTES + LAYERS * WEIGHT_BYTES + OUTPUT_BYTES) / DRAM_BYTES_PER_CYCLE / report.cycles
    assert report.bottleneck.startswith(f"Memory dram limits: busy {busy:.0f} % of the time;")
    assert "unit array is idle 82 % of the time, mostly waiting for data" in report.bottleneck
    assert "machine bound (off-chip traffic)" in report.bottleneck


def test_bottleneck_moves_to_the_array_when_it_computes_longer(run: Sample) -> None:
    from accelsim.engine import reference

    work = run.program.phase_work.copy()
    work[run.program.actor_of_phase() == run.program.actor_names.index("mm")] = 5000
    program = replace(run.program, phase_work=work)
    slow = report_of(replace(run, program=program, trace=reference.run(program)))
    assert slow.bottleneck.startswith("Unit array limits: busy")


def test_json_keeps_its_contract(report: Report) -> None:
    data = json.loads(json.dumps(report.to_json(), allow_nan=False))
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(data, schema())
    promised = "cycles latency_s energy_J macs traffic_bytes utilization bounds bottleneck operators provenance"
    assert set(promised.split()) <= set(data)
    assert data["cycles"] == report.cycles
    assert isinstance(data["cycles"], int)
    assert len({frozenset(row) for row in data["operators"]}) == 1
    assert set(data["bounds"]) == {"machine", "program"}


@pytest.mark.parametrize("key", ["cycles", "provenance", "bottleneck"])
def test_schema_refuses_a_missing_key(report: Report, key: str) -> None:
    data = report.to_json()
    del data[key]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, schema())


def test_json_has_no_infinities(run: Sample) -> None:
    data = report_of(run, bounds=Bounds(machine=float("inf"), program=float("nan"))).to_json()
    assert data["bounds"] == {"machine": None, "program": None}
    json.dumps(data, allow_nan=False)


def test_provenance_is_the_same_on_every_host(run: Sample, report: Report) -> None:
    again = report_of(sample())
    assert json.dumps(report.to_json()) == json.dumps(again.to_json())
    record = report.provenance
    assert record["seed"] == 4
    assert "seconds" not in record["claim"]
    assert record["architecture"]["hash"] == run.arch.spec_hash
    other = make_report(run.arch, run.workload, Mapping("", "", run.mapping.root), run.program, run.trace)
    assert other.provenance["mapping"] == record["mapping"]
    assert other.provenance["claim"] is None
    smaller = replace(run.workload, tensors={**run.workload.tensors, "x": replace(run.workload.tensors["x"], bits=4)})
    moved = make_report(run.arch, smaller, None, run.program, run.trace).provenance
    assert moved["workload"]["hash"] != record["workload"]["hash"]
    assert moved["mapping"] is None
    assert any(key.startswith("array.register_energy") for key in record["defaults_used"])


@pytest.mark.parametrize("kind", ["operators", "components", "tensors", "tiers", "stalls", "energy"])
def test_tables(report: Report, kind: str) -> None:
    frame = report.to_dataframe(kind)
    rows = getattr(report, kind)
    assert len(frame) == len(rows) > 0
    assert frame.iloc[0].to_dict().keys() == set(type(rows[0]).__dataclass_fields__)


def test_no_such_table(report: Report) -> None:
    with pytest.raises(BadInput, match="has: operators, components"):
        report.to_dataframe("weather")


def test_terminal_output_shows_the_figures(report: Report) -> None:
    out = io.StringIO()
    print_report(report, Console(file=out, width=100))
    text = out.getvalue()
    for expected in ("1,480 cycles", "235.5 nJ", "Memory dram limits", "act<1>", "MatMul", "Exp", "Traffic by tier"):
        assert expected in text
    assert max(len(line) for line in text.splitlines()) <= 100


def test_narrow_terminal_keeps_names_kinds_and_limits_whole(run: Sample) -> None:
    operators = report_of(run).operators
    long = replace(operators[0], name="decoder.layer_12.self_attention.q", kind="LayerNorm.center")
    out = io.StringIO()
    print_report(replace(report_of(run), operators=(long, operators[1])), Console(file=out, width=80))
    lines = out.getvalue().splitlines()
    assert max(len(line) for line in lines) <= 80
    (row,) = [line for line in lines if "LayerNorm.center" in line]
    assert long.limit in row
    assert "…" not in row


def test_terminal_output_takes_names_literally(run: Sample) -> None:
    operators = report_of(run).operators
    odd = replace(report_of(run), operators=(replace(operators[0], name="[red]x[/red]"), operators[1]))
    out = io.StringIO()
    print_report(odd, Console(file=out, width=120))
    assert "[red]x[/red]" in out.getvalue()


def test_perfetto_holds_the_recorded_slices(run: Sample, tmp_path: Path) -> None:
    path = write_perfetto(run.trace, tmp_path / "trace.json.gz")
    content = json.loads(gzip.decompress(path.read_bytes()))
    events = content["traceEvents"]
    firings = [e for e in events if e["ph"] == "X"]
    slices = run.trace.slices
    assert slices is not None
    assert len(firings) == len(slices.actor) == int(run.trace.firings.sum())
    threads = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    processes = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    tick_us = 1e6 / CLOCK
    for event, actor, start, end in zip(firings, slices.actor, slices.start, slices.end, strict=True):
        assert (event["args"]["start_tick"], event["args"]["end_tick"]) == (start, end)
        assert event["ts"] == round(start * tick_us, 3)
        assert event["ts"] + event["dur"] == pytest.approx(end * tick_us, abs=1e-9)
        assert threads[event["tid"]] == run.program.actor_names[actor]
        server = run.program.actor_server[actor]
        assert processes[event["pid"]] == ("no server" if server < 0 else run.program.platform.servers[server].name)
    names = {threads[e["tid"]]: e["name"] for e in firings}
    assert names["read w"] == "mm · w"
    assert names["mm"] == "mm"
    assert names["barrier"] == "barrier"


def test_perfetto_pool_levels_return_to_what_is_left(run: Sample, tmp_path: Path) -> None:
    content = json.loads(gzip.decompress(write_perfetto(run.trace, tmp_path / "t.json.gz").read_bytes()))
    pool = run.program.platform.pools[0].name
    levels = [e["args"]["bytes"] for e in content["traceEvents"] if e["ph"] == "C" and e["name"] == pool]
    assert levels[-1] == 100 + INPUT_BYTES  # the input is never given back
    assert max(levels) == run.trace.pool_peak[0]


def test_perfetto_is_capped_by_what_was_recorded(tmp_path: Path) -> None:
    few = sample(record=4)
    content = json.loads(gzip.decompress(write_perfetto(few.trace, tmp_path / "t.json.gz").read_bytes()))
    assert sum(e["ph"] == "X" for e in content["traceEvents"]) == 4
    assert content["otherData"]["dropped_firings"] == int(few.trace.firings.sum()) - 4


def test_perfetto_needs_slices(run: Sample, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="record=N"):
        write_perfetto(replace(run.trace, slices=None), tmp_path / "t.json.gz")


def test_perfetto_rounds_to_the_nanosecond(run: Sample, tmp_path: Path) -> None:
    """Three ticks a nanosecond: tick 10 is at 3.33 ns."""
    program = replace(run.program, tick_hz=Fraction(3_000_000_000))
    one = Slices(np.array([1]), np.array([0]), np.array([10]), np.array([20]))
    trace = replace(run.trace, program=program, slices=one)
    content = json.loads(gzip.decompress(write_perfetto(trace, tmp_path / "t.json.gz").read_bytes()))
    (event,) = [e for e in content["traceEvents"] if e["ph"] == "X"]
    assert (event["ts"], event["dur"]) == (0.003, 0.004)


def test_nothing_ran(run: Sample) -> None:
    n, zero = run.program.n_actors, np.zeros_like
    empty = replace(
        run.trace, finish=0, firings=zero(run.trace.firings), phase_firings=zero(run.trace.phase_firings),
        start=np.full(n, -1), end=zero(run.trace.end), busy=zero(run.trace.busy), stall=zero(run.trace.stall),
        server_busy=zero(run.trace.server_busy), server_work=zero(run.trace.server_work), slices=None,
    )  # fmt: skip
    report = report_of(replace(run, trace=empty))
    assert (report.cycles, report.energy_J, report.bottleneck) == (0, 0.0, "Nothing ran.")
    jsonschema.validate(report.to_json(), schema())
    print_report(report, Console(file=io.StringIO()))


def test_trace_tables(run: Sample) -> None:
    actors = run.trace.to_dataframe()
    assert list(actors["actor"]) == list(run.program.actor_names)
    assert list(actors.loc[actors["actor"] == "store y", ["operator", "component", "role", "tensor"]].iloc[0]) == [
        "act<1>", "dram", "store", "y",
    ]  # fmt: skip
    waited = actors[["busy", "stall_data", "stall_space", "stall_pool", "stall_server"]].sum(axis=1)
    assert list(waited) == list(actors["end"])
    servers = run.trace.to_dataframe("servers").set_index("server")
    assert servers.loc["array", "busy"] == LAYERS * MATMUL_CYCLES
    assert servers.loc["dram", "work"] == INPUT_BYTES + LAYERS * WEIGHT_BYTES + OUTPUT_BYTES
    slices = run.trace.to_dataframe("slices")
    assert (slices["end"] - slices["start"]).groupby(slices["actor"]).sum()["act"] == LAYERS * EXP_CYCLES
    assert len(run.trace.to_dataframe("fifos")) == len(run.program.fifos)
    assert run.trace.to_dataframe("pools")["peak"].iloc[0] == run.trace.pool_peak[0]


def test_trace_tables_say_what_there_is(run: Sample) -> None:
    with pytest.raises(BadInput, match="has: actors, servers"):
        run.trace.to_dataframe("weather")
    with pytest.raises(BadInput, match="record=N"):
        replace(run.trace, slices=None).to_dataframe("slices")


def test_the_machine_bound_leaves_out_what_is_on_the_chip_from_the_start(run: Sample) -> None:
    mapping = replace(run.mapping, stays=(Stay("w", "buffer", (), ()),))
    report = make_report(run.arch, run.workload, mapping, run.program, run.trace)
    assert report.bounds.traffic.reads == {"x": INPUT_BYTES}
    assert report.provenance["notes"] == ["the machine bound takes as on the chip from the start: w"]


def test_a_result_that_never_leaves_is_told_as_left_on_the_chip(run: Sample) -> None:
    mapping = replace(run.mapping, stays=(Stay("y", "buffer", (), ()),), moves=())
    report = make_report(run.arch, run.workload, mapping, run.program, run.trace)
    assert "y" not in report.bounds.traffic.writes
    assert report.provenance["notes"] == ["the machine bound takes as left on the chip at the end: y"]


def test_no_operator_is_busier_than_its_units_where_operators_overlap() -> None:
    """A fused MLP: what the stages of a Pipe share of the time is less than the time that the busier one is served."""
    arch = loads_architecture("""
        name: small
        clock: 1 GHz
        memories:
          dram: {kind: dram, capacity: 1 GiB, bandwidth: 32 B/cycle}
          sram: {kind: buffer, parent: dram, capacity: 4 KiB, bandwidth: 208 B/cycle}
        units:
          array: {kind: pe_array, memory: sram, rows: 2, cols: 1, mac_bits: 16}
          vector: {kind: vector, memory: sram, lanes: 2}
    """)
    mlp = parse_cascade("""
        size m = 32; size k = 45; size f = 30; size j = 1
        U[m,f] = X[m,k] * W1[k,f]
        G[m,f] = X[m,k] * W2[k,f]
        H[m,f] = U[m,f] * G[m,f]
        Y[m,j] = H[m,f] * W3[f,j]
    """)
    report = simulate(arch, mlp, mapper="cascade")
    assert any(row.busy_cycles > 1.01 * row.cycles for row in report.operators)  # else nothing here overlaps
    for row in report.operators:
        assert row.utilization is not None
        assert 0 <= row.utilization <= 1
        if row.macs:
            peak = sum(arch.units[unit].peak_rates()["mac"] for unit in row.unit.split("+"))
            assert row.utilization == pytest.approx(row.macs / peak / max(row.cycles, row.busy_cycles))
