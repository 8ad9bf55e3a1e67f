"""Mappings as text in the style of Timeloop: per operator the memories inwards, each with what it holds and its loops.

    dram [ A:4096 B:4096 C:4096 ]
    -----------------------------
    | for m in [0:4)

    sram [ A:1024 ]
    ---------------
    |   for k in [0:8)

    array [ ]
    ---------
    |     for m in [0:16) (Spatial-rows)
    |     for n in [0:16) (Spatial-columns)

Numbers behind tensors are elements of the tile that moves into a memory, or that its Stay keeps there; a memory comes
again where it gets another tensor further in. What a text of this kind cannot say (Moves ahead of time, addresses,
several operators at once) the YAML form of a Mapping does. The text is for people and for tools that read Timeloop's
map.txt; accelsim reads it back from YAML alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping as Table
from math import prod

from ..arch.architecture import Architecture
from ..errors import SpecError
from ..ir import Einsum, Workload
from ..mapping.counting import tally
from ..mapping.scope import Place, Scope
from ..mapping.tree import Loop, Mapping, Op, Position
from ..mapping.validate import structure_problems

_SIDES = {"rows": "rows", "columns": "cols", "lanes": "lanes"}
"""Dimension of a unit without layouts to the key that says how long it is."""


def timeloop_text(mapping: Mapping, workload: Workload, arch: Architecture) -> str:
    """The nests of all operators, one after the other, each under its name.

    Raises:
        SpecError: the Mapping is not of this Workload and machine.
    """
    scope = Scope(mapping, workload)
    if problems := structure_problems(scope, arch):
        raise SpecError(problems)
    return "\n\n".join(_Nest(scope, place, arch).text() for place in scope.places) + "\n"


class _Nest:
    """One operator; sections fill from the outside inwards."""

    def __init__(self, scope: Scope, place: Place, arch: Architecture) -> None:
        self._scope, self._place, self._arch = scope, place, arch
        self._sections: list[tuple[str, dict[str, int], list[str]]] = []
        self._depth = 0
        self._fill()

    def text(self) -> str:
        lines = [f"# {self._place.einsum.name}"]
        for memory, tensors, loops in self._sections:
            held = "".join(f"{name}:{elements} " for name, elements in tensors.items())
            head = f"{memory} [ {held}]"
            lines += [head, "-" * len(head), *loops, ""]
        return "\n".join(lines).rstrip()

    def _fill(self) -> None:
        place, scope = self._place, self._scope
        reads = {name for access in place.einsum.inputs for name in scope.names.known_as(access.tensor)}
        written = scope.names.stored(place.einsum.output.tensor)
        into: dict[Position, dict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
        """Position to the tensors that memories get there."""
        for stay in (s for name in sorted({*reads, written}) for s in scope.stays.get(name, ())):
            if scope.tree.covers(stay, place.at):
                into[()][stay.memory][stay.tensor] = prod(scope.workload.tensors[stay.tensor].shape)
        for move in scope.mapping.moves:
            cut = move.issue if move.store else move.due
            mine = move.tensor == written if move.store else move.tensor in reads
            if mine and not move.is_copy and place.at[: len(cut)] == cut:
                elements = tally(scope, move).largest * 8 // scope.workload.tensors[move.tensor].bits
                into[cut][move.src if move.store else move.dst][move.tensor] = elements
        level = 0
        for n in range(len(place.at) + 1):
            at = place.at[:n]
            for memory in sorted(into.get(at, ()), key=self._order):
                self._sections.append((memory, dict(sorted(into[at][memory].items())), []))
            if level < len(place.levels) and place.levels[level].at == at:
                found, node = place.levels[level], place.levels[level].node
                if isinstance(node, Loop) and found.rank:
                    extent = place.extents(level)[found.rank]
                    self._loop(found.rank, len(found.spans) or -(-extent // node.tile))
                level += 1
        self._unit(place.op, place.einsum, place.extents(len(place.levels)))

    def _order(self, memory: str) -> int:
        """Memories from the outside inwards."""
        depth, at = 0, self._arch.memories[memory]
        while at.parent is not None:
            depth, at = depth + 1, self._arch.memories[at.parent]
        return depth

    def _loop(self, rank: str, trips: int, along: str = "") -> None:
        """A loop in the innermost section so far; one of a single trip says nothing."""
        if trips > 1:
            if not self._sections:
                self._sections.append(("outside", {}, []))
            where = f" (Spatial-{along})" if along else ""
            self._sections[-1][2].append(f"| {'  ' * self._depth}for {rank} in [0:{trips}){where}")
            self._depth += not along

    def _unit(self, op: Op, einsum: Einsum, extents: Table[str, int]) -> None:
        self._sections.append((op.unit, {}, []))
        left = dict(extents)
        if op.layout is not None:
            for rank, tile in op.layout.loops:
                self._loop(rank, -(-left[rank] // tile))
                left[rank] = min(left[rank], tile)
            spreads = [(s.rank, s.dimension, min(s.factor, left[s.rank])) for s in op.layout.spreads]
        else:
            spreads = self._sides(op, einsum, left)
        beside = {rank: prod(n for r, _, n in spreads if r == rank) for rank in left}
        for rank, extent in left.items():
            self._loop(rank, -(-extent // beside[rank]))
        for rank, dimension, factor in spreads:
            self._loop(rank, factor, dimension)

    def _sides(self, op: Op, einsum: Einsum, left: Table[str, int]) -> list[tuple[str, str, int]]:
        """Ranks side by side on a unit whose variants say along which dimension; the last ones fill it first.

        Points of all ranks run on lanes.
        """
        unit = self._arch.units[op.unit]
        offered = getattr(unit, "spatial_options", None)
        options = offered(einsum) if offered is not None else ()
        spatial: Table[str, str] = next((o.spatial for o in options if o.variant == op.variant), {})
        room: dict[str, int] = {d: int(getattr(unit, key)) for d, key in _SIDES.items() if hasattr(unit, key)}
        found = []
        for rank in reversed(list(einsum.sizes)):
            dimension = spatial.get(rank, "lanes")
            factor = min(left[rank], room.get(dimension, 1))
            if factor > 1:
                room[dimension] //= factor
                found.append((rank, dimension, factor))
        return found[::-1]
