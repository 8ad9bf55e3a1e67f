"""The program bound: ticks below which no run of a Program can finish, whatever its order."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from .program import NONE, IntArray, Program


@dataclass(frozen=True)
class Binding:
    """The resource that bounds one segment: a server, or an actor that serves itself."""

    segment: int
    kind: str
    """``server`` or ``actor``"""
    index: int
    name: str
    ticks: Fraction


def binding(program: Program) -> list[Binding]:
    """Return for each segment that has work the resource that bounds it, the first such by (kind, index)."""
    firings = program.phase_firings()
    owner = program.actor_of_phase()
    servers, names = program.platform.servers, program.actor_names
    work: dict[tuple[int, str, int], int] = {}
    for p in range(program.n_phases):
        a = int(owner[p])
        s = int(program.actor_server[a]) if a != NONE else NONE
        if a == NONE:
            continue
        key = (int(program.phase_segment[p]), *(("server", s) if s != NONE else ("actor", a)))
        work[key] = work.get(key, 0) + int(firings[p]) * int(program.phase_work[p])
    carries = [_carries(program, s, owner) for s in range(len(servers))]
    used: set[int] = set()
    best: dict[int, Binding] = {}
    for (segment, kind, i), units in sorted(work.items()):
        if kind == "server":
            # A busy server may have done up to a tick of this segment's work in the last tick of an earlier one.
            ticks = Fraction(units) / servers[i].rate - (1 if carries[i] and i in used else 0)
            used.add(i)
        else:
            ticks = Fraction(units)
        if segment not in best or ticks > best[segment].ticks:
            best[segment] = Binding(segment, kind, i, servers[i].name if kind == "server" else names[i], ticks)
    return [best[segment] for segment in sorted(best)]


def program_bound(program: Program) -> Fraction:
    """Return the program bound in ticks: per segment the most that one resource has to do, summed.

    A server has to do its work at its unrounded rate, an actor without a server one unit per tick. Sound when
    `phase_segment` is: no firing of a segment is served before all of the earlier segments have ended.
    """
    return sum((max(b.ticks, Fraction(0)) for b in binding(program)), Fraction(0))


def _carries(program: Program, s: int, owner: IntArray) -> bool:
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
