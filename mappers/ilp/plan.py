"""Plans: in which order operators run, where and how long tensors lie in the memory, and what is stored."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from .lives import Lives
from .problem import GraphProblem


@dataclass(frozen=True)
class Residence:
    """A tensor lies in the memory from step `first` to step `last`, both included.

    Attributes:
        load: it comes from off chip before step `first`; otherwise that step writes it.
        address: of its first byte; None where a plan says nothing of addresses.
    """

    tensor: str
    first: int
    last: int
    load: bool
    address: int | None = None


@dataclass(frozen=True)
class Store:
    """A tensor is written off chip after a step."""

    tensor: str
    step: int


@dataclass(frozen=True)
class Copy:
    """A tensor moves within the memory before a step runs and before anything comes for it.

    Attributes:
        address: of its first byte from then on; its old place and the new one may overlap.
    """

    tensor: str
    step: int
    address: int


@dataclass(frozen=True)
class PlanClaim:
    """What whoever made a plan says of it.

    Attributes:
        objective: what was minimised.
        value: of the plan, compulsory traffic not counted.
        bound: no plan, or none in this order, is better; `bound_holds_for` says which.
        gap: (value - bound) / value, 0 where both are 0.
        proven: the plan is the best there is of that kind.
        solver, seed, seconds: how it was found.
        bound_holds_for: ``order``, ``any order``, or empty where there is no bound.
        interrupted: Ctrl-C ended the search.
    """

    objective: str
    value: float
    bound: float
    gap: float
    proven: bool
    solver: str
    seed: int
    seconds: float
    bound_holds_for: str = ""
    interrupted: bool = False


@dataclass(frozen=True)
class Plan:
    """The order of a problem's operators, by name, and what lies in a memory of `capacity` bytes when.

    `copies` of one step are made in their order, each of the whole tensor.
    """

    problem: str
    order: tuple[str, ...]
    capacity: int
    residences: tuple[Residence, ...]
    stores: tuple[Store, ...]
    claim: PlanClaim | None = field(default=None, compare=False)
    copies: tuple[Copy, ...] = ()

    def traffic(self, problem: GraphProblem) -> Traffic:
        """What it moves, from its own tables; `check` recounts this step by step."""
        loads = sum(problem.tensors[r.tensor].nbytes for r in self.residences if r.load)
        stores = sum(problem.tensors[s.tensor].nbytes for s in self.stores)
        copies = sum(problem.tensors[c.tensor].nbytes for c in self.copies)
        return Traffic(loads, stores, problem.compulsory_bytes, copies)


@dataclass(frozen=True)
class Traffic:
    """Bytes that go onto and off the chip, how many of them any plan moves, and bytes copied on the chip."""

    loaded: int
    stored: int
    compulsory: int
    copied: int = 0

    @property
    def spilled(self) -> int:
        """Non-compulsory bytes."""
        return self.loaded + self.stored - self.compulsory


def build_plan(lives: Lives, dropped: Collection[int], capacity: int) -> Plan:
    """The plan, without addresses, that keeps all gaps but those dropped."""
    gone = set(dropped)
    by_tensor: dict[str, list[int]] = {}
    for i, gap in enumerate(lives.gaps):
        by_tensor.setdefault(gap.tensor, []).append(i)
    residences: list[Residence] = []
    for name, steps in lives.touches.items():
        first, load = steps[0], _loaded_first(lives, name)
        for i in by_tensor.get(name, ()):
            if i in gone:
                residences.append(Residence(name, first, lives.gaps[i].first, load))
                first, load = lives.gaps[i].last, True
        residences.append(Residence(name, first, steps[-1], load))
    needed = {lives.gaps[i].epoch for i in gone}
    stores = [
        Store(epoch.tensor, epoch.step)
        for i, epoch in enumerate(lives.epochs)
        if epoch.step >= 0 and (epoch.stored or i in needed)
    ]
    residences.sort(key=lambda r: (r.first, r.tensor))
    stores.sort(key=lambda s: (s.step, s.tensor))
    order = tuple(op.name for op in lives.operators)
    return Plan(lives.problem.name, order, capacity, tuple(residences), tuple(stores))


def _loaded_first(lives: Lives, name: str) -> bool:
    """Whether a tensor's first use needs what is off chip: it is a source, and somebody reads it."""
    return lives.problem.tensors[name].source and any(name in op.reads for op in lives.operators)


def placed(plan: Plan, addresses: dict[int, int]) -> Plan:
    """A plan with addresses, by number of the residence."""
    found = [replace(r, address=addresses[i]) for i, r in enumerate(plan.residences)]
    return replace(plan, residences=tuple(found))
