"""Which elements of a dimension an affine index reaches, and at how many points: what gradients are dealt out by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from .einsum import Access, Affine, Einsum


@dataclass(frozen=True)
class Gap:
    """Elements that an index leaves out: ``start + sum(step * i) + f``, i < count of every (step, count), f < width."""

    start: int
    steps: tuple[tuple[int, int], ...]
    width: int


def mixed_radix(index: Affine, sizes: Mapping[str, int]) -> bool:
    """Whether an index has a value of its own for every point of its ranks (channels of groups, say)."""
    reach = 1
    for step, count in _steps(index, sizes):
        if step < reach:
            return False
        reach = step * count
    return True


def gaps(index: Affine, sizes: Mapping[str, int], extent: int) -> list[Gap]:
    """What a mixed radix inside a dimension leaves out of it: before, between and behind its values."""
    low, high = index.bounds(sizes)
    found: list[Gap] = []
    span, behind = 1, extent - high - 1
    steps = _steps(index, sizes)
    for step, count in steps:
        found = [replace(gap, steps=(*gap.steps, (step, count))) for gap in found]
        more = (step, count) == steps[-1] and behind >= step - span  # behind the last value, too
        behind -= step - span if more else 0
        found.append(Gap(low + span, ((step, count if more else count - 1),), step - span))
        span += step * (count - 1)
    return [gap for gap in (Gap(0, (), low), *found, Gap(extent - behind, (), behind)) if gap.width > 0]


def _steps(index: Affine, sizes: Mapping[str, int]) -> list[tuple[int, int]]:
    """(step, count) of the ranks of several points, smallest step first."""
    return sorted((abs(step), sizes[r]) for r, step in index.terms if sizes[r] > 1)


def window_of(index: Affine, einsum: Einsum, out: Sequence[int]) -> tuple[tuple[str, int], tuple[str, int]] | None:
    """The (window, stride) and (tap, dilation) of an index, no tap where it has none; None where it is no window.

    A window is along a rank of the output, whose shape is `out`, that no value beyond its own leaves inside of it.
    """
    kept = einsum.output.ranks
    several = [t for t in index.terms if einsum.sizes[t[0]] > 1]
    windows = [t for t in several if t[0] in kept] or [t for t in index.terms if t[0] in kept][:1]
    taps = [t for t in several if t[0] not in kept] or [("", 1)]
    if len(windows) != 1 or len(taps) != 1 or min(windows[0][1], taps[0][1]) < 1:
        return None
    return (windows[0], taps[0]) if _leaves(windows[0][0], einsum, out) else None


def _leaves(rank: str, einsum: Einsum, out: Sequence[int]) -> bool:
    """Whether one more point of a rank, at either end, is outside of the output."""
    for index, n in zip(einsum.output.indices, out, strict=True):
        step = dict(index.terms).get(rank, 0)
        if step > 0:
            low, high = index.bounds({**einsum.sizes, rank: 1})
            return high - step < 0 and low + step * einsum.sizes[rank] >= n
    return False


def turned(einsum: Einsum, access: Access) -> Einsum:
    """The same Einsum with reduced ranks counted from their ends, of which an index of an access has less with more:
    the filter of a transposed convolution, say."""
    back = {r for index in access.indices for r, step in index.terms if step < 0} - einsum.output.ranks
    if not back:
        return einsum

    def other(index: Affine) -> Affine:
        ends = sum(step * (einsum.sizes[r] - 1) for r, step in index.terms if r in back)
        return Affine(tuple((r, -step if r in back else step) for r, step in index.terms), index.offset + ends)

    inputs = tuple(replace(a, indices=tuple(map(other, a.indices))) for a in einsum.inputs)
    return replace(einsum, inputs=inputs)
