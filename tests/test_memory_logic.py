"""Logic in memory: steps of arithmetic, work over lanes against a walk, what is refused, models on a machine."""

from __future__ import annotations

from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cli import accelsim
from support.einsums import at, conv, gemm, run

from accelsim import load_model, simulate
from accelsim.arch.loader import load_spec, loads_architecture
from accelsim.components.base import ComputeUnit
from accelsim.components.memory_logic import FORMATS, MemoryLogic
from accelsim.conformance import ComponentConformance
from accelsim.engine import compiled, reference
from accelsim.errors import BadInput, DoesNotFit, UnsupportedPrecision
from accelsim.experiments.loader import data_path
from accelsim.ir import Access, Apply, Einsum, Read
from accelsim.ir.build import WorkloadBuilder
from accelsim.lowering import lower

SMALL = settings(deadline=None, derandomize=True, max_examples=60)
RECIPES = {
    "add": {"read": {"one": 1, "e": 2, "m": 2}, "write": {"m": 1.5}},
    "mul": {"read": {"mm": 2, "e": 1}, "nor": {"em": 1, "ee": 1, "one": -3}},
    "copy": {"read": {"one": 1, "e": 1, "m": 1}},
}


def unit(**keys: object) -> MemoryLogic:
    given_keys: dict[str, object] = {
        "memory": "sram", "arrays": 2, "rows": 8, "cols": 256, "formats": ["fp32", "bf16", "fp8_e4m3"], "clock": 1e9,
        "step_times": {"read": 1e-9, "write": 2e-9, "nor": 0.5e-9},
        "step_energies": {"read": 1e-15, "write": 5e-15, "nor": 2e-15}, "recipes": RECIPES,
    }  # fmt: skip
    return MemoryLogic.model_validate(given_keys | keys)


class TestConformance(ComponentConformance):
    def unit(self) -> ComputeUnit:
        return unit()

    def einsums(self) -> list[Einsum]:
        twice = Apply("max", (Read(0), Read(0)))
        relu = Einsum("relu", Access("O", at("i")), (Access("A", at("i")),), twice, {"i": 99})
        return [gemm(2, 5, 7, 19), conv(3, 2, 5, 3), relu]


def test_steps_are_the_recipes() -> None:
    u = unit()
    assert u.steps("add", 32) == {"read": 1 + 16 + 46, "write": ceil(34.5)}
    assert u.steps("mul", 16) == {"read": 2 * 49 + 8, "nor": 8 * 7 + 64 - 3}
    assert u.steps("mac", 16) == {"read": 106 + 31, "nor": 117, "write": 11}
    assert u.steps("max", 16) == u.steps("add", 16)
    assert u.operation_cycles("mul", 16) == ceil(106 + 58.5)
    assert u.cells("mul", 32) == 96


@pytest.mark.parametrize("name", ["sot_mram", "floatpim"])
def test_steps_grow_with_exponent_and_mantissa(name: str) -> None:
    """In every pair of formats of which one has no fewer bits of either."""
    spec = load_spec(data_path("accelsim.experiments.mram_training", f"{name}.yaml"))
    found = {}
    for fmt, (e, m) in FORMATS.items():
        if not e:
            continue
        u = spec.with_values({"units.logic.formats": [fmt]}).build().units["logic"]
        assert isinstance(u, MemoryLogic)
        found[e, m] = {c: sum(u.steps(c, 1 + e + m).values()) for c in ("add", "mul", "mac", "copy")}
        assert found[e, m]["mac"] == found[e, m]["add"] + found[e, m]["mul"]
    for (e, m), few in found.items():
        for (f, n), many in found.items():
            if f >= e and n >= m and (e, m) != (f, n):
                assert all(many[c] > few[c] for c in few)


def test_integers_have_recipes_of_their_own() -> None:
    """A full adder of four steps: so many a bit of a sum, and of every pair of bits of a product."""
    whole = {"add": {"read": {"m": 2}, "write": {"m": 2}}, "mul": {"read": {"mm": 2}, "write": {"mm": 2}},
             "copy": {"read": {"m": 1}}}  # fmt: skip
    u = unit(formats=["int8", "bf16"], integer_recipes=whole)
    assert sum(u.steps("add", 8).values()) == 4 * 8 and sum(u.steps("mul", 8).values()) == 4 * 64
    assert u.steps("mul", 16) == unit().steps("mul", 16)
    fastest = min(u.operation_cycles("mac", bits) for bits in (8, 16))
    assert u.spatial_options(gemm(1, 2, 3, 4)) and u.peak_rates()["mac"] == u.lanes / fastest
    del whole["mul"]
    assert unit(formats=["int8", "bf16"], integer_recipes=whole).spatial_options(gemm(1, 2, 3, 4)) == ()


@given(st.tuples(st.integers(1, 3), *[st.integers(1, 9)] * 2, st.integers(1, 12)), st.integers(0, 3))
@SMALL
def test_work_equals_a_walk_over_lanes(gmnk: tuple[int, int, int, int], power: int) -> None:
    u, bits = unit(), 16
    split = min(2**power, gmnk[3])
    e = gemm(*gmnk)
    cost = u.cost(e, u.option(e, f"split{2**power}", None), {r: np.array([n]) for r, n in e.sizes.items()}, (bits,) * 3)
    results, summed = gmnk[0] * gmnk[1] * gmnk[2], gmnk[3]
    jobs = [ceil(summed / split)] * (results * split)  # of every lane's sum, one after the other
    rounds = [jobs[i : i + u.lanes] for i in range(0, len(jobs), u.lanes)]
    one = u.operation_cycles("mac", bits) + 2 * u.operation_cycles("copy", bits)
    cycles = sum(max(r) for r in rounds) * one
    left, moved = split, 0
    while left > 1:
        pairs = left // 2
        cycles += ceil(results * pairs / u.lanes) * (u.operation_cycles("add", bits) + u.operation_cycles("copy", bits))
        moved += results * pairs
        left -= pairs
    assert cost.cycles[0] == cycles
    assert moved == results * (split - 1)
    macs = results * summed
    reads = {c: u.steps(c, bits)["read"] for c in ("mac", "add", "copy")}
    joining = moved * (reads["add"] + reads["copy"])
    assert cost.actions["read_step"][0] == macs * (reads["mac"] + 2 * reads["copy"]) + joining


def test_what_it_cannot_do_is_named() -> None:
    u = unit(name="logic")
    with pytest.raises(UnsupportedPrecision, match=r"logic: no format of 12 bits \(it computes with fp32 \(32 bits\),"):
        u.steps("add", 12)
    inputs = Access("A", at("i")), Access("B", at("i"))
    total = Einsum("s", Access("O", at("i")), inputs, Apply("add", (Read(0), Read(1))), {"i": 9})
    with pytest.raises(UnsupportedPrecision, match="add of 32 bits takes 96 cells of a row, which has 64"):
        run(unit(cols=64), total, "split1", (32, 32, 32))
    exp = Einsum("e", Access("O", at("i")), (Access("A", at("i")),), Apply("exp", (Read(0),)), {"i": 9})
    assert u.spatial_options(exp) == ()
    with pytest.raises(BadInput, match="no recipe of exp"):
        u.steps("exp", 32)
    for change, message in (
        ({"formats": ["bf16", "fp16"]}, "two formats of 16 bits"),
        ({"formats": ["fp24"]}, "no format `fp24`"),
        ({"step_times": {"read": 1e-9, "write": 1e-9}}, "takes steps `nor`, of which `step_times` says nothing"),
        ({"recipes": {"add": RECIPES["add"]}}, "no recipe of `copy` in `recipes`"),
        ({"formats": ["bf16", "int8"]}, "no recipe of `copy` in `integer_recipes`"),
        ({"recipes": RECIPES | {"sum": RECIPES["add"]}}, "no operation class `sum`"),
        ({"recipes": RECIPES | {"add": {"read": {"one": -90}}}}, "the recipe of add takes no time"),
    ):
        with pytest.raises(ValueError, match=message):
            unit(**change)


def machine(**keys: str) -> str:
    text = """
name: small
clock: 1 GHz
memories:
  dram: {kind: dram, capacity: CAPACITY, bandwidth: 10 GB/s, read_energy: 1 pJ/bit, write_energy: 1 pJ/bit}
  cells: {kind: buffer, parent: dram, capacity: 64 KiB, bandwidth: unlimited, read_energy: 0 J/B, write_energy: 0 J/B}
units:
  logic:
    kind: memory_logic
    memory: cells
    arrays: 4
    rows: 64
    cols: 256
    formats: [fp32, bf16]
    step_times: {read: 1 ns, write: 2 ns}
    step_energies: {read: 1 fJ, write: 5 fJ}
    recipes:
      add: {read: {one: 1, e: 2, m: 2}, write: {e: 1, m: 1}}
      mul: {read: {mm: 2, e: 1}, write: {mm: 2}}
      copy: {read: {one: 1, e: 1, m: 1}, write: {one: 1, e: 1, m: 1}}
    cell_area: 0.00000001 mm2
    periphery_area: 0.0001 mm2
"""
    return text.replace("CAPACITY", keys.get("capacity", "1 GiB"))


def test_both_kernels_agree_and_energy_is_steps_times_their_price() -> None:
    b = WorkloadBuilder("net", bits=16)
    y = b.relu(b.conv(b.input("x", (2, 3, 8, 8)), b.weight("w1", (4, 3, 3, 3))))
    b.output(b.matmul(b.reshape(b.pool(y, "max", (2, 2), (2, 2)), (2, -1)), b.weight("w2", (36, 5))))
    model, arch = b.build(), loads_architecture(machine())
    report = simulate(arch, model)
    assert report.mapping is not None
    program = lower(arch, model, report.mapping)
    assert compiled.run(program).differences(reference.run(program)) == []
    counts = {row.action: row.count for row in report.energy if row.component == "logic"}
    steps = {name: sum(r.count for r in report.energy if r.action == name) for name in ("read_step", "write_step")}
    assert set(counts) <= {"read_step", "write_step", "mac"}
    logic = next(c for c in report.components if c.name == "logic")
    assert logic.energy_J == pytest.approx(steps["read_step"] * 1e-15 + steps["write_step"] * 5e-15)
    assert sum(c.energy_J for c in report.components) == pytest.approx(report.energy_J)
    assert logic.area_mm2 == pytest.approx(4 * (64 * 256 * 1e-8 + 1e-4))
    assert report.bounds.machine <= report.cycles


def test_formats_and_capacities_of_the_command_line(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("logic")
    (folder / "m.yaml").write_text(machine())
    ran = accelsim("run", folder / "m.yaml", "resnet18", "--bits", 12, "--option", "resolution=32")
    assert ran.code == 2 and "no format of 12 bits" in ran.output
    (folder / "tiny.yaml").write_text(machine(capacity="1 MiB"))
    ran = accelsim("run", folder / "tiny.yaml", "resnet18", "--option", "resolution=32")
    assert ran.code == 3
    with pytest.raises(DoesNotFit):
        simulate(loads_architecture(machine(capacity="1 MiB")), load_model("resnet18", resolution=32))
