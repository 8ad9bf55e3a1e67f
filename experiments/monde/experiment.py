"""Experts on a GPU or beside their memory: the best split, its gain over offloading, and where it breaks even."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from ...arch.architecture import Architecture
from ...arch.loader import load_spec
from ...mappers.sites import SitePlan, SiteProblem, Task, choose, simulated
from ..loader import ANOTHER_ROUTE, SHOWN, Row, data_path, table
from .layer import GPU, NEAR, NLLB, SWITCH, Load, Model, problem

CASES = {
    "encoder": [(SWITCH, Load(b, False)) for b in (1, 4, 16)]
    + [(NLLB, Load(b, False)) for b in (1, 4)]
    + [(SWITCH, Load(4, False, skew)) for skew in (0.0, 1.5)],
    "decoder": [(m, Load(b, True)) for m in (SWITCH, NLLB) for b in (1, 4, 16, 64)]
    + [(SWITCH, Load(16, True, skew)) for skew in (0.0, 1.5)],
}


@cache
def machine(changes: tuple[tuple[str, object], ...] = ()) -> Architecture:
    """The machine of ``monde.yaml`` with changes."""
    return load_spec(data_path(__package__ or "", "monde.yaml")).with_values(dict(changes)).build()


@dataclass(frozen=True)
class Outcome:
    """Seconds of a block with all experts moved to the GPU, and of the split that was found."""

    offloaded: float
    plan: SitePlan
    experts: int
    moved: int

    @property
    def gain(self) -> float:
        return self.offloaded / self.plan.seconds


@cache
def outcome(
    model: Model, load: Load, *, dense: bool = True, changes: tuple[tuple[str, object], ...] = ()
) -> Outcome:
    """The best split of the experts of a block, beside offloading."""
    arch = machine(changes)
    split, moved = (problem(arch, model, load, dense=dense, offloaded=o) for o in (False, True))
    plan = choose(split)
    offloaded = simulated(moved, [0] * len(moved.tasks))
    return Outcome(offloaded, plan, len(split.tasks) - 1, plan.at(split, GPU) - 1)


def brute_force(found: SiteProblem) -> tuple[float, int]:
    """The least seconds over all numbers of experts that move, those with most tokens first, and that number."""
    experts = found.tasks[1:]
    gpu, near = (_way(experts[0], site) for site in (GPU, NEAR))
    times = []
    for hot in range(len(experts) + 1):
        times.append((simulated(found, [0, *([gpu] * hot), *([near] * (len(experts) - hot))]), hot))
    return min(times)


def _way(task: Task, site: str) -> int:
    return next(i for i, way in enumerate(task.ways) if way.site == site)


def break_even(model: Model, *, changes: tuple[tuple[str, object], ...] = ()) -> int:
    """The fewest tokens of one expert, alone on the machine, with which it is faster on the GPU."""
    arch = machine(changes)

    def gpu_is_faster(tokens: int) -> bool:
        one = problem(arch, model, Load(1, True), dense=False, tokens=(tokens,))
        gpu, near = (simulated(one, (0, _way(one.tasks[1], site))) for site in (GPU, NEAR))
        return gpu < near

    high = 1
    while not gpu_is_faster(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if gpu_is_faster(middle) else (middle, high)
    return high


def rows() -> Iterator[Row]:
    """The split beside brute force, gains over skew and batch, their peaks beside the published ones, break-even."""
    yield from _splits()
    published = {r["where"]: r for r in table(__package__, "published.csv")}
    for where, cases in CASES.items():
        gains = []
        for model, load in cases:
            found = outcome(model, load)
            gains.append(found.gain)
            place = f"{model.name}, {where}, batch {load.batch}, skew {load.skew:g}"
            note = (f"{found.moved} of {found.experts} experts move; {found.plan.seconds * 1e3:.3g} ms, bound "
                    f"{found.plan.bound * 1e3:.3g} ms")  # fmt: skip
            yield Row("speed-up over offloading", place, None, found.gain, "ratio", None, SHOWN, note)
        peak = published[where]
        yield Row(peak["quantity"], where, float(peak["value"]), max(gains), "ratio", None, peak["source"],
                  peak["note"])  # fmt: skip
    for model in (SWITCH, NLLB):
        yield Row("break-even", f"{model.name}, one expert", None, break_even(model), "tokens", None, SHOWN,
                  "with fewer tokens, an expert is faster beside its memory")  # fmt: skip


def _splits() -> Iterator[Row]:
    for model, load in ((SWITCH, Load(1, False)), (NLLB, Load(64, True))):
        seconds, hot = brute_force(problem(machine(), model, load))
        found = outcome(model, load)
        place = f"{model.name}, {'decoder' if load.decoder else 'encoder'}, batch {load.batch}"
        yield Row("time of the split", place, seconds, found.plan.seconds, "s", 1e-9,
                  f"{ANOTHER_ROUTE}brute force over all numbers of experts that move",
                  f"{hot} and {found.moved} move")  # fmt: skip


def figure(rows: Sequence[Row]) -> Mapping[str, object]:
    """Gain over the batch, for each model, encoder and decoder, at the middle skew."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        if row.quantity == "speed-up over offloading" and row.where.endswith("skew 1") and row.accelsim is not None:
            model, part, batch, _ = row.where.split(", ")
            lines.setdefault(f"{model}, {part}", []).append((int(batch.split()[1]), row.accelsim))
    data = [{"type": "scatter", "name": n, "x": [b for b, _ in p], "y": [g for _, g in p]} for n, p in lines.items()]
    axes = {"xaxis": {"title": "sequences", "type": "log"}, "yaxis": {"title": "offloading's time over the split's"}}
    return {"data": data, "layout": axes}
