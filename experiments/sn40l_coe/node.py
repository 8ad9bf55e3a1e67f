"""Nodes of eight sockets: how long they run an expert, how long they switch one in, how many they hold."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import numpy as np

from ...arch.architecture import Architecture
from ...arch.loader import load_spec
from ...arch.network import switch
from ...engine.compiled import CompiledSession
from ...mappers.phases import fabric_of, operators, reconfigurable, simulate_plan
from ...serving import AtOnce, Listed, Scenario, TieredCache, notes_one_by_one
from ...serving.llm.costs import Overheads
from ...serving.llm.fragments import Fragments, bandwidth_of
from ...serving.llm.state import Shape
from ...serving.loop import serve
from ...serving.tiered import MISS
from ...workloads.huggingface import load_config
from ...workloads.transformer import Bits, tensor_parallel
from ..loader import data_path
from ..sn40l_fusion.models import language_model

SOCKETS = 8
MODEL = "llama-2-7b"
PROMPTS = {20: 128, 200: 200}
"""Tokens read by tokens written: a chatbot and a translation of the NeMo figures from which the paper takes the times
of the DGX nodes (its reference 57). 128 stands on that page; 200 is what NVIDIA's earlier figures of the same use case
read, the page's own was not at hand."""
BITS = Bits(16, 16, 16)
TICK_HZ = Fraction(10**9)
SN40L, A100, H100 = "sn40l_node", "dgx_a100", "dgx_h100"
NVLINK = {A100: 300e9, H100: 450e9}
"""Bytes per second of a GPU's links through the switch, one way (NVLink 3 and 4 data sheets: 600 and 900 both ways)."""
MESSAGE_LATENCY = 2e-6
"""Seconds; assumed."""


@dataclass(frozen=True)
class Constants:
    """Times that no specification gives, in seconds: of a run of a model, and of a pass of it (one token)."""

    run_s: float = 0.0
    pass_s: float = 0.0


@dataclass(frozen=True)
class Node:
    """Eight sockets. Times of passes are simulated, `constants` come on top."""

    name: str
    arch: Architecture
    constants: Constants = Constants()

    @property
    def upper(self) -> str:
        """The memory that experts run from, and the one behind it that holds them all."""
        return self.arch.off_chip[-1].name

    @property
    def lower(self) -> str:
        return self.arch.off_chip[-2].name

    @property
    def upper_bytes(self) -> int:
        return SOCKETS * self.arch.memories[self.upper].capacity

    @property
    def lower_bytes(self) -> int:
        return SOCKETS * self.arch.memories[self.lower].capacity

    @property
    def link_bandwidth(self) -> float:
        """Bytes per second from the lower memories to the upper ones."""
        return SOCKETS * bandwidth_of(self.arch, self.lower, self.upper)

    def pass_s(self, phase: str, tokens: int, batch: int = 1) -> float:
        """A prefill of `batch` prompts of `tokens` tokens each, or one decode of each after so many."""
        simulated = (fused(self.arch, phase, MODEL, tokens, batch) if self.name == SN40L
                     else _gpu(self.name, self.arch, phase, tokens, batch))  # fmt: skip
        return simulated + self.constants.pass_s

    @staticmethod
    def prompt_of(tokens: int) -> int:
        """Tokens of the prompt of the use case that writes `tokens`."""
        return PROMPTS[tokens]

    def run_s(self, tokens: int, batch: int = 1, prompt: int | None = None) -> float:
        """An expert, or the router, reads `batch` prompts and writes `tokens` tokens for each, the first of them from
        the prefill. Decodes are those in the middle of the run."""
        read = self.prompt_of(tokens) if prompt is None else prompt
        decode = self.pass_s("decode", read + tokens // 2, batch) if tokens > 1 else 0.0
        return self.constants.run_s + self.pass_s("prefill", read, batch) + (tokens - 1) * decode

    def switch_s(self) -> float:
        """An expert from the lower memories to the upper ones, simulated as a miss beside a hit."""
        again, first = hit_and_miss(self.upper_bytes, self.link_bandwidth, 1)
        return first - again


@cache
def node(name: str, values: tuple[tuple[str, str], ...] = ()) -> Node:
    """A node; `values` replaces keys of its machine file."""
    spec = load_spec(data_path(__package__ or "", f"{name}.yaml"))
    return Node(name, spec.with_values(dict(values)).build())


@cache
def _gpu(name: str, arch: Architecture, phase: str, tokens: int, batch: int) -> float:
    """Seconds of a pass, split over the GPUs, each operator a kernel but for attention of prefill, which is fused."""
    if phase == "prefill":
        shape = Shape(0, 0, ((tokens, 0),) * batch, batch)
    else:
        shape = Shape(batch, batch * (tokens + 1), (), batch)
    return _fragments(arch, NVLINK[name]).exact(shape, Overheads()).seconds


def _fragments(arch: Architecture, bandwidth: float) -> Fragments:
    model = load_config(MODEL).spec
    return Fragments(model, tensor_parallel(model, SOCKETS), arch, arch.off_chip[-1].name,
                     switch(SOCKETS, bandwidth, MESSAGE_LATENCY), BITS, ("tile", "tile", "cascade"))  # fmt: skip


@cache
def fused(arch: Architecture, phase: str, model: str, tokens: int, batch: int = 1) -> float:
    """Seconds of a pass in fused kernels launched by hardware, as in the experiment sn40l_fusion."""
    on = fabric_of(arch, orchestration="hardware", sockets=SOCKETS)
    graphs = language_model(model, on.pool, phase=phase, tokens=tokens, batch=batch)
    return sum(simulate_plan(reconfigurable(g, on, longest=40, units=operators(g), keep=False)).seconds for g in graphs)


@cache
def expert_bytes() -> int:
    """Weights of one expert."""
    arch = node(A100).arch
    model = load_config(MODEL).spec
    return Fragments(model, model, arch, arch.off_chip[-1].name, switch(1, 1.0), BITS, ("tile",) * 3).weight_bytes


def experts_held(nbytes: int) -> int:
    return nbytes // expert_bytes()


def _cache_of(upper_bytes: int, link_bandwidth: float, experts: int, compute_ticks: int) -> TieredCache:
    """Least recently used experts make room; the router stays in the upper memories."""
    return TieredCache((expert_bytes(),) * experts, upper_bytes - expert_bytes(),
                       Fraction(link_bandwidth).limit_denominator(10**6) / TICK_HZ, compute_ticks)  # fmt: skip


@cache
def hit_and_miss(upper_bytes: int, link_bandwidth: float, compute_ticks: int) -> tuple[float, float]:
    """Seconds of a request whose expert is in the upper memories, and of one whose expert is not, simulated."""
    driver = _cache_of(upper_bytes, link_bandwidth, 1, compute_ticks)
    gap = 10 * compute_ticks + 10 * round(float(TICK_HZ) * expert_bytes() / link_bandwidth)
    log_ = serve(driver, Scenario(Listed(((0, 0), (gap, 0))), AtOnce(1)), CompiledSession(driver.platform, TICK_HZ))
    miss, hit = (s.latency / float(TICK_HZ) for s in log_.served)
    return hit, miss


def misses(at: Node, wanted: tuple[int, ...], experts: int) -> list[bool]:
    """Of requests that come one by one, each wanting one of `experts`."""
    driver = _cache_of(at.upper_bytes, at.link_bandwidth, experts, 1)
    return [note == MISS for note in notes_one_by_one(driver, wanted)]


def popular(experts: int, count: int, skew: float, seed: int = 0) -> tuple[int, ...]:
    """Experts wanted by `count` requests: expert k with a probability in proportion to (k + 1) ** -skew."""
    weights = np.arange(1, experts + 1, dtype=float) ** -skew
    drawn = np.random.default_rng(seed).choice(experts, count, p=weights / weights.sum())
    return tuple(int(k) for k in drawn)


def knee(at: Node, most: int = 200) -> int:
    """The most experts of which none has to be switched in again, found by bisection over streams of requests."""
    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        if not any(misses(at, (*range(middle), *range(middle)), middle)[middle:]):
            low = middle
        else:
            high = middle - 1
    return low
