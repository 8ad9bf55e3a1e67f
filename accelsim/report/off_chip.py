"""Off-chip traffic in words, beside what any Mapping has to move."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .page import si

if TYPE_CHECKING:
    from .report import Report


def off_chip_words(report: Report) -> tuple[str, str]:
    """The bytes that crossed the chip's edge, and the compulsory ones.

    Units that compute inside an off-chip memory read it without crossing the edge, so that fewer may have crossed.
    """
    traffic = sum(o.off_chip_read_bytes + o.off_chip_write_bytes for o in report.operators)
    compulsory = report.bounds.traffic.read_bytes + report.bounds.traffic.write_bytes
    outside = {memory.name for memory in report.arch.off_chip}
    inside = [unit.name for unit in report.arch.units.values() if outside & set(unit.memories)]
    told = f"compulsory {si(compulsory, 'B')}"
    if traffic < compulsory and inside:
        told += f", in part inside the memory of {', '.join(inside)}"
    return si(traffic, "B"), told
