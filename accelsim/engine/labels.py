"""Labels that lowering hangs on actors and actions and that the report reads. To the kernels they are opaque."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class ActorLabel:
    """What an actor stands for.

    Attributes:
        operator: name of the Einsum it works for.
        component: the unit, memory or link whose time it takes.
        role: ``compute``, ``load`` (towards the units), ``store`` (away from them) or ``copy`` (within a memory).
        tensor: what it moves; empty for compute.
    """

    operator: str
    component: str
    role: str
    tensor: str = ""


@dataclass(frozen=True, order=True)
class Action:
    """A countable action: `action` of `component`, on behalf of `operator`.

    Reads and writes of memories, and transfers of links, count bytes of `tensor`; actions of units count operations.
    `peer` is the memory at the other end of a transfer; it is empty where a unit reads or writes.
    """

    component: str
    action: str
    operator: str
    tensor: str = ""
    peer: str = ""
