"""The best plan of one Einsum over units, their spatial options, and all levels of memory between them and its tensors.

Levels are searched from the chip's edge inwards (`stage`): a level's tilings are taken in the order of a lower bound,
in which everything inside a tile costs what it must at least, and the insides of the most promising ones are settled
by the same search one level further in (or by `layouts`, for arrays with registers), until the bound of the next is no
better than what has been found. So the plan is the best of the space, unless more than `NODES` tilings of a level
would have had to be settled: then the plan says that the search was cut short (`Plan.complete`), and one for the least
energy over layouts is made once more, in the order of guesses (`LayoutLeaf.guesses`). What is minimised, at every
level, is a weighted sum of cycles and joules (`..aims`).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from ...arch.architecture import Architecture
from ...arch.layout import Layout
from ...components.base import ComputeUnit, SpatialOption
from ...components.spatial import SpatialArray
from ...components.spreads import best_spreads
from ...ir import Density, Einsum, contraction
from ...ir.signature import signature
from ...lowering.ports import route
from ...mapping.constraints import OpConstraint
from ...mapping.machine_bound import unit_bound
from ..aims import Aim
from .cuts import Space, orders_of
from .layouts import LayoutLeaf
from .leaf import Leaf
from .nest import TIE, Crossing, Found, Hop, Inner, Level, Shortfall, Way
from .operand import Operand
from .stage import Stage

SIZES_PER_RANK = 16
"""Candidate tile sizes of one rank."""
SIZES_AMONG_MANY = 6
"""The same where more than three ranks are tiled."""
SIZES_FOR_ENERGY = 7
"""The same for the least energy, whose estimate tells neighbouring sizes apart."""
WASTE = 0.7
"""Steps that ragged tiles of a rank add at most, as a share, when candidates are thinned."""
MAX_TILED = 4
"""Ranks that are tiled; the others, the smallest, stay whole."""
NODES = 12
"""Tilings of one level whose insides are settled at most."""


@dataclass(frozen=True)
class Plan:
    """How one Einsum runs: the loops of every level, outermost level first, and the unit's layout inside.

    `cycles` and `energy` are the estimates of the model of `stage`; `traffic` in bytes off chip; `working_set` by
    memory; `complete` is False where the search was cut short. `moved` and `computing` as in `Found`.
    """

    unit: str
    variant: str
    layout: Layout | None
    levels: tuple[Level, ...]
    cycles: float
    energy: float
    traffic: int
    working_set: Mapping[str, int]
    complete: bool = True
    moved: Mapping[Crossing, tuple[float, float]] = field(default_factory=dict)
    computing: float = 0.0

    @property
    def loops(self) -> tuple[tuple[str, int], ...]:
        """(rank, tile) of all levels, outermost first."""
        return tuple(loop for level in self.levels for loop in level.loops)


@dataclass(frozen=True)
class Task:
    """What to search for.

    Attributes:
        operands: of each unit, by its name: the tensors with their ways to it.
        bits: of every input and, last, of the output.
        densities: of every input.
        budgets: bytes of each on-chip memory that the Einsum may use.
        levels: memory to its level: 0 outside the chip, 1 next to the edge, and so on.
    """

    einsum: Einsum
    operands: Mapping[str, Sequence[Operand]]
    bits: Sequence[int]
    densities: Sequence[Density]
    budgets: Mapping[str, int]
    levels: Mapping[str, int]
    arch: Architecture
    aim: Aim
    constraint: OpConstraint


def best_plan(task: Task, nodes: int = NODES) -> Plan | Shortfall:
    """The plan of the least sum by the aim over all units and their options.

    Ties (see TIE) go to less energy (of least energy: to fewer cycles), then to the earlier candidate, so that equal
    inputs give equal plans. At most `nodes` tilings of one level have their insides settled, a quarter of them further
    in where tiles may move in pieces (through several levels, but for the least energy).
    """
    best: tuple[tuple[float, float], Plan] | None = None
    short: Shortfall | None = None
    for unit in task.arch.units.values():
        if unit.name not in task.operands or not isinstance(unit, ComputeUnit):
            continue
        if task.constraint.unit and unit.name != task.constraint.unit:
            continue
        for option in _options(unit, task):
            if best is not None and _hopeless(unit, option, task, best[0][0]):
                continue
            found = _best_of(task, unit, option, nodes)
            if isinstance(found, Shortfall):
                short = found if short is None or found.needed < short.needed else short
            elif best is None or _better((found.value, found.tie), best[0], TIE[task.aim.objective]):
                best = (found.value, found.tie), _plan(unit, option, found)
    return best[1] if best else short or Shortfall(0)


def _best_of(task: Task, unit: ComputeUnit, option: SpatialOption, nodes: int) -> Found | Shortfall:
    """The best of one option of a unit."""
    found = _best_in(task, stage_of(task, unit, option, nodes), task.operands[unit.name])
    layouts = task.aim.energy_alone and isinstance(unit, SpatialArray)
    if not layouts or isinstance(found, Shortfall) or found.nest.complete:
        return found
    guessed = _best_in(task, stage_of(task, unit, option, nodes, guesses=True), task.operands[unit.name])
    tie = TIE[task.aim.objective]
    if isinstance(guessed, Shortfall) or not _better((guessed.value, guessed.tie), (found.value, found.tie), tie):
        return found
    return replace(guessed, nest=replace(guessed.nest, complete=False))


def _best_in(task: Task, stage: Stage, operands: Sequence[Operand]) -> Found | Shortfall:
    """The best of a level; a result that stays in the unit's memory is there after the unit's own latency."""
    found = stage.best(dict(task.einsum.sizes))
    if isinstance(found, Shortfall) or any(len(o.chain) > 1 for o in operands if o.is_output):
        return found
    late = stage.late
    work = replace(found.work, edge=found.work.edge + late)
    tie = found.tie + (late if task.aim.energy_alone else 0.0)
    return replace(found, value=found.value + task.aim.cycle * late, tie=tie, work=work)


def _hopeless(unit: ComputeUnit, option: SpatialOption, task: Task, value: float) -> bool:
    """Whether the least that a unit takes in one of its options is worse than a sum by the aim by more than a tie."""
    cycles, joules = unit_bound(unit, task.einsum, task.bits, task.densities, task.arch)
    cycles = max(cycles, unit.least_cycles(task.einsum, option.variant) * float(task.arch.clock) / unit.clock_hz)
    return task.aim.of(cycles, joules) > value * (1 + TIE[task.aim.objective])


def _options(unit: ComputeUnit, task: Task) -> Sequence[SpatialOption]:
    constraint = task.constraint
    options = [o for o in unit.spatial_options(task.einsum) if constraint.variant in (None, o.variant)]
    if not isinstance(unit, SpatialArray):
        return [] if constraint.spread else options
    if constraint.spread and options:
        unknown = constraint.spread.keys() - unit.dimensions.keys()
        spreads = [] if unknown else best_spreads(unit.rules, task.einsum, 1, _fixed(task))
        options = [unit.option(task.einsum, options[0].variant, Layout(s)) for s in spreads]
    return options[:1]  # an array's spreads are part of its layouts


def _fixed(task: Task) -> dict[str, list[str]]:
    """What the user wants along the dimensions of a spatial array, ranks of one point left out."""
    return {d: [r for r in ranks if task.einsum.sizes[r] > 1] for d, ranks in task.constraint.spread.items()}


def stage_of(
    task: Task, unit: ComputeUnit, option: SpatialOption, nodes: int = NODES, *, guesses: bool = False
) -> Stage:
    """The outermost level of an Einsum on a unit in one of its options, with all further ones inside; `guesses` of the
    search for layouts (see `LayoutLeaf`)."""
    einsum, arch = task.einsum, task.arch
    unit = unit.over(einsum, task.densities)
    inner: Inner
    if isinstance(unit, SpatialArray):
        leaf = LayoutLeaf(einsum, unit, option, task.bits, arch)
        leaf.aim, leaf.fixed, leaf.guesses = task.aim, _fixed(task), guesses
        inner = leaf
    else:
        inner = Leaf(einsum, unit, option, task.bits, arch)
    grains = {r: option.layout.factor(r) for r in einsum.sizes} if option.layout else {}
    operands = task.operands[unit.name]
    deepest = max((task.levels[o.chain[-1]] for o in operands), default=1)
    pieces = deepest > 1 and not task.aim.energy_alone
    among_many = SIZES_FOR_ENERGY if task.aim.energy_alone else SIZES_AMONG_MANY
    found: Stage | None = None
    for number in range(max(deepest, 1), 0, -1):
        hops = _hops(task, operands, number)
        if not hops and number > 1:
            continue
        beside = number == 1 and pieces
        space = space_of(
            einsum, operands, task.constraint, grains, innermost=found is None, beside=beside, among_many=among_many
        )
        budgets = {m: b for m, b in task.budgets.items() if any(h.memory == m for h in hops)}
        clock = float(arch.clock)
        settled = nodes // 4 if pieces and number > 1 else nodes
        found = Stage(
            einsum, hops, budgets, space, inner, task.aim, clock, settled, nested=number > 1, pieces=pieces
        )
        inner = found
    assert found is not None
    return found


def _hops(task: Task, operands: Sequence[Operand], number: int) -> list[Hop]:
    """The ways into the memories of a level. Operands that share one are the same tensor, whole on it."""
    found: dict[Way, Hop] = {}
    for operand in operands:
        for far, near in zip(operand.chain, operand.chain[1:], strict=False):
            if task.levels[near] == number:
                ways = route(task.arch, far, near), route(task.arch, near, far)
                hop = Hop(operand, near, *ways, not task.arch.memories[far].on_chip)
                found.setdefault(hop.key, hop)
    return list(found.values())


def _plan(unit: ComputeUnit, option: SpatialOption, found: Found) -> Plan:
    return Plan(
        unit.name,
        option.variant,
        found.nest.layout,
        found.nest.levels,
        float((found.work.cycles + found.work.edge).item()),
        float(found.work.joules.item()),
        found.traffic,
        found.held,
        found.nest.complete,
        found.moved,
        found.computing,
    )


def _better(a: tuple[float, float], b: tuple[float, float], tie: float) -> bool:
    """Whether (sum by the aim, tie) `a` beats `b`: clearly by the sum, or by what decides where that is a tie."""
    if abs(a[0] - b[0]) > tie * min(a[0], b[0]):
        return a[0] < b[0]
    return (a[1], a[0]) < (b[1], b[0])


# -- the space -------------------------------------------------------------------------------------------------------


def _up(size: int, grain: int) -> int:
    return -(-size // grain) * grain


@lru_cache(maxsize=2**12)
def tile_sizes(size: int, limit: int = SIZES_PER_RANK, grain: int = 1) -> Sequence[int]:
    """Candidate tiles of a rank, largest first: whole, equal parts and powers of two.

    Thinned evenly in logarithm; of neighbours the one that leaves least to ragged last tiles is kept. A unit that runs
    `grain` points side by side gets multiples of that, and powers of two below.
    """
    parts = {min(size, _up(-(-size // n), grain)) for n in (1, 2, 3, 4, 6, 8)}
    ordered = sorted(parts | {2**i for i in range(size.bit_length()) if 2**i < size}, reverse=True)
    if len(ordered) <= limit:
        return ordered

    def waste(tile: int) -> float:
        return min(WASTE, -(-size // tile) * -(-tile // grain) / -(-size // grain) - 1)

    wanted = [size ** (1 - i / (limit - 1)) for i in range(limit)]
    kept = {min(ordered, key=lambda s, w=w: (abs(np.log(s / w)) + waste(s), s)) for w in wanted}  # type: ignore[misc]
    return sorted(kept | {1}, reverse=True)


def space_of(
    einsum: Einsum,
    operands: Sequence[Operand],
    constraint: OpConstraint,
    grains: Mapping[str, int],
    *,
    innermost: bool = True,
    beside: bool = False,
    among_many: int = SIZES_AMONG_MANY,
) -> Space:
    """Ranks to tile, with their sizes and the orders of their loops; `grains` of `tile_sizes`, 1 for other ranks;
    `among_many` sizes of each of more than three ranks.

    Tiles that the constraint fixes are those of the innermost level; levels around it have them or larger ones.
    """
    outer, inner = _tiled_ranks(einsum, operands)
    named = dict.fromkeys((*(constraint.order or ()), *constraint.tiles))
    outer += [r for r in named if r not in (*outer, *inner)]
    ranks = outer + inner
    orders = orders_of(outer, inner)
    parts = contraction(einsum) if beside else None
    if parts:  # rows may stand around columns wherever these stand
        orders = orders_of(outer, inner, [r for r in (*outer, *inner) if r in parts.m])
    if constraint.order:
        orders = tuple(p for p in orders_of((), ranks) if constraint.allows(order=p))
    limit = SIZES_PER_RANK if len(ranks) <= 3 else among_many
    groups = _joined_groups(einsum)
    sizes: dict[str, Sequence[int]] = {}
    for r in ranks:
        sizes[r] = [einsum.sizes[r], 1] if r in groups else tile_sizes(einsum.sizes[r], limit, grains.get(r, 1))
        if r in constraint.tiles:
            fixed = constraint.tiles[r]
            sizes[r] = [fixed] if innermost else sorted({fixed, *(s for s in sizes[r] if s > fixed)}, reverse=True)
    return Space(sizes, orders)


def smallest(einsum: Einsum, operands: Sequence[Operand]) -> int:
    """At most the bytes that the smallest tiles of one level take of its memories together."""
    identity = signature(einsum), tuple(o.identity for o in operands)
    return _smallest(Held(identity, einsum, operands))


@dataclass(frozen=True)
class Held:
    """A call of `smallest`; `identity` stands for all of it."""

    identity: Hashable
    einsum: Einsum = field(compare=False)
    operands: Sequence[Operand] = field(compare=False)


@lru_cache(maxsize=2**12)
def _smallest(held: Held) -> int:
    einsum = held.einsum
    tiled = {r for ranks in _tiled_ranks(einsum, held.operands) for r in ranks}
    tile = {r: np.ones(1, np.int64) * (1 if r in tiled else n) for r, n in einsum.sizes.items()}
    # Two buffers, and twice as much for partial results that come and go.
    return sum(4 * int(o.tile_bytes(tile)[0]) for o in held.operands if len(o.chain) > 1)


def _joined_groups(einsum: Einsum) -> set[str]:
    """Groups that share an index with channels, as those of a grouped convolution do: a tile of some of the channels of
    all groups is no box, so that groups are taken whole or one by one."""
    parts = contraction(einsum)
    indices = [i for a in (*einsum.inputs, einsum.output) for i in a.indices]
    return {
        r
        for r in (parts.g if parts else ())
        if any(r in i.ranks and any(einsum.sizes[o] > 1 for o in i.ranks if o != r) for i in indices)
    }


def _tiled_ranks(einsum: Einsum, operands: Sequence[Operand]) -> tuple[list[str], list[str]]:
    """Ranks to tile: those of every operand (outermost), then the others."""
    sizes = einsum.sizes
    groups = _joined_groups(einsum)
    windows = {
        r
        for o in operands
        for a in o.accesses
        for i in a.indices
        if len(i.terms) > 1 and groups.isdisjoint(i.ranks)
        for r in i.ranks
        if r in einsum.reduced_ranks
    }
    able = [r for r, s in sizes.items() if s > 1 and r not in windows]
    shared = [r for r in able if all(r in o.ranks for o in operands)]
    parts = contraction(einsum)
    if parts:
        keep = [
            max(group, key=lambda r: sizes[r])
            for g in (parts.m, parts.n, parts.k)
            if (group := [r for r in g if r in able])
        ]
        more = [r for r in parts.m if r in able and r not in keep]
        inner = keep
        outer = sorted({*(r for r in parts.g if r in able and r not in groups), *more}, key=lambda r: -sizes[r])
    else:
        inner = [r for r in able if r not in shared]
        outer = shared
        if not inner or not einsum.reduced_ranks:
            outer, inner = able, []
    outer = sorted(outer, key=lambda r: -sizes[r])[: max(1, MAX_TILED - len(inner))]
    inner = sorted(inner, key=lambda r: -sizes[r])[:3]
    return [r for r in able if r in groups or r in outer], [r for r in able if r in inner]
