"""Decode on an NPU and units in its memory: alone, in turns, and with two sub-batches beside each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

from ... import load_model
from ...arch.architecture import Architecture
from ...arch.loader import load_spec
from ...ir import Role
from ...mappers.sites import SiteProblem, Sites, beside, chain, check_room, choose, simulated
from ...mappers.sites.ways import STORED
from ..loader import SHOWN, Row, data_path, table

TICK_HZ = 10**12
BANKS, CHIP = "dram", "sram"
LAYERS = 4
"""Layers that run: enough for what the first ones wait for not to matter much."""
FOUR = (
    ("memories.dram.channels", 256),
    ("memories.sram.capacity", "128 MiB"),
    ("memories.sram.bandwidth", "65536 B/cycle"),
    ("units.tensor.arrays", 32),
    ("units.vector.lanes", 16384),
)
"""Four devices that share every layer, as one of four times the size: what passes between them is left out."""
LOADS: dict[str, tuple[int, int, tuple[tuple[str, object], ...]]] = {
    "64 sequences of 640 tokens": (64, 640, ()),
    "256 sequences of 160 tokens": (256, 160, ()),
    "512 sequences of 80 tokens": (512, 80, ()),
    "512 sequences of 480 tokens on four devices": (512, 480, FOUR),
}
"""Sequences, tokens of each in its cache, and what differs from the machine."""
MODES = {"NPU alone": (1, True), "in turns": (1, True), "two sub-batches": (2, False), "two, banks shared": (2, True)}
"""Sub-batches, and whether units in the memory keep its banks from transfers."""


@cache
def machine(changes: tuple[tuple[str, object], ...] = ()) -> Architecture:
    """``neupims.yaml`` with changes."""
    return load_spec(data_path(__package__ or "", "neupims.yaml")).with_values(dict(changes)).build()


def problem(arch: Architecture, batch: int, context: int, *, copies: int, shared: bool) -> SiteProblem:
    """Layers of a Llama-2-7B decode: attention products in the memory or on the chip, all else on the chip.

    Raises:
        DoesNotFit: weights and caches are more than the memory holds.
    """
    whole = load_model("llama-2-7b", phase="decode", context=context, batch=batch).bytes_by_role()
    check_room(arch, {BANKS: sum(whole[r] for r in STORED)})
    workload = load_model("llama-2-7b", phase="decode", context=context, batch=batch // copies)
    homes = {n: BANKS for n, t in workload.tensors.items() if t.role in STORED}
    sites = Sites(arch, workload, CHIP, homes, shared_banks=shared, ordered=True)
    layer = [e.name for e, times in workload.einsums() if times > 1]
    tasks = chain(sites, layer, (Role.STATE,))
    return beside(workload.name, TICK_HZ, sites, tasks, copies=copies, repeats=LAYERS)


@cache
def layer_seconds(mode: str, batch: int, context: int, changes: tuple[tuple[str, object], ...] = ()) -> float:
    """Seconds of a layer in one of `MODES`, with the best choice of sites there."""
    copies, shared = MODES[mode]
    found = problem(machine(changes), batch, context, copies=copies, shared=shared)
    if mode == "NPU alone":
        on_chip = [next(i for i, w in enumerate(t.ways) if w.site == CHIP) for t in found.tasks]
        return simulated(found, on_chip) / LAYERS
    return choose(found).seconds / LAYERS


def rows() -> Iterator[Row]:
    """Seconds of a layer by mode, and gains of two sub-batches beside the published ones."""
    published = {r["quantity"]: r for r in table(__package__, "published.csv")}
    over = {"gain over the NPU alone": "NPU alone", "gain over taking turns": "in turns"}
    for load, case in LOADS.items():
        for mode in MODES:
            yield Row("time of a layer", f"{mode}, {load}", None, layer_seconds(mode, *case), "s", None, SHOWN,
                      "Llama-2-7B, decode")  # fmt: skip
    for quantity, mode in over.items():
        gains = {n: layer_seconds(mode, *case) / layer_seconds("two sub-batches", *case) for n, case in LOADS.items()}
        for load, gain in gains.items():
            yield Row(quantity, f"two sub-batches, {load}", None, gain, "ratio", None, SHOWN,
                      "weights are loaded for each sub-batch anew")  # fmt: skip
        row = published[quantity]
        yield Row(quantity, row["where"], float(row["value"]), max(gains.values()), "ratio", None, row["source"],
                  row["note"])  # fmt: skip


def figure(rows: Sequence[Row]) -> dict[str, object]:
    """Times of a layer by mode."""
    bars: dict[str, dict[str, float]] = {}
    for row in rows:
        if row.quantity == "time of a layer" and row.accelsim is not None:
            mode, _, load = row.where.rpartition(", ")
            bars.setdefault(mode, {})[load] = row.accelsim
    data = [{"type": "bar", "name": m, "x": list(v), "y": list(v.values())} for m, v in bars.items()]
    return {"data": data, "layout": {"yaxis": {"title": "seconds of a layer"}}}
