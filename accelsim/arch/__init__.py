"""Machines: the Architecture, its components, and the loader of YAML specs."""

from .architecture import Architecture
from .component import Category, Component, Direction, LinkBase, Memory, Surroundings, UnitBase
from .loader import RawSpec, json_schema, load_architecture, load_spec, loads_architecture, preset_names
from .registry import component_kinds

__all__ = [
    "Architecture",
    "Category",
    "Component",
    "Direction",
    "LinkBase",
    "Memory",
    "RawSpec",
    "Surroundings",
    "UnitBase",
    "component_kinds",
    "json_schema",
    "load_architecture",
    "load_spec",
    "loads_architecture",
    "preset_names",
]
