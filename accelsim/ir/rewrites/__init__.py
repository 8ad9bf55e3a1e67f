"""Rewrites of cascades that keep their value, and a search over them for fewer passes."""

from .check import same_value, shrunk
from .defer import defer
from .running import running
from .search import Rewritten, Step, fewest_passes
from .split import reassociate, split_rank
from .terms import NotApplicable

__all__ = [
    "NotApplicable",
    "Rewritten",
    "Step",
    "defer",
    "fewest_passes",
    "reassociate",
    "running",
    "same_value",
    "shrunk",
    "split_rank",
]
