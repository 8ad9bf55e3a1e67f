"""One kernel of a pipeline: some of its stages, what they read from and write to off-chip memory, and its graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from ...engine.program import UNBOUNDED
from ...lowering.streams import GraphBuilder, Rate, StreamGraph, every
from .allot import Allotment, Budget
from .build import Timing, link_name
from .stages import Link, Stage, Stages

MEMORY = "off chip"
BURST = 4096
"""Bytes that the memory moves for one transfer before it serves the next."""
SMALLEST_PART = 64
"""Bytes of a burst, below which a tensor is cut only for want of room."""


@dataclass(frozen=True)
class Transfer:
    """What one stage moves between itself and off-chip memory.

    Attributes:
        stage: that reads or writes.
        tensor: what.
        times: transfers over the run.
        nbytes: of one of them.
        held_bytes: on-chip bytes that it takes: all of what is read once, or two transfers (a double buffer).
        writes: whether it writes.
    """

    stage: str
    tensor: str
    times: int
    nbytes: int
    held_bytes: int
    writes: bool = False

    @property
    def total(self) -> int:
        return self.times * self.nbytes


@dataclass(frozen=True)
class Kernel:
    """A kernel that was chosen.

    Attributes:
        stages: names, in order.
        allotment: lanes of every stage.
        transfers: reads and writes.
        graph: with its memory and FIFO depths.
        on_chip_bytes: of FIFOs, tokens that are held, partial results, operands and buffers.
        cycles: simulated.
        bound_cycles: what its busiest stage or the memory has to do.
    """

    stages: tuple[str, ...]
    allotment: Allotment
    transfers: tuple[Transfer, ...] = field(repr=False)
    graph: StreamGraph = field(repr=False)
    on_chip_bytes: int = 0
    cycles: int = 0
    bound_cycles: Fraction = Fraction(0)

    @property
    def read_bytes(self) -> int:
        return sum(t.total for t in self.transfers if not t.writes)

    @property
    def written_bytes(self) -> int:
        return sum(t.total for t in self.transfers if t.writes)


def transfers(stages: Stages, names: Sequence[str], budget: Budget, fifo_bytes: int) -> tuple[Transfer, ...]:
    """What a kernel of these stages moves.

    A tensor that a stage reads again in an outer loop stays on the chip while there is room; while there is none, the
    one comes in smaller parts, or again, that costs fewest bytes for the room it gives up. Whatever one stage makes for
    a stage of another kernel is written once and read once by each stage that needs it.
    """
    inside = set(names)
    choices = [_operand(stages, s, t) for s in stages.stages if s.name in inside for t in s.resident]
    choices += _crossing(stages, inside)
    chosen = [0] * len(choices)
    if budget.on_chip_bytes is not None:
        room = budget.on_chip_bytes - fifo_bytes
        while sum(c[k].held_bytes for c, k in zip(choices, chosen, strict=True)) > room:
            steps = [
                (Fraction(c[k + 1].total - c[k].total, c[k].held_bytes - c[k + 1].held_bytes), i)
                for i, (c, k) in enumerate(zip(choices, chosen, strict=True))
                if k + 1 < len(c)
            ]
            if not steps:
                break
            chosen[min(steps)[1]] += 1
    return tuple(c[k] for c, k in zip(choices, chosen, strict=True))


def _crossing(stages: Stages, inside: set[str]) -> list[list[Transfer]]:
    """What leaves and enters a kernel over links, each tensor written once and read once by every stage."""
    found: dict[tuple[str, str], list[Transfer]] = {}
    for link in stages.links:
        if link.src in inside and link.dst not in inside:
            tensors = link.tensor.split("+")
            for tensor in tensors:
                alone = replace(link, tensor=tensor, bits=-(-link.bits // len(tensors)))
                found.setdefault(("", tensor), _rows(stages.stage(link.src), link.put, alone, True))
        elif link.dst in inside and link.src not in inside:
            found.setdefault((link.dst, link.tensor), _rows(stages.stage(link.dst), link.take, link, False))
    return list(found.values())


def _operand(stages: Stages, s: Stage, tensor: str) -> list[Transfer]:
    """The ways in which a stage can read an input of the cascade, from fewest bytes in all to fewest on the chip.

    It comes in one part for every point of the first ranks of the stage's nest, of none or of some of them: that part
    of it which the ranks behind them run through. All of it stays where there is one part, else two are held.
    """
    t = stages.workload.tensors[tensor]
    einsum = next(e for e, _ in stages.workload.einsums() if e.name == s.einsum)
    carried = {r for a in einsum.inputs if a.tensor == tensor for r in a.ranks}
    ways: list[Transfer] = []
    times = pieces = 1
    for rank, size in (("", 1), *s.nest):
        times *= size
        pieces *= size if rank in carried else 1
        part = -(-t.nbytes // pieces)
        ways.append(Transfer(s.name, tensor, times, part, part if times == 1 else 2 * part))
    best: list[Transfer] = []
    for way in sorted(ways, key=lambda w: (w.total, w.nbytes < SMALLEST_PART, w.held_bytes, -w.nbytes)):
        if not best or way.held_bytes < best[-1].held_bytes:
            best.append(way)
    return best


def _rows(s: Stage, rate: Rate, link: Link, writes: bool) -> list[Transfer]:
    """The ways in which the tokens of a link can leave or enter the kernel: one transfer per round of the outermost
    ranks, of as many of them as leave a burst to a transfer, or of more."""
    nbytes = -(-s.firings * rate.tokens * link.bits // (8 * rate.firings))
    rounds, ways = 1, list[Transfer]()
    for _, n in s.nest:
        rounds *= n
        if n > 1 and nbytes >= rounds:
            part = -(-nbytes // rounds)
            ways.append(Transfer(s.name, link.tensor, rounds, part, 2 * part, writes))
    if not ways:
        return [Transfer(s.name, link.tensor, 1, nbytes, 2 * nbytes, writes)]
    first = sum(t.nbytes >= BURST for t in ways)
    return ways[max(0, first - 1) :]


def kernel_graph(
    stages: Stages, names: Sequence[str], lanes: Mapping[str, int], moved: Sequence[Transfer], budget: Budget,
    timing: Timing, depths: Mapping[str, int] | int = UNBOUNDED,
) -> StreamGraph:
    """The stream graph of some stages: their streams, and a node on the off-chip memory for every transfer.

    Reads are double-buffered: the next part comes while one is worked on. What stays on the chip comes before the
    stage's first firing.
    """
    inside = set(names)
    g = GraphBuilder(f"{stages.workload.name}: {names[0]} to {names[-1]}", cycle_hz=timing.cycle_hz)
    if budget.off_chip_bytes_per_cycle is not None:
        g.memory(MEMORY, budget.off_chip_bytes_per_cycle, burst=BURST)
    kept = [s for s in stages.stages if s.name in inside]
    for s in kept:
        g.node(s.name, "stage", latency=timing.latency_of(s.name), ii=timing.ii_of(s, lanes[s.name]), firings=s.firings)
    for link in stages.links:
        if link.src in inside and link.dst in inside:
            label = link_name(stages, link)
            depth = depths if isinstance(depths, int) else depths.get(label, UNBOUNDED)
            g.stream(link.src, link.dst, depth=depth, put=link.put, take=link.take, bits=link.bits, name=label,
                     credit_latency=timing.credit_latency)
    firings = {s.name: s.firings for s in kept}
    for t in moved:
        name = f"{'write' if t.writes else 'read'} {t.tensor} for {t.stage}"
        per = firings[t.stage] // t.times
        if budget.off_chip_bytes_per_cycle is None:
            g.node(name, "sink" if t.writes else "source", firings=t.times)
        else:
            g.node(name, "memory", firings=t.times, memory=MEMORY, bytes=t.nbytes)
        if t.writes:
            g.stream(t.stage, name, depth=2, put=every(per, at="last"))
        else:
            g.stream(name, t.stage, depth=2, take=every(per))
    return g.build()


def fifo_bytes(graph: StreamGraph, stages: Stages, names: Sequence[str]) -> int:
    """On-chip bytes of the FIFOs between stages, and of what the stages hold."""
    inside = set(names)
    streams = sum(-(-s.depth * s.bits // 8) for s in graph.streams
                  if s.src in inside and s.dst in inside and s.depth != UNBOUNDED)
    return streams + sum(s.held_bytes for s in stages.stages if s.name in inside)
