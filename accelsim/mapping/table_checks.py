"""Structural checks of the tables of a Mapping: that Stays and Moves name what is there and can be where they are."""

from __future__ import annotations

from itertools import combinations
from math import prod

from ..arch.architecture import Architecture
from ..ir import Access, Affine, Einsum
from ..text.names import nearest
from .capacity import covered, stays_at
from .checks import Checks
from .copies import uncopied
from .counting import slid
from .halo import Uncuttable
from .registers import holder
from .scope import Scope, within, within_loops
from .spills import moved_part, unkept
from .tree import WHOLE, Loop, Move, Pipe, Position, Stay, children, format_position


class TableChecks(Checks):
    """What is wrong with the Stays and Moves of a Mapping."""

    def __init__(self, scope: Scope, arch: Architecture) -> None:
        super().__init__(scope)
        self.arch = arch
        self.tensors = set(scope.readers) | set(scope.writers)
        links = {frozenset(link.between) for link in arch.links.values()}
        self.joined = links | {frozenset((n, m.parent)) for n, m in arch.memories.items() if m.parent is not None}

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
        """One Stay, which messages call `where`."""
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
            why, hint = self._apart(stay), "one Op makes it from slices no smaller, by indices that both have"
            if not why and stay.start == stay.end == under.start and isinstance(self.tree.nodes[stay.start], Pipe):
                why, hint = self._overwritten(stay), "stages of the Pipe make and read one, then the other"
            if why:
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

    def _overwritten(self, stay: Stay) -> str:
        """Why stages of one Pipe cannot make a tensor element by element in the place of another one, or nothing."""
        used, n = stay.over, len(stay.start)
        makers = self.scope.served(stay.tensor, stay.start, store=True)
        first = min(int(place.at[n]) for place in makers)
        for place in makers:
            accesses = self.scope.accesses(place, used, store=False)
            dims = range(len(self.workload.tensors[used].shape))
            if not accesses or any(alike(place.einsum, a) != set(dims) for a in accesses):
                return f"{place.label} does not read it element by element"
        for store, does in ((True, "makes"), (False, "reads")):
            for place in self.scope.served(used, stay.start, store=store):
                if place not in makers and int(place.at[n]) >= first:
                    return f"{place.label} {does} it in no earlier stage than {makers[0].label}"
        if not self.scope.served(used, stay.start, store=True):
            return "nothing makes that there"
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
        around = self.iterates(stay.start)
        outside = [(r, n) for r, n in self.names.instance_repeats(stay.tensor) if r not in around]
        if not outside:
            self.report(where, "has iterations, but the tensor has one instance here", "leave them out")
        elif first < 0 or number < 1 or first + number > outside[0][1]:
            what = f"iterations {first} to {first + number} of {outside[0][0]}"
            self.report(where, what, f"it has 0 to {outside[0][1]}")

    def move(self, move: Move, where: str) -> None:
        """One Move, which messages call `where`."""
        known = [self._tensor(where, move.tensor), self._memory(where, move.src), self._memory(where, move.dst)]
        known += [self._position(where, "issue", move.issue), self._position(where, "due", move.due)]
        if move.buffers < 1:
            self.report(where, f"{move.buffers} buffers", "at least 1")
        if not all(known):
            return
        if move.is_copy:
            if wrong := uncopied(self.scope, move):
                self.report(where, *wrong)
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
        if move.after and (why := self._ahead(move)):
            self.report(where, f"cannot come after {move.after}: {why}")
        if move.ring and move.store:
            if why := self._borrows(move):
                self.report(where, f"cannot lie in places of rings: {why}")
        elif move.pieces is None:
            if move.ring:
                self.report(where, "cannot come into a ring: it does not move in pieces")
        elif self._position(where, "pieces", move.pieces):
            why = self._whole(move, cut, move.pieces)
            if why:
                self.report(where, f"cannot move in pieces: {why}")
            elif move.ring and (why := self._uneven(move, cut, move.pieces)):
                self.report(where, f"cannot come into a ring: {why}")

    def _whole(self, move: Move, cut: Position, pieces: Position) -> str:
        """Why a tile cannot be moved in pieces, or nothing."""
        between = [self.tree.nodes[pieces[:n]] for n in range(len(cut), len(pieces))]
        plain = all(isinstance(node, Pipe) or (isinstance(node, Loop) and not node.halo) for node in between)
        if not between or not plain or pieces[: len(cut)] != cut:
            where = f"from {format_position(cut)} to {format_position(pieces)}"
            return f"{where} there must be Loops and Pipes alone, without a halo"
        places = self.scope.served(move.tensor, cut, store=move.store)
        accesses = [a for place in places for a in self.scope.accesses(place, move.tensor, store=move.store)]
        if move.sliding or len(accesses) != 1:
            return "it slides" if move.sliding else f"there are {len(accesses)} accesses to the tile"
        if not within(places[0].at, pieces):
            return f"{places[0].label} is not at or below {format_position(pieces)}"
        depth, inner = len(self.tree.loops[cut]), len(self.tree.loops[pieces])
        levels, indices = places[0].levels, accesses[0].indices
        ranks = {level.rank for level in levels[depth:inner]} & accesses[0].ranks
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

    def _uneven(self, move: Move, cut: Position, pieces: Position) -> str:
        """Why pieces cannot take the places of those before, or nothing."""
        place = self.scope.served(move.tensor, cut, store=False)[0]
        access = self.scope.accesses(place, move.tensor, store=False)[0]
        depth, inner = len(self.tree.loops[cut]), len(self.tree.loops[pieces])
        for level in place.levels[depth:inner]:
            if any(level.rank in index.ranks and len(index.ranks) > 1 for index in access.indices):
                return f"pieces along {level.rank} may overlap"
        pieces_of_tile = 1
        for rank in {level.rank for level in place.levels[depth:inner]} & access.ranks:
            tiles = [node.tile for x in place.levels[:inner] if x.rank == rank and isinstance(node := x.node, Loop)]
            if any(size % tiles[-1] for size in (place.einsum.sizes[rank], *tiles)):
                return f"pieces along {rank} are not equal"
            pieces_of_tile *= place.extents(depth)[rank] // tiles[-1]
        if move.buffers < pieces_of_tile:
            return f"it has {move.buffers} places, and a tile {pieces_of_tile} pieces"
        return ""

    def _borrows(self, move: Move) -> str:
        """Why results on their way cannot lie in free places of rings, or nothing."""
        if move.pieces is not None:
            return "they leave in pieces"
        makers = self.scope.served(move.tensor, move.issue, store=True)
        if [place.at for place in makers] != [move.issue]:
            return f"no Op that makes them stands at {format_position(move.issue)}"
        if any(level.rank in makers[0].einsum.reduced_ranks for level in makers[0].levels):
            return "they may be partial"
        if holder(self.scope, makers, move.tensor) or stays_at(self.scope, move.tensor, move.src, move.issue):
            return f"they need no buffers in {move.src}"
        pipe = self._outermost_pipe(move.issue)
        others = [m for m in self.scope.mapping.moves if m.ring and m != move]
        if any(m.store and m.issue == move.issue for m in others):
            return "another store of theirs does"
        if pipe is None or not any(
            not m.store and m.dst == move.src and self._outermost_pipe(m.due) == pipe for m in others
        ):
            return f"no load comes into a ring in {move.src} inside the same Pipe"
        return ""

    def _ahead(self, move: Move) -> str:
        """Why a load cannot wait for results of earlier iterations, or nothing."""
        if move.store or not move.ring:
            return "it does not come into a ring"
        stores = [m for m in self.scope.mapping.moves if m.store and m.ring and m.src == move.dst]
        stores = [m for m in stores if m.tensor == move.after]
        if any(self._outermost_pipe(m.issue) != self._outermost_pipe(move.due) for m in stores):
            return "these lie in rings of another Pipe"
        if any(not within_loops(self.tree.loops[move.due], self.tree.loops[m.issue]) for m in stores):
            return f"these are not made in the loops around {format_position(move.due)}"
        return "" if stores else f"no results of that name lie in places of rings in {move.dst}"

    def _outermost_pipe(self, at: Position) -> Position | None:
        """The outermost Pipe at or around a position."""
        around = (at[:n] for n in range(len(at) + 1) if isinstance(self.tree.nodes.get(at[:n]), Pipe))
        return next(around, None)

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


def _disjoint(a: tuple[int, int] | None, b: tuple[int, int] | None) -> bool:
    return a is not None and b is not None and (sum(a) <= b[0] or sum(b) <= a[0])
