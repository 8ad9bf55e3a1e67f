"""Plans with addresses that are changed bit by bit: which gaps are dropped, and where tensors lie at each use."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace

from .gap_model import Cost
from .lives import Lives
from .packing import Buffer, pack
from .plan import Copy, Plan, build_plan, placed

PACKING_NODES = 200_000
"""Nodes of the exact search for addresses, each time; fewer for many buffers, whose nodes take longer."""
PACKING_WORK = 10_000_000
"""Nodes times buffers of that search, each time, if that is not fewer than three nodes for each."""


class Along:
    """An order's gaps by tensor, content and step."""

    def __init__(self, lives: Lives, capacity: int, cost: Cost) -> None:
        self.lives, self.capacity, self.cost = lives, capacity, cost
        self.rows, self.base = lives.rows(), lives.base()
        self.of_tensor: dict[str, list[int]] = {}
        self.of_epoch: dict[int, list[int]] = {}
        for i, gap in enumerate(lives.gaps):
            self.of_tensor.setdefault(gap.tensor, []).append(i)
            self.of_epoch.setdefault(gap.epoch, []).append(i)
        self.begins = {(g.tensor, g.first): i for i, g in enumerate(lives.gaps)}
        self.ends = {(g.tensor, g.last): i for i, g in enumerate(lives.gaps)}

    def nbytes(self, tensor: str) -> int:
        return self.lives.problem.tensors[tensor].nbytes

    def price(self, gaps: Collection[int], elsewhere: Collection[int] = ()) -> float:
        """What it costs to drop gaps, where those `elsewhere` are dropped too and paid for."""
        lives, cost = self.lives, self.cost
        total = sum(lives.gaps[i].nbytes for i in gaps) * cost.load
        for epoch in {lives.gaps[i].epoch for i in gaps}:
            if not lives.epochs[epoch].stored and not any(i in elsewhere for i in self.of_epoch[epoch]):
                total += lives.epochs[epoch].nbytes * cost.store
        return total

    def over(self, step: int) -> list[int]:
        """Gaps that begin before a step and end at it or later."""
        into = [self.ends[n, step] for n in self.lives.operators[step].touches if (n, step) in self.ends]
        return sorted({*self.rows[step], *into} - set(self._placed(step)))

    def _placed(self, step: int) -> list[int]:
        """Gaps that only begin at a step, of what is kept beside a result that could take its place."""
        return [i for i in self.rows[step] if self.lives.gaps[i].first >= step]

    def alive(self, first: int, end: int) -> list[str]:
        """Tensors that are touched, or may be kept, at some step from `first` to before `end`."""
        names: dict[str, None] = {}
        for step in range(first, end):
            names.update(dict.fromkeys(self.lives.operators[step].touches))
            names.update(dict.fromkeys(self.lives.gaps[i].tensor for i in sorted(self.rows[step])))
        return list(names)


@dataclass
class Arrangement:
    """What is dropped, the address of each tensor at each step that touches it, and what is copied in between."""

    along: Along
    dropped: set[int]
    address: dict[tuple[str, int], int] = field(default_factory=dict)
    copies: tuple[Copy, ...] = ()

    @property
    def value(self) -> float:
        return self.along.price(self.dropped)

    def plan(self) -> Plan:
        """As a plan, with addresses where they are known."""
        plan = build_plan(self.along.lives, self.dropped, self.along.capacity)
        if not self.address:
            return plan
        found = placed(plan, {k: self.address[r.tensor, r.first] for k, r in enumerate(plan.residences)})
        return replace(found, copies=self.copies)


@dataclass
class Stretch:
    """Residences that lie in each other's place, clipped to some steps: one buffer.

    Attributes:
        first, last: its steps.
        fixed: addresses of those that reach beyond the steps looked at.
        touches: (tensor, step) that lie there.
    """

    nbytes: int
    first: int
    last: int
    fixed: set[int]
    touches: list[tuple[str, int]]


def stretches(
    arrangement: Arrangement, dropped: Collection[int], first: int, end: int, *, last: bool = False
) -> list[Stretch]:
    """What needs addresses from step `first` to before `end`, if other gaps were dropped inside; the rest as it is.

    With `last`, nothing has an address behind these steps.
    """
    along = arrangement.along
    found: dict[tuple[str, int], Stretch] = {}
    ending: dict[tuple[str, int], Stretch] = {}
    for name in along.alive(first, end):
        for stretch, final in _of_tensor(arrangement, name, dropped, first, end, last):
            found[name, stretch.first] = stretch
            ending[name, final if final >= 0 else end] = stretch
    ends = {id(stretch): key for key, stretch in ending.items()}
    for (step, old), (new, _) in sorted(along.lives.in_place.items()):
        if first <= step < end and (old, step) in ending and (new, step) in found:
            a, b = ending[old, step], found.pop((new, step))
            a.last, a.fixed, a.touches = b.last, a.fixed | b.fixed, a.touches + b.touches
            ends[id(a)] = ends[id(b)]
            ending[ends[id(b)]] = a
    return [s for s in found.values() if s.nbytes]


def _of_tensor(
    arrangement: Arrangement, name: str, dropped: Collection[int], first: int, end: int, open_end: bool
) -> Iterator[tuple[Stretch, int]]:
    """Stretches of one tensor, each with the step of its last use, -1 where it goes on behind the steps."""
    along, nbytes = arrangement.along, arrangement.along.nbytes(name)
    current: Stretch | None = None
    steps = along.lives.touches[name]
    for gap, step in zip((-1, *along.of_tensor.get(name, ())), steps, strict=True):
        if step < first:
            continue
        kept = gap >= 0 and gap not in dropped
        before = along.lives.gaps[gap].first if gap >= 0 else -1
        if kept and before < first:
            # It is there when the steps begin.
            if before >= end:
                return
            fixed = arrangement.address.get((name, before), 0)
            current = Stretch(nbytes, first, min(step, end - 1), {fixed}, [])
        elif kept and current is not None:
            current.last = min(step, end - 1)
        if step >= end:
            if current is not None:
                if kept and not open_end:
                    current.fixed.add(arrangement.address.get((name, step), 0))
                yield current, -1 if kept else before
            return
        if not kept:
            if current is not None:
                yield current, before
            current = Stretch(nbytes, step, step, set(), [])
        assert current is not None
        current.touches.append((name, step))
    if current is not None:
        yield current, steps[-1]


def addresses(found: Sequence[Stretch], capacity: int, *, nodes: int | None = None) -> tuple[list[int] | None, bool]:
    """An address for each stretch, or None; and whether that answer is final."""
    if any(len(s.fixed) > 1 for s in found):
        return None, True
    buffers = buffers_of(found)
    packing = pack(buffers, capacity, nodes=nodes_for(len(buffers)) if nodes is None else nodes)
    if packing.addresses is None:
        return None, packing.complete
    return [packing.addresses[b.name] for b in buffers], True


def buffers_of(found: Sequence[Stretch]) -> list[Buffer]:
    """As `pack` wants them, named by their numbers."""
    return [
        Buffer(str(k), s.first, s.last + 1, s.nbytes, address=min(s.fixed, default=None)) for k, s in enumerate(found)
    ]


def nodes_for(count: int) -> int:
    return min(PACKING_NODES, max(3 * count, PACKING_WORK // max(1, count)))


def arranged(along: Along, dropped: set[int], *, nodes: int | None = None) -> tuple[Arrangement | None, bool]:
    """With addresses for all that is kept, or None where none were found, and whether that is final."""
    whole = Arrangement(along, set(dropped))
    found = stretches(whole, dropped, 0, len(along.lives.operators))
    places, final = addresses(found, along.capacity, nodes=nodes)
    if places is None:
        return None, final
    take(whole, found, places)
    return whole, True


def take(arrangement: Arrangement, found: Sequence[Stretch], places: Sequence[int]) -> None:
    """Put stretches where they were given addresses."""
    for stretch, place in zip(found, places, strict=True):
        arrangement.address.update(dict.fromkeys(stretch.touches, place))


def crowded(found: Sequence[Stretch], capacity: int, first: int, end: int, *, nodes: int) -> tuple[int, int]:
    """The fewest steps, from the one to before the other, whose stretches provably have no addresses together.

    They have none from `first` to before `end`.
    """

    def fails(start: int, stop: int) -> bool:
        inside = [s for s in found if s.first < stop and start <= s.last]
        clipped = [Stretch(s.nbytes, max(s.first, start), min(s.last, stop - 1), s.fixed, []) for s in inside]
        places, final = addresses(clipped, capacity, nodes=min(nodes, nodes_for(len(clipped))))
        return places is None and final

    low, high = first + 1, end
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fails(first, middle) else (middle + 1, high)
    end = high
    low, high = first, end - 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fails(middle, end) else (low, middle - 1)
    return low, end
