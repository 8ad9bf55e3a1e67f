"""Copies within a memory: what they take in time, bytes and energy, and which of them are refused."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, pairwise

import pytest
from support.replays import fault, home
from test_ilp_mapper import brute_force, off_chip, random_choices
from typer.testing import CliRunner

from accelsim import Report, simulate
from accelsim.arch.architecture import Architecture
from accelsim.arch.loader import loads_architecture
from accelsim.cli.app import app
from accelsim.errors import SpecError
from accelsim.ir import Access, Affine, Workload, WorkloadBuilder
from accelsim.mappers.ilp.choices import Candidate, Choice, ChoiceProblem, Decision, Touch, decide
from accelsim.mappers.ilp.mapper import plan_workload
from accelsim.mapping import Iterate, Mapping, Move, Node, Op, Seq, Stay, replay
from accelsim.mapping.yaml_form import loads
from accelsim.mapping.yaml_text import dumps

SIZE = 640


def machine(ports: str = "read_bandwidth: 16 B/cycle, write_bandwidth: 32 B/cycle") -> Architecture:
    return loads_architecture(f"""
name: array_machine
clock: 1 GHz
memories:
  dram: {{kind: dram, capacity: 64 GiB, bandwidth: 16 GB/s, latency: 0 ns}}
  sram: {{kind: buffer, capacity: 1 MiB, parent: dram, read_energy: 1 pJ/B, write_energy: 2 pJ/B, {ports}}}
units:
  vector: {{kind: vector, memory: sram, lanes: 16}}
""")


def skip(count: int = 0) -> Workload:
    """t0 = exp(x), t1 = exp(t0), t2 = exp(t1), y = t2 + t0: t0 waits meanwhile; in each layer, if asked for."""
    b = WorkloadBuilder("skip", bits=8)
    x = b.weight("x", (SIZE,)) if count else b.input("x", (SIZE,))

    def body() -> None:
        t0 = b.elementwise("exp", x, out="t0", name="op0")
        t1 = b.elementwise("exp", t0, out="t1", name="op1")
        t2 = b.elementwise("exp", t1, out="t2", name="op2")
        b.output(b.elementwise("add", t2, t0, out="y", name="op3"))

    if count:
        with b.repeat("layer", count):
            x = b.weight("w", (SIZE,))
            body()
    else:
        body()
    return b.build()


OPS: tuple[Node, ...] = tuple(Op(f"op{i}", "vector", "simd") for i in range(4))


def plan(*copies: Move, addresses: tuple[int, ...] = (0, 640, 1280, 1920)) -> Mapping:
    """t0 lies at the first address, from op2 on at the fourth where it is copied; t1 and t2 beside it."""
    first, t1, t2, second = addresses
    end = (1,) if copies else (3,)
    stays = [Stay("t0", "sram", (0,), end, first)]
    stays += [Stay("t1", "sram", (1,), (2,), t1), Stay("t2", "sram", (2,), (3,), t2)]
    stays += [Stay("t0", "sram", (2,), (3,), second)] if copies else []
    moves = [Move("x", "dram", "sram", (0,), (0,), 1), Move("y", "sram", "dram", (3,), (3,), 1, store=True)]
    return Mapping("skip", "array_machine", Seq(OPS), (*home("x", "y"), *stays), (*moves, *copies))


COPY = Move("t0", "sram", "sram", (2,), (2,), 1)


def run(mapping: Mapping, arch: Architecture | None = None) -> Report:
    return simulate(arch or machine(), skip(), mapping=mapping)


@pytest.mark.parametrize(
    ("ports", "cycles"),
    [
        ("read_bandwidth: 16 B/cycle, write_bandwidth: 32 B/cycle", 40),
        ("read_bandwidth: 32 B/cycle, write_bandwidth: 10 B/cycle", 64),
        ("bandwidth: 32 B/cycle", 40),
        ("bandwidth: unlimited", 0),
        ("read_bandwidth: 16 B/cycle, write_bandwidth: 16 B/cycle, latency: 7 cycles", 47),
    ],
)
def test_what_a_copy_takes(ports: str, cycles: int) -> None:
    """Time by the slower port, by the one port twice, or none; its bytes are read and written, on no other account."""
    arch = machine(ports)
    without, moved = run(plan(), arch), run(plan(COPY), arch)
    assert moved.to_json()["cycles"] - without.to_json()["cycles"] == cycles
    assert moved.to_json()["bounds"]["program"] <= moved.to_json()["cycles"]
    joules = moved.to_json()["energy_J"] - without.to_json()["energy_J"]
    assert joules == pytest.approx(SIZE * 3e-12, rel=1e-6)
    counted, before = (replay(m, skip(), arch).traffic_bytes for m in (plan(COPY), plan()))
    grown = {key: n - before[key] for key, n in counted.items() if n != before[key]}
    assert grown == {("sram", "read"): SIZE, ("sram", "write"): SIZE}


def test_both_kernels_and_the_written_form() -> None:
    mapping = plan(COPY)
    assert loads(dumps(mapping)) == mapping
    assert simulate(machine(), skip(), mapping=mapping, kernel="reference").to_json()["cycles"] == run(
        mapping).to_json()["cycles"]  # fmt: skip


def test_copies_of_one_position_are_made_one_after_the_other() -> None:
    """t0 moves to where t1 was only after that has gone elsewhere."""
    other = Move("t1", "sram", "sram", (2,), (2,), 1)

    def both(*order: Move) -> Mapping:
        found = plan(*order, addresses=(0, 640, 1920, 640))
        stays = [replace(s, end=(1,)) if s.tensor == "t1" else s for s in found.stays]
        return replace(found, stays=(*stays, Stay("t1", "sram", (2,), (2,), 1280)))

    one, two = run(plan(COPY)).to_json()["cycles"], run(both(other, COPY)).to_json()["cycles"]
    assert two - one == 40
    assert fault(both(COPY, other), skip(), machine()) == (
        "the copy of t0 to 640-1,280 of sram at 2 goes onto t1, which lies at 640-1,280"
    )


def test_a_copy_in_every_iteration() -> None:
    """Inside an Iterate each iteration copies its own."""
    def layered(*copies: Move) -> tuple[Mapping, Workload]:
        flat = plan(*copies)
        inside = (0, "body")
        stays = [replace(s, start=(*inside, *s.start), end=(*inside, *s.end)) for s in flat.stays if s.memory == "sram"]
        moves = [
            replace(m, tensor="w" if m.tensor == "x" else m.tensor, issue=(*inside, *m.issue), due=(*inside, *m.due))
            for m in flat.moves
        ]
        root = Seq((Iterate("layer", 3, Seq(OPS)),))
        return Mapping("skip", "array_machine", root, (*home("w", "y"), *stays), tuple(moves)), skip(3)

    inside = Move("t0", "sram", "sram", (2,), (2,), 1)
    without, moved = (simulate(machine(), work, mapping=m) for m, work in (layered(), layered(inside)))
    assert moved.to_json()["cycles"] - without.to_json()["cycles"] == 3 * 40
    counted = [replay(m, work, machine()).traffic_bytes["sram", "read"] for m, work in (layered(), layered(inside))]
    assert counted[1] - counted[0] == 3 * SIZE


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (plan(replace(COPY, buffers=2)), "is more than a copy"),
        (plan(replace(COPY, issue=(1,))), "is more than a copy"),
        (plan(replace(COPY, issue=(0,), due=(0,))), "is copied at 0 (a later child of a Seq"),
        (plan(replace(COPY, issue=(3,), due=(3,))), "no stay of it in sram that has an address ends before 3"),
        (plan(replace(COPY, tensor="t2")), "no stay of it in sram that has an address ends before 2"),
        (plan(replace(COPY, tensor="t1")), "no stay of it in sram that has an address ends before 2"),
        (plan(COPY, COPY), "moves what moves[2] moves, too"),
    ],
)
def test_what_is_refused(wrong: Mapping, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        run(wrong)
    assert message in str(caught.value)


def test_data_is_followed_through_copies() -> None:
    """Without the copy the result is not where it is read."""
    mapping = plan(COPY)
    lost = replace(mapping, moves=mapping.moves[:2])
    assert fault(lost, skip(), machine()) == (
        "op3 at 3 reads t0 from sram at 3, but op0 at 0, which makes it, does not put it into that stay"
    )


LIVES = [(5, 7, 2), (4, 7, 1), (7, 11, 3), (3, 6, 2), (6, 9, 4), (1, 5, 3), (0, 3, 4)]
"""From, to before, and sizes: one of the few small cases that need more in one place than their load, which is 7."""


# -- decisions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_free_copies_cost_nothing(seed: int) -> None:
    """What fits has addresses then: the decision costs what is least without any."""
    problem = replace(random_choices(seed), copy=0.0)
    found = decide(problem)
    assert found.value == pytest.approx(brute_force(problem)) and found.proven
    check_places(problem, found)


def check_places(problem: ChoiceProblem, found: Decision) -> None:
    """Nothing overlaps while a step runs, nor while copies are made; each copy goes on with what lay elsewhere."""
    sizes = {name: tensor.nbytes for name, tensor in problem.candidates.items()}
    at = dict(zip(found.intervals, found.addresses, strict=True))
    for step, pick in enumerate(found.picks):
        live = {x.tensor: (a or 0) for x, a in at.items() if x.first < step <= x.last}
        before = {x.tensor: (a or 0) for x, a in at.items() if x.last == step - 1}
        live |= {x.tensor: before[x.tensor] for x in at if x.copied and x.first == step}
        for name in (name for name, when in found.copies if when == step):
            live[name] = next(a or 0 for x, a in at.items() if (x.tensor, x.first) == (name, step))
            _apart(live, sizes)
        now = {x.tensor: (a or 0) for x, a in at.items() if x.first <= step <= x.last}
        assert now.items() >= live.items()
        _apart(now, sizes)
        assert all(a + sizes[name] <= problem.capacity for name, a in now.items())
        assert found.room_at[step] >= problem.choices[step][pick].room
    assert sorted(found.copies) == sorted((x.tensor, x.first) for x in at if x.copied)


def _apart(places: dict[str, int], sizes: dict[str, int]) -> None:
    spans = sorted((a, a + sizes[name]) for name, a in places.items() if sizes[name])
    assert all(low >= reach for (_, reach), (low, _) in pairwise(spans))


def crowded(copy: float | None) -> ChoiceProblem:
    """Tensors of those sizes, each read at the beginning and the end of its life; to have one elsewhere costs 10."""
    candidates = {}
    for i, (lower, upper, size) in enumerate(LIVES):
        touches = tuple(Touch(step, False, size) for step in (lower, upper - 1))
        candidates[f"t{i}"] = Candidate(f"t{i}", size, touches, True, False, 1.0, 1.0)
    choices = []
    for step in range(11):
        names = [n for n, t in candidates.items() if any(x.step == step for x in t.touches)]
        sets = (r for k in range(len(names) + 1) for r in combinations(names, k))
        choices.append(tuple(Choice(frozenset(r), 0, 10.0 * (len(names) - len(r))) for r in sets))
    return ChoiceProblem(tuple(choices), candidates, 7, copy)


def test_copies_are_made_where_they_cost_less() -> None:
    """All is loaded once, for 19; one byte at least is loaded again, or some are copied."""
    plain = decide(crowded(None))
    assert plain.value > plain.bound == 19.0 and not plain.proven and not plain.copies
    free = decide(crowded(0.0))
    assert free.value == 19.0 and free.proven and free.copies
    moved = sum(LIVES[int(name[1:])][2] for name, _ in free.copies)
    check_places(crowded(0.0), free)
    cheap, dear = decide(crowded(0.5 / moved)), decide(crowded(2 * (plain.value - 19) / moved))
    assert cheap.value == 19.5 and cheap.copies == free.copies and not cheap.proven
    assert dear.value == plain.value and not dear.copies


# -- the mapper ------------------------------------------------------------------------------------------------------

UNIT = 4096


def sums() -> Workload:
    """The same tensors, each summed up at both ends of its life: what begins at a step before what ends there.

    Each sum is multiplied by the one before, so that there is one order.
    """
    b = WorkloadBuilder("sums", bits=8)
    names = [b.input(f"t{i}", (size * UNIT,)) for i, (_, _, size) in enumerate(LIVES)]
    total = b.input("one", (1,))
    for step in range(11):
        for end in (0, 1):
            for name, life in zip(names, LIVES, strict=True):
                if step == (life[0], life[1] - 1)[end]:
                    reads = [Access(name, (Affine((("i", 1),)),)), Access(total, (Affine((("o", 1),)),))]
                    sizes = {"i": life[2] * UNIT, "o": 1}
                    total = b.compute("mul", reads, ["o"], sizes, reduce="add", name=f"at {step}")
    b.output(total)
    return b.build()


def test_the_mapper_copies_where_that_costs_less() -> None:
    """Claimed is what runs; less comes from off chip than without, and the Mapping as it is written runs alike."""
    arch = loads_architecture(
        f"extends: edge_npu\nmemories: {{sram: {{capacity: {7 * UNIT + 512} B}}}}\n"
    )
    without, plan = (plan_workload(sums(), arch, objective="energy", copies=copies) for copies in (False, True))
    assert not any(m.is_copy for m in without.mapping.moves)
    copies = [m for m in plan.mapping.moves if m.is_copy]
    assert copies and plan.residency == "ilp" and plan.bound < plan.value < without.value
    once = sum(size for _, _, size in LIVES) * UNIT
    assert plan.traffic_bytes < once + UNIT <= without.traffic_bytes  # but for sums all is loaded once
    report = simulate(arch, sums(), mapping=loads(dumps(plan.mapping)))
    assert plan.mapping.claim is not None
    assert report.to_json()["energy_J"] < simulate(arch, sums(), mapping=without.mapping).to_json()["energy_J"]
    assert report.to_json()["cycles"] == pytest.approx(plan.latency_cycles, rel=1e-12)
    assert off_chip(report) == plan.traffic_bytes
    again = simulate(arch, sums(), mapper="ilp", objective="energy", copies=True)
    assert again.mapping is not None and again.mapping.moves == plan.mapping.moves


def test_the_command_line_refuses_copies_of_other_mappers() -> None:
    ran = CliRunner().invoke(app, ["run", "edge_npu", "alexnet", "--mapper", "tile", "--copies"])
    assert ran.exit_code == 2
    assert "mapper 'tile' plans no copies within a memory; those that do: ilp" in " ".join(ran.output.split())
    ran = CliRunner().invoke(app, ["run", "edge_npu", "alexnet", "--mapping", "x.yaml", "--copies"])
    assert ran.exit_code == 2 and "--copies is of a mapper's search" in " ".join(ran.output.split())
