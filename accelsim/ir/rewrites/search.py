"""A search over rewrites for a cascade of fewer passes."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import count

from ...errors import AccelsimError, BadInput
from ..cascade import format_cascade
from ..families import Family, cascade_einsums, families
from ..passes import RankPasses, passes
from ..workload import Workload
from .check import same_value, shrunk
from .defer import defer
from .running import running
from .split import split_rank
from .terms import Draft, NotApplicable

MOST_CASCADES = 400
"""Cascades that a search looks at."""


@dataclass(frozen=True)
class Step:
    """One rewrite: ``defer``, ``distribute``, ``running`` or ``split``.

    Attributes:
        rewrite: its name.
        einsum: the Einsum that it is applied to; of a split, the rank.
        by: the value that is moved, the rank that is stepped along, or the size of a block.
    """

    rewrite: str
    einsum: str
    by: str

    def apply(self, workload: Workload) -> Workload:
        """The rewritten Workload. Raises NotApplicable."""
        if self.rewrite == "running":
            return running(workload, self.einsum, self.by)
        if self.rewrite == "split":
            return split_rank(workload, self.einsum, int(self.by))
        return defer(workload, self.einsum, self.by, distribute=self.rewrite == "distribute")

    def __str__(self) -> str:
        if self.rewrite == "running":
            return f"running: '{self.einsum}' steps along {self.by}, and sums that wait for it are corrected as it goes"
        if self.rewrite == "split":
            return f"split: rank {self.einsum} into blocks of {self.by}"
        if self.rewrite == "distribute":
            return f"distribute: '{self.einsum}' is expanded, and '{self.by}' leaves its sums (may cancel digits)"
        return f"defer: factors of '{self.by}' are moved past the reduction of '{self.einsum}'"


@dataclass(frozen=True)
class Rewritten:
    """A cascade of fewer passes.

    Attributes:
        workload: the cascade.
        steps: the rewrites that led to it, in order.
        checked: whether its results were compared with those before on random inputs; False only for a cascade that
            is too large to be evaluated and does not shrink.
    """

    workload: Workload
    steps: tuple[Step, ...]
    checked: bool

    @cached_property
    def ranks(self) -> tuple[RankPasses, ...]:
        return passes(self.workload)

    @property
    def passes(self) -> int:
        """Passes over the rank that has most."""
        return max(p.count for p in self.ranks)


def fewest_passes(
    workload: Workload, *, blocks: dict[str, int] | None = None, most_cascades: int = MOST_CASCADES
) -> Rewritten:
    """Rewrite a cascade so that it needs fewer passes over its ranks; best first, the same result every time.

    ::

        found = fewest_passes(load_model("attention_3pass"))
        found.passes, [str(step) for step in found.steps]

    Rewrites are those of `defer` and `running`; nothing is matched but operators and ranks. Of cascades with equal
    passes the one found by fewer steps wins, and distributing comes last. Precision is not weighed: powers about a mean
    cancel digits in both forms, where the mean is far larger than the deviations.

    Args:
        workload: a cascade.
        blocks: ranks that are cut first, and the size of a block of each: running reductions then step by blocks.
        most_cascades: after so many the search ends with the best so far.

    Raises:
        BadInput: the Workload is no cascade; a block does not divide its rank.
        AccelsimError: a rewrite changed the value, which would be a fault in this package.
    """
    first = tuple(Step("split", rank, str(size)) for rank, size in (blocks or {}).items())
    start = workload
    for step in first:
        start = step.apply(start)
    order = count()
    best = (_score(start), start, first)
    queue = [(best[0], next(order), start, first)]
    seen = {_key(start)}
    looked = 0
    while queue and looked < most_cascades:
        score, _, current, steps = heapq.heappop(queue)
        if score < best[0]:
            best = (score, current, steps)
        if best[0][0] == len(families(best[1])):
            break
        for step in candidates(current):
            try:
                rewritten = step.apply(current)
            except NotApplicable:
                continue
            looked += 1
            key = _key(rewritten)
            if key not in seen:
                seen.add(key)
                distributed = score[2] + (step.rewrite == "distribute")
                key_of_queue = (*_score(rewritten)[:2], distributed, score[3] + 1)
                heapq.heappush(queue, (key_of_queue, next(order), rewritten, (*steps, step)))
    _, found, steps = best
    return Rewritten(found, steps, _checked(workload, found, steps))


def candidates(workload: Workload) -> Iterator[Step]:
    """Rewrites that may lower the pass of a reduction; distributing, which makes the most terms, last."""
    einsums = cascade_einsums(workload)
    draft = Draft(workload)
    distributions = []
    for over in passes(workload):
        if over.count < 2:
            continue
        complete = [e for e in einsums if over.family.touched_by(e) and _complete(e.output.ranks, over.family)]
        waiting = {e.name: {v.output.tensor for v in complete if v is not e and any(
            draft.depends(a.tensor, v.output.tensor) for a in e.inputs)} for e in complete if e.reduced_ranks}
        for name, values in waiting.items():
            for value in sorted(values):
                yield Step("defer", name, value)
                distributions.append(Step("distribute", name, value))
        for lead in complete:
            if any(lead.output.tensor in values for values in waiting.values()):
                for rank in lead.reduced_ranks:
                    if rank in over.family.ranks:
                        yield Step("running", lead.name, rank)
    yield from distributions


def _complete(ranks: frozenset[str], family: Family) -> bool:
    return ranks.isdisjoint(family.ranks)


def _score(workload: Workload) -> tuple[int, int, int, int]:
    """Passes over all ranks, how late reductions are, and room for distributions and steps."""
    einsums = {e.name: e for e in cascade_einsums(workload)}
    over = passes(workload)
    late = sum(n - 1 for p in over for name, n in p.einsums.items() if _complete(einsums[name].output.ranks, p.family))
    return sum(p.count for p in over), late, 0, 0


def _key(workload: Workload) -> str:
    return format_cascade(workload)


def _checked(before: Workload, after: Workload, steps: tuple[Step, ...]) -> bool:
    """Compare results on random inputs, of the cascade itself or of a small one that takes the same steps."""
    if not steps:
        return True
    small = sum(e.points for e in cascade_einsums(after)) <= 2**21
    if not small:
        try:
            before = after = shrunk(before)
            for step in steps:
                if step.rewrite == "split":
                    sizes = {r: s for e in cascade_einsums(after) for r, s in e.sizes.items()}
                    block = next(b for b in range(2, sizes[step.einsum] + 1) if sizes[step.einsum] % b == 0)
                    step = Step("split", step.einsum, str(block))
                after = step.apply(after)
        except (BadInput, StopIteration):
            return False
    if not same_value(before, after):
        raise AccelsimError(f"{before.name}: rewriting changed the value: {', '.join(map(str, steps))}")
    return True
