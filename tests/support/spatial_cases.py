"""Cases for spatial arrays: an array, an Einsum, a layout and a tile, and the walk that costs are held against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, prod

import numpy as np
from hypothesis import strategies as st

from accelsim.arch.component import OPERANDS, Operand
from accelsim.arch.layout import Layout, Spread
from accelsim.components.base import Cost
from accelsim.components.spatial import VARIANT, SpatialArray
from accelsim.components.spatial_kernel import TileCosts
from accelsim.components.spatial_layout import RegisterFile
from accelsim.ir import Access, Einsum
from support.einsums import gemm, group_conv
from support.interpreter import Counts, Interpreter

BITS = (8, 16, 24)
"""Widths of input, weight and result."""
WIDTHS: Mapping[Operand, int] = {"input": 1, "weight": 2, "output": 4}
"""Bytes of what is inside the array: results are partial sums of 32 bits."""


def access(einsum: Einsum, operand: Operand) -> Access:
    return {"input": einsum.inputs[0], "weight": einsum.inputs[1], "output": einsum.output}[operand]


@dataclass(frozen=True)
class Case:
    """An array, an Einsum, a layout for it, and the extents of a tile."""

    unit: SpatialArray
    einsum: Einsum
    layout: Layout
    extents: Mapping[str, int]

    def cost(self, **how: bool) -> Cost:
        option = self.unit.option(self.einsum, VARIANT, self.layout)
        return self.unit.cost(self.einsum, option, {r: np.array([n]) for r, n in self.extents.items()}, BITS, **how)

    def counts(self, walked: Interpreter, operand: Operand) -> Counts:
        """What the interpreter counts for an operand."""
        used, dimensions = access(self.einsum, operand), tuple(self.unit.dimensions)
        if operand not in self.layout.holds:
            return walked.streamed(used, dimensions, output=operand == "output")
        private = tuple(d for d in dimensions if d not in self.unit.registers[operand].shared)
        depth, sliding = self.layout.holds[operand], self.unit.registers[operand].sliding
        return walked.held(used, private, depth, output=operand == "output", sliding=sliding and self.slides(depth))

    def slides(self, depth: int) -> bool:
        """Whether the loop inside which the input is held moves a window of neighbouring words, the same on every
        element."""
        loop = self.layout.loops[depth - 1][0] if depth else ""
        for index in self.einsum.inputs[0].indices:
            if loop in index.ranks and len(index.ranks) > 1:
                return all(self.layout.factor(r) == 1 and (r == loop or c == 1) for r, c in index.terms)
        return False


SMALL_SIZE = st.integers(1, 4)
EINSUMS = st.one_of(
    st.builds(gemm, *[st.integers(1, 7)] * 4),
    st.builds(group_conv, n=st.integers(1, 2), m=SMALL_SIZE, c=SMALL_SIZE,
              side=st.tuples(st.integers(1, 6), st.just(1)), window=st.tuples(st.integers(1, 4), st.just(1)),
              stride=st.integers(1, 3), dilation=st.integers(1, 3)),
    st.builds(group_conv, g=SMALL_SIZE, m=st.integers(1, 5), c=st.integers(1, 3),
              side=st.tuples(st.just(1), st.integers(1, 6)), window=st.tuples(st.just(1), st.integers(1, 3)),
              stride=st.integers(1, 2)),
    st.builds(group_conv, g=st.integers(1, 4), side=st.tuples(*[st.integers(1, 4)] * 2),
              window=st.tuples(*[st.integers(1, 3)] * 2)),
)  # fmt: skip


@st.composite
def cases(draw: st.DrawFn) -> Case:
    einsum = draw(EINSUMS)
    extents = {r: draw(st.integers(1, n)) if draw(st.booleans()) else n for r, n in einsum.sizes.items()}
    dimensions = {d: draw(st.integers(1, 6)) for d in ("rows", "columns", "slices")[: draw(st.integers(1, 3))]}
    spreads: list[Spread] = []
    room, factor = dict(dimensions), dict.fromkeys(einsum.sizes, 1)
    for rank, dimension in draw(
        st.lists(st.tuples(st.sampled_from(list(einsum.sizes)), st.sampled_from(list(dimensions))), max_size=4,
                 unique=True)
    ):  # fmt: skip
        chosen = draw(st.integers(1, room[dimension]))
        spreads.append(Spread(rank, dimension, chosen))
        room[dimension] //= chosen
        factor[rank] *= chosen
    if "g" in einsum.sizes and "m" in einsum.sizes and "p" in einsum.sizes and factor["g"] == 1 and draw(st.booleans()):
        spreads = [Spread(s.rank, s.dimension, s.factor, "g") if s.rank == "m" else s for s in spreads
                   if s.rank != "g"]  # fmt: skip
    loops = tuple(
        (r, factor[r] * draw(st.integers(1, ceil(einsum.sizes[r] / factor[r]))))
        for r in draw(st.lists(st.sampled_from(list(einsum.sizes)), max_size=6))
    )
    registers: dict[Operand, RegisterFile] = {}
    holds: dict[Operand, int] = {}
    for operand in OPERANDS:
        shared = tuple(d for d in dimensions if draw(st.booleans()))
        registers[operand] = RegisterFile(capacity=2**20, shared=shared, sliding=operand == "input")
        apart = [{s.dimension in shared for s in spreads if s.rank == r} for r in einsum.sizes]
        if draw(st.booleans()) and all(len(a) < 2 for a in apart):
            holds[operand] = draw(st.integers(0, len(loops)))
    unit = SpatialArray(
        name="array", memory="s", dimensions=dimensions, registers=registers, through={"output_channel": "group"},
        mac_bits=16,
    )  # fmt: skip
    return Case(unit, einsum, Layout(tuple(spreads), loops, holds), extents)


def check(case: Case, cost: Cost, *, resumed: bool = False, unfinished: bool = False) -> None:
    walked = Interpreter(case.einsum, case.layout, case.extents)
    found = {o: case.counts(walked, o) for o in OPERANDS}
    distinct = prod(case.extents[r] for r in case.einsum.sizes if r in case.einsum.output.ranks)
    if resumed:
        found["output"].back += distinct
        found["output"].network += distinct
        found["output"].read += distinct
        found["output"].write += distinct
    assert cost.actions["mac"][0] == walked.macs == prod(case.extents.values())
    assert [int(r[0]) for r in cost.reads] == [found["input"].memory, 2 * found["weight"].memory]
    assert cost.partial_reads[0] == 4 * found["output"].back
    between = found["output"].memory - distinct
    assert cost.writes[0] == 4 * between + (4 if unfinished else 3) * distinct
    assert cost.actions["transfer"][0] == sum(WIDTHS[o] * found[o].network for o in OPERANDS)
    for operand in OPERANDS:
        for way in ("read", "write"):
            counted = [int(n[0]) for name, n in cost.actions.items() if name == f"{operand}_{way}"]
            expected = [WIDTHS[operand] * getattr(found[operand], way)] if operand in case.layout.holds else []
            assert counted == expected
    assert cost.cycles[0] == walked.steps
    assert cost.latency[0] == 0
    check_compiled(case, cost, resumed=resumed, unfinished=unfinished)


def check_compiled(case: Case, cost: Cost, *, resumed: bool = False, unfinished: bool = False) -> None:
    """What mappers take for the cost of one tile."""
    costs = TileCosts(case.unit, case.einsum, BITS)
    words = costs.cost(costs.body(case.layout), case.extents, resumed=resumed, unfinished=unfinished).tolist()
    expected = [cost.cycles, cost.latency, *cost.reads, cost.writes, cost.partial_reads]
    expected += [cost.actions["mac"], cost.actions["transfer"]]
    registers = [cost.actions.get(f"{o}_{way}", np.zeros(1, np.int64)) for o in OPERANDS for way in ("read", "write")]
    assert words[:14] == [int(n[0]) for n in (*expected, *registers)]
    one = {r: np.array([n]) for r, n in case.extents.items()}
    needed = case.unit.register_bytes(case.einsum, case.layout, one, BITS)
    assert words[14:17] == [int(needed[o][0]) if o in needed else 0 for o in OPERANDS]
