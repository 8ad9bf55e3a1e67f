"""Offloaded generation: weights over GPU and CPU memory by the tiered program, attention where it is faster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

from ...engine import compiled
from ...lowering.tiers import program_of
from ...mappers.ilp.solver import SolverOptions
from ...mappers.ilp.tiers.search import place
from ...mapping.tiers.plan import TierPlan
from ...mapping.tiers.problem import Choice, Item, Link, Step, Tier, TierProblem
from ..loader import table

GPU, CPU = "gpu", "cpu"
LOAD, STORE_CACHE, STORE_HIDDEN = "load", "store cache", "store hidden"
GIB, TERA = 2**30, 1e12
BYTES = 2
"""Of a number: fp16."""


@dataclass(frozen=True)
class Decoder:
    """A model and how it is served: OPT-30B (arXiv:2205.01068, table 1) with the published batches by default."""

    layers: int = 48
    hidden: int = 7168
    heads: int = 56
    vocabulary: int = 50272
    prompt: int = 512
    generated: int = 32
    batch: int = 48
    batches: int = 3

    @property
    def sequences(self) -> int:
        return self.batch * self.batches


def machine() -> Mapping[str, float]:
    """Figures of ``offload.csv``: bytes, bytes per second and operations per second."""
    scale = {"GiB": GIB, "GiB/s": GIB, "TFLOP/s": TERA, "fraction": 1}
    return {r["name"]: float(r["value"]) * scale[r["unit"]] for r in table(__package__, "offload.csv")}


def problem(model: Decoder, found: Mapping[str, float], *, decode: bool, cpu_attention: bool) -> TierProblem:
    """One token of a decode, or the prefill: attention and the MLP of every layer, and the vocabulary at the end.

    All batches go through a layer before the next; weights of the next come meanwhile, KV and activations stream.
    """
    h, kind = model.hidden, "decode" if decode else "prefill"
    tokens = model.sequences * (1 if decode else model.prompt)
    context = model.prompt + model.generated / 2 if decode else model.prompt
    room = _workspace(model)
    flow = {LOAD: tokens * h * BYTES, STORE_HIDDEN: tokens * h * BYTES}
    cache = {STORE_CACHE: 2 * tokens * h * BYTES}
    read = {LOAD: flow[LOAD] + round(2 * model.sequences * context * h * BYTES)} if decode else {}
    score = 4 * tokens * context * h
    project = 8 * h * h * tokens / found[f"{kind}_matmul"]
    attention = [Choice("GPU", project + score / found[f"{kind}_attention"], streams={**flow, **cache, **read})]
    if decode and cpu_attention:
        seconds = project + score / found["cpu_attention"]
        attention.append(Choice("CPU", seconds, streams={**flow, **cache}, group="attention on the CPU"))
    mlp = (Choice("GPU", 16 * h * h * tokens / found[f"{kind}_matmul"], streams=flow),)
    last = (Choice("GPU", 2 * h * model.vocabulary * tokens / found[f"{kind}_matmul"], streams=flow),)
    parts = [p for x in range(model.layers) for p in ((f"a{x}", 4 * h * h, attention), (f"m{x}", 8 * h * h, mlp))]
    parts.append(("vocabulary", h * model.vocabulary, last))
    steps = tuple(Step(name, tuple(_reading(c, name, room) for c in choices)) for name, _, choices in parts)
    items = {name: Item(name, n * BYTES, home=CPU, split=True) for name, n, _ in parts}
    kv = 4 * model.sequences * (model.prompt + model.generated) * h * model.layers
    tiers = (
        Tier(GPU, int(found["usable"] * found["gpu_memory"])),
        Tier(CPU, int(found["usable"] * found["cpu_memory"]) - kv),
    )
    links = (
        Link(LOAD, CPU, GPU, found["cpu_to_gpu"]),
        Link(STORE_CACHE, GPU, CPU, found["gpu_to_cpu_cache"], channel="out"),
        Link(STORE_HIDDEN, GPU, CPU, found["gpu_to_cpu_hidden"], channel="out"),
    )
    return TierProblem(kind, tiers, links, items, steps, periodic=True)


def _reading(choice: Choice, weights: str, room: int) -> Choice:
    return replace(choice, reads={weights: GPU}, workspace={GPU: room})


def _workspace(model: Decoder) -> int:
    """Bytes of one batch in the prefill: activations in and out twice, queries, keys and values, scores, KV twice."""
    hidden = model.batch * model.prompt * model.hidden * BYTES
    scores = model.batch * model.heads * model.prompt**2 * BYTES
    return 4 * hidden + 4 * hidden + scores + 2 * 2 * hidden


@dataclass(frozen=True)
class Served:
    """Tokens per second of a whole run, the seconds of its phases, and the share of weights in GPU memory."""

    tokens_per_second: float
    prefill_seconds: float
    decode_seconds: float
    on_gpu: float
    attention: str


@cache
def serve(model: Decoder = Decoder(), *, cpu_attention: bool = False, scaled: tuple[str, float] = ("", 1.0)) -> Served:
    """Place and simulate both phases; `scaled` multiplies a figure of the machine."""
    found = {n: v * (scaled[1] if n == scaled[0] else 1.0) for n, v in machine().items()}
    times = []
    for decode in (False, True):
        wanted = problem(model, found, decode=decode, cpu_attention=cpu_attention)
        plan = place(wanted, options=SolverOptions(gap=0.002))
        trace = compiled.run(program_of(wanted, plan))
        times.append(trace.finish / float(trace.program.tick_hz))
    total = times[0] + (model.generated - 1) * times[1]
    rate = model.sequences * model.generated / total
    return Served(rate, times[0], times[1], _on_gpu(wanted, plan), plan.choices[0])


def _on_gpu(wanted: TierProblem, plan: TierPlan) -> float:
    """Share of the weights that the loads of a period leave in place."""
    moved = sum(t.high - t.low for t in plan.transfers)
    return 1 - moved / sum(i.nbytes for i in wanted.items.values())
