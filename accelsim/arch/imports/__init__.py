"""Machine files of other tools, read as if they were machine files of our own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...text.document import Document
    from ..document import MachineText


def foreign_reader(text: str) -> Callable[[Document], MachineText] | None:
    """What reads the text of a YAML file, if it is a machine of ZigZag, Timeloop or AccelForge."""
    from .accelforge_arch import from_accelforge_architecture, is_accelforge_architecture
    from .timeloop import from_timeloop_architecture, is_timeloop_architecture
    from .zigzag_hw import from_zigzag_hardware, is_zigzag_hardware

    if is_zigzag_hardware(text):
        return from_zigzag_hardware
    if is_accelforge_architecture(text):
        return from_accelforge_architecture
    return from_timeloop_architecture if is_timeloop_architecture(text) else None
