"""One kernel of a pipeline: some of its stages, what they read from and write to off-chip memory, and its graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...engine.program import UNBOUNDED
from ...lowering.streams import GraphBuilder, StreamGraph, every
from .allot import Allotment, Budget
from .build import Timing, link_name
from .stages import Link, Stage, Stages

MEMORY = "off chip"


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
    """

    stages: tuple[str, ...]
    allotment: Allotment
    transfers: tuple[Transfer, ...] = field(repr=False)
    graph: StreamGraph = field(repr=False)
    on_chip_bytes: int = 0
    cycles: int = 0

    @property
    def read_bytes(self) -> int:
        return sum(t.total for t in self.transfers if not t.writes)

    @property
    def written_bytes(self) -> int:
        return sum(t.total for t in self.transfers if t.writes)


def transfers(stages: Stages, names: Sequence[str], budget: Budget, fifo_bytes: int) -> tuple[Transfer, ...]:
    """What a kernel of these stages moves.

    A tensor that a stage reads again in an outer loop stays on the chip while there is room, those first that save most
    bytes per byte; the others come again. Whatever one stage makes for a stage of another kernel is written once and
    read once by each kernel.
    """
    inside = set(names)
    fixed: list[Transfer] = []
    choices: list[tuple[Transfer, Transfer]] = []
    for s in (s for s in stages.stages if s.name in inside):
        for tensor in s.resident:
            held, again = _operand(stages, s, tensor)
            if again is None or again.total <= held.total:
                fixed.append(min(held, again or held, key=lambda t: t.held_bytes))
            else:
                choices.append((held, again))
    seen: set[tuple[str, str]] = set()
    for link in stages.links:
        tensors = link.tensor.split("+")
        if link.src in inside and link.dst not in inside:
            for tensor in tensors:
                if ("", tensor) not in seen:
                    seen.add(("", tensor))
                    fixed.append(_rows(stages, stages.stage(link.src), link.put.tokens / link.put.firings, link, True))
        elif link.dst in inside and link.src not in inside and (link.dst, link.tensor) not in seen:
            seen.add((link.dst, link.tensor))
            fixed.append(_rows(stages, stages.stage(link.dst), link.take.tokens / link.take.firings, link, False))
    room = None if budget.on_chip_bytes is None else budget.on_chip_bytes - fifo_bytes - sum(
        t.held_bytes for t in fixed) - sum(again.held_bytes for _, again in choices)
    for held, again in sorted(choices, key=lambda c: -(c[1].total - c[0].total) / max(1, c[0].held_bytes)):
        more = held.held_bytes - again.held_bytes
        if room is None or more <= room:
            room = None if room is None else room - more
            fixed.append(held)
        else:
            fixed.append(again)
    return tuple(fixed)


def _operand(stages: Stages, s: Stage, tensor: str) -> tuple[Transfer, Transfer | None]:
    """An input of the cascade as a stage reads it: once, all or part of it staying; or again in every outer round."""
    t = stages.workload.tensors[tensor]
    einsum = next(e for e, _ in stages.workload.einsums() if e.name == s.einsum)
    carried = {r for a in einsum.inputs if a.tensor == tensor for r in a.ranks}
    outer = next(((r, n) for r, n in s.nest if n > 1), None)
    if outer is None:
        return Transfer(s.name, tensor, 1, t.nbytes, t.nbytes), None
    rank, rounds = outer
    if rank in carried:
        part = -(-t.nbytes // rounds)
        return Transfer(s.name, tensor, rounds, part, 2 * part), None
    return Transfer(s.name, tensor, 1, t.nbytes, t.nbytes), _again(s, t.nbytes, tensor, rounds, carried)


def _again(s: Stage, nbytes: int, tensor: str, rounds: int, carried: set[str]) -> Transfer:
    """All of a tensor once per round of the outermost rank, in as many parts as its own first rank has."""
    inner = next((n for r, n in s.nest if r in carried), 1)
    part = -(-nbytes // inner)
    return Transfer(s.name, tensor, rounds * inner, part, 2 * part)


def _rows(stages: Stages, s: Stage, tokens_per_firing: float, link: Link, writes: bool) -> Transfer:
    """The tokens of a link that leaves or enters the kernel, one transfer per round of the outermost rank."""
    rounds = next((n for _, n in s.nest if n > 1), 1)
    tokens = round(tokens_per_firing * s.firings)
    part = -(-tokens * link.bits // (8 * rounds))
    return Transfer(s.name, link.tensor, rounds, part, 2 * part, writes)


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
        g.memory(MEMORY, budget.off_chip_bytes_per_cycle.limit_denominator(10**6), burst=4096)
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
