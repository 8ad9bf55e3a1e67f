"""Pipelines: cascades of Einsums as streaming dataflow."""

from .build import Timing, stream_graph
from .stages import Link, Stage, Stages, build_stages

__all__ = ["Link", "Stage", "Stages", "Timing", "build_stages", "stream_graph"]
