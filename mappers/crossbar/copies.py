"""Which unit runs what, and how many copies of every matrix there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush

import numpy as np

from ...arch.architecture import Architecture
from ...components import ComputeUnit, compute_units
from ...components.base import SpatialOption
from ...components.crossbar import RESIDENT, CrossbarArray
from ...errors import BadInput, DoesNotFit
from ...ir import Einsum, Role, Workload, contraction


@dataclass(frozen=True)
class Choice:
    """The unit and variant of an Einsum.

    Attributes:
        times: how often it runs.
        arrays: that one copy of its matrices takes, of all iterations with one of their own; 0 on other units.
        copies: of each matrix.
        most: copies that are of use.
        seconds: of one run.
    """

    einsum: Einsum
    unit: str
    variant: str
    times: int
    seconds: float
    arrays: int = 0
    copies: int = 1
    most: int = 1


def choices(workload: Workload, arch: Architecture) -> tuple[Choice, ...]:
    """Every Einsum on crossbar arrays with one copy, or on the unit that is fastest at it.

    Raises:
        BadInput: no unit can run an Einsum.
        DoesNotFit: the matrices take more arrays than a unit has.
    """
    units = compute_units(arch)
    analog = {n: u for n, u in units.items() if isinstance(u, CrossbarArray)}
    others = {n: u for n, u in units.items() if n not in analog}
    left = {n: u.arrays for n, u in analog.items()}
    asked = dict.fromkeys(analog, 0)
    found = []
    copies = workload.copies()
    for einsum, times in workload.einsums():
        c = contraction(einsum)
        if c is not None and workload.tensors[workload.storage(einsum.inputs[1].tensor)].role is Role.WEIGHT:
            name = max(left, key=lambda n: left[n])
            choice = _on(analog[name], einsum, times, workload, copies)
            asked[name] += choice.arrays
            left[name] -= choice.arrays
            found.append(choice)
            continue
        able = [_run(einsum, o, times, n, u, workload) for n, u in others.items() for o in u.spatial_options(einsum)]
        if not able:
            raise BadInput(f"{arch.name}: no unit runs {einsum.name} ({', '.join(units)}); a crossbar runs products "
                           "whose second operand is a weight")  # fmt: skip
        found.append(min(able, key=lambda choice: choice.seconds))
    for name, unit in analog.items():
        if asked[name] > unit.arrays:
            largest = max((c for c in found if c.unit == name), key=lambda c: c.arrays)
            bits = _bits(largest.einsum, workload)[1]
            raise DoesNotFit(
                f"{arch.name}: the weights of {workload.name} take {asked[name]:,} arrays, unit `{name}` has "
                f"{unit.arrays:,} ({largest.einsum.name} alone {largest.arrays:,}, weights having {bits} bits); "
                "with the mapper `tile` arrays are written again from operator to operator"
            )
    return tuple(found)


def _run(
    einsum: Einsum, option: SpatialOption, times: int, name: str, unit: ComputeUnit, workload: Workload
) -> Choice:
    extents = {r: np.array([n], np.int64) for r, n in einsum.sizes.items()}
    bits = _bits(einsum, workload)
    cost = unit.cost(einsum, option, extents, bits)
    return Choice(einsum, name, option.variant, times, float((cost.cycles + cost.latency)[0]) / unit.clock_hz)


def _on(
    unit: CrossbarArray, einsum: Einsum, times: int, workload: Workload, copies: Mapping[str, int]
) -> Choice:
    c = contraction(einsum)
    assert c is not None
    option = unit.option(einsum, f"{RESIDENT}1", None)
    matrices = copies[workload.storage(einsum.inputs[1].tensor)]
    arrays = (unit.held(einsum, option, _bits(einsum, workload)) or 0) * matrices
    vectors = int(np.prod([einsum.sizes[r] for r in c.m], dtype=np.int64))
    return replace(_run(einsum, option, times, unit.name, unit, workload), arrays=arrays, most=vectors)


def _bits(einsum: Einsum, workload: Workload) -> list[int]:
    return [workload.tensors[a.tensor].bits for a in (*einsum.inputs, einsum.output)]


def with_copies(
    found: tuple[Choice, ...], arch: Architecture, workload: Workload, *, pipelined: bool
) -> tuple[Choice, ...]:
    """Further copies of matrices, as long as arrays are left.

    Of a pipeline the slowest Einsum gets the next copies, of Einsums that run one after the other the one that saves
    the most time per array.
    """
    units = compute_units(arch)
    best = list(found)
    for name, unit in units.items():
        if isinstance(unit, CrossbarArray):
            mine = [i for i, c in enumerate(found) if c.unit == name]
            left = unit.arrays - sum(found[i].arrays for i in mine)
            for i, copies in _allotted({i: found[i] for i in mine}, left, pipelined).items():
                variant = f"{RESIDENT}{copies}"
                run = _run(found[i].einsum, SpatialOption(variant, {}), found[i].times, name, unit, workload)
                best[i] = replace(found[i], variant=variant, copies=copies, seconds=run.seconds)
    return tuple(best)


def _allotted(found: Mapping[int, Choice], left: int, pipelined: bool) -> dict[int, int]:
    """Copies of each: a step takes the fewest further ones that save a round of vectors."""
    copies = dict.fromkeys(found, 1)

    def entry(i: int) -> tuple[float, int, int] | None:
        c = found[i]
        rounds = -(-c.most // copies[i])
        if rounds == 1 or not c.arrays:
            return None
        more = -(-c.most // (rounds - 1))
        saved = c.seconds * c.times * (rounds - -(-c.most // more)) / c.most
        now = c.seconds * rounds / c.most
        return (-now if pipelined else -saved / (c.arrays * (more - copies[i]))), i, more

    heap = [e for i in found if (e := entry(i)) is not None]
    heapify(heap)
    while heap:
        _, i, more = heappop(heap)
        need = found[i].arrays * (more - copies[i])
        if need > left:
            if pipelined:
                break  # a pipeline is as fast as its slowest stage
            continue
        left -= need
        copies[i] = more
        if (following := entry(i)) is not None:
            heappush(heap, following)
    return copies
