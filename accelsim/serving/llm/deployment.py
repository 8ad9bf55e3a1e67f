"""A Scenario on its machines: fragments and costs of a model's shares, room for blocks, the Driver and its Session."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...arch.architecture import Architecture
from ...arch.loader import VALUE_SET, load_spec
from ...arch.network import network_of
from ...engine.compiled import CompiledSession
from ...engine.session import Session
from ...errors import SpecError
from ...workloads.huggingface import load_config
from ...workloads.transformer import Attention, Bits, Transformer, kv_bytes, tensor_parallel
from ..spans import SpanSession
from .arrivals import TICK_HZ
from .batching import Batching
from .faults import ScenarioError, blamed
from .fragments import Fragments, bandwidth_of, with_capacity
from .parallel import expert_parallel, stages
from .placement import Placement, place
from .programs import Programs
from .scenario import LlmScenario, Lower, Parallel
from .speculation import Draft
from .staged import StagedCosts, StagedPrograms


@dataclass(frozen=True, eq=False)
class Deployment:
    """What serves the requests of a scenario.

    Attributes:
        model: the whole one.
        costs: of steps.
        placement: of weights and blocks on the socket with most weights.
        driver: decides.
        session: on which its Programs run.
    """

    model: Transformer
    costs: StagedCosts
    placement: Placement
    driver: Batching
    session: Session


def deploy(s: LlmScenario) -> Deployment:
    """Put a model onto the machines of a scenario.

    Every stage of a pipeline has room for embedding and head, and as many blocks as the one with most weights leaves.

    Raises:
        BadInput: a name or number in it is wrong, or a parallel degree does not divide the model.
        DoesNotFit: weights find no room; the message has the tier and the bytes.
    """
    p, arch = s.parallel, _machine(s)
    with blamed("model"):
        model = load_config(s.model).spec
    if not arch.off_chip:
        raise ScenarioError("machine", f"{arch.name} has no memory outside the chip for weights and keys and values")
    memory, bits = arch.off_chip[-1], Bits(s.bits, s.bits, s.cache.bits)
    _degrees(p)
    shares = [(stage, _share(stage, p)) for stage in _stages(model, p)]
    with blamed("parallel.network"):
        network = network_of(p.topology, p.stage_sockets, p.bandwidth or 1.0, p.latency_s)
    fragments = [Fragments(stage, share, arch, memory.name, network, bits, s.mappers, p.algorithm, p.expert, p.overlap)
                 for stage, share in shares]  # fmt: skip
    draft = _draft(s, fragments[0], arch)
    token_bytes = max(kv_bytes(share, s.cache.bits) for _, share in shares)
    token_bytes += 0 if draft is None else kv_bytes(draft.share, s.cache.bits)
    block_bytes = token_bytes * s.cache.block_tokens
    weights = max(f.weight_bytes for f in fragments) + (0 if draft is None else draft.weight_bytes)
    placement = place(arch, weights, block_bytes * p.pipeline, share=s.cache.memory_share, kv_bytes=s.cache.nbytes)
    if placement.spilled_bytes:
        room = max(1, placement.weight_bytes - placement.spilled_bytes)
        fragments = [replace(f, arch=with_capacity(arch, memory.name, room), spilled=True) for f in fragments]
    overheads = s.overheads if grouped(model) else replace(s.overheads, grouped_attention=1.0)
    costs = StagedCosts.of_fragments(fragments, overheads, draft)
    lower, port = _lower(s, arch, memory.name), memory.port("read")
    lower_rate = None if lower is None else lower.bandwidth
    if p.prefill:
        lower_rate = p.bandwidth  # blocks come over the network
    programs: Programs | StagedPrograms
    if p.pipeline > 1:
        programs = StagedPrograms(costs, p.data, model.hidden * s.bits / 8, p.bandwidth * p.stage_sockets, p.latency_s)
    else:
        programs = Programs(costs.of, p.data, (port[1] if port else 1e18) * p.stage_sockets,
                            None if lower_rate is None else lower_rate * p.stage_sockets,
                            block_bytes * p.tensor)  # fmt: skip
    driver = Batching(
        programs.step, programs.move, p.batches, placement.kv_bytes // block_bytes * p.expert // p.pipeline,
        s.cache.block_tokens, block_bytes * p.tensor,
        0 if lower is None else lower.nbytes // block_bytes * p.expert, memory.name,
        None if s.speculative is None else Draft(s.speculative.tokens, s.speculative.acceptance, s.seed), p.prefill,
        p.expert,
    )  # fmt: skip
    # Where a step has its replica to itself nothing contends.
    alone = lower_rate is None and p.pipeline == 1
    session: Session = (SpanSession if alone else CompiledSession)(programs.platform, TICK_HZ)
    return Deployment(model, costs, placement, driver, session)


def _machine(s: LlmScenario) -> Architecture:
    with blamed("machine"):
        spec = load_spec(s.machine)
    with blamed("set"):
        changed = spec.with_values(dict(s.values))
    try:
        return changed.build()
    except SpecError as error:
        if any(problem.where.startswith(VALUE_SET) for problem in error.problems):
            raise ScenarioError("set", str(error)) from error
        raise


def _stages(model: Transformer, p: Parallel) -> tuple[Transformer, ...]:
    with blamed("parallel.pipeline"):
        return stages(model, p.pipeline)


def _share(stage: Transformer, p: Parallel) -> Transformer:
    """One socket's share of a stage."""
    with blamed("parallel.tensor"):
        whole = tensor_parallel(stage, p.tensor)
    with blamed("parallel.expert"):
        return expert_parallel(whole, p.expert)


def _draft(s: LlmScenario, target: Fragments, arch: Architecture) -> Fragments | None:
    """The draft model's share of a socket."""
    if s.speculative is None:
        return None
    if s.parallel.pipeline > 1 or s.parallel.expert > 1:
        raise ScenarioError("speculative", "a draft model with pipeline or expert parallelism is not modelled (use "
                            "tensor)")  # fmt: skip
    with blamed("speculative.model"):
        model = load_config(s.speculative.model).spec
        share = tensor_parallel(model, s.parallel.tensor)
    return replace(target, model=model, share=share, arch=arch)


def grouped(model: Transformer) -> bool:
    """Whether heads of queries share one of keys, in any layer."""
    return any(isinstance(a := layer.attention, Attention) and a.kv_heads < a.heads for layer in model.layers)


MOST_SOCKETS = 1 << 16


def _degrees(parallel: Parallel) -> None:
    """Raise BadInput for degrees that do not go together."""
    if parallel.tensor < 1 or parallel.data < 1:
        raise ScenarioError("parallel", f"{parallel.tensor} sockets a replica, {parallel.data} replicas (at least 1 of "
                            "each)")  # fmt: skip
    if parallel.sockets > MOST_SOCKETS:
        raise ScenarioError("parallel", f"{parallel.sockets:,} sockets in all (at most {MOST_SOCKETS:,})")
    if parallel.prefill and parallel.pipeline > 1:
        raise ScenarioError("parallel", "replicas that prefill for others have no pipeline (tensor or expert instead)")
    if (parallel.sockets > parallel.data or parallel.prefill) and parallel.bandwidth <= 0:
        raise ScenarioError("parallel", "several sockets a replica need the `bandwidth` of their network")
    if parallel.tensor > 1 and parallel.expert > 1:
        raise ScenarioError("parallel", f"{parallel.tensor} sockets share every layer and {parallel.expert} the "
                            "experts (only one of both may be above 1)")  # fmt: skip


def _lower(s: LlmScenario, arch: Architecture, memory: str) -> Lower | None:
    """The tier to swap to, of one socket."""
    if s.policy.preemption != "swap":
        if s.swap is not None:
            raise ScenarioError("swap", f"nothing is swapped where preemption is {s.policy.preemption} (preemption: "
                                "swap)")  # fmt: skip
        return None
    if s.policy.kind == "static":
        raise ScenarioError("policy.preemption", "swap: nothing leaves a static batch (kind: continuous or chunked)")
    if s.parallel.pipeline > 1:
        raise ScenarioError("parallel.pipeline", "blocks cannot be swapped to a lower tier (preemption: recompute)")
    if s.swap is None:
        raise ScenarioError("policy.preemption", "swap needs `swap`: a memory of the machine, or a tier of its own")
    if isinstance(s.swap, Lower):
        return s.swap
    farther = [m.name for m in arch.off_chip if m.name != memory]
    if s.swap not in farther:
        raise ScenarioError("swap", f"{arch.name} has no memory `{s.swap}` behind {memory} "
                            f"(known: {', '.join(farther) or 'none'})")  # fmt: skip
    return Lower(s.swap, arch.memories[s.swap].capacity, bandwidth_of(arch, memory, s.swap))


