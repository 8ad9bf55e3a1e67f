"""Replacement policies to compare schedules with: what to evict is decided step by step, in a given order.

``belady`` evicts what is used last (Belady, IBM Systems Journal 5(2), 1966), ``lru`` what was used longest ago,
``none`` keeps nothing beyond a step. The memory has no fragmentation, or is an arena in which tensors take the first
hole; where there is no hole one tensor more is evicted, and at last those that the step itself needs are loaded anew.
Results never take the place of inputs.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import BadInput, DoesNotFit
from ..ilp.check import check_plan
from ..ilp.lives import Lives
from ..ilp.plan import Plan, build_plan, placed
from ..ilp.problem import GraphProblem

POLICIES = ("belady", "lru", "none")


def replace_by(
    policy: str, problem: GraphProblem, order: Sequence[int], capacity: int, *, arena: bool = False
) -> Plan:
    """The plan of a policy, checked; with addresses in an arena.

    Raises:
        BadInput: no such policy.
        DoesNotFit: an operator needs more than the memory has.
    """
    if policy not in POLICIES:
        raise BadInput(f"no policy '{policy}' ({', '.join(POLICIES)})")
    run = _Run(policy, Lives(problem, order), capacity, arena)
    for step in range(len(run.lives.operators)):
        run.step(step)
    plan = build_plan(run.lives, run.dropped, capacity)
    if arena:
        plan = placed(plan, {i: run.places[r.tensor, r.first] for i, r in enumerate(plan.residences)})
    check_plan(problem, plan)
    return plan


class _Run:
    def __init__(self, policy: str, lives: Lives, capacity: int, arena: bool) -> None:
        self.policy, self.lives, self.capacity, self.arena = policy, lives, capacity, arena
        self.size = {n: t.nbytes for n, t in lives.problem.tensors.items()}
        self.held: dict[str, int] = {}
        """Addresses of what is in the memory; all 0 where there are none."""
        self.dropped: set[int] = set()
        self.places: dict[tuple[str, int], int] = {}
        self.beginning = {(g.tensor, g.first): i for i, g in enumerate(lives.gaps)}
        self.open: dict[str, int] = {}
        """The gap that each tensor held is in."""
        self.used: dict[str, int] = {}

    def step(self, step: int) -> None:
        op = self.lives.operators[step]
        needed = sum(self.size[n] for n in op.touches)
        if needed > self.capacity:
            raise DoesNotFit(
                f"step {step}, operator {op.name}: its tensors take {needed:,} bytes and the memory has "
                f"{self.capacity:,}, {needed - self.capacity:,} too few"
            )
        if not self._all_placed(op.touches, step):
            for name in list(self.held):
                self._evict(name)
            self._all_placed(op.touches, step)
        for name in op.touches:
            self.used[name] = step
            gap = self.beginning.get((name, step))
            if gap is None:
                del self.held[name]
                self.open.pop(name, None)
            else:
                self.open[name] = gap
        if self.policy == "none":
            for name in list(self.held):
                self._evict(name)

    def _all_placed(self, touches: Sequence[str], step: int) -> bool:
        """Bring in what a step needs, largest first; False where what it holds leaves no hole."""
        for name in sorted(touches, key=lambda n: (-self.size[n], n)):
            while name not in self.held:
                address = self._hole(self.size[name])
                if address is not None:
                    self.held[name] = self.places[name, step] = address
                    continue
                victims = [n for n in self.held if n not in touches and self.size[n]]
                if not victims:
                    return False
                self._evict(max(victims, key=self._worth))
        return True

    def _worth(self, name: str) -> tuple[int, int, str]:
        """How much a tensor is the one to evict."""
        if self.policy == "lru":
            return -self.used[name], self.size[name], name
        return self.lives.gaps[self.open[name]].last, self.size[name], name

    def _evict(self, name: str) -> None:
        del self.held[name]
        if name in self.open:
            self.dropped.add(self.open.pop(name))

    def _hole(self, nbytes: int) -> int | None:
        if not self.arena:
            free = self.capacity - sum(self.size[n] for n in self.held)
            return 0 if nbytes <= free else None
        reach = 0
        for low, high in sorted((a, a + self.size[n]) for n, a in self.held.items()):
            if low - reach >= nbytes:
                return reach
            reach = max(reach, high)
        return reach if self.capacity - reach >= nbytes else None
