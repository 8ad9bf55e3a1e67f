"""Fragments of steps on a machine: a part of the model as a Workload, through mapper, lowering and engine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import inf

from ...arch.architecture import Architecture
from ...arch.network import Network
from ...ir import Role, Workload
from ...lowering.collectives import collective_seconds
from ...simulation import simulate
from ...workloads.transformer import Bits, Exchange, Group, TokenEmbedding, Transformer, build_step, exchanges
from .costs import Fragment, StepCost
from .state import Shape

ROOMY = 2**50
"""Bytes of a memory whose use is accounted for elsewhere: that of keys and values, by blocks."""


@dataclass(frozen=True, eq=False)
class Fragments:
    """Costs of parts of steps of one replica: `network.sockets` sockets with a share of the model each.

    All sockets do the same at the same time, so one is simulated. Exchanges follow what they need and overlap with
    nothing. Adding up what an all-reduce receives takes no time.

    Attributes:
        model: the whole model.
        share: what one socket has of it.
        arch: one socket, the memory next to its chip as large as what weights may use of it.
        memory: that memory.
        network: between the sockets.
        bits: of activations, weights and cache.
        mappers: of the parts ``dense`` and ``attention``.
        algorithm: of collectives.
    """

    model: Transformer
    share: Transformer
    arch: Architecture
    memory: str
    network: Network
    bits: Bits
    mappers: tuple[str, str]
    algorithm: str = "auto"

    @cached_property
    def _attending(self) -> Architecture:
        return with_capacity(self.arch, self.memory, ROOMY)

    @cached_property
    def _exchanges(self) -> tuple[Exchange, ...]:
        return exchanges(self.model, self.network.sockets)

    @cached_property
    def _unbounded(self) -> Transformer:
        """The share without its table of positions: knots may lie beyond them."""
        embedding = self.share.embedding
        assert isinstance(embedding, TokenEmbedding)  # `weight_bytes` has built a step of it
        return replace(self.share, embedding=replace(embedding, positions=None))

    @cached_property
    def weight_bytes(self) -> int:
        """Of one socket's share."""
        step = build_step(self.share, (Group(1, 1, 1),), self.bits)
        copies = step.copies()
        return sum(t.nbytes * copies.get(t.name, 1) for t in step.tensors.values() if t.role is Role.WEIGHT
                   and step.storage(t.name) == t.name)  # fmt: skip

    def __call__(self, fragment: Fragment) -> StepCost:
        """The cost of a fragment, simulated."""
        part, sequences, tokens, past = fragment
        if part == "attention":
            groups = (Group(sequences, tokens, past + tokens),)
            return self._run(build_step(self._unbounded, groups, self.bits, part=part), self._attending, 1)
        head = part == "head"
        step = build_step(self._unbounded, (Group(1, tokens, tokens),), self.bits, part=part,
                          sampled=tokens if head else 0)  # fmt: skip
        cost = self._run(step, self.arch, 0)
        return cost._replace(seconds=cost.seconds + self._exchange_seconds("sampled" if head else "token", tokens))

    def whole(self, shape: Shape) -> StepCost:
        """The cost of a step as one Workload, mapped and simulated as such by the mapper of attention."""
        groups = tuple(Group(1, tokens, past + tokens) for tokens, past in shape.chunks)
        if shape.decodes:
            groups = (Group(shape.decodes, 1, round(shape.decode_context / shape.decodes)), *groups)
        step = build_step(self._unbounded, groups, self.bits, sampled=shape.sampled)
        cost = self._run(step, self._attending, 1)
        tokens = shape.decodes + sum(tokens for tokens, _ in shape.chunks)
        exchanged = self._exchange_seconds("token", tokens) + self._exchange_seconds("sampled", shape.sampled)
        return cost._replace(seconds=cost.seconds + exchanged)

    def _run(self, workload: Workload, arch: Architecture, mapper: int) -> StepCost:
        report = simulate(arch, workload, mapper=self.mappers[mapper])
        moved = sum(report.traffic_bytes[self.memory].values())
        return StepCost(report.latency_s, report.energy_J * self.network.sockets, float(moved))

    def _exchange_seconds(self, per: str, tokens: int) -> float:
        seconds = 0.0
        for e in self._exchanges if tokens else ():
            if e.per == per:
                nbytes = -(-e.elements * tokens * self.bits.activation // 8)
                seconds += e.times * collective_seconds(self.network, e.kind, nbytes, self.algorithm)
        return seconds


def with_capacity(arch: Architecture, memory: str, nbytes: int) -> Architecture:
    """The machine with another capacity of one memory."""
    changed = arch.memories[memory].model_copy(update={"capacity": nbytes})
    return replace(arch, memories={**arch.memories, memory: changed})


def bandwidth_of(arch: Architecture, src: str, dst: str) -> float:
    """Bytes per second that can move from one memory to another: the slowest port or link on the way."""
    slowest = inf
    path = arch.path(src, dst)
    for i, stop in enumerate(path):
        if i == 0 or i == len(path) - 1:
            port = arch.memories[stop.name].port("read" if i == 0 else "write")
            slowest = min(slowest, inf if port is None else port[1])
        elif stop.bandwidth is not None:
            slowest = min(slowest, stop.bandwidth)
    return slowest
