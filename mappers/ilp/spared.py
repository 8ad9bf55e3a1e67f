"""Plans with addresses from residency that leaves memory free only where addresses were not found.

The gap model knows no fragmentation, so that what it keeps fills the crowded steps to the last byte. It is packed
window by window; around the windows that have no addresses it is to leave a little more free, and decides again, until
all of them have some. Elsewhere it may use the whole memory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from .arrangement import Along, Arrangement
from .gap_model import Model
from .rolling import AHEAD, packed
from .sweep import sweep
from .windows import Settings

ROUNDS = 12
"""Times that the gap model decides, at most."""
SPARE = 0.01
"""Share of the memory that a round leaves free, more than before, around each window without addresses."""
BEFORE = 40
"""Steps before such a window where it does too: what lies in the way came there earlier."""
ROUGH = 0.005
"""Gap of the gap model that is good enough."""


def spared(along: Along, settings: Settings) -> Iterator[Arrangement]:
    """A plan with addresses from each round; the last is one where nothing had to be dropped for addresses, if any is.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    steps = len(along.lives.operators)
    spare = [0.0] * steps
    options = replace(settings.options, nodes=1, gap=max(ROUGH, settings.options.gap))
    for _ in range(ROUNDS):
        if settings.over:
            return
        model = Model.of(along.lives, along.capacity, spare=[int(n) for n in spare])
        dropped, solutions = model.dropped([along.cost], replace(options, seconds=settings.left))
        if solutions[0].interrupted:
            raise KeyboardInterrupt
        found, failed = swept(along, dropped, settings)
        if found is not None:
            yield found
        if not failed:
            return
        for first in failed:
            for step in range(max(0, first - BEFORE), min(steps, first + AHEAD)):
                spare[step] += SPARE * along.capacity


def swept(along: Along, dropped: Collection[int], settings: Settings) -> tuple[Arrangement | None, list[int]]:
    """Packed window by window, with what is in the way dropped in windows without addresses; where these begin.

    There is no plan where time is over before the end.
    """
    current = Arrangement(along, set(dropped))
    steps = len(along.lives.operators)
    failed: list[int] = []
    for first in range(0, steps, AHEAD):
        if settings.over:
            return None, failed
        end = min(steps, first + AHEAD)
        if not packed(current, first, end):
            current = sweep(current, first, end)
            failed.append(first)
    return current, failed
