"""A bound on what every order spills.

A tensor used by something that must run before an operator, and by something that must run after it, is needed
across it in every order. Where those of an operator and its working set exceed the memory, some of them are dropped,
which costs as much as it does in the gap model. Where a tensor's uses are themselves in one order, each gap between
them counts apart; where the graph leaves no freedom this is the gap model itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from .gap_model import Cost
from .orders import bits_of
from .problem import GraphProblem
from .solver import DEFAULT, Program, SolverOptions, solve


@dataclass(frozen=True)
class _Across:
    """A tensor, or one gap of it, that is needed across the operators whose bits are set in `over`."""

    tensor: str
    over: int
    store: bool


def any_order_bound(problem: GraphProblem, capacity: int, cost: Cost, options: SolverOptions = DEFAULT) -> float:
    """No plan of the problem in this memory costs less than this, in whatever order.

    Args:
        problem: what is scheduled.
        capacity: bytes of the memory.
        cost: per byte.
        options: of the solver; its own bound is used where it stops early.
    """
    spans = _spans(problem)
    program = Program()
    drop: list[int] = []
    back: dict[str, int] = {}
    for span in spans:
        nbytes = problem.tensors[span.tensor].nbytes
        drop.append(program.variable(nbytes * cost.load))
        if span.store:
            if span.tensor not in back:
                back[span.tensor] = program.variable(nbytes * cost.store)
            program.row({drop[-1]: 1.0, back[span.tensor]: -1.0}, 0.0)
    needed = False
    by_operator: list[list[int]] = [[] for _ in problem.operators]
    for number, span in enumerate(spans):
        for i in bits_of(span.over):
            by_operator[i].append(number)
    for i, members in enumerate(by_operator):
        held = [problem.tensors[spans[k].tensor].nbytes for k in members]
        lack = problem.working_sets[i] + sum(held) - capacity
        if lack > 0 and members:
            needed = True
            terms = {drop[k]: -float(min(n, lack)) for k, n in zip(members, held, strict=True)}
            program.row(terms, -float(lack))
    return max(0.0, solve(program, options).bound) if needed else 0.0


def _spans(problem: GraphProblem) -> list[_Across]:
    ancestors = _closure(problem.before, range(len(problem.operators)))
    descendants = _closure(problem.after, range(len(problem.operators) - 1, -1, -1))
    users: dict[str, list[int]] = {}
    for i, op in enumerate(problem.operators):
        for name in op.touches:
            users.setdefault(name, []).append(i)
    written = {name for op in problem.operators for name in op.writes}
    found: list[_Across] = []
    for name, uses in users.items():
        tensor = problem.tensors[name]
        store = name in written and not tensor.result and not tensor.source
        ordered = all(descendants[a] >> b & 1 for a, b in pairwise(uses))
        pieces = list(pairwise(uses)) if ordered else []
        if pieces:
            spans = [descendants[a] & ancestors[b] for a, b in pieces]
        else:
            behind = ahead = own = 0
            for use in uses:
                behind |= descendants[use]
                ahead |= ancestors[use]
                own |= 1 << use
            spans = [behind & ahead & ~own]
        found += [_Across(name, over, store) for over in spans if over]
    return found


def _closure(direct: Sequence[Sequence[int]], order: Sequence[int]) -> list[int]:
    """For each operator, the bits of all that are reached from it."""
    found = [0] * len(direct)
    for i in order:
        for j in direct[i]:
            found[i] |= found[j] | 1 << j
    return found
