"""Placement over tiers in time: offloaded generation, experts over three tiers and beside their data, KV blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ...engine import compiled
from ...lowering.tiers import program_of
from ...mappers.ilp.solver import SolverOptions
from ...mappers.ilp.tiers.addresses import place_addressed
from ...mappers.ilp.tiers.policies import largest_stay, least_recently_used, most_transferred_stay
from ...mappers.ilp.tiers.search import place
from ...mapping.tiers.plan import TierPlan
from ...mapping.tiers.problem import TierProblem
from ..loader import SHOWN, Row, table
from .offload import Decoder, serve
from .scenes import beside_data, experts, kv_blocks, routed

OPTIONS = SolverOptions(gap=0.01)
RULES = SolverOptions(gap=0.05)
"""Plans under a rule may be so much slower than the best one that keeps to it; what that one is at least is shown."""
RESERVE = 2 * 3 * 4096 * 14336
"""Bytes of HBM left free for what passes, where a rule fills it: two experts."""
TOKENS = {"encoder": 4096, "decoder": 8}
"""Tokens that one layer's 128 experts get: of a batch of inputs, and of one step of eight sequences."""


def simulated(problem: TierProblem, plan: TierPlan) -> float:
    """Seconds of a period by its Program."""
    trace = compiled.run(program_of(problem, plan))
    return trace.finish / float(trace.program.tick_hz)


def placements(problem: TierProblem, tier: str, reserve: int) -> dict[str, float]:
    """Seconds of the placed plan, of its bound, of one with an address for everything, and of rules and caches."""
    plan = place(problem, options=OPTIONS)
    assert plan.claim is not None
    rules = {"largest stay": largest_stay, "lowest transfer bytes leave first": most_transferred_stay}
    found = {"tiered program": simulated(problem, plan), "bound": plan.claim.bound}
    found["tiered program with addresses"] = simulated(problem, place_addressed(problem, options=OPTIONS))
    for name, rule in rules.items():
        pinned = rule(problem, tier, reserve=reserve)
        found[name] = simulated(problem, place(problem, options=RULES, pinned=pinned))
    found["LRU, loading ahead"] = simulated(problem, least_recently_used(problem))
    found["LRU, on demand"] = simulated(problem, least_recently_used(problem, ahead=False))
    return found


def speed_up(where: str, *, skew: float = 1.0) -> tuple[float, str]:
    """Of the best split of experts over moving all that have tokens, and what it is."""
    tokens = routed(128, TOKENS[where], skew)
    split, moved = beside_data(tokens), beside_data(tokens, moved_only=True)
    plan = place(split, options=SolverOptions())
    return simulated(moved, place(moved, options=SolverOptions())) / simulated(split, plan), plan.choices[0]


def rows() -> Iterator[Row]:
    """Offloaded OPT-30B; plans beside rules; experts beside their data, over the skew of routing."""
    published = {(r["quantity"], r["where"]): r for r in table(__package__, "published.csv")}
    yield from _offload(published)
    cases = {
        "experts over SRAM, HBM and DDR": (experts(), "hbm", RESERVE),
        "KV blocks over HBM and host": (kv_blocks(), "hbm", 4 * 64 * 2**20),
    }
    for where, (problem, tier, reserve) in cases.items():
        found = placements(problem, tier, reserve)
        for name, seconds in found.items():
            note = f"{seconds / found['tiered program']:.3f} of the plan's"
            yield Row("seconds of a period", f"{where}, {name}", None, seconds, "s", None, SHOWN, note)
    for where in TOKENS:
        row = published["speed-up over moving all experts", where]
        for skew in (0.5, 1.0, 1.5):
            gain, split = speed_up(where, skew=skew)
            note = f"{split}; {row['note']}"
            place_ = f"{where}, 128 experts, {TOKENS[where]} tokens, skew {skew}"
            yield Row(row["quantity"], place_, float(row["value"]), gain, "", None, row["source"], note)


def _offload(published: Mapping[tuple[str, str], Mapping[str, str]]) -> Iterator[Row]:
    where = "OPT-30B, 512 in, 32 out, 3 batches of 48"
    for place_, delegated in (("attention on the GPU", False), ("attention on the GPU or the CPU", True)):
        served, row = serve(cpu_attention=delegated), published["throughput", f"{where}, {place_}"]
        yield Row("throughput", f"{where}, {place_}", float(row["value"]), served.tokens_per_second, "token/s", None,
                  row["source"], f"unreachable: {row['note']}; {served.attention}")  # fmt: skip
    served = serve()
    share = published["weights in GPU memory", where]
    yield Row("weights in GPU memory", where, float(share["value"]), served.on_gpu, "fraction", None, share["source"],
              f"unreachable: {share['note']}")  # fmt: skip
    for batches in (1, 2):
        few, what = serve(Decoder(batches=batches)), f"OPT-30B, 512 in, 32 out, {batches} x 48, attention on the GPU"
        note = "fewer batches share each load of weights"
        yield Row("throughput", what, None, few.tokens_per_second, "token/s", None, SHOWN, note)


def figure(rows: Sequence[Row]) -> dict[str, object]:
    """Seconds of a period by placement."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        if row.quantity == "seconds of a period" and row.accelsim is not None:
            where, name = row.where.rsplit(", ", 1) if "LRU" not in row.where else row.where.split(", LRU, ")
            found.setdefault(where, {})[name] = row.accelsim
    data = [{"type": "bar", "name": w, "x": list(v), "y": list(v.values())} for w, v in found.items()]
    return {"data": data, "layout": {"yaxis": {"title": "seconds of a period", "type": "log"}}}
