"""From a path through layouts to the plan with addresses that it stands for."""

from __future__ import annotations

from collections.abc import Sequence

from .arrangement import Arrangement
from .zones import Zones


def traced(zones: Zones, path: Sequence[tuple[int, int]]) -> Arrangement:
    """The plan of a path: by step, where in the layout blocks came, and the state behind it."""
    shift = zones.kernel.SHIFT
    mask = (1 << shift) - 1
    states = zones.states
    dropped: set[int] = set()
    blocks = _Blocks()
    where: dict[tuple[str, int], int] = {}
    number: dict[str, int] = {}
    near = 0
    for step, (places, state) in enumerate(path):
        names = states.slots.tensor[step]
        turned, places = places & 1, places >> 1
        touched = {slot: names[slot] or "" for slot in zones.touched[step].tolist()}
        for _ in range(sum(not near >> slot & 1 for slot in touched)):
            name = touched[places & mask]
            number[name] = blocks.add(states.along.nbytes(name), places >> shift & mask)
            places >>= 2 * shift
        where.update({(name, step): number[name] for name in touched.values()})
        dropped |= states.begun(step, state)
        near = int(zones.kept[step + 1][state])
        blocks.leave({number[n] for slot, n in enumerate(names) if n is not None and near >> slot & 1}, bool(turned))
    lowest = blocks.lowest()
    return Arrangement(states.along, dropped, {key: lowest[block] for key, block in where.items()})


class _Blocks:
    """Blocks that come between others and leave; `order` is by address, of those that are there."""

    def __init__(self) -> None:
        self.size: list[int] = []
        self.under: list[list[int]] = []
        """By block, those right below it at some time."""
        self.order: list[int] = []
        self.turned = False

    def add(self, size: int, place: int) -> int:
        """One more, above the `place`-th from below, or from above where the layout is upside down; its number."""
        place = len(self.order) - place if self.turned else place
        block = len(self.size)
        self.size.append(size)
        self.under.append(self.order[place - 1 : place] if place else [])
        for above in self.order[place : place + 1]:
            self.under[above].append(block)
        self.order.insert(place, block)
        return block

    def leave(self, stay: set[int], turned: bool) -> None:
        """All but some leave, and the layout may be turned upside down."""
        self.order = [block for block in self.order if block in stay]
        self.turned ^= turned

    def lowest(self) -> list[int]:
        """The lowest address of each block above all that it must be above."""
        found: dict[int, int] = {}
        for block in range(len(self.size)):
            waiting = [block]
            while waiting:
                missing = [b for b in self.under[waiting[-1]] if b not in found]
                if missing:
                    waiting += missing
                    continue
                last = waiting.pop()
                found[last] = max((found[b] + self.size[b] for b in self.under[last]), default=0)
        return [found[block] for block in range(len(self.size))]
