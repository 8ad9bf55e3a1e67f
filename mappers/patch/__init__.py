"""The patch mapper: convolutional networks on small memories, their first layers patch by patch.

Every activation stays on chip from the group of Einsums that makes it to the last that reads it; a group is a layer
with the elementwise operators behind it. The first groups, the patch stage, run inside Loops with a halo over a grid of
patches of the stage's result, so that between them only tiles are held; what patches share is computed again. Weights
come tile by tile from the off-chip memory.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from math import prod
from typing import Literal

from ...arch.architecture import Architecture
from ...errors import BadInput, ConstraintError, DoesNotFit
from ...ir import Workload
from ...mapping.capacity import contents, peaks
from ...mapping.constraints import Constraints
from ...mapping.counting import tally
from ...mapping.machine_bound import machine_bound
from ...mapping.replay import macs_run
from ...mapping.scope import Scope
from ...mapping.tree import Claim, Mapping
from .build import Builder, Plan
from .groups import Chain

GRIDS = ((1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (7, 7))
"""Grids of patches that are tried where none is given."""


@dataclass(frozen=True)
class Patching:
    """How to cut a network into patches.

    Attributes:
        grid: patches along rows and columns; (1, 1) for layer by layer; None for the one with the fewest
            multiply-accumulates that fits.
        stage: name of an Einsum of the last group in the patch stage; empty for the one with the smallest peak.
        halo: ``clipped`` to the borders of feature maps, or ``whole`` with what lies beyond them.
        in_place: results that take the place of an input: ``none``, ``channels`` (of depthwise convolutions and
            elementwise operators), or ``all`` that can (pointwise convolutions, too).
        aside: count the channel of a depthwise convolution whose results wait for their place.
        fuse_residual: add residuals to results as these are made, instead of in a step of its own.
    """

    grid: tuple[int, int] | None = None
    stage: str = ""
    halo: Literal["clipped", "whole"] = "clipped"
    in_place: Literal["none", "channels", "all"] = "channels"
    aside: bool = False
    fuse_residual: bool = True


def map_workload(
    workload: Workload,
    arch: Architecture,
    *,
    objective: str = "latency",
    seed: int = 0,
    constraints: Constraints | None = None,
    patching: Patching = Patching(),
) -> Mapping:
    """Map a feed-forward network of images.

    Args:
        workload: a Workload without Repeats.
        arch: a machine whose units work on one on-chip memory with an off-chip one behind it.
        objective: ``latency``.
        seed: recorded in the Claim; the mapper makes no random choice.
        constraints: none are taken.
        patching: what is fixed.

    Returns:
        The Mapping; its Claim is the latency that the Program has when it is run.

    Raises:
        BadInput: the model, machine or objective is not of that kind, or `patching` names what is not there.
        DoesNotFit: no choice fits; the message says how much the smallest one needs.
        ConstraintError: there are constraints.
        MappingError: no unit can run an Einsum.
    """
    started = time.perf_counter()
    if objective != "latency":
        raise BadInput(f"the patch mapper has the objective latency alone, not {objective!r}")
    if constraints is not None and constraints != Constraints():
        raise ConstraintError("constraint: the patch mapper takes none; the tile mapper does")
    builder = Builder(Chain(workload, fuse_residual=patching.fuse_residual), arch)
    mapping = _best(builder, patching)
    return replace(mapping, claim=_claim(mapping, workload, arch, seed, started))


@dataclass(frozen=True)
class Weighed:
    """A Mapping with the multiply-accumulates that it does and the most bytes that the buffer holds."""

    mapping: Mapping
    macs: int
    peak: int


def _weighed(builder: Builder, plan: Plan) -> Weighed | None:
    """What a plan comes to, whether or not it fits; None where the patch stage cannot be cut."""
    mapping = builder.mapping(plan)
    scope = Scope(mapping, builder.workload)
    if scope.uncuttable:
        return None
    held = contents(scope, builder.arch, [tally(scope, move) for move in mapping.moves])
    buffer = builder.machine.buffer
    return Weighed(mapping, sum(macs_run(scope).values()), peaks(scope, {buffer: held[buffer]})[buffer].nbytes)


def _best(builder: Builder, patching: Patching) -> Mapping:
    """Of the plans that fit, the one with the fewest multiply-accumulates, then patches, then the smallest peak."""
    buffer = builder.machine.buffer
    capacity = builder.arch.memories[buffer].capacity
    found: list[tuple[bool, int, int, int, Mapping]] = []
    for grid in GRIDS if patching.grid is None else (patching.grid,):
        plans = (
            Plan(stage, grid, patching.halo, patching.in_place, patching.aside)
            for stage in _stages(builder, patching, grid)
        )
        tried = [w for w in (_weighed(builder, plan) for plan in plans) if w is not None]
        if patching.grid is not None and tried:
            tried = [min(tried, key=lambda w: (w.peak, w.macs))]
        found += [(w.peak > capacity, w.macs, prod(grid), w.peak, w.mapping) for w in tried]
    if not found:
        raise BadInput(f"model {builder.workload.name}: no patch stage can be cut into {patching.grid} patches")
    over, *_, mapping = min(found, key=lambda t: t[:4])
    if over:
        peak = min(t[3] for t in found)
        raise DoesNotFit(
            f"{buffer}: {builder.workload.name} needs at least {peak:,} bytes of activations and buffers in patches, "
            f"{peak - capacity:,} more than it has ({capacity:,})"
        )
    return mapping


def _stages(builder: Builder, patching: Patching, grid: tuple[int, int]) -> list[int]:
    """Lengths of the patch stage to try, in groups; 0 for layer by layer."""
    if min(grid) < 1:
        raise BadInput(f"a grid of {grid[0]} x {grid[1]} patches (at least 1 x 1)")
    possible = builder.stages()
    if not patching.stage:
        return possible if grid != (1, 1) and possible else [0]
    groups = builder.chain.groups
    named = [i + 1 for i, g in enumerate(groups) if patching.stage in [e.name for e in g.einsums]]
    if not named or named[0] not in possible:
        known = ", ".join(groups[i - 1].einsums[-1].name for i in possible)
        raise BadInput(f"a patch stage cannot end with {patching.stage!r}; it can with {known or 'none'}")
    return named


def _claim(mapping: Mapping, workload: Workload, arch: Architecture, seed: int, started: float) -> Claim:
    """The latency of the Program: patches are not modelled in any simpler way."""
    from ...engine import compiled
    from ...lowering import lower

    program = lower(arch, workload, mapping)
    seconds = compiled.run(program).finish / float(program.tick_hz)
    value, bound = seconds * float(arch.clock), float(machine_bound(workload, arch).cycles)
    gap = (value - bound) / value if value else 0.0
    return Claim("latency", value, bound, gap, seed, time.perf_counter() - started, mapper="patch")
