"""Report: how long, at what energy and traffic, and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arch.architecture import Architecture
from ..arch.component import Component, Direction, Memory, UnitBase
from ..engine.bounds import program_bound
from ..engine.program import Program
from ..engine.trace import Trace
from ..files import write_text
from ..ir import Role, Workload, count_operations
from ..mapping.compulsory import CompulsoryTraffic
from ..mapping.machine_bound import MachineBound, machine_bound, resident_tensors
from ..mapping.tree import Mapping
from .bottleneck import bottleneck
from .counts import count_rows, joules, leakage_rows, leaked, total
from .provenance import provenance
from .rows import ComponentRow, CountRow, OperatorRow, StallRow, TensorRow, TierRow
from .times import Activity, activities, stall_rows

if TYPE_CHECKING:
    import pandas
    from rich.console import Console

_DIRECTIONS: tuple[Direction, ...] = ("read", "write")


@dataclass(frozen=True)
class Bounds:
    """Lower bounds in cycles of the machine's clock, never mixed.

    Attributes:
        machine: holds for every Mapping of the Workload onto the machine.
        program: holds for this Mapping; never above the result.
        machine_limit: what decides the machine bound.
        energy_J: dynamic energy of every Mapping.
        traffic: what every Mapping moves over the chip's edge.
    """

    machine: float
    program: float
    machine_limit: str = ""
    energy_J: float = 0.0  # noqa: N815
    traffic: CompulsoryTraffic = field(default_factory=CompulsoryTraffic)

    @staticmethod
    def of(machine: MachineBound, program_ticks: Fraction, cycles_per_tick: Fraction = Fraction(1)) -> Bounds:
        """Bounds from a machine bound and a program bound in ticks."""
        program = float(program_ticks * cycles_per_tick)
        return Bounds(machine.cycles, program, machine.limit, machine.energy_J, machine.traffic)


@dataclass(frozen=True)
class Roofs:
    """Peaks for the roofline: units in operations per second, memories outside the chip in bytes per second."""

    peaks: MappingABC[str, float]
    macs: MappingABC[str, float]
    bandwidths: MappingABC[str, float]


@dataclass(frozen=True)
class Report:
    """What a run on a machine costs, and why. A value: nothing in it is computed later.

    Attributes:
        name: workload and machine.
        cycles: latency in cycles of the machine's clock; whole when the Program's tick is one cycle.
        latency_s: latency in seconds.
        energy_J: dynamic energy and leakage together.
        energy_dynamic_J: every counted action at its component's price.
        energy_leakage_J: leakage power times latency, of the components whose leakage power the machine gives; the
            others are in the provenance under ``without_leakage``.
        area_mm2: the areas that the machine gives, summed; the provenance lists the others under ``without_area``.
            None when none is given.
        macs: multiply-accumulates of the Workload.
        traffic_bytes: memory to bytes by ``read`` and ``write``.
        utilization: unit to ``busy`` (part of the latency in service) and ``mac`` (macs done over its peak).
        bounds: machine and program bound.
        bottleneck: what limits, in words.
        operators: Einsums in the order of the Workload.
        components: memories, units and links.
        tiers: memories, outermost first.
        tensors: stored tensors.
        stalls: by operator, component, role and tensor.
        energy: by component, action, operator and tensor; leakage among it.
        roofs: peaks of the machine.
        provenance: hashes, versions, seed, claim, defaults.
        mapping: how the Workload was carried out; None for a Program made by hand.
        arch, workload, trace: what the Report was made from.
    """

    name: str
    cycles: int | float
    latency_s: float
    energy_J: float  # noqa: N815
    energy_dynamic_J: float  # noqa: N815
    energy_leakage_J: float  # noqa: N815
    area_mm2: float | None
    macs: int
    traffic_bytes: MappingABC[str, MappingABC[str, int]]
    utilization: MappingABC[str, MappingABC[str, float]]
    bounds: Bounds
    bottleneck: str
    operators: tuple[OperatorRow, ...]
    components: tuple[ComponentRow, ...]
    tiers: tuple[TierRow, ...]
    tensors: tuple[TensorRow, ...]
    stalls: tuple[StallRow, ...]
    energy: tuple[CountRow, ...]
    roofs: Roofs
    provenance: MappingABC[str, Any]
    mapping: Mapping | None = field(repr=False)
    arch: Architecture = field(repr=False, compare=False)
    workload: Workload = field(repr=False, compare=False)
    trace: Trace = field(repr=False, compare=False)

    def to_dataframe(self, kind: str = "operators") -> pandas.DataFrame:
        """A table: ``operators``, ``components``, ``tensors``, ``tiers``, ``stalls`` or ``energy``.

        Raises:
            BadInput: no such table.
        """
        from .tables import to_dataframe

        return to_dataframe(self, kind)

    def to_csv(self, folder: str | Path) -> tuple[Path, ...]:
        """Write every table of `to_dataframe` as ``<kind>.csv`` into a folder, and return their paths.

        Raises:
            BadInput: the folder cannot be made or written.
        """
        from .tables import to_csv

        return to_csv(self, folder)

    def to_parquet(self, folder: str | Path) -> tuple[Path, ...]:
        """The same as Parquet files; needs the extra ``parquet``.

        Raises:
            BadInput: pyarrow is not installed, or the folder cannot be made or written.
        """
        from .tables import to_parquet

        return to_parquet(self, folder)

    def to_json(self) -> dict[str, Any]:
        """The Report as plain values for ``json.dumps``; its form is fixed by ``report.schema.json``."""
        from .contract import to_json

        return to_json(self)

    def to_html(self, path: str | Path) -> Path:
        """Write one self-contained HTML page, whole or not at all, and return its path.

        Raises:
            BadInput: it cannot be written.
        """
        from .html import report_html

        target = Path(path)
        write_text(target, report_html(self))
        return target

    def _repr_html_(self) -> str:
        """The summary, in notebooks."""
        from .notebook import summary_html

        return summary_html(self)

    def print(self, console: Console | None = None) -> None:
        """Print the Report to a terminal."""
        from .terminal import print_report

        print_report(self, console)


def make_report(
    arch: Architecture,
    workload: Workload,
    mapping: Mapping | None,
    program: Program,
    trace: Trace,
    *,
    bounds: Bounds | None = None,
    notes: tuple[str, ...] = (),
    tables: bool = True,
) -> Report:
    """Sum up a Trace.

    Args:
        arch: the machine.
        workload: what was computed.
        mapping: how; its claim goes into the provenance. None for a Program made by hand.
        program: what was run.
        trace: what happened.
        bounds: if known; computed otherwise.
        notes: sentences for the provenance, after those of the workload.
        tables: whether to make the rows of operators and tensors, and the provenance; else there are none.
    """
    notes = (*workload.notes, *notes)
    if bounds is None:
        scale = Fraction(arch.clock) / program.tick_hz
        resident = resident_tensors(mapping, workload, arch) if mapping is not None else ()
        notes = (*notes, *_resident_notes(workload, resident))
        bounds = Bounds.of(machine_bound(workload, arch, resident=resident), program_bound(program), scale)
    return _Maker(arch, workload, trace, bounds).report(mapping, notes, tables)


def _resident_notes(workload: Workload, resident: Sequence[str]) -> Iterator[str]:
    """What the machine bound leaves out, as this Mapping neither brings it to the chip nor takes it away."""
    roles = {name: workload.tensors[name].role for name in resident if name in workload.tensors}
    standing = [name for name, role in roles.items() if role not in (Role.ACTIVATION, Role.OUTPUT)]
    left = [name for name, role in roles.items() if role is Role.OUTPUT]
    if standing:
        yield f"the machine bound takes as on the chip from the start: {', '.join(standing)}"
    if left:
        yield f"the machine bound takes as left on the chip at the end: {', '.join(left)}"


class _Maker:
    """The steps of `make_report`, and what they share."""

    def __init__(self, arch: Architecture, workload: Workload, trace: Trace, bounds: Bounds) -> None:
        self.arch, self.workload, self.trace, self.bounds = arch, workload, trace, bounds
        self.counts, self.unpriced = count_rows(arch, workload, trace)
        self.scale = Fraction(arch.clock) / trace.program.tick_hz
        self.cycles = trace.finish * self.scale
        self.latency_s = float(trace.finish / trace.program.tick_hz)
        self.counts += leakage_rows(arch, float(self.cycles), self.latency_s)
        self.activities = activities(trace)
        self.stalls = stall_rows(trace, self.activities, float(self.scale))
        self.off_chip = {m.name for m in arch.off_chip}
        servers = trace.program.platform.servers
        self.server_busy = {s.name: int(t) for s, t in zip(servers, trace.server_busy, strict=True)}
        self.by_component: dict[str, list[CountRow]] = defaultdict(list)
        self.by_operator: dict[str, list[CountRow]] = defaultdict(list)
        self.by_tensor: dict[str, list[CountRow]] = defaultdict(list)
        for row in self.counts:
            self.by_component[row.component].append(row)
            self.by_operator[row.operator].append(row)
            self.by_tensor[row.tensor].append(row)

    def report(self, mapping: Mapping | None, notes: tuple[str, ...], tables: bool) -> Report:
        components = tuple(self.component(c) for c in self.arch.components())
        cycles = int(self.cycles) if self.cycles.denominator == 1 else float(self.cycles)
        return Report(
            name=f"{self.workload.name} on {self.arch.name}",
            cycles=cycles,
            latency_s=self.latency_s,
            energy_J=joules(self.counts),
            energy_dynamic_J=joules(self.counts) - leaked(self.counts),
            energy_leakage_J=leaked(self.counts),
            area_mm2=self.arch.area_mm2,
            macs=self.workload.macs,
            traffic_bytes={m.name: {d: self.bytes(m.name, d) for d in _DIRECTIONS} for m in self.arch.tiers()},
            utilization={name: self.utilization(unit) for name, unit in sorted(self.arch.units.items())},
            bounds=self.bounds,
            bottleneck=bottleneck(
                components, float(cycles), self.bounds.machine, self.bounds.program, self.bounds.machine_limit
            ),
            operators=self.operators() if tables else (),
            components=components,
            tiers=tuple(self.tier(m) for m in self.arch.tiers()),
            tensors=self.tensors() if tables else (),
            stalls=self.stalls,
            energy=self.counts,
            roofs=self.roofs(),
            provenance=provenance(self.arch, self.workload, mapping, self.unpriced, notes) if tables else {},
            mapping=mapping,
            arch=self.arch,
            workload=self.workload,
            trace=self.trace,
        )

    # Components

    def bytes(self, memory: str, action: str) -> int:
        return total(r for r in self.by_component[memory] if r.action == action)

    def servers(self, part: Component) -> list[int]:
        """Busy ticks of its servers; of a unit that keeps a memory instead, the time in which it does."""
        names = {part.name}
        if isinstance(part, Memory):
            names |= {port[0] for d in _DIRECTIONS if (port := part.port(d)) is not None}
        own = f"{part.name}/"
        found = [busy for n, busy in sorted(self.server_busy.items()) if n in names or n.startswith(own)]
        if not found and part.category == "unit":
            found = [sum(a.compute.get(part.name, 0) for a in self.activities.values())]
        return found

    def busy(self, part: Component) -> int:
        """Ticks of its busiest server."""
        return max(self.servers(part), default=0)

    def share(self, ticks: int) -> float:
        return ticks / self.trace.finish if self.trace.finish else 0.0

    def macs_on(self, unit: str) -> int:
        """Counted on the unit; where it counts none, those of the operators that ran on it alone."""
        counted = total(r for r in self.by_component[unit] if r.action == "mac")
        if counted:
            return counted
        alone = {o for o, a in self.activities.items() if set(a.compute) == {unit}}
        return sum(count_operations(e).macs * times for e, times in self.workload.einsums() if e.name in alone)

    def mac_peak(self, unit: UnitBase) -> float:
        """Macs per second."""
        return unit.peak_rates().get("mac", 0.0) * unit.clock_hz

    def utilization(self, unit: UnitBase) -> dict[str, float]:
        peak = self.mac_peak(unit) * self.latency_s
        return {"busy": self.share(self.busy(unit)), "mac": self.macs_on(unit.name) / peak if peak else 0.0}

    def component(self, part: Component) -> ComponentRow:
        rows = self.by_component[part.name]
        busy = self.busy(part)
        waits = {
            cause: sum(getattr(s, cause) for s in self.stalls if s.component == part.name)
            for cause in ("data", "space", "pool")
        }
        longest = max(waits, key=lambda cause: waits[cause])
        return ComponentRow(
            name=part.name,
            category=part.category,
            busy_cycles=float(busy * self.scale),
            busy=self.share(busy),
            idle=longest if waits[longest] > 0 else "",
            macs=self.macs_on(part.name) if part.category == "unit" else 0,
            read_bytes=self.bytes(part.name, "read") if part.category == "memory" else 0,
            write_bytes=self.bytes(part.name, "write") if part.category == "memory" else 0,
            transfer_bytes=self.bytes(part.name, "transfer") if part.category == "link" else 0,
            energy_J=joules(rows),
            leakage_J=None if part.leakage_watts is None else leaked(rows),
            area_mm2=part.area_mm2,
        )

    def tier(self, memory: Memory) -> TierRow:
        pools = self.trace.program.platform.pools
        peaks = [int(n) for p, n in zip(pools, self.trace.pool_peak, strict=True) if p.name == memory.name]
        read, write = self.bytes(memory.name, "read"), self.bytes(memory.name, "write")
        return TierRow(
            memory=memory.name,
            on_chip=memory.on_chip,
            capacity_bytes=int(memory.capacity),
            peak_bytes=peaks[0] if peaks else None,
            read_bytes=read,
            write_bytes=write,
            bytes_per_s=(read + write) / self.latency_s if self.latency_s else 0.0,
            busy=self.share(self.busy(memory)) if self.servers(memory) else None,
            energy_J=joules(self.by_component[memory.name]),
        )

    def roofs(self) -> Roofs:
        units = sorted(self.arch.units.items())
        bandwidths = {}
        for memory in self.arch.off_chip:
            ports = {port for d in _DIRECTIONS if (port := memory.port(d)) is not None}
            if ports:
                bandwidths[memory.name] = float(sum(rate for _, rate in ports))
        return Roofs(
            peaks={name: max(u.peak_rates().values(), default=0.0) * u.clock_hz for name, u in units},
            macs={name: self.mac_peak(u) for name, u in units},
            bandwidths=bandwidths,
        )

    # Operators and tensors

    def operators(self) -> tuple[OperatorRow, ...]:
        rows = []
        for einsum, runs in self.workload.einsums():
            operations = count_operations(einsum).scaled(runs)
            rows.append(self.operator(einsum.name, einsum.kind, runs, operations.macs, sum(operations.counts.values())))
        named = {row.name for row in rows}
        rows += [self.operator(name, "", 1, 0, 0) for name in self.activities if name not in named]
        return tuple(rows)

    def operator(self, name: str, kind: str, runs: int, macs: int, operations: int) -> OperatorRow:
        activity = self.activities.get(name, Activity(0, 0))
        cycles = activity.share * float(self.scale)
        rows = self.by_operator[name]
        read = total(r for r in rows if r.crosses_edge and r.action == "read")
        write = total(r for r in rows if r.crosses_edge and r.action == "write")
        units = sorted(u for u in activity.compute if u in self.arch.units)
        peak = sum(self.mac_peak(self.arch.units[u]) for u in units) / float(self.arch.clock)
        # What the units did: more than the Einsum's MACs where operands are wider than theirs and come in slices.
        done = total(r for r in rows if r.category == "unit" and r.action == "mac")
        # Operators that overlap share their common time, so that a unit may serve one for longer than its share.
        busy = float(activity.computed * self.scale)
        possible = peak * max(cycles, busy)
        limit, limit_ticks = activity.limit
        waits = {w: ticks * float(self.scale) for w, ticks in activity.waited().items()}
        return OperatorRow(
            name=name,
            kind=kind,
            runs=runs,
            unit="+".join(units),
            cycles=cycles,
            busy_cycles=busy,
            start_cycle=float(activity.start * self.scale),
            end_cycle=float(activity.end * self.scale),
            macs=macs,
            operations=operations,
            energy_J=joules(rows),
            off_chip_read_bytes=read,
            off_chip_write_bytes=write,
            intensity=operations / (read + write) if read + write else None,
            utilization=done / possible if possible else None,
            limit=limit,
            limit_cycles=float(limit_ticks * self.scale),
            wait_data=waits["data"],
            wait_space=waits["space"],
            wait_pool=waits["pool"],
            wait_server=waits["server"],
            wait_drain=waits["drain"],
        )

    def tensors(self) -> tuple[TensorRow, ...]:
        copies = self.workload.copies()
        names = [*copies, *sorted(t for t in self.by_tensor if t and t not in copies)]
        rows = []
        for name in names:
            counted = [r for r in self.by_tensor[name] if r.category == "memory"]

            def moved(action: str, off_chip: bool, counted: list[CountRow] = counted) -> int:
                there = [r for r in counted if r.action == action]
                return total(r for r in there if (r.crosses_edge if off_chip else r.component not in self.off_chip))

            tensor = self.workload.tensors.get(name)
            compulsory = self.bounds.traffic
            rows.append(
                TensorRow(
                    tensor=name,
                    role=str(tensor.role) if tensor is not None else "",
                    bytes=tensor.nbytes * copies.get(name, 1) if tensor is not None else 0,
                    compulsory_bytes=compulsory.reads.get(name, 0) + compulsory.writes.get(name, 0),
                    off_chip_read_bytes=moved("read", True),
                    off_chip_write_bytes=moved("write", True),
                    on_chip_read_bytes=moved("read", False),
                    on_chip_write_bytes=moved("write", False),
                    energy_J=joules(self.by_tensor[name]),
                )
            )
        return tuple(rows)
