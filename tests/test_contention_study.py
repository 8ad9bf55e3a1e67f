"""A study whose best point the bounds cannot find, because two units contend for one channel.

An edge chip runs two branches of a network at once: on its array a 3×3 convolution (64 to 64 channels, 1024 rows of
128 pixels) in tiles of whole rows, on its vector unit a GELU (as x·sigmoid(1.702·x), Hendrycks & Gimpel 2016) of 4 MiB
of activations in tiles of 16 KiB. Both are double buffered, and both load from and store to one LPDDR channel of
32 GB/s, whose requests (DMA transfers of a tile) are served first come, first served.

The axis is the number of output rows in a tile of the convolution. Neighbouring tiles share a halo of two rows of the
input, which each of them loads, so that t rows of output cost t + 2 rows of input: traffic falls along the axis as
1 + 2/t, and with it the program bound, whose resource is the channel. By the bounds the largest tile is best.

But a transfer of a large tile also holds the channel for long, and the vector unit has a single load under way: it gets
one tile per turn, however long the turn. While the convolution runs, the vector unit starves; once the convolution is
done, the vector unit needs the rest of its time alone, with the channel idle in between. So the latency has its minimum
inside the axis, at tiles so small that both branches end together. With a channel of its own for the vector unit, all
else equal, the largest tile is the best again.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from accelsim import Report, simulate
from accelsim.arch.architecture import Architecture
from accelsim.arch.loader import loads_architecture
from accelsim.ir import Workload, parse_cascade
from accelsim.mapping.tree import BODY, Loop, Mapping, Move, Op, Par, Stay
from accelsim.report.rows import StallRow
from accelsim.study import Axis, Model, Point, Scalar, Study, Sweep, run_sweep

ROWS = (1, 2, 4, 8, 16, 32)
GELU_TILE = 16 * 1024
AXIS = "model.bind.rows"

NETWORK = """
O[k,p,q] = I[c,p+r,q+s] * F[k,c,r,s]
Y[i] = X[i] / (1 + exp(-1.702 * X[i]))
"""
SIZES = {"k": 64, "c": 64, "p": 1024, "q": 128, "r": 3, "s": 3, "i": 4 * 2**20}

CHIP = """
name: {name}
clock: 1 GHz
memories:
  dram: {{kind: dram, capacity: 4 GiB, bandwidth: 32 GB/s}}
  sram: {{kind: buffer, capacity: 2 MiB, parent: dram, bandwidth: unlimited}}
  own_dram: {{kind: dram, capacity: 4 GiB, parent: dram, bandwidth: 32 GB/s}}
  vector_sram: {{kind: buffer, capacity: 64 KiB, parent: {channel}, bandwidth: unlimited}}
units:
  array: {{kind: systolic, memory: sram, rows: 256, cols: 64, dataflows: [os], overlap: true}}
  vector: {{kind: vector, memory: vector_sram, lanes: 32}}
"""
CHANNELS = {"shared": "dram", "private": "own_dram"}


def chip(name: str) -> Architecture:
    """The machine; on `private` the vector unit has a channel of its own."""
    return loads_architecture(CHIP.format(name=name, channel=CHANNELS[name]))


def network() -> Workload:
    return parse_cascade(NETWORK, SIZES, name="branches", bits=8)


def side_by_side(name: str, rows: int) -> Mapping:
    """Both branches at once, double buffered; filters stay on the chip."""
    channel = CHANNELS[name]
    root = Par((Loop("p", rows, Op("O", "array", "os")), Loop("i", GELU_TILE, Op("Y", "vector", "simd"))))
    homes = {"I": "dram", "F": "dram", "O": "dram", "X": channel, "Y": channel}
    moves = (
        Move("F", "dram", "sram", (0,), (0,), buffers=1),
        Move("I", "dram", "sram", (0,), (0, BODY)),
        Move("O", "sram", "dram", (0, BODY), (0,), store=True),
        Move("X", channel, "vector_sram", (1,), (1, BODY)),
        Move("Y", "vector_sram", channel, (1, BODY), (1,), store=True),
    )
    stays = tuple(Stay(tensor, memory, (), ()) for tensor, memory in homes.items())
    return Mapping("branches", name, root, stays, moves)


@cache
def report(name: str, rows: int) -> Report:
    return simulate(chip(name), network(), mapping=side_by_side(name, rows))


def stalls(told: Report, operator: str, role: str) -> StallRow:
    (row,) = [s for s in told.stalls if (s.operator, s.role) == (operator, role)]
    return row


def evaluate(point: Point) -> dict[str, Scalar]:
    told = report(point.arch, int(point.settings()[AXIS]))
    return {
        "cycles": told.cycles,
        "latency_s": told.latency_s,
        "bound_cycles": told.bounds.program,
        "machine_bound_cycles": told.bounds.machine,
        "dram_bytes": sum(told.traffic_bytes["dram"].values()),
        "bottleneck": told.bottleneck,
    }


def along(study: Study, name: str, column: str) -> list[float]:
    """A column of one machine's points, along the axis."""
    table = [row for row in study.table() if row["arch"] == name]
    assert [row[AXIS] for row in table] == list(ROWS)
    return [float(row[column]) for row in table]


def best(values: list[float]) -> int:
    """The step of the axis with the least value; the largest tile among equals."""
    return max(rows for rows, value in zip(ROWS, values, strict=True) if value == min(values))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    axes = (Axis.of(AXIS, list(ROWS)),)
    sweep = Sweep(tuple(CHANNELS), (Model("branches"),), axes, name="rows per tile", pareto=("latency_s",))
    folder: Path = tmp_path_factory.mktemp("contention") / "study"
    return run_sweep(sweep, folder, jobs=0, evaluate=evaluate, identify=repr)


def test_the_bounds_choose_the_largest_tile(study: Study) -> None:
    bounds = along(study, "shared", "bound_cycles")
    assert bounds == sorted(bounds, reverse=True)
    assert len(set(bounds)) == len(bounds)
    # The channel decides: 64 channels * (t + 2 rows for each tile of t) * 130 pixels in, filters in, results out, GELU.
    for rows, bound, moved in zip(ROWS, bounds, along(study, "shared", "dram_bytes"), strict=True):
        image = 64 * (1024 // rows) * (rows + 2) * 130
        assert moved == image + 64 * 64 * 9 + 64 * 1024 * 128 + 2 * SIZES["i"]
        assert bound == moved / 32
    assert len(set(along(study, "shared", "machine_bound_cycles"))) == 1  # which no tile size changes


def test_the_simulated_optimum_is_inside_the_axis(study: Study) -> None:
    cycles = along(study, "shared", "cycles")
    assert best(cycles) == 4
    at = ROWS.index(4)
    assert cycles[:at + 1] == sorted(cycles[:at + 1], reverse=True)
    assert cycles[at:] == sorted(cycles[at:])
    assert cycles[at - 1] > 1.10 * cycles[at]  # the halo
    assert cycles[at + 1] > 1.05 * cycles[at]  # contention
    assert cycles[-1] > 1.10 * cycles[at]
    # Left of it the bound is all but reached; to its right the distance grows.
    gaps = [c / b for c, b in zip(cycles, along(study, "shared", "bound_cycles"), strict=True)]
    assert max(gaps[:at + 1]) < 1.001
    assert gaps[at:] == sorted(gaps[at:])
    assert gaps[-1] > 1.25


def test_with_private_channels_the_bounds_are_right(study: Study) -> None:
    cycles, bounds = along(study, "private", "cycles"), along(study, "private", "bound_cycles")
    assert best(bounds) == best(cycles) == ROWS[-1]
    assert cycles == sorted(cycles, reverse=True)
    assert all(c < 1.004 * b for c, b in zip(cycles, bounds, strict=True))


def test_the_report_says_why(study: Study) -> None:
    optimum, largest = report("shared", 4), report("shared", 32)
    assert "Memory dram limits: busy 100 % of the time" in optimum.bottleneck
    assert "Memory dram limits: busy 78 % of the time" in largest.bottleneck
    assert "unit vector is idle 49 % of the time, mostly waiting for data" in largest.bottleneck
    # The GELU's loads stand in the queue for the channel most of the time, four times as long as they are served ...
    load = stalls(largest, "Y", "load")
    assert (load.component, load.tensor) == ("dram", "X")
    assert load.server == max(load.data, load.space, load.pool, load.server)
    assert load.server > 4 * load.busy
    assert load.server > 0.5 * largest.cycles
    # ... so that its unit waits for data, and is at half its work when the convolution has ended.
    compute = stalls(largest, "Y", "compute")
    assert compute.data > 0.95 * (compute.data + compute.space + compute.pool + compute.server)
    ends = {row.name: row.end_cycle for row in largest.operators}
    assert ends["O"] < 0.56 * ends["Y"]
    # At the optimum the two branches end together; with a channel of its own the GELU's loads never queue.
    ends = {row.name: row.end_cycle for row in optimum.operators}
    assert min(ends.values()) > 0.98 * max(ends.values())
    for rows in ROWS:
        assert stalls(report("private", rows), "Y", "load").server < 0.05 * report("private", rows).cycles
    assert study.count(None) == 0
