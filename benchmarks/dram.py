"""Requests per second through the compiled DRAM model, by pattern and device.

Run as `python benchmarks/dram.py [DEVICE ...]`. Best of five, by the clock, channels on as many threads as there are
processors, and by the time of all processors together. Compilation is not counted; address decoding and splitting over
channels are. The last column says what a request costs in steps of a fixed loop that is timed beside it (a random walk
of 64-bit words, each step waiting for the last): a busy machine slows both.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from accelsim.components.dram_timing import preset
from accelsim.components.dram_trace import Controller, run_trace

DEVICES = {
    "DDR4_3200W": 1, "DDR5_4800AN": 2, "LPDDR4_8Gb_x16_2400": 2, "LPDDR5_6400": 4, "GDDR6_14000_1350mV_double": 2,
    "HBM2_2000Mbps": 8, "HBM2E_3600Mbps": 8, "HBM3_6400Mbps": 16, "HBM4_8000Mbps": 16,
}  # fmt: skip
"""Presets and their channels."""
REQUESTS = 500_000
REPEATS = 5
STEPS = 5_000_000


def walk(steps: int) -> int:
    """Steps of a 64-bit xorshift, which depend on each other."""
    x = 88172645463325252
    for _ in range(steps):
        x ^= x << 13
        x ^= (x >> 7) & 0x01FFFFFFFFFFFFFF
        x ^= x << 17
    return x


def patterns(capacity: int, burst: int) -> dict[str, tuple[NDArray[np.int64], NDArray[np.bool_]]]:
    """Addresses and which of them write."""
    random = np.random.default_rng(0)
    stream = np.arange(REQUESTS, dtype=np.int64) * burst % capacity
    spread = random.integers(0, capacity // burst, REQUESTS) * burst
    reads, mixed = np.zeros(REQUESTS, bool), random.random(REQUESTS) < 0.5
    return {"stream": (stream, reads), "stream, half writes": (stream, mixed), "random": (spread, reads),
            "random, half writes": (spread, mixed)}  # fmt: skip


def timed(function: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and of the process."""
    clock, process = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - clock, time.process_time() - process


def main(names: list[str]) -> None:
    print(f"{'':47} {'M requests/s':>12} {'M requests/s':>12}")
    print(f"{'device':26} {'pattern':20} {'by the clock':>12} {'of process':>12} {'cycles/request':>15} "
          f"{'steps/request':>14}")  # fmt: skip
    compiled: Any = numba.njit(walk)
    compiled(1)
    for name in names or DEVICES:
        device = preset(name).with_(channels=DEVICES.get(name, 1))
        for pattern, (addresses, writes) in patterns(device.capacity, device.burst_bytes).items():
            result = run_trace(device, addresses, writes, controller=Controller())
            runs, steps = [], []
            for _ in range(REPEATS):
                steps.append(timed(lambda: compiled(STEPS))[1] / STEPS)
                runs.append(timed(lambda a=addresses, w=writes, d=device: run_trace(d, a, w)))  # type: ignore[misc]
            clock, process = (min(seconds) / REQUESTS for seconds in zip(*runs, strict=True))
            print(f"{name:26} {pattern:20} {1e-6 / clock:12.1f} {1e-6 / process:12.1f} "
                  f"{result.cycles / REQUESTS:15.2f} {process / min(steps):14.0f}")  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
