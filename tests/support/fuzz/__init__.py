"""Mutated input files of every kind that accelsim reads, and what it makes of each: a result, a refusal or a fault."""

from .attempt import Outcome, attempt
from .cases import FAMILIES, Case, case

__all__ = ["FAMILIES", "Case", "Outcome", "attempt", "case"]
