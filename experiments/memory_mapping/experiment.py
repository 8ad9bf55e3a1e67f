"""Memory mapping: fast memory by buffer and use for the least time, beside a greedy compiler, and exact addresses."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import cast

from ... import load_model
from ...arch.loader import load_architecture
from ...engine import compiled
from ...lowering.tiers import program_of
from ...mappers.ilp.graph import Graph, GraphOptions, graph_of
from ...mappers.ilp.packing import Buffer, first_fit, pack
from ...mappers.ilp.solver import SolverOptions
from ...mappers.ilp.tiers.model import BYTES
from ...mappers.ilp.tiers.search import place
from ...mappers.ilp.variants import Chip, with_variants
from ...mapping.tiers.problem import TierProblem
from ..loader import ANOTHER_ROUTE, SHOWN, Row, table
from .graphs import Reads, planned, random_graph
from .mapping import Machine, all_off_chip, greedy, problem

BELOW = "edge_npu"
"""The machine of small memories: bytes are what is minimised, its rates say how long they take."""
OPTIONS = SolverOptions(gap=0.01)
GENERATED = (40, 80, 160)
"""Buffers of the generated cases."""
HEIGHT = 4096
SECONDS = 60.0
"""Limit for a random graph; those that are judged end long before it."""


def times(wanted: TierProblem) -> dict[str, float]:
    """Simulated seconds with nothing fast, with the greedy rule, and with the plan of the tiered program."""
    found = {}
    for name, limited in (("off chip", all_off_chip(wanted)), ("greedy", greedy(wanted)), ("exact", wanted)):
        plan = place(limited, options=OPTIONS)
        trace = compiled.run(program_of(limited, plan))
        found[name] = trace.finish / float(trace.program.tick_hz)
        if name == "exact":
            assert plan.claim is not None
            found["bound"] = plan.claim.bound
    return found


def generated(count: int, seed: int = 0) -> list[Buffer]:
    """Buffers cut out of a full rectangle of memory and time, so that a packing without waste exists."""
    rng = random.Random(seed)
    boxes = [(0, 1000, 0, HEIGHT)]
    while len(boxes) < count:
        boxes.sort(key=lambda b: (b[1] - b[0]) * (b[3] - b[2]))
        left, right, low, high = boxes.pop()
        if (rng.random() < 0.5 and right - left > 1) or high - low < 2:
            cut = rng.randint(left + 1, right - 1)
            boxes += [(left, cut, low, high), (cut, right, low, high)]
        else:
            cut = rng.randint(low + 1, high - 1)
            boxes += [(left, right, low, cut), (left, right, cut, high)]
    return [Buffer(f"b{i}", a, b, d - c) for i, (a, b, c, d) in enumerate(sorted(boxes))]


def height(buffers: Sequence[Buffer], capacity: int) -> int | None:
    """Bytes that a packing reaches, checked pair by pair; None where none was found."""
    found = pack(buffers, capacity)
    if found.addresses is None:
        return None
    for b, c in combinations(buffers, 2):
        low, high = found.addresses[b.name], found.addresses[c.name]
        if b.lower < c.upper and c.lower < b.upper and low < high + c.size and high < low + b.size:
            return None
    return max(found.addresses[b.name] + b.size for b in buffers)


def simple_height(buffers: Sequence[Buffer]) -> int:
    """What first fit by size reaches with all the memory that it wants."""
    alive = [[j for j, c in enumerate(buffers) if i != j and b.lower < c.upper and c.lower < b.upper]
             for i, b in enumerate(buffers)]  # fmt: skip
    addresses = first_fit(buffers, 1 << 40, lambda b, _: (-b.size, b.lower - b.upper), alive)
    assert addresses is not None
    return max(a + b.size for a, b in zip(addresses, buffers, strict=True))


def below(model: str, capacity: int, longest: int) -> tuple[int, float, Graph]:
    """Off-chip bytes of a plan with variants, simulated; the bound of their choice; and the graph."""
    workload = load_model(model, bits=8)
    graph = graph_of(workload, GraphOptions(parameters=False))
    chip = Chip.of(load_architecture(BELOW), "sram", capacity=capacity)
    wanted = with_variants(workload, graph, chip, longest=longest)
    plan = place(wanted, aims=(BYTES,), options=OPTIONS)
    assert plan.claim is not None
    trace = compiled.run(program_of(wanted, plan))
    return int(trace.action_counts().sum()), plan.claim.bound, graph


def _below_rows() -> Iterator[Row]:
    """Memories smaller than the largest operator's tensors: strips and patches of operators, and of chains."""
    for r in table(__package__, "budgets.csv"):
        capacity = int(r["capacity_kb"]) * 1024
        for longest in (1, int(r["longest"])):
            moved, bound, graph = below(r["model"], capacity, longest)
            what = f"chains of up to {longest}" if longest > 1 else "operators one by one"
            where = f"{r['model']} int8, activations, {r['capacity_kb']} KB, {what}"
            note = (
                f"the largest operator needs {graph.problem.largest_working_set:,} bytes; no choice of these variants "
                f"moves fewer than {bound:,.0f}, no schedule fewer than {graph.problem.compulsory_bytes:,}"
            )
            yield Row("off-chip bytes", where, None, moved, "bytes", None, SHOWN, note)


def _read(row: Mapping[str, str]) -> str:
    """Which results the operators of a row read."""
    if row["reads"] == "skips":
        return f"read the last result and some one of {row['reach']}"
    if row["reads"] == "near":
        return f"read up to {row['fan']} results, {row['reach']} back on average"
    return f"read up to {row['fan']} of {row['reach']} results"


def _random_rows(*, proven: bool) -> Iterator[Row]:
    """Random graphs with addresses beside the least bytes without: those proven equal, or those with a gap."""
    for r in table(__package__, "graphs.csv"):
        if (r["proven"] == "yes") is not proven:
            continue
        reads = cast(Reads, r["reads"])
        wanted = random_graph(int(r["operators"]), int(r["fan"]), int(r["reach"]), reads=reads)
        found, moved = planned(wanted, float(r["share"]), SECONDS, copies=r["copies"] == "yes")
        where = f"{r['operators']} operators that {_read(r)}, memory of {float(r['share']):.0%} of the peak"
        note = "beside a bound that knows nothing of fragmentation"
        if r["copies"] == "yes":
            where += ", with copies"
            note += f"; {moved.copied:,} bytes are copied within the memory"
        source = f"{ANOTHER_ROUTE}least bytes without addresses; {r['source']}"
        yield Row("bytes spilled", where, found.bound, found.value, "bytes", 0.0 if proven else None, source, note)


def rows() -> Iterator[Row]:
    """Packings to the byte; large random graphs; small memories; networks beside the greedy rule."""
    suite = table(__package__, "suite.csv")
    buffers = [Buffer(r["id"], int(r["lower"]), int(r["upper"]), int(r["size"])) for r in suite]
    capacity = int(suite[0]["capacity"])
    yield Row("packed height", suite[0]["case"], capacity, height(buffers, capacity), "bytes", 0.0, suite[0]["source"])
    for count in GENERATED:
        made = generated(count)
        where, known = f"{count} buffers cut out of a rectangle", "the rectangle they are cut out of"
        yield Row("packed height", where, HEIGHT, height(made, HEIGHT), "bytes", 0.0, known)
        note = "what first fit by size takes of the same buffers"
        yield Row("height by first fit", where, None, simple_height(made), "bytes", None, SHOWN, note)
    yield from _random_rows(proven=True)
    yield from _below_rows()
    for r in table(__package__, "networks.csv"):
        found = times(problem(r["model"], float(r["share"]), Machine.published()))
        for name, seconds in found.items():
            note = f"{seconds / found['greedy']:.3f} of the greedy rule's"
            yield Row("latency", f"{r['model']} int8, {name}", None, seconds * 1e6, "us", None, SHOWN, note)
        change, note = found["exact"] / found["greedy"] - 1, "published gains are of programs that are not public"
        yield Row("latency, exact over greedy", r["model"], None, change, "fraction", None, SHOWN, note)
    yield from _random_rows(proven=False)
