"""The problem of placement in time: items that steps need in certain tiers of memory, and links that move them.

It knows nothing of Einsums or machines: weights, experts, blocks of a KV cache and activations are all items.

Time is a row of positions. Before each step is a wait, in which links alone are busy and which lasts as long as they
need (nothing, mostly); where steps write items there are two, one to make room and one to fill it. Then comes the step
itself. What is moved at a position is there for the next one; over several links it may pass in one position, each link
sending on what comes over the one before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ...errors import BadInput

LAST_STEP = "end"
"""Name of the step behind the last one, which needs results where they belong."""


@dataclass(frozen=True)
class Tier:
    """A memory of `capacity` bytes; None for one that never fills."""

    name: str
    capacity: int | None = None


@dataclass(frozen=True)
class Link:
    """A way from one tier to another, in one direction.

    Attributes:
        name: unique in its problem.
        src, dst: tiers.
        bandwidth: bytes per second.
        joules_per_byte: energy of moving.
        channel: links of one channel take turns; empty for a channel of its own.
    """

    name: str
    src: str
    dst: str
    bandwidth: float
    joules_per_byte: float = 0.0
    channel: str = ""

    @property
    def shared(self) -> str:
        """Name of the channel."""
        return self.channel or self.name


@dataclass(frozen=True)
class Item:
    """Bytes that move together: a weight, an expert, a block of a KV cache, an activation.

    Attributes:
        name: unique in its problem.
        nbytes: its size, more than 0.
        home: tier that holds its content before the first step and keeps room for it; empty for what steps make.
        result: tier in which its content must be after the last step; empty for none.
        split: parts of it may stay in different tiers; else copies are of all of it.
    """

    name: str
    nbytes: int
    home: str = ""
    result: str = ""
    split: bool = False


@dataclass(frozen=True)
class Choice:
    """One way to run a step: a site, a variant, or a way that computes an input anew.

    Attributes:
        name: unique in its step.
        seconds: computing takes.
        reads, writes, remakes: item to the tier in which it is, whole, while the step runs. What is written has new
            content; what is remade has the content it had. One tier per item.
        joules: energy of computing.
        streams: bytes that the step moves over a link as it goes, which no tier keeps.
        workspace: bytes of tiers that it needs besides.
        group: choices of one group, one in each of several steps, are all taken or none; empty for none.
    """

    name: str
    seconds: float
    reads: Mapping[str, str] = field(default_factory=dict)
    writes: Mapping[str, str] = field(default_factory=dict)
    remakes: Mapping[str, str] = field(default_factory=dict)
    joules: float = 0.0
    streams: Mapping[str, int] = field(default_factory=dict)
    workspace: Mapping[str, int] = field(default_factory=dict)
    group: str = ""

    @cached_property
    def touches(self) -> Mapping[str, str]:
        """Item to tier, of all that must have room while the step runs."""
        return {**self.reads, **self.writes, **self.remakes}


@dataclass(frozen=True)
class Step:
    """An operator: one of its choices runs."""

    name: str
    choices: tuple[Choice, ...]


@dataclass(frozen=True)
class TierProblem:
    """Steps in their order, the items they need, the tiers and links there are.

    Attributes:
        periodic: the steps run again and again (tokens of a decode, layers alike), and the tiers hold at the end of a
            period what they held at its start; then items have no results.

    Raises:
        BadInput: a name used twice or not known, sizes and rates that are not positive, an item in two tiers at once,
            or one that is read before anything has made it; all of them in one message.
    """

    name: str
    tiers: tuple[Tier, ...]
    links: tuple[Link, ...]
    items: Mapping[str, Item]
    steps: tuple[Step, ...]
    periodic: bool = False

    def __post_init__(self) -> None:
        wrong = [*_names(self), *_values(self), *_order(self)]
        if wrong:
            raise BadInput(f"placement {self.name}: " + "; ".join(wrong[:20]))

    @cached_property
    def framed(self) -> tuple[Step, ...]:
        """The steps, and one behind them that needs the results."""
        results = {n: i.result for n, i in self.items.items() if i.result}
        return (*self.steps, Step(LAST_STEP, (Choice(LAST_STEP, 0.0, reads=results),))) if results else self.steps

    @cached_property
    def stride(self) -> int:
        """Positions per step: its waits, and last itself."""
        return 3 if any(c.writes for s in self.steps for c in s.choices) else 2

    @property
    def positions(self) -> int:
        return self.stride * len(self.framed)

    def position(self, step: int) -> int:
        """Where a step runs."""
        return self.stride * (step + 1) - 1

    @cached_property
    def capacities(self) -> Mapping[str, int | None]:
        return {t.name: t.capacity for t in self.tiers}

    @cached_property
    def by_link(self) -> Mapping[str, Link]:
        return {link.name: link for link in self.links}


def _names(problem: TierProblem) -> list[str]:
    wrong = []
    groups: dict[str, Sequence[str]] = {
        "tiers": [t.name for t in problem.tiers],
        "links": [x.name for x in problem.links],
        "steps": [s.name for s in problem.steps],
    }
    groups |= {f"choices of step {s.name}": [c.name for c in s.choices] for s in problem.steps}
    for what, names in groups.items():
        wrong += [f"two {what} are called {n}" for n in sorted({n for n in names if names.count(n) > 1})]
    tiers, links = set(groups["tiers"]), set(groups["links"])
    for link in problem.links:
        wrong += [f"link {link.name}: no tier {t}" for t in (link.src, link.dst) if t not in tiers]
    for name, item in problem.items.items():
        wrong += [f"item {name}: no tier {t}" for t in (item.home, item.result) if t and t not in tiers]
        wrong += [f"item {name} is called {item.name}"] if item.name != name else []
    for step in problem.steps:
        wrong += [] if step.choices else [f"step {step.name} has no choice"]
        for c in step.choices:
            where = f"step {step.name}, {c.name}"
            wrong += [f"{where}: no item {n}" for n in c.touches if n not in problem.items]
            wrong += [f"{where}: no tier {t}" for t in (*c.touches.values(), *c.workspace) if t not in tiers]
            wrong += [f"{where}: no link {x}" for x in c.streams if x not in links]
    return wrong


def _values(problem: TierProblem) -> list[str]:
    wrong = [f"tier {t.name}: {t.capacity} bytes" for t in problem.tiers if t.capacity is not None and t.capacity < 0]
    wrong += [f"link {x.name}: {x.bandwidth} bytes per second" for x in problem.links if not x.bandwidth > 0]
    wrong += [f"item {n}: {i.nbytes} bytes" for n, i in problem.items.items() if i.nbytes <= 0]
    if problem.periodic:
        wrong += [f"item {n} has a result, and the steps never end" for n, i in problem.items.items() if i.result]
    for step in problem.steps:
        for c in step.choices:
            where = f"step {step.name}, {c.name}"
            if not c.seconds >= 0 or any(b < 0 for b in (*c.streams.values(), *c.workspace.values())):
                wrong.append(f"{where}: time and bytes are 0 or more")
            for name, tier in c.touches.items():
                others = {role.get(name, tier) for role in (c.reads, c.writes, c.remakes)}
                wrong += [f"{where}: {name} in two tiers"] if others != {tier} else []
                wrong += [f"{where}: {name} written and remade"] if name in c.writes and name in c.remakes else []
    return wrong


def _order(problem: TierProblem) -> list[str]:
    """Items that are read, and that nothing has made before."""
    made = {n for n, i in problem.items.items() if i.home}
    if problem.periodic:
        made |= {n for s in problem.steps for c in s.choices for n in c.writes}
    wrong = []
    for step in problem.steps:
        for c in step.choices:
            wrong += [f"step {step.name} reads {n}, which nothing has made" for n in c.reads if n not in made]
            wrong += [f"step {step.name} remakes {n}, which nothing has made" for n in c.remakes if n not in made]
        made |= {n for c in step.choices for n in c.writes}
    wrong += [f"result {n} is never made" for n, i in problem.items.items() if i.result and n not in made]
    return wrong
