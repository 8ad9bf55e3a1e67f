"""Points of sweeps: ranges, conditions, samples."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelsim.errors import SpecError
from accelsim.study import Axis, Model, Sample, Scalar, Span, Sweep
from accelsim.study.span import parse_range
from accelsim.study.sweep_file import load_sweep


def settings(sweep: Sweep, *names: str) -> list[tuple[Scalar | None, ...]]:
    return [tuple(point.settings().get(name) for name in names) for point in sweep.points()]


def sweep_of(*axes: Axis, **more: object) -> Sweep:
    return Sweep(("m",), (Model("w"),), axes, **more)  # type: ignore[arg-type]


# -- ranges ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("16..64 step 16", [16, 32, 48, 64]),
        ("16..70 step 16", [16, 32, 48, 64]),
        ("0.1..0.5 step 0.1", [0.1, 0.2, 0.3, 0.4, 0.5]),
        ("1..2 step 0.5", [1, 1.5, 2]),
        ("1 GHz..2 GHz step 250 MHz", ["1 GHz", "1.25 GHz", "1.5 GHz", "1.75 GHz", "2 GHz"]),
        ("1..10 points 4", [1, 4, 7, 10]),
        ("1..3 points 9", [1, 2, 3]),
        ("0.5..2.0 points 4", [0.5, 1.0, 1.5, 2.0]),
        ("1 MiB..2 MiB points 5", ["1 MiB", "1.25 MiB", "1.5 MiB", "1.75 MiB", "2 MiB"]),
        ("64 KiB..1 MiB points 5 log", ["64 KiB", "128 KiB", "256 KiB", "512 KiB", "1024 KiB"]),
        ("100 KiB..1 MiB points 3 log", ["100 KiB", "320 KiB", "1024 KiB"]),
        ("9.6 GB/s..38.4 GB/s points 3 log", ["9.6 GB/s", "19.2 GB/s", "38.4 GB/s"]),
        ("1..1000 points 4 log", [1, 10, 100, 1000]),
    ],
)
def test_ranges(text: str, values: list[Scalar]) -> None:
    assert parse_range(text) == values
    assert Axis.parse(f"arch.a+arch.b={text}").steps == tuple((v, v) for v in values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("4..2", "`from` 4 is more than `to` 2"),
        ("a..4", "`from`: 'a' is no number"),
        ("0..4 points 3 log", "`log` needs ends above zero"),
        ("1..2 step 0", "`step` 0 is not above zero"),
        ("1..2 step 1 MiB", "`step` has MiB and `from` no unit"),
        ("1 KiB..2 GHz", "`to` has GHz and `from` KiB"),
        ("1 KiB..2 KB", "no unit 'KB'"),
        ("1..2 points 1", "a whole number from 2 to 100000, not 1"),
        ("0..1 step 0.000001", "more than 100000 values"),
        ("1..2 step 1 points 4", "`step` goes with neither"),
        ("..4", "is no range"),
    ],
)
def test_wrong_ranges(text: str, message: str) -> None:
    with pytest.raises(SpecError) as error:
        Axis.parse(f"arch.a={text}")
    assert message in str(error.value)
    assert f"--axis arch.a={text}" in str(error.value)


@given(st.integers(1, 500), st.integers(0, 500), st.floats(0, 1, exclude_max=True), st.booleans())
def test_spans_stay_between_their_ends(low: int, more: int, share: float, log: bool) -> None:
    high = low + more
    assert low <= Span(low, high, log).at(share) <= high  # type: ignore[operator]
    assert isinstance(Span(low, high, log).at(share), int)
    size = str(Span(f"{low} KiB", f"{high} KiB", log).at(share))
    assert low <= int(size.removesuffix(" KiB")) <= high


def test_spans_reach_every_whole_number_evenly() -> None:
    found = [Span(1, 4).at(i / 400) for i in range(400)]
    assert [found.count(value) for value in (1, 2, 3, 4)] == [100] * 4


# -- conditions ------------------------------------------------------------------------------------------------------


def test_when_leaves_points_out() -> None:
    axes = (Axis.of("arch.units.u.rows", [1, 2, 4]), Axis.of("arch.units.u.cols", [1, 2, 4]))
    sweep = sweep_of(*axes, when=("rows * cols <= 4", "rows >= cols"))
    expected = [(r, c) for r, c in product((1, 2, 4), (1, 2, 4)) if r * c <= 4 and r >= c]
    assert settings(sweep, "arch.units.u.rows", "arch.units.u.cols") == expected


def test_an_axis_with_a_condition_is_left_out_elsewhere() -> None:
    axes = (
        Axis.of("arch.a", [1, 2], when="arch == 'one.yaml'"),
        Axis.of("model.seq", [8, 16], when="model == 'gpt2' and arch.a != 2"),
    )
    sweep = Sweep(("folder/one.yaml", "two"), (Model("gpt2"), Model("cnn")), axes)
    assert settings(sweep, "arch", "model", "arch.a", "model.seq") == [
        ("folder/one.yaml", "gpt2", 1, 8), ("folder/one.yaml", "gpt2", 1, 16), ("folder/one.yaml", "gpt2", 2, None),
        ("folder/one.yaml", "cnn", 1, None), ("folder/one.yaml", "cnn", 2, None), ("two", "gpt2", None, None),
        ("two", "cnn", None, None),
    ]  # fmt: skip


def test_sizes_compare_by_their_units() -> None:
    sweep = sweep_of(Axis.of("arch.s.capacity", ["64 KiB", "1 MiB", "2 MiB"]), when=("capacity < 1.5 MiB",))
    assert settings(sweep, "arch.s.capacity") == [("64 KiB",), ("1 MiB",)]


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ("row >= 2", "character 1: no column 'row' (did you mean 'arch.rows'?"),
        ("rows >", "a name or number is missing before the end"),
        ("rows * 2", "is no condition"),
        ("mapper == 'tyle'", "'mapper' is never 'tyle' (did you mean 'tile'?)"),
        ("mapper in ('tile', 'ilq')", "'mapper' is never 'ilq'"),
        ("capacity >= 3 mJ", "byte beside J"),
        ("latency <= 3 ms", "no column 'latency'"),
        ("rows > 99", "no point is left (`when` refuses all: rows > 99)"),
    ],
)
def test_wrong_conditions(when: str, message: str) -> None:
    axes = (Axis.of("arch.rows", [1, 2]), Axis.of("mapper", ["tile", "ilp"]), Axis.of("arch.capacity", ["1 MiB"]))
    with pytest.raises(SpecError) as error:
        sweep_of(*axes, when=(when,)).points()
    assert message in str(error.value)


def test_a_condition_of_an_axis_sees_the_axes_before_it() -> None:
    later = (Axis.of("arch.a", [1], when="arch.b == 1"), Axis.of("arch.b", [1]))
    with pytest.raises(SpecError, match=r"no column 'arch\.b'"):
        sweep_of(*later).points()


# -- samples ---------------------------------------------------------------------------------------------------------

AXES = (
    Axis.of("arch.size", Span("64 KiB", "4 MiB", log=True)),
    Axis.of("arch.rate", Span("1 GB/s", "20 GB/s")),
    Axis.tied({"arch.rows": Span(8, 64), "arch.cols": Span(16, 128)}),
    Axis.of("mapper", ["tile", "ilp"]),
)
METHODS = ["random", "latin_hypercube", "sobol"]


@pytest.mark.parametrize("method", METHODS)
def test_samples_are_what_their_seed_says(method: str) -> None:
    def drawn(seed: int) -> list[tuple[Scalar | None, ...]]:
        return settings(sweep_of(*AXES, sample=Sample(method, 20, seed)), "arch.size", "arch.rate", "arch.rows")

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert len(set(drawn(1))) == 20


@pytest.mark.parametrize("method", METHODS)
def test_samples_stay_in_their_axes(method: str) -> None:
    points = sweep_of(*AXES, sample=Sample(method, 40)).points()
    values = [dict(point.arch_values) for point in points]
    assert all(64 <= int(str(v["size"]).removesuffix(" KiB")) <= 4096 for v in values)
    assert all(1 <= float(str(v["rate"]).removesuffix(" GB/s")) <= 20 for v in values)
    assert all(8 <= int(v["rows"]) <= 64 and abs(2 * int(v["rows"]) - int(v["cols"])) <= 2 for v in values)
    assert {point.mapper for point in points} == {"tile", "ilp"}


def test_latin_hypercube_and_sobol_have_one_point_in_every_slice() -> None:
    for method in ("latin_hypercube", "sobol"):
        sweep = sweep_of(Axis.of("seed", Span(0, 31)), Axis.of("arch.b", Span(0, 31)), sample=Sample(method, 32))
        found = settings(sweep, "seed", "arch.b")
        assert len(found) == 32
        assert {a for a, _ in found} == {b for _, b in found} == set(range(32))


@pytest.mark.parametrize("method", ["random", "sobol"])
def test_a_larger_sample_begins_with_the_smaller(method: str) -> None:
    small, large = (sweep_of(*AXES, sample=Sample(method, n)).points() for n in (10, 37))
    assert large[:10] == small


@pytest.mark.parametrize("method", ["random", "sobol"])
def test_duplicates_and_refused_points_are_drawn_again(method: str) -> None:
    axes = (Axis.of("arch.a", list(range(8))), Axis.of("arch.b", list(range(8))))
    sweep = sweep_of(*axes, when=("arch.a < arch.b",), sample=Sample(method, 20))
    found = settings(sweep, "arch.a", "arch.b")
    assert len(set(found)) == len(found) == 20
    assert all(int(a or 0) < int(b or 0) for a, b in found)
    everything = settings(sweep_of(*axes, when=("arch.a < arch.b",), sample=Sample(method, 1000)), "arch.a", "arch.b")
    assert set(everything) == {(a, b) for a in range(8) for b in range(8) if a < b}


def test_a_sample_of_all_there_is_ends() -> None:
    axes = (Axis.of("arch.a", [1, 2, 3]), Axis.of("seed", Span(0, 3)))
    sweep = sweep_of(*axes, sample=Sample("random", 1_000_000))
    assert sorted(settings(sweep, "arch.a", "seed"), key=str) == [(a, s) for a in (1, 2, 3) for s in range(4)]


def test_every_machine_and_model_has_the_same_sample() -> None:
    sweep = Sweep(("m", "n"), (Model("v"), Model("w")), AXES, sample=Sample("sobol", 5))
    found = settings(sweep, "arch.size", "arch.rate", "arch.rows", "mapper")
    assert len(found) == 20
    assert found[:5] == found[5:10] == found[10:15] == found[15:]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sweep_of(*AXES).points(), "axis 'arch.size' has neither `step` nor `points`"),
        (lambda: sweep_of(sample=Sample("sobol", 4)).points(), "a sample without axes"),
        (lambda: sweep_of(*AXES, sample=Sample("sobel", 4)).points(), "no method 'sobel'"),
        (lambda: sweep_of(*AXES, sample=Sample("sobol", 0)).points(), "points: 0"),
        (lambda: sweep_of(*AXES, sample=Sample("sobol", 4, -1)).points(), "seed: -1"),
        (lambda: Sample.parse("sobol"), "--sample sobol: not a sample"),
        (lambda: Sample.parse("sobol:many"), "points: many"),
        (lambda: Axis.tied({"arch.a": [1], "arch.b": Span(1, 2)}), "arch.a is a list and another name a range"),
        (lambda: sweep_of(*(Axis.of(f"arch.a{i}", list(range(100))) for i in range(4))).points(), "100000000 points"),
    ],
)
def test_wrong_samples(make: Callable[[], object], message: str) -> None:
    with pytest.raises(SpecError) as error:
        make()
    assert message in str(error.value)


def test_the_text_form_keeps_everything() -> None:
    sweep = sweep_of(
        *AXES, Axis.of("seed", [1], when="mapper == 'tile'"), when=("rows > 9",), sample=Sample("sobol", 4, 3),
        constraints=("energy <= 3 mJ",), derived=(("edp", "latency * energy"),),
    )  # fmt: skip
    again = Sweep.from_json(sweep.to_json())
    assert again == sweep
    assert again.points() == sweep.points()


def test_models_that_differ_in_options_are_told_apart() -> None:
    sweep = Sweep(("m",), (Model.of("w", seq=1, bits=8), Model.of("w", seq=2, bits=8)), (Axis.of("seed", [1]),))
    assert sweep.parameters() == ["model", "model.seq", "seed"]


# -- files -----------------------------------------------------------------------------------------------------------

FILE = """\
arch: [edge_npu, tpu_like]
models:
- gpt2
axes:
- {arch.memories.sram.capacity: {from: 64 KiB, to: 1 MiB, points: 5, log: true}, when: arch == 'edge_npu'}
- {model.batch: [1, 2]}
when: model.batch == 1 or capacity >= 512 KiB
sample: {method: random, points: 4, seed: 7}
derived: {edp: latency * energy}
constraints: [energy <= 3 mJ, edp <= 1]
pareto: [edp, -macs / latency]
"""


def test_a_sweep_file_says_all_of_it(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(FILE)
    sweep = load_sweep(file)
    assert sweep.axes[0].steps[0] == ("64 KiB",)
    assert sweep.axes[0].when == "arch == 'edge_npu'"
    assert sweep.when == ("model.batch == 1 or capacity >= 512 KiB",)
    assert sweep.sample == Sample("random", 4, 7)
    assert sweep.derived == (("edp", "latency * energy"),)
    assert sweep.constraints == ("energy <= 3 mJ", "edp <= 1")
    assert len(sweep.points()) == 4 + 2


FAULTS = {
    "range key": ("points: 5, log", "point: 5, log", ":5: axes.0.arch.memories.sram.capacity: unknown key `point`"),
    "range end": ("to: 1 MiB", "to: 1 GHz", "`to` has GHz and `from` KiB"),
    "range needs to": ("to: 1 MiB, ", "", "a range needs `to`"),
    "log": ("log: true", "log: maybe", "`log` is true or false"),
    "axis when": ("arch == 'edge_npu'", "arch == ", ":5: axes.0.when: 'arch ==', character 8"),
    "machine": ("arch == 'edge_npu'", "arch == 'edge_npv'", "'arch' is never 'edge_npv' (did you mean 'edge_npu'?)"),
    "when": ("batch == 1", "batch = 1", ":7: when.0: 'model.batch = 1"),
    "when name": ("model.batch == 1", "bach == 1", "no column 'bach'"),
    "method": ("random", "radnom", ":8: sample: no method 'radnom'"),
    "sample key": ("seed: 7", "sed: 7", ":8: sample.sed: unknown key `sed`"),
    "sample points": ("points: 4", "points: 0", "points: 0"),
    "derived": ("latency * energy", "latency *", ":9: derived.edp: 'latency *', character 10"),
    "constraint": ("energy <= 3 mJ", "energy <= 3 mj", ":10: constraints.0: 'energy <= 3 mj', character 13: no unit"),
    "objective": ("-macs / latency", "macs > 3", ":11: pareto.1: 'macs > 3', character 6: is no number"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_wrong_files_name_the_line(fault: str, tmp_path: Path) -> None:
    old, new, message = FAULTS[fault]
    assert old in FILE
    file = tmp_path / "sweep.yaml"
    file.write_text(FILE.replace(old, new))
    with pytest.raises(SpecError) as error:
        load_sweep(file)
    assert message in str(error.value)
    assert str(file) in str(error.value)
