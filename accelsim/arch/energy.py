"""Default energies by technology node, from cited tables, for what a machine file does not state.

The figures are in energy.csv with their sources. Between tabulated sizes and nodes they are interpolated on logarithmic
axes, beyond them the last slope continues (sizes) or the last figure holds (nodes). Two curves carry a figure from
the node of its source to another: logic by the int8 MAC, SRAM by a 64 KiB array; SRAM below 16 nm follows logic.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Literal

Arithmetic = Literal["int", "float"]

DEFAULT_NODE_NM = 45.0
"""Stands in where a machine names no technology: most of the tables are at this node."""
_PJ = 1e-12
_SMALLEST_SRAM_NODE = 16.0

_LIKE = {"log": "exp", "tanh": "exp", "erf": "exp", "sqrt": "div"}
"""Operations without a figure of their own, and the one whose figure they take."""


@dataclass(frozen=True)
class Figure:
    """An energy and where it comes from.

    Attributes:
        joules: per operation, or per byte.
        source: the citation, with whatever was done to the cited figure.
    """

    joules: float
    source: str


@dataclass(frozen=True)
class _Row:
    quantity: str
    node_nm: float
    size: str
    bits: int
    pj: float
    per_bits: int
    source: str


@lru_cache(maxsize=1)
def _table() -> tuple[_Row, ...]:
    text = resources.files("accelsim.arch").joinpath("energy.csv").read_text(encoding="utf-8")
    return tuple(
        _Row(r["quantity"], float(r["node_nm"] or 0), r["size"], int(r["bits"] or 0), float(r["pJ"]),
             int(r["per_bits"] or 0), r["source"])
        for r in csv.DictReader(text.splitlines())
    )  # fmt: skip


def _rows(quantity: str) -> list[_Row]:
    return [r for r in _table() if r.quantity == quantity]


def _log_interpolate(points: Iterable[tuple[float, float]], x: float, *, extend: bool) -> float:
    """Piecewise power law through `points`; outside them the end slope continues, or the end value holds."""
    known = sorted(points)
    if not extend:
        x = min(max(x, known[0][0]), known[-1][0])
    right = next((i for i, (px, _) in enumerate(known) if px >= x and i), len(known) - 1)
    (x0, y0), (x1, y1) = known[right - 1], known[right]
    slope = math.log(y1 / y0) / math.log(x1 / x0)
    return y0 * math.exp(slope * math.log(x / x0))


def logic_scale(node_nm: float, from_nm: float) -> float:
    """Energy of logic at one node over that at another, as an int8 MAC scales (65 to 7 nm, constant beyond)."""
    points = [(r.node_nm, r.pj) for r in _rows("int_mac") if r.bits == 8]
    return _log_interpolate(points, node_nm, extend=False) / _log_interpolate(points, from_nm, extend=False)


def sram_scale(node_nm: float, from_nm: float) -> float:
    """Energy of SRAM at one node over that at another, as a 64 KiB array in CACTI 7; below 16 nm as logic."""
    points = [(r.node_nm, r.pj) for r in _rows("sram_scale")]

    def at(node: float) -> float:
        return _log_interpolate(points, node, extend=False) * logic_scale(
            min(node, _SMALLEST_SRAM_NODE), _SMALLEST_SRAM_NODE
        )

    return at(node_nm) / at(from_nm)


def _scaled(source: str, node: float, from_nm: float) -> str:
    return source if node == from_nm else f"{source}, from {from_nm:g} to {node:g} nm by the table"


@lru_cache(maxsize=256)
def sram_access(capacity: int, node_nm: float | None) -> tuple[Figure, Figure]:
    """Joules per byte to read and to write an SRAM of `capacity` bytes with a port of fitting width."""
    node = node_nm or DEFAULT_NODE_NM
    factor = sram_scale(node, DEFAULT_NODE_NM) * _PJ
    figures = []
    reads = [(float(r.size), r.pj / r.per_bits * 8) for r in _rows("sram_read")]
    writes = {float(r.size): r.pj / r.per_bits * 8 for r in _rows("sram_write")}
    read = _log_interpolate(reads, capacity, extend=True)
    ratio = _log_interpolate([(s, e / dict(reads)[s]) for s, e in writes.items()], capacity, extend=False)
    for name, value in (("read", read), ("write", read * ratio)):
        source = _scaled(f"CACTI 7 at 45 nm, {name} interpolated in log size", node, DEFAULT_NODE_NM)
        figures.append(Figure(value * factor, source))
    return figures[0], figures[1]


@lru_cache(maxsize=256)
def operation(cost_class: str, arithmetic: Arithmetic, bits: int, node_nm: float | None) -> Figure:
    """Joules of one operation of a cost class of `accelsim.ir` at the given width.

    A width between two figures is interpolated; the nearest row of the arithmetic, else of the other one, is used.
    """
    node = node_nm or DEFAULT_NODE_NM
    if cost_class == "copy":
        found = register(bits, node_nm)
        return Figure(found.joules * bits / 8, f"as a register access: {found.source}")
    like = _LIKE.get(cost_class, cost_class)
    rows: list[_Row] = []
    for quantity in (f"{arithmetic}_{like}", f"float_{like}", f"int_{like}"):
        rows = _rows(quantity)
        if rows:
            break
    if not rows:
        raise ValueError(f"no default energy of {cost_class}")
    widths = {r.bits: r for r in sorted(rows, key=lambda r: (abs(math.log(r.node_nm / node)), r.node_nm), reverse=True)}
    at_node = {w: r.pj * logic_scale(node, r.node_nm) for w, r in widths.items()}
    value, row = _at_width(at_node, widths, bits)
    source = _scaled(row.source, node, row.node_nm)
    if like != cost_class:
        source = f"as {like}: {source}"
    return Figure(value * _PJ, source if bits in widths else f"{source}, scaled to {bits} b")


def _at_width(at_node: dict[int, float], widths: dict[int, _Row], bits: int) -> tuple[float, _Row]:
    if bits in at_node:
        return at_node[bits], widths[bits]
    nearest = min(at_node, key=lambda w: (abs(math.log(w / bits)), w))
    return at_node[nearest] * bits / nearest, widths[nearest]


@lru_cache(maxsize=256)
def register(bits: int, node_nm: float | None) -> Figure:
    """Joules per byte of an access to a register."""
    (row,) = _rows("register")
    node = node_nm or DEFAULT_NODE_NM
    return Figure(
        row.pj / row.per_bits * 8 * logic_scale(node, row.node_nm) * _PJ, _scaled(row.source, node, row.node_nm)
    )


def standards(quantity: Literal["dram", "link"]) -> tuple[str, ...]:
    """Names of the standards with a default energy."""
    return tuple(r.size for r in _rows(quantity))


def transfer(quantity: Literal["dram", "link"], standard: str) -> Figure:
    """Joules per byte moved to or from a DRAM, or over a link, of that standard."""
    row = next((r for r in _rows(quantity) if r.size == standard), None)
    if row is None:
        raise ValueError(f"no default energy of {standard} (known: {', '.join(standards(quantity))})")
    return Figure(row.pj / row.per_bits * 8 * _PJ, f"{standard}: {row.source}")
