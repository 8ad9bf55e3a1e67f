"""The fusion mapper: what it finds by itself, that nothing hangs on names, and that it is never worse than unfused."""

import re
from collections.abc import Callable
from collections.abc import Mapping as MappingABC
from importlib.resources import files

import numpy as np
import pytest
from numpy.typing import NDArray

from accelsim import simulate
from accelsim.arch.architecture import Architecture
from accelsim.arch.loader import load_architecture, load_spec
from accelsim.experiments.fusemax.cascade import THREE_PASSES, Model, one_pass
from accelsim.experiments.fusemax.mappings import fused
from accelsim.ir import Workload, parse_cascade
from accelsim.ir.evaluate import evaluate
from accelsim.ir.passes import passes
from accelsim.mappers.cascade import Found, best_cascade, map_workload
from accelsim.mapping.constraints import Constraints, OpConstraint
from accelsim.mapping.tree import Mapping, Op, Pipe, walk

MODEL = Model("small", 256, 2, 64, 256)
TOKENS = 2048
SIZES = {"b": 2, "h": 2, "m": TOKENS, "p": TOKENS, "e": 64, "f": 64}


@pytest.fixture(scope="module")
def fusemax() -> Architecture:
    return load_architecture(str(files("accelsim.experiments.fusemax").joinpath("fusemax.yaml")))


def attention(text: str = THREE_PASSES, sizes: dict[str, int] = SIZES) -> Workload:
    return parse_cascade(text, sizes, name="attention", bits=16)


def renamed() -> Workload:
    """The same cascade with every tensor and rank under another name, in other alphabetical order."""
    names = {"QK": "zz", "GM": "a9", "SN": "t1", "SD": "k", "A": "w", "AV": "b2", "Q": "u", "K": "c", "V": "d"}
    ranks = {"b": "r7", "h": "r1", "m": "x", "p": "y", "e": "r3", "f": "a"}
    text = re.sub(r"\b([A-Z]+)\[", lambda hit: f"{names[hit[1]]}[", THREE_PASSES)
    text = re.sub(r"(?<=[\[,(])([a-z])(?=[\],)])", lambda hit: ranks[hit[1]], text)
    return attention(text, {ranks[r]: n for r, n in SIZES.items()})


def cycles(arch: Architecture, workload: Workload, mapping: Mapping) -> float:
    return float(simulate(arch, workload, mapping=mapping).cycles)


def published(arch: Architecture) -> float:
    work = one_pass(MODEL, TOKENS, batch=2)
    return cycles(arch, work, fused(work.name, 256, TOKENS, blocks=2))


@pytest.fixture(scope="module")
def found_of(fusemax: Architecture) -> dict[str, Found]:
    return {"as written": best_cascade(attention(), fusemax), "renamed": best_cascade(renamed(), fusemax)}


@pytest.mark.parametrize("names", ["as written", "renamed"])
def test_from_three_passes_to_the_published_mapping(
    fusemax: Architecture, found_of: dict[str, Found], names: str
) -> None:
    found = found_of[names]
    assert max(p.count for p in passes(found.workload)) == 1
    assert cycles(fusemax, found.workload, found.mapping) <= 1.05 * published(fusemax)
    as_written = next(value for steps, value in found.tried if not steps)
    assert found.mapping.claim is not None and found.mapping.claim.value < as_written


def test_names_do_not_matter(found_of: dict[str, Found]) -> None:
    values = [[value for _, value in found.tried] for found in found_of.values()]
    assert values[0] == pytest.approx(values[1], rel=0.01)


POOLING = """
M[t]   = max(n) X[t,n]
S[t]   = exp(X[t,n] - M[t])
L[t]   = M[t] + log(S[t])
Y[t,f] = exp(X[t,n] - L[t]) * V[n,f]
"""
VARIANCE = """
S[t]   = X[t,d]
MU[t]  = S[t] / 65536
C[t,d] = X[t,d] - MU[t]
Q[t]   = C[t,d] * C[t,d]
VAR[t] = Q[t] / 65536
"""


def with_other_names(text: str, sizes: dict[str, int]) -> tuple[str, dict[str, int]]:
    """The same cascade, in which no tensor or rank has its name; operators keep theirs."""
    kept = {"max", "exp", "log"}

    def other(name: str) -> str:
        return name if name in kept else f"w{sum(ord(c) * 31**i for i, c in enumerate(name))}"

    return re.sub(r"[A-Za-z]+", lambda m: other(m[0]), text), {other(rank): n for rank, n in sizes.items()}


OTHERS = [(POOLING, {"t": 64, "n": 2**16, "f": 16}), (VARIANCE, {"t": 64, "d": 2**16})]


@pytest.mark.parametrize(("text", "sizes"), [*OTHERS, *(with_other_names(*other) for other in OTHERS)])
def test_other_cascades_reach_one_pass(text: str, sizes: dict[str, int]) -> None:
    """Where no row fits the buffer, and the memory behind it is slow, a second pass costs as much as the first."""
    spec = load_spec(str(files("accelsim.experiments.fusemax").joinpath("fusemax.yaml")))
    values = {"memories.buffer.capacity": "96 KiB", "memories.dram.bandwidth": "2 GiB/s"}
    arch = spec.with_values(values).build()
    found = best_cascade(attention(text, sizes), arch)
    assert max(p.count for p in passes(found.workload)) == 1
    as_written = next(value for steps, value in found.tried if not steps)
    assert found.mapping.claim is not None and found.mapping.claim.value < 0.6 * as_written
    report = simulate(arch, found.workload, mapping=found.mapping)
    once = sum(t.nbytes for t in found.workload.tensors.values() if t.role in ("input", "output"))
    assert sum(report.traffic_bytes["dram"].values()) <= 1.1 * once


READ_TWICE = """
G[a]   = max(c) K[a,c]
U[a,c] = exp(K[a,c] - G[a])
S[a]   = U[a,c]
R[a,c] = U[a,c] / S[a]
O[a,g] = R[a,c] * W[c,g]
P[a,k] = R[a,c] * Z[c,k]
"""
"""A softmax whose weights go into two products."""
COSINES = """
E[a]    = A[a,d] * A[a,d]
F[c]    = B[c,d] * B[c,d]
X[a]    = rsqrt(E[a])
Y[c]    = rsqrt(F[c])
AH[a,d] = A[a,d] * X[a]
BH[c,d] = B[c,d] * Y[c]
K[a,c]  = AH[a,d] * BH[c,d]
G[a]    = max(c) K[a,c]
U[a,c]  = exp(K[a,c] - G[a])
S[a]    = U[a,c]
R[a,c]  = U[a,c] / S[a]
O[a,g]  = R[a,c] * W[c,g]
"""
"""Attention by cosines of queries and keys, all normalised before."""
Arrays = MappingABC[str, NDArray[np.float64]]


def weights_of(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    high = np.exp(scores - scores.max(1, keepdims=True))
    return np.asarray(high / high.sum(1, keepdims=True))


def read_twice(x: Arrays) -> Arrays:
    return {"O": weights_of(x["K"]) @ x["W"], "P": weights_of(x["K"]) @ x["Z"]}


def by_cosines(x: Arrays) -> Arrays:
    a, b = (x[n] / np.linalg.norm(x[n], axis=1, keepdims=True) for n in "AB")
    return {"O": weights_of(a @ b.T) @ x["W"]}


@pytest.mark.parametrize(
    ("text", "sizes", "reference", "gain"),
    [
        (READ_TWICE, {"a": 16, "c": 2**14, "g": 16, "k": 8}, read_twice, 2.0),
        (COSINES, {"a": 16, "c": 2**12, "d": 8, "g": 16}, by_cosines, 1.0),
    ],
)
def test_cascades_with_more_around_the_softmax_reach_one_pass(
    text: str, sizes: dict[str, int], reference: Callable[[Arrays], Arrays], gain: float
) -> None:
    """The form that was found has one pass and the value that NumPy gives, and is faster where memory is short."""
    spec = load_spec(str(files("accelsim.experiments.fusemax").joinpath("fusemax.yaml")))
    values = {"memories.buffer.capacity": "24 KiB", "memories.dram.bandwidth": "2 GiB/s"}
    found = best_cascade(attention(text, sizes), spec.with_values(values).build())
    assert max(p.count for p in passes(found.workload)) == 1
    as_written = next(value for steps, value in found.tried if not steps)
    assert found.mapping.claim is not None and gain * found.mapping.claim.value < as_written
    rng = np.random.default_rng(0)
    tensors = found.workload.tensors
    inputs = {name: rng.normal(size=t.shape) for name, t in tensors.items() if t.role == "input"}
    outputs = evaluate(found.workload, inputs)
    for name, wanted in reference(inputs).items():
        np.testing.assert_allclose(outputs[name], wanted, rtol=1e-6, atol=1e-9)


def units_of(mapping: Mapping) -> dict[str, str]:
    return {node.einsum: node.unit for _, node in walk(mapping.root) if isinstance(node, Op)}


def test_claim_is_what_the_run_gives(fusemax: Architecture) -> None:
    work = attention()
    mapping = map_workload(work, fusemax)
    assert mapping.claim is not None and mapping.claim.mapper == "cascade"
    assert cycles(fusemax, work, mapping) == pytest.approx(mapping.claim.value, abs=1)
    assert mapping.claim.bound <= mapping.claim.value
    assert mapping == map_workload(work, fusemax)


@pytest.mark.parametrize("objective", ["latency", "energy", "edp"])
def test_never_worse_than_one_after_the_other(fusemax: Architecture, objective: str) -> None:
    work = attention(sizes={**SIZES, "b": 1, "h": 1, "m": 512, "p": 512})
    values = []
    for mapper in ("cascade", "tile"):
        report = simulate(fusemax, work, mapper=mapper, objective=objective)
        value = {"latency": report.cycles, "energy": report.energy_dynamic_J}
        values.append(value.get(objective, report.cycles * report.energy_dynamic_J))
    assert values[0] <= values[1]


def test_unfused_is_a_choice_of_constraints(fusemax: Architecture) -> None:
    work = attention()
    apart = Constraints(tensors=tuple((t, "dram") for t in ("QK", "GM", "SN", "SD", "A")))
    mapping = map_workload(work, fusemax, constraints=apart)
    assert not any(isinstance(node, Pipe) for _, node in walk(mapping.root))
    assert cycles(fusemax, work, mapping) > 1.5 * cycles(fusemax, work, map_workload(work, fusemax))


def test_rows_and_heads_are_choices_of_constraints(fusemax: Architecture) -> None:
    """FLAT's granularities: a block of queries at a time, or all queries of a head."""
    work = attention(sizes={**SIZES, "m": 512, "p": 512})
    for tile in (128, 512):
        fixed = Constraints(operators=(("*", OpConstraint(tiles={"p": tile})),))
        mapping = map_workload(work, fusemax, constraints=fixed)
        assert any(isinstance(node, Pipe) for _, node in walk(mapping.root))
        loops = {getattr(n, "tile", 0) for _, n in walk(mapping.root) if getattr(n, "rank", "") == "p"}
        assert loops == ({tile} if tile < 512 else set())


def test_units_that_a_user_fixes_are_kept_to(fusemax: Architecture) -> None:
    fixed = Constraints(operators=(("SN", OpConstraint(unit="array1d")), ("SD", OpConstraint(unit="array1d"))))
    mapping = map_workload(attention(), fusemax, constraints=fixed)
    assert units_of(mapping)["SN"] == units_of(mapping)["SD"] == "array1d"
    assert any(isinstance(node, Pipe) for _, node in walk(mapping.root))


def test_long_contexts_cost_no_more_to_map(fusemax: Architecture) -> None:
    """A million tokens: as many nodes as a thousand, and a result that grows with the square."""
    found = {}
    for tokens in (2**12, 2**20):
        work = one_pass(MODEL, tokens, batch=1)
        mapping = map_workload(work, fusemax)
        found[tokens] = len(list(walk(mapping.root))), cycles(fusemax, work, mapping)
    assert found[2**20][0] <= found[2**12][0] + 4
    assert found[2**20][1] / found[2**12][1] == pytest.approx(2**16, rel=0.05)


def test_chain_of_products_keeps_what_passes_between_them(fusemax: Architecture) -> None:
    """Two products with something between: the hidden values, too many for the buffer, never leave the chip."""
    text = "H[t,f] = X[t,k] * U[k,f]\nG[t,f] = max(H[t,f], 0)\nY[t,n] = G[t,f] * D[f,n]"
    work = parse_cascade(text, {"t": 4096, "k": 256, "f": 4096, "n": 256}, name="mlp", bits=16)
    report = simulate(fusemax, work, mapper="cascade")
    moved = sum(report.traffic_bytes["dram"].values())
    read_once = sum(t.nbytes for t in work.tensors.values() if t.role in ("input", "output"))
    assert moved <= 1.5 * read_once
    assert report.cycles <= simulate(fusemax, work, mapper="tile").cycles
