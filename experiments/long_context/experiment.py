"""Long contexts on one A100: how many users fit, and what prefill, decode and switching between users take.

Times are simulated, from 4K to 10M tokens; users whose keys and values do not fit at once take turns through a Driver.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...errors import DoesNotFit
from ...serving.llm.costs import StepCost
from ...serving.llm.fragments import with_capacity
from ...workloads.transformer import kv_bytes
from ..loader import Row, table
from .users import ANSWER, Gpu, machine, model, peak_prefill_s, poisson_turns, take_turns, weight_bytes

if TYPE_CHECKING:
    from ...report.page import Figure

SHORT, LONG = 4096, 50_000
LONGER = (100_000, 200_000, 500_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000)
USERS, TURNS = 20, 60
SOURCE = "Fu, arXiv:2405.08944"
DECIMAL = (("memories.hbm.capacity", "80 GB"),)
TOLERANCES = {"KV cache of a token": 0.0, "prefill at peak": 0.05, "context switch": 0.05}


def gpu(values: tuple[tuple[str, str], ...] = ()) -> Gpu:
    return Gpu(machine(values))


def switch_s(on: Gpu, context: int) -> float:
    """One user's keys and values out and another's in, where only one has room: two users in turn, simulated."""
    room = weight_bytes() + int(1.5 * context * kv_bytes(model(), 16))
    alone = Gpu(with_capacity(on.arch, on.memory, room))
    short = StepCost(1e-3, 0.0, 1.0)
    pair = take_turns(alone, context, 2, [(i * 1000.0, i % 2) for i in range(4)], lambda first: short)
    return pair.moving_s[-1]


def rows() -> Iterator[Row]:
    """Figures of the analysis, decode and prefill as simulated, the same up to 10M tokens, users in turn."""
    on = gpu()
    found = {("KV cache of a token", ""): float(kv_bytes(model(), 16))}
    for context in (SHORT, LONG):
        found["prefill at peak", str(context)] = peak_prefill_s(context)
        found["context switch", str(context)] = switch_s(on, context)
    for r in table(__package__ or "", "reference.csv"):
        yield _published(r, found[r["quantity"], r["context"]])
    for context in (SHORT, LONG):
        yield from _concurrency(context)
        yield from _times(on, context)
        yield from _turns(on, context)
    for context in LONGER:
        yield from _times(on, context)
        yield Row("GPUs for one context", f"{context:,} tokens", None, on.sockets(context), "GPUs", None, "simulated",
                  "that hold the weights once, and the keys and values of one sequence")  # fmt: skip


def _published(r: Mapping[str, str], value: float) -> Row:
    where = f"{int(r['context']):,} tokens" if r["context"] else "34B model"
    return Row(r["quantity"], where, float(r["value"]), value, r["unit"], TOLERANCES[r["quantity"]], r["source"],
               r["note"])  # fmt: skip


def _concurrency(context: int) -> Iterator[Row]:
    """Beside the formula of the analysis: what the weights leave, over the keys and values of a user."""
    for label, on in (("80 GiB", gpu()), ("80 GB", gpu(DECIMAL))):
        capacity = on.arch.memories[on.memory].capacity
        formula = (capacity - weight_bytes()) // (context * kv_bytes(model(), 16))
        try:
            held = on.concurrency(context)
        except DoesNotFit:
            held = 0
        yield Row("users at once", f"{context:,} tokens, {label}", formula, held, "users", 0.0, f"formula of {SOURCE}",
                  f"blocks of 16 tokens; {weight_bytes():,} bytes of weights")  # fmt: skip


def _times(on: Gpu, context: int) -> Iterator[Row]:
    where = f"{context:,} tokens"
    bandwidth = on.arch.memories[on.memory].port("read")
    least = None
    if bandwidth is not None and context in (SHORT, LONG):
        least = (weight_bytes() + context * kv_bytes(model(), 16)) / bandwidth[1] * 1e3
    yield Row("decode", where, least, on.decode(context).seconds * 1e3, "ms", None if least is None else 0.05,
              f"formula of {SOURCE}" if least else "simulated",
              "per token; the formula is weights and cache at peak bandwidth")  # fmt: skip
    yield Row("prefill", where, None, on.prefill(context).seconds, "s", None, "simulated",
              "in chunks of 2,048 tokens; attention by the cascade mapper, not at peak")  # fmt: skip


def _turns(on: Gpu, context: int) -> Iterator[Row]:
    """Many users at a load that the GPU bears: what a turn takes, and how often blocks move."""
    each = on.turn(context, first=False).seconds
    crowd = take_turns(on, context, USERS, [(1000.0 * i, u) for i, (_, u) in enumerate(
        poisson_turns(USERS, TURNS, 1.0))])  # fmt: skip
    again = crowd.latencies_s[USERS:]
    where = f"{context:,} tokens, {USERS} users"
    note = f"turns of a question and {ANSWER} tokens, one at a time"
    yield Row("turn", where, None, sum(again) / len(again), "s", None, "simulated", f"{note}; without waiting")
    yield Row("turn of a user alone", where, None, each, "s", None, "simulated", note)
    switched = sum(m > 0 for m in crowd.moving_s[USERS:]) / len(again)
    yield Row("turns with a switch", where, None, switched, "share", None, "simulated",
              f"{note}; least recent users leave")  # fmt: skip
    gap = 2.0 * each
    busy = take_turns(on, context, USERS, [(1e4 + t, u) if i >= USERS else (400.0 * i, u) for i, (t, u) in enumerate(
        poisson_turns(USERS, TURNS, gap))])  # fmt: skip
    waits = busy.latencies_s[USERS:]
    yield Row("turn, Poisson", where, None, sum(waits) / len(waits), "s", None, "simulated",
              f"{note}; arrivals every {gap:.3g} s on average, at half the load of a user alone")  # fmt: skip


def figure(rows: Sequence[Row]) -> Figure:
    """Prefill, decode of an answer and context switch against the context."""
    data: list[dict[str, Any]] = []
    drawn = (("$0", "prefill", 1.0), ("$1", "decode", ANSWER / 1e3), ("$2", "context switch", 1.0))
    for colour, quantity, factor in drawn:
        points = sorted((float(r.where.split()[0].replace(",", "")), r.accelsim * factor) for r in rows
                        if r.quantity == quantity and r.accelsim is not None)  # fmt: skip
        data.append({
            "type": "scatter", "mode": "lines+markers", "name": f"{quantity}" + (" of an answer" * (factor != 1)),
            "x": [x for x, _ in points], "y": [y for _, y in points], "line": {"color": colour},
        })  # fmt: skip
    across, up = {"title": "tokens", "type": "log"}, {"title": "s", "type": "log"}
    return {"data": data, "layout": {"xaxis": across, "yaxis": up}}
