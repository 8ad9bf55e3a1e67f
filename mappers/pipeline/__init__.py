"""Pipelines: cascades of Einsums as streaming dataflow, on as many units as a budget has.

`build_stages` makes stages and streams of a cascade, `stream_graph` the graph that runs (`accelsim.lowering.streams`),
`full_rate_depths` and `trade_off` find FIFO depths, `plan_pipeline` allots resources and cuts into kernels where a
cascade does not fit, or is faster so, `fastest_pipeline` also chooses the ranks along which tokens are vectors.
"""

from .allot import Allotment, Budget, Lanes, allot
from .build import Timing, stream_graph
from .evaluate import Point
from .kernels import Kernel, Transfer
from .machine import Fabric, budget_of, check_runs, costs, fabric_of, timing_of
from .plan import PipelinePlan, plan_pipeline
from .sizing import Sizing, full_rate_depths, least_depths_that_end
from .stages import Link, Stage, Stages, build_stages
from .trade_off import TradeOff, trade_off
from .vectors import fastest_pipeline

__all__ = [
    "Allotment", "Budget", "Fabric", "Kernel", "Lanes", "Link", "PipelinePlan", "Point", "Sizing", "Stage", "Stages",
    "Timing", "TradeOff", "Transfer", "allot", "budget_of", "build_stages", "check_runs", "costs", "fabric_of",
    "fastest_pipeline", "full_rate_depths", "least_depths_that_end", "plan_pipeline", "stream_graph", "timing_of",
    "trade_off",
]  # fmt: skip
