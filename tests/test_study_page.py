"""Pages of studies: fronts, many points, medians; where there is no study."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from support.grid_study import run

from accelsim.errors import BadInput
from accelsim.study import Axis, Point, Sample, Scalar, Span, Status, Study


def test_page_of_a_sampled_study_of_several_machines(tmp_path: Path) -> None:
    def evaluate(point: Point) -> dict[str, Scalar]:
        rows = int(point.settings().get("arch.rows", 32))
        return {"latency_s": 1 / rows, "energy_J": float(rows), "macs": 1000}

    axes = (
        Axis.of("arch.size", Span("64 KiB", "4 MiB", log=True)),
        Axis.of("arch.rows", Span(8, 64), when="arch == 'one'"),
        Axis.of("arch.rate", ["1 GB/s", "2 GB/s"], when="arch == 'two'"),
    )
    study = run(tmp_path, evaluate, archs=("one", "two"), axes=axes, sample=Sample("sobol", 40),
                constraints=("energy <= 50 J",), pareto=("latency", "energy", "-macs / latency"))  # fmt: skip
    page = study.to_html()
    assert "arch.size [byte]" in page  # forty sizes are drawn as numbers
    assert '"categoryarray":["1 GB/s","2 GB/s","not set"]' in page
    assert "not feasible" in page
    assert "highest macs / latency" in page
    assert "arch.rows: n/a" in page
    assert "nan" not in re.sub(r"<script\b.*?</script>", "", page, flags=re.DOTALL)
    assert study.count(Status.DONE) == 80


@pytest.mark.parametrize(("larger", "shape"), [([], "hv"), (["t"], "vh"), (["e"], "hv"), (["t", "e"], "vh")])
def test_the_front_is_joined_by_what_is_reached(larger: list[str], shape: str) -> None:
    import pandas as pd

    from accelsim.report import study_html

    table = pd.DataFrame({"a": [1, 2, 3], "t": [1.0, 2.0, 3.0], "e": [3.0, 2.0, 1.0]})
    page = study_html(title="t", table=table, parameters=["a"], objectives=["t", "e"], pareto=[0, 1, 2], failed=None,
                      notes=[], larger=larger)  # fmt: skip
    assert f'"shape":"{shape}"' in page


def test_a_page_of_many_points_is_of_bounded_size() -> None:
    import pandas as pd

    from accelsim.report import study_html

    count = 12_600  # of which a third is more than is drawn
    up, down = [float(i) for i in range(count)], [float(-i) for i in range(count)]
    table = pd.DataFrame({"a": range(count), "t": up, "e": down})

    def size(rows: int) -> int:
        return len(study_html(title="t", table=table.iloc[:rows], parameters=["a"], objectives=["t", "e"],
                              pareto=[0], failed=None, notes=[]))  # fmt: skip

    assert size(count) < 1.2 * size(count // 3)


def test_medians_over_groups_of_many_values() -> None:
    from accelsim.report.study_page import MEDIANS, _grouped

    groups = _grouped({float(i): [float(i), 3.0 * i] for i in range(64)})
    assert len(groups) == MEDIANS
    assert [len(values) for values in groups.values()] == [16] * MEDIANS
    assert list(groups) == sorted(groups)



@pytest.mark.parametrize("make", [lambda p: p / "none", lambda p: p])
def test_no_study(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    with pytest.raises(BadInput, match="no study here"):
        Study.load(make(tmp_path))
