"""Bytes of a training step: against a count by hand, rows within tolerance, and tensors moved by 20 %."""

from __future__ import annotations

import pytest
from support.experiments import rows_of

from accelsim.experiments.data_movement import layer
from accelsim.experiments.data_movement.experiment import buffer_bytes, figure, forward_bytes, machine, seconds
from accelsim.ir import fused_traffic_curve

UNIT = 8 * 512 * 1024 * 2
"""Bytes of the activations of a layer; scores are 8 of these, hidden values 4, a matrix of 1024 a quarter."""


def in_units(fused: bool) -> dict[str, float]:
    moved = layer.moved_bytes(layer.training_step(), layer.kernels(fused))
    return {" + ".join(group): nbytes / UNIT for group, nbytes in moved.items()}


@pytest.mark.parametrize(
    ("kernel", "units"),
    [
        ("qkv", 1 + 0.75 + 3), ("input bias", 6), ("scores", 1 + 1 + 8), ("softmax", 16), ("dropout 0", 24),
        ("gamma", 8 + 1 + 1), ("norm 1", 2), ("linear 1", 1 + 1 + 4), ("relu", 8), ("norm 2 dx", 3),
        ("linear 2 dw", 1 + 4 + 1), ("gamma dx2", 1 + 8 + 1), ("softmax dx", 24), ("qkv dw", 3 + 1 + 0.75),
    ],
)  # fmt: skip
def test_a_kernel_moves_its_operands_and_results_once(kernel: str, units: float) -> None:
    assert in_units(False)[kernel] == pytest.approx(units, rel=0.003)  # biases and sums of a row are small


@pytest.mark.parametrize(
    ("kernel", "units"),
    [
        ("softmax + dropout 0", 8 + 8 + 8 + 8),  # weights and mask are kept for the way back
        ("bias 1 + relu + dropout 2", 4 + 4 + 4 + 4),
        ("output bias + dropout 1 + residual 1 + norm 1", 2 + 1 + 1 + 1),
        ("dropout 2 dx + relu dx + bias 1 dw", 12 + 4),
    ],
)
def test_a_fused_kernel_writes_what_comes_back_later(kernel: str, units: float) -> None:
    assert in_units(True)[kernel] == pytest.approx(units, rel=0.003)


def test_every_kernel_is_run_once() -> None:
    names = [name for group in layer.kernels(True) for name in group]
    assert sorted(names) == sorted({**layer.FORWARD, **layer.BACKWARD})


def test_rows_with_a_tolerance_are_within_it() -> None:
    found = rows_of("data_movement")
    assert [r.where for r in found if r.ok is False] == []
    assert sum(r.ok is True for r in found) == 2
    before, after = figure(found)["data"]
    assert all(b > a for b, a in zip(before["y"], after["y"], strict=True))


@pytest.mark.parametrize("rank", ["b", "u", "h"])
def test_a_larger_layer_moves_more(rank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def moved(size: int) -> tuple[int, float]:
        monkeypatch.setitem(layer.SIZES, rank, size)
        step = layer.training_step()
        return sum(layer.moved_bytes(step, layer.kernels(True)).values()), seconds(step, True)

    size = layer.SIZES[rank]
    small, large = moved(size * 4 // 5), moved(size * 6 // 5)
    assert small[0] < large[0] and small[1] < large[1]


@pytest.mark.parametrize(("part", "helps_fusion"), [("products", 1), ("memory", -1)])
def test_what_moves_the_speed_up_of_fused_kernels(part: str, helps_fusion: int) -> None:
    """Either peak makes a step faster; what fusing gains rises with faster products and falls with faster memory."""
    step, more, less = layer.training_step(), ((part, 1.2),), ((part, 0.8),)
    for fused in (False, True):
        assert seconds(step, fused, more) < seconds(step, fused) < seconds(step, fused, less)
    gains = [seconds(step, False, c) / seconds(step, True, c) for c in (less, (), more)]
    assert gains == sorted(gains, reverse=helps_fusion < 0) and len(set(gains)) == 3


def test_what_moves_the_bytes_of_the_forward_part() -> None:
    """Bytes from a slower memory cost more of the latency, so that the mapping moves fewer. 20 % of the buffer change
    nothing, sizes being powers of two; half of it and four times as much do."""

    def moved(key: str, value: str) -> int:
        return forward_bytes(((f"memories.{key}", value),))

    assert moved("dram.bandwidth", "320 GiB/s") < forward_bytes() < moved("dram.bandwidth", "480 GiB/s")
    assert moved("buffer.capacity", "13107 KiB") == forward_bytes() == moved("buffer.capacity", "19661 KiB")
    assert moved("buffer.capacity", "8 MiB") > forward_bytes() > moved("buffer.capacity", "64 MiB")
    least = [p.fused_bytes for p in fused_traffic_curve(layer.inference(), [1 << 20, buffer_bytes(machine())])]
    assert least[0] >= least[1] > 0
