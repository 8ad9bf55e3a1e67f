"""Independent replay of a Mapping: recounts bytes, capacities, collisions and use before load, without lowering it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..arch.architecture import Architecture
from ..errors import DoesNotFit, MappingError
from ..ir import Workload, count_operations
from .capacity import Content, Peak, collisions, contents, overfull, peaks
from .copies import overwritten
from .counting import Tally, points, tally
from .handing import Passage, passages
from .phases import Phases
from .phases_replay import moved, phase_problems
from .presence import Presence
from .registers import holder
from .scope import Scope
from .tree import Mapping as MappingValue
from .validate import structure_problems

SHOWN = 20
"""Lines of a message."""


@dataclass(frozen=True)
class ReplayResult:
    """What a Mapping moves and holds.

    Attributes:
        traffic_bytes: bytes that Moves, and Pipes from memory to memory, read and write, by (memory, ``read`` or
            ``write``), and by (link, ``transfer``). What compute units read and write in their own memory is not part
            of it.
        tensor_bytes: the same by (tensor, memory or link, direction).
        peaks: the most bytes that each memory holds, and where.
        transfers: tiles moved, by loads, stores and reloads of partial results, and from stage to stage.
        macs: multiply-accumulates by Einsum, those included that Loops with a halo do again.
    """

    traffic_bytes: Mapping[tuple[str, str], int]
    tensor_bytes: Mapping[tuple[str, str, str], int]
    peaks: Mapping[str, Peak]
    transfers: int
    macs: Mapping[str, int]


def replay(mapping: MappingValue, workload: Workload, arch: Architecture) -> ReplayResult:
    """Check a Mapping and count what it moves and holds.

    Args:
        mapping: a Mapping of `workload` onto `arch`.
        workload: what is computed.
        arch: the machine.

    Returns:
        Traffic, peaks and tiles moved over the whole run.

    Raises:
        MappingError: the Mapping is not well formed; a tensor is not where it is read from, or a result does not get to
            where it must be; two Stays lie at the same addresses at the same time. The message lists all of them.
        DoesNotFit: a memory holds more than it can; the message says which, where, what and by how much.
    """
    if mapping.phases is not None:
        return _replay_phases(mapping.phases, workload, arch)
    scope = Scope(mapping, workload)
    _raise([str(problem) for problem in structure_problems(scope, arch)])
    _raise(Presence(scope, arch).check())
    tallies = [tally(scope, move) for move in mapping.moves]
    highest = peaks(scope, contents(scope, arch, tallies))
    full = overfull(arch, highest)
    if full:
        raise DoesNotFit("\n".join(full))
    _raise([*collisions(scope, arch), *overwritten(scope)])
    return _result(scope, arch, tallies, passages(scope, arch), highest)


def _raise(lines: Sequence[str]) -> None:
    if lines:
        more = [f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
        raise MappingError("\n".join([*lines[:SHOWN], *more]))


def _result(
    scope: Scope, arch: Architecture, tallies: Sequence[Tally], passed: Sequence[Passage], highest: Mapping[str, Peak]
) -> ReplayResult:
    by_tensor: dict[tuple[str, str, str], int] = {}

    def count(tensor: str, component: str, direction: str, nbytes: int) -> None:
        key = tensor, component, direction
        by_tensor[key] = by_tensor.get(key, 0) + nbytes

    links = {frozenset(link.between): name for name, link in arch.links.items()}
    hops = [(p.tensor, src, dst, p.nbytes, "") for p in passed for src, dst in pairwise(p.way)]
    for move, counted in zip(scope.mapping.moves, tallies, strict=True):
        cut, near = (move.issue, move.src) if move.store else (move.due, move.dst)
        unit = holder(scope, scope.served(move.tensor, cut, store=move.store), move.tensor)
        past = near if unit else ""
        hops.append((move.tensor, move.src, move.dst, counted.nbytes, past))
        hops.append((move.tensor, move.dst, move.src, counted.reload_bytes, past))
    for tensor, src, dst, nbytes, past in hops:
        if nbytes:
            for component, direction in ((src, "read"), (dst, "write")):
                if component != past:
                    count(tensor, component, direction, nbytes)
            link = links.get(frozenset((src, dst)))
            if link is not None:
                count(tensor, link, "transfer", nbytes)
    traffic: dict[tuple[str, str], int] = {}
    for (_, component, direction), nbytes in by_tensor.items():
        traffic[component, direction] = traffic.get((component, direction), 0) + nbytes
    return ReplayResult(traffic, by_tensor, highest, _transfers(tallies, passed), macs_run(scope))


def _transfers(tallies: Sequence[Tally], passed: Sequence[Passage]) -> int:
    return sum(t.tiles + t.reloads for t in tallies) + sum(p.tiles * (len(p.way) - 1) for p in passed)


def _replay_phases(phases: Phases, workload: Workload, arch: Architecture) -> ReplayResult:
    _raise([str(problem) for problem in phase_problems(phases, workload, arch)])
    memory = arch.memories[arch.units[phases.unit].memory]
    if memory.parent is None:
        raise MappingError(f"memory {memory.name} of unit {phases.unit} has no parent to load from")
    counted = moved(phases, workload)
    peak = Peak(counted.held, counted.where, tuple(Content(what, n, 0, 0) for what, n in counted.contents))
    if peak.nbytes > memory.capacity:
        where = "phase {1} of part {0}".format(*counted.where)
        raise DoesNotFit(f"{where}: {peak.nbytes:,} bytes in {memory.name}, which has {memory.capacity:,} ({peak})")
    outside, inside = memory.parent, memory.name
    links = [name for name, link in arch.links.items() if {*link.between} == {outside, inside}]
    by_tensor: dict[tuple[str, str, str], int] = {}
    for tensors, src, dst in ((counted.read, outside, inside), (counted.written, inside, outside)):
        for tensor, nbytes in tensors.items():
            for component, direction in ((src, "read"), (dst, "write"), *((name, "transfer") for name in links)):
                key = tensor, component, direction
                by_tensor[key] = by_tensor.get(key, 0) + nbytes
    traffic: dict[tuple[str, str], int] = {}
    for (_, component, direction), nbytes in by_tensor.items():
        traffic[component, direction] = traffic.get((component, direction), 0) + nbytes
    macs = {e.name: count_operations(e).macs * times for e, times in workload.einsums()}
    return ReplayResult(traffic, by_tensor, {memory.name: peak}, counted.transfers, macs)


def macs_run(scope: Scope) -> dict[str, int]:
    """Multiply-accumulates that a Mapping does, by Einsum: of the tiles that its Ops run."""
    found = {}
    for name, run in points(scope).items():
        einsum = scope.names.einsums[name][0]
        found[name] = count_operations(einsum).macs * run // einsum.points
    return found
