"""Flash: its law, an independent walk over pages, both kernels, and machine files that cannot be."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.einsums import SMALL

from accelsim import simulate
from accelsim.arch.loader import loads_architecture
from accelsim.components.flash import PARTS, Flash, step
from accelsim.engine import compiled, reference
from accelsim.engine.builder import Phase, ProgramBuilder, Run
from accelsim.errors import BadInput, SpecError
from accelsim.ir import parse_cascade

HZ = Fraction(10**9)
PAGE = 4096


def flash(channels: int = 4, dies: int = 2, read: float = 20e-6, rate: float = 1e9) -> Flash:
    return Flash(name="flash", channels=channels, dies=dies, capacity=PAGE * channels * dies * 2**20, page=PAGE,
                 page_read=read, page_program=10 * read, channel_bandwidth=rate)  # fmt: skip


def walk(drive: Flash, pages: int) -> float:
    """Nanoseconds to read pages 0, 1 ... of an idle drive: each die and each channel one page at a time, in order."""
    bus, die = [0.0] * drive.channels, {(c, d): 0.0 for c in range(drive.channels) for d in range(drive.dies)}
    for p in range(pages):
        c, d = p % drive.channels, p // drive.channels % drive.dies
        done = max(die[c, d] + drive.page_read * 1e9, bus[c]) + drive.page_move_s * 1e9
        bus[c] = die[c, d] = done
    return max(bus)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 400), st.sampled_from([1e-6, 20e-6, 80e-6]))
@settings(SMALL, max_examples=40)
def test_a_transfer_equals_a_walk_over_pages(channels: int, dies: int, pages: int, read: float) -> None:
    drive = flash(channels, dies, read)
    server = drive.server("read", HZ)
    assert server is not None
    ticks = int(step(np.array(server.state), pages * PAGE, 0, 0))
    assert ticks == pytest.approx(walk(drive, pages), abs=2 + pages / PARTS)


@pytest.mark.parametrize("size", [2**16, 2**20, 10**6 + 7])
@pytest.mark.parametrize(("dies", "read"), [(8, 20e-6), (2, 40e-6)])
def test_transfers_one_after_the_other_run_at_the_sustained_rate(size: int, dies: int, read: float) -> None:
    """Limited by channels and by dies; never faster than either, whole pages of a stream read once."""
    drive = flash(4, dies, read)
    server = drive.server("read", HZ, streams=True)
    assert server is not None
    state, now, count = np.array(server.state), 0, 200
    for _ in range(count):
        now += int(step(state, size, 0, now))
    rate = size * count / now * 1e9
    assert rate <= drive.sustained("read") * (1 + 1e-6)
    assert rate >= drive.sustained("read") * (0.9 if size < 2**20 else 0.98)


def test_what_is_sustained() -> None:
    assert flash(8, 8, 20e-6, 1.4e9).sustained("read") == pytest.approx(8 * 1.4e9)
    assert flash(8, 1, 36e-6, 1.024e9).sustained("read") == pytest.approx(8 * PAGE / 40e-6)
    assert flash(8, 8, 20e-6, 1.4e9).sustained("write") == pytest.approx(8 * 8 * PAGE / (200e-6 + PAGE / 1.4e9))


def test_chunks_move_whole_pages() -> None:
    assert flash().moved_bytes(64 * 256, 256) == 64 * PAGE
    assert flash().moved_bytes(3 * 5000, 5000) == 3 * 2 * PAGE
    assert flash().moved_bytes(8 * PAGE, 4 * PAGE) == 8 * PAGE
    with pytest.raises(BadInput, match="chunks of 0 bytes"):
        flash().moved_bytes(1, 0)
    with pytest.raises(BadInput, match="a share of 2"):
        flash().moved_bytes(1, 1, 2)


@pytest.mark.parametrize("share", [1 / 64, 1 / 8, 1.0])
def test_chosen_chunks_of_a_page_come_together(share: float) -> None:
    """As many pages as a draw of the chunks touches, never more than there are."""
    per_page, pages = PAGE // 256, 20_000
    chosen = np.random.default_rng(0).random((pages, per_page)) < share
    touched = int(chosen.any(axis=1).sum()) * PAGE
    moved = flash().moved_bytes(int(chosen.sum()) * 256, 256, share)
    assert moved == pytest.approx(touched, rel=0.03)
    assert flash().moved_bytes(int(share * pages * PAGE), 256, share) <= pages * PAGE


@given(st.lists(st.tuples(st.integers(1, 50_000), st.integers(1, 5)), min_size=1, max_size=6))
@settings(SMALL, max_examples=15)
def test_both_kernels_agree(bursts: list[tuple[int, int]]) -> None:
    builder = ProgramBuilder("flash", tick_hz=HZ)
    server = flash().server("read", HZ, streams=True)
    assert server is not None
    at, other = builder.server(server), builder.server(flash(2, 1).server("write", HZ) or server)
    for i, (work, count) in enumerate(bursts):
        builder.actor(f"a{i}", server=(at, other)[i % 2], schedule=[Run(Phase(work, arg=i * 2**20), count)])
    program = builder.build()
    assert not compiled.run(program).differences(reference.run(program))


MACHINE = """
name: drive
clock: 1 GHz
memories:
  flash: {{kind: flash, channels: 4, dies: 2, capacity: 1 GiB, page: 4 KiB, page_read: 20 us, page_program: 200 us,
           channel_bandwidth: 1 GB/s{more}}}
units:
  vector: {{kind: vector, memory: flash, lanes: 4}}
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("page: 4 KiB", "page: 3000 B", "do not divide the capacity of 1073741824 bytes"),
        ("{more}", ", bandwidth: 3 GB/s", "follow from channels, dies and pages"),
        ("{more}", ", cache_space: 2 GiB", "cache_space of 2147483648 bytes is more than the capacity"),
        ("page_program: 200 us", "page_program: 2 us", "which no flash has"),
        ("channel_bandwidth: 1 GB/s", "channel_bandwidth: unlimited", "more than 0 and not unlimited"),
    ],
)
def test_machines_that_cannot_be(old: str, new: str, message: str) -> None:
    assert loads_architecture(MACHINE.format(more="")).memories["flash"].kind == "flash"
    with pytest.raises(SpecError, match=message):
        loads_architecture(MACHINE.replace(old, new).format(more=""))


@pytest.mark.parametrize("mapper", ["tile", "cascade", "ilp"])
def test_flash_without_energies_can_be_mapped_onto(mapper: str) -> None:
    """There is no default to cite: what it moves takes none, and the report says so."""
    machine = """
        name: storage
        clock: 1 GHz
        memories:
          flash:
            {kind: flash, capacity: 1 GiB, dies: 4, channels: 2, page: 4 KiB, page_read: 3 us, page_program: 20 us,
             channel_bandwidth: 1.2 GB/s%s}
          sram: {kind: buffer, parent: flash, capacity: 8 KiB, bandwidth: 64 B/cycle}
        units:
          array: {kind: systolic, memory: sram, rows: 8, cols: 8}
          vector: {kind: vector, memory: sram, lanes: 8}
    """
    product = parse_cascade("size m = 24; size n = 32; size k = 16; C[m,n] = A[m,k] * B[k,n]", bits=8)
    silent = simulate(loads_architecture(machine % ""), product, mapper=mapper)
    given = ", read_energy: 0 pJ/bit, write_energy: 0 pJ/bit"
    stated = simulate(loads_architecture(machine % given), product, mapper=mapper)
    assert (silent.cycles, silent.traffic_bytes) == (stated.cycles, stated.traffic_bytes)
    assert silent.energy_J == stated.energy_J > 0
    assert silent.provenance["actions_without_energy"] == ["flash.read", "flash.write"]
