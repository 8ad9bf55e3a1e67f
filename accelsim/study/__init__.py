"""Studies: sweeps over machines, models and mappers, their store, and what they show."""

from .compare import compare_points, compare_studies
from .expression import Expression
from .expression_parser import ExpressionError
from .outcome import Evaluate, Outcome, Status
from .pool import WorkerDied, WorkerPool
from .run import run_sweep
from .sample import Sample
from .search import Search
from .span import Span
from .study import Study
from .sweep import Axis, Model, Point, Scalar, Sweep

__all__ = [
    "Axis",
    "Evaluate",
    "Expression",
    "ExpressionError",
    "Model",
    "Outcome",
    "Point",
    "Sample",
    "Scalar",
    "Search",
    "Span",
    "Status",
    "Study",
    "Sweep",
    "WorkerDied",
    "WorkerPool",
    "compare_points",
    "compare_studies",
    "run_sweep",
]
