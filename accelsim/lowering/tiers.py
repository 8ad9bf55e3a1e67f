"""Plans over tiers as Programs: computing and every channel are actors that wait for each other between positions."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

from ..engine.builder import Phase, ProgramBuilder, Repeat, Run
from ..engine.program import Program, Server
from ..mapping.tiers.plan import TierPlan
from ..mapping.tiers.problem import TierProblem

TICKS = 10**12
"""Per second: what lasts no time takes one of them, and adds nothing that can be seen."""


def program_of(problem: TierProblem, plan: TierPlan, *, periods: int = 1) -> Program:
    """The Program of a plan; its actions count the bytes that cross each link, by the link's name.

    Args:
        problem: what it is a plan of.
        plan: one that `check_tier_plan` accepts.
        periods: how often the positions are run through.
    """
    positions = problem.positions
    compute = [0.0] * positions
    moved: list[dict[str, int]] = [{} for _ in range(positions)]
    for s, (step, name) in enumerate(zip(problem.framed, plan.choices, strict=True)):
        choice = next(c for c in step.choices if c.name == name)
        compute[problem.position(s)] = choice.seconds
        moved[problem.position(s)] = dict(choice.streams)
    for t in plan.transfers:
        at = moved[t.position]
        at[t.link] = at.get(t.link, 0) + t.high - t.low
    channels = list(dict.fromkeys(x.shared for x in problem.links))
    rows: dict[str, list[tuple[int, dict[str, int]]]] = {"compute": [(_ticks(s), {}) for s in compute]}
    for channel in channels:
        own = [{n: b for n, b in at.items() if problem.by_link[n].shared == channel and b} for at in moved]
        times = [_ticks(sum(b / problem.by_link[n].bandwidth for n, b in at.items())) for at in own]
        rows[f"channel {channel}"] = list(zip(times, own, strict=True))
    return _barriers(plan.problem, rows, periods)


def _ticks(seconds: float) -> int:
    return max(1, ceil(Fraction(seconds) * TICKS))


def _barriers(name: str, rows: dict[str, list[tuple[int, dict[str, int]]]], periods: int) -> Program:
    """Actors with one firing per position; none begins one before all have ended the one before."""
    builder = ProgramBuilder(name, tick_hz=TICKS)
    actors = {n: builder.actor(n, server=builder.server(Server(n)), label=n) for n in rows}
    fifos = {
        (a, b): builder.fifo(actors[a], actors[b], depth=2, init=1) for a in rows for b in rows if a != b
    }  # fmt: skip
    for a, firings in rows.items():
        inputs = tuple((fifos[b, a], 1, 1) for b in rows if b != a)
        outputs = tuple((fifos[a, b], 1, 1) for b in rows if b != a)
        body = tuple(
            Run(Phase(work, inputs=inputs, outputs=outputs, actions=tuple(sorted(done.items()))))
            for work, done in firings
        )
        builder.schedule(actors[a], [Repeat(periods, body)])
    return builder.build()
