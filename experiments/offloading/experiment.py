"""FlexGen's offloaded generation: shares from a linear program, simulated pass by pass, beside measured throughput."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from ...mappers.offload import Block, Generation, Policy, best, generate, solve
from ...mappers.offload.machine import Role
from ..loader import ANOTHER_ROUTE, SHOWN, Row, table
from .served import Options, machine, model, planned, ran

PUBLISHED: Mapping[Role, tuple[float, ...]] = {
    "weight": (0.2, 0.8, 0.0), "cache": (0.0, 1.0, 0.0), "hidden": (0.0, 1.0, 0.0),
}  # fmt: skip
BLOCK = Block(48, 3, 512, 32)
LOOSE = Options(usable=1.2)
"""Margins with which the planner's authors estimate a given policy, which oversteps the memory that there is."""
FASTER_DISK = (("disk to cpu", 2e9 / (0.473 * 2**30)), ("cpu to disk", 1e9 / (2.015 * 2**30)))
"""The paper's SSD, which reads 2 GB/s and writes 1 GB/s, over the planner's."""


Shares = tuple[float, ...]


def shares(weight: Shares, cache: Shares, hidden: Shares) -> dict[Role, Shares]:
    return {"weight": weight, "cache": cache, "hidden": hidden}


def rows() -> Iterator[Row]:
    """Plans and throughput of OPT-30B; without overlap; other schedules, batches, prompts and models."""
    published = {(r["quantity"], r["where"]): r for r in table(__package__ or "", "published.csv")}

    def row(quantity: str, where: str, value: float, note: str = "") -> Row:
        r = published[quantity, where]
        tolerance = float(r["tolerance"]) if r["tolerance"] else None
        return Row(quantity, where, float(r["value"]), value, r["unit"], tolerance, r["source"],
                   "; ".join(n for n in (r["note"], note) if n))  # fmt: skip

    where = "OPT-30B, 3 batches of 48"
    policy = planned("opt-30b", BLOCK)
    run = ran("opt-30b", BLOCK, policy)
    yield row("throughput", f"{where}, the program's shares", run.tokens_per_second, _what(policy))
    yield Row("seconds over what the program predicts", where, 1.0, run.seconds / policy.seconds, "", 0.01,
              f"{ANOTHER_ROUTE}the linear program", "simulated, with all waits")  # fmt: skip
    given = planned("opt-30b", BLOCK, LOOSE, given=PUBLISHED)
    yield row("throughput", f"{where}, published shares", ran("opt-30b", BLOCK, given, LOOSE).tokens_per_second)
    alone = Options(usable=1.2, streams=False)
    serial = ran("opt-30b", BLOCK, planned("opt-30b", BLOCK, alone, given=PUBLISHED), alone)
    yield row("throughput, nothing overlaps", f"{where}, published shares", serial.tokens_per_second)
    yield row("weights on the GPU", f"{where}, the program's shares", policy.weight[0])
    loose = planned("opt-30b", BLOCK, LOOSE)
    yield row("weights on the GPU", f"{where}, the program's shares at a margin of -20 %", loose.weight[0])
    yield row("caches on the CPU", f"{where}, the program's shares", policy.cache[1])
    yield row("hidden states on the CPU", f"{where}, the program's shares", policy.hidden[1])
    far = planned("opt-30b", BLOCK, beside=False)
    yield row("throughput", f"{where}, attention on the GPU", ran("opt-30b", BLOCK, far).tokens_per_second, _what(far))
    yield from _others(row)
    yield from _schedules(where)


def _others(row: Callable[[str, str, float], Row]) -> Iterator[Row]:
    short = Block(160, 2, 256, 32)
    given = planned("opt-30b", short, LOOSE, given=shares((0.1, 0.9, 0.0), (0.0, 1.0, 0.0), (0.0, 1.0, 0.0)))
    yield row("throughput", "OPT-30B, 256 in, 2 batches of 160, published shares",
              ran("opt-30b", short, given, LOOSE).tokens_per_second)  # fmt: skip
    large = Block(32, 8, 512, 32)
    for what, options in (("", LOOSE), (", SSD of 2 GB/s", Options(usable=1.2, changes=FASTER_DISK))):
        given = planned("opt-175b", large, options,
                        given=shares((0.0, 0.5, 0.5), (0.0, 0.0, 1.0), (0.0, 1.0, 0.0)))  # fmt: skip
        yield row("throughput", f"OPT-175B, 8 batches of 32, published shares{what}",
                  ran("opt-175b", large, given, options, sampled=2).tokens_per_second)  # fmt: skip
    for name, block in (("opt-6.7b", Block(72, 1, 512, 32)), ("opt-175b", Block(48, 3, 512, 32))):
        narrow = model(name, narrow=True)
        policy = solve(machine(LOOSE), narrow, block)
        yield row("throughput", f"{name.upper()}, 4 bits, {block.batches} batches of {block.batch}",
                  generate(machine(LOOSE), narrow, block, policy, sampled=2).tokens_per_second)  # fmt: skip
    small = Block(2, 1, 512, 32)
    here = planned("opt-6.7b", small, LOOSE)
    yield row("throughput", "OPT-6.7B, one batch of 2, all on the GPU",
              ran("opt-6.7b", small, here, LOOSE).tokens_per_second)  # fmt: skip


def _schedules(where: str) -> Iterator[Row]:
    ahead = Options(ahead=True)
    policy = planned("opt-30b", BLOCK, ahead)
    yield _shown("throughput", f"{where}, weights of the next layer come in a decode too",
                 ran("opt-30b", BLOCK, policy, ahead), policy)  # fmt: skip
    for batches in (1, 2):
        block = Block(48, batches, 512, 32)
        policy = planned("opt-30b", block)
        yield _shown("throughput", f"OPT-30B, {batches} x 48", ran("opt-30b", block, policy), policy)
    block, policy = best(machine(), model("opt-30b"), 512, 32, beside=(True,))
    yield _shown("throughput", f"OPT-30B, batches by search: {block.batches} x {block.batch}",
                 ran("opt-30b", block, policy), policy)  # fmt: skip


def _shown(quantity: str, where: str, run: Generation, policy: Policy) -> Row:
    return Row(quantity, where, None, run.tokens_per_second, "token/s", None, SHOWN, _what(policy))


def _what(policy: Policy) -> str:
    """Shares in percent, as GPU / CPU / disk."""
    rows = {"weights": policy.weight, "caches": policy.cache, "hidden": policy.hidden}
    text = ", ".join(f"{n} {' / '.join(f'{100 * x:.3g}' for x in shares)}" for n, shares in rows.items())
    return f"{text}; attention {'beside caches' if policy.beside else 'on the GPU'}"


def figure(rows: Sequence[Row]) -> dict[str, object]:
    """Throughput of OPT-30B by plan, beside the published one."""
    found = [r for r in rows if r.quantity.startswith("throughput") and r.unit == "token/s" and "30" in r.where]
    names = [f"{r.where.partition(', ')[2]}{r.quantity.removeprefix('throughput')}" for r in found]
    data = [
        {"type": "bar", "name": "simulated", "x": names, "y": [r.accelsim for r in found]},
        {"type": "scatter", "mode": "markers", "name": "published", "x": names, "y": [r.published for r in found]},
    ]
    return {"data": data, "layout": {"yaxis": {"title": "token/s"}}}
