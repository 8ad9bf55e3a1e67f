"""From a Workload and a machine to choices for every Einsum, and from decisions to a Mapping.

Loop nests come from the tile mapper: for every set of an Einsum's tensors that may lie whole in the buffer, and a few
amounts of room beside them, its best nest for the others. Which tensors lie there when is decided by `choices`, scope
by scope; Repeats and what crosses them end a run of Einsums that is decided together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import inf

import numpy as np

from ...arch.architecture import Architecture
from ...errors import DoesNotFit
from ...ir import Einsum, Role, Workload
from ...lowering.ports import Route, route
from ...mapping.constraints import Constraints
from ...mapping.tree import Move, Stay
from ..aims import Aim
from ..tile.flow import Life
from ..tile.nest import Shortfall
from ..tile.network import Child, Network
from ..tile.plans import Path
from ..tile.search import Plan
from ..tile.tiers import streams
from .choices import Candidate, Choice, ChoiceProblem, Decision, Touch
from .solver import NO_SOLVER

SHARES = (1.0, 0.5, 0.25, 0.125)
"""Shares of what resident tensors leave of the buffer that nests are searched for; the smallest nest that fits, too."""
MOST_RESIDENT = 5
"""Candidates of one Einsum, the largest left out."""
TIE = 0.01
"""Share of the time of a byte off chip that it costs where it hides behind computing: of equal plans the one that moves
less is better."""


@dataclass(frozen=True)
class Held:
    """A tensor lies in the buffer from one item of a scope to another; one that is `copied` lay there before."""

    tensor: str
    first: int
    last: int
    address: int | None
    load: bool
    copied: bool = False


@dataclass(frozen=True)
class Run:
    """Einsums of a scope that follow each other, from item `start` to before `end`."""

    path: Path
    start: int
    end: int


Decider = Callable[[ChoiceProblem], Decision]
"""Decides how the Einsums of a run are done and what lies in the buffer between them."""


class OutOfTime(Exception):
    """The time that a search was given is over; nothing is wrong."""


class ResidentNetwork(Network):
    """The tile mapper's nests around tensors that lie in the buffer when a decision says so."""

    def __init__(
        self,
        workload: Workload,
        arch: Architecture,
        aim: Aim,
        constraints: Constraints,
        decider: Decider,
        ends: float = inf,
        *,
        copies: bool = False,
    ) -> None:
        self.decider = decider
        self.copies = copies
        """Whether tensors may be copied within the buffer."""
        self.ends = ends
        """When there is no more time, as `perf_counter` has it; then OutOfTime is raised."""
        self.held: dict[Path, list[Held]] = {}
        self.stored: dict[Path, set[tuple[str, int]]] = {}
        self.copied: dict[Path, list[tuple[str, int]]] = {}
        self.decisions: dict[Run, Decision] = {}
        super().__init__(workload, arch, aim, constraints)

    def _settle(self) -> dict[str, int]:
        refused = {n for n in self.flow.lives if self.constraints.memory_of(n) not in (None, self.buffer)}
        refused |= self._elsewhere() | self.tiers.streamed
        for run in self._runs():
            problem, plans = self._problem(run, refused)
            decision = self.decider(problem)
            self.decisions[run] = decision
            self._take(run, problem, plans, decision)
        self._check_kept(dict.fromkeys(self._always_resident(), 0))
        return {}

    def _always_resident(self) -> list[str]:
        """Tensors that are in the buffer alone."""
        return [
            name
            for name, life in self.flow.lives.items()
            if life.scope in self.stored
            and not (life.made_before or life.carried or life.tensor.role is Role.OUTPUT)
            and not self._off_chip(life.scope, name, life)
        ]

    def _runs(self) -> Iterator[Run]:
        for scope in self.flow.scopes.values():
            start = 0
            for i in range(len(scope.items) + 1):
                if i == len(scope.items) or not isinstance(scope.items[i], Einsum):
                    if start < i:
                        yield Run(scope.path, start, i)
                    start = i + 1

    # What may lie in the buffer

    def _way(self, *, load: bool) -> Route:
        ends = (self.tiers.near, self.buffer) if load else (self.buffer, self.tiers.near)
        return route(self.arch, *ends)

    def _per_byte(self, way: Route) -> float:
        cycles = sum(way.cycles_per_byte.values())
        return self.aim.of(cycles, way.joules_per_byte)

    def _candidates(self, run: Run, refused: set[str]) -> dict[str, Candidate]:
        """Tensors of which something may be saved: two uses at least in this run, or a single writer's result."""
        if not self.buffer:
            return {}
        load, store = self._per_byte(self._way(load=True)), self._per_byte(self._way(load=False))
        found: dict[str, Candidate] = {}
        for name, life in self.flow.lives.items():
            touches = self._touches(run, name, life)
            if name in refused or touches is None or len(touches) < 2:
                continue
            nbytes = life.tensor.nbytes
            outside = any(not run.start <= i < run.end for i in (*life.makers, *life.users))
            source = life.made_before or any(i < run.start for i in life.makers)
            result = life.tensor.role is Role.OUTPUT or (bool(life.makers) and outside)
            found[name] = Candidate(name, nbytes, touches, source, result, load, store)
        return found

    def _touches(self, run: Run, name: str, life: Life) -> tuple[Touch, ...] | None:
        """Uses in a run; None where the tensor cannot lie in the buffer: its uses are not in order, or elsewhere."""
        if life.scope != run.path or life.carried or life.tensor.role is Role.STATE:
            return None
        if life.tensor.nbytes > self._capacity():
            return None
        makers = sorted({i for i in life.makers if run.start <= i < run.end})
        users = sorted({i for i in life.users if run.start <= i < run.end})
        if makers and (any(i not in makers for i in life.makers) or (users and users[0] <= makers[-1])):
            return None
        items = self.flow.scopes[run.path].items
        whole = sum(self._touched_bytes(items[i], name, write=True) for i in makers)
        if makers and whole != life.tensor.nbytes:
            return None
        return tuple(
            Touch(i - run.start, i in makers, self._touched_bytes(items[i], name, write=i in makers))
            for i in (*makers, *users)
        )

    def _touched_bytes(self, item: object, name: str, *, write: bool) -> int:
        assert isinstance(item, Einsum)
        accesses = [item.output] if write else item.inputs
        mine = [a for a in accesses if self.flow.storage(a.tensor) == name]
        operand = self._operand(name, self.near, mine, item, frozenset())
        return int(operand.tile_bytes({r: np.full(1, n, np.int64) for r, n in item.sizes.items()})[0])

    # How an Einsum may run

    def _problem(self, run: Run, refused: set[str]) -> tuple[ChoiceProblem, list[list[Plan]]]:
        candidates = self._candidates(run, refused)
        by_step: list[list[str]] = [[] for _ in range(run.end - run.start)]
        for name, candidate in candidates.items():
            for touch in candidate.touches:
                by_step[touch.step].append(name)
        items = self.flow.scopes[run.path].items
        choices: list[tuple[Choice, ...]] = []
        plans: list[list[Plan]] = []
        for step, names in enumerate(by_step):
            item = items[run.start + step]
            assert isinstance(item, Einsum)
            found = self._ways_to_run(item, run.start + step, sorted(names), candidates)
            choices.append(tuple(choice for choice, _ in found))
            plans.append([plan for _, plan in found])
        copy = self._per_byte(route(self.arch, self.buffer, self.buffer)) if self.copies and self.buffer else None
        return ChoiceProblem(tuple(choices), candidates, self._capacity(), copy), plans

    def _ways_to_run(
        self, einsum: Einsum, item: int, names: Sequence[str], candidates: Mapping[str, Candidate]
    ) -> list[tuple[Choice, Plan]]:
        if time.perf_counter() > self.ends:
            raise OutOfTime
        names = sorted(names, key=lambda n: (candidates[n].nbytes, n))[:MOST_RESIDENT]
        found: list[tuple[Choice, Plan]] = []
        for number in range(len(names) + 1):
            for chosen in combinations(names, number):
                resident = frozenset(chosen)
                left = self._capacity() - sum(candidates[n].nbytes for n in chosen)
                if left < 0:
                    continue
                found += self._with_resident(einsum, item, resident, left)
        return found

    def _with_resident(
        self, einsum: Einsum, item: int, resident: frozenset[str], left: int
    ) -> list[tuple[Choice, Plan]]:
        """The nests beside resident tensors, none of which takes more room and costs more than another."""
        tried: list[tuple[int, float, Plan]] = []
        budgets = [int(left * share) for share in SHARES]
        room = left + 1
        while budgets:
            budget = budgets.pop(0)
            if budget >= room:
                continue  # the nest found last is the best there, too
            plan = self._plan(einsum, budget, resident)
            if isinstance(plan, Plan):
                room = plan.working_set.get(self.buffer, 0)
                tried.append((room, self._cost(plan), plan))
            elif not resident and not tried:
                self._too_small(einsum, item, plan)
            elif plan.memory == self.buffer and plan.needed < room:
                budgets = [plan.needed]
            else:
                break
        tried.sort(key=lambda t: t[:2])
        found: list[tuple[Choice, Plan]] = []
        for room, cost, plan in tried:
            if not found or cost < found[-1][0].cost:
                found.append((Choice(resident, room, cost), plan))
        return found

    def _cost(self, plan: Plan) -> float:
        per_byte = max(self._per_byte(self._way(load=True)), 0.0) if self.buffer else 0.0
        return self.aim.of(plan.cycles, plan.energy) + TIE * per_byte * plan.traffic

    def _too_small(self, einsum: Einsum, item: int, plan: Shortfall) -> None:
        if not plan.needed:
            self._refuse(einsum, plan)
        lives = [self.flow.lives[self.flow.storage(a.tensor)].tensor for a in (*einsum.inputs, einsum.output)]
        largest = max(lives, key=lambda t: t.nbytes)
        raise DoesNotFit(
            f"{plan.memory}: step {item}, {einsum.name}: its smallest tiles need {plan.needed:,} bytes and there are "
            f"{plan.capacity:,}, {plan.needed - plan.capacity:,} too few; its largest tensor is {largest.name} with "
            f"{largest.nbytes:,} bytes"
        )

    # What was decided

    def _take(self, run: Run, problem: ChoiceProblem, plans: Sequence[Sequence[Plan]], decision: Decision) -> None:
        held = self.held.setdefault(run.path, [])
        for interval, address in zip(decision.intervals, decision.addresses, strict=True):
            first, last = run.start + interval.first, run.start + interval.last
            held.append(Held(interval.tensor, first, last, address, interval.load, interval.copied))
            for i in range(first, last + 1):
                self.staying.setdefault((run.path, i), []).append(interval.tensor)
        self.copied.setdefault(run.path, []).extend((n, run.start + step) for n, step in decision.copies)
        self.stored.setdefault(run.path, set()).update((n, run.start + step) for n, step in decision.stores)
        items = self.flow.scopes[run.path].items
        for step, pick in enumerate(decision.picks):
            plan, choice = plans[step][pick], problem.choices[step][pick]
            item = items[run.start + step]
            assert isinstance(item, Einsum)
            wider = self._plan(item, decision.room_at[step], choice.resident)
            if isinstance(wider, Plan) and self._cost(wider) < self._cost(plan):
                plan = wider
            self.plans[run.path, run.start + step] = plan

    def resident(self, path: Path, item: int, tensor: str) -> bool:
        return any(h.tensor == tensor and h.first <= item <= h.last for h in self.held.get(path, ()))

    def _off_chip(self, path: Path, name: str, life: Life) -> bool:
        """Whether a tensor is off chip at some time: somebody stores it, or works on tiles of it."""
        uses = {*life.makers, *life.users}
        return any(not self.resident(path, i, name) for i in uses) or any(n == name for n, _ in self.stored[path])

    # Tree and tables

    def _scope_stays(self, path: Path, children: list[Child]) -> None:
        first = {c.item: c.at for c in reversed(children)}
        last = {c.item: c.at for c in children}
        for name, life in self.flow.lives.items():
            if life.scope != path or life.made_before or life.carried or life.tensor.role is Role.OUTPUT:
                continue
            uses = [*life.makers, *life.users]
            if path not in self.stored or self._off_chip(path, name, life):
                self.stays.append(Stay(name, self.tiers.near, first[min(uses)], last[max(uses)]))
        for held in self.held.get(path, ()):
            self.stays.append(Stay(held.tensor, self.buffer, first[held.first], last[held.last], held.address))
            if held.load:
                at = first[held.first]
                self.moves.append(Move(held.tensor, self.tiers.near, self.buffer, at, at, 1))
        for name, item in self.copied.get(path, ()):
            self.moves.append(Move(name, self.buffer, self.buffer, first[item], first[item], 1))
        for name, item in sorted(self.stored.get(path, ()), key=lambda s: (s[1], s[0])):
            at = first[item]
            self.moves.append(Move(name, self.buffer, self.tiers.near, at, at, 1, store=True))

    def _ready(self, path: Path, items: Sequence[int]) -> dict[str, int]:
        """Weights alone: other tensors come and go as the decision says."""
        weights = self.weights()
        return {name: first for name, first in super()._ready(path, items).items() if name in weights}

    def _room_beside(self, path: Path, child: Child) -> dict[str, int]:
        """Bytes of each memory next to the edge that are free while a child runs, for weights of later ones."""
        taken = self.plans[path, child.item].working_set
        kept = sum(self.flow.lives[n].tensor.nbytes for n in self.staying.get((path, child.item), ()))
        return {
            m: self.arch.memories[m].capacity - (kept if m == self.buffer else 0) - taken.get(m, 0)
            for m, level in self.levels.items()
            if level == 1
        }

    # What is claimed

    @property
    def model_value(self) -> float:
        """Of the model's objective over the whole run."""
        return sum(self.flow.scopes[run.path].count * d.value for run, d in self.decisions.items())

    @property
    def model_bound(self) -> float:
        """No decision of the model costs less, for this order and these nests."""
        return sum(self.flow.scopes[run.path].count * d.bound for run, d in self.decisions.items())

    @property
    def proven(self) -> bool:
        return all(d.proven for d in self.decisions.values())

    @property
    def solver(self) -> str:
        """Name and version of what decided."""
        return next((d.solver for d in self.decisions.values() if d.solver != NO_SOLVER), NO_SOLVER)

    def expected(self, path: Path) -> tuple[float, float]:
        """Cycles and joules of one run of a scope, tensors that are loaded, stored or copied whole included."""
        cycles, joules = super().expected(path)
        for load, nbytes in ((True, self._loaded(path)), (False, self._stored(path))):
            if nbytes:
                way = self._way(load=load)
                cycles += nbytes * sum(way.cycles_per_byte.values())
                joules += nbytes * way.joules_per_byte
        if moved := sum(self.flow.lives[n].tensor.nbytes for n, _ in self.copied.get(path, ())):
            way = route(self.arch, self.buffer, self.buffer)
            cycles += moved * sum(way.cycles_per_byte.values())
            joules += moved * way.joules_per_byte
        return cycles, joules

    def _loaded(self, path: Path) -> int:
        """Bytes of tensors that one run of a scope loads whole."""
        return sum(self.flow.lives[h.tensor].tensor.nbytes for h in self.held.get(path, ()) if h.load)

    def _stored(self, path: Path) -> int:
        items = self.flow.scopes[path].items
        return sum(self._touched_bytes(items[i], name, write=True) for name, i in self.stored.get(path, ()))

    def traffic_bytes(self) -> tuple[int, int]:
        """Bytes between the near tier and the chip, and between the far tier and the near one, over the whole run."""
        total = sum(self.flow.scopes[path].count * plan.traffic for (path, _), plan in self.plans.items())
        for path in self.flow.scopes:
            total += self.flow.scopes[path].count * (self._loaded(path) + self._stored(path))
        return total, self._streamed_bytes()

    def _streamed_bytes(self) -> int:
        total = 0
        for path, near in self.tiers.split.items():
            count = self.flow.scopes[path].count
            total += (count - near) * sum(
                x.tensor.nbytes for x in self.flow.lives.values() if x.scope == path and streams(self.flow, x)
            )
        for scope in self.flow.scopes.values():
            for i, item in enumerate(scope.items):
                if isinstance(item, Einsum):
                    plan = self.plans[scope.path, i]
                    names = {name for name, _, _ in plan.levels[0].depth} & self.tiers.streamed
                    total += scope.count * sum(self._touched_bytes(item, n, write=False) for n in names)
        return total
