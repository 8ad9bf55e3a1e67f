"""Weights from flash as tokens need them: published times, what moves them, and the model of reads in chunks."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from support.experiments import rows_of

from accelsim.engine import compiled
from accelsim.errors import BadInput
from accelsim.experiments.llm_in_a_flash.experiment import OPT, speed_up, speed_up_beside_gpu
from accelsim.experiments.llm_in_a_flash.loads import NAIVE, WINDOW, figures, sizes, token
from accelsim.experiments.llm_in_a_flash.windows import neurons_of
from accelsim.lowering.sites import SiteProblem, Task, Way, program_of
from accelsim.mappers.offload.reads import Drive

DRIVE = Drive(6e9, 4, ((4096, 1e9), (32768, 2e9)))


def test_published_rows_hold() -> None:
    found = rows_of("llm_in_a_flash")
    assert [r.where for r in found if r.ok is False] == []
    assert [r.quantity for r in found if r.ok] == ["I/O per token", "time per token"]


def test_figures_that_went_in_judge_nothing() -> None:
    """Rows that an input of the machine's table moves by as much as itself have no tolerance."""
    judged = {r.quantity for r in rows_of("llm_in_a_flash") if r.tolerance is not None and "naive" in r.where}
    assert not judged
    for share in (0.0, 0.5):
        scheme = replace(NAIVE, resident=share)
        slower = token(OPT, scheme, (("sequential", 0.8),)).io_s / token(OPT, scheme).io_s
        assert slower == pytest.approx(1 / 0.8, rel=1e-6)


def test_naive_is_the_model_at_the_sequential_rate() -> None:
    found, size, on = token(OPT, NAIVE), sizes(OPT), figures()
    assert found.io_s == pytest.approx(size.model / on["sequential"], rel=1e-6)
    assert found.seconds == pytest.approx(found.io_s + on["computing on the CPU"], rel=1e-6)


@pytest.mark.parametrize(
    ("name", "way"),
    [("chunks of 4 KiB", -1), ("chunks of 32 KiB", -1), ("new share", 1), ("threads", 0), ("window share", 0)],
)
def test_what_moves_io(name: str, way: int) -> None:
    """More threads at the same measured throughput wait longer each: what changes is how chunks are dealt out."""
    base, more, less = (token(OPT, WINDOW, changes).io_s for changes in ((), ((name, 1.2),), ((name, 0.8),)))
    if way:
        assert (more - base) * way > 0 > (less - base) * way
    else:
        assert more == pytest.approx(base, rel=0.08) and less == pytest.approx(base, rel=0.08)


def test_what_moves_speed_ups() -> None:
    base = speed_up()
    assert speed_up((("computing on the CPU", 0.8),)) > base > speed_up((("computing on the CPU", 1.2),))
    assert speed_up((("new share", 1.2),)) < base
    assert speed_up((("sequential", 1.2),)) < base  # naive loading gains, chunks do not
    assert speed_up_beside_gpu((("sequential", 0.8),)) > speed_up_beside_gpu()
    assert speed_up_beside_gpu((("memory management beside the GPU", 1.2),)) < speed_up_beside_gpu()


def test_bundles_and_windows_save() -> None:
    single = replace(WINDOW, bundled=False)
    everything = replace(WINDOW, loaded="active share")
    assert token(OPT, WINDOW).io_s < token(OPT, single).io_s < token(OPT, replace(single, loaded="active share")).io_s
    assert token(OPT, everything).flash_bytes == pytest.approx(token(OPT, WINDOW).flash_bytes * 0.1 / 0.024, rel=0.002)


def test_windows_of_neurons() -> None:
    """Held and new shares of beta-distributed rates, against rates that are drawn."""
    found = neurons_of(0.1, 0.24, 5)
    assert found.held(1) == pytest.approx(0.1) and found.held(5) == pytest.approx(0.24)
    rates = np.random.default_rng(0).beta(0.1 * found.spread, 0.9 * found.spread, 400_000)
    for tokens in (2, 5, 9):
        assert found.held(tokens) == pytest.approx(float(np.mean(1 - (1 - rates) ** tokens)), rel=0.01)
        assert found.new(tokens) == pytest.approx(float(np.mean((1 - rates) ** tokens * rates)), rel=0.02)
    assert [found.new(k) for k in range(1, 9)] == sorted((found.new(k) for k in range(1, 9)), reverse=True)


def test_a_chunk_lies_on_the_line() -> None:
    assert DRIVE.seconds(4096) == pytest.approx(4 * 4096 / 1e9)
    assert DRIVE.seconds(32768) == pytest.approx(4 * 32768 / 2e9)
    assert DRIVE.seconds(18432) == pytest.approx((DRIVE.seconds(4096) + DRIVE.seconds(32768)) / 2)
    assert DRIVE.seconds(100) == DRIVE.seconds(4096) and DRIVE.seconds(65536) > DRIVE.seconds(32768)


@pytest.mark.parametrize("chunks", [1, 4, 7, 400])
def test_threads_take_turns(chunks: int) -> None:
    """The fullest thread's chunks one after the other, and then the last chunks over the drive."""
    hz = 10**9
    way = Way("flash", tuple(DRIVE.stages("x", chunks, 8192, hz, (), 0)))
    problem = SiteProblem("reads", hz, DRIVE.servers(hz), (Task("x", (way,)),))
    seconds = compiled.run(program_of(problem, [0])).finish / Fraction(hz)
    waits = -(-chunks // 4) * DRIVE.seconds(8192)
    assert waits <= float(seconds) <= waits + 4 * 8192 / 6e9 + chunks * 1e-9


def test_a_drive_that_cannot_be() -> None:
    with pytest.raises(BadInput, match="two sizes"):
        Drive(1e9, 1, ((4096, 1e9),))
    with pytest.raises(BadInput, match="larger chunks must take more time"):
        Drive(1e9, 1, ((4096, 1e9), (8192, 9e9)))
    with pytest.raises(BadInput, match="needs a thread"):
        Drive(1e9, 0, ((4096, 1e9), (8192, 1e9)))
