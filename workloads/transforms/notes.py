"""What every transform says of accuracy."""

from __future__ import annotations

from dataclasses import replace

from ...ir import Workload


def noted(workload: Workload, what: str) -> Workload:
    """The Workload with a note that names what was done, and that accuracy is outside of the model's scope."""
    note = f"{what}; what this does to accuracy is outside of the model's scope"
    return replace(workload, notes=(*workload.notes, note))
