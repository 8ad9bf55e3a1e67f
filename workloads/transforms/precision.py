"""Fewer bits per element, by role, name and group."""

from __future__ import annotations

from collections.abc import Mapping

from ...ir import Workload, with_precision
from ...ir.precision import Width
from .notes import noted


def quantised(workload: Workload, bits: Mapping[str, Width]) -> Workload:
    """`accelsim.ir.with_precision`, with a note.

    Args:
        workload: any.
        bits: by role (``weight``, ``state``, ...), name or pattern: bits per element, or `GroupBits` where groups share
            a scale.

    Raises:
        BadInput: as `with_precision`.
    """
    shown = ", ".join(f"{name} at {width} bits" for name, width in bits.items())
    return noted(with_precision(workload, bits), f"quantised: {shown}")
