"""On-chip SRAM that tensors stream through: a window of each, so that none has to fit."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ..arch.units import Bytes
from .buffer import SramBase

PASSING = 2**50
"""Default of `capacity`: above any tensor, and far from the end of int64."""


class StreamBuffer(SramBase):
    """A buffer that fetches ahead through a window, so that a Mapping may pass tensors of any size through it.

    It is the memory of models that never let the array wait, such as SCALE-Sim's bandwidth mode CALC: every tensor of
    an operator is moved once, whole, however small the window. That is the traffic of a window that holds the tensor,
    and less than that of a smaller one, which fetches again what it has dropped. Energy and area are the window's.
    """

    kind: Literal["stream_buffer"] = "stream_buffer"
    window: Annotated[Bytes, Field(description="Bytes of SRAM that it has; decides energy and area, and not time.")]
    capacity: Annotated[Bytes, Field(description="Bytes of the tensors that may be on their way through it.")] = PASSING

    @property
    def sram_bytes(self) -> int:
        return self.window
