"""Mappings: the value, its YAML form, what a user fixes of it, its validation and its independent replay."""

from .capacity import Peak
from .constraints import Constraints, OpConstraint
from .constraints import dumps as dumps_constraints
from .constraints import load as load_constraints
from .constraints import loads as loads_constraints
from .constraints import save as save_constraints
from .phases import Phase, Phases, Stage
from .replay import ReplayResult, replay
from .tree import (
    Claim,
    Iterate,
    Loop,
    Mapping,
    Move,
    Node,
    Op,
    Par,
    Pipe,
    Position,
    Seq,
    Stay,
    format_position,
    parse_position,
)
from .validate import validate
from .yaml_form import load as load_mapping
from .yaml_form import loads as loads_mapping
from .yaml_form import save as save_mapping
from .yaml_text import dumps as dumps_mapping

__all__ = [
    "Claim",
    "Constraints",
    "Iterate",
    "Loop",
    "Mapping",
    "Move",
    "Node",
    "Op",
    "OpConstraint",
    "Par",
    "Peak",
    "Phase",
    "Phases",
    "Pipe",
    "Position",
    "ReplayResult",
    "Seq",
    "Stage",
    "Stay",
    "dumps_constraints",
    "dumps_mapping",
    "format_position",
    "load_constraints",
    "load_mapping",
    "loads_constraints",
    "loads_mapping",
    "parse_position",
    "replay",
    "save_constraints",
    "save_mapping",
    "validate",
]
