"""Seconds to decide what of a large random graph lies in the memory when, with addresses for everything.

    python benchmarks/residency.py [--seconds N] [--counts 1000 3000] [--reaches 10 40] [--fans 2 3] [--seeds 0 1 2]
                                   [--shares 0.6 ...] [--reads any near skips] [--without] [--copies]

Operators read results of 1 to 64 KiB each (`graphs.random_graph` says which) and run in the order given. The memory is
a share of the order's peak; those below the largest working set are left out. Prints, per graph: bytes spilled with
addresses, whether that is proven least or the gap to the bound, and seconds of processor time, in a warm process; with
--without the same without addresses.
"""

from __future__ import annotations

import argparse
import time
from itertools import product

from accelsim.experiments.memory_mapping.graphs import random_graph
from accelsim.mappers.ilp.check import check_plan
from accelsim.mappers.ilp.problem import GraphProblem, peak_bytes
from accelsim.mappers.ilp.residency import best_residency
from accelsim.mappers.ilp.solver import SolverOptions

SHARES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def told(problem: GraphProblem, capacity: int, options: SolverOptions, *, addresses: bool, copies: bool = False) -> str:
    order = range(len(problem.operators))
    start = time.process_time()
    plan = best_residency(problem, order, capacity, options=options, addresses=addresses, copies=copies)
    seconds = time.process_time() - start
    moved = check_plan(problem, plan)
    claim = plan.claim
    assert claim is not None
    proven = "proven" if claim.proven else f"gap {claim.gap:.2%}"
    on_chip = f" {moved.copied:12,} copied" if copies else ""
    return f"{claim.value:12,.0f} {proven:>10} {seconds:7.1f} s{on_chip}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Seconds to decide residency in large random graphs.")
    parser.add_argument("--seconds", type=float, default=120.0, help="limit of wall time for each answer")
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 3000])
    parser.add_argument("--reaches", type=int, nargs="+", default=[10, 40], help="results that operators read of")
    parser.add_argument("--fans", type=int, nargs="+", default=[2, 3], help="results that an operator reads, at most")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES, help="of the peak")
    parser.add_argument("--reads", choices=("any", "near", "skips"), nargs="+", default=["any"])
    parser.add_argument("--without", action="store_true", help="also without addresses")
    parser.add_argument("--copies", action="store_true", help="tensors may be copied within the memory")
    chosen = parser.parse_args()
    options = SolverOptions(seconds=chosen.seconds)
    small = random_graph(310, 2, 5)
    told(small, small.largest_working_set, options, addresses=True)  # numba compiles
    print(f"{'operators':>9} {'reach':>5} {'fan':>3} {'seed':>4} {'reads':>5} {'of peak':>7}")
    for reads, count, reach, fan, seed in product(
        chosen.reads, chosen.counts, chosen.reaches, chosen.fans, chosen.seeds
    ):
        problem = random_graph(count, fan, reach, seed, reads)
        peak = peak_bytes(problem, range(count))
        for share in chosen.shares:
            capacity = int(peak * share)
            if capacity < problem.largest_working_set:
                continue
            row = f"{count:9} {reach:5} {fan:3} {seed:4} {reads:>5} {share:7.0%}   "
            if chosen.without:
                row += told(problem, capacity, options, addresses=False) + " without   "
            print(row + told(problem, capacity, options, addresses=True, copies=chosen.copies), flush=True)


if __name__ == "__main__":
    main()
