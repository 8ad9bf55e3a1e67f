"""What checks of a Mapping share: the scope that they look things up in, and the problems that they find."""

from __future__ import annotations

from ..errors import Problem
from .scope import Scope
from .tree import Iterate, Position, format_position


class Checks:
    """Collects what is wrong with a Mapping."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.tree, self.names, self.workload = scope.tree, scope.names, scope.workload
        self.problems: list[Problem] = []

    def report(self, where: str | Position, what: str, hint: str = "") -> None:
        """Note a problem at a position of the tree, or at an entry of a table."""
        place = where if isinstance(where, str) else f"position {format_position(where)}"
        self.problems.append(Problem(place, what, hint))

    def iterates(self, at: Position) -> list[str]:
        """Repeats whose iterations run around a position, outermost first."""
        nodes = (self.tree.nodes[x] for x in self.tree.loops[at])
        return [node.repeat for node in nodes if isinstance(node, Iterate)]
