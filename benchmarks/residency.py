"""Seconds to decide what of a large random graph lies in the memory when, with addresses for everything.

    python benchmarks/residency.py [--seconds N] [--counts 1000 3000]

Operators read up to `fan` of the last `reach` results, of 1 to 64 KiB each; they run in the order given. The memory is
a share of the way from the largest working set to the peak. Prints, per graph: bytes spilled without addresses and
with them, the bound, whether they are proven to be least, and seconds of process time, in a warm process.
"""

from __future__ import annotations

import argparse
import random
import time

from accelsim.mappers.ilp.problem import GraphProblem, Operator, Tensor, peak_bytes
from accelsim.mappers.ilp.residency import best_residency
from accelsim.mappers.ilp.solver import SolverOptions

GRAPHS = ((2, 10, 0.5), (2, 10, 0.7), (3, 10, 0.7), (3, 40, 0.8), (3, 40, 0.5))
"""Fan, reach, and share of the way from the largest working set to the peak."""


def random_graph(count: int, fan: int, reach: int, seed: int = 0) -> GraphProblem:
    rng = random.Random(seed)
    tensors = {"in": Tensor("in", rng.randint(1, 64) * 1024, source=True)}
    names, operators = ["in"], []
    for i in range(count):
        reads = tuple(dict.fromkeys(rng.choice(names[-reach:]) for _ in range(rng.randint(1, fan))))
        tensors[f"t{i}"] = Tensor(f"t{i}", rng.randint(1, 64) * 1024, result=i == count - 1 or rng.random() < 0.02)
        operators.append(Operator(f"o{i}", reads, (f"t{i}",)))
        names.append(f"t{i}")
    return GraphProblem("random", tensors, tuple(operators))


def told(problem: GraphProblem, capacity: int, options: SolverOptions, *, addresses: bool) -> str:
    start = time.process_time()
    order = range(len(problem.operators))
    claim = best_residency(problem, order, capacity, options=options, addresses=addresses).claim
    assert claim is not None
    proven = "proven" if claim.proven else f"gap {claim.gap:.2%}"
    return f"{claim.value:12,.0f} {proven:>10} {time.process_time() - start:7.1f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description="Seconds to decide residency in large random graphs.")
    parser.add_argument("--seconds", type=float, default=20.0, help="limit of each program")
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 3000])
    chosen = parser.parse_args()
    options = SolverOptions(seconds=chosen.seconds)
    small = random_graph(20, 2, 5)
    told(small, small.largest_working_set, options, addresses=True)  # numba compiles
    print(f"{'operators':>9} {'fan':>3} {'reach':>5} {'memory':>9}   {'without addresses':34}   with addresses")
    for count in chosen.counts:
        for fan, reach, share in GRAPHS:
            problem = random_graph(count, fan, reach)
            least = problem.largest_working_set
            capacity = least + int((peak_bytes(problem, range(count)) - least) * share)
            without = told(problem, capacity, options, addresses=False)
            row = f"{count:9} {fan:3} {reach:5} {capacity:9,}   {without}"
            print(row, "  ", told(problem, capacity, options, addresses=True), flush=True)


if __name__ == "__main__":
    main()
