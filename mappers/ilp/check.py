"""Independent check of a plan: runs it step by step over a memory of bytes and counts what it moves.

It knows the problem and the plan alone, and shares no code with the models that make plans.
"""

from __future__ import annotations

from ...errors import MappingError
from .plan import Copy, Plan, Residence, Traffic
from .problem import GraphProblem

SHOWN = 20
"""Lines of a message."""


def check_plan(problem: GraphProblem, plan: Plan) -> Traffic:
    """Replay a plan.

    Args:
        problem: what it is a plan of.
        plan: with addresses, or without any; then it is checked by bytes alone.

    Returns:
        The bytes loaded, stored and copied.

    Raises:
        MappingError: an operator runs twice, not at all, or reads what is not there or not yet written; tensors
            overlap, reach beyond the memory, or come from off chip where their content is not there; a result is not
            off chip at the end; something is copied that is not there, or onto something else. All of them, in order.
    """
    memory = _Memory(problem, plan)
    memory.check_tables()
    if not memory.wrong:
        for step, name in enumerate(plan.order):
            memory.step(step, name)
        memory.finish()
    if memory.wrong:
        more = [f"and {len(memory.wrong) - SHOWN} more"] if len(memory.wrong) > SHOWN else []
        raise MappingError("\n".join([*memory.wrong[:SHOWN], *more]))
    return Traffic(memory.loaded, memory.stored, memory.compulsory, memory.copied)


class _Memory:
    """What lies where, which version of it, and which version is off chip."""

    def __init__(self, problem: GraphProblem, plan: Plan) -> None:
        self.problem, self.plan = problem, plan
        self.operators = {op.name: op for op in problem.operators}
        self.wrong: list[str] = []
        self.live: dict[str, Residence] = {}
        self.at: dict[str, int | None] = {}
        """Address of what lies in the memory, after all copies so far."""
        self.version: dict[str, int] = {}
        """Writes so far of what lies in the memory; of a source, 0 is its own content."""
        self.off_chip = {name: 0 for name, t in problem.tensors.items() if t.source}
        self.written: dict[str, int] = {}
        self.loaded = self.stored = self.compulsory = self.copied = 0
        self.begin: dict[int, list[Residence]] = {}
        self.end: dict[int, list[Residence]] = {}
        for r in plan.residences:
            self.begin.setdefault(r.first, []).append(r)
            self.end.setdefault(r.last, []).append(r)
        self.ran: set[str] = set()
        self.needs: dict[str, set[str]] = {}
        writers: dict[str, list[str]] = {}
        for op in problem.operators:
            self.needs[op.name] = {w for tensor in op.reads for w in writers.get(tensor, ())}
            for tensor in op.writes:
                writers.setdefault(tensor, []).append(op.name)
        self.leave: dict[int, list[str]] = {}
        for s in plan.stores:
            self.leave.setdefault(s.step, []).append(s.tensor)
        self.moves: dict[int, list[Copy]] = {}
        for c in plan.copies:
            self.moves.setdefault(c.step, []).append(c)

    def check_tables(self) -> None:
        """Every operator once, and steps that there are."""
        names = sorted(self.operators)
        if sorted(self.plan.order) != names:
            self.wrong.append("the plan does not run every operator exactly once")
        last = len(self.plan.order) - 1
        for r in self.plan.residences:
            if r.tensor not in self.problem.tensors or not 0 <= r.first <= r.last <= last:
                self.wrong.append(f"{r.tensor} lies from step {r.first} to {r.last} of 0 to {last}")
        for s in self.plan.stores:
            if s.tensor not in self.problem.tensors or not 0 <= s.step <= last:
                self.wrong.append(f"{s.tensor} is stored at step {s.step} of 0 to {last}")
        for c in self.plan.copies:
            if c.tensor not in self.problem.tensors or not 0 <= c.step <= last:
                self.wrong.append(f"{c.tensor} is copied before step {c.step} of 0 to {last}")
        given = {r.address is None for r in self.plan.residences}
        if len(given) > 1:
            self.wrong.append("some residences have addresses and others have none")
        if self.plan.copies and None in {r.address for r in self.plan.residences}:
            self.wrong.append("there are copies, and residences without addresses")

    def step(self, step: int, name: str) -> None:
        op = self.operators[name]
        for c in self.moves.get(step, ()):
            self._copy(c)
        for r in self.begin.get(step, ()):
            self._enter(step, r)
        self._room(step)
        for tensor in op.reads:
            if tensor not in self.live:
                self.wrong.append(f"step {step}: {name} reads {tensor}, which is not in the memory")
            elif tensor not in self.version:
                self.wrong.append(f"step {step}: {name} reads {tensor}, which nothing has written yet")
        self._inputs_ready(step, name)
        for tensor in op.writes:
            if tensor not in self.live:
                self.wrong.append(f"step {step}: {name} writes {tensor}, which is not in the memory")
            self.written[tensor] = self.written.get(tensor, 0) + 1
            self.version[tensor] = self.written[tensor]
        for tensor in self.leave.get(step, ()):
            if tensor not in self.live or tensor not in self.version:
                self.wrong.append(f"step {step}: {tensor} is stored, and is not in the memory")
                continue
            self.off_chip[tensor] = self.version[tensor]
            self.stored += self.problem.tensors[tensor].nbytes
        for r in self.end.get(step, ()):
            if self.live.get(r.tensor) == r:
                del self.live[r.tensor]
                del self.at[r.tensor]
                self.version.pop(r.tensor, None)

    def _copy(self, c: Copy) -> None:
        """Only what lay in the memory before the step is there yet."""
        if c.tensor not in self.live:
            self.wrong.append(f"step {c.step}: {c.tensor} is copied, and is not in the memory")
            return
        nbytes = {n: self.problem.tensors[n].nbytes for n in self.live}
        high = c.address + nbytes[c.tensor]
        if c.address < 0 or high > self.plan.capacity:
            self.wrong.append(f"step {c.step}: {c.tensor} is copied to {c.address:,}-{high:,}, beyond the memory")
        for other, low in self.at.items():
            if other != c.tensor and low is not None and low < high and c.address < low + nbytes[other]:
                self.wrong.append(f"step {c.step}: {c.tensor} is copied to {c.address:,}, onto {other} at {low:,}")
        self.at[c.tensor] = c.address
        self.copied += nbytes[c.tensor]

    def _inputs_ready(self, step: int, name: str) -> None:
        """Operators that write what this one reads, in the problem's own order, have run."""
        for other in sorted(self.needs[name] - self.ran):
            self.wrong.append(f"step {step}: {name} runs before {other}, whose result it reads")
        self.ran.add(name)

    def _enter(self, step: int, r: Residence) -> None:
        nbytes = self.problem.tensors[r.tensor].nbytes
        if r.tensor in self.live:
            self.wrong.append(f"step {step}: {r.tensor} lies in the memory twice")
        self.live[r.tensor], self.at[r.tensor] = r, r.address
        if not r.load:
            self.version.pop(r.tensor, None)
            return
        there = self.off_chip.get(r.tensor)
        if there is None or there != self.written.get(r.tensor, 0):
            self.wrong.append(f"step {step}: {r.tensor} is loaded, and its content is not off chip")
            return
        self.version[r.tensor] = there
        self.loaded += nbytes

    def _room(self, step: int) -> None:
        """Overlaps and overflow, while a step runs; its results may lie on inputs that end there."""
        op = self.operators[self.plan.order[step]]
        pairs = {
            (new, old)
            for new, old in op.over
            if new in self.live and old in self.live and self.live[old].last == step and self.live[new].first == step
        }
        shared = {old for _, old in pairs}
        size = {n: self.problem.tensors[n].nbytes for n in self.live}
        total = sum(n for name, n in size.items() if name not in shared)
        if total > self.plan.capacity:
            over = total - self.plan.capacity
            self.wrong.append(f"step {step}, {op.name}: {total:,} bytes are held, {over:,} more than there are")
        spans = sorted((at, at + size[n], n) for n, at in self.at.items() if at is not None)
        reach, holder = 0, ""
        for low, high, name in spans:
            if low < 0 or high > self.plan.capacity:
                self.wrong.append(f"step {step}: {name} at {low:,}-{high:,} lies beyond {self.plan.capacity:,}")
            allowed = {(name, holder), (holder, name)} & pairs and self.at[name] == self.at[holder]
            if low < reach and high > low and not allowed:
                self.wrong.append(f"step {step}: {name} at {low:,} overlaps {holder}, which ends at {reach:,}")
            if high > reach:
                reach, holder = high, name

    def finish(self) -> None:
        for name, tensor in self.problem.tensors.items():
            if name in self.written and tensor.result and self.off_chip.get(name) != self.written[name]:
                self.wrong.append(f"{name} is a result, and is not off chip at the end")
            if tensor.result and name in self.written:
                self.compulsory += tensor.nbytes
        read = {n for op in self.problem.operators for n in op.reads}
        self.compulsory += sum(t.nbytes for n, t in self.problem.tensors.items() if t.source and n in read)
