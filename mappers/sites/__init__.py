"""Mapper for machines that compute at several sites: which task runs beside which memory.

A *site* is the units that work on one memory (`ways.Sites`). A task is one or more Einsums that run there together:
what they read comes over memories and links from where it lies, what others need goes back. Every transfer and
computation is an actor of a Program (`lowering.sites`), so that sites work at once and contend for memories and
links; the engine says how long a choice takes, and `search.choose` looks for the best one.
"""

from ...lowering.sites import SiteProblem, Stage, Task, Way, program_of
from .chains import beside, chain
from .search import SitePlan, choose, every_choice, simulated
from .ways import Sites, check_room

__all__ = [
    "SitePlan",
    "SiteProblem",
    "Sites",
    "Stage",
    "Task",
    "Way",
    "beside",
    "chain",
    "check_room",
    "choose",
    "every_choice",
    "program_of",
    "simulated",
]
