"""Whether every tensor is where it is read from, and every result gets to where it must be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..arch.architecture import Architecture
from ..ir import Access, Role
from .copies import copied_from
from .counting import access_bytes, stepped_dimension
from .scope import Place, Scope, overlap, within, within_loops
from .spills import moved_part, spill_problems
from .tree import BODY, WHOLE, Iterate, Loop, Move, Position, Stay, format_position

_STANDING = (Role.INPUT, Role.WEIGHT, Role.STATE)


@dataclass(frozen=True)
class Source:
    """Where a read ends up: the tensor is in a Stay, and has to be there when the position `by` begins."""

    stay: Stay
    by: Position


@dataclass(frozen=True)
class Need:
    """A result that a read depends on: that of `maker`, under the name `tensor`.

    `around` is the Iterate from whose iteration before it comes, None when it is of the same iteration.
    """

    maker: Place
    tensor: str
    around: Position | None = None


class Presence:
    """Collects a line for everything that is not where it should be."""

    def __init__(self, scope: Scope, arch: Architecture) -> None:
        self.scope, self.arch = scope, arch
        self.tree, self.names = scope.tree, scope.names
        self.loads: dict[str, list[Move]] = {}
        self.stores: dict[str, list[Move]] = {}
        for move in scope.mapping.moves:
            if moved_part(scope, move) != WHOLE:
                continue  # it carries what does not stay, which `spill_problems` follows
            (self.stores if move.store else self.loads).setdefault(move.tensor, []).append(move)
        self.problems: list[str] = []

    def check(self) -> list[str]:
        """The lines, each once."""
        for place in self.scope.places:
            self._kept(place)
            for access, memory in dict.fromkeys(zip(place.einsum.inputs, self._feeds(place), strict=False)):
                self._read(place, access, memory)
        for tensor in self._finals():
            self._final(tensor)
        self.problems += spill_problems(self.scope, self.arch)
        return list(dict.fromkeys(self.problems))

    def _feeds(self, place: Place) -> tuple[str, ...]:
        return self.arch.units[place.op.unit].feeds(len(place.einsum.inputs))

    def _memory(self, place: Place) -> str:
        """Where the results of an Op go."""
        return self._feeds(place)[-1]

    # Reads

    def _read(self, place: Place, access: Access, memory: str) -> None:
        names = self.names.known_as(access.tensor)
        repeats = [r for r, _, held in self.names.carried if held in names and r in place.ranges]
        begins = all(place.ranges[r][0] == 0 for r in repeats)
        made = self._made(place, names) if begins else []
        carried = self._handed_on(place, names)
        standing = begins and not made and place not in self.scope.writers.get(names[0], ())
        for need in made:
            self._whole(need.maker, place, access)
        self._in_order(place, names)
        if standing and self.scope.workload.tensors[names[-1]].role not in _STANDING:
            self.problems.append(f"{place.label} reads {names[0]}, which nothing has made before")
            return
        fresh = [need for need in made if self.scope.handed(need.maker, place) is None] + carried
        if not fresh and not standing:
            return
        sources = list(self._sources(names, memory, place.at, place.at, place))
        if not sources:
            self.problems.append(self._absent(names, memory, place))
            return
        for need in fresh:
            if not any(self._arrived(need, source, place) for source in sources):
                self.problems.append(self._late(need, sources[0], place))
        if standing and not any(self._standing(names, source, place) for source in sources):
            self.problems.append(
                f"{place.label} reads {names[0]} from {sources[0].stay.memory}, but its stay there does not begin with "
                f"the run, and nothing is moved into it before"
            )

    def _made(self, place: Place, names: tuple[str, ...]) -> list[Need]:
        """Results of Ops that the Workload has run before."""
        return [
            Need(maker, name)
            for name in names
            for maker in self.scope.writers.get(name, ())
            if maker.number < place.number and overlap(maker, place, self._shared(maker, place))
        ]

    def _handed_on(self, place: Place, names: tuple[str, ...]) -> list[Need]:
        """Results that a Repeat hands on from the iteration before."""
        found: list[Need] = []
        for repeat, produced, held in self.names.carried:
            if held not in names or repeat not in place.ranges:
                continue
            start, count = place.ranges[repeat]
            for maker in self.scope.writers.get(produced, ()):
                first, number = maker.ranges.get(repeat, (0, 0))
                if first + 1 < start + count and start < first + number + 1:
                    found.append(Need(maker, produced, self._common_iterate(maker, place, repeat)))
        return found

    def _in_order(self, place: Place, names: tuple[str, ...]) -> None:
        """Rows must be chosen before they are read, and a state read before it is overwritten."""
        chooser = self.names.chooser(names[0])
        for maker in self.scope.writers.get(self.names.stored(chooser), ()) if chooser else ():
            done = self.tree.before(maker.at, place.at) or self.scope.handed(maker, place) is not None
            if maker.number < place.number and not done:
                self.problems.append(f"{place.label} reads the rows {names[0]}, which {maker.label} has not chosen yet")
        for name in names:
            for writer in self.scope.writers.get(name, ()):
                if (
                    writer.number > place.number
                    and self.tree.before(writer.at, place.at)
                    and overlap(place, writer, self._shared(place, writer))
                ):
                    self.problems.append(f"{place.label} reads {name} after {writer.label} has overwritten it")

    @staticmethod
    def _shared(a: Place, b: Place) -> tuple[str, ...]:
        return tuple(r for r in a.repeats if r in b.repeats)

    def _common_iterate(self, a: Place, b: Place, repeat: str) -> Position | None:
        for outer in self.tree.loops[a.at]:
            node = self.tree.nodes[outer]
            if isinstance(node, Iterate) and node.repeat == repeat and within(b.at, outer):
                return outer
        return None

    def _sources(
        self, names: tuple[str, ...], memory: str, at: Position, by: Position, place: Place, seen: tuple[Move, ...] = ()
    ) -> Iterator[Source]:
        """Stays from which a tensor gets to a position: in its memory, or where the loads into it come from."""
        for name in names:
            for stay in self.scope.stays.get(name, ()):
                if stay.memory == memory and self._lasts(stay, by, at) and self.scope.holds(stay, place):
                    yield Source(stay, by)
            for load in self.loads.get(name, ()):
                if load.dst == memory and within(at, load.due) and load not in seen and not load.is_copy:
                    yield from self._sources(names, load.src, load.due, load.issue, place, (*seen, load))

    def _lasts(self, stay: Stay, begin: Position, end: Position) -> bool:
        """Whether a Stay lasts from the start of one position to the end of another."""
        tree = self.tree
        return (
            tree.covers(stay, end)
            and within_loops(tree.loops[stay.start], tree.loops[begin])
            and tree.first[stay.start] <= tree.first[begin]
        )

    def _absent(self, names: tuple[str, ...], memory: str, place: Place) -> str:
        """Why an Op finds no data: no Move brings it, or one does from where it is not."""
        for name in names:
            for load in self.loads.get(name, ()):
                if load.dst == memory and within(place.at, load.due):
                    if any(x.dst == load.src and within(load.due, x.due) for x in self.loads[name]):
                        return self._absent(names, load.src, place)
                    return (
                        f"{place.label} reads {name}, loaded from {load.src} for position {format_position(load.due)}, "
                        f"but it does not stay in {load.src} from {format_position(load.issue)} to there"
                        + self._where(name)
                    )
        return (
            f"{place.label} reads {names[0]} in {memory}, but it neither stays there then nor is moved there at or "
            f"above the Op" + self._where(*names)
        )

    def _where(self, *names: str) -> str:
        stays = [s for name in names for s in self.scope.stays.get(name, ())]
        if not stays:
            return "; it stays nowhere"
        shown = (f"in {s.memory} from {format_position(s.start)} to {format_position(s.end)}" for s in stays[:3])
        return "; it stays " + ", ".join(shown)

    # Whether data is in a Stay

    def _standing(self, names: tuple[str, ...], source: Source, place: Place, seen: tuple[Move, ...] = ()) -> bool:
        """Whether a source holds what has been there since before the run."""
        if self.tree.from_start(source.stay):
            return True
        for load in self._fills(source):
            if load not in seen:
                further = self._before(names, load, place)
                if any(self._standing(names, s, place, (*seen, load)) for s in further):
                    return True
        return False

    def _before(self, names: tuple[str, ...], load: Move, place: Place) -> Iterator[Source]:
        """Where a load finds its tensor: of a copy, where that lay until then."""
        if not load.is_copy:
            yield from self._sources(names, load.src, load.due, load.issue, place)
        elif (stay := copied_from(self.scope, load)) is not None:
            yield Source(stay, load.due)

    def _fills(self, source: Source) -> Iterator[Move]:
        """Loads that bring a tensor into a Stay in time."""
        stay = source.stay
        for load in self.loads.get(stay.tensor, ()):
            in_time = self.tree.before(load.due, source.by) or within(source.by, load.due)
            if in_time and load.dst == stay.memory and self.tree.covers(stay, load.due):
                yield load

    def _arrived(self, need: Need, source: Source, place: Place, seen: tuple[Move, ...] = ()) -> bool:
        """Whether a result is in a source's memory in time."""
        if need.around is not None:
            return self._carried(need, source)
        maker, stay = need.maker, source.stay
        if stay.tensor != need.tensor:  # carried, but from an Iterate before
            stays = [s for s in self.scope.stays.get(need.tensor, ()) if s.memory == stay.memory]
            return any(self._put(maker, s, source.by) for s in stays)
        if self._put(maker, stay, source.by):
            return True
        for load in self._fills(source):
            if load not in seen:
                further = self._before((need.tensor,), load, place)
                if any(self._arrived(need, s, place, (*seen, load)) for s in further):
                    return True
        return False

    def _put(self, maker: Place, stay: Stay, by: Position | None) -> bool:
        """Whether an Op leaves its result in a Stay, or stores bring it there, before a position (None: ever)."""
        if not self.scope.holds(stay, maker):
            return False
        left = self._memory(maker) == stay.memory and self.tree.covers(stay, maker.at)
        if left and (by is None or self.tree.before(maker.at, by)):
            return True
        return any(
            store.dst == stay.memory
            and self.tree.covers(stay, store.issue)
            and self.tree.last[store.due] <= self.tree.last[stay.end]
            and (by is None or self.tree.before(store.due, by))
            for store in self._stores_of(maker, stay.tensor)
        )

    def _stores_of(self, maker: Place, tensor: str) -> Iterator[Move]:
        """The stores that take a result away from its unit's memory, and those that take it on from there."""
        reached = [(self._memory(maker), maker.at)]
        for memory, at in reached:
            for store in self.stores.get(tensor, ()):
                if store.src == memory and within(at, store.issue) and (store.dst, store.issue) not in reached:
                    reached.append((store.dst, store.issue))
                    yield store

    def _carried(self, need: Need, source: Source) -> bool:
        """Whether a result of one iteration is in a source's memory when the next one reads it."""
        around = need.around
        assert around is not None
        if source.by == around or not within(source.by, around):
            return False
        body = (*around, BODY)
        for stay in self.scope.stays.get(need.tensor, ()):
            inner = self.tree.loops[stay.start] == self.tree.loops[body]
            survives = self.tree.covers(stay, around) or (inner and self.tree.last[stay.end] == self.tree.last[body])
            if stay.memory != source.stay.memory or not survives:
                continue
            if self._memory(need.maker) == stay.memory and self.tree.covers(stay, need.maker.at):
                return True
            stores = self._stores_of(need.maker, need.tensor)
            if any(x.dst == stay.memory and within(x.due, body) for x in stores):
                return True
        return False

    def _late(self, need: Need, source: Source, place: Place) -> str:
        memory = source.stay.memory
        what = f"{place.label} reads {need.tensor} from {memory} at {format_position(source.by)}"
        stored = [
            store
            for store in self._stores_of(need.maker, need.tensor)
            if store.dst == memory and not self.tree.before(store.due, source.by)
        ]
        if need.around is not None:
            return (
                f"{what}, but what {need.maker.label} makes of it in one iteration of "
                f"{format_position(need.around)} is not in {memory} when the next one begins"
            )
        if stored:
            due = format_position(stored[0].due)
            return f"{what}, but {need.maker.label} has stored it there only by the end of {due}"
        if self._memory(need.maker) == memory and self.tree.covers(source.stay, need.maker.at):
            return f"{what}, but {need.maker.label}, which makes it, has not ended before"
        return f"{what}, but {need.maker.label}, which makes it, does not put it into that stay"

    # Tiles inside common loops

    def _whole(self, maker: Place, reader: Place, access: Access) -> None:
        """Inside loops around both, a tile must hold all that is read of it, in full."""
        depth = 0
        for mine, theirs in zip(maker.levels, reader.levels, strict=False):
            if mine.at != theirs.at:
                break
            depth += 1
        if not any(isinstance(level.node, Loop) for level in maker.levels[:depth]):
            return
        made, read = maker.extents(depth), reader.extents(depth)
        for level in maker.levels[:depth]:
            if level.rank in maker.einsum.reduced_ranks and made[level.rank] < maker.einsum.sizes[level.rank]:
                self.problems.append(
                    f"{reader.label} reads {access.tensor} inside the loop over {level.rank!r} at "
                    f"{format_position(level.at)}, where {maker.label} has made but a part of its sums"
                )
                return
        out = maker.einsum.output
        writers = self.scope.writers[self.names.stored(out.tensor)]
        stepped = next((stepped_dimension(w.einsum) for w in writers if w.einsum.iterative), None)
        if out.tensor == access.tensor and (len(writers) == 1 or stepped is not None):
            piped = self.scope.handed(maker, reader) is not None or self._one_tile(maker, reader)
            missing = any(
                self._misses(maker, reader, access, dim, depth, piped=piped)
                for dim in range(len(access.indices))
                if dim != stepped
            )
            if stepped is not None and maker.einsum.iterative:  # earlier steps there are, from iterations before
                _, last = out.indices[stepped].bounds(made)
                missing |= access.indices[stepped].bounds(read)[1] > last
        elif any(isinstance(level.node, Loop) and level.node.halo for level in maker.levels[:depth]):
            missing = False  # each writer makes all that is read of its part
        else:
            missing = access_bytes(self.scope, access, read) > sum(
                access_bytes(self.scope, w.einsum.output, w.extents(self._depth(w, reader)))
                for w in self.scope.writers[self.names.stored(access.tensor)]
            )
        if missing:
            self.problems.append(
                f"{reader.label} reads more of {access.tensor} in an iteration of the loops around it than "
                f"{maker.label} has made there"
            )

    def _one_tile(self, maker: Place, reader: Place) -> bool:
        """Whether a result is kept between two Ops only inside Loops, where a Stay holds the tile of one iteration."""
        stays = [
            s
            for s in self.scope.stays.get(self.names.stored(maker.einsum.output.tensor), ())
            if self.tree.covers(s, maker.at) and self.tree.covers(s, reader.at)
        ]
        loops = [[self.tree.nodes[at] for at in self.tree.loops[s.start]] for s in stays]
        return bool(stays) and all(any(isinstance(node, Loop) for node in around) for around in loops)

    @staticmethod
    def _depth(a: Place, b: Place) -> int:
        return len([1 for x, y in zip(a.levels, b.levels, strict=False) if x.at == y.at])

    def _misses(self, maker: Place, reader: Place, access: Access, dim: int, depth: int, *, piped: bool) -> bool:
        """Whether a tile lacks some of what is read along a dimension.

        Of what a Pipe hands on there is this tile alone; of what stays there are the ones before it, too.
        """
        made, read = maker.einsum.output.indices[dim], access.indices[dim]
        size = self.scope.workload.tensors[access.tensor].shape[dim]
        steps = [
            tuple(sum(c for r, c in index.terms if _turns(place, d, r)) for d in range(depth))
            for index, place in ((made, maker), (read, reader))
        ]
        if self._halo_cuts(maker, reader, dim, access, depth) and not any(steps[0]) and not any(steps[1]):
            return False
        low, high = made.bounds(maker.extents(depth))
        least, most = read.bounds(reader.extents(depth))
        if not any(steps[0]) and not any(steps[1]):
            least, most = max(0, least), min(size - 1, most)
        if piped:
            return steps[0] != steps[1] or least < low or most > high
        return any(a < b for a, b in zip(*steps, strict=True)) or most > high

    @staticmethod
    def _halo_cuts(maker: Place, reader: Place, dim: int, access: Access, depth: int) -> bool:
        """Whether Loops with a halo see to it that one Op makes what the other reads along a dimension."""
        ranks = {*maker.einsum.output.indices[dim].ranks}, {*access.indices[dim].ranks}
        return any(
            isinstance(a.node, Loop) and a.node.halo and (a.rank in ranks[0] or b.rank in ranks[1])
            for a, b in zip(maker.levels[:depth], reader.levels[:depth], strict=True)
        )

    # Results

    def _kept(self, place: Place) -> None:
        tensor = self.names.stored(place.einsum.output.tensor)
        memory = self._memory(place)
        if any(s.memory == memory and self.tree.covers(s, place.at) and self.scope.holds(s, place)
               for s in self.scope.stays.get(tensor, ())):  # fmt: skip
            return
        if any(s.src == memory and within(place.at, s.issue) for s in self.stores.get(tensor, ())):
            return
        if any(self.scope.handed(place, reader) is not None for reader in self.scope.readers.get(tensor, ())):
            return
        self.problems.append(
            f"{place.label} makes {tensor} in {memory}, but nothing keeps it: it neither stays there, nor is stored "
            f"from there at or above the Op, nor handed to a later stage of a Pipe"
        )

    def _finals(self) -> list[str]:
        """The stored tensors that must be off chip after the run."""
        found = [
            self.names.stored(name)
            for name, tensor in self.scope.workload.tensors.items()
            if tensor.role in (Role.OUTPUT, Role.STATE)
        ]
        return [name for name in dict.fromkeys(found) if name in self.scope.writers]

    def _final(self, tensor: str) -> None:
        outside = {m.name for m in self.arch.off_chip} or {n for n, m in self.arch.memories.items() if m.parent is None}
        stays = [s for s in self.scope.stays.get(tensor, ()) if s.memory in outside and self.tree.to_end(s)]
        role = self.scope.workload.tensors[tensor].role
        for maker in self.scope.writers[tensor]:
            if not any(self._put(maker, stay, None) for stay in stays):
                self.problems.append(
                    f"{maker.label} makes {tensor}, {'an' if role is Role.OUTPUT else 'a'} {role}, which never gets to "
                    f"a stay in {' or '.join(sorted(outside))} that lasts to the end of the run" + self._where(tensor)
                )


def _turns(place: Place, depth: int, rank: str) -> bool:
    """Whether the Loop at a depth, without a halo, cuts a rank of an Op into more than one tile."""
    level = place.levels[depth]
    if not isinstance(level.node, Loop) or level.node.halo:
        return False
    return level.rank == rank and level.node.tile < place.extents(depth)[rank]
