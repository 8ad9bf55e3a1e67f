"""What can happen to an item between two steps that may touch it: the gaps of a problem, and the ways through them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise

from ....errors import BadInput
from ....mapping.tiers.problem import Choice, Item, Link, TierProblem


@dataclass(frozen=True)
class Use:
    """A step that may touch an item, and the tiers in which its choices have it."""

    item: str
    step: int
    position: int
    choices: tuple[Choice, ...]

    @cached_property
    def touched(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(c.touches[self.item] for c in self.choices if self.item in c.touches))

    @cached_property
    def read(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(c.reads[self.item] for c in self.choices if self.item in c.reads))

    @cached_property
    def may_write(self) -> bool:
        return any(self.item in c.writes for c in self.choices)

    @cached_property
    def must_write(self) -> bool:
        return all(self.item in c.writes for c in self.choices)


@dataclass(frozen=True)
class Way:
    """How bytes come from one tier to where they are read.

    Attributes:
        route: tiers passed; one where nothing moves.
        kept: tiers on the way in which a copy stays.
        moved: the first tier gives them up as they leave; else they leave a copy that stays there.
    """

    route: tuple[str, ...]
    kept: tuple[str, ...] = ()
    moved: bool = False


@dataclass(frozen=True)
class Gap:
    """An item between two steps that may touch it, or before the first.

    Attributes:
        before, after: the uses; `before` is None at the start.
        home: tier whose copy is current during it; empty for none.
        previous: number of the gap that ends with `before`; -1 for none.
        wraps: `after` is in the next period.
    """

    item: Item
    before: Use | None
    after: Use
    home: str
    previous: int
    wraps: bool

    @property
    def start(self) -> int:
        """Position of the step before; -1 at the start."""
        return -1 if self.before is None else self.before.position

    @property
    def end(self) -> int:
        """Position of the step after, in its own period."""
        return self.after.position

    def inside(self, positions: int) -> Iterator[int]:
        """Positions between the steps."""
        stop = self.end + (positions if self.wraps else 0)
        return (p % positions for p in range(self.start + 1, stop))


class Network:
    """Tiers and links as a graph."""

    def __init__(self, problem: TierProblem) -> None:
        self.problem = problem
        self.links: dict[tuple[str, str], Link] = {}
        for link in problem.links:
            known = self.links.get((link.src, link.dst))
            if known is None or link.bandwidth > known.bandwidth:
                self.links[link.src, link.dst] = link
        self._routes: dict[str, Mapping[str, tuple[str, ...]]] = {}

    def route(self, src: str, dst: str) -> tuple[str, ...]:
        """The way over the fewest links, the fastest of them; empty for none."""
        if src not in self._routes:
            self._routes[src] = self._from(src)
        return self._routes[src].get(dst, ())

    def _from(self, src: str) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {src: (src,)}
        slowness = {src: 0.0}
        edge = [src]
        while edge:
            reached: dict[str, tuple[float, tuple[str, ...]]] = {}
            for (a, b), link in self.links.items():
                if a in edge and b not in found:
                    offer = slowness[a] + 1 / link.bandwidth, (*found[a], b)
                    reached[b] = min(reached.get(b, offer), offer)
            for b, (slow, route) in reached.items():
                found[b], slowness[b] = route, slow
            edge = list(reached)
        return found

    def hops(self, way: Way) -> tuple[Link, ...]:
        return tuple(self.links[a, b] for a, b in pairwise(way.route))


def gaps_of(problem: TierProblem) -> list[Gap]:
    """All gaps after which an item may be read, item by item."""
    found: list[Gap] = []
    for item in problem.items.values():
        uses = [
            Use(item.name, s, problem.position(s), step.choices)
            for s, step in enumerate(problem.framed)
            if any(item.name in c.touches for c in step.choices)
        ]
        if item.split and not problem.periodic:
            raise BadInput(f"item {item.name}: only items of a periodic placement can be split")
        found += _gaps(item, uses, len(found), problem.periodic)
    return found


def _gaps(item: Item, uses: list[Use], number: int, periodic: bool) -> list[Gap]:
    written = any(u.may_write for u in uses)
    if not uses:
        return []
    pairs: list[tuple[Use | None, Use, bool]] = [(a, b, False) for a, b in pairwise(uses)]
    if periodic:
        pairs.append((uses[-1], uses[0], True))
    elif item.home:
        pairs.insert(0, (None, uses[0], False))
    found = []
    dirty = False
    for i, (before, after, wraps) in enumerate(pairs):
        dirty = dirty or (before is not None and before.may_write)
        valid = item.home if not (written if periodic else dirty) else ""
        previous = number + (i - 1 if i else len(pairs) - 1) if periodic or i else -1
        found.append(Gap(item, before, after, valid, previous, wraps))
    return found


def ways_of(gap: Gap, network: Network) -> list[Way]:
    """All ways to where the next step may read it; those that begin with a copy need it there."""
    item, ends = gap.item, gap.after.read
    before = gap.before.touched if gap.before else ()
    found: list[Way] = []
    for end in ends:
        found.append(Way((end,)))
        for source in _copies(gap, network):
            if source != end and (route := network.route(source, end)):
                found += _keeping(route, item)
        if not gap.home:
            for a in before:
                for turn in network.problem.capacities:
                    there, back = network.route(a, turn), network.route(turn, end)
                    if turn != a and there and back:
                        kept = () if turn == end else (turn,)
                        found.append(Way((*there, *back[1:]), moved=True))
                        found += [Way((*there, *back[1:]), kept, moved=True)] if kept and not item.split else []
    return list(dict.fromkeys(found))


def _keeping(route: tuple[str, ...], item: Item) -> list[Way]:
    """A route of copies, with any of the tiers between keeping one; parts that are split stay where they are."""
    between = route[1:-1] if not item.split else ()
    return [Way(route, kept) for n in range(len(between) + 1) for kept in combinations(between, n)]


def _copies(gap: Gap, network: Network) -> list[str]:
    """Tiers that may hold a copy throughout the gap."""
    touched = gap.before.touched if gap.before else ()
    if gap.before is None or gap.before.must_write or (gap.item.split and not gap.home):
        return list(dict.fromkeys([*touched, *([gap.home] if gap.home else [])]))
    return list(network.problem.capacities)


def copies_of(gap: Gap, network: Network) -> list[str]:
    """Tiers in which the gap may have a copy, other than one that is at home anyway."""
    return [t for t in _copies(gap, network) if t != gap.home and any(network.route(t, e) for e in gap.after.read)]
