"""Independent replay of a plan over tiers: walks through its positions with ranges of bytes and recounts everything.

It knows the problem and the plan alone, and shares no code with the model that makes plans.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...errors import MappingError
from .addresses import address_faults
from .plan import Ledger, TierPlan
from .problem import Choice, TierProblem

SHOWN = 20
"""Lines of a message."""


class Ranges:
    """A set of bytes, as sorted ranges that do not touch."""

    def __init__(self, spans: Iterable[tuple[int, int]] = ()) -> None:
        self.spans: list[tuple[int, int]] = []
        for low, high in sorted(s for s in spans if s[0] < s[1]):
            if self.spans and low <= self.spans[-1][1]:
                self.spans[-1] = (self.spans[-1][0], max(high, self.spans[-1][1]))
            else:
                self.spans.append((low, high))

    def __len__(self) -> int:
        return sum(high - low for low, high in self.spans)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ranges) and self.spans == other.spans

    def holds(self, low: int, high: int) -> bool:
        return low >= high or any(a <= low and high <= b for a, b in self.spans)

    def within(self, other: Ranges) -> Ranges:
        return Ranges((max(a, c), min(b, d)) for a, b in self.spans for c, d in other.spans)

    def joined(self, low: int, high: int) -> Ranges:
        return Ranges([*self.spans, (low, high)])


def check_tier_plan(problem: TierProblem, plan: TierPlan) -> Ledger:
    """Replay a plan.

    Returns:
        Time, energy, bytes by link and peaks by tier. A position lasts as long as computing and every channel need.

    Raises:
        MappingError: a step runs by no choice of its own, or reads what is not there; bytes leave from where they are
            not, or arrive where they have no room; a tier overflows; where rooms have addresses, items overlap, lie in
            pieces or move, or a workspace has no room in one piece; a result is not where it belongs, or a period does
            not end with what it started with. All of them, in order.
    """
    replay = _Replay(problem, plan)
    if not replay.wrong:
        replay.wrong += address_faults(problem, plan, replay.chosen)
        if problem.periodic:
            replay.settle()
        replay.run()
    if replay.wrong:
        more = [f"and {len(replay.wrong) - SHOWN} more"] if len(replay.wrong) > SHOWN else []
        raise MappingError("\n".join([*replay.wrong[:SHOWN], *more]))
    return replay.ledger()


Content = dict[tuple[str, str], Ranges]
"""(item, tier) to the bytes there that are current."""


class _Replay:
    def __init__(self, problem: TierProblem, plan: TierPlan) -> None:
        self.problem, self.plan = problem, plan
        self.wrong: list[str] = []
        self.positions = problem.stride * len(problem.framed)
        self.rooms: list[dict[tuple[str, str], list[tuple[int, int]]]] = [{} for _ in range(self.positions)]
        self.moves: list[list[tuple[str, str, int, int]]] = [[] for _ in range(self.positions)]
        self.chosen: list[Choice] = []
        self._choices()
        self._tables()
        self.start: Content = {}
        if not problem.periodic:
            self.start = {(n, i.home): Ranges([(0, i.nbytes)]) for n, i in problem.items.items() if i.home}
        self.seconds: list[float] = []
        self.joules = 0.0
        self.link_bytes = dict.fromkeys((x.name for x in problem.links), 0)
        self.peaks = dict.fromkeys((t.name for t in problem.tiers), 0)

    def _choices(self) -> None:
        steps = self.problem.framed
        if len(self.plan.choices) != len(steps):
            self.wrong.append(f"the plan has choices for {len(self.plan.choices)} steps of {len(steps)}")
            return
        for step, name in zip(steps, self.plan.choices, strict=True):
            found = [c for c in step.choices if c.name == name]
            self.chosen += found
            self.wrong += [] if found else [f"step {step.name} has no choice {name}"]
        taken = {c.group for c in self.chosen if c.group}
        for step, name in zip(steps, self.plan.choices, strict=True):
            for c in step.choices:
                if c.group in taken and c.name != name:
                    self.wrong.append(f"step {step.name} runs {name}, and the choices of {c.group} go together")

    def _tables(self) -> None:
        items, tiers = self.problem.items, self.problem.capacities
        for r in self.plan.rooms:
            inside = r.item in items and r.tier in tiers and 0 <= r.low <= r.high <= items[r.item].nbytes
            if not inside or not 0 <= r.first <= r.last < self.positions:
                self.wrong.append(f"no such room: {r}")
                continue
            for p in range(r.first, r.last + 1):
                self.rooms[p].setdefault((r.item, r.tier), []).append((r.low, r.high))
        for t in self.plan.transfers:
            inside = t.item in items and t.link in self.problem.by_link and 0 <= t.low <= t.high <= items[t.item].nbytes
            if not inside or not 0 <= t.position < self.positions:
                self.wrong.append(f"no such transfer: {t}")
                continue
            self.moves[t.position].append((t.item, t.link, t.low, t.high))
        for item in items.values():
            if item.home:
                for rooms in self.rooms:
                    rooms.setdefault((item.name, item.home), []).append((0, item.nbytes))

    def settle(self) -> None:
        """What a period can start with: first whatever has room, then what is left of it at the end, until that lasts.

        Items that nothing in the period makes have their content at home for ever.
        """
        self.start = {key: Ranges(spans) for key, spans in self.rooms[0].items()}
        while True:
            end = self._walk(dict(self.start), judge=False)
            kept = {key: ranges.within(end.get(key, Ranges())) for key, ranges in self.start.items()}
            if kept == self.start:
                return
            self.start = kept

    def run(self) -> None:
        end = self._walk(dict(self.start), judge=True)
        for key, ranges in self.start.items():
            if self.problem.periodic and ranges.within(end.get(key, Ranges())) != ranges:
                self.wrong.append(f"{key[0]} is in {key[1]} when a period starts, and not when it ends")
        for name, item in self.problem.items.items():
            if item.result and len(end.get((name, item.result), Ranges())) != item.nbytes:
                self.wrong.append(f"result {name} is not in {item.result} at the end")

    def _walk(self, content: Content, *, judge: bool) -> Content:
        for position in range(self.positions):
            rooms = {key: Ranges(spans) for key, spans in self.rooms[position].items()}
            content = {key: kept for key, r in content.items() if key in rooms and len(kept := r.within(rooms[key]))}
            step, place = divmod(position + 1, self.problem.stride)
            choice = None if place else self.chosen[step - 1]
            if judge:
                self._judge(position, choice, rooms, content)
            arrived = self._arrivals(position, content, judge=judge)
            if choice is not None:
                for name, tier in (*choice.writes.items(), *choice.remakes.items()):
                    if name in choice.writes:
                        content = {key: r for key, r in content.items() if key[0] != name}
                    content[name, tier] = Ranges([(0, self.problem.items[name].nbytes)])
            for item, tier, low, high in arrived:
                content[item, tier] = content.get((item, tier), Ranges()).joined(low, high)
        return content

    def _arrivals(self, position: int, content: Content, *, judge: bool) -> list[tuple[str, str, int, int]]:
        """Where the transfers of a position bring bytes. A link may send on what comes over another one meanwhile."""
        there, left = dict(content), self.moves[position]
        found: list[tuple[str, str, int, int]] = []
        while left:
            later = []
            for item, name, low, high in left:
                link = self.problem.by_link[name]
                if there.get((item, link.src), Ranges()).holds(low, high):
                    there[item, link.dst] = there.get((item, link.dst), Ranges()).joined(low, high)
                    found.append((item, link.dst, low, high))
                else:
                    later.append((item, name, low, high))
            if len(later) == len(left):
                break
            left = later
        if judge:
            self.wrong += [
                f"position {position}: bytes {low:,} to {high:,} of {item} cross {name}, and are not where it begins"
                for item, name, low, high in left
            ]
        return found

    def _judge(self, position: int, choice: Choice | None, rooms: Content, content: Content) -> None:
        step = self.problem.framed[position // self.problem.stride]
        where = f"position {position}" + (f", {step.name}" if choice else "")
        time = dict.fromkeys((x.shared for x in self.problem.links), 0.0)
        moved = dict(choice.streams) if choice else {}
        for item, link_name, low, high in self.moves[position]:
            link = self.problem.by_link[link_name]
            what = f"{where}: bytes {low:,} to {high:,} of {item}"
            if not rooms.get((item, link.dst), Ranges()).holds(low, high):
                self.wrong.append(f"{what} have no room in {link.dst}")
            if choice is not None and item in choice.writes:
                self.wrong.append(f"{what} move while they are written")
            moved[link_name] = moved.get(link_name, 0) + high - low
        for link_name, nbytes in moved.items():
            link = self.problem.by_link[link_name]
            time[link.shared] += nbytes / link.bandwidth
            self.link_bytes[link_name] += nbytes
            self.joules += nbytes * link.joules_per_byte
        if choice is not None:
            self._judge_step(where, choice, rooms, content)
        self._judge_capacity(where, choice, rooms)
        self.seconds.append(max(choice.seconds if choice else 0.0, *time.values(), 0.0))
        self.joules += choice.joules if choice else 0.0

    def _judge_step(self, where: str, choice: Choice, rooms: Content, content: Content) -> None:
        for name, tier in choice.reads.items():
            missing = self.problem.items[name].nbytes - len(content.get((name, tier), Ranges()))
            if missing:
                self.wrong.append(f"{where}: {missing:,} bytes of {name} are not in {tier}")
        for name, tier in choice.touches.items():
            if len(rooms.get((name, tier), Ranges())) < self.problem.items[name].nbytes:
                self.wrong.append(f"{where}: {name} has no room in {tier}")

    def _judge_capacity(self, where: str, choice: Choice | None, rooms: Content) -> None:
        held = dict.fromkeys(self.peaks, 0)
        for (_, tier), ranges in rooms.items():
            held[tier] += len(ranges)
        for tier, nbytes in (choice.workspace if choice else {}).items():
            held[tier] += nbytes
        for tier, nbytes in held.items():
            self.peaks[tier] = max(self.peaks[tier], nbytes)
            capacity = self.problem.capacities[tier]
            if capacity is not None and nbytes > capacity:
                self.wrong.append(f"{where}: {tier} holds {nbytes:,} bytes, {nbytes - capacity:,} more than it can")

    def ledger(self) -> Ledger:
        return Ledger(sum(self.seconds), self.joules, self.link_bytes, self.peaks, tuple(self.seconds))
