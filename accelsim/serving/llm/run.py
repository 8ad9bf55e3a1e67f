"""Running a Scenario of LLM serving, from the names in it to the result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ...arch.architecture import Architecture
from ...arch.loader import load_spec
from ...arch.network import Network, network_of
from ...engine.compiled import CompiledSession
from ...engine.session import Session
from ...errors import BadInput, ProgramError
from ...workloads.huggingface import load_config
from ...workloads.transformer import Attention, Bits, Transformer, kv_bytes, tensor_parallel
from ..driver import Request
from ..loop import Completion, completions
from ..scenario import Listed, Scenario
from ..spans import SpanSession
from .arrivals import TICK_HZ, TraceRequests
from .batching import Batching
from .costs import StepCosts
from .fragments import Fragments, bandwidth_of, with_capacity
from .placement import Placement, place
from .programs import Programs
from .result import Check, Requests, ServingResult, Steps
from .scenario import LlmScenario, Lower, Parallel
from .state import Move, Shape, Step, Tokens


def simulate_serving(s: LlmScenario) -> ServingResult:
    """Serve all requests of a scenario.

    Raises:
        BadInput: a name or number in it is wrong, or the parallel degree does not divide the model.
        DoesNotFit: weights, a batch or a request find no room; the message has the tier and the bytes.
    """
    model = load_config(s.model).spec
    share = tensor_parallel(model, s.parallel.tensor)
    arch = load_spec(s.machine).with_values(dict(s.values)).build()
    requests = s.arrivals.requests(s.seed)
    _positions(model, requests)
    bits = Bits(s.bits, s.bits, s.cache.bits)
    if not arch.off_chip:
        raise BadInput(f"{arch.name}: serving needs a memory outside the chip for weights and keys and values")
    memory = arch.off_chip[-1]
    network = _network(s.parallel)
    fragments = Fragments(model, share, arch, memory.name, network, bits, s.mappers, s.parallel.algorithm)
    token_bytes = kv_bytes(share, s.cache.bits)
    placement = place(arch, fragments.weight_bytes, token_bytes * s.cache.block_tokens, share=s.cache.memory_share,
                      kv_bytes=s.cache.nbytes)  # fmt: skip
    if placement.spilled_bytes:
        room = max(1, placement.weight_bytes - placement.spilled_bytes)
        fragments = replace(fragments, arch=with_capacity(arch, memory.name, room), spilled=True)
    overheads = s.overheads if grouped(model) else replace(s.overheads, grouped_attention=1.0)
    costs = StepCosts(fragments, overheads)
    lower = _lower(s, arch, memory.name)
    block_bytes = token_bytes * s.cache.block_tokens
    port = memory.port("read")
    programs = Programs(costs.of, s.parallel.data, (port[1] if port else 1e18) * s.parallel.tensor,
                        None if lower is None else lower.bandwidth * s.parallel.tensor,
                        block_bytes * s.parallel.tensor)  # fmt: skip
    driver = Batching(
        programs.step, programs.move, s.parallel.data, placement.kv_bytes // block_bytes, s.cache.block_tokens,
        block_bytes * s.parallel.tensor, 0 if lower is None else lower.nbytes // block_bytes, memory.name,
    )  # fmt: skip
    arrivals = Listed(tuple((r.arrival, r.wants) for r in requests))
    # Without swaps nothing contends with a step for its replica.
    session: Session = (SpanSession if lower is None else CompiledSession)(programs.platform, TICK_HZ)
    done = list(completions(driver, Scenario(arrivals, s.policy, s.seed), session))
    return _result(s, requests, done, placement, driver, costs, fragments)


def grouped(model: Transformer) -> bool:
    """Whether heads of queries share one of keys, in any layer."""
    return any(isinstance(a := layer.attention, Attention) and a.kv_heads < a.heads for layer in model.layers)


def _positions(model: Transformer, requests: Sequence[Request]) -> None:
    """Raise BadInput for a request beyond the learned positions of the model."""
    for r in requests:
        assert isinstance(r.wants, Tokens)
        if model.positions is not None and sum(r.wants) > model.positions:
            raise BadInput(f"request {r.id}: {r.wants.prompt} + {r.wants.output} tokens exceed the {model.positions} "
                           f"learned positions of {model.name}")  # fmt: skip


def _network(parallel: Parallel) -> Network:
    if parallel.tensor < 1 or parallel.data < 1:
        raise BadInput(f"parallel: {parallel.tensor} sockets a replica, {parallel.data} replicas (at least 1 of each)")
    if parallel.tensor > 1 and parallel.bandwidth <= 0:
        raise BadInput("parallel: several sockets a replica need the `bandwidth` of their network")
    return network_of(parallel.topology, parallel.tensor, parallel.bandwidth or 1.0, parallel.latency_s)


def _lower(s: LlmScenario, arch: Architecture, memory: str) -> Lower | None:
    """The tier to swap to, of one socket."""
    if s.policy.preemption != "swap":
        return None
    if s.swap is None:
        raise BadInput("preemption by swap needs `swap`: a memory of the machine, or bandwidth and capacity of a tier")
    if isinstance(s.swap, Lower):
        return s.swap
    farther = [m.name for m in arch.off_chip if m.name != memory]
    if s.swap not in farther:
        raise BadInput(f"swap: {arch.name} has no memory `{s.swap}` behind {memory} "
                       f"(known: {', '.join(farther) or 'none'})")  # fmt: skip
    return Lower(s.swap, arch.memories[s.swap].capacity, bandwidth_of(arch, memory, s.swap))


def _result(
    s: LlmScenario, requests: Sequence[Request], done: Sequence[Completion], placement: Placement, driver: Batching,
    costs: StepCosts, fragments: Fragments,
) -> ServingResult:  # fmt: skip
    first, last, count = (np.zeros(len(requests), np.int64) for _ in range(3))
    steps = [(c.tick, c.submission) for c in done if isinstance(c.submission, Step)]
    for tick, step in steps:
        for request in step.emits:
            if not count[request]:
                first[request] = tick
            last[request] = tick
            count[request] += 1
    wants = [r.wants for r in requests if isinstance(r.wants, Tokens)]
    outputs = np.array([w.output for w in wants])
    if (count != outputs).any():
        raise ProgramError(f"request {int(np.flatnonzero(count != outputs)[0])} did not get its tokens")
    per_s = float(TICK_HZ)
    moves = [c.submission for c in done if isinstance(c.submission, Move)]
    swapped = sum(m.blocks for m in moves) * driver.block_bytes
    found = Counter(m.way for m in moves)
    shapes = [step.shape for _, step in steps]
    return ServingResult(
        s,
        Requests(np.array([r.arrival for r in requests]) / per_s, first / per_s, last / per_s,
                 np.array([w.prompt for w in wants]), outputs),
        Steps(np.array([tick for tick, _ in steps]) / per_s, np.array([x.replica for _, x in steps]),
              np.array([x.decodes + sum(t for t, _ in x.chunks) for x in shapes]),
              np.array([x.decodes for x in shapes]), np.array([x.blocks_in_use for _, x in steps]),
              np.array([x.waiting for _, x in steps])),
        placement, driver.blocks, sum(costs.of(x).joules for x in shapes),
        {"swap": found["out"], "recompute": _recomputed(steps)}, swapped, len(costs.known),
        _checks(s, shapes, costs, fragments),
        s.arrivals.problems if isinstance(s.arrivals, TraceRequests) else (),
    )  # fmt: skip


def _recomputed(steps: Sequence[tuple[int, Step]]) -> int:
    """How often a prompt was begun anew."""
    begun = Counter(c.request for _, step in steps for c in step.chunks if c.past == 0)
    return sum(n - 1 for n in begun.values())


MOST_CHUNKS = 4
"""Of a step that is checked."""


def _checks(s: LlmScenario, shapes: Sequence[Shape], costs: StepCosts, fragments: Fragments) -> tuple[Check, ...]:
    """Steps drawn at random among those of few chunks, simulated at their own sizes."""
    some = [shape for shape in shapes if len(shape.chunks) <= MOST_CHUNKS] or shapes
    drawn = np.random.default_rng(s.seed).choice(len(some), min(s.checks, len(some)), replace=False)
    found = []
    for shape in (some[i] for i in sorted(drawn)):
        text = f"{shape.decodes} decodes of {shape.decode_context / max(1, shape.decodes):.0f} tokens"
        text += "".join(f", {tokens} after {past}" for tokens, past in shape.chunks[:MOST_CHUNKS])
        found.append(Check(text, costs.of(shape).seconds, fragments.exact(shape, costs.overheads).seconds))
    return tuple(found)
