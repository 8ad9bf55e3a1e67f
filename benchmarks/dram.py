"""Requests per second of process time through the compiled DRAM model, by pattern and device.

Run as `python benchmarks/dram.py`. Compilation is not counted; address decoding and splitting over channels are.
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from accelsim.components.dram_timing import preset
from accelsim.components.dram_trace import Controller, run_trace

DEVICES = (("DDR4_3200W", 1), ("DDR5_4800AN", 2), ("HBM2_2000Mbps", 8), ("HBM3_6400Mbps", 16), ("LPDDR5_6400", 4))
REQUESTS = 1_000_000


def patterns(capacity: int, burst: int) -> dict[str, tuple[NDArray[np.int64], NDArray[np.bool_]]]:
    """Addresses and which of them write."""
    random = np.random.default_rng(0)
    stream = np.arange(REQUESTS, dtype=np.int64) * burst % capacity
    spread = random.integers(0, capacity // burst, REQUESTS) * burst
    reads, mixed = np.zeros(REQUESTS, bool), random.random(REQUESTS) < 0.5
    return {"stream": (stream, reads), "stream, half writes": (stream, mixed), "random": (spread, reads),
            "random, half writes": (spread, mixed)}  # fmt: skip


def main() -> None:
    print(f"{'device':16} {'pattern':20} {'M requests/s':>12} {'cycles/request':>15}")
    for name, channels in DEVICES:
        device = preset(name).with_(channels=channels)
        for pattern, (addresses, writes) in patterns(device.capacity, device.burst_bytes).items():
            run_trace(device, addresses[:1000], writes[:1000])
            best = float("inf")
            for _ in range(3):
                begin = time.process_time()
                result = run_trace(device, addresses, writes, controller=Controller())
                best = min(best, time.process_time() - begin)
            print(f"{name:16} {pattern:20} {REQUESTS / best / 1e6:12.1f} {result.cycles / REQUESTS:15.2f}")


if __name__ == "__main__":
    main()
