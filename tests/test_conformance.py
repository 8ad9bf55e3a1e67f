"""What packages of others have to pass, passed by what comes with accelsim."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest
from support.einsums import at, conv, gemm, group_conv
from support.fuzz.seeds import CHAIN, CONVOLUTIONS, LAYERS
from support.machines import array_machine
from support.machines import gemm as product

from accelsim.arch.architecture import Architecture
from accelsim.arch.loader import load_architecture
from accelsim.components.base import ComputeUnit
from accelsim.components.bit_serial import BitSerialArray
from accelsim.components.pe_array import PeArray
from accelsim.components.spatial import SpatialArray
from accelsim.components.systolic import SystolicArray
from accelsim.components.vector import VectorUnit
from accelsim.conformance import ComponentConformance, ImporterConformance, MapperConformance
from accelsim.ir import Access, Apply, Einsum, Read, Workload
from accelsim.ir.build import WorkloadBuilder
from accelsim.simulation import Mapper, load_mapper
from accelsim.workloads import load_model

CONTRACTIONS = (gemm(2, 9, 10, 11), conv(4, 6, 8, 3), group_conv(g=4, m=2, c=3, side=(6, 6), window=(3, 3)))


def elementwise(op: str, n: int) -> Einsum:
    return Einsum(op, Access("O", at("i")), (Access("A", at("i")), Access("B", at("i"))),
                  Apply(op, (Read(0), Read(1))), {"i": n})  # fmt: skip


class TestSystolic(ComponentConformance):
    def unit(self) -> ComputeUnit:
        return SystolicArray(memory="sram", rows=4, cols=6)

    def einsums(self) -> Sequence[Einsum]:
        return CONTRACTIONS


class TestSeveralSystolic(ComponentConformance):
    def unit(self) -> ComputeUnit:
        return SystolicArray(memory="sram", rows=4, cols=4, arrays=3, deals=("folds", "rows", "columns", "contraction"))

    def einsums(self) -> Sequence[Einsum]:
        return CONTRACTIONS


class TestSpatial(ComponentConformance):
    def unit(self) -> ComputeUnit:
        return SpatialArray(memory="sram", dimensions={"rows": 4, "columns": 3})

    def einsums(self) -> Sequence[Einsum]:
        return CONTRACTIONS


class TestPeArray(ComponentConformance):
    def unit(self) -> ComputeUnit:
        return PeArray(memory="sram", rows=4, cols=6)

    def einsums(self) -> Sequence[Einsum]:
        return CONTRACTIONS


class TestBitSerial(ComponentConformance):
    def unit(self) -> ComputeUnit:
        return BitSerialArray(memory="sram", rows=4, cols=4)

    def einsums(self) -> Sequence[Einsum]:
        return CONTRACTIONS[:1]


class TestVector(ComponentConformance):
    def unit(self) -> ComputeUnit:
        return VectorUnit(memory="sram", lanes=8)

    def einsums(self) -> Sequence[Einsum]:
        return (elementwise("add", 100), elementwise("max", 7), elementwise("div", 64))


def chain() -> Workload:
    b = WorkloadBuilder("chain", bits=8)
    hidden = b.relu(b.matmul(b.input("x", (24, 32)), b.weight("w", (32, 40))))
    b.output(b.softmax(b.matmul(hidden, b.weight("v", (40, 16)))))
    return b.build()


class _Mapper(MapperConformance):
    name: str

    def mapper(self) -> Mapper:
        return load_mapper(self.name)

    def cases(self) -> Sequence[tuple[Workload, Architecture]]:
        return [
            (product(33, 20, 17), array_machine(bandwidth="8 B/cycle", capacity="8 KiB")),
            (chain(), load_architecture("edge_npu")),
        ]


class TestTileMapper(_Mapper):
    name = "tile"


class TestCascadeMapper(_Mapper):
    name = "cascade"


class TestIlpMapper(_Mapper):
    name = "ilp"


class TestLruMapper(_Mapper):
    name = "lru"


class TestTexts(ImporterConformance):
    def importer(self) -> Callable[..., Workload]:
        return load_model

    def files(self) -> Mapping[str, tuple[str, int]]:
        unit = 9 * 4 * 4 * 144
        return {
            "chain.yaml": (CHAIN, 12 * 10 * 24),
            "layers.yaml": (LAYERS, 9 * 3 * 4 * 144 + 2 * unit + 2 * 9 * 8 * 8 * 144 + 80),
            "topology.csv": (CONVOLUTIONS, 25 * 27 * 8 + 9 * 45 + 49 * 6 * 4),
        }


def test_a_unit_faster_than_its_peak_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SystolicArray, "peak_rates", lambda self: {"mac": 0.5})
    with pytest.raises(AssertionError, match="mac of gemm"):
        TestSystolic().test_it_is_never_faster_than_its_peak()
