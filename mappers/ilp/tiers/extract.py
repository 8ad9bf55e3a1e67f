"""From the values of a placement's program to a plan: flows are dealt out to items, earliest need first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import accumulate

from ....mapping.tiers.plan import Room, TierPlan, Transfer
from ....mapping.tiers.problem import TierProblem
from .model import Flow, TierModel
from .ways import Gap, Way

TINY = 1e-6
"""Parts of an item below this are a solver's rounding."""
PERIODS = 6
"""Periods over which flows of a periodic placement are dealt out until they repeat."""

Span = tuple[int, int]


class Unserved(Exception):
    """Flows that serve several gaps together but not each of them: gaps and ways that need flows of their own."""

    def __init__(self, jobs: Sequence[tuple[int, Way]]) -> None:
        super().__init__(f"{len(jobs)} gaps")
        self.jobs = tuple(jobs)


@dataclass
class Job:
    """One gap's share of a flow.

    Attributes:
        gap: its number.
        low, total: its first byte, and bytes.
        start, end: positions of the steps before and after, counted on through the periods.
        crossed: by link, positions with the bytes that have crossed after them.
    """

    gap: int
    low: int
    total: int
    start: int
    end: int
    crossed: list[list[tuple[int, float]]] = field(default_factory=list)

    def over(self, link: int) -> float:
        """Bytes that have crossed a link."""
        return self.crossed[link][-1][1] if self.crossed[link] else 0.0

    def gather(self, few: float) -> None:
        """Have bytes that cross alone, and are no more than a solver's rounding, cross with those behind them."""
        later: list[tuple[int, float]] = []
        for link in reversed(range(len(self.crossed))):
            kept: list[tuple[int, float]] = []
            entries = self.crossed[link]
            for n, (p, crossed) in enumerate(entries[:-1]):
                before = kept[-1][1] if kept else 0.0
                sent_on = max((c for q, c in later if q < entries[n + 1][0]), default=0.0)
                if crossed - before > few or sent_on > before:
                    kept.append((p, crossed))
            self.crossed[link] = later = [*kept, *entries[-1:]]

    def steps(self, link: int) -> dict[int, float]:
        """Bytes that cross a link, by positions since the step before."""
        found: dict[int, float] = {}
        done = 0.0
        for p, crossed in self.crossed[link]:
            found[p - self.start] = found.get(p - self.start, 0.0) + crossed - done
            done = crossed
        return found


@dataclass(frozen=True)
class Piece:
    """Bytes of an item somewhere, or over a link, from one position to another, counted on through the periods."""

    low: int
    high: int
    first: int
    last: int


@dataclass(frozen=True, eq=False)
class Carriage:
    """One item on its way, or a part of it: how many bytes cross each link when, whichever these are.

    Attributes:
        links: names of the links of its way.
        passed: by tier of the way, whether nothing of it stays there when it has moved on.
    """

    item: str
    way: Way
    links: tuple[str, ...]
    job: Job

    @property
    def passed(self) -> list[bool]:
        final, way = len(self.links), self.way
        return [i < final and not (tier in way.kept and way.route.index(tier) == i) for i, tier in enumerate(way.route)]

    def crossings(self, order: Sequence[Span] = ()) -> list[list[Piece]]:
        """By link, which bytes cross it when, if they move in this order; else from first to last."""
        order = order or ((self.job.low, self.job.low + self.job.total),)
        return [list(_pieces(self.job, i, order)) for i in range(len(self.links))]

    def places(self, order: Sequence[Span] = ()) -> list[list[Piece]]:
        """By tier of its way, which bytes are there from when to when; where copies begin there are none."""
        job, crossings = self.job, self.crossings(order)
        whole = Piece(job.low, job.low + job.total, job.start + 1, job.end - 1)
        found: list[list[Piece]] = []
        for i, passed in enumerate(self.passed):
            arrivals = crossings[i - 1] if i else [whole] if self.way.moved else []
            departures = crossings[i] if passed else [whole]
            both = ((a, d, max(a.low, d.low), min(a.high, d.high)) for a in arrivals for d in departures)
            found.append([Piece(low, high, a.first, d.last) for a, d, low, high in both if low < high])
        return found


@dataclass(frozen=True)
class Dealt:
    """What a solution comes to, but for which bytes of an item move first.

    Attributes:
        choices: of the steps, by name.
        staying: rooms of what steps touch, and of copies that stay.
        carriages: all that moves.
    """

    problem: TierProblem
    choices: tuple[str, ...]
    staying: tuple[Room, ...]
    carriages: tuple[Carriage, ...]

    def plan(self) -> TierPlan:
        """The plan in which items move from their first byte to the last, without addresses."""
        rooms, transfers = list(self.staying), list[Transfer]()
        for carriage in self.carriages:
            for tier, pieces in zip(carriage.way.route, carriage.places(), strict=True):
                rooms += [r for p in pieces for r in rooms_of(self.problem, carriage.item, tier, p)]
            transfers += carried(self.problem, carriage)
        return plan_of(self, rooms, transfers)


def plan_of(dealt: Dealt, rooms: Iterable[Room], transfers: Iterable[Transfer]) -> TierPlan:
    """A plan of rooms and transfers, each once and in order."""
    placed = sorted(set(rooms), key=lambda r: (r.first, r.item, r.tier, r.low, r.last))
    moved = sorted(set(transfers), key=lambda t: (t.position, t.item, t.link, t.low))
    return TierPlan(dealt.problem.name, dealt.choices, tuple(placed), tuple(moved))


def carried(problem: TierProblem, carriage: Carriage, order: Sequence[Span] = ()) -> Iterator[Transfer]:
    """Transfers of a carriage."""
    for link, pieces in zip(carriage.links, carriage.crossings(order), strict=True):
        for p in pieces:
            yield Transfer(carriage.item, link, p.first % problem.positions, p.low, p.high)


def rooms_of(problem: TierProblem, item: str, tier: str, piece: Piece, address: int | None = None) -> list[Room]:
    """Rooms of a piece in a tier: two where it lasts into the next period, and none at home."""
    if piece.low >= piece.high or tier == problem.items[item].home:
        return []
    spans = within_period(piece.first, piece.last, problem.positions)
    return [Room(item, tier, piece.low, piece.high, a, b, address) for a, b in spans]


def within_period(first: int, last: int, positions: int) -> list[tuple[int, int]]:
    """Positions of a period that some positions, counted on through the periods, are."""
    if last < first:
        return []
    if last - first + 1 >= positions:
        return [(0, positions - 1)]
    a, b = first % positions, last % positions
    return [(a, b)] if a <= b else [(a, positions - 1), (0, b)]


def dealt(model: TierModel, values: Sequence[float]) -> Dealt:
    """What moves and what stays by a solution.

    Raises:
        Unserved: the flows of several gaps serve them together, but not each of them.
    """
    extraction = _Extraction(model, values)
    carriages = extraction.moves()
    extraction.copies()
    names = []
    for s, (step, bits) in enumerate(zip(model.steps, model.chosen, strict=True)):
        choice = max(zip(bits, step.choices, strict=True), key=lambda pair: values[pair[0]])[1]
        names.append(choice.name)
        p = model.problem.position(s)
        for item, tier in choice.touches.items():
            extraction.room(item, tier, (0, model.problem.items[item].nbytes), p, p)
    staying = tuple(dict.fromkeys(extraction.rooms))
    return Dealt(model.problem, tuple(names), staying, tuple(carriages))


class _Extraction:
    def __init__(self, model: TierModel, values: Sequence[float]) -> None:
        self.model, self.values, self.positions = model, values, model.positions
        self.rooms: list[Room] = []
        self.few = 4 * TINY * model.unit * 64
        """Bytes that may be a solver's rounding."""
        self.slack = 64 + self.few
        """Bytes of a flow that are rounding."""
        self.shares = self._shares()
        self.spans = [self._spans(g, gap) for g, gap in enumerate(model.gaps)]

    def room(self, item: str, tier: str, span: Span, first: int, last: int) -> None:
        """Room from one position to another, counted on through the periods."""
        self.rooms += rooms_of(self.model.problem, item, tier, Piece(*span, first, last))

    # -- which bytes go which way -------------------------------------------------------------------------------------

    def _shares(self) -> dict[tuple[str, str], Span]:
        """Bytes of split items that stay in a tier that no step has them in, one tier after the other."""
        found: dict[tuple[str, str], Span] = {}
        reach: dict[str, int] = {}
        for (g, tier), copy in self.model.held.items():
            gap = self.model.gaps[g]
            name = gap.item.name
            if not gap.item.split or tier in self._touched(gap) or (name, tier) in found:
                continue
            low = reach.get(name, 0)
            reach[name] = min(gap.item.nbytes, low + round(self.values[copy] * gap.item.nbytes))
            found[name, tier] = low, reach[name]
        return found

    def _touched(self, gap: Gap) -> set[str]:
        return {*(gap.before.touched if gap.before else ()), *gap.after.touched}

    def _spans(self, g: int, gap: Gap) -> dict[Way, list[Span]]:
        """Bytes by way: what stays with a step last, shares of split items where they are, the rest in between."""
        nbytes = gap.item.nbytes
        parts = {w: self.values[v] for w, v in self.model.parts[g].items() if self.values[v] > TINY}
        scale = sum(parts.values())
        sizes = {w: round(p / scale * nbytes) for w, p in parts.items()}
        staying = [w for w in parts if len(w.route) == 1]
        fixed = [w for w in parts if len(w.route) > 1 and not w.moved and (gap.item.name, w.route[0]) in self.shares]
        found: dict[Way, list[Span]] = {}
        end = nbytes
        for way in staying:
            found[way] = [(max(0, end - sizes[way]), end)]
            end = found[way][0][0]
        holes = [(0, end)]
        for way in fixed:
            low = self.shares[gap.item.name, way.route[0]][0]
            found[way] = [(low, min(low + sizes[way], end, self.shares[gap.item.name, way.route[0]][1]))]
            holes = [s for hole in holes for s in _without(hole, found[way][0])]
        others = [w for w in parts if w not in found]
        for number, way in enumerate(others):
            wanted = sizes[way] if number < len(others) - 1 else nbytes
            found[way] = []
            while holes and wanted > 0:
                low, high = holes.pop(0)
                cut = min(high, low + wanted)
                found[way].append((low, cut))
                wanted -= cut - low
                holes = [(cut, high), *holes] if cut < high else holes
        return found

    # -- what stays ---------------------------------------------------------------------------------------------------

    def copies(self) -> None:
        """Rooms of copies that stay over gaps."""
        for (g, tier), copy in self.model.held.items():
            gap = self.model.gaps[g]
            last = gap.end + (self.positions if gap.wraps else 0)
            part, nbytes, name = self.values[copy], gap.item.nbytes, gap.item.name
            if gap.item.split and (name, tier) in self.shares:
                self.room(name, tier, self.shares[name, tier], gap.start, last)
            elif gap.item.split:
                for span in self.spans[g].get(Way((tier,)), ()):
                    self.room(name, tier, span, gap.start, last)
            elif part > 0.5:
                self.room(name, tier, (0, nbytes), gap.start, last)

    # -- what moves ---------------------------------------------------------------------------------------------------

    def moves(self) -> list[Carriage]:
        """All that moves, each job of a flow once."""
        found: list[Carriage] = []
        unserved: list[tuple[int, Way]] = []
        for flow in self.model.flows:
            jobs, failed = self._dealt(flow)
            unserved += [(g, flow.way) for g in failed]
            for job in jobs:
                job.gather(self.few)
            links = tuple(link.name for link in self.model.network.hops(flow.way))
            found += [Carriage(self.model.gaps[job.gap].item.name, flow.way, links, job) for job in jobs]
        if unserved:
            raise Unserved(unserved)
        return found

    def _dealt(self, flow: Flow) -> tuple[list[Job], list[int]]:
        """The jobs of a flow, served, and gaps that it does not serve."""
        periodic = self.model.problem.periodic
        periods = PERIODS if periodic else 1
        rows = [self._jobs(flow, k * self.positions) for k in range(periods)]
        if periodic:
            rows[0] = [job for job in rows[0] if job.end > self.positions]
            self._begin(flow, rows[0])
        self._serve(flow, [job for row in rows for job in row])
        if not periodic:
            return rows[0], [job.gap for job in rows[0] if not self._complete(job)]
        kept, before = rows[-2], rows[-3]
        failed = [
            job.gap for job, other in zip(kept, before, strict=True)
            if not self._complete(job) or not _alike(job, other, self.slack)
        ]  # fmt: skip
        return kept, list(dict.fromkeys(failed))

    def _jobs(self, flow: Flow, offset: int) -> list[Job]:
        found = []
        for g, _ in flow.jobs:
            gap = self.model.gaps[g]
            end = gap.end + (self.positions if gap.wraps else 0)
            for low, high in self.spans[g].get(flow.way, ()):
                crossed: list[list[tuple[int, float]]] = [[] for _ in flow.sent]
                found.append(Job(g, low, high - low, gap.start + offset, end + offset, crossed))
        return found

    def _begin(self, flow: Flow, jobs: Sequence[Job]) -> None:
        """What of the jobs that last into the next period has crossed which links before it, earliest need first."""
        last = self.positions - 1
        ordered = sorted(jobs, key=lambda job: job.end)
        for link in reversed(range(len(flow.sent))):
            ahead = [self.values[stock[last]] for stock in flow.stock[link + 1 :] if last in stock]
            amount = sum(ahead) * self.model.unit
            for job in ordered:
                step = min(amount, job.total)
                amount -= step
                if step > 0:
                    job.crossed[link].append((last, step))

    def _serve(self, flow: Flow, jobs: Sequence[Job]) -> None:
        """Deal the bytes that cross each link at each position out to the jobs that are there, earliest need first."""
        opening: dict[int, list[int]] = {}
        first = self.positions if self.model.problem.periodic else 0
        waiting: list[list[tuple[int, int]]] = [[] for _ in flow.sent]
        for number, job in enumerate(jobs):
            opening.setdefault(max(first, job.start + 1), []).append(number)
            for i in range(1, len(flow.sent)):
                if job.over(i - 1) > job.over(i):
                    heappush(waiting[i], (job.end, number))
        last = max((job.end for job in jobs), default=0)
        for p in range(first, last):
            for number in opening.get(p, ()):
                heappush(waiting[0], (jobs[number].end, number))
            for i, sent in enumerate(flow.sent):
                variable = sent.get(p % self.positions)
                amount = self.values[variable] * self.model.unit if variable is not None else 0.0
                while amount > 0 and waiting[i]:
                    end, number = waiting[i][0]
                    job = jobs[number]
                    there = (job.over(i - 1) if i else job.total) - job.over(i)
                    if there <= 0 or end <= p:
                        heappop(waiting[i])
                        continue
                    step = min(amount, there)
                    job.crossed[i].append((p, job.over(i) + step))
                    amount -= step
                    if i + 1 < len(flow.sent):
                        heappush(waiting[i + 1], (end, number))
                    if step == there:
                        heappop(waiting[i])

    def _complete(self, job: Job) -> bool:
        """Whether all bytes of a job have crossed; a rounded few are moved at the last position that can."""
        links = len(job.crossed)
        if any(job.total - job.over(i) > self.slack for i in range(links)):
            return False
        for i in range(links):
            if job.over(i) < job.total:
                job.crossed[i].append((job.end - 1, float(job.total)))
        return True


def _pieces(job: Job, link: int, order: Sequence[Span]) -> Iterator[Piece]:
    """What crosses a link of a job when, in whole bytes, in an order of its bytes."""
    ends = list(accumulate(high - low for low, high in order))
    done = 0
    for p, crossed in job.crossed[link]:
        for (low, high), end in zip(order, ends, strict=True):
            begin = end - (high - low)
            a, b = max(done, begin), min(round(crossed), end)
            if a < b:
                yield Piece(low + a - begin, low + b - begin, p, p)
        done = max(done, round(crossed))


def _alike(a: Job, b: Job, slack: float) -> bool:
    """Whether two periods serve a gap in the same way, but for a few bytes."""
    pairs = [(a.steps(i), b.steps(i)) for i in range(len(a.crossed))]
    return all(abs(x.get(p, 0.0) - y.get(p, 0.0)) <= slack for x, y in pairs for p in x | y)


def _without(hole: Span, taken: Span) -> list[Span]:
    parts = [(hole[0], min(hole[1], taken[0])), (max(hole[0], taken[1]), hole[1])]
    return [p for p in parts if p[0] < p[1]] if taken[0] < taken[1] else [hole]
