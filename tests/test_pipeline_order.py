"""Tokens come in the order in which they are read: element by element, at every firing of every stage."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import cycle, product

import pytest
from support.random_cascades import random_cascade

from accelsim.ir import Workload, parse_cascade
from accelsim.ir.einsum import Access, Einsum
from accelsim.ir.rewrites import fewest_passes, split_rank
from accelsim.lowering.streams import Rate, run_graph
from accelsim.mappers.pipeline import Budget, Link, Stage, Stages, build_stages, plan_pipeline, stream_graph
from accelsim.workloads import zoo
from accelsim.workloads.text.cascade_file import loads_cascade

SIZES = {"b": 2, "h": 2, "e": 2, "f": 2, "m": 4, "p": 3, "i": 2, "j": 2, "t": 3, "d": 4, "c": 2, "n": 4, "r": 2, "o": 2}
Element = tuple[int, ...]
Reading = tuple[str, Access]
"""An Einsum and one of its accesses."""


def small(name: str) -> Workload:
    text = zoo.cascade_text(name)
    ranks = {r for e, _ in loads_cascade(text, name).einsums() for r in e.sizes}
    return loads_cascade(text, name, ranks={r: SIZES[r] for r in ranks})


def firings(stage: Stage, rate: Rate) -> Iterator[tuple[dict[str, int], int]]:
    """Every firing in order: the values of its nest, and the tokens that a port of that rate moves."""
    counts = cycle([tokens for n, tokens in rate.runs for _ in range(n)])
    names = [r for r, _ in stage.nest]
    for values in product(*(range(size) for _, size in stage.nest)):
        yield dict(zip(names, values, strict=True)), next(counts)


def elements(access: Access, at: dict[str, int], sizes: dict[str, int]) -> set[Element]:
    """The elements that an access touches, ranks that are not given running through all of their values."""
    free = [r for r in sizes if r not in at]
    found = set()
    for values in product(*(range(sizes[r]) for r in free)):
        full = {**at, **dict(zip(free, values, strict=True))}
        found.add(tuple(i.offset + sum(c * full[r] for r, c in i.terms) for i in access.indices))
    return found


def put_by(stages: Stages, link: Link, made: Einsum) -> list[set[Element]]:
    """The elements of the tensor in each token of a link; those of a burst together count as one after the other."""
    tokens: list[set[Element]] = []
    for at, count in firings(stages.stage(link.src), link.put):
        if count:
            streamed = [r for r in made.output.ranks if r in stages.order and r not in at]
            order = [r for index in made.output.indices for r in index.ranks if r in streamed]
            parts = list(product(*(range(made.sizes[r]) for r in order)))
            assert len(parts) == count
            for values in parts:
                here = {**{r: v for r, v in at.items() if r in made.sizes}, **dict(zip(order, values, strict=True))}
                tokens.append(elements(made.output, here, dict(made.sizes)))
    return tokens


def maker(tensor: str, einsums: list[Einsum]) -> Einsum | None:
    """The Einsum that makes a tensor; of a recurrence the one that steps."""
    found = [e for e in einsums if e.output.tensor == tensor and (e.iterative or not _starts(e, einsums))]
    return found[0] if found else None


def handed_on(workload: Workload, stages: Stages) -> set[Reading]:
    """Every access of an Einsum that is a stage of its own to what another Einsum makes."""
    einsums, own = [e for e, _ in workload.einsums()], {s.name for s in stages.stages}
    return {
        (e.name, a) for e in einsums if e.name in own for a in e.inputs
        if (made := maker(a.tensor, einsums)) is not None and made.name != e.name
    }  # fmt: skip


def verify(workload: Workload, stages: Stages) -> int:
    """Every element that a firing reads was taken with it or before; all tokens are put and taken in full.

    Returns the number of accesses, all of `handed_on`.
    """
    einsums, own = [e for e, _ in workload.einsums()], {s.name for s in stages.stages}
    checked: set[Reading] = set()
    for link in stages.links:
        if not link.dst:
            continue
        assert (stages.stage(link.src).firings * link.put.tokens * link.take.firings
                == stages.stage(link.dst).firings * link.take.tokens * link.put.firings)
        for tensor in link.tensor.split("+"):
            made = maker(tensor, einsums)
            reader = next(e for e in einsums if e.name == stages.stage(link.dst).einsum)
            if made is None:  # between operators of one Einsum
                assert stages.stage(link.src).einsum == reader.name
                continue
            assert link.src == made.name or made.name not in own  # a recurrence may hold the maps that read its state
            beside = [x for x in stages.links if (x.src, x.dst) == (link.src, link.dst)]
            alike = [x for x in beside if tensor in x.tensor.split("+")]
            tokens = [put_by(stages, x, made) for x in alike]
            for access in (a for a in reader.inputs if a.tensor == tensor):
                known: set[Element] = set()
                taken = [0] * len(alike)
                for steps in zip(*(firings(stages.stage(x.dst), x.take) for x in alike), strict=True):
                    at = steps[0][0]
                    for k, (_, count) in enumerate(steps):
                        known = known.union(*tokens[k][taken[k] : taken[k] + count])
                        taken[k] += count
                    needed = elements(access, at, {r: n for r, n in reader.sizes.items() if r in {*access.ranks, *at}})
                    shape = workload.tensors[tensor].shape
                    needed = {e for e in needed if all(0 <= x < n for x, n in zip(e, shape, strict=True))}  # no padding
                    if made.iterative:  # a token of a state has the value before it, which at first is the start
                        dim = next(d for d, i in enumerate(made.output.indices) if i.ranks == (made.iterative,))
                        needed = {e for e in needed if e[dim] > 0}
                    assert needed <= known, (link.src, link.dst, tensor, at)
                assert taken == [len(t) for t in tokens]
                checked.add((reader.name, access))
    assert checked == handed_on(workload, stages)
    return len(checked)


def _starts(e: Einsum, einsums: list[Einsum]) -> bool:
    return any(x.iterative and x.output.tensor == e.output.tensor for x in einsums)


@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize("name", zoo.cascade_names())
def test_the_zoo(name: str, split: bool) -> None:
    workload = small(name)
    stages = build_stages(workload, split=split)
    assert verify(workload, stages) > 0


@pytest.mark.parametrize("order", [("m", "p"), ("p", "m"), ("f", "p"), ("m", "f"), ("e", "m")])
def test_other_orders(order: tuple[str, ...]) -> None:
    for name in ("attention_3pass", "attention_deferred"):
        workload = small(name)
        assert verify(workload, build_stages(workload, order=order))


def test_blocks_and_derived_cascades() -> None:
    cut = split_rank(small("attention_3pass"), "m", 2)
    assert verify(cut, build_stages(cut, inside=("m0",)))
    assert verify(cut, build_stages(cut))
    derived = fewest_passes(small("attention_3pass")).workload
    assert verify(derived, build_stages(derived))
    blocks = small("attention_1pass")
    assert verify(blocks, build_stages(blocks, inside=("j",)))


TRANSPOSED = "H[t,f] = X[t,d] * W[d,f]\nG[t] = max(f) H[t,f]\nS[f] = H[t,f] * V[t]\nY[t,f] = H[t,f] - G[t] + S[f]"
WINDOW = "A[t,f] = X[t] * W[f]\nB[t] = max(f) A[t,f]\nC[u,f] = A[u+k,f] * Z[k]\nD[u] = C[u,f] * F[f]"
SHIFTED = "A[t,f] = X[t] * W[f]\nB[t] = A[t,f]\nC[t] = B[t] * U[t]\nD[q] = B[2*q+1] + C[2*q]"
CHAIN = "H[t,f] = X[t,d] * W[d,f]\nG[t,g] = H[t,f] * V[f,g]\nK[t,h] = G[t,g] * U[g,h]\nO[t] = K[t,h] * H[t,h]"
PADDED = "A[t,f] = X[t] * W[f]\nB[t] = A[t,f]\nC[t] = B[t] * U[t]\nD[t] = pad(C[t+1], 0) + C[t]"
SIZED = "size t=4; size d=2; size f=3; size g=2; size h=3; size u=2; size k=3; size q=2\n"


@pytest.mark.parametrize("text", [TRANSPOSED, WINDOW, SHIFTED, CHAIN, PADDED])
@pytest.mark.parametrize("order", [(), ("f",), ("t", "f")])
def test_reads_against_the_order_of_what_is_made(text: str, order: tuple[str, ...]) -> None:
    """Columns of what comes in rows, windows, every other element: the reader takes what it needs first."""
    workload = parse_cascade(SIZED + text, name="cascade")
    assert verify(workload, build_stages(workload, order=[r for r in order if f"{r}" in text]))


def test_random_cascades() -> None:
    """Split or not, in any order of ranks, as one kernel or as several: they run to their end, tokens in order."""
    checked = cut = 0
    for seed in range(120):
        workload = random_cascade(seed)
        if workload is None:
            continue
        known = sorted({r for e, _ in workload.einsums() for r in e.sizes})
        order = known[:: -1 if seed % 2 else 1][: seed % 3]
        stages = build_stages(workload, split=seed % 5 != 0, order=order)
        checked += verify(workload, stages) > 0
        assert run_graph(stream_graph(stages)).trace.firings.tolist()[: len(stages.stages)] == [
            s.firings for s in stages.stages
        ]
        if seed % 6 == 0:
            plan = plan_pipeline(workload, Budget(stages=2, off_chip_bytes_per_cycle=Fraction(7, 2)), split=False)
            cut += len(plan.kernels) > 1
    assert checked > 70
    assert cut > 5
