"""A step of fine-tuning with everything but the running layer in host memory: transfers, computing, the optimiser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from ...engine import compiled
from ...lowering.tiers import program_of
from ...mappers.offload.parts import Model, model_of
from ...mappers.offload.stripes import Held, Placed, Policy, Store, critical_local, interleaved, local_first
from ...mapping.tiers.check import check_tier_plan
from ...mapping.tiers.plan import TierPlan
from ...mapping.tiers.problem import Choice, Link, Step, Tier, TierProblem
from ...workloads.huggingface import load_config
from ...workloads.transformer import Bits, Options, build
from ...workloads.zoo import load
from ..loader import Changes, figures_of, table

POLICIES: Mapping[str, Policy] = {
    "critical objects local": critical_local,
    "interleaved": interleaved,
    "local first": local_first,
}
DRAM, GPU = "DRAM", "GPU"
IN, OUT = "to the GPU", "from the GPU"
MASTER, STATES, GRADIENTS = 4, 8, 2
"""Bytes per weight: its copy of 32 bits, two moments of 32 bits, and its gradient of 16 bits. Beside them are 2 of the
weight itself."""


@dataclass(frozen=True)
class Case:
    """What is trained where: a model of the zoo, `batch` sequences of `context` tokens, and so many cards."""

    model: str = "llama-2-7b"
    batch: int = 8
    context: int = 4096
    cards: int = 1
    policy: str = "critical objects local"


@cache
def figures(changes: Changes = ()) -> Mapping[str, float]:
    return figures_of(table(__package__ or "", "machine.csv"), changes)


def stores(cards: int, on: Mapping[str, float]) -> tuple[Store, ...]:
    """DRAM, and cards beside a smaller one."""
    dram = Store(DRAM, int(on["DRAM capacity beside cards" if cards else "DRAM capacity"]), on["DRAM"])
    return (dram, *(Store(f"card {k}", int(on["card capacity"]), on["card"]) for k in range(cards)))


@cache
def parts(name: str, context: int) -> Model:
    spec = load_config(load(name), name=name).spec
    bits = Bits(16, 16, 16)
    prefill = build(spec, "prefill", 1, context, context, "last", bits, Options(causal=True))
    return model_of(prefill, build(spec, "decode", 1, 1, context, "last", bits), context, spec.hidden * 2)


def objects(case: Case) -> tuple[Held, ...]:
    """What host memory holds: the optimiser's objects, which the processor goes through, weights and checkpoints."""
    model = parts(case.model, case.context)
    weights = model.weight_bytes // 2
    checkpoints = case.batch * case.context * model.hidden_bytes * len(model.units)
    return (
        Held("checkpoints", checkpoints),
        Held("weights", 2 * weights),
        Held("gradients", GRADIENTS * weights, critical=True),
        Held("master weights", MASTER * weights, critical=True),
        Held("moments", STATES * weights, critical=True),
    )


@cache
def problem_of(case: Case, changes: Changes = ()) -> TierProblem:
    """A training step: forward, backward with each layer computed anew from its checkpoint, optimiser.

    Raises:
        DoesNotFit: host memory holds less than there is; the message says by how much.
    """
    on = figures(changes)
    where = stores(case.cards, on)
    placed = POLICIES[case.policy](where, objects(case))
    model = parts(case.model, case.context)
    rate = on["GPU peak"] * on["GPU efficiency"]
    room = {s.name: sum(row[s.name] for row in placed.values()) for s in where}

    def step(name: str, seconds: float, *streams: Mapping[str, int]) -> Step:
        total: dict[str, int] = {}
        for link, nbytes in (pair for one in streams for pair in one.items()):
            total[link] = total.get(link, 0) + nbytes
        return Step(name, (Choice("run", seconds, streams=total, workspace=room),))

    forward, backward = [], []
    for unit, part in model.units:
        seconds = case.batch * (part.prefill.products + part.prefill.attention) / rate
        kept = case.batch * case.context * model.hidden_bytes
        fetched = _passed(placed, {"weights": part.weight_bytes}, IN)
        saved = _passed(placed, {"checkpoints": kept}, OUT)
        forward.append(step(f"{unit}, forward", seconds, fetched, saved))
        back = _passed(placed, {"weights": part.weight_bytes, "checkpoints": kept}, IN)
        out = _passed(placed, {"gradients": part.weight_bytes}, OUT)
        backward.append(step(f"{unit}, backward", 3 * seconds, back, out))  # once more forward, and twice that back
    steps = (*forward, *reversed(backward), step("optimiser", 0.0, _optimiser(placed, where)))
    links = (
        Link(IN, DRAM, GPU, on["GPU link"]), Link(OUT, GPU, DRAM, on["GPU link"]),
        *(Link(_own(s.name), s.name, GPU, s.bandwidth) for s in where),
    )  # fmt: skip
    tiers = (Tier(GPU), *(Tier(s.name, s.capacity) for s in where))
    return TierProblem(f"fine-tuning {case.model}", tiers, links, {}, steps, periodic=True)


def _own(store: str) -> str:
    return f"port of {store}"


def _passed(placed: Placed, moved: Mapping[str, int], way: str) -> dict[str, int]:
    """Bytes on the GPU's link, and on the ports of the stores that they come from or go to."""
    found = {way: sum(moved.values())}
    for name, nbytes in moved.items():
        row = placed[name]
        for store, held in row.items():
            found[_own(store)] = found.get(_own(store), 0) + round(nbytes * held / (sum(row.values()) or 1))
    return found


def _optimiser(placed: Placed, where: Sequence[Store]) -> dict[str, int]:
    """Adam reads gradients, and reads and writes master weights and moments; new weights are written."""
    passes = {"gradients": 1, "master weights": 2, "moments": 2, "weights": 1}
    return {_own(s.name): sum(n * placed[name][s.name] for name, n in passes.items()) for s in where}


@cache
def seconds(case: Case, changes: Changes = ()) -> float:
    """Of a step, simulated. Raises DoesNotFit as `problem_of`, and MappingError where a store overflows."""
    problem = problem_of(case, changes)
    plan = TierPlan(problem.name, ("run",) * len(problem.steps), (), ())
    check_tier_plan(problem, plan)
    trace = compiled.run(program_of(problem, plan))
    return trace.finish / float(trace.program.tick_hz)
