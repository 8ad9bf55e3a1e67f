"""Nodes of eight sockets and what they do for one request: route, switch experts, run them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from math import log

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
PROMPT = 4096
"""Tokens; not published for these runs. The paper's other runs of Llama-2-7B have so many."""
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
class Router:
    """What routing does: it writes `tokens` tokens, for a batch in one run (`together`) or prompt by prompt."""

    tokens: int
    together: bool


AS_AN_EXPERT = Router(20, together=True)
"""A run like an expert's of 20 tokens, once for a batch. Not published: see `implied` and the README."""
ONE_BY_ONE = Router(1, together=False)
"""Every prompt is read by itself, and a token written for each."""


@dataclass(frozen=True)
class Node:
    """Eight sockets. Times of passes are simulated, `constants` come on top."""

    name: str
    arch: Architecture
    constants: Constants = Constants()
    router: Router = AS_AN_EXPERT

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

    def pass_s(self, phase: str) -> float:
        """A prefill of `PROMPT` tokens, or one decode after them."""
        simulated = fused(self.arch, phase) if self.name == SN40L else _gpu(self.name, self.arch, phase)
        return simulated + self.constants.pass_s

    def route_s(self, batch: int) -> float:
        """The router, an expert in size, reads the prompts and writes its tokens."""
        runs = 1 if self.router.together else batch
        passes = runs * (self.pass_s("prefill") + (self.router.tokens - 1) * self.pass_s("decode"))
        return self.constants.run_s + passes

    def run_s(self, tokens: int) -> float:
        """An expert reads a prompt and writes `tokens` tokens; the first comes from the prefill."""
        return self.constants.run_s + self.pass_s("prefill") + (tokens - 1) * self.pass_s("decode")

    def switch_s(self) -> float:
        """An expert from the lower memories to the upper ones, simulated as a miss beside a hit."""
        again, first = hit_and_miss(self.upper_bytes, self.link_bandwidth, 1)
        return first - again

    def request_s(self, batch: int, tokens: int) -> float:
        """A batch of prompts is routed, then every prompt has an expert of its own switched in and run, one after the
        other."""
        return self.route_s(batch) + batch * (self.switch_s() + self.run_s(tokens))


@cache
def node(name: str, values: tuple[tuple[str, str], ...] = ()) -> Node:
    """A node; `values` replaces keys of its machine file."""
    spec = load_spec(data_path(__package__ or "", f"{name}.yaml"))
    return Node(name, spec.with_values(dict(values)).build())


@cache
def _gpu(name: str, arch: Architecture, phase: str) -> float:
    """Seconds of a pass, split over the GPUs, each operator a kernel but for attention of prefill, which is fused."""
    fragments = _fragments(arch, NVLINK[name])
    if phase == "prefill":
        return fragments.exact(Shape(0, 0, ((PROMPT, 0),), 1), Overheads()).seconds
    return fragments.exact(Shape(1, PROMPT + 1, (), 1), Overheads()).seconds


def _fragments(arch: Architecture, bandwidth: float) -> Fragments:
    model = load_config(MODEL).spec
    return Fragments(model, tensor_parallel(model, SOCKETS), arch, arch.off_chip[-1].name,
                     switch(SOCKETS, bandwidth, MESSAGE_LATENCY), BITS, ("tile", "tile", "cascade"))  # fmt: skip


@cache
def fused(arch: Architecture, phase: str, model: str = MODEL, tokens: int = PROMPT) -> float:
    """Seconds of a pass in fused kernels launched by hardware, as in the experiment sn40l_fusion."""
    on = fabric_of(arch, orchestration="hardware", sockets=SOCKETS)
    graphs = language_model(model, on.pool, phase=phase, tokens=tokens)
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


def _misses(at: Node, wanted: tuple[int, ...], experts: int) -> list[bool]:
    """Of requests that come one by one, each wanting one of `experts`."""
    driver = _cache_of(at.upper_bytes, at.link_bandwidth, experts, 1)
    return [note == MISS for note in notes_one_by_one(driver, wanted)]


def popular(experts: int, count: int, skew: float, seed: int = 0) -> tuple[int, ...]:
    """Experts wanted by `count` requests: expert k with a probability in proportion to (k + 1) ** -skew."""
    weights = np.arange(1, experts + 1, dtype=float) ** -skew
    drawn = np.random.default_rng(seed).choice(experts, count, p=weights / weights.sum())
    return tuple(int(k) for k in drawn)


def mean_latency(at: Node, experts: int, skew: float, tokens: int, requests: int = 200) -> float:
    """Seconds of a request of one prompt, on average over the second half of a stream of them, all experts having been
    wanted once before it."""
    compute = at.route_s(1) + at.run_s(tokens)
    wanted = (*range(experts), *popular(experts, requests, skew))
    hit, miss = hit_and_miss(at.upper_bytes, at.link_bandwidth, round(compute * float(TICK_HZ)))
    share = float(np.mean(_misses(at, wanted, experts)[-requests // 2:]))
    return hit + share * (miss - hit)


def knee(at: Node, most: int = 200) -> int:
    """The most experts of which none has to be switched in again, found by bisection over streams of requests."""
    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        if not any(_misses(at, (*range(middle), *range(middle)), middle)[middle:]):
            low = middle
        else:
            high = middle - 1
    return low


def calibrated(
    nodes: Mapping[str, Node], ratios: Mapping[tuple[str, int], float], pass_s: float = 0.0
) -> dict[str, Node]:
    """The nodes with three constants: of a run on the SN40L, of a pass on each DGX, by least squares of the logarithms
    of `ratios`, by (node, tokens), of expert runs of one prompt. A pass on the SN40L takes `pass_s` longer than what is
    simulated."""
    from scipy.optimize import least_squares

    def with_constants(x: np.ndarray) -> dict[str, Node]:
        ours = Constants(run_s=x[0], pass_s=pass_s)
        given = {SN40L: ours, A100: Constants(pass_s=x[1]), H100: Constants(pass_s=x[2])}
        return {name: replace(n, constants=given[name]) for name, n in nodes.items()}

    def errors(x: np.ndarray) -> list[float]:
        found = with_constants(x)
        return [log(found[name].run_s(tokens) / found[SN40L].run_s(tokens) / ratio)
                for (name, tokens), ratio in ratios.items()]

    fitted = least_squares(errors, [1e-3, 1e-3, 1e-3], bounds=(0, 1), x_scale=1e-3)
    return with_constants(fitted.x)
