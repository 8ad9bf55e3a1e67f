"""Pipelines on a machine: its figures as a budget of kernels, and what kernels on it cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from typing import Any

from ...arch.architecture import Architecture
from ...components.base import ComputeUnit
from ...components.core_pool import CorePool
from ...errors import BadInput
from ...ir import COST_CLASSES, Workload
from ...mapping.machine_bound import machine_bound
from .allot import Budget, Lanes
from .build import Timing
from .plan import PipelinePlan


@dataclass(frozen=True)
class Fabric:
    """What kernels use of a machine: units of one on-chip memory, and the memory behind it.

    Attributes:
        runs: the unit that does each cost class: of several the one that does most of it.
    """

    arch: Architecture
    runs: Mapping[str, ComputeUnit]
    on_chip: str
    off_chip: str
    clock_hz: float
    switch: str


def fabric_of(arch: Architecture, *, switch: str = "") -> Fabric:
    """The pool of cores of a machine, or its compute units if it has none.

    Raises:
        BadInput: units work on several memories or at several clocks, nothing is off the chip, no such switch.
    """
    able = [u for u in arch.units.values() if isinstance(u, ComputeUnit)]
    units = [u for u in able if isinstance(u, CorePool)] or able
    if len({(u.memory, u.clock_hz) for u in units}) != 1:
        raise BadInput(f"{arch.name}: a pipeline takes units of one memory and clock "
                       f"(has: {', '.join(f'{u.name} at {u.memory}' for u in units) or 'none'})")
    memory = arch.memories[units[0].memory]
    if memory.parent is None:
        raise BadInput(f"{arch.name}: memory `{memory.name}` has no parent to load from")
    known = [name for u in units if isinstance(u, CorePool) for name in u.switches]
    if switch and switch not in known:
        raise BadInput(f"{arch.name}: no switch `{switch}` (there are {', '.join(known) or 'none'})")
    peaks = {u.name: u.peak_rates() for u in units}
    runs = {
        c: max((u for u in units if peaks[u.name].get(c)), key=lambda u: (peaks[u.name][c], u.name))
        for c in COST_CLASSES if any(peaks[u.name].get(c) for u in units)
    }  # fmt: skip
    return Fabric(arch, runs, memory.name, memory.parent, units[0].clock_hz, switch or next(iter(known), ""))


def check_runs(fabric: Fabric, workload: Workload) -> None:
    """Raise BadInput for a cascade with operations that no unit of the machine does; copies are wires."""
    missing = sorted(c for c, n in workload.operations().counts.items() if n and c not in (*fabric.runs, "copy"))
    if missing:
        raise BadInput(f"{fabric.arch.name}: no unit does {', '.join(missing)} of {workload.name} "
                       f"(they do {', '.join(fabric.runs)})")  # fmt: skip


def budget_of(fabric: Fabric) -> Budget:
    """What one kernel can use of a machine at once: lanes, memory, bandwidth; and what a launch takes.

    A pool's cores go to stages whole. Of another unit, a lane is what does one operation per cycle of the class that it
    does most of.
    """
    lanes: list[Lanes] = []
    for unit in dict.fromkeys(fabric.runs.values()):
        classes = tuple(c for c, u in fabric.runs.items() if u is unit)
        peaks = {c: Fraction(unit.peak_rates()[c]) for c in classes}
        count = floor(max(peaks.values()))
        if isinstance(unit, CorePool):
            rates = {c: unit.rate(c) for c in classes}
            lanes.append(Lanes(unit.name, unit.lanes, classes, rates, unit.multipliers))
        elif count:
            rates = {c: (peak / count).limit_denominator(1 << 16) for c, peak in peaks.items()}
            lanes.append(Lanes(unit.name, count, classes, rates))
    pool = next((u for u in fabric.runs.values() if isinstance(u, CorePool)), None)
    memory, port = fabric.arch.memories[fabric.on_chip], fabric.arch.memories[fabric.off_chip].port("read")
    seconds = pool.switches[fabric.switch] if pool is not None and fabric.switch else 0.0
    return Budget(
        tuple(lanes), None if pool is None else pool.cores, int(memory.capacity),
        None if port is None or port[1] == float("inf") else Fraction(port[1]) / Fraction(fabric.clock_hz),
        ceil(seconds * fabric.clock_hz * (1 - 1e-12)),
    )  # fmt: skip


def timing_of(fabric: Fabric) -> Timing:
    """Latencies of stages on a machine: of a pool those of its loops, else one cycle."""
    pool = next((u for u in fabric.runs.values() if isinstance(u, CorePool)), None)
    clock = Fraction(fabric.clock_hz)
    if pool is None:
        return Timing(cycle_hz=clock)
    return Timing(latency=pool.depth, recurrence=max(1, pool.operation_latency), cycle_hz=clock)


def costs(plan: PipelinePlan, fabric: Fabric) -> dict[str, Any]:
    """What kernels cost on a machine, under the keys of ``accelsim run --json``.

    Energy is that of operations, of bytes between the two memories, of tokens that pass through FIFOs (written and read
    in the on-chip memory), and of leakage. The bound of the machine is that of its units at their peaks and of the
    compulsory bytes; it leaves out how fast units read their memory, as the kernels do.
    """
    arch, workload = fabric.arch, plan.stages.workload
    joules: dict[str, float] = {}
    moved = {fabric.off_chip: {"read": 0, "write": 0}, fabric.on_chip: {"read": 0, "write": 0}}
    work: dict[str, Fraction] = {}
    macs = 0
    for kernel in plan.kernels:
        for name in kernel.stages:
            stage = plan.stages.stage(name)
            for cost_class, n in stage.operations.items():
                unit = fabric.runs.get(cost_class)
                if unit is None:
                    continue
                macs += n * stage.firings if cost_class == "mac" else 0
                price = unit.action_energy().get(cost_class, 0.0)
                joules[unit.name] = joules.get(unit.name, 0.0) + n * stage.firings * price
                peak = Fraction(unit.peak_rates()[cost_class])
                work[unit.name] = work.get(unit.name, Fraction(0)) + n * stage.firings / peak
        moved[fabric.off_chip]["read"] += kernel.read_bytes
        moved[fabric.on_chip]["write"] += kernel.read_bytes
        moved[fabric.on_chip]["read"] += kernel.written_bytes
        moved[fabric.off_chip]["write"] += kernel.written_bytes
        inside = set(kernel.stages)
        for link in plan.stages.links:
            if link.src in inside and link.dst in inside:
                tokens = plan.stages.stage(link.src).firings * link.put.tokens // link.put.firings
                for direction in ("read", "write"):
                    moved[fabric.on_chip][direction] += -(-tokens * link.bits // 8)
    for memory, counts in moved.items():
        prices = arch.memories[memory].action_energy()
        joules[memory] = sum(n * prices.get(direction, 0.0) for direction, n in counts.items())
    seconds = plan.cycles / fabric.clock_hz
    dynamic = sum(joules.values())
    leakage = sum((c.leakage_watts or 0.0) * seconds for c in arch.components())
    traffic_s = machine_bound(workload, arch).traffic_cycles / float(arch.clock)
    return {
        "latency_s": seconds,
        "energy_J": dynamic + leakage,
        "energy_dynamic_J": dynamic,
        "energy_leakage_J": leakage,
        "energy_by_component_J": joules,
        "macs": macs,
        "traffic_bytes": moved,
        "utilization": {name: {"busy": float(n / max(1, plan.cycles))} for name, n in work.items()},
        "bounds": {
            "machine": max(traffic_s * fabric.clock_hz, *map(float, work.values()), 0.0),
            "program": float(sum(k.bound_cycles for k in plan.kernels)) + plan.launch_cycles * len(plan.kernels),
        },
    }  # fmt: skip
