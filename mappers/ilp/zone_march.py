"""Plans through layouts, window by window: few layouts go on, and more where these come to an end.

Most windows of steps are passed by the best hundred layouts, some by none of thousands. Where all end, the window is
run again with more of them, then the one before it, which had let only the best go on; where that does not help either
the plan may cost more from there on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .arrangement import Arrangement
from .zone_plan import traced
from .zones import Zones

if TYPE_CHECKING:
    from .zones_kernel import Layouts

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Record = list[tuple[Ints, Ints, Ints]]
"""By step, of each layout behind it: the one before it, which blocks came where, and the state."""

NARROW, WIDEN = 100, 5
"""Layouts that go on at first, and times that there are more where these end."""
BACK = 2
"""Windows before one that is not passed, at most, that are run again with more layouts."""
CLOSE = 1e-9
DEAREST = 2
"""Times that plans may cost more, of windows."""
DEARER = 2
"""Times that this is by which plans may cost more, each time that more layouts do not help."""


class March:
    """From the first step to the last.

    Attributes:
        ahead: by boundary and state, what it costs to the end at least.
        ends: of windows.
        width: layouts that go on, at most.
        met: by boundary, layouts found backward, one of which a plan has.
        dear: windows behind which plans had to cost more.
    """

    def __init__(
        self, zones: Zones, ahead: Sequence[Floats], ends: Sequence[int], width: int, met: Mapping[int, Layouts]
    ) -> None:
        self.zones, self.ahead, self.ends, self.width, self.met = zones, ahead, ends, width, met
        self.dear: list[int] = []

    def plan(self, bound: float, most: float, margin: float) -> Arrangement | None:
        """A plan of at most some cost, the closer to a bound the better.

        Args:
            bound: on what a plan costs, where it begins.
            most: that it may cost.
            margin: by which the limit rises, the first time.

        Raises:
            Late: the limit of time has passed.
        """
        count, limit, step, window = len(self.ends), bound, margin, 0
        few = min(NARROW * WIDEN, self.width)
        widths, most_of = [min(NARROW, self.width)] * count, [self.width] * count
        self.zones.begin(np.zeros(1), self.ahead[0], limit)
        behind = [self.zones.copied()] * (count + 1)
        records: list[Record] = [[] for _ in range(count)]
        while window < count:
            found = self._through(window, behind[window], widths[window], min(limit * (1 + CLOSE), most))
            if found is not None:
                records[window], behind[window + 1] = found
                if window in self.dear[-1:]:
                    limit, step = max(bound, float(np.median(found[1].rank))), margin
                window += 1
                continue
            near = range(max(0, window - BACK), window + 1)
            again = min(near, key=lambda k: (widths[k] >= most_of[k], widths[k], -k))
            if widths[again] < most_of[again]:
                widths[again] = min(most_of[again], WIDEN * widths[again])
            else:
                if limit >= most or len(self.dear) > DEAREST * count:
                    return None
                limit, step = min(most, limit + step), DEARER * step
                self.dear.append(window)
                again = near[0]
                for k in near:
                    widths[k] = most_of[k] = few
            window = again
        return traced(self.zones, path([step for record in records for step in record], 0))

    def _through(self, window: int, layouts: Layouts, width: int, limit: float) -> tuple[Record, Layouts] | None:
        zones, record = self.zones, Record()
        zones.resume(layouts)
        zones.width = width
        for step in range(self.ends[window - 1] if window else 0, self.ends[window]):
            ahead = self.ahead[step + 1]
            zones.advance(step, False, ahead, np.zeros(len(ahead)), limit)
            if step + 1 in self.met:
                zones.meet(self.met[step + 1], step + 1, limit)
            if not zones.rows:
                return None
            here, rows = zones.here, zones.rows
            record.append((here.parent[:rows].copy(), here.places[:rows].copy(), here.state[:rows].copy()))
        return record, zones.copied()


def path(record: Record, row: int) -> list[tuple[int, int]]:
    """By step which blocks came where, and the state, on the way to a layout behind the last one."""
    found = []
    for parent, places, state in reversed(record):
        found.append((int(places[row]), int(state[row])))
        row = int(parent[row])
    return found[::-1]
