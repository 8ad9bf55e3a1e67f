"""Workloads as text: SCALE-Sim topologies (CSV), cascades of Einsums (YAML) and ZigZag workloads (YAML)."""

from .cascade_file import load_cascade, loads_cascade
from .scalesim import load_scalesim, loads_scalesim
from .zigzag import load_zigzag, loads_zigzag

__all__ = ["load_cascade", "load_scalesim", "load_zigzag", "loads_cascade", "loads_scalesim", "loads_zigzag"]
