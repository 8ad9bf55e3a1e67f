"""From the plans of all Einsums to the Mapping of the whole Workload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ...arch.architecture import Architecture
from ...ir import Access, Einsum, Role, Workload
from ...mapping.constraints import Constraints
from ...mapping.tree import BODY, Iterate, Loop, Move, Node, Op, Position, Seq, Stay
from ...mapping.tree import Mapping as MappingValue
from ..aims import Aim
from .ahead import Ahead, Choice, Obstacle, Stretch, ready_behind, stretch_of
from .floor import Watch
from .nest import Way
from .pieces import pieces_of
from .planned import Planner
from .plans import Path, Plans
from .search import Plan, best_plan
from .tiers import STAGING_BUFFERS, streams


@dataclass(frozen=True)
class Child:
    """A node of the tree that stands for an item of a scope."""

    at: Position
    item: int


class Network(Plans):
    """The tile mapper at work on one Workload and one machine."""

    def __init__(
        self,
        workload: Workload,
        arch: Architecture,
        aim: Aim,
        constraints: Constraints,
        planner: Planner = best_plan,
        watch: Watch | None = None,
    ) -> None:
        super().__init__(workload, arch, aim, constraints, planner, watch)
        self.stays: list[Stay] = []
        self.moves: list[Move] = []
        self.further, self.saved = False, 0.0
        self._obstacles: list[tuple[Path, Child, Obstacle]] = []

    def _group(self, path: Path, item: int, at: Position) -> Node | None:
        """The node of the group that begins with an item; None for a later item of one."""
        raise NotImplementedError

    def mapping(self, *, further: bool = False) -> MappingValue:
        """The Mapping, without its Claim; `further` if weights are loaded further ahead where the off-chip memory is
        waited for."""
        self.stays, self.moves, self.further, self.saved, self._obstacles = [], [], further, 0.0, []
        self._home_stays()
        root = self._seq((), ())
        return MappingValue(self.workload.name, self.arch.name, root, tuple(self.stays), tuple(self.moves))

    def _home_stays(self) -> None:
        """Tensors that are off chip throughout, in the tiers where they live."""
        for name, life in self.flow.lives.items():
            if not (life.made_before or life.tensor.role is Role.OUTPUT or life.carried):
                continue
            memory = self.tiers.far if name in self.tiers.streamed else self.tiers.near
            near = self.tiers.split.get(life.scope) if streams(self.flow, life) else None
            if near is None:
                self.stays.append(Stay(name, memory, (), ()))
                continue
            if near:
                self.stays.append(Stay(name, self.tiers.near, (), (), iterations=(0, near)))
            if near < life.copies:
                self.stays.append(Stay(name, self.tiers.far, (), (), iterations=(near, life.copies - near)))

    def _seq(self, path: Path, at: Position) -> Seq:
        """The Seq of a scope."""
        scope = self.flow.scopes[path]
        nodes: list[Node] = []
        children: list[Child] = []
        for i, item in enumerate(scope.items):
            if self._in_group(path, i):
                node = self._group(path, i, (*at, len(nodes)))
                nodes += [node] if node is not None else []
                children.append(Child((*at, len(nodes) - 1), i))
                continue
            if isinstance(item, Einsum):
                children.append(Child((*at, len(nodes)), i))
                nodes.append(_nest(item, self.plans[path, i]))
                continue
            inner = (*path, item.name)
            near = self.tiers.split.get(inner, item.count)
            for start, count, far in ((0, near, False), (near, item.count - near, True)):
                if count:
                    here = (*at, len(nodes))
                    children.append(Child(here, i))
                    body = self._seq(inner, (*here, BODY))
                    nodes.append(Iterate(item.name, count, body, start))
                    if far:
                        self._stream(inner, here)
        self._scope_stays(path, children)
        early = self._early(path, children)
        for k, child in enumerate(children):
            item = scope.items[child.item]
            if isinstance(item, Einsum) and not self._in_group(path, child.item):
                issues = {way: (children[e.since].at, e.buffers) for (n, way), e in early.items() if n == k}
                self._op_moves(path, item, child, issues)
        return Seq(tuple(nodes))

    def _stream(self, path: Path, iterate: Position) -> None:
        """Bring each iteration's weights into the near tier, as far ahead as its buffers allow."""
        for name, life in self.flow.lives.items():
            if life.scope == path and streams(self.flow, life):
                self.moves.append(
                    Move(name, self.tiers.far, self.tiers.near, iterate, (*iterate, BODY), STAGING_BUFFERS)
                )

    def _scope_stays(self, path: Path, children: list[Child]) -> None:
        """Activations of a scope: in the buffer, or off chip from the first maker to the last user."""
        for name, life in self.flow.lives.items():
            if life.scope != path or life.made_before or life.carried or life.tensor.role is Role.OUTPUT:
                continue
            uses = [*life.makers, *life.users]
            first = next(c.at for c in children if c.item == min(uses))
            last = next(c.at for c in reversed(children) if c.item == max(uses))
            memory = self.buffer if name in self.addresses else self.tiers.near
            self.stays.append(Stay(name, memory, first, last, self.addresses.get(name)))

    def _early(self, path: Path, children: Sequence[Child]) -> Choice:
        """Operands that are loaded while Einsums before their own one run, by the number of a child."""
        ready = self._ready(path, [child.item for child in children])
        ahead = Ahead([self._stretch(path, child, ready) for child in children])
        choice = ahead.further() if self.further else ahead.choice
        count = self.flow.scopes[path].count
        self.saved += count * ahead.saved
        self._obstacles += [
            (path, children[k], replace(found, saved=count * found.saved)) for k, found in ahead.obstacles.items()
        ]
        return choice

    def make_way(self, worth: float) -> bool:
        """Plan Einsums anew, with less room, that were in the way of loads further ahead: those past which so many
        cycles or more could be saved, if they lose less by the aim. Whether there were any."""
        made = False
        for path, child, obstacle in self._obstacles:
            einsum, old = self.flow.scopes[path].items[child.item], self.plans[path, child.item]
            left = old.working_set.get(obstacle.memory, 0) - obstacle.short
            if obstacle.saved < worth or left <= 0 or not isinstance(einsum, Einsum):
                continue
            budget = old.working_set.get(self.buffer, 0) + self._room_beside(path, child).get(self.buffer, 0)
            here = frozenset(self.staying.get((path, child.item), []))
            new = self._plan(einsum, budget, here, {obstacle.memory: left})
            if not isinstance(new, Plan):
                continue
            lost = self.aim.of(new.cycles, new.energy) - self.aim.of(old.cycles, old.energy)
            if self.flow.scopes[path].count * lost < self.aim.of(obstacle.saved, 0.0):
                self.plans[path, child.item], made = new, True
        return made

    def _ready(self, path: Path, items: Sequence[int]) -> dict[str, int]:
        """Tensors that may be loaded ahead, to the number of the first child during which they may."""
        return ready_behind(self.flow, path, items, self.tiers, self.addresses)

    def _stretch(self, path: Path, child: Child, ready: Mapping[str, int]) -> Stretch | None:
        """What is known of a child while it runs, where it is an Einsum that is planned here."""
        einsum, plan = self.flow.scopes[path].items[child.item], self.plans.get((path, child.item))
        if plan is None or not isinstance(einsum, Einsum):
            return None
        room = self._room_beside(path, child)
        return stretch_of(self.arch, self.workload, einsum, plan, room, ready, self.weights())

    def _op_moves(
        self, path: Path, einsum: Einsum, child: Child, early: Mapping[Way, tuple[Position, int]]
    ) -> None:
        """The Moves of an Einsum; `early` has where loads of its weights are issued that begin before it does, and
        their buffers."""
        plan = self.plans[path, child.item]
        pieces = pieces_of(einsum, self._accesses(einsum), plan.levels) if len(plan.levels) > 1 else {}
        at: dict[Way, Position] = {}
        """Where the tiles that come to, or leave, a memory are cut."""
        loops = 0
        for number, level in enumerate(plan.levels):
            # A tile with one buffer is waited for: at a port it is asked for before those that come ahead.
            for way, depth in sorted(level.depth.items(), key=lambda item: level.buffers[item[0]]):
                name, memory, stored = way
                due = child.at + (BODY,) * (loops + depth)
                at[way] = due
                source = str(self.arch.memories[memory].parent)
                outside = at.get((name, source, stored), child.at)
                buffers = level.buffers[way]
                inner = child.at + (BODY,) * pieces[way] if way in pieces else None
                if stored:
                    self.moves.append(Move(name, memory, source, due, outside, buffers, store=True, pieces=inner))
                    continue
                issue = outside
                if not number and name in self.tiers.streamed:
                    self.moves.append(Move(name, self.tiers.far, source, child.at, child.at, 1))
                elif not number and way in early:
                    issue, buffers = early[way]
                slides = way in level.slides
                self.moves.append(Move(name, source, memory, issue, due, buffers, sliding=slides, pieces=inner))
            loops += len(level.loops)

    def _accesses(self, einsum: Einsum) -> Mapping[tuple[str, bool], Sequence[Access]]:
        """By stored tensor, and whether it is the result."""
        found: dict[tuple[str, bool], list[Access]] = {}
        for access in (*einsum.inputs, einsum.output):
            found.setdefault((self.flow.storage(access.tensor), access is einsum.output), []).append(access)
        return found

    def _room_beside(self, path: Path, child: Child) -> dict[str, int]:
        """Bytes of each memory next to the edge that are free while a child runs, for weights of later ones."""
        here = self.staying.get((path, child.item), [])
        top = max((self.addresses[n] + self.flow.lives[n].tensor.nbytes for n in here), default=0)
        taken = self.plans[path, child.item].working_set
        return {
            m: self.arch.memories[m].capacity - (top if m == self.buffer else 0) - taken.get(m, 0)
            for m, level in self.levels.items()
            if level == 1
        }


def _nest(einsum: Einsum, plan: Plan) -> Node:
    node: Node = Op(einsum.name, plan.unit, plan.variant, plan.layout)
    for rank, tile in reversed(plan.loops):
        node = Loop(rank, tile, node)
    return node
