"""The program bound: ticks below which no run of a Program can finish, whatever its order."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from .program import NONE, IntArray, Program


@dataclass(frozen=True)
class Binding:
    """What bounds one segment: a server, an actor that serves itself, or a chain of parts that never overlap."""

    segment: int
    kind: str
    """``server``, ``actor`` or ``chain``"""
    index: int
    name: str
    """Of a chain that of the resource on which its longest part waits."""
    ticks: Fraction


Resource = tuple[str, int]


def binding(program: Program) -> list[Binding]:
    """Return for each segment that has work what bounds it: the first resource or chain with most ticks."""
    firings = program.phase_firings()
    owner = program.actor_of_phase()
    servers, names = program.platform.servers, program.actor_names
    work: dict[tuple[int, str, int], int] = {}
    parts: dict[tuple[int, int], dict[int, dict[Resource, int]]] = {}
    for p in range(program.n_phases):
        a = int(owner[p])
        if a == NONE:
            continue
        s = int(program.actor_server[a])
        resource = ("server", s) if s != NONE else ("actor", a)
        segment, units = int(program.phase_segment[p]), int(firings[p]) * int(program.phase_work[p])
        work[segment, *resource] = work.get((segment, *resource), 0) + units
        if program.phase_chain[p] != NONE:
            chain = parts.setdefault((segment, int(program.phase_chain[p])), {})
            part = chain.setdefault(int(program.phase_part[p]), {})
            part[resource] = part.get(resource, 0) + units
    carries = [carrying(program, s, owner) for s in range(len(servers))]
    used: set[int] = set()
    best: dict[int, Binding] = {}

    def name_of(resource: Resource) -> str:
        kind, i = resource
        return servers[i].name if kind == "server" else names[i]

    def propose(found: Binding) -> None:
        if found.segment not in best or found.ticks > best[found.segment].ticks:
            best[found.segment] = found

    for (segment, kind, i), units in sorted(work.items()):
        if kind == "server":
            # A busy server may have done up to a tick of this segment's work in the last tick of an earlier one.
            ticks = Fraction(units) / servers[i].rate - (1 if carries[i] and i in used else 0)
            used.add(i)
        else:
            ticks = Fraction(units)
        propose(Binding(segment, kind, i, name_of((kind, i)), ticks))
    for (segment, chain_index), chain in sorted(parts.items()):
        if len(chain) < 2:
            continue
        longest = []
        for _, part in sorted(chain.items()):
            ticks_of = {r: _alone(program, carries, r, units) for r, units in part.items()}
            longest.append(max((ticks, r) for r, ticks in sorted(ticks_of.items())))
        total = sum((max(ticks, Fraction(0)) for ticks, _ in longest), Fraction(0))
        propose(Binding(segment, "chain", chain_index, name_of(max(longest)[1]), total))
    return [best[segment] for segment in sorted(best)]


def _alone(program: Program, carries: list[bool], resource: Resource, units: int) -> Fraction:
    """Ticks of a resource for the work of one part, less what may have been done in the last tick of another one."""
    kind, i = resource
    return Fraction(units) / program.platform.servers[i].rate - carries[i] if kind == "server" else Fraction(units)


def program_bound(program: Program) -> Fraction:
    """Return the program bound in ticks: per segment the most that one resource or chain has to do, summed.

    A server has to do its work at its unrounded rate, an actor without a server one unit per tick; a chain the most
    that one resource has to do in each of its parts, summed. Sound when `phase_segment` is, no firing of a segment is
    served before all of the earlier segments have ended, and no two parts of a chain are served at once.
    """
    return sum((max(b.ticks, Fraction(0)) for b in binding(program)), Fraction(0))


def carrying(program: Program, s: int, owner: IntArray) -> bool:
    """Whether a piece can leave part of the server's last tick to the next one."""
    server = program.platform.servers[s]
    if server.step is not None:
        return False
    for p in range(program.n_phases):
        if owner[p] == NONE or program.actor_server[owner[p]] != s:
            continue
        work = int(program.phase_work[p])
        pieces = {min(work, server.burst), work % server.burst} if server.burst else {work}
        if any(n * server.rate.denominator % server.rate.numerator for n in pieces):
            return True
    return False
