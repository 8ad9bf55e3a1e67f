"""Components: vector units, feeds, servers, and what every unit promises."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.einsums import SMALL, at, conv, gemm, machine, run

from accelsim import simulate
from accelsim.arch import (
    LinkBase,
    Memory,
    component_kinds,
    load_architecture,
    loads_architecture,
    preset_names,
)
from accelsim.components import ComputeUnit, compute_units
from accelsim.components.base import bytes_of
from accelsim.components.buffer import Buffer
from accelsim.components.dram import Dram
from accelsim.components.link import Link
from accelsim.components.systolic import SystolicArray
from accelsim.components.vector import VectorUnit
from accelsim.errors import BadInput
from accelsim.ir import OPERATORS, Access, Apply, Einsum, Expr, Read, count_operations, parse_cascade


def test_the_memory_that_feeds_a_unit_limits_it() -> None:
    free = SystolicArray(memory="s", rows=4, cols=4)
    e = gemm(1, 8, 8, 8)
    cost = run(free, e, "os")
    reads, writes = int(cost.reads[0][0] + cost.reads[1][0]), int(cost.writes[0])
    assert (reads, writes, cost.cycles[0]) == (256, 64, 56)
    assert run(machine(free, bandwidth=3e9), e, "os").cycles[0] == ceil(320 / 3)
    assert run(machine(free, bandwidth="unlimited"), e, "os").cycles[0] == 56  # type: ignore[arg-type]
    assert run(machine(free, read_bandwidth=3e9, write_bandwidth=1e9), e, "os").cycles[0] == ceil(256 / 3)
    assert run(machine(free, read_bandwidth=8e9, write_bandwidth=0.5e9), e, "os").cycles[0] == 128
    faster = free.model_copy(update={"clock": 2e9})
    assert run(machine(faster, bandwidth=3e9), e, "os").cycles[0] == ceil(320 / 1.5)
    lanes = VectorUnit(memory="s", lanes=10**6)
    assert run(machine(lanes, bandwidth=1e9), e, "simd").cycles[0] == 64 + 64 + 64


def random_expr(draw: st.DrawFn, depth: int, inputs: int) -> Expr:
    if depth == 0 or draw(st.booleans()):
        return Read(draw(st.integers(0, inputs - 1)))
    op = OPERATORS[draw(st.sampled_from(sorted(OPERATORS)))]
    return Apply(op.name, tuple(random_expr(draw, depth - 1, inputs) for _ in range(op.arity)))


@st.composite
def einsums(draw: st.DrawFn) -> Einsum:
    ranks = ["i", "j", "k"]
    sizes = {r: draw(st.integers(1, 50)) for r in ranks}
    accesses = [draw(st.permutations(ranks))[: draw(st.integers(1, 3))] for _ in range(draw(st.integers(1, 3)))]
    carried = sorted({r for a in accesses for r in a})
    kept = carried if draw(st.booleans()) else carried[: draw(st.integers(1, len(carried)))]
    reads = tuple(Access(f"T{i}", at(*a)) for i, a in enumerate(accesses))
    expr = random_expr(draw, 3, len(reads))
    reduce = draw(st.sampled_from(["add", "max"])) if len(kept) < len(carried) else ""
    return Einsum("e", Access("O", at(*kept)), reads, expr, {r: sizes[r] for r in carried}, reduce)


@given(einsums(), st.integers(1, 64), st.fractions(Fraction(1, 16), 4, max_denominator=16))
@SMALL
def test_vector_cycles_follow_the_counted_operations(einsum: Einsum, lanes: int, rate: Fraction) -> None:
    unit = VectorUnit(memory="s", lanes=lanes, rates={"exp": rate, "add": "1/3"})
    bits = [8] * (len(einsum.inputs) + 1)
    cost = run(unit, einsum, "simd", bits)
    counts = count_operations(einsum).counts
    assert {c: int(n[0]) for c, n in cost.actions.items()} == dict(counts)
    rates = {"exp": rate, "add": Fraction(1, 3)}
    expected = sum(ceil(n / (lanes * rates.get(c, Fraction(1)))) for c, n in counts.items())
    assert cost.cycles[0] == max(1, expected)
    for c, n in counts.items():
        assert cost.cycles[0] * unit.peak_rates()[c] >= n
    assert [int(r[0]) for r in cost.reads] == [prod(einsum.sizes[r] for r in a.ranks) for a in einsum.inputs]
    assert cost.writes[0] == prod(einsum.sizes[r] for r in einsum.output.ranks)
    assert cost.partial_reads[0] == 0


def reads_by_walk(m: int, n: int, k: int, room: int) -> tuple[int, int]:
    """Words of either operand of a product: blocks of at most `room` results, along a row first."""
    wide = min(n, room)
    high = min(m, max(room // wide, 1))
    first = second = 0
    for top in range(0, m, high):
        for left in range(0, n, wide):
            first += min(high, m - top) * k
            second += k * min(wide, n - left)
    return first, second


@given(st.tuples(*[st.integers(1, 24)] * 3), st.integers(1, 8), st.integers(0, 200))
@SMALL
def test_vector_registers_decide_how_often_operands_are_read(mnk: tuple[int, ...], lanes: int, room: int) -> None:
    m, n, k = mnk
    unit = VectorUnit(memory="s", lanes=lanes, registers=max(1, 4 * room), accumulator_bits=32)
    cost = run(unit, gemm(1, m, n, k), "simd", (8, 8, 8))
    assert tuple(int(r[0]) for r in cost.reads) == reads_by_walk(m, n, k, max(lanes, room))
    free = run(VectorUnit(memory="s", lanes=lanes), gemm(1, m, n, k), "simd", (8, 8, 8))
    assert [int(r[0]) for r in free.reads] == [m * k, k * n]  # the least that any number of registers needs
    assert cost.cycles[0] == free.cycles[0]
    assert (cost.writes[0], cost.partial_reads[0]) == (free.writes[0], 0)


def test_vector_registers_leave_elementwise_traffic_alone() -> None:
    e = Einsum("e", Access("O", at("i", "j")), (Access("A", at("i", "j")),), Apply("exp", (Read(0),)), {"i": 9, "j": 7})
    assert run(VectorUnit(memory="s", lanes=2, registers=4), e, "simd", (8, 8)).reads[0][0] == 63


def test_a_vector_unit_without_a_class_cannot_run_it() -> None:
    unit = VectorUnit(memory="s", lanes=4, rates={"mac": 0}, name="v")
    e = gemm(1, 2, 2, 2)
    assert unit.spatial_options(e) == ()
    assert "mac" not in unit.peak_rates()
    assert "mac" not in unit.action_energy()
    option = VectorUnit(memory="s", lanes=4).spatial_options(e)[0]
    assert dict(option.spatial) == {"n": "lanes"}
    with pytest.raises(BadInput, match=r"v: cannot run gemm: its rate of mac is 0"):
        unit.cost(e, option, {r: np.array([1]) for r in e.sizes}, (8, 8, 8))


@pytest.mark.parametrize("preset", preset_names())
def test_units_conform(preset: str) -> None:
    """What every compute unit promises: costs per candidate, in the candidates' shape, above the peak, priced."""
    rng = np.random.default_rng(0)
    shapes = [gemm(2, 64, 96, 128), conv(8, 16, 12, 3)]
    exp = Einsum("e", Access("O", at("i")), (Access("A", at("i")),), Apply("exp", (Read(0),)), {"i": 3000})
    for unit in compute_units(load_architecture(preset)).values():
        for einsum in (*shapes, exp):
            extents = {r: rng.integers(1, s + 1, 200) for r, s in einsum.sizes.items()}
            bits = [8] * (len(einsum.inputs) + 1)
            for option in unit.spatial_options(einsum):
                cost = unit.cost(einsum, option, extents, bits)
                own = (cost.cycles, cost.latency, cost.writes, cost.partial_reads)
                for part in (*own, *cost.reads, *cost.actions.values()):
                    assert part.shape == (200,)
                    assert part.dtype == np.int64
                assert (cost.cycles >= 1).all()
                assert len(cost.reads) == len(einsum.inputs)
                assert set(cost.actions) <= set(unit.action_energy())
                operations = {c: n for c, n in cost.actions.items() if c in unit.peak_rates()}
                assert operations
                for c, n in operations.items():
                    assert (cost.cycles * unit.peak_rates()[c] >= n).all()
                for i in (0, 7, 199):
                    alone = unit.cost(einsum, option, {r: e[i : i + 1] for r, e in extents.items()}, bits)
                    assert alone.cycles[0] == cost.cycles[i]
                    assert alone.writes[0] == cost.writes[i]
                fixed = {r: e if j == 0 else e[:1] for j, (r, e) in enumerate(extents.items())}
                assert unit.cost(einsum, option, fixed, bits).cycles.shape == (200,)


def test_servers_carry_rates_as_fractions() -> None:
    tick = Fraction(940_000_000)
    shared = Dram(capacity=1, bandwidth="1.8 TB/s", name="d")
    server = shared.server("read", tick)
    assert server is not None
    assert (server.name, server.rate) == ("d", Fraction(90000, 47))
    assert shared.server("write", tick) == server
    apart = Buffer(capacity=1, read_bandwidth=940e6, write_bandwidth="unlimited", name="b")
    assert apart.server("read", tick) is not None
    assert apart.server("read", tick).rate == 1  # type: ignore[union-attr]
    assert apart.server("write", tick) is None
    assert Link(between=("a", "b"), bandwidth="unlimited").server("a", tick) is None
    for duplex, names in ((False, ("l", "l")), (True, ("l.a", "l.b"))):
        link = Link(between=("a", "b"), bandwidth=470e6, duplex=duplex, name="l")
        found = [server for to in "ab" if (server := link.server(to, tick)) is not None]
        assert [(server.name, server.rate) for server in found] == [(name, Fraction(1, 2)) for name in names]
    for preset in preset_names():
        arch = load_architecture(preset)
        clock = Fraction(arch.clock)
        for component in arch.components():
            if isinstance(component, Memory):
                servers = [component.server("read", clock), component.server("write", clock)]
            elif isinstance(component, LinkBase):
                servers = [component.server(memory, clock) for memory in component.between]
            elif isinstance(component, ComputeUnit):
                servers = [component.server(clock)]
            for server in filter(None, servers):
                assert server.name.split(".")[0] == component.name
                assert max(server.rate.numerator, server.rate.denominator) < 2**31


@given(st.integers(0, 2**50), st.integers(1, 64))
@SMALL
def test_bytes_are_rounded_up_once(elements: int, bits: int) -> None:
    assert bytes_of(np.array([elements]), bits)[0] == ceil(Fraction(elements * bits, 8))


def test_every_kind_can_be_described() -> None:
    for name, kind in component_kinds().items():
        fields = kind.model_fields.items()
        undocumented = [k for k, info in fields if not info.description and k not in ("kind", "latency")]
        assert not undocumented, (name, undocumented)


@pytest.mark.parametrize("objective", ["latency", "energy"])
def test_a_duplex_link_takes_both_directions_at_once(objective: str) -> None:
    """What comes in and what goes out are 64 KiB each, at 8 bytes a cycle."""
    times, work = {}, parse_cascade("Z[m] = exp(A[m])", {"m": 2**15}, bits=16)
    for duplex in ("false", "true"):
        report = simulate(loads_architecture(LINKED.format(duplex=duplex)), work, objective=objective)
        times[duplex] = report.cycles
        assert report.bounds.machine <= report.bounds.program <= report.cycles
        assert {c.name: c.transfer_bytes for c in report.components}["bus"] == 2 * 2**16
    assert times["false"] >= 2 * 2**13
    assert times["true"] < 1.2 * 2**13


LINKED = """
name: linked
clock: 1 GHz
memories:
  dram: {{kind: dram, capacity: 1 MiB, bandwidth: 64 B/cycle}}
  sram: {{kind: buffer, parent: dram, capacity: 8 KiB, bandwidth: unlimited}}
units:
  vector: {{kind: vector, memory: sram, lanes: 64}}
links:
  bus: {{kind: link, between: [dram, sram], bandwidth: 8 B/cycle, duplex: {duplex}}}
"""


def test_rates_out_of_range_name_the_component() -> None:
    with pytest.raises(BadInput, match=r"memory `s` moves 1e-12 bytes per cycle of its compute unit: out of range"):
        machine(VectorUnit(memory="s", lanes=1), bandwidth=1e-3)
    with pytest.raises(BadInput, match=r"`d`: rate 1e\+18 is out of range"):
        Dram(capacity=1, bandwidth=1e18, name="d").server("read", Fraction(1))
