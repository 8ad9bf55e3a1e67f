"""The fluid bound of a Program: what its servers and the room of its FIFOs and pools allow, and what each is worth."""

from .bound import FluidBound, Price, fluid_bound
from .steady import SteadyBound, steady_bound

__all__ = ["FluidBound", "Price", "SteadyBound", "fluid_bound", "steady_bound"]
