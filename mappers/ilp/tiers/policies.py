"""Simple ways to place items, to compare plans with: caches that evict what was used longest ago, and fixed places."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from ....errors import BadInput, DoesNotFit
from ....mapping.tiers.check import check_tier_plan
from ....mapping.tiers.plan import Room, TierClaim, TierPlan, Transfer
from ....mapping.tiers.problem import TierProblem
from .simulated import claimed_seconds
from .ways import Network

WARM_UP = 2
"""Periods after which caches of a periodic placement repeat what they do."""


def least_recently_used(problem: TierProblem, *, ahead: bool = True) -> TierPlan:
    """Every tier on the way from an item's home caches it, and evicts whole items, those used longest ago first.

    Args:
        problem: every step takes its first choice; items are read only.
        ahead: what the next step needs is loaded while a step runs, as far as the caches can make room; else, and for
            the rest, before it.

    Returns:
        The plan, checked.

    Raises:
        BadInput: a step writes an item.
        DoesNotFit: a tier cannot hold what a step needs of it or what passes.
    """
    if any(c.writes or c.remakes for s in problem.framed for c in s.choices):
        raise BadInput(f"placement {problem.name}: caches of read-only items are all that this policy knows")
    run = _Caches(problem)
    steps = len(problem.framed)
    rounds = WARM_UP + 1 if problem.periodic else 1
    for step in range(steps * rounds):
        run.bring(step, problem.position(step) - 1, wait=True)
        run.use(step)
        if ahead and (problem.periodic or step + 1 < steps):
            run.bring(step + 1, problem.position(step), wait=False)
    plan = run.plan(problem.positions * (rounds - 1))
    ledger = check_tier_plan(problem, plan)
    seconds = claimed_seconds(problem, plan, ledger.seconds)
    claim = TierClaim("latency", seconds, 0.0, 1.0, False, "LRU", 0, 0.0)
    return TierPlan(plan.problem, plan.choices, plan.rooms, plan.transfers, claim)


def largest_stay(problem: TierProblem, tier: str, *, reserve: int = 0) -> Mapping[tuple[str, str], bool]:
    """Copies to pin: the largest items that fit stay in a tier for good, all others never do.

    Args:
        problem: what is placed.
        tier: where they stay.
        reserve: bytes left free for what passes.
    """
    return _staying(problem, tier, reserve, {n: (i.nbytes, 0) for n, i in problem.items.items()})


def most_transferred_stay(problem: TierProblem, tier: str, *, reserve: int = 0) -> Mapping[tuple[str, str], bool]:
    """Copies to pin: items leave a tier by the bytes that they would have to be moved, the fewest first.

    This is the rule of a published compiler for three tiers (SambaNova SN40L, MICRO 2024, section V).
    """
    uses = dict.fromkeys(problem.items, 0)
    for step in problem.steps:
        for name in step.choices[0].touches:
            uses[name] += 1
    moved = {n: (i.nbytes * uses[n], i.nbytes) for n, i in problem.items.items()}
    return _staying(problem, tier, reserve, moved)


def _staying(
    problem: TierProblem, tier: str, reserve: int, worth: Mapping[str, tuple[int, int]]
) -> Mapping[tuple[str, str], bool]:
    capacity = problem.capacities[tier]
    homes = sum(i.nbytes for i in problem.items.values() if i.home == tier)
    left = None if capacity is None else capacity - reserve - homes
    found = {}
    for name in sorted(problem.items, key=lambda n: (worth[n], n), reverse=True):
        if problem.items[name].home == tier:
            continue
        stays = left is None or problem.items[name].nbytes <= left
        found[name, tier] = stays
        if stays and left is not None:
            left -= problem.items[name].nbytes
    return found


class _Caches:
    """What every tier holds, since which position, and when it was last used."""

    def __init__(self, problem: TierProblem) -> None:
        self.problem, self.network = problem, Network(problem)
        self.steps = problem.framed
        self.held: dict[tuple[str, str], int] = {}
        self.used: dict[tuple[str, str], int] = {}
        self.rooms: list[Room] = []
        self.transfers: list[Transfer] = []
        homes = dict.fromkeys(problem.capacities, 0)
        for item in problem.items.values():
            if item.home:
                homes[item.home] += item.nbytes
        self.free = {t: None if c is None else c - homes[t] for t, c in problem.capacities.items()}

    def _needs(self, step: int) -> Mapping[str, str]:
        return self.steps[step % len(self.steps)].choices[0].reads

    def bring(self, step: int, position: int, *, wait: bool) -> None:
        """Load what a step needs; while another one runs (not `wait`), only what has room."""
        pinned = {(n, t) for n, t in self._needs(step).items()}
        if not wait:
            pinned |= set(self._needs(step - 1).items())
        for name, tier in self._needs(step).items():
            if (name, tier) in self.held or self.problem.items[name].home == tier:
                continue
            route = self._route(name, tier)
            if all(self._room(name, t, pinned, position) for t in route[1:]):
                for a, b in pairwise(route):
                    link = self.network.links[a, b].name
                    self.held[name, b] = position
                    self.used[name, b] = step
                    self.transfers.append(Transfer(name, link, position, 0, self.problem.items[name].nbytes))
            elif wait:
                raise DoesNotFit(f"step {self.steps[step % len(self.steps)].name}: no room for {name} on {route}")

    def _route(self, name: str, tier: str) -> tuple[str, ...]:
        """From the nearest tier that has it."""
        home = self.problem.items[name].home
        sources = [t for t in self.problem.capacities if (name, t) in self.held or t == home]
        routes = [r for s in sources if (r := self.network.route(s, tier))]
        if not routes:
            raise DoesNotFit(f"no link leads from where {name} is to {tier}")
        return min(routes, key=len)

    def _room(self, name: str, tier: str, pinned: set[tuple[str, str]], position: int) -> bool:
        """Evict until an item fits; what is pinned, and what came at this position, stays."""
        free = self.free[tier]
        if free is None:
            return True
        size = {n: i.nbytes for n, i in self.problem.items.items()}
        step = self.steps[position // self.problem.stride % len(self.steps)].choices[0]
        taken = sum(size[n] for n, t in self.held if t == tier) + step.workspace.get(tier, 0)
        victims = sorted(
            (k for k in self.held if k[1] == tier and k not in pinned and self.held[k] < position),
            key=lambda k: (self.used[k], k),
        )
        possible = free - taken + sum(size[n] for n, _ in victims)
        if possible < size[name]:
            return False
        for victim in victims:
            if free - taken >= size[name]:
                break
            taken -= size[victim[0]]
            self._evict(victim, position - 1)
        return True

    def _evict(self, key: tuple[str, str], last: int) -> None:
        first = self.held.pop(key)
        self.rooms.append(Room(key[0], key[1], 0, self.problem.items[key[0]].nbytes, first, last))

    def use(self, step: int) -> None:
        for name, tier in self._needs(step).items():
            self.used[name, tier] = step
            for other in self.problem.capacities:
                if (name, other) in self.held:
                    self.used[name, other] = step

    def plan(self, start: int) -> TierPlan:
        """The plan of the period that begins at a position, the last one."""
        count = self.problem.positions
        for key in list(self.held):
            self._evict(key, start + count - 1)
        rooms = [
            Room(r.item, r.tier, r.low, r.high, max(r.first - start, 0), r.last - start)
            for r in self.rooms
            if r.last >= start
        ]
        transfers = [
            Transfer(t.item, t.link, t.position - start, t.low, t.high) for t in self.transfers if t.position >= start
        ]
        choices = tuple(s.choices[0].name for s in self.steps)
        return TierPlan(self.problem.name, choices, tuple(rooms), tuple(transfers))
