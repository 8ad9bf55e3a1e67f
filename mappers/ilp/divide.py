"""Cutting a problem where every order passes one operator with nothing else live, so that each side is ordered alone.

An operator with which every other one is ordered runs at the same step in all orders. If nothing that is touched
before it is touched behind it, but what is off chip anyway and what it makes, no gap spans it and no write-back is
shared: what the two sides spill adds up, and the best orders of both, one after the other, are a best order of all.
Sides that are alike (repeated cells) are the same problem but for names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .problem import GraphProblem, Operator, Tensor


@dataclass(frozen=True)
class Section:
    """Operators between two cuts, as a problem.

    Attributes:
        problem: its first operator stands for the cut before it, if there is one: it makes what comes over the cut.
        operators: of the whole, by number, in the order of the problem's, that one left out.
    """

    problem: GraphProblem
    operators: tuple[int, ...]

    @property
    def begins_cut(self) -> bool:
        """Whether the problem has an operator more, for the cut before it."""
        return len(self.problem.operators) > len(self.operators)

    @property
    def shape(self) -> object:
        """What is alike in sections that are repeated: all but names."""
        place = {name: i for i, name in enumerate(self.problem.tensors)}
        tensors = tuple((t.nbytes, t.source, t.result) for t in self.problem.tensors.values())
        operators = tuple(
            (
                tuple(place[n] for n in op.reads), tuple(place[n] for n in op.writes),
                tuple((place[a], place[b]) for a, b in op.over),
            )
            for op in self.problem.operators
        )  # fmt: skip
        return tensors, operators

    def order(self, local: Sequence[int]) -> tuple[int, ...]:
        """Operators of the whole in an order of the section's problem."""
        skipped = int(self.begins_cut)
        return tuple(self.operators[i - skipped] for i in local if i >= skipped)


def sections_of(problem: GraphProblem) -> list[Section]:
    """The sections, in the order in which they run; one where the problem has no cuts."""
    cuts = _cuts(problem)
    found: list[Section] = []
    before, earlier = -1, 0
    for cut in (*cuts, None):
        inside = _between(problem, earlier, cut)
        found.append(_section(problem, before, inside))
        if cut is not None:
            before = cut
        earlier |= sum(1 << i for i in inside)
    return [s for s in found if s.operators]


def _between(problem: GraphProblem, earlier: int, cut: int | None) -> tuple[int, ...]:
    """Operators that have not run and must run up to a cut, which is the last of them; all that are left for none."""
    if cut is None:
        return tuple(i for i in range(len(problem.operators)) if not earlier >> i & 1)
    needed = _needed(problem)[cut] | 1 << cut
    return tuple(i for i in range(len(problem.operators)) if needed >> i & 1 and not earlier >> i & 1)


def _needed(problem: GraphProblem) -> list[int]:
    """For each operator the bits of all that must run before it."""
    found: list[int] = []
    for direct in problem.before:
        bits = 0
        for j in direct:
            bits |= found[j] | 1 << j
        found.append(bits)
    return found


def _cuts(problem: GraphProblem) -> list[int]:
    """Operators at which the problem falls apart, in the order in which they run."""
    count = len(problem.operators)
    needed = _needed(problem)
    behind = [0] * count
    for i in range(count - 1, -1, -1):
        for j in problem.after[i]:
            behind[i] |= behind[j] | 1 << j
    everything = (1 << count) - 1
    writers: dict[str, int] = {}
    users: dict[str, int] = {}
    for i, op in enumerate(problem.operators):
        for name in op.touches:
            users[name] = users.get(name, 0) | 1 << i
        for name in op.writes:
            writers[name] = writers.get(name, 0) | 1 << i

    def apart(cut: int) -> bool:
        own = 1 << cut
        if any(users[old] & behind[cut] for _, old in problem.operators[cut].over):
            return False  # whether its result lies in an input's place depends on what comes behind
        for name, touching in users.items():
            if not touching & (needed[cut] | own) or not touching & behind[cut]:
                continue
            made_here = not touching & needed[cut] and writers.get(name, 0) == own
            if not (made_here or (touching & own and name not in writers)):
                return False
        return True

    found = [i for i in range(count) if needed[i] | behind[i] | 1 << i == everything and behind[i] and apart(i)]
    return sorted(found, key=lambda i: needed[i].bit_count())


def _section(problem: GraphProblem, cut: int, inside: Sequence[int]) -> Section:
    operators = [problem.operators[i] for i in inside]
    if cut >= 0:
        # What comes over the cut is there when the section begins, as if it were made then.
        last = problem.operators[cut]
        used = {n for op in operators for n in op.touches}
        reads = tuple(n for n in last.reads if n in used and n not in last.writes)
        writes = tuple(n for n in last.writes if n in used)
        operators.insert(0, Operator(last.name, reads, writes))
    names = dict.fromkeys(n for op in operators for n in op.touches)
    made = {n for op in operators for n in op.writes}
    tensors: dict[str, Tensor] = {}
    for name in names:
        tensor = problem.tensors[name]
        tensors[name] = tensor if name in made else replace(tensor, source=True)
    return Section(GraphProblem(problem.name, tensors, tuple(operators)), tuple(inside))
