"""Pipelines: what a step costs stage by stage, and its Program through stages and links."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import reduce
from itertools import pairwise

import numpy as np

from ...engine.builder import Phase, ProgramBuilder, Run
from ...engine.program import Platform, Program, Server
from ...errors import BadInput
from .arrivals import TICK_HZ
from .costs import Overheads, StepCost, StepCosts
from .fragments import Fragments
from .state import Shape, Way


@dataclass(frozen=True)
class StagedCosts:
    """Costs of steps through stages, one after the other; only the last one has logits.

    A draft model, if there is one, runs beforehand on the sockets of the first stage: it reads the same chunks, and
    decodes once for each token that it proposes.
    """

    stages: tuple[StepCosts, ...]
    draft: StepCosts | None = None

    @staticmethod
    def of_fragments(
        fragments: Sequence[Fragments], overheads: Overheads, draft: Fragments | None = None
    ) -> StagedCosts:
        """Equal stages share what is simulated of them; what a step takes besides is taken once."""
        later = replace(overheads, step_s=0.0, sequence_s=0.0)
        return StagedCosts(tuple(StepCosts(f, later if i else overheads) for i, f in enumerate(fragments)),
                           None if draft is None else StepCosts(draft, later))  # fmt: skip

    def each(self, shape: Shape) -> list[StepCost]:
        """By stage."""
        last = len(self.stages) - 1
        found = [c.of(shape if i == last else shape._replace(sampled=0)) for i, c in enumerate(self.stages)]
        if self.draft is not None:
            found[0] = reduce(StepCost.plus, map(self.draft.of, proposals(shape)), found[0])
        return found

    def of(self, shape: Shape) -> StepCost:
        """Of all stages."""
        return reduce(StepCost.plus, self.each(shape))

    def exact(self, shape: Shape) -> StepCost:
        """Of all stages, with nothing interpolated."""
        found, last = list[StepCost](), len(self.stages) - 1
        for i, costs in enumerate(self.stages):
            assert isinstance(costs.simulate, Fragments)  # `of_fragments`
            mine = shape if i == last else shape._replace(sampled=0)
            found.append(costs.simulate.exact(mine, costs.overheads))
        if self.draft is not None:
            assert isinstance(self.draft.simulate, Fragments)  # `of_fragments`
            found += [self.draft.simulate.exact(s, self.draft.overheads) for s in proposals(shape)]
        return reduce(StepCost.plus, found)

    @property
    def known(self) -> int:
        """Fragments that have been simulated."""
        return sum(len(c.known) for c in (*self.stages, *([self.draft] if self.draft else [])))


def proposals(shape: Shape) -> list[Shape]:
    """Steps of the draft model for a step: its chunks, and as many decodes as it has tokens to propose."""
    decode = Shape(shape.decodes, shape.decode_context, (), shape.decodes)
    chunks = [Shape(0, 0, shape.chunks, 0)] if shape.chunks else []
    return chunks + [decode] * (shape.ahead if shape.decodes else 0)


@dataclass(frozen=True, eq=False)
class StagedPrograms:
    """Makes the steps of batches in pipelines: as many batches as stages take turns on the stages of a replica.

    Between two stages the activations of a step's tokens pass a link, which all batches of the replica share.

    Attributes:
        costs: of steps.
        data: replicas.
        token_bytes: of activations between stages.
        link_rate: bytes per second between two stages.
        latency_s: of a message.
    """

    costs: StagedCosts
    data: int
    token_bytes: float
    link_rate: float
    latency_s: float
    tick_hz: Fraction = TICK_HZ
    _templates: dict[int, Program] = field(default_factory=dict)

    @property
    def _servers(self) -> int:
        """Of a replica: its stages, each but the last with a link behind it."""
        return 2 * len(self.costs.stages) - 1

    @property
    def platform(self) -> Platform:
        names = [f"{'link' if i % 2 else 'stage'} {i // 2}" for i in range(self._servers)]
        return Platform(tuple(Server(f"replica {r} {name}") for r in range(self.data) for name in names))

    def step(self, batch: int, shape: Shape) -> Program:
        """The Program of a step of a batch, `batch` // stages being its replica."""
        replica = batch // len(self.costs.stages)
        link = shape.tokens * self.token_bytes / self.link_rate + self.latency_s
        spans = [seconds for c in self.costs.each(shape) for seconds in (c.seconds, link)][:-1]
        works = [max(1, round(seconds * float(self.tick_hz))) for seconds in spans]
        template = self._templates.get(replica)
        if template is None:
            b = ProgramBuilder("step", tick_hz=self.tick_hz)
            for server in self.platform.servers:
                b.server(server)
            first = replica * self._servers
            actors = [b.actor("link" if i % 2 else "stage", server=first + i) for i in range(self._servers)]
            fifos = [b.fifo(src, dst) for src, dst in pairwise(actors)]
            for i, actor in enumerate(actors):
                inputs = ((fifos[i - 1], 1, 1),) if i else ()
                outputs = ((fifos[i], 1, 1),) if i < len(fifos) else ()
                b.schedule(actor, [Run(Phase(works[i], inputs=inputs, outputs=outputs))])
            template = self._templates[replica] = b.build()
        return replace(template, phase_work=np.array(works, np.int64))

    def move(self, batch: int, way: Way, blocks: int) -> Program:
        """Raises BadInput: blocks of a pipeline stay where they are."""
        raise BadInput("pipeline parallelism: blocks cannot be swapped to a lower tier (preemption: recompute)")
