"""The ILP mapper: what it claims is what runs, never slower than the tile mapper; it says what does not fit."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from itertools import combinations, pairwise, product
from pathlib import Path

import pytest
from typer.testing import CliRunner

from accelsim import Report, load_model, simulate
from accelsim.arch.architecture import Architecture
from accelsim.arch.loader import loads_architecture
from accelsim.cli.app import app
from accelsim.errors import DoesNotFit
from accelsim.ir import Workload
from accelsim.mappers.aims import ENERGY
from accelsim.mappers.ilp import mapper
from accelsim.mappers.ilp.choices import Candidate, Choice, ChoiceProblem, Decision, Touch, decide
from accelsim.mappers.ilp.machine import ResidentNetwork
from accelsim.mappers.ilp.mapper import map_workload, plan_workload
from accelsim.mappers.ilp.reorder import reordered
from accelsim.mappers.ilp.solver import SolverMissing, SolverOptions
from accelsim.mapping.compulsory import compulsory_traffic
from accelsim.mapping.constraints import Constraints
from accelsim.mapping.replay import replay

NETWORK = """
input: [8, 28, 28]
blocks:
  fire:
    parameters: {squeeze: null, expand: null}
    layers:
    - conv: $squeeze
    - relu
    - concat:
      - [conv: {out: $expand, kernel: 3, pad: 1}, relu]
      - [conv: $expand, relu]
layers:
- conv: {out: 24, kernel: 3, pad: 1}
- relu
- fire: {squeeze: 8, expand: 16}
- max_pool: {kernel: 2, stride: 2}
- fire: {squeeze: 12, expand: 32}
- conv: 10
- global_pool
- flatten
"""


def npu(capacity: str) -> Architecture:
    return loads_architecture(f"extends: edge_npu\nmemories: {{sram: {{capacity: {capacity}}}}}\n")


def off_chip(report: Report) -> int:
    return sum(sum(report.to_json()["traffic_bytes"][m.name].values()) for m in report.arch.off_chip)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "fires.yaml"
    path.write_text(NETWORK)
    return path


@pytest.fixture(scope="module")
def small(network: Path) -> Workload:
    return load_model(network, bits=8)


@pytest.mark.parametrize(
    ("capacity", "objective"), [("6 KiB", "latency"), ("24 KiB", "latency"), ("24 KiB", "edp"), ("1 MiB", "energy")]
)
def test_claims_are_what_runs(small: Workload, capacity: str, objective: str) -> None:
    """Claimed, replayed and simulated traffic are one, and so is latency; the tile mapper's Mapping is no better."""
    arch = npu(capacity)
    plan = plan_workload(small, arch, objective=objective)
    report, tile = simulate(arch, small, mapping=plan.mapping), simulate(arch, small, objective=objective)
    counted = replay(plan.mapping, small, arch).traffic_bytes
    assert plan.traffic_bytes == counted["dram", "read"] + counted["dram", "write"] == off_chip(report)
    assert plan.latency_cycles == pytest.approx(report.to_json()["cycles"], rel=1e-12)
    claim, other = plan.mapping.claim, tile.mapping.claim if tile.mapping else None
    assert claim is not None and other is not None
    assert claim.bound <= claim.value and plan.bound <= plan.value
    if objective == "latency":
        assert claim.value == plan.latency_cycles <= tile.to_json()["cycles"]
    else:
        assert claim.value <= other.value * (1 + 1e-3) or objective == "edp"
    assert all(s.address is not None for s in plan.mapping.stays if s.memory == "sram")


def test_less_traffic_than_first_fit(small: Workload) -> None:
    """Where activations do not all fit, the program finds better ones to keep than the tile mapper's rule does."""
    arch = npu("24 KiB")
    plan = plan_workload(small, arch, objective="energy")
    assert plan.residency == "ilp" and plan.proven
    assert plan.traffic_bytes < off_chip(simulate(arch, small, objective="energy"))


def test_all_stays_where_there_is_room(small: Workload) -> None:
    """Nothing but compulsory bytes moves, each once."""
    plan = plan_workload(small, npu("1 MiB"), objective="energy")
    least = compulsory_traffic(small)
    assert plan.traffic_bytes == least.read_bytes + least.write_bytes


def test_order(small: Workload) -> None:
    """Einsums of independent branches run in another order where that keeps less; the Mapping is of the Workload."""
    arch = npu("24 KiB")
    given, *others = reordered(small, 24 * 1024)
    assert given is small and others
    values = [ResidentNetwork(w, arch, ENERGY, Constraints(), decide).model_value for w in (given, *others)]
    assert min(values) < values[0]
    plan = plan_workload(small, arch, objective="energy", options=SolverOptions())
    assert plan.value == min(values)


def test_repeats_and_tiers() -> None:
    """Layers of a Repeat are decided once, and what streams from a far tier is claimed, too."""
    arch = loads_architecture("extends: sn40l\nmemories: {hbm: {capacity: 8 GiB}}\n")
    plan = plan_workload(load_model("llama-3-8b", seq=64), arch, objective="energy")
    counted = replay(plan.mapping, load_model("llama-3-8b", seq=64), arch).traffic_bytes
    assert plan.residency == "ilp"
    assert plan.far_bytes == counted["ddr", "read"] > 0
    assert plan.traffic_bytes + plan.far_bytes == counted["hbm", "read"] + counted["hbm", "write"]


# -- the program -----------------------------------------------------------------------------------------------------


def random_choices(seed: int) -> ChoiceProblem:
    """Up to five steps over up to three tensors, with all sets of resident ones, some nests smaller than others."""
    rng = random.Random(seed)
    steps = rng.randint(2, 4)
    candidates: dict[str, Candidate] = {}
    for i in range(rng.randint(1, 3)):
        used = sorted(rng.sample(range(steps), rng.randint(2, min(3, steps))))
        writers = rng.randint(0, min(2, len(used) - 1))
        size = rng.randint(1, 6) * writers if writers else rng.randint(1, 12)
        part = [
            size // writers if j < writers else rng.choice((size, size, max(1, size - 1))) for j in range(len(used))
        ]
        touches = tuple(Touch(s, j < writers, p) for j, (s, p) in enumerate(zip(used, part, strict=True)))
        result = bool(writers) and rng.random() < 0.3
        candidates[f"t{i}"] = Candidate(f"t{i}", size, touches, not writers, result, 1.0, rng.choice((1.0, 2.0)))
    choices = []
    for step in range(steps):
        names = [n for n, t in candidates.items() if any(x.step == step for x in t.touches)]
        row = []
        for number in range(len(names) + 1):
            for resident in combinations(names, number):
                missing = sum(candidates[n].nbytes for n in names if n not in resident)
                for room in (1, 3) if step % 2 else (2,):
                    row.append(Choice(frozenset(resident), room, missing * (3.0 - room) + rng.randint(1, 3)))
        choices.append(tuple(row))
    return ChoiceProblem(tuple(choices), candidates, rng.randint(4, 20))


def brute_force(problem: ChoiceProblem) -> float:
    """The least cost over all choices and all sets of tensors kept between steps, without addresses."""
    best = float("inf")
    for picks in product(*problem.choices):
        best = min(best, sum(c.cost for c in picks) + _least_transfers(problem, picks))
    return best


def _least_transfers(problem: ChoiceProblem, picks: tuple[Choice, ...]) -> float:
    gaps = [(n, i) for n, t in problem.candidates.items() for i in range(len(t.touches) - 1)]
    best = float("inf")
    for flags in product((False, True), repeat=len(gaps)):
        kept = {gap for gap, flag in zip(gaps, flags, strict=True) if flag}
        cost = 0.0
        held = [c.room + sum(problem.candidates[n].nbytes for n in c.resident) for c in picks]
        for tensor in problem.candidates.values():
            cost += _transfers(tensor, kept, picks, held)
        if all(n <= problem.capacity for n in held):
            best = min(best, cost)
    return best


def _transfers(tensor: Candidate, kept: set[tuple[str, int]], picks: tuple[Choice, ...], held: list[int]) -> float:
    """What follows from the gaps that are kept, step by step: which parts are in the memory, and which off chip."""
    off = set(range(99)) if tensor.source else set()
    inside: set[int] = set()
    parts = set(range(99)) if tensor.source else {i for i, t in enumerate(tensor.touches) if t.write}
    cost, impossible = 0.0, float("inf")
    for i, touch in enumerate(tensor.touches):
        here = tensor.name in picks[touch.step].resident
        if i and (tensor.name, i - 1) in kept:
            if not here or tensor.name not in picks[tensor.touches[i - 1].step].resident:
                return impossible
            for step in range(tensor.touches[i - 1].step + 1, touch.step):
                held[step] += tensor.nbytes
        else:
            inside = set()
        if touch.write:
            needed_later = tensor.result or any((tensor.name, j) not in kept for j in range(i, len(tensor.touches) - 1))
            if not here or needed_later:
                off.add(i)
            inside |= {i} if here else set()
            cost += touch.nbytes * tensor.store if here and needed_later else 0.0
        elif here and not inside >= parts:
            if touch.nbytes < tensor.nbytes or not off >= parts or (i and (tensor.name, i - 1) in kept):
                return impossible
            cost += tensor.nbytes * tensor.load
            inside = set(parts)
        elif not here and not off >= parts:
            return impossible
    return cost


@pytest.mark.parametrize("seed", range(60))
def test_decisions_are_the_best_there_are(seed: int) -> None:
    """Proven for every seed: the smallest memory drawn has room for the largest choice that keeps nothing."""
    problem = random_choices(seed)
    found, best = decide(problem), brute_force(problem)
    assert best < float("inf") and found.proven
    assert found.value == pytest.approx(best) and found.bound <= best + 1e-6
    _check_addresses(problem, found)


def _check_addresses(problem: ChoiceProblem, found: Decision) -> None:
    for step, pick in enumerate(found.picks):
        spans = sorted(
            (a, a + problem.candidates[x.tensor].nbytes)
            for x, a in zip(found.intervals, found.addresses, strict=True)
            if a is not None and x.first <= step <= x.last
        )
        assert all(low >= reach for (_, reach), (low, _) in pairwise(spans))
        assert all(low >= 0 and high <= problem.capacity for low, high in spans)
        assert found.room_at[step] >= problem.choices[step][pick].room


# -- when it stops ---------------------------------------------------------------------------------------------------


def test_what_does_not_fit(network: Path) -> None:
    """Exit code 3; the message names memory, step, tensor and what is missing."""
    arch = network.with_name("tiny.yaml")
    arch.write_text(npu("64 B").to_yaml())
    ran = CliRunner().invoke(app, ["run", str(arch), str(network), "--mapper", "ilp"])
    assert isinstance(ran.exception, DoesNotFit) or ran.exit_code == 3
    text = str(ran.exception) + ran.output
    assert "sram: step 28, global_pool.sum: " in text and "too few; its largest tensor is " in text


def test_command_line(network: Path) -> None:
    ran = CliRunner().invoke(app, ["run", "edge_npu", str(network), "--mapper", "ilp", "--json"])
    assert json.loads(ran.stdout)["cycles"] > 0


def test_missing_solver(small: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pulp", None)
    with pytest.raises(SolverMissing, match=r"pip install 'pulp\[highs\]"):
        map_workload(small, npu("24 KiB"))


def test_interrupted(small: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C before anything is decided: the tile mapper's Mapping with its gap, and not called complete."""

    def stop(problem: ChoiceProblem, options: SolverOptions) -> Decision:
        raise KeyboardInterrupt

    monkeypatch.setattr(mapper, "decide", stop)
    mapping = map_workload(small, npu("24 KiB"))
    assert mapping.claim is not None and not mapping.claim.complete
    assert mapping.claim.gap == pytest.approx(1 - mapping.claim.bound / mapping.claim.value)
    report = simulate(npu("24 KiB"), small, mapping=mapping)
    assert report.to_json()["cycles"] == pytest.approx(mapping.claim.value)


def test_limit_of_time(small: Workload) -> None:
    """A limit that has passed before the solver begins leaves the best plan known, with what is certain about it."""
    plan = plan_workload(small, npu("24 KiB"), options=SolverOptions(seconds=0.0))
    assert plan.mapping.claim is not None
    assert plan.mapping.claim.value <= simulate(npu("24 KiB"), small).to_json()["cycles"]
    assert plan.proven or plan.residency == "tile" or plan.gap > 0


SLOW = """
import sys, time
import accelsim.mappers.ilp.mapper as mapper
from accelsim.cli import main

def wait(*problem, **options):
    print("deciding", flush=True)
    time.sleep(60)

mapper.{where} = wait
main()
"""


def _interrupted(code: str, arguments: list[str], heard: str) -> tuple[int, str]:
    """Exit code and further output of a process that gets SIGINT once it has said something."""

    def listen() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background ignore it

    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True, preexec_fn=listen,
    )  # fmt: skip
    assert process.stdout is not None
    while process.stdout.readline().strip() != heard:
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=300)
    return process.returncode, text


def test_ctrl_c_on_the_command_line(network: Path) -> None:
    """With an answer it is run, its gap told, and the code is 0; without one the code is 130."""
    arguments = ["run", "edge_npu", str(network), "--mapper", "ilp"]
    code, text = _interrupted(SLOW.format(where="decide"), arguments, "deciding")
    assert code == 0 and "latency " in text and "the mapper stopped its search early, gap " in text
    code, text = _interrupted(SLOW.format(where="_simple"), arguments, "deciding")
    assert (code, text) == (130, "error: interrupted\n")


def test_limit_of_time_on_the_command_line(network: Path) -> None:
    run = ["run", "edge_npu", str(network)]
    ran = CliRunner().invoke(app, [*run, "--mapper", "ilp", "--time-limit", "0"])
    assert ran.exit_code == 0 and "the mapper stopped its search early, gap " in ran.stdout
    ran = CliRunner().invoke(app, [*run, "--mapper", "tile", "--time-limit", "1"])
    assert ran.exit_code == 2 and "those that have: " in ran.stderr and "ilp" in ran.stderr
    ran = CliRunner().invoke(app, [*run, "--mapper", "ilp", "--time-limit", "-1"])
    assert ran.exit_code == 2 and "0 or more" in ran.stderr
