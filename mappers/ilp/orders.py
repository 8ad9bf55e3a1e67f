"""Orders of a problem's operators: depth first, and the one whose peak is smallest."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

from .problem import GraphProblem, peak_bytes

Order = tuple[int, ...]
MOST_LISTED = 200
"""Operators of a problem all of whose orders are listed."""
MOST_STATES = 60_000
"""States of the search for the smallest peak before it stops."""


def default_order(problem: GraphProblem) -> Order:
    """The order in which the problem lists its operators."""
    return tuple(range(len(problem.operators)))


def depth_first(problem: GraphProblem) -> Order:
    """Every operator right behind what it needs; of that, what makes most bytes comes first."""
    made = [sum(problem.tensors[n].nbytes for n in op.writes) for op in problem.operators]
    found: list[int] = []
    done = [False] * len(problem.operators)
    for sink in (i for i, later in enumerate(problem.after) if not later):
        stack = [(sink, False)]
        while stack:
            op, ready = stack.pop()
            if done[op]:
                continue
            if ready:
                done[op] = True
                found.append(op)
                continue
            stack.append((op, True))
            stack += [(i, False) for i in sorted(problem.before[op], key=lambda i: (made[i], -i)) if not done[i]]
    return tuple(found)


def breadth_first(problem: GraphProblem) -> Order:
    """Operators as soon as they can run."""
    level = [0] * len(problem.operators)
    for i, earlier in enumerate(problem.before):
        level[i] = 1 + max((level[j] for j in earlier), default=-1)
    return tuple(sorted(range(len(level)), key=lambda i: (level[i], i)))


def all_orders(problem: GraphProblem, most: int) -> list[Order] | None:
    """Every order, or None where there are more than `most`."""
    waits = [len(earlier) for earlier in problem.before]
    found: list[Order] = []
    order: list[int] = []

    def extend() -> bool:
        if len(order) == len(waits):
            found.append(tuple(order))
            return len(found) <= most
        for op in range(len(waits)):
            if waits[op]:
                continue
            waits[op] = -1
            order.append(op)
            for later in problem.after[op]:
                waits[later] -= 1
            inside = extend()
            for later in problem.after[op]:
                waits[later] += 1
            order.pop()
            waits[op] = 0
            if not inside:
                return False
        return True

    return found if len(waits) <= MOST_LISTED and extend() else None


@dataclass(frozen=True)
class MinimumPeak:
    """An order with a small peak; `bound` is one that no order goes below, equal to `peak` where that is smallest."""

    order: Order
    peak: int
    bound: int

    @property
    def proven(self) -> bool:
        return self.peak == self.bound


def minimum_peak(problem: GraphProblem, *, states: int = MOST_STATES) -> MinimumPeak:
    """The order with the smallest peak, by best-first search over the sets of operators that have run.

    A state is the set of operators that have run, and with it what is live; states are visited by their peak so far, so
    that the first complete one is optimal. An operator that needs no more than the peak so far and leaves no more bytes
    live than there were is run at once: moving it forward in any order never makes a step larger (a dominance rule).

    Args:
        problem: what is ordered.
        states: that are visited before the search stops; then the best of the simple orders is returned, with the peak
            of the state visited last as its bound.
    """
    known = problem.__dict__.setdefault("_minimum_peaks", {})  # as a cached property, but for the number of states
    if states not in known:
        known[states] = _minimum_peak(problem, states)
    found: MinimumPeak = known[states]
    return found


def _minimum_peak(problem: GraphProblem, states: int) -> MinimumPeak:
    simple = min((default_order(problem), depth_first(problem), breadth_first(problem)),
                 key=lambda order: peak_bytes(problem, order))  # fmt: skip
    best = peak_bytes(problem, simple)
    search = _Search(problem)
    start = search.settle(_State(0, search.first, 0, 0, None, -1))
    heap = [(start.peak, -start.count, 0, start)]
    least = {start.ran: start.peak}
    number = 0
    bound = start.peak
    while heap:
        _, _, _, state = heapq.heappop(heap)
        if state.peak > least[state.ran]:
            continue
        bound = max(bound, state.peak)
        if bound >= best:
            return MinimumPeak(simple, best, best)
        if state.count == len(problem.operators):
            return MinimumPeak(state.order(), state.peak, state.peak)
        if number > states:
            break
        for op in bits_of(state.ready):
            following = search.settle(search.run(state, op))
            if following.peak < min(best, least.get(following.ran, best)):
                least[following.ran] = following.peak
                number += 1
                heapq.heappush(heap, (following.peak, -following.count, number, following))
    return MinimumPeak(simple, best, bound if heap else best)


@dataclass(frozen=True)
class _State:
    """Operators that have run, and that can run next, as bits; bytes live; the peak so far; the state before, and what
    ran since."""

    ran: int
    ready: int
    live: int
    peak: int
    before: _State | None
    op: int
    count: int = 0

    def order(self) -> Order:
        found: list[int] = []
        state: _State | None = self
        while state is not None and state.op >= 0:
            found.append(state.op)
            state = state.before
        return tuple(reversed(found))


class _Search:
    """Bytes that running an operator needs and leaves, by the set of those that have run."""

    def __init__(self, problem: GraphProblem) -> None:
        self.problem = problem
        self.before = [sum(1 << j for j in earlier) for earlier in problem.before]
        self.first = sum(1 << i for i, earlier in enumerate(problem.before) if not earlier)
        """Operators that need no other one."""
        self.users: dict[str, int] = {}
        for i, op in enumerate(problem.operators):
            for name in op.touches:
                self.users[name] = self.users.get(name, 0) | 1 << i
        self.size = {n: t.nbytes for n, t in problem.tensors.items()}

    def change(self, ran: int, op: int) -> tuple[int, int]:
        """Bytes beside those live that it needs while it runs, and that are live more (or less) behind it."""
        after = ran | 1 << op
        fresh = gone = 0
        operator = self.problem.operators[op]
        for name in operator.touches:
            users = self.users[name]
            fresh += 0 if users & ran else self.size[name]
            gone += self.size[name] if users & after == users else 0
        saved = sum(
            self.size[old] for new, old in operator.over if not self.users[new] & ran and self.users[old] & ~after == 0
        )
        return fresh - saved, fresh - gone

    def run(self, state: _State, op: int) -> _State:
        needs, leaves = self.change(state.ran, op)
        ran, ready = state.ran | 1 << op, state.ready ^ 1 << op
        for later in self.problem.after[op]:
            if self.before[later] & ran == self.before[later]:
                ready |= 1 << later
        return _State(ran, ready, state.live + leaves, max(state.peak, state.live + needs), state, op, state.count + 1)

    def settle(self, state: _State) -> _State:
        """Run what costs nothing."""
        found = True
        while found:
            found = False
            for op in bits_of(state.ready):
                needs, leaves = self.change(state.ran, op)
                if leaves <= 0 and state.live + needs <= state.peak:
                    state = self.run(state, op)
                    found = True
        return state


def bits_of(mask: int) -> list[int]:
    """Numbers of the bits that are set, rising."""
    found = []
    while mask:
        low = mask & -mask
        found.append(low.bit_length() - 1)
        mask ^= low
    return found


NAMED: dict[str, Callable[[GraphProblem], Order]] = {
    "default": default_order,
    "depth_first": depth_first,
    "minimum_peak": lambda problem: minimum_peak(problem).order,
}
"""Orders by name."""
