"""Structural checks of the tree of a Mapping: its Ops, its loops, and that every Einsum is run exactly once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import prod
from typing import Protocol, cast

from ..arch.architecture import Architecture
from ..arch.component import UnitBase
from ..arch.layout import Layout
from ..errors import BadInput
from ..ir import Einsum, Role
from ..text.names import nearest
from .checks import Checks
from .in_place import misplaced
from .registers import split_places
from .scope import Place, Scope, within
from .tree import Iterate, Loop, Op, Par, Pipe, Position, Seq, format_position


class _Option(Protocol):
    @property
    def variant(self) -> str: ...


class _Unit(Protocol):
    """What compute units offer beside `UnitBase`; their base class stands above this package."""

    def spatial_options(self, einsum: Einsum) -> Sequence[_Option]: ...

    def option(self, einsum: Einsum, variant: str, layout: Layout | None) -> _Option: ...


class TreeChecks(Checks):
    """What is wrong with the nodes of a Mapping."""

    def __init__(self, scope: Scope, arch: Architecture) -> None:
        super().__init__(scope)
        self.arch = arch
        self._variants: dict[tuple[str, str], list[str]] = {}

    def nodes(self) -> None:
        """Every node on its own: names, sizes, depths, and ways in which units can run Einsums."""
        for at, node in self.tree.nodes.items():
            match node:
                case Op():
                    self._op(at, node)
                case Loop():
                    if node.tile < 1:
                        self.report(at, f"tile {node.tile} of rank {node.rank!r}", "at least 1")
                case Iterate():
                    self._iterate(at, node)
                case Seq() | Par():
                    if not node.children:
                        self.report(at, f"a {type(node).__name__} without children")
                case Pipe():
                    self._pipe(at, node)

    def _op(self, at: Position, op: Op) -> None:
        known = op.einsum in self.names.einsums
        unit = self.arch.units.get(op.unit)
        if not known:
            self.report(at, f"the model has no Einsum {op.einsum!r}", nearest(op.einsum, self.names.einsums))
        if unit is None:
            self.report(at, f"the machine has no unit {op.unit!r}", nearest(op.unit, self.arch.units))
        if known and unit is not None:
            variants = self._options(unit, op)
            if not variants:
                self.report(at, f"{op.unit} cannot run {op.einsum}", self._able(op))
            elif op.variant not in variants and not self._takes(op, cast(_Unit, unit)):
                can = "it can as " + ", ".join(variants)
                self.report(at, f"{op.unit} cannot run {op.einsum} as {op.variant!r}", can)
            else:
                self._layout(at, op, cast(_Unit, unit))
            self._registers(at, op, unit)

    def _registers(self, at: Position, op: Op, unit: UnitBase) -> None:
        """What an Op has in registers is an operand or its result, and the unit has registers for tiles."""
        einsum = self.names.einsums[op.einsum][0]
        used = [a.tensor for a in (*einsum.inputs, einsum.output)]
        for name in op.registers:
            if name not in used:
                self.report(at, f"has {name!r} in registers, which {op.einsum} does not use", nearest(name, used))
        if op.registers and not unit.register_capacity:
            able = ", ".join(n for n, u in self.arch.units.items() if u.register_capacity)
            self.report(at, f"{op.unit} has no registers for tiles", f"those with `register_bytes`: {able or 'none'}")

    def registers(self) -> None:
        """Ops that have a tensor in one place agree on where that is, and what lies over another one can."""
        for at, what in split_places(self.scope):
            self.report(at, what, "name it in `registers` of both, on one unit, or of none")
        for at, what in misplaced(self.scope, self.arch):
            self.report(at, what)

    def _layout(self, at: Position, op: Op, unit: _Unit) -> None:
        try:
            unit.option(self.names.einsums[op.einsum][0], op.variant, op.layout)
        except BadInput as error:
            self.report(at, str(error))

    def _takes(self, op: Op, unit: _Unit) -> bool:
        """Whether the unit can run the Einsum in a way beyond those that it offers first."""
        try:
            unit.option(self.names.einsums[op.einsum][0], op.variant, op.layout)
        except BadInput:
            return False
        return True

    def _options(self, unit: UnitBase, op: Op) -> list[str]:
        key = op.unit, op.einsum
        if key not in self._variants:
            options = cast(_Unit, unit).spatial_options(self.names.einsums[op.einsum][0])
            self._variants[key] = [option.variant for option in options]
        return self._variants[key]

    def _able(self, op: Op) -> str:
        able = [n for n, u in self.arch.units.items() if self._options(u, Op(op.einsum, n, ""))]
        return "units that can: " + ", ".join(sorted(able)) if able else "no unit can"

    def _pipe(self, at: Position, pipe: Pipe) -> None:
        if not pipe.children:
            self.report(at, "a Pipe without stages")
        if len(pipe.depths) != max(0, len(pipe.children) - 1):
            what = f"{len(pipe.depths)} depths between {len(pipe.children)} stages"
            self.report(at, what, "one for each stage but the first")
        if any(depth < 1 for depth in pipe.depths):
            self.report(at, f"depth {min(pipe.depths)} between stages", "at least 1")
        for stage in pipe.pieces:
            if not 0 < stage < len(pipe.children):
                self.report(at, f"stage {stage} takes over pieces", f"a stage from 1 to {len(pipe.children) - 1}")

    def _iterate(self, at: Position, node: Iterate) -> None:
        if node.repeat not in self.names.repeats:
            self.report(at, f"the model has no Repeat {node.repeat!r}", nearest(node.repeat, self.names.repeats))
            return
        repeat, outer, _ = self.names.repeats[node.repeat]
        if node.count < 1 or node.start < 0 or node.start + node.count > repeat.count:
            what = f"iterations {node.start} to {node.start + node.count} of {node.repeat}"
            self.report(at, what, f"it has 0 to {repeat.count}")
        around = self.iterates(at)
        if node.repeat in around or tuple(around) != outer:
            shown = ", ".join(around) or "no Repeat"
            self.report(at, f"{node.repeat} iterates inside {shown}", f"it stands in {', '.join(outer) or 'none'}")

    def loops(self) -> None:
        """Every Loop cuts a rank of some Op below, and ranks of one extent where it cuts several."""
        for at, node in self.tree.nodes.items():
            if not isinstance(node, Loop):
                continue
            below = self.scope.below.get(at, [])
            depth = len(self.tree.loops[at])
            if node.halo:
                self._halo(at, node, below, depth)
                continue
            cut = [place for place in below if place.levels[depth].rank]
            if below and not cut:
                ranks = {rank for place in below for rank in place.einsum.sizes}
                self.report(at, f"no Op below has a rank {node.rank!r}", nearest(node.rank, ranks))
            for place in cut[1:]:
                if place.history(depth) != cut[0].history(depth):
                    self.report(
                        at,
                        f"the loop cuts {self._extent(cut[0], depth)} and {self._extent(place, depth)}",
                        "one loop cuts ranks of one extent",
                    )
                    break

    def _halo(self, at: Position, loop: Loop, below: list[Place], depth: int) -> None:
        """A Loop with a halo can cut what is below it, alone, and only the last Op's result is used elsewhere."""
        if at in self.scope.uncuttable:
            self.report(at, f"the halo of {loop.rank!r} cannot be found: {self.scope.uncuttable[at]}")
        for place in below:
            rank = place.levels[depth].rank
            if rank and any(level.rank == rank for level in place.levels[:depth]):
                what = f"cuts {rank} of {place.einsum.name}, which a loop around it has cut"
                self.report(at, what, "a Loop with a halo cuts whole ranks")
        for place in below[:-1]:
            name = self.names.stored(place.einsum.output.tensor)
            outside = [r.label for r in self.scope.readers.get(name, ()) if not within(r.at, at)]
            if outside or self.workload.tensors[name].role in (Role.OUTPUT, Role.STATE):
                who = outside[0] if outside else "what comes after the run"
                what = f"{name} is made for the Ops inside the Loop with a halo, but used by {who}"
                self.report(at, what, f"only {below[-1].einsum.name}, the last one below, makes what is used elsewhere")
            if place.levels[depth].retains:
                self._retained(at, place, name)

    def _retained(self, at: Position, place: Place, name: str) -> None:
        """What a Loop retains passes through Pipes alone, which have room for it."""
        readers = self.scope.readers.get(name, ())
        apart = next((r.label for r in readers if self.scope.handed(place, r) is None), "")
        if apart or self.scope.stays.get(name):
            what = f"{name} is retained, but {f'{apart} reads it outside of a Pipe' if apart else 'stays in a memory'}"
            self.report(at, what, "what a Loop retains is handed on by Pipes inside it, and stays nowhere else")

    @staticmethod
    def _extent(place: Place, depth: int) -> str:
        rank = place.levels[depth].rank
        return f"{rank} of {place.einsum.name} into tiles of {place.extents(depth)[rank]}"

    # Every Einsum once

    def runs(self) -> None:
        """Every Einsum runs once for every iteration of its Repeats."""
        places: dict[str, list[Place]] = {}
        for place in self.scope.places:
            places.setdefault(place.einsum.name, []).append(place)
        for name, (_, _, repeats) in self.names.einsums.items():
            if name not in places:
                self.report((), f"Einsum {name} is never run")
                continue
            inside = [self.iterates(place.at) for place in places[name]]
            for place, around in zip(places[name], inside, strict=True):
                if tuple(around) != repeats:
                    self.report(
                        place.at,
                        f"{name} runs inside iterations of {', '.join(around) or 'nothing'}",
                        f"it needs an Iterate for each of {', '.join(repeats)}" if repeats else "it is in no Repeat",
                    )
            if all(tuple(around) == repeats for around in inside):
                self._once(name, places[name], repeats)

    def _once(self, name: str, places: list[Place], repeats: tuple[str, ...]) -> None:
        boxes = [tuple(place.ranges[r] for r in repeats) for place in places]
        for (a, x), (b, y) in _meeting(list(zip(places, boxes, strict=True))):
            if all(max(s, t) < min(s + n, t + m) for (s, n), (t, m) in zip(x, y, strict=True)):
                what = "the same iterations of it" if repeats else "it"
                self.report(b.at, f"Einsum {name} is run twice: {format_position(a.at)} runs {what}, too")
                return
        total = prod(self.names.repeats[r][0].count for r in repeats)
        covered = sum(prod(count for _, count in box) for box in boxes)
        if covered < total:
            self.report(places[0].at, f"Einsum {name} is run {covered} times", f"its Repeats run it {total} times")


def _meeting(
    boxes: list[tuple[Place, tuple[tuple[int, int], ...]]],
) -> list[tuple[tuple[Place, tuple[tuple[int, int], ...]], tuple[Place, tuple[tuple[int, int], ...]]]]:
    """Pairs of boxes that meet along their first dimension; all pairs where there is none."""
    if not boxes[0][1]:
        return list(combinations(boxes, 2))
    ordered = sorted(boxes, key=lambda entry: entry[1][0])
    found = []
    for i, entry in enumerate(ordered):
        end = sum(entry[1][0])
        for other in ordered[i + 1 :]:
            if other[1][0][0] >= end:
                break
            found.append((entry, other))
    return found
