"""Products of integers of any width by planes of single bits on tensor cores: rates, bytes, and where they pay.

No figure of a paper stands here: rows are held against laws of counting, which their source says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...ir import Role
from ..loader import Row, shown, table
from .gemm import by_planes, crossover, gemm, in_planes, ratio, whole

WIDTHS = ((1, 1), (2, 2), (2, 4), (3, 4), (4, 4))
"""Of weights and of what they are multiplied with."""
ROWS = (16, 64, 256, 1024, 4096)


def rows() -> Iterator[Row]:
    """Counts and rates against laws; times by vectors and widths, fused and not, and crossovers."""
    for r in table(__package__ or "", "laws.csv"):
        n, weight, operand = int(r["rows"]), int(r["weight"]), int(r["operand"])
        tolerance = float(r["tolerance"]) if r["tolerance"] else None
        found = measured(r["quantity"], n, weight, operand)
        yield Row(r["quantity"], where(n, weight, operand), float(r["value"]), found, r["unit"], tolerance, r["source"],
                  r["note"])  # fmt: skip
    for n in ROWS:
        for bits in (8, 4):
            yield shown("time", f"{n} vectors, {bits} bits at once", whole(n, bits).latency_s * 1e6, "us", "no planes")
        for weight, operand in WIDTHS:
            found = by_planes(n, weight, operand).latency_s
            apart = by_planes(n, weight, operand, "tile").latency_s
            note = (f"{ratio(n, weight, operand):.3g} of 8 bits, {ratio(n, weight, operand, 4):.3g} of 4; "
                    f"{apart / found:.3g} times as long where planes are summed apart")  # fmt: skip
            yield shown("time", where(n, weight, operand), found * 1e6, "us", note)
    for weight, operand in WIDTHS[3:]:
        note = "multiples of 16 up to 512; fewer weight bytes against more products"
        yield shown("most vectors no slower than with 8 bits", f"weights {weight}, operands {operand} bits",
                     crossover(weight, operand), "vectors", note)  # fmt: skip


def where(n: int, weight: int, operand: int) -> str:
    return f"{n} vectors, weights {weight}, operands {operand} bits"


def measured(quantity: str, n: int, weight: int, operand: int) -> float:
    """What a row of the table of laws asks for."""
    planes = in_planes(n, weight, operand)
    if quantity.startswith("products"):
        return planes.macs / gemm(n, operand).macs
    if quantity.startswith("weight bytes"):
        return planes.bytes_by_role()[Role.WEIGHT] / gemm(n, 8).bytes_by_role()[Role.WEIGHT]
    return ratio(n, weight, operand)


def figure(rows: Sequence[Row]) -> dict[str, object]:
    """Time over vectors, by widths."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for r in rows:
        if r.quantity == "time" and r.accelsim is not None:
            n, _, name = r.where.partition(" vectors, ")
            lines.setdefault(name, []).append((int(n), r.accelsim))
    data = [{"type": "scatter", "name": n, "x": [x for x, _ in p], "y": [y for _, y in p]} for n, p in lines.items()]
    return {"data": data, "layout": {"xaxis": {"title": "vectors", "type": "log"},
                                     "yaxis": {"title": "time (us)", "type": "log"}}}  # fmt: skip
