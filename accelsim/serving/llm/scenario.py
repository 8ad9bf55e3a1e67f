"""A Scenario of LLM serving as a value: model, machines, network, requests, policy, memory, objectives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .arrivals import PoissonRequests, TraceRequests
from .costs import Overheads
from .state import Policy


@dataclass(frozen=True)
class Parallel:
    """`data` replicas of `pipeline` stages of `tensor` or `expert` sockets each.

    The links of a stage's sockets are those of a topology of `arch.network`.

    Attributes:
        tensor: sockets that share every layer.
        data: replicas, each with all weights.
        pipeline: stages of a replica. So many batches are on their way, each with an equal share of the blocks.
        expert: sockets that share the experts, each with sequences of its own; then `tensor` is 1.
        overlap: parts that a step is cut in at most, so that exchanges of one overlap with the compute of others;
            for every size the fastest number is taken, 1 included.
        prefill: replicas that prefill alone and hand each request over, with its blocks, to one that decodes.
        topology: of the sockets of a stage.
        bandwidth: bytes per second, one way; see the topologies.
        latency_s: of a message.
        algorithm: of collectives; ``auto`` is the fastest for each size.
    """

    tensor: int = 1
    data: int = 1
    topology: str = "switch"
    bandwidth: float = 0.0
    latency_s: float = 0.0
    algorithm: str = "auto"
    pipeline: int = 1
    expert: int = 1
    overlap: int = 1
    prefill: int = 0

    @property
    def stage_sockets(self) -> int:
        return self.tensor * self.expert

    @property
    def batches(self) -> int:
        """Batches that are on their way at once, of all replicas."""
        return self.data * self.pipeline

    @property
    def sockets(self) -> int:
        return self.stage_sockets * self.pipeline * self.data


@dataclass(frozen=True)
class Cache:
    """Paged keys and values.

    Attributes:
        block_tokens: tokens of a block.
        bits: per element.
        memory_share: of the memory next to the chip that may be used at all.
        nbytes: for blocks on each socket; None: what the weights leave.
    """

    block_tokens: int = 16
    bits: int = 16
    memory_share: float = 0.9
    nbytes: int | None = None


@dataclass(frozen=True)
class Lower:
    """The tier that blocks are swapped to, of one socket: its room for them, and the bandwidth on the way."""

    name: str
    nbytes: int
    bandwidth: float


@dataclass(frozen=True)
class Speculative:
    """Speculative decoding: a draft `model` on the same sockets, split as the large one, proposes `tokens` a step."""

    model: str
    tokens: int = 4
    acceptance: float = 0.7


@dataclass(frozen=True)
class Objectives:
    """Service level: a request attains it when neither limit is passed. None: no limit."""

    ttft_s: float | None = None
    tpot_s: float | None = None


@dataclass(frozen=True)
class LlmScenario:
    """What `simulate_serving` runs; equal values give equal results.

    Attributes:
        model: a name of the zoo or a config file.
        machine: a preset or a machine file; every socket is one.
        arrivals: requests.
        values: what to replace in the machine, by path.
        swap: a memory of the machine by name, or a tier beside it; None: no swapping.
        mappers: of weights, of the attention of decodes, and of that of chunks.
        bits: of weights and activations.
        overheads: what software takes besides.
        speculative: a draft model; None: there is none.
        checks: steps that are simulated at their own sizes, to measure the error of interpolation.
        places: ``file:line`` of values by their paths, and the file by the empty path, where it was read from one.
    """

    model: str
    machine: str
    arrivals: PoissonRequests | TraceRequests
    values: tuple[tuple[str, str | int | float | bool], ...] = ()
    parallel: Parallel = field(default_factory=Parallel)
    policy: Policy = field(default_factory=Policy)
    cache: Cache = field(default_factory=Cache)
    swap: str | Lower | None = None
    objectives: Objectives = field(default_factory=Objectives)
    mappers: tuple[str, str, str] = ("tile", "tile", "cascade")
    bits: int = 16
    overheads: Overheads = field(default_factory=Overheads)
    speculative: Speculative | None = None
    checks: int = 4
    seed: int = 0
    name: str = "scenario"
    places: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
