"""A machine whose DRAM keeps rows open, from its YAML to the run."""

from __future__ import annotations

from support.machines import gemm

from accelsim import simulate
from accelsim.arch.architecture import Architecture
from accelsim.arch.loader import loads_architecture
from accelsim.engine import compiled, reference
from accelsim.lowering import lower
from accelsim.mapping.tree import Loop, Mapping, Move, Op, Seq, Stay

MACHINE = """
name: open_rows
clock: 1 GHz
memories:
  dram: {{kind: open_row_dram, capacity: 1 GiB, bandwidth: 16 GB/s, banks: {banks}, row: {row} B, burst: 64 B,
         activate: 14 ns, precharge: 14 ns}}
  sram: {{kind: buffer, parent: dram, capacity: 64 KiB, bandwidth: unlimited}}
units:
  array: {{kind: systolic, memory: sram, rows: 16, cols: 16, mac_bits: 8}}
"""


def machine(row: int, banks: int = 8) -> Architecture:
    return loads_architecture(MACHINE.format(row=row, banks=banks))


def test_longer_rows_are_opened_less_often() -> None:
    model = gemm(512, 512, 512, bits=8)
    mapping = simulate(machine(1024, banks=1), model).mapping
    cycles = [simulate(machine(row, banks=1), model, mapping=mapping).cycles for row in (256, 1024, 4096)]
    assert cycles[0] > cycles[1] > cycles[2]


def test_streams_that_meet_in_a_bank_disturb_each_other() -> None:
    # One bank: tiles of A and B alternate between two rows unless the rows hold many tiles.
    model = gemm(512, 512, 512, bits=8)
    mapping = simulate(machine(1024), model).mapping
    assert mapping is not None
    one = simulate(machine(1024, banks=1), model, mapping=mapping)
    many = simulate(machine(1024, banks=16), model, mapping=mapping)
    assert one.cycles > many.cycles


def test_a_stream_goes_on_where_it_ended() -> None:
    # 64 loads of 256 bytes of A, alone on the channel: 16 tiles to a row of 4096 bytes, so 4 rows are opened.
    arch = machine(4096, banks=1)
    model = gemm(64, 16, 256, bits=8)
    stays = (
        Stay("A", "dram", (), ()),
        Stay("B", "sram", (), (), 0),
        Stay("matmul", "sram", (), (), 8192),
    )
    root = Seq((Loop("m", 1, Op("matmul", "array", "os")),))
    mapping = Mapping("gemm", "open_rows", root, stays, (Move("A", "dram", "sram", (0,), (0, "body")),))
    program = lower(arch, model, mapping)
    trace = compiled.run(program)
    assert trace.differences(reference.run(program)) == []
    # 256 bytes at 16 bytes a tick; the first row is opened from nothing, the others after a precharge.
    assert trace.busy[1] == 64 * 16 + 14 + 3 * 28
