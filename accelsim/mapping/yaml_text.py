"""A Mapping as YAML text, in the form that `yaml_form` describes and reads."""

from __future__ import annotations

from ..arch.component import OPERANDS
from ..arch.layout import Layout
from ..text.plain import quoted
from .phases import phase_lines
from .tree import (
    BODY,
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
    format_position,
)


def dumps(mapping: Mapping) -> str:
    """The YAML form; `yaml_form.loads` reads it back to an equal Mapping.

    Equal Mappings have equal texts but for claims.
    """
    lines = [f"workload: {quoted(mapping.workload)}", f"architecture: {quoted(mapping.architecture)}"]
    if mapping.phases is not None:
        lines += phase_lines(mapping.phases)
    else:
        lines.append("root:")
        _write(mapping.root, 2, lines)
    if mapping.stays:
        lines.append("stays:")
        lines += [f"- {{{_stay(s)}}}" for s in mapping.stays]
    if mapping.moves:
        lines.append("moves:")
        lines += [f"- {{{_move(m)}}}" for m in mapping.moves]
    if mapping.claim is not None:
        lines.append(f"claim: {{{_claim(mapping.claim)}}}")
    return "\n".join(lines) + "\n"


def _write(node: Node, indent: int, lines: list[str]) -> None:
    """Append the lines of a node, all indented by so many blanks."""
    pad = " " * indent
    match node:
        case Op():
            op = f"op: {quoted(node.einsum)}, unit: {quoted(node.unit)}, variant: {quoted(node.variant)}"
            held = f", registers: [{', '.join(map(quoted, node.registers))}]" if node.registers else ""
            over = f", over: {quoted(node.over)}" if node.over else ""
            lines.append(f"{pad}{{{op}{_layout(node.layout)}{held}{over}}}")
        case Loop():
            halo = f", halo: {node.halo}" if node.halo else ""
            lines.append(f"{pad}loop: {{rank: {quoted(node.rank)}, tile: {node.tile}{halo}}}")
            _write_body(node.body, indent, lines)
        case Iterate():
            start = f", start: {node.start}" if node.start else ""
            lines.append(f"{pad}iterate: {{repeat: {quoted(node.repeat)}, count: {node.count}{start}}}")
            _write_body(node.body, indent, lines)
        case Seq() | Par():
            _write_list("seq" if isinstance(node, Seq) else "par", node.children, indent, lines)
        case Pipe():
            lines.append(f"{pad}pipe:")
            if node.depths:
                lines.append(f"{pad}  depths: [{', '.join(map(str, node.depths))}]")
            if node.pieces:
                lines.append(f"{pad}  pieces: [{', '.join(map(str, node.pieces))}]")
            _write_list("stages", node.children, indent + 2, lines)


def _write_body(body: Node, indent: int, lines: list[str]) -> None:
    lines.append(f"{' ' * indent}body:")
    _write(body, indent + 2, lines)
    if isinstance(body, Op):
        value = lines.pop().strip()
        lines[-1] += f" {value}"


def _write_list(key: str, children: tuple[Node, ...], indent: int, lines: list[str]) -> None:
    pad = " " * indent
    lines.append(f"{pad}{key}:" if children else f"{pad}{key}: []")
    for child in children:
        first = len(lines)
        _write(child, indent + 2, lines)
        lines[first] = f"{pad}- {lines[first].lstrip()}"


def _layout(layout: Layout | None) -> str:
    if layout is None:
        return ""
    spread = ", ".join(
        f"{{rank: {quoted(s.rank)}, along: {quoted(s.dimension)}, factor: {s.factor}"
        + ("}" if s.through is None else f", through: {quoted(s.through)}}}")
        for s in layout.spreads
    )
    loops = ", ".join(f"{{rank: {quoted(rank)}, tile: {tile}}}" for rank, tile in layout.loops)
    hold = ", ".join(f"{o}: {layout.holds[o]}" for o in OPERANDS if o in layout.holds)
    parts = ((f"spread: [{spread}]", spread), (f"loops: [{loops}]", loops), (f"hold: {{{hold}}}", hold))
    shown = [text for text, any_ in parts if any_] or ["spread: []"]
    return ", " + ", ".join(shown)


def _at(position: Position) -> str:
    """A position, in quotes where YAML might take it for a number."""
    text = format_position(position)
    return text if position and position[-1] == BODY else f'"{text}"'


def _stay(stay: Stay) -> str:
    parts = [f"tensor: {quoted(stay.tensor)}", f"memory: {quoted(stay.memory)}"]
    parts += [f"{key}: {_at(p)}" for key, p in (("from", stay.start), ("to", stay.end)) if p]
    if stay.address is not None:
        parts.append(f"address: {stay.address}")
    if stay.iterations is not None:
        parts.append(f"iterations: [{stay.iterations[0]}, {stay.iterations[1]}]")
    if stay.over:
        parts.append(f"over: {quoted(stay.over)}")
    if stay.aside:
        parts.append(f"aside: {stay.aside}")
    if stay.share != WHOLE:
        parts.append(f"share: {stay.share}")
    return ", ".join(parts)


def _move(move: Move) -> str:
    parts = [
        f"tensor: {quoted(move.tensor)}",
        f"from: {quoted(move.src)}",
        f"to: {quoted(move.dst)}",
        f"issue: {_at(move.issue)}",
        f"due: {_at(move.due)}",
    ]
    if move.buffers != 2:
        parts.append(f"buffers: {move.buffers}")
    if move.store:
        parts.append("store: true")
    if move.sliding:
        parts.append("sliding: true")
    if move.pieces is not None:
        parts.append(f"pieces: {_at(move.pieces)}")
    if move.ring:
        parts.append("ring: true")
    if move.after:
        parts.append(f"after: {quoted(move.after)}")
    return ", ".join(parts)


def _claim(claim: Claim) -> str:
    parts = [f"objective: {quoted(claim.objective)}"]
    parts += [f"{key}: {_number(getattr(claim, key))}" for key in ("value", "bound", "gap")]
    if claim.seed:
        parts.append(f"seed: {claim.seed}")
    if claim.seconds:
        parts.append(f"seconds: {_number(claim.seconds)}")
    if not claim.complete:
        parts.append("complete: false")
    if claim.mapper:
        parts.append(f"mapper: {quoted(claim.mapper)}")
    return ", ".join(parts)


def _number(value: float) -> str:
    return repr(float(value)).replace("inf", ".inf").replace("nan", ".nan")
