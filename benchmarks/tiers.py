"""Seconds to place a mixture-of-experts decode over three tiers, and what that gains over simple rules.

    python benchmarks/tiers.py [--layers 32] [--tokens 4] [--hbm GIB] [--gap 0.005] [--rule-seconds 60]

Mixtral's layers in int8 (eight experts, two per token, drawn by a Zipf law) on the preset sn40l, with less HBM, token
after token for ever. Prints the latency of a period, its bound and gap, the process time of placing it, and, all
checked by replay and run as Programs, how many times as long caches take, and the largest items in HBM for good.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from dataclasses import replace

from accelsim.arch.loader import load_spec
from accelsim.mappers.ilp.solver import SolverOptions
from accelsim.mappers.ilp.tiers.machine import link_of, tier_of
from accelsim.mappers.ilp.tiers.policies import largest_stay, least_recently_used
from accelsim.mappers.ilp.tiers.search import place
from accelsim.mappers.ilp.tiers.simulated import simulated_seconds
from accelsim.mapping.tiers.check import check_tier_plan
from accelsim.mapping.tiers.problem import Choice, Item, Step, TierProblem

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
    machine = load_spec("sn40l").build()
    tiers = (tier_of(machine, "sram"), replace(tier_of(machine, "hbm"), capacity=hbm), tier_of(machine, "ddr"))
    links = (link_of(machine, "hbm", "sram"), link_of(machine, "ddr", "hbm"))
    return TierProblem("decode", tiers, links, items, tuple(steps), periodic=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Seconds to place a decode over three tiers.")
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=4)
    parser.add_argument("--hbm", type=float, default=24.0)
    parser.add_argument("--gap", type=float, default=0.005)
    parser.add_argument("--rule-seconds", type=float, default=60.0, help="limit for the rule's best plan")
    options = parser.parse_args()
    problem = decode(options.layers, options.tokens, int(options.hbm * 2**30))
    start = time.process_time()
    plan = place(problem, options=SolverOptions(gap=options.gap))
    seconds = time.process_time() - start
    claim = plan.claim
    assert claim is not None
    check_tier_plan(problem, plan)
    taken = simulated_seconds(problem, plan)
    print(f"{len(problem.steps)} steps, {len(problem.items)} items; placed in {seconds:.1f} s of process time")
    print(f"claimed {claim.value * 1e3:.3f} ms, bound {claim.bound * 1e3:.3f} ms, gap {claim.gap:.2%}; "
          f"simulated {taken * 1e3:.3f} ms, {taken / claim.bound - 1:.2%} over the bound")  # fmt: skip
    for ahead in (True, False):
        lru = least_recently_used(problem, ahead=ahead)
        check_tier_plan(problem, lru)
        took = simulated_seconds(problem, lru)
        print(f"LRU {'loading ahead' if ahead else 'on demand'}: {took * 1e3:.3f} ms, {took / taken:.2f} times as long")
    pinned = largest_stay(problem, "hbm", reserve=2 * EXPERT)
    rule = place(problem, options=SolverOptions(gap=0.02, seconds=options.rule_seconds), pinned=pinned)
    assert rule.claim is not None
    check_tier_plan(problem, rule)
    took = simulated_seconds(problem, rule)
    print(f"largest stay in HBM: {took * 1e3:.3f} ms, {took / taken:.2f} times as long, and at least "
          f"{rule.claim.bound / taken:.2f} times")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
