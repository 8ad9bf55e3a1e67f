"""Studies: sweeps over machines, models and mappers, their store, and what they show."""

from .outcome import Evaluate, Outcome, Status
from .pool import WorkerDied, WorkerPool
from .run import run_sweep
from .study import Study
from .sweep import Axis, Model, Point, Scalar, Sweep

__all__ = [
    "Axis",
    "Evaluate",
    "Model",
    "Outcome",
    "Point",
    "Scalar",
    "Status",
    "Study",
    "Sweep",
    "WorkerDied",
    "WorkerPool",
    "run_sweep",
]
