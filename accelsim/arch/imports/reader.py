"""What the readers of foreign machine files share: a document, what is wrong in it, and what was not followed."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...errors import Problem
from ...text.document import Document
from ...text.nodes import Keys


@dataclass
class ForeignReader:
    """Problems end the reading, all at once; notes go into the machine's description."""

    document: Document
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def wrong(self, path: Keys, what: str, hint: str = "") -> None:
        """Keep a problem with its place in the file."""
        self.problems.append(self.document.problem(path, what, hint))
