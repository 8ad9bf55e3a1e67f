"""Along an order: when each tensor is touched, the gaps in between, and what each step needs.

A gap is the time between two consecutive uses of a tensor. Either it is kept, and takes room in every step in between,
or it is dropped, and comes back from off chip for the next use: at most once per gap and never earlier, for bytes that
wait take room and save nothing. What was written since it last left is then written back, once per write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import DoesNotFit
from .problem import GraphProblem


@dataclass(frozen=True)
class Gap:
    """Between two uses of a tensor, at steps `first` and `last`; `epoch` is the content it holds there."""

    tensor: str
    nbytes: int
    first: int
    last: int
    epoch: int


@dataclass(frozen=True)
class Epoch:
    """A content of a tensor: from the step that writes it (-1 for a source's own) to the next write.

    `stored` says that it is off chip anyway: a source's own content, or the last one of a result.
    """

    tensor: str
    nbytes: int
    step: int
    stored: bool


class Lives:
    """Touches, gaps and epochs of a problem's tensors along an order of its operators."""

    def __init__(self, problem: GraphProblem, order: Sequence[int]) -> None:
        self.problem = problem
        self.order = tuple(order)
        self.operators = tuple(problem.operators[i] for i in order)
        self.touches: dict[str, list[int]] = {}
        writes: dict[str, list[int]] = {}
        for step, op in enumerate(self.operators):
            for name in op.touches:
                self.touches.setdefault(name, []).append(step)
            for name in dict.fromkeys(op.writes):
                writes.setdefault(name, []).append(step)
        self.gaps: list[Gap] = []
        self.epochs: list[Epoch] = []
        for name, steps in self.touches.items():
            self._scan(name, steps, writes.get(name, []))
        self.in_place = self._in_place()

    def _scan(self, name: str, steps: Sequence[int], writes: Sequence[int]) -> None:
        tensor = self.problem.tensors[name]
        written = set(writes)
        if tensor.source:
            self.epochs.append(Epoch(name, tensor.nbytes, -1, stored=True))
        previous = -1
        for step in steps:
            if previous >= 0:
                self.gaps.append(Gap(name, tensor.nbytes, previous, step, len(self.epochs) - 1))
            if step in written:
                final = step == writes[-1]
                self.epochs.append(Epoch(name, tensor.nbytes, step, stored=final and tensor.result))
            previous = step

    def _in_place(self) -> dict[tuple[int, str], tuple[str, int | None]]:
        """(step, tensor read) to the result that may take its place there, and the gap that begins there, if any."""
        begins = {(g.first, g.tensor): i for i, g in enumerate(self.gaps)}
        return {
            (step, old): (new, begins.get((step, old)))
            for step, op in enumerate(self.operators)
            for new, old in op.over
            if self.touches[new][0] == step
        }

    def base(self) -> list[int]:
        """Bytes that each step needs whatever is kept."""
        size = self.problem.tensors
        found = [sum(size[n].nbytes for n in op.touches) for op in self.operators]
        for step, old in self.in_place:
            found[step] -= size[old].nbytes
        return found

    def rows(self) -> list[set[int]]:
        """For each step, the gaps that take room in it if they are kept."""
        found: list[set[int]] = [set() for _ in self.operators]
        for i, gap in enumerate(self.gaps):
            for step in range(gap.first + 1, gap.last):
                found[step].add(i)
        for (step, _), (_, gap_number) in self.in_place.items():
            if gap_number is not None:
                found[step].add(gap_number)
        return found

    def check_fits(self, capacity: int) -> None:
        """Raise DoesNotFit, naming step, operator, largest tensor and shortfall, where an operator cannot run."""
        for step, needed in enumerate(self.base()):
            if needed > capacity:
                op = self.operators[step]
                largest = max(op.touches, key=lambda n: self.problem.tensors[n].nbytes)
                raise DoesNotFit(
                    f"step {step}, operator {op.name}: its tensors take {needed:,} bytes and the memory has "
                    f"{capacity:,}, {needed - capacity:,} too few; the largest is {largest} with "
                    f"{self.problem.tensors[largest].nbytes:,} bytes"
                )
