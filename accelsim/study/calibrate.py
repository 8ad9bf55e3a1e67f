"""Calibration: at most three constants of a machine, fitted to measured latencies of operators."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, inf, log, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arch.architecture import Architecture
from ..arch.document import is_preset
from ..arch.loader import RawSpec, load_spec
from ..errors import BadInput
from ..mapping.compulsory import compulsory_traffic
from ..simulation import simulate
from .operator_shapes import Measured, OperatorShape

LEAST_ROWS = 4
"""Rows that three constants and one left out need."""
LEAST_EFFICIENCY = 0.01
KNOTS = (0.5, 1.0, 2.0)
"""Ratios of compute to memory efficiency at which every row to fit is simulated before the first fit."""
BOUND = sqrt(2)
"""A row is bound by what makes it at least so much slower when halved."""
_ROUNDS = 6
_SETTLED, _NEAR = 0.01, 0.05
"""How near in log a ratio that was simulated must be to that of a fit, of all rows and of all but one."""
_LESS = 0.93
"""Share of an efficiency at which a slope is taken."""
_LAUNCH_DIGITS = 10
"""Of seconds: a tenth of a nanosecond."""
_STARTS = ((0.8, 0.8, 0.5), (0.5, 0.9, 0.1), (0.95, 0.5, 0.9))
_BANDWIDTHS = ("bandwidth", "read_bandwidth", "write_bandwidth")


@dataclass(frozen=True)
class Constants:
    """What is fitted of a device.

    Attributes:
        compute: share of its peak rate that the chip reaches, ports of memories on the chip included; 0 to 1.
        memory: share of its peak bandwidth that the memory outside the chip reaches; 0 to 1.
        launch_s: seconds that every operator takes besides.
    """

    compute: float = 1.0
    memory: float = 1.0
    launch_s: float = 0.0


NOMINAL = Constants()
Time = Callable[[OperatorShape, Constants], float]
"""Seconds of an operator, without launch."""


def variant_values(spec: RawSpec, constants: Constants) -> dict[str, str]:
    """What the constants change of a machine, as `RawSpec.with_values` takes it.

    Compute efficiency scales the clock, clocks of units, and the ports of memories on the chip; where a unit says what
    rate it sustains, it scales that alone, and the clock stays. Memory efficiency scales the bandwidth of the memories
    outside the chip. Launch overhead is no part of a machine.

    Raises:
        BadInput: there is no memory with a bandwidth outside the chip.
    """
    arch = spec.build()
    values = {f"units.{name}.sustained": f"{rate * constants.compute:.6g}" for name, rate in _sustained(arch).items()}
    clocked = not values
    if clocked:
        values = {"clock": _hertz(arch.clock * constants.compute)}
        values |= {f"units.{name}.clock": _hertz(unit.clock * constants.compute)
                   for name, unit in arch.units.items() if unit.clock is not None}  # fmt: skip
    outside = 0
    for name, memory in arch.memories.items():
        written: Mapping[str, Any] = spec.document.data["memories"][name]
        for key in _BANDWIDTHS:
            rate, text = getattr(memory, key, None), str(written.get(key, ""))
            if rate is None or key not in written or not np.isfinite(rate):
                continue
            if not memory.on_chip:
                outside += 1
                values[f"memories.{name}.{key}"] = _rate(rate * constants.memory)
            elif clocked and "cycle" not in text:
                values[f"memories.{name}.{key}"] = _rate(rate * constants.compute)
    if not outside:
        raise BadInput(f"{spec.name}: no memory outside the chip has a bandwidth to scale (one with `bandwidth`)")
    return values


def _sustained(arch: Architecture) -> dict[str, float]:
    """Units that say what share of their peak rate they sustain."""
    return {name: rate for name, unit in arch.units.items() if (rate := getattr(unit, "sustained", None)) is not None}


def _hertz(value: float) -> str:
    return f"{max(1, round(value))} Hz"


def _rate(value: float) -> str:
    return f"{max(1, round(value))} B/s"


@dataclass(eq=False)
class Predictor:
    """Simulated seconds of operators on a machine with constants, each simulated once."""

    spec: RawSpec
    known: dict[tuple[OperatorShape, float, float], float] = field(default_factory=dict)
    _machines: dict[tuple[float, float], Architecture] = field(default_factory=dict)

    def __call__(self, shape: OperatorShape, constants: Constants) -> float:
        key = (shape, constants.compute, constants.memory)
        if key not in self.known:
            arch = self._machine(constants)
            self.known[key] = simulate(arch, shape.workload(), mapper=shape.mapper, tables=False).latency_s
        return self.known[key]

    @property
    def keeps_clock(self) -> bool:
        """Whether compute efficiency is a rate that a unit sustains, at a clock that stays."""
        return bool(_sustained(self._machine(NOMINAL)))

    def _machine(self, constants: Constants) -> Architecture:
        key = (constants.compute, constants.memory)
        if key not in self._machines:
            values = {} if key == (1.0, 1.0) else variant_values(self.spec, constants)
            self._machines[key] = self.spec.with_values(values).build()
        return self._machines[key]


@dataclass(eq=False)
class Roofline:
    """Seconds of operators by MACs over the peak rate of the fastest unit, or compulsory bytes over the bandwidth."""

    spec: RawSpec
    known: dict[OperatorShape, tuple[float, float]] = field(default_factory=dict)

    def __call__(self, shape: OperatorShape, constants: Constants) -> float:
        if shape not in self.known:
            self.known[shape] = self._terms(shape)
        compute, memory = self.known[shape]
        return max(compute / constants.compute, memory / constants.memory)

    def _terms(self, shape: OperatorShape) -> tuple[float, float]:
        arch, workload = self.spec.build(), shape.workload()
        peak = max(u.peak_rates().get("mac", 0.0) * u.clock_hz for u in arch.units.values())
        rates = [r for m in arch.memories.values() if not m.on_chip and (r := getattr(m, "bandwidth", None))]
        if not rates or not peak:
            raise BadInput(f"{self.spec.name}: a roofline needs a unit that multiplies and a memory outside the chip")
        traffic = compulsory_traffic(workload)
        macs = workload.macs if shape.operator == "matmul" else 0
        return macs / peak, (traffic.read_bytes + traffic.write_bytes) / max(rates)


@dataclass(frozen=True)
class Errors:
    """Absolute relative errors of rows: mean, median, 95th percentile and maximum."""

    count: int
    mean: float
    median: float
    p95: float
    maximum: float

    @staticmethod
    def of(values: Iterable[float]) -> Errors:
        """Raises BadInput where there is none."""
        errors = np.abs(np.array(list(values)))
        if not errors.size:
            raise BadInput("errors of no rows")
        return Errors(errors.size, float(errors.mean()), float(np.median(errors)), float(np.percentile(errors, 95)),
                      float(errors.max()))  # fmt: skip


@dataclass(frozen=True)
class Calibration:
    """Constants, and how well they do.

    Attributes:
        constants: the fitted ones.
        compute_bound, memory_bound: rows of the fit whose time is decided by either on the machine as it stands.
        fitted: signed relative error of each row of the fit.
        left_out: the same, each predicted with constants fitted to all the others.
    """

    constants: Constants
    compute_bound: tuple[OperatorShape, ...]
    memory_bound: tuple[OperatorShape, ...]
    fitted: tuple[float, ...]
    left_out: tuple[float, ...]


def relative_error(time: Time, row: Measured, constants: Constants) -> float:
    """Signed, of the predicted latency with its launch."""
    return (time(row.shape, constants) + constants.launch_s) / row.seconds - 1


def calibrate(rows: Sequence[Measured], time: Time, *, leave_out: bool = True) -> Calibration:
    """Fit constants to `rows` by least squares on the log of predicted over measured.

    The time at (compute c, memory m) is that at (c/m, 1) over m, but for latencies of memories. So rows are simulated
    at `KNOTS`, and at the ratio of each fit in turn until it settles, and the fit takes powers of the ratio between
    them. Where the clock stays that is no more than a first guess: rows are then simulated at the constants of each fit
    and beside them, and the fit follows the slopes. Errors are of the constants found, simulated. Without `leave_out`
    no row is left out, and `left_out` is empty.

    Raises:
        BadInput: there are fewer than `LEAST_ROWS` rows, or none that compute, or none that memory decides.
    """
    if len(rows) < LEAST_ROWS:
        raise BadInput(f"{len(rows)} rows to fit three constants (at least {LEAST_ROWS})")
    kind = _Slopes if isinstance(time, Predictor) and time.keeps_clock else _Curve
    curves = [kind(row, time) for row in rows]
    by_compute = tuple(c.row.shape for c in curves if c.at(0.5) > BOUND * c.at(1.0))
    by_memory = tuple(c.row.shape for c in curves if 2 * c.at(2.0) > BOUND * c.at(1.0))
    _both(rows, by_compute, by_memory)
    found = _settled(curves, curves, _SETTLED)
    found = Constants(round(found.compute, 4), round(found.memory, 4), round(found.launch_s, _LAUNCH_DIGITS))
    left_out = []
    for i, curve in enumerate(curves if leave_out else ()):
        others = _settled(curves[:i] + curves[i + 1 :], curves, _NEAR)
        left_out.append(exp(curve.residual(others)) - 1)
    fitted = tuple(relative_error(time, row, found) for row in rows)
    return Calibration(found, by_compute, by_memory, fitted, tuple(left_out))


def _both(rows: Sequence[Measured], by_compute: Sequence[object], by_memory: Sequence[object]) -> None:
    for what, some, example in (
        ("compute", by_compute, "a matmul of thousands of rows"),
        ("memory", by_memory, "a matmul of few rows, or an elementwise operator"),
    ):
        if not some:
            told = ", ".join(str(r.shape) for r in rows[:3])
            raise BadInput(f"the {len(rows)} rows to fit ({told} ...): the time of none is decided by {what}, so its "
                           f"efficiency cannot be told (add {example})")


class _Curve:
    """The time of a row over the ratio of compute to memory efficiency, from a few simulations."""

    def __init__(self, row: Measured, time: Time) -> None:
        self.row, self._time = row, time
        self._logs: dict[float, float] = {}
        for ratio in KNOTS:
            self._knot(ratio)

    def at(self, ratio: float) -> float:
        """Seconds at a knot, with memory at its peak."""
        return exp(self._logs[log(ratio)])

    def add(self, found: Constants) -> None:
        """Simulate what tells more of the time near `found`."""
        self._knot(found.compute / found.memory)

    def distance(self, found: Constants) -> float:
        """In log, to what was simulated."""
        return float(np.abs(self._x - log(found.compute / found.memory)).min())

    def residual(self, constants: Constants) -> float:
        """Log of predicted over measured."""
        return float(log(self._seconds(constants) + constants.launch_s) - log(self.row.seconds))

    def _knot(self, ratio: float) -> None:
        slow = min(1.0, 1 / ratio)  # neither is above its peak
        seconds = slow * self._time(self.row.shape, Constants(min(ratio, 1.0), slow))
        self._logs[log(ratio)] = log(seconds)
        self._x = np.array(sorted(self._logs))
        self._y = np.array([self._logs[x] for x in self._x])

    def _seconds(self, constants: Constants) -> float:
        x = log(constants.compute / constants.memory)
        i = min(max(int(np.searchsorted(self._x, x)) - 1, 0), len(self._x) - 2)
        share = (x - self._x[i]) / (self._x[i + 1] - self._x[i])
        return float(exp(self._y[i] + share * (self._y[i + 1] - self._y[i])) / constants.memory)


class _Slopes(_Curve):
    """The time of a row near constants at which it was simulated, by its slopes in log along both efficiencies."""

    def __init__(self, row: Measured, time: Time) -> None:
        super().__init__(row, time)
        self._points: list[tuple[float, float, float, float, float]] = []

    def add(self, found: Constants) -> None:
        c, m = found.compute, found.memory
        here, less_c, less_m = (
            log(self._time(self.row.shape, Constants(a, b))) for a, b in ((c, m), (c * _LESS, m), (c, m * _LESS))
        )
        self._points.append((log(c), log(m), here, (less_c - here) / log(_LESS), (less_m - here) / log(_LESS)))

    def distance(self, found: Constants) -> float:
        c, m = log(found.compute), log(found.memory)
        return min((max(abs(p[0] - c), abs(p[1] - m)) for p in self._points), default=inf)

    def _seconds(self, constants: Constants) -> float:
        if not self._points:
            return super()._seconds(constants)
        c, m = log(constants.compute), log(constants.memory)
        near = min(self._points, key=lambda p: max(abs(p[0] - c), abs(p[1] - m)))
        return exp(near[2] + near[3] * (c - near[0]) + near[4] * (m - near[1]))


def _settled(used: Sequence[_Curve], curves: Sequence[_Curve], near: float) -> Constants:
    """Fit to `used` until all `curves` were simulated near the fit."""
    found = _fit(used)
    for _ in range(_ROUNDS):
        if curves[0].distance(found) < near:
            break
        for curve in curves:
            curve.add(found)
        found = _fit(used)
    return found


def _fit(curves: Sequence[_Curve]) -> Constants:
    """The best of fits from several starts; launch is at most the shortest latency."""
    from scipy.optimize import least_squares

    shortest = min(c.row.seconds for c in curves)

    def constants(x: NDArray[np.float64]) -> Constants:
        return Constants(exp(x[0]), exp(x[1]), float(x[2]) * shortest)

    def residuals(x: NDArray[np.float64]) -> list[float]:
        found = constants(x)
        return [c.residual(found) for c in curves]

    limits = ([log(LEAST_EFFICIENCY), log(LEAST_EFFICIENCY), 0.0], [0.0, 0.0, 1.0])
    fits = [least_squares(residuals, [log(a), log(b), c], bounds=limits) for a, b, c in _STARTS]
    return constants(min(fits, key=lambda f: f.cost).x)


def variant_yaml(ref: str, out: Path | None, name: str, constants: Constants) -> str:
    """A machine file that extends `ref`; a path in it is relative to the folder of `out`.

    Raises:
        BadInput: see `variant_values`.
    """
    spec = load_spec(ref)
    base = ref if is_preset(ref) else json.dumps(os.path.relpath(ref, out.parent if out is not None else "."))
    tree: dict[str, Any] = {}
    for dotted, value in variant_values(spec, constants).items():
        *path, last = dotted.split(".")
        into = tree
        for key in path:
            into = into.setdefault(key, {})
        into[last] = value
    lines = [
        f"name: {name}",
        f"extends: {base}",
        "description: >-",
        f"  {spec.name} calibrated: compute efficiency {constants.compute:g}, memory efficiency {constants.memory:g}.",
        f"  To every operator add a launch overhead of {constants.launch_s:.4g} s, which no component here has.",
    ]
    return "\n".join([*lines, *_lines(tree, 0)]) + "\n"


def _lines(tree: Mapping[str, Any], depth: int) -> list[str]:
    found = []
    for key, value in tree.items():
        if isinstance(value, dict):
            found += [f"{'  ' * depth}{key}:", *_lines(value, depth + 1)]
        else:
            found.append(f"{'  ' * depth}{key}: {value}")
    return found
