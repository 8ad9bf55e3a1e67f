"""The replacement policies as mappers: tensors lie in the on-chip memory whole where they fit, in the Workload's order.

Every Einsum runs with as many bytes of its tensors in the memory as can be beside its smallest tiles, and what else is
there is evicted by the policy. What is left of the memory goes to larger tiles. ``belady``, ``lru`` and ``greedy`` have
no fragmentation: tensors have no addresses. ``belady_arena`` takes the first hole; where there is none it evicts one
tensor more, and at last all. ``none`` keeps nothing: every tensor passes in tiles.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

from ...arch.architecture import Architecture
from ...ir import Workload
from ...mapping.constraints import Constraints
from ...mapping.tree import Mapping
from ..aims import AIMS
from ..ilp.choices import Candidate, Choice, ChoiceProblem, Decision, Interval, decision_of
from ..ilp.machine import ResidentNetwork
from ..ilp.mapper import Built, MachinePlan, machine_plan
from ..tile.network import Network
from ..tile.product import aim_for, network_for
from ..tile.trial import cycles_of
from .memory import Memory

POLICIES = {
    "belady": ("belady", False),
    "belady_arena": ("belady", True),
    "greedy": ("greedy", False),
    "lru": ("lru", False),
    "none": ("none", False),
}
"""Name of a mapper to its policy, and whether tensors have addresses."""


def plan_by(
    name: str,
    workload: Workload,
    arch: Architecture,
    *,
    objective: str = "latency",
    seed: int = 0,
    constraints: Constraints | None = None,
) -> MachinePlan:
    """Map a Workload by a policy of `POLICIES`; arguments and what is raised are those of the ILP mapper.

    The objective decides between nests that hold the same tensors, no more.
    """
    started = time.perf_counter()
    policy, arena = POLICIES[name]
    fixed = constraints or Constraints()
    aim = AIMS.get(objective) or aim_for(objective, network_for(objective, lambda a: Network(workload, arch, a, fixed)))
    decider = partial(_decided, policy=policy, arena=arena)
    network = ResidentNetwork(workload, arch, aim, fixed, decider)
    mapping = network.mapping()
    built = Built(mapping, network, cycles_of(mapping, workload, arch))
    return machine_plan(built, workload, arch, objective, name, seed=seed, finished=True, started=started)


def _decided(problem: ChoiceProblem, *, policy: str, arena: bool) -> Decision:
    run = _Run(problem, policy, arena)
    for step in range(len(problem.choices)):
        run.step(step)
    kept = run.kept()
    return decision_of(problem, run.picks, kept, run.addresses(kept) if arena else None)


@dataclass
class _Run:
    """A policy at work, step by step."""

    problem: ChoiceProblem
    policy: str
    arena: bool
    picks: list[int] = field(default_factory=list)
    places: dict[tuple[str, int], int] = field(default_factory=dict)
    """(tensor, number of the use) to its address then."""
    entered: set[tuple[str, int]] = field(default_factory=set)
    """Uses for which a tensor came in anew."""
    stored: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.memory = Memory(self.policy, self.problem.capacity, self.arena, self.stored.add)
        self.uses: list[dict[str, int]] = [{} for _ in self.problem.choices]
        for name, tensor in self.problem.candidates.items():
            for number, touch in enumerate(tensor.touches):
                self.uses[touch.step][name] = number

    def step(self, step: int) -> None:
        choices = self.problem.choices[step]
        order = sorted(range(len(choices)), key=lambda i: (-self._bytes(choices[i]), choices[i].room, i))
        pick = next(i for i in order if self._possible(step, choices[i]) and self._placed(step, choices[i]))
        self.picks.append(pick)
        for name, number in self.uses[step].items():
            self._used(name, number, there=name in choices[pick].resident)

    def _bytes(self, choice: Choice) -> int:
        if self.policy == "none":
            return -len(choice.resident)
        return sum(self.problem.candidates[n].nbytes for n in choice.resident)

    def _possible(self, step: int, choice: Choice) -> bool:
        """Whether it fits, and what it needs in the memory is there, can be loaded whole, or is written."""
        if choice.room + self._bytes(choice) > self.problem.capacity:
            return False
        for name in choice.resident:
            tensor, number = self.problem.candidates[name], self.uses[step][name]
            touch = tensor.touches[number]
            loads = touch.nbytes == tensor.nbytes and (number > 0 or tensor.source)
            if not (touch.write or loads or self._whole(name, number)):
                return False
        return True

    def _whole(self, name: str, number: int) -> bool:
        """Whether all that has been written of a tensor is still there."""
        return name in self.memory.held and not any(
            (name, i) in self.entered for i in range(1, number) if self.problem.candidates[name].touches[i].write
        )

    def _placed(self, step: int, choice: Choice) -> bool:
        """Bring in what the step needs, largest first, and make a hole for its tiles."""
        if self._all_in(step, choice):
            return True
        self.memory.clear()
        return self._possible(step, choice) and self._all_in(step, choice)

    def _all_in(self, step: int, choice: Choice) -> bool:
        for name in self.uses[step]:
            if name not in choice.resident and name in self.memory.held:
                self.memory.evict(name)
        for name in sorted(choice.resident, key=lambda n: (-self.problem.candidates[n].nbytes, n)):
            number = self.uses[step][name]
            written = self.problem.candidates[name].touches[number].write
            if name in self.memory.held and not written and not self._whole(name, number):
                self.memory.evict(name)
            if name not in self.memory.held:
                address = self.memory.enter(name, self.problem.candidates[name].nbytes, choice.resident)
                if address is None:
                    return False
                self.entered.add((name, number))
            self.places[name, number] = self.memory.held[name].address
        return not choice.room or self.memory.room(choice.room, choice.resident) is not None

    def _used(self, name: str, number: int, *, there: bool) -> None:
        tensor = self.problem.candidates[name]
        touch = tensor.touches[number]
        if touch.write and there:
            self.stored.discard(name)
        if not there:
            return
        if number + 1 == len(tensor.touches):
            del self.memory.held[name]
            return
        block = self.memory.held[name]
        block.used, block.next_use = touch.step, tensor.touches[number + 1].step
        clean = tensor.source or tensor.result or name in self.stored
        block.price = block.nbytes * (1 if clean else 2)

    def kept(self) -> frozenset[tuple[str, int]]:
        """Gaps at both ends of which the tensor is in the memory, and in between, too."""
        found: set[tuple[str, int]] = set()
        for name, tensor in self.problem.candidates.items():
            for number, (a, b) in enumerate(pairwise(tensor.touches)):
                here = all(name in self._chosen(t.step).resident for t in (a, b))
                if here and (name, number + 1) not in self.entered:
                    found.add((name, number))
        return frozenset(found)

    def _chosen(self, step: int) -> Choice:
        return self.problem.choices[step][self.picks[step]]

    def addresses(self, kept: frozenset[tuple[str, int]]) -> dict[Interval, int]:
        """Of every interval: that of its first use."""
        found: dict[Interval, int] = {}
        for tensor in self.problem.candidates.values():
            for interval, number in self._intervals(tensor, kept):
                found[interval] = self.places[tensor.name, number]
        return found

    def _intervals(self, tensor: Candidate, kept: frozenset[tuple[str, int]]) -> list[tuple[Interval, int]]:
        """Intervals of a tensor, and the number of the use with which each begins."""
        found: list[tuple[Interval, int]] = []
        for number, touch in enumerate(tensor.touches):
            if tensor.name not in self._chosen(touch.step).resident:
                continue
            if (tensor.name, number - 1) in kept:
                before, first = found[-1]
                found[-1] = Interval(tensor.name, before.first, touch.step, before.load), first
            else:
                found.append((Interval(tensor.name, touch.step, touch.step, not touch.write), number))
        return found


def _map(
    name: str,
    workload: Workload,
    arch: Architecture,
    *,
    objective: str = "latency",
    seed: int = 0,
    constraints: Constraints | None = None,
) -> Mapping:
    return plan_by(name, workload, arch, objective=objective, seed=seed, constraints=constraints).mapping


belady = partial(_map, "belady")
belady_arena = partial(_map, "belady_arena")
greedy = partial(_map, "greedy")
lru = partial(_map, "lru")
none = partial(_map, "none")
