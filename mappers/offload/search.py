"""Sizes of batches for offloaded generation: as many as fit and pay, by the linear program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...errors import DoesNotFit
from .machine import Machine
from .parts import Model
from .policy import Block, Policy, solve

SIZES = tuple(sorted({n for k in range(9) for n in (2**k, 3 * 2**k)}))
"""Sequences of a batch that are tried: powers of two, and three times these."""


def best(
    machine: Machine, model: Model, prompt: int, generated: int, *, sizes: Sequence[int] = SIZES,
    beside: Sequence[bool] = (True, False),
) -> tuple[Block, Policy]:  # fmt: skip
    """The block and the policy that give the most tokens per second by the linear program.

    For every size of a batch, batches are added while that pays; more of them share each load of weights.

    Args:
        machine, model: what runs where.
        prompt, generated: tokens of every sequence.
        sizes: sequences of a batch that are tried, the smallest first; past one that does not fit, none is.
        beside: whether attention over caches outside of the first tier is computed beside them; both are tried.

    Raises:
        DoesNotFit: not even one batch of the first size does.
    """
    ways = [b for b in beside if not b or machine.decode.beside is not None]
    found: tuple[float, Block, Policy] | None = None
    for size in sizes:
        block = Block(size, 1, prompt, generated)
        try:
            candidates = [_grown(machine, model, block, way) for way in ways]
        except DoesNotFit:
            if found is None:
                raise
            break
        for rate, grown, policy in candidates:
            if found is None or rate > found[0]:
                found = rate, grown, policy
    assert found is not None  # the first size either fits or raises
    return found[1:]


def _grown(machine: Machine, model: Model, block: Block, beside: bool) -> tuple[float, Block, Policy]:
    """The block with as many batches as pay: doubled while that is better, then halfway between."""
    tried: dict[int, tuple[float, Block, Policy] | None] = {}

    def rate(batches: int) -> float:
        if batches not in tried:
            grown = replace(block, batches=batches)
            try:
                policy = solve(machine, model, grown, beside=beside)
                tried[batches] = grown.tokens / policy.seconds, grown, policy
            except DoesNotFit:
                if batches == 1:
                    raise
                tried[batches] = None
        value = tried[batches]
        return 0.0 if value is None else value[0]

    low = 1
    while rate(2 * low) > rate(low):
        low *= 2
    step = low // 2 or 0
    centre = low
    while step:
        centre = max((centre - step, centre, centre + step), key=lambda n: (rate(n), -n))
        step //= 2
    value = tried[centre]
    assert value is not None  # the centre never loses to what does not fit
    return value
