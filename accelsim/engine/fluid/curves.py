"""What every actor of a Program has done and asks for as it goes on: cumulative counts over its firings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ..program import NONE, REPEAT, UNBOUNDED, IntArray, Program


@dataclass(frozen=True, eq=False)
class Need:
    """An order between two actors: no firing of one starts before the other has come far enough.

    Attributes:
        actor: the one that waits.
        asked: [n+1] the most that any of its first n firings asks for.
        other: the one for which it waits.
        given: [m+1] what is there once the other has ended m firings, or started them.
        at_start: whether starting is enough.
        latency: ticks from then until it is there.
        fifo: the FIFO whose slots are asked for, or NONE where it is tokens.
    """

    actor: int
    asked: IntArray
    other: int
    given: IntArray
    at_start: bool
    latency: int
    fifo: int = NONE


class Curves:
    """Cumulative counts of a Program's actors.

    Args:
        program: any Program.
        around: how often all of it is done before and after once more, for what is the same in every period. What an
            actor has done then begins, and ends, with those others.

    Attributes:
        around: as given.
        phases: by actor [n] the phases that it fires, in order.
        work: by actor [n+1] units of work in its first n firings.
        needs: the orders that FIFOs make.
        moved: by FIFO the tokens that are put, and taken, in all.
        taken, given: by pool, and by actor [n+1], bytes of it that the first n firings take, or give back.
    """

    def __init__(self, program: Program, around: int = 0) -> None:
        self.program, self.around = program, around
        self.phases = [np.tile(_firings(program, a), 2 * around + 1) for a in range(program.n_actors)]
        self.work = [_sums(program.phase_work[phases]) for phases in self.phases]
        self.moved: list[tuple[int, int]] = []
        self.needs = tuple(self._needs())
        pools = range(len(program.platform.pools))
        takes = (np.where(program.take_pool == pool, program.take_bytes, 0) for pool in pools)
        self.taken = [self._of_pool(nbytes) for nbytes in takes]
        self.given = [self._of_pool(_gives(program, pool)) for pool in pools]

    def per_period(self, curve: IntArray) -> int:
        """What a curve gains in one period, which is all of it where there are none around."""
        period = (len(curve) - 1) // (2 * self.around + 1)
        return int(curve[(self.around + 1) * period] - curve[self.around * period])

    def _needs(self) -> Iterator[Need]:
        p = self.program
        ins, outs = _ports(p.in_ptr, p.in_fifo), _ports(p.out_ptr, p.out_fifo)
        for f, fifo in enumerate(p.fifos):
            taken, looked_at = self._port(fifo.dst, ins.get(f, ()), p.in_need, p.in_take)
            put, reserved = self._port(fifo.src, outs.get(f, ()), p.out_need, p.out_put)
            self.moved.append((int(put[-1]), int(taken[-1])))
            yield Need(fifo.dst, looked_at, fifo.src, fifo.init + put, fifo.data_at_start, fifo.latency)
            if fifo.depth != UNBOUNDED:
                free = fifo.depth - fifo.init + taken
                yield Need(fifo.src, reserved, fifo.dst, free, fifo.space_at_start, fifo.credit_latency, f)

    def _port(
        self, actor: int, rows: tuple[tuple[int, int], ...] | list[tuple[int, int]], need: IntArray, move: IntArray
    ) -> tuple[IntArray, IntArray]:
        """[n+1] tokens that the first n firings of an actor move, and the most that any of them asks for."""
        needed, moved = np.zeros((2, self.program.n_phases), np.int64)
        for phase, row in rows:
            needed[phase], moved[phase] = need[row], move[row]
        total = _sums(moved[self.phases[actor]])
        asked = np.concatenate([[0], total[:-1] + needed[self.phases[actor]]])
        return total, np.maximum.accumulate(asked)

    def _of_pool(self, nbytes: IntArray) -> Mapping[int, IntArray]:
        return {a: _sums(nbytes[phases]) for a, phases in enumerate(self.phases) if nbytes[phases].any()}


def cells(program: Program) -> int:
    """About how many numbers the curves of a Program have."""
    owner, firings = program.actor_of_phase(), program.phase_firings()
    number = np.bincount(owner[owner >= 0], firings[owner >= 0], program.n_actors)
    return int(2 * number.sum() + 2 * sum(number[f.src] + number[f.dst] for f in program.fifos))


def _firings(program: Program, actor: int) -> IntArray:
    """[n] the phases that an actor fires, in order."""
    done: list[tuple[int, IntArray]] = []
    for i in range(int(program.code_ptr[actor]), int(program.code_ptr[actor + 1])):
        arg, count = int(program.code_arg[i]), int(program.code_count[i])
        if program.code_op[i] != REPEAT:
            done.append((i, np.full(count, arg, np.int64)))
            continue
        body: list[IntArray] = []
        while done and done[-1][0] >= arg:
            body.append(done.pop()[1])
        done.append((arg, np.tile(np.concatenate(body[::-1]), count)))
    return np.concatenate([phases for _, phases in done]) if done else np.zeros(0, np.int64)


def _sums(values: IntArray) -> IntArray:
    """[n+1] of n values the sums of the first of them."""
    return np.concatenate([[0], np.cumsum(values)])


def _ports(ptr: IntArray, fifo: IntArray) -> dict[int, list[tuple[int, int]]]:
    """By FIFO the phases that have a port to it, each with the row of that port."""
    found: dict[int, list[tuple[int, int]]] = {}
    for phase in range(len(ptr) - 1):
        for row in range(int(ptr[phase]), int(ptr[phase + 1])):
            found.setdefault(int(fifo[row]), []).append((phase, row))
    return found


def _gives(program: Program, pool: int) -> IntArray:
    """[p] bytes of a pool that each phase gives back."""
    owner = np.repeat(np.arange(program.n_phases), np.diff(program.give_ptr))
    here = program.give_pool == pool
    nbytes = np.zeros(program.n_phases, np.int64)
    np.add.at(nbytes, owner[here], program.give_bytes[here])
    return nbytes
