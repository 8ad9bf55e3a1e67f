"""Where objects lie among memories side by side, such as a host's DRAM and cards on CXL: policies of placement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ...errors import BadInput, DoesNotFit


@dataclass(frozen=True)
class Store:
    """A memory of `capacity` bytes that gives `bandwidth` bytes per second."""

    name: str
    capacity: int
    bandwidth: float


@dataclass(frozen=True)
class Held:
    """Bytes that are held for long; `critical` ones are gone through by a processor, others only pass to a device."""

    name: str
    nbytes: int
    critical: bool = False


Placed: TypeAlias = Mapping[str, Mapping[str, int]]
"""Object to bytes by store."""
Policy: TypeAlias = Callable[[Sequence[Store], Sequence[Held]], Placed]


def local_first(stores: Sequence[Store], held: Sequence[Held]) -> Placed:
    """Objects in their order, each in the first store with room, and what does not fit there in the next.

    Raises:
        DoesNotFit: all together are too large; the message says by how much.
    """
    return _Room(stores, held).fill([(h, {stores[0].name: 1.0}) for h in held])


def interleaved(stores: Sequence[Store], held: Sequence[Held]) -> Placed:
    """Pages by turns over all stores (``numactl --interleave``), over those that are left when one is full.

    Raises:
        DoesNotFit: as `local_first`.
    """
    return _Room(stores, held).fill([(h, {s.name: 1.0 for s in stores}) for h in held])


def critical_local(stores: Sequence[Store], held: Sequence[Held]) -> Placed:
    """Critical objects in the first store; the others striped over the rest by their bandwidth, what is left anywhere.

    Latency-first placement with striping over cards (Liaw and Chen, arXiv:2507.03305).

    Raises:
        DoesNotFit: as `local_first`.
    """
    first = [(h, {stores[0].name: 1.0}) for h in held if h.critical]
    others = [(h, {s.name: s.bandwidth for s in stores[1:] or stores}) for h in held if not h.critical]
    return _Room(stores, held).fill([*first, *others])


class _Room:
    def __init__(self, stores: Sequence[Store], held: Sequence[Held]) -> None:
        if not stores or any(s.capacity < 0 or not s.bandwidth > 0 for s in stores):
            raise BadInput("stores have bytes and a bandwidth, and there is one at least")
        self.left = {s.name: s.capacity for s in stores}
        total, room = sum(h.nbytes for h in held), sum(self.left.values())
        if total > room:
            names = ", ".join(f"{s.name} of {s.capacity:,}" for s in stores)
            raise DoesNotFit(f"{total:,} bytes are held, {total - room:,} more than fit into {names}")

    def fill(self, wishes: Sequence[tuple[Held, Mapping[str, float]]]) -> Placed:
        """Deal objects out by weights of stores, and what these have no room for to all stores in their order."""
        return {h.name: self._one(h.nbytes, weights) for h, weights in wishes}

    def _one(self, nbytes: int, weights: Mapping[str, float]) -> dict[str, int]:
        found = dict.fromkeys(self.left, 0)

        def put(name: str, wanted: int) -> int:
            taken = min(wanted, self.left[name])
            found[name] += taken
            self.left[name] -= taken
            return taken

        while nbytes and (open_ := {n: w for n, w in weights.items() if self.left[n]}):
            total, before = sum(open_.values()), nbytes
            part = min([nbytes, *(self.left[n] * total / w for n, w in open_.items())])
            for n, w in open_.items():
                nbytes -= put(n, min(nbytes, int(part * w / total)))
            if nbytes == before:  # less than a byte for each
                nbytes -= put(next(iter(open_)), 1)
        for name in self.left:
            nbytes -= put(name, nbytes)
        return found
