"""Serving: Scenarios, the Drivers that decide while time passes, and the loop that runs them on a Session."""

from .driver import Driver, Request, Submission
from .loop import Served, ServeLog, serve
from .scenario import Listed, Poisson, Scenario
from .tiered import AtOnce, TieredCache, TieredState, notes_one_by_one

__all__ = [
    "AtOnce",
    "Driver",
    "Listed",
    "Poisson",
    "Request",
    "Scenario",
    "ServeLog",
    "Served",
    "Submission",
    "TieredCache",
    "TieredState",
    "notes_one_by_one",
    "serve",
]
