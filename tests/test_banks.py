"""Banks of a scratchpad: cycles of one access, and what a systolic array waits, against walks over all words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.einsums import SMALL, conv, gemm, run
from support.machines import gemm as model

from accelsim import simulate
from accelsim.arch import Architecture
from accelsim.arch.component import CONFLICT, Banking
from accelsim.arch.loader import loads_architecture
from accelsim.components import compute_units
from accelsim.components.banks import access_cycles, box
from accelsim.components.base import ComputeUnit
from accelsim.components.buffer import Buffer
from accelsim.components.systolic import SystolicArray
from accelsim.errors import SpecError
from accelsim.ir import Access, Einsum, contraction
from accelsim.mapping.constraints import Constraints, OpConstraint
from accelsim.report import Report


def cycles_of(starts: Iterable[int], bits: int, banks: int, line_bits: int, ports: int) -> int:
    """Cycles of one access to words of so many bits, every line that it touches counted by hand."""
    lines = {line for s in starts for line in range(s // line_bits, (s + bits - 1) // line_bits + 1)}
    return max(ceil(n / ports) for n in Counter(line % banks for line in lines).values())


def conflict_cycles(
    strides: Sequence[int], extents: Sequence[int], banks: int, width: int, *, ports: int = 1, start: int = 0
) -> int:
    """Cycles of one access to the words start + sum(i_d * strides[d]), in lines of `width` words."""
    words = start + box(tuple(zip(strides, extents, strict=True)))
    return int(access_cycles(words[None], 1, Banking(banks, width, ports))[0])


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 6)), min_size=1, max_size=3),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 3),
    st.integers(0, 20),
)
@SMALL
def test_conflicts_equal_those_of_an_enumeration(
    dimensions: list[tuple[int, int]], banks: int, width: int, ports: int, start: int
) -> None:
    strides, extents = zip(*dimensions, strict=True)
    points = product(*map(range, extents))
    words = [start + sum(i * s for i, s in zip(point, strides, strict=True)) for point in points]
    found = conflict_cycles(strides, extents, banks, width, ports=ports, start=start)
    assert found == cycles_of(words, 1, banks, width, ports)


@pytest.mark.parametrize(
    "strides, extents, banks, width, cycles",
    [
        ([1], [8], 8, 1, 1),  # neighbours: one per bank
        ([1], [8], 4, 1, 2),
        ([8], [8], 8, 1, 8),  # a column of a matrix of 8 columns: all of them in bank 0
        ([9], [8], 8, 1, 1),  # padded by one, each is a bank further
        ([2], [8], 8, 1, 2),  # even banks alone
        ([4], [4], 4, 4, 1),  # the first words of four lines
        ([1], [4], 1, 4, 1),  # one line, however many of its words
        ([16, 1], [4, 4], 4, 4, 4),  # four lines of bank 0
        ([0], [8], 1, 1, 1),  # the same word
    ],
)
def test_conflicts_by_hand(strides: list[int], extents: list[int], banks: int, width: int, cycles: int) -> None:
    assert conflict_cycles(strides, extents, banks, width) == cycles


LETTER = {"": "", "rows": "m", "columns": "n", "contraction": "k", "groups": "g"}
SIDES = {"os": "mn", "ws": "kn", "is": "km"}
CARRIED = ("gmk", "gkn", "gmn")


@dataclass
class Walk:
    """Cycles that a systolic array waits for banks, walked word by word with all arrays at the same place."""

    unit: SystolicArray
    memory: Buffer
    einsum: Einsum
    bits: Sequence[int]
    dataflow: str
    deal: str = ""

    def __post_init__(self) -> None:
        c = contraction(self.einsum)
        assert c is not None
        self.ranks = {"g": c.g, "m": c.m, "n": c.n, "k": c.k}
        self.points = {
            letter: [dict(zip(names, p, strict=True)) for p in product(*(range(self.einsum.sizes[r]) for r in names))]
            for letter, names in self.ranks.items()
        }
        self.side = dict(zip(SIDES[self.dataflow], (self.unit.rows, self.unit.cols), strict=True))
        self.part = {letter: len(points) for letter, points in self.points.items()}
        self.used, dealt = 1, LETTER[self.deal]
        if dealt:
            side = self.side.get(dealt, 1)
            self.part[dealt] = min(self.part[dealt], ceil(ceil(self.part[dealt] / self.unit.arrays) / side) * side)
            self.used = ceil(len(self.points[dealt]) / self.part[dealt])

    def place(self, access: Access, point: dict[str, int]) -> int:
        """Of a word in its dense tile, the last index fastest."""
        at = 0
        for index in access.indices:
            size = 1 + sum(step * (self.einsum.sizes[r] - 1) for r, step in index.terms)
            at = at * size + sum(step * point[r] for r, step in index.terms)
        return at

    def waits(self, operand: int, **at: Iterable[int]) -> int:
        """Of one access to the words of an operand at these places of every part."""
        access = (*self.einsum.inputs, self.einsum.output)[operand]
        spread = []
        for letter in CARRIED[operand]:
            places = [i + j * self.part[letter] for i in at[letter] for j in range(self.used)]
            spread.append([self.points[letter][i] for i in dict.fromkeys(places) if i < len(self.points[letter])])
        words = [self.place(access, {r: i for p in point for r, i in p.items()}) for point in product(*spread)]
        memory, bits = self.memory, self.bits[operand]
        assert memory.bank_width is not None
        starts = [w * bits for w in words]
        once = cycles_of(starts, bits, memory.banks, 8 * memory.bank_width, memory.ports_per_bank)
        apart = LETTER[self.deal] not in CARRIED[operand]
        joined = self.unit.adders if operand == 2 else self.unit.multicast
        return once * (self.used if apart and not joined else 1) - 1

    def total(self) -> tuple[int, int]:
        """Of the longest of the streams, and of what is shifted."""
        streams, shifted = [0, 0, 0], 0
        first, second = tuple(SIDES[self.dataflow])
        across = [range(0, self.part[letter], self.side[letter]) for letter in (first, second)]
        for g, top, left in product(range(self.part["g"]), *across):
            high = range(top, min(top + self.unit.rows, self.part[first]))
            wide = range(left, min(left + self.unit.cols, self.part[second]))
            if self.dataflow == "os":
                for k in range(self.part["k"]):
                    streams[0] += self.waits(0, g=[g], m=high, k=[k])
                    streams[1] += self.waits(1, g=[g], n=wide, k=[k])
                shifted += sum(self.waits(2, g=[g], m=[m], n=wide) for m in high)
            elif self.dataflow == "ws":
                shifted += sum(self.waits(1, g=[g], k=[k], n=wide) for k in high)
                for m in range(self.part["m"]):
                    streams[0] += self.waits(0, g=[g], m=[m], k=high)
                    streams[2] += self.waits(2, g=[g], m=[m], n=wide)
            else:
                shifted += sum(self.waits(0, g=[g], m=wide, k=[k]) for k in high)
                for n in range(self.part["n"]):
                    streams[1] += self.waits(1, g=[g], n=[n], k=high)
                    streams[2] += self.waits(2, g=[g], m=wide, n=[n])
        return max(streams), shifted


def banked(unit: SystolicArray, memory: Buffer) -> ComputeUnit:
    return compute_units(Architecture("m", 1e9, {"s": memory}, {"u": unit}))["u"]


def scratchpad(banks: int, width: int, ports: int = 1) -> Buffer:
    return Buffer(capacity=2**20, bandwidth=float("inf"), banks=banks, bank_width=width, ports_per_bank=ports)


BANKS = st.builds(scratchpad, st.integers(1, 5), st.integers(1, 4), st.integers(1, 2))


@given(st.sampled_from(["os", "ws", "is"]), st.tuples(st.integers(1, 4), st.integers(1, 4)), BANKS,
       st.tuples(st.integers(1, 2), *[st.integers(1, 7)] * 3), st.booleans())  # fmt: skip
@settings(SMALL, max_examples=80)
def test_an_array_waits_as_in_a_walk(
    dataflow: str, shape: tuple[int, int], memory: Buffer, gmnk: tuple[int, int, int, int], overlap: bool
) -> None:
    check_walk(SystolicArray(memory="s", rows=shape[0], cols=shape[1], accumulator_bits=24, overlap=overlap),
               memory, gemm(*gmnk), dataflow)  # fmt: skip


@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
@pytest.mark.parametrize("banks, width", [(1, 1), (3, 1), (4, 2)])
def test_a_convolution_waits_as_in_a_walk(dataflow: str, banks: int, width: int) -> None:
    check_walk(SystolicArray(memory="s", rows=4, cols=3), scratchpad(banks, width), conv(3, 4, 3, 2), dataflow)


@given(st.sampled_from(["os", "ws", "is"]), st.sampled_from(list(LETTER)[1:]), st.integers(2, 4), BANKS,
       st.tuples(st.integers(1, 3), *[st.integers(1, 7)] * 3), st.booleans(), st.booleans())  # fmt: skip
@settings(SMALL, max_examples=80)
def test_arrays_with_parts_wait_as_in_a_walk(
    dataflow: str,
    deal: str,
    arrays: int,
    memory: Buffer,
    gmnk: tuple[int, int, int, int],
    multicast: bool,
    adders: bool,
) -> None:
    unit = SystolicArray.model_validate(
        {"kind": "systolic", "memory": "s", "rows": 2, "cols": 3, "arrays": arrays, "deals": [deal],
         "multicast": multicast, "adders": adders, "accumulator_bits": 24}
    )  # fmt: skip
    check_walk(unit, memory, gemm(*gmnk), dataflow, deal)


def check_walk(unit: SystolicArray, memory: Buffer, einsum: Einsum, dataflow: str, deal: str = "") -> None:
    variant = f"{dataflow}/{deal}" if deal else dataflow
    free = run(unit, einsum, variant, (8, 8, 16))
    cost = run(banked(unit, memory), einsum, variant, (8, 8, 16))
    walk = Walk(unit, memory, einsum, (8, 8, 16), dataflow, deal)
    along = SIDES[dataflow][0]
    if dataflow != "os" and walk.part[along] > unit.rows:
        walk.bits = (8, 8, unit.accumulator_bits)  # results leave as partial ones, once per fold of K
    streamed, shifted = walk.total()
    if unit.overlap:
        folds = walk.part["g"]
        for letter in SIDES[dataflow]:
            folds *= ceil(walk.part[letter] / walk.side[letter])
        stream = walk.part[({*"mnk"} - {*SIDES[dataflow]}).pop()]
        expected = max(folds * stream + streamed, folds * unit.rows + shifted)
    else:
        expected = int(free.cycles[0]) + streamed + shifted
    even = not deal or len(walk.points[LETTER[deal]]) % walk.part[LETTER[deal]] == 0
    assert cost.cycles[0] == expected if even else cost.cycles[0] >= expected  # a last part counts as a whole one
    assert cost.actions[CONFLICT][0] == cost.cycles[0] - free.cycles[0]
    assert [r.tolist() for r in cost.reads] == [r.tolist() for r in free.reads]
    assert cost.latency[0] == free.latency[0]


def chip(keys: str, unit: str = "", bandwidth: str = "unlimited") -> Architecture:
    return loads_architecture(
        f"""
name: chip
clock: 1 GHz
memories:
  dram: {{kind: dram, capacity: 1 GiB, bandwidth: unlimited}}
  sram: {{kind: buffer, capacity: 1 MiB, parent: dram, bandwidth: {bandwidth}{keys}}}
units:
  array: {{kind: systolic, memory: sram, rows: 8, cols: 8, dataflows: [os], overlap: true{unit}}}
"""
    )


def report(keys: str, **machine: str) -> Report:
    """Of O[64,64] = A[64,64] B[64,64] as one tile: 64 folds, each of a stream of 64 cycles."""
    work = model(64, 64, 64, bits=8)
    ((einsum, _),) = work.einsums()
    whole = Constraints((("*", OpConstraint(tiles=einsum.sizes)),))
    return simulate(chip(keys, **machine), work, constraints=whole)


LINES = ", banks: 8, bank_width: 1 B"


def waits_said(found: Report) -> list[str]:
    return [note for note in found.provenance["notes"] if "waits for banks" in note]


def test_a_layout_with_conflicts_is_slower_by_their_factor() -> None:
    """A cycle wants A[m..m+7,k]: 64 words apart, all in bank 0, as it lies; neighbours with rows of A innermost."""
    factor = conflict_cycles([64], [8], 8, 1)
    assert (factor, conflict_cycles([1], [8], 8, 1)) == (8, 1)
    free, slow, turned = report(""), report(LINES), report(LINES + ", layout: {input: [column]}")
    assert free.cycles == turned.cycles == 64 * 64
    assert slow.cycles == factor * free.cycles
    assert waits_said(slow) == ["array waits for banks of its memory in 28,672 of 32,768 cycles of its work"]
    assert waits_said(free) == waits_said(turned) == []
    assert slow.energy_dynamic_J == turned.energy_dynamic_J
    assert report(LINES + ", ports_per_bank: 4").cycles == 2 * free.cycles


def test_banks_alone_never_conflict() -> None:
    assert report(", banks: 8").cycles == report("").cycles


def test_conflicts_hide_behind_a_slower_port() -> None:
    """Folds move 64 * 2 * 8 * 64 bytes in and 4096 out: 17,408 cycles at 4 bytes, 139,264 at half a byte."""
    for bandwidth, free, slow in (("4 GB/s", 17408, 32768), ("0.5 GB/s", 139264, 139264)):
        without, banked_too = report("", bandwidth=bandwidth), report(LINES, bandwidth=bandwidth)
        assert banked_too.cycles - without.cycles == slow - free
        assert bool(waits_said(banked_too)) == (slow > free)


def test_slices_of_wide_words_wait_again() -> None:
    """Words of 16 bits on 8-bit multipliers come four times; lines of two bytes hold one each."""
    unit, einsum = SystolicArray(memory="s", rows=8, cols=8, overlap=True), gemm(1, 64, 64, 64)
    free, slow = (run(u, einsum, "os", (16, 16, 16)).cycles[0] for u in (unit, banked(unit, scratchpad(8, 2))))
    assert (free, slow) == (4 * 4096, 8 * 4 * 4096)


@pytest.mark.parametrize("sizes", [(16, 32, 16), (20, 12, 28)])
def test_the_mapper_expects_what_runs(sizes: tuple[int, int, int]) -> None:
    found = simulate(chip(LINES), model(*sizes, bits=8))
    assert found.mapping is not None and found.mapping.claim is not None
    assert found.mapping.claim.value == pytest.approx(found.cycles, rel=0.08)  # when results come is an estimate
    assert found.bounds.machine <= found.bounds.program <= found.cycles


@pytest.mark.parametrize(
    "keys, words",
    [
        (", layout: {input: [column]}", "are for memories with `bank_width`"),
        (", ports_per_bank: 2", "are for memories with `bank_width`"),
        (", banks: 8, bank_width: 1 MiB", "exceed the capacity"),
        (", bank_width: 1 B, layout: {input: [colum]}", "column"),
    ],
)
def test_banks_that_cannot_be(keys: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        chip(keys)
