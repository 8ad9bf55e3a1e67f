"""Compulsory traffic and the machine bound: closed forms, and what more hardware may not do."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.arch.architecture import Architecture
from accelsim.components.base import ComputeUnit
from accelsim.components.buffer import Buffer
from accelsim.components.dram import Dram
from accelsim.components.folds import Dataflow
from accelsim.components.multiprocessors import Multiprocessors
from accelsim.components.pe_array import PeArray
from accelsim.components.spatial import SpatialArray
from accelsim.components.systolic import SystolicArray
from accelsim.components.vector import VectorUnit
from accelsim.ir import Access, Affine, Apply, Einsum, Read, Repeat, Role, Tensor, View, Workload
from accelsim.mapping.compulsory import compulsory_traffic
from accelsim.mapping.machine_bound import machine_bound, off_chip_bandwidth, resident_tensors
from accelsim.mapping.tree import Mapping, Move, Op, Seq, Stay

MIB = 2**20


def at(*indices: str | int | Affine) -> tuple[Affine, ...]:
    return tuple(
        i if isinstance(i, Affine) else Affine((), i) if isinstance(i, int) else Affine(((i, 1),)) for i in indices
    )


def einsum(
    name: str, out: Access, inputs: list[Access], sizes: dict[str, int], op: str = "mul", reduce: str = ""
) -> Einsum:
    expr = Read(0) if op == "copy" else Apply(op, tuple(Read(i) for i in range(len(inputs))))
    return Einsum(name, out, tuple(inputs), expr, sizes, reduce)


def matmul(name: str, a: str, b: str, out: str, m: int, n: int, k: int) -> Einsum:
    return einsum(name, Access(out, at("m", "n")), [Access(a, at("m", "k")), Access(b, at("k", "n"))],
                  {"m": m, "n": n, "k": k}, reduce="add")  # fmt: skip


def workload(tensors: list[Tensor], *body: Any) -> Workload:
    return Workload("w", {t.name: t for t in tensors}, tuple(body))


def gemm(m: int = 64, n: int = 32, k: int = 16) -> Workload:
    return workload(
        [Tensor("a", (m, k), Role.INPUT), Tensor("b", (k, n), Role.WEIGHT), Tensor("c", (m, n), Role.OUTPUT)],
        matmul("mm", "a", "b", "c", m, n, k),
    )


def machine(*, bandwidth: float = 8e9, capacity: int = MIB * 1024, rows: int = 8, lanes: int = 16) -> Architecture:
    return Architecture(
        "m",
        1e9,
        {
            "dram": Dram(capacity=capacity, bandwidth=bandwidth, read_energy=20e-12, write_energy=30e-12),
            "buffer": Buffer(capacity=MIB, parent="dram", bandwidth=1e12),
        },
        {
            "array": SystolicArray(memory="buffer", rows=rows, cols=8, mac_energy=1e-12),
            "vector": VectorUnit(
                memory="buffer", lanes=lanes, rates={"mac": 0, "exp": 0.5}, energies={"exp": 5e-12, "add": 2e-12}
            ),
        },
    )


def test_gemm_moves_operands_once() -> None:
    traffic = compulsory_traffic(gemm())
    assert traffic.reads == {"a": 64 * 16 * 2, "b": 16 * 32 * 2}
    assert traffic.writes == {"c": 64 * 32 * 2}


def test_resident_weights_do_not_move() -> None:
    assert compulsory_traffic(gemm(), resident={"b"}).reads == {"a": 64 * 16 * 2}


def test_stride_larger_than_kernel_leaves_elements_untouched() -> None:
    """Output 5, kernel 2, stride 3: rows 0 1 3 4 6 7 9 10 12 13 of 15, of which the padding takes none."""
    row = Affine((("p", 3), ("r", 2 - 1)))
    w = workload(
        [Tensor("x", (15,), Role.INPUT, 8), Tensor("f", (2,), Role.WEIGHT, 8), Tensor("y", (5,), Role.OUTPUT, 8)],
        einsum(
            "conv", Access("y", at("p")), [Access("x", (row,)), Access("f", at("r"))], {"p": 5, "r": 2}, reduce="add"
        ),
    )
    assert compulsory_traffic(w).reads == {"x": 10, "f": 2}


def test_padding_is_not_read() -> None:
    row = Affine((("p", 1), ("r", 1)), -1)
    w = workload(
        [Tensor("x", (6,), Role.INPUT, 8), Tensor("f", (3,), Role.WEIGHT, 8), Tensor("y", (6,), Role.OUTPUT, 8)],
        einsum(
            "conv",
            Access("y", at("p")),
            [Access("x", (row,), 0.0), Access("f", at("r"))],
            {"p": 6, "r": 3},
            reduce="add",
        ),
    )
    assert compulsory_traffic(w).reads["x"] == 6


def test_two_slices_of_a_tensor_are_united() -> None:
    """Columns 0..5 and 4..9 of 12: ten, not twelve and not six."""
    out = [Tensor("y", (3, 6), Role.OUTPUT, 8), Tensor("z", (3, 6), Role.OUTPUT, 8)]
    right = Affine((("n", 1),), 4)
    w = workload(
        [Tensor("x", (3, 12), Role.INPUT, 8), *out],
        einsum("left", Access("y", at("m", "n")), [Access("x", at("m", "n"))], {"m": 3, "n": 6}, "exp"),
        einsum("right", Access("z", at("m", "n")), [Access("x", (*at("m"), right))], {"m": 3, "n": 6}, "exp"),
    )
    assert compulsory_traffic(w).reads == {"x": 30}


def test_state_written_before_it_is_read_is_not_fetched() -> None:
    """A cache of 10 rows, of which this step writes row 9: nine are read from outside, one goes back."""
    row = Affine((("t", 1),), 9)
    key, cache = Access("k", at("t", "e")), Access("cache", at("m", "e"))
    append = einsum("append", Access("cache", (row, *at("e"))), [key], {"t": 1, "e": 4}, "copy")
    score = einsum("score", Access("y", at("m")), [cache, Access("k", at(0, "e"))], {"m": 10, "e": 4}, reduce="add")
    tensors = [
        Tensor("k", (1, 4), Role.INPUT, 8),
        Tensor("cache", (10, 4), Role.STATE, 8),
        Tensor("y", (10,), Role.OUTPUT, 8),
    ]
    w = workload(tensors, append, score)
    traffic = compulsory_traffic(w)
    assert traffic.reads == {"k": 4, "cache": 36}
    assert traffic.writes == {"cache": 4, "y": 10}


def test_layers_have_their_own_weights_and_hand_on_one_input() -> None:
    tensors = [
        Tensor("x", (4, 4), Role.INPUT, 8), Tensor("w", (4, 4), Role.WEIGHT, 8), Tensor("s", (4, 4), Role.WEIGHT, 8),
        Tensor("h", (4, 4), Role.ACTIVATION, 8), Tensor("y", (4, 4), Role.OUTPUT, 8),
    ]  # fmt: skip
    body = (matmul("one", "x", "w", "h", 4, 4, 4), matmul("two", "h", "s", "y", 4, 4, 4))
    w = workload(tensors, Repeat("layers", 7, body, (("y", "x"),), frozenset({"s"})))
    traffic = compulsory_traffic(w)
    assert traffic.reads == {"x": 16, "w": 7 * 16, "s": 16}
    assert traffic.writes == {"y": 16}


def test_gathered_rows_count_instead_of_the_table() -> None:
    tensors = [
        Tensor("table", (1000, 8), Role.WEIGHT, 8), Tensor("ids", (3,), Role.INPUT, 32),
        Tensor("rows", (3, 8), Role.ACTIVATION, 8), Tensor("y", (3, 8), Role.OUTPUT, 8),
    ]  # fmt: skip
    look_up = einsum("embed", Access("y", at("t", "e")), [Access("rows", at("t", "e"))], {"t": 3, "e": 8}, "copy")
    assert compulsory_traffic(workload(tensors, View("rows", "table", "ids"), look_up)).reads == {"rows": 24}


@settings(deadline=None, derandomize=True, max_examples=150)
@given(st.data())
def test_touched_elements_equal_enumeration(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=2)))
    ranks = {"i": data.draw(st.integers(1, 4)), "j": data.draw(st.integers(1, 4)), "k": data.draw(st.integers(1, 3))}
    accesses = []
    for _ in range(data.draw(st.integers(1, 3))):
        indices = tuple(
            Affine(tuple((r, c) for r in ranks if (c := data.draw(st.integers(-3, 4)))), data.draw(st.integers(-2, 6)))
            for _ in shape
        )
        accesses.append(Access("x", indices, 0.0))
    touched = np.zeros(shape, bool)
    for access in accesses:
        for point in np.ndindex(*ranks.values()):
            where = dict(zip(ranks, point, strict=True))
            spot = tuple(i.offset + sum(c * where[r] for r, c in i.terms) for i in access.indices)
            if all(0 <= s < n for s, n in zip(spot, shape, strict=True)):
                touched[spot] = True
    w = workload(
        [Tensor("x", shape, Role.INPUT, 8), Tensor("y", (1,), Role.OUTPUT, 8)],
        *(einsum(f"e{n}", Access("y", at(0)), [a], ranks, "exp", "add") for n, a in enumerate(accesses)),
    )
    found = compulsory_traffic(w).reads.get("x", 0)
    shared = any(set(a.indices[0].ranks) & set(a.indices[-1].ranks) for a in accesses)
    if len(shape) == 1 or not shared:
        assert found == touched.sum()
    else:
        assert found <= touched.sum()


def test_compute_bound_of_a_gemm() -> None:
    """Operands of 16 bits on multipliers of 8 take four products each."""
    bound = machine_bound(gemm(), machine(bandwidth=1e15))
    assert bound.limit == "compute"
    assert bound.cycles == pytest.approx(4 * 64 * 32 * 16 / 64, rel=1e-8)


@pytest.mark.parametrize("kind", [
    SystolicArray(memory="buffer", rows=8, cols=8),
    SystolicArray(memory="buffer", rows=8, cols=8, mac_bits=16, timing="scalesim"),
    SpatialArray(memory="buffer", dimensions={"rows": 8, "columns": 8}),
    PeArray(memory="buffer", rows=8, cols=8, mac_bits=8),
    Multiprocessors(memory="buffer", count=4, macs=64, blocks=("32x32",), fragments=1, mac_bits=4),
])  # fmt: skip
@pytest.mark.parametrize("bits", [(4, 4), (8, 8), (8, 16), (9, 8), (16, 16), (32, 5)])
def test_a_bound_counts_the_slices_that_wide_operands_take(kind: ComputeUnit, bits: tuple[int, int]) -> None:
    """No unit takes less for a whole product than its bound; where arithmetic alone counts, twice that is too much."""
    given = gemm(64, 64, 2048)
    operands = {name: replace(given.tensors[name], bits=width) for name, width in zip("ab", bits, strict=True)}
    wide = replace(given, tensors={**given.tensors, **operands})
    buffer = Buffer(capacity=2**32, parent="dram", bandwidth=1e15)
    arch = Architecture("m", 1e9, {"dram": Dram(capacity=2**40, bandwidth=1e16), "buffer": buffer}, {"unit": kind})
    unit, (one, _) = arch.units["unit"], next(wide.einsums())
    assert isinstance(unit, ComputeUnit)
    widths = (*bits, 16)
    extents = {r: np.array([n]) for r, n in one.sizes.items()}
    costs = [unit.cost(one, option, extents, widths) for option in unit.spatial_options(one)]
    cycles = machine_bound(wide, arch).compute_cycles
    assert 1 <= min(int(c.cycles[0]) for c in costs) / cycles < 2
    macs = min(int(c.actions["mac"][0]) for c in costs)
    assert macs == unit.least_slices(one, widths) * 64 * 64 * 2048


def test_traffic_bound_of_a_gemm() -> None:
    bound = machine_bound(gemm(), machine(bandwidth=2e9))
    assert bound.limit == "off-chip traffic"
    assert bound.cycles == pytest.approx((64 * 16 + 16 * 32 + 64 * 32) * 2 / 2, rel=1e-8)


def test_energy_bound_of_a_gemm() -> None:
    """MACs and bytes through their registers; every operand once over the chip's edge, into and out of the buffer."""
    arch = machine()
    register, buffer = arch.units["array"].action_energy()["register"], arch.memories["buffer"].action_energy()
    slices, words = 2 * 2, 8 + 8 + 32  # 16-bit operands on 8-bit multipliers
    computed = 64 * 32 * 16 * slices * (1e-12 + words / 8 * register)
    outside = (64 * 16 + 16 * 32) * 2 * 20e-12 + 64 * 32 * 2 * 30e-12
    inside = (64 * 16 + 16 * 32 + 64 * 32) * 2 * (buffer["read"] + buffer["write"])
    assert machine_bound(gemm(), arch).energy_J == pytest.approx(computed + outside + inside, rel=1e-9)


@pytest.mark.parametrize(
    "dataflow, elements, reads", [("os", 8 * 2, (320, 80)), ("ws", 8 * 2, (320, 20)), ("is", 8 * 8, (320, 80))]
)
def test_ranks_that_do_not_fill_the_array(dataflow: str, elements: int, reads: tuple[float, float]) -> None:
    """M 32, N 2, K 10 on 8 x 8: six columns idle but for `is`; what streams is read once per fold of the other side."""
    product = matmul("mm", "a", "b", "c", 32, 2, 10)
    array = SystolicArray(memory="buffer", rows=8, cols=8, dataflows=(dataflow,))
    assert array.rates_on(product, (8, 8, 8)) == {"mac": elements}
    assert array.least_reads(product) == pytest.approx(reads)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    st.sampled_from([SystolicArray, PeArray]),
    st.sampled_from(["os", "ws", "is"]),
    st.sampled_from([2, 4, 8]),
    st.lists(st.integers(1, 40), min_size=3, max_size=3),
    st.lists(st.integers(1, 40), min_size=3, max_size=3),
)
def test_no_tiles_need_less_than_the_least(
    kind: type[SystolicArray | PeArray], dataflow: Dataflow, mac_bits: int, sizes: list[int], tile: list[int]
) -> None:
    """Cycles, elements read and bytes through the registers, summed over the tiles of a product.

    Products of slices stand along rows like more of K: what a short K leaves idle, they fill.
    """
    m, n, k = sizes
    product = matmul("mm", "a", "b", "c", m, n, k)
    array = kind(memory="buffer", rows=8, cols=4, dataflows=(dataflow,), mac_bits=mac_bits)
    option, bits = array.spatial_options(product)[0], (8, 8, 8)
    parts = [(a, b, c) for a in cuts(m, tile[0]) for b in cuts(n, tile[1]) for c in cuts(k, tile[2])]
    extents = {r: np.array(column) for r, column in zip("mnk", zip(*parts, strict=True), strict=True)}
    cost = array.cost(product, option, extents, bits)
    macs = m * n * k * array.least_slices(product, bits)
    assert cost.cycles.sum() >= macs / array.rates_on(product, bits)["mac"]
    for found, least in zip(cost.reads, array.least_reads(product), strict=True):
        assert found.sum() >= least - 1e-9
    assert cost.actions["register"].sum() >= array.least_actions(product, bits)["register"]


def cuts(size: int, tile: int) -> list[int]:
    return [tile] * (size // tile) + [size % tile] * (size % tile > 0)


def elementwise(op: str, n: int) -> Workload:
    return workload(
        [Tensor("x", (n,), Role.INPUT, 8), Tensor("y", (n,), Role.OUTPUT, 8)],
        einsum("e", Access("y", at("i")), [Access("x", at("i"))], {"i": n}, op),
    )


def test_units_share_an_operator_they_both_can_do() -> None:
    """1600 additions on 16 and on 4 lanes of half the clock: 1600 / (16 + 2)."""
    arch = machine(bandwidth=1e15)
    slow = VectorUnit(memory="buffer", lanes=4, clock=0.5e9)
    both = Architecture("two", 1e9, arch.memories, {"fast": VectorUnit(memory="buffer", lanes=16), "slow": slow})
    assert machine_bound(elementwise("neg", 1600), both).cycles == pytest.approx(1600 / 18, rel=1e-8)


def test_operators_of_one_unit_add_up() -> None:
    """exp at half a lane per cycle and add at one, one after the other on the only unit that can."""
    x, y, z = (Tensor(n, (640,), r, 8) for n, r in (("x", Role.INPUT), ("y", Role.ACTIVATION), ("z", Role.OUTPUT)))
    w = workload(
        [x, y, z],
        einsum("e", Access("y", at("i")), [Access("x", at("i"))], {"i": 640}, "exp"),
        einsum("n", Access("z", at("i")), [Access("y", at("i"))], {"i": 640}, "neg"),
    )
    assert machine_bound(w, machine(bandwidth=1e15)).cycles == pytest.approx(640 / 8 + 640 / 16, rel=1e-8)


def test_what_exceeds_the_near_tier_comes_from_the_far_one() -> None:
    """3072 bytes read and 4096 written; 2048 fit near. Far: (1024 + 2048) / 1 byte per cycle."""
    near = Dram(capacity=2048, bandwidth=100e9)
    arch = machine(bandwidth=1e9)
    memories = {"far": arch.memories["dram"], "near": near.model_copy(update={"parent": "far"}),
                "buffer": arch.memories["buffer"].model_copy(update={"parent": "near"})}  # fmt: skip
    tiers = Architecture("tiers", 1e9, memories, arch.units)
    assert machine_bound(gemm(), tiers).traffic_cycles == pytest.approx(1024 + 2048, rel=1e-8)


def by_all_sets(arch: Architecture, reads: int, writes: int) -> float:
    """The traffic bound by its definition, set by set."""
    outside = [m for m in arch.memories.values() if not m.on_chip]
    longest = 0.0
    for size in range(1, len(outside) + 1):
        for chosen in combinations(outside, size):
            room = sum(m.capacity for m in outside if m not in chosen)
            over = {"read": max(0, reads - room), "write": max(0, writes - room)}
            for amount, way in ((over["read"], "read"), (over["write"], "write"), (sum(over.values()), None)):
                longest = max(longest, amount / off_chip_bandwidth(chosen, arch, way))  # type: ignore[arg-type]
    return longest


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 3500), st.integers(1, 9), st.sampled_from([None, 1, 5])), min_size=1,
                max_size=5))  # fmt: skip
def test_traffic_bound_over_all_sets_of_memories(tiers: list[tuple[int, int, int | None]]) -> None:
    """Capacities, bandwidths and, where writes have a port of their own, its bandwidth."""
    base = machine()
    memories: dict[str, Any] = {"buffer": base.memories["buffer"].model_copy(update={"parent": "tier0"})}
    for i, (capacity, bandwidth, write) in enumerate(tiers):
        rates = {"bandwidth": bandwidth * 1e9} if write is None else {
            "read_bandwidth": bandwidth * 1e9, "write_bandwidth": write * 1e9,
        }  # fmt: skip
        memories[f"tier{i}"] = Dram(capacity=capacity, parent=f"tier{i + 1}" if i + 1 < len(tiers) else None, **rates)
    arch = Architecture("tiers", 1e9, memories, base.units)
    bound = machine_bound(gemm(), arch)
    expected = by_all_sets(arch, bound.traffic.read_bytes, bound.traffic.write_bytes)
    assert bound.traffic_cycles == pytest.approx(expected, rel=1e-11)


def test_many_memories_outside_the_chip() -> None:
    """Forty of 200 bytes and 1 byte a cycle each have room for all, which comes at all their bandwidth."""
    memories: dict[str, Any] = {"buffer": machine().memories["buffer"].model_copy(update={"parent": "tier0"})}
    for i in range(40):
        memories[f"tier{i}"] = Dram(capacity=200, bandwidth=1e9, parent=f"tier{i + 1}" if i < 39 else None)
    bound = machine_bound(gemm(), Architecture("tiers", 1e9, memories, machine().units))
    assert bound.traffic_cycles == pytest.approx((3072 + 4096) / 40, rel=1e-8)


def test_computing_inside_a_memory_is_not_bounded_by_its_port() -> None:
    arch = machine(bandwidth=1)
    inside = Architecture("pim", 1e9, arch.memories, {"pim": VectorUnit(memory="dram", lanes=16)})
    assert machine_bound(elementwise("neg", 1600), inside).cycles == pytest.approx(100, rel=1e-8)


sizes = st.integers(1, 300)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(sizes, sizes, sizes, st.integers(1, 10**12), st.integers(1, 10**6), st.integers(1, 64), st.integers(1, 64),
       st.fractions(1, 4, max_denominator=16), st.integers(0, 3))  # fmt: skip
def test_more_never_raises_the_bound(
    m: int, n: int, k: int, bandwidth: int, capacity: int, rows: int, lanes: int, factor: Fraction, which: int
) -> None:
    spec: dict[str, Any] = {"bandwidth": float(bandwidth), "capacity": capacity, "rows": rows, "lanes": lanes}
    key = list(spec)[which]
    larger = spec | {key: type(spec[key])(spec[key] * factor)}

    def tiers(values: dict[str, Any]) -> Architecture:
        arch = machine(**values)
        memories = {
            **arch.memories,
            "far": Dram(capacity=2**60, bandwidth=1e9),
            "dram": arch.memories["dram"].model_copy(update={"parent": "far"}),
        }
        second = VectorUnit(memory="buffer", lanes=values["lanes"])
        return Architecture("t", 1e9, memories, {**arch.units, "second": second})

    small, large = machine_bound(gemm(m, n, k), tiers(spec)), machine_bound(gemm(m, n, k), tiers(larger))
    assert large.compute_cycles <= small.compute_cycles * (1 + 1e-7)
    assert large.traffic_cycles <= small.traffic_cycles
    assert large.cycles <= small.cycles * (1 + 1e-7)
    if key in ("bandwidth", "lanes", "rows"):
        assert large.energy_J <= small.energy_J * (1 + 1e-9)


def test_resident_tensors_of_a_mapping() -> None:
    """In a buffer from the start and not moved there: `a`. `b` is loaded, `c` begins later, `x` stays off chip."""
    stays = (
        Stay("a", "buffer", (), ()), Stay("b", "buffer", (0,), (0,)), Stay("c", "buffer", (1,), (1,)),
        Stay("x", "dram", (), ()),
    )  # fmt: skip
    ops = (Op("one", "array", "ws"), Op("two", "array", "ws"))
    mapping = Mapping("w", "m", Seq(ops), stays, (Move("b", "dram", "buffer", (0,), (0,)),))
    assert resident_tensors(mapping, gemm(4, 4, 4), machine()) == ("a",)


def test_a_result_that_is_stored_is_not_resident() -> None:
    """It may be made in a buffer that holds it from the first position on; that it leaves is compulsory still."""
    workload = gemm(4, 4, 4)
    (result,) = (t.name for t in workload.tensors.values() if t.role is Role.OUTPUT)
    kept = Mapping("w", "m", Op("one", "array", "ws"), (Stay(result, "buffer", (), ()),))
    stored = replace(kept, moves=(Move(result, "buffer", "dram", (), (), store=True),))
    assert resident_tensors(kept, workload, machine()) == (result,)
    assert resident_tensors(stored, workload, machine()) == ()


@pytest.mark.parametrize("bandwidth", [1e9, 1e12])
@pytest.mark.parametrize("shape", [(64, 32, 16), (200, 7, 33), (1, 128, 128)])
@pytest.mark.parametrize("objective", ["latency", "energy"])
def test_no_run_is_below_the_bound(bandwidth: float, shape: tuple[int, int, int], objective: str) -> None:
    from accelsim.engine import compiled
    from accelsim.lowering import lower
    from accelsim.report import make_report
    from accelsim.simulation import load_mapper

    arch, model = machine(bandwidth=bandwidth), gemm(*shape)
    mapping = load_mapper("auto")(model, arch, objective=objective)
    program = lower(arch, model, mapping)
    report = make_report(arch, model, mapping, program, compiled.run(program))
    bound = machine_bound(model, arch)
    assert 0 < bound.cycles <= report.cycles
    assert 0 < report.bounds.program <= report.cycles
    assert 0 < bound.energy_J <= report.energy_J
    moved = [report.traffic_bytes["dram"][d] for d in ("read", "write")]
    assert moved[0] >= bound.traffic.read_bytes
    assert moved[1] >= bound.traffic.write_bytes
