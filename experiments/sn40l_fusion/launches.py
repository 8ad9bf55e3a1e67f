"""What a launch by software must cost for a published speed-up to come out, with everything else as it is.

Kernels run one after the other, so that the time of a model is that of its kernels and one launch each. It is affine in
the cost of a launch, and every published range is an interval of that cost.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf


@dataclass(frozen=True)
class Kernels:
    """A model as kernels: seconds in them, without launches, and how many there are."""

    seconds: float
    calls: int


@dataclass(frozen=True)
class Interval:
    """Seconds of a launch, from `low` to `high`; empty where `low` is more."""

    low: float = 0.0
    high: float = inf

    @property
    def empty(self) -> bool:
        return self.low > self.high


def launch_at(slow: Kernels, fast: Kernels, ratio: float) -> float:
    """The launch with which `slow` takes so many times as long as `fast`; `inf` where none does.

    Of slow.seconds + slow.calls s = ratio (fast.seconds + fast.calls s).
    """
    calls = slow.calls - ratio * fast.calls
    return (ratio * fast.seconds - slow.seconds) / calls if calls > 0 else inf


def of_fusion(unfused: Kernels, fused: Kernels, low: float, high: float) -> Interval:
    """Launches with which fusion brings from `low` to `high`, all kernels launched by software."""
    return Interval(max(0.0, launch_at(unfused, fused, low)), launch_at(unfused, fused, high))


def of_hardware(fused: Kernels, by_hardware_s: float, low: float, high: float) -> Interval:
    """Launches by software that take from `low` to `high` times as long as launches by hardware, in all."""
    least, most = ((ratio * by_hardware_s - fused.seconds) / fused.calls for ratio in (low, high))
    return Interval(max(0.0, least), most)


def common(intervals: Iterable[Interval]) -> Interval:
    """The launches that are in all of them."""
    made = list(intervals)
    return Interval(max((i.low for i in made), default=0.0), min((i.high for i in made), default=inf))
