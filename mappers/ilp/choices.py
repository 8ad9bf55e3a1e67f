"""How each step runs and what stays in the memory between steps, decided together.

Every step has choices: which of its tensors lie whole in the memory while it runs, how much room it takes beside them
for tiles of the others, and what it costs that way. A tensor that lies in the memory at two uses may be kept in
between; else it is loaded whole, or passes by in tiles, and somebody has to have stored it.

One 0/1 variable per choice and per gap between two uses; loads and stores follow. This is the gap model with steps
that need not have their tensors in the memory, so that every memory in which the smallest tiles fit is enough.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from .choice_copies import with_copies
from .packing import Buffer, pack
from .solver import DEFAULT, NO_SOLVER, Program, Solution, SolverOptions, solve

SLACKS = (0, 1, 2, 4, 7, 11, 16, 24, 35, 50, 75, 100)
"""Percent of the memory that is given up, one after the other, until everything has an address."""
PACKING_NODES = 100_000
"""Nodes of the exact search for addresses, each time."""

ROUNDING = 1e-6
"""What a solver calls equal may differ in its last digits."""


@dataclass(frozen=True)
class Choice:
    """A way to run a step.

    Attributes:
        resident: tensors of the step that lie in the memory, whole, while it runs.
        room: bytes that it takes beside those.
        cost: of running it so, the transfers of tiles included.
    """

    resident: frozenset[str]
    room: int
    cost: float


@dataclass(frozen=True)
class Touch:
    """A use of a tensor: by which step, whether that writes or reads it, and how many of its bytes."""

    step: int
    write: bool
    nbytes: int


@dataclass(frozen=True)
class Candidate:
    """A tensor that may lie in the memory.

    Attributes:
        touches: one per step, in order; all that write come before all that read.
        source: it is off chip before the first step.
        result: it must be off chip at the end.
        load, store: what a byte costs that is loaded whole before a step, or stored whole behind it.
    """

    name: str
    nbytes: int
    touches: tuple[Touch, ...]
    source: bool
    result: bool
    load: float
    store: float


@dataclass(frozen=True)
class ChoiceProblem:
    """Steps with their choices, of which one has nothing resident, and tensors that may stay in `capacity` bytes.

    `copy` is what a byte costs that is copied within the memory between two steps; None where nothing may be.
    """

    choices: tuple[tuple[Choice, ...], ...]
    candidates: Mapping[str, Candidate]
    capacity: int
    copy: float | None = None


@dataclass(frozen=True)
class Interval:
    """A tensor lies in the memory from one step to another, both included; `load` says that it is loaded first.

    One that is `copied` lay there before, at another address.
    """

    tensor: str
    first: int
    last: int
    load: bool
    copied: bool = False


@dataclass(frozen=True)
class Decision:
    """What was decided.

    Attributes:
        picks: by step, the number of its choice.
        intervals: what lies in the memory when, by tensor and step.
        addresses: of the intervals; None where fragmentation is left out.
        stores: (tensor, step) that are stored whole behind a step.
        room_at: by step, bytes of the largest hole that is left.
        value: what it costs; `bound`: no decision costs less; `proven`: the two are one, up to the gap allowed.
        copies: (tensor, step) of the intervals that are copied, in the order in which that is done.
    """

    picks: tuple[int, ...]
    intervals: tuple[Interval, ...]
    addresses: tuple[int | None, ...]
    stores: tuple[tuple[str, int], ...]
    room_at: tuple[int, ...]
    value: float
    bound: float
    proven: bool
    solver: str
    interrupted: bool = False
    copies: tuple[tuple[str, int], ...] = ()


def decide(problem: ChoiceProblem, options: SolverOptions = DEFAULT) -> Decision:
    """The decision that costs least, with addresses.

    Where the solver stops early it is the best one found, at worst the one that keeps nothing; where what it keeps has
    no addresses the solver is given a smaller memory, and the decision is not called proven. Where tensors may be
    copied all that fits has addresses; what costs less of the two is taken.
    """
    bound = 0.0
    moved: Decision | None = None
    ends = None if options.seconds is None else time.perf_counter() + options.seconds
    for number, percent in enumerate(SLACKS):
        capacity = problem.capacity - problem.capacity * percent // 100
        left = None if ends is None else max(0.0, ends - time.perf_counter())
        solution, model = _solved(problem, capacity, replace(options, seconds=left))
        if not number:
            bound = solution.bound
        picks, kept = model.chosen(solution)
        intervals = _intervals(problem, picks, kept)
        addresses = _addresses(problem, picks, intervals)
        if addresses is not None:
            break
        if not number and problem.copy is not None:
            moved, first = _copied(problem, picks, kept), solution
    assert addresses is not None  # with nothing resident there is nothing to place
    found = decision_of(problem, picks, kept, dict(zip(intervals, addresses, strict=True)))
    if moved is not None and moved.value < found.value:
        found, solution, number = moved, first, 0
    bound = min(bound, found.value)
    proven = solution.chosen is not None and not solution.interrupted and not number
    proven = proven and found.value - bound <= (options.gap + ROUNDING) * abs(found.value)
    return replace(found, bound=bound, proven=proven, solver=solution.solver, interrupted=solution.interrupted)


def decision_of(
    problem: ChoiceProblem,
    picks: Sequence[int],
    kept: Collection[tuple[str, int]],
    addresses: Mapping[Interval, int] | None,
) -> Decision:
    """What follows from a choice per step and the gaps, (tensor, number), over which tensors are kept.

    Args:
        problem: what is decided.
        picks: number of the choice, by step.
        kept: gaps between two uses at which the tensor is resident.
        addresses: of all intervals; None where fragmentation is left out.
    """
    intervals, stores = _intervals(problem, picks, kept), _stores(problem, picks, kept)
    places = tuple(addresses[x] if addresses is not None else None for x in intervals)
    value = _value(problem, picks, intervals, stores)
    return Decision(
        tuple(picks), intervals, places, stores, _holes(problem, intervals, places), value, 0.0, False, NO_SOLVER
    )


@dataclass
class _Model:
    """The program and what its variables stand for."""

    problem: ChoiceProblem
    program: Program = field(default_factory=Program)
    pick: list[list[int]] = field(default_factory=list)
    keep: dict[tuple[str, int], int] = field(default_factory=dict)
    """(tensor, number of the gap) to its variable."""

    @classmethod
    def of(cls, problem: ChoiceProblem, capacity: int) -> _Model:
        model = cls(problem)
        for choices in problem.choices:
            row = [model.program.variable(c.cost) for c in choices]
            model.pick.append(row)
            model.program.row(dict.fromkeys(row, 1.0), 1.0)
            model.program.row(dict.fromkeys(row, -1.0), -1.0)
        for candidate in problem.candidates.values():
            model._candidate(candidate)
        model._room(capacity)
        return model

    def _resident(self, tensor: str, step: int) -> dict[int, float]:
        """Terms whose sum is 1 where a tensor lies in the memory while a step runs."""
        choices = self.problem.choices[step]
        return {self.pick[step][i]: 1.0 for i, c in enumerate(choices) if tensor in c.resident}

    def _candidate(self, tensor: Candidate) -> None:
        program, touches = self.program, tensor.touches
        for number, (a, b) in enumerate(pairwise(touches)):
            kept = program.variable()
            self.keep[tensor.name, number] = kept
            for touch in (a, b):
                here = self._resident(tensor.name, touch.step)
                program.row({kept: 1.0, **{v: -x for v, x in here.items()}}, 0.0)
            if a.write and number:  # what earlier steps wrote of it must still be there
                program.row({kept: 1.0, self.keep[tensor.name, number - 1]: -1.0}, 0.0)
        for number, touch in enumerate(touches):
            here = self._resident(tensor.name, touch.step)
            if not here:
                continue
            if touch.write:
                self._store(tensor, number, here)
            else:
                self._load(tensor, number, here)

    def _load(self, tensor: Candidate, number: int, here: Mapping[int, float]) -> None:
        """A reader's tensor comes from off chip unless it is kept. One that reads a part of it does not load it."""
        touch = tensor.touches[number]
        kept = self.keep.get((tensor.name, number - 1))
        terms = {**here, **({kept: -1.0} if kept is not None else {})}
        if touch.nbytes < tensor.nbytes or (kept is None and not tensor.source):
            self.program.row(terms, 0.0)
            return
        load = self.program.variable(tensor.nbytes * tensor.load)
        self.program.row({**terms, load: -1.0}, 0.0)

    def _store(self, tensor: Candidate, number: int, here: Mapping[int, float]) -> None:
        """What a step writes leaves the chip behind it, unless it is kept to the last use."""
        touch = tensor.touches[number]
        later = [self.keep[tensor.name, i] for i in range(number, len(tensor.touches) - 1)]
        store = self.program.variable(touch.nbytes * tensor.store)
        if tensor.result:
            self.program.row({**here, store: -1.0}, 0.0)
        for kept in later:
            self.program.row({**here, kept: -1.0, store: -1.0}, 0.0)

    def _room(self, capacity: int) -> None:
        over: list[dict[int, float]] = [{} for _ in self.problem.choices]
        for (name, number), kept in self.keep.items():
            tensor = self.problem.candidates[name]
            for step in range(tensor.touches[number].step + 1, tensor.touches[number + 1].step):
                over[step][kept] = float(tensor.nbytes)
        for step, choices in enumerate(self.problem.choices):
            for variable, choice in zip(self.pick[step], choices, strict=True):
                over[step][variable] = float(_bytes(self.problem, choice))
            least = capacity / 2.0**20  # megabytes keep coefficients near 1
            self.program.row({v: n / 2.0**20 for v, n in over[step].items() if n}, least)

    def chosen(self, solution: Solution) -> tuple[tuple[int, ...], frozenset[tuple[str, int]]]:
        """Choice of every step, and gaps that are kept; nothing is where the solver found nothing."""
        if solution.chosen is None:
            return tuple(_nothing(choices) for choices in self.problem.choices), frozenset()
        picks = tuple(next(i for i, v in enumerate(row) if solution.chosen[v]) for row in self.pick)
        kept = frozenset(key for key, variable in self.keep.items() if solution.chosen[variable])
        return picks, kept


def _solved(problem: ChoiceProblem, capacity: int, options: SolverOptions) -> tuple[Solution, _Model]:
    model = _Model.of(problem, capacity)
    return solve(model.program, options), model


def _bytes(problem: ChoiceProblem, choice: Choice) -> int:
    return choice.room + sum(problem.candidates[n].nbytes for n in choice.resident)


def _nothing(choices: Sequence[Choice]) -> int:
    """The cheapest choice with nothing resident."""
    return min((i for i, c in enumerate(choices) if not c.resident), key=lambda i: (choices[i].cost, i))


def _intervals(problem: ChoiceProblem, picks: Sequence[int], kept: Collection[tuple[str, int]]) -> tuple[Interval, ...]:
    found: list[Interval] = []
    for tensor in problem.candidates.values():
        for number, touch in enumerate(tensor.touches):
            if tensor.name not in problem.choices[touch.step][picks[touch.step]].resident:
                continue
            if (tensor.name, number - 1) in kept:
                found[-1] = Interval(tensor.name, found[-1].first, touch.step, found[-1].load)
            else:
                found.append(Interval(tensor.name, touch.step, touch.step, not touch.write))
    return tuple(found)


def _stores(
    problem: ChoiceProblem, picks: Sequence[int], kept: Collection[tuple[str, int]]
) -> tuple[tuple[str, int], ...]:
    found: list[tuple[str, int]] = []
    for tensor in problem.candidates.values():
        for number, touch in enumerate(tensor.touches):
            if touch.write and tensor.name in problem.choices[touch.step][picks[touch.step]].resident:
                gaps = range(number, len(tensor.touches) - 1)
                if tensor.result or any((tensor.name, i) not in kept for i in gaps):
                    found.append((tensor.name, touch.step))
    return tuple(found)


def _value(
    problem: ChoiceProblem, picks: Sequence[int], intervals: Sequence[Interval], stores: Sequence[tuple[str, int]]
) -> float:
    total = sum(choices[pick].cost for choices, pick in zip(problem.choices, picks, strict=True))
    for interval in intervals:
        tensor = problem.candidates[interval.tensor]
        total += tensor.nbytes * tensor.load if interval.load else 0.0
        total += tensor.nbytes * (problem.copy or 0.0) if interval.copied else 0.0
    for name, step in stores:
        tensor = problem.candidates[name]
        total += tensor.store * sum(t.nbytes for t in tensor.touches if t.step == step)
    return total


def _addresses(problem: ChoiceProblem, picks: Sequence[int], intervals: Sequence[Interval]) -> tuple[int, ...] | None:
    """Addresses of the intervals, such that the room of every step is one hole, too."""
    size = {name: t.nbytes for name, t in problem.candidates.items()}
    buffers = [Buffer(str(i), x.first, x.last + 1, size[x.tensor]) for i, x in enumerate(intervals) if size[x.tensor]]
    for step, (choices, pick) in enumerate(zip(problem.choices, picks, strict=True)):
        if choices[pick].room:
            buffers.append(Buffer(f"room {step}", step, step + 1, choices[pick].room))
    found = pack(buffers, problem.capacity, nodes=PACKING_NODES).addresses
    return None if found is None else tuple(found.get(str(i), 0) for i in range(len(intervals)))


def _copied(problem: ChoiceProblem, picks: Sequence[int], kept: Collection[tuple[str, int]]) -> Decision | None:
    """The decision with addresses and copies, or None where those found can be in no order."""
    sizes = {name: tensor.nbytes for name, tensor in problem.candidates.items()}
    chosen = [choices[pick] for choices, pick in zip(problem.choices, picks, strict=True)]
    steps = {(name, problem.candidates[name].touches[number].step) for name, number in kept}
    plan = with_copies(sizes, problem.capacity, [c.resident for c in chosen], [c.room for c in chosen], steps)
    if plan is None:
        return None
    address = {(r.tensor, r.first): r.address or 0 for r in plan.residences}
    address |= {(c.tensor, c.step): c.address for c in plan.copies}
    intervals: list[Interval] = []
    for whole in _intervals(problem, picks, kept):
        begins = [c.step for c in plan.copies if c.tensor == whole.tensor and whole.first < c.step <= whole.last]
        ends = [*(step - 1 for step in begins), whole.last]
        for first, last in zip([whole.first, *begins], ends, strict=True):
            copied = first > whole.first
            intervals.append(Interval(whole.tensor, first, last, whole.load and not copied, copied))
    places = tuple(address.get((x.tensor, x.first), 0) for x in intervals)
    stores = _stores(problem, picks, kept)
    value, rooms = _value(problem, picks, intervals, stores), _holes(problem, intervals, places)
    copies = tuple((c.tensor, c.step) for c in plan.copies)
    return Decision(
        tuple(picks), tuple(intervals), places, stores, rooms, value, 0.0, False, NO_SOLVER, copies=copies
    )


def _holes(problem: ChoiceProblem, intervals: Sequence[Interval], addresses: Sequence[int | None]) -> tuple[int, ...]:
    """The largest hole at every step; what is free, where fragmentation is left out."""
    found = []
    for step in range(len(problem.choices)):
        live = [(a, problem.candidates[x.tensor].nbytes) for x, a in zip(intervals, addresses, strict=True)
                if x.first <= step <= x.last]  # fmt: skip
        if any(address is None for address, _ in live):
            found.append(problem.capacity - sum(nbytes for _, nbytes in live))
            continue
        reach = largest = 0
        for address, nbytes in sorted((a, n) for a, n in live if a is not None):
            largest, reach = max(largest, address - reach), max(reach, address + nbytes)
        found.append(max(largest, problem.capacity - reach))
    return tuple(found)
