"""The Mapping of a chain of groups: layer by layer, or its first ones patch by patch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from ...arch.architecture import Architecture
from ...components.base import ComputeUnit, SpatialOption
from ...errors import BadInput, MappingError
from ...ir import Einsum, Role
from ...mapping.table_checks import alike
from ...mapping.tree import BODY, Halo, Loop, Move, Node, Op, Pipe, Position, Seq, Stay
from ...mapping.tree import Mapping as MappingValue
from .groups import Chain, Group

WEIGHT_TILE_BYTES = 4096
"""Weights come in tiles of at most so many bytes, where one output channel takes no more: little beside activations."""
CHANNELS, ROWS, COLUMNS = 1, 2, 3
"""Dimensions of an image after its batch."""


@dataclass(frozen=True)
class Plan:
    """What of a Mapping can be chosen.

    Attributes:
        stage: groups that run patch by patch, from the first on; 0 for none.
        grid: patches along rows and columns of the last one's result.
        halo: whether patches end at the borders.
        in_place: results that lie where an input lay: none, those made channel by channel (depthwise convolutions,
            elementwise operators), or all that can.
        aside: whether the channel whose results wait for their place is counted.
    """

    stage: int
    grid: tuple[int, int]
    halo: Halo
    in_place: str
    aside: bool


class Machine:
    """The units of a machine that all work on one on-chip memory next to the off-chip one."""

    def __init__(self, arch: Architecture) -> None:
        self.arch = arch
        self.units = [u for u in arch.units.values() if isinstance(u, ComputeUnit)]
        memories = {m for unit in self.units for m in unit.memories}
        near = arch.memories[next(iter(memories))] if len(memories) == 1 else None
        if near is None or near.parent is None or not near.on_chip or arch.memories[near.parent].on_chip:
            raise BadInput(
                f"machine {arch.name}: the patch mapper needs units that work on one on-chip memory, with an off-chip "
                f"memory behind it; they work on {', '.join(sorted(memories)) or 'none'}"
            )
        self.buffer, self.home = near.name, near.parent

    def op(self, einsum: Einsum, bits: Sequence[int]) -> Op:
        """An Einsum on the unit, and in the way, that takes the fewest seconds for all of it."""
        whole = {r: np.array([n], np.int64) for r, n in einsum.sizes.items()}
        found: list[tuple[float, Op]] = []
        for unit in self.units:
            for option in unit.spatial_options(einsum):
                found.append((_seconds(unit, einsum, option, whole, bits), _op(einsum, unit, option)))
        if not found:
            raise MappingError(f"no unit of {self.arch.name} can run {einsum.name} ({einsum.kind or 'Einsum'})")
        return min(found, key=lambda pair: pair[0])[1]


def _seconds(
    unit: ComputeUnit, einsum: Einsum, option: SpatialOption, whole: Mapping[str, np.ndarray], bits: Sequence[int]
) -> float:
    return float(unit.cost(einsum, option, whole, bits).cycles.item()) / unit.clock_hz


def _op(einsum: Einsum, unit: ComputeUnit, option: SpatialOption) -> Op:
    return Op(einsum.name, unit.name, option.variant, option.layout)


class Builder:
    """Mappings of one Workload on one machine."""

    def __init__(self, chain: Chain, arch: Architecture) -> None:
        self.chain, self.workload, self.machine = chain, chain.workload, Machine(arch)
        self.arch = arch
        self.last_use: dict[str, int] = {}
        for i, group in enumerate(chain.groups):
            self.last_use.update(dict.fromkeys(group.reads, i))
        self.makers: dict[str, list[int]] = {}
        """Stored tensor to the groups that make it: several make the parts of a concatenation."""
        for i, group in enumerate(chain.groups):
            self.makers.setdefault(group.output, []).append(i)
        self.nests = [self._nest(group) for group in chain.groups]

    # Nests

    def _nest(self, group: Group) -> tuple[Node, int]:
        """A group's loops, and how many of them cut its weights."""
        ops = tuple(self.machine.op(e, self._bits(e)) for e in group.einsums)
        node: Node = ops[0]
        if len(ops) > 1:
            node = Pipe(ops, (1,) * (len(ops) - 1))
            rows = self._rank(group.lead, ROWS)
            if rows:
                node = Loop(rows, 1, node)
        channels = self._rank(group.lead, CHANNELS)
        tile = self._weight_tile(group, channels) if channels else 0
        if channels and tile < group.lead.sizes[channels]:
            return Loop(channels, tile, node), 1
        return node, 0

    def _bits(self, einsum: Einsum) -> list[int]:
        return [self.workload.tensors[a.tensor].bits for a in (*einsum.inputs, einsum.output)]

    @staticmethod
    def _rank(einsum: Einsum, dim: int) -> str:
        """The rank that indexes a dimension of a result, if there is one that does so alone."""
        indices = einsum.output.indices
        ranks = [r for r in indices[dim].ranks if einsum.sizes[r] > 1] if dim < len(indices) else []
        return ranks[0] if len(ranks) == 1 else ""

    def _weight_tile(self, group: Group, channels: str) -> int:
        """Output channels whose weights come at a time."""
        each = 0
        for access in group.lead.inputs:
            if self.workload.storage(access.tensor) in group.weights and channels in access.ranks:
                each += self.workload.tensors[access.tensor].nbytes
        size = group.lead.sizes[channels]
        return max(1, min(size, WEIGHT_TILE_BYTES * size // each)) if each else size

    # The whole

    def stages(self) -> list[int]:
        """Numbers of groups from the start after which one image alone is still needed."""
        live: set[str] = set()
        found = []
        for i, group in enumerate(self.chain.groups):
            live.add(group.output)
            live -= {name for name in live if self.last_use.get(name, -1) <= i and name != group.output}
            last = group.einsums[-1]
            made = last.output.indices
            whole = len(made) > COLUMNS and self._rank(last, ROWS) and self._rank(last, COLUMNS)
            complete = self.makers[group.output][-1] == i < self.last_use.get(group.output, -1)
            if live == {group.output} and whole and complete:
                found.append(i + 1)
        return found

    def mapping(self, plan: Plan) -> MappingValue:
        """The Mapping that a plan stands for, without its Claim."""
        ats: list[Position] = []
        groups, count = self.chain.groups, plan.stage
        nodes = [node for node, _ in self.nests]
        if count:
            last = groups[count - 1].einsums[-1]
            body: Node = Seq(tuple(nodes[:count]))
            for dim, parts in ((COLUMNS, plan.grid[1]), (ROWS, plan.grid[0])):
                rank = self._rank(last, dim)
                body = Loop(rank, -(-last.sizes[rank] // parts), body, plan.halo)
            ats = [(0, BODY, BODY, i) for i in range(count)]
            nodes = [body, *nodes[count:]]
        ats += [(i,) for i in range(1 if count else 0, len(nodes))]
        stays, moves = self._homes(), []
        for i, group in enumerate(groups):
            moves += self._moves(group, ats[i], self.nests[i][1])
            used = group.output in self.last_use or self._is_output(group.output)
            if used and self.makers[group.output][0] == i:
                stays.append(self._stay(i, ats, plan))
        return MappingValue(
            self.workload.name, self.machine.arch.name, Seq(tuple(nodes)), tuple(stays), tuple(moves)
        )

    def _is_output(self, name: str) -> bool:
        return any(t.role is Role.OUTPUT and self.workload.storage(n) == name for n, t in self.workload.tensors.items())

    def _homes(self) -> list[Stay]:
        """What stands off chip before the run, or after it."""
        used = [n for g in self.chain.groups for n in (*g.weights, *g.reads, g.output)]
        standing = [
            n
            for n in dict.fromkeys(used)
            if self.workload.tensors[n].role in (Role.INPUT, Role.WEIGHT, Role.STATE) or self._is_output(n)
        ]
        return [Stay(n, self.machine.home, (), ()) for n in standing]

    def _moves(self, group: Group, at: Position, loops: int) -> list[Move]:
        home, buffer = self.machine.home, self.machine.buffer
        due = (*at, *(BODY,) * loops)
        found = [Move(n, home, buffer, at, due, 2 if loops else 1) for n in group.weights]
        inputs = [n for n in group.reads if self.workload.tensors[n].role is Role.INPUT]
        found += [Move(n, home, buffer, at, at, 1) for n in inputs]
        if self._is_output(group.output):
            found.append(Move(group.output, buffer, home, at, at, 1, store=True))
        return found

    # Stays in the buffer

    def _stay(self, i: int, ats: Sequence[Position], plan: Plan) -> Stay:
        """From the group that makes a result to the last that reads it; a patch stage's lasts around its loops."""
        group = self.chain.groups[i]
        end = max(self.last_use.get(group.output, i), self.makers[group.output][-1])
        start = ats[i] if i != plan.stage - 1 else ats[i][:1]
        over = self._place_of(i, plan)
        aside = self._aside(group, over) if over and plan.aside else 0
        return Stay(group.output, self.machine.buffer, start, ats[end], over=over, aside=aside)

    def _place_of(self, i: int, plan: Plan) -> str:
        """The input whose place a group's result may take: its last reader, and dimension by dimension alike."""
        group = self.chain.groups[i]
        if plan.in_place == "none" or i == plan.stage - 1 or len(self.makers[group.output]) > 1:
            return ""
        made = self.workload.tensors[group.output].shape
        found = []
        for name in group.reads:
            shape = self.workload.tensors[name].shape
            if self.last_use[name] != i or self.workload.tensors[name].role is Role.INPUT or len(shape) != len(made):
                continue
            shared = self._shared(group, name)
            slices = [prod(n for d, n in enumerate(s) if d not in shared) for s in (made, shape)]
            channelwise = CHANNELS in shared or plan.in_place == "all"
            if channelwise and slices[0] <= slices[1] and (slices[1] < prod(shape) or prod(shape) == 1):
                found.append(name)
        return max(found, key=lambda n: self.workload.tensors[n].nbytes, default="")

    def _shared(self, group: Group, name: str) -> set[int]:
        """Dimensions along which a group's result depends point by point on one of its inputs."""
        dims: dict[str, set[int]] = {}
        every = set(range(len(self.workload.tensors[name].shape)))
        for einsum in group.einsums:
            mine = set(every)
            for access in einsum.inputs:
                stored = self.workload.storage(access.tensor)
                if stored == name:
                    mine &= alike(einsum, access)
                elif stored in dims:
                    mine &= alike(einsum, access) & dims[stored]
            dims[self.workload.storage(einsum.output.tensor)] = mine
        return dims[group.output]

    def _aside(self, group: Group, name: str) -> int:
        """Bytes of the slice of a result that waits until its place is free; single elements wait in registers."""
        shared = self._shared(group, name)
        tensor = self.workload.tensors[group.output]
        elements = prod(n for d, n in enumerate(tensor.shape) if d not in shared)
        return tensor.bytes_of(elements) if elements > 1 else 0
