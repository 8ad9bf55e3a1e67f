"""Least off-chip traffic of a product of 4096³ by buffer size: the ideal, every loop nest, and the tile mapper's.

`traffic.csv` has the figures to compare with: the ideal by hand, and the least of all nests whose streamed tiles have
two buffers, which `nests.py` finds by trying them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

from ... import simulate
from ...arch.loader import load_spec
from ...ir import Einsum, Workload, parse_cascade
from ...ir.minimum_traffic import Room, TrafficSpace
from ...mapping.constraints import Constraints, OpConstraint
from ..loader import Row, data_path, table

MIB = 1 << 20
SIZE = 4096


@cache
def product(size: int = SIZE) -> Workload:
    """Z = A B, all of `size` by `size` elements of one byte."""
    sizes = dict.fromkeys("mnk", size)
    return parse_cascade("weight B[k,n]; Z[m,n] = A[m,k] * B[k,n]", sizes, bits=8, name=f"product_{size}")


@cache
def space(room: Room) -> TrafficSpace:
    """The nests of the product; see `accelsim.ir.minimum_traffic`."""
    workload = product()
    (einsum,) = workload.body
    assert isinstance(einsum, Einsum)
    return TrafficSpace(einsum, workload.tensors, room=room)


def simulated(
    buffer: str, constraints: Constraints | None = None, size: int = SIZE, values: Mapping[str, object] | None = None
) -> int:
    """Bytes that cross the chip's edge, in a run of what the tile mapper chooses for least energy."""
    spec = load_spec(data_path(__package__, "machine.yaml"))
    arch = spec.with_values({"memories.buffer.capacity": buffer, **(values or {})}).build()
    report = simulate(arch, product(size), objective="energy", constraints=constraints)
    return sum(report.traffic_bytes["dram"].values())


def rows() -> Iterator[Row]:
    """Per size of the buffer: two bounds, a run of the best nest, and one of the mapper's own choice."""
    for r in table(__package__, "traffic.csv"):
        size = f"{r['buffer_MiB']} MiB"
        nbytes, least = int(r["buffer_MiB"]) * MIB, float(r["least_MiB"])
        tiles = {rank: int(r[f"tile_{rank}"]) for rank in "mnk"}
        best = Constraints((("Z", OpConstraint(order=tuple(r["order"].split()), tiles=tiles)),))
        for quantity, published, got in (
            ("ideal traffic", float(r["ideal_MiB"]), space("ideal").minimum(nbytes).traffic_bytes),
            ("least traffic with streams", least, space("streams").minimum(nbytes).traffic_bytes),
            ("traffic of the best nest, simulated", least, simulated(size, best)),
            ("traffic of the tile mapper's nest, simulated", least, simulated(size)),
        ):
            yield Row(quantity, f"buffer of {size}", published, got / MIB, "MiB", 0.0, r["source"])
