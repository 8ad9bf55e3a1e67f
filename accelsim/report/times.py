"""Where the time went: stalls by operator and component, and the share of each operator in the latency.

**Shares.** An operator is active from the first start to the last end of its actors (loads, computations, stores). At
any moment the passing time belongs to the operators active then, in proportion to their density: the time in service
of the operator's busiest component over the length of its activity. So operators that run one after the other get the
time from start to end, loads included; operators that take turns (the layers of a Repeat, stages of a pipeline) share
their common time by the service they needed. Time in which none is active belongs to the one that starts next, or at
the end to the last. The shares add up to the latency.

**Waits.** Of its share, an operator's unit computes for its busy time; the rest is divided like the stalls of its
computing actors since the operator became active, and the time from their end to that of its last store.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..engine.labels import ActorLabel
from ..engine.program import CAUSES
from ..engine.trace import Trace
from .rows import WAITS, StallRow


@dataclass
class Activity:
    """What the actors of one operator did, in ticks."""

    start: int
    end: int
    busy: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Component to the time its servers were in service for this operator, all actors."""
    compute: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """The same of computing actors alone."""
    waits: dict[str, int] = field(default_factory=lambda: dict.fromkeys(WAITS, 0))
    share: float = 0.0

    @property
    def computed(self) -> int:
        return max(self.compute.values(), default=0)

    @property
    def limit(self) -> tuple[str, int]:
        """The component that served it longest, the first by name among equals."""
        return min(self.busy.items(), key=lambda item: (-item[1], item[0]), default=("", 0))

    def waited(self) -> dict[str, float]:
        """The part of its share in which its unit did not compute, by what it waited for."""
        rest = self.share - min(self.share, float(self.computed))
        total = sum(self.waits.values())
        if not total:
            return {w: rest if w == "data" else 0.0 for w in WAITS}
        return {w: rest * n / total for w, n in self.waits.items()}


def activities(trace: Trace) -> dict[str, Activity]:
    """Operator to what its actors did; operators whose actors never fired are missing."""
    found: dict[str, Activity] = {}
    labels = list(_labelled(trace))
    for a, label in labels:
        start, end = int(trace.start[a]), int(trace.end[a])
        activity = found.setdefault(label.operator, Activity(start, end))
        activity.start, activity.end = min(activity.start, start), max(activity.end, end)
        activity.busy[label.component] += int(trace.busy[a])
        if label.role == "compute":
            activity.compute[label.component] += int(trace.busy[a])
    for a, label in labels:
        activity = found[label.operator]
        if label.role == "compute":
            for cause, ticks in _stalls(trace, a, activity.start).items():
                activity.waits[cause] += ticks
            activity.waits["drain"] += activity.end - int(trace.end[a])
    for activity, share in zip(found.values(), _shares(list(found.values()), trace.finish), strict=True):
        activity.share = float(share)
    return found


def stall_rows(trace: Trace, found: dict[str, Activity], scale: float) -> tuple[StallRow, ...]:
    """Rows by operator, component, role and tensor, in the order of the actors; `scale` cycles are one tick."""
    sums: dict[ActorLabel, list[int]] = {}
    for a, label in _labelled(trace):
        before = found[label.operator].start
        stalls = _stalls(trace, a, before)
        after = trace.finish - int(trace.end[a])
        line = [1, int(trace.firings[a]), before, int(trace.busy[a]), *(stalls[c] for c in CAUSES), after]
        sums[label] = [x + y for x, y in zip(sums.get(label, [0] * len(line)), line, strict=True)]
    return tuple(
        StallRow(label.operator, label.component, label.role, label.tensor, n, firings, *(t * scale for t in ticks))
        for label, (n, firings, *ticks) in sums.items()
    )


def _labelled(trace: Trace) -> list[tuple[int, ActorLabel]]:
    """The actors that fired and say what they stand for."""
    labels = trace.program.actor_labels
    return [(a, label) for a, label in enumerate(labels) if isinstance(label, ActorLabel) and trace.firings[a] > 0]


def _stalls(trace: Trace, actor: int, before: int) -> dict[str, int]:
    """Ticks waited by cause since tick `before`, which is not after the actor's first start.

    The engine charges the whole wait before the first firing to its causes. It is taken off in the order in which a
    firing meets them; what comes first is nearly always data, since all space is free at the beginning.
    """
    result = {}
    for cause, ticks in zip(CAUSES, trace.stall[actor], strict=True):
        off = min(before, int(ticks))
        before -= off
        result[cause] = int(ticks) - off
    return result


def _shares(found: list[Activity], finish: int) -> NDArray[np.float64]:
    shares = np.zeros(len(found))
    if not found:
        return shares
    start = np.array([x.start for x in found], np.int64)
    end = np.array([max(x.end, x.start + 1) for x in found], np.int64)
    density = np.array([max(x.limit[1], 1) for x in found]) / (end - start)
    cuts = np.unique(np.concatenate([start, end, [0, finish]]))
    cuts = cuts[cuts <= finish]
    for left, right in pairwise(cuts.tolist()):
        active = (start <= left) & (end >= right)
        if not active.any():
            later = np.where(start >= right, start, finish + 1)
            owner = int(later.argmin()) if later.min() <= finish else int(end.argmax())
            shares[owner] += right - left
        else:
            weight = np.where(active, density, 0.0)
            shares += (right - left) * weight / weight.sum()
    return shares
