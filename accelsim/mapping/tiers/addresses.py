"""Independent check of the addresses of a plan over tiers, position by position.

Shares no code with what finds them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .plan import Room, TierPlan
from .problem import Choice, TierProblem

Spans = list[tuple[int, int, int]]
"""First byte of an item, the one behind its last, and what its address is above the former: sorted, and apart."""


def address_faults(problem: TierProblem, plan: TierPlan, chosen: Sequence[Choice]) -> list[str]:
    """What is wrong with the addresses of a plan's rooms; nothing where none have any.

    An item lies in one piece where a step reads or writes it; elsewhere its bytes may lie apart. No byte moves within
    a tier: it has one address from one position to the next, and from the last to the first where steps run
    periodically, unless a transfer brings it again. What is at home in a tier takes its end. A step's workspace is one
    free range.

    Args:
        problem: what it is a plan of.
        plan: its rooms and transfers.
        chosen: the choice of each step.
    """
    wrong: list[str] = []
    for tier, capacity in problem.capacities.items():
        rooms = [r for r in plan.rooms if r.tier == tier and r.low < r.high]
        given = [r for r in rooms if r.address is not None]
        if not given:
            continue
        if len(given) < len(rooms):
            wrong.append(f"{tier}: some rooms have addresses and others have none")
            continue
        homes = sum(i.nbytes for i in problem.items.values() if i.home == tier)
        tier_check = _Tier(problem, plan, chosen, tier, None if capacity is None else capacity - homes)
        wrong += tier_check.faults(given)
    return wrong


class _Tier:
    """One tier, and what is wrong with it so far."""

    def __init__(
        self, problem: TierProblem, plan: TierPlan, chosen: Sequence[Choice], tier: str, free: int | None
    ) -> None:
        self.problem, self.chosen, self.tier, self.free = problem, chosen, tier, free
        self.wrong: list[str] = []
        self.brought: dict[tuple[int, str], list[tuple[int, int]]] = {}
        """(position, item) to the bytes that transfers bring then."""
        for t in plan.transfers:
            if problem.by_link[t.link].dst == tier:
                self.brought.setdefault((t.position, t.item), []).append((t.low, t.high))

    def faults(self, rooms: Sequence[Room]) -> list[str]:
        """Walk through the positions."""
        begin: dict[int, list[Room]] = {}
        for r in rooms:
            begin.setdefault(r.first, []).append(r)
        live: list[Room] = []
        before: dict[str, Spans] = {}
        first: dict[str, Spans] = {}
        for position in range(self.problem.positions):
            live = [r for r in live if r.last >= position] + begin.get(position, [])
            now = self._items(position, live)
            self._unmoved(position, before, now)
            self._apart(position, now)
            first, before = (now if not position else first), now
        if self.problem.periodic:
            self._unmoved(0, before, first)
        return self.wrong

    def _items(self, position: int, live: Iterable[Room]) -> dict[str, Spans]:
        """Where the bytes of each item are. Rooms of the same bytes must say the same."""
        rooms: dict[str, list[tuple[int, int, int]]] = {}
        for r in live:
            assert r.address is not None
            rooms.setdefault(r.item, []).append((r.low, r.high, r.address - r.low))
        found: dict[str, Spans] = {}
        for item, spans in rooms.items():
            mine = found.setdefault(item, [])
            for low, high, base in sorted(spans):
                if mine and low < mine[-1][1] and mine[-1][2] != base:
                    self.wrong.append(f"position {position}: {item} lies in {self.tier} at two addresses")
                if mine and low <= mine[-1][1] and mine[-1][2] == base:
                    mine[-1] = mine[-1][0], max(mine[-1][1], high), base
                else:
                    mine.append((low, high, base))
        step, place = divmod(position + 1, self.problem.stride)
        for item, tier in ({} if place else self.chosen[step - 1].touches).items():
            if tier == self.tier and len(found.get(item, ())) > 1:
                self.wrong.append(f"position {position}: {item} is used in {tier}, and lies in pieces")
        return found

    def _unmoved(self, position: int, before: dict[str, Spans], now: dict[str, Spans]) -> None:
        for item, spans in now.items():
            for low, high, base in spans:
                for a, b, other in before.get(item, ()):
                    a, b = max(low, a), min(high, b)
                    if a < b and base != other and not self._comes(position, item, a, b):
                        self.wrong.append(f"position {position}: {item} moves within {self.tier}")

    def _comes(self, position: int, item: str, low: int, high: int) -> bool:
        """Whether transfers bring all of some bytes at a position."""
        for a, b in sorted(self.brought.get((position, item), ())):
            low = max(low, b) if a <= low else low
        return low >= high

    def _apart(self, position: int, now: dict[str, Spans]) -> None:
        """Nothing overlaps or ends beyond the tier, and the step's workspace has room in one piece."""
        reach, holder, hole = 0, "", 0
        for address, end, name in sorted((low + base, high + base, n) for n, x in now.items() for low, high, base in x):
            if address < reach:
                self.wrong.append(f"position {position}: {name} at {address:,} of {self.tier} overlaps {holder}")
            hole = max(hole, address - reach)
            if end > reach:
                reach, holder = end, name
        if self.free is None:
            return
        if reach > self.free:
            what = f"{holder} ends at {reach:,} of {self.tier}, which has {self.free:,}"
            self.wrong.append(f"position {position}: {what}")
        step, place = divmod(position + 1, self.problem.stride)
        needed = 0 if place else self.chosen[step - 1].workspace.get(self.tier, 0)
        if needed > max(hole, self.free - reach):
            what = f"no {needed:,} free bytes of {self.tier} in one piece for the workspace"
            self.wrong.append(f"position {position}: {what}")
