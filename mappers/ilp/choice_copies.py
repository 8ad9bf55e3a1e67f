"""Addresses with copies for what was decided of steps with choices: see `choices` and `copying`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from .arrangement import Along
from .copying import copied
from .gap_model import BYTES
from .lives import Lives
from .plan import Copy, Plan
from .problem import GraphProblem, Operator, Tensor


def with_copies(
    sizes: Mapping[str, int],
    capacity: int,
    resident: Sequence[Collection[str]],
    rooms: Sequence[int],
    kept: Collection[tuple[str, int]],
) -> Plan | None:
    """Where tensors lie that fit the memory at each step, and how they move within it between steps.

    Args:
        sizes: bytes by tensor.
        capacity: of the memory.
        resident: by step, tensors that lie in the memory while it runs.
        rooms: by step, bytes that it takes beside them, in one hole.
        kept: (tensor, step) where one is kept from that step to the next at which it is resident.

    Returns:
        A plan that copies each tensor once at most before a step, or None where the copies found can be in no order.
    """
    tensors = {name: Tensor(name, n, source=True) for name, n in sizes.items() if n}
    operators = []
    for step, (names, room) in enumerate(zip(resident, rooms, strict=True)):
        held = f"room of step {step}"
        if room:
            tensors[held] = Tensor(held, room)
        reads = tuple(sorted(n for n in names if n in tensors))
        operators.append(Operator(f"step {step}", reads, (held,) if room else ()))
    nbytes = {name: tensor.nbytes for name, tensor in tensors.items()}
    lives = Lives(GraphProblem("choices", tensors, tuple(operators)), range(len(operators)))
    dropped = {i for i, gap in enumerate(lives.gaps) if (gap.tensor, gap.first) not in kept}
    return _straightened(copied(Along(lives, capacity, BYTES), dropped).plan(), nbytes)


def _straightened(plan: Plan, sizes: Mapping[str, int]) -> Plan | None:
    """The plan with one copy at most of a tensor before a step, to where it ends up, and none in the way of another."""
    found = []
    at: dict[str, int] = {}
    for step in range(len(plan.order)):
        gone = [r.tensor for r in plan.residences if r.last == step - 1]
        at = {name: address for name, address in at.items() if name not in gone}
        ends = {c.tensor: c for c in plan.copies if c.step == step}
        waiting = [c for c in ends.values() if c.address != at[c.tensor]]
        while waiting:
            free = [c for c in waiting if not any(_meet(c, name, address, sizes) for name, address in at.items())]
            if not free:
                return None
            waiting.remove(free[0])
            found.append(free[0])
            at[free[0].tensor] = free[0].address
        at |= {r.tensor: r.address for r in plan.residences if r.first == step and r.address is not None}
    return replace(plan, copies=tuple(found))


def _meet(copy: Copy, other: str, at: int, sizes: Mapping[str, int]) -> bool:
    """Whether a copy would lie on another tensor, at an address."""
    low, high = copy.address, copy.address + sizes[copy.tensor]
    return copy.tensor != other and low < at + sizes[other] and at < high
