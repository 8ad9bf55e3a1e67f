"""Seconds to place a mixture-of-experts decode over three tiers, and what that gains over simple rules.

    python benchmarks/tiers.py [--layers 32] [--tokens 4] [--hbm GIB] [--gap 0.005] [--rules]

Mixtral's layers in int8 (eight experts, two per token, drawn by a Zipf law) over 520 MiB of SRAM, HBM at 1.8 TB/s and
DDR at 200 GB/s, token after token for ever. Prints the latency of a period, its bound and gap, the process time of
placing it, and, checked by replay and run as a Program, the same for caches; with --rules also for the largest items
in HBM for good.
"""

from __future__ import annotations

import argparse
import random
import sys
import time

from accelsim.engine import compiled
from accelsim.lowering.tiers import program_of
from accelsim.mappers.ilp.solver import SolverOptions
from accelsim.mappers.ilp.tiers.policies import largest_stay, least_recently_used
from accelsim.mappers.ilp.tiers.search import place
from accelsim.mapping.tiers.check import check_tier_plan
from accelsim.mapping.tiers.problem import Choice, Item, Link, Step, Tier, TierProblem

ATTENTION, EXPERT = 4096 * (2 * 4096 + 2 * 1024), 3 * 4096 * 14336
EXPERTS, CHOSEN = 8, 2


def decode(layers: int, tokens: int, hbm: int) -> TierProblem:
    rng = random.Random(0)
    sizes, steps = {}, []
    for t in range(tokens):
        for x in range(layers):
            drawn: set[int] = set()
            while len(drawn) < CHOSEN:
                drawn |= set(rng.choices(range(EXPERTS), [1 / (e + 1) for e in range(EXPERTS)]))
            parts = [(f"attention {x}", ATTENTION, 20e-6), *((f"expert {x}.{e}", EXPERT, 60e-6) for e in sorted(drawn))]
            for name, nbytes, seconds in parts:
                sizes[name] = nbytes
                steps.append(Step(f"token {t}, {name}", (Choice("array", seconds, {name: "sram"}),)))
    items = {n: Item(n, nbytes, home="ddr") for n, nbytes in sizes.items()}
    tiers = (Tier("sram", 520 << 20), Tier("hbm", hbm), Tier("ddr", 1536 << 30))
    links = (Link("up", "hbm", "sram", 1.8e12), Link("far", "ddr", "hbm", 200e9))
    return TierProblem("decode", tiers, links, items, tuple(steps), periodic=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Seconds to place a decode over three tiers.")
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=4)
    parser.add_argument("--hbm", type=float, default=24.0)
    parser.add_argument("--gap", type=float, default=0.005)
    parser.add_argument("--rules", action="store_true")
    options = parser.parse_args()
    problem = decode(options.layers, options.tokens, int(options.hbm * 2**30))
    start = time.process_time()
    plan = place(problem, options=SolverOptions(gap=options.gap))
    seconds = time.process_time() - start
    assert plan.claim is not None
    ledger = check_tier_plan(problem, plan)
    trace = compiled.run(program_of(problem, plan))
    print(f"{len(problem.steps)} steps, {len(problem.items)} items; placed in {seconds:.1f} s of process time")
    print(f"plan {ledger.seconds * 1e3:.3f} ms, simulated {trace.finish / 1e9:.3f} ms, gap {plan.claim.gap:.2%}")
    for ahead in (True, False):
        lru = check_tier_plan(problem, least_recently_used(problem, ahead=ahead)).seconds
        print(f"LRU {'loading ahead' if ahead else 'on demand'} {lru * 1e3:.3f} ms, {lru / ledger.seconds:.2f} times")
    if options.rules:
        pinned = largest_stay(problem, "hbm", reserve=2 * EXPERT)
        rule = place(problem, options=SolverOptions(gap=0.05), pinned=pinned)
        assert rule.claim is not None
        print(f"largest stay {rule.claim.value * 1e3:.3f} ms, at least {rule.claim.bound / ledger.seconds:.2f} times")
    return 0


if __name__ == "__main__":
    sys.exit(main())
