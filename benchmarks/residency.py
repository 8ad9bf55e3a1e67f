"""Seconds to decide what of a large random graph lies in the memory when, with addresses for everything.

    python benchmarks/residency.py [--seconds N] [--counts 1000 3000] [--shares 0.6 ...] [--reaches 10 40] [--copies]

Operators read up to `fan` of the last `reach` results, of 1 to 64 KiB each; they run in the order given. The memory is
a share of the order's peak; those below the largest working set are left out. Prints, per graph: bytes spilled without
addresses and with them, the gap to the bound, which holds without addresses, and seconds of process time, in a warm
process.

Of reach 10, 1,000 operators are proven least in under 3 s at 70 % of the peak and more (fan 2) or 80 % (fan 3), and
within 0.3 to 5 % in 8 to 21 s below; 3,000 operators at 60 to 80 % within 0 to 2.3 % in 2 to 15 s. Figures of
reach 10 with addresses are from before `zone_search`, which has what is left of the limit. Without addresses, graphs of
reach 10 to 20 with few tensors side by side take 0.1 to 0.6 s of processor time by a shortest path, 0.03 to 22 s by
HiGHS (reach 20, fan 2, 50 %: 20,913,152 bytes, proven; HiGHS 0.9 % open after 60 s). Of reach 40 the gap model is
within 2 % without addresses. It keeps some 15 to 21 tensors side by side (1,000 operators at fan 3, 50 and 70
% of the peak), which fill 87 to 88 % of the memory on average and over 98 % of it at 9 % of the steps. With addresses,
1,000 operators at fan 3 are within 16 to 22 % at 50 % of the peak and 30 % at 70 %, in 15 to 25 s; 3,000 operators
within 41 % at 70 %. How much of that any addresses could avoid is not known for so many operators; with 100 (fan 3, 70
%, seed 1) memory left free where addresses are wanting brings a gap of 12.6 % to 3.4 %, in 21 s of processor time. That
is done up to 300 operators; of 1,000, half of the windows have no addresses at first, and its first two rounds stay
above what beams find. As to the size of the loss, 2 % less memory costs the gap model itself 5 % more bytes at 50 % of
the peak, and 15 % more at 70 %. Leaving memory free for addresses does not close it: at 1,000 operators, fan 3 and 70
%, where 5.0 MB are least without addresses, plans of the gap model for 0 to 7 % less memory become 7.4 to 8.0 MB by
beams of 1,024 states that follow them, and 10.6 to 11.6 MB packed window by window with 0 to 12 % less; windows decided
anew took 0.4 % off the best of them in 120 s of a busy machine. Figures with addresses up to here are from before what
follows.

What a byte is worth at each step (`prices`) guides a beam better than a plan does. At fan 2, as multiples of the bound
at 50 and 70 % of the peak, 512 states in 2.4 to 3.3 s of processor time: 1.235 and 1.415 after a plan, 1.142 and 1.370
by prices at 97 % of the memory. Prices that solve the relaxation (1.293 and 2.229) or the best of the subgradient steps
(1.200 and 1.724) are 0 at most steps, and guide less well than the mean of all steps. Of beams by prices, 2,048 states
reach 1.116 and 1.273, 4,096 states 1.119 and 1.272: more of them are more of the same. At most 32 of those in which the
same tensors are there go on: 1,536 states then reach 1.109 to 1.118 and 1.280 to 1.318, without it 1.137 to 1.143 and
1.308 to 1.337. How prices are averaged and the limit of 32 were chosen on these two graphs; runs vary by 2 to 3 %.
What did not help: a term for holes that no tensor fits, prices again from what a beam could not fill, more branches.

Dropped gaps that are kept again (`reinsertion`) bring the 1.116 and 1.273 to 1.107 and 1.234 in 3.3 s, and to 1.103 and
1.219 in 25 s; taking worse plans for a while (simulated annealing) came to 1.101 and 1.227. Windows of 28 to 60 steps
that a beam decides anew, where what crosses their ends stays in its place, found 0.3 to 0.8 % in 40 s.

A hole between neighbours of which one leaves before the other costs by the steps and by their prices, and a tensor
counts as staying to its last use (`layout.PRICED`, `layout.WASTE`). As multiples of the bound, before and after, at fan
2 and 97 % of the memory: 512 states 1.130 and 1.094 at 50 %, 1.329 and 1.247 at 70 %, 2,048 states 1.112 and 1.095,
1.284 and 1.227; at 70 % of another graph (seed 1) 512 states 1.307 and 1.254. Both numbers were chosen on these two
seeds at 384 states. What did not help: lifetimes of what a beam had kept, or of a plan for less memory; a limit to how
many states descend from one of 5 to 20 steps ago; tensors that overlap at first, all of them at once, and overlaps that
cost more and more (1.61 and 1.30).

From nothing at fan 2, on a machine that others used too, within a limit of 100 s: 8.8 % at 50 % of the peak and 19.2 %
at 70 %, in 32 s of processor time each (10.0 and 20.6 % before). How much memory addresses take: at 70 %, a plan of the
gap model for 3 % less memory, which costs 18 % more, has addresses in some windows of 80 steps, and in others neither
the exact search (30,000 nodes) nor local search found any; in windows of 40 steps nearly all plans for the whole memory
have some. Reach 10 is as it was: 0.31 % in 13.5 s at fan 2 and 50 %.

Beams that race from stretch to stretch (`racing`) came in place of one beam of 2,048 states. As multiples of the bound
at fan 2, 50 and 70 % of the peak: one beam of 512 states 1.093 and 1.238 (3 s of processor time), of 2,048 states 1.091
and 1.221, of 8,192 states 1.085 and 1.216; four beams of 256 states, of which the best goes on every 50 steps, 1.096
and 1.201 (10 s), eight of them 1.083 to 1.088 and 1.175 to 1.186 (21 s), four of 512 states 1.085 and 1.194. Stretches
of 30 steps that look 30 ahead, and less noise, do less well. All of it was chosen on this one graph.

What did not help: taking out what lies in a rectangle of steps and addresses and putting it back by shortest paths over
uses and addresses (ruin and recreate, with simulated annealing, 20,000 times a second), with and without a price for
holes: 1.204 at 70 % where keeping dropped gaps again came to 1.193 from the same plan, and both in turns to 1.185; few
states with the same long-lived tensors in the same places (1.24 to 1.34 in place of 1.238); pushing neighbours up and
down to make room, which fits 1 of 50 dropped gaps. With 150 operators such plans fill 91 to 94 % of the memory at the
steps where it has a price.

A bound from prices for each step and address was not built: its programs are shortest paths, so that it is that of a
linear relaxation, in which a tensor may lie in parts all over the memory. Windows of 60 steps whose costs are divided
by prices and decided exactly prove 0.6 % more than the whole program (50 %) in 41 s beside other load in place of 18,
and less at 70 %.

If tensors may be copied within the memory (`copying`, with --copies), every plan of the gap model has addresses. At fan
2 and reach 40 a beam of 512 layouts, in 2 s of processor time, copies 3.0 to 3.5 MB at 50 % of the peak and 4.7 to 5.3
MB at 70 %, to spill 0.7 and 1.0 MB less than plans of 256 states whose tensors stay where they are; of 8, 32 and 128
states at 70 % it is 15, 12 and 7.6 MB. At reach 200 it is 20 MB (50 %) and 27 to 31 MB (70 %) for 1.9 MB each, at reach
1,000 and 90 % 6 to 13 MB for 0.1 to 0.4 MB. What neighbours of unlike lifetimes count (`copying.UNLIKE`) was chosen on
these graphs; 1 to 5 do as well, 30 does worse.

Of reach 200 and 1,000 (fan 2) 100 to 340 tensors lie side by side. First fit of the gap model's plan takes 1.4 to 12 %
more memory at reach 1,000 and 19 to 28 % more at reach 200, by any of its keys. Beams see further there: with a horizon
as long as 95 % of the gaps, and holes that count for as much over the horizon as before, eight beams of 64 states come
to (multiples of the bound) 1.079 in place of 1.213 at reach 1,000 and 90 %, 1.105 in place of 1.131 at 50 %, 1.244 in
place of 1.303 at reach 200 and 70 %, 1.103 in place of 1.125 at 50 %. Dropped gaps that are kept again bring 1.079 to
1.057 and 1.244 to 1.222 in 8 s. Horizon and weights were chosen on such graphs of seeds 0 and 1, with beams of 32
states; where 95 % of the gaps are within 40 steps nothing changes. Figures of this paragraph are in seconds of
processor time.

What of the gap is true is known for short windows alone (fan 2, 70 %; what comes in and goes out lies anywhere, and
costs are divided over the steps by the dual values of the relaxation). Of 16 steps, CP-SAT proves for the first eight
that drop anything that addresses cost nothing. Of 40 steps, the first five that do cost 0 (proven), 3.6, 8.6, 12.7 and
19 % more with addresses than without, 9.5 % in all, in plans of 90 s each whose own bounds were below those without
addresses: so much is an upper limit of what addresses cost inside such windows, and no bound on the whole.
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

FANS = (2, 3)
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
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES, help="of the peak")
    parser.add_argument("--reaches", type=int, nargs="+", default=[10, 40], help="results that operators read of")
    parser.add_argument("--copies", action="store_true", help="tensors may be copied within the memory")
    chosen = parser.parse_args()
    options = SolverOptions(seconds=chosen.seconds)
    small = random_graph(20, 2, 5)
    told(small, small.largest_working_set, options, addresses=True)  # numba compiles
    print(f"{'operators':>9} {'fan':>3} {'reach':>5} {'of peak':>7}   {'without addresses':34}   with addresses")
    for count in chosen.counts:
        for reach, fan in product(chosen.reaches, FANS):
            problem = random_graph(count, fan, reach)
            peak = peak_bytes(problem, range(count))
            for share in chosen.shares:
                capacity = int(peak * share)
                if capacity < problem.largest_working_set:
                    continue
                without = told(problem, capacity, options, addresses=False)
                row = f"{count:9} {fan:3} {reach:5} {share:7.0%}   {without}"
                with_them = told(problem, capacity, options, addresses=True, copies=chosen.copies)
                print(row, "  ", with_them, flush=True)


if __name__ == "__main__":
    main()
