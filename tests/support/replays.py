"""Small Mappings and Workloads that tests of the replay share."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings

from accelsim.arch.architecture import Architecture
from accelsim.errors import MappingError
from accelsim.ir import Workload, WorkloadBuilder
from accelsim.mapping import (
    Iterate,
    Mapping,
    Move,
    Op,
    Position,
    Seq,
    Stay,
    replay,
)

from .machines import array_machine

SETTINGS = settings(deadline=None, derandomize=True, max_examples=150)
MACHINE = array_machine(bandwidth="16 GB/s")


def home(*names: str) -> tuple[Stay, ...]:
    return tuple(Stay(name, "dram", (), ()) for name in names)


def at(depth: int, *start: int) -> Position:
    return (*start, *["body"] * depth)


def chain(length: int, size: int = 64) -> Workload:
    """x -> t0 -> t1 -> ... each of `size` bytes."""
    b = WorkloadBuilder("chain", bits=8)
    name = b.input("x", (size,))
    for i in range(length):
        name = b.elementwise("exp", name, out=f"t{i}", name=f"op{i}")
    b.output(name)
    return b.build()


def vector_op(i: int) -> Op:
    return Op(f"op{i}", "vector", "simd")


def chained(length: int, stays: tuple[Stay, ...], moves: tuple[Move, ...]) -> Mapping:
    return Mapping("chain", "array_machine", Seq(tuple(vector_op(i) for i in range(length))), stays, moves)


def on_chip(length: int, capacity: str = "1 MiB", **changes: object) -> tuple[Mapping, Workload, Architecture]:
    """A chain whose activations all stay in the buffer while they are needed."""
    last = f"t{length - 1}"
    stays = tuple(Stay(f"t{i}", "sram", (i,), (i + 1,)) for i in range(length - 1))
    moves = (
        Move("x", "dram", "sram", (0,), (0,), 1),
        Move(last, "sram", "dram", (length - 1,), (length - 1,), 1, store=True),
    )
    mapping = chained(length, (*home("x", last), *stays), moves)
    return replace(mapping, **changes), chain(length), array_machine(capacity=capacity)  # type: ignore[arg-type]


def stepped(count: int = 3) -> Workload:
    """In every layer t = exp(w), then s = exp(t), of 10 bytes each."""
    b = WorkloadBuilder("stepped", bits=8)
    with b.repeat("layer", count):
        t = b.elementwise("exp", b.weight("w", (10,)), out="t", name="one")
        b.output(b.elementwise("exp", t, out="s", name="two"))
    return b.build()


ONE, TWO = Op("one", "vector", "simd"), Op("two", "vector", "simd")


def fault(mapping: Mapping, workload: Workload, arch: Architecture = MACHINE) -> str:
    with pytest.raises(MappingError) as caught:
        replay(mapping, workload, arch)
    return str(caught.value)


def layers() -> Workload:
    b = WorkloadBuilder("layers", bits=8)
    h = b.input("h", (4, 4))
    with b.repeat("layer", 6) as scope:
        out = b.matmul(h, b.weight("w", (4, 4)), out="h_out", name="mm")
        scope.carry(out, h)
    b.output(b.elementwise("exp", out, out="y", name="last"))
    return b.build()


LAYER = Op("mm", "array", "os")


def looped() -> Mapping:
    inside = (0, "body")
    return Mapping(
        "layers",
        "array_machine",
        Seq((Iterate("layer", 6, LAYER), Op("last", "vector", "simd"))),
        home("w", "h", "h_out", "y"),
        (
            Move("h", "dram", "sram", inside, inside, 1),
            Move("w", "dram", "sram", inside, inside, 1),
            Move("h_out", "sram", "dram", inside, inside, 1, store=True),
            Move("h_out", "dram", "sram", (1,), (1,), 1),
            Move("y", "sram", "dram", (1,), (1,), 1, store=True),
        ),
    )
