"""From the values of a placement's program to a plan: flows are dealt out to items, earliest need first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

from ....mapping.tiers.plan import Room, TierPlan, Transfer
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

    def steps(self, link: int) -> dict[int, float]:
        """Bytes that cross a link, by positions since the step before."""
        found: dict[int, float] = {}
        done = 0.0
        for p, crossed in self.crossed[link]:
            found[p - self.start] = found.get(p - self.start, 0.0) + crossed - done
            done = crossed
        return found


def plan_of(model: TierModel, values: Sequence[float]) -> TierPlan:
    """The plan of a solution.

    Raises:
        Unserved: the flows of several gaps serve them together, but not each of them.
    """
    extraction = _Extraction(model, values)
    extraction.moves()
    extraction.copies()
    names = []
    for s, (step, bits) in enumerate(zip(model.steps, model.chosen, strict=True)):
        choice = max(zip(bits, step.choices, strict=True), key=lambda pair: values[pair[0]])[1]
        names.append(choice.name)
        p = model.problem.position(s)
        for item, tier in choice.touches.items():
            extraction.room(item, tier, (0, model.problem.items[item].nbytes), p, p)
    rooms = sorted(set(extraction.rooms), key=lambda r: (r.first, r.item, r.tier, r.low, r.last))
    transfers = sorted(set(extraction.transfers), key=lambda t: (t.position, t.item, t.link, t.low))
    return TierPlan(model.problem.name, tuple(names), tuple(rooms), tuple(transfers))


class _Extraction:
    def __init__(self, model: TierModel, values: Sequence[float]) -> None:
        self.model, self.values, self.positions = model, values, model.positions
        self.rooms: list[Room] = []
        self.transfers: list[Transfer] = []
        self.slack = 64 + 4 * TINY * model.unit * 64
        """Bytes of a flow that are rounding."""
        self.shares = self._shares()
        self.spans = [self._spans(g, gap) for g, gap in enumerate(model.gaps)]

    def room(self, item: str, tier: str, span: Span, first: int, last: int) -> None:
        """Room from one position to another, counted on through the periods."""
        if span[0] >= span[1] or last < first or tier == self.model.problem.items[item].home:
            return
        count = self.positions
        ends = [(0, count - 1)] if last - first + 1 >= count else [(first % count, last % count)]
        if ends[0][0] > ends[0][1]:
            ends = [(ends[0][0], count - 1), (0, ends[0][1])]
        self.rooms += [Room(item, tier, *span, a, b) for a, b in ends]

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

    def moves(self) -> None:
        unserved: list[tuple[int, Way]] = []
        for flow in self.model.flows:
            jobs, failed = self._dealt(flow)
            unserved += [(g, flow.way) for g in failed]
            for job in jobs:
                self._emit(flow.way, job)
        if unserved:
            raise Unserved(unserved)

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

    def _emit(self, way: Way, job: Job) -> None:
        """Transfers of a job, and rooms on its way."""
        name = self.model.gaps[job.gap].item.name
        crossings = [_pieces(job, i) for i in range(len(job.crossed))]
        for link, pieces in zip(self.model.network.hops(way), crossings, strict=True):
            for p, low, high in pieces:
                self.transfers.append(Transfer(name, link.name, p % self.positions, low, high))
        whole = (job.low, job.low + job.total)
        for i, tier in enumerate(way.route):
            arrivals = crossings[i - 1] if i else [(job.start + 1, *whole)] if way.moved else []
            stays = i == len(crossings) or (tier in way.kept and way.route.index(tier) == i)
            departures = [(job.end - 1, *whole)] if stays else crossings[i]
            for first, a, b in arrivals:
                for last, c, d in departures:
                    self.room(name, tier, (max(a, c), min(b, d)), first, last)


def _pieces(job: Job, link: int) -> list[tuple[int, int, int]]:
    """Position and bytes of what crosses a link, in whole bytes."""
    found = []
    done = 0
    for p, crossed in job.crossed[link]:
        if round(crossed) > done:
            found.append((p, job.low + done, job.low + round(crossed)))
            done = round(crossed)
    return found


def _alike(a: Job, b: Job, slack: float) -> bool:
    """Whether two periods serve a gap in the same way, but for a few bytes."""
    pairs = [(a.steps(i), b.steps(i)) for i in range(len(a.crossed))]
    return all(abs(x.get(p, 0.0) - y.get(p, 0.0)) <= slack for x, y in pairs for p in x | y)


def _without(hole: Span, taken: Span) -> list[Span]:
    parts = [(hole[0], min(hole[1], taken[0])), (max(hole[0], taken[1]), hole[1])]
    return [p for p in parts if p[0] < p[1]] if taken[0] < taken[1] else [hole]
