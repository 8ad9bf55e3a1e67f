"""Small machines and Mappings whose runs can be worked out by hand, and what a run of them gives.

On these machines a tick is a cycle, an element a byte; the array does one product and the vector unit one operation per
tick, so that a tile of a matrix product lasts m*n*k ticks and one of an element-wise operator m*n; DRAM moves 4 bytes
per tick unless the test says otherwise, and the buffer's own ports take no time. Requests of one tick to one channel
are served in order of actors: Ops in order, then Moves as listed.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from accelsim.arch.architecture import Architecture
from accelsim.arch.loader import loads_architecture
from accelsim.engine import compiled, reference
from accelsim.engine.bounds import program_bound
from accelsim.engine.checker import check
from accelsim.engine.labels import Action
from accelsim.engine.program import Program
from accelsim.engine.trace import Trace
from accelsim.ir import Workload, parse_cascade
from accelsim.lowering import lower
from accelsim.mapping.replay import replay
from accelsim.mapping.tree import (
    Mapping,
    Move,
    Node,
    Op,
    Stay,
    parse_position,
)

from .kernels import RECORD

UNLIMITED = "unlimited"


def machine(dram: str = "4 GB/s", *, array: str = "", latency: str = "0 ns", far: str = "") -> Architecture:
    """One product and one element-wise operation per tick; `far` adds a memory beyond DRAM of that bandwidth."""
    beyond = f"  far: {{kind: dram, capacity: 1 GiB, bandwidth: {far}}}\n" if far else ""
    parent = "parent: far, " if far else ""
    return loads_architecture(
        f"""
name: machine
clock: 1 GHz
memories:
{beyond}  dram: {{kind: dram, capacity: 1 MiB, {parent}bandwidth: {dram}, latency: {latency}}}
  sram: {{kind: buffer, capacity: 64 KiB, parent: dram, bandwidth: unlimited}}
units:
  array: {{kind: systolic, memory: sram, {array or "rows: 1, cols: 1"}, dataflows: [os], mac_bits: 8}}
  vector: {{kind: vector, memory: sram, lanes: 1}}
"""
    )


def cascade(text: str, **sizes: int) -> Workload:
    return parse_cascade(text, sizes, bits=8)


def array(einsum: str) -> Op:
    return Op(einsum, "array", "os")


def vector(einsum: str) -> Op:
    return Op(einsum, "vector", "simd")


def load(tensor: str, due: str, issue: str | None = None, buffers: int = 2, way: str = "dram sram") -> Move:
    src, dst = way.split()
    at = parse_position(due)
    return Move(tensor, src, dst, at if issue is None else parse_position(issue), at, buffers)


def store(tensor: str, issue: str, due: str | None = None, buffers: int = 2, way: str = "sram dram") -> Move:
    src, dst = way.split()
    at = parse_position(issue)
    return Move(tensor, src, dst, at, at if due is None else parse_position(due), buffers, store=True)


def mapped(root: Node, moves: list[Move], homes: str, on_chip: str = "", where: str = "dram") -> Mapping:
    """A Mapping in which tensors stay off chip (`homes`) or in the buffer (`on_chip`) all the time."""
    stays = [Stay(t, where, (), ()) for t in homes.split()] + [Stay(t, "sram", (), ()) for t in on_chip.split()]
    return Mapping("cascade", "machine", root, tuple(stays), tuple(moves))


@dataclass(frozen=True)
class Ran:
    """A run that both kernels, the checker of Traces and the replay of the Mapping agree about."""

    program: Program
    trace: Trace
    bound: Fraction

    @property
    def finish(self) -> int:
        return self.trace.finish

    def spans(self, name: str) -> list[tuple[int, int]]:
        """Start and end of every firing of the actors whose name begins so."""
        slices = self.trace.slices
        assert slices is not None
        mine = [a for a, n in enumerate(self.program.actor_names) if n.startswith(name)]
        assert mine, f"no actor {name}: {self.program.actor_names}"
        return [
            (int(s), int(e)) for a, s, e in zip(slices.actor, slices.start, slices.end, strict=True) if int(a) in mine
        ]

    def moved(self, memory: str, direction: str, tensor: str) -> int:
        counts = self.trace.action_counts()
        return sum(
            int(n)
            for a, n in zip(self.program.actions, counts, strict=True)
            if isinstance(a, Action) and (a.component, a.action, a.tensor) == (memory, direction, tensor)
        )


def balance(program: Program) -> list[int]:
    """Tokens put into each FIFO less those taken from it, over the whole run."""
    firings = program.phase_firings()
    left = [0] * len(program.fifos)
    for p, n in enumerate(firings):
        for r in range(int(program.in_ptr[p]), int(program.in_ptr[p + 1])):
            left[int(program.in_fifo[r])] -= int(n) * int(program.in_take[r])
        for r in range(int(program.out_ptr[p]), int(program.out_ptr[p + 1])):
            left[int(program.out_fifo[r])] += int(n) * int(program.out_put[r])
    return left


def run(arch: Architecture, workload: Workload, mapping: Mapping, *, replayed: bool = True) -> Ran:
    program = lower(arch, workload, mapping)
    trace = reference.run(program, record=RECORD)
    for other in (compiled.run(program, record=RECORD), compiled.run(program, jump=False)):
        assert trace.differences(other) == []
    assert check(program, trace) == []
    bound = program_bound(program)
    assert bound <= trace.finish
    assert balance(program) == [0] * len(program.fifos)
    ran = Ran(program, trace, bound)
    if replayed:
        counted = replay(mapping, workload, arch).tensor_bytes
        for (tensor, memory, direction), nbytes in counted.items():
            if not arch.memories[memory].on_chip:  # units, too, read and write on-chip memories
                assert ran.moved(memory, direction, tensor) == nbytes
    return ran


TWO = "C[m,n] = A[m,k] * B[k,n]; D[m,n] = max(C[m,n], 0)"
FOUR = {"m": 4, "n": 4, "k": 4}
ALL_FOUR = {"m": 4, "n": 4, "k": 4, "p": 4, "q": 4}
