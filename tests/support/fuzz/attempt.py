"""What accelsim makes of a case: a result, a refusal with a message, or a fault."""

from __future__ import annotations

import json
import math
import resource
import signal
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from accelsim.errors import AccelsimError

from .cases import Case
from .seeds import POOL_MACHINE, SMALL_MACHINE, workload

if TYPE_CHECKING:
    from accelsim.ir import Workload

LARGEST_MESSAGE = 200_000
"""Characters of a refusal."""
MOST_MACS = 20_000
MOST_OPERATORS = 40
"""A model that loads is simulated up to this size."""
MOST_FIRINGS = 20_000
"""A stream graph that loads is run up to this size."""
MOST_POINTS = 5000
"""Points of a sweep that are listed."""
MEMORY_BYTES = 3 * 2**30
"""Address space that a case may take beyond what the process has."""


@dataclass(frozen=True)
class Outcome:
    """`detail` is the message of a refusal, or the traceback of a fault."""

    kind: Literal["done", "refused", "fault"]
    detail: str
    seconds: float


class Hang(BaseException):
    """Raised in the middle of a case that takes too long; nothing that catches Exception stops it."""


class WrongResult(Exception):
    """A run that ended without an error and gave something that is none."""


def attempt(case: Case, folder: Path, *, limit_s: int = 60) -> Outcome:
    """Write the file of a case into a folder and do with it what the command line does.

    Args:
        case: what to write.
        folder: a scratch folder.
        limit_s: after so many seconds of the processor the case counts as hanging.
    """
    path = folder / f"{case.number}-{case.name}"
    path.write_bytes(case.content)
    start = time.perf_counter()
    try:
        with _limits(limit_s), warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # an overflow or a NaN on the way to a result
            _USES[case.family](path, case)
    except AccelsimError as error:
        wrong = _wrong_refusal(error)
        if wrong:
            return Outcome("fault", f"{wrong}\n{traceback.format_exc()}", time.perf_counter() - start)
        return Outcome("refused", str(error), time.perf_counter() - start)
    except (Exception, Hang):
        return Outcome("fault", traceback.format_exc(), time.perf_counter() - start)
    finally:
        path.unlink()
    return Outcome("done", "", time.perf_counter() - start)


def _wrong_refusal(error: AccelsimError) -> str:
    message = str(error)
    if not message.strip():
        return "a refusal without a message"
    if len(message) > LARGEST_MESSAGE:
        return f"a message of {len(message)} characters"
    return "a bug that is told as the user's" if "please report" in message else ""


@contextmanager
def _limits(seconds: int) -> Iterator[None]:
    """Stop at so many seconds of the processor, or twenty times as many by the clock, for it may have others to serve;
    refuse memory beyond reason, instead of taking the machine down."""

    def stop(*_: object) -> None:
        raise Hang(f"more than {seconds} s")

    before = {of: signal.signal(of, stop) for of in (signal.SIGPROF, signal.SIGALRM)}
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.alarm(20 * seconds)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, hard))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        for of, handler in before.items():
            signal.signal(of, handler)


# -- what the command line does with each kind -----------------------------------------------------------------------


def _machine(path: Path, case: Case) -> None:
    from accelsim import simulate
    from accelsim.arch.loader import load_spec, loads_architecture

    if path.suffix == ".csv":
        arch = loads_architecture(f"{SMALL_MACHINE}tables: {path.name}\n", folder=path.parent)
    else:
        arch = load_spec(path).build()
    _check(simulate(arch, workload("chain"), objective=("latency", "energy", "edp")[case.number % 3]))


def _sweep(path: Path, case: Case) -> None:
    from accelsim.study.evaluation import machine, model
    from accelsim.study.sweep_file import load_sweep

    sweep = load_sweep(path)
    if sweep.sample is not None and sweep.sample.points > MOST_POINTS:
        return
    if sweep.sample is None and math.prod(len(a.steps) for a in sweep.axes) > MOST_POINTS:
        return
    for point in sweep.points()[:2]:
        machine(point.arch, point.arch_values)
        model(point.model, point.model_options)


def _model(path: Path, case: Case) -> None:
    from accelsim.workloads import load_model

    _run(load_model(path, allow_unknown=case.number % 2 == 0 and case.family == "onnx"))


def _config(path: Path, case: Case) -> None:
    from accelsim.workloads import load_model

    seq = None if case.name.startswith("vit") else 4  # an image has as many tokens as it has
    _run(load_model(path, phase="decode" if case.number % 2 else "prefill", seq=seq))


def _mapping(path: Path, case: Case) -> None:
    from accelsim import simulate
    from accelsim.mapping import load_mapping

    model = workload("transformer" if case.name == "transformer.yaml" else "chain")
    _check(simulate(_small_machine(), model, mapping=load_mapping(path)))


def _constraints(path: Path, case: Case) -> None:
    from accelsim import simulate
    from accelsim.mapping import load_constraints

    _check(simulate(_small_machine(), workload("chain"), constraints=load_constraints(path)))


def _stream(path: Path, case: Case) -> None:
    from accelsim.cli.stream import described
    from accelsim.lowering.streams import dumps_graph, load_graph, loads_graph, run_graph

    graph = load_graph(path)
    if loads_graph(dumps_graph(graph)).firings != graph.firings:
        raise WrongResult("a graph that is not read back as it was written")
    if sum(graph.firings) > MOST_FIRINGS:
        return
    result = run_graph(graph, record=MOST_FIRINGS, jump=False)
    told = described(result, result.trace)
    json.dumps(told, allow_nan=False)
    if result.cycles < 0 or result.bound_cycles > result.cycles:
        raise WrongResult(f"{result.cycles} cycles, and {result.bound_cycles} at least")


def _phases(path: Path, case: Case) -> None:
    from accelsim import simulate
    from accelsim.arch import loads_architecture
    from accelsim.mapping import dumps_mapping, load_mapping, loads_mapping

    model = workload("transformer" if case.name == "transformer.yaml" else "attention")
    mapping = load_mapping(path)
    if loads_mapping(dumps_mapping(mapping)) != mapping:
        raise WrongResult("a mapping that is not read back as it was written")
    _check(simulate(loads_architecture(POOL_MACHINE), model, mapping=mapping))


_USES: dict[str, Callable[[Path, Case], None]] = {
    "machine": _machine, "sweep": _sweep, "onnx": _model, "text": _model, "config": _config, "mapping": _mapping,
    "constraints": _constraints, "stream": _stream, "phases": _phases,
}  # fmt: skip


def _small_machine() -> Any:
    from accelsim.arch import loads_architecture

    return loads_architecture(SMALL_MACHINE)


def _run(model: Workload) -> None:
    from accelsim import simulate

    if model.macs <= MOST_MACS and sum(model.operations().counts.values()) <= 10 * MOST_MACS and (
        len(list(model.einsums())) <= MOST_OPERATORS
    ):
        _check(simulate(_small_machine(), model))


def _check(report: Any) -> None:
    """A Report must say numbers. Raises WrongResult."""
    told = report.to_json()
    json.dumps(told, allow_nan=False)
    for name in ("cycles", "latency_s", "energy_J"):
        if told[name] is None or told[name] < 0:
            raise WrongResult(f"{name} is {getattr(report, name)}")
