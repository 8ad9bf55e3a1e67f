"""Elasticities: of power laws their exponents, of real machines what the bottleneck says."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from support.cli import accelsim

from accelsim.arch.document import preset_names
from accelsim.arch.loader import load_spec
from accelsim.errors import BadInput, DoesNotFit
from accelsim.study import Point, Scalar
from accelsim.study.elasticity import elasticities, movable, numeric_paths

DRAM, SRAM, ROWS = "memories.dram.bandwidth", "memories.sram.capacity", "units.array.rows"
BASE = Point("edge_npu", "gpt2", (), (("phase", "decode"), ("context", 64)))


def law(point: Point) -> Mapping[str, Scalar]:
    """latency ~ rows^-2 bandwidth^-1, energy ~ capacity^0.5."""
    values = dict(point.arch_values)
    rate = float(str(values.get(DRAM, "19.2 GB/s")).split()[0])
    number, unit = str(values.get(SRAM, "512 KiB")).split()
    capacity = float(number) * {"B": 1, "KiB": 1024}[unit]
    return {"latency_s": 1 / rate / float(values.get(ROWS, 16)) ** 2, "energy_J": capacity**0.5}


def test_power_laws_have_their_exponents() -> None:
    found = {one.path: one for one in elasticities(BASE, [DRAM, SRAM, ROWS], evaluate=law)}
    assert found[DRAM].simulated == pytest.approx({"latency_s": -1.0, "energy_J": 0.0})
    assert found[SRAM].simulated == pytest.approx({"latency_s": 0.0, "energy_J": 0.5})
    assert found[ROWS].simulated == pytest.approx({"latency_s": -2.0, "energy_J": 0.0})
    assert (found[ROWS].value, found[ROWS].lower, found[ROWS].higher) == (16, 12, 20)
    assert (found[SRAM].lower, found[SRAM].higher) == ("393216 B", "655360 B")


def test_decoding_is_worth_its_bandwidth_and_the_bound_says_so_too() -> None:
    one, two = elasticities(BASE, [DRAM, ROWS])
    assert one.simulated["latency_s"] == pytest.approx(-1, abs=0.1)
    assert one.bound["latency_s"] == pytest.approx(-1, abs=1e-6)
    assert two.bound["latency_s"] == 0
    assert two.simulated["latency_s"] == pytest.approx(0, abs=0.05)


def test_a_step_that_does_not_fit_is_told_and_the_others_stand() -> None:
    def small(point: Point) -> Mapping[str, Scalar]:
        if str(dict(point.arch_values).get(SRAM)) == "393216 B":
            raise DoesNotFit("sram: 7 bytes too small")
        return law(point)

    one, two = elasticities(BASE, [SRAM, DRAM], evaluate=small)
    assert one.simulated == {"latency_s": None, "energy_J": None}
    assert one.message == "sram: 7 bytes too small"
    assert two.simulated["latency_s"] == pytest.approx(-1)


def test_every_number_of_the_file_is_a_parameter() -> None:
    paths = numeric_paths("edge_npu")
    assert {"clock", DRAM, SRAM, ROWS, "units.vector.lanes"} <= set(paths)
    assert not {"units.array.kind", "memories.dram.standard", "technology"} & set(paths)


@pytest.mark.parametrize("machine", preset_names())
def test_what_is_left_out_of_all_numbers_of_a_machine_are_its_zeros(machine: str) -> None:
    base = Point(machine, "gpt2")
    paths = numeric_paths(machine)
    found, others = movable(base, paths)
    assert found
    assert sorted(found + others) == sorted(paths)
    data = load_spec(machine).document.data
    zeros = [path for path in paths if amount(reduce(lambda tree, key: tree[key], path.split("."), data)) == 0]
    assert others == zeros


def amount(value: object) -> float:
    return float(re.match(r"[\d.e-]+", str(value)).group())  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "path, value, ends",
    [
        ("clock", "500MHz", ("375 MHz", "625 MHz")),
        (DRAM, "8 B / cycle", ("6 B / cycle", "10 B / cycle")),
        ("memories.dram.read_energy", "250 pJ/64 bit", ("187.5 pJ/64 bit", "312.5 pJ/64 bit")),
        (SRAM, "1.5MiB", ("1152 KiB", "1920 KiB")),
        (SRAM, "100 kB", ("75000 B", "125000 B")),
        (SRAM, "0.125 MiB", ("96 KiB", "160 KiB")),
        (SRAM, "0.0625 KiB", ("48 B", "80 B")),
        (SRAM, "1 B", ("1 B", "2 B")),
        (ROWS, 1, (1, 2)),
        (ROWS, 0, None),
        (ROWS, -4, None),
        (ROWS, 0.0, None),
        (ROWS, math.inf, None),
        (DRAM, "0", None),
        (DRAM, "unlimited", None),
        ("memories.dram.latency", "0 ns", None),
    ],
)
def test_the_step_of_a_value(path: str, value: Scalar, ends: tuple[Scalar, Scalar] | None) -> None:
    base = replace(BASE, arch_values=((path, value),))
    if ends is None:
        assert movable(base, [path]) == ([], [path])
        with pytest.raises(BadInput, match="cannot be moved"):
            elasticities(base, [path], evaluate=even)
        return
    (found,) = elasticities(base, [path], evaluate=even)
    assert (found.lower, found.higher) == ends
    assert found.simulated == {"latency_s": 0.0, "energy_J": 0.0}


def even(point: Point) -> Mapping[str, Scalar]:
    """The same for every machine."""
    return {"latency_s": 1.0, "energy_J": 1.0}


def test_a_step_too_small_to_be_one_is_refused() -> None:
    with pytest.raises(BadInput, match="cannot be moved"):
        elasticities(BASE, [DRAM], evaluate=law, step=1e-18)


@pytest.mark.parametrize(
    "path, message",
    [("memories.dram.bandwith", "memories.dram.bandwidth"), ("units.array.kind", "cannot be moved"),
     ("memories.sram.area", "not stated")],
)  # fmt: skip
def test_what_is_refused(path: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        elasticities(BASE, [path], evaluate=law)
    with pytest.raises(BadInput, match="step"):
        elasticities(BASE, [DRAM], evaluate=law, step=1.0)


def test_the_command() -> None:
    call = ("elasticity", "edge_npu", "gpt2", "--phase", "decode", "--context", 64, "--jobs", 0)
    ran = accelsim(*call, "--parameter", DRAM, "--json")
    assert ran.code == 0, ran.output
    told: list[dict[str, Any]] = json.loads(ran.output)
    assert told[0]["path"] == DRAM
    # Decoding is limited by the DRAM: its bound falls as the bandwidth rises, the simulation nearly so.
    simulated, bound = told[0]["simulated"]["latency_s"], told[0]["bound"]["latency_s"]
    assert bound == pytest.approx(-1.0)
    assert -1.0 < simulated < -0.95
    shown = accelsim(*call, "--parameter", DRAM, "--parameter", ROWS)
    assert f"{simulated:+.2f}" in shown.output
    assert f"{bound:+.2f}" in shown.output


def test_zeros_are_left_out_of_all_numbers_and_refused_by_name(tmp_path: Path) -> None:
    model, latency = tmp_path / "model.yaml", "memories.dram.latency"
    model.write_text("einsums: ['C[m,n] = A[m,k] * B[k,n]']\nranks: {m: 4, k: 4, n: 4}\n")
    call = ("elasticity", "edge_npu", model, "--jobs", 0, "--set", f"{latency}=0")
    ran = accelsim(*call, "--parameter", latency)
    assert ran.code == 2
    assert f"`{latency}` is 0, which cannot be moved" in ran.output
    every = accelsim(*call, "--json")
    assert every.code == 0, every.output
    note, _, told = every.output.partition("\n")
    assert note == f"note: left out, as a share of them is no step: {latency}"
    assert {one["path"] for one in json.loads(told)} == {*numeric_paths("edge_npu")} - {latency}
