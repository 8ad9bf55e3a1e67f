"""Random Mappings lowered and run: every wait that the Mapping asks for is kept, and every byte is counted.

The judge is a walk over every iteration of the tree (support.walk) that says which firing of which actor needs which,
how many buffers there are, and what stands before which barrier. It knows nothing of FIFOs, tokens or schedules.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from hypothesis import HealthCheck, event, given, settings
from support.kernels import RECORD
from support.random_mappings import Case, cases
from support.walk import Event, Hand, Instance, Tile, Walk

from accelsim.components.base import ComputeUnit
from accelsim.engine import compiled, reference
from accelsim.engine.bounds import program_bound
from accelsim.engine.checker import check
from accelsim.engine.labels import Action
from accelsim.engine.program import Program
from accelsim.engine.trace import Trace
from accelsim.ir import contraction
from accelsim.lowering import lower
from accelsim.lowering.ports import ports_between
from accelsim.mapping.replay import replay

SETTINGS = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


class Judge:
    """Compares a Trace with the walk of its Mapping; collects what is wrong."""

    def __init__(self, case: Case, program: Program, trace: Trace) -> None:
        self.case, self.mapping = case, case.mapping
        self.walk = Walk(case.mapping, case.workload, case.cuts)
        self.program = program
        self.scale = int(program.tick_hz / int(case.arch.clock))
        """Ticks per cycle."""
        self.problems: list[str] = []
        assert trace.slices is not None
        starts: dict[int, list[int]] = defaultdict(list)
        ends: dict[int, list[int]] = defaultdict(list)
        for a, s, e in sorted(zip(trace.slices.actor, trace.slices.start, trace.slices.end, strict=True)):
            starts[int(a)].append(int(s))
            ends[int(a)].append(int(e))
        self._starts, self._ends = starts, ends
        self._actors()

    def _actors(self) -> None:
        """Ops come first, then the ports of each Move, and of its way back when loops around it cut its sums."""
        names = list(self.program.actor_names)
        ops = [n for n in names if n in self.walk.einsums]
        assert names[: len(ops)] == ops
        self.op = {name: a for a, name in enumerate(ops)}
        self.chain: dict[int, list[int]] = {}
        self.back: dict[int, list[int]] = {}
        a = len(ops)
        arch = self.case.arch
        for i, move in enumerate(self.mapping.moves):
            n = len(ports_between(arch, move.src, move.dst))
            self.chain[i] = list(range(a, a + n))
            a += n
            back = len(ports_between(arch, move.dst, move.src)) if move.store and self.walk.partial(move) else 0
            self.back[i] = list(range(a, a + back))
            a += back
        assert a == len(names)

    def expect(self, what: str, earlier: int, later: int) -> None:
        if earlier > later:
            self.problems.append(f"{what}: starts at {later}, before {earlier}")

    # Times

    def unit(self, einsum: str) -> ComputeUnit:
        unit = self.case.arch.units["array" if contraction(self.walk.einsums[einsum]) else "vector"]
        assert isinstance(unit, ComputeUnit)
        return unit

    def cost(self, einsum: str, extents: dict[str, int]) -> tuple[int, int]:
        """Ticks of service and of latency."""
        e, unit = self.walk.einsums[einsum], self.unit(einsum)
        arrays = {r: np.array([n]) for r, n in extents.items()}
        cost = unit.cost(e, unit.spatial_options(e)[0], arrays, [8] * (len(e.inputs) + 1))
        return int(cost.cycles[0]) * self.scale, int(cost.latency[0]) * self.scale

    def start(self, what: Event) -> int | None:
        """None for a transfer that takes no time."""
        kind, name, k = what
        actor = self.op[str(name)] if kind == "op" else next(iter(self.chain[int(name)]), None)
        return None if actor is None else self._starts[actor][k]

    def end(self, what: Event) -> int | None:
        """When a result or tile is there; for a load, with the memory's latency."""
        kind, name, k = what
        if kind == "op":
            e = self.walk.einsums[str(name)]
            return self._ends[self.op[e.name]][k] + self.cost(e.name, self.walk.extents[e.name][0])[1]
        chain, move = self.chain[int(name)], self.mapping.moves[int(name)]
        if not chain:
            return None
        return self._ends[chain[-1]][k] + (self.latency(move.src) if kind == "load" else 0)

    def latency(self, memory: str) -> int:
        return round(self.case.arch.memories[memory].latency * 1e9) * self.scale

    # Rules

    def judge(self) -> list[str]:
        for name, extents in self.walk.extents.items():
            spans = [e - s for s, e in zip(self._starts[self.op[name]], self._ends[self.op[name]], strict=True)]
            if spans != [self.cost(name, x)[0] for x in extents]:
                self.problems.append(f"{name} takes {spans} for tiles of {extents}")
        for i, tiles in self.walk.tiles.items():
            resumed = [t for t in tiles if t.before is not None]
            for actor, n in [*((a, len(tiles)) for a in self.chain[i]), *((a, len(resumed)) for a in self.back[i])]:
                fired = len(self._starts[actor])
                if fired != n:
                    self.problems.append(f"{self.program.actor_names[actor]}: {fired} of {n} firings")
        if self.problems:
            return self.problems
        for i, move in enumerate(self.mapping.moves):
            for t, tile in enumerate(self.walk.tiles[i]):
                (self._store if move.store else self._load)(i, t, tile)
            if any(t.before is not None for t in self.walk.tiles[i]) and move.src == "sram":
                self._reloads(i)
        for before, after in self.walk.barriers:
            self._barrier(before, after)
        for hand in self.walk.hands.values():
            self._handed(hand)
        return self.problems

    def _takers(self, tile: Tile) -> list[Event]:
        """What uses a tile: Ops, or the transfers that take its parts on; of those without time, what uses theirs."""
        if not tile.onward:
            return tile.users
        found: list[Event] = []
        for kind, j, u in tile.onward:
            found += [(kind, j, u)] if self.chain[int(j)] else self._takers(self.walk.tiles[int(j)][u])
        return found

    def _load(self, i: int, t: int, tile: Tile) -> None:
        move = self.mapping.moves[i]
        there = self.end(("load", i, t))
        if there is None:
            return
        for taker in self._takers(tile):
            begun = self.start(taker)
            assert begun is not None
            self.expect(f"{taker} uses tile {t} of {move}", there, begun)
        if t >= move.buffers:
            old = self._takers(self.walk.tiles[i][t - move.buffers])
            freed = max(self._freed(taker) for taker in old)
            begun = self.start(("load", i, t))
            assert begun is not None
            self.expect(f"tile {t} of {move} needs a buffer", freed, begun)

    def _freed(self, taker: Event) -> int:
        """When a taker has read a tile: a transfer, when its first port has."""
        kind, name, k = taker
        return self._ends[self.op[str(name)] if kind == "op" else self.chain[int(name)][0]][k]

    def _store(self, i: int, t: int, tile: Tile) -> None:
        move = self.mapping.moves[i]
        begun = self.start(("store", i, t))
        makers = self._takers(tile)
        if begun is None:
            return
        for maker in makers:
            made = self.end(maker)
            assert made is not None
            self.expect(f"tile {t} of {move} is stored", made, begun)
        if t >= move.buffers:
            room = self._ends[self.chain[i][0]][t - move.buffers]
            for kind, name, k in makers:
                first = self._starts[self.op[str(name)] if kind == "op" else self.chain[int(name)][-1]][k]
                self.expect(f"{kind} {name} writes tile {t} of {move}", room, first)

    def _reloads(self, i: int) -> None:
        """Partial results that come back into the buffer: not before they have left, and before they are used."""
        move, tiles = self.mapping.moves[i], self.walk.tiles[i]
        chain, back = self.chain[i], self.back[i]
        for r, t in enumerate([t for t, tile in enumerate(tiles) if tile.before is not None]):
            before = tiles[t].before
            assert before is not None
            left = self._ends[chain[-1]][before] if chain else max(self.end(x) or 0 for x in tiles[before].users)
            used = min(self.start(x) or 0 for x in tiles[t].users)
            if back:
                self.expect(f"reload {r} of {move}", left, self._starts[back[0]][r])
                self.expect(f"tile {t} of {move} is resumed", self._ends[back[-1]][r] + self.latency(move.dst), used)
            elif chain:
                self.expect(f"tile {t} of {move} is resumed", left, used)

    def _barrier(self, before: Instance, after: Instance) -> None:
        ended = [(e, x) for x in before.enders if (e := self.end(x)) is not None]
        begun = [(s, x) for x in after.starters if (s := self.start(x)) is not None]
        if ended and begun:
            (last, a), (first, b) = max(ended), min(begun)
            self.expect(f"{b} waits for {a}", last, first)

    def _handed(self, hand: Hand) -> None:
        for entry, ((first, last), (begun, _)) in enumerate(zip(hand.made, hand.read, strict=True)):
            made, taken = self.end(("op", hand.maker, last)), self.start(("op", hand.reader, begun))
            assert made is not None and taken is not None
            self.expect(f"{hand.reader} takes result {entry} of {hand.maker}", made, taken)
            if entry >= hand.depth:
                freed = self._ends[self.op[hand.reader]][hand.read[entry - hand.depth][1]]
                self.expect(f"{hand.maker} makes result {entry}", freed, self._starts[self.op[hand.maker]][first])

    # Bytes

    def bytes_off_chip(self) -> dict[tuple[str, str, str], int]:
        """Bytes read and written off chip by (tensor, memory, direction), tile by tile."""
        found: dict[tuple[str, str, str], int] = defaultdict(int)
        for i, move in enumerate(self.mapping.moves):
            for tile in self.walk.tiles[i]:
                ways = [(move.src, move.dst)] + ([(move.dst, move.src)] if tile.before is not None else [])
                for src, dst in ways:
                    found[move.tensor, src, "read"] += tile.nbytes
                    found[move.tensor, dst, "write"] += tile.nbytes
        return {key: n for key, n in found.items() if key[1] != "sram"}


def counted(trace: Trace) -> dict[tuple[str, str, str], int]:
    found: dict[tuple[str, str, str], int] = defaultdict(int)
    for action, n in zip(trace.program.actions, trace.action_counts(), strict=True):
        assert isinstance(action, Action)
        if action.component in ("dram", "far") and n:
            found[action.tensor, action.component, action.action] += int(n)
    return dict(found)


def left_over(program: Program) -> list[str]:
    """FIFOs into which a whole run does not put as many tokens as it takes."""
    firings = program.phase_firings()
    left = [0] * len(program.fifos)
    for p, n in enumerate(firings):
        for r in range(int(program.in_ptr[p]), int(program.in_ptr[p + 1])):
            left[int(program.in_fifo[r])] -= int(n) * int(program.in_take[r])
        for r in range(int(program.out_ptr[p]), int(program.out_ptr[p + 1])):
            left[int(program.out_fifo[r])] += int(n) * int(program.out_put[r])
    return [f"{fifo.name}: {n}" for fifo, n in zip(program.fifos, left, strict=True) if n]


@SETTINGS
@given(cases())
def test_random_mappings_run_as_they_say(case: Case) -> None:
    replayed = replay(case.mapping, case.workload, case.arch)
    program = lower(case.arch, case.workload, case.mapping)
    assert left_over(program) == []
    trace = reference.run(program, record=RECORD)
    assert trace.differences(compiled.run(program)) == []
    assert check(program, trace) == []
    assert program_bound(program) <= trace.finish
    judge = Judge(case, program, trace)
    assert judge.judge() == []
    bytes_moved = {key: n for key, n in judge.bytes_off_chip().items() if n}
    assert counted(trace) == bytes_moved
    assert {key: n for key, n in replayed.tensor_bytes.items() if key[1] != "sram"} == bytes_moved
    for tiles in judge.walk.tiles.values():
        event(f"partial results come back: {any(t.before is not None for t in tiles)}")
    event(f"barriers: {bool(judge.walk.barriers)}")
    event(f"results handed on: {bool(judge.walk.hands)}")
