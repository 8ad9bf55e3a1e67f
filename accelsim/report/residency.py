"""What lies where in the memories, and for how long: maps of addresses over steps, and lives of tensors by tier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from ..arch.architecture import Architecture
from ..ir import Role
from ..mapping.counting import stay_bytes
from ..mapping.scope import Scope
from .page import Figure, si

MOST_TENSORS = 40
"""Tensors with a line in a timeline; those that hold most bytes for most steps."""
_NAME = 40
"""Letters of a name that are shown."""


@dataclass(frozen=True)
class Box:
    """A tensor in a memory.

    Attributes:
        tensor: its name.
        kind: what for: its role, or any other word by which boxes share a colour.
        first, last: steps, both included.
        nbytes: that it takes.
        address: of the first of them; None where it has none.
    """

    tensor: str
    kind: str
    first: int
    last: int
    nbytes: int
    address: int | None = None


def boxes(scope: Scope, arch: Architecture) -> dict[str, tuple[Box, ...]]:
    """The Stays of a Mapping by memory, outermost first; steps are those of `scope.tree`."""
    found: dict[str, list[Box]] = {m.name: [] for m in arch.tiers()}
    for stay in scope.mapping.stays:
        tensor = scope.workload.tensors.get(stay.tensor)
        kind = str(tensor.role if tensor is not None else Role.ACTIVATION)
        first, last = scope.tree.first[stay.start], scope.tree.last[stay.end]
        found[stay.memory].append(Box(stay.tensor, kind, first, last, stay_bytes(scope, stay), stay.address))
    return {memory: tuple(held) for memory, held in found.items() if held}


def memory_map(held: Sequence[Box], capacity_bytes: int, operators: Sequence[str] = ()) -> Figure:
    """Rectangles of addresses over steps, for what has an address.

    Args:
        held: what lies in one memory.
        capacity_bytes: of it.
        operators: what runs in each step, for the labels of the first and last one.
    """
    data: list[dict[str, object]] = []
    for kind in dict.fromkeys(box.kind for box in held):
        mine = [box for box in held if box.kind == kind and box.address is not None and box.nbytes]
        x: list[float | None] = []
        y: list[int | None] = []
        text: list[str] = []
        for box in mine:
            low = box.address or 0
            high = low + box.nbytes
            x += [box.first, box.last + 1, box.last + 1, box.first, box.first, None]
            y += [low, low, high, high, low, None]
            text += [_told(box, operators)] * 6
        if mine:
            data.append({
                "type": "scatter", "mode": "lines", "fill": "toself", "name": kind, "x": x, "y": y, "text": text,
                "hovertemplate": "%{text}<extra></extra>", "line": {"width": 0.8},
            })  # fmt: skip
    end = max((box.last + 1 for box in held), default=1)
    data.append({
        "type": "scatter", "mode": "lines", "name": "capacity", "x": [0, end], "y": [capacity_bytes] * 2,
        "hoverinfo": "name", "line": {"color": "$text", "width": 1.2, "dash": "dot"},
    })  # fmt: skip
    axis = {"title": "address", "rangemode": "tozero", "exponentformat": "SI"}
    return {"data": data, "layout": {"xaxis": {"title": "step"}, "yaxis": axis}}


def residency_timeline(held: Mapping[str, Sequence[Box]]) -> Figure:
    """A line per tensor and tier, from the steps in which it arrives to those in which it leaves.

    Args:
        held: what lies in each memory. Of many tensors those are drawn that take most bytes times steps.
    """
    weight: dict[str, int] = {}
    for box in (b for mine in held.values() for b in mine):
        weight[box.tensor] = weight.get(box.tensor, 0) + box.nbytes * (box.last - box.first + 1)
    ranked = sorted(weight, key=lambda name: (-weight[name], name))[:MOST_TENSORS]
    begins = {name: min(b.first for mine in held.values() for b in mine if b.tensor == name) for name in ranked}
    rows = {name: i for i, name in enumerate(sorted(ranked, key=lambda name: (begins[name], name), reverse=True))}
    data: list[dict[str, object]] = []
    for memory, mine in held.items():
        shown = [box for box in mine if box.tensor in rows]
        if shown:
            data.append({
                "type": "bar", "orientation": "h", "name": memory,
                "y": [_short(box.tensor) for box in shown], "base": [box.first for box in shown],
                "x": [box.last - box.first + 1 for box in shown], "width": 0.8,
                "text": [_told(box, ()) for box in shown], "textposition": "none",
                "hovertemplate": "%{text}<extra>" + escape(memory) + "</extra>",
            })  # fmt: skip
    order = {"categoryorder": "array", "categoryarray": [_short(name) for name in rows]}
    return {"data": data, "layout": {"barmode": "overlay", "xaxis": {"title": "step"}, "yaxis": order}}


def _short(name: str) -> str:
    return name if len(name) <= _NAME else "…" + name[1 - _NAME :]


def _told(box: Box, operators: Sequence[str]) -> str:
    def at(step: int) -> str:
        return f"{step} ({escape(_short(operators[step]))})" if step < len(operators) else str(step)

    place = "" if box.address is None else f" at {box.address:,}"
    return f"{escape(box.tensor)}: {si(box.nbytes, 'B')}{place}<br>steps {at(box.first)} to {at(box.last)}"
