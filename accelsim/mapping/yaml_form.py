"""The YAML form of a Mapping: what it looks like, and how it is read.

::

    workload: resnet50
    architecture: edge
    root:
      seq:
      - loop: {rank: m, tile: 64}
        body:
          loop: {rank: n, tile: 32}
          body: {op: conv1, unit: array, variant: os}
      - iterate: {repeat: layer, count: 12}
        body:
          pipe:
            depths: [2]
            stages:
            - {op: QK, unit: array, variant: os}
            - {op: softmax, unit: vector, variant: simd}
    stays:
    - {tensor: w1, memory: dram}
    - {tensor: a1, memory: sram, from: "0", to: "1", address: 0}
    moves:
    - {tensor: w1, from: dram, to: sram, issue: "0", due: 0.body}
    - {tensor: y, from: sram, to: dram, issue: "1", due: "1", buffers: 1, store: true}
    claim: {objective: latency, value: 5200.0, bound: 4800.0, gap: 0.077, mapper: tile}

An Op on a unit whose elements have loops and registers of their own carries its layout (`arch.layout`)::

    {op: conv1, unit: pes, variant: spatial, spread: [{rank: m, along: rows, factor: 16}],
     loops: [{rank: c, tile: 8}, {rank: m, tile: 16}], hold: {weight: 1, output: 0}}

An Op may find and leave tiles in registers of its unit, and make its result in the place of an operand::

    {op: SLN, unit: array, variant: elementwise, registers: [QK, SLN], over: QK}

A Loop with a halo adds how its boxes end, and a Stay in the place of another one which, and what waits beside it::

    loop: {rank: p, tile: 7, halo: clipped}
    - {tensor: a2, memory: sram, from: "1", to: "2", over: a1, aside: 784}

A Stay of a part of each tile says which::

    - {tensor: scores, memory: sram, from: "0.body", to: "0.body", share: 3/4}

A Move in pieces says where these are used, and a Pipe which of its stages, counted from 0, take over pieces::

    - {tensor: w2, from: dram, to: sram, issue: "1", due: "1", buffers: 9, pieces: 1.body, ring: true, after: y}
    - {tensor: y, from: sram, to: dram, issue: 1.body, due: "1", buffers: 4, store: true, ring: true}
    pipe: {depths: [2], pieces: [1], stages: [...]}

A Mapping onto a pool of cores has ``phases`` (module `phases`) in place of the tree and the tables.

Positions are those of `tree`; a Stay without `from` and `to` lasts for the whole run. Defaults are not written.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

from ..arch.component import OPERANDS
from ..arch.layout import Layout, Spread
from ..files import read_text, write_text
from ..text.fields import Reader
from ..text.names import nearest
from ..text.nodes import Items, Scalar, Table
from ..text.nodes import Node as YamlNode
from .phases import read_phases
from .tree import (
    BODY,
    HALOS,
    WHOLE,
    Claim,
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
    parse_position,
)
from .yaml_text import dumps

_KINDS = {
    "op": "{op: conv1, unit: array, variant: os}",
    "loop": "{loop: {rank: m, tile: 64}, body: ...}",
    "iterate": "{iterate: {repeat: layer, count: 12}, body: ...}",
    "seq": "{seq: [...]}",
    "pipe": "{pipe: {depths: [2], stages: [...]}}",
    "par": "{par: [...]}",
}
_MAPPING = "{workload: resnet50, architecture: edge, root: {seq: [...]}}"
_STAY = '{tensor: w1, memory: sram, from: "0", to: "3", address: 0}'
_MOVE = '{tensor: w1, from: dram, to: sram, issue: "0", due: "0.body"}'
_CLAIM = "{objective: latency, value: 1000.0, bound: 900.0, gap: 0.1}"


def loads(text: str, name: str = "mapping") -> Mapping:
    """Read a Mapping from YAML text.

    Args:
        text: one YAML document.
        name: what messages call it.

    Raises:
        SpecError: with everything that is wrong, each with its line and the nearest valid key.
    """
    reader = Reader(text, name)
    phased = isinstance(reader.root, Table) and "phases" in reader.root.entries
    body = ("phases",) if phased else ("root",)
    optional = ("claim",) if phased else ("stays", "moves", "claim")
    top = reader.table(reader.root, "", ("workload", "architecture", *body), optional, _MAPPING)
    mapping = Mapping(
        reader.text(top.get("workload"), "workload"),
        reader.text(top.get("architecture"), "architecture"),
        _node(reader, top["root"], ()) if "root" in top else Seq(()),
        tuple(_read_stay(reader, n, f"stays[{i}]") for i, n in enumerate(reader.items(top.get("stays"), "stays"))),
        tuple(_read_move(reader, n, f"moves[{i}]") for i, n in enumerate(reader.items(top.get("moves"), "moves"))),
        _read_claim(reader, top["claim"]) if "claim" in top else None,
        read_phases(reader, top["phases"]) if "phases" in top else None,
    )
    reader.finish()
    return mapping


def _path(at: Position) -> str:
    return ".".join(("root", *map(str, at)))


def _node(reader: Reader, node: YamlNode, at: Position) -> Node:
    """A node of the tree; what is wrong with it is reported, and an empty Seq takes its place."""
    path = _path(at)
    keys = [*node.entries] if isinstance(node, Table) else []
    kinds = [key for key in _KINDS if key in keys]
    if len(kinds) != 1:
        near = {nearest(k, _KINDS) for k in keys if nearest(k, _KINDS).startswith("did")} if not kinds else set()
        hint = near.pop() if len(near) == 1 else "such as " + _KINDS[kinds[0] if kinds else "op"]
        what = f"is {' and '.join(kinds)} at once" if kinds else f"must have one of the keys {', '.join(_KINDS)}"
        reader.problem(node.line, path, what, hint)
        return Seq(())
    return _READERS[kinds[0]](reader, node, at)


def _read_op(reader: Reader, node: YamlNode, at: Position) -> Node:
    path = _path(at)
    optional = ("spread", "loops", "hold", "registers", "over")
    found = reader.table(node, path, ("op", "unit", "variant"), optional, _KINDS["op"])
    einsum, unit, variant = (reader.text(found.get(key), f"{path}.{key}") for key in ("op", "unit", "variant"))
    items = reader.items(found["registers"], f"{path}.registers") if "registers" in found else ()
    held = tuple(reader.text(item, f"{path}.registers[{i}]") for i, item in enumerate(items))
    over = reader.text(found["over"], f"{path}.over") if "over" in found else ""
    return Op(einsum, unit, variant, _read_layout(reader, found, path), held, over)


def _read_layout(reader: Reader, found: dict[str, YamlNode], path: str) -> Layout | None:
    if not {"spread", "loops", "hold"} & set(found):
        return None
    spreads: list[Spread] = []
    for i, node in enumerate(reader.items(found.get("spread"), f"{path}.spread")):
        here = f"{path}.spread[{i}]"
        example = "{rank: m, along: rows, factor: 16}"
        cell = reader.table(node, here, ("rank", "along", "factor"), ("through",), example)
        spreads.append(
            Spread(
                reader.text(cell.get("rank"), f"{here}.rank"),
                reader.text(cell.get("along"), f"{here}.along"),
                reader.integer(cell.get("factor"), f"{here}.factor", least=1),
                reader.text(cell["through"], f"{here}.through") if "through" in cell else None,
            )
        )
    loops: list[tuple[str, int]] = []
    for i, node in enumerate(reader.items(found.get("loops"), f"{path}.loops")):
        here = f"{path}.loops[{i}]"
        cell = reader.table(node, here, ("rank", "tile"), (), "{rank: m, tile: 16}")
        loops.append((reader.text(cell.get("rank"), f"{here}.rank"),
                      reader.integer(cell.get("tile"), f"{here}.tile", least=1)))  # fmt: skip
    hold: dict[str, YamlNode] = {}
    if "hold" in found:
        hold = reader.table(found["hold"], f"{path}.hold", (), OPERANDS, "{weight: 2, output: 1}")
    holds = {o: reader.integer(hold[o], f"{path}.hold.{o}", least=0) for o in OPERANDS if o in hold}
    return Layout(tuple(spreads), tuple(loops), holds)


def _read_loop(reader: Reader, node: YamlNode, at: Position) -> Node:
    path = _path(at)
    found = reader.table(node, path, ("loop", BODY), (), _KINDS["loop"])
    head: dict[str, YamlNode] = {}
    if "loop" in found:
        head = reader.table(found["loop"], f"{path}.loop", ("rank", "tile"), ("halo",), "{rank: m, tile: 64}")
    halo = reader.text(head["halo"], f"{path}.loop.halo") if "halo" in head else ""
    if halo not in ("", *HALOS):
        reader.problem(head["halo"].line, f"{path}.loop.halo", f"`{halo[:40]}`", nearest(halo, HALOS))
    return Loop(
        reader.text(head.get("rank"), f"{path}.loop.rank"),
        reader.integer(head.get("tile"), f"{path}.loop.tile", least=1),
        _node(reader, found[BODY], (*at, BODY)) if BODY in found else Seq(()),
        next((known for known in HALOS if known == halo), ""),
    )


def _read_iterate(reader: Reader, node: YamlNode, at: Position) -> Node:
    path = _path(at)
    found = reader.table(node, path, ("iterate", BODY), (), _KINDS["iterate"])
    head: dict[str, YamlNode] = {}
    if "iterate" in found:
        example = "{repeat: layer, count: 12}"
        head = reader.table(found["iterate"], f"{path}.iterate", ("repeat", "count"), ("start",), example)
    return Iterate(
        reader.text(head.get("repeat"), f"{path}.iterate.repeat"),
        reader.integer(head.get("count"), f"{path}.iterate.count", least=1),
        _node(reader, found[BODY], (*at, BODY)) if BODY in found else Seq(()),
        reader.integer(head.get("start"), f"{path}.iterate.start", least=0),
    )


def _children(reader: Reader, node: YamlNode | None, path: str, at: Position) -> tuple[Node, ...]:
    return tuple(_node(reader, item, (*at, i)) for i, item in enumerate(reader.items(node, path)))


def _read_seq(reader: Reader, node: YamlNode, at: Position) -> Node:
    found = reader.table(node, _path(at), ("seq",), (), _KINDS["seq"])
    return Seq(_children(reader, found.get("seq"), f"{_path(at)}.seq", at))


def _read_par(reader: Reader, node: YamlNode, at: Position) -> Node:
    found = reader.table(node, _path(at), ("par",), (), _KINDS["par"])
    return Par(_children(reader, found.get("par"), f"{_path(at)}.par", at))


def _read_pipe(reader: Reader, node: YamlNode, at: Position) -> Node:
    path = f"{_path(at)}.pipe"
    found = reader.table(node, _path(at), ("pipe",), (), _KINDS["pipe"])
    if "pipe" not in found:
        return Seq(())
    head = reader.table(found["pipe"], path, ("stages",), ("depths", "pieces"), "{depths: [2], stages: [...]}")
    stages = _children(reader, head.get("stages"), f"{path}.stages", at)
    items = reader.items(head.get("depths"), f"{path}.depths")
    depths = tuple(reader.integer(n, f"{path}.depths[{i}]", least=1) for i, n in enumerate(items))
    if len(depths) != max(0, len(stages) - 1) and "stages" in head:
        line = head["depths"].line if "depths" in head else found["pipe"].line
        reader.problem(line, f"{path}.depths", f"{len(depths)} depths between {len(stages)} stages",
                       "one for each stage but the first")  # fmt: skip
    items = reader.items(head.get("pieces"), f"{path}.pieces")
    pieces = tuple(reader.integer(n, f"{path}.pieces[{i}]", least=1) for i, n in enumerate(items))
    for i, stage in enumerate(pieces):
        if stage in pieces[:i]:
            reader.problem(items[i].line, f"{path}.pieces[{i}]", f"stage {stage} stands here twice", "every stage once")
    return Pipe(stages, depths, pieces)


_READERS: dict[str, Callable[[Reader, YamlNode, Position], Node]] = {
    "op": _read_op,
    "loop": _read_loop,
    "iterate": _read_iterate,
    "seq": _read_seq,
    "pipe": _read_pipe,
    "par": _read_par,
}


def _position(reader: Reader, node: YamlNode | None, path: str) -> Position:
    if node is None:
        return ()
    if isinstance(node, Scalar):
        at = parse_position(node.text)
        if all(isinstance(step, int) or step == BODY for step in at):
            return at
    shown = f"`{node.text[:40]}` is not a position" if isinstance(node, Scalar) else "must be a position"
    reader.problem(node.line, path, shown, f"numbers of children and `{BODY}`, such as \"3.{BODY}\"; the root is \".\"")
    return ()


def _read_stay(reader: Reader, node: YamlNode, path: str) -> Stay:
    optional = ("from", "to", "address", "iterations", "over", "aside", "share")
    found = reader.table(node, path, ("tensor", "memory"), optional, _STAY)
    iterations: tuple[int, int] | None = None
    if "iterations" in found:
        items = reader.items(found["iterations"], f"{path}.iterations")
        if len(items) == 2:
            first = reader.integer(items[0], f"{path}.iterations", least=0)
            iterations = first, reader.integer(items[1], f"{path}.iterations", least=1)
        elif isinstance(found["iterations"], Items):
            reader.problem(found["iterations"].line, f"{path}.iterations", "must be [first, number]", "such as [0, 4]")
    return Stay(
        reader.text(found.get("tensor"), f"{path}.tensor"),
        reader.text(found.get("memory"), f"{path}.memory"),
        _position(reader, found.get("from"), f"{path}.from"),
        _position(reader, found.get("to"), f"{path}.to"),
        reader.integer(found["address"], f"{path}.address", least=0) if "address" in found else None,
        iterations,
        reader.text(found["over"], f"{path}.over") if "over" in found else "",
        reader.integer(found.get("aside"), f"{path}.aside", least=0),
        _share(reader, found["share"], f"{path}.share") if "share" in found else WHOLE,
    )


def _share(reader: Reader, node: YamlNode, path: str) -> Fraction:
    with suppress(ValueError, ZeroDivisionError):
        share = Fraction(reader.text(node, path))
        if 0 < share <= 1:
            return share
    reader.problem(node.line, path, "is no part of a tile", "above 0 and at most 1, such as 3/4")
    return WHOLE


def _read_move(reader: Reader, node: YamlNode, path: str) -> Move:
    required = ("tensor", "from", "to", "issue", "due")
    optional = ("buffers", "store", "sliding", "pieces", "ring", "after")
    found = reader.table(node, path, required, optional, _MOVE)
    return Move(
        reader.text(found.get("tensor"), f"{path}.tensor"),
        reader.text(found.get("from"), f"{path}.from"),
        reader.text(found.get("to"), f"{path}.to"),
        _position(reader, found.get("issue"), f"{path}.issue"),
        _position(reader, found.get("due"), f"{path}.due"),
        reader.integer(found.get("buffers"), f"{path}.buffers", least=1, default=2),
        reader.boolean(found.get("store"), f"{path}.store", False),
        reader.boolean(found.get("sliding"), f"{path}.sliding", False),
        _position(reader, found["pieces"], f"{path}.pieces") if "pieces" in found else None,
        reader.boolean(found.get("ring"), f"{path}.ring", False),
        reader.text(found["after"], f"{path}.after") if "after" in found else "",
    )


def _read_claim(reader: Reader, node: YamlNode) -> Claim:
    required = ("objective", "value", "bound", "gap")
    found = reader.table(node, "claim", required, ("seed", "seconds", "complete", "mapper"), _CLAIM)
    value, bound, gap, seconds = (
        reader.number(found.get(key), f"claim.{key}") for key in ("value", "bound", "gap", "seconds")
    )
    return Claim(
        reader.text(found.get("objective"), "claim.objective"),
        value,
        bound,
        gap,
        reader.integer(found.get("seed"), "claim.seed", least=0),
        seconds,
        reader.boolean(found.get("complete"), "claim.complete", True),
        reader.text(found.get("mapper"), "claim.mapper") if "mapper" in found else "",
    )


def load(path: str | Path) -> Mapping:
    """Read a Mapping file. Raises SpecError with everything that is wrong."""
    return loads(read_text(path), str(path))


def save(mapping: Mapping, path: str | Path) -> None:
    """Write a Mapping file whole or not at all. Raises BadInput if it cannot be written."""
    write_text(path, dumps(mapping))
