"""Expressions over columns: arithmetic, units, names, and messages that say where."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelsim.study import Expression, ExpressionError, Scalar

ROW: dict[str, Scalar] = {
    "latency_s": 2e-3,
    "energy_J": 3e-3,
    "macs": 1_000_000,
    "arch.memories.sram.capacity": "256 KiB",
    "arch.units.array.rows": 16,
    "mapper": "tile",
    "traffic_bytes.dram.read": 4096,
    "traffic_bytes.dram.write": 1024,
    "machine.off_chip_bytes_per_s": 1e9,
    "utilization.array.busy": 0.6,
}


def value(text: str) -> Scalar | None:
    return Expression.parse(text).bind(ROW).value(ROW)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("2 ** 3 ** 2", 512),
        ("-2 ** 2", -4),
        ("2 ** -1", 0.5),
        ("7 - 2 - 1", 4),
        ("8 / 4 / 2", 1),
        ("- - 3", 3),
        ("min(3, 1, 2) + max(1, 5)", 6),
        ("log2(8) + log10(100) + log(1) + sqrt(16) + abs(-1)", 10),
        ("latency_s * energy_J", 6e-6),
        ("latency * energy", 6e-6),
        ("rows * 2", 32),
        ("capacity", "256 KiB"),
        ("capacity / 1 KiB", 256),
        ("dram.read + dram.write", 5120),
        ("`traffic_bytes.dram.read` / 4", 1024),
        ("1e-3", 1e-3),
    ],
)
def test_arithmetic(text: str, expected: Scalar) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("energy <= 3 mJ", True),
        ("energy < 3 mJ", False),
        ("energy_J <= 3e-3", True),
        ("latency <= 2000 us", True),
        ("1 ms < latency < 3 ms", True),
        ("1 ms < latency < 2 ms", False),
        ("capacity == 0.25 MiB", True),
        ("capacity == '256 KiB'", True),
        ("capacity != 1 MiB", True),
        ("capacity in (64 KiB, 256 KiB)", True),
        ("capacity >= 257 KiB", False),
        ("off_chip_bytes_per_s >= 1 GB/s", True),
        ("off_chip_bytes_per_s >= 1 GiB/s", False),
        ("energy / latency <= 1.5 W", True),
        ("1 / latency >= 500 Hz", True),
        ("busy >= 60 %", True),
        ("busy > 60%", False),
        ("sqrt(latency ** 2) == latency", True),
        ("mapper == 'tile'", True),
        ("mapper in ('ilp', 'tile')", True),
        ("mapper == 3", False),
        ("not mapper == 'tile' or rows >= 16 and rows <= 16", True),
        ("not (mapper == 'tile' or rows >= 16)", False),
        ("macs <= 3 mJ", False),
    ],
)
def test_conditions(text: str, expected: bool) -> None:
    """The last compares a count, whose name tells no unit, with its SI value."""
    assert value(text) is expected


@pytest.mark.parametrize("text", ["1 / 0", "log(0)", "sqrt(0 - 1)", "9 ** 9 ** 9 ** 9", "1e300 * 1e300", "(0-8) ** .5"])
def test_what_does_not_exist_is_no_value(text: str) -> None:
    assert value(text) is None


def test_a_row_without_the_column_has_no_value() -> None:
    bound = Expression.parse("latency <= 1 s").bind(ROW)
    assert bound.value({"energy_J": 1.0}) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("enrgy <= 3 mJ", "'enrgy <= 3 mJ', character 1: no column 'enrgy' (did you mean 'energy_J'?"),
        ("latency <= 3 mJ", "character 9: s beside J (units must go together)"),
        ("latency + energy", "character 9: s beside J"),
        ("max(latency, energy)", "character 1: s beside J"),
        ("latency * energy <= 3 mJ", "J·s beside J"),
        ("3 mj", "character 3: no unit 'mj' (did you mean 'mJ'?)"),
        ("1 + ", "character 5: a name or number is missing before the end"),
        ("(1", "a ')' for the '(' of character 1 is missing before the end"),
        ("1 2", "character 3: an operator is missing before '2'"),
        ("latency = 3", "character 9: '=' is not understood (a comparison for equality is ==)"),
        ("latency[0]", "character 8: '[' is not understood"),
        ("__import__('os')", "character 1: no function '__import__' (there are min, max"),
        ("max(1)", "max takes 2 or more values, not 1"),
        ("sqrt(1, 2)", "sqrt takes 1 values, not 2"),
        ("latency.__class__", "no column 'latency.__class__'"),
        ("lambda: 1", "':' is not understood"),
        ("mapper * 2", "character 1: 'tile' is text where a number should stand"),
        ("'a' + 1", "character 1: the text 'a' where a number should stand"),
        ("rows and 3", "character 10: is a number or text where a condition should stand"),
        ("(rows > 1) + 2", "a condition where a number should stand"),
        ("rows in 16", "a list in parentheses"),
        ("dram", "no column 'dram'"),
        ("(" * 60 + "1" + ")" * 60, "nested more than 40 deep"),
        ("1 + " * 400 + "1", "longer than 1000 characters"),
        ("1e999", "character 1: 1e999 is too large"),
        ("1e9999", "no unit 'e'"),
        ("", "a name or number is missing before the end"),
    ],
)
def test_errors_name_expression_place_and_remedy(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as error:
        value(text)
    assert message in str(error.value)


def test_names_that_may_be_several_columns_are_refused() -> None:
    with pytest.raises(ExpressionError, match=r"'busy' may be any of u\.a\.busy, u\.b\.busy"):
        Expression.parse("busy").bind(["u.a.busy", "u.b.busy"])


def test_condition_or_number_is_checked() -> None:
    with pytest.raises(ExpressionError, match="is no condition"):
        Expression.parse("latency * 2", condition=True)
    with pytest.raises(ExpressionError, match="is no number"):
        Expression.parse("latency < 2", condition=False)


numbers = st.integers(0, 50).map(str)
trees = st.recursive(
    numbers,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        inner.map(lambda t: f"(-{t})"),
        st.tuples(inner, inner).map(lambda t: f"min({t[0]}, {t[1]})"),
    ),
    max_leaves=12,
)


@given(trees)
def test_arithmetic_is_that_of_python(text: str) -> None:
    expected = eval(text, {"__builtins__": {}, "min": min})  # text of our own making
    assert value(text) == expected


@given(st.text(alphabet="ab1.()+-*/<>=!'\"` ,%mJs", max_size=30))
def test_no_text_raises_anything_else(text: str) -> None:
    try:
        found = Expression.parse(text).bind({"a": 1, "b": 2}).value({"a": 1, "b": 2})
    except ExpressionError:
        return
    assert found is None or isinstance(found, str | bool) or math.isfinite(found)
