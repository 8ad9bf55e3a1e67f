"""What every Mapping of the tile mapper takes at least, for a search that looks at bounds before it simulates.

It is above the machine bound, which holds for every mapper, for two reasons. One Einsum runs after the other, so that
their cycles add up, whichever unit each of them is on; and an activation goes through the off-chip memory unless it
stays in the buffer whole, from the Einsum that makes it to the last one that uses it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import combinations
from math import inf
from typing import NamedTuple

from ...arch.architecture import Architecture
from ...arch.component import Direction, Memory
from ...components.base import ComputeUnit
from ...ir import Einsum, Role, Workload
from ...mapping.compulsory import Use, touched
from ...mapping.machine_bound import machine_bound, off_chip_bandwidth, unit_cycles
from .flow import Flow
from .residency import may_stay, staying_limit

WAYS: tuple[Direction | None, ...] = ("read", "write", None)
_ROUNDING = 1 - 1e-12
"""Keeps the sums of floating-point terms on the safe side."""


def floor(workload: Workload, arch: Architecture) -> tuple[float, float]:
    """Cycles of the machine's clock and joules of action below which no Mapping of `map_workload` comes.

    Per Einsum the cycles are at least those of the fastest unit for it, and those of the off-chip memories for what it
    reads and writes there, but for weights, which may come while the Einsum before runs.

    Args:
        workload: what is computed.
        arch: the machine.
    """
    bound = machine_bound(workload, arch)
    capacity = max((m.capacity for m in arch.memories.values() if m.on_chip), default=0)
    flow, limit = Flow(workload), staying_limit(capacity)
    rates = _Rates(arch)
    one_by_one = moving = joules = 0.0
    for scope in flow.scopes.values():
        for item in scope.items:
            if isinstance(item, Einsum):
                moved = _moved(flow, item, limit)
                computing = _computing(item, workload, arch)
                one_by_one += scope.count * max(computing, rates.cycles(moved.reads, moved.writes))
                moving += scope.count * rates.cycles(moved.reads + moved.weights, moved.writes)
                joules += scope.count * rates.joules(moved.passing_reads, moved.passing_writes)
    return max(bound.cycles, one_by_one * _ROUNDING, moving * _ROUNDING), bound.energy_J + joules * _ROUNDING


def _computing(einsum: Einsum, workload: Workload, arch: Architecture) -> float:
    """Cycles on the fastest unit; 0 where none can run it, which its simulation will say."""
    found = [
        max(cycles, unit.least_cycles(einsum) * float(arch.clock) / unit.clock_hz)
        for cycles, unit in zip(unit_cycles(einsum, workload, arch), arch.units.values(), strict=True)
        if cycles < inf and isinstance(unit, ComputeUnit)
    ]
    return min(found, default=0.0)


class _Rates:
    """Bandwidths and least prices of everything outside the chip together."""

    def __init__(self, arch: Architecture) -> None:
        outside, inside = arch.off_chip, [m for m in arch.memories.values() if m.on_chip]
        self._bandwidth = {way: off_chip_bandwidth(outside, arch, way) for way in WAYS}
        fed = {name for unit in arch.units.values() for name in unit.memories}
        seen = bool(inside) and fed <= {m.name for m in inside}

        def least(memories: Iterable[Memory], action: str) -> float:
            return min((m.action_energy().get(action, 0.0) for m in memories), default=0.0)

        self._read = least(outside, "read") + least(inside, "write") if seen else 0.0
        self._write = least(outside, "write") + least(inside, "read") if seen else 0.0

    def cycles(self, reads: int, writes: int) -> float:
        amounts = {"read": reads, "write": writes, None: reads + writes}
        return max(amounts[way] / bandwidth for way, bandwidth in self._bandwidth.items())

    def joules(self, reads: int, writes: int) -> float:
        return reads * self._read + writes * self._write


class _Moved(NamedTuple):
    """Bytes that one run of an Einsum moves over the chip's edge, at least.

    Attributes:
        reads, writes: without weights.
        weights: read.
        passing_reads, passing_writes: of these, of activations, which the machine bound takes to stay on the chip.
    """

    reads: int
    writes: int
    weights: int
    passing_reads: int
    passing_writes: int


def _moved(flow: Flow, einsum: Einsum, limit: int) -> _Moved:
    """With as many bytes of activations on the chip as the staying tensors of one Einsum may have together."""
    tensors = flow.workload.tensors
    uses: dict[tuple[str, bool], list[Use]] = defaultdict(list)
    for access, written in [*((a, False) for a in einsum.inputs), (einsum.output, True)]:
        uses[flow.storage(access.tensor), written].append((tensors[access.tensor], einsum, access))
    weights, fixed, passing = 0, [0, 0], []
    for (name, written), where in uses.items():
        life = flow.lives[name]
        nbytes = life.tensor.bytes_of(touched(life.tensor, where))
        if may_stay(flow, life):
            passing.append((name, written, nbytes))
        elif life.tensor.role is Role.WEIGHT and not written:
            weights += nbytes
        else:
            fixed[written] += nbytes
    least: list[tuple[int, int]] = []
    names = sorted({name for name, _, _ in passing})
    for n in range(len(names) + 1):
        for kept in combinations(names, n):
            if sum(flow.lives[name].tensor.nbytes for name in kept) <= limit:
                here = [sum(b for name, w, b in passing if w == way and name not in kept) for way in (False, True)]
                least.append((here[0], here[1]))
    reads, writes = min(r for r, _ in least), min(w for _, w in least)
    return _Moved(fixed[0] + reads, fixed[1] + writes, weights, reads, writes)
