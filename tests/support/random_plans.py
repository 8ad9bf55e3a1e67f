"""Random Einsums, machines and plans of the tile mapper, and what the mapper says of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from math import prod
from random import Random

import numpy as np

from accelsim.arch.architecture import Architecture
from accelsim.arch.component import OPERANDS, Operand
from accelsim.arch.layout import Layout
from accelsim.arch.loader import loads_architecture
from accelsim.components.base import ComputeUnit, SpatialOption
from accelsim.components.spatial import SpatialArray
from accelsim.ir import Access, Affine, Apply, Const, Einsum, Read, Workload, WorkloadBuilder, affine
from accelsim.ir.einsum import Expr
from accelsim.lowering.ports import Route
from accelsim.mappers.aims import AIMS, ENERGY
from accelsim.mappers.tile.cuts import Cut
from accelsim.mappers.tile.nest import Hop, Inner, Lasts, Level, Nest, Shortfall, Way, Work
from accelsim.mappers.tile.network import Network
from accelsim.mappers.tile.operand import Array, Extents
from accelsim.mappers.tile.search import Plan, Task, stage_of
from accelsim.mappers.tile.stage import Stage
from accelsim.mapping.constraints import Constraints

RATES = ("1 GB/s", "3 GB/s", "2.5 GB/s", "0.7 GB/s", "16 GB/s", "unlimited")
ONCE = np.ones(1, np.int64)


# -- machines --------------------------------------------------------------------------------------------------------


def machine(random: Random, *, levels: int | None = None, capacity: str = "1 MiB") -> Architecture:
    """One to three levels of on-chip memory behind a DRAM, some operands with memories of their own, and four units."""
    levels = random.randint(1, 3) if levels is None else levels
    chain = [f"m{i}" for i in range(1, levels + 1)]
    lines = [f"  dram: {{kind: dram, capacity: 1 GiB, {_ports(random)}, {_energies(random)}}}"]
    lines += [
        f"  {m}: {{kind: buffer, capacity: {capacity}, parent: {p}, {_ports(random)}, {_energies(random)}}}"
        for p, m in zip(["dram", *chain], chain, strict=False)
    ]
    fed = [
        _feeds(random, unit, chain, lines, capacity) for unit in ("systolic", "vector", "spatial", "serial")
    ]  # fmt: skip
    link = ""
    if random.random() < 0.3:
        link = (
            f"links:\n  bus: {{kind: link, between: [dram, m1], bandwidth: {random.choice(RATES)}, "
            f"energy: {random.randint(1, 9)} pJ/byte}}\n"
        )
    registers = ", ".join(
        f"{o}: {{capacity: 4 KiB, double_buffered: {str(random.random() < 0.3).lower()}}}"
        for o in OPERANDS
        if random.random() < 0.6
    )
    return loads_architecture(
        f"""
name: machine
clock: 1 GHz
technology: 45 nm
memories:
{chr(10).join(lines)}
{link}units:
  systolic:
    kind: systolic
    {fed[0]}
    rows: {random.randint(1, 3)}
    cols: {random.randint(1, 3)}
    overlap: {str(random.random() < 0.5).lower()}
    {random.choice(["", "accumulators: 64 B"])}
  vector: {{kind: vector, {fed[1]}, lanes: {random.randint(1, 4)}{random.choice(["", ", registers: 16 B"])}}}
  spatial:
    kind: spatial
    {fed[2]}
    dimensions: {{x: {random.randint(1, 3)}, y: {random.randint(1, 3)}}}
    registers: {{{registers}}}
  serial: {{kind: bit_serial, {fed[3]}, rows: 2, cols: 3, dot_width: 2, input_bits: 64}}
""".replace("\n    \n", "\n")
    )


def _ports(random: Random) -> str:
    latency = f", latency: {random.choice([0, 0, 4])} ns"
    if random.random() < 0.4:
        return f"read_bandwidth: {random.choice(RATES)}, write_bandwidth: {random.choice(RATES)}{latency}"
    return f"bandwidth: {random.choice(RATES)}{latency}"


def _energies(random: Random) -> str:
    read, write = random.randint(1, 99), random.randint(1, 99)
    return f"read_energy: {read / 10} pJ/byte, write_energy: {write / 10} pJ/byte"


def _feeds(random: Random, unit: str, chain: Sequence[str], lines: list[str], capacity: str) -> str:
    """The `memory` and `operands` of a unit; private memories are appended to `lines`."""
    own: list[str] = []
    for operand in OPERANDS:
        draw = random.random()
        if draw < 0.2:
            name = f"{unit}_{operand}"
            lines.append(
                f"  {name}: {{kind: buffer, capacity: {capacity}, parent: {random.choice(['dram', *chain])}, "
                f"{_ports(random)}, {_energies(random)}}}"
            )
            own.append(f"{operand}: {name}")
        elif draw < 0.35:
            own.append(f"{operand}: {random.choice(chain)}")
    at = chain[-1] if random.random() < 0.8 else random.choice(chain)
    text = f"memory: {at}, operands: {{{', '.join(own)}}}"
    return text if unit in ("vector", "serial") else text.replace(", operands", "\n    operands")


# -- Einsums ---------------------------------------------------------------------------------------------------------


KINDS = ("product", "product", "convolution", "convolution", "map", "reduction", "pool", "self")


def workload(random: Random, largest: int = 6, kinds: Sequence[str] = KINDS) -> Workload:
    """One small Einsum: a product, a convolution, a sum, a maximum over windows, or an element-wise map."""
    b = WorkloadBuilder("model")
    kind = random.choice(kinds)
    makers: Mapping[str, Callable[[Random, WorkloadBuilder, int], None]] = {
        "product": _product, "convolution": _convolution, "inner convolution": partial(_convolution, padded=False),
        "map": _map, "reduction": _reduction, "pool": _pool, "self": _self_product,
    }  # fmt: skip
    makers[kind](random, b, largest)
    built = b.build()
    tensors = {
        n: replace(t, metadata_bits=random.choice([Fraction(0)] * 4 + [Fraction(1, 16), Fraction(3, 4)]))
        for n, t in built.tensors.items()
    }
    return replace(built, tensors=tensors)


def _bits(random: Random) -> int:
    return random.choice([4, 8, 16, 32])


def _ranks(*names: str) -> tuple[Affine, ...]:
    return tuple(affine(n) for n in names)


def _done(
    random: Random,
    b: WorkloadBuilder,
    expr: Expr | str,
    inputs: Sequence[Access],
    out: Sequence[str],
    sizes: Mapping[str, int],
    reduce: str = "",
) -> None:
    """Append the Einsum with its ranks in any order."""
    order = random.sample(list(sizes), len(sizes))
    mixed = {r: sizes[r] for r in order}
    b.output(b.compute(expr, inputs, out, mixed, reduce=reduce, name="E", out="O", bits=_bits(random)))


def _product(random: Random, b: WorkloadBuilder, largest: int) -> None:
    ranks = {r: random.randint(1, largest) for r in "mnk"}
    batch = ["g"] if random.random() < 0.4 else []
    if batch:
        ranks["g"] = random.randint(1, 4)
    if random.random() < 0.2:
        ranks["j"] = random.randint(2, 3)  # a second rank that is reduced
    more = ["j"] if "j" in ranks else []
    first = random.sample([*batch, "m", "k", *more], 2 + len(batch) + len(more))
    shared = batch if random.random() < 0.5 else []  # otherwise a grouped query: longer rows
    second = random.sample([*shared, "k", "n", *more], 2 + len(shared) + len(more))
    out = random.sample([*batch, "m", "n"], 2 + len(batch))
    a = b.input("A", [ranks[r] for r in first], _bits(random))
    w = b.weight("B", [ranks[r] for r in second], _bits(random))
    _done(random, b, "mul", [Access(a, _ranks(*first)), Access(w, _ranks(*second))], out, ranks, "add")


def _convolution(random: Random, b: WorkloadBuilder, largest: int, *, padded: bool = True) -> None:
    side, window = random.randint(1, largest), random.randint(1, 3)
    stride, dilation = random.choice([1, 1, 2, 3]), random.choice([1, 1, 2])
    flat = random.random() < 0.5
    sizes = {"f": random.randint(1, 4), "c": random.randint(1, 4), "y": side, "r": window}
    groups = random.choice([1, 1, 2, 3])
    positions = [("y", "r")]
    if not flat:
        sizes |= {"x": random.randint(1, 3), "s": random.randint(1, 2)}
        positions.append(("x", "s"))
    pad = random.choice([0, 0, 1]) if padded else 0
    slid = [Affine(((p, stride), (w, dilation)), -pad) for p, w in positions]
    whole = [max(1, 1 + i.bounds(sizes)[1] - pad * random.randint(0, 1)) for i in slid]
    channel, filters, kept = [affine("c")], [affine("f")], ["f"]
    if groups > 1:
        sizes["g"] = groups
        if random.random() < 0.5:
            channel, filters, kept = _ranks("g", "c"), _ranks("g", "f"), ["g", "f"]  # type: ignore[assignment]
        else:
            channel = [Affine((("g", sizes["c"]), ("c", 1)))]
            filters, kept = [affine("g"), affine("f")], ["g", "f"]
    image = b.input("I", [1 + i.bounds(sizes)[1] for i in channel] + whole, _bits(random))
    taps = _ranks("c", *(w for _, w in positions))
    kernel = b.weight("W", [1 + i.bounds(sizes)[1] for i in (*filters, *taps)], _bits(random))
    inputs = [Access(image, (*channel, *slid), 0.0), Access(kernel, (*filters, *taps))]
    _done(random, b, "mul", inputs, [*kept, *(p for p, _ in positions)], sizes, "add")


def _map(random: Random, b: WorkloadBuilder, largest: int) -> None:
    sizes = {r: random.randint(1, largest) for r in "abc"[: random.randint(1, 3)]}
    inputs = []
    for name in "XYZ"[: random.randint(1, 3)]:
        mine = list(sizes) if name == "X" else random.sample(list(sizes), random.randint(1, len(sizes)))
        inputs.append(Access(b.input(name, [sizes[r] for r in mine], _bits(random)), _ranks(*mine)))
    expr: Expr | str = "add" if len(inputs) > 1 else Apply("max", (Read(0), Const(0.0)))
    _done(random, b, expr, inputs, list(sizes), sizes)


def _reduction(random: Random, b: WorkloadBuilder, largest: int) -> None:
    sizes = {r: random.randint(1, largest) for r in "mkj"[: random.randint(2, 3)]}
    inputs = [Access(b.input("X", list(sizes.values()), _bits(random)), _ranks(*sizes))]
    if random.random() < 0.5:
        inputs.append(Access(b.input("Y", [sizes["k"]], _bits(random)), _ranks("k")))
    expr: Expr | str = "mul" if len(inputs) > 1 else Read(0)
    _done(random, b, expr, inputs, ["m"], sizes, random.choice(["add", "max"]))


def _pool(random: Random, b: WorkloadBuilder, largest: int) -> None:
    sizes = {"c": random.randint(1, 3), "y": random.randint(1, largest), "r": random.randint(1, 3)}
    index = Affine((("y", random.randint(1, 3)), ("r", 1)))
    x = b.input("X", (sizes["c"], 1 + index.bounds(sizes)[1]), _bits(random))
    _done(random, b, Read(0), [Access(x, (affine("c"), index))], ["c", "y"], sizes, "max")


def _self_product(random: Random, b: WorkloadBuilder, largest: int) -> None:
    """A tensor that is both operands."""
    sizes = {"m": random.randint(1, largest), "k": random.randint(1, 4)}
    sizes["n"] = sizes["m"]
    x = b.input("X", (sizes["m"], sizes["k"]), _bits(random))
    _done(random, b, "mul", [Access(x, _ranks("m", "k")), Access(x, _ranks("n", "k"))], ["m", "n"], sizes, "add")


# -- plans -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Choice:
    """What was chosen for an Einsum, and how the mapper evaluates it."""

    stage: Stage
    nest: Nest
    plan: Plan


class RandomPlanner:
    """Plans Einsums at random: any unit, option, ranks, tiles, order and cuts. Remembers what it chose."""

    def __init__(self, random: Random, units: Sequence[str] = ()) -> None:
        self.random, self.units = random, units
        self.chosen: list[Choice] = []

    def __call__(self, task: Task) -> Plan | Shortfall:
        able = [
            (unit, options)
            for unit in task.arch.units.values()
            if isinstance(unit, ComputeUnit) and (options := unit.spatial_options(task.einsum))
            and (not self.units or unit.name in self.units)
        ]  # fmt: skip
        if not able:
            return Shortfall(0)
        unit, options = self.random.choice(able)
        option = self.random.choice(options)
        stage = stage_of(task, unit, option)
        nest = self._nest(task, unit, option, stage)
        whole = {r: np.full(1, n, np.int64) for r, n in task.einsum.sizes.items()}
        work = stage.work(nest, whole, ONCE)
        plan = Plan(
            unit.name, option.variant, nest.layout, nest.levels, float((work.cycles + work.edge).item()),
            float(work.joules.item()), 0, held(stage, nest),
        )  # fmt: skip
        self.chosen.append(Choice(stage, nest, plan))
        return plan

    def _nest(self, task: Task, unit: ComputeUnit, option: SpatialOption, stage: Stage) -> Nest:
        left = dict(task.einsum.sizes)
        levels: list[Level] = []
        for one in stages(stage):
            levels.append(self._level(one, left, levels))
            left |= dict(levels[-1].loops)
        layout = self._layout(unit, option, task.einsum) if isinstance(unit, SpatialArray) else None
        return Nest(tuple(levels), layout)

    def _level(self, stage: Stage, extents: Mapping[str, int], around: Sequence[Level]) -> Level:
        ranks = [r for r, n in extents.items() if n > 1]
        loops = []
        for r in self.random.sample(ranks, self.random.randint(0, min(len(ranks), 4))):
            loops.append((r, self.random.randint(1, extents[r] - 1)))
        depth = {h.key: self.random.randint(0, len(loops)) for h in stage.hops}
        for hop in stage.hops:
            if not depth[hop.key] and self.random.random() < 0.7:
                depth[hop.key] = -self.random.randint(0, outside(hop, around))
        slides = [
            h.key
            for h in stage.hops
            if depth[h.key] > 0 and loops[depth[h.key] - 1][0] in h.operand.slides and self.random.random() < 0.7
        ]
        single = [h.key for h in stage.hops if self.random.random() < 0.15]
        return level(stage, tuple(loops), depth, extents, slides, single)

    def _layout(self, unit: SpatialArray, option: SpatialOption, einsum: Einsum) -> Layout:
        """A spread on offer with loops of any order, and everything held somewhere."""
        spread = option.layout
        assert spread is not None
        loops: list[tuple[str, int]] = []
        for r in self.random.sample(list(einsum.sizes), self.random.randint(0, len(einsum.sizes))):
            steps = -(-einsum.sizes[r] // spread.factor(r))
            if steps > 1:
                loops.append((r, spread.factor(r) * self.random.randint(1, steps - 1)))
        holds: dict[Operand, int] = {o: self.random.randint(0, len(loops)) for o in unit.registers}
        return Layout(spread.spreads, tuple(loops), holds)


def outside(hop: Hop, around: Sequence[Level]) -> int:
    """Of how many of the loops around a level a tile of all its extents may be brought outside: they do not change it,
    nor that from which it is taken."""
    loops = [r for one in around for r, _ in one.loops]
    places = hop.operand.chain
    source = hop.operand.tensor, places[places.index(hop.memory) - 1], hop.operand.is_output
    taken, before = 0, 0
    for one in around:
        taken = before + one.depth[source] if source in one.depth else taken
        before += len(one.loops)
    still = 0
    while still < len(loops) - taken and loops[-1 - still] not in hop.operand.ranks:
        still += 1
    return still


def level(
    stage: Stage,
    loops: tuple[tuple[str, int], ...],
    depth: Mapping[Way, int],
    extents: Mapping[str, int],
    slides: Sequence[Way] = (),
    single: Sequence[Way] = (),
) -> Level:
    """A level with two buffers for every tensor, but one for those in `single` and of which there is a single tile."""
    buffers, tile_bytes = {}, {}
    for hop in stage.hops:
        cut = max(0, depth[hop.key])
        here = {r: np.full(1, n, np.int64) for r, n in (dict(extents) | dict(loops[:cut])).items()}
        again = cut or any(extents[r] < n for r, n in stage.einsum.sizes.items())
        buffers[hop.key] = 2 if again and hop.key not in single else 1
        tile_bytes[hop.key] = int(hop.operand.tile_bytes(here).item())
    return Level(loops, depth, buffers, tile_bytes, frozenset(slides))


def stages(stage: Stage) -> list[Stage]:
    """A stage and those inside it, outermost first."""
    found = [stage]
    while isinstance(found[-1].inner, Stage):
        found.append(found[-1].inner)
    return found


# -- what the mapper says --------------------------------------------------------------------------------------------


def held(stage: Stage, nest: Nest) -> dict[str, int]:
    """Bytes of every on-chip memory that the mapper says a plan takes."""
    found: dict[str, int] = defaultdict(int)
    extents = dict(stage.einsum.sizes)
    sums = 1
    trips: list[int] = []
    for one, level in zip(stages(stage), nest.levels, strict=True):
        whole = {r: np.full(1, n, np.int64) for r, n in extents.items()}
        tile = {r: np.full(1, t, np.int64) for r, t in level.loops}
        for hop in one.hops:
            around = [r for r, _ in level.loops[: max(0, level.depth[hop.key])]]
            lasts = {hop.key: ONCE * prod(trips[len(trips) + min(0, level.depth[hop.key]) :])}
            single = level.buffers[hop.key] == 1
            cut = Cut(frozenset(around), around[-1] if hop.key in level.slides else "", single)
            found[hop.memory] += int(one.costs.of(hop, cut, whole, tile, ONCE * sums, lasts).held.item())
        for r, t in level.loops:
            sums *= -(-extents[r] // t) if r in one.reduced else 1
            trips.append(-(-extents[r] // t))
        extents |= dict(level.loops)
    return dict(found)


class _Idle:
    """A unit that does nothing at no cost."""

    exact = True
    late = 0.0

    def bound(self, extents: Extents, sums: Array, lasts: Lasts) -> Work:
        return Work(np.zeros(1), np.zeros(1), np.zeros(1))

    def settle(self, extents: Mapping[str, int], sums: int, lasts: Mapping[Way, int]) -> Nest | Shortfall:
        return Nest()

    def work(self, nest: Nest, extents: Extents, sums: Array, lasts: Lasts) -> Work:
        return self.bound(extents, sums, lasts)


def claimed_bytes(choice: Choice) -> dict[tuple[str, str, str], float]:
    """Bytes by (tensor, memory, direction) that the mapper counts: its joules where one way alone costs 1 J a byte."""
    found: dict[tuple[str, str, str], float] = defaultdict(float)
    chain = stages(choice.stage)
    whole = {r: np.full(1, n, np.int64) for r, n in choice.stage.einsum.sizes.items()}
    for number, one in enumerate(chain):
        for at, hop in enumerate(one.hops):
            places = hop.operand.chain
            far = places[places.index(hop.memory) - 1]
            for load in (True, False):
                priced = _priced(chain, number, at, load)
                amount = float(priced.work(choice.nest, whole, ONCE).joules.item())
                source, target = (far, hop.memory) if load else (hop.memory, far)
                found[hop.operand.tensor, source, "read"] += amount
                found[hop.operand.tensor, target, "write"] += amount
    return {key: amount for key, amount in found.items() if amount}


def _priced(chain: Sequence[Stage], number: int, at: int, load: bool) -> Stage:
    inner: Inner = _Idle()
    for i, one in reversed(list(enumerate(chain))):
        stage = copy(one)
        stage.__dict__.pop("_fixed", None)  # has the prices of its own
        ways = [(1.0 * (i == number and j == at and load), 1.0 * (i == number and j == at and not load))
                for j in range(len(one.hops))]  # fmt: skip
        stage.hops = tuple(_costing(h, *way) for h, way in zip(one.hops, ways, strict=True))
        stage.inner = inner
        inner = stage
    assert isinstance(inner, Stage)
    return inner


def _costing(hop: Hop, load: float, store: float) -> Hop:
    return replace(hop, load=Route((), 0.0, load), store=Route((), 0.0, store))


class _Asked(Exception):
    """A planner was asked."""


def task_of(arch: Architecture, model: Workload, objective: str, constraints: Constraints | None = None) -> Task:
    """What a planner is asked first."""
    asked: list[Task] = []

    def planner(task: Task) -> Plan | Shortfall:
        asked.append(task)
        raise _Asked

    with suppress(_Asked):
        Network(model, arch, AIMS[objective], constraints or Constraints(), planner)
    return asked[0]


# -- cases -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A machine and a model with a random plan in a Network of the tile mapper."""

    arch: Architecture
    workload: Workload
    network: Network
    choice: Choice

    def told(self) -> str:
        """Enough to make a failing case again by hand."""
        einsum = self.choice.stage.einsum
        lines = [
            f"{einsum.name} {dict(einsum.sizes)}: {einsum.output} = {', '.join(map(str, einsum.inputs))}",
            f"bits {[(t.name, t.bits, t.metadata_bits) for t in self.workload.tensors.values()]}",
            f"on {self.choice.plan.unit} as {self.choice.plan.variant}, layout {self.choice.nest.layout}",
            *(f"chain of {h.operand.tensor}: {h.operand.chain}" for s in stages(self.choice.stage) for h in s.hops),
            *(f"loops {x.loops}, depth {dict(x.depth)}" for x in self.choice.nest.levels),
        ]
        return "\n".join(lines)


def case(seed: int) -> Case:
    random = Random(seed)
    arch, model = machine(random), workload(random)
    planner = RandomPlanner(random)
    network = Network(model, arch, ENERGY, Constraints(), planner)
    return Case(arch, model, network, planner.chosen[0])
