"""Results that Ops make in the place of what a Pipe hands to them (`Op.over`): whether they can."""

from __future__ import annotations

from collections.abc import Iterator

from ..arch.architecture import Architecture
from .handing import crossings
from .registers import holds
from .scope import Place, Scope, within
from .table_checks import alike
from .tree import Loop, Position


def misplaced(scope: Scope, arch: Architecture) -> Iterator[tuple[Position, str]]:
    """(position, why it cannot) of Ops that cannot make their results in the place of the operand that they name."""
    for place in scope.places:
        if place.op.over and (why := _operand(scope, place) or _users(scope, place) or _where(scope, arch, place)):
            yield place.at, f"cannot make its result in the place of {place.op.over}: {why}"


def _operand(scope: Scope, place: Place) -> str:
    """Why the operand is not there, element by element and once, for the result to be made over it, or nothing."""
    used, tensors = place.op.over, scope.workload.tensors
    accesses = [access for access in place.einsum.inputs if access.tensor == used]
    dims = set(range(len(place.einsum.output.indices)))
    if not accesses or any(len(a.indices) != len(dims) or alike(place.einsum, a) != dims for a in accesses):
        return "it does not read that element by element"
    if tensors[place.einsum.output.tensor].bits > tensors[used].bits:
        return "an element of it has more bits"
    makers = scope.writers.get(used, [])
    pipes = {scope.handed(maker, place) for maker in makers}
    if len(pipes) != 1 or None in pipes:
        return "no earlier stage of one Pipe hands that to it"
    (pipe,) = pipes
    assert pipe is not None
    levels = place.levels[len(scope.tree.loops[pipe]) :]
    if any(level.rank not in accesses[0].ranks for level in levels):
        return "a loop in its stage reads that again"
    if any(isinstance(x.node, Loop) and x.node.halo for p in (place, *makers) for x in p.levels):
        return "a loop around it has a halo"
    return "that lies in the place of another one" if any(maker.op.over for maker in makers) else ""


def _users(scope: Scope, place: Place) -> str:
    """Why others cannot read the operand before, or the result after, or nothing."""
    used, made = place.op.over, place.einsum.output.tensor
    pipe = scope.handed(scope.writers[used][0], place)
    assert pipe is not None
    for other in scope.readers[used]:
        earlier = scope.handed(other, place)
        if other is not place and (earlier is None or not within(earlier, pipe)):
            return f"{other.label} reads that in no earlier stage"
    readers = scope.readers.get(made, ())
    for reader in readers:
        taken = scope.handed(place, reader)
        if taken is None or not within(taken, pipe):
            return f"{reader.label} does not take it over inside the same Pipe"
    held = {stay.tensor for stay in scope.mapping.stays} | {move.tensor for move in scope.mapping.moves}
    return "Stays or Moves have one of both" if held & {used, made} or not readers else ""


def _where(scope: Scope, arch: Architecture, place: Place) -> str:
    """Why both do not lie in one memory or register file, or nothing."""
    used, made = place.op.over, place.einsum.output.tensor
    if holds(scope, place, used) != holds(scope, place, made):
        return "it has one of both in registers"
    joined = {used, made}
    crossed = any(maker.einsum.output.tensor in joined for _, maker, _, _, _ in crossings(scope, arch))
    feeds = arch.units[place.op.unit].feeds(len(place.einsum.inputs))
    read = {m for a, m in zip(place.einsum.inputs, feeds, strict=False) if a.tensor == used}
    return "they lie in different memories" if crossed or read != {feeds[-1]} else ""
