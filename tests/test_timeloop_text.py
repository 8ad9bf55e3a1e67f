"""Mappings in the style of Timeloop: loops make up every rank, spatial ones fit the array, tiles are as they move."""

from __future__ import annotations

import re
from math import prod
from pathlib import Path

import pytest
from support.cli import accelsim
from support.machines import array_machine, gemm

from accelsim.arch.loader import load_architecture
from accelsim.errors import SpecError
from accelsim.ir.build import WorkloadBuilder
from accelsim.report.timeloop import timeloop_text
from accelsim.simulation import load_mapper

LOOP = re.compile(r"^\| ( *)for (\w+) in \[0:(\d+)\)(?: \(Spatial-(\w+)\))?$")


def factors(text: str) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for line in text.splitlines():
        if match := LOOP.match(line):
            found.setdefault(match[2], []).append(int(match[3]))
    return found


def test_a_product_by_hand() -> None:
    arch, workload = array_machine(8, 4, dataflows="[os]"), gemm(64, 32, 40)
    text = timeloop_text(load_mapper("tile")(workload, arch), workload, arch)
    assert text.splitlines()[0] == "# matmul"
    assert [line for line in text.splitlines() if "[" in line and not line.startswith("|")] == [
        "dram [ A:2560 B:1280 matmul:2048 ]", "sram [ A:2560 B:1280 matmul:2048 ]", "array [ ]"
    ]  # fmt: skip
    assert [line for line in text.splitlines() if line.startswith("|")] == [
        "| for m in [0:8)", "|   for n in [0:8)", "|     for k in [0:40)",
        "|       for m in [0:8) (Spatial-rows)", "|       for n in [0:4) (Spatial-columns)",
    ]  # fmt: skip


@pytest.mark.parametrize("preset", ["edge_npu", "eyeriss", "tpu_like"])
def test_loops_make_up_every_rank(preset: str) -> None:
    b = WorkloadBuilder("net", bits=8)
    b.output(b.relu(b.conv(b.input("x", (1, 32, 30, 30)), b.weight("w", (48, 32, 3, 3)), pads=[1] * 4)))
    arch, workload = load_architecture(preset), b.build()
    text = timeloop_text(load_mapper("tile")(workload, arch, objective="energy"), workload, arch)
    nests = text.split("# ")[1:]
    assert [nest.split("\n")[0] for nest in nests] == [einsum.name for einsum, _ in workload.einsums()]
    for nest, (einsum, _) in zip(nests, workload.einsums(), strict=True):
        found = factors(nest)
        for rank, size in einsum.sizes.items():
            trips = prod(found.get(rank, [1]))
            assert size <= trips < 2 * size + 8 * len(found.get(rank, []))
        assert "Spatial" in nest
        depths = [len(m[1]) for line in nest.splitlines() if (m := LOOP.match(line))]
        assert depths == sorted(depths)


def test_the_command_writes_it(tmp_path: Path) -> None:
    file = tmp_path / "nests.map.txt"
    ran = accelsim("run", "edge_npu", "gpt2", "--seq", 8, "--bits", 8, "--save-mapping", file)
    assert ran.code == 0, ran.output
    assert "Spatial-rows" in file.read_text()


def test_a_mapping_of_another_machine_is_refused() -> None:
    workload = gemm(16, 8, 10)
    mapping = load_mapper("tile")(workload, array_machine())
    with pytest.raises(SpecError):
        timeloop_text(mapping, workload, load_architecture("eyeriss"))
