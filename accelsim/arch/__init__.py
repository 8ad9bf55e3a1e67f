"""Machines: the Architecture, its components, and the loader of YAML specs."""

from .architecture import Architecture
from .component import Category, Component, Direction, LinkBase, Memory, Surroundings, UnitBase
from .explain import KeyDoc, explain
from .loader import RawSpec, load_architecture, load_spec, loads_architecture, preset_names
from .operating_point import OperatingPoint
from .registry import component_kinds
from .schema import json_schema
from .tables import TableRow

__all__ = [
    "Architecture",
    "Category",
    "Component",
    "Direction",
    "KeyDoc",
    "LinkBase",
    "Memory",
    "OperatingPoint",
    "RawSpec",
    "Surroundings",
    "TableRow",
    "UnitBase",
    "component_kinds",
    "explain",
    "json_schema",
    "load_architecture",
    "load_spec",
    "loads_architecture",
    "preset_names",
]
