# mypy: disable-error-code="no-any-return"
"""One step of `states`, compiled: which states follow those behind the step before it, and at what cost."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...jit import stamped

_jit = stamped(Path(__file__), nogil=True)

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

DROPPED, CLEAN, DIRTY = 0, 1, 2
"""Of a tensor between two uses: off chip alone, kept, and kept where the next time it is dropped costs a store."""
INHERITED, STORED, FRESH = 0, 1, 2
"""Content behind a step: as before, off chip anyway, or written by the step."""


class Touches(NamedTuple):
    """What one step touches, one entry each; first those that are touched again.

    Attributes:
        slot: digit of the state that belongs to the tensor.
        goes: 1 where a gap begins: the tensor is touched again.
        content: INHERITED, STORED or FRESH.
        more: 1 where the content has another gap behind that one.
        load, store: costs of dropping the gap, and of storing the content.
    """

    slot: Ints
    goes: Ints
    content: Ints
    more: Ints
    load: Floats
    store: Floats


class Edges(NamedTuple):
    """From a state to one behind the next step, at a cost."""

    source: Ints
    target: Ints
    cost: Floats


@_jit
def _find(key: int, keys: Ints, count: int, table: Ints) -> int:
    """The number of a state, a new one at the end."""
    at = (key * 0x9E3779B1 ^ (key >> 29)) & (len(table) - 1)
    while table[at] >= 0:
        if keys[table[at]] == key:
            return table[at]
        at = (at + 1) & (len(table) - 1)
    if count < len(keys):
        table[at], keys[count] = count, key
    return count


@_jit
def _chosen(state: int, others: int, choice: int, t: Touches) -> tuple[int, float]:
    """The state where the touches of a choice, a bit each, are kept, and what dropping the others costs."""
    key, cost = others, 0.0
    for j in range(len(t.slot)):
        at = 2 * t.slot[j]
        dirty = t.content[j] == FRESH or (t.content[j] == INHERITED and (state >> at) & 3 == DIRTY)
        if choice >> j & 1:
            key |= (DIRTY if dirty and t.more[j] else CLEAN) << at
        elif t.goes[j]:
            cost += t.load[j] + (t.store[j] if dirty else 0.0)
    return key, cost


@_jit
def expand(states: Ints, size: Ints, room: int, t: Touches, found: Ints, table: Ints, e: Edges) -> tuple[int, int]:
    """All states behind a step.

    Args:
        states: behind the step before: two bits for each slot.
        size: bytes of the tensor in each slot.
        room: bytes that the step leaves for what it does not touch.
        t: what the step touches.
        found: room for the states.
        table: of hashes, longer than `found`.
        e: room for what leads there.

    Returns:
        How many states and edges there are; -1 states where there is no room for them.
    """
    count, edges, touched, going = 0, 0, 0, 0
    for k in range(len(table)):
        table[k] = -1
    for j in range(len(t.slot)):
        touched |= 3 << (2 * t.slot[j])
        going += t.goes[j]
    for row in range(len(states)):
        others, held = states[row] & ~touched, 0
        for slot in range(len(size)):
            if others >> (2 * slot) & 3:
                held += size[slot]
        if held > room:
            continue
        for choice in range(1 << going):
            key, cost = _chosen(states[row], others, choice, t)
            number = _find(key, found, count, table)
            if number == len(found):
                return -1, edges
            count = max(count, number + 1)
            e.source[edges], e.target[edges], e.cost[edges] = row, number, cost
            edges += 1
    return count, edges


@_jit
def relax(source: Ints, target: Ints, cost: Floats, before: Floats, behind: Floats) -> None:
    """Lower what each target costs to the least of what a source costs and the edge from there."""
    for k in range(len(source)):
        behind[target[k]] = min(behind[target[k]], before[source[k]] + cost[k])
