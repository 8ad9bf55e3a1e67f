"""What every Mapping of the tile mapper takes at least, for a search that looks at bounds before it simulates.

It is above the machine bound, which holds for every mapper, for two reasons. One Einsum runs after the other, so that
their cycles add up, whichever unit each of them is on; and an activation goes through the off-chip memory unless it
stays in the buffer whole, from the Einsum that makes it to the last one that uses it.

While the mapper works, what is known of the Einsums that it has planned takes the place of what holds for any plan.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache
from itertools import combinations
from math import inf
from typing import NamedTuple, TypeAlias

from ...arch.architecture import Architecture
from ...arch.component import Direction, Memory
from ...components.base import ComputeUnit
from ...ir import Einsum, Role, Workload
from ...ir.same import Same
from ...mapping.compulsory import Use, touched
from ...mapping.machine_bound import einsum_bounds, machine_bound, off_chip_bandwidth
from .flow import Flow
from .residency import may_stay, staying_limit
from .search import Plan

WAYS: tuple[Direction | None, ...] = ("read", "write", None)
_ROUNDING = 1 - 1e-12
"""Keeps the sums of floating-point terms on the safe side."""
_COUNTED = 1 - 1e-9
"""The same for the energy of a plan, which adds up the same terms in another order."""
Place: TypeAlias = tuple[tuple[str, ...], int]
"""Path of a scope and number of an item of it."""


Watch: TypeAlias = Callable[[float, float], None]
"""Told of cycles of the machine's clock and joules of action that a run will take at least."""


def floor(workload: Workload, arch: Architecture) -> tuple[float, float]:
    """Cycles of the machine's clock and joules of action below which no Mapping of `map_workload` comes.

    Per Einsum the cycles are at least those of the fastest unit for it, and those of the off-chip memories for what it
    reads and writes there, but for weights, which may come while the Einsum before runs.

    Args:
        workload: what is computed.
        arch: the machine.
    """
    return Floor(workload, arch).value()


class _Least(NamedTuple):
    """Of all runs of an Einsum: cycles beside no other one, cycles of the off-chip memories, joules."""

    alone: float
    moving: float
    joules: float


class Floor:
    """The floor of a Workload on a machine, and how it rises as Einsums are planned."""

    def __init__(self, workload: Workload, arch: Architecture) -> None:
        self._bound = machine_bound(workload, arch)
        capacity = max((m.capacity for m in arch.memories.values() if m.on_chip), default=0)
        self._rates = rates_of(arch)
        self._least: dict[Place, _Least] = {}
        self._passing = 0.0
        self._times: dict[Place, int] = {}
        bounds, computing = einsum_bounds(workload, arch), dict[int, float]()
        for place, einsum, times, moved in _items(Same(workload), staying_limit(capacity)):
            bound, rates = bounds[einsum.name], self._rates
            if bound.kind not in computing:
                computing[bound.kind] = _computing(einsum, bound.cycles, arch)
            alone = max(computing[bound.kind], rates.cycles(moved.reads, moved.writes))
            moving = rates.cycles(moved.reads + moved.weights, moved.writes)
            joules = bound.joules + rates.joules(moved.reads + moved.weights, moved.writes)
            self._least[place], self._times[place] = _Least(times * alone, times * moving, times * joules), times
            self._passing += times * rates.joules(moved.passing_reads, moved.passing_writes)

    def value(self) -> tuple[float, float]:
        """Cycles of the machine's clock, and joules of action."""
        alone, moving, joules = (sum(column) * _ROUNDING for column in zip(*self._least.values(), strict=True))
        least = self._bound.energy_J + self._passing * _ROUNDING
        return max(self._bound.cycles, alone, moving), max(least, joules)

    def planned(self, place: Place, plan: Plan, weights: Collection[str]) -> None:
        """Take a plan for what holds of an Einsum; `weights` are the tensors that may come before it begins."""
        times, before = self._times[place], self._least[place]
        alone, moving = self._rates.of_plan(plan, weights)
        self._least[place] = _Least(
            max(before.alone, times * alone), max(before.moving, times * moving), times * plan.energy * _COUNTED
        )


class _Item(NamedTuple):
    """An Einsum of a Workload, and how often it runs."""

    place: Place
    einsum: Einsum
    times: int
    moved: _Moved


@lru_cache(maxsize=64)
def _items(of: Same[Workload], limit: int) -> tuple[_Item, ...]:
    """With as many bytes of activations on the chip as the staying tensors of one Einsum may have together."""
    flow = Flow(of.value)
    return tuple(
        _Item((path, i), item, scope.count, _moved(flow, item, limit))
        for path, scope in flow.scopes.items()
        for i, item in enumerate(scope.items)
        if isinstance(item, Einsum)
    )


def _computing(einsum: Einsum, cycles: Sequence[float], arch: Architecture) -> float:
    """Cycles on the fastest unit, of those that each takes at least; 0 where none can run it, which its simulation will
    say."""
    found = [
        max(least, unit.least_cycles(einsum) * float(arch.clock) / unit.clock_hz)
        for least, unit in zip(cycles, arch.units.values(), strict=True)
        if least < inf and isinstance(unit, ComputeUnit)
    ]
    return min(found, default=0.0)


class Rates:
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

    def cycles(self, reads: float, writes: float) -> float:
        amounts = {"read": reads, "write": writes, None: reads + writes}
        return max(amounts[way] / bandwidth for way, bandwidth in self._bandwidth.items())

    def of_plan(self, plan: Plan, weights: Collection[str]) -> tuple[float, float]:
        """Cycles that a plan takes at least, without what may come before it begins, which are the tensors `weights`;
        and cycles of the off-chip memories."""
        here, ahead = [0.0, 0.0], 0.0
        for (name, written), (come, gone) in plan.moved.items():
            if name in weights and not written:
                ahead += come
            else:
                here = [here[0] + come, here[1] + gone]
        return max(plan.computing, self.cycles(here[0], here[1])), self.cycles(here[0] + ahead, here[1])

    def joules(self, reads: float, writes: float) -> float:
        return reads * self._read + writes * self._write


def rates_of(arch: Architecture) -> Rates:
    """Those of a machine, remembered."""
    return _rates_of(Same(arch))


@lru_cache(maxsize=8)
def _rates_of(arch: Same[Architecture]) -> Rates:
    return Rates(arch.value)


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
    """With as many bytes of activations on the chip as `limit`."""
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
