"""Sweeps on a local Dask cluster of two processes: equal to those of one process, also when a worker is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.cli import accelsim

from accelsim.errors import BadInput
from accelsim.study import Axis, Model, Outcome, Search, Status, Study, Sweep, run_sweep
from accelsim.study.cluster import ClusterExecutor, call_on_worker, cluster, versions

distributed = pytest.importorskip("distributed")

AXES = (
    Axis.of("arch.memories.dram.bandwidth", ["4 GB/s", "8 GB/s", "16 GB/s", "32 GB/s"]),
    Axis.of("arch.memories.dram.capacity", ["1 GiB", "2 GiB", "16 MiB"]),
)
SWEEP = Sweep(("edge_npu",), (Model.of("gpt2", phase="decode", context=64),), AXES)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return run_sweep(SWEEP, tmp_path_factory.mktemp("alone"), jobs=0)


def test_a_cluster_gives_the_same_results_and_the_loss_of_a_worker_changes_nothing(
    address: str, alone: Study, tmp_path: Path
) -> None:
    assert alone.count(Status.DOES_NOT_FIT) == 4  # failures are told in the same words too
    lost: list[int] = []

    def kill_one(done: int, total: int, outcome: Outcome | None) -> None:
        if done == 1 and not lost:
            with distributed.Client(address, set_as_default=False) as client:
                pids: dict[str, Any] = client.run(os.getpid)
            lost.append(min(pids.values()))
            with suppress(ProcessLookupError):
                os.kill(lost[0], signal.SIGKILL)

    executor = ClusterExecutor(address)
    try:
        study = run_sweep(SWEEP, tmp_path, executor=executor, progress=kill_one)
    finally:
        executor.shutdown()
    assert lost
    assert study.digest() == alone.digest()


def test_a_search_on_a_cluster_is_the_search_of_one_process(address: str, tmp_path: Path) -> None:
    axes = ("--axis", "arch.memories.dram.bandwidth=4 GB/s..32 GB/s step 4 GB/s", "--search", "nsga2:6", "--json")
    call = ("sweep", "edge_npu", "gpt2", "--phase", "decode", "--context", 64, *axes)
    there = accelsim(*call, "--cluster", address, "--out", tmp_path / "there")
    here = accelsim(*call, "--jobs", 0, "--out", tmp_path / "here")
    assert (there.code, here.code) == (0, 0), there.output
    studies = [Study.load(tmp_path / name) for name in ("there", "here")]
    assert studies[0].digest() == studies[1].digest()
    assert studies[0].sweep.search == Search("nsga2", 6)


@pytest.mark.parametrize("search", [None, Search("nsga2", 12, batch=4)])
def test_bounds_first_gives_the_same_table(search: Search | None, address: str, tmp_path: Path) -> None:
    rows = Axis.of("arch.units.array.rows", [8, 16, 32])
    sweep = replace(SWEEP, axes=(*AXES, rows), pareto=("latency_s",), bounds_first=True, search=search)
    here = run_sweep(sweep, tmp_path / "here", jobs=0)
    with cluster(address) as executor:
        there = run_sweep(sweep, tmp_path / "there", executor=executor)
    assert here.count(Status.DOMINATED) > 0
    assert there.digest() == here.digest()


def test_an_address_without_a_scheduler_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accelsim.study.cluster.TIMEOUT_S", 0.5)
    ran = accelsim("sweep", "edge_npu", "gpt2", "--cluster", "tcp://127.0.0.1:9", "--out", tmp_path / "out")
    assert ran.code == 2
    assert "no scheduler answers" in ran.output
    assert not (tmp_path / "out").exists()


def test_a_worker_of_other_versions_refuses_calls() -> None:
    assert call_on_worker(versions(), os.getcwd(), max, (1, 2), {}) == 2
    with pytest.raises(BadInput, match=r"has numpy .*, not 0\.1"):
        call_on_worker({**versions(), "numpy": "0.1"}, os.getcwd(), max, (1, 2), {})
    with pytest.raises(BadInput, match="no folder"):
        call_on_worker(versions(), "/nowhere/at/all", max, (1, 2), {})
