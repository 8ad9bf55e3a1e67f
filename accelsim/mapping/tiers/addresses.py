"""Independent check of the addresses of a plan over tiers, position by position.

Shares no code with what finds them.
"""

from __future__ import annotations

from collections.abc import Sequence

from .plan import Room, TierPlan
from .problem import Choice, TierProblem


def address_faults(problem: TierProblem, plan: TierPlan, chosen: Sequence[Choice]) -> list[str]:
    """What is wrong with the addresses of a plan's rooms; nothing where none have any.

    An item lies in one piece: its byte 0 would be at one address for all of its rooms at a position, and stays there
    from one position to the next, and from the last to the first where steps run periodically. What is at home in a
    tier takes its end. A step's workspace is one free range.

    Args:
        problem: what it is a plan of.
        plan: its rooms.
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
        wrong += _faults(problem, chosen, tier, given, None if capacity is None else capacity - homes)
    return wrong


def _faults(
    problem: TierProblem, chosen: Sequence[Choice], tier: str, rooms: Sequence[Room], free: int | None
) -> list[str]:
    wrong: list[str] = []
    begin: dict[int, list[Room]] = {}
    for r in rooms:
        begin.setdefault(r.first, []).append(r)
    live: list[Room] = []
    zero: dict[str, int] = {}
    first: dict[str, int] = {}
    for position in range(problem.positions):
        live = [r for r in live if r.last >= position] + begin.get(position, [])
        now: dict[str, int] = {}
        for r in live:
            assert r.address is not None
            if now.setdefault(r.item, r.address - r.low) != r.address - r.low:
                wrong.append(f"position {position}: {r.item} lies in {tier} in pieces")
        wrong += [f"position {position}: {n} moves within {tier}" for n in now if n in zero and zero[n] != now[n]]
        zero = now
        first = first if position else now
        reach, holder, hole = 0, "", 0
        for address, end, name in sorted((r.address or 0, (r.address or 0) + r.high - r.low, r.item) for r in live):
            if address < reach and name != holder:
                wrong.append(f"position {position}: {name} at {address:,} of {tier} overlaps {holder}")
            hole = max(hole, address - reach)
            if end > reach:
                reach, holder = end, name
        if free is None:
            continue
        if reach > free:
            wrong.append(f"position {position}: {holder} ends at {reach:,} of {tier}, which has {free:,}")
        step, place = divmod(position + 1, problem.stride)
        needed = 0 if place else chosen[step - 1].workspace.get(tier, 0)
        if needed > max(hole, free - reach):
            wrong.append(f"position {position}: no {needed:,} free bytes of {tier} in one piece for the workspace")
    if problem.periodic:
        wrong += [f"{n} moves within {tier} between periods" for n in first if n in zero and zero[n] != first[n]]
    return wrong
