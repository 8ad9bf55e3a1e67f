"""Passes over the ranks of a cascade, what must live between them, and traffic by how far a cascade is fused."""

from __future__ import annotations

import json
import re

import pytest
from support.cli import accelsim

from accelsim.errors import BadInput
from accelsim.ir import (
    Workload,
    WorkloadBuilder,
    compulsory_bytes,
    families,
    fusion_levels,
    live_footprint,
    most_passes,
    parse_cascade,
    passes,
)
from accelsim.workloads import load_model

# Passes by hand. attention: Nayak et al., FuseMax, arXiv:2406.10491, section IV.
COUNTS = {
    "attention_3pass": ("m", 3), "attention_deferred": ("m", 2), "attention_2pass": ("i*j", 2),
    "attention_1pass": ("i*j", 1), "softmax": ("n", 3), "softmax_online": ("n", 2), "logsumexp": ("n", 2),
    "logsumexp_pooling": ("n", 3), "layernorm": ("d", 3), "layernorm_two_moment": ("d", 2),
    "layernorm_welford": ("d", 2), "variance": ("d", 2), "variance_welford": ("d", 1), "rmsnorm": ("d", 2),
    "swiglu": ("f", 1), "mla": ("m", 3), "linear_attention": ("m", 1), "gated_recurrence": ("t", 1),
}
# What starts each pass but the first: (Einsum, tensor that it waits for).
STARTS = {
    "attention_3pass": [("SN", "GM"), ("A", "SD")], "attention_2pass": [("A", "PLM")], "attention_1pass": [],
    "softmax": [("E", "M"), ("Y", "S")], "softmax_online": [("Y", "M")], "logsumexp": [("S", "M")],
    "logsumexp_pooling": [("S", "M"), ("Y", "L")], "layernorm": [("C", "MU"), ("Y", "R")],
    "layernorm_two_moment": [("Y", "MU")], "rmsnorm": [("Y", "R")], "variance": [("C", "MU")],
}


def count(workload: Workload, rank: str) -> int:
    return next(p.count for p in passes(workload) if p.rank == rank)


def renamed(text: str, names: dict[str, str]) -> str:
    return re.sub(r"[A-Za-z]+", lambda word: names.get(word[0], word[0]), text)


@pytest.mark.parametrize("name", sorted(COUNTS))
def test_pass_counts_and_what_starts_each(name: str) -> None:
    rank, wanted = COUNTS[name]
    over = next(p for p in passes(load_model(name)) if p.rank == rank)
    assert over.count == wanted
    assert [(s.einsum, s.needs) for s in over.starts] == STARTS.get(name, [(s.einsum, s.needs) for s in over.starts])
    assert [s.number for s in over.starts] == list(range(2, wanted + 1))
    for start in over.starts:
        assert over.einsums[start.einsum] == start.number
        assert start.einsum in start.reason and start.needs in start.reason


def test_tensors_know_their_passes() -> None:
    over = most_passes(load_model("attention_3pass"))
    assert over.tensors == {"K": (1,), "QK": (1, 2), "SN": (2, 3), "A": (3,), "V": (3,)}
    assert over.rank == "m"
    assert most_passes(load_model("attention_1pass")).count == 1


def test_names_do_not_matter() -> None:
    w = load_model("attention_3pass")
    words = {"m": "a", "p": "q", "e": "x", "QK": "T", "GM": "U", "SN": "K", "SD": "V", "A": "Q", "AV": "SD", "K": "AV",
             "V": "A", "Q": "QK", "h": "b", "b": "h"}
    sizes = {words.get(r, r): 3 for e, _ in w.einsums() for r in e.sizes}
    other = parse_cascade("\n".join(renamed(str(e), {**words, "max": "max", "exp": "exp"}) for e, _ in w.einsums()),
                          sizes)
    assert {p.rank: p.count for p in passes(other)} == {words.get(p.rank, p.rank): p.count for p in passes(w)}


# -- the rule --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, rank, wanted",
    [
        ("Z[m] = A[m]", "m", 1),
        ("S[] = A[m]; Z[m] = A[m] * S[]", "m", 2),
        ("S[] = A[m]; T[] = exp(S[]); U[] = T[] + 1; Z[m] = A[m] * U[]", "m", 2),
        ("S[] = A[m]; T[n] = B[n] * S[]", "n", 1),
        ("S[n] = A[m] * B[n]; T[] = S[n]; Z[m] = A[m] - T[]", "m", 2),
        ("S[] = A[m]; T[] = exp(A[m]); U[] = S[] / T[]", "m", 1),
        ("S[] = A[m]; T[] = A[m] * S[]; U[] = A[m] * T[]; Z[m] = A[m] * U[]", "m", 4),
        ("R[0] = 0; R[m+1] = R[m] + A[m]; Z[m] = A[m] * R[m+1]", "m", 1),
        ("R[0] = 0; R[m+1] = R[m] + A[m]; Z[m] = A[m] * R[M]", "m", 2),
        ("T[m] = exp(A[m]); Z[m] = T[m] * T[M-m-1]", "m", 2),
        ("T[m] = exp(A[m]); Z[m] = pad(T[m-1], 0) + T[m]", "m", 1),
        ("L[i] = max(j) A[J*i+j]; Z[i,j] = A[J*i+j] - L[i]", "i*j", 1),
        ("L[i] = max(j) A[J*i+j]; G[] = max(i) L[i]; Z[i,j] = A[J*i+j] - G[]", "i*j", 2),
        ("L[i] = max(j) A[J*i+j]; G[] = max(i) L[i]; C[i] = L[i] - G[]; D[] = C[i]; Z[i,j] = A[J*i+j] * D[]", "i*j", 2),
        ("L[i] = max(j) A[J*i+j]; G[] = max(i) L[i]; C[i] = L[i] - G[]; D[] = C[i]; Z[] = max(i) C[i] * D[]", "i*j", 1),
        ("S[] = A[m]; Z[i,j] = A[J*i+j] - S[]", "m", 2),
    ],
)
def test_the_rule_case_by_case(text: str, rank: str, wanted: int) -> None:
    sizes = {"m": 12, "n": 5, "i": 3, "j": 4}
    assert count(parse_cascade(text, sizes), rank) == wanted


def test_a_rank_and_its_parts_are_one_family() -> None:
    w = parse_cascade("S[] = A[m]; Z[i,j] = A[J*i+j] - S[]; Y[p,i,j] = A[p] * A[J*i+j] * B[j]",
                      {"m": 12, "p": 12, "i": 3, "j": 4})
    assert {f.name: f.forms for f in families(w)} == {"m": (("m",), ("i", "j")), "p": (("p",),)}
    convolution = parse_cascade("O[p] = I[p+r] * W[r]", {"p": 6, "r": 3})
    assert [f.name for f in families(convolution)] == ["p", "r"]


def test_what_is_no_cascade_is_refused() -> None:
    b = WorkloadBuilder("views")
    b.output(b.reshape(b.relu(b.input("x", (4,))), (2, 2)))
    with pytest.raises(BadInput, match="views: has views or repeats"):
        passes(b.build())
    with pytest.raises(BadInput, match="rank 'm' has size 4, and 5 in 'Z'"):
        passes(parse_cascade("Y[m] = A[m]; Z[m] = B[m] where m=5", {"m": 4}))


# -- footprint and traffic -------------------------------------------------------------------------------------------


def test_the_footprint_grows_with_a_rank_of_several_passes_alone() -> None:
    for m in (1024, 4096):
        three = load_model("attention_3pass", bindings={"m": m})
        live = live_footprint(three, most_passes(three))
        assert {c.tensor: (c.made, c.read) for c in live.crossings} == {"QK": (1, (2,)), "SN": (2, (3,))}
        assert live.bytes_per_point == 2 * m  # QK dies when SN is made
        assert live.nbytes == 2 * 12 * m * 4096
    one = load_model("attention_1pass")
    over = next(p for p in passes(one) if p.rank == "i*j")
    live = live_footprint(one, over)
    assert not live.grows
    assert live.nbytes == live.bytes_per_point == 0


def test_inputs_of_several_passes_are_held_or_read_again() -> None:
    w = load_model("rmsnorm")
    (crossing,) = live_footprint(w, most_passes(w)).crossings
    assert (crossing.tensor, crossing.given, crossing.bytes_per_point) == ("X", True, 2 * 4096)


def test_traffic_by_level_of_fusion() -> None:
    w = load_model("attention_3pass", bindings={"h": 1, "e": 4, "f": 6, "m": 10, "p": 20})
    q, k, v, av, square, row = 4 * 20, 4 * 10, 6 * 10, 6 * 20, 10 * 20, 20
    unfused = (q + k + square) + (square + row) + (2 * square + row) + (square + row) + (2 * square + row) + (
        square + v + av)
    least = q + k + v + av
    levels = {level.name: level for level in fusion_levels(w)}
    assert {name: level.nbytes for name, level in levels.items()} == {
        "unfused": 2 * unfused, "by pass": 2 * (least + 2 * 2 * square), "full": 2 * least}
    operations = 2 * (4 + 6) * square + (1 + 2 + 1 + 1) * square
    assert levels["full"].intensity == operations / (2 * least)
    assert compulsory_bytes(w) == (2 * (q + k + v), 2 * av)


def test_compulsory_traffic_counts_what_is_read() -> None:
    w = parse_cascade("input A[100]\nZ[m] = A[m] * A[m+1]", {"m": 4}, bits={"A": 8, "Z": 32})
    assert compulsory_bytes(w) == (4, 16)


# -- the command -----------------------------------------------------------------------------------------------------


def test_the_command_prints_passes_with_reasons() -> None:
    ran = accelsim("cascade", "attention_3pass", "--bind", "m=64", "--bind", "p=32", "--buffer", "1 KiB")
    assert ran.code == 0
    assert "m (64): 3 passes" in ran.output
    assert "pass 2: 'SN' carries m and needs 'GM', complete after a reduction over m in pass 1" in ran.output
    told = json.loads(accelsim("cascade", "attention_1pass", "--json").output)
    assert told["passes"] == 1
    (rank,) = [r for r in told["ranks"] if r["rank"] == "i*j"]
    assert rank["prefixes"] == ["RM_2", "RD_2", "RNV_2"] and not rank["footprint"]["grows"]
    assert accelsim("cascade", "attention_3pas").code == 2
    assert accelsim("cascade", "attention_3pass", "--buffer", "12 apples").code == 2
