"""Irregular reads of host memory by a GPU itself, beside gathering by the host, pages that move, and whole copies.

No figure of a paper stands here: rows are held against laws of requests, which their source says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..loader import ANOTHER_ROUTE, Row, shown, table
from .ways import C2C, PCIE, by_device, by_host, by_pages, figures, host_from, share_for_whole, whole

MANY = 1_000_000
BATCHES = (64, 4096, 262_144)
SIZES = (64, 512, 4096)


def throughput(link: str, row: int, rows: int = MANY) -> float:
    """Useful bytes per second of reads by the device."""
    return rows * row / by_device(link, rows, row)


def rows() -> Iterator[Row]:
    """Throughput by size of requests against laws, times of every way, and where one becomes faster than another."""
    for r in table(__package__ or "", "laws.csv"):
        yield Row("reads by the device", f"{r['link']}, rows of {r['row']} bytes", float(r["value"]),
                  throughput(r["link"], int(r["row"])) / 1e9, r["unit"], float(r["tolerance"]), r["source"],
                  r["note"])  # fmt: skip
    law = throughput(PCIE, 128) / figures(PCIE)["long transfers"]
    yield Row("share of the table from which a whole copy is faster", f"{PCIE}, rows of 128 bytes", law,
              share_for_whole(PCIE, 128), "share", 0.02, f"{ANOTHER_ROUTE}throughput of reads over that of copies",
              "reads as simulated above, copies as in machine.csv")  # fmt: skip
    for link in (PCIE, C2C):
        yield from _times(link)
        for batch in BATCHES:
            size = host_from(link, batch)
            yield shown("smallest row with which the host is faster", f"{link}, {batch} rows", size, "bytes",
                         "powers of two from 32, up to 1 GiB in all; 0: the device always is")  # fmt: skip


def _times(link: str) -> Iterator[Row]:
    for batch in BATCHES:
        for size in SIZES:
            if batch * size > 2**30:
                continue
            found = {"by the device": by_device(link, batch, size), "gathered by the host": by_host(link, batch, size),
                     "by pages": by_pages(link, batch, size), "the whole table": whole(link)}  # fmt: skip
            best = min(found, key=lambda way: found[way])
            others = ", ".join(f"{way} {s * 1e6:.4g}" for way, s in found.items() if way != best)
            yield shown("fastest way", f"{link}, {batch} rows of {size} bytes", found[best] * 1e6, "us",
                         f"{best}; {others}")  # fmt: skip


def figure(rows: Sequence[Row]) -> dict[str, object]:
    """Useful throughput of reads by the device over the size of a row."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for r in rows:
        if r.quantity == "reads by the device" and r.accelsim is not None:
            link, _, rest = r.where.partition(", rows of ")
            lines.setdefault(link, []).append((int(rest.split()[0]), r.accelsim))
    data = [{"type": "scatter", "mode": "markers", "name": n, "x": [x for x, _ in p], "y": [y for _, y in p]}
            for n, p in lines.items()]  # fmt: skip
    return {"data": data, "layout": {"xaxis": {"title": "bytes of a row"}, "yaxis": {"title": "GB/s", "type": "log"}}}
