"""Random stream graphs in three kernels: token-level SimPy, compiled, and compiled with jumps, equal to the tick.

python benchmarks/kernel_equality.py [--plain N] [--contended N] [--long N] [--first SEED]

Every graph is made from its seed alone. Plain graphs have rates, latencies, depths, joins, reconvergence and circles;
contended ones tiles that come and go through one memory by double buffers, beside background traffic. Long ones are
both kinds with more iterations, so that jumps are taken. Prints counts of each family and exits with 1 if any two
kernels differ in times, stalls, bytes or verdict.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support.kernels import differences, outcome
from support.stream_graphs import random_graph, with_background

from accelsim.engine import compiled, reference
from accelsim.engine.program import Program
from accelsim.engine.trace import Trace
from accelsim.lowering.streams import to_program

LONGER = 40
"""Times the iterations of a long graph."""
ROW = "{:<10} {:>7} {:>7} {:>10} {:>9} {:>7} {:>10} {:>10} {:>7}"


def plain(seeds: Iterable[int]) -> Iterator[Program]:
    return (to_program(random_graph(seed)) for seed in seeds)


def contended(seeds: Iterable[int]) -> Iterator[Program]:
    return (with_background(random_graph(seed, contended=True), seed) for seed in seeds)


def long(seeds: Iterable[int]) -> Iterator[Program]:
    for seed in seeds:
        graph = random_graph(seed, contended=seed % 2 == 1, rounds=2)
        yield to_program(replace(graph, firings=tuple(n * LONGER for n in graph.firings)))


def judge(program: Program, counts: Counter[str]) -> list[str]:
    """What sets the kernels apart on one Program, which is counted."""
    expected = outcome(reference.run, program)
    stepped = outcome(lambda p: compiled.run(p, jump=False), program)
    jumped = outcome(compiled.run, program)
    found = [f"without the jump: {d}" for d in differences(expected, stepped)]
    found += [f"with the jump: {d}" for d in differences(expected, jumped)]
    counts["graphs"] += 1
    counts["differ"] += bool(found)
    if isinstance(expected, Trace):
        counts["ended"] += 1
        counts["firings"] += int(expected.firings.sum())
        counts["waited"] += bool(expected.stall[:, 2:].any())
    else:
        counts["deadlocked"] += 1
    if isinstance(jumped, Trace):
        counts["jumped"] += bool(jumped.jumped_firings)
        counts["jumped over"] += jumped.jumped_firings
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plain", type=int, default=1000, help="graphs whose nodes share nothing")
    parser.add_argument("--contended", type=int, default=230, help="graphs with a shared memory and background traffic")
    parser.add_argument("--long", type=int, default=100, help="graphs of both kinds with more iterations")
    parser.add_argument("--first", type=int, default=0, help="first seed of every family")
    given = parser.parse_args()
    families = {"plain": (plain, given.plain), "contended": (contended, given.contended), "long": (long, given.long)}
    start = time.process_time()
    total: Counter[str] = Counter()
    columns = ("graphs", "ended", "deadlocked", "waited", "jumped", "firings", "jumped over", "differ")
    print(ROW.format("family", *columns))
    for family, (make, n) in families.items():
        counts: Counter[str] = Counter()
        for program in make(range(given.first, given.first + n)):
            for difference in judge(program, counts):
                print(f"{family}, {program.name}: {difference}")
        print(ROW.format(family, *(f"{counts[c]:,}" for c in columns)))
        total += counts
    print(ROW.format("all", *(f"{total[c]:,}" for c in columns)))
    print(f"{time.process_time() - start:.0f} s of CPU")
    return 1 if total["differ"] else 0


if __name__ == "__main__":
    sys.exit(main())
