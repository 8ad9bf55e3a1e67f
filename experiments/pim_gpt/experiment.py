"""PIM-GPT: latency, row hits, traffic and energy of eight decoders in GDDR6 PIM, beside a T4; sweeps of the machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from ... import load_model, simulate
from ...arch.architecture import Architecture
from ...arch.loader import load_spec
from ...ir import Role, Workload
from ...mappers.pim import Movement, movement
from ..loader import Row, data_path, table

MODELS = ("gpt2", "gpt2-medium", "gpt2-large.json", "gpt2-xl", "gpt3-small.json", "gpt3-medium.json", "gpt3-large.json",
          "gpt3-xl.json")  # fmt: skip
PUBLISHED = {(r["quantity"], r["where"]): float(r["value"]) for r in table(__package__, "published.csv")}
CONTEXTS = (1, 256, 512, 768, 1024)
TOKENS = 1024
T4_BANDWIDTH, T4_FLOPS = 320e9, 65e12
"""NVIDIA T4 data sheet: GDDR6 bandwidth, fp16 tensor cores (recalled)."""
EAGER = (5.0, 17.0)
"""How far the measured T4 runs stay behind its bandwidth roofline, at least and at most over the models."""
PAPER = "PIM-GPT, arXiv:2310.09385 (2023)"
CHECK = "closed count of the paper's mapping with the broadcast charged once per channel"
HIT_RATE = "published as about 98 %; a row of 64 bursts used once gives 1 - 1/64"
LARGEST = "gpt3-xl.json"
ROWS = 16384
"""Of a bank, in the preset."""
Changes = tuple[tuple[str, object], ...]


@dataclass(frozen=True)
class Token:
    """One decoded token.

    Attributes:
        asic_share: of the time, spent on what is no product of a matrix and a vector.
        joules: by component, leakage of the ASIC apart.
    """

    seconds: float
    asic_share: float
    joules: dict[str, float]


@cache
def model(name: str, context: int) -> Workload:
    """Decoding of one token after so many."""
    ref = data_path(__package__, name) if name.endswith(".json") else name
    return load_model(ref, phase="decode", context=context)


@cache
def machine(changes: Changes = ()) -> Architecture:
    """PIM-GPT, with changes."""
    return load_spec("pim_gpt").with_values(dict(changes)).build()


@cache
def token(name: str, context: int, changes: Changes = ()) -> Token:
    """A simulated token."""
    report = simulate(machine(changes), model(name, context), mapper="pim")
    asic = sum(float(o.cycles) for o in report.operators if o.unit != "pim")
    joules = {c.name: c.energy_J for c in report.components}
    return Token(report.latency_s, asic / float(report.cycles), joules)


@cache
def moved(name: str, context: int, changes: Changes = ()) -> Movement:
    """Row hits and traffic of a token."""
    return movement(model(name, context), machine(changes))


def generation_seconds(name: str, changes: Changes = ()) -> float:
    """Seconds of 1024 tokens, one after the other: linear in the context between those that are simulated."""
    times = [token(name, c, changes).seconds for c in CONTEXTS]
    parts = zip(pairwise(CONTEXTS), pairwise(times), strict=True)
    return sum((b - a) * (x + y) / 2 for (a, b), (x, y) in parts) + times[0]


def t4_seconds(name: str) -> float:
    """Seconds of 1024 tokens on a roofline T4: every token reads all weights and the cache."""
    total = 0.0
    for a, b in pairwise(CONTEXTS):
        for context in (a, b):
            work = model(name, context)
            held = work.bytes_by_role()
            read = held[Role.WEIGHT] + held[Role.STATE]
            total += (b - a) / 2 * max(read / T4_BANDWIDTH, 2 * work.macs / T4_FLOPS)
    return total


def rows() -> Iterator[Row]:
    """The eight models; the sweeps."""
    for name in MODELS:
        yield from _model(name)
    yield from _speedups()
    yield from _sweeps()


def _model(name: str) -> Iterator[Row]:
    short = name.removesuffix(".json")
    for context in CONTEXTS[1:]:
        seconds = token(name, context).seconds
        yield Row("latency per token", f"{short}, context {context}", None, seconds * 1e6, "us", None, PAPER,
                  "no table of latencies is published")  # fmt: skip
    last = moved(name, TOKENS)
    yield Row("row-hit rate", f"{short}, context {TOKENS}", 0.98, last.row_hit_rate, "fraction", 0.01, PAPER, HIT_RATE)
    published = PUBLISHED.get(("traffic reduction", short))
    yield Row("traffic reduction", f"{short}, context {TOKENS}", published, last.reduction, "ratio",
              0.2 if published else None, CHECK if published else PAPER,
              "at which context is not said" if published else "published as 110 to 259 over the models")  # fmt: skip
    joules = token(name, TOKENS).joules
    for part, energy in joules.items():
        yield Row("share of energy", f"{short}, {part}", None, energy / sum(joules.values()), "fraction", None, PAPER,
                  "no split is published in numbers")  # fmt: skip


def _speedups() -> Iterator[Row]:
    """Over a roofline T4, and over the measured one that the paper's own figures imply."""
    gains = {n.removesuffix(".json"): t4_seconds(n) / generation_seconds(n) for n in MODELS}
    for name, gain in gains.items():
        yield Row("speed-up over a roofline T4", f"{name}, {TOKENS} tokens", None, gain, "ratio", None, PAPER,
                  "published: 41 to 137 over measured eager runs, 5 to 17 times behind this roofline")  # fmt: skip
    for what, slower in zip(("least", "most"), EAGER, strict=True):
        published = PUBLISHED["speed-up over a T4", what]
        found = (min if what == "least" else max)(gains.values()) * slower
        where = f"{what} of the models, {slower:g} times behind its roofline"
        yield Row("speed-up over the implied measured T4", where, published,
                  found, "ratio", None, PAPER,
                  "which model's baseline is how far behind is not published")  # fmt: skip


def _sweeps() -> Iterator[Row]:
    base = token(LARGEST, TOKENS)
    yield Row("share of what is no product", "gpt3-xl", 0.0116, base.asic_share, "fraction", None, PAPER,
              "lanes and rates of the ASIC are recalled; operators do not overlap here")  # fmt: skip
    for clock in ("500 MHz", "200 MHz", "100 MHz"):
        slow = token(LARGEST, TOKENS, (("units.asic.clock", clock),)).seconds / base.seconds
        last = clock == "100 MHz"
        yield Row("latency over that at 1 GHz", f"gpt3-xl, ASIC at {clock}", 1.2 if last else None, slow, "ratio", None,
                  PAPER, "published: at most 1.2" if last else "no figure is published for this clock")  # fmt: skip
    for channels in (4, 16, 32):
        change: Changes = (("memories.dram.channels", channels), _device(rows=ROWS * 8 // channels))
        gain = base.seconds / token(LARGEST, TOKENS, change).seconds
        judged = channels <= 16
        yield Row("speed-up over 8 channels", f"gpt3-xl, {channels} channels", channels / 8, gain, "ratio",
                  0.25 if judged else None, f"{PAPER}: near-linear in channels",
                  "" if judged else "vectors and the ASIC take what the channels save")  # fmt: skip
    for groups in (2, 8):
        change = (_device(bank_groups=groups, rows=ROWS * 4 // groups),)
        gain = base.seconds / token(LARGEST, TOKENS, change).seconds
        yield Row("speed-up over 16 banks", f"gpt3-xl, {groups * 4} banks", groups / 4, gain, "ratio", 0.25,
                  f"{PAPER}: more banks, more MAC units")  # fmt: skip
    for kib in (1, 4):
        sizes = _device(row_bytes=kib * 1024, rows=ROWS * 2 // kib)
        change = (sizes, ("units.pim.vector_buffer", f"{kib} KiB"))
        wide = moved(LARGEST, TOKENS, change)
        gain = base.seconds / token(LARGEST, TOKENS, change).seconds
        yield Row("row-hit rate", f"gpt3-xl, rows of {kib} KiB", 1 - 1 / (32 * kib), wide.row_hit_rate, "fraction",
                  0.01, "a row of so many bursts, used once")  # fmt: skip
        yield Row("speed-up over rows of 2 KiB", f"gpt3-xl, rows of {kib} KiB", None, gain, "ratio", None, PAPER,
                  "longer rows are faster; no number is published")  # fmt: skip


class _Frozen(dict[str, int]):
    """Sizes of the device that differ, as a key of caches."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(tuple(sorted(self.items())))


def _device(**sizes: int) -> tuple[str, object]:
    """Sizes of the DRAM; rows keep the capacity."""
    return "memories.dram.timing", _Frozen(sizes)


def figure(rows: Sequence[Row]) -> dict[str, object]:
    """Latency per token over the context, for every model."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        if row.quantity == "latency per token" and row.accelsim is not None:
            name, context = row.where.split(", context ")
            lines.setdefault(name, []).append((int(context), row.accelsim))
    data = [{"type": "scatter", "name": name, "x": [c for c, _ in points], "y": [y for _, y in points]}
            for name, points in lines.items()]  # fmt: skip
    return {"data": data, "layout": {"xaxis": {"title": "context"}, "yaxis": {"title": "us per token"}}}
