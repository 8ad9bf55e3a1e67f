"""Structural checks of a Mapping: everything that it names is there, and every Einsum is run exactly once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import prod
from typing import Protocol, cast

from ..arch.architecture import Architecture
from ..arch.component import UnitBase
from ..arch.layout import Layout
from ..errors import BadInput, Problem
from ..ir import Access, Affine, Einsum, Role, Workload
from ..text.names import nearest
from .capacity import covered
from .counting import slid, stay_bytes
from .halo import Uncuttable
from .phases_replay import phase_problems
from .scope import Place, Scope, within, within_loops
from .spills import moved_part, unkept
from .tree import WHOLE, Iterate, Loop, Mapping, Move, Op, Par, Pipe, Position, Seq, Stay, children, format_position


class _Option(Protocol):
    @property
    def variant(self) -> str: ...


class _Unit(Protocol):
    """What compute units offer beside `UnitBase`; their base class stands above this package."""

    def spatial_options(self, einsum: Einsum) -> Sequence[_Option]: ...

    def option(self, einsum: Einsum, variant: str, layout: Layout | None) -> _Option: ...


def validate(mapping: Mapping, workload: Workload, arch: Architecture) -> list[Problem]:
    """Everything that is wrong with a Mapping, as far as that shows without following the data.

    Checked: Ops name Einsums, units and ways in which the unit can run the Einsum; loops cut ranks that the Ops below
    have, alike in all of them; every Einsum runs once for every iteration of its Repeats; positions, tensors and
    memories exist; Stays end after they begin, in the same loops, and each fits its memory on its own; Moves join
    neighbouring memories, are issued before they are due and serve an Op.

    Args:
        mapping: any Mapping.
        workload: what it maps.
        arch: onto what.

    Returns:
        Problems in the order of the tree, the Stays and the Moves; none if the Mapping is well formed.
    """
    if mapping.phases is not None:
        return phase_problems(mapping.phases, workload, arch)
    scope = Scope(mapping, workload)
    found = structure_problems(scope, arch)
    return found or _capacity_problems(scope, arch)


def structure_problems(scope: Scope, arch: Architecture) -> list[Problem]:
    """What `validate` finds, but for tensors that are too large for their memory."""
    checker = _Checker(scope, arch)
    checker.nodes()
    checker.loops()
    checker.runs()
    for i, stay in enumerate(scope.mapping.stays):
        checker.stay(stay, f"stays[{i}] ({stay.tensor})")
    for i, move in enumerate(scope.mapping.moves):
        checker.move(move, f"moves[{i}] ({move.tensor})")
    if not checker.problems:
        checker.twice()
    return checker.problems


def _capacity_problems(scope: Scope, arch: Architecture) -> list[Problem]:
    found = []
    for i, stay in enumerate(scope.mapping.stays):
        needed, capacity = stay_bytes(scope, stay), arch.memories[stay.memory].capacity
        if needed > capacity:
            what = f"{needed:,} bytes, {needed - capacity:,} more than {stay.memory} has"
            found.append(Problem(f"stays[{i}] ({stay.tensor})", what, f"{stay.memory} has {capacity:,}"))
    return found


class _Checker:
    def __init__(self, scope: Scope, arch: Architecture) -> None:
        self.scope, self.arch = scope, arch
        self.tree, self.names, self.workload = scope.tree, scope.names, scope.workload
        self.problems: list[Problem] = []
        self.tensors = set(scope.readers) | set(scope.writers)
        links = {frozenset(link.between) for link in arch.links.values()}
        self.joined = links | {frozenset((n, m.parent)) for n, m in arch.memories.items() if m.parent is not None}
        self._variants: dict[tuple[str, str], list[str]] = {}

    def report(self, where: str | Position, what: str, hint: str = "") -> None:
        place = where if isinstance(where, str) else f"position {format_position(where)}"
        self.problems.append(Problem(place, what, hint))

    # The tree

    def nodes(self) -> None:
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

    def _iterate(self, at: Position, node: Iterate) -> None:
        if node.repeat not in self.names.repeats:
            self.report(at, f"the model has no Repeat {node.repeat!r}", nearest(node.repeat, self.names.repeats))
            return
        repeat, outer, _ = self.names.repeats[node.repeat]
        if node.count < 1 or node.start < 0 or node.start + node.count > repeat.count:
            what = f"iterations {node.start} to {node.start + node.count} of {node.repeat}"
            self.report(at, what, f"it has 0 to {repeat.count}")
        around = self._iterates(at)
        if node.repeat in around or tuple(around) != outer:
            shown = ", ".join(around) or "no Repeat"
            self.report(at, f"{node.repeat} iterates inside {shown}", f"it stands in {', '.join(outer) or 'none'}")

    def _iterates(self, at: Position) -> list[str]:
        nodes = (self.tree.nodes[x] for x in self.tree.loops[at])
        return [node.repeat for node in nodes if isinstance(node, Iterate)]

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
        places: dict[str, list[Place]] = {}
        for place in self.scope.places:
            places.setdefault(place.einsum.name, []).append(place)
        for name, (_, _, repeats) in self.names.einsums.items():
            if name not in places:
                self.report((), f"Einsum {name} is never run")
                continue
            inside = [self._iterates(place.at) for place in places[name]]
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

    # Tables

    def _position(self, where: str, key: str, at: Position) -> bool:
        if at in self.tree.nodes:
            return True
        known = next(at[:n] for n in range(len(at), -1, -1) if at[:n] in self.tree.nodes)
        below = ", ".join(str(step) for step, _ in children(self.tree.nodes[known])) or "nothing"
        if below.count(",") > 8:
            below = f"0 to {below.rsplit(', ', 1)[-1]}"
        what = f"{key} {format_position(at)} is no position"
        self.report(where, what, f"below {format_position(known)} there is {below}")
        return False

    def _tensor(self, where: str, name: str) -> bool:
        if name in self.workload.tensors and name in self.tensors:
            return True
        if name in self.workload.tensors and self.names.stored(name) != name:
            self.report(where, f"{name!r} is a view", f"its bytes are those of {self.names.stored(name)!r}")
        elif name in self.workload.tensors:
            self.report(where, f"no Op uses tensor {name!r}", nearest(name, self.tensors))
        else:
            self.report(where, f"the model has no tensor {name!r}", nearest(name, self.tensors))
        return False

    def _memory(self, where: str, name: str) -> bool:
        if name in self.arch.memories:
            return True
        self.report(where, f"the machine has no memory {name!r}", nearest(name, self.arch.memories))
        return False

    def stay(self, stay: Stay, where: str) -> None:
        known = [self._tensor(where, stay.tensor), self._memory(where, stay.memory)]
        known += [self._position(where, "from", stay.start), self._position(where, "to", stay.end)]
        if stay.address is not None and stay.address < 0:
            self.report(where, f"address {stay.address}", "at least 0")
        if not all(known):
            return
        if self.tree.loops[stay.start] != self.tree.loops[stay.end]:
            self.report(where, "begins and ends in different loops", "both positions stand in the same loop bodies")
        elif self.tree.first[stay.end] < self.tree.first[stay.start] or not (
            stay.start == stay.end
            or self.tree.before(stay.start, stay.end)
            or within(stay.start, stay.end)
            or within(stay.end, stay.start)
        ):
            self.report(where, f"ends at {format_position(stay.end)}, not after {format_position(stay.start)}")
        if stay.iterations is not None:
            self._iterations(stay, where)
        if stay.over or stay.aside:
            self._over(stay, where)
        if why := unkept(self.scope, stay):
            self.report(where, *why)

    def _over(self, stay: Stay, where: str) -> None:
        """What lies in another tensor's place is made there from it, element by element or slice by slice."""
        under = covered(self.scope, stay)
        if stay.aside < 0 or not stay.over:
            self.report(where, f"{stay.aside} bytes aside", "at least 0, for a Stay that lies over another")
        elif under is None:
            what = f"no stay of {stay.over!r} in {stay.memory} ends at {format_position(stay.start)} to lie over"
            shown = ", ".join(f"{s.memory} to {format_position(s.end)}" for s in self.scope.stays.get(stay.over, ()))
            self.report(where, what, f"it stays in {shown}" if shown else nearest(stay.over, self.tensors))
        elif under.address != stay.address:
            what = f"lies over {stay.over}, but at address {stay.address} and not {under.address}"
            self.report(where, what, "one place has one address")
        else:
            why = self._apart(stay)
            if why:
                hint = "one Op makes it from slices no smaller, by indices that both have"
                self.report(where, f"cannot lie over {stay.over}: {why}", hint)

    def _apart(self, stay: Stay) -> str:
        """Why the Ops at the start of a Stay cannot make it where another one lies, or nothing."""
        if not self.scope.served(stay.tensor, stay.start, store=True):
            return "nothing makes it there"
        made, used = (self.workload.tensors[name].shape for name in (stay.tensor, stay.over))
        if len(made) != len(used):
            return f"they have {len(made)} and {len(used)} dimensions"
        shared = self._shared(stay.tensor, stay)
        slices = [prod(n for d, n in enumerate(shape) if d not in shared) for shape in (made, used)]
        if slices[0] > slices[1] or slices[1] == prod(used) > 1:
            return f"a slice of {slices[0]:,} elements is made where one of {slices[1]:,} is read"
        return ""

    def _shared(self, tensor: str, stay: Stay) -> set[int]:
        """Dimensions along which a tensor made at the start of a Stay depends on what that covers point by point."""
        dims = set(range(len(self.workload.tensors[stay.over].shape)))
        for place in self.scope.served(tensor, stay.start, store=True):
            for access in place.einsum.inputs:
                name = self.names.stored(access.tensor)
                if name == stay.over:
                    dims &= alike(place.einsum, access)
                elif name != tensor and self.scope.served(name, stay.start, store=True):
                    dims &= alike(place.einsum, access) & self._shared(name, stay)
        return dims

    def _iterations(self, stay: Stay, where: str) -> None:
        assert stay.iterations is not None
        first, number = stay.iterations
        around = self._iterates(stay.start)
        outside = [(r, n) for r, n in self.names.instance_repeats(stay.tensor) if r not in around]
        if not outside:
            self.report(where, "has iterations, but the tensor has one instance here", "leave them out")
        elif first < 0 or number < 1 or first + number > outside[0][1]:
            what = f"iterations {first} to {first + number} of {outside[0][0]}"
            self.report(where, what, f"it has 0 to {outside[0][1]}")

    def move(self, move: Move, where: str) -> None:
        known = [self._tensor(where, move.tensor), self._memory(where, move.src), self._memory(where, move.dst)]
        known += [self._position(where, "issue", move.issue), self._position(where, "due", move.due)]
        if move.buffers < 1:
            self.report(where, f"{move.buffers} buffers", "at least 1")
        if not all(known):
            return
        if frozenset((move.src, move.dst)) not in self.joined:
            near = sorted(next(iter(p - {move.src})) for p in self.joined if move.src in p)
            hint = f"{move.src} is joined to {', '.join(near) or 'none'}"
            self.report(where, f"nothing joins {move.src} and {move.dst}", hint)
        self._order(move, where)
        cut = move.issue if move.store else move.due
        if not self.scope.served(move.tensor, cut, store=move.store):
            verb = "makes" if move.store else "reads"
            places = (self.scope.writers if move.store else self.scope.readers).get(move.tensor, [])
            hint = "; ".join(f"{p.label} does" for p in places[:3]) or "no Op does"
            self.report(where, f"no Op at or below {format_position(cut)} {verb} {move.tensor}", hint)
        elif move.sliding:
            self._slides(move, where)
        if (move.sliding or move.pieces is not None) and moved_part(self.scope, move) != WHOLE:
            self.report(where, "carries what does not stay", "that neither slides nor moves in pieces")
        if move.pieces is not None and self._position(where, "pieces", move.pieces):
            why = self._whole(move, cut, move.pieces)
            if why:
                self.report(where, f"cannot move in pieces: {why}")

    def _whole(self, move: Move, cut: Position, pieces: Position) -> str:
        """Why a tile cannot be moved in pieces, or nothing."""
        between = [self.tree.nodes[pieces[:n]] for n in range(len(cut), len(pieces))]
        plain = all(isinstance(node, Loop) and not node.halo for node in between)
        if not between or not plain or pieces[: len(cut)] != cut:
            return f"from {format_position(cut)} to {format_position(pieces)} there must be Loops alone, without a halo"
        places = self.scope.served(move.tensor, cut, store=move.store)
        accesses = [a for place in places for a in self.scope.accesses(place, move.tensor, store=move.store)]
        if move.sliding or len(accesses) != 1:
            return "it slides" if move.sliding else f"there are {len(accesses)} accesses to the tile"
        depth = len(self.tree.loops[cut])
        levels, indices = places[0].levels, accesses[0].indices
        ranks = {level.rank for level in levels[depth : depth + len(between)]} & accesses[0].ranks
        if not ranks or any(sum(r in i.ranks for i in indices) > 1 for r in ranks):
            return "no loop there cuts it" if not ranks else "a loop there shifts two of its indices"
        if any(len(ranks.intersection(i.ranks)) > 1 for i in indices):
            return "two ranks of one of its indices are cut there"
        if move.store and any(level.rank in places[0].einsum.reduced_ranks for level in levels[:depth]):
            return "partial results move whole"
        for other in self.scope.mapping.moves:
            near, far = (other.dst, move.src) if move.store else (other.src, move.dst)
            at = other.issue if move.store else other.due
            on = (other.tensor, other.store, near) == (move.tensor, move.store, far)
            if on and within(at, cut) and not within(at, pieces):
                return f"the Move from {other.src} to {other.dst} has larger tiles"
        return ""

    def _slides(self, move: Move, where: str) -> None:
        """A sliding load serves one access, and the Loop directly around its cut shifts one index of that.

        In a Loop with a halo it may serve several that are cut alike.
        """
        places = self.scope.served(move.tensor, move.due, store=False)
        accesses = [a for p in places for a in self.scope.accesses(p, move.tensor, store=False)]
        loops = self.tree.loops[move.due]
        rank = places[0].levels[len(loops) - 1].rank if loops and places else ""
        shifted = [i for a in accesses for i in a.indices if rank and rank in i.ranks]
        inner = self.tree.nodes[loops[-1]] if loops else None
        if isinstance(inner, Loop) and inner.halo and not move.store:
            try:
                slid(self.scope, [(p, a, p.levels[len(loops) - 1]) for p in places for a in
                                  self.scope.accesses(p, move.tensor, store=False)])  # fmt: skip
            except Uncuttable as error:
                self.report(where, "cannot slide", str(error))
            return
        plain = isinstance(inner, Loop) and not inner.halo
        if move.store or not plain or len(accesses) != 1 or len(shifted) != 1:
            hint = "a load for one access, due in a Loop without a halo over a rank of one of its indices"
            self.report(where, "cannot slide", hint)

    def _order(self, move: Move, where: str) -> None:
        """A load is issued before it is due, or at it; a store ends after it is issued, or with it."""
        inner, outer = (move.issue, move.due) if move.store else (move.due, move.issue)
        if not within_loops(self.tree.loops[outer], self.tree.loops[inner]):
            what = "ends inside a loop outside of which it is issued" if move.store else (
                "is issued inside a loop outside of which it is due")  # fmt: skip
            self.report(where, what, f"issue {format_position(move.issue)}, due {format_position(move.due)}")
            return
        in_order = self.tree.before(move.issue, move.due)
        if not (in_order or within(inner, outer)):
            what = f"due {format_position(move.due)} does not come after issue {format_position(move.issue)}"
            hint = "the same position, one around it, or a later child of a Seq" if move.store else (
                "the same position, one inside it, or a later child of a Seq")  # fmt: skip
            self.report(where, what, hint)

    def twice(self) -> None:
        """No tensor is said to stay twice in one memory at one time, or to be moved twice for one place."""
        moves: dict[tuple[str, str, Position, bool], int] = {}
        for i, move in enumerate(self.scope.mapping.moves):
            key = move.tensor, move.src if move.store else move.dst, move.issue if move.store else move.due, move.store
            if moves.setdefault(key, i) != i and (not move.store or self._same_way(moves[key], i)):
                self.report(f"moves[{i}] ({move.tensor})", f"moves what moves[{moves[key]}] moves, too")
        numbered: dict[tuple[str, str], list[tuple[int, Stay]]] = {}
        for i, stay in enumerate(self.scope.mapping.stays):
            numbered.setdefault((stay.tensor, stay.memory), []).append((i, stay))
        for same in numbered.values():
            for (i, a), (j, b) in combinations(same, 2):
                first, last = self.tree.first, self.tree.last
                apart = last[a.end] < first[b.start] or last[b.end] < first[a.start]
                if not apart and not _disjoint(a.iterations, b.iterations):
                    self.report(f"stays[{j}] ({b.tensor})", f"is in {b.memory} already, by stays[{i}]", "one is enough")

    def _same_way(self, i: int, j: int) -> bool:
        return self.scope.mapping.moves[i].dst == self.scope.mapping.moves[j].dst


def alike(einsum: Einsum, access: Access) -> set[int]:
    """Dimensions of an input that an Einsum indexes as it does its result, ranks of one point left out."""

    def own(index: Affine) -> Affine:
        return Affine(tuple(t for t in index.terms if einsum.sizes[t[0]] > 1), index.offset)

    pairs = zip(einsum.output.indices, access.indices, strict=False)
    return {d for d, (made, read) in enumerate(pairs) if own(made) == own(read)}


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


def _disjoint(a: tuple[int, int] | None, b: tuple[int, int] | None) -> bool:
    return a is not None and b is not None and (sum(a) <= b[0] or sum(b) <= a[0])


