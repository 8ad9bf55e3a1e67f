"""The mixed linear program of a placement: what is kept over each gap, and how many bytes cross each link when.

Copies that stay over a gap are 0/1 variables. What moves is not followed item by item: all gaps that take the same way
share one flow, whose bytes per link and position are continuous, with what they may leave from (no earlier than the
step before) and must arrive for (before the step after). Flows are dealt out to items afterwards, earliest need first
(`extract`); a gap that cannot be served so gets a flow of its own, and the program is solved again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ....errors import BadInput, DoesNotFit
from ....mapping.tiers.problem import Choice, TierProblem
from .program import MixedProgram
from .ways import Network, Use, Way, copies_of, gaps_of, ways_of

Expression = list[tuple[int, float]]


@dataclass(frozen=True)
class Aim:
    """What a plan costs: a weighted sum of its seconds, joules and bytes over links.

    Attributes:
        name: for the claim.
        seconds, joules, nbytes: weights.
        links: those whose bytes count; None for all.
    """

    name: str
    seconds: float = 0.0
    joules: float = 0.0
    nbytes: float = 0.0
    links: frozenset[str] | None = None

    def __post_init__(self) -> None:
        if min(self.seconds, self.joules, self.nbytes) < 0 or not self.seconds + self.joules + self.nbytes > 0:
            raise BadInput(f"objective {self.name}: weights are 0 or more, and not all 0")


MARGIN = 1000
"""Share of a tier that is left free at most for the rounding of flows to bytes."""
LATENCY, ENERGY, BYTES = Aim("latency", seconds=1.0), Aim("energy", joules=1.0), Aim("bytes", nbytes=1.0)


@dataclass
class Flow:
    """Bytes that take one way, for all gaps that do or for one of them."""

    way: Way
    jobs: list[tuple[int, int]]
    """Gaps, and the variable of each that says which part of its item comes this way."""
    sent: list[dict[int, int]]
    """By link of the way: position to the variable of bytes sent."""
    stock: list[dict[int, int]]
    """By tier of the way: position to the variable of bytes that lie there when it ends."""


@dataclass(frozen=True)
class Within:
    """What there is room for beside addresses that were found.

    Attributes:
        most: of a gap's flow of its own, bytes that have come to a tier of its way after a position.
        less: bytes of tiers that cannot be used.
    """

    most: Mapping[tuple[int, Way], Mapping[tuple[int, int], int]] = field(default_factory=dict)
    less: Mapping[str, int] = field(default_factory=dict)


class TierModel:
    """Variables and rows of a problem.

    Args:
        problem: what is placed.
        alone: (gap, way) pairs that get a flow of their own.
        margin: bytes by which tiers count as smaller where something moves, for the rounding of flows.
        pinned: (item, tier) to whether it keeps a copy there over all gaps it can.
        within: what addresses leave room for.
    """

    def __init__(
        self,
        problem: TierProblem,
        *,
        alone: Collection[tuple[int, Way]] = (),
        margin: int = 64,
        pinned: Mapping[tuple[str, str], bool] | None = None,
        within: Within | None = None,
    ) -> None:
        self.within = within or Within()
        self.problem, self.alone, self.margin = problem, {*alone, *self.within.most}, margin
        self.pinned = dict(pinned or {})
        self.network = Network(problem)
        self.program = MixedProgram()
        self.steps = problem.framed
        self.positions = problem.positions
        self.unit, self.tick = _scales(problem)
        self.gaps = gaps_of(problem)
        self.chosen = [[self._bit(len(s.choices) == 1) for _ in s.choices] for s in self.steps]
        for bits in self.chosen:
            self.program.equal([(b, 1.0) for b in bits], 1.0)
        self._group_rows()
        self.held: dict[tuple[int, str], int] = {}
        """(gap, tier) to the variable of a copy that stays."""
        self.parts: list[dict[Way, int]] = [{} for _ in self.gaps]
        """By gap: way to the variable of the part of the item that comes so."""
        self.room: dict[tuple[str, int], Expression] = {}
        """(tier, position) to what takes room there, in units."""
        self.busy: dict[tuple[str, int], Expression] = {}
        """(channel, position) to ticks."""
        self.flows: list[Flow] = []
        self._check_fits()
        self._gap_variables()
        self._gap_rows()
        self._rooms()
        self._flow_rows()
        self.seconds = self._times()
        self._capacities()

    def _bit(self, fixed: bool) -> int:
        return self.program.variable(1.0 if fixed else 0.0, 1.0, binary=not fixed)

    # -- choices ------------------------------------------------------------------------------------------------------

    def _sum(self, use: Use, role: str, tier: str = "") -> Expression:
        """The variables of the choices of a use that read, write or touch its item (in a tier)."""
        bits = self.chosen[use.step]
        return [
            (b, 1.0) for b, c in zip(bits, use.choices, strict=True)
            if use.item in getattr(c, role) and tier in ("", getattr(c, role)[use.item])
        ]  # fmt: skip

    def _group_rows(self) -> None:
        leader: dict[str, int] = {}
        for step, bits in zip(self.steps, self.chosen, strict=True):
            for choice, bit in zip(step.choices, bits, strict=True):
                if choice.group and leader.setdefault(choice.group, bit) != bit:
                    self.program.equal([(leader[choice.group], 1.0), (bit, -1.0)])

    def _check_fits(self) -> None:
        """Raise DoesNotFit, naming tier, step, item and shortfall, where homes or all choices of a step are too big."""
        homes = dict.fromkeys(self.problem.capacities, 0)
        for item in self.problem.items.values():
            if item.home:
                homes[item.home] += item.nbytes
        self.free: dict[str, int | None] = {}
        for tier, capacity in self.problem.capacities.items():
            self.free[tier] = None if capacity is None else capacity - homes[tier]
            if capacity is not None and homes[tier] > capacity:
                raise DoesNotFit(
                    f"{tier}: the items at home there take {homes[tier]:,} bytes and it has {capacity:,}, "
                    f"{homes[tier] - capacity:,} too few"
                )
        for s, step in enumerate(self.steps):
            short = [lack for c in range(len(step.choices)) if (lack := self._shortfall(s, c))]
            if len(short) == len(step.choices):
                raise DoesNotFit(f"step {step.name}: " + min(short)[1])

    def _shortfall(self, step: int, number: int) -> tuple[int, str] | None:
        choice = self.steps[step].choices[number]
        items = self.problem.items
        for tier, free in self.free.items():
            needed = self._touching(choice, tier)
            if free is not None and needed > free:
                names = [n for n, t in choice.touches.items() if t == tier and items[n].home != tier]
                largest = max(names, key=lambda n: items[n].nbytes, default="")
                what = f"; the largest is {largest} with {items[largest].nbytes:,} bytes" if largest else ""
                text = f"{choice.name} needs {needed:,} bytes of {tier} and {free:,} are free"
                return needed - free, f"{text}, {needed - free:,} too few{what}"
        return None

    # -- gaps ---------------------------------------------------------------------------------------------------------

    def _gap_variables(self) -> None:
        shares: dict[tuple[str, str], int] = {}
        later = {gap.previous: set(copies_of(gap, self.network)) for gap in self.gaps if gap.previous >= 0}
        for g, gap in enumerate(self.gaps):
            touched = {*(gap.before.touched if gap.before else ()), *gap.after.touched}
            for tier in copies_of(gap, self.network):
                if gap.before is None:
                    continue
                if gap.item.split and tier not in touched:
                    key = gap.item.name, tier
                    if key not in shares:
                        shares[key] = self.program.variable(0.0, 1.0)
                    self.held[g, tier] = shares[key]
                else:
                    self.held[g, tier] = self.program.variable(0.0, 1.0, binary=not gap.item.split)
                self._pin(g, tier)
            for way in ways_of(gap, self.network):
                source = way.route[0]
                if not later.get(g, set()).issuperset(way.kept):
                    continue
                if way.moved or source == gap.home or (g, source) in self.held:
                    self.parts[g][way] = self.program.variable(0.0, 1.0)

    def _pin(self, g: int, tier: str) -> None:
        kept = self.pinned.get((self.gaps[g].item.name, tier))
        if kept is not None:
            self.program.equal([(self.held[g, tier], 1.0)], float(kept))

    def _gap_rows(self) -> None:
        program = self.program
        for g, gap in enumerate(self.gaps):
            ways = self.parts[g]
            for end in gap.after.read:
                arriving = [(part, 1.0) for way, part in ways.items() if way.route[-1] == end]
                program.equal([*arriving, *((b, -a) for b, a in self._sum(gap.after, "reads", end))])
            for tier in dict.fromkeys(way.route[0] for way in ways):
                copied = [(p, 1.0) for way, p in ways.items() if way.route[0] == tier and not way.moved]
                moved = [(p, 1.0) for way, p in ways.items() if way.route[0] == tier and way.moved]
                if tier != gap.home and copied:
                    program.at_most([*copied, (self.held[g, tier], -1.0)])
                if moved and gap.before:
                    touched = self._sum(gap.before, "touches", tier)
                    program.at_most([*moved, *((b, -a) for b, a in touched)])
            for tier in self.problem.capacities:
                if (g, tier) in self.held:
                    self._origin(g, tier)

    def _origin(self, g: int, tier: str) -> None:
        """A copy is where a step has had it, where it was before, or where it was left on its way."""
        gap = self.gaps[g]
        assert gap.before is not None
        here = [(self.held[g, tier], 1.0), *((b, -a) for b, a in self._sum(gap.before, "touches", tier))]
        if not gap.before.must_write and gap.previous >= 0:
            before = self.held.get((gap.previous, tier))
            left = [(part, -1.0) for way, part in self.parts[gap.previous].items() if tier in way.kept]
            self.program.at_most([*here, *([(before, -1.0)] if before is not None else []), *left])
            if gap.before.may_write:
                self.program.at_most([*here, *self._sum(gap.before, "writes")], 1.0)
        else:
            self.program.at_most(here)

    # -- room ---------------------------------------------------------------------------------------------------------

    def _take(self, tier: str, position: int, terms: Expression) -> None:
        if terms and self.free[tier] is not None:
            self.room.setdefault((tier, position), []).extend(terms)

    def _rooms(self) -> None:
        """Room of copies that stay, and of what a step has."""
        begins: dict[tuple[str, int], Expression] = {}
        ends: dict[tuple[str, int], Expression] = {}
        spans: dict[str, Expression] = {}
        around: dict[tuple[str, int], list[int]] = {}
        last = self.positions - 1
        for (g, tier), copy in self.held.items():
            gap = self.gaps[g]
            if tier == gap.item.home:
                continue
            size = gap.item.nbytes / self.unit
            begins.setdefault((tier, (gap.start + 1) % self.positions), []).append((copy, size))
            ends.setdefault((tier, gap.end), []).append((copy, size))
            if last in set(gap.inside(self.positions)):
                spans.setdefault(tier, []).append((copy, size))
            for use in (gap.before, gap.after):
                if use is not None:
                    around.setdefault((f"{tier} {gap.item.name}", use.step), []).append(copy)
        for tier in dict.fromkeys(tier for _, tier in self.held):
            self._level(tier, begins, ends, spans.get(tier, []))
        for s, step in enumerate(self.steps):
            for name in dict.fromkeys(n for c in step.choices for n in c.touches):
                self._touched(Use(name, s, self.problem.position(s), step.choices), around)
            for c, bit in zip(step.choices, self.chosen[s], strict=True):
                for tier, nbytes in c.workspace.items():
                    self._take(tier, self.problem.position(s), [(bit, nbytes / self.unit)])

    def _level(
        self,
        tier: str,
        begins: Mapping[tuple[str, int], Expression],
        ends: Mapping[tuple[str, int], Expression],
        spans: Expression,
    ) -> None:
        """Bytes of all copies in a tier that stay over a position, as a running sum."""
        if self.free[tier] is None:
            return
        levels = [self.program.variable() for _ in range(self.positions)]
        for p, level in enumerate(levels):
            before = [(levels[p - 1], -1.0)] if p else [(v, -a) for v, a in spans]
            more = [(v, -a) for v, a in begins.get((tier, p), ())]
            less = ends.get((tier, p), [])
            self.program.equal([(level, 1.0), *before, *more, *less])
            self._take(tier, p, [(level, 1.0)])
        if spans:
            self.program.equal([(levels[-1], 1.0), *((v, -a) for v, a in spans)])

    def _touched(self, use: Use, around: Mapping[tuple[str, int], list[int]]) -> None:
        item = self.problem.items[use.item]
        size = item.nbytes / self.unit
        for tier in self.problem.capacities:
            copies = around.get((f"{tier} {use.item}", use.step), [])
            touched = self._sum(use, "touches", tier)
            if tier == item.home or not (copies or touched) or self.free[tier] is None:
                continue
            if len(touched) == len(use.choices) or not copies:
                self._take(tier, use.position, [(b, a * size) for b, a in touched])
                continue
            here = self.program.variable(0.0, 1.0)
            for part in [*([touched] if touched else []), *([(c, 1.0)] for c in copies)]:
                self.program.at_most([*part, (here, -1.0)])
            self._take(tier, use.position, [(here, size)])

    # -- flows --------------------------------------------------------------------------------------------------------

    def _flow_rows(self) -> None:
        together: dict[tuple[Way, str, int], list[tuple[int, int]]] = {}
        for g, ways in enumerate(self.parts):
            for way, part in ways.items():
                if len(way.route) > 1:
                    key = way, self.gaps[g].item.home, g if (g, way) in self.alone else -1
                    together.setdefault(key, []).append((g, part))
        for (way, home, _), jobs in together.items():
            self.flows.append(self._flow(way, home, jobs))

    def _flow(self, way: Way, home: str, jobs: list[tuple[int, int]]) -> Flow:
        """Bytes sent per link and position, and what lies at each tier of the way between."""
        program, hops = self.program, self.network.hops(way)
        open_positions = sorted({p for g, _ in jobs for p in self.gaps[g].inside(self.positions)})
        sent = [{p: program.variable() for p in open_positions} for _ in hops]
        stock = [{p: program.variable() for p in open_positions} for _ in way.route]
        released: dict[int, Expression] = {}
        needed: dict[int, Expression] = {}
        spanning: Expression = []
        for g, part in jobs:
            gap = self.gaps[g]
            size = gap.item.nbytes / self.unit
            released.setdefault((gap.start + 1) % self.positions, []).append((part, size))
            needed.setdefault(gap.end, []).append((part, size))
            if gap.wraps and gap.start + 1 < self.positions:
                spanning.append((part, size))
        for p in sorted({*open_positions, *needed}):
            before = (p - 1) % self.positions if self.problem.periodic or p else None
            for i in range(len(way.route)):
                terms: Expression = []
                if p in stock[i]:
                    terms.append((stock[i][p], 1.0))
                if before in stock[i]:
                    terms.append((stock[i][before], -1.0))
                if i and p in sent[i - 1]:
                    terms.append((sent[i - 1][p], -1.0))
                if i < len(hops) and p in sent[i]:
                    terms.append((sent[i][p], 1.0))
                terms += [(v, -a) for v, a in released.get(p, ())] if i == 0 else []
                terms += needed.get(p, []) if i == len(hops) else []
                program.equal(terms)
            if p in needed:
                program.at_most([*needed[p], *([(stock[-1][before], -1.0)] if before in stock[-1] else [])])
            self._flow_room(way, home, p, sent, stock)
        if len(jobs) == 1:
            for (i, p), nbytes in self.within.most.get((jobs[0][0], way), {}).items():
                program.at_most([(s[p], 1.0) for s in stock[i:] if p in s], nbytes / self.unit)
        last = self.positions - 1
        if self.problem.periodic and last in stock[0]:
            program.equal([*((s[last], 1.0) for s in stock), *((v, -a) for v, a in spanning)])
        for link, by_position in zip(hops, sent, strict=True):
            for p, v in by_position.items():
                self.busy.setdefault((link.shared, p), []).append((v, self.unit / link.bandwidth / self.tick))
        return Flow(way, jobs, sent, stock)

    def _flow_room(
        self, way: Way, home: str, p: int, sent: Sequence[Mapping[int, int]], stock: Sequence[Mapping[int, int]]
    ) -> None:
        """What a flow takes room for at a position: what lies there, what leaves, and copies until they are kept."""
        if p not in stock[0]:
            return
        final = len(way.route) - 1
        for i, tier in enumerate(way.route):
            if tier == home or (i == 0 and not way.moved):
                continue
            if tier in way.kept and i == way.route.index(tier):
                self._take(tier, p, [(s[p], 1.0) for s in stock[i:]])
            else:
                leaving = [(sent[i][p], 1.0)] if i < final else []
                self._take(tier, p, [(stock[i][p], 1.0), *leaving])

    # -- time ---------------------------------------------------------------------------------------------------------

    def _times(self) -> list[int]:
        seconds = [self.program.variable() for _ in range(self.positions)]
        for s, step in enumerate(self.steps):
            bits, p = list(zip(self.chosen[s], step.choices, strict=True)), self.problem.position(s)
            self.program.at_most([*((b, c.seconds / self.tick) for b, c in bits), (seconds[p], -1.0)])
            for b, c in bits:
                for name, nbytes in c.streams.items():
                    link = self.problem.by_link[name]
                    self.busy.setdefault((link.shared, p), []).append((b, nbytes / link.bandwidth / self.tick))
        for (_, p), terms in self.busy.items():
            self.program.at_most([*terms, (seconds[p], -1.0)])
        return seconds

    def _capacities(self) -> None:
        for (tier, p), terms in self.room.items():
            free = self.free[tier]
            assert free is not None
            needed = [self._touching(c, tier) for c in self.steps[p // self.problem.stride].choices]
            spare = max(0, free - max((n for n in needed if n <= free), default=free))
            less = max(min(self.margin, free // MARGIN), self.within.less.get(tier, 0))
            self.program.at_most(terms, (free - min(less, spare)) / self.unit)

    def _touching(self, choice: Choice, tier: str) -> int:
        items = self.problem.items
        names = [n for n, t in choice.touches.items() if t == tier and items[n].home != tier]
        return sum(items[n].nbytes for n in names) + choice.workspace.get(tier, 0)

    def waiting(self) -> dict[int, float]:
        """By variable, what lies in tiers that may fill and has come, or is on its way."""
        return {
            v: 1.0
            for flow in self.flows
            for i, (tier, stock) in enumerate(zip(flow.way.route, flow.stock, strict=True))
            if i and self.free[tier] is not None
            for v in stock.values()
        }

    # -- costs --------------------------------------------------------------------------------------------------------

    def cost(self, aim: Aim) -> dict[int, float]:
        """Cost by variable."""
        found: dict[int, float] = {}

        def add(variable: int, cost: float) -> None:
            if cost:
                found[variable] = found.get(variable, 0.0) + cost

        def per_byte(name: str) -> float:
            counted = aim.links is None or name in aim.links
            return aim.joules * self.problem.by_link[name].joules_per_byte + (aim.nbytes if counted else 0.0)

        for v in self.seconds:
            add(v, aim.seconds * self.tick)
        for s, step in enumerate(self.steps):
            for b, c in zip(self.chosen[s], step.choices, strict=True):
                add(b, aim.joules * c.joules + sum(n * per_byte(x) for x, n in c.streams.items()))
        for flow in self.flows:
            for link, by_position in zip(self.network.hops(flow.way), flow.sent, strict=True):
                for v in by_position.values():
                    add(v, per_byte(link.name) * self.unit)
        return found



def _scales(problem: TierProblem) -> tuple[float, float]:
    """Bytes and seconds that the program counts as one, so that its numbers are near 1."""
    unit = max([64, *(i.nbytes for i in problem.items.values())]) / 64
    seconds = [c.seconds for s in problem.steps for c in s.choices if c.seconds > 0]
    moving = [unit / x.bandwidth for x in problem.links]
    typical = sorted(seconds or moving or [1.0])
    return unit, typical[len(typical) // 2]
