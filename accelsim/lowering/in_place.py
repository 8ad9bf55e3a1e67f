"""Results that Ops make in the place of what a Pipe hands to them: who waits until whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..mapping.tree import Mapping, levels
from .parts import Leaf
from .stages import Handing


@dataclass(frozen=True)
class InPlace:
    """What an Op makes over an operand.

    Attributes:
        operand: how that is handed to it, through the tiles that are the places of both.
        results: how the result is handed on.
        before: other Ops that read the operand, and the loops around the Pipe in which they stand before it.
    """

    operand: Handing
    results: tuple[Handing, ...]
    before: tuple[tuple[Leaf, int], ...]


def in_place(mapping: Mapping, found: Sequence[Handing]) -> Iterator[InPlace]:
    """Every result of a Mapping that is made over an operand, from all that its Pipes hand on."""
    for operand in found:
        place = operand.consumer
        if place.op.over != operand.tensor:
            continue
        results = tuple(x for x in found if x.producer.at == place.at)
        others = {x.consumer.at: x.consumer for x in found if x.producer.at == operand.producer.at}
        del others[place.at]
        before = tuple((leaf, _loops_around_both(mapping, leaf, place)) for leaf in others.values())
        yield InPlace(operand, results, before)


def _loops_around_both(mapping: Mapping, one: Leaf, other: Leaf) -> int:
    """How many loops are around two Ops."""
    fork = next(n for n, (a, b) in enumerate(zip(one.at, other.at, strict=False)) if a != b)
    return len(levels(mapping.root, one.at[: fork + 1]))
