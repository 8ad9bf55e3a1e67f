"""Computing at banks, bank groups and buffer dies: GDDR6-AiM, AttAcc, HBM-PIM and CENT, and where a host is faster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache

import numpy as np

from ... import load_model, simulate
from ...arch.architecture import Architecture
from ...components.pim import PimArray
from ...ir import Role
from ...study.evaluation import machine
from ..loader import Row, table
from .attacc import CHANNELS, attention_cycles

LEVELS = {"BA": 1, "BG": 4, "BUFFER": 32}
"""Banks per unit of AttAcc's levels."""
CENT_SOURCE = "CENT, ASPLOS 2025, Llama2-7B on eight devices"
CENT_NOTE = "mean of tokens at contexts of 640 to 4096, after prompts of 512: the decoding phase of the published runs"
CENT_CONTEXTS = range(640, 4097, 1152)
CENT_HOST_SECONDS = 150e-6
"""Of the host per token, for sampling (InOut_latency of Yufeng98/CENT's simulator)."""
CENT_CXL = (("units.pim.hop", "180 ns"), ("units.pim.hop_bandwidth", "58 GB/s"))
"""A hop through a CXL switch, and 18 lanes of 4 GiB/s with 192 of 256 bytes of a flit used (cxl_latency.py there)."""
GPU_FLOPS = 312e12
"""Dense fp16 peak of an A100 (data sheet), as host of HBM-PIM's stacks."""
BATCHES = (1, 2, 4, 8, 16, 32, 64)
SIZES = (1024, 2048, 4096, 8192, 16384)


def pim(arch: Architecture) -> PimArray:
    """The PIM unit of a machine."""
    unit = arch.units["pim"]
    assert isinstance(unit, PimArray)
    return unit


def attacc_stack(level: str, power_limited: bool) -> PimArray:
    """One stack of AttAcc at a level. All-bank commands come every 6 cycles within the power budget, else every tCCD_L;
    a unit at the buffer die reads the channel's bus, every tCCD_S."""
    interval = 2 if level == "BUFFER" else 6 if power_limited else 4
    changes = (("memories.dram.channels", CHANNELS), ("units.pim.interval", interval),
               ("units.pim.banks_per_unit", LEVELS[level]))  # fmt: skip
    return pim(machine("attacc", changes))


def rows() -> Iterator[Row]:
    """Command-level cycles; throughput of CENT; where the pins of a host catch up with HBM-PIM."""
    aim = pim(machine("gddr6_aim"))
    one = np.asarray(1)
    yield Row("ticks of a row", "GDDR6-AiM, 64 columns used once", 226.0, float(aim.stream_cycles(one * 64, one)),
              "ticks of 0.5 ns", 0.001, "63 tCCD + tRTP + tRP + tRCD_MAC")  # fmt: skip
    for record in table(__package__, "cycles.csv"):
        yield _aim(record, aim) if record["system"] == "GDDR6-AiM" else _attacc(record)
    yield from _cent()
    yield from _crossover()


def _aim(record: Mapping[str, str], aim: PimArray) -> Row:
    n = np.asarray(1024)
    what = record["level"]
    published, source = float(record["cycles"]), record["source"]
    if what.startswith("MAC_ABK"):
        cycles = float(aim.stream_cycles(n * aim.device.columns, n))
        return Row("ticks", f"GDDR6-AiM, {what}", published, cycles, "ticks of 0.5 ns", 0.001, source)
    if what.startswith("WR_ABK"):
        cycles = float(aim.fill_cycles(n * 4, n))
        return Row("ticks", f"GDDR6-AiM, {what}", published, cycles, "ticks of 0.5 ns", 0.1, source)
    cycles = float(aim.result_cycles(n * aim.device.burst_bytes * aim.device.channels))
    return Row("ticks", f"GDDR6-AiM, {what}", published, cycles, "ticks of 0.5 ns", 0.1, source)


def _attacc(record: Mapping[str, str]) -> Row:
    limited = record["power_limited"] == "true"
    level, heads, length = record["level"], int(record["heads"]), int(record["length"])
    cycles = attention_cycles(attacc_stack(level, limited), heads, length)
    where = f"AttAcc at {level}, {heads} heads, {length} tokens{', power limited' if limited else ''}"
    return Row("cycles", where, float(record["cycles"]), float(cycles), "cycles", 0.1, record["source"])


@cache
def token_seconds(channels: int, pins: int, linked: bool, model: str, context: int) -> tuple[float, float]:
    """Seconds of a decoded token of one sequence on CENT with so many channels: in products of weights, and in all
    else."""
    changes = (("memories.dram.channels", channels), ("units.pim.pins", pins), *(CENT_CXL if linked else ()))
    workload = load_model(model, phase="decode", context=context)
    report = simulate(machine("cent", changes), workload, mapper="pim")
    of_weights = {
        e.name
        for e, _ in workload.einsums()
        if workload.tensors[workload.storage(e.inputs[-1].tensor)].role is Role.WEIGHT
    }
    in_banks = sum(float(o.cycles) for o in report.operators if o.unit == "pim" and o.name in of_weights)
    seconds = report.latency_s * in_banks / float(report.cycles)
    return seconds, report.latency_s - seconds


def pipelined(model: str, context: int, devices: int, channels: int = 32) -> float:
    """Tokens per second of stages of whole layers on a device each, with a token in every stage; the host comes after
    the last one."""
    return devices / (sum(token_seconds(channels, 1, False, model, context)) + CENT_HOST_SECONDS)


def tensor_parallel(model: str, context: int, devices: int, channels: int = 32) -> float:
    """Tokens per second of one token at a time: products of weights on all devices, each with pins of its own and a CXL
    hop away; the caches and all else on one."""
    products, _ = token_seconds(channels * devices, devices, True, model, context)
    _, rest = token_seconds(channels, 1, False, model, context)
    return 1 / (products + rest + CENT_HOST_SECONDS)


def _cent(devices: int = 8) -> Iterator[Row]:
    """Eight devices as a pipeline of 32 layers, and with every product of weights spread over all of them."""
    for name, published, tokens in (("pipelined", 2493.0, pipelined), ("tensor-parallel", 598.5, tensor_parallel)):
        rates = [tokens("llama-2-7b", context, devices) for context in CENT_CONTEXTS]
        yield Row("tokens per second", f"CENT, Llama2-7B, {name}", published, sum(rates) / len(rates), "tokens/s",
                  0.15, CENT_SOURCE, CENT_NOTE)  # fmt: skip


def gemv_seconds(unit: PimArray, size: int, batch: int) -> float:
    """Seconds of a square product with so many vectors in the memory, in its best layout."""
    n, one = np.array([size]), np.array([1])
    best = min(
        int(unit.refreshed(
            unit.stream_cycles(lay.bursts, lay.rows) * batch + unit.pin_cycles(lay.inputs * 2 * batch)
            + unit.result_cycles(lay.results * 2 * batch)
        )[0])
        for lay in (unit.layout(n, n, one, 2**i, 16) for i in range(unit.units.bit_length()))
    )  # fmt: skip
    return best * unit.device.clock_s


def host_seconds(unit: PimArray, size: int, batch: int) -> float:
    """Seconds of it on a host at the pins of the same memory: the longer of its traffic and its arithmetic."""
    moved = 2 * (size * size + 2 * size * batch)
    return max(moved / unit.device.peak_bandwidth, 2 * size * size * batch / GPU_FLOPS)


def _crossover() -> Iterator[Row]:
    unit = pim(machine("hbm_pim"))
    ratio = unit.internal_bandwidth / unit.device.peak_bandwidth
    yield Row("bandwidth inside over pins", "HBM-PIM", 4.0, ratio, "ratio", 0.01,
              "Lee et al., ISCA 2021: 8 units of 32 B per two tCCD_S against one burst")  # fmt: skip
    for size in SIZES:
        gains = {b: host_seconds(unit, size, b) / gemv_seconds(unit, size, b) for b in BATCHES}
        for batch, gain in gains.items():
            published = 8.9 if batch == 1 and size == 4096 else None
            note = "against a roofline of the pins; 8.9 was measured against kernels of a GPU" if published else (
                "no figure is published for this size and batch")  # fmt: skip
            yield Row("speed-up over the host", f"HBM-PIM, {size} x {size}, batch {batch}", published, gain, "ratio",
                      None, "Lee et al., ISCA 2021 (recalled)", note)  # fmt: skip
        last = max((b for b, gain in gains.items() if gain >= 1), default=0)
        yield Row("largest batch at which memory is faster", f"HBM-PIM, {size} x {size}", None, last, "vectors", None,
                  "accelsim", "no figure is published")  # fmt: skip


def figure(rows: Sequence[Row]) -> dict[str, object]:
    """Speed-up of HBM-PIM over a host at its pins, over the batch, for every size of matrix."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        if row.quantity == "speed-up over the host" and row.accelsim is not None:
            _, size, batch = row.where.split(", ")
            lines.setdefault(size, []).append((int(batch.split()[1]), row.accelsim))
    data = [{"type": "scatter", "name": size, "x": [b for b, _ in points], "y": [g for _, g in points]}
            for size, points in lines.items()]  # fmt: skip
    axes = {"xaxis": {"title": "vectors at a time", "type": "log"},
            "yaxis": {"title": "host's time over the memory's", "type": "log"}}  # fmt: skip
    return {"data": data, "layout": axes}
