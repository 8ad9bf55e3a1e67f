"""When an actor's firings need, take and give tokens of a FIFO, from their places in its nest."""

from __future__ import annotations

from dataclasses import dataclass

from .schedule import Place


@dataclass(frozen=True)
class Wait:
    """An input or output of an actor and when its phases use it.

    A tile port is needed at every firing and moves its token at the last firing inside the body at `depth`; a `late`
    one is needed only then, and with `once` only in the last pass over the loops at these depths (bits); an `early` one
    is needed only in the first pass over them. A gate moves its token, and is needed, only at the first (waiting side)
    or last (ending side) firing there; a back gate only where that body is not also the first (last) one of the loop
    around, a gate with `once` only in the first (last) pass over the loops at these depths (bits). `partial` restricts
    an input to firings that resume a partial result because of a loop outside of that depth. `by` restricts a port to
    firings whose tile the loop at that depth has come back to (inputs) or is the next to come back to (outputs).
    A firing that takes a token gives back what that `frees` of a pool (pool, bytes).
    """

    fifo: int
    depth: int
    gate: bool = False
    back: bool = False
    partial: int | None = None
    by: int | None = None
    late: bool = False
    once: int = 0
    early: bool = False
    frees: tuple[int, int] | None = None

    def concerns(self, loops: int) -> bool:
        """Whether a firing uses it that resumes, or leaves unfinished, a result because of these loops (bits)."""
        if self.by is not None:
            return loops.bit_length() - 1 == self.by
        return self.partial is None or bool(loops & ((1 << self.partial) - 1))


def in_tokens(wait: Wait, place: Place) -> int | None:
    """Tokens that a firing takes of an input that it needs; None where it does not."""
    if not wait.concerns(place.resumed):
        return None
    if wait.gate:
        here = place.first == wait.depth if wait.back else place.first <= wait.depth
        return 1 if here and not place.past & wait.once else None
    here = place.last <= wait.depth and not (wait.late and place.ahead & wait.once)
    return int(here) if here or not wait.late else None


def out_tokens(wait: Wait, place: Place) -> int | None:
    """Tokens that a firing gives to an output of which it needs a slot; None where it does not."""
    if not wait.concerns(place.unfinished) or (wait.early and place.past & wait.once):
        return None
    if wait.gate:
        here = place.last == wait.depth if wait.back else place.last <= wait.depth
        return 1 if here and not place.ahead & wait.once else None
    return 1 if place.last <= wait.depth else 0
