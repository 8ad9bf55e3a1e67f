"""Presets against the data sheets of what they model, and their sources."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Any

import pytest

from accelsim.arch import Architecture, load_architecture, loads_architecture, preset_names
from accelsim.arch.layout import Layout, Spread
from accelsim.text.document import parse_document


@dataclass(frozen=True)
class Sheet:
    """What a data sheet says; FLOP are two per MAC.

    Attributes:
        unit: the unit with the peak; others that compute MACs are named in `beside`.
        macs: per second, dense, at the width that is modelled.
        memories: bytes and bytes per second (None where it is not published) of memories.
        digits: relative precision of the published peak.
        bits: of operands at which the peak is reached, where that is not the unit's width.
    """

    unit: str
    macs: float
    memories: dict[str, tuple[float, float | None]]
    source: str
    digits: float = 1e-3
    beside: tuple[str, ...] = ()
    bits: int = 0


SHEETS = {
    "a100_80gb": Sheet("tensor", 312e12 / 2, {"hbm": (80e9, 2039e9), "l2": (40 * 2**20, None)},
                       "NVIDIA A100 data sheet: 312 TFLOP/s fp16 dense, 80 GB, 2039 GB/s, 40 MB of L2"),
    "h100_sxm": Sheet("tensor", 989.4e12 / 2, {"hbm": (80e9, 3350e9), "l2": (50 * 2**20, None)},
                      "NVIDIA H100 data sheet: 989.4 TFLOP/s bf16 dense, 80 GB, 3.35 TB/s, 50 MB of L2"),
    "jetson_agx_orin": Sheet("tensor", 42.5e12 / 2, {"dram": (64e9, 204.8e9), "l2": (4 * 2**20, None)},
                             "Jetson AGX Orin technical brief: 85 dense int8 TOP/s of the GPU, half of it at fp16; "
                             "64 GB, 204.8 GB/s, 4 MB of L2", digits=5e-3),
    "tpu_v4": Sheet("mxu", 275e12 / 2, {"hbm": (32 * 2**30, 1200e9), "cmem": (128 * 2**20, None),
                                        "vmem": (32 * 2**20, None)},
                    "Google Cloud, TPU v4: 275 bf16 TFLOP/s, 32 GiB, 1200 GB/s; ISCA 2023, table 4: CMEM, VMEM"),
    "tpu_v5e": Sheet("mxu", 197e12 / 2, {"hbm": (16e9, 819e9), "vmem": (128 * 2**20, None)},
                     "Google Cloud, TPU v5e: 197 bf16 TFLOP/s, 16 GB, 819 GB/s"),
    "fusemax": Sheet("array2d", 256 * 256 * 940e6, {"dram": (64 * 2**30, 400 * 2**30), "buffer": (16 * 2**20, None)},
                     "FuseMax (MICRO 2024): 256x256 at 940 MHz, 400 * 2^30 B/s, 16 MiB", beside=("array1d",)),
    "stm32f746": Sheet("core", 2 * 216e6, {"flash": (2**20, None), "sram": (320 * 2**10, None)},
                       "STM32F746 data sheet: 216 MHz, 1 MB of flash, 320 KB of SRAM; ARMv7E-M: SMLAD"),
    "stm32f412": Sheet("core", 2 * 100e6, {"flash": (2**20, None), "sram": (256 * 2**10, None)},
                       "STM32F412 data sheet: 100 MHz, 1 MB of flash, 256 KB of SRAM; ARMv7E-M: SMLAD", bits=8),
    "stm32h743": Sheet("core", 2 * 480e6, {"flash": (2**21, None), "sram": (512 * 2**10, None)},
                       "STM32H743 data sheet: 480 MHz, 2 MB of flash, 512 KB of AXI SRAM; ARMv7E-M: SMLAD"),
    "alveo_u280": Sheet("dsp", 9024 * 300e6, {"ddr": (32 * 2**30, 38.4e9), "hbm": (8 * 2**30, 460e9),
                                              "onchip": (2016 * 36 * 128 + 960 * 288 * 128, None)},
                        "Alveo U280 data sheet: 9024 DSPs, 32 GB of DDR4 at 38 GB/s, 8 GB of HBM2 at 460 GB/s, "
                        "2016 BRAM36, 960 URAM of 288 Kb"),
    "sn40l": Sheet("pcu", 638e12 / 2, {"ddr": (1536 * 2**30, 200e9), "hbm": (64 * 2**30, 1.8e12),
                                       "sram": (520 * 2**20, None)},
                   "SN40L (MICRO 2024), table II: 638 bf16 TFLOP/s, 1.5 TB at 200 GB/s, 64 GiB at 1.8 TB/s, 520 MiB"),
    "plasticine": Sheet("pcu", 12.3e12 / 2, {"dram": (16 * 2**30, 51.2e9), "pmu": (16 * 2**20, None)},
                        "Plasticine (ISCA 2017): 12.3 TFLOP/s, 16 MB on chip; four channels of DDR3-1600", digits=2e-3,
                        bits=32),
    "versal_vpk180": Sheet("dsp", 14352 * 300e6, {"lpddr": (12 * 2**30, 89.6e9),
                                                  "onchip": (4941 * 36 * 128 + 2549 * 288 * 128, None)},
                           "Versal Premium product table: 14,352 DSP58, 4,941 BRAM36, 2,549 URAM"),
    "alveo_u280_cores": Sheet("cores", 9024 * 300e6, {"ddr": (32 * 2**30, 38.4e9), "hbm": (8 * 2**30, 460e9),
                                                      "onchip": (2016 * 36 * 128 + 960 * 288 * 128, None)},
                              "as alveo_u280", beside=("dsp",)),
    "sn40l_kernels": Sheet("pool", 638e12 / 2, {"ddr": (1536 * 2**30, 200e9), "hbm": (64 * 2**30, 1.8e12),
                                                "sram": (520 * 2**20, None)}, "as sn40l", beside=("pcu",)),
    "tpu_like": Sheet("mxu", 123e12 / 4, {"hbm": (16 * 2**30, 450e9), "vmem": (16 * 2**20, None)},
                      "TPUv3, half a chip (ISCA 2021, table 1): 123 TFLOP/s, 32 GiB, 900 GB/s", digits=2e-3,
                      beside=("vpu",)),
    "three_cores": Sheet(
        "array",
        32 * 32 * 1e9,
        {
            "dram": (4 * 2**30, 8e9),
            "dense": (256 * 2**10, None),
            "deep": (128 * 2**10, None),
            "pixels": (128 * 2**10, None),
        },
        "Stream's tpu_like core: an array of 32x32",
        beside=("lanes", "vector"),
    ),
    "three_cores_shared": Sheet(
        "array",
        32 * 32 * 1e9,
        {
            "dram": (4 * 2**30, 8e9),
            "shared": (256 * 2**10, None),
            "dense": (128 * 2**10, None),
            "deep": (64 * 2**10, None),
            "pixels": (64 * 2**10, None),
        },
        "Stream's tpu_like core: an array of 32x32",
        beside=("lanes", "vector"),
    ),
    "edge_npu": Sheet("array", 256e9, {"dram": (4 * 2**30, 8 * 2400e6), "sram": (512 * 2**10, None)},
                      "Gemmini's default: 16x16 int8 at 1 GHz; four x16 channels of LPDDR4-2400; NVDLA: 512 KB",
                      beside=("vector",)),
    "eyeriss": Sheet("pes", 168 * 200e6, {"dram": (4 * 2**30, 480e6), "glb": (100 * 2**10, None),
                                          "filters": (8 * 2**10, None)},
                     "Eyeriss (JSSC 2017): 12x14 PEs at 200 MHz, 100 KiB and 8 KiB, 64 bits at 60 MHz",
                     beside=("vector",)),
    "eyeriss_16x16": Sheet("pes", 256 * 200e6, {"dram": (4 * 2**30, 480e6), "glb": (152 * 2**10, None),
                                                "filters": (12 * 2**10, None)},
                           "Eyeriss (JSSC 2017) with 16x16 PEs and 1.5 times the buffers", beside=("vector",)),
    "eyeriss_64x64": Sheet("pes", 4096 * 200e6, {"dram": (4 * 2**30, 480e6), "glb": (2400 * 2**10, None),
                                                 "filters": (192 * 2**10, None)},
                           "Eyeriss (JSSC 2017) with 64x64 PEs and 24 times the buffers", beside=("vector",)),
}  # fmt: skip


def row_by_row(rows: int, columns: int) -> Layout:
    """16 columns by 12 rows of the second matrix in a PE, while the rows of the first one pass."""
    return Layout(
        (Spread("k", "rows", rows), Spread("n", "columns", columns)),
        (("n", columns * 16), ("k", rows * 12), ("m", 1), ("k", rows)), {"weight": 2, "input": 3, "output": 3},
    )  # fmt: skip


IN_MEMORY = {
    "pim_gpt": Sheet(
        "pim",
        8 * 16 * 16 * 1e9,
        {"dram": (4 * 2**30, 256e9), "sram": (128 * 2**10, None)},
        "PIM-GPT: 8 channels x 16 banks x 16 multipliers at 1 GHz, 16 Gb/s on 16 pins a channel",
        beside=("asic",),
    ),
    "gddr6_aim": Sheet(
        "pim",
        32 * 16 * 16 * 1e9,
        {"dram": (16 * 2**30, 1024e9), "sram": (2**20, None)},
        "GDDR6-AiM: 512 GFLOP/s a channel, 32 GB/s a channel; 4 Gb a channel",
        beside=("vector",),
    ),
    "cent": Sheet(
        "pim",
        32 * 16 * 16 * 1e9,
        {"dram": (16 * 2**30, 1024e9), "sram": (2**20, None)},
        "CENT: a device of 32 GDDR6-AiM channels",
        beside=("vector",),
    ),
    "colonnade": Sheet(
        "array",
        128 * 16 * 100e6,
        {"dram": (2**30, None), "sram": (2**20, None), "cells": (2048, None)},
        "Colonnade (JSSC 2021): 128 x 128 cells at 100 MHz; a weight of a bit takes 8 columns",
        beside=("vector",),
    ),
    "jia_2020": Sheet(
        "array",
        0.874e12 / 2,
        {"dram": (2**30, None), "sram": (2**20, None), "cells": (2304 * 32, None)},
        "Jia (JSSC 2020), table II: 0.874 TOP/s of a bit at 0.85 V",
        beside=("vector",),
    ),
    "sinangil_2021": Sheet(
        "array",
        372.4e9 / 2,
        {"dram": (2**30, None), "sram": (2**20, None), "cells": (512, None)},
        "Sinangil (JSSC 2021): 372.4 GOP/s of 4 bits at 0.8 V",
        beside=("vector",),
    ),
    "wang_2022": Sheet(
        "array",
        3.596e12 * 0.124 / 2,
        {"dram": (2**30, None), "sram": (2**20, None), "cells": (1024, None)},
        "Wang (VLSI 2022): 3.596 TOP/s/mm2 of 0.124 mm2 at 1 V",
        beside=("vector",),
    ),
    "isaac": Sheet(
        "crossbars",
        41.3e12 / 2,
        {"dram": (16 * 2**30, None), "edram": (168 * 64 * 2**10, None), "cells": (16128 * 4096, None)},
        "ISAAC-CE (ISCA 2016): 41.3 TOP/s at 16 bits, 168 tiles of 64 KB",
        beside=("vector",),
    ),
    "hbm_pim": Sheet(
        "pim",
        32 * 16 * 16 * 1.2e9 / 4,
        {"dram": (32 * 2**30, 32 * 38.4e9), "sram": (8 * 2**20, None)},
        "HBM2-PIM: 16 units of 16 lanes a channel, one command per tCCD_L at 2.4 Gb/s",
        digits=2e-3,
        beside=("vector",),
    ),
    "attacc": Sheet(
        "pim",
        80 * 64 * 16 * 1.3e9 / 6,
        {"dram": (80 * 2**30, 80 * 41.6e9), "sram": (8 * 2**20, None)},
        "AttAcc: 64 banks a channel, 16 lanes each, a command every 6 cycles at 5.2 Gb/s",
        digits=2e-3,
        beside=("softmax",),
    ),
}
"""Machines whose units compute at the banks: opening rows keeps them from their peak (tests/test_pim.py)."""

MACROS = ("colonnade", "jia_2020", "sinangil_2021", "wang_2022")
"""Single arrays, which are written again from operator to operator."""

LAYOUTS = {
    "eyeriss": row_by_row(12, 14),
    "eyeriss_16x16": row_by_row(16, 16),
    "eyeriss_64x64": row_by_row(64, 64),
}
"""How units whose elements have loops of their own run a large product."""


def mac_peaks(arch: Architecture) -> dict[str, float]:
    peaks = {name: unit.peak_rates().get("mac", 0.0) * unit.clock_hz for name, unit in arch.units.items()}
    return {name: peak for name, peak in peaks.items() if peak}


def test_every_preset_has_its_sheet() -> None:
    assert set(SHEETS) | set(IN_MEMORY) == set(preset_names())


@pytest.mark.parametrize("name", sorted(SHEETS | IN_MEMORY))
def test_presets_have_the_published_peak(name: str) -> None:
    """The dense peak, once: no second unit adds to it unless the sheet says so."""
    sheet, peaks = (SHEETS | IN_MEMORY)[name], mac_peaks(load_architecture(name))
    assert peaks[sheet.unit] == pytest.approx(sheet.macs, rel=sheet.digits), sheet.source
    assert set(peaks) == {sheet.unit, *sheet.beside}


@pytest.mark.parametrize("name", sorted(SHEETS | IN_MEMORY))
def test_presets_have_the_published_memories(name: str) -> None:
    sheet, arch = (SHEETS | IN_MEMORY)[name], load_architecture(name)
    assert set(arch.memories) == set(sheet.memories)
    for memory, (capacity, bandwidth) in sheet.memories.items():
        assert arch.memories[memory].capacity == capacity, (memory, sheet.source)
        if bandwidth is not None:
            port = arch.memories[memory].port("read")
            assert port is not None and port == arch.memories[memory].port("write")
            assert port[0] == memory and port[1] == pytest.approx(bandwidth, rel=sheet.digits), sheet.source
    assert {m.name for m in arch.off_chip} >= {m for m, (_, b) in sheet.memories.items() if b is not None}


@pytest.mark.parametrize("name", sorted(SHEETS))
def test_the_feed_of_the_peak_unit_lets_it_reach_the_peak(name: str) -> None:
    """A large enough tile of a product runs at 95 % of the peak or more when its operands are in the unit's memory."""
    import numpy as np
    from support.einsums import gemm

    from accelsim.components import compute_units

    unit = compute_units(load_architecture(name))[SHEETS[name].unit]
    einsum = gemm(1, 8192, 8192, 8192)
    bits = SHEETS[name].bits or getattr(unit, "mac_bits", 16)
    rows = np.array([512, 8192])
    extents = {"g": np.array([1]), "m": rows, "n": np.array([8192]), "k": np.array([8192])}
    options = unit.spatial_options(einsum)
    if name in LAYOUTS:
        options = (unit.option(einsum, options[0].variant, LAYOUTS[name]),)
    costs = [unit.cost(einsum, o, extents, (bits, bits, bits)) for o in options]
    reached = max((rows * 8192**2 / (c.cycles * unit.peak_rates()["mac"])).max() for c in costs)
    assert 0.95 <= reached <= 1.0


@pytest.mark.parametrize("name", preset_names())
def test_presets_load_round_trip_and_pickle(name: str) -> None:
    arch = load_architecture(name)
    assert arch.name == name
    assert arch.source
    again = loads_architecture(arch.to_yaml(), "again")
    assert again == arch
    assert again.spec_hash == arch.spec_hash
    copy = pickle.loads(pickle.dumps(arch))
    assert copy == arch
    assert copy.defaults_used() == arch.defaults_used()
    for component in arch.components():
        assert all(e >= 0 for e in component.action_energy().values())
        assert set(component.action_energy()) <= set(component.actions)
    with pytest.raises(AttributeError):
        arch.clock = 1.0  # type: ignore[misc]
    with pytest.raises(TypeError):
        del arch.units["array"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", preset_names())
def test_a_small_model_runs_on_every_preset(name: str) -> None:
    from support.sample_report import two_operators

    from accelsim import simulate

    arch, workload = load_architecture(name), two_operators()
    report = simulate(arch, workload, mapper="tile" if name in MACROS else "auto")
    assert report.bounds.machine <= report.bounds.program * (1 + 1e-9)
    assert report.bounds.program <= report.cycles
    assert report.macs == workload.macs
    leaking = {c.name for c in arch.components() if c.leakage is not None}
    assert set(report.provenance["without_leakage"]) == {c.name for c in arch.components()} - leaking
    assert report.energy_dynamic_J > 0 and (report.energy_J == report.energy_dynamic_J) == (not leaking)
    assert report.area_mm2 == arch.area_mm2


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of the numbers of a machine file."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif not isinstance(value, bool) and str(value)[:1].isdigit():
        yield path


def commented(lines: list[str], at: int) -> bool:
    """Whether line `at` has a comment, or follows one above it with nothing but uncommented siblings between."""
    if " # " in lines[at]:
        return True
    indent = len(lines[at]) - len(lines[at].lstrip())
    above = at - 1
    while lines[above].startswith(" " * indent) and not lines[above].lstrip().startswith("#"):
        if len(lines[above]) - len(lines[above].lstrip()) != indent or " # " in lines[above]:
            return False
        above -= 1
    return lines[above].startswith(" " * indent + "#")


def without_source(name: str, text: str) -> list[str]:
    """Numbers of a machine file beside which no source stands.

    A source is a comment on the line or above it, the same of the mapping that the number stands in (`rates`), or the
    component's `source`.
    """
    document, lines = parse_document(text, name), text.splitlines()
    missing = []
    for path in leaves(document.data):
        places = [path] + ([path[:-1]] if len(path) > 3 else [])
        own = len(path) > 2 and "source" in document.data[path[0]][path[1]]
        if not own and not any(commented(lines, document.positions[p].line - 1) for p in places):
            missing.append(".".join(path))
    return missing


@pytest.mark.parametrize("name", preset_names())
def test_every_number_has_its_source_beside_it(name: str) -> None:
    text = resources.files("accelsim.arch_specs").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    assert without_source(name, text) == []


def test_a_number_without_a_source_is_found() -> None:
    text = "clock: 1 GHz # a book\nmemories:\n  a:\n    # a page\n    capacity: 1 B\n    latency: 1 s\n\n    banks: 2\n"
    assert without_source("m", text) == ["memories.a.banks"]
    text = "units:\n  v:\n    lanes: 3\n    rates: # guessed\n      exp: 1/2\n    energies:\n      exp: 1 pJ\n"
    assert without_source("m", text) == ["units.v.lanes", "units.v.energies.exp"]
    assert without_source("m", text.replace("lanes", "source: x\n    lanes")) == []
