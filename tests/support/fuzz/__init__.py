"""Mutated input files of every kind that accelsim reads, and what it makes of each: a result, a refusal or a fault."""

from .attempt import Outcome, attempt
from .cases import FAMILIES, Case, case, single_change_cases

__all__ = ["FAMILIES", "Case", "Outcome", "attempt", "case", "single_change_cases"]
