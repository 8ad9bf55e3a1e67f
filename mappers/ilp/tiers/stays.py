"""Where items lie in one tier: an address for all that stays, and the order in which bytes come there.

What stays, or comes to stay, is laid out in one piece. Which of its bytes come first is free: those for which there is
room first. What passes through a tier may lie in pieces, wherever there is room while they pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, pairwise
from math import inf

from ....mapping.tiers.plan import Room
from ....mapping.tiers.problem import TierProblem
from .extract import Carriage, Dealt, Piece, Span, rooms_of, within_period

TRIES, FEWEST = 25, 3
"""Times that first fit is tried from each order, at most and at least: what went beyond the tier is taken first the
next time."""
AHEAD = 4
"""Positions, or places in an order, by which a stay comes earlier for each time that it was hindered."""
CUTS = 3
"""Positions from which the beginnings of stays are counted."""
EFFORT = 2_000_000
"""Those times, and the square of the number of stays."""


@dataclass(frozen=True)
class Box:
    """Positions of a period, from first to last, at which addresses from start to end are taken."""

    first: int
    last: int
    start: int
    end: int


@dataclass
class Coming:
    """Bytes of a carriage that come to stay.

    Attributes:
        carriage: its number; `link`: that of the link over which they come.
        low: its first byte.
        arrivals: at which positions, counted on through the periods, how many come.
        until: the last position before it is whole.
        order: of its bytes, if that is settled.
        seconds_per_byte: of the slowest link on the way.
    """

    carriage: int
    link: int
    low: int
    arrivals: list[tuple[int, int]]
    until: int
    order: Sequence[Span]
    seconds_per_byte: float

    @property
    def total(self) -> int:
        return sum(n for _, n in self.arrivals)


@dataclass(frozen=True)
class Settled:
    """In which order the bytes of what comes do so, and when; with the seconds by which some are later than before."""

    order: Sequence[Span]
    arrivals: list[tuple[int, int]]
    late: float


@dataclass
class Stay:
    """Rooms of an item that must lie in one piece: they overlap in time, or one begins where another ends.

    Attributes:
        rooms: of bytes that are known.
        coming: of bytes whose order is open.
        spans: positions, first and last, of each of them.
    """

    item: str
    rooms: list[Room] = field(default_factory=list)
    coming: list[Coming] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)
    wraps: bool = False

    @property
    def low(self) -> int:
        return min(*(r.low for r in self.rooms), *(c.low for c in self.coming), 1 << 62, 1 << 62)

    @property
    def high(self) -> int:
        return max(*(r.high for r in self.rooms), *(c.low + c.total for c in self.coming), 0, 0)

    @property
    def nbytes(self) -> int:
        return self.high - self.low

    @property
    def length(self) -> int:
        """Positions."""
        return len({p for a, b in self.spans for p in range(a, b + 1)})

    def begin(self, positions: int) -> int:
        """Where it begins; what wraps, towards the end of the period before."""
        if not self.wraps:
            return self.first
        found = positions
        for a, b in sorted(self.spans, key=lambda s: -s[1]):
            found = min(found, a) if b >= found - 1 else found
        return found

    @property
    def first(self) -> int:
        return min(a for a, _ in self.spans)

    @property
    def last(self) -> int:
        return max(b for _, b in self.spans)


@dataclass
class Layout:
    """What was found for a tier.

    Attributes:
        rooms: all of it, with addresses.
        boxes: the same, and workspaces of steps.
        settled: how what comes to stay does so.
        beyond: stays that end beyond the tier.
        reach: bytes over which all stays spread.
        order: items and ends of stays as first fit took them.
    """

    rooms: list[Room] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    settled: list[tuple[Coming, Settled]] = field(default_factory=list)
    beyond: list[int] = field(default_factory=list)
    reach: int = 0
    order: list[tuple[str, int]] = field(default_factory=list)

    @property
    def late(self) -> float:
        """Seconds."""
        return sum(s.late for _, s in self.settled)


def laid(
    dealt: Dealt,
    tier: str,
    free: int,
    orders: Mapping[int, Sequence[Span]],
    before: Sequence[tuple[str, int]] = (),
    *,
    leaps: bool = False,
) -> Layout:
    """Addresses of all that stays in a tier, and how what comes to stay does so: later where it had no room yet.

    Args:
        dealt: what stays and moves.
        tier: which.
        free: its bytes beside what is at home there.
        orders: by carriage, those that are settled.
        before: the order of an earlier layout, which is tried first.
        leaps: what was hindered is taken first of all the next time, and not just somewhat earlier.

    Returns:
        The best layout that was found, without what passes; where it goes beyond the tier there is none.
    """
    stays = stays_of(dealt, tier, orders)
    best: Layout | None = None
    tries = max(FEWEST, min(TRIES, EFFORT // max(1, len(stays) ** 2)))
    keys = KEYS if leaps else _keys(stays, dealt.problem.positions)
    for key in (*([_as_before(before, dealt.problem.positions)] if before else []), *keys):
        hindrances = [0] * len(stays)
        order = sorted(range(len(stays)), key=lambda k: key(stays[k], 0))
        for _ in range(tries):
            found, hindered = _first_fit(dealt.problem, tier, [stays[k] for k in order], free)
            if best is None or _worth(found) < _worth(best):
                best = found
            if not hindered:
                return found
            late = {order[n] for n in hindered}
            for k in late:
                hindrances[k] += 1
            if leaps:
                order.sort(key=lambda k: k not in late)
            else:
                order.sort(key=lambda k: key(stays[k], hindrances[k]))
    assert best is not None
    return best


Key = Callable[[Stay, int], tuple[int, ...]]
"""Of a stay, and of how often it was hindered."""


def _as_before(before: Sequence[tuple[str, int]], positions: int) -> Key:
    """As an earlier layout took stays."""
    rank = {name: n for n, name in enumerate(before)}
    return lambda s, n: (s.length < positions, rank.get((s.item, s.last), len(rank)) - AHEAD * n)


def _keys(stays: Sequence[Stay], positions: int) -> Iterator[Key]:
    """By when stays begin, counted from where fewest are; by size, and length. What is always there comes first, and
    what was hindered earlier than others."""
    live = [0] * positions
    for stay in stays:
        for p in {p for a, b in stay.spans for p in range(a, b + 1)}:
            live[p] += 1
    cuts = sorted(range(positions), key=lambda p: (live[p], p))[:CUTS]
    for cut in dict.fromkeys([0, *cuts]):
        yield partial(_since_cut, cut, positions)
    yield lambda s, n: (s.length < positions, -n, -s.nbytes, s.first)
    yield lambda s, n: (-s.length, -n, -s.nbytes)


def _since_cut(cut: int, positions: int, stay: Stay, hindered: int) -> tuple[int, ...]:
    return stay.length < positions, (stay.begin(positions) - cut) % positions - AHEAD * hindered, -stay.nbytes


KEYS: tuple[Key, ...] = (
    lambda s, n: (-s.length, -s.nbytes) if s.wraps else (1, s.first, -s.nbytes),
    lambda s, n: (-s.length, -s.nbytes) if s.wraps else (1, -s.nbytes, s.first),
    lambda s, n: (-s.length, -s.nbytes),
    lambda s, n: (-s.length, -s.nbytes) if s.wraps else (1, -s.last, -s.nbytes),
)
"""What is there over the end of a period by its length, the others by start, size, length or end."""


def _worth(layout: Layout) -> tuple[int, int, float]:
    return len(layout.beyond), (layout.reach if layout.beyond else 0), layout.late



# -- what stays ------------------------------------------------------------------------------------------------------


def stays_of(dealt: Dealt, tier: str, orders: Mapping[int, Sequence[Span]]) -> list[Stay]:
    """All stays in a tier, workspaces of steps among them."""
    problem = dealt.problem
    parts: list[tuple[str, int, int, Room | Coming]] = []
    for room in dealt.staying:
        if room.tier == tier:
            parts.append((room.item, room.first, room.last, room))
    for number, carriage in enumerate(dealt.carriages):
        parts += _parts(problem, number, carriage, tier, orders.get(number, ()))
    found: list[Stay] = []
    by_item: dict[str, list[Stay]] = {}
    for item, first, last, what in sorted(parts, key=lambda p: p[:3]):
        mine = by_item.setdefault(item, [])
        if not mine or first > mine[-1].last + 1:
            mine.append(Stay(item))
            found.append(mine[-1])
        _join(mine[-1], what, first, last)
    for mine in by_item.values() if problem.periodic else ():
        if mine[0].first == 0 and mine[-1].last == problem.positions - 1:
            mine[0].wraps = True
            if len(mine) > 1:
                for span, what in _contents(mine[-1]):
                    _join(mine[0], what, *span)
                found.remove(mine[-1])
    return [*found, *_workspaces(dealt, tier)]


def _join(stay: Stay, what: Room | Coming, first: int, last: int) -> None:
    stay.spans.append((first, last))
    if isinstance(what, Room):
        stay.rooms.append(what)
    elif what not in stay.coming:
        stay.coming.append(what)


def _contents(stay: Stay) -> Iterator[tuple[Span, Room | Coming]]:
    for room in stay.rooms:
        yield (room.first, room.last), room
    for coming in stay.coming:
        for span in stay.spans:
            yield span, coming


def _parts(
    problem: TierProblem, number: int, carriage: Carriage, tier: str, order: Sequence[Span]
) -> Iterator[tuple[str, int, int, Room | Coming]]:
    """What a carriage has in a tier to stay, or to leave from where a step has had it."""
    item, job, positions = carriage.item, carriage.job, problem.positions
    if tier == problem.items[item].home:
        return
    for i, (at, passed) in enumerate(zip(carriage.way.route, carriage.passed, strict=True)):
        if at != tier or (passed and i):
            continue
        pieces = carriage.places(order)[i]
        if not pieces:
            continue
        if carriage.way.moved:
            for room in (r for p in pieces for r in rooms_of(problem, item, tier, p)):
                yield item, room.first, room.last, room
            continue
        arrivals = [(p.first, p.high - p.low) for p in carriage.places()[i]]
        slowest = max(1 / problem.by_link[name].bandwidth for name in carriage.links)
        coming = Coming(number, i - 1, job.low, arrivals, job.end - 1, order, slowest)
        for first, last in within_period(pieces[0].first, job.end - 1, positions):
            yield item, first, last, coming


def _workspaces(dealt: Dealt, tier: str) -> Iterator[Stay]:
    problem = dealt.problem
    for s, (step, name) in enumerate(zip(problem.framed, dealt.choices, strict=True)):
        needed = next(c for c in step.choices if c.name == name).workspace.get(tier, 0)
        if needed:
            p = problem.position(s)
            yield Stay("", [Room("", tier, 0, needed, p, p)], [], [(p, p)])


# -- where it lies ---------------------------------------------------------------------------------------------------


def _first_fit(problem: TierProblem, tier: str, stays: Sequence[Stay], free: int) -> tuple[Layout, list[int]]:
    """For one stay after the other the lowest address of those at which its bytes are least late.

    Returns:
        The layout, and the numbers of stays that end beyond what is free, or are late.
    """
    layout, hindered = Layout(), []
    layout.order = [(s.item, s.last) for s in stays]
    for number, stay in enumerate(stays):
        near = [b for b in layout.boxes if any(b.first <= last and first <= b.last for first, last in stay.spans)]
        address, settled = _best(problem, stay, near, free)
        base = address - stay.low
        rooms = [Room(r.item, tier, r.low, r.high, r.first, r.last, base + r.low) for r in stay.rooms]
        for coming, how in zip(stay.coming, settled, strict=True):
            layout.settled.append((coming, how))
            rooms += _arriving(problem, stay.item, tier, coming, how, base)
        layout.rooms += [r for r in rooms if r.item]
        layout.boxes += [Box(r.first, r.last, r.address or 0, (r.address or 0) + r.high - r.low) for r in rooms]
        layout.reach = max(layout.reach, address + stay.nbytes)
        if address + stay.nbytes > free:
            layout.beyond.append(number)
        if address + stay.nbytes > free or any(s.late for s in settled):
            hindered.append(number)
    return layout, hindered


def _best(problem: TierProblem, stay: Stay, near: Sequence[Box], free: int) -> tuple[int, list[Settled]]:
    """The address at which what comes is least late; above all that is taken where there is no other."""
    found: tuple[int, list[Settled]] | None = None
    least = inf
    *inside, above = _candidates(stay, near, free)
    for address in inside:
        settled = _fits(problem, stay, address, near)
        late = inf if settled is None else sum(s.late for s in settled)
        if settled is not None and late < least:
            found, least = (address, settled), late
        if not least:
            break
    settled = _fits(problem, stay, above, near) if found is None else None
    assert found is not None or settled is not None  # above all there is room at once
    return found or (above, settled or [])


def _candidates(stay: Stay, near: Sequence[Box], free: int) -> list[int]:
    """Addresses beside what is taken meanwhile and at both ends of what is free; then, in any case, above all of it."""
    n = stay.nbytes
    found = {0, free - n, *(b.end for b in near), *(b.start - n for b in near)}
    inside = sorted(a for a in found if 0 <= a <= free - n)
    return [*inside, max([free - n + 1, 0, *(b.end for b in near)])]


def _fits(problem: TierProblem, stay: Stay, address: int, near: Sequence[Box]) -> list[Settled] | None:
    """How all that comes to a stay does so, if that can lie at an address."""
    base, end = address - stay.low, address + stay.nbytes
    over = [b for b in near if b.start < end and address < b.end]
    for r in stay.rooms:
        low, high = base + r.low, base + r.high
        if any(b.first <= r.last and r.first <= b.last and b.start < high and low < b.end for b in over):
            return None
    found = []
    for coming in stay.coming:
        settled = _settled(problem, coming, base, over)
        if settled is None:
            return None
        found.append(settled)
    return found


def _settled(problem: TierProblem, coming: Coming, base: int, over: Sequence[Box]) -> Settled | None:
    """What comes in its order, or those bytes first that have room first; none of them before it has."""
    parts = _since(problem, coming, base, over)
    if not coming.order:
        parts.sort()
    since = list(accumulate((p[0] for p in parts), max))
    if since[-1] > coming.until:
        return None
    wanted = dict(coming.arrivals)
    arrivals: list[tuple[int, int]] = []
    due = there = come = late = ready = 0
    for position in sorted({*wanted, *(p for p in since if p > coming.arrivals[0][0])}):
        due += wanted.get(position, 0)
        while ready < len(parts) and since[ready] <= position:
            there += parts[ready][2] - parts[ready][1]
            ready += 1
        if min(due, there) > come:
            arrivals.append((position, min(due, there) - come))
            come = min(due, there)
        late = max(late, due - come)
    return Settled(_joined((a, b) for _, a, b in parts), arrivals, late * coming.seconds_per_byte)


def _since(problem: TierProblem, coming: Coming, base: int, over: Sequence[Box]) -> list[tuple[int, int, int]]:
    """Position from which on there is room for bytes that come, with the first of them and the one behind the last."""
    low, high, begin = coming.low, coming.low + coming.total, coming.arrivals[0][0]
    busy = [(b, end) for b in over if (end := _busy_until(b, begin, coming.until, problem)) >= begin]
    ends = {x - base for b, _ in busy for x in (b.start, b.end)}
    found = []
    for first, last in coming.order or [(low, high)]:
        for a, b in pairwise(sorted({first, last, *(x for x in ends if first < x < last)})):
            since = max((end + 1 for box, end in busy if box.start < base + b and base + a < box.end), default=begin)
            found.append((since, a, b))
    return found


def _busy_until(box: Box, begin: int, end: int, problem: TierProblem) -> int:
    """The last position of a window, counted on through the periods, at which a box is there; before it for none."""
    found = begin - 1
    turn = box.first + (begin - box.last + problem.positions - 1) // problem.positions * problem.positions
    while turn <= end:
        found = min(end, turn + box.last - box.first)
        turn += problem.positions
    return found


def _joined(spans: Iterator[Span]) -> list[Span]:
    found: list[Span] = []
    for low, high in spans:
        if found and found[-1][1] == low:
            found[-1] = found[-1][0], high
        else:
            found.append((low, high))
    return found


def _arriving(
    problem: TierProblem, item: str, tier: str, coming: Coming, how: Settled, base: int
) -> list[Room]:
    """Rooms of what comes, each byte from when it comes."""
    found = []
    waiting = list(how.order)
    for position, n in how.arrivals:
        while n:
            low, high = waiting.pop(0)
            cut = min(high, low + n)
            found += rooms_of(problem, item, tier, Piece(low, cut, position, coming.until), base + low)
            n -= cut - low
            if cut < high:
                waiting.insert(0, (cut, high))
    return found


# -- what passes -----------------------------------------------------------------------------------------------------


def passing(
    dealt: Dealt, tier: str, free: int, orders: Mapping[int, Sequence[Span]], taken: Sequence[Box]
) -> tuple[list[Room], int]:
    """Rooms of all that passes through a tier, beside what is taken, and the bytes for which there was none."""
    problem, boxes = dealt.problem, list(taken)
    pieces: list[tuple[Piece, str]] = []
    for number, carriage in enumerate(dealt.carriages):
        if problem.items[carriage.item].home == tier:
            continue
        places = carriage.places(orders.get(number, ()))
        for i, (at, passed) in enumerate(zip(carriage.way.route, carriage.passed, strict=True)):
            pieces += [(p, carriage.item) for p in places[i] if at == tier and passed and i]
    found: list[Room] = []
    missing = 0
    for piece, item in sorted(pieces, key=lambda p: (p[0].first, -p[0].last, p[1], p[0].low)):
        low = piece.low
        for start, end in _holes(within_period(piece.first, piece.last, problem.positions), boxes, free):
            n = min(end - start, piece.high - low)
            rooms = rooms_of(problem, item, tier, Piece(low, low + n, piece.first, piece.last), start)
            found += rooms
            boxes += [Box(r.first, r.last, start, start + n) for r in rooms]
            low += n
            if low == piece.high:
                break
        missing += piece.high - low
    return found, missing


def _holes(spans: Sequence[tuple[int, int]], boxes: Sequence[Box], free: int) -> Iterator[Span]:
    """Addresses that are free all through some positions."""
    reach = 0
    meanwhile = [(b.start, b.end) for b in boxes if any(b.first <= last and first <= b.last for first, last in spans)]
    for start, end in sorted([*meanwhile, (free, free)]):
        if reach < min(start, free):
            yield reach, min(start, free)
        reach = max(reach, end)
