"""COSMA: off-chip bytes of networks under a scratchpad, against replacement policies and known optima."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import mean

from ... import load_model
from ...mappers.baselines import replace_by
from ...mappers.ilp.exported import as_exported
from ...mappers.ilp.graph import GraphOptions, graph_of
from ...mappers.ilp.orders import Order, default_order, minimum_peak
from ...mappers.ilp.plan import Plan, PlanClaim
from ...mappers.ilp.problem import GraphProblem
from ...mappers.ilp.residency import best_residency
from ...mappers.ilp.search import schedule
from ...mappers.ilp.solver import SolverOptions
from ..loader import SHOWN, Row, data_path, table
from .networks import BUILDERS

SPILLED, REDUCTION = "non-compulsory bytes", "reduction of non-compulsory bytes"
KB = 1024
OPTIONS = SolverOptions(nodes=2000)
"""Limits in nodes: the same result on every machine."""
BASELINES: Mapping[str, tuple[str, bool]] = {
    "Belady, linear arena": ("belady", True),
    "greedy, linear arena": ("greedy", True),
    "Belady, no fragmentation": ("belady", False),
    "LRU, no fragmentation": ("lru", False),
}
"""Policy, and whether tensors have addresses."""

PUBLISHED = ("Belady, linear arena", "greedy, linear arena")
"""Those that the publication compares with, each in two orders."""
ALL = " and ".join(PUBLISHED)
UNJUDGED = "sizes of inputs, and which budgets the mean counts, are not published"


@dataclass(frozen=True)
class Case:
    """A network under one budget.

    Attributes:
        network, parameters: as `problem` takes them.
        budget: ``M_R``, ``M_H`` or ``M_P``; all three where they are the same.
        capacity: bytes of the scratchpad.
        peak: bytes of the smallest scratchpad in which some order needs no non-compulsory traffic.
    """

    network: str
    parameters: bool
    budget: str
    capacity: int
    peak: int

    @property
    def where(self) -> str:
        counted = "activations and parameters" if self.parameters else "activations"
        return f"{self.network}, {counted}, {self.budget} = {self.capacity / KB:.2f} KB"

    @property
    def degenerate(self) -> bool:
        """The budget is the peak: some order spills nothing."""
        return self.capacity >= self.peak


@cache
def problem(network: str, parameters: bool) -> GraphProblem:
    """A network of ``networks.csv`` in int8, with parameters in the scratchpad or passing by it."""
    model = next(r["model"] for r in table(__package__, "networks.csv") if r["network"] == network)
    if model in BUILDERS:
        workload = BUILDERS[model]()
    else:
        workload = load_model(data_path(__package__, model) if model.endswith(".yaml") else model, bits=8)
    return graph_of(as_exported(workload), GraphOptions(parameters=parameters)).problem


def cases(network: str, parameters: bool) -> tuple[Case, ...]:
    """The budgets: largest working set of an operator, minimum peak over orders, and their mean between."""
    least, most = problem(network, parameters).largest_working_set, minimum_peak(problem(network, parameters)).peak
    if least == most:
        return (Case(network, parameters, "M_R = M_H = M_P", most, most),)
    budgets = {"M_R": least, "M_H": (least + most) // 2, "M_P": most}
    return tuple(Case(network, parameters, name, nbytes, most) for name, nbytes in budgets.items())


def downsampling_first(graph: GraphProblem) -> Order:
    """The order of a ResNet with bottlenecks in which the convolution of a shortcut runs before the other branch."""
    order: list[int] = []
    for i, op in enumerate(graph.operators):
        order.insert(len(order) - 3 if op.name.endswith("unit_4.conv") else len(order), i)
    return tuple(order)


def optimum(network: str, parameters: bool, order: str, capacity: int) -> Plan:
    """The best plan in a fixed order, ``default`` or ``downsampling first``, with addresses."""
    graph = problem(network, parameters)
    steps = downsampling_first(graph) if order == "downsampling first" else default_order(graph)
    return best_residency(graph, steps, capacity, options=OPTIONS)


def best(network: str, parameters: bool, capacity: int) -> PlanClaim:
    """What the best plan over all orders tried spills, with addresses."""
    claim = schedule(problem(network, parameters), capacity, options=OPTIONS).claim
    assert claim is not None
    return claim


def baseline(network: str, parameters: bool, capacity: int, name: str, order: str) -> int:
    """Bytes that a policy of `BASELINES` spills in the ``default`` or ``minimum-peak`` order."""
    graph = problem(network, parameters)
    steps = default_order(graph) if order == "default" else minimum_peak(graph).order
    policy, arena = BASELINES[name]
    return replace_by(policy, graph, steps, capacity, arena=arena).traffic(graph).spilled


def rows() -> Iterator[Row]:
    """Known optima; bytes of every network and budget; reductions and their means; networks that are not here."""
    for r in table(__package__, "reference.csv"):
        capacity, parameters = int(float(r["capacity_kb"]) * KB), r["parameters"] == "yes"
        plan = optimum(r["network"], parameters, r["order"], capacity)
        got = plan.traffic(problem(r["network"], parameters)).spilled
        where = f"{r['network']}, {r['order']} order, {r['capacity_kb']} KB"
        yield Row(f"optimal {SPILLED}", where, float(r["bytes"]), got, "bytes", float(r["tolerance"]), r["source"])
    networks = {r["network"]: r for r in table(__package__, "networks.csv")}
    reductions: dict[str, list[tuple[Case, float]]] = {name: [] for name in BASELINES}
    for name in networks:
        for case in (c for parameters in (False, True) for c in cases(name, parameters)):
            yield from _compared(case, networks[name]["uncertain"], reductions)
    for kind in ("human", "NAS"):
        mine = {b: [(c, g) for c, g in found if networks[c.network]["kind"] == kind] for b, found in reductions.items()}
        yield from _means(kind, mine)


def _compared(case: Case, uncertain: str, reductions: Mapping[str, list[tuple[Case, float]]]) -> Iterator[Row]:
    """The bytes of one case, and their reduction against every baseline, which is added to `reductions`."""
    claim = best(case.network, case.parameters, case.capacity)
    known = "optimal" if claim.proven else f"best found; the bound over all orders is {claim.bound:,.0f}"
    known += f"; assumed: {uncertain}" if uncertain else ""
    yield Row(SPILLED, case.where, None, claim.value, "bytes", None, SHOWN, known)
    for name in BASELINES:
        for order in ("default", "minimum-peak"):
            spilled = baseline(case.network, case.parameters, case.capacity, name, order)
            note = f"the policy spills {spilled:,} bytes"
            note += "; degenerate: the budget is the peak; left out of the mean" if case.degenerate else ""
            gain = 1 - claim.value / spilled if spilled else None
            if gain is not None:
                reductions[name].append((case, gain))
            yield Row(REDUCTION, f"{case.where}, {name}, {order} order", None, gain, "", None, SHOWN, note)


def _means(kind: str, reductions: Mapping[str, list[tuple[Case, float]]]) -> Iterator[Row]:
    """By baseline, and over the published ones together, beside the published mean of networks of that kind."""
    published = next(r for r in table(__package__, "means.csv") if r["networks"] == kind)
    together = [pair for name in PUBLISHED for pair in reductions[name]]
    quantity = f"mean {REDUCTION}"
    for name, found in {ALL: together, **reductions}.items():
        value, source = (float(published["value"]), published["source"]) if name == ALL else (None, SHOWN)
        below = [gain for case, gain in found if not case.degenerate]
        note = f"mean of {len(below)}" + (f"; unreachable: {UNJUDGED}" if name == ALL else "")
        where = f"{kind} networks, {name}"
        gains = mean(below) if below else None
        yield Row(quantity, f"{where}, budgets below the peak", value, gains, "", None, source, note)
        note = f"mean of {len(found)}; at the peak little can be left to spill, which says little about schedules"
        gains = mean(gain for _, gain in found) if found else None
        yield Row(quantity, f"{where}, the peak among the budgets", None, gains, "", None, SHOWN, note)


def figure(rows: Sequence[Row]) -> dict[str, object]:
    """Mean reduction of every network below the peak, by baseline, beside the published means of both kinds."""
    networks = table(__package__, "networks.csv")
    published = {r["networks"]: float(r["value"]) for r in table(__package__, "means.csv")}
    names = [r["network"] for r in networks]
    data: list[dict[str, object]] = []
    for number, baseline_name in enumerate(BASELINES):
        found: dict[str, list[float]] = {name: [] for name in names}
        for row in rows:
            mine = row.quantity == REDUCTION and f", {baseline_name}, " in row.where
            if mine and row.accelsim is not None and "degenerate" not in row.note:
                found[row.where.split(",")[0]].append(row.accelsim)
        shown = [name for name in names if found[name]]
        data.append({
            "type": "bar", "name": baseline_name, "x": shown, "y": [mean(found[name]) for name in shown],
            "marker": {"color": f"${number}"},
        })  # fmt: skip
    data.append({
        "type": "scatter", "mode": "lines", "name": "published mean", "x": names,
        "y": [published[r["kind"]] for r in networks], "line": {"dash": "dot", "color": "$text"},
    })  # fmt: skip
    axis = {"title": f"{REDUCTION}, budgets below the peak", "rangemode": "tozero"}
    order = {"categoryorder": "array", "categoryarray": names}
    return {"data": data, "layout": {"barmode": "group", "xaxis": order, "yaxis": axis}}
