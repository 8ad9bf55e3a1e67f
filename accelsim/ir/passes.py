"""How often a cascade of Einsums must run through a rank: its passes. No machine is needed.

A new pass over a rank starts where an Einsum that still carries the rank needs a value that a complete reduction over
it produces: no fusion and no buffer smaller than the rank can avoid to run through it again (Nayak et al., FuseMax,
arXiv:2406.10491). What need not start one:

- *Prefix dependences.* An iterative tensor is there step by step; only its last step, ``RM[I,p]``, is complete.
- *Blocks.* Where a rank is cut, m into i blocks of j, a reduction over j alone leaves one value per block, at hand as
  soon as the block is. An Einsum over those values alone runs through no element of m, so it starts no pass over m,
  even if it needs complete values; an Einsum that brings its result back to the elements does.

Ranks are known by their names: a rank has one meaning throughout a cascade.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .einsum import Access, Einsum
from .families import Family, cascade_einsums, families
from .workload import Workload


@dataclass(frozen=True)
class PassStart:
    """Why a pass starts.

    Attributes:
        number: of the pass that starts, from 2.
        einsum: the Einsum that starts it.
        needs: the tensor that it waits for.
        completed_by: the Einsum that runs through the rank last before that tensor is there.
        reason: the same as a sentence.
    """

    number: int
    einsum: str
    needs: str
    completed_by: str
    reason: str


@dataclass(frozen=True)
class RankPasses:
    """The passes over one rank.

    Attributes:
        family: the rank, with the parts it is cut into.
        count: passes over it.
        einsums: the pass in which each Einsum runs that runs through the rank.
        tensors: the passes in which each tensor that carries the rank is produced or read.
        starts: what starts each pass but the first.
        prefixes: Einsums that step along the rank or a part of it.
    """

    family: Family
    count: int
    einsums: Mapping[str, int]
    tensors: Mapping[str, tuple[int, ...]]
    starts: tuple[PassStart, ...]
    prefixes: tuple[str, ...]

    @property
    def rank(self) -> str:
        return self.family.name


def passes(workload: Workload) -> tuple[RankPasses, ...]:
    """The passes over every rank, in order of appearance.

    ::

        {p.rank: p.count for p in passes(load_model("attention_3pass"))}["m"]  # 3

    Raises:
        BadInput: the Workload is no cascade: it has views or repeats, or a rank of two sizes.
    """
    einsums = cascade_einsums(workload)
    return tuple(passes_over(family, einsums) for family in families(workload))


def most_passes(workload: Workload) -> RankPasses:
    """The rank with the most passes: of several, the largest.

    Raises:
        BadInput: as `passes`.
    """
    return max(passes(workload), key=lambda p: (p.count, p.family.size))


@dataclass(frozen=True)
class _State:
    """When the values of a tensor are there.

    Attributes:
        number: the pass that produces them; 0 before the first.
        dims: dimensions along which they appear step by step during that pass; none: they are there after it.
        last: the Einsum that runs through the rank last before they are there.
    """

    number: int = 0
    dims: frozenset[int] = frozenset()
    last: str = ""


def passes_over(family: Family, einsums: tuple[Einsum, ...]) -> RankPasses:
    """The passes of Einsums, in an order in which they can run, over one rank."""
    states: dict[str, _State] = {}
    numbers: dict[str, int] = {}
    starts: dict[int, PassStart] = {}
    for einsum in einsums:
        during, after = _needs(einsum, family, states)
        number, waits = during[0], after[0]
        if family.run_by(einsum):
            number = max(1, number, waits + 1)
            if waits + 1 > max(1, during[0]):
                starts.setdefault(number, _start(number, einsum, after[1], family, states))
            numbers[einsum.name] = number
            made = _State(number, _dims(einsum.output, family), einsum.name)
        elif family.touched_by(einsum) and number > waits:
            made = _State(number, _dims(einsum.output, family), states[during[1]].last)
        else:
            last = after[1] if waits >= number else during[1]
            made = _State(max(number, waits), frozenset(), states[last].last if last in states else "")
        old = states.get(einsum.output.tensor, _State())
        later = made if made.number >= old.number else old
        states[einsum.output.tensor] = _State(later.number, made.dims | old.dims, later.last)
    tensors: dict[str, set[int]] = {}
    for einsum in einsums:
        for access in (*einsum.inputs, einsum.output):
            if einsum.name in numbers and access.ranks & family.ranks:
                tensors.setdefault(access.tensor, set()).add(numbers[einsum.name])
    return RankPasses(
        family, max(numbers.values(), default=0), numbers, {name: tuple(sorted(at)) for name, at in tensors.items()},
        tuple(starts[n] for n in sorted(starts)), tuple(e.name for e in einsums if e.iterative in family.ranks),
    )  # fmt: skip


def _needs(
    einsum: Einsum, family: Family, states: Mapping[str, _State]
) -> tuple[tuple[int, str], tuple[int, str]]:
    """The latest pass whose values are needed step by step, and the latest that must be over; with the tensors."""
    during, after = (0, ""), (0, "")
    for access in einsum.inputs:
        state = states.get(access.tensor)
        if state is None or (einsum.iterative and access.tensor == einsum.output.tensor):
            continue
        if state.dims and all(_in_step(access, dim, family) for dim in state.dims):
            during = max(during, (state.number, access.tensor), key=lambda found: found[0])
        else:
            after = max(after, (state.number, access.tensor), key=lambda found: found[0])
    return during, after


def _in_step(access: Access, dim: int, family: Family) -> bool:
    """True if an access follows the rank along a dimension, upwards."""
    along = [c for rank, c in access.indices[dim].terms if rank in family.ranks]
    return bool(along) and min(along) > 0


def _dims(output: Access, family: Family) -> frozenset[int]:
    return frozenset(d for d, index in enumerate(output.indices) if not family.ranks.isdisjoint(index.ranks))


def _start(
    number: int, einsum: Einsum, needs: str, family: Family, states: Mapping[str, _State]
) -> PassStart:
    state = states[needs]
    if state.dims:
        why = f"reads '{needs}' at its end or against its order, and '{state.last}' makes it step by step in pass "
    elif state.last in ("", needs):
        why = f"needs '{needs}', complete after a reduction over {family.name} in pass "
    else:
        why = f"needs '{needs}', complete after '{state.last}' has run through {family.name} in pass "
    reason = f"'{einsum.name}' carries {family.name} and {why}{state.number}"
    return PassStart(number, einsum.name, needs, state.last, reason)
