"""Kinds of hardware: schema, timing, energy and servers, one file each."""

from collections.abc import Mapping

from ..arch import Architecture
from ..errors import BadInput
from .base import ComputeUnit, Cost, Extents, SpatialOption

__all__ = ["ComputeUnit", "Cost", "Extents", "SpatialOption", "compute_units"]


def compute_units(arch: Architecture) -> Mapping[str, ComputeUnit]:
    """The compute units of a machine by name, in the order of their names.

    Raises:
        BadInput: a unit's kind has no cost functions.
    """
    units = {}
    for name in sorted(arch.units):
        unit = arch.units[name]
        if not isinstance(unit, ComputeUnit):
            raise BadInput(f"unit `{name}`: kind `{unit.kind}` is not a subclass of accelsim.components.ComputeUnit")
        units[name] = unit
    return units
