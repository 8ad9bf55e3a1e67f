"""Sliding loads: what two neighbouring tiles of a window share is moved once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.arch.loader import loads_architecture
from accelsim.engine import compiled, reference
from accelsim.engine.labels import Action
from accelsim.errors import MappingError
from accelsim.ir import Access, Affine, Apply, Einsum, Read, Role, Tensor, Workload
from accelsim.lowering import lower
from accelsim.mapping.replay import replay
from accelsim.mapping.tree import BODY, Loop, Mapping, Move, Op, Seq, Stay
from accelsim.mapping.yaml_form import loads
from accelsim.mapping.yaml_text import dumps

MACHINE = loads_architecture("""
name: sliding
clock: 1 GHz
memories:
  dram: {kind: dram, standard: DDR4, capacity: 1 GiB, bandwidth: 4 B/cycle}
  sram: {kind: buffer, capacity: 1 MiB, bandwidth: 64 B/cycle, parent: dram}
units:
  array: {kind: systolic, memory: sram, rows: 4, cols: 4}
""")


def convolution(rows: int, taps: int, stride: int, channels: int, dilation: int = 1) -> Workload:
    """O[m,p] = I[c, stride·p + dilation·r] * W[m,c,r], whose input is just as long as it needs to be."""
    length = stride * (rows - 1) + dilation * (taps - 1) + 1
    sizes = {"m": 4, "p": rows, "c": channels, "r": taps}
    plain = {r: Affine(((r, 1),)) for r in sizes}
    window = Affine((("p", stride), ("r", dilation)))
    einsum = Einsum(
        "conv",
        Access("O", (plain["m"], plain["p"])),
        (Access("I", (plain["c"], window)), Access("W", (plain["m"], plain["c"], plain["r"]))),
        Apply("mul", (Read(0), Read(1))),
        sizes,
        reduce="add",
    )
    tensors = (
        Tensor("I", (channels, length), Role.INPUT, 8),
        Tensor("W", (4, channels, taps), Role.WEIGHT, 8),
        Tensor("O", (4, rows), Role.OUTPUT, 8),
    )
    return Workload("conv", {t.name: t for t in tensors}, (einsum,))


def mapping(tile: int, channel_tile: int, *, sliding: bool = True) -> Mapping:
    at = (0, BODY, BODY)
    return Mapping(
        "conv",
        "sliding",
        Seq((Loop("c", channel_tile, Loop("p", tile, Op("conv", "array", "os"))),)),
        tuple(Stay(t, "dram", (), ()) for t in "IWO"),
        (
            Move("I", "dram", "sram", (0,), at, sliding=sliding),
            Move("W", "dram", "sram", (0,), (0, BODY)),
            Move("O", "sram", "dram", (0,), (0,), 1, store=True),
        ),
    )


def words(
    rows: int, taps: int, stride: int, dilation: int, channels: int, tile: int, channel_tile: int
) -> int:
    """Input words that must come, found by walking over the tiles."""
    total = 0
    for first_channel in range(0, channels, channel_tile):
        held: set[tuple[int, int]] = set()
        for first in range(0, rows, tile):
            wanted = {
                (c, stride * p + dilation * r)
                for c in range(first_channel, min(channels, first_channel + channel_tile))
                for p in range(first, min(rows, first + tile))
                for r in range(taps)
            }
            total += len(wanted - held)
            held = wanted
    return total


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    st.integers(1, 12), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 6),
    st.integers(1, 3),
)  # fmt: skip
def test_only_what_is_new_moves(
    rows: int, taps: int, stride: int, dilation: int, channels: int, tile: int, channel_tile: int
) -> None:
    workload, value = convolution(rows, taps, stride, channels, dilation), mapping(tile, channel_tile)
    expected = words(rows, taps, stride, dilation, channels, tile, channel_tile)
    assert replay(value, workload, MACHINE).tensor_bytes["I", "dram", "read"] == expected
    program = lower(MACHINE, workload, value)
    trace = compiled.run(program)
    assert trace.differences(reference.run(program)) == []
    counts = zip(trace.program.actions, trace.action_counts(), strict=True)
    read = [
        n for a, n in counts if isinstance(a, Action) and (a.component, a.action, a.tensor) == ("dram", "read", "I")
    ]
    assert sum(read) == expected
    assert loads(dumps(value)) == value


def test_sliding_never_moves_more() -> None:
    workload = convolution(12, 3, 1, 2)
    slid = replay(mapping(4, 2), workload, MACHINE).tensor_bytes["I", "dram", "read"]
    whole = replay(mapping(4, 2, sliding=False), workload, MACHINE).tensor_bytes["I", "dram", "read"]
    assert (slid, whole) == (2 * 14, 2 * 18)


@pytest.mark.parametrize("tensor", ["W", "O"])
def test_what_cannot_slide_is_refused(tensor: str) -> None:
    workload, value = convolution(12, 3, 1, 2), mapping(4, 2, sliding=False)
    moves = tuple(replace(m, sliding=m.tensor == tensor) for m in value.moves)
    if tensor == "W":  # the loop around its cut must not shift it
        moves = (moves[0], replace(moves[1], due=(0, BODY, BODY)), moves[2])
    with pytest.raises(MappingError, match="cannot slide"):
        replay(replace(value, moves=moves), workload, MACHINE)
