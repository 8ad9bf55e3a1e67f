"""Plans: phases one after the other, what runs in each, on how many cores, and what stays on the chip between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from math import ceil

from ...arch.architecture import Architecture
from ...components.core_pool import CorePool
from ...components.pipelined import Timing
from ...errors import BadInput, DoesNotFit
from ...ir import Workload
from ...mapping.phases import Phase, Phases, Stage
from ...text.names import nearest
from .task import Task, TaskGraph, task_graphs


@dataclass(frozen=True)
class Fabric:
    """What phases run on: the pool of cores of a machine, the memory beside it, and the one off the chip.

    Attributes:
        capacity: bytes on the chip, handed out in blocks of `block`.
        bandwidth: of the off-chip memory, in bytes per second.
        latency_s: of the off-chip memory.
        switch_s: from one phase to the next.
        sockets: that share every task; messages pass between them.
    """

    name: str
    clock_hz: float
    pool: CorePool
    on_chip: str
    capacity: int
    block: int
    off_chip: str
    bandwidth: float
    latency_s: float
    switch_s: float
    sockets: int = 1

    @cached_property
    def channel_rate(self) -> Fraction:
        """Bytes per cycle of the off-chip memory."""
        return Fraction(self.bandwidth) / Fraction(self.clock_hz)

    @cached_property
    def port_rate(self) -> Fraction | None:
        """Bytes per cycle of one port of the pool; None where it has no ports."""
        if self.pool.ports is None or self.pool.port_bandwidth is None:
            return None
        return min(Fraction(self.pool.port_bandwidth) / Fraction(self.clock_hz), self.channel_rate / self.pool.ports)

    def cycles(self, seconds: float) -> int:
        return ceil(seconds * self.clock_hz * (1 - 1e-12))

    def blocks(self, nbytes: int) -> int:
        """Bytes, in whole blocks."""
        return -(-nbytes // self.block) * self.block


def fabric_of(arch: Architecture, *, unit: str = "", orchestration: str = "", sockets: int = 1) -> Fabric:
    """The fabric of a machine.

    Args:
        arch: a machine with a unit of kind `core_pool` whose memory has a parent.
        unit: which one; the only one if empty.
        orchestration: key of its `switches`; the first if empty.
        sockets: that share every task.

    Raises:
        BadInput: there is no such unit, or several; no such orchestration; nothing off the chip.
    """
    pools = {n: u for n, u in arch.units.items() if isinstance(u, CorePool)}
    if (unit and unit not in pools) or (not unit and len(pools) != 1):
        raise BadInput(f"{arch.name}: phases need one unit of kind core_pool (has: {', '.join(pools) or 'none'})")
    pool = pools[unit] if unit else next(iter(pools.values()))
    if orchestration and orchestration not in pool.switches:
        hint = nearest(orchestration, list(pool.switches))
        raise BadInput(f"unit `{pool.name}`: no switch `{orchestration}` ({hint})")
    on_chip = arch.memories[pool.memory]
    if on_chip.parent is None:
        raise BadInput(f"{arch.name}: memory `{on_chip.name}` of unit `{pool.name}` has no parent to load from")
    off_chip = arch.memories[on_chip.parent]
    port = off_chip.port("read")
    if port is None:
        raise BadInput(f"{arch.name}: memory `{off_chip.name}` has no bandwidth")
    switch = pool.switches[orchestration] if orchestration else next(iter(pool.switches.values()), 0.0)
    return Fabric(arch.name, pool.clock_hz, pool, on_chip.name, on_chip.capacity, pool.block, off_chip.name, port[1],
                  off_chip.latency, switch, sockets)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """Phases of a graph on a fabric, in order.

    Raises:
        BadInput: a task is missing, runs twice or before what it reads; a stage names what is not there.
        DoesNotFit: a phase has more stages or cores than the pool.
    """

    graph: TaskGraph
    fabric: Fabric
    phases: tuple[Phase, ...]
    style: str = ""

    def __post_init__(self) -> None:
        graph, done = self.graph, set[str]()
        for k, phase in enumerate(self.phases):
            self._check_phase(k, phase)
            here: set[str] = set()
            for stage in phase.stages:
                for read in graph.by_name[stage.task].reads:
                    maker = graph.makers.get(read.tensor)
                    if maker is not None and maker.name not in done | here:
                        raise BadInput(f"phase {k}: {stage.task} reads {read.tensor} of {maker.name}, which runs later")
                if stage.task in done | here:
                    raise BadInput(f"phase {k}: {stage.task} ran before")
                here.add(stage.task)
            done |= here
        if missing := [t.name for t in graph.tasks if t.name not in done]:
            raise BadInput(f"plan of {graph.name}: no phase runs {', '.join(missing)}")

    def _check_phase(self, k: int, phase: Phase) -> None:
        graph, cores = self.graph, self.fabric.pool.cores
        busy = [s for s in phase.stages if s.task in graph.by_name and not graph.by_name[s.task].message]
        if len(busy) > cores:
            raise DoesNotFit(f"phase {k}: {len(busy)} stages at once, but {self.fabric.name} has {cores} cores")
        if (taken := sum(s.cores for s in busy)) > cores:
            raise DoesNotFit(f"phase {k}: stages take {taken} of {cores} cores of {self.fabric.name}")
        made = set()
        for stage in phase.stages:
            if stage.task not in graph.by_name:
                raise BadInput(f"phase {k}: no task {stage.task} ({nearest(stage.task, list(graph.by_name))})")
            task = graph.by_name[stage.task]
            made.add(task.output)
            if stage.cores < (0 if task.message else 1):
                raise BadInput(f"phase {k}: {stage.task} has {stage.cores} cores; a stage needs at least 1")
            if stage.outer and stage.outer not in task.sizes:
                raise BadInput(f"phase {k}: {stage.task} has no rank {stage.outer} (has: {', '.join(task.sizes)})")
        if wrong := set(phase.keep) - made:
            raise BadInput(f"phase {k}: keeps {', '.join(sorted(wrong))}, which it does not make")

    @cached_property
    def held(self) -> Sequence[frozenset[str]]:
        """For each phase the tensors of earlier ones that are on the chip: those kept that it or a later one reads."""
        found: list[frozenset[str]] = []
        kept: set[str] = set()
        last = {t: max(self.phase_of[r] for r in readers) for t, readers in self.graph.readers.items() if readers}
        for k, phase in enumerate(self.phases):
            kept = {t for t in kept if last.get(t, -1) >= k}
            found.append(frozenset(kept))
            kept |= set(phase.keep)
        return found

    @cached_property
    def phase_of(self) -> Mapping[str, int]:
        return {s.task: k for k, p in enumerate(self.phases) for s in p.stages}


def plans_of(phases: Phases, workload: Workload, arch: Architecture) -> tuple[Plan, ...]:
    """The Plans of a Mapping's phases, one for each part of the Workload.

    Raises:
        BadInput: they are not of this Workload and machine.
        DoesNotFit: a phase has more stages or cores than the pool.
    """
    fabric = fabric_of(arch, unit=phases.unit, orchestration=phases.switch)
    graphs = task_graphs(workload, fabric.pool)
    if len(graphs) != len(phases.parts):
        raise BadInput(f"{len(phases.parts)} parts of {workload.name}, which has {', '.join(g.name for g in graphs)}")
    return tuple(Plan(g, fabric, part) for g, part in zip(graphs, phases.parts, strict=True))


def settled(plan: Plan) -> tuple[Phase, ...]:
    """The phases of a Plan with the pieces of every stage, as a Mapping holds them."""
    def whole(stage: Stage) -> Stage:
        pieces = stage_timing(plan.graph.by_name[stage.task], stage, plan.fabric).firings
        return replace(stage, pieces=pieces if stage.outer else 0)

    return tuple(replace(p, stages=tuple(whole(s) for s in p.stages)) for p in plan.phases)


def stage_timing(task: Task, stage: Stage, fabric: Fabric) -> Timing:
    """Time of a stage, on its cores or on the network between sockets.

    Raises:
        BadInput: it cannot come in so many pieces.
        DoesNotFit: it is unrolled to more multipliers than it has.
    """
    pool = fabric.pool
    if not task.message:
        return pool.timing(task.name, task.sizes, task.work, task.loop, cores=stage.cores, outer=stage.outer,
                           pieces=stage.pieces)  # fmt: skip
    rate = pool.network_bandwidth
    cycles = 1 if rate is None or fabric.sockets == 1 else ceil(task.message / rate * fabric.clock_hz)
    pieces = min(task.sizes.get(stage.outer, 1), cycles)
    return Timing(pieces, cycles // pieces, cycles % pieces, fabric.cycles(pool.network_latency), {})
