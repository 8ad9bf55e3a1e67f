"""Fast memory beside off-chip memory: which tensors are where at each use, for the least time.

Every operator reads and writes each tensor in the fast memory or off chip. What is off chip streams at its bandwidth
while the operator computes; what is fast must have been brought there, meanwhile or before, and have room.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from ... import load_model
from ...mappers.ilp.graph import Graph, GraphOptions, graph_of
from ...mapping.tiers.problem import Choice, Item, Link, Step, Tier, TierProblem
from ..loader import table

FAST, HBM = "fast", "hbm"


@dataclass(frozen=True)
class Machine:
    """Multiply-accumulates per second, and bytes per second of both memories."""

    macs: float
    hbm: float
    fast: float

    @classmethod
    def published(cls) -> Machine:
        v = {r["name"]: float(r["value"]) for r in table(__package__, "machine.csv")}
        return cls(v["clock"] * 1e9 * v["macs"], v["hbm"] * 1e9, v["fast"] * 1e9)


def problem(model: str, share: float, machine: Machine) -> TierProblem:
    """A network in int8, with parameters; the fast memory has a share of all weights and of the largest operator."""
    graph = graph_of(load_model(model, bits=8), GraphOptions(parameters=True))
    tensors = graph.problem.tensors
    weights = sum(t.nbytes for t in tensors.values() if t.source)
    capacity = int(share * weights + 0.5 * graph.problem.largest_working_set)
    steps = tuple(_step(graph, number, machine, capacity) for number in range(len(graph.problem.operators)))
    items = {n: Item(n, t.nbytes, HBM if t.source else "", HBM if t.result else "") for n, t in tensors.items()}
    links = (
        Link("load", HBM, FAST, machine.hbm, channel="hbm"), Link("store", FAST, HBM, machine.hbm, channel="hbm"),
    )  # fmt: skip
    return TierProblem(model, (Tier(FAST, capacity), Tier(HBM)), links, items, steps)


def _step(graph: Graph, number: int, machine: Machine, capacity: int) -> Step:
    op = graph.problem.operators[number]
    size = {n: graph.problem.tensors[n].nbytes for n in op.touches}
    macs = sum(e.points for e in graph.einsums[op.name] if e.is_contraction)
    large = sorted((n for n in op.touches if size[n] >= 1024), key=lambda n: -size[n])[:4]
    choices = []
    for places in product((FAST, HBM), repeat=len(large)):
        where = dict.fromkeys(op.touches, HBM) | dict(zip(large, places, strict=True))
        near = sum(size[n] for n, t in where.items() if t == FAST)
        if near > capacity:
            continue
        load = sum(size[n] for n in op.reads if where[n] == HBM)
        store = sum(size[n] for n in op.writes if where[n] == HBM)
        choices.append(
            Choice(
                "fast: " + (", ".join(n for n in large if where[n] == FAST) or "none"),
                max(macs / machine.macs, near / machine.fast),
                {n: where[n] for n in op.reads}, {n: where[n] for n in op.writes},
                streams={k: v for k, v in (("load", load), ("store", store)) if v},
            )
        )  # fmt: skip
    return Step(op.name, tuple(choices))


def greedy(wanted: TierProblem) -> TierProblem:
    """The same with one choice per step: a rule like XLA's memory-space assignment.

    Buffers go by their number of uses, the most first, then the shortest lives, then the largest. Each is fast at all
    its uses if it has room from the first to the last, and weights also in the step before.
    """
    uses: dict[str, list[int]] = {}
    for s, step in enumerate(wanted.steps):
        for name in step.choices[0].touches:
            uses.setdefault(name, []).append(s)
    capacity = wanted.capacities[FAST] or 0
    free = [capacity] * len(wanted.steps)
    fast: set[str] = set()
    offered = {n for step in wanted.steps for c in step.choices for n, t in c.touches.items() if t == FAST}
    for name in sorted(offered, key=lambda n: (-len(uses[n]), uses[n][-1] - uses[n][0], -wanted.items[n].nbytes, n)):
        item = wanted.items[name]
        first = max(0, uses[name][0] - (1 if item.home else 0))
        span = range(first, uses[name][-1] + 1)
        if all(free[s] >= item.nbytes for s in span):
            fast.add(name)
            for s in span:
                free[s] -= item.nbytes
    steps = []
    for step in wanted.steps:
        steps.append(Step(step.name, (_least(step.choices, fast),)))
    return TierProblem(wanted.name, wanted.tiers, wanted.links, wanted.items, tuple(steps))


def _least(choices: tuple[Choice, ...], fast: set[str]) -> Choice:
    """The choice with most of what is fast, and nothing else, in the fast memory."""
    able = [c for c in choices if all(t != FAST or n in fast for n, t in c.touches.items())]
    return max(able, key=lambda c: sum(t == FAST for t in c.touches.values()))


def all_off_chip(wanted: TierProblem) -> TierProblem:
    """The same with nothing in the fast memory."""
    steps = tuple(Step(s.name, (_least(s.choices, set()),)) for s in wanted.steps)
    return TierProblem(wanted.name, wanted.tiers, wanted.links, wanted.items, steps)
