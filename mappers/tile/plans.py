"""Plans of all Einsums of a Workload, and what stays in the buffer between them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import NoReturn

from ...arch.architecture import Architecture
from ...components.base import ComputeUnit
from ...components.spatial import SpatialArray
from ...errors import BadInput, ConstraintError
from ...ir import Access, Einsum, Repeat, Role, Workload
from ...ir.signature import signature
from ...lowering.ports import route
from ...mapping.constraints import Constraints
from ..aims import Aim, measured
from .floor import Floor, Watch
from .flow import Flow
from .nest import Shortfall
from .operand import Operand
from .planned import Call, Planner, planned, renamed
from .refusal import check_constraint, refusal
from .residency import stays_on_chip
from .search import Plan, Task, best_plan, smallest
from .tiers import homes_of, place, streams

Path = tuple[str, ...]
RISE = 1.01
"""Whoever watches is told when a bound has risen by so much."""


class Plans:
    """The plans of all Einsums of a Workload on one machine, each by itself found by `planner`, and what stays on the
    chip between them."""

    def __init__(
        self,
        workload: Workload,
        arch: Architecture,
        aim: Aim,
        constraints: Constraints,
        planner: Planner = best_plan,
        watch: Watch | None = None,
    ) -> None:
        self.workload, self.arch, self.planner, self.watch = workload, arch, planner, watch
        self.aim, self.constraints = aim, constraints
        self.flow = self._flow(workload)
        self.units = [u for u in arch.units.values() if isinstance(u, ComputeUnit)]
        self.levels = {m.name: self._level(m.name) for m in arch.memories.values()}
        self.near = self._near()
        self.buffer = self._buffer()
        self.tiers = place(self.flow, arch, self.near)
        self.plans: dict[tuple[Path, int], Plan] = {}
        self._roomy: dict[Hashable, list[tuple[int, Plan, Mapping[str, list[str]]]]] = {}
        """Plans found, by all that they were found for but the bytes of the buffer, and those."""
        self.staying: dict[tuple[Path, int], list[str]] = {}
        self.addresses = self._settle()

    # What a mapper that runs some items of a scope together (a group) says otherwise

    def _flow(self, workload: Workload) -> Flow:
        """Scopes and lives of the tensors whose place is to be chosen here."""
        return Flow(workload)

    def _in_group(self, path: Path, item: int) -> bool:
        """Whether an item is planned elsewhere, as part of a group."""
        return False

    def _level(self, memory: str) -> int:
        """How many on-chip memories there are from the chip's edge to one, itself included."""
        level, at = 0, self.arch.memories[memory]
        while at.on_chip:
            level += 1
            if at.parent is None:
                raise BadInput(f"machine {self.arch.name}: the tile mapper needs an off-chip memory behind {at.name}")
            at = self.arch.memories[at.parent]
        return level

    def _chain(self, memory: str) -> tuple[str, ...]:
        """The memories from the off-chip one to one that feeds a unit."""
        chain = [memory]
        while self.levels[chain[-1]]:
            chain.append(str(self.arch.memories[chain[-1]].parent))
        return tuple(reversed(chain))

    def _near(self) -> str:
        """The memory next to the chip."""
        near = sorted({self._chain(m)[0] for u in self.units for m in u.memories})
        on_chip = all(self.levels[m] for u in self.units for m in u.memories)
        if len(near) != 1 or not on_chip:
            raise BadInput(
                f"machine {self.arch.name}: the tile mapper needs on-chip memories behind one off-chip memory, "
                f"found units fed through {', '.join(near) or 'none'}"
            )
        return near[0]

    def _buffer(self) -> str:
        """The memory in which activations may stay: next to the edge, on the way of inputs and results of all units."""
        ways = [set(self._chain(m)) for u in self.units for m in (u.feeds(1)[0], u.feeds(1)[-1])]
        common = sorted(m for m in set.intersection(*ways) if self.levels[m] == 1)
        return common[0] if common else ""

    # Plans

    def _settle(self) -> dict[str, int]:
        """Plan every Einsum; give up staying tensors where the tiles of an Einsum would not fit beside them."""
        refused: set[str] = {n for n in self.flow.lives if self.constraints.memory_of(n) not in (None, self.buffer)}
        refused |= self._elsewhere()
        while True:
            addresses = stays_on_chip(self.flow, self._capacity(), frozenset(refused))
            self._check_kept(addresses)
            crowded = self._plan_all(addresses)
            if not crowded:
                if self.watch is not None:
                    self.tell(self.watch)
                return addresses
            refused |= crowded

    def _elsewhere(self) -> set[str]:
        """Tensors that some unit reads or writes past the buffer: for products, all of the fastest ones."""
        found: set[str] = set()
        fastest = max((u.peak_rates().get("mac", 0.0) for u in self.units), default=0.0)
        arrays = [u for u in self.units if u.peak_rates().get("mac", 0.0) == fastest]
        for scope in self.flow.scopes.values():
            for item in scope.items:
                if isinstance(item, Einsum) and item.is_contraction and len(arrays) > 1:
                    found |= set.intersection(*(self._past(item, unit) for unit in arrays))
                elif isinstance(item, Einsum):
                    found |= set().union(*(self._past(item, unit) for unit in self.units))
        return found

    def _past(self, einsum: Einsum, unit: ComputeUnit) -> set[str]:
        """Tensors that a unit reads or writes past the buffer."""
        feeds = zip((*einsum.inputs, einsum.output), unit.feeds(len(einsum.inputs)), strict=True)
        return {self.flow.storage(a.tensor) for a, memory in feeds if self.buffer not in self._chain(memory)}

    def _capacity(self) -> int:
        return self.arch.memories[self.buffer].capacity if self.buffer else 0

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
        crowded: set[str] = set()
        self.staying = self._staying(addresses)
        rising = self._rising(addresses)
        for scope in self.flow.scopes.values():
            for i, item in enumerate(scope.items):
                if isinstance(item, Repeat) or self._in_group(scope.path, i):
                    continue
                here = self.staying.get((scope.path, i), [])
                budget = self._budget(here, addresses)
                plan = self._plan(item, budget, frozenset(here))
                if isinstance(plan, Plan):
                    self.plans[scope.path, i] = plan
                    rising(scope.path, i)
                elif here:
                    crowded.add(max(here, key=lambda n: (self.flow.lives[n].tensor.nbytes, n)))
                else:
                    self._refuse(item, plan)
        return crowded

    def _budget(self, here: Sequence[str], addresses: Mapping[str, int]) -> int:
        """Bytes of the buffer beside tensors that stay."""
        return self._capacity() - max((addresses[n] + self.flow.lives[n].tensor.nbytes for n in here), default=0)

    def _rising(self, addresses: Mapping[str, int]) -> Callable[[Path, int], None]:
        """What to tell of every plan, so that whoever watches may end the search; nothing while plans may be made
        anew, because an Einsum has no room beside what stays."""
        if self.watch is None or not all(self._has_room(*place, addresses) for place in self.places()):
            return lambda path, item: None
        floor, watch, told = Floor(self.workload, self.arch), self.watch, [(0.0, 0.0)]
        weights = self.weights()

        def rise(path: Path, item: int) -> None:
            floor.planned((path, item), self.plans[path, item], weights)
            now = floor.value()
            if any(n > RISE * before for n, before in zip(now, told[0], strict=True)):
                told[0] = now
                watch(*now)

        return rise

    def tell(self, watch: Watch) -> None:
        """Tell what all plans take together at least."""
        watch(*self.least())

    def least(self) -> tuple[float, float]:
        """Cycles of the machine's clock and joules of action that all plans take together at least."""
        floor, weights = Floor(self.workload, self.arch), self.weights()
        for here in self.places():
            floor.planned(here, self.plans[here], weights)
        return floor.value()

    def weights(self) -> set[str]:
        """Stored tensors that are weights."""
        return {name for name, life in self.flow.lives.items() if life.tensor.role is Role.WEIGHT}

    def places(self) -> list[tuple[Path, int]]:
        """Of all Einsums, the path of the scope and the number of the item."""
        scopes = self.flow.scopes.values()
        return [(s.path, i) for s in scopes for i, item in enumerate(s.items) if isinstance(item, Einsum)]

    def _has_room(self, path: Path, item: int, addresses: Mapping[str, int]) -> bool:
        """Whether the smallest tiles of an Einsum surely fit beside what stays."""
        einsum, here = self.flow.scopes[path].items[item], self.staying.get((path, item), [])
        assert isinstance(einsum, Einsum)
        staying = frozenset(here)
        if not self.constraints.for_einsum(einsum.name, einsum.kind).is_free:
            return False
        return any(
            smallest(einsum, self._operands(einsum, unit, staying)) <= self._budget(here, addresses)
            for unit in self.units
            if max(self.levels.values()) == 1 and not isinstance(unit, SpatialArray)
            and unit.memories == (self.buffer,) and unit.spatial_options(einsum)
            and not staying & self._past(einsum, unit)
        )

    def _refuse(self, einsum: Einsum, plan: Shortfall) -> NoReturn:
        raise refusal(einsum, plan, self.constraints.for_einsum(einsum.name, einsum.kind), self.arch)

    def _staying(self, addresses: dict[str, int]) -> dict[tuple[Path, int], list[str]]:
        """Tensors that stay in the buffer while an item of a scope runs."""
        found: dict[tuple[Path, int], list[str]] = {}
        for name in addresses:
            life = self.flow.lives[name]
            uses = [*life.makers, *life.users]
            for i in range(min(uses), max(uses) + 1):
                found.setdefault((life.scope, i), []).append(name)
        return found

    def _operands(self, einsum: Einsum, unit: ComputeUnit, staying: frozenset[str]) -> list[Operand]:
        """One per tensor that is read and memory that feeds the unit with it, and the result.

        What a memory gets of a tensor is what all accesses touch of it, even if only some of them are fed from there.
        """
        inputs: dict[str, list[Access]] = {}
        for access in einsum.inputs:
            inputs.setdefault(self.flow.storage(access.tensor), []).append(access)
        *feeds, last = unit.feeds(len(einsum.inputs))
        ways = dict.fromkeys((self.flow.storage(a.tensor), m) for a, m in zip(einsum.inputs, feeds, strict=True))
        out = self.flow.storage(einsum.output.tensor)
        found = [self._operand(name, m, inputs[name], einsum, staying) for name, m in ways]
        return [*found, self._operand(out, last, [einsum.output], einsum, staying)]

    def _operand(
        self, name: str, memory: str, accesses: Sequence[Access], einsum: Einsum, staying: frozenset[str]
    ) -> Operand:
        chain = self._chain(memory)
        tensor = self.workload.tensors[accesses[0].tensor]
        return Operand(
            name,
            tuple(accesses),
            tuple(self.workload.tensors[a.tensor].shape for a in accesses),
            einsum.sizes,
            tensor.stored_bits,
            accesses[0] is einsum.output,
            chain[chain.index(self.buffer) :] if name in staying else chain,
        )

    def _plan(
        self, einsum: Einsum, budget: int, staying: frozenset[str], caps: Mapping[str, int] | None = None
    ) -> Plan | Shortfall:
        """The plan of an Einsum with so many bytes of the buffer, and of other memories what `caps` leaves."""
        reaching = [u for u in self.units if not staying & self._past(einsum, u)]
        operands = {u.name: self._operands(einsum, u, staying) for u in reaching}
        constraint = self.constraints.for_einsum(einsum.name, einsum.kind)
        check_constraint(einsum, constraint)
        budgets = {m: self.arch.memories[m].capacity for m, level in self.levels.items() if level}
        if self.buffer:
            budgets[self.buffer] = budget
        for memory, cap in (caps or {}).items():
            budgets[memory] = min(budgets[memory], cap)
        held = [self.workload.tensors[a.tensor] for a in (*einsum.inputs, einsum.output)]
        bits, densities = [t.bits for t in held], [t.density for t in held[:-1]]
        tensors = [self.flow.storage(a.tensor) for a in (*einsum.inputs, einsum.output)]
        number = {name: tensors.index(name) for name in tensors}
        identity = (
            signature(einsum),
            tuple((n, o.shapes, o.width, o.is_output, o.chain) for n, x in operands.items() for o in x),
            tuple(number[o.tensor] for x in operands.values() for o in x),
            (tuple(bits), tuple(densities)),
            (self.arch.spec_hash, self.aim),
            (constraint, tuple(sorted(constraint.tiles.items())), tuple(sorted(constraint.spread.items()))),
            tuple(sorted((caps or {}).items())),
            self.planner,
        )
        names = {u: [o.tensor for o in x] for u, x in operands.items()}
        known = self._fitting(identity, budget)
        if known is not None:
            plan, made_for = known
        else:
            task = Task(einsum, operands, bits, densities, budgets, self.levels, self.arch, self.aim, constraint)
            found, made_for = planned(Call((identity, budget), self.planner, task, names))
            if isinstance(found, Shortfall):
                return found
            plan = found
            self._roomy.setdefault(identity, []).append((budget, plan, made_for))
        # The plan may have been made for an equal Einsum over other tensors.
        new = dict(zip(made_for[plan.unit], names[plan.unit], strict=True))
        levels = tuple(renamed(level, new) for level in plan.levels)
        return replace(plan, levels=levels, moved={(new[name], out): n for (name, out), n in plan.moved.items()})

    def _fitting(self, identity: Hashable, budget: int) -> tuple[Plan, Mapping[str, list[str]]] | None:
        """A plan found with as many bytes of the buffer or more, of which it takes no more than there are now."""
        for room, plan, made_for in self._roomy.get(identity, []):
            if plan.working_set.get(self.buffer, 0) <= budget <= room:
                return plan, made_for
        return None

    def value(self, cycles: float | None = None) -> float:
        """The objective as the mapper expects it over the whole run, or for a run of so many cycles."""
        expected, joules = self.expected(())
        cycles = expected if cycles is None else cycles
        return measured(self.aim.objective, cycles, joules, float(self.arch.clock))

    def expected(self, path: Path) -> tuple[float, float]:
        """Cycles and joules of one run of a scope; streaming overlaps with the iterations it feeds."""
        cycles = joules = 0.0
        for i, item in enumerate(self.flow.scopes[path].items):
            if self._in_group(path, i):
                continue
            if isinstance(item, Einsum):
                plan = self.plans[path, i]
                cycles, joules = cycles + plan.cycles, joules + plan.energy
                continue
            inner = (*path, item.name)
            near = self.tiers.split.get(inner, item.count)
            once, energy = self.expected(inner)
            streaming, extra = self._streaming(inner) if near < item.count else (0.0, 0.0)
            cycles += near * once + (item.count - near) * max(once, streaming)
            joules += item.count * energy + (item.count - near) * extra
        return cycles, joules

    def _streaming(self, path: Path) -> tuple[float, float]:
        """Cycles and joules to bring one iteration's weights from the far tier to the near one."""
        nbytes = sum(x.tensor.nbytes for x in self.flow.lives.values() if x.scope == path and streams(self.flow, x))
        way = route(self.arch, self.tiers.far, self.tiers.near)
        return nbytes * max(way.cycles_per_byte.values(), default=0.0), nbytes * way.joules_per_byte
