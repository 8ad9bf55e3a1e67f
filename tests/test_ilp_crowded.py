"""Hundreds of tensors side by side: what would take too long is left out, and the plan replays all the same."""

from __future__ import annotations

import pytest

from accelsim.experiments.memory_mapping.graphs import random_graph
from accelsim.mappers.ilp import residency
from accelsim.mappers.ilp.arrangement import Along, Arrangement, arranged
from accelsim.mappers.ilp.check import check_plan
from accelsim.mappers.ilp.layout import WIDTH, laid_out
from accelsim.mappers.ilp.problem import peak_bytes
from accelsim.mappers.ilp.residency import best_residency
from accelsim.mappers.ilp.solver import SolverOptions


@pytest.mark.parametrize("crowd", [residency.CROWD, 0])
def test_no_exact_search_and_a_narrow_first_beam(crowd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = random_graph(residency.FEW + 1, 2, 200)
    order = range(len(problem.operators))
    asked: list[int | None] = []
    widths: list[int] = []

    def packed(along: Along, dropped: set[int], *, nodes: int | None = None) -> tuple[Arrangement | None, bool]:
        asked.append(nodes)
        return arranged(along, dropped, nodes=nodes)

    def laid(along: Along, dropped: set[int], *, width: int) -> Arrangement | None:
        widths.append(width)
        return laid_out(along, dropped, width=width)

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("window by window")

    monkeypatch.setattr(residency, "CROWD", crowd)
    monkeypatch.setattr(residency, "ROOM", 20 * (residency.FEW + 1) * 100)
    monkeypatch.setattr(residency, "arranged", packed)
    monkeypatch.setattr(residency, "laid_out", laid)
    monkeypatch.setattr(residency, "rolled", refused)
    monkeypatch.setattr("accelsim.mappers.ilp.windows.addresses", refused)
    plan = best_residency(problem, order, peak_bytes(problem, order) * 8 // 10, options=SolverOptions(seconds=4.0))
    assert plan.claim is not None and check_plan(problem, plan).spilled == plan.claim.value >= plan.claim.bound
    assert asked == ([0] if crowd else [])  # first fit alone, or nothing at all
    assert len(widths) == 1 and residency.NARROW <= widths[0] < WIDTH
