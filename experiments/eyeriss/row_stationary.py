"""The chip's mapping of a convolution: sets of PEs, processing passes, what the buffer holds.

JSSC 2017, section IV; ISCA 2016, section V.
"""

from __future__ import annotations

from math import prod

from ...arch.architecture import Architecture
from ...arch.layout import Layout, Spread
from ...components.spatial import SpatialArray
from ...ir import Einsum
from ...mapping.tree import BODY, Loop, Mapping, Move, Node, Op, Stay
from .layers import Layer


def spreads(layer: Layer, arch: Architecture) -> tuple[Spread, ...]:
    """Sets of filter rows by rows of results, strips stacked, others beside them: along the columns where their rows
    leave room for it."""
    pes = arch.units["pes"]
    assert isinstance(pes, SpatialArray)
    wide = min(layer.e, pes.dimensions["columns"])
    beside = "columns" if wide * layer.t <= pes.dimensions["columns"] else "rows"
    found = (
        Spread("r", "rows", layer.kernel), Spread("p", "columns", wide), Spread("p", "rows", -(-layer.e // wide)),
        Spread("c", "rows", layer.r), Spread("m", beside, layer.t),
    )  # fmt: skip
    return tuple(s for s in found if s.factor > 1)


def active_pes(layer: Layer, arch: Architecture) -> int:
    """PEs that work in a full step."""
    extent = {"r": layer.kernel, "p": layer.e, "c": layer.q * layer.r, "m": layer.p * layer.t}
    along = spreads(layer, arch)
    return prod(min(extent[r], prod(s.factor for s in along if s.rank == r)) for r in extent)


def mapping(layer: Layer, arch: Architecture, einsum: Einsum) -> Mapping:
    """Images and rows in the buffer, then channels, then passes over filters.

    The buffer holds the sums of m channels and one pass' inputs; those of the next pass follow when it is done with
    them. Filters of the next pass are fetched during a pass where their memory has room for both.
    """
    filters, channels = layer.p * layer.t, layer.q * layer.r
    inside = (("n", 1), ("q", 1), ("c", layer.r), ("s", 1))
    layout = Layout(spreads(layer, arch), inside, {"weight": 0, "input": 2, "output": 2})
    tiles = (("n", layer.n), ("g", 1), ("p", layer.e), ("q", layer.f), ("m", layer.m), ("c", channels))
    loops = [(rank, tile) for rank, tile in tiles if tile < einsum.sizes.get(rank, 0)] + [("m", filters)]
    node: Node = Op("conv", "pes", "spatial", layout)
    for rank, tile in reversed(loops):
        node = Loop(rank, tile, node)
    at = tuple(BODY for _ in loops)
    around = [i for i, (rank, _) in enumerate(loops[:-1]) if rank in einsum.output.ranks]
    stored = at[: 1 + around[-1]] if around else ()
    weights = filters * channels * layer.kernel**2 * 2
    moves = (
        Move("input", "dram", "glb", at[:-1], at[:-1], 1),
        Move("weight", "dram", "filters", at, at, 2 if 2 * weights <= arch.memories["filters"].capacity else 1),
        Move("conv", "glb", "dram", stored, stored, 1, store=True),
    )
    stays = tuple(Stay(name, "dram", (), ()) for name in ("input", "weight", "conv"))
    return Mapping(layer.name, arch.name, node, stays, moves)
