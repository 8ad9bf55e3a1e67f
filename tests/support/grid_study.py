"""A small grid whose results are plain sums: latency is 1000 / a + b, energy a + b."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accelsim.study import Axis, Evaluate, Model, Study, Sweep, run_sweep

from . import evaluators

A, B = Axis.of("arch.a", list(range(1, 7))), Axis.of("arch.b", [10, 20, 30])


def run(folder: Path, evaluate: Evaluate = evaluators.arithmetic, *, resume: bool = False,
        retry_failed: bool = False, **changes: Any) -> Study:  # fmt: skip
    """Latency is 1000 / a + b, energy a + b."""
    sweep = Sweep(**{"archs": ("m",), "models": (Model("w"),), "axes": (A, B), "name": "grid", **changes})
    return run_sweep(sweep, folder, jobs=0, resume=resume, retry_failed=retry_failed, evaluate=evaluate,
                     identify=evaluators.identify)  # fmt: skip


def pairs() -> list[tuple[int, int]]:
    return [(a, b) for a in range(1, 7) for b in (10, 20, 30)]
