"""Users of a long-context model on one GPU: what their turns cost, and how they take turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil
from typing import Literal

import numpy as np

from ...arch.architecture import Architecture
from ...arch.loader import load_spec
from ...arch.network import switch
from ...engine.compiled import CompiledSession
from ...engine.program import Program
from ...serving import Listed, Scenario
from ...serving.llm.arrivals import TICK_HZ
from ...serving.llm.blocks import Blocks
from ...serving.llm.costs import StepCost, StepCosts
from ...serving.llm.fragments import Fragments, bandwidth_of
from ...serving.llm.placement import place
from ...serving.llm.programs import Programs
from ...serving.llm.sessions import Sessions
from ...serving.llm.state import Shape
from ...serving.loop import Completion, completions
from ...workloads.huggingface import load_config
from ...workloads.transformer import Bits, Group, Transformer, build_step, kv_bytes
from ..loader import data_path

BITS = Bits(16, 16, 16)
BLOCK_TOKENS = 16
CHUNK = 2048
"""Tokens of a prompt in one step."""
QUESTION, ANSWER = 128, 250
"""Tokens of a turn after the first; the analysis has answers of 250, a screen. The question is assumed."""


@cache
def machine(values: tuple[tuple[str, str], ...] = ()) -> Architecture:
    """The GPU; `values` replaces keys of its file."""
    return load_spec(data_path(__package__ or "", "a100_host.yaml")).with_values(dict(values)).build()


@cache
def model() -> Transformer:
    return load_config(data_path(__package__ or "", "yi_34b.json"), name="yi-34b").spec


@dataclass(frozen=True)
class Gpu:
    """The model on one GPU, all times simulated."""

    arch: Architecture

    @property
    def memory(self) -> str:
        return self.arch.off_chip[-1].name

    @property
    def host(self) -> str:
        return self.arch.off_chip[-2].name

    @property
    def fragments(self) -> Fragments:
        spec = model()
        return Fragments(spec, spec, self.arch, self.memory, switch(1, 1.0), BITS, ("tile", "tile", "cascade"))

    @property
    def costs(self) -> StepCosts:
        return _costs(self.arch)

    @property
    def block_bytes(self) -> int:
        return BLOCK_TOKENS * kv_bytes(model(), BITS.state)

    @property
    def blocks(self) -> int:
        """Of keys and values, all that the weights leave."""
        return place(self.arch, weight_bytes(), self.block_bytes, share=1.0).kv_bytes // self.block_bytes

    def concurrency(self, context: int) -> int:
        """Sequences of so many tokens whose blocks fit at once."""
        return self.blocks // Blocks(0, BLOCK_TOKENS).needed(context)

    def sockets(self, context: int) -> int:
        """GPUs that hold the weights once and one such sequence between them."""
        return ceil((weight_bytes() + context * kv_bytes(model(), 16)) / self.arch.memories[self.memory].capacity)

    def prefill(self, tokens: int, past: int = 0) -> StepCost:
        """`tokens` of a prompt after `past` others, the odd chunk first, and the first token of the answer."""
        total, done = self.costs.head(1), 0
        while done < tokens:
            here = (tokens - done) % CHUNK or CHUNK
            total = total.plus(self.costs.dense(here)).plus(self.costs.chunk(here, past + done))
            done += here
        return total

    def decode(self, context: int) -> StepCost:
        """One token that attends to `context` tokens."""
        return self.costs.of(Shape(1, context, (), 1))

    def turn(self, context: int, *, first: bool) -> StepCost:
        """A turn: the document when it is the first, else a question; and an answer."""
        begun = self.prefill(context) if first else self.prefill(QUESTION, context)
        each = self.decode(context)
        return begun.plus(StepCost(*(ANSWER * value for value in each)))


@cache
def _costs(arch: Architecture) -> StepCosts:
    return StepCosts(Gpu(arch).fragments)


@cache
def weight_bytes() -> int:
    return Gpu(machine()).fragments.weight_bytes


def peak_prefill_s(tokens: int) -> float:
    """Multiply-adds of a whole prompt, causal, at the peak of the tensor cores."""
    macs = build_step(model(), (Group(1, tokens, tokens),), BITS).macs
    arch = machine()
    unit = arch.units["tensor"]
    return macs / (unit.peak_rates()["mac"] * (unit.clock or arch.clock))


@dataclass(frozen=True)
class Turns:
    """What became of a stream of turns, in seconds from arrival to the end of the answer, and for how long blocks
    were on the move."""

    latencies_s: tuple[float, ...]
    moving_s: tuple[float, ...]
    """Of every turn: blocks out, and blocks in."""

    @property
    def switches(self) -> int:
        return sum(m > 0 for m in self.moving_s)


def take_turns(
    gpu: Gpu, context: int, users: int, arrivals: Sequence[tuple[float, int]],
    cost: Callable[[bool], StepCost] | None = None,
) -> Turns:  # fmt: skip
    """Serve turns (seconds, user), each user with a context of his own, least recent ones swapped to the host.

    `cost` is that of a turn, from whether it is the user's first; default: `Gpu.turn`.
    """
    way = bandwidth_of(gpu.arch, gpu.memory, gpu.host)
    programs = Programs(gpu.costs.of, 1, _port(gpu), way, gpu.block_bytes)

    def turn(user: int, first: bool) -> Program:
        return programs.span(0, gpu.turn(context, first=first) if cost is None else cost(first))

    def move(to: Literal["out", "in"], blocks: int) -> Program:
        return programs.move(0, to, blocks)

    needed = Blocks(0, BLOCK_TOKENS).needed(context)
    driver = Sessions((needed,) * users, gpu.blocks, turn, move, gpu.block_bytes)
    ticks = [(round(s * float(TICK_HZ)), user) for s, user in arrivals]
    listed = Listed(tuple(ticks))
    session = CompiledSession(programs.platform, TICK_HZ)
    done = list(completions(driver, Scenario(listed, None), session))
    return _turns(done, [r.arrival for r in listed.requests(0)])


def _turns(done: Sequence[Completion], arrivals: Sequence[int]) -> Turns:
    """A stage lasts from the end of the one before it, or from the arrival if that is later."""
    latencies, moving = [0.0] * len(arrivals), [0.0] * len(arrivals)
    before = 0
    for completion in done:
        (request,) = completion.submission.requests
        if completion.submission.note == "turn":
            latencies[request] = (completion.tick - arrivals[request]) / float(TICK_HZ)
        else:
            moving[request] += (completion.tick - max(before, arrivals[request])) / float(TICK_HZ)
        before = completion.tick
    return Turns(tuple(latencies), tuple(moving))


def _port(gpu: Gpu) -> float:
    port = gpu.arch.memories[gpu.memory].port("read")
    assert port is not None  # the machine file gives a bandwidth
    return port[1]


def poisson_turns(users: int, turns: int, gap_s: float, seed: int = 0) -> tuple[tuple[float, int], ...]:
    """Turns of random users at exponentially distributed intervals, every user once first."""
    rng = np.random.default_rng(seed)
    when = np.cumsum(rng.exponential(gap_s, users + turns))
    who = (*range(users), *(int(u) for u in rng.integers(users, size=turns)))
    return tuple((float(t), u) for t, u in zip(when, who, strict=True))
