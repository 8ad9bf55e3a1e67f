"""Replacement policies to compare schedules with: what to evict is decided step by step, in a given order.

``belady``, ``lru`` and ``greedy`` are those of `memory`; ``none`` keeps nothing beyond a step. The memory has no
fragmentation, or is an arena in which tensors take the first hole; where there is no hole one tensor more is evicted,
and at last those that the step itself needs are loaded anew. Results never take the place of inputs.

`mappers` has them as mappers of Workloads; here they work on graphs.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import BadInput, DoesNotFit
from ..ilp.check import check_plan
from ..ilp.lives import Lives
from ..ilp.plan import Plan, build_plan, placed
from ..ilp.problem import GraphProblem
from .memory import EVICTING, Memory

POLICIES = (*EVICTING, "none")


def replace_by(policy: str, problem: GraphProblem, order: Sequence[int], capacity: int, *, arena: bool = False) -> Plan:
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
        self.policy, self.lives = policy, lives
        self.memory = Memory(policy, capacity, arena, self._evicted)
        self.size = {n: t.nbytes for n, t in lives.problem.tensors.items()}
        self.dropped: set[int] = set()
        self.off_chip: set[int] = {i for i, e in enumerate(lives.epochs) if e.stored}
        """Contents that are there anyway, or have been stored."""
        self.places: dict[tuple[str, int], int] = {}
        self.beginning = {(g.tensor, g.first): i for i, g in enumerate(lives.gaps)}
        self.open: dict[str, int] = {}
        """The gap that each tensor held is in."""

    def step(self, step: int) -> None:
        op = self.lives.operators[step]
        needed = sum(self.size[n] for n in op.touches)
        if needed > self.memory.capacity:
            raise DoesNotFit(
                f"step {step}, operator {op.name}: its tensors take {needed:,} bytes and the memory has "
                f"{self.memory.capacity:,}, {needed - self.memory.capacity:,} too few"
            )
        if not self._all_placed(op.touches, step):
            self.memory.clear()
            self._all_placed(op.touches, step)
        for name in op.touches:
            self._used(name, step)
        if self.policy == "none":
            self.memory.clear()

    def _used(self, name: str, step: int) -> None:
        """A tensor is on its way to its next use, or gone."""
        gap = self.beginning.get((name, step))
        if gap is None:
            del self.memory.held[name]
            self.open.pop(name, None)
            return
        self.open[name] = gap
        block, between = self.memory.held[name], self.lives.gaps[gap]
        block.used, block.next_use = step, between.last
        block.price = block.nbytes * (1 if between.epoch in self.off_chip else 2)

    def _all_placed(self, touches: Sequence[str], step: int) -> bool:
        """Bring in what a step needs, largest first; False where what it holds leaves no hole."""
        for name in sorted(touches, key=lambda n: (-self.size[n], n)):
            if name not in self.memory.held:
                address = self.memory.enter(name, self.size[name], touches)
                if address is None:
                    return False
                self.places[name, step] = address
        return True

    def _evicted(self, name: str) -> None:
        gap = self.open.pop(name, None)
        if gap is not None:
            self.dropped.add(gap)
            self.off_chip.add(self.lives.gaps[gap].epoch)
