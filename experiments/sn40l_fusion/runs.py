"""Passes of models as kernels on SN40L: what runs, on which machine, at which level of fusion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import prod

from ...arch.architecture import Architecture
from ...arch.loader import load_spec
from ...mappers.phases import (
    Fabric,
    Plan,
    Result,
    TaskGraph,
    fabric_of,
    groups,
    operators,
    reconfigurable,
    simulate_plan,
)
from ..loader import table
from .launches import Kernels
from .models import BLOOM, FALCON, SOCKETS, flash_fft_convolution, language_model, modules, partial

LEVELS = ("unfused", "partly fused", "fused")
BY_MODULE = "unfused by module"
"""As `unfused`, with fewer operators, see `models.modules`."""


@dataclass(frozen=True)
class Run:
    """A pass of a language model: a prefill of so many tokens, or a token decoded after them; or a convolution.

    Attributes:
        prompts: of so many tokens each, at once.
        launch_s: seconds of a launch by software on eight sockets; None: the preset's.
    """

    model: str
    phase: str
    tokens: int
    prompts: int = 1
    launch_s: float | None = None

    def __str__(self) -> str:
        return f"{self.model} {self.phase} {self.tokens / 1024:g}K" if self.phase else self.model


FFT_FACTORS, FFT_CHANNELS = (32, 32, 32, 32), 64
"""A million points by four factors, as FlashFFTConv cuts them (arXiv:2311.05908); how many channels is assumed."""
FFT = Run("FlashFFT convolution", "", prod(FFT_FACTORS))
PAPER = (
    *(Run(model, "prefill", 1024 * k) for model, k in (("llama-2-7b", 4), ("mistral-7b", 2), ("mistral-7b", 4),
                                                       (FALCON, 2), ("llama-2-70b", 4), (BLOOM, 8))),
    *(Run(model, "decode", 1024 * k) for model, k in (("llama-2-7b", 4), ("mistral-7b", 2), ("mistral-7b", 4),
                                                      (FALCON, 2), ("llama-2-70b", 4), (BLOOM, 8))),
    FFT,
)  # fmt: skip
"""Table III of the paper, but for what the README names as left out."""
LONGEST = 40
"""Operators in one kernel at most: more than a layer has."""


@dataclass(frozen=True)
class Measured:
    """A model at one level of fusion: seconds, kernel calls, off-chip bytes of one socket."""

    seconds: float
    calls: int
    nbytes: int

    @staticmethod
    def of(results: Sequence[Result]) -> Measured:
        return Measured(
            sum(r.seconds for r in results),
            sum(r.launches for r in results),
            sum(r.read_bytes + r.written_bytes for r in results),
        )


def machine(**values: object) -> Architecture:
    """One socket; `values` replaces keys of the preset."""
    return load_spec("sn40l_kernels").with_values(values).build()


ALONE = {"units.pool.switches": {"hardware": "1 us", "software": "3 us"}}
"""One socket without others: the preset's microsecond for each of three commands, written to it alone."""


def machine_of(run: Run) -> Architecture:
    """The socket as one of eight, or alone: the paper runs the convolution on a single one."""
    alone = not run.phase
    if run.launch_s is None:
        return machine(**ALONE) if alone else machine()
    software = run.launch_s / SOCKETS if alone else run.launch_s
    return machine(**{"units.pool.switches": {"hardware": "1 us", "software": f"{software * 1e9:.0f} ns"}})


def fabric(arch: Architecture, orchestration: str) -> Fabric:
    return fabric_of(arch, orchestration=orchestration, sockets=SOCKETS)


def plans(graphs: Sequence[TaskGraph], on: Fabric, level: str) -> tuple[Plan, ...]:
    """The kernels of every part of a model at a level of fusion."""
    if level == "unfused":
        return tuple(groups(g, on, operators(g), style=level) for g in graphs)
    if level == BY_MODULE:
        return tuple(groups(g, on, modules(g), style=level) for g in graphs)
    if level == "partly fused":
        return tuple(groups(g, on, partial(g), style=level) for g in graphs)
    return tuple(reconfigurable(g, on, longest=LONGEST, units=operators(g), keep=False) for g in graphs)


def run_plans(made: Sequence[Plan], on: Fabric) -> Measured:
    """The same kernels on a machine, or launched in another way."""
    return Measured.of([simulate_plan(replace(p, fabric=on)) for p in made])


def graphs_of(run: Run, on: Fabric) -> tuple[TaskGraph, ...]:
    """What one socket computes in a run."""
    if not run.phase:
        return (flash_fft_convolution(FFT_FACTORS, FFT_CHANNELS),)
    return language_model(run.model, on.pool, phase=run.phase, tokens=run.tokens, batch=run.prompts)


@cache
def kernels(run: Run, level: str) -> tuple[Plan, ...]:
    """The kernels of a run on its machine, made for launches by software."""
    soft = fabric(machine_of(run), "software")
    return plans(graphs_of(run, soft), soft, level)


@cache
def measured(run: Run, level: str) -> tuple[Measured, Measured]:
    """Launched by software and by hardware; the kernels are those made for software."""
    arch = machine_of(run)
    soft, hard = (run_plans(kernels(run, level), fabric(arch, o)) for o in ("software", "hardware"))
    return soft, hard


def references(run: Run) -> Iterator[Mapping[str, str]]:
    """What is published of a run."""
    yield from (r for r in table(__package__, "reference.csv") if r["workload"] == str(run))


IN_RANGE = "in the published range"
TOLERANCES = {"HBM share": 0.05, "speed-up": 0.1, "launch": 0.05}
"""Of published figures that are no ranges."""


def inside(value: float, low: float, high: float) -> float:
    """1 where a value is in a published range, else 0: ranges are printed with one decimal, or none."""
    return float(low <= round(value, 1) <= high)


def without_launches(run: Run, level: str) -> tuple[Kernels, float]:
    """The kernels of a run, and their seconds when launched by hardware."""
    hard = measured(run, level)[1]
    return Kernels(hard.seconds - hard.calls * fabric(machine_of(run), "hardware").switch_s, hard.calls), hard.seconds
