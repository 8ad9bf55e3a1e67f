"""Workloads as cascades of extended Einsums."""

from .activations import ACTIVATIONS, product
from .build import WorkloadBuilder
from .builder import RepeatScope, affine
from .cascade import format_cascade, parse_cascade
from .counts import OperatorCounts, operator_counts, total_counts
from .density import FORMATS, FULL, Density
from .einsum import Access, Affine, Apply, Const, Contraction, Definition, Einsum, Expr, Operations, Read, contraction
from .evaluate import evaluate
from .families import Family, families
from .footprint import FusionLevel, LiveFootprint, compulsory_bytes, fusion_levels, live_footprint
from .minimum_traffic import MinimumTraffic, TrafficSpace, minimum_traffic, traffic_curve
from .minimum_traffic_fused import FusedTraffic, fused_traffic_curve
from .operators import COST_CLASSES, OPERATORS, Operator, count_operations
from .passes import PassStart, RankPasses, most_passes, passes
from .precision import GroupBits, parse_precision, with_precision
from .rearrangement import read_in_place
from .sparsity import group_rank, parse_density, with_density
from .standalone import standalone
from .validate import validate
from .workload import MOST_BITS, Item, Repeat, Role, Tensor, View, Workload, contraction_of

__all__ = [
    "ACTIVATIONS",
    "COST_CLASSES",
    "FORMATS",
    "FULL",
    "MOST_BITS",
    "OPERATORS",
    "Access",
    "Affine",
    "Apply",
    "Const",
    "Contraction",
    "Definition",
    "Density",
    "Einsum",
    "Expr",
    "Family",
    "FusedTraffic",
    "FusionLevel",
    "GroupBits",
    "Item",
    "LiveFootprint",
    "MinimumTraffic",
    "Operations",
    "Operator",
    "OperatorCounts",
    "PassStart",
    "RankPasses",
    "Read",
    "Repeat",
    "RepeatScope",
    "Role",
    "Tensor",
    "TrafficSpace",
    "View",
    "Workload",
    "WorkloadBuilder",
    "affine",
    "compulsory_bytes",
    "contraction",
    "contraction_of",
    "count_operations",
    "evaluate",
    "families",
    "format_cascade",
    "fused_traffic_curve",
    "fusion_levels",
    "group_rank",
    "live_footprint",
    "minimum_traffic",
    "most_passes",
    "operator_counts",
    "parse_cascade",
    "parse_density",
    "parse_precision",
    "passes",
    "product",
    "read_in_place",
    "standalone",
    "total_counts",
    "traffic_curve",
    "validate",
    "with_density",
    "with_precision",
]
