"""One token of a model whose FFN lies in flash: layer by layer, loads, memory management and computing as tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

from ...components.base import server_rate
from ...engine import compiled
from ...engine.program import Server
from ...ir import Role
from ...lowering.sites import SiteProblem, Stage, Task, Way, program_of
from ...mappers.offload.reads import DRIVE, Drive
from ...workloads.huggingface import load_config
from ...workloads.transformer import Bits, Mlp, Transformer, build
from ...workloads.zoo import load
from ..loader import Changes, figures_of, table

TICK_HZ = 10**9
BYTES = 2
"""Of a weight: 16 bits."""
PROCESSOR = "processor"
CALIBRATED = "opt-6.7b"
"""The model whose dense computing gives the processor's rate."""


@dataclass(frozen=True)
class Scheme:
    """What is loaded for a token.

    Attributes:
        loaded: share of an FFN's neurons that come from flash; None: all weights do, one matrix after the other.
        held: share of an FFN's neurons that are in DRAM when it is computed.
        resident: share of all weights that stay in DRAM where everything else is loaded.
        bundled: the rows and columns of a neuron lie together.
        fast: chunks come at the sequential rate (a drive that serves them from deep queues).
        managed: rows of neurons that leave are moved, and those that come are written.
    """

    loaded: str | None
    held: str = ""
    resident: float = 0.0
    bundled: bool = True
    fast: bool = False
    managed: bool = True


NAIVE = Scheme(None)
WINDOW = Scheme("new share", "window share")


@dataclass(frozen=True)
class Token:
    """Seconds of one token: `io_s` alone, and all; bytes that come from flash, and share of the model in DRAM."""

    io_s: float
    seconds: float
    flash_bytes: int
    resident: float


@dataclass(frozen=True)
class Sizes:
    """Bytes of a model: all weights, one layer's FFN, one layer's other weights with its part of the embeddings."""

    model: int
    ffn: int
    other: int
    layers: int
    neurons: int
    row: int
    matrices: int


@cache
def figures(changes: Changes = ()) -> Mapping[str, float]:
    """The machine's table in SI units, with changes."""
    return figures_of(table(__package__ or "", "machine.csv"), changes)


@cache
def sizes(name: str) -> Sizes:
    """Of a model of the zoo."""
    spec: Transformer = load_config(load(name), name=name).spec
    model = build(spec, "decode", 1, 1, 1, "last", Bits(16, 16, 16)).bytes_by_role()[Role.WEIGHT]
    mlp = spec.layers[0].mlp
    assert isinstance(mlp, Mlp)  # experts are not loaded by neurons
    matrices = 3 if mlp.gated else 2
    ffn = matrices * mlp.intermediate * spec.hidden * BYTES
    layers = len(spec.layers)
    return Sizes(model, ffn, model // layers - ffn, layers, mlp.intermediate, spec.hidden * BYTES, matrices)


def drive(on: Mapping[str, float]) -> Drive:
    measured = ((4096, on["chunks of 4 KiB"]), (32768, on["chunks of 32 KiB"]))
    return Drive(on["sequential"], round(on["threads"]), measured)


@cache
def token(name: str, scheme: Scheme, changes: Changes = ()) -> Token:
    """One token on the CPU, simulated; without computing and memory management for the time of I/O alone."""
    io = _simulated(name, scheme, changes, alone=True)
    total = _simulated(name, scheme, changes, alone=False)
    size, on = sizes(name), figures(changes)
    if scheme.loaded is None:
        return Token(io, total, round(size.model * (1 - scheme.resident)), scheme.resident)
    held = size.layers * (size.other + on[scheme.held] * size.ffn) + on["predictor share"] * size.model
    return Token(io, total, size.layers * _chunks(size, on, scheme) * _chunk(size, scheme), held / size.model)


def _chunk(size: Sizes, scheme: Scheme) -> int:
    return size.row * (size.matrices if scheme.bundled else 1)


def _chunks(size: Sizes, on: Mapping[str, float], scheme: Scheme) -> int:
    """That one layer loads."""
    assert scheme.loaded is not None
    return round(size.neurons * on[scheme.loaded]) * (1 if scheme.bundled else size.matrices)


def _simulated(name: str, scheme: Scheme, changes: Changes, *, alone: bool) -> float:
    size, on = sizes(name), figures(changes)
    tasks = [*_naive(size, scheme)] if scheme.loaded is None else [*_sparse(size, on, scheme)]
    if alone:
        tasks = [Task(t.name, t.ways) for t in tasks if t.name == "load"]
    rate = server_rate(PROCESSOR, sizes(CALIBRATED).model / on["computing on the CPU"], Fraction(TICK_HZ))
    servers = {**drive(on).servers(TICK_HZ), PROCESSOR: Server(PROCESSOR, rate)}
    problem = SiteProblem(name, TICK_HZ, servers, tuple(tasks), repeats=size.layers)
    trace = compiled.run(program_of(problem, [0] * len(tasks)))
    return trace.finish / TICK_HZ


def _naive(size: Sizes, scheme: Scheme) -> list[Task]:
    """All that does not stay comes, and then it is computed with."""
    nbytes = round(size.model * (1 - scheme.resident)) // size.layers
    load_ = Task("load", (Way("flash", (Stage("weights", DRIVE, nbytes),)),))
    return [load_, _on_processor("compute", size.model // size.layers, "load")]


def _sparse(size: Sizes, on: Mapping[str, float], scheme: Scheme) -> list[Task]:
    """The predictor runs with attention; then neurons come, take their places, and the FFN is computed."""
    assert scheme.loaded is not None
    attention = size.other + round(size.model * on["predictor share"]) // size.layers
    chunk, chunks = _chunk(size, scheme), _chunks(size, on, scheme)
    if scheme.fast:
        stages = [Stage("neurons", DRIVE, chunk * chunks)]
    else:
        stages = drive(on).stages("neurons", chunks, chunk, TICK_HZ, (), 0)
    found = [_on_processor("attend", attention), Task("load", (Way("flash", tuple(stages)),), ("attend",))]
    if scheme.managed:
        # as many rows fill gaps as come, and each is read and written
        found.append(_on_processor("manage", 2 * 2 * chunk * chunks, "load"))
    found.append(_on_processor("compute", round(size.ffn * on[scheme.held]), found[-1].name))
    return found


def _on_processor(name: str, nbytes: int, after: str = "") -> Task:
    return Task(name, (Way(PROCESSOR, (Stage(name, PROCESSOR, nbytes),)),), (after,) if after else ())
