"""Chains of convolutions inside loops with a halo, drawn at random, and their Mappings onto small machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from hypothesis import strategies as st

from accelsim.arch.architecture import Architecture
from accelsim.arch.loader import loads_architecture
from accelsim.engine import compiled, reference
from accelsim.engine.bounds import program_bound
from accelsim.engine.checker import check
from accelsim.engine.labels import Action
from accelsim.engine.trace import Trace
from accelsim.ir import Workload
from accelsim.lowering import lower
from accelsim.mapping.handing import way_between
from accelsim.mapping.replay import replay
from accelsim.mapping.tree import BODY, Halo, Loop, Mapping, Move, Op, Pipe, Position, Stay
from accelsim.report.cautions import moved_bytes
from accelsim.workloads.layers import loads_layers

from .kernels import RECORD

MACHINE = """
name: machine
clock: 1 GHz
memories:
  dram: {kind: dram, capacity: 16 MiB, bandwidth: 4 GB/s}
  sram: {kind: buffer, capacity: 1 MiB, parent: dram, bandwidth: unlimited}
units:
  vector: {kind: vector, memory: sram, lanes: 1}
"""
CHANNELS = 2
BYTES = 2
"""Of an element."""


def machine() -> Architecture:
    return loads_architecture(MACHINE)


@dataclass(frozen=True)
class Layer:
    kernel: int
    stride: int
    pad: int


@dataclass(frozen=True)
class Case:
    """A chain of convolutions, perhaps with the input of one added to its result, and how it is cut.

    Attributes:
        residual: whether the input of the last convolution, which keeps the size, is added to its result.
        tiles, halos: of loops over rows and columns.
    """

    layers: tuple[Layer, ...]
    residual: bool
    size: int
    tiles: tuple[int, int]
    halos: tuple[Halo, Halo]
    depth: int
    sliding: bool

    @property
    def strips(self) -> bool:
        """Whether columns are not cut: there is no loop over them."""
        return self.tiles[1] >= self.sizes[-1]

    @property
    def inner(self) -> Position:
        """The body of the innermost loop."""
        return (BODY,) if self.strips else (BODY, BODY)

    @property
    def sizes(self) -> list[int]:
        """Along a side: of the input and of every result."""
        found = [self.size]
        for layer in self.layers:
            found.append((found[-1] + 2 * layer.pad - layer.kernel) // layer.stride + 1)
        return found

    def workload(self) -> Workload:
        lines = [f"input: [{CHANNELS}, {self.size}, {self.size}]", "layers:"]
        for layer in self.layers:
            shape = f"kernel: {layer.kernel}, stride: {layer.stride}, pad: {layer.pad}, bias: false"
            lines.append(f"- conv: {{out: {CHANNELS}, {shape}}}")
        if self.residual:
            lines[-1:] = ["- residual:", f"  {lines[-1]}"]
        return loads_layers("\n".join([*lines, ""]))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    layers = [
        Layer(kernel, draw(st.integers(1, 2)), draw(st.integers(0, kernel // 2)))
        for kernel in draw(st.lists(st.sampled_from((1, 2, 3, 5)), min_size=1, max_size=3))
    ]
    residual = draw(st.booleans())
    if residual:
        layers.append(Layer(3, 1, 1))
    case = Case(
        tuple(layers), residual, draw(st.integers(5, 14)),
        (draw(st.integers(1, 4)), draw(st.integers(1, 9))),
        (draw(st.sampled_from(("retained", "retained", "clipped"))), draw(st.sampled_from(("retained", "clipped")))),
        draw(st.integers(1, 3)), draw(st.booleans()),
    )  # fmt: skip
    while case.sizes[-1] < 2 or min(case.sizes) < 1:
        case = Case(case.layers, residual, case.size + 3, case.tiles, case.halos, case.depth, case.sliding)
    return case


def mapping_of(case: Case, workload: Workload, arch: Architecture, units: Sequence[str] = ("vector",)) -> Mapping:
    """All Einsums as stages of one Pipe, inside loops over rows and columns of the last one's result.

    Units take turns; everything from outside comes to the memory of each that reads it, by the shortest way.
    """
    einsums = [e for e, _ in workload.einsums()]
    ops = tuple(Op(e.name, units[i % len(units)], "simd") for i, e in enumerate(einsums))
    body = Pipe(ops, (case.depth,) * (len(ops) - 1)) if len(ops) > 1 else ops[0]
    last = einsums[-1].output
    rows, columns = (last.indices[d].ranks[0] for d in (2, 3))
    inner = body if case.strips else Loop(columns, case.tiles[1], body, case.halos[1])
    root = Loop(rows, case.tiles[0], inner, case.halos[0])
    made = {e.output.tensor for e in einsums}
    read = dict.fromkeys(a.tensor for e in einsums for a in e.inputs if a.tensor not in made)
    stays = [Stay(name, "dram", (), ()) for name in (*read, last.tensor)]
    moves: dict[tuple[str, str, Position], Move] = {}
    for i, einsum in enumerate(einsums):
        memory = arch.units[ops[i].unit].memory
        at = (*case.inner, i) if len(ops) > 1 else case.inner
        for access in einsum.inputs:
            if access.tensor in made:
                continue
            inside = access.tensor == "input"
            cut = () if not inside else case.inner if len(units) == 1 else at
            for src, dst in pairwise(way_between(arch, "dram", memory)):
                move = Move(access.tensor, src, dst, cut, cut, 1, sliding=inside and case.sliding)
                moves[access.tensor, dst, cut] = move
        if i == len(einsums) - 1:
            for src, dst in pairwise(way_between(arch, memory, "dram")):
                moves[last.tensor, dst, at] = Move(last.tensor, src, dst, at, at, 1, store=True)
    return Mapping(workload.name, arch.name, root, tuple(stays), tuple(moves.values()))


def count(trace: Trace, component: str, action: str, *, tensor: str = "", operator: str = "") -> int:
    counted = zip(trace.program.actions, trace.action_counts(), strict=True)
    return sum(
        int(n)
        for a, n in counted
        if isinstance(a, Action)
        and (a.component, a.action) == (component, action)
        and tensor in ("", a.tensor)
        and operator in ("", a.operator)
    )


def run(arch: Architecture, workload: Workload, mapping: Mapping) -> Trace:
    """A run that both kernels and the checker agree about, whose bytes and products are those of the replay."""
    program = lower(arch, workload, mapping)
    trace = reference.run(program, record=RECORD)
    assert trace.differences(compiled.run(program, record=RECORD)) == []
    assert check(program, trace) == []
    assert program_bound(program) <= trace.finish
    counted = replay(mapping, workload, arch)
    assert moved_bytes(trace) == {key: n for key, n in counted.traffic_bytes.items() if n}
    macs: dict[str, int] = {}
    for name in arch.units:
        for einsum, _ in workload.einsums():
            macs[einsum.name] = macs.get(einsum.name, 0) + count(trace, name, "mac", operator=einsum.name)
    assert macs == dict(counted.macs)
    return trace
