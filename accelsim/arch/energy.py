"""Default energies and areas by technology node, from cited tables, for what a machine file does not state.

The figures are in energy.csv and area.csv with their sources: `(recalled)` marks one that was not looked up again in
the cited paper, `(computed)` one that a tool gave; its scope says what is in an energy. Rows of a quantity come from
one family of sources, those of different quantities need not: a MAC of int32 costs five times its multiplication.
Between tabulated sizes, widths and nodes figures are interpolated on logarithmic axes. Beyond them the last slope
continues (sizes), the last figure is taken in proportion (widths), or two curves carry a figure to another node:
logic by the int8 MAC, SRAM by a 64 KiB array; SRAM below 16 nm follows logic. Areas are given only between the nodes
of their table, and leakage has no default: there is no figure to cite for it.
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
    """A number and where it comes from.

    Attributes:
        value: joules per operation or per byte, square millimetres, or watts.
        source: the citation, with whatever was done to the cited figure.
    """

    value: float
    source: str


@dataclass(frozen=True)
class _Row:
    quantity: str
    node_nm: float
    size: str
    bits: int
    pj: float
    per_bits: int
    scope: str
    citation: str

    @property
    def source(self) -> str:
        return f"{self.scope}; {self.citation}"


@dataclass(frozen=True)
class _AreaRow:
    quantity: str
    node_nm: float
    bits: int
    nbytes: int
    mm2: float
    source: str


def _read(name: str) -> list[dict[str, str]]:
    text = resources.files("accelsim.arch").joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@lru_cache(maxsize=1)
def _table() -> tuple[_Row, ...]:
    return tuple(
        _Row(r["quantity"], float(r["node_nm"] or 0), r["size"], int(r["bits"] or 0), float(r["pJ"]),
             int(r["per_bits"] or 0), r["scope"], r["source"])
        for r in _read("energy.csv")
    )  # fmt: skip


@lru_cache(maxsize=1)
def _areas() -> tuple[_AreaRow, ...]:
    return tuple(
        _AreaRow(r["quantity"], float(r["node_nm"]), int(r["bits"]), int(r["bytes"] or 0), float(r["mm2"]), r["source"])
        for r in _read("area.csv")
    )


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


def _cite(source: str, node_nm: float | None, from_nm: float) -> str:
    """A source with what was done to carry its figure to a node."""
    node = node_nm or DEFAULT_NODE_NM
    text = source if node == from_nm else f"{source}, from {from_nm:g} to {node:g} nm by the table"
    return text if node_nm else f"{text}; no technology given, {DEFAULT_NODE_NM:g} nm taken"


@lru_cache(maxsize=256)
def sram_access(capacity: int, node_nm: float | None) -> tuple[Figure, Figure]:
    """Joules per byte to read and to write an SRAM of `capacity` bytes with a port of fitting width."""
    factor = sram_scale(node_nm or DEFAULT_NODE_NM, DEFAULT_NODE_NM) * _PJ
    figures = []
    reads = [(float(r.size), r.pj / r.per_bits * 8) for r in _rows("sram_read")]
    writes = {float(r.size): r.pj / r.per_bits * 8 for r in _rows("sram_write")}
    read = _log_interpolate(reads, capacity, extend=True)
    ratio = _log_interpolate([(s, e / dict(reads)[s]) for s, e in writes.items()], capacity, extend=False)
    for name, value in (("read", read), ("write", read * ratio)):
        source = _cite(f"CACTI 7 at 45 nm, {name} interpolated in log size", node_nm, DEFAULT_NODE_NM)
        figures.append(Figure(value * factor, source))
    return figures[0], figures[1]


@lru_cache(maxsize=256)
def operation(cost_class: str, arithmetic: Arithmetic, bits: int, node_nm: float | None) -> Figure:
    """Joules of one operation of a cost class of `accelsim.ir` at the given width.

    The row of the arithmetic is used, else of the other one. Between two nodes of one width the figure is
    interpolated, beyond them it is scaled as logic from the nearest. Between two widths it is interpolated, too; beyond
    them it is in proportion to the nearest.

    Raises:
        ValueError: the class has no figure.
    """
    node = node_nm or DEFAULT_NODE_NM
    if cost_class == "copy":
        found = register(bits, node_nm)
        return Figure(found.value * bits / 8, f"as a register access: {found.source}")
    like = _LIKE.get(cost_class, cost_class)
    rows = next(filter(None, map(_rows, (f"{arithmetic}_{like}", f"float_{like}", f"int_{like}"))), [])
    if not rows:
        raise ValueError(f"no default energy of {cost_class}")
    at = {w: _at_node([r for r in rows if r.bits == w], node, node_nm) for w in sorted({r.bits for r in rows})}
    width = min(at, key=lambda w: (abs(math.log(w / bits)), w))
    pj, source = at[width]
    if bits != width:
        inside = min(at) < bits < max(at)
        pj = _log_interpolate([(w, e) for w, (e, _) in at.items()], bits, extend=False) if inside else pj * bits / width
        source = f"{source}, {'interpolated' if inside else 'scaled'} to {bits} b"
    if like != cost_class:
        source = f"as {like}: {source}"
    return Figure(pj * _PJ, source)


def _at_node(rows: list[_Row], node: float, node_nm: float | None) -> tuple[float, str]:
    """Picojoules of a figure that is tabulated at some nodes, and its source."""
    nearest = min(rows, key=lambda r: (abs(math.log(r.node_nm / node)), r.node_nm))
    if not min(r.node_nm for r in rows) < node < max(r.node_nm for r in rows) or nearest.node_nm == node:
        return nearest.pj * logic_scale(node, nearest.node_nm), _cite(nearest.source, node_nm, nearest.node_nm)
    left = max((r for r in rows if r.node_nm < node), key=lambda r: r.node_nm)
    right = min((r for r in rows if r.node_nm > node), key=lambda r: r.node_nm)
    value = _log_interpolate(((left.node_nm, left.pj), (right.node_nm, right.pj)), node, extend=False)
    sources = " and ".join(dict.fromkeys((left.source, right.source)))
    return value, f"{sources}, interpolated between {left.node_nm:g} and {right.node_nm:g} nm"


@lru_cache(maxsize=256)
def register(bits: int, node_nm: float | None) -> Figure:
    """Joules per byte of an access to a register."""
    (row,) = _rows("register")
    scale = logic_scale(node_nm or DEFAULT_NODE_NM, row.node_nm)
    return Figure(row.pj / row.per_bits * 8 * scale * _PJ, _cite(row.source, node_nm, row.node_nm))


def wire(length_mm: float, node_nm: float | None) -> Figure:
    """Joules per byte moved over so many millimetres of on-chip wire; beyond 40 and 10 nm the last figure holds."""
    rows = _rows("wire")
    node = node_nm or DEFAULT_NODE_NM
    per_bit = _log_interpolate([(r.node_nm, r.pj) for r in rows], node, extend=False)
    nearest = min(rows, key=lambda r: abs(math.log(r.node_nm / node)))
    source = f"{length_mm:g} mm of wire, {_cite(nearest.source, node_nm, nearest.node_nm)}"
    return Figure(per_bit * 8 * length_mm * _PJ, source)


def standards(quantity: Literal["dram", "link"]) -> tuple[str, ...]:
    """Names of the standards with a default energy."""
    return tuple(r.size for r in _rows(quantity))


def transfer(quantity: Literal["dram", "link"], standard: str) -> Figure:
    """Joules per byte moved to or from a DRAM, or over a link, of that standard.

    Raises:
        ValueError: the standard has no figure.
    """
    row = next((r for r in _rows(quantity) if r.size == standard), None)
    if row is None:
        raise ValueError(f"no default energy of {standard} (known: {', '.join(standards(quantity))})")
    return Figure(row.pj / row.per_bits * 8 * _PJ, f"{standard}: {row.source}")


DramLevel = Literal["row", "bank", "bank_group", "buffer_die", "host"]


def dram_level(level: DramLevel) -> Figure:
    """Joules per bit to open and close a row, of a whole row, or to bring data from it so far, that included."""
    row = next(r for r in _rows("dram_level") if r.size == level)
    return Figure(row.pj / row.per_bits * _PJ, row.source)


@lru_cache(maxsize=256)
def sram_area(capacity: int, node_nm: float | None) -> Figure | None:
    """Square millimetres of SRAM of `capacity` bytes, at the density of the table's array; None beyond its nodes.

    The arrays of the table have ports of 64 to 1024 bits. Wider ports cost area that this leaves out: in CACTI 7 at
    45 nm, 16 MiB with a 4096-bit port takes 2.6 times the area per byte (142 mm²).
    """
    rows = [r for r in _areas() if r.quantity == "sram"]
    if node_nm is None or not min(r.node_nm for r in rows) <= node_nm <= max(r.node_nm for r in rows):
        return None
    density = _log_interpolate([(r.node_nm, r.mm2 / r.nbytes) for r in rows], node_nm, extend=False)
    nearest = min(rows, key=lambda r: abs(math.log(r.node_nm / node_nm)))
    return Figure(density * capacity, f"in proportion to {_cite(nearest.source, node_nm, nearest.node_nm)}")


def mac_area(arithmetic: Arithmetic, bits: int, node_nm: float | None) -> Figure | None:
    """Square millimetres of one MAC; None unless the table has just this width at just this node."""
    row = next((r for r in _areas() if (r.quantity, r.bits, r.node_nm) == (f"{arithmetic}_mac", bits, node_nm)), None)
    return None if row is None else Figure(row.mm2, row.source)
