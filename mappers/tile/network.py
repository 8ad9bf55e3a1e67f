"""From the best tiling of each Einsum to the Mapping of the whole Workload."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import lru_cache

from ...arch.architecture import Architecture
from ...components.base import ComputeUnit
from ...errors import BadInput, ConstraintError, DoesNotFit, MappingError
from ...ir import Einsum, Repeat, Role, Workload
from ...lowering.ports import route
from ...mapping.constraints import Constraints, OpConstraint
from ...mapping.tree import BODY, Iterate, Loop, Mapping, Move, Node, Op, Position, Seq, Stay
from .flow import Flow
from .residency import stays_on_chip
from .search import Operand, Plan, Shortfall, Site, best_plan
from .tiers import STAGING_BUFFERS, homes_of, place, streams

Path = tuple[str, ...]


@dataclass(frozen=True)
class Child:
    """A node of the tree that stands for an item of a scope."""

    at: Position
    item: int


class Network:
    """The tile mapper at work on one Workload and one machine."""

    def __init__(self, workload: Workload, arch: Architecture, objective: str, constraints: Constraints) -> None:
        self.workload, self.arch = workload, arch
        self.objective, self.constraints = objective, constraints
        self.flow = Flow(workload)
        self.units = [u for u in arch.units.values() if isinstance(u, ComputeUnit)]
        self.buffer = self._buffer()
        near = arch.memories[self.buffer].parent
        if near is None or arch.memories[near].on_chip:
            raise BadInput(f"machine {arch.name}: the tile mapper needs an off-chip memory behind {self.buffer}")
        self.tiers = place(self.flow, arch, near)
        self.routes = {near: (route(arch, near, self.buffer), route(arch, self.buffer, near))}
        self.plans: dict[tuple[Path, int], Plan] = {}
        self.staying: dict[tuple[Path, int], list[str]] = {}
        self.addresses = self._settle()
        self.stays: list[Stay] = []
        self.moves: list[Move] = []

    def _buffer(self) -> str:
        buffers = sorted({u.memory for u in self.units})
        if len(buffers) != 1:
            raise BadInput(
                f"machine {self.arch.name}: the tile mapper needs all units on one buffer, "
                f"found {', '.join(buffers) or 'none'}"
            )
        return buffers[0]

    # Plans

    def _settle(self) -> dict[str, int]:
        """Plan every Einsum; give up staying tensors where the tiles of an Einsum would not fit beside them."""
        refused: set[str] = {n for n in self.flow.lives if self.constraints.memory_of(n) not in (None, self.buffer)}
        while True:
            addresses = stays_on_chip(self.flow, self.arch.memories[self.buffer].capacity, frozenset(refused))
            self._check_kept(addresses)
            crowded = self._plan_all(addresses)
            if not crowded:
                return addresses
            refused |= crowded

    def _check_kept(self, addresses: dict[str, int]) -> None:
        """Refuse constraints on tensors that are not where the user wants them."""
        for name, life in self.flow.lives.items():
            wanted = self.constraints.memory_of(name)
            if wanted is None:
                continue
            homes = {self.buffer} if name in addresses else homes_of(self.flow, life, self.tiers)
            if homes != {wanted}:
                found = " and ".join(sorted(homes))
                raise ConstraintError(f"constraint: {name} cannot be kept in {wanted}; this mapper puts it in {found}")

    def _plan_all(self, addresses: dict[str, int]) -> set[str]:
        capacity = self.arch.memories[self.buffer].capacity
        crowded: set[str] = set()
        self.staying = self._staying(addresses)
        for scope in self.flow.scopes.values():
            for i, item in enumerate(scope.items):
                if isinstance(item, Repeat):
                    continue
                here = self.staying.get((scope.path, i), [])
                budget = capacity - max((addresses[n] + self.flow.lives[n].tensor.nbytes for n in here), default=0)
                plan = self._plan(item, budget, frozenset(here))
                if isinstance(plan, Plan):
                    self.plans[scope.path, i] = plan
                elif here:
                    crowded.add(max(here, key=lambda n: (self.flow.lives[n].tensor.nbytes, n)))
                else:
                    self._refuse(item, plan, budget)
        return crowded

    def _refuse(self, einsum: Einsum, plan: Shortfall, budget: int) -> None:
        if not plan.needed:
            what = f"{einsum.name} ({einsum.kind or 'Einsum'})"
            constraint = self.constraints.for_einsum(einsum.name, einsum.kind)
            if not constraint.is_free:
                asked = " ".join(x for x in (constraint.variant and f"as {constraint.variant}", constraint.unit) if x)
                raise ConstraintError(f"constraint: no unit of {self.arch.name} can run {what} {asked}".rstrip())
            raise MappingError(f"no unit of {self.arch.name} can run {what}")
        raise DoesNotFit(
            f"buffer {self.buffer}: the smallest tiles of {einsum.name} need {plan.needed:,} bytes and it has "
            f"{budget:,}, {plan.needed - budget:,} too few"
        )

    def _staying(self, addresses: dict[str, int]) -> dict[tuple[Path, int], list[str]]:
        """Tensors that stay in the buffer while an item of a scope runs."""
        found: dict[tuple[Path, int], list[str]] = {}
        for name in addresses:
            life = self.flow.lives[name]
            uses = [*life.makers, *life.users]
            for i in range(min(uses), max(uses) + 1):
                found.setdefault((life.scope, i), []).append(name)
        return found

    def _operands(self, einsum: Einsum, staying: frozenset[str]) -> list[Operand]:
        found: dict[str, list[int]] = {}
        accesses = (*einsum.inputs, einsum.output)
        for j, access in enumerate(accesses):
            found.setdefault(self.flow.storage(access.tensor), []).append(j)
        return [
            Operand(
                name,
                tuple(accesses[j] for j in which),
                tuple(self.workload.tensors[accesses[j].tensor].shape for j in which),
                self.workload.tensors[accesses[which[0]].tensor].bits,
                len(accesses) - 1 in which,
                None if name in staying else self.tiers.near,
                self.workload.tensors[accesses[which[0]].tensor].metadata_bits,
            )
            for name, which in found.items()
        ]

    def _plan(self, einsum: Einsum, budget: int, staying: frozenset[str]) -> Plan | Shortfall:
        operands = self._operands(einsum, staying)
        constraint = self.constraints.for_einsum(einsum.name, einsum.kind)
        _check_constraint(einsum, constraint)
        identity = (
            _signature(einsum),
            tuple((o.shapes, o.bits, o.metadata_bits, o.is_output, o.home) for o in operands),
            (self.arch.spec_hash, budget, self.objective),
            (constraint, tuple(sorted(constraint.tiles.items()))),
        )
        plan = _planned(_Task(identity, einsum, operands, self._sites(budget), self.objective, constraint))
        if isinstance(plan, Shortfall):
            return plan
        # The plan may have been made for an equal Einsum over other tensors.
        names = dict(zip(plan.depth, (o.tensor for o in operands if o.home is not None), strict=True))
        return Plan(
            plan.unit,
            plan.variant,
            plan.loops,
            {names[t]: v for t, v in plan.depth.items()},
            {names[t]: v for t, v in plan.buffers.items()},
            {names[t]: v for t, v in plan.tile_bytes.items()},
            plan.cycles,
            plan.energy,
            plan.traffic,
            plan.working_set,
        )

    def _sites(self, budget: int) -> list[Site]:
        arch = self.arch
        return [
            Site(
                unit,
                arch.memories[self.buffer],
                budget,
                self.routes,
                float(arch.clock),
                float(arch.clock) / float(unit.clock_hz),
            )
            for unit in self.units
        ]

    def value(self) -> float:
        """The objective as the mapper expects it over the whole run."""
        cycles, joules = self._expected(())
        return {"latency": cycles, "energy": joules, "edp": cycles / float(self.arch.clock) * joules}[self.objective]

    def _expected(self, path: Path) -> tuple[float, float]:
        """Cycles and joules of one run of a scope; streaming overlaps with the iterations it feeds."""
        cycles = joules = 0.0
        for i, item in enumerate(self.flow.scopes[path].items):
            if isinstance(item, Einsum):
                plan = self.plans[path, i]
                cycles, joules = cycles + plan.cycles, joules + plan.energy
                continue
            inner = (*path, item.name)
            near = self.tiers.split.get(inner, item.count)
            once, energy = self._expected(inner)
            streaming, extra = self._streaming(inner) if near < item.count else (0.0, 0.0)
            cycles += near * once + (item.count - near) * max(once, streaming)
            joules += item.count * energy + (item.count - near) * extra
        return cycles, joules

    def _streaming(self, path: Path) -> tuple[float, float]:
        """Cycles and joules to bring one iteration's weights from the far tier to the near one."""
        nbytes = sum(x.tensor.nbytes for x in self.flow.lives.values() if x.scope == path and streams(self.flow, x))
        way = route(self.arch, self.tiers.far, self.tiers.near)
        return nbytes * max(way.cycles_per_byte.values(), default=0.0), nbytes * way.joules_per_byte

    # Tree and tables

    def mapping(self) -> Mapping:
        """The Mapping, without its Claim."""
        self._home_stays()
        root = self._seq((), (), streaming=False)
        return Mapping(self.workload.name, self.arch.name, root, tuple(self.stays), tuple(self.moves))

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

    def _seq(self, path: Path, at: Position, *, streaming: bool) -> Seq:
        """The Seq of a scope; `streaming` when its weights come from the far tier."""
        scope = self.flow.scopes[path]
        nodes: list[Node] = []
        children: list[Child] = []
        for i, item in enumerate(scope.items):
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
                    body = self._seq(inner, (*here, BODY), streaming=far)
                    nodes.append(Iterate(item.name, count, body, start))
                    if far:
                        self._stream(inner, here)
        self._scope_stays(path, children)
        for k, child in enumerate(children):
            item = scope.items[child.item]
            if isinstance(item, Einsum):
                self._op_moves(path, item, child, children[k - 1] if k else None)
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

    def _op_moves(self, path: Path, einsum: Einsum, child: Child, before: Child | None) -> None:
        plan = self.plans[path, child.item]
        near = self.tiers.near
        room = self._room_before(path, before)
        for name in dict.fromkeys(self.flow.storage(a.tensor) for a in einsum.inputs):
            if name not in plan.depth:
                continue
            issue = child.at
            if name in self.tiers.streamed:
                self.moves.append(Move(name, self.tiers.far, near, child.at, child.at, 1))
            elif before is not None and self.flow.lives[name].tensor.role is Role.WEIGHT:
                ahead = plan.buffers[name] * plan.tile_bytes[name]
                if ahead <= room:
                    room -= ahead
                    issue = before.at
            due = child.at + (BODY,) * plan.depth[name]
            self.moves.append(Move(name, near, self.buffer, issue, due, plan.buffers[name]))
        out = self.flow.storage(einsum.output.tensor)
        if out in plan.depth:
            issue = child.at + (BODY,) * plan.depth[out]
            self.moves.append(Move(out, self.buffer, near, issue, child.at, plan.buffers[out], store=True))

    def _room_before(self, path: Path, before: Child | None) -> int:
        """Bytes of the buffer free while the child before runs, for weights loaded ahead."""
        if before is None or (path, before.item) not in self.plans:
            return -1
        here = self.staying.get((path, before.item), [])
        top = max((self.addresses[n] + self.flow.lives[n].tensor.nbytes for n in here), default=0)
        return self.arch.memories[self.buffer].capacity - top - self.plans[path, before.item].working_set


def _check_constraint(einsum: Einsum, constraint: OpConstraint) -> None:
    """Refuse what names no rank of the Einsum, or a tile larger than its rank."""
    for rank in (*(constraint.order or ()), *constraint.tiles):
        if rank not in einsum.sizes:
            raise ConstraintError(f"constraint: {einsum.name} has no rank {rank!r}; it has {', '.join(einsum.sizes)}")
    for rank, tile in constraint.tiles.items():
        if not 1 <= tile <= einsum.sizes[rank]:
            raise ConstraintError(
                f"constraint: tile {tile} of rank {rank} of {einsum.name}, whose size is {einsum.sizes[rank]}"
            )


@dataclass(frozen=True)
class _Task:
    """A call of `best_plan`; `identity` stands for all of it, so that equal tasks share one answer."""

    identity: Hashable
    einsum: Einsum = field(compare=False)
    operands: list[Operand] = field(compare=False)
    sites: list[Site] = field(compare=False)
    objective: str = field(compare=False)
    constraint: OpConstraint = field(compare=False)


@lru_cache(maxsize=2**14)
def _planned(task: _Task) -> Plan | Shortfall:
    return best_plan(task.einsum, task.operands, task.sites, task.objective, task.constraint)


def _nest(einsum: Einsum, plan: Plan) -> Node:
    node: Node = Op(einsum.name, plan.unit, plan.variant)
    for rank, tile in reversed(plan.loops):
        node = Loop(rank, tile, node)
    return node


def _signature(einsum: Einsum) -> Hashable:
    """What of an Einsum matters to its plan: all but its name and those of its tensors."""
    return (
        tuple(einsum.sizes.items()),
        tuple(a.indices for a in einsum.inputs),
        einsum.output.indices,
        einsum.expr,
        einsum.reduce,
        einsum.iterative,
        tuple(einsum.inputs.index(a) for a in einsum.inputs),
    )
