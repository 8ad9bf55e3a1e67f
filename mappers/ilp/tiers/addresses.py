"""Addresses in every tier for a plan: the packer of one memory, and a smaller tier in the program where it fails.

Of ``benchmarks/tiers.py`` with two tokens, 2 and 4 layers take 5 s of a processor each and are 12.8 and 4.4 % over the
bound without addresses; at 32 layers and four tokens the second program did not end within nine minutes of a busy
machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ....errors import DoesNotFit
from ....mapping.tiers.check import check_tier_plan
from ....mapping.tiers.plan import Room, TierPlan
from ....mapping.tiers.problem import TierProblem
from ..packing import Buffer, pack
from ..solver import SolverOptions
from .model import LATENCY, Aim
from .search import DEFAULT, ROUNDING, place

NODES, WORK = 20_000, 2_000_000
"""Of the exact search for addresses in a tier, each time: nodes, and nodes times buffers."""
ROUGH = 0.02
"""Gap that is good enough for the programs with less of a tier."""
TRIES = 150
"""Times that first fit is tried from each order: what went beyond the tier is taken first the next time."""
MOST, LEAST = 0.97, 0.93
"""Share of what a tier's room was before that the next program gets, at most and at least."""


def place_addressed(
    problem: TierProblem,
    *,
    aims: Sequence[Aim] = (LATENCY,),
    options: SolverOptions = DEFAULT,
    pinned: Mapping[tuple[str, str], bool] | None = None,
) -> TierPlan:
    """As `place`, with an address for every room of tiers that may fill.

    An item has its whole range from when its first byte comes to when the last one leaves. Where a tier has no
    addresses for that, the program is solved again with as much less of it as first fit went beyond it, and so on.
    The claim's bound is of plans without addresses.

    Raises:
        DoesNotFit: as `place`, or no addresses were found.
    """
    shares = dict.fromkeys((n for n, c in problem.capacities.items() if c is not None), 1.0)
    bound: float | None = None
    while True:
        least = problem if bound is None else _squeezed(problem, shares)
        solver = options if bound is None else replace(options, gap=max(options.gap, ROUGH))
        plan = place(least, aims=aims, options=solver, pinned=pinned)
        assert plan.claim is not None
        bound = plan.claim.bound if bound is None else bound
        rooms, failed = addresses_of(problem, plan)
        if not failed:
            found = replace(plan, rooms=tuple(rooms))
            check_tier_plan(problem, found)
            value = plan.claim.value
            gap = (value - min(bound, value)) / value if value else 0.0
            proven = plan.claim.proven and gap <= max(options.gap, ROUNDING)
            return replace(found, claim=replace(plan.claim, bound=min(bound, value), gap=gap, proven=proven))
        for tier, over in failed.items():
            before = _squeezed(problem, shares).capacities[tier]
            shares[tier] *= max(LEAST, min(MOST, 1 / over))
            if _squeezed(problem, shares).capacities[tier] == before:
                raise DoesNotFit(f"placement {problem.name}: no addresses in {tier}, though all fits without them")


def _squeezed(problem: TierProblem, shares: Mapping[str, float]) -> TierProblem:
    """With a share of some tiers, though what is at home there, and the largest step, keep their room."""
    tiers = []
    for tier in problem.tiers:
        if tier.capacity is None:
            tiers.append(tier)
            continue
        homes = sum(i.nbytes for i in problem.items.values() if i.home == tier.name)
        free = tier.capacity - homes
        left = max(int(free * shares[tier.name]), min(free, _largest_step(problem, tier.name)))
        tiers.append(replace(tier, capacity=homes + left))
    return replace(problem, tiers=tuple(tiers))


def _largest_step(problem: TierProblem, tier: str) -> int:
    """Bytes that some step needs of a tier, by the choice that needs least."""
    items = problem.items
    return max(
        min(
            c.workspace.get(tier, 0)
            + sum(items[n].nbytes for n, t in c.touches.items() if t == tier and items[n].home != tier)
            for c in step.choices
        )
        for step in problem.framed
    )


@dataclass
class _Stay:
    """Rooms of an item that must lie in one piece: they overlap in time, or one begins where another ends."""

    rooms: list[Room] = field(default_factory=list)
    last: int = -2
    wraps: bool = False

    @property
    def low(self) -> int:
        return min(r.low for r in self.rooms)

    @property
    def nbytes(self) -> int:
        return max(r.high for r in self.rooms) - self.low


def addresses_of(problem: TierProblem, plan: TierPlan) -> tuple[list[Room], dict[str, float]]:
    """The rooms of a plan with addresses in tiers that may fill; by tier that has none, what first fit takes of it."""
    found: list[Room] = []
    failed: dict[str, float] = {}
    for tier, capacity in problem.capacities.items():
        rooms = [r for r in plan.rooms if r.tier == tier]
        if capacity is None:
            found += rooms
            continue
        homes = sum(i.nbytes for i in problem.items.values() if i.home == tier)
        stays = _stays(rooms, problem)
        at, reach = _packed(problem, plan, tier, stays, capacity - homes)
        if at is None:
            failed[tier] = reach / max(1, capacity - homes)
            continue
        for stay, address in zip(stays, at, strict=True):
            found += [replace(r, address=address + r.low - stay.low) for r in stay.rooms]
    return sorted(found, key=lambda r: (r.first, r.item, r.tier, r.low, r.last)), failed


def _stays(rooms: Sequence[Room], problem: TierProblem) -> list[_Stay]:
    found: list[_Stay] = []
    of_item: dict[str, list[_Stay]] = {}
    for r in sorted(rooms, key=lambda r: (r.item, r.first)):
        mine = of_item.setdefault(r.item, [])
        if not mine or r.first > mine[-1].last + 1:
            mine.append(_Stay())
            found.append(mine[-1])
        mine[-1].rooms.append(r)
        mine[-1].last = max(mine[-1].last, r.last)
    if not problem.periodic:
        return found
    for mine in of_item.values():
        if mine[0].rooms[0].first == 0 and mine[-1].last == problem.positions - 1:
            mine[0].wraps = True
            if len(mine) > 1:
                mine[0].rooms += mine[-1].rooms
                found.remove(mine[-1])
    return found


def _packed(
    problem: TierProblem, plan: TierPlan, tier: str, stays: Sequence[_Stay], free: int
) -> tuple[list[int] | None, int]:
    """An address for each stay: first fit of their true shapes, else the packer, for which each is a rectangle.

    And the bytes over which first fit spreads them, if that is more than are free.
    """
    workspaces = []
    for s, (step, name) in enumerate(zip(problem.framed, plan.choices, strict=True)):
        needed = next(c for c in step.choices if c.name == name).workspace.get(tier, 0)
        if needed:
            p = problem.position(s)
            workspaces.append(_Stay([Room("", tier, 0, needed, p, p)], p))
    everything = [*stays, *workspaces]
    least = 0
    for key in KEYS:
        order = sorted(range(len(everything)), key=lambda k: key(everything[k]))
        for _ in range(TRIES):
            found = _first_fit(order, everything)
            ends = [a + s.nbytes for a, s in zip(found, everything, strict=True)]
            reach = max(ends, default=0)
            if reach <= free:
                return found[: len(stays)], reach
            least = min(least or reach, reach)
            order.sort(key=lambda k: ends[k] <= free)
    return _searched(everything, free, len(stays)), least


KEYS: tuple[Callable[[_Stay], tuple[int, ...]], ...] = (
    lambda s: (not s.wraps, -s.nbytes, s.rooms[0].first),
    lambda s: (not s.wraps, s.rooms[0].first, -s.nbytes),
    lambda s: (not s.wraps, s.rooms[0].first - s.last, -s.nbytes),
    lambda s: (not s.wraps, -s.last, -s.nbytes),
)
"""Orders in which first fit takes stays: those over the end of a period, then by size, start, length, end."""


def _first_fit(order: Sequence[int], stays: Sequence[_Stay]) -> list[int]:
    """The lowest address for one stay after the other at which no room of it overlaps with another's."""
    found = [0] * len(stays)
    placed: list[tuple[int, int, int, int]] = []
    for k in order:
        stay = stays[k]
        low, taken = stay.low, []
        for r in stay.rooms:
            taken += [
                (start - (r.high - low), end - (r.low - low))
                for first, last, start, end in placed
                if first <= r.last and r.first <= last
            ]
        address = 0
        for start, end in sorted(taken):
            if start < address < end:
                address = end
        found[k] = address
        placed += [(r.first, r.last, address + r.low - low, address + r.high - low) for r in stay.rooms]
    return found


def _searched(stays: Sequence[_Stay], free: int, count: int) -> list[int] | None:
    """Addresses of the first ones by the packer; those over the end of a period lie one above the other."""
    buffers: list[Buffer] = []
    reach = 0
    for k, stay in enumerate(stays):
        base = reach if stay.wraps else None
        reach += stay.nbytes if stay.wraps else 0
        for n, (first, last) in enumerate(_spans(stay)):
            buffers.append(Buffer(f"{k} {n}", first, last + 1, stay.nbytes, address=base))
    if reach > free:
        return None
    found = pack(buffers, free, nodes=min(NODES, WORK // max(1, len(buffers)))).addresses
    return None if found is None else [found[f"{k} 0"] for k in range(count)]


def _spans(stay: _Stay) -> list[tuple[int, int]]:
    """Positions of a stay: two rows of them where it goes on in the next period."""
    found: list[tuple[int, int]] = []
    for r in sorted(stay.rooms, key=lambda r: r.first):
        if found and r.first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(found[-1][1], r.last)
        else:
            found.append((r.first, r.last))
    return found
