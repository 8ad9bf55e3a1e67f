"""In which off-chip tier each tensor lives.

Everything lives in the tier next to the chip while it fits. Otherwise weights go to the tier behind it: those of the
largest Repeat first, iteration by iteration from the last one back, so that the loops over iterations stay two at most
(one whose weights are near, one that streams them); then weights outside Repeats, largest first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...arch.architecture import Architecture
from ...errors import DoesNotFit
from ...ir import Repeat, Role
from .flow import Flow, Life

LESS = "take a smaller batch, context or width of numbers (`--precision`)"
"""What is always worth a try where something does not fit."""
STAGING_BUFFERS = 2
"""A streamed tensor is double buffered in the near tier."""


@dataclass(frozen=True)
class Tiers:
    """Where tensors live off chip.

    Attributes:
        near: the tier next to the chip.
        far: the tier behind it; empty when there is none.
        split: path of a Repeat's scope to the number of its first iterations whose weights are near; the other
            iterations' weights stream from `far`. Repeats not named are near throughout.
        streamed: weights outside Repeats that live in `far`.
    """

    near: str
    far: str = ""
    split: Mapping[tuple[str, ...], int] = field(default_factory=dict)
    streamed: frozenset[str] = frozenset()


def place(flow: Flow, arch: Architecture, near: str) -> Tiers:
    """Choose the tier of every tensor.

    Raises:
        DoesNotFit: a tier is too small; the message names it, the largest tensor and the bytes that are missing.
    """
    memory = arch.memories[near]
    kept = {n: life for n, life in flow.lives.items() if life.made_before or life.tensor.role is Role.OUTPUT}
    live = _peak_of_activations(flow)
    total = sum(life.tensor.nbytes * life.copies for life in kept.values()) + live
    if total <= memory.capacity:
        return Tiers(near)
    far = memory.parent
    largest = max(flow.lives.values(), key=lambda x: x.tensor.nbytes * x.copies)
    if far is None:
        advice = f"{LESS}, or give {near} a memory behind it (its `parent`), to which weights can go"
        raise _short(near, total, memory.capacity, largest, advice)
    fixed = total
    split: dict[tuple[str, ...], int] = {}
    moved = 0
    for path, weights in sorted(_weights_by_repeat(flow).items(), key=lambda kv: (-kv[1], kv[0])):
        if fixed <= memory.capacity:
            break
        count = _count(flow, path)
        staging = STAGING_BUFFERS * weights
        spare = memory.capacity - (fixed - weights * count) - staging
        split[path] = max(0, min(count, spare // weights))
        fixed -= weights * (count - split[path]) - staging
        moved += weights * (count - split[path])
    streamed: set[str] = set()
    outside = [n for n, x in kept.items() if x.tensor.role is Role.WEIGHT and not x.scope]
    for name in sorted(outside, key=lambda n: (-kept[n].tensor.nbytes, n)):
        if fixed <= memory.capacity:
            break
        streamed.add(name)
        moved += kept[name].tensor.nbytes
        # One streamed tensor at a time passes through the near tier; the first taken is the largest.
        fixed -= kept[name].tensor.nbytes if len(streamed) > 1 else 0
    if fixed > memory.capacity:
        advice = (
            f"weights alone go on to {far}: {LESS}, give {near} more (`--set memories.{near}.capacity=...`), or place "
            f"caches and activations over both with accelsim.mappers.offload (docs/memory.md)"
        )
        raise _short(near, fixed, memory.capacity, largest, advice)
    if moved > arch.memories[far].capacity:
        advice = f"give {far} more (`--set memories.{far}.capacity=...`), or weights fewer bits (`--precision`)"
        raise _short(far, moved, arch.memories[far].capacity, largest, advice)
    return Tiers(near, far, split, frozenset(streamed))


def streams(flow: Flow, life: Life) -> bool:
    """Whether a tensor may stream from the far tier, once per iteration of the Repeat that holds all its uses."""
    return life.tensor.role is Role.WEIGHT and bool(life.scope) and life.copies == flow.scopes[life.scope].count


def homes_of(flow: Flow, life: Life, tiers: Tiers) -> set[str]:
    """The off-chip tiers in which instances of a tensor live."""
    if life.tensor.name in tiers.streamed:
        return {tiers.far}
    near = tiers.split.get(life.scope) if streams(flow, life) else None
    if near is None or near >= life.copies:
        return {tiers.near}
    return {tiers.near, tiers.far} if near else {tiers.far}


def _weights_by_repeat(flow: Flow) -> dict[tuple[str, ...], int]:
    """Bytes of one iteration's weights of every outermost Repeat."""
    found: dict[tuple[str, ...], int] = {}
    for life in flow.lives.values():
        if streams(flow, life) and len(life.scope) == 1:
            found[life.scope] = found.get(life.scope, 0) + life.tensor.nbytes
    return found


def _count(flow: Flow, path: tuple[str, ...]) -> int:
    return next(x.count for x in flow.scopes[path[:-1]].items if isinstance(x, Repeat) and x.name == path[-1])


def _peak_of_activations(flow: Flow) -> int:
    """Most bytes of activations alive at once, scope by scope, inner scopes on top of the outer one."""

    def peak(path: tuple[str, ...]) -> int:
        scope = flow.scopes[path]
        alive = [0] * len(scope.items)
        for life in flow.lives.values():
            if life.scope == path and not life.made_before and life.tensor.role is not Role.OUTPUT:
                uses = [*life.makers, *life.users]
                for i in range(min(uses), max(uses) + 1):
                    alive[i] += life.tensor.nbytes
        for i, item in enumerate(scope.items):
            if isinstance(item, Repeat):
                alive[i] += peak((*path, item.name))
        return max(alive, default=0)

    return peak(())


def _short(memory: str, needed: int, capacity: int, largest: Life, advice: str) -> DoesNotFit:
    tensor = largest.tensor
    times = f" x {largest.copies}" if largest.copies > 1 else ""
    return DoesNotFit(
        f"memory {memory}: {needed:,} bytes are needed at once and it holds {capacity:,}, "
        f"{needed - capacity:,} too few; "
        f"the largest tensor is {tensor.name} with {tensor.nbytes:,} bytes{times}; {advice}"
    )
