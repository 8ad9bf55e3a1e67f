"""What Ops of a Mapping find and leave in the registers of an array: energy, room, and who must agree."""

from __future__ import annotations

import pytest

from accelsim import simulate
from accelsim.arch.architecture import Architecture
from accelsim.arch.loader import loads_architecture
from accelsim.errors import DoesNotFit, SpecError
from accelsim.ir import Workload, parse_cascade
from accelsim.mapping import Loop, Mapping, Move, Op, Pipe, Seq, Stay, dumps_mapping, loads_mapping, replay
from accelsim.report import Report

TILE = 4 * 8 * 2
"""Bytes of a tile of scores, one word in each of 4 x 8 elements."""
TILES = 4


def machine(register_bytes: int = 4, capacity: int = 4096) -> Architecture:
    registers = f"register_bytes: {register_bytes} B, " if register_bytes else ""
    return loads_architecture(f"""
name: small
clock: 1 GHz
memories:
  dram: {{kind: dram, capacity: 1 MiB, bandwidth: 8 B/cycle}}
  sram: {{kind: buffer, parent: dram, capacity: {capacity} B, bandwidth: unlimited}}
units:
  array: {{kind: pe_array, memory: sram, rows: 4, cols: 8, rates: {{exp: 1}}, {registers}
           overlap: true, accumulator_bits: 16, register_energy: 1 pJ/B}}
  vector: {{kind: vector, memory: sram, lanes: 8}}
links:
  bus: {{kind: link, between: [dram, sram], bandwidth: 8 B/cycle}}
""")


def work() -> Workload:
    """Scores S, their exponentials E, and sums of products Z, of 4 by 32."""
    text = "S[m,n] = A[m,k] * B[k,n]\nE[m,n] = exp(S[m,n])\nZ[m,f] = E[m,n] * C[n,f]\n"
    return parse_cascade(text, {"m": 4, "n": 32, "k": 16, "f": 8}, name="chain", bits=16)


def pipe(*, s: tuple[str, ...] = (), e: tuple[str, ...] = (), z: tuple[str, ...] = (), last: str = "array") -> Mapping:
    """Tile by tile of n, with what each Op has in registers."""
    variant = {"array": "is", "vector": "simd"}[last]
    scores, exponentials = Op("S", "array", "os", registers=s), Op("E", "array", "elementwise", registers=e)
    tree = Loop("n", 8, Pipe((scores, exponentials, Op("Z", last, variant, registers=z)), (2, 1)))
    homes = [Stay(t, "dram", (), ()) for t in ("A", "B", "C", "Z")]
    kept = [Stay("A", "sram", (), ()), Stay("Z", "sram", (), ())]
    at = ("body",)
    moves = [
        Move("A", "dram", "sram", (), (), 1), Move("B", "dram", "sram", at, at), Move("C", "dram", "sram", at, at),
        Move("Z", "sram", "dram", (), (), 1, store=True),
    ]  # fmt: skip
    return Mapping("chain", "small", tree, (*homes, *kept), tuple(moves))


HELD = pipe(s=("S",), e=("S", "E"), z=("E",))
"""Scores and exponentials in registers."""


def counts(report: Report, component: str, action: str, tensor: str) -> float:
    """Bytes of an action on a tensor."""
    return sum(
        r.count for r in report.energy if (r.component, r.action, r.tensor) == (component, action, tensor)
    )


def test_what_is_in_registers_is_neither_written_nor_read() -> None:
    """Of S and E, the memory sees nothing; the exponential counts what it finds and leaves, products do so anyhow."""
    plain, held = (simulate(machine(6), work(), mapping=m) for m in (pipe(), HELD))
    for tensor in ("S", "E"):
        assert counts(plain, "sram", "write", tensor) == counts(plain, "sram", "read", tensor) == TILES * TILE
        assert counts(held, "sram", "write", tensor) == counts(held, "sram", "read", tensor) == 0
        assert counts(held, "array", "register", tensor) == TILES * TILE
    assert counts(held, "array", "register", "") == counts(plain, "array", "register", "") > 0
    for tensor in ("A", "B", "C", "Z"):
        for action in ("read", "write"):
            assert counts(held, "sram", action, tensor) == counts(plain, "sram", action, tensor)
    assert (held.cycles, held.bounds) == (plain.cycles, plain.bounds)
    assert held.energy_J < plain.energy_J


def test_room_is_taken_in_registers_instead() -> None:
    """Two tiles of S and one of E: three words per element, and in the memory none."""
    plain, held = (replay(m, work(), machine(6)).peaks for m in (pipe(), HELD))
    assert held["array"].nbytes == 3 * TILE
    assert plain["sram"].nbytes - held["sram"].nbytes == 3 * TILE
    with pytest.raises(DoesNotFit, match=r"register file of array .* 192 bytes, 64 more than it has \(128\)"):
        replay(HELD, work(), machine(4))
    assert replay(HELD, work(), machine(6, plain["sram"].nbytes - 3 * TILE)).peaks["array"].nbytes == 3 * TILE


def test_moves_go_past_the_memory() -> None:
    """A result that leaves the registers for DRAM tile by tile, and comes back, is not in the memory between."""

    def tree(*held: str) -> Seq:
        stages = Op("E", "array", "elementwise", registers=held), Op("Z", "array", "is")
        return Seq((Loop("n", 8, Op("S", "array", "os", registers=held)), Loop("n", 8, Pipe(stages, (1,)))))

    first, second = (0, "body"), (1, "body")
    homes = [Stay(t, "dram", (), ()) for t in ("A", "B", "C", "S", "Z")]
    moves = (
        Move("A", "dram", "sram", first, first, 1), Move("B", "dram", "sram", first, first, 1),
        Move("S", "sram", "dram", first, (0,), 2, store=True), Move("S", "dram", "sram", second, (*second, 0), 2),
        Move("C", "dram", "sram", second, second, 1), Move("Z", "sram", "dram", (1,), (1,), 1, store=True),
    )  # fmt: skip
    stays = (*homes, Stay("Z", "sram", (1,), (1,)))
    through, past = (Mapping("chain", "small", root, stays, moves) for root in (tree(), tree("S")))
    reports = [simulate(machine(), work(), mapping=m) for m in (through, past)]
    for action in ("read", "write"):
        assert [counts(r, "dram", action, "S") for r in reports] == [TILES * TILE] * 2
        assert [counts(r, "sram", action, "S") for r in reports] == [2 * TILES * TILE, 0]
    replayed = replay(past, work(), machine())
    assert {key: n for key, n in replayed.tensor_bytes.items() if key[0] == "S"} == {
        ("S", "dram", "write"): TILES * TILE, ("S", "dram", "read"): TILES * TILE,
        ("S", "bus", "transfer"): 2 * TILES * TILE,
    }  # fmt: skip
    assert [counts(r, "bus", "transfer", "S") for r in reports] == [2 * TILES * TILE] * 2
    assert replayed.peaks["array"].nbytes == 2 * TILE


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (pipe(s=("S",)), "has S in registers of array, where E at body.1 does not have it"),
        (pipe(s=("S",), e=("S", "E")), "has E in registers of array, where Z at body.2 does not have it"),
        (pipe(s=("S",), e=("S", "E"), z=("E",), last="vector"), "vector has no registers for tiles"),
        (pipe(s=("X",)), "has 'X' in registers, which S does not use"),
        (pipe(s=("B",), z=()), None),
    ],
)
def test_all_that_share_a_place_must_agree(mapping: Mapping, message: str | None) -> None:
    if message is None:  # a load straight into registers
        assert counts(simulate(machine(16), work(), mapping=mapping), "sram", "write", "B") == 0
        return
    with pytest.raises(SpecError, match=message):
        simulate(machine(6), work(), mapping=mapping)


def test_an_array_without_such_registers_refuses() -> None:
    with pytest.raises(SpecError, match=r"array has no registers for tiles.*register_bytes.*none"):
        simulate(machine(0), work(), mapping=HELD)


def test_written_and_read_again() -> None:
    text = dumps_mapping(HELD)
    assert "registers: [S, E]" in text
    assert loads_mapping(text) == HELD
