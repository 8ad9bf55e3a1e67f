"""Orders that spill little, by a beam search over what has run, what is in the memory and what is off chip."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .orders import Order
from .problem import GraphProblem

if TYPE_CHECKING:
    from .beam_kernel import States, Tables

WIDTH = 48
"""States of a beam."""
ALIKE = 3
"""States of a beam in which the same operators have run."""
WORK = 400_000_000
"""Looks at a tensor in a state that a search may take; a beam over a large problem is narrower."""


def beam_orders(problem: GraphProblem, capacity: int, reference: Sequence[int], *, width: int = WIDTH) -> list[Order]:
    """The orders that end a beam search, the cheapest first; none where the memory is too small for an operator.

    Every state runs one operator more than those before it. The states that have spilled least are kept, with what is
    needed beyond the memory counted as if it had been spilled. What is evicted is what `reference` uses last.

    Args:
        problem: what is ordered.
        capacity: bytes of the memory.
        reference: an order that says which use of a tensor comes first.
        width: states that are kept.
    """
    from . import beam_kernel as kernel

    tables = _tables(problem, capacity, reference)
    n, m = len(problem.operators), len(problem.tensors)
    width = max(2, min(width, WORK // max(1, n * m * 4)))
    states, following = _states(problem, width), _states(problem, width)
    salts = np.random.default_rng(0).integers(0, 1 << 62, n)
    ran = np.zeros(width, np.int64)
    mark, out = np.zeros(m, np.uint8), np.zeros(2, np.int64)
    found = np.zeros((width * n if width * n < 100_000 else 100_000, 4), np.int64)
    rows = 1
    trace: list[np.ndarray] = []
    for _ in range(n):
        count = kernel.candidates(tables, states, rows, mark, out, found)
        if not count:
            return []
        chosen = _chosen(found[:count], capacity, ran, salts, width)
        kernel.follow(tables, states, following, chosen, len(chosen), mark, out)
        ran[: len(chosen)] = ran[chosen[:, 0]] ^ salts[chosen[:, 1]]
        trace.append(chosen)
        states, following, rows = following, states, len(chosen)
    cheapest = np.argsort(states.cost[:rows], kind="stable")
    return list(dict.fromkeys(_order(trace, int(row)) for row in cheapest))


def _chosen(found: np.ndarray, capacity: int, ran: np.ndarray, salts: np.ndarray, width: int) -> np.ndarray:
    """The (row, operator) that go on."""
    cost, live = found[:, 2], found[:, 3]
    score = cost + np.maximum(0, live - capacity)
    states = ran[found[:, 0]] ^ salts[found[:, 1]]
    alike: dict[int, set[int]] = {}
    kept: list[int] = []
    for i in np.lexsort((np.arange(len(found)), live, score)):
        same = alike.setdefault(int(states[i]), set())
        if len(same) < ALIKE and int(cost[i]) not in same:
            same.add(int(cost[i]))
            kept.append(int(i))
            if len(kept) == width:
                break
    return np.ascontiguousarray(found[kept][:, :2])


def _order(trace: Sequence[np.ndarray], row: int) -> Order:
    found: list[int] = []
    for chosen in reversed(trace):
        found.append(int(chosen[row, 1]))
        row = int(chosen[row, 0])
    return tuple(reversed(found))


def _tables(problem: GraphProblem, capacity: int, reference: Sequence[int]) -> Tables:
    from .beam_kernel import Tables

    names = {name: i for i, name in enumerate(problem.tensors)}
    place = np.zeros(len(problem.operators), np.int64)
    place[list(reference)] = np.arange(len(reference))
    users: list[list[int]] = [[] for _ in names]
    for i in reference:
        for name in problem.operators[i].touches:
            users[names[name]].append(i)
    touch = _flat([names[n] for n in op.touches] for op in problem.operators)
    write = _flat([names[n] for n in dict.fromkeys(op.writes)] for op in problem.operators)
    pairs = [(names[op.over[0][0]], names[op.over[0][1]]) if op.over else (-1, -1) for op in problem.operators]
    later, user = _flat(problem.after), _flat(users)
    return Tables(
        np.array([capacity], np.int64),
        np.array([t.nbytes for t in problem.tensors.values()], np.int64),
        np.array([t.result for t in problem.tensors.values()], np.uint8),
        *touch, *write, np.array([p[0] for p in pairs], np.int64), np.array([p[1] for p in pairs], np.int64),
        *later, *user, place,
    )  # fmt: skip


def _flat(lists: Iterable[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Ends, with a 0 in front, and members."""
    kept = list(lists)
    ends = np.cumsum([0, *(len(x) for x in kept)]).astype(np.int64)
    return ends, np.array([i for x in kept for i in x], np.int64)


def _states(problem: GraphProblem, width: int) -> States:
    from .beam_kernel import States

    n, m = len(problem.operators), len(problem.tensors)
    users = dict.fromkeys(problem.tensors, 0)
    for op in problem.operators:
        for name in op.touches:
            users[name] += 1
    found = States(
        np.zeros((width, n), np.int64), np.zeros((width, m), np.uint8), np.zeros((width, m), np.uint8),
        np.zeros((width, m), np.int64), np.zeros(width, np.int64), np.zeros(width, np.int64), np.zeros(width, np.int64),
    )  # fmt: skip
    found.waits[0] = [len(earlier) for earlier in problem.before]
    found.stored[0] = [t.source for t in problem.tensors.values()]
    found.left[0] = list(users.values())
    return found
