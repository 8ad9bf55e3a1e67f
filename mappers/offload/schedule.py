"""A policy as a plan over tiers: every layer takes batch after batch, weights come ahead or at once, the rest streams.

A pass (the prefill, or one token of all sequences) is one period of a placement over tiers in time. Weights are items,
one per layer and tier that holds a share of them; keys, values and hidden states of a batch stream as it is computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ...engine import compiled
from ...lowering.tiers import program_of
from ...mapping.tiers.check import check_tier_plan
from ...mapping.tiers.plan import Ledger, Room, TierPlan, Transfer
from ...mapping.tiers.problem import Choice, Item, Link, Step, TierProblem
from .machine import ROLES, Machine, Rates, Role
from .parts import Model, Part
from .policy import Block, Phase, Policy, computing

CHOICE = "run"


@dataclass(frozen=True)
class Generation:
    """A block, simulated.

    Attributes:
        policy, block: what ran.
        prefill_seconds, decode_seconds: of all passes of a phase.
        peaks: most bytes by tier, of the passes that were simulated.
    """

    policy: Policy
    block: Block
    prefill_seconds: float
    decode_seconds: float
    peaks: dict[str, int]

    @property
    def seconds(self) -> float:
        return self.prefill_seconds + self.decode_seconds

    @property
    def tokens_per_second(self) -> float:
        return self.block.tokens / self.seconds


def generate(machine: Machine, model: Model, block: Block, policy: Policy, *, sampled: int = 5) -> Generation:
    """Simulate a block: the prefill, and `sampled` of the passes that generate tokens, with lines between them.

    The prefill and the last pass, which holds more than those before it, are replayed.

    Raises:
        MappingError: a pass does not fit into the tiers, by an independent replay.
    """
    contexts = np.arange(block.prompt + 1, block.prompt + block.generated)
    picked = sorted({int(contexts[i]) for i in np.linspace(0, len(contexts) - 1, sampled).round().astype(int)}
                    if len(contexts) else ())  # fmt: skip
    passes: list[tuple[Phase, int]] = [("prefill", block.prompt), *(("decode", c) for c in picked)]
    seconds, ledgers = [], []
    for number, (phase, context) in enumerate(passes):
        problem, plan = pass_of(machine, model, block, policy, phase, context)
        if number in (0, len(passes) - 1):
            ledgers.append(check_tier_plan(problem, plan))
        seconds.append(_seconds(problem, plan))
    decode = float(np.interp(contexts, picked, seconds[1:]).sum()) if picked else 0.0
    peaks = {n: max(x.peaks[n] for x in ledgers) for n in machine.names}
    return Generation(policy, block, seconds[0], decode, peaks)


def simulate(
    machine: Machine, model: Model, block: Block, policy: Policy, phase: Phase, context: int
) -> tuple[float, Ledger]:
    """Seconds of the Program of one pass, and its replay.

    Raises:
        MappingError: it does not fit into the tiers.
    """
    problem, plan = pass_of(machine, model, block, policy, phase, context)
    return _seconds(problem, plan), check_tier_plan(problem, plan)


def _seconds(problem: TierProblem, plan: TierPlan) -> float:
    trace = compiled.run(program_of(problem, plan))
    return trace.finish / float(trace.program.tick_hz)


def pass_of(
    machine: Machine, model: Model, block: Block, policy: Policy, phase: Phase, context: int
) -> tuple[TierProblem, TierPlan]:
    """One pass as a periodic placement and its plan."""
    return _Pass(machine, model, block, policy, phase, context).value()


class _Pass:
    def __init__(
        self, machine: Machine, model: Model, block: Block, policy: Policy, phase: Phase, context: int
    ) -> None:
        self.machine, self.model, self.block, self.policy = machine, model, block, policy
        self.phase, self.context = phase, context
        self.rates: Rates = machine.prefill if phase == "prefill" else machine.decode
        self.tiers = len(machine.tiers)
        self.units = model.units
        self.items: dict[str, tuple[Item, int, int]] = {}
        """Of weights elsewhere than in the first tier, name to the item, the number of its unit and of its tier."""
        self.resident = 0
        """Bytes of weights that stay in the first tier."""
        for u, (unit, part) in enumerate(self.units):
            here, *away = _dealt(part.weight_bytes, policy.weight)
            self.resident += here
            for t, nbytes in enumerate(away, 1):
                if nbytes:
                    name = f"{unit} in {machine.names[t]}"
                    self.items[name] = (Item(name, nbytes, home=machine.names[t]), u, t)

    def value(self) -> tuple[TierProblem, TierPlan]:
        steps = tuple(
            Step(f"{unit}, batch {k}{stage}", (choice,))
            for u, (unit, part) in enumerate(self.units)
            for k in range(self.block.batches)
            for stage, choice in self._choices(u, part)
        )
        items = {name: item for name, (item, _, _) in self.items.items()}
        name = f"{self.model.name}, {self.phase}, {self.context} tokens"
        problem = TierProblem(name, self.machine.tiers, tuple(self._links()), items, steps, periodic=True)
        rooms: list[Room] = []
        transfers: list[Transfer] = []
        for item, unit, tier in self.items.values():
            self._bring(item, unit, tier, rooms, transfers, problem.positions)
        return problem, TierPlan(name, (CHOICE,) * len(steps), tuple(rooms), tuple(transfers))

    # -- links --------------------------------------------------------------------------------------------------------

    def _links(self) -> Iterator[Link]:
        names = self.machine.names
        for t in range(self.tiers - 1):
            for ways, src, dst, side in ((self.rates.inward, t + 1, t, "in"), (self.rates.outward, t, t + 1, "out")):
                channel = f"{names[src]} to {names[dst]}" if self.rates.hops else side
                for role in ROLES:
                    yield Link(_way(names[src], names[dst], role), names[src], names[dst], ways[t][role],
                               channel=channel)  # fmt: skip

    def _choices(self, unit: int, part: Part) -> list[tuple[str, Choice]]:
        """What a batch does in a unit: all at once, or one after the other where streams do not overlap."""
        line = computing(self.rates, part, self.block, self.phase, self.context, self.policy.beside, self.tiers)
        seconds = line.of(self.policy) / self.block.batches
        reads = {name: self.machine.names[0] for name, (_, u, _) in self.items.items() if u == unit}
        room = self._room(part)
        inward, outward = self._streams(part)
        if self.rates.streams:
            return [("", Choice(CHOICE, seconds, reads, streams={**inward, **outward}, workspace=room))]
        return [
            (", in", Choice(CHOICE, 0.0, reads, streams=inward, workspace=room)),
            ("", Choice(CHOICE, seconds, reads, workspace=room)),
            (", out", Choice(CHOICE, 0.0, reads, streams=outward, workspace=room)),
        ]

    def _streams(self, part: Part) -> tuple[dict[str, int], dict[str, int]]:
        """Bytes of a batch that pass between tiers, by link: towards the first tier, and away from it."""
        n, new = self.block.batch, self.block.new_tokens(self.phase)
        hidden = n * new * self.model.hidden_bytes
        read = n * self.context * part.cache_bytes if self.phase == "decode" else 0
        inward: dict[str, int] = {}
        outward: dict[str, int] = {}
        names = self.machine.names
        for t in range(self.tiers - 1):
            nearer, farther = names[t], names[t + 1]
            inward[_way(farther, nearer, "hidden")] = self._behind("hidden", t, hidden)
            if t or not self.policy.beside:
                inward[_way(farther, nearer, "cache")] = self._behind("cache", t, read)
            outward[_way(nearer, farther, "hidden")] = self._behind("hidden", t, hidden)
            outward[_way(nearer, farther, "cache")] = self._behind("cache", t, n * new * part.cache_bytes)
        return {x: b for x, b in inward.items() if b}, {x: b for x, b in outward.items() if b}

    def _behind(self, role: Role, tier: int, nbytes: int) -> int:
        """Of so many bytes, those in tiers behind a tier."""
        return sum(_dealt(nbytes, self.policy.share(role))[tier + 1 :])

    def _room(self, part: Part) -> dict[str, int]:
        """Bytes besides weights that come, by tier: what stays there, and what a batch makes."""
        block, model = self.block, self.model
        new = block.new_tokens(self.phase)
        cache = _dealt(block.sequences * (block.prompt + block.generated) * model.cache_bytes, self.policy.cache)
        hidden = _dealt(block.sequences * new * model.hidden_bytes, self.policy.hidden)
        room = [c + h for c, h in zip(cache, hidden, strict=True)]
        work = part.prefill if self.phase == "prefill" else part.decode
        here = block.batch * new * model.hidden_bytes
        room[0] += self.resident + block.batch * work.made + here + self._behind("hidden", 0, here)
        if self.phase == "decode":
            at = 1 if self.policy.beside else 0
            if at < self.tiers - 1:
                room[at] += 2 * self._behind("cache", at, block.batch * self.context * part.cache_bytes)
        return dict(zip(self.machine.names, room, strict=True))

    # -- weights ------------------------------------------------------------------------------------------------------

    def _bring(
        self, item: Item, unit: int, tier: int, rooms: list[Room], transfers: list[Transfer], positions: int
    ) -> None:
        """Transfers tier by tier to the first, and rooms there until the unit's last batch has run."""
        names, per_unit = self.machine.names, positions // len(self.units)
        start = unit * per_unit
        before = (start - per_unit + 1) % positions
        last = start + per_unit - 1
        for t in range(tier, 0, -1):
            at = start if t == 1 and not self.rates.ahead else before
            transfers.append(Transfer(item.name, _way(names[t], names[t - 1], "weight"), at, 0, item.nbytes))
            end = last if t == 1 else start if not self.rates.ahead and t == 2 else before
            rooms += _rooms(item, names[t - 1], at, end, positions)


def _rooms(item: Item, tier: str, first: int, last: int, positions: int) -> Iterator[Room]:
    """Room from one position to another, over the end of a period where the last one is before the first."""
    spans = [(first, last)] if first <= last else [(first, positions - 1), (0, last)]
    for a, b in spans:
        yield Room(item.name, tier, 0, item.nbytes, a, b)


def _way(src: str, dst: str, role: Role) -> str:
    return f"{src} to {dst}, {role}"


def _dealt(nbytes: int, shares: tuple[float, ...]) -> list[int]:
    """Whole bytes by tier, in all as many as there are."""
    found, done, total = [], 0, 0.0
    for share in shares:
        total += share
        upto = min(nbytes, round(nbytes * total))
        found.append(upto - done)
        done = upto
    found[-1] += nbytes - done
    return found
