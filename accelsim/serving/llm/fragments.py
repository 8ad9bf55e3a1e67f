"""Fragments of steps on a machine: a part of the model as a Workload, through mapper, lowering and engine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, reduce
from math import inf

from ...arch.architecture import Architecture
from ...arch.network import Network
from ...ir import Role, Workload
from ...lowering.collectives import collective_seconds
from ...simulation import simulate
from ...workloads.transformer import (
    Attention,
    Bits,
    Exchange,
    Group,
    Mlp,
    TokenEmbedding,
    Transformer,
    build_step,
    exchanges,
)
from .costs import Fragment, Overheads, Part, StepCost
from .launches import kernels
from .parallel import AllToAll, dispatches, overlapped_seconds, parts_of
from .state import Shape

ROOMY = 2**50
"""Bytes of a memory whose use is accounted for elsewhere: that of keys and values, by blocks."""


@dataclass(frozen=True)
class Fragments:
    """Costs of parts of steps of one replica: `network.sockets` sockets with a share of the model each.

    All sockets do the same at the same time, so one is simulated. Exchanges follow what they need; what else they
    overlap with is a choice (`overlap`), of which the fastest is taken. Adding up what an all-reduce receives takes no
    time. Equal values share what they have simulated in one
    process.

    Attributes:
        model: the whole model.
        share: what one socket has of it.
        arch: one socket, the memory next to its chip as large as what weights may use of it.
        memory: that memory.
        network: between the sockets.
        bits: of activations, weights and cache.
        mappers: of weights, of the attention of decodes, and of that of chunks.
        algorithm: of collectives.
    """

    model: Transformer
    share: Transformer
    arch: Architecture
    memory: str
    network: Network
    bits: Bits
    mappers: tuple[str, str, str]
    algorithm: str = "auto"
    experts: int = 1
    """Sockets that share the experts, each with sequences of its own."""
    overlap: int = 1
    """Parts that a step is cut in at most, so that exchanges of one overlap with the compute of others."""
    spilled: bool = False
    """Some weights lie in a farther tier: then nothing else may take their place in this one."""

    @cached_property
    def _attending(self) -> Architecture:
        return with_capacity(self.arch, self.memory, ROOMY)

    @cached_property
    def _exchanges(self) -> tuple[Exchange, ...]:
        return exchanges(self.model, self.network.sockets) if self.experts == 1 else ()

    @cached_property
    def _dispatches(self) -> tuple[AllToAll, ...]:
        return dispatches(self.model, self.experts)

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
        """The cost of a fragment, simulated once."""
        return _simulated(self, fragment)

    def run(self, fragment: Fragment) -> StepCost:
        """The cost of a fragment, simulated now."""
        part, sequences, tokens, past = fragment
        _, decode, chunk = self.mappers
        if part == "attention":
            group = Group(-(-sequences // self.experts), tokens, past + tokens)
            return self._run(part, group, self._attending, decode if tokens == 1 else chunk)
        found = self._whole(part, tokens)
        if part == "dense" and found.exchanges:
            found = min([found, *(self._in_parts(tokens, n) for n in parts_of(self.overlap, tokens))],
                        key=lambda cost: cost.seconds)  # fmt: skip
        return found

    def _whole(self, part: Part, tokens: int) -> StepCost:
        """Weights or head, and then their exchanges."""
        return self._computed(part, tokens).plus(self._exchanged("sampled" if part == "head" else "token", tokens))

    def _in_parts(self, tokens: int, parts: int) -> StepCost:
        """Weights and exchanges of a step in parts that take turns: each reads the weights by itself."""
        each = -(-tokens // parts)
        compute, exchange = self._computed("dense", each), self._exchanged("token", each)
        times = round(exchange.exchanges)
        seconds = overlapped_seconds(compute.seconds / times, exchange.seconds / times, times, parts)
        both = compute.plus(exchange)
        return StepCost(seconds, *(parts * x for x in both[1:]))

    def _computed(self, part: Part, tokens: int) -> StepCost:
        mine = -(-tokens // self.experts)
        return self._run(part, Group(1, mine, mine), self.arch, self.mappers[0])

    def exact(self, shape: Shape, overheads: Overheads) -> StepCost:
        """The cost of a step with nothing interpolated.

        Steps of decodes alone are one Workload, mapped and simulated whole. In steps with chunks, whose attention has a
        mapper of its own, weights, head and the attention of each chunk are simulated at their sizes, and added up.
        """
        context = round(shape.decode_context / max(1, shape.decodes))
        whole = self.mappers[0] == self.mappers[1] and not self.spilled and overheads.grouped_attention == 1
        whole = whole and self.overlap == 1 and self.experts == 1 and not shape.ahead
        if shape.decodes and not shape.chunks and whole:
            step = build_step(self._unbounded, (Group(shape.decodes, 1, context),), self.bits, sampled=shape.sampled)
            cost = self._on_all(_reported(step, self._attending, self.memory, self.mappers[0]))
            cost = cost.plus(self._exchanged("token", shape.decodes)).plus(self._exchanged("sampled", shape.sampled))
            return overheads.of_step(shape, cost)
        parts = [Fragment("dense", 1, shape.tokens, 0)]
        parts += [Fragment("head", 1, shape.sampled, 0)] if shape.sampled else []
        parts += [Fragment("attention", shape.decodes, 1 + shape.ahead, context - 1)] if shape.decodes else []
        parts += [Fragment("attention", 1, tokens, past) for tokens, past in shape.chunks]
        costs = [(f, self(f)) for f in parts]
        share = overheads.grouped_attention
        slowed = [c._replace(seconds=c.seconds / share) if f.part == "attention" else c for f, c in costs]
        return overheads.of_step(shape, reduce(StepCost.plus, slowed))

    def _run(self, part: Part, group: Group, arch: Architecture, mapper: str) -> StepCost:
        alike = self._unbounded if self.spilled else _needed(self._unbounded, part, group.tokens)
        return self._on_all(_alone(alike, part, group, self.bits, arch, self.memory, mapper))

    def _on_all(self, cost: StepCost) -> StepCost:
        """What one socket does on all of them."""
        return cost._replace(joules=cost.joules * self.network.sockets)

    def _exchanged(self, per: str, tokens: int) -> StepCost:
        seconds, count = 0.0, 0
        for e in self._exchanges if tokens else ():
            if e.per == per:
                nbytes = -(-e.elements * tokens * self.bits.activation // 8)
                seconds += e.times * collective_seconds(self.network, e.kind, nbytes, self.algorithm)
                count += e.times
        for d in self._dispatches if tokens and per == "token" else ():
            nbytes = -(-d.elements * -(-tokens // self.experts) * self.bits.activation // 8)
            seconds += d.times * collective_seconds(self.network, "all_to_all", nbytes, self.algorithm)
            count += d.times
        return StepCost(seconds, 0.0, 0.0, 0.0, float(count))


@lru_cache(maxsize=1 << 14)
def _simulated(fragments: Fragments, fragment: Fragment) -> StepCost:
    return fragments.run(fragment)


def _needed(model: Transformer, part: Part, tokens: int) -> Transformer:
    """The model without what a part has no use for, so that models that have it in common share its simulation."""
    embedding = model.embedding
    assert isinstance(embedding, TokenEmbedding)  # see `Fragments._unbounded`
    layers = tuple(replace(x, attention=replace(x.attention, window=None)) if isinstance(x.attention, Attention) else x
                   for x in model.layers)  # fmt: skip
    if part == "attention":
        layers = tuple(replace(x, mlp=_NO_MLP) for x in layers)
        return Transformer("model", 1, layers, TokenEmbedding(1), None, None)
    if part == "dense":
        rows = min(tokens, embedding.vocabulary)
        return replace(model, name="model", layers=layers, embedding=replace(embedding, vocabulary=rows), head=None)
    return model


_NO_MLP = Mlp(1, "relu", gated=False)


@lru_cache(maxsize=1 << 14)
def _alone(
    model: Transformer, part: Part, group: Group, bits: Bits, arch: Architecture, memory: str, mapper: str
) -> StepCost:
    """The cost of a part on one socket, simulated once."""
    sampled = group.tokens if part == "head" else 0
    return _reported(build_step(model, (group,), bits, part=part, sampled=sampled), arch, memory, mapper)


def _reported(workload: Workload, arch: Architecture, memory: str, mapper: str) -> StepCost:
    report = simulate(arch, workload, mapper=mapper, tables=False)
    moved = sum(report.traffic_bytes[memory].values())
    return StepCost(report.latency_s, report.energy_J, float(moved), float(kernels(workload)))


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
