"""Cascades of the zoo: each computes what plain numpy computes; variants of cascades; what is wrong in their files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from accelsim.errors import BadInput, SpecError
from accelsim.ir import Workload, evaluate, parse_cascade
from accelsim.workloads import load_model, zoo
from accelsim.workloads.text import load_cascade, loads_cascade

Values = dict[str, np.ndarray]


def softmax(x: np.ndarray, axis: int) -> np.ndarray:
    e = np.exp(x - x.max(axis, keepdims=True))
    return np.asarray(e / e.sum(axis, keepdims=True))


def attention(v: Values) -> np.ndarray:
    weights = softmax(np.einsum("bhep,bhem->bhmp", v["Q"], v["K"]), 2)
    return np.asarray(np.einsum("bhmp,bhfm->bhfp", weights, v["V"]))


def layernorm(v: Values) -> np.ndarray:
    x = v["X"]
    normal = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    return np.asarray(normal * v["G"] + v["B"])


def logsumexp(v: Values) -> np.ndarray:
    return np.asarray(np.log(np.exp(v["X"]).sum(1)))


def swiglu(v: Values) -> np.ndarray:
    gate, up = v["X"] @ v["WG"], v["X"] @ v["WU"]
    return np.asarray((gate / (1 + np.exp(-gate)) * up) @ v["WD"])


def mla(v: Values) -> np.ndarray:
    """The form that is not absorbed: keys and values of every head are written out."""
    keys = np.einsum("bmc,hce->bhme", v["C"], v["WK"])
    values = np.einsum("bmc,hcf->bhmf", v["C"], v["WV"])
    scores = np.einsum("bhe,bhme->bhm", v["QN"], keys) + np.einsum("bhr,bmr->bhm", v["QR"], v["KR"])
    return np.asarray(np.einsum("bhm,bhmf->bhf", softmax(scores, 2), values))


def linear_attention(v: Values) -> np.ndarray:
    q, k = (np.where(x < 0, np.exp(np.minimum(x, 0)), x + 1) for x in (v["Q"], v["K"]))
    weights = np.einsum("hpe,hme->hpm", q, k)
    return np.asarray(np.einsum("hpm,hmf->hpf", weights / weights.sum(2, keepdims=True), v["V"]))


def gated_recurrence(v: Values) -> np.ndarray:
    heads, steps, e = v["K"].shape
    state = np.zeros((heads, e, v["V"].shape[2]))
    outputs = []
    for t in range(steps):
        state = state * v["G"][:, t, :, None] + v["K"][:, t, :, None] * v["V"][:, t, None, :]
        outputs.append(np.einsum("he,hef->hf", v["Q"][:, t], state))
    return np.stack(outputs, 1)


SMALL = {
    "b": 2, "h": 3, "e": 5, "f": 4, "m": 12, "p": 7, "i": 3, "j": 4,
    "t": 6, "n": 9, "d": 8, "r": 2, "c": 6, "o": 5,
}  # fmt: skip
REFERENCES: dict[str, Callable[[Values], np.ndarray]] = {
    "attention_3pass": attention,
    "attention_deferred": attention,
    "attention_2pass": attention,
    "attention_1pass": attention,
    "softmax": lambda v: softmax(v["X"], 1),
    "softmax_online": lambda v: softmax(v["X"], 1),
    "logsumexp": logsumexp,
    "logsumexp_pooling": lambda v: softmax(v["X"], 1) @ v["V"],
    "layernorm": layernorm,
    "layernorm_two_moment": layernorm,
    "layernorm_welford": layernorm,
    "variance": lambda v: v["X"].var(1),
    "variance_welford": lambda v: v["X"].var(1),
    "rmsnorm": lambda v: v["X"] / np.sqrt((v["X"] ** 2).mean(1, keepdims=True) + 1e-6) * v["G"],
    "swiglu": swiglu,
    "mla": mla,
    "linear_attention": linear_attention,
    "gated_recurrence": gated_recurrence,
}


def small(name: str) -> Workload:
    ranks = loads_cascade(zoo.cascade_text(name), name)
    known = {rank for einsum, _ in ranks.einsums() for rank in einsum.sizes}
    return load_model(name, bindings={rank: size for rank, size in SMALL.items() if rank in known})


def values_of(workload: Workload, seed: int = 0) -> Values:
    rng = np.random.default_rng(seed)
    written = {einsum.output.tensor for einsum, _ in workload.einsums()}
    return {t.name: 2 * rng.standard_normal(t.shape) for t in workload.tensors.values() if t.name not in written}


@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_cascades_compute_what_numpy_computes(name: str) -> None:
    workload = small(name)
    values = values_of(workload)
    got = evaluate(workload, values)
    (output,) = [t.name for t in workload.tensors.values() if t.role == "output"]
    np.testing.assert_allclose(got[output], REFERENCES[name](values), rtol=1e-9, atol=1e-9)


def test_every_cascade_is_proven_here() -> None:
    assert sorted(REFERENCES) == zoo.cascade_names()
    assert set(REFERENCES) <= set(zoo.names())


# -- variants ------------------------------------------------------------------------------------------------------


def test_a_variant_of_a_file_replaces_what_it_names(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        "ranks: {m: 4, k: 3}\nbits: 8\noperators: {twice(x): 2 * x}\ntensors: {A: weight}\n"
        "einsums:\n- Y[m] = A[m,k] * B[k]\n- Z[m] = twice(Y[m])\n")
    (tmp_path / "own.yaml").write_text(
        "extends: base.yaml\nranks: {k: 5}\noperators: {twice(x): x + x + x}\neinsums: ['Z[m] = twice(Y[m]) + 1']\n")
    got = load_cascade(tmp_path / "own.yaml")
    want = parse_cascade(
        "operator twice(x) = x + x + x\nweight A\nY[m] = A[m,k] * B[k]\nZ[m] = twice(Y[m]) + 1", {"m": 4, "k": 5},
        bits=8)
    assert (got.name, got.tensors, got.body) == ("own", want.tensors, want.body)
    assert load_cascade(tmp_path / "own.yaml", ranks={"m": 2}).tensors["Z"].shape == (2,)


@pytest.mark.parametrize(
    "text, message",
    [
        ("extends: attention3pass", r"^z.yaml:1: extends: no cascade 'attention3pass' .nearest: attention_3pass"),
        ("extends: z.yaml", r"^.*z.yaml:1: extends: extends itself: z.yaml extends z.yaml"),
        ("extends: softmax\nwithout: [Q]", r"^z.yaml:2: without\.0: nothing writes 'Q'"),
        ("ranks: {m: 2}\nwithout: [Q]\neinsums: ['Z[m] = A[m]']", "^z.yaml:2: without: leaves out statements, and"),
        ("extends: softmax\neinsums:\n- Y[t,q] = E[t,q]", "^z.yaml:3: rank 'q' has no size"),
        ("extends: softmax\neinsums:\n- M[t] = max(k) X[t,n]", "^z.yaml:3: reduction over rank 'k', which is"),
        ("extends: softmax\neinsums:\n- M[t] = max(n) X[t,n] + Y[t,n]", "^softmax.yaml:.*: cyclic cascade: "),
    ],
)
def test_what_is_wrong_in_a_variant_is_placed(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "z.yaml").write_text(text)
    with pytest.raises(SpecError, match=message):
        load_cascade("z.yaml")


@pytest.mark.parametrize(
    "statement, message",
    [
        ("Z[p,m] = A[p,n]", "z.yaml:3: rank 'n' has no size"),
        ("Z[p] = A[p,i*j]", "z.yaml:3: 'i[*]j' multiplies two ranks .the size of a rank stands in capitals"),
        ("Z[p] = A[p,i] / size(q)", "z.yaml:3: rank 'q' has no size"),
        ("Z[p] = max(m) A[p,i]", "z.yaml:3: reduction over rank 'm', which is not there"),
        ("Z[i+1,p] = Z[i,p] + A[p,i]", "z.yaml:3: iterative rank 'i' of 'Z' has no initial value"),
        ("Z[p] = Y[p]\n- Y[p] = Z[p]", "z.yaml:[34]: cyclic cascade: "),
        ("Z[p] = A[p]\n- Y[i] = A[i]", "z.yaml:4: dimension 0 of 'A' has two sizes, 7 .rank p. and 3 .rank i."),
    ],
)
def test_what_is_wrong_in_a_cascade_is_placed(statement: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        loads_cascade(f"ranks: {{p: 7, i: 3, j: 4}}\neinsums:\n- {statement}\n", "z.yaml")


def test_blocks_and_sizes_in_the_notation() -> None:
    w = parse_cascade("Z[i] = X[J*i+j] / size(j) + X[i*J+j]", {"i": 3, "j": 4})
    x = np.arange(12.0)
    np.testing.assert_allclose(evaluate(w, {"X": x})["Z"], x.reshape(3, 4).sum(1) * 1.25)
    assert w.tensors["X"].shape == (12,)


def test_ranks_that_are_not_there_cannot_be_bound() -> None:
    with pytest.raises(BadInput, match="no rank 'q' to size"):
        load_model("softmax", bindings={"q": 3})
