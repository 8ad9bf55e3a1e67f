"""The workloads as graphs of tasks: layers of language models on eight sockets, and convolutions by FFT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from math import prod
from typing import Literal

from ...components.core_pool import CorePool
from ...mappers.phases import Read, Task, TaskGraph, all_reduced, joined, operators, task_graphs
from ...workloads.huggingface import HFModel, load_config
from ...workloads.transformer import (
    Attention,
    Layer,
    Mlp,
    Norm,
    TokenEmbedding,
    Transformer,
    VocabularyHead,
    tensor_parallel,
)

SOCKETS = 8
PARTIAL = ("Linear", "RMSNorm", "LayerNorm", "Attention", "AllReduce")
"""Kinds that begin a kernel of the partly fused model: products with what follows element by element."""
BF16 = 2


def _plain(name: str, hidden: int, layers: int, attention: Attention, vocabulary: int,
           placement: Literal["pre", "parallel"]) -> HFModel:  # fmt: skip
    """A decoder with LayerNorm and an MLP of four times the width with GELU, as Bloom and Falcon have it."""
    norm = Norm("layer", 1e-5)
    layer = Layer(attention, Mlp(4 * hidden, "gelu", gated=False), norm, placement)
    return HFModel(Transformer(name, hidden, (layer,) * layers, TokenEmbedding(vocabulary), VocabularyHead(True), norm))


BLOOM, FALCON = "bloom-176b", "falcon-40b"
PLAIN = {
    BLOOM: _plain(BLOOM, 14336, 70, Attention(112, 112, 128), 250880, "pre"),
    FALCON: _plain(FALCON, 8192, 60, Attention(128, 8, 64, rotary=64), 65024, "parallel"),
}
"""Models of the paper that no family of `workloads.huggingface` reads.

Sizes: config.json of huggingface.co/bigscience/bloom and huggingface.co/tiiuae/falcon-40b. Left out: biases, what Bloom
adds to scores for positions (ALiBi), its normalisation of embeddings, and the second of Falcon's two norms a layer.
"""


def language_model(model: str, pool: CorePool, *, phase: str, tokens: int, batch: int = 1) -> tuple[TaskGraph, ...]:
    """One socket's share of a pass: `tokens` in prefill, or one token after that many in decode, with all-reduces."""
    whole = PLAIN[model] if model in PLAIN else load_config(model)
    read = replace(whole, spec=tensor_parallel(whole.spec, SOCKETS))
    workload = read.prefill(batch, tokens, head="last") if phase == "prefill" else read.decode(batch, tokens)
    return tuple(
        all_reduced(g, {t.name for t in g.tasks if t.name.endswith((".out", ".down"))}, SOCKETS)
        for g in task_graphs(workload, pool)
    )


def modules(graph: TaskGraph) -> tuple[tuple[str, ...], ...]:
    """Operators counted as the modules of a model's code: 16 of a layer of Llama, where `operators` are 20.

    Queries and keys are rotated by one operator, scores come scaled, and an all-reduce, which only splitting a product
    over sockets brings, belongs to that product.
    """
    units = operators(graph)
    kinds = [graph.by_name[u[0]].kind for u in units]
    inside = {("Rotary", "Rotary"), ("Attention.scale", "Attention.scores")}
    starts = {u[0] for u, before, kind in zip(units, ["", *kinds[:-1]], kinds, strict=True)
              if kind != "AllReduce" and (before, kind) not in inside}  # fmt: skip
    return joined(units, starts)


def partial(graph: TaskGraph) -> tuple[tuple[str, ...], ...]:
    """Kernels of a partly fused model: see PARTIAL."""
    units = operators(graph)
    kinds = {u[0]: graph.by_name[u[0]].kind.partition(".") for u in units}
    starts = {n for n, (head, _, step) in kinds.items() if head in PARTIAL and step not in ("values", "scale")}
    return joined(units, starts)


def monarch(rows: int, inner: int, columns: int, out: int, batch: int) -> TaskGraph:
    """A product, a twiddle factor, a transposition and a product: the simplified Monarch FFT of the paper.

    A batch of `rows` x `inner` matrices times `inner` x `columns`, times a factor of `rows` x `columns`, then over the
    transposed rows to `out`.
    """
    b, m, k, n, p = batch, rows, inner, columns, out
    z = b * m * n * BF16
    tasks = (
        _task("Gemm0", {"b": b, "m": m, "n": n, "k": k}, {"X": ("b m k", b * m * k), "F0": ("k n", k * n)}, "Z0",
              "b m n", b * m * n),
        _task("Mul", {"b": b, "m": m, "n": n}, {"Z0": ("b m n", b * m * n), "T": ("m n", m * n)}, "Z1", "b m n",
              b * m * n),
        _task("Transpose", {"b": b, "n": n, "m": m}, {"Z1": ("b m n", b * m * n)}, "Z2", "b n m", z // BF16),
        _task("Gemm1", {"b": b, "n": n, "p": p, "m": m}, {"Z2": ("b n m", b * m * n), "F1": ("m p", m * p)}, "Y",
              "b n p", b * n * p),
    )  # fmt: skip
    return TaskGraph("monarch", tasks)


def flash_fft_convolution(factors: Sequence[int], channels: int) -> TaskGraph:
    """A long convolution by FFT: Monarch factors one way, the filter, and the factors back.

    The sequence has as many complex points as the product of `factors`. A factor of r is a product with an r x r
    complex matrix along one axis, four real products: 2r values to 2r. Between factors come twiddle factors, fewer by r
    each time, and a transposition.
    """
    points, b = prod(factors), channels
    n = 2 * b * points
    tasks: list[Task] = []

    def add(name: str, kind: str, sizes: Mapping[str, int], other: Mapping[str, tuple[str, int]], dims: str) -> None:
        x = tasks[-1].output if tasks else "X"
        axes = "b i k" if "k" in sizes else "b i j"
        reads = {x: (axes, n), **other}
        tasks.append(replace(_task(name, {"b": b, **sizes}, reads, f"{name}.out", dims, n), kind=kind))

    for way, order in (("to", factors), ("from", tuple(reversed(factors)))):
        for step, r in enumerate(order):
            rest, name = points // r, f"{way}{step}"
            matrix = {f"F.{name}": ("k j", 4 * r * r)}
            add(f"factor.{name}", "Linear", {"i": rest, "j": 2 * r, "k": 2 * r}, matrix, "b i j")
            if step + 1 < len(order):
                twiddles = 2 * points // prod(order[:step])
                part = {f"T.{name}": ("i j", twiddles)}
                add(f"twiddle.{name}", "Twiddle", {"i": rest, "j": 2 * r, "q": 2}, part, "b i j")
                add(f"transpose.{name}", "Transpose", {"i": rest, "j": 2 * r}, {}, "b i j")
        if way == "to":
            filters = {"H": ("b i j", n)}
            add("filter", "Twiddle", {"i": points // order[-1], "j": 2 * order[-1], "q": 2}, filters, "b i j")
    return TaskGraph("flash_fft_convolution", tuple(tasks))


def _task(
    name: str, sizes: Mapping[str, int], reads: Mapping[str, tuple[str, int]], output: str, dims: str, elements: int
) -> Task:
    accesses = tuple(Read(t, tuple((d,) for d in ranks.split()), n * BF16) for t, (ranks, n) in reads.items())
    work = Fraction(prod(sizes.values()))
    return Task(name, sizes, accesses, output, tuple(dims.split()), elements * BF16, work)


def flops(graph: TaskGraph) -> int:
    """Two per multiply-add, one per product of elements; moving them is none."""
    total = 0
    for task in graph.tasks:
        reduced = set(task.sizes) - set(task.output_dims)
        if len(task.reads) > 1:
            total += task.points * (2 if reduced else 1)
    return total * graph.repeat
