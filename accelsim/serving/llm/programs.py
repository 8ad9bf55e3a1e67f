"""Programs of steps and moves, on a platform of replicas with a memory and a way to the lower tier each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

from ...components.base import server_rate
from ...engine.builder import Phase, ProgramBuilder, Run
from ...engine.program import ROUND_ROBIN, Platform, Program, Server
from .arrivals import TICK_HZ
from .costs import StepCost
from .state import Shape, Way

BURST_BYTES = 1 << 24
"""What steps and moves that share a memory take in turn."""


@dataclass(frozen=True, eq=False)
class Programs:
    """Makes what the Driver submits.

    A step occupies its replica for as long as it was simulated to take. Where blocks are swapped, its bytes pass the
    memory meanwhile, in turns with those of moves, so that either slows the other down; moves pass memory and way
    block by block.

    Attributes:
        cost: of a step.
        replicas: how many.
        memory_rate: bytes per second of the memories of a replica's sockets together.
        lower_rate: bytes per second on all their ways to the lower tier; None: there is none.
        block_bytes: of a block, on all sockets.
    """

    cost: Callable[[Shape], StepCost]
    replicas: int
    memory_rate: float
    lower_rate: float | None
    block_bytes: int
    tick_hz: Fraction = TICK_HZ
    _templates: dict[int, Program] = field(default_factory=dict)

    @property
    def platform(self) -> Platform:
        """Servers of replica r: r; with a lower tier its memory n + r, its way 2n + r."""
        servers = [Server(f"replica {r}") for r in range(self.replicas)]
        if self.lower_rate is not None:
            memory, lower = (server_rate(n, rate, self.tick_hz) for n, rate in (
                ("memory", self.memory_rate), ("lower tier", self.lower_rate)))  # fmt: skip
            servers += [Server(f"memory {r}", memory, ROUND_ROBIN, BURST_BYTES) for r in range(self.replicas)]
            servers += [Server(f"lower tier {r}", lower) for r in range(self.replicas)]
        return Platform(tuple(servers))

    def step(self, replica: int, shape: Shape) -> Program:
        """The Program of a step."""
        return self.span(replica, self.cost(shape))

    def span(self, replica: int, cost: StepCost) -> Program:
        """The Program of work that takes a replica for some time."""
        works = [max(1, round(cost.seconds * float(self.tick_hz)))]
        if self.lower_rate is not None:
            works.append(max(1, round(cost.nbytes)))
        template = self._templates.get(replica)
        if template is None:
            b = self._builder("step")
            for i, name in enumerate(("compute", "memory")[: len(works)]):
                b.actor(name, server=i * self.replicas + replica, schedule=[Run(Phase(works[i]))])
            template = self._templates[replica] = b.build()
        return replace(template, phase_work=np.array(works, np.int64))

    def move(self, replica: int, way: Way, blocks: int) -> Program:
        """The Program of blocks that leave the memory (``out``) or come back to it (``in``)."""
        b = self._builder(f"swap {way}")
        memory, lower = (b.actor(name, server=i * self.replicas + replica)
                         for i, name in ((1, "memory"), (2, "lower tier")))  # fmt: skip
        first, second = (memory, lower) if way == "out" else (lower, memory)
        fifo = b.fifo(first, second, depth=2)
        b.schedule(first, [Run(Phase(self.block_bytes, outputs=((fifo, 1, 1),)), blocks)])
        b.schedule(second, [Run(Phase(self.block_bytes, inputs=((fifo, 1, 1),)), blocks)])
        return b.build()

    def _builder(self, name: str) -> ProgramBuilder:
        b = ProgramBuilder(name, tick_hz=self.tick_hz)
        for server in self.platform.servers:
            b.server(server)
        return b
