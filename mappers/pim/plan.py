"""Choosing unit and layout of every Einsum, and the Mapping that follows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import NoReturn

import numpy as np

from ...arch.architecture import Architecture
from ...arch.component import Memory
from ...components import ComputeUnit, compute_units
from ...components.pim import PimArray
from ...components.vector import VectorUnit
from ...errors import BadInput, DoesNotFit
from ...ir import Einsum, Item, Repeat, Role, View, Workload
from ...mapping.tree import Mapping as Mapped
from ...mapping.tree import Move, Position, Stay
from ..aims import best_options
from ..whole import Lives, source_of, whole_tree

STORED = (Role.INPUT, Role.WEIGHT, Role.STATE, Role.OUTPUT)
"""Roles of tensors that lie in the banks before or after the run."""


@dataclass(frozen=True)
class Choice:
    """The unit and variant of an Einsum, and what a run of it takes there.

    Attributes:
        times: how often the Einsum runs.
        joules: of the unit's own actions; memories apart.
        actions: of the unit, by name.
    """

    einsum: Einsum
    unit: str
    variant: str
    times: int
    seconds: float
    joules: float
    actions: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Movement:
    """What products in the memory read there, and what passed its pins for them, per run of the Workload.

    Attributes:
        row_hit_rate: share of column commands that found their row open.
        reduction: bytes read at the banks over bytes through the pins.
    """

    banks_bytes: int
    pin_bytes: int
    row_hit_rate: float

    @property
    def reduction(self) -> float:
        return self.banks_bytes / max(1, self.pin_bytes)


def movement(workload: Workload, arch: Architecture, objective: str = "latency") -> Movement:
    """What the mapper's choices move."""
    totals = dict.fromkeys(("cell_read", "row_activate", "pin"), 0)
    burst_bytes = 1
    for choice in choices(workload, arch, objective):
        unit = arch.units[choice.unit]
        if isinstance(unit, PimArray):
            burst_bytes = unit.device.burst_bytes
            for name in totals:
                totals[name] += choice.actions[name] * choice.times
    columns = max(1, totals["cell_read"] // burst_bytes)
    return Movement(totals["cell_read"], totals["pin"], 1 - totals["row_activate"] / columns)


def choices(workload: Workload, arch: Architecture, objective: str = "latency") -> tuple[Choice, ...]:
    """The best unit and variant of every Einsum, in order; a stored matrix is brought to units outside of the memory.

    Raises:
        BadInput: no unit can run an Einsum, or none is in a memory.
        DoesNotFit: what an Einsum reads and makes is more than the memory of any unit for it holds.
    """
    units = compute_units(arch)
    banks = next((arch.memories[u.memory] for u in units.values() if isinstance(u, PimArray)), None)
    if banks is None:
        raise BadInput(f"{arch.name}: no unit of kind `pim`")
    tiled = has_array(arch)
    found: list[list[Choice]] = []
    for einsum, times in workload.einsums():
        matrix = einsum.inputs[-1].tensor if einsum.inputs else ""  # one that fills a tensor has none
        in_banks = bool(matrix) and stored(workload, matrix)
        offered = [
            offer if isinstance(unit, PimArray) or not in_banks else _brought(offer, workload, matrix, banks)
            for name, unit in units.items()
            if (in_banks if isinstance(unit, PimArray) else tiled or not _short(workload, einsum, arch, unit))
            for offer in _offers(workload, einsum, times, name, unit)
        ]
        if not offered:
            _refuse(workload, einsum, arch)
        found.append(offered)
    costs = [[(c.seconds, c.joules) for c in offered] for offered in found]
    picked = best_options(objective, costs, [offered[0].times for offered in found])
    return tuple(offered[k] for offered, k in zip(found, picked, strict=True))


def has_array(arch: Architecture) -> bool:
    """Whether a unit beside the `pim` ones is made for products: anything but a vector unit."""
    return any(not isinstance(u, PimArray | VectorUnit) for u in compute_units(arch).values())


def _short(workload: Workload, einsum: Einsum, arch: Architecture, unit: ComputeUnit) -> int:
    """Bytes that the memory of a unit is too small for all that an Einsum reads and makes; it runs whole."""
    accesses = dict.fromkeys((*einsum.inputs, einsum.output))
    held = sum(workload.tensors[a.tensor].bytes_of(prod(einsum.sizes[r] for r in a.ranks)) for a in accesses)
    return max(0, held - arch.memories[unit.memory].capacity)


def _refuse(workload: Workload, einsum: Einsum, arch: Architecture) -> NoReturn:
    """Why no unit runs an Einsum: those that could have too small a memory, or there are none."""
    units = compute_units(arch)
    able = [u for n, u in units.items() if not isinstance(u, PimArray) and any(_offers(workload, einsum, 1, n, u))]
    if able:
        unit = min(able, key=lambda u: _short(workload, einsum, arch, u))
        memory, short = arch.memories[unit.memory], _short(workload, einsum, arch, unit)
        raise DoesNotFit(
            f"{memory.name}: {einsum.name} on {unit.name} needs {memory.capacity + short:,} bytes there, "
            f"it has {memory.capacity:,}, {short:,} too few"
        )
    raise BadInput(f"{arch.name}: no unit runs {einsum.name} ({', '.join(units)})")


def _brought(choice: Choice, workload: Workload, matrix: str, memory: Memory) -> Choice:
    """A run while its matrix comes through the pins of the memory: whichever takes longer."""
    nbytes = workload.tensors[matrix].nbytes
    port = memory.port("read")
    seconds = nbytes / port[1] if port is not None else 0.0
    joules = nbytes * memory.action_energy().get("read", 0.0)
    return replace(choice, seconds=max(choice.seconds, seconds), joules=choice.joules + joules)


def _offers(workload: Workload, einsum: Einsum, times: int, name: str, unit: ComputeUnit) -> Iterator[Choice]:
    """A run of an Einsum on a unit, in each of its variants."""
    extents = {r: np.array([n], np.int64) for r, n in einsum.sizes.items()}
    bits = [workload.tensors[a.tensor].bits for a in (*einsum.inputs, einsum.output)]
    energies = unit.action_energy()
    for option in unit.spatial_options(einsum):
        cost = unit.cost(einsum, option, extents, bits)
        actions = {a: int(n.flat[0]) for a, n in cost.actions.items()}
        joules = sum(energies.get(a, 0.0) * n for a, n in actions.items())
        seconds = float((cost.cycles + cost.latency).flat[0]) / unit.clock_hz
        yield Choice(einsum, name, option.variant, times, seconds, joules, actions)


def stored(workload: Workload, tensor: str) -> bool:
    """Whether it is a weight or state, or part of one."""
    return workload.tensors[source_of(workload, tensor)].role in (Role.WEIGHT, Role.STATE)


def map_in_memory(workload: Workload, arch: Architecture, unit: PimArray, objective: str = "latency") -> Mapped:
    """A Mapping onto a machine with a `pim` unit, every Einsum whole; see the package. It has no Claim."""
    banks, chip = unit.memory, unit.operands.get("input", unit.memory)
    picked = {c.einsum.name: c for c in choices(workload, arch, objective)}
    root, lives = whole_tree(workload, picked)
    stays, moves = _tables(workload, picked, lives, banks, chip)
    return Mapped(workload.name, arch.name, root, stays, moves)


def _tables(
    workload: Workload, picked: Mapping[str, Choice], lives: Lives, banks: str, chip: str,
) -> tuple[tuple[Stay, ...], tuple[Move, ...]]:  # fmt: skip
    stays, moves = [], []
    for name in {**lives.made, **lives.used}:
        tensor = workload.tensors[name]
        made, used = lives.made.get(name, []), lives.used.get(name, [])
        bodies = {p[:-1] for p in (*made, *used)}
        stored = tensor.role in STORED or name in lives.carried or len(bodies) > 1
        if stored:
            stays.append(Stay(name, banks, (), ()))
            moves += [Move(name, chip, banks, p, p, buffers=1, store=True) for p in made]
            moves += [
                Move(name, banks, chip, p, p, buffers=1) for p in used if not _in_banks(p, name, workload, picked)
            ]
        else:
            stays.append(Stay(name, chip, made[0], max(used, default=made[0])))
    return tuple(stays), tuple(moves)


def _in_banks(at: Position, name: str, workload: Workload, picked: Mapping[str, Choice]) -> bool:
    """Whether the Op there reads the tensor in the banks: as the matrix of a product."""
    items: tuple[Item, ...] = workload.body
    einsum: Item | None = None
    for step in at:
        if isinstance(step, int):
            einsum = [i for i in items if not isinstance(i, View)][step]
        elif isinstance(einsum, Repeat):
            items = einsum.body
    assert isinstance(einsum, Einsum)
    if not picked[einsum.name].variant.startswith("split"):
        return False
    matrix = einsum.inputs[-1].tensor
    return source_of(workload, matrix) == name
