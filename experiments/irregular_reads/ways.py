"""Ways to read rows of a table in host memory: by the device, gathered by the host, page by page, or all of it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np

from ...mappers.offload.requests import Gatherer, Reader, copied
from ..loader import Changes, figures_of, table

PCIE, C2C = "PCIe 4.0 x16", "NVLink-C2C"
TABLE_BYTES = 2**30


@cache
def figures(link: str, changes: Changes = ()) -> Mapping[str, float]:
    """Of a link and the host, in SI units."""
    records = table(__package__ or "", "machine.csv")
    return figures_of((r for r in records if r["link"] in (link, "both")), changes)


def reader(link: str, changes: Changes = ()) -> Reader:
    on = figures(link, changes)
    return Reader(on["bandwidth"], round(on["header"]), round(on["sector"]), round(on["largest"]),
                  round(on["outstanding"]), on["latency"])  # fmt: skip


def gatherer(link: str, changes: Changes = ()) -> Gatherer:
    on = figures(link, changes)
    return Gatherer(on["row"], on["copying"], round(on["buffer"]), on["call"], on["long transfers"])


@cache
def by_device(link: str, rows: int, row: int, changes: Changes = ()) -> float:
    """Seconds in which the device reads."""
    return reader(link, changes).read(rows, row).seconds


@cache
def by_host(link: str, rows: int, row: int, changes: Changes = ()) -> float:
    """Seconds in which the host gathers and sends."""
    return gatherer(link, changes).read(rows, row).seconds


@cache
def pages_of(rows: int, row: int, page: int, seed: int = 0) -> int:
    """Pages of the table in which so many different rows lie, drawn at random."""
    drawn = np.random.default_rng(seed).choice(TABLE_BYTES // row, rows, replace=False)
    return len(np.unique(drawn * row // page))


@cache
def by_pages(link: str, rows: int, row: int, changes: Changes = ()) -> float:
    """Seconds in which the pages of the rows move, each after a fault, which the driver handles one after the other."""
    on = figures(link, changes)
    page = round(on["page"])
    driver = Gatherer(on["fault"], 1e15, page, 0.0, on["long transfers"])  # pages are not copied on the host
    return driver.read(pages_of(rows, row, page), page).seconds


@cache
def whole(link: str, changes: Changes = ()) -> float:
    """Seconds in which the whole table is sent."""
    on = figures(link, changes)
    return copied(TABLE_BYTES, on["long transfers"], on["call"]).seconds


def share_for_whole(link: str, row: int) -> float:
    """The share of the table, in steps of 1/1024, from which sending all of it is faster than reading by the device."""
    steps, low, high = 1024, 1, 1024
    while low < high:
        middle = (low + high) // 2
        rows = TABLE_BYTES // row * middle // steps
        low, high = (low, middle) if by_device(link, rows, row) >= whole(link) else (middle + 1, high)
    return low / steps


def host_from(link: str, rows: int) -> int:
    """The smallest row, a power of two up to 1 MiB, with which the host is faster than the device; 0 for none."""
    sizes = [2**i for i in range(5, 21) if rows * 2**i <= TABLE_BYTES]
    return next((s for s in sizes if by_host(link, rows, s) < by_device(link, rows, s)), 0)
