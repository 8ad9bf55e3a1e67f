"""The least traffic of a cascade run together: closed forms, what holds at any size, and mappings that it bounds."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.errors import BadInput, DoesNotFit
from accelsim.experiments.fusemax.cascade import MODELS, one_pass, three_passes
from accelsim.experiments.fusemax.ladder import run
from accelsim.ir import compulsory_bytes, fused_traffic_curve, parse_cascade

SOFTMAX = """
M[p]   = max(m) X[m,p]
E[m,p] = exp(X[m,p] - M[p])
S[p]   = E[m,p]
Y[m,p] = E[m,p] / S[p]
"""


def test_a_chain_of_maps_moves_its_ends() -> None:
    workload = parse_cascade("B[i] = exp(A[i]); C[i] = exp(B[i])", {"i": 100}, bits=8)
    (point,) = fused_traffic_curve(workload, [2])
    assert (point.alone_bytes, point.fused_bytes) == (400, 200)


def test_what_two_products_share_is_read_once() -> None:
    workload = parse_cascade("Q[t,n] = X[t,d] * W[d,n]; K[t,n] = X[t,d] * U[d,n]", {"t": 8, "d": 4, "n": 2}, bits=8)
    (point,) = fused_traffic_curve(workload, [1000])
    assert (point.alone_bytes, point.fused_bytes) == (2 * (32 + 8 + 16), 32 + 2 * (8 + 16))


def test_two_products_through_a_buffer_that_holds_neither() -> None:
    """Y = (X A) B: the hidden values leave at no time, and each matrix comes once per block of rows that stays."""
    workload = parse_cascade(
        "H[t,s] = X[t,d] * A[d,s]; Y[t,n] = H[t,s] * B[s,n]", {"t": 64, "d": 64, "s": 64, "n": 64}, bits=8
    )
    small, large = fused_traffic_curve(workload, [1024, 1 << 20])
    assert large.fused_bytes == 4 * 64 * 64 == sum(compulsory_bytes(workload))
    assert small.fused_bytes == small.alone_bytes - 2 * 64 * 64 > large.fused_bytes


@pytest.mark.parametrize(("buffer", "spilled"), [(1024, 0), (1000, 24), (512, 512)])
def test_rows_that_do_not_fit_are_read_again(buffer: int, spilled: int) -> None:
    """Two of three passes read X again, and the exponentials leave and come back: the larger of the two decides."""
    workload = parse_cascade(SOFTMAX, {"m": 1024, "p": 16}, bits=8)
    (point,) = fused_traffic_curve(workload, [buffer])
    assert point.fused_bytes == 2 * 16 * 1024 + 16 * spilled * 2
    assert bool(point.footprint) == bool(spilled)


def test_steps_of_a_recurrence_stay_where_they_are_made() -> None:
    workload = parse_cascade("first: R[0] = 0\nR[i+1] = R[i] + X[i]\nY[j] = R[8] * W[j]", {"i": 8, "j": 3}, bits=8)
    (point,) = fused_traffic_curve(workload, [64])
    assert point.fused_bytes == sum(compulsory_bytes(workload)) == 8 + 3 + 3


@settings(deadline=None, max_examples=12, derandomize=True)
@given(st.lists(st.integers(200, 200_000), min_size=2, max_size=4), st.sampled_from([8, 16]))
def test_bounds_fall_with_the_buffer_and_stay_ordered(sizes: list[int], bits: int) -> None:
    model = replace(MODELS[0], heads=1, head_size=bits)
    workload = three_passes(model, 256, 1)
    points = fused_traffic_curve(workload, sorted(sizes))
    least = sum(compulsory_bytes(workload))
    for point in points:
        assert least <= point.fused_bytes <= point.alone_bytes
    for smaller, larger in pairwise(points):
        assert larger.fused_bytes <= smaller.fused_bytes and larger.alone_bytes <= smaller.alone_bytes


@pytest.mark.parametrize("buffer", [2, 4, 16])
@pytest.mark.parametrize("design", ["unfused", "flat", "binding"])
def test_no_mapping_moves_less(design: str, buffer: int) -> None:
    model, tokens = replace(MODELS[0], heads=4), 2048  # of fewer, smaller blocks are faster, which read keys twice
    machine = (("memories.buffer.capacity", f"{buffer} MiB"),)
    moved = sum(run(design, model, tokens, machine, 1).traffic_bytes["dram"].values())
    workload = one_pass(model, tokens, 1) if design == "binding" else three_passes(model, tokens, 1)
    (point,) = fused_traffic_curve(workload, [buffer << 20])
    assert point.fused_bytes <= moved
    if design == "binding":
        assert moved == point.fused_bytes


def test_a_buffer_below_the_smallest_tiles_says_so() -> None:
    workload = parse_cascade("C[i] = A[i] * B[i]", {"i": 4}, bits=16)
    with pytest.raises(DoesNotFit, match="smallest tiles"):
        fused_traffic_curve(workload, [5])
    with pytest.raises(BadInput, match="no room"):
        fused_traffic_curve(workload, [64], room="none")  # type: ignore[arg-type]
