"""Rows of whole serving runs: constants, errors beside those of a calibrated roofline, and whether they are near."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import exp, log

import numpy as np

from ...serving.llm.costs import Overheads
from ...serving.llm.deployment import deploy
from ...study.calibrate import Constants, Errors
from ..loader import Row
from .serving import DEVICES, WANTED, Served, bare_error, constants_of, overheads_of, scenario_of, served, signed_error


@dataclass(frozen=True)
class Flat:
    """A run by a roofline, on one socket: MACs of a token, bytes of weights and of a token's keys and values, peaks."""

    macs: float
    weights: float
    token_bytes: float
    peak: float
    bandwidth: float
    at_once: int
    """Requests that find room for all their tokens."""

    def seconds(self, row: Served, c: Constants) -> float:
        """Prefill and decodes of as many rounds as it takes; each step takes `c.launch_s` besides."""
        prompt, output = row.tokens
        total, left = 0.0, row.batch
        contexts = prompt + np.arange(1, output)
        while left:
            n = min(left, self.at_once)
            compute, memory = self.macs / self.peak / c.compute, 1 / self.bandwidth / c.memory
            total += max(compute * n * prompt, memory * self.weights) + output * c.launch_s
            total += float(np.maximum(compute * n, memory * (self.weights + n * contexts * self.token_bytes)).sum())
            left -= n
        return total


@cache
def flat(row: Served) -> Flat:
    """The roofline of a row's model and sockets at their peaks."""
    d = deploy(scenario_of(row, Constants(), Overheads()))
    fragments = d.costs.stages[0].simulate
    arch = fragments.arch  # type: ignore[attr-defined]
    peak = max(u.peak_rates().get("mac", 0.0) * u.clock_hz for u in arch.units.values())
    each = d.driver.block_bytes / d.driver.block_tokens / row.sockets
    at_once = max(1, d.driver.blocks * d.driver.block_tokens // sum(row.tokens))
    weights = d.placement.weight_bytes
    return Flat(weights / 2, weights, each, peak, d.placement.memory.port("read")[1], at_once)  # type: ignore[index]


@cache
def flat_constants(device: str, software: str) -> Constants:
    """Three constants of the roofline, fitted to the rows that the simulation's are fitted to."""
    from scipy.optimize import least_squares

    rows = [r for r in served() if r.fit and (r.device, r.software) == (device, software)]

    def residuals(x: np.ndarray) -> list[float]:
        c = Constants(exp(x[0]), exp(x[1]), x[2] * 1e-3)
        return [log(flat(r).seconds(r, c) / r.seconds) for r in rows]

    found = least_squares(residuals, [log(0.6), log(0.8), 2.0], bounds=([-4, -4, 0.0], [0.0, 0.0, 100.0])).x
    return Constants(exp(found[0]), exp(found[1]), float(found[2]) * 1e-3)


def flat_error(row: Served) -> float:
    device = DEVICES[row.device].software_of or row.device
    return flat(row).seconds(row, flat_constants(device, row.software)) / row.seconds - 1


def serving_rows() -> Iterator[Row]:
    """By device and software."""
    for (device, software), rows in _sets().items():
        yield from _set(device, software, rows)


def uncalibrated_rows() -> Iterator[Row]:
    """Errors without constants, by device and software."""
    for (device, software), rows in _sets().items():
        held = [r for r in rows if not r.fit]
        yield from _errors(f"{device}, {software}, uncalibrated", Errors.of(map(bare_error, held)), rows[0].source)


def _sets() -> dict[tuple[str, str], list[Served]]:
    found: dict[tuple[str, str], list[Served]] = {}
    for r in served():
        found.setdefault((r.device, r.software), []).append(r)
    return found


def _errors(where: str, e: Errors, source: str) -> Iterator[Row]:
    for what, value in (("mean", e.mean), ("median", e.median), ("95th percentile", e.p95), ("largest", e.maximum)):
        note = f"{e.count} runs that are not fitted"
        yield Row(f"{what} error", where, None, value, "share", None, source, note)


def _set(device: str, software: str, rows: Sequence[Served]) -> Iterator[Row]:
    source, where = rows[0].source, f"{device}, {software}"
    held = [r for r in rows if not r.fit]
    fitted = DEVICES[device].software_of or device
    o, c = overheads_of(fitted, software), constants_of(device)
    runs = f"fitted to {sum(r.fit for r in rows)} runs of llama-3-8b on one and two sockets"
    note = f"{runs if fitted == device else f'those of {fitted}'}; compute {c.compute:g} and memory {c.memory:g} of " \
           f"{DEVICES[device].operators}"  # fmt: skip
    for what, value, unit in (("launch overhead of a kernel", o.kernel_s * 1e6, "us"),
                              ("overhead of an exchange", o.exchange_s * 1e6, "us"),
                              ("share of grouped attention", o.grouped_attention, "share"),
                              ("host's time for a sequence of a step", o.sequence_s * 1e6, "us")):  # fmt: skip
        yield Row(what, where, None, value, unit, None, source, note)
    ours, flats = Errors.of(map(signed_error, held)), Errors.of(map(flat_error, held))
    yield from _errors(f"{where}, calibrated", ours, source)
    yield from _errors(f"{where}, roofline, calibrated", flats, source)
    mean, other = ours.mean, flats.mean
    yield Row(f"mean error below {WANTED:.0%}", where, 1.0, float(mean < WANTED), "", 0.0, source,
              f"it is {mean:.1%}; of runs that are not fitted")  # fmt: skip
    yield Row("mean error below the roofline's", where, 1.0, float(mean < other), "", 0.0, source,
              f"{mean:.1%} and {other:.1%}, of runs not fitted; three constants each, same runs")  # fmt: skip
    for r in held:
        yield Row("latency of a batch", str(r), r.seconds, r.seconds * (1 + signed_error(r)), "s", None, r.source,
                  f"{r.tokens.output} out; judged on average")  # fmt: skip
