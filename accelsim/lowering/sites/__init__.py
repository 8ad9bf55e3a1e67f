"""Tasks at sites: which stages of work each takes on which resource, and the Program of a choice among their ways."""

from .problem import SiteProblem, Stage, Task, Way
from .program import program_of

__all__ = ["SiteProblem", "Stage", "Task", "Way", "program_of"]
