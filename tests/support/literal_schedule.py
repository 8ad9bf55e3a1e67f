"""The published formulation of scheduling, residency and addresses, literally: 0/1 variables per tensor and step.

Time-indexed, with addresses kept apart by big-M rows (Li, Gupta and Malik, arXiv:2311.18246, section 3). It shares no
code with the gap model and is hopeless beyond a handful of operators.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import pulp

from accelsim.mappers.ilp.problem import GraphProblem


class Literal:
    """The program of a problem whose tensors have one writer at most and never take each other's place.

    Args:
        problem: what is scheduled.
        capacity: bytes of the memory.
        order: indices of operators; None for any order.
    """

    def __init__(self, problem: GraphProblem, capacity: int, order: Sequence[int] | None) -> None:
        self.problem, self.capacity = problem, capacity
        self.steps = range(len(problem.operators))
        self.names = list(problem.tensors)
        self.size = {n: t.nbytes for n, t in problem.tensors.items()}
        self.model = pulp.LpProblem("literal", pulp.LpMinimize)
        self.runs = [[self._bit(f"o{i}_{t}") for t in self.steps] for i in self.steps]
        self.there = {n: [self._bit(f"r{k}_{t}") for t in self.steps] for k, n in enumerate(self.names)}
        self.load = {n: [self._bit(f"l{k}_{t}") for t in self.steps] for k, n in enumerate(self.names)}
        self.store = {n: [self._bit(f"s{k}_{t}") for t in self.steps] for k, n in enumerate(self.names)}
        self._order(order)
        for name in self.names:
            self._tensor(name)
        self._addresses()
        moved = [self.size[n] * (x + y) for n in self.names for x, y in zip(self.load[n], self.store[n], strict=True)]
        self.model += pulp.lpSum(moved)

    def optimum(self) -> int:
        """Non-compulsory bytes."""
        self.model.solve(pulp.HiGHS(msg=False, threads=1, gapRel=0.0))
        assert self.model.sol_status == pulp.LpSolutionOptimal
        found: float = pulp.value(self.model.objective)
        return round(found) - self.problem.compulsory_bytes

    def attains(self, nbytes: int) -> bool:
        """Whether so many non-compulsory bytes, or fewer, are enough; this takes less than the optimum does."""
        model = self.model.copy()
        model += self.model.objective <= nbytes + self.problem.compulsory_bytes
        model.setObjective(pulp.LpAffineExpression())
        model.solve(pulp.HiGHS(msg=False, threads=1))
        assert model.status in (pulp.LpStatusOptimal, pulp.LpStatusInfeasible)
        return bool(model.status == pulp.LpStatusOptimal)

    def _bit(self, name: str) -> pulp.LpVariable:
        return self.model.add_variable(name, cat="Binary")

    def _order(self, order: Sequence[int] | None) -> None:
        for i in self.steps:
            self.model += pulp.lpSum(self.runs[i]) == 1
            self.model += pulp.lpSum(self.runs[j][i] for j in self.steps) == 1
            for j in self.problem.before[i]:
                for t in self.steps:
                    self.model += pulp.lpSum(self.runs[i][: t + 1]) <= pulp.lpSum(self.runs[j][:t])
        for t, i in enumerate(order or ()):
            self.model += self.runs[i][t] == 1

    def _tensor(self, name: str) -> None:
        tensor, there, load, store = self.problem.tensors[name], self.there[name], self.load[name], self.store[name]
        writers = [i for i, op in enumerate(self.problem.operators) if name in op.writes]
        assert len(writers) <= 1
        off: list[pulp.LpVariable | int] = [1 if tensor.source else 0]
        for t in self.steps:
            written = pulp.lpSum(self.runs[i][t] for i in writers)
            for i, op in enumerate(self.problem.operators):
                if name in op.touches:
                    self.model += there[t] >= self.runs[i][t]
            self.model += there[t] <= (there[t - 1] if t else 0) + load[t] + written
            self.model += load[t] <= off[-1]
            self.model += store[t] <= there[t]
            if writers:  # what has not been written yet cannot be stored, nor lie there
                so_far = pulp.lpSum(self.runs[writers[0]][: t + 1])
                self.model += store[t] <= so_far
                self.model += there[t] <= so_far
            outside = self._bit(f"d_{self.names.index(name)}_{t}")
            self.model += outside <= off[-1] + store[t]
            off.append(outside)
        if tensor.result and writers:
            self.model += pulp.lpSum(store) >= 1

    def _addresses(self) -> None:
        limit = self.capacity
        at = {
            n: [self.model.add_variable(f"a{k}_{t}", 0, limit - self.size[n]) for t in self.steps]
            for k, n in enumerate(self.names)
        }
        for name in self.names:
            there, load = self.there[name], self.load[name]
            for t in self.steps[1:]:
                moves = limit * (2 - there[t] - there[t - 1] + load[t])
                self.model += at[name][t] - at[name][t - 1] <= moves
                self.model += at[name][t - 1] - at[name][t] <= moves
        for a, b in combinations(self.names, 2):
            for t in self.steps:
                below = self._bit(f"z_{self.names.index(a)}_{self.names.index(b)}_{t}")
                apart = limit * (2 - self.there[a][t] - self.there[b][t])
                self.model += at[a][t] + self.size[a] <= at[b][t] + limit * (1 - below) + apart
                self.model += at[b][t] + self.size[b] <= at[a][t] + limit * below + apart
        for t in self.steps:
            self.model += pulp.lpSum(self.size[n] * self.there[n][t] for n in self.names) <= limit
