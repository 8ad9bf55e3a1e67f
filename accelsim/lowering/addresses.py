"""Where tensors lie in the memories, for servers whose time depends on it."""

from __future__ import annotations

from ..ir import Workload
from ..mapping.tree import Mapping

GRAIN = 4096
"""Tensors begin at multiples of so many bytes."""


def addresses(mapping: Mapping, workload: Workload) -> dict[tuple[str, str], int]:
    """The address of every tensor in every memory, by (memory, tensor).

    A Stay that names its address has it; the others, and what only passes through a memory, lie one after the other
    behind those, whether or not they live at the same time.
    """
    copies = workload.copies()
    found: dict[tuple[str, str], int] = {}
    top: dict[str, int] = {}

    def lay(memory: str, tensor: str, nbytes: int, address: int | None) -> None:
        if (memory, tensor) in found:
            return
        begin = -(-top.get(memory, 0) // GRAIN) * GRAIN if address is None else address
        found[memory, tensor] = begin
        top[memory] = max(top.get(memory, 0), begin + nbytes)

    def size(tensor: str) -> int:
        return workload.tensors[tensor].nbytes * copies.get(tensor, 1)

    for stay in sorted(mapping.stays, key=lambda s: s.address is None):
        lay(stay.memory, stay.tensor, size(stay.tensor), stay.address)
    for move in mapping.moves:
        lay(move.src, move.tensor, size(move.tensor), None)
        lay(move.dst, move.tensor, size(move.tensor), None)
    return found
