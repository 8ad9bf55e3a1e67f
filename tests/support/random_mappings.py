"""Random valid Mappings of small chains of matrix products and element-wise operators, for property tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from accelsim.arch.architecture import Architecture
from accelsim.arch.loader import loads_architecture
from accelsim.ir import Access, Apply, Const, Read, Workload, WorkloadBuilder, affine
from accelsim.mapping.tree import (
    BODY,
    Iterate,
    Loop,
    Mapping,
    Move,
    Node,
    Op,
    Par,
    Pipe,
    Position,
    Seq,
    Stay,
    find,
    format_position,
)

RATES = ("1 GB/s", "3 GB/s", "2.5 GB/s", "0.7 GB/s", "unlimited")


@dataclass(frozen=True)
class Case:
    """A machine, a model, a Mapping, and which rank of which Einsum each loop of the tree cuts."""

    arch: Architecture
    workload: Workload
    mapping: Mapping
    cuts: dict[tuple[str, Position], str]

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        """What hypothesis prints of a failing case: enough to make it again by hand."""
        printer.text(self.told())

    def told(self) -> str:
        m = self.mapping
        memories = {k: (v.bandwidth, v.latency) for k, v in self.arch.memories.items()}
        lines = [f"memories {memories}", f"units {self.arch.units}"]
        lines += [f"{e} {dict(e.sizes)}" for e, _ in self.workload.einsums()]
        lines += [f"tree {m.root}"]
        lines += [
            f"{'store' if x.store else 'load'} {x.tensor} {x.src}->{x.dst} issue {format_position(x.issue)} "
            f"due {format_position(x.due)} x{x.buffers}"
            for x in m.moves
        ]
        lines += [f"stay {s.tensor} in {s.memory}" for s in m.stays]
        return "\n".join(lines)


@dataclass(frozen=True)
class Step:
    """An Einsum of the chain: reads `source` and perhaps `other`, makes the tensor of its own name."""

    name: str
    source: str
    other: str
    product: bool
    row: str
    col: str
    red: str


@dataclass
class Chain:
    """The Einsums of a model."""

    workload: Workload
    steps: list[Step]
    beside: bool
    repeat: int


@dataclass
class _Layout:
    """A tree under construction: positions of Ops, what loops cut, and how results are handed on."""

    draw: DrawFn
    chain: Chain
    cuts: dict[tuple[str, Position], str] = field(default_factory=dict)
    at: dict[str, Position] = field(default_factory=dict)
    group: dict[str, Position] = field(default_factory=dict)
    handed: set[str] = field(default_factory=set)
    """Tensors that go from one stage of a Pipe to the next."""
    local: dict[str, Position] = field(default_factory=dict)
    """Tensors made and used under one loop, and the Seq of the two."""

    def size(self, step: str, rank: str) -> int:
        return next(e.sizes[rank] for e, _ in self.chain.workload.einsums() if e.name == step)

    def nest(self, step: Step, at: Position, ranks: list[str], extents: dict[str, int] | None = None) -> Node:
        """An Op in up to three loops over some of its ranks."""
        left = {r: self.size(step.name, r) for r in ranks} | (extents or {})
        loops: list[tuple[str, int]] = []
        for _ in range(self.draw(st.integers(0, 3)) if ranks else 0):
            rank = self.draw(st.sampled_from(ranks))
            tile = self.draw(st.integers(1, left[rank]))
            left[rank] = tile
            self.cuts[step.name, at] = rank
            loops.append((rank, tile))
            at = (*at, BODY)
        self.at[step.name] = at
        node: Node = Op(step.name, "array" if step.product else "vector", "os" if step.product else "simd")
        for rank, tile in reversed(loops):
            node = Loop(rank, tile, node)
        return node

    def together(self, steps: list[Step], at: Position) -> Node:
        """Several Einsums in one or two loops over their rows: stages of a Pipe, or one after the other."""
        alike = len({s.row for s in steps}) == 1
        pipe = not alike or self.draw(st.booleans())
        rows, tiles = self.size(steps[0].name, steps[0].row), []
        for _ in range(self.draw(st.integers(1, 2))):
            rows = self.draw(st.integers(1, rows))
            tiles.append(rows)
            for s in steps:
                self.cuts[s.name, at] = s.row
            at = (*at, BODY)
        parts: list[list[Step]] = [[s] for s in steps]
        if pipe and len(steps) > 2 and self.draw(st.booleans()):
            k = self.draw(st.integers(0, len(steps) - 2))
            if steps[k + 1].row == steps[0].row:  # names change along Pipes only
                parts[k : k + 2] = [steps[k : k + 2]]
        nodes: list[Node] = []
        for k, part in enumerate(parts):
            here = (*at, k)
            if len(part) == 1:
                nodes.append(self.nest(part[0], here, self.inner(part[0])))
            else:
                nodes.append(Seq(tuple(self.nest(s, (*here, j), self.inner(s)) for j, s in enumerate(part))))
                self.local[part[0].name] = here
            if pipe and k:
                self.handed.add(parts[k - 1][-1].name)
            elif k:
                self.local[parts[k - 1][-1].name] = at
        depths = tuple(self.draw(st.integers(1, 3)) for _ in nodes[1:])
        node: Node = Pipe(tuple(nodes), depths) if pipe else Seq(tuple(nodes))
        for tile in reversed(tiles):
            node = Loop(steps[0].row, tile, node)
        return node

    @staticmethod
    def inner(step: Step) -> list[str]:
        """Ranks that a stage may cut by itself: all but the rows."""
        return [step.col, *([step.red, step.red] if step.product else [])]  # partial results more often


@st.composite
def machines(draw: DrawFn) -> Architecture:
    far = draw(st.booleans())
    beyond = f"  far: {{kind: dram, capacity: 1 MiB, bandwidth: {draw(st.sampled_from(RATES))}}}\n" if far else ""
    parent = "parent: far, " if far else ""
    bandwidth = f"bandwidth: {draw(st.sampled_from(RATES))}"
    if draw(st.integers(0, 3)) == 0:
        read, write = draw(st.sampled_from(RATES)), draw(st.sampled_from(RATES))
        bandwidth = f"read_bandwidth: {read}, write_bandwidth: {write}"
    return loads_architecture(
        f"""
name: machine
clock: 1 GHz
memories:
{beyond}  dram: {{kind: dram, capacity: 1 MiB, {parent}{bandwidth}, latency: {draw(st.sampled_from([0, 0, 3]))} ns}}
  sram: {{kind: buffer, capacity: 1 MiB, parent: dram, bandwidth: unlimited}}
units:
  array:
    kind: systolic
    memory: sram
    rows: {draw(st.integers(1, 3))}
    cols: {draw(st.integers(1, 3))}
    dataflows: [os]
    mac_bits: 8
    overlap: {str(draw(st.booleans())).lower()}
  vector: {{kind: vector, memory: sram, lanes: {draw(st.integers(1, 3))}}}
"""
    )


@st.composite
def chains(draw: DrawFn) -> Chain:
    """Up to four Einsums, each of which reads the one before; perhaps one beside them, perhaps all in a Repeat."""
    b = WorkloadBuilder("chain", bits=8)
    rows, width = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    repeat = draw(st.sampled_from([0, 0, 0, 2, 3]))
    same_rows = draw(st.booleans())
    steps: list[Step] = []

    def fill() -> bool:
        nonlocal width
        source = b.input("T", (rows, width))
        adds: dict[int, str] = {}
        for i in range(draw(st.integers(1, 4))):
            row, col, red = draw(st.permutations(["m", "n", "k"]))
            if same_rows:
                row, col, red = "m", *draw(st.permutations(["n", "k"]))
            kind = draw(st.sampled_from(["product", "map", "add"]))
            name = f"S{i}"
            if kind == "product":
                out = draw(st.integers(1, 5))
                other = b.weight(f"W{i}", (width, out))
                inputs = [Access(source, (affine(row), affine(red))), Access(other, (affine(red), affine(col)))]
                sizes = {row: rows, col: out, red: width}
                result = b.compute("mul", inputs, [row, col], sizes, reduce="add", name=name, out=name)
                width = out
            else:
                sizes = {row: rows, col: width}
                inputs = [Access(source, (affine(row), affine(col)))]
                other = ""
                if kind == "add":
                    other = adds.get(width) or b.input(f"X{i}", (rows, width))
                    adds[width] = other
                    inputs.append(Access(other, (affine(row), affine(col))))
                expr = "add" if other else Apply("max", (Read(0), Const(0.0)))
                result = b.compute(expr, inputs, [row, col], sizes, name=name, out=name)
            steps.append(Step(name, source, other, kind == "product", row, col, red))
            source = result
        b.output(source)
        if draw(st.integers(0, 2)) == 0:
            size = draw(st.integers(1, 6))
            z = b.input("Z", (size,))
            access = Access(z, (affine("i"),))
            b.output(b.compute("exp", [access], ["i"], {"i": size}, name="Y", out="Y"))
            return True
        return False

    if repeat:
        with b.repeat("layer", repeat):
            beside = fill()
    else:
        beside = fill()
    return Chain(b.build(), steps, beside, repeat)


@st.composite
def cases(draw: DrawFn) -> Case:
    arch, chain = draw(machines()), draw(chains())
    layout = _Layout(draw, chain)
    top: Position = (BODY,) if chain.repeat else ()
    nodes: list[Node] = []
    rest = list(chain.steps)
    beside = draw(st.integers(0, len(rest) - 1)) if chain.beside else -1
    while rest:
        taken = draw(st.integers(1, len(rest)))
        group, rest = rest[:taken], rest[taken:]
        here = (*top, len(nodes))
        inside = chain.beside and len(nodes) <= beside < len(nodes) + taken and "Y" not in layout.at
        at = (*here, 0) if inside else here
        if taken > 1:
            node = layout.together(group, at)
        else:
            step = group[0]
            node = layout.nest(step, at, [step.row, *layout.inner(step)])
        for step in group:
            layout.group[step.name] = at
        if inside:
            other = Step("Y", "Z", "", False, "i", "i", "")
            node = Par((node, layout.nest(other, (*here, 1), ["i"])))
            layout.group["Y"] = (*here, 1)
        nodes.append(node)
    if chain.beside and "Y" not in layout.at:
        here = (*top, len(nodes))
        nodes.append(layout.nest(Step("Y", "Z", "", False, "i", "i", ""), here, ["i"]))
        layout.group["Y"] = here
    root: Node = Seq(tuple(nodes))
    if chain.repeat:
        root = Iterate("layer", chain.repeat, root)
    tables = _Tables(draw, layout, arch, root, top)
    order = draw(st.permutations(tables.moves))
    mapping = Mapping("chain", "machine", root, tuple(tables.stays), tuple(order))
    return Case(arch, chain.workload, mapping, layout.cuts)


class _Tables:
    """Stays and Moves that fit a tree, drawn at random."""

    def __init__(self, draw: DrawFn, layout: _Layout, arch: Architecture, root: Node, body: Position) -> None:
        self._draw, self._layout, self._root, self._body = draw, layout, root, body
        self.stays: list[Stay] = []
        self.moves: list[Move] = []
        steps = layout.chain.steps
        self._readers: dict[str, list[str]] = {}
        for step in steps:
            for tensor in (step.source, step.other):
                if tensor:
                    self._readers.setdefault(tensor, []).append(step.name)
        if layout.chain.beside:
            self._readers["Z"] = ["Y"]
        self._made = {s.name for s in steps} | {"Y"}
        self._outer = "far" if "far" in arch.memories else "dram"
        for tensor, users in self._readers.items():
            if tensor not in self._made:
                self._given(tensor, users)
        for step in [*steps, *([Step("Y", "Z", "", False, "i", "i", "")] if layout.chain.beside else [])]:
            if step.name in layout.handed:
                continue
            if step.name in self._readers:
                self._passed(step.name, readers_of(steps, step.name))
            else:
                self._result(step.name)

    def _buffers(self) -> int:
        return self._draw(st.integers(1, 3))

    def _between(self, low: Position, high: Position) -> Position:
        """A position from `low` down to `high`, which comes up most."""
        return high if self._draw(st.booleans()) else high[: self._draw(st.integers(len(low), len(high)))]

    def _loads(self, tensor: str, due: Position, earliest: Position | None, top: Position = ()) -> None:
        """From the home of a tensor, cut at `top` or below; issued in `earliest`, or at any time when that is None."""
        draw = self._draw
        issue = self._between(earliest if earliest is not None else (), due)
        seqs = [due[:n] for n in range(len(due)) if isinstance(find(self._root, due[:n]), Seq)]
        if earliest is None and seqs and draw(st.booleans()):
            seq = draw(st.sampled_from(seqs))  # while an earlier child of it runs
            issue = (*seq, draw(st.integers(0, int(due[len(seq)]))))
        self.moves.append(Move(tensor, "dram", "sram", issue, due, self._buffers()))
        if self._outer == "far" and tensor not in self._made:
            cut = self._between(top, due)
            self.moves.append(Move(tensor, "far", "dram", self._between((), cut), cut, self._buffers()))

    def _given(self, tensor: str, users: list[str]) -> None:
        """What is there before: loaded for all its users in a group at once, or for each by itself."""
        layout = self._layout
        self.stays.append(Stay(tensor, self._outer, (), ()))
        lonely = len(users) == 1
        while users:
            here = [u for u in users if layout.group[u] == layout.group[users[0]]]
            users = [u for u in users if u not in here]
            common = _common([layout.at[u] for u in here])
            if len(here) > 1 and self._draw(st.booleans()):
                self._loads(tensor, self._between(layout.group[here[0]], common), None, layout.group[here[0]])
                continue
            for user in here:  # each on its own, below where it parts from the others
                shared = [len(_common([layout.at[user], layout.at[other]])) for other in here if other != user]
                low = layout.at[user][: max(shared) + 1] if shared else layout.group[user]
                self._loads(tensor, self._between(low, layout.at[user]), None, () if lonely else low)

    def _passed(self, tensor: str, reader: str) -> None:
        """What one step makes for another: it stays, or goes to the memory behind and comes back."""
        layout, at = self._layout, self._layout.at[tensor]
        if self._draw(st.booleans()):
            self.stays.append(Stay(tensor, "sram", (), ()))
            return
        self.stays.append(Stay(tensor, "dram", (), ()))
        inside = layout.local.get(tensor)
        low = at[: len(inside) + 1] if inside is not None else layout.group[tensor]
        issue = self._between(low, at)
        due = self._between(low, issue)
        self.moves.append(Move(tensor, "sram", "dram", issue, due, self._buffers(), store=True))
        to = layout.at[reader]
        low = to[: len(inside) + 1] if inside is not None else layout.group[reader]
        self._loads(tensor, self._between(low, to), low)

    def _result(self, tensor: str) -> None:
        """What nothing reads goes home."""
        draw, body, at = self._draw, self._body, self._layout.at[tensor]
        self.stays.append(Stay(tensor, self._outer, (), ()))
        issue = self._between(self._layout.group[tensor], at)
        due = self._between((), issue)
        if self._outer == "dram" and draw(st.booleans()):  # while a later child runs
            last = len(find(self._root, body).children) - 1  # type: ignore[union-attr]
            due = (*body, draw(st.integers(int(issue[len(body)]), last))) if len(issue) > len(body) else due
        self.moves.append(Move(tensor, "sram", "dram", issue, due, self._buffers(), store=True))
        if self._outer == "far":
            cut = self._between(self._layout.group[tensor], issue)
            due = self._between((), cut)
            self.moves.append(Move(tensor, "dram", "far", cut, due, self._buffers(), store=True))


def _common(positions: list[Position]) -> Position:
    """The longest position around all of them."""
    first = positions[0]
    n = next((i for i in range(len(first)) if len({p[: i + 1] for p in positions}) > 1), len(first))
    return first[:n]


def readers_of(steps: list[Step], tensor: str) -> str:
    return next(s.name for s in steps if s.source == tensor)
