"""One of Timeloop's own results, carried out by a Mapping file: its exercise 06-mapper-convlayer-eyeriss.

The reference is ref-output/timeloop-mapper.stats.txt of github.com/Accelergy-Project/timeloop-accelergy-exercises,
folder workspace/tutorial_exercises/01_accelergy_timeloop_2020_ispass/timeloop/06-mapper-convlayer-eyeriss, commit
2ffec693.
Words are bytes here. Two of its figures are counted otherwise and left out: it sends a word of the input that
several columns want at once from the buffer to each of them, and of the accesses to partial sums in the PEs it leaves
out those that bring a sum there and take it away.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.cli import accelsim

from accelsim import simulate
from accelsim.arch import load_architecture
from accelsim.mapping.yaml_form import load
from accelsim.mapping.yaml_text import dumps
from accelsim.report import Report
from accelsim.workloads import load_model

FILES = Path(__file__).parent / "data" / "timeloop"
MACHINE, LAYER, MAPPING = (FILES / f"{name}.yaml" for name in ("machine", "layer", "mapping"))
PES = 168


@pytest.fixture(scope="module")
def report() -> Report:
    return simulate(load_architecture(MACHINE), load_model(LAYER), mapping=load(MAPPING))


@pytest.mark.parametrize(
    ("component", "action", "tensor", "words"),
    [
        ("dram", "read", "conv.weight", 8_257_536),
        ("dram", "read", "input", 573_440),
        ("dram", "read", "conv", 2_408_448),
        ("dram", "write", "conv", 3_211_264),
        ("shared_glb", "write", "input", 573_440),
        ("shared_glb", "write", "conv", 12_845_056 + 2_408_448),
        ("pes", "mac", "", 924_844_032),
        ("pes", "weight_read", "", 5_505_024 * PES),
        ("pes", "weight_write", "", 688_128 * PES),
        ("pes", "input_read", "", 5_505_024 * PES),
        ("pes", "input_write", "", 286_720 * PES),
    ],
)
def test_words_that_timeloop_counts(report: Report, component: str, action: str, tensor: str, words: int) -> None:
    assert sum(
        row.count for row in report.energy if (row.component, row.action, row.tensor) == (component, action, tensor)
    ) == words  # fmt: skip


def test_partial_sums_pass_the_buffer_as_timeloop_says(report: Report) -> None:
    """Read for the PEs 12,042,240 times, and once more whenever a tile leaves for DRAM."""
    read = [r.count for r in report.energy if (r.component, r.action, r.tensor) == ("shared_glb", "read", "conv")]
    assert sum(read) == 12_042_240 + 3_211_264


def test_registers_are_as_full_as_timeloop_says() -> None:
    """8, 192 and 24 words; one less does not fit."""
    for operand, words in (("output", 8), ("weight", 192), ("input", 24)):
        for capacity in (words, words - 1):
            path = f"units.pes.registers.{operand}.capacity={capacity} B"
            ran = accelsim("run", MACHINE, LAYER, "--mapping", MAPPING, "--set", path)
            assert ran.code == (0 if capacity == words else 3)
    assert "registers of input: conv needs 24 bytes in one and it has 23, 1 too few" in ran.output


def test_the_command_line_gives_the_same() -> None:
    ran = accelsim("run", MACHINE, LAYER, "--mapping", MAPPING, "--json")
    assert ran.code == 0
    told = json.loads(ran.output)
    assert told["cycles"] == 5_505_024
    assert told["traffic_bytes"]["dram"] == {"read": 8_257_536 + 573_440 + 2_408_448, "write": 3_211_264}
    assert told["utilization"]["pes"] == {"busy": 1.0, "mac": 1.0}
    assert told["bounds"]["program"] == 5_505_024


def test_the_mapping_survives_writing(tmp_path: Path) -> None:
    mapping = load(MAPPING)
    (tmp_path / "again.yaml").write_text(dumps(mapping))
    assert load(tmp_path / "again.yaml") == mapping
