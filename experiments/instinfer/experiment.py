"""Attention inside computational storage beside FlexGen on an SSD: throughput by batch, dense and sparse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from ...arch.architecture import Architecture
from ...arch.loader import load_spec
from ...engine import compiled
from ...mappers.sites import choose, program_of
from ..loader import SHOWN, Row, data_path, table
from .layer import OPT_13B, Load, Model, problem

BATCHES = (4, 16, 64, 128, 256)
SPARSITIES = (1, 8)
TWICE = (
    ("memories.flash.channels", 16),
    ("memories.flash.capacity", "4 TiB"),
    ("memories.flash.cache_space", "2 TiB"),
    ("links.p2p.bandwidth", "14 GB/s"),
    ("units.engine.lanes", 128),
)
"""Two drives, over which caches are dealt out evenly, as one of twice the size."""
MACHINES: dict[str, tuple[str, tuple[tuple[str, object], ...]]] = {
    "FlexGen on an SSD": ("ssd", ()),
    "one CSD": ("drive", ()),
    "two CSDs": ("drive", TWICE),
}
CACHE_WAY = ("flash.read", "nvme", "p2p")
"""What a cache passes on its way off the flash."""


@cache
def machine(name: str, changes: tuple[tuple[str, object], ...] = ()) -> Architecture:
    """``ssd`` or ``drive``, with changes."""
    return load_spec(data_path(__package__ or "", f"{name}.yaml")).with_values(dict(changes)).build()


@dataclass(frozen=True)
class Step:
    """One step of a decode: seconds, share of them in which the busiest part of the caches' way is busy, and the sites
    of the guess (where attention is sparse) and of attention."""

    batch: int
    seconds: float
    cache_share: float
    sites: tuple[str, ...]

    @property
    def tokens_per_second(self) -> float:
        return self.batch / self.seconds


@cache
def step(name: str, load: Load, model: Model = OPT_13B, changes: tuple[tuple[str, object], ...] = ()) -> Step:
    """A step on one of `MACHINES`, with attention where it is fastest."""
    spec, own = MACHINES[name]
    found = problem(machine(spec, (*own, *changes)), model, load)
    plan = choose(found)
    program = program_of(found, plan.chosen)
    trace = compiled.run(program)
    busy = {s.name: int(n) for s, n in zip(program.platform.servers, trace.server_busy, strict=True)}
    share = max(busy.get(n, 0) for n in CACHE_WAY) / trace.finish
    return Step(load.batch, plan.seconds, share, plan.sites(found)[1:-1])


def rows() -> Iterator[Row]:
    """Throughput and gain over FlexGen by batch and sparsity; shares of KV access; peaks; what small chunks cost."""
    published = table(__package__, "published.csv")
    for name in MACHINES:
        for sparsity in SPARSITIES:
            for batch in BATCHES:
                yield from _case(name, Load(batch, sparsity=sparsity))
    for chunk in (1, 4, 16, 64):
        found = step("one CSD", Load(64, sparsity=8, chunk=chunk))
        yield Row("throughput", f"one CSD, sparse, batch 64, chunks of {chunk} tokens", None, found.tokens_per_second,
                  "token/s", None, SHOWN, f"{256 * chunk} bytes of a head lie together; a page has 4096")  # fmt: skip
    got = {
        "share of KV access": (
            step("FlexGen on an SSD", Load(64)).cache_share,
            step("one CSD", Load(64, sparsity=8)).cache_share,
        ),
        "peak gain": (
            step("one CSD", Load(256, sparsity=8)).tokens_per_second
            / max(step("FlexGen on an SSD", Load(b)).tokens_per_second for b in BATCHES if b <= 64),
            max(_gain("two CSDs", Load(b)) for b in BATCHES),
        ),
    }
    for quantity, values in got.items():
        for row, value in zip((r for r in published if r["quantity"] == quantity), values, strict=True):
            tolerance = float(row["tolerance"]) if row["tolerance"] else None
            yield Row(quantity, row["where"], float(row["value"]), value, row["unit"], tolerance, row["source"],
                      row["note"])  # fmt: skip


def _gain(name: str, load: Load) -> float:
    """Over FlexGen with dense attention at the same batch."""
    return step(name, load).tokens_per_second / step("FlexGen on an SSD", Load(load.batch)).tokens_per_second


def _case(name: str, load: Load) -> Iterator[Row]:
    found = step(name, load)
    where = f"{name}, {'dense' if load.sparsity == 1 else 'sparse'}, batch {load.batch}"
    note = f"attention at {found.sites[-1]}; {found.cache_share:.1%} of the time the way of the caches is busy"
    yield Row("throughput", where, None, found.tokens_per_second, "token/s", None, SHOWN, note)
    yield Row("gain", f"{where}, over FlexGen, dense", None, _gain(name, load), "ratio", None, SHOWN,
              "at the same batch")  # fmt: skip


def figure(rows: Sequence[Row]) -> dict[str, object]:
    """Throughput over the batch, by machine, dense and sparse."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        if row.quantity == "throughput" and "chunks" not in row.where and row.accelsim is not None:
            name, _, batch = row.where.rpartition(", batch ")
            lines.setdefault(name, []).append((int(batch), row.accelsim))
    data = [{"type": "scatter", "name": n, "x": [b for b, _ in p], "y": [g for _, g in p]} for n, p in lines.items()]
    return {"data": data, "layout": {"xaxis": {"title": "sequences", "type": "log"},
                                     "yaxis": {"title": "token/s", "type": "log"}}}  # fmt: skip
