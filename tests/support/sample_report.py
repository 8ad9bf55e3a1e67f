"""A small run put together by hand: two operators over three layers, on a machine with every kind of component."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from accelsim.arch.architecture import Architecture
from accelsim.components.buffer import Buffer
from accelsim.components.dram import Dram
from accelsim.components.link import Link
from accelsim.components.systolic import SystolicArray
from accelsim.components.vector import VectorUnit
from accelsim.engine import reference
from accelsim.engine.builder import Phase, ProgramBuilder, Run
from accelsim.engine.labels import Action, ActorLabel
from accelsim.engine.program import Pool, Program, Server
from accelsim.engine.trace import Trace
from accelsim.ir import Access, Affine, Apply, Einsum, Read, Repeat, Role, Tensor, Workload
from accelsim.mapping.tree import Claim, Mapping, Op, Seq

LAYERS, M, N, K = 3, 64, 32, 16
CLOCK = 500e6
WEIGHT_BYTES, INPUT_BYTES, OUTPUT_BYTES = N * K, M * K, M * N
MATMUL_CYCLES, EXP_CYCLES, DRAM_BYTES_PER_CYCLE = 90, 40, 4
ENERGY = {
    ("dram", "read"): 20e-12, ("dram", "write"): 30e-12, ("buffer", "read"): 2e-12, ("buffer", "write"): 3e-12,
    ("bus", "transfer"): 1e-12, ("array", "mac"): 0.5e-12, ("vector", "exp"): 4e-12,
}  # fmt: skip


@dataclass(frozen=True)
class Sample:
    arch: Architecture
    workload: Workload
    mapping: Mapping
    program: Program
    trace: Trace


def sample(*, record: int = 1000, clock: float = CLOCK, tick_hz: Fraction | None = None) -> Sample:
    """Weights of a matmul stream in over a bus, each layer's result goes through exp; the last one is stored."""
    arch, workload = machine(clock), two_operators()
    program = build(Fraction(clock) if tick_hz is None else tick_hz)
    claim = Claim("latency", 700.0, 600.0, 1 / 7, seed=4, seconds=1.25, mapper="by hand")
    root = Seq((Op("mm", "array", "ws"), Op("act<1>", "vector", "simd")))
    mapping = Mapping("two", "sample", root, claim=claim)
    return Sample(arch, workload, mapping, program, reference.run(program, record=record))


def machine(clock: float = CLOCK) -> Architecture:
    e = ENERGY
    return Architecture(
        "sample machine",
        clock,
        {
            "dram": Dram(capacity=2**30, bandwidth=DRAM_BYTES_PER_CYCLE * clock,
                         read_energy=e["dram", "read"], write_energy=e["dram", "write"]),
            "buffer": Buffer(capacity=2**16, parent="dram", bandwidth=1e12,
                             read_energy=e["buffer", "read"], write_energy=e["buffer", "write"]),
        },
        {
            "array": SystolicArray(memory="buffer", rows=16, cols=32, mac_energy=e["array", "mac"]),
            "vector": VectorUnit(memory="buffer", lanes=64, rates={"mac": 0}, energies={"exp": e["vector", "exp"]}),
        },
        {"bus": Link(between=("dram", "buffer"), bandwidth=8 * clock, energy=e["bus", "transfer"])},
    )  # fmt: skip


def two_operators() -> Workload:
    def at(*ranks: str) -> tuple[Affine, ...]:
        return tuple(Affine(((r, 1),)) for r in ranks)

    product = Apply("mul", (Read(0), Read(1)))
    inputs = (Access("x", at("m", "k")), Access("w", at("k", "n")))
    mm = Einsum("mm", Access("h", at("m", "n")), inputs, product, {"m": M, "n": N, "k": K}, "add", "MatMul")
    act = Einsum("act<1>", Access("y", at("m", "n")), (Access("h", at("m", "n")),), Apply("exp", (Read(0),)),
                 {"m": M, "n": N}, kind="Exp")  # fmt: skip
    tensors = [
        Tensor("x", (M, K), Role.INPUT, 8), Tensor("w", (K, N), Role.WEIGHT, 8),
        Tensor("h", (M, N), Role.ACTIVATION, 8), Tensor("y", (M, N), Role.OUTPUT, 8),
    ]  # fmt: skip
    layers = Repeat("layers", LAYERS, (mm, act), shared=frozenset({"x", "y"}))
    return Workload("two operators", {t.name: t for t in tensors}, (layers,))


def build(tick_hz: Fraction) -> Program:
    b = ProgramBuilder("sample", tick_hz=tick_hz)
    dram = b.server(Server("dram", Fraction(DRAM_BYTES_PER_CYCLE)))
    bus = b.server(Server("bus", Fraction(8)))
    array, vector = b.server(Server("array")), b.server(Server("vector"))
    buffer = b.pool(Pool("buffer", 2**16, used=100))

    def actor(name: str, server: int, *label: str) -> int:
        return b.actor(name, server=server, label=ActorLabel(*label))

    fetch = actor("read x", dram, "mm", "dram", "load", "x")
    read = actor("read w", dram, "mm", "dram", "load", "w")
    carry = actor("carry w", bus, "mm", "bus", "load", "w")
    mm = actor("mm", array, "mm", "array", "compute")
    act = actor("act", vector, "act<1>", "vector", "compute")
    store = actor("store y", dram, "act<1>", "dram", "store", "y")
    barrier = b.actor("barrier")

    first = b.fifo(fetch, mm, depth=LAYERS)
    to_bus = b.fifo(read, carry)
    to_array = b.fifo(carry, mm, depth=2, latency=5)
    to_vector = b.fifo(mm, act)
    to_dram = b.fifo(act, store, depth=LAYERS)
    done = b.fifo(store, barrier)

    def run(*actions: tuple[str, str, str, str, int], count: int = LAYERS, **phase: Any) -> list[Run]:
        counted = tuple((Action(*name), n) for *name, n in actions)
        return [Run(Phase(actions=counted, **phase), count)]

    w, x = ("mm", "w", WEIGHT_BYTES), ("mm", "x", INPUT_BYTES)
    b.schedule(fetch, run(("dram", "read", *x), ("buffer", "write", *x), count=1, work=INPUT_BYTES,
                          take=(buffer, INPUT_BYTES), outputs=((first, LAYERS, LAYERS),)))  # fmt: skip
    b.schedule(read, run(("dram", "read", *w), work=WEIGHT_BYTES, outputs=((to_bus, 1, 1),)))
    b.schedule(carry, run(("bus", "transfer", *w), ("buffer", "write", *w), work=WEIGHT_BYTES,
                          take=(buffer, WEIGHT_BYTES), inputs=((to_bus, 1, 1),),
                          outputs=((to_array, 1, 1),)))  # fmt: skip
    b.schedule(mm, run(("array", "mac", "mm", "", M * N * K), ("buffer", "read", *w),
                       ("buffer", "read", "mm", "x", INPUT_BYTES), ("buffer", "write", "mm", "h", OUTPUT_BYTES),
                       work=MATMUL_CYCLES, inputs=((first, 1, 1), (to_array, 1, 1)), outputs=((to_vector, 1, 1),),
                       gives=((buffer, WEIGHT_BYTES),)))  # fmt: skip
    b.schedule(act, run(("vector", "exp", "act<1>", "", M * N), ("buffer", "read", "act<1>", "h", OUTPUT_BYTES),
                        work=EXP_CYCLES, inputs=((to_vector, 1, 1),), outputs=((to_dram, 1, 1),)))  # fmt: skip
    b.schedule(store, run(("dram", "write", "act<1>", "y", OUTPUT_BYTES), count=1, work=OUTPUT_BYTES,
                          inputs=((to_dram, LAYERS, LAYERS),), outputs=((done, 1, 1),)))  # fmt: skip
    b.schedule(barrier, run(count=1, inputs=((done, 1, 1),)))
    return b.build()
