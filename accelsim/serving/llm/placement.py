"""Where weights and keys and values lie: bytes per socket and tier, and what is left for blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...arch.architecture import Architecture
from ...arch.component import Memory
from ...errors import DoesNotFit
from .faults import ScenarioError


@dataclass(frozen=True)
class Placement:
    """Of one socket.

    Attributes:
        memory: the tier next to the chip, which holds the blocks of keys and values.
        weight_bytes: of the socket's share.
        spilled_bytes: of the weights that are in farther tiers.
        kv_bytes: for blocks.
    """

    memory: Memory
    weight_bytes: int
    spilled_bytes: int
    kv_bytes: int


def place(
    arch: Architecture, weight_bytes: int, token_bytes: int, *, share: float = 0.9, kv_bytes: int | None = None
) -> Placement:
    """Place a socket's share of weights, and give blocks the rest of the tier next to the chip.

    Weights that find no room there beside the blocks go to the farther tiers, nearest first; then `kv_bytes` has to say
    how much the blocks get.

    Args:
        arch: one socket.
        weight_bytes: of its share.
        token_bytes: of keys and values of one token there.
        share: of the tier next to the chip that may be used; the rest is for activations and what is not modelled.
        kv_bytes: for blocks; default: what the weights leave.

    Raises:
        BadInput: the machine has no off-chip memory, or a number is out of range.
        DoesNotFit: there is no placement; the message has the bytes and the tier.
    """
    if not arch.off_chip:
        raise ScenarioError("machine", f"{arch.name} has no memory outside the chip for weights and keys and values")
    if not 0 < share <= 1:
        raise ScenarioError("kv.memory_share", f"{share} (above 0, at most 1)")
    memory, farther = arch.off_chip[-1], arch.off_chip[-2::-1]
    usable = int(memory.capacity * share)
    least = token_bytes if kv_bytes is None else kv_bytes
    if least > usable:
        raise DoesNotFit(f"memory {memory.name}: {least:,} bytes of keys and values, and {usable:,} of its "
                         f"{memory.capacity:,} bytes may be used, {least - usable:,} too few")
    if weight_bytes + least <= usable:
        return Placement(memory, weight_bytes, 0, usable - weight_bytes if kv_bytes is None else kv_bytes)
    spilled = weight_bytes + least - usable
    room = sum(m.capacity for m in farther)
    if spilled > room:
        where = " and ".join(m.name for m in (memory, *farther))
        raise DoesNotFit(
            f"memory {where}: a socket's share of the weights has {weight_bytes:,} bytes and keys and values {least:,} "
            f"at least; {usable:,} of {memory.name} may be used{_others(farther)}: {spilled - room:,} bytes too many"
        )
    if kv_bytes is None:
        raise DoesNotFit(
            f"memory {memory.name}: a socket's share of the weights has {weight_bytes:,} bytes, {spilled:,} more than "
            f"may be used beside keys and values; {farther[0].name} has room for them if `kv.memory` says how much "
            f"of {memory.name} the blocks get"
        )
    return Placement(memory, weight_bytes, spilled, kv_bytes)


def _others(farther: Sequence[Memory]) -> str:
    return "".join(f", {m.capacity:,} of {m.name}" for m in farther)
