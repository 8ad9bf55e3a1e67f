"""Synthetic request patterns, as the runs of the simulators in simulators.csv had them."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from ...components.dram_timing import AddressMapping, DramDevice

IntArray = NDArray[np.int64]


def compose(device: DramDevice, mapping: str, **fields: IntArray) -> IntArray:
    """Byte addresses of bursts by channel (ch), pseudo-channel (pc), bank group (bg), bank (ba), row (ro), column (co).

    What is not given is 0; numbers beyond a field's size wrap.
    """
    total = np.zeros(len(next(iter(fields.values()))), np.int64)
    scale = 1
    for name, size, weight in AddressMapping(mapping, device).segments:
        if name in fields:
            total += fields[name] // weight % size * scale
        scale *= size
    return total * device.burst_bytes


@cache
def _congruential(n: int) -> tuple[int, ...]:
    x, found = 12345, []
    for _ in range(n):
        x = (x * 6364136223846793005 + 1442695040888963407) % 2**64
        found.append(x >> 20)
    return tuple(found)


def addresses(pattern: str, n: int, device: DramDevice, mapping: str) -> IntArray:
    """Byte addresses of a pattern's requests; see `writes` for which of them write."""
    i = np.arange(n)
    d = device
    if pattern.startswith("stream"):
        return i * d.burst_bytes % d.capacity
    if pattern.startswith("rand"):
        lines = d.capacity // d.burst_bytes
        return np.array(_congruential(n), np.int64) % lines * d.burst_bytes
    if pattern == "allbank_newrow":
        pcs, groups = d.pseudo_channels, d.bank_groups
        return compose(d, mapping, pc=i % pcs, bg=i // pcs % groups, ba=i // pcs // groups, ro=i // d.banks)
    fields = {
        "hit_1bank": {"ro": i // d.columns, "co": i},
        "hit_samerow": {"co": i},
        "conflict_1bank": {"ro": i},
        "twobg_hit": {"bg": i % 2, "co": i // 2},
    }[pattern]
    return compose(d, mapping, **fields)


def writes(pattern: str, n: int) -> NDArray[np.bool_]:
    """All requests of ``_wr``, every second one of ``_mix``, none of the others."""
    if pattern.endswith("_mix"):
        return np.asarray(np.arange(n) % 2 == 1)
    return np.full(n, pattern.endswith("_wr"))
