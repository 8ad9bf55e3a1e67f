"""A training step whose activations stay, are computed anew from checkpoints, or leave for another tier until needed.

Forward passes make activations, backward passes need them in reverse. As a placement over tiers in time, every layer's
activations are an item with rooms from where it is made to where it is read; what leaves does so while the next layer
computes and is back before its own backward pass, one layer ahead. A replay counts what the first tier holds at most.
Which layer's stay, leave, or are computed anew may also be left to the placement, which finds the least time.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from ...engine import compiled
from ...errors import BadInput, DoesNotFit
from ...lowering.tiers import program_of
from ...mapping.tiers.check import check_tier_plan
from ...mapping.tiers.plan import Ledger, Room, TierPlan, Transfer
from ...mapping.tiers.problem import Choice, Item, Link, Step, Tier, TierProblem
from ..ilp.tiers.model import BYTES, LATENCY
from ..ilp.tiers.recompute import with_recomputation
from ..ilp.tiers.search import place
from .parts import Model

Activations: TypeAlias = Literal["kept", "checkpointed", "offloaded", "placed"]
CHOICE, OUT, BACK = "run", "out", "back"
BACKWARD = 2
"""Operations of a backward pass over those of the forward pass."""


@dataclass(frozen=True)
class Trainer:
    """What trains.

    Attributes:
        near, far: the tier that computes, and the one that activations may leave for.
        operations: per second.
        out, back: bytes per second from the first tier to the second, and from there.
        static: bytes of the first tier besides activations: weights, gradients, states of the optimiser.
    """

    near: Tier
    far: Tier
    operations: float
    out: float
    back: float
    static: int = 0


@dataclass(frozen=True)
class Trained:
    """A step: seconds of its Program, most bytes of activations in the first tier, and bytes that left it."""

    seconds: float
    activation_bytes: int
    moved_bytes: int


def train(
    model: Model, batch: int, tokens: int, trainer: Trainer, activations: Activations = "kept", *, every: int = 1
) -> Trained:  # fmt: skip
    """Simulate forward and backward passes.

    Args:
        model: whose prefill is the forward pass of one sequence.
        batch, tokens: sequences, and tokens of each.
        trainer: what trains.
        activations: ``checkpointed`` keeps what passes between every `every` layers and computes the rest anew (Chen et
            al., Training deep nets with sublinear memory cost, arXiv:1604.06174). ``placed`` lets every layer's stay,
            leave or be computed anew, whichever takes the least time in the room there is; of that the fewest bytes.
        every: layers between checkpoints.

    Raises:
        DoesNotFit: a tier holds less than there is; the message says which, and by how much.
        BadInput: sizes or `every` below 1.
    """
    if min(batch, tokens, every) < 1:
        raise BadInput(f"{model.name}: batch {batch}, tokens {tokens} and layers between checkpoints {every} are 1 at "
                       "least")  # fmt: skip
    writer = _Writer(model, batch, tokens, trainer, every)
    if activations == "placed":
        problem = writer.open()
        plan = place(problem, aims=(LATENCY, BYTES))
    else:
        problem, plan = writer.write(activations)
    ledger = check_tier_plan(problem, plan)
    _fits(model, trainer, ledger)
    trace = compiled.run(program_of(problem, plan))
    seconds = trace.finish / float(trace.program.tick_hz)
    return Trained(seconds, ledger.peaks[trainer.near.name] - trainer.static, ledger.link_bytes.get(OUT, 0))


def _fits(model: Model, trainer: Trainer, ledger: Ledger) -> None:
    for tier in (trainer.near, trainer.far):
        needed = ledger.peaks[tier.name]
        if tier.capacity is not None and needed > tier.capacity:
            raise DoesNotFit(f"{model.name}: a training step needs {needed:,} bytes of {tier.name}, "
                             f"{needed - tier.capacity:,} more than it has")  # fmt: skip


@dataclass
class _Writer:
    model: Model
    batch: int
    tokens: int
    trainer: Trainer
    every: int
    steps: list[Step] = field(default_factory=list)
    items: dict[str, Item] = field(default_factory=dict)

    def write(self, activations: Activations) -> tuple[TierProblem, TierPlan]:
        rooms, transfers = self._checkpointed() if activations == "checkpointed" else self._whole(activations)
        t = self.trainer
        tiers = (Tier(t.near.name), Tier(t.far.name))  # what does not fit is told by the replay's peaks
        name = f"training {self.model.name}"
        problem = TierProblem(name, tiers, self._links, self.items, tuple(self.steps))
        return problem, TierPlan(name, (CHOICE,) * len(self.steps), tuple(rooms), tuple(transfers))

    def open(self) -> TierProblem:
        """The steps without a plan: a backward pass needs a layer's input and what it made, and may make that anew."""
        near, static = self.trainer.near, {self.trainer.near.name: self.trainer.static}
        between = self.batch * self.tokens * self.model.hidden_bytes
        names = [unit for unit, _ in self.model.units]
        inputs = [f"input of {unit}" for unit in names]
        for u, unit in enumerate(names):
            self.items[inputs[u]] = Item(inputs[u], between, home="" if u else near.name)
            self._item(unit, self._made(u) - between)
            writes = dict.fromkeys((unit, *inputs[u + 1 : u + 2]), near.name)
            run = Choice(CHOICE, self._seconds(u), {inputs[u]: near.name}, writes, workspace=static)
            self.steps.append(Step(f"{unit}, forward", (run,)))
        for u in reversed(range(len(names))):
            reads = {inputs[u]: near.name, names[u]: near.name}
            run = Choice(CHOICE, BACKWARD * self._seconds(u), reads, workspace=static)
            self.steps.append(Step(f"{names[u]}, backward", (run,)))
        tiers = (near, self.trainer.far)
        problem = TierProblem(f"training {self.model.name}", tiers, self._links, self.items, tuple(self.steps))
        again = with_recomputation(problem, names)
        # the room that both passes need besides weights is there once
        steps = (replace(s, choices=tuple(replace(c, workspace=static) for c in s.choices)) for s in again.steps)
        return replace(again, steps=tuple(steps))

    @property
    def _links(self) -> tuple[Link, Link]:
        t = self.trainer
        return Link(OUT, t.near.name, t.far.name, t.out), Link(BACK, t.far.name, t.near.name, t.back)

    def _whole(self, activations: Activations) -> tuple[list[Room], list[Transfer]]:
        names = [unit for unit, _ in self.model.units]
        for u, unit in enumerate(names):
            self._item(unit, self._made(u))
            self._step(f"{unit}, forward", self._seconds(u), writes=unit)
        for u in reversed(range(len(names))):
            self._step(f"{names[u]}, backward", BACKWARD * self._seconds(u), reads=names[u])
        rooms: list[Room] = []
        transfers: list[Transfer] = []
        near, far, count = self.trainer.near.name, self.trainer.far.name, len(names)
        for u, unit in enumerate(names):
            nbytes = self.items[unit].nbytes
            made, used = _position(u), _position(2 * count - 1 - u)
            leaves, returns = _position(u + 1), _position(2 * count - 2 - u)
            if activations == "kept" or leaves >= returns:
                rooms.append(Room(unit, near, 0, nbytes, made, used))
                continue
            transfers += [Transfer(unit, OUT, leaves, 0, nbytes), Transfer(unit, BACK, returns, 0, nbytes)]
            rooms += [Room(unit, near, 0, nbytes, made, leaves), Room(unit, far, 0, nbytes, leaves, returns),
                      Room(unit, near, 0, nbytes, returns, used)]  # fmt: skip
        return rooms, transfers

    def _checkpointed(self) -> tuple[list[Room], list[Transfer]]:
        """A checkpoint before every few layers; their activations are made anew, all of them, before they are used."""
        names = [unit for unit, _ in self.model.units]
        groups = [range(a, min(a + self.every, len(names))) for a in range(0, len(names), self.every)]
        between = self.batch * self.tokens * self.model.hidden_bytes
        first: dict[str, int] = {}
        last: dict[str, int] = {}
        for g, group in enumerate(groups):
            for u in group:
                mark = f"checkpoint {g}" if u == group[0] else ""
                if mark:
                    self._item(mark, between)
                    first[mark] = len(self.steps)
                # the activations of a layer are there while it runs, and then are gone
                self._step(f"{names[u]}, forward", self._seconds(u), writes=mark, workspace=self._made(u))
        for g, group in reversed(list(enumerate(groups))):
            for u in group:
                self._item(names[u], self._made(u))
                first[names[u]] = len(self.steps)
                last[f"checkpoint {g}"] = len(self.steps)
                reads = f"checkpoint {g}" if u == group[0] else ""
                self._step(f"{names[u]}, forward again", self._seconds(u), reads=reads, writes=names[u])
            for u in reversed(group):
                last[names[u]] = len(self.steps)
                self._step(f"{names[u]}, backward", BACKWARD * self._seconds(u), reads=names[u])
        near = self.trainer.near.name
        return [Room(n, near, 0, self.items[n].nbytes, _position(s), _position(last[n])) for n, s in first.items()], []

    def _item(self, name: str, nbytes: int) -> None:
        self.items[name] = Item(name, nbytes)

    def _step(self, name: str, seconds: float, *, reads: str = "", writes: str = "", workspace: int = 0) -> None:
        near = self.trainer.near.name
        choice = Choice(CHOICE, seconds, {reads: near} if reads else {}, {writes: near} if writes else {},
                        workspace={near: self.trainer.static + workspace})  # fmt: skip
        self.steps.append(Step(name, (choice,)))

    def _seconds(self, unit: int) -> float:
        work = self.model.units[unit][1].prefill
        return self.batch * (work.products + work.attention) / self.trainer.operations

    def _made(self, unit: int) -> int:
        """Bytes that a backward pass needs of a layer: its input and the results of its contractions."""
        part = self.model.units[unit][1]
        return self.batch * (part.prefill.made + self.tokens * self.model.hidden_bytes)


def _position(step: int) -> int:
    """Of a step, where steps write items: two waits come before each."""
    return 3 * (step + 1) - 1
