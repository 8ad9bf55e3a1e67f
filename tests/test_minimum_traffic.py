"""The least traffic of an Einsum: against closed forms, and against every loop nest of small ones, walked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.nests import least_ideal_traffic, least_traffic

from accelsim.errors import BadInput, DoesNotFit
from accelsim.ir import Einsum, Workload, parse_cascade, with_precision
from accelsim.ir.minimum_traffic import Room, TrafficSpace, minimum_traffic, traffic_curve
from accelsim.ir.minimum_traffic_tiles import undominated
from accelsim.ir.precision import GroupBits

MIB = 1 << 20


def einsum_of(workload: Workload) -> Einsum:
    (einsum,) = workload.body
    assert isinstance(einsum, Einsum)
    return einsum


def gemm(m: int, n: int, k: int, bits: int | dict[str, int] = 8) -> Workload:
    return parse_cascade("Z[m,n] = A[m,k] * B[k,n]", {"m": m, "n": n, "k": k}, bits=bits)


SMALL: dict[str, tuple[str, dict[str, int], int | dict[str, int]]] = {
    "gemm": ("Z[m,n] = A[m,k] * B[k,n]", {"m": 3, "n": 2, "k": 4}, {"A": 8, "B": 16, "Z": 32}),
    "gemm of one width": ("Z[m,n] = A[m,k] * B[k,n]", {"m": 4, "n": 3, "k": 2}, 8),
    "batched": ("Z[g,m,n] = A[g,m,k] * B[g,k,n]", {"g": 2, "m": 2, "n": 2, "k": 2}, {"A": 8, "B": 8, "Z": 24}),
    "grouped": ("Z[g,h,m] = A[g,h,k] * B[g,k,m]", {"g": 2, "h": 2, "m": 2, "k": 2}, 8),
    "matrix by vector": ("Z[m] = A[m,k] * X[k]", {"m": 5, "k": 4}, 8),
    "convolution": ("O[p] = I[p+r] * W[r]", {"p": 5, "r": 3}, 8),
    "padded": ("input I[5] 8 bits; O[k,p] = pad(I[p+r-1], 0) * W[k,r]", {"p": 5, "r": 3, "k": 2}, 8),
    "strided": ("O[p] = I[3*p+r] * W[r]", {"p": 4, "r": 2}, {"I": 8, "W": 8, "O": 16}),
    "dilated": ("O[p] = I[p+2*r] * W[r]", {"p": 4, "r": 3}, 8),
    "diagonal": ("O[p] = I[p,p] * W[p]", {"p": 4}, 8),
    "sum": ("S[m] = A[m,k]", {"m": 4, "k": 3}, 8),
    "three inputs": ("Z[m] = A[m,k] * B[k] * C[m]", {"m": 3, "k": 3}, 8),
    "outer product": ("Z[m,n] = A[m] * B[n]", {"m": 4, "n": 3}, 8),
}


@pytest.mark.parametrize("room", ["ideal", "slices", "streams", "double"])
@pytest.mark.parametrize("divide", [False, True])
@pytest.mark.parametrize("name", SMALL)
def test_equals_every_nest_walked(name: str, divide: bool, room: Room) -> None:
    text, sizes, bits = SMALL[name]
    workload = parse_cascade(text, sizes, bits=bits)
    einsum = einsum_of(workload)
    nbytes = list(range(1, 2 * sum(t.nbytes for t in workload.tensors.values()) + 2))
    buffers = [8 * n for n in nbytes]
    cuts = 2 if len(sizes) < 4 else 1
    if room == "ideal":
        walked = least_ideal_traffic(einsum, workload.tensors, buffers, divide=divide)
    else:
        walked = least_traffic(einsum, workload.tensors, buffers, room=room, cuts=cuts, divide=divide)
    space = TrafficSpace(einsum, workload.tensors, room=room, divide=divide)
    for size, bits_moved in zip(nbytes, walked, strict=True):
        if bits_moved is None:
            with pytest.raises(DoesNotFit):
                space.minimum(size)
        else:
            least = space.minimum(size)
            assert least.traffic_bytes == -(-bits_moved // 8), (size, str(least))
            assert least.room_bytes <= size


def test_a_rank_cut_three_times_gains_nothing() -> None:
    """The walk above cuts each rank twice at most; more cuts find nothing better."""
    workload = gemm(4, 2, 4, {"A": 8, "B": 16, "Z": 8})
    buffers = [8 * n for n in range(1, 80)]
    two, three = (
        least_traffic(einsum_of(workload), workload.tensors, buffers, room="slices", cuts=cuts, divide=True)
        for cuts in (2, 3)
    )
    assert two == three


@pytest.mark.parametrize("divide", [False, True])
def test_ideal_of_the_large_product(divide: bool) -> None:
    """4096³ at one byte: with 1 MiB, tiles of 1024 × 1024 outputs, A and B read four times, 64 + 64 + 16 MiB."""
    workload = gemm(4096, 4096, 4096)
    curve = traffic_curve(einsum_of(workload), workload.tensors, [n * MIB for n in (1, 2, 4, 8, 16, 48)], room="ideal",
                          divide=divide)  # fmt: skip
    assert [x.traffic_bytes / MIB for x in curve] == [144, 112, 80, 64, 48, 48]
    assert dict(curve[0].holds[0].tile) == {"m": 1024, "n": 1024}
    assert curve[0].holds[0].tensor == "Z"


def test_slices_must_fit_beside_the_tile() -> None:
    """A column of A and one element of B beside 1024 × 1024 outputs; with a byte less, 512 × 2048 (B eight times)."""
    workload = gemm(4096, 4096, 4096)
    space = TrafficSpace(einsum_of(workload), workload.tensors, divide=True)
    assert space.minimum(MIB + 1024 + 1).traffic_bytes == 144 * MIB
    assert space.minimum(MIB + 1024).traffic_bytes == (2 * 16 + 8 * 16 + 16) * MIB
    streams = TrafficSpace(einsum_of(workload), workload.tensors, room="streams", divide=True)
    assert streams.minimum(MIB + 2 * (1024 + 1)).traffic_bytes == 144 * MIB
    assert streams.minimum(MIB + 2 * (1024 + 1) - 1).traffic_bytes > 144 * MIB
    double = TrafficSpace(einsum_of(workload), workload.tensors, room="double", divide=True)
    assert double.minimum(2 * (MIB + 1024 + 1)).traffic_bytes == 144 * MIB
    assert double.minimum(2 * (MIB + 1024 + 1) - 1).traffic_bytes > 144 * MIB


def ideal_gemm(m: int, n: int, k: int, a: int, b: int, z: int, room: int) -> int | None:
    """The ideal in closed form over all tiles, tensors of a, b and z bytes per element."""
    sizes = {"A": (m, k, n, a), "B": (k, n, m, b), "Z": (m, n, k, z)}
    moved = {"A": ("Z", "B"), "B": ("A", "Z"), "Z": ("A", "B")}  # what its second rank, its first rank repeats
    best = None
    for name, (x, y, _, width) in sizes.items():
        for tx in range(1, x + 1):
            ty = min(y, room // (width * tx))
            if ty == 0:
                break
            trips = -(-x // tx), -(-y // ty)
            total = x * y * width
            for other, again in zip(moved[name], trips[::-1], strict=True):
                elements = sizes[other][0] * sizes[other][1] * sizes[other][3]
                total += elements * (2 * again - 1 if other == "Z" else again)
            best = total if best is None else min(best, total)
    return best


sizes_of_ranks = st.integers(1, 40)
widths = st.sampled_from([1, 2, 4])


@given(sizes_of_ranks, sizes_of_ranks, sizes_of_ranks, widths, widths, widths, st.integers(0, 3000))
@settings(deadline=None, max_examples=300)
def test_ideal_equals_the_closed_form(m: int, n: int, k: int, a: int, b: int, z: int, room: int) -> None:
    workload = gemm(m, n, k, {"A": 8 * a, "B": 8 * b, "Z": 8 * z})
    expected = ideal_gemm(m, n, k, a, b, z, room)
    if expected is None:
        with pytest.raises(DoesNotFit):
            minimum_traffic(einsum_of(workload), room, workload.tensors, room="ideal")
    else:
        assert minimum_traffic(einsum_of(workload), room, workload.tensors, room="ideal").traffic_bytes == expected


@st.composite
def any_einsum(draw: st.DrawFn) -> Workload:
    text, ranks, _ = draw(st.sampled_from(list(SMALL.values())))
    sizes = {r: draw(st.integers(1, 9)) for r in ranks}
    if "input I[5]" in text:
        text = text.replace("input I[5]", f"input I[{sizes['p']}]")
    tensors = [t for t in "ABCIOSWXZ" if f"{t}[" in text]
    return parse_cascade(text, sizes, bits={t: draw(st.sampled_from([4, 8, 16])) for t in tensors})


@given(any_einsum(), st.lists(st.integers(3, 500), min_size=2, max_size=8), st.booleans())
@settings(deadline=None, max_examples=60)
def test_more_room_never_moves_more(workload: Workload, buffers: list[int], divide: bool) -> None:
    einsum = einsum_of(workload)
    for room in ("ideal", "slices", "streams", "double"):
        space = TrafficSpace(einsum, workload.tensors, room=room, divide=divide)
        last: int | None = None
        for size in sorted(buffers):
            try:
                moved = space.minimum(size).traffic_bytes
            except DoesNotFit:
                assert last is None
                continue
            assert last is None or moved <= last
            last = moved


@given(any_einsum(), st.integers(32, 500))
@settings(deadline=None, max_examples=50)
def test_wider_spaces_move_no_more(workload: Workload, size: int) -> None:
    """Ideal below slices below streams below double buffers; any tiles below those that divide; none below all once."""
    einsum = einsum_of(workload)
    found = {
        (room, divide): minimum_traffic(einsum, size, workload.tensors, room=room, divide=divide)
        for room in ("ideal", "slices", "streams", "double")
        for divide in (False, True)
    }
    for divide in (False, True):
        moved = [found[room, divide].traffic_bytes for room in ("ideal", "slices", "streams", "double")]
        assert moved == sorted(moved)
    for room in ("ideal", "slices", "streams", "double"):
        assert found[room, False].traffic_bytes <= found[room, True].traffic_bytes
    least = found["ideal", False]
    once = TrafficSpace(einsum, workload.tensors, room="ideal").minimum(1 << 20)
    assert least.traffic_bytes >= once.traffic_bytes
    assert least.traffic_bytes == pytest.approx(sum(h.read_bytes + h.write_bytes for h in least.holds), abs=8)


def test_the_nest_is_told() -> None:
    workload = gemm(64, 64, 64)
    least = minimum_traffic(einsum_of(workload), 1024 + 32 + 1, workload.tensors)
    assert str(least).splitlines() == [
        "Z: 20,480 bytes through a buffer of 1,057",
        "  for m in tiles of 32",
        "    for n in tiles of 32",
        "      hold Z (m 32, n 32): 1,024 bytes; 0 read, 4,096 written",
        "      for k in tiles of 1",
        "        hold A (m 32, k 1): 32 bytes; 8,192 read, 0 written",
        "        for n in tiles of 1",
        "          hold B (n 1, k 1): 1 bytes; 8,192 read, 0 written",
    ]


def test_metadata_of_groups_moves_with_its_elements() -> None:
    """Four bits and a scale of 8 bits per 128: 4.0625 bits per weight."""
    workload = with_precision(gemm(64, 64, 64), {"B": GroupBits(4, 8, 128)})
    least = minimum_traffic(einsum_of(workload), 1 << 20, workload.tensors)
    assert {h.tensor: h.read_bytes for h in least.holds} == {"A": 4096, "B": 4096 * 65 // 128, "Z": 0}


def test_partial_results_are_read_and_written() -> None:
    """No output of two bytes fits, so one element of A stays: each output is written twice and read once."""
    workload = gemm(1, 1000, 2, {"A": 8, "B": 8, "Z": 16})
    least = minimum_traffic(einsum_of(workload), 1, workload.tensors, room="ideal")
    assert {h.tensor: (h.read_bytes, h.write_bytes) for h in least.holds} == {
        "A": (2, 0), "B": (2000, 0), "Z": (2000, 4000),
    }  # fmt: skip
    assert least.traffic_bytes == 8002


def test_what_cannot_be_said() -> None:
    iterative = parse_cascade("R[0] = 0; R[i+1] = max(R[i], L[i])", {"i": 4})
    step = next(e for e in iterative.body if isinstance(e, Einsum) and e.iterative)
    with pytest.raises(BadInput, match="iterates over 'i'"):
        minimum_traffic(step, 100, iterative.tensors)
    workload = gemm(8, 8, 8)
    with pytest.raises(BadInput, match="no room 'none'"):
        minimum_traffic(einsum_of(workload), 100, workload.tensors, room="none")  # type: ignore[arg-type]
    with pytest.raises(DoesNotFit, match="needs a buffer of 3 bytes"):
        minimum_traffic(einsum_of(workload), 2, workload.tensors)
    huge = gemm(1 << 20, 1 << 20, 1 << 20)
    with pytest.raises(BadInput, match="more than this analysis counts"):
        minimum_traffic(einsum_of(huge), 1 << 20, huge.tensors)


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 5))
@settings(deadline=None, max_examples=100)
def test_undominated_rows(seed: int, count: int, columns: int) -> None:
    rows = np.random.default_rng(seed).integers(1, 8, (count, columns))
    expected = [
        i
        for i in range(count)
        if not any((rows[j] <= rows[i]).all() and ((rows[j] < rows[i]).any() or j < i) for j in range(count))
    ]
    assert undominated(rows, block=7).tolist() == expected
