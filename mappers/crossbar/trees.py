"""The trees of a Mapping onto crossbars, with their Stays and Moves: a pipeline over samples, or a sequence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...ir import Einsum, Repeat, Role, View, Workload
from ...mapping.tree import BODY, Loop, Move, Node, Op, Pipe, Position, Seq, Stay
from ...mapping.tree import Mapping as Mapped
from ..whole import Lives, source_of, whole_tree
from .copies import Choice

LARGE = 16
"""Weights of other units that are more than this share of the memory beside the arrays lie outside."""
_STORED = (Role.INPUT, Role.STATE, Role.OUTPUT)


@dataclass(frozen=True)
class Places:
    """Memories: outside the chip, beside the arrays, and of each unit's weights."""

    outside: str
    chip: str
    room: int
    weights: Mapping[str, str]


class _Weights:
    """Where weights lie throughout: in the cells, beside the arrays, or, of other units, outside where they are large.

    Attributes:
        stays: by tensor and memory.
        loaded: those outside; tables of which rows are looked up among them.
    """

    def __init__(self, workload: Workload, picked: Mapping[str, Choice], places: Places) -> None:
        self.stays: dict[tuple[str, str], Stay] = {}
        self.loaded: set[str] = set()
        self._workload, self._picked = workload, picked
        looked_up, copies = set(workload.tables.values()), workload.copies()
        for einsum, _ in workload.einsums():
            for i, access in enumerate(einsum.inputs):
                name = source_of(workload, access.tensor)
                tensor = workload.tensors[name]
                if tensor.role is not Role.WEIGHT:
                    continue
                memory = places.chip
                if self.multiplied(einsum, i):
                    memory = places.weights[picked[einsum.name].unit]
                elif name in looked_up or tensor.nbytes * copies[name] * LARGE > places.room:
                    memory = places.outside
                    self.loaded.add(name)
                self.stays[name, memory] = Stay(name, memory, (), ())
        self.held = sum(workload.tensors[name].nbytes * copies[name]
                        for name, memory in self.stays if memory == places.chip)  # fmt: skip

    def multiplied(self, einsum: Einsum, i: int) -> bool:
        """Whether arrays hold this input of an Einsum."""
        return i == 1 and self._picked[einsum.name].arrays > 0

    def loads(self, einsum: Einsum) -> list[str]:
        """Weights that an Einsum needs from outside."""
        read = [a.tensor for i, a in enumerate(einsum.inputs) if not self.multiplied(einsum, i)]
        names = [source_of(self._workload, tensor) for tensor in read]
        return [name for name in dict.fromkeys(names) if name in self.loaded]


def sequence(workload: Workload, arch: str, picked: Mapping[str, Choice], places: Places) -> Mapped:
    """Einsums one after the other, each whole; activations that do not fit beside the arrays go outside."""
    weights = _Weights(workload, picked, places)
    root, lives = whole_tree(workload, picked)
    outside = _spilled(workload, lives, places.room - weights.held)
    stays = list(weights.stays.values())
    moves = [Move(name, places.outside, places.chip, at, at, buffers=1)
             for einsum, at in lives.ops for name in weights.loads(einsum)]  # fmt: skip
    for name in dict.fromkeys((*lives.made, *lives.used)):
        if workload.tensors[name].role is Role.WEIGHT:
            continue
        made, used = lives.made.get(name, []), lives.used.get(name, [])
        if name in outside:
            stays.append(Stay(name, places.outside, (), ()))
            moves += [Move(name, places.chip, places.outside, p, p, buffers=1, store=True) for p in made]
            moves += [Move(name, places.outside, places.chip, p, p, buffers=1) for p in dict.fromkeys(used)]
        else:
            stays.append(Stay(name, places.chip, made[0], max((*used, *made))))
    return Mapped(workload.name, arch, root, tuple(stays), tuple(moves))


def _spilled(workload: Workload, lives: Lives, room: int) -> set[str]:
    """Tensors that go outside: those of the model's interface, of several bodies, and the largest where it is full."""
    found, spans = set(), {}
    order = {p: i for i, p in enumerate(sorted({p for ps in (*lives.made.values(), *lives.used.values()) for p in ps}))}
    for name in {**lives.made, **lives.used}:
        tensor, uses = workload.tensors[name], [*lives.made.get(name, []), *lives.used.get(name, [])]
        if tensor.role is Role.WEIGHT:
            continue
        if tensor.role in _STORED or name in lives.carried or len({p[:-1] for p in uses}) > 1:
            found.add(name)
        else:
            spans[name] = order[min(uses)], order[max(uses)]
    for at in range(len(order)):
        while True:
            here = [n for n, (a, b) in spans.items() if a <= at <= b]
            now = [n for n in found if any(order[p] == at for p in (*lives.made.get(n, []), *lives.used.get(n, [])))]
            full = sum(workload.tensors[n].nbytes for n in (*here, *now)) > room
            idle = [n for n in here if spans[n][0] < at < spans[n][1] and order[min(lives.used[n])] != at]
            if not full or not (idle or here):
                break
            worst = max(idle or here, key=lambda n: (workload.tensors[n].nbytes, n))
            found.add(worst)
            del spans[worst]
    return found


def samples(workload: Workload) -> int:
    """Samples that the first Einsum works on: the size of the first rank of its result, where its input has it too."""
    first = next((item for item in workload.body if not isinstance(item, View)), None)
    rank = _sample_rank(first) if isinstance(first, Einsum) else ""
    return first.sizes[rank] if rank and isinstance(first, Einsum) else 1


def _sample_rank(einsum: Einsum) -> str:
    """The first rank of the result, where it is an index of its own and the first input has it too; else empty."""
    ranks = list(einsum.output.indices[0].ranks) if einsum.output.indices else []
    return ranks[0] if len(ranks) == 1 and ranks[0] in einsum.inputs[0].ranks else ""


@dataclass
class _Group:
    """Einsums in a row that form a pipeline, by their numbers; `depths` of results before each."""

    first: int
    last: int
    depths: list[int]


class Pipelines:
    """Einsums in groups, one group after the other; those of a group at once, each on a sample of its own.

    Between an Einsum and the next there are `slots` results, `slots` - 1 + d of what is used d stages later. A group
    is as long as its buffers fit beside the arrays and no view stands between; what passes from one to another goes
    outside.
    """

    def __init__(self, workload: Workload, picked: Mapping[str, Choice], places: Places, slots: int) -> None:
        self.workload, self.picked, self.places, self.slots = workload, picked, places, slots
        self.items = [item for item in workload.body if isinstance(item, Einsum)]
        self.samples = samples(workload)
        self.maker: dict[str, list[int]] = {}
        self.user: dict[str, list[int]] = {}
        for number, einsum in enumerate(self.items):
            self.maker.setdefault(source_of(workload, einsum.output.tensor), []).append(number)
            for name in self._read(einsum):
                self.user.setdefault(name, []).append(number)

    def mapping(self, arch: str) -> Mapped | None:
        """None where the Workload has Repeats, a single Einsum or a single sample."""
        if self.samples < 2 or any(isinstance(item, Repeat) for item in self.workload.body):
            return None
        weights = _Weights(self.workload, self.picked, self.places)
        groups = self._groups(self.places.room - weights.held)
        nodes: list[Node] = []
        moves: list[Move] = []
        for number, group in enumerate(groups):
            at: Position = (number,) if len(groups) > 1 else ()
            ops = tuple(Op(e.name, self.picked[e.name].unit, self.picked[e.name].variant)
                        for e in self.items[group.first : group.last + 1])  # fmt: skip
            rank = _sample_rank(self.items[group.first])
            if not rank:
                return None
            nodes.append(Loop(rank, 1, ops[0] if len(ops) == 1 else Pipe(ops, tuple(group.depths[1:]))))
            for step in range(len(ops)):
                here = (*at, BODY, step) if len(ops) > 1 else (*at, BODY)
                moves += self._moves(group, group.first + step, at, here)
                moves += [Move(name, self.places.outside, self.places.chip, at, at, buffers=1)
                          for name in weights.loads(self.items[group.first + step])]  # fmt: skip
        stays = weights.stays | {(m.tensor, self.places.outside): Stay(m.tensor, self.places.outside, (), ())
                                 for m in moves}  # fmt: skip
        root = nodes[0] if len(nodes) == 1 else Seq(tuple(nodes))
        return Mapped(self.workload.name, arch, root, tuple(stays.values()), tuple(dict.fromkeys(moves)))

    def _read(self, einsum: Einsum) -> list[str]:
        names = dict.fromkeys(source_of(self.workload, a.tensor) for a in einsum.inputs)
        return [n for n in names if self.workload.tensors[n].role is not Role.WEIGHT]

    def _moves(self, group: _Group, number: int, loop: Position, at: Position) -> list[Move]:
        """Loads of what comes from outside the group, and the store of what is used there."""
        einsum, outside, chip = self.items[number], self.places.outside, self.places.chip
        found = [Move(name, outside, chip, at, at) for name in self._read(einsum)
                 if not self._inside(group, name)]  # fmt: skip
        out = source_of(self.workload, einsum.output.tensor)
        if self.workload.tensors[out].role is Role.OUTPUT or any(u > group.last for u in self.user.get(out, [])):
            found.append(Move(out, chip, outside, at, loop, store=True))
        return found

    def _inside(self, group: _Group, name: str) -> bool:
        return any(group.first <= m <= group.last for m in self.maker.get(name, []))

    def _depth(self, first: int, number: int) -> int:
        """Results of the stage before that an Einsum of a group beginning at `first` has room for."""
        far = [number - m for n in self._read(self.items[number]) for m in self.maker.get(n, []) if m >= first]
        return self.slots - 1 + max(far, default=1) if self.slots > 1 else 1

    def _bytes(self, name: str) -> int:
        """Of one sample."""
        return -(-self.workload.tensors[name].nbytes // self.samples)

    def _room(self, group: _Group) -> int:
        total = 0
        for number in range(group.first, group.last + 1):
            depth = group.depths[number - group.first]
            einsum = self.items[number]
            for name in self._read(einsum):
                total += self._bytes(name) * (depth if self._inside(group, name) else 2)
            total += 2 * self._bytes(source_of(self.workload, einsum.output.tensor))
        return total

    def _views(self, einsum: Einsum) -> bool:
        """Whether it reads an activation in another shape than it was made in: loops over samples end there."""
        return any(source_of(self.workload, a.tensor) != a.tensor for a in einsum.inputs
                   if source_of(self.workload, a.tensor) in self.maker)  # fmt: skip

    def _groups(self, room: int) -> list[_Group]:
        found = [_Group(0, 0, [1])]
        for number in range(1, len(self.items)):
            last = found[-1]
            longer = _Group(last.first, number, [*last.depths, self._depth(last.first, number)])
            if self._room(longer) <= room and not self._views(self.items[number]):
                found[-1] = longer
            else:
                found.append(_Group(number, number, [1]))
        return found
