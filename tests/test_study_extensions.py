"""Content keys of points whose mapper or components come from other packages: a change of their code changes them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from accelsim import simulation
from accelsim.arch.registry import temporary_kinds
from accelsim.study import Model, Point, Scalar, Status, Sweep, run_sweep
from accelsim.study.evaluation import Identity

MAPPER = """\
from functools import partial

from accelsim.mappers.tile import map_workload
from {package}.helper import SEED

whole = partial(map_workload, seed=SEED)


def floor(workload, arch):
    return 1.0, 0.0
"""
KIND = """\
from typing import Literal

from accelsim.components.vector import VectorUnit


class Lanes(VectorUnit):
    kind: Literal["ext_lanes"]
"""
MODEL = "einsums: ['C[m,n] = A[m,k] * B[k,n]']\nranks: {m: 4, k: 4, n: 4}\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path with a mapper in the package `ext_maps`, a kind in `ext_lanes.py`, and `ext_file`."""
    before = set(sys.modules)
    site = tmp_path / "site"
    package, info = site / "ext_maps", site / "ext_maps-1.0.dist-info"
    package.mkdir(parents=True)
    info.mkdir()
    (package / "__init__.py").touch()
    (package / "helper.py").write_text("SEED = 0\n")
    (package / "mapper.py").write_text(MAPPER.format(package="ext_maps"))
    (site / "ext_file.py").write_text("from accelsim.mappers.tile import map_workload\n")
    (site / "ext_lanes.py").write_text(KIND)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ext-maps\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[accelsim.mappers]\next_whole = ext_maps.mapper:whole\next_file = ext_file:map_workload\n"
        "[accelsim.floors]\next_file = ext_maps.mapper:floor\n"
    )
    (tmp_path / "model.yaml").write_text(MODEL)
    (tmp_path / "lanes.yaml").write_text("extends: edge_npu\nunits: {vector: {kind: ext_lanes}}\n")
    monkeypatch.syspath_prepend(site)
    yield site
    for name in set(sys.modules) - before:
        if name.startswith("ext_"):
            del sys.modules[name]


def keys(site: Path, machine: str = "edge_npu") -> dict[str, str]:
    """Keys of the points of all mappers."""
    identify = Identity()
    base = Point(machine, str(site.parent / "model.yaml"))
    return {name: identify(replace(base, mapper=name)) for name in ("auto", "tile", "ext_whole", "ext_file")}


def changed(one: dict[str, str], other: dict[str, str]) -> set[str]:
    return {name for name in one if one[name] != other[name]}


def test_a_change_in_the_package_of_a_mapper_or_of_its_floor_changes_its_keys_alone(site: Path) -> None:
    first = keys(site)
    assert keys(site) == first
    (site / "ext_maps" / "helper.py").write_text("SEED = 1\n")
    second = keys(site)
    assert changed(first, second) == {"ext_whole", "ext_file"}
    (site / "ext_maps" / "tables").mkdir()
    (site / "ext_maps" / "tables" / "costs.csv").write_text("a,b\n")
    third = keys(site)
    assert changed(second, third) == {"ext_whole", "ext_file"}
    (site / "ext_maps" / "notes.txt").write_text("read by nobody\n")
    assert keys(site) == third
    (site / "ext_file.py").write_text("from accelsim.mappers.tile import map_workload  # again\n")
    assert changed(third, keys(site)) == {"ext_file"}


def test_a_change_in_the_file_of_a_component_changes_the_keys_of_machines_that_have_it(site: Path) -> None:
    import importlib

    machine = str(site.parent / "lanes.yaml")
    with temporary_kinds({"ext_lanes": importlib.import_module("ext_lanes").Lanes}):
        without, first = keys(site), keys(site, machine)
        (site / "ext_lanes.py").write_text(KIND + "# again\n")
        assert keys(site) == without
        assert changed(first, keys(site, machine)) == set(first)


def test_a_resumed_sweep_simulates_anew_what_a_changed_mapper_made(site: Path, tmp_path: Path) -> None:
    seen: list[str] = []

    def evaluate(point: Point) -> dict[str, Scalar]:
        seen.append(point.mapper)
        return {"latency_s": 1.0, "energy_J": 1.0}

    model = Model(str(site.parent / "model.yaml"))
    for mappers in (("tile", "ext_whole"), (), ("ext_whole",)):
        for name in ("tile", "ext_whole"):
            sweep = Sweep(("edge_npu",), (model,), mapper=name)
            study = run_sweep(sweep, tmp_path / name, jobs=0, resume=True, evaluate=evaluate, identify=Identity())
            assert [row.status for row in study.rows] == [Status.DONE]
        assert tuple(seen) == mappers
        seen.clear()
        if not mappers:
            (site / "ext_maps" / "mapper.py").write_text(MAPPER.format(package="ext_maps") + "\n\nLATER = 1\n")


def test_packages_are_looked_for_once_and_not_at_every_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys of all points are there before the first one is simulated."""
    asked: list[str] = []

    def entry_of(group: str, name: str) -> EntryPoint | None:
        asked.append(name)
        return found(group, name)

    found = simulation.entry_of
    monkeypatch.setattr(simulation, "entry_of", entry_of)
    identify = Identity()
    capacity = "memories.sram.capacity"
    points = [Point("edge_npu", "gpt2", ((capacity, f"{256 + i} KiB"),), (("seq", 8),)) for i in range(5)]
    keys = [identify(point) for point in points]
    assert len(set(keys)) == len(points)
    assert asked.count("tile") <= 3  # of the mapper's group twice, of floors once
