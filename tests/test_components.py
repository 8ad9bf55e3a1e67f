"""Components: costs against brute force, servers against slow models."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import product
from math import ceil, prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.arch import Architecture, LinkBase, Memory, component_kinds, load_architecture, preset_names
from accelsim.components import ComputeUnit, Cost, compute_units
from accelsim.components.base import bytes_of
from accelsim.components.buffer import Buffer
from accelsim.components.dram import Dram
from accelsim.components.link import Link
from accelsim.components.open_row import CREDIT, OPEN, REFRESH_NEXT, OpenRowDram, step
from accelsim.components.systolic import SystolicArray
from accelsim.components.vector import VectorUnit
from accelsim.errors import BadInput
from accelsim.ir import OPERATORS, Access, Affine, Apply, Einsum, Expr, Read, count_operations

SMALL = settings(deadline=None, derandomize=True, max_examples=150)


def at(*ranks: str) -> tuple[Affine, ...]:
    return tuple(Affine(((r, 1),)) for r in ranks)


def gemm(g: int, m: int, n: int, k: int) -> Einsum:
    return Einsum(
        "gemm",
        Access("O", at("g", "m", "n")),
        (Access("A", at("g", "m", "k")), Access("B", at("g", "k", "n"))),
        Apply("mul", (Read(0), Read(1))),
        {"g": g, "m": m, "n": n, "k": k},
        reduce="add",
    )


def conv(c: int, f: int, side: int, window: int) -> Einsum:
    image = (Affine((("c", 1),)), Affine((("y", 1), ("r", 1))), Affine((("x", 1), ("s", 1))))
    return Einsum(
        "conv",
        Access("O", at("f", "y", "x")),
        (Access("I", image), Access("W", at("f", "c", "r", "s"))),
        Apply("mul", (Read(0), Read(1))),
        {"f": f, "c": c, "y": side, "x": side, "r": window, "s": window},
        reduce="add",
    )


def run(unit: ComputeUnit, einsum: Einsum, variant: str, bits: Sequence[int] = (8, 8, 8)) -> Cost:
    """Cost of the whole Einsum as one tile."""
    (option,) = [o for o in unit.spatial_options(einsum) if o.variant == variant]
    return unit.cost(einsum, option, {r: np.array([s]) for r, s in einsum.sizes.items()}, bits)


class Walk:
    """A systolic array walked fold by fold, word by word."""

    def __init__(self, rows: int, cols: int, dataflow: str, m: int, n: int, k: int) -> None:
        self.cycles = self.macs = self.a = self.b = self.out = self.back = 0
        along_rows, along_cols, stream = {"os": (m, n, k), "ws": (k, n, m), "is": (k, m, n)}[dataflow]
        written: set[tuple[int, int]] = set()
        for top, left in product(range(0, along_rows, rows), range(0, along_cols, cols)):
            high = min(rows, along_rows - top)
            wide = min(cols, along_cols - left)
            self.macs += high * wide * stream
            # The last processing element of a full array starts rows + cols - 2 cycles after the first and needs one
            # cycle per streamed word; a stationary operand is shifted in first, one row per cycle.
            self.cycles += (0 if dataflow == "os" else rows) + (rows - 1) + (cols - 1) + stream
            if dataflow == "os":
                self.a += high * stream
                self.b += wide * stream
                self.out += high * wide
                continue
            held, passed = high * wide, high * stream
            self.a += passed if dataflow == "ws" else held
            self.b += held if dataflow == "ws" else passed
            for column, word in product(range(left, left + wide), range(stream)):
                self.back += (column, word) in written
                written.add((column, word))
                self.out += 1


@given(
    st.sampled_from(["os", "ws", "is"]),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(*[st.integers(1, 20)] * 3),
    st.integers(1, 3),
)
@SMALL
def test_systolic_equals_a_walk_over_its_folds(
    dataflow: str, shape: tuple[int, int], mnk: tuple[int, int, int], g: int
) -> None:
    m, n, k = mnk
    walk = Walk(*shape, dataflow, m, n, k)
    unit = SystolicArray(memory="s", rows=shape[0], cols=shape[1], accumulator_bits=24)
    cost = run(unit, gemm(g, m, n, k), dataflow, (8, 8, 16))
    assert cost.cycles[0] == g * walk.cycles
    assert cost.latency[0] == 0
    assert cost.actions["mac"][0] == g * walk.macs == g * m * n * k
    assert [int(r[0]) for r in cost.reads] == [g * walk.a, g * walk.b]
    assert cost.partial_reads[0] == 3 * g * walk.back
    assert cost.writes[0] == 2 * g * m * n + 3 * g * (walk.out - m * n)
    assert walk.out - walk.back == m * n


@pytest.mark.parametrize(
    "dataflow, rows, cols, m, n, k, cycles, ifmap, filters, outputs",
    [
        # scalesim 3.0.0, GoogLeNet layers; its printed total is one less, the index of the last cycle.
        ("is", 8, 8, 196, 64, 24, 6450, 4704, 38400, 37632),
        ("is", 8, 128, 49, 48, 832, 19760, 40768, 39936, 244608),
        ("is", 16, 64, 100, 48, 400, 7100, 40000, 38400, 120000),
        ("is", 16, 16, 196, 24, 512, 29120, 100352, 159744, 150528),
        ("ws", 8, 128, 9, 128, 800, 15100, 7200, 102400, 115200),
        ("ws", 8, 8, 9, 128, 800, 49600, 115200, 102400, 115200),
        ("ws", 16, 64, 100, 64, 800, 9700, 80000, 51200, 320000),
        # Its output writes of os count folds * (rows + cols) words more than there are outputs.
        ("os", 8, 8, 128, 64, 128, 18176, 131072, 131072, 10240 - 128 * 16),
        ("os", 128, 8, 128, 64, 128, 2096, 131072, 8192, 9280 - 8 * 136),
    ],
)
def test_systolic_equals_scalesim(
    dataflow: str, rows: int, cols: int, m: int, n: int, k: int, cycles: int, ifmap: int, filters: int, outputs: int
) -> None:
    unit = SystolicArray(memory="s", rows=rows, cols=cols, accumulator_bits=8)
    cost = run(unit, gemm(1, m, n, k), dataflow)
    assert cost.cycles[0] == cycles
    assert (cost.reads[0][0], cost.reads[1][0], cost.writes[0]) == (ifmap, filters, outputs)


@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 5), st.integers(1, 3), st.sampled_from(["os", "ws", "is"]))
@SMALL
def test_a_convolution_is_its_im2col(c: int, f: int, side: int, window: int, dataflow: str) -> None:
    unit = SystolicArray(memory="s", rows=4, cols=3)
    as_conv = run(unit, conv(c, f, side, window), dataflow)
    as_gemm = run(unit, gemm(1, side * side, f, c * window * window), dataflow)
    assert as_conv.cycles[0] == as_gemm.cycles[0]
    assert [r[0] for r in as_conv.reads] == [r[0] for r in as_gemm.reads]
    assert as_conv.writes[0] == as_gemm.writes[0]


@given(
    st.sampled_from(["os", "ws", "is"]),
    st.integers(1, 30),
    st.booleans(),
    st.tuples(st.integers(1, 3), *[st.integers(1, 14)] * 3),
)
@settings(SMALL, max_examples=400)
def test_several_arrays_deal_out_the_folds(dataflow: str, arrays: int, overlap: bool, gmnk: tuple[int, ...]) -> None:
    g, m, n, k = gmnk
    one = SystolicArray(memory="s", rows=4, cols=5, overlap=overlap)
    many = one.model_copy(update={"arrays": arrays})
    single, shared = run(one, gemm(*gmnk), dataflow), run(many, gemm(*gmnk), dataflow)
    along_rows, along_cols, stream = {"os": (m, n, k), "ws": (k, n, m), "is": (k, m, n)}[dataflow]
    folds = g * ceil(along_rows / 4) * ceil(along_cols / 5)
    fill = (1 if dataflow == "os" else 2) * 4 + 5 - 2
    parts = 1 if dataflow == "os" else max(1, min(stream, arrays // folds))
    part = ceil(stream / parts)
    work = [0] * arrays  # deal the folds, each cut into pieces of `part` streamed words, to the least loaded array
    for _ in range(folds):
        for _ in range(ceil(stream / part)):
            work[work.index(min(work))] += max(part, 4) if overlap else part + fill
    assert shared.cycles[0] == max(work)
    assert shared.latency[0] == (part + fill - max(part, 4) if overlap else 0)
    assert shared.cycles[0] <= single.cycles[0]
    assert shared.cycles[0] * many.peak_rates()["mac"] >= shared.actions["mac"][0]
    assert shared.actions["mac"][0] == single.actions["mac"][0]
    if dataflow != "os":
        held = 1 if dataflow == "ws" else 0
        assert shared.reads[held][0] == single.reads[held][0] * ceil(stream / part)
        assert shared.reads[1 - held][0] == single.reads[1 - held][0]


def test_wide_operands_take_several_products() -> None:
    unit = SystolicArray(memory="s", rows=4, cols=4, mac_bits=8)
    for dataflow in ("os", "ws", "is"):
        wide = run(unit, gemm(1, 8, 8, 8), dataflow, (16, 12, 8))
        longer = run(unit, gemm(1, 8, 8, 32), dataflow, (8, 6, 8))
        assert wide.cycles[0] == longer.cycles[0]
        assert wide.actions["mac"][0] == longer.actions["mac"][0] == 2048
        assert [r[0] for r in wide.reads] == [r[0] for r in longer.reads]
    assert run(unit, gemm(1, 8, 8, 8), "os", (4, 2, 8)).cycles[0] == run(unit, gemm(1, 8, 8, 8), "os").cycles[0]


def test_partial_sums_that_fit_stay_in_the_accumulators() -> None:
    for room, kept in ((16 * 4 * 4 - 1, False), (16 * 4 * 4, True)):
        unit = SystolicArray(memory="s", rows=4, cols=4, accumulators=room)
        cost = run(unit, gemm(1, 16, 8, 12), "ws")
        assert cost.partial_reads[0] == (0 if kept else 16 * 8 * 2 * 4)
        assert cost.writes[0] == 16 * 8 + cost.partial_reads[0]


def machine(unit: ComputeUnit, **ports: float) -> ComputeUnit:
    memory = Buffer(capacity=2**20, **ports)
    return compute_units(Architecture("m", 1e9, {"s": memory}, {"u": unit}))["u"]


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


def test_a_systolic_array_runs_contractions_only() -> None:
    unit = SystolicArray(memory="s", rows=4, cols=4, dataflows=("ws",), name="u")
    assert [o.variant for o in unit.spatial_options(gemm(1, 2, 2, 2))] == ["ws"]
    assert dict(unit.spatial_options(gemm(1, 2, 2, 2))[0].spatial) == {"k": "rows", "n": "columns"}
    exp = Einsum("e", Access("O", at("i")), (Access("A", at("i")),), Apply("exp", (Read(0),)), {"i": 3})
    assert unit.spatial_options(exp) == ()
    option = SystolicArray(memory="s", rows=4, cols=4).spatial_options(gemm(1, 2, 2, 2))[0]
    with pytest.raises(BadInput, match=r"u: cannot run gemm as `os` \(can: ws\)"):
        unit.cost(gemm(1, 2, 2, 2), option.__class__("os", {}), {r: np.array([1]) for r in "gmnk"}, (8, 8, 8))
    with pytest.raises(BadInput, match=r"gemm: no tile extent for rank 'k' \(needs g, m, n, k\)"):
        unit.cost(gemm(1, 2, 2, 2), option.__class__("ws", {}), {r: np.array([1]) for r in "gmn"}, (8, 8, 8))


def test_the_first_option_is_the_fastest() -> None:
    unit = SystolicArray(memory="s", rows=8, cols=8)
    for sizes in ((1, 1000, 8, 8), (1, 8, 1000, 8), (1, 8, 8, 1000)):
        options = unit.spatial_options(gemm(*sizes))
        cycles = [int(run(unit, gemm(*sizes), o.variant).cycles[0]) for o in options]
        assert cycles == sorted(cycles)
    assert {o.variant for o in options} == {"os", "ws", "is"}
    assert options[0].variant == "os"


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
    assert Link(between=("a", "b"), bandwidth="unlimited").server(tick) is None
    link = Link(between=("a", "b"), bandwidth=470e6, name="l").server(tick)
    assert link is not None
    assert (link.name, link.rate) == ("l", Fraction(1, 2))
    for preset in preset_names():
        arch = load_architecture(preset)
        clock = Fraction(arch.clock)
        for component in arch.components():
            if isinstance(component, Memory):
                servers = [component.server("read", clock), component.server("write", clock)]
            elif isinstance(component, (ComputeUnit, LinkBase)):
                servers = [component.server(clock)]
            for server in servers:
                assert server.name.split(".")[0] == component.name
                assert max(server.rate.numerator, server.rate.denominator) < 2**31


@given(st.integers(0, 2**50), st.integers(1, 64))
@SMALL
def test_bytes_are_rounded_up_once(elements: int, bits: int) -> None:
    assert bytes_of(np.array([elements]), bits)[0] == ceil(Fraction(elements * bits, 8))


class SlowDram:
    """The open-row channel, one row at a time and one refresh at a time."""

    def __init__(self, rate: Fraction, burst: int, row: int, banks: int, activate: int, precharge: int) -> None:
        self.rate, self.burst, self.row, self.banks = rate, burst, row, banks
        self.activate, self.precharge = activate, precharge
        self.open: dict[int, int] = {}
        self.moved, self.paid = 0, 0

    def transfer(self, address: int, amount: int) -> int:
        bursts = range(address // self.burst, (address + amount - 1) // self.burst + 1)
        ticks, last_row, hidden, in_row = 0, None, 0, 0
        for b in bursts:
            chunk = b * self.burst // self.row
            if chunk != last_row:
                hidden = in_row * self.burst // self.rate if self.banks > 1 else 0
                bank, row = chunk % self.banks, chunk // self.banks
                if self.open.get(bank) != row:
                    ticks += max(0, self.activate + self.precharge * (bank in self.open) - int(hidden))
                self.open[bank] = row
                last_row, in_row = chunk, 0
            in_row += 1
        self.moved += len(bursts) * self.burst
        owed = ceil(self.moved / self.rate) - self.paid
        self.paid += owed
        return ticks + owed


GEOMETRY = st.tuples(
    st.fractions(Fraction(1, 4), 40, max_denominator=7),
    st.sampled_from([8, 16]),
    st.sampled_from([1, 2, 5]),
    st.integers(1, 5),
    st.integers(0, 30),
    st.integers(0, 30),
)


@given(GEOMETRY, st.lists(st.tuples(st.integers(0, 600), st.integers(1, 900)), min_size=1, max_size=12))
@SMALL
def test_open_rows_equal_a_walk_over_bursts(
    shape: tuple[Fraction, int, int, int, int, int], transfers: list[tuple[int, int]]
) -> None:
    rate, burst, bursts, banks, activate, precharge = shape
    slow = SlowDram(rate, burst, burst * bursts, banks, activate, precharge)
    fixed = [rate.numerator, rate.denominator, 0, burst, burst * bursts, banks, activate, precharge, 0, 0, 0]
    state = np.array(fixed + [-1] * banks, np.int64)
    ticks = [step(state, amount, address, 0) for address, amount in transfers]
    expected = [slow.transfer(address, amount) for address, amount in transfers]
    # A transfer lasts at least one tick; what that is too much is credited to the next.
    assert all(t >= 1 for t in ticks)
    if min(expected) >= 1:
        assert ticks == expected
    assert sum(ticks) >= sum(expected)
    assert {b: int(r) for b, r in enumerate(state[OPEN:]) if r >= 0} == slow.open
    assert all(state[:CREDIT] == fixed[:CREDIT])


@given(
    st.integers(0, 5000), st.integers(1, 3000), st.integers(0, 40), st.integers(1, 30), st.integers(100, 400),
    st.integers(0, 1000),
)  # fmt: skip
@SMALL
def test_refresh_stops_the_channel_tick_by_tick(
    now: int, amount: int, activate: int, pause: int, every: int, gap: int
) -> None:
    state = np.array([1, 1, 0, 1, 2**20, 1, activate, 0, every, pause, every, -1], np.int64)
    is_open = False
    for begin in (now, now + amount + gap):
        begin = max(begin, now)
        opening, data = 0, amount
        is_open = is_open and not any(t >= every and t % every < pause for t in range(now, begin))
        now = begin
        while opening or data:
            if now >= every and now % every < pause:
                is_open = False
            elif not is_open:
                is_open, opening = True, opening + activate
                continue
            elif opening:
                opening -= 1
            else:
                data -= 1
            now += 1
        later = state.copy()
        later[REFRESH_NEXT] += 12345
        assert step(state, amount, 0, begin) == step(later, amount, 0, begin + 12345) == now - begin
        assert state[OPEN] == 0
        assert later[REFRESH_NEXT] == state[REFRESH_NEXT] + 12345


def test_open_row_dram_as_a_server() -> None:
    memory = OpenRowDram(
        name="d", capacity=2**30, bandwidth="16 GB/s", channels=2, banks=4, row="1 KiB", burst="32 B",
        activate="14 ns", precharge="14.2 ns", refresh_interval="3.9 us", refresh_time="260 ns",
    )  # fmt: skip
    server = memory.server("read", Fraction(10**9))
    assert server == memory.server("write", Fraction(10**9))
    assert server.rate == 16
    assert server.state == (16, 1, 0, 64, 2048, 4, 14, 15, 3900, 260, 3900, -1, -1, -1, -1)
    assert server.step is step
    assert server.state_times == (REFRESH_NEXT,)
    state = np.array(server.state, np.int64)
    assert step(state, 2048, 0, 0) == 14 + 128
    assert step(state, 2048, 0, 0) == 128
    assert step(state, 2048, 4 * 2048, 0) == 29 + 128
    assert not memory.on_chip
    for wrong, what in (
        ({"bandwidth": "unlimited"}, "needs a finite `bandwidth`"),
        ({"burst": "48 B"}, "not a whole number of bursts"),
        ({"refresh_time": None}, "give both"),
        ({"refresh_interval": "100 ns"}, "more than twice"),
    ):
        with pytest.raises(ValueError, match=what):
            OpenRowDram(**{**memory.model_dump(), **wrong})
    with pytest.raises(BadInput, match="too long for its refresh"):
        memory.server("read", Fraction(10**5))


def test_step_compiles() -> None:
    import numba

    compiled: Any = numba.njit(step)
    rng = np.random.default_rng(1)
    base = np.array([7, 3, 0, 16, 64, 3, 11, 5, 200, 20, 200, -1, -1, -1], np.int64)
    ours, theirs, now = base.copy(), base.copy(), 0
    for _ in range(300):
        work, arg, gap = (int(x) for x in rng.integers(1, 2000, 3))
        now += gap
        ticks = step(ours, work, arg, now)
        assert ticks == compiled(theirs, work, arg, now)
        now += ticks
        assert (ours == theirs).all()


def test_every_kind_can_be_described() -> None:
    from accelsim.arch.component import field_docs

    for name, kind in component_kinds().items():
        undocumented = [k for k, text in field_docs(kind).items() if not text and k not in ("kind", "latency")]
        assert not undocumented, (name, undocumented)


def test_rates_out_of_range_name_the_component() -> None:
    with pytest.raises(BadInput, match=r"memory `s` moves 1e-12 bytes per cycle of its compute unit: out of range"):
        machine(VectorUnit(memory="s", lanes=1), bandwidth=1e-3)
    with pytest.raises(BadInput, match=r"`d`: rate 1e\+18 is out of range"):
        Dram(capacity=1, bandwidth=1e18, name="d").server("read", Fraction(1))
