"""Stays that keep a part of each tile: bytes, room and order of what spills, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.kernels import differences, kernels, outcome
from support.machines import array_machine

from accelsim import simulate
from accelsim.engine import compiled
from accelsim.engine.checker import check
from accelsim.errors import MappingError, SpecError
from accelsim.ir import Workload, parse_cascade
from accelsim.lowering import lower
from accelsim.mapping import Loop, Mapping, Move, Op, Pipe, Seq, Stay, dumps_mapping, loads_mapping, replay, validate

MACHINE = array_machine(bandwidth="1 GB/s")
"""One byte per cycle to and from the DRAM."""
OPS = (Op("QK", "array", "os"), Op("S", "vector", "simd"), Op("AV", "array", "ws"))
KEPT = Fraction(3, 4)


def attention_like(m: int = 12, n: int = 8) -> Workload:
    """Three Einsums that share ranks; a byte per element."""
    text = "QK[m,n] = Q[m,k] * K[n,k]\nS[m,n] = exp(QK[m,n])\nAV[m,f] = S[m,n] * V[n,f]"
    return parse_cascade(text, {"m": m, "n": n, "k": 4, "f": 5}, name="attention", bits=8)


def load(name: str, *due: int | str) -> Move:
    return Move(name, "dram", "sram", due, due, 1)


def store(name: str, *issue: int | str) -> Move:
    return Move(name, "sram", "dram", issue, issue[:1], 1, store=True)


def spilling(share: Fraction = KEPT, tile: int = 4, *, piped: bool = True) -> Mapping:
    """Rows in one loop, of whose scores and exponentials a part stays."""
    body = Pipe(OPS, (2, 1)) if piped else Seq(OPS)
    homes = [Stay(name, "dram", (), ()) for name in ("Q", "K", "V", "QK", "S", "AV")]
    at: tuple[int | str, ...] = ("body",)
    spans = {"QK": (at, at), "S": (at, at)} if piped else {"QK": ((*at, 0), (*at, 1)), "S": ((*at, 1), (*at, 2))}
    parts = [Stay(name, "sram", *span, share=share) for name, span in spans.items()]
    out = Move("AV", "sram", "dram", at, (), 1, store=True)
    moves = [load("Q", *at), load("K", *at), load("V", *at), out]
    due = {"QK": (*at, 0), "S": (*at, 1)}
    moves += [replace(store(name, *issue), due=issue) for name, issue in due.items()]
    moves += [load("QK", *at, 1), load("S", *at, 2)]
    return Mapping("attention", "array_machine", Loop("m", tile, body), (*homes, *parts), tuple(moves))


def fault(mapping: Mapping) -> str:
    with pytest.raises(MappingError) as error:
        replay(mapping, attention_like(), MACHINE)
    return str(error.value)


def test_a_part_stays_and_the_rest_goes_out_and_comes_back() -> None:
    """Three tiles of four rows: 8 of 32 bytes of each spill, and two tiles of scores stand between the stages."""
    result = replay(spilling(), attention_like(), MACHINE)
    for name in ("QK", "S"):
        assert result.tensor_bytes[name, "dram", "write"] == result.tensor_bytes[name, "dram", "read"] == 3 * 8
    operands = 4 * 4 + 8 * 4 + 8 * 5 + 4 * 5
    assert result.peaks["sram"].nbytes == operands + 2 * 24 + 24 + 4 * 8


@pytest.mark.parametrize("piped", [True, False])
def test_what_is_whole_needs_no_moves(piped: bool) -> None:
    """With all of it kept, the same Mapping without those Moves: nothing but operands and results passes the edge."""
    mapping = spilling(Fraction(1), piped=piped)
    moves = tuple(m for m in mapping.moves if m.tensor not in ("QK", "S"))
    result = replay(replace(mapping, moves=moves), attention_like(), MACHINE)
    assert not [key for key in result.tensor_bytes if key[0] in ("QK", "S")]


@settings(deadline=None, derandomize=True, max_examples=25)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 9), st.booleans())
def test_replay_lowering_and_text_agree(part: int, of: int, tile: int, piped: bool) -> None:
    """For any share and any tiles, ragged ones among them: bytes of the run are those of the replay."""
    share = min(Fraction(part, of), Fraction(of, part))
    mapping = spilling(share, tile, piped=piped)
    if share == 1:
        mapping = replace(mapping, moves=tuple(m for m in mapping.moves if m.tensor not in ("QK", "S")))
    assert loads_mapping(dumps_mapping(mapping)) == mapping
    work = attention_like()
    assert validate(mapping, work, MACHINE) == []
    counted = replay(mapping, work, MACHINE).traffic_bytes
    report = simulate(MACHINE, work, mapping=mapping)
    for way in ("read", "write"):
        assert report.traffic_bytes["dram"][way] == counted["dram", way]
    assert report.cycles >= report.bounds.program


def test_spilled_bytes_leave_before_they_come_back() -> None:
    """One tile: each further byte that spills goes out and comes in once after the other, a cycle each."""
    cycles = {}
    for share in (Fraction(3, 4), Fraction(1, 4)):
        mapping = spilling(share, tile=12)
        moves = tuple(m for m in mapping.moves if m.tensor != "S")
        stays = tuple(s for s in mapping.stays if s.tensor != "S")
        report = simulate(MACHINE, attention_like(), mapping=replace(mapping, moves=moves, stays=stays))
        cycles[share] = report.cycles
    assert cycles[Fraction(1, 4)] - cycles[Fraction(3, 4)] == 2 * (12 * 8) // 2


@pytest.mark.parametrize("piped", [True, False])
def test_kernels_agree_and_the_checker_is_content(piped: bool) -> None:
    program = lower(MACHINE, attention_like(40), spilling(piped=piped))
    told = [outcome(kernel, program) for _, kernel in kernels(0)]
    assert not [x for other in told[1:] for x in differences(told[0], other)]
    assert check(program, compiled.run(program, record=1 << 12)) == []


def without(mapping: Mapping, tensor: str, *, stores: bool) -> Mapping:
    return replace(mapping, moves=tuple(m for m in mapping.moves if (m.tensor, m.store) != (tensor, stores)))


def test_the_rest_must_go_somewhere_and_come_back() -> None:
    assert "1/4 of QK, which does not stay in sram, is nowhere: no store at or above QK at body.0" in (
        fault(without(spilling(), "QK", stores=True))
    )
    assert "1/4 of S, which does not stay in sram, is not moved there for AV at body.2" in (
        fault(without(spilling(), "S", stores=False))
    )
    stays = tuple(s for s in spilling().stays if (s.tensor, s.memory) != ("QK", "dram"))
    assert "no store at or above QK at body.0 takes it to where all of it may stay" in (
        fault(replace(spilling(), stays=stays))
    )


def test_the_rest_must_be_stored_before_it_is_loaded() -> None:
    mapping = spilling(piped=False)
    late = tuple(replace(m, due=("body", 2)) if m.store and m.tensor == "QK" else m for m in mapping.moves)
    assert "is loaded for S at body.1 at body.1, before what QK at body.0 makes is stored" in (
        fault(replace(mapping, moves=late))
    )


def test_what_cannot_be_kept_in_part() -> None:
    mapping = spilling()
    partial = replace(mapping, stays=(*mapping.stays, Stay("K", "sram", ("body",), ("body",), share=KEPT)))
    assert "keeps 3/4, but nothing makes K inside it" in fault(partial)
    wrong = replace(mapping, stays=tuple(replace(s, share=Fraction(5, 4)) for s in mapping.stays))
    assert "share 5/4" in fault(wrong)
    with pytest.raises(SpecError, match=r"share: is no part of a tile .*above 0 and at most 1"):
        loads_mapping(dumps_mapping(mapping).replace("share: 3/4", "share: 7/4"))
