"""The problem that the ILP mapper solves: operators over tensors of known size, and one memory that is too small.

It knows nothing of Einsums or machines, so that a graph from anywhere can be scheduled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ...errors import BadInput


@dataclass(frozen=True)
class Tensor:
    """Something that operators read and write.

    Attributes:
        name: unique in its problem.
        nbytes: its size.
        source: it is off chip before the run: an input, a weight, a state. Its first load is compulsory.
        result: it must be off chip after the run. Its last store is compulsory.
    """

    name: str
    nbytes: int
    source: bool = False
    result: bool = False


@dataclass(frozen=True)
class Operator:
    """A step: while it runs, all that it reads and writes is in the memory.

    Attributes:
        name: unique in its problem.
        reads, writes: names of tensors. A tensor that several operators write (the parts of a concatenation) is whole
            from the first of them on. Workspace is a tensor that one operator writes and none reads.
        over: pairs (written, read) of tensors of one size: the former may take the place of the latter, where that is
            not needed any more or comes back from off chip.
    """

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    over: tuple[tuple[str, str], ...] = ()

    @cached_property
    def touches(self) -> tuple[str, ...]:
        """Tensors that must be in the memory while it runs, each once."""
        return tuple(dict.fromkeys((*self.reads, *self.writes)))


@dataclass(frozen=True)
class GraphProblem:
    """Operators in an order in which they can run, and their tensors.

    Raises:
        BadInput: a name used twice or not known, a tensor that is read before it is written, a negative size, or an
            operator that takes the place of what it does not read; all of them in one message.
    """

    name: str
    tensors: Mapping[str, Tensor]
    operators: tuple[Operator, ...]

    def __post_init__(self) -> None:
        wrong = [f"tensor {n}: {t.nbytes} bytes" for n, t in self.tensors.items() if t.nbytes < 0]
        names: set[str] = set()
        ready = {name for name, t in self.tensors.items() if t.source}
        for op in self.operators:
            wrong += [f"two operators are called {op.name}"] if op.name in names else []
            names.add(op.name)
            wrong += [f"{op.name}: no tensor {n}" for n in op.touches if n not in self.tensors]
            wrong += [f"{op.name} reads {n} before it is written" for n in op.reads if n not in ready]
            for new, old in op.over:
                if new not in op.writes or old not in op.reads or self._nbytes(new) != self._nbytes(old):
                    wrong.append(f"{op.name}: {new} cannot take the place of {old}")
            ready.update(op.writes)
        if wrong:
            raise BadInput(f"graph {self.name}: " + "; ".join(wrong[:20]))

    def _nbytes(self, name: str) -> int:
        return self.tensors[name].nbytes if name in self.tensors else -1

    @cached_property
    def before(self) -> tuple[tuple[int, ...], ...]:
        """For each operator, those that must run before it: the writers, so far, of what it reads."""
        writers: dict[str, list[int]] = {}
        found: list[tuple[int, ...]] = []
        for i, op in enumerate(self.operators):
            found.append(tuple(sorted({w for name in op.reads for w in writers.get(name, ())})))
            for name in op.writes:
                writers.setdefault(name, []).append(i)
        return tuple(found)

    @cached_property
    def after(self) -> tuple[tuple[int, ...], ...]:
        """For each operator, those that must run after it, by `before`."""
        found: list[list[int]] = [[] for _ in self.operators]
        for i, earlier in enumerate(self.before):
            for j in earlier:
                found[j].append(i)
        return tuple(tuple(f) for f in found)

    @cached_property
    def working_sets(self) -> tuple[int, ...]:
        """Bytes that must be in the memory while each operator runs alone, results in the place of inputs."""
        found = []
        for op in self.operators:
            saved = {old: self.tensors[new].nbytes for new, old in op.over}
            found.append(sum(self.tensors[n].nbytes for n in op.touches) - sum(saved.values()))
        return tuple(found)

    @property
    def largest_working_set(self) -> int:
        """The smallest memory in which every operator can run (M_R)."""
        return max(self.working_sets, default=0)

    @cached_property
    def compulsory_bytes(self) -> int:
        """Bytes that must move whatever the memory: sources that are read, once, and results, once."""
        read = {n for op in self.operators for n in op.reads if self.tensors[n].source}
        written = {n for op in self.operators for n in op.writes if self.tensors[n].result}
        return sum(self.tensors[n].nbytes for n in read) + sum(self.tensors[n].nbytes for n in written)

    def reordered(self, order: Sequence[int]) -> GraphProblem:
        """The same with its operators in another order.

        Raises:
            BadInput: `order` is no permutation, or runs an operator before one that it needs.
        """
        check_order(self, order)
        return replace(self, operators=tuple(self.operators[i] for i in order))


def check_order(problem: GraphProblem, order: Sequence[int]) -> None:
    """Refuse what is no order of the problem's operators. Raises BadInput."""
    if sorted(order) != list(range(len(problem.operators))):
        raise BadInput(f"graph {problem.name}: an order names each of {len(problem.operators)} operators once")
    place = {op: step for step, op in enumerate(order)}
    for i, earlier in enumerate(problem.before):
        for j in earlier:
            if place[j] > place[i]:
                names = problem.operators[i].name, problem.operators[j].name
                raise BadInput(f"graph {problem.name}: {names[0]} cannot run before {names[1]}")


def peak_bytes(problem: GraphProblem, order: Sequence[int]) -> int:
    """The smallest memory in which an order runs without compulsory traffic alone being exceeded.

    A tensor is held from its first touch to its last; results take the place of inputs where they may.
    """
    last: dict[str, int] = {}
    for step, i in enumerate(order):
        last.update(dict.fromkeys(problem.operators[i].touches, step))
    live: set[str] = set()
    held = most = 0
    for step, i in enumerate(order):
        op = problem.operators[i]
        fresh = [n for n in op.touches if n not in live]
        live.update(fresh)
        held += sum(problem.tensors[n].nbytes for n in fresh)
        saved = {old: problem.tensors[new].nbytes for new, old in op.over if new in fresh and last[old] == step}
        most = max(most, held - sum(saved.values()))
        gone = [n for n in op.touches if last[n] == step]
        live.difference_update(gone)
        held -= sum(problem.tensors[n].nbytes for n in gone)
    return most
