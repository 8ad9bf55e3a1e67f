"""Rewrites keep the value of a cascade, by evaluation; the search reaches one pass from operator algebra alone."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cli import accelsim

from accelsim.errors import AccelsimError, BadInput
from accelsim.ir import Apply, Einsum, Read, Workload, evaluate, most_passes, parse_cascade, passes
from accelsim.ir.rewrites import (
    NotApplicable,
    Step,
    defer,
    fewest_passes,
    reassociate,
    running,
    same_value,
    search,
    shrunk,
    split_rank,
)
from accelsim.workloads import load_model

SETTINGS = settings(deadline=None, derandomize=True, max_examples=25)
SIZES = {"m": 12, "p": 5, "e": 4, "f": 3, "n": 8, "t": 6}


def counts(workload: Workload) -> dict[str, int]:
    return {p.rank: p.count for p in passes(workload)}


def kept(before: Workload, after: Workload) -> None:
    """The two compute the same, and not because there is nothing to compare."""
    assert after != before
    assert same_value(before, after)
    assert {t.name: t for t in after.tensors.values() if t.role in ("input", "output", "weight")} == {
        t.name: t for t in before.tensors.values() if t.role in ("input", "output", "weight")}


def small(name: str, **sizes: int) -> Workload:
    return shrunk(load_model(name, bindings=sizes))


# -- single rewrites ---------------------------------------------------------------------------------------------------


def test_a_division_moves_past_the_sum() -> None:
    before = small("attention_3pass")
    after = defer(before, "AV", "SD")
    kept(before, after)
    assert (most_passes(before).count, most_passes(after).count) == (3, 2)
    av = next(e for e, _ in after.einsums() if e.name == "AV")
    assert not av.reduced_ranks and str(av) == "AV[b,h,f,p] = AV_part[b,h,f,p] / SD[b,h,p]"
    assert after.operations().counts["div"] < before.operations().counts["div"]


def test_what_distributes_over_a_maximum_moves_past_it() -> None:
    before = parse_cascade("S[t] = X[t,n]; Z[t] = max(n) (X[t,n] - 2 * S[t])", SIZES)
    after = defer(before, "Z", "S")
    kept(before, after)
    assert (counts(before)["n"], counts(after)["n"]) == (2, 1)
    with pytest.raises(NotApplicable):  # a factor may be negative, so that it does not distribute over the maximum
        defer(parse_cascade("S[t] = X[t,n]; Z[t] = max(n) X[t,n] * S[t]", SIZES), "Z", "S")


def test_products_are_distributed_over_sums_on_demand() -> None:
    before = small("variance")
    after = defer(before, "Q", "S", distribute=True)
    kept(before, after)
    assert counts(after)["d"] == 1
    with pytest.raises(NotApplicable, match="'Q' depends on 'S' not through factors"):
        defer(before, "Q", "S")


def test_a_logarithm_inside_an_exponential_becomes_a_factor() -> None:
    before = small("logsumexp_pooling")
    after = defer(before, "Y", "S")
    kept(before, after)
    assert (counts(before)["n"], counts(after)["n"]) == (3, 2)


@pytest.mark.parametrize("reduce, sign", [("max", "-"), ("min", "+")])
def test_a_running_reduction_corrects_what_waits_for_it(reduce: str, sign: str) -> None:
    term = "X[t,n] - M[t]" if sign == "-" else "M[t] - X[t,n]"
    before = parse_cascade(f"M[t] = {reduce}(n) X[t,n]; Z[t,f] = exp(2 * ({term})) * V[n,f]", SIZES)
    after = running(before, "M", "n")
    kept(before, after)
    assert counts(after)["n"] == 1


@pytest.mark.parametrize("power", [1, 2, 3, 4])
def test_powers_about_a_mean_run_by_the_shift_identity(power: int) -> None:
    before = parse_cascade(f"S[t] = X[t,n]; Z[t] = pow(X[t,n] - S[t] / size(n), {power}) * V[n]", SIZES)
    after = running(before, "S", "n")
    kept(before, after)
    assert counts(after)["n"] == 1


@pytest.mark.parametrize(
    "text",
    [
        "S[t] = X[t,n]; Z[t] = tanh(X[t,n] - S[t])",  # no homomorphism
        "S[t] = max(n) X[t,n]; Z[t] = exp(X[t,n] + S[t])",  # the correction grows without bound
        "S[t] = max(n) X[t,n]; Z[t] = (X[t,n] - S[t]) * V[n]",  # it starts at -inf
        "S[t] = max(n) X[t,n]; Z[t] = max(n) exp(X[t,n] - S[t])",  # no sum
        "S[t] = X[t,n]; Z[t] = exp(X[t,n] * S[t])",  # no shift
    ],
)
def test_what_has_no_safe_correction_is_left_alone(text: str) -> None:
    before = parse_cascade(text, SIZES)
    with pytest.raises(NotApplicable):
        running(before, "S", "n")
    found = fewest_passes(parse_cascade(text.replace("(X[t,n] - S[t]) * V[n]", "tanh(X[t,n] - S[t])"), SIZES))
    assert found.passes == 2 and not found.steps


def test_a_rank_is_cut_into_blocks() -> None:
    before = load_model("attention_3pass", bindings={"m": 12, "p": 5, "e": 4, "f": 3, "h": 2})
    after = split_rank(before, "m", 4)
    kept(before, after)
    assert most_passes(after).family.forms == (("m1", "m0"),)
    assert most_passes(after).count == 3
    blocked = running(defer(after, "AV", "SD"), "GM", "m1")
    kept(before, blocked)
    assert most_passes(blocked).count == 1
    assert any(e.output.tensor == "GM_block" and e.reduced_ranks == ("m0",) for e, _ in blocked.einsums())
    for rank, block, message in (("q", 4, "no rank 'q'"), ("m", 5, "blocks of 5 do not divide"), ("m", 0, "blocks of")):
        with pytest.raises(NotApplicable, match=message):
            split_rank(before, rank, block)
    with pytest.raises(NotApplicable, match="'RM_2' steps along 'i'"):
        split_rank(load_model("attention_1pass"), "i", 4)


def test_a_chain_of_products_is_summed_in_the_other_order() -> None:
    before = parse_cascade("T[p,m] = Q[p,e] * K[m,e]; Z[p,f] = T[p,m] * V[m,f]", {"p": 12, "m": 10, "e": 3, "f": 4})
    after = reassociate(before, "Z", "T")
    kept(before, after)
    assert before.macs == 12 * 10 * (3 + 4) and after.macs == 3 * 4 * (12 + 10)
    same_names = parse_cascade("T[m,k] = A[m,n] * B[n,k]; Z[m,n] = T[m,k] * C[k,n]", {"m": 4, "n": 3, "k": 5})
    kept(same_names, reassociate(same_names, "Z", "T"))
    with pytest.raises(NotApplicable, match="'T' is no sum of products"):
        reassociate(parse_cascade("T[p,m] = max(e) Q[p,e] * K[m,e]; Z[p,f] = T[p,m] * V[m,f]", SIZES), "Z", "T")
    with pytest.raises(NotApplicable, match="does not read 'Q'"):
        reassociate(before, "Z", "Q")


# -- random cascades ---------------------------------------------------------------------------------------------------


@st.composite
def waiting_sums(draw: st.DrawFn) -> Workload:
    """A reduction over n, values made of it, and a sum over n that waits for them."""
    reduce = draw(st.sampled_from(["max", "add", "min"]))
    c = draw(st.sampled_from([0.25, 0.5, 1, 2])) * (-1 if reduce == "max" else 1)
    middle = draw(st.sampled_from(["S[t]", "S[t] + B[t]", "0.5 * S[t] - B[t]"]))
    shift = f"{abs(c)} * X[t,n] {'-' if c < 0 else '+'} {abs(c)} * R[t]"
    terms = [f"exp({shift})", f"exp(-B[t] + ({shift}))"]
    if reduce == "add":
        terms += [f"({shift}) * ({shift})", f"exp(({shift}) / 8) * ({shift})", "R[t] * X[t,n] + R[t]"]
    term = draw(st.sampled_from(terms))
    factor = draw(st.sampled_from(["", " * V[n]", " / (1 + B[t] * B[t])", " * V[n] / (B[t] * B[t] + R[t] * R[t] + 1)"]))
    text = f"S[t] = {reduce}(n) X[t,n]; R[t] = {middle}; Z[t] = ({term}){factor}"
    return parse_cascade(text, {"t": 3, "n": draw(st.sampled_from([1, 4, 6]))})


@SETTINGS
@given(waiting_sums(), st.integers(0, 99))
def test_searches_over_random_cascades_keep_the_value(before: Workload, seed: int) -> None:
    found = fewest_passes(before)
    assert found.checked
    assert counts(found.workload)["n"] == 1
    assert same_value(before, found.workload, seed=seed)


# -- the search --------------------------------------------------------------------------------------------------------

# Passes over all ranks of the cascade that the search finds: (rank, before, after).
FOUND = {
    "attention_3pass": ("m", 3, 1), "attention_deferred": ("m", 2, 1), "attention_2pass": ("i*j", 2, 1),
    "logsumexp": ("n", 2, 1), "logsumexp_pooling": ("n", 3, 1), "variance": ("d", 2, 1), "mla": ("m", 3, 1),
    "softmax": ("n", 3, 2), "layernorm": ("d", 3, 2), "rmsnorm": ("d", 2, 2), "layernorm_two_moment": ("d", 2, 2),
}


@pytest.mark.parametrize("name", sorted(FOUND))
def test_the_search_lowers_the_passes_of_the_zoo(name: str) -> None:
    rank, before, after = FOUND[name]
    workload = load_model(name)
    found = fewest_passes(workload)
    assert (counts(workload)[rank], counts(found.workload)[rank]) == (before, after)
    assert found.checked and bool(found.steps) == (before > after)
    tiny = fewest_passes(shrunk(workload))
    assert tiny.steps == found.steps
    assert same_value(shrunk(workload), tiny.workload, seed=7)


def test_names_and_order_do_not_matter() -> None:
    words = {"m": "z", "p": "a", "e": "k", "QK": "Norm", "GM": "Alpha", "SN": "Zed", "SD": "Beta", "A": "Q", "AV": "M",
             "Q": "V", "V": "K", "K": "A"}
    text = [str(e) for e, _ in load_model("attention_3pass").einsums()]
    renamed = [re.sub(r"[A-Za-z]+", lambda w: words.get(w[0], w[0]), line) for line in reversed(text)]
    sizes = {"z": 6, "a": 3, "k": 4, "b": 2, "h": 2, "f": 5}
    found = fewest_passes(parse_cascade("\n".join(renamed), sizes))
    assert counts(found.workload)["z"] == 1
    original = fewest_passes(load_model("attention_3pass"))
    assert [step.rewrite for step in found.steps] == [step.rewrite for step in original.steps]


def test_a_normalised_product_needs_one_pass() -> None:
    """Layer normalisation before a matrix product: mean and deviation leave the sum, or run along."""
    before = parse_cascade("""
        S[t] = X[t,d]; MU[t] = S[t] / size(d); C[t,d] = X[t,d] - MU[t]; Q[t] = C[t,d] * C[t,d]
        R[t] = rsqrt(Q[t] / size(d) + 1e-5); Y[t,d] = C[t,d] * R[t] * G[d]; Z[t,o] = Y[t,d] * W[d,o]
    """, {"t": 4, "d": 12, "o": 5})
    found = fewest_passes(before)
    assert (counts(before)["d"], counts(found.workload)["d"]) == (3, 1)
    kept(before, found.workload)


def test_operators_of_ones_own_are_taken_apart() -> None:
    before = parse_cascade("operator gap(x, y) = (x - y) * (x - y)\nS[t] = X[t,n]; Z[t] = gap(X[t,n], S[t] / 8)", SIZES)
    found = fewest_passes(before)
    assert counts(found.workload)["n"] == 1
    kept(before, found.workload)


def test_rewritten_attention_stays_in_range() -> None:
    """Scores of several thousands: exp(x) / exp(max), in place of exp(x - max), would overflow."""
    before = small("attention_3pass")
    after = fewest_passes(before).workload
    rng = np.random.default_rng(0)
    values = {n: 60 * rng.standard_normal(before.tensors[n].shape) for n in ("Q", "K", "V")}
    got = evaluate(after, values)["AV"]
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got, evaluate(before, values)["AV"], rtol=1e-6)


def test_blocks_are_cut_first() -> None:
    found = fewest_passes(load_model("attention_3pass"), blocks={"m": 256})
    assert found.steps[0].rewrite == "split" and found.checked
    assert counts(found.workload)["m1*m0"] == 1
    with pytest.raises(BadInput, match="blocks of 7 do not divide"):
        fewest_passes(load_model("attention_3pass"), blocks={"m": 7})


# -- the check ---------------------------------------------------------------------------------------------------------


def test_the_check_sees_a_wrong_correction(monkeypatch: pytest.MonkeyPatch) -> None:
    before = small("attention_3pass")
    good = fewest_passes(before).workload

    def broken(e: Einsum) -> Einsum:
        return replace(e, expr=Apply("sub", (Read(1), Read(0)))) if e.name == "GM_fix" else e

    bad = replace(good, body=tuple(broken(e) for e in good.body if isinstance(e, Einsum)))
    assert bad != good
    assert same_value(before, good) and not same_value(before, bad)
    original = Step.apply
    monkeypatch.setattr(search, "same_value", lambda one, other: same_value(one, bad if other == good else other))
    with pytest.raises(AccelsimError, match="rewriting changed the value: running"):
        fewest_passes(before)
    assert Step.apply is original


def test_cascades_shrink_with_their_blocks_and_last_steps() -> None:
    for name in ("attention_1pass", "attention_2pass", "layernorm_welford"):
        tiny = small(name)
        assert sum(e.points for e, _ in tiny.einsums()) < 10_000
        assert {p.rank: p.count for p in passes(tiny)} == counts(load_model(name))
    one = small("attention_1pass")
    rng = np.random.default_rng(0)
    values = {n: rng.standard_normal(one.tensors[n].shape) for n in ("Q", "K", "V")}
    scores = np.einsum("bhep,bhem->bhmp", values["Q"], values["K"])
    weights = np.exp(scores) / np.exp(scores).sum(2, keepdims=True)
    want = np.einsum("bhmp,bhfm->bhfp", weights, values["V"])
    np.testing.assert_allclose(evaluate(one, values)["AV"], want, rtol=1e-9)


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_rewrites_and_saves(tmp_path: Path) -> None:
    file = tmp_path / "one.yaml"
    ran = accelsim("cascade", "attention_3pass", "--fewest-passes", "--block", "m=256", "--save", str(file))
    assert ran.code == 0
    assert "split: rank m into blocks of 256" in ran.output and "running: 'GM' steps along m1" in ran.output
    saved = load_model(str(file))
    assert most_passes(saved).count == 1
    told = json.loads(accelsim("cascade", str(file), "--json").output)
    assert told["passes"] == 1
    told = json.loads(accelsim("cascade", "variance", "--fewest-passes", "--json").output)
    assert told["rewrites"]["passes"] == [2, 1] and told["rewrites"]["checked"]
    assert accelsim("cascade", "variance", "--save", str(file)).code == 2
