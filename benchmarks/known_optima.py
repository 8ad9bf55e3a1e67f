"""Seconds to prove the known optima of the COSMA experiment on the gap model, with each solver.

    python benchmarks/known_optima.py [--solvers highs cbc] [--skip-free] [--networks]

For every row of the experiment's ``reference.csv``: in its order, without addresses (the gap model) and with them, and
over all orders with addresses. `--networks` adds M_P of every network of the experiment, where some order spills
nothing: the order of the smallest peak, and all orders. Seconds are of process time, children included, in a warm
process; graphs are built before. Exits with 1 if an optimum in its order is not proven, or is another one.
"""

from __future__ import annotations

import argparse
import resource
import sys
from collections.abc import Callable

from accelsim.experiments.cosma.experiment import downsampling_first, problem
from accelsim.experiments.loader import table
from accelsim.mappers.ilp.check import check_plan
from accelsim.mappers.ilp.orders import Order, default_order, minimum_peak
from accelsim.mappers.ilp.plan import Plan, PlanClaim
from accelsim.mappers.ilp.problem import GraphProblem
from accelsim.mappers.ilp.residency import best_residency
from accelsim.mappers.ilp.search import schedule
from accelsim.mappers.ilp.solver import SolverName, SolverOptions

KB = 1024
HEAD = f"{'network and budget':42} {'solver':6} {'order':19} {'addresses':9} {'bytes':>10} {'':12} {'seconds':>7}"


def seconds() -> float:
    """Of process time so far, with the children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def shown(graph: GraphProblem, where: str, solver: str, order: str, packed: bool, run: Callable[[], Plan]) -> PlanClaim:
    start = seconds()
    plan = run()
    took = seconds() - start
    check_plan(graph, plan)
    claim = plan.claim
    assert claim is not None
    proven = "proven" if claim.proven else f"gap {claim.gap:.1%}"
    row = f"{where:42} {solver:6} {order:19} {'yes' if packed else 'no':9} {claim.value:10,.0f} {proven:>12}"
    print(f"{row} {took:7.2f}", flush=True)
    return claim


def known(solver: SolverName, *, free: bool) -> bool:
    """Whether all optima are what they should be, and proven."""
    options, good = SolverOptions(name=solver), True
    for row in table("accelsim.experiments.cosma", "reference.csv"):
        graph = problem(row["network"], row["parameters"] == "yes")
        capacity = int(float(row["capacity_kb"]) * KB)
        steps = downsampling_first(graph) if row["order"] == "downsampling first" else default_order(graph)
        where = f"{row['network']}, {row['capacity_kb']} KB"
        for packed in (False, True):
            def fixed(packed: bool = packed, steps: Order = steps) -> Plan:
                return best_residency(graph, steps, capacity, options=options, addresses=packed)  # noqa: B023

            claim = shown(graph, where, solver, row["order"], packed, fixed)
            good = good and claim.proven and claim.value == float(row["bytes"])
        if free:
            shown(graph, where, solver, "free", True, lambda: schedule(graph, capacity, options=options))  # noqa: B023
    return good


def peaks(solver: SolverName, *, free: bool) -> None:
    """Zero bytes where the memory holds the smallest peak."""
    options = SolverOptions(name=solver)
    for row in table("accelsim.experiments.cosma", "networks.csv"):
        for parameters in (False, True):
            graph = problem(row["network"], parameters)
            smallest = minimum_peak(graph)
            where = f"{row['network']}, {'with' if parameters else 'no'} parameters, M_P"
            orders: list[str | Order] = [smallest.order, *(["free"] if free else [])]
            for order in orders:
                name = order if isinstance(order, str) else "smallest peak"
                shown(graph, where, solver, name, True,
                      lambda: schedule(graph, smallest.peak, order=order, options=options))  # noqa: B023  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description="Seconds to prove the known optima of the COSMA experiment.")
    parser.add_argument("--solvers", nargs="+", default=["highs", "cbc"], choices=["highs", "cbc"])
    parser.add_argument("--skip-free", action="store_true", help="given orders alone")
    parser.add_argument("--networks", action="store_true", help="M_P of every network, too")
    chosen = parser.parse_args()
    print(HEAD)
    good = True
    for number, solver in enumerate(chosen.solvers):
        if not number:  # numba and PuLP are loaded
            small = problem("Transformer", False)
            schedule(small, small.largest_working_set, options=SolverOptions(name=solver))
        good = known(solver, free=not chosen.skip_free) and good
        if chosen.networks:
            peaks(solver, free=not chosen.skip_free)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
