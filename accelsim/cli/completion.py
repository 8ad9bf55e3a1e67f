"""What a shell completes: names of what comes with accelsim. Files are left to the shell."""

from __future__ import annotations

from collections.abc import Callable


def of(section: str) -> Callable[[str], list[str]]:
    """Completes names of a section of ``accelsim list``."""

    def complete(incomplete: str) -> list[str]:
        from .listing import names

        return [name for name in names(section) if name.startswith(incomplete)]

    return complete


def objectives(incomplete: str) -> list[str]:
    from ..simulation import OBJECTIVES

    return [name for name in OBJECTIVES if name.startswith(incomplete)]
