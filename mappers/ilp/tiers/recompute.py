"""Computing an item anew instead of bringing it back: choices that a problem gets besides its own."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from ....mapping.tiers.problem import Choice, Step, TierProblem


def with_recomputation(problem: TierProblem, items: Collection[str] | None = None) -> TierProblem:
    """The same steps, each of which may run the maker of one item that it reads once more instead of having it.

    The maker's inputs must then be where it reads them; its time, energy, streams and workspace come on top. Makers are
    steps with one choice that write the item and read no item that is written again before the step.

    Args:
        problem: whose steps get more choices.
        items: which may be made anew; None for all that can.
    """
    found: list[Step] = []
    for s, step in enumerate(problem.steps):
        more = [
            again
            for c in step.choices
            for name in c.reads
            if (items is None or name in items) and name not in c.writes
            if (again := _again(problem, s, c, name)) is not None
        ]
        found.append(replace(step, choices=(*step.choices, *more)))
    return replace(problem, steps=tuple(found))


def _again(problem: TierProblem, step: int, choice: Choice, name: str) -> Choice | None:
    """The choice that makes an item anew, or None where that cannot be."""
    makers = [m for m in range(step) if any(name in c.writes for c in problem.steps[m].choices)]
    if len(makers) != 1 or len(problem.steps[makers[0]].choices) != 1:
        return None
    maker = problem.steps[makers[0]].choices[0]
    between = problem.steps[makers[0] : step]
    changed = {n for s in between for c in s.choices for n in c.writes}
    if changed & set(maker.reads) or maker.writes[name] != choice.reads[name]:
        return None
    reads = {n: t for n, t in choice.reads.items() if n != name}
    if any(reads.get(n, t) != t or n in choice.writes for n, t in maker.reads.items()):
        return None
    sums = [
        {k: a.get(k, 0) + b.get(k, 0) for k in {**a, **b}}
        for a, b in ((choice.streams, maker.streams), (choice.workspace, maker.workspace))
    ]
    return replace(
        choice,
        name=f"{choice.name}, {name} anew",
        seconds=choice.seconds + maker.seconds,
        joules=choice.joules + maker.joules,
        reads={**reads, **maker.reads},
        remakes={**choice.remakes, name: choice.reads[name]},
        streams=sums[0],
        workspace=sums[1],
    )
