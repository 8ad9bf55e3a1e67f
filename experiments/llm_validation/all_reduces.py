"""All-reduces over NVLink: messages on a network of cables, with two constants fitted to some of the measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import exp, log

from ...arch.network import Network, full, switch
from ...lowering.collectives import collective_seconds
from ...study.calibrate import Errors
from ..loader import Row, table

NETWORKS: Mapping[str, Callable[[int], Network]] = {
    # 12 links of NVLink 3, 25 GB/s each way (data sheet), four to each of three peers.
    "4 A100, all to all": lambda sockets: full(sockets, 100e9),
    "DGX A100": lambda sockets: switch(sockets, 300e9),  # 12 links of 25 GB/s to the switches
    "DGX H100": lambda sockets: switch(sockets, 450e9),  # 18 links of NVLink 4, 25 GB/s each way (data sheet)
}
NOTE = "one message to each socket and back (direct); kernels for middle sizes and waits for late sockets not modelled"


@dataclass(frozen=True)
class AllReduce:
    """A measurement, and the simulated seconds on cables at their peak."""

    sockets: int
    nbytes: int
    seconds: float
    fit: bool
    source: str
    at_peak: float

    def error(self, efficiency: float, launch_s: float) -> float:
        """Signed, relative. Cables without latency: time is in proportion to one over their bandwidth."""
        return (self.at_peak / efficiency + launch_s) / self.seconds - 1


def seconds_at_peak(name: str, sockets: int, nbytes: int) -> float:
    """Simulated, on the cables of a set at their data-sheet bandwidth."""
    return collective_seconds(NETWORKS[name](sockets), "all_reduce", nbytes, "direct")


@cache
def all_reduces(name: str) -> tuple[AllReduce, ...]:
    """Rows of a set."""
    found = []
    for r in table(__package__, "all_reduce.csv"):
        if r["set"] == name:
            sockets, nbytes = int(r["sockets"]), int(r["bytes"])
            peak = seconds_at_peak(name, sockets, nbytes)
            found.append(AllReduce(sockets, nbytes, float(r["latency_us"]) / 1e6, r["use"] == "fit", r["source"], peak))
    return tuple(found)


def constants(rows: Sequence[AllReduce]) -> tuple[float, float]:
    """Share of the bandwidth (0 to 1) and launch in seconds, by least squares on log errors."""
    from scipy.optimize import least_squares

    shortest = min(r.seconds for r in rows)
    found = least_squares(lambda x: [log(1 + r.error(exp(x[0]), x[1] * shortest)) for r in rows],
                          [log(0.8), 0.5], bounds=([log(0.01), 0.0], [0.0, 1.0])).x  # fmt: skip
    return exp(found[0]), float(found[1]) * shortest


def all_reduce_rows() -> Iterator[Row]:
    """By set: both constants, and errors of the rows that are not fitted."""
    for name in NETWORKS:
        rows = all_reduces(name)
        used, held = [r for r in rows if r.fit], [r for r in rows if not r.fit]
        efficiency, launch_s = constants(used)
        where, source = f"{name}, all-reduce", rows[0].source
        yield Row("bandwidth efficiency", where, None, efficiency, "share", None, source, f"{len(used)} rows; {NOTE}")
        yield Row("launch overhead", where, None, launch_s * 1e6, "us", None, source, f"{len(used)} rows; {NOTE}")
        for kind, c in (("uncalibrated", (1.0, 0.0)), ("calibrated", (efficiency, launch_s))):
            e = Errors.of(r.error(*c) for r in held)
            figures = (("mean", e.mean), ("median", e.median), ("95th percentile", e.p95), ("largest", e.maximum))
            for what, value in figures:
                yield Row(f"{what} error", f"{where}, {kind}", None, value, "share", None, source,
                          f"{e.count} rows that are not fitted; {NOTE}")  # fmt: skip
