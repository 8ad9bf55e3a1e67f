"""Two Reports side by side: the difference in latency and energy, explained by operator and by limiting resource."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInput
from ..text.json_text import parse_json

if TYPE_CHECKING:
    from .report import Report

LEAKAGE = "(leakage)"
NO_OPERATOR = "(no operator)"
"""What is on behalf of no operator, in rows of its own."""
ROUNDING = Fraction(1, 10**9)
"""Of a whole: differences up to here are those of floating point."""
_TOTALS = ("cycles", "latency_s", "energy_J", "energy_leakage_J")
_WANTED = "give a file that `accelsim run --json` wrote"
_PER_OPERATOR = ("cycles", "energy_J")


@dataclass(frozen=True)
class Pair:
    """A quantity in two Reports. Exact, so that parts add up to their whole without rounding."""

    a: Fraction = Fraction(0)
    b: Fraction = Fraction(0)

    @property
    def difference(self) -> Fraction:
        """What b has more than a."""
        return self.b - self.a

    def __add__(self, other: Pair) -> Pair:
        return Pair(self.a + other.a, self.b + other.b)

    def share_of(self, whole: Pair) -> float | None:
        """The part of the whole's difference that this difference is; None where the whole does not differ."""
        return float(self.difference / whole.difference) if whole.difference else None


@dataclass(frozen=True)
class OperatorChange:
    """An operator in both Reports or in one.

    Attributes:
        name: of the operator, or what stands for the part of no operator.
        kind: what the model calls it (in b, where it is in both).
        where: ``both``, ``a`` or ``b``.
        latency_s: its share of the latency in seconds; all of them add up to the latency.
        energy_J: dynamic energy on its behalf in joules; with leakage, all add up to the energy.
        limits: the component that served it longest, in a and in b; empty where it is not.
    """

    name: str
    kind: str
    where: str
    latency_s: Pair
    energy_J: Pair  # noqa: N815
    limits: tuple[str, str]

    @property
    def limit_changed(self) -> bool:
        """Whether another resource limits it; only an operator in both can say so."""
        return self.where == "both" and self.limits[0] != self.limits[1]


@dataclass(frozen=True)
class Comparison:
    """What changes from Report a to Report b.

    Attributes:
        names: of the two Reports.
        bottlenecks: theirs, in words.
        latency_s: in seconds.
        energy_J: in joules.
        operators: the largest change of latency first, then of energy.
        resources: limiting resource to the latency of the operators that it limits; they add up to the latency.
    """

    names: tuple[str, str]
    bottlenecks: tuple[str, str]
    latency_s: Pair
    energy_J: Pair  # noqa: N815
    operators: tuple[OperatorChange, ...]
    resources: Mapping[str, Pair]

    def limit_changed(self) -> tuple[OperatorChange, ...]:
        """The operators that another resource limits in b than in a."""
        return tuple(row for row in self.operators if row.limit_changed)

    def to_json(self) -> dict[str, Any]:
        """Plain values; a `share` is the part of the whole difference, null where there is none."""

        def told(pair: Pair, whole: Pair | None = None) -> dict[str, float | None]:
            numbers: dict[str, float | None] = {
                "a": float(pair.a), "b": float(pair.b), "difference": float(pair.difference)
            }  # fmt: skip
            return numbers if whole is None else {**numbers, "share": pair.share_of(whole)}

        return {
            "a": {"name": self.names[0], "bottleneck": self.bottlenecks[0]},
            "b": {"name": self.names[1], "bottleneck": self.bottlenecks[1]},
            "latency_s": told(self.latency_s),
            "energy_J": told(self.energy_J),
            "operators": [
                {
                    "name": row.name,
                    "kind": row.kind,
                    "in": row.where,
                    "latency_s": told(row.latency_s, self.latency_s),
                    "energy_J": told(row.energy_J, self.energy_J),
                    "limit": {"a": row.limits[0], "b": row.limits[1]},
                    "limit_changed": row.limit_changed,
                }
                for row in self.operators
            ],
            "resources": [
                {"name": name, "latency_s": told(pair, self.latency_s)} for name, pair in self.resources.items()
            ],
        }


def compare_reports(a: Report | Mapping[str, Any], b: Report | Mapping[str, Any]) -> Comparison:
    """Explain the difference between two Reports; operators are matched by name.

    Args:
        a: the Report to compare with, or what its `to_json` gave.
        b: the Report that differs.

    Raises:
        BadInput: one of them has not the form of `Report.to_json`.
    """
    return _compared(_checked(a, "the first report"), _checked(b, "the second report"))


def compare_files(a: str | Path, b: str | Path) -> Comparison:
    """The same for files that ``accelsim run --json`` wrote.

    Raises:
        BadInput: a file is not there, or is not such a file.
    """
    return _compared(*(_checked(_read(Path(path)), str(path)) for path in (a, b)))


def _read(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{path}: cannot read ({error.strerror}); {_WANTED}") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path}: is not text; {_WANTED}") from None
    return parse_json(text, str(path), _WANTED)


def _checked(report: Any, where: str) -> Mapping[str, Any]:
    """The Report as plain values, with everything that a comparison needs."""
    data = report if isinstance(report, Mapping) or not hasattr(report, "to_json") else report.to_json()
    problem = _problem(data)
    if problem:
        raise BadInput(f"{where}: is not a report ({problem}); {_WANTED}")
    checked: Mapping[str, Any] = data
    return checked


def _problem(data: Any) -> str:
    """What keeps a value from being a Report, or nothing."""
    if not isinstance(data, Mapping):
        return f"a JSON object is wanted, not {type(data).__name__}"
    for key in ("name", "bottleneck"):
        if not isinstance(data.get(key), str):
            return f"`{key}` is missing or no text"
    for key in _TOTALS:
        if not _is_amount(data.get(key)):
            return f"`{key}` is missing or no number from 0 on"
    operators = data.get("operators")
    if not isinstance(operators, Sequence) or isinstance(operators, str):
        return "`operators` is missing or no list"
    seen = set()
    for i, row in enumerate(operators):
        if not isinstance(row, Mapping):
            return f"`operators[{i}]` is no object"
        for key in ("name", "kind", "limit"):
            if not isinstance(row.get(key), str):
                return f"`operators[{i}].{key}` is missing or no text"
        for key in _PER_OPERATOR:
            if not _is_amount(row.get(key)):
                return f"`operators[{i}].{key}` is missing or no number from 0 on"
        if row["name"] in seen:
            return f"`operators[{i}]` has the name of another, {row['name']}"
        seen.add(row["name"])
    return ""


def _is_amount(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _compared(a: Mapping[str, Any], b: Mapping[str, Any]) -> Comparison:
    sides = [_parts(a), _parts(b)]
    rows = [{row["name"]: row for row in data["operators"]} for data in (a, b)]
    operators = []
    for name in dict.fromkeys([*sides[0], *sides[1]]):
        known = [side.get(name) for side in sides]
        (t0, e0), (t1, e1) = (part or (Fraction(0), Fraction(0)) for part in known)
        told = [side.get(name, {}) for side in rows]
        operators.append(
            OperatorChange(
                name=name,
                kind=str(told[1].get("kind", told[0].get("kind", ""))),
                where="both" if all(part is not None for part in known) else "a" if known[0] is not None else "b",
                latency_s=Pair(t0, t1),
                energy_J=Pair(e0, e1),
                limits=(str(told[0].get("limit", "")), str(told[1].get("limit", ""))),
            )
        )
    operators.sort(key=lambda r: (-abs(r.latency_s.difference), -abs(r.energy_J.difference), r.name))
    return Comparison(
        names=(a["name"], b["name"]),
        bottlenecks=(a["bottleneck"], b["bottleneck"]),
        latency_s=Pair(Fraction(a["latency_s"]), Fraction(b["latency_s"])),
        energy_J=Pair(Fraction(a["energy_J"]), Fraction(b["energy_J"])),
        operators=tuple(operators),
        resources=_by_resource(operators),
    )


def _parts(data: Mapping[str, Any]) -> dict[str, tuple[Fraction, Fraction]]:
    """Operator to its seconds and joules, which add up exactly.

    What the rounding of floating point leaves goes to the largest operator, more than that to a row of its own.
    """
    rows, leakage = data["operators"], Fraction(data["energy_leakage_J"])
    latency_s, dynamic = Fraction(data["latency_s"]), Fraction(data["energy_J"]) - leakage
    per_cycle = latency_s / Fraction(data["cycles"]) if data["cycles"] else Fraction(0)
    seconds = {row["name"]: Fraction(row["cycles"]) * per_cycle for row in rows}
    joules = {row["name"]: Fraction(row["energy_J"]) for row in rows}
    rest = _settled(seconds, latency_s), _settled(joules, dynamic)
    parts = {name: (seconds[name], joules[name]) for name in seconds}
    if any(rest):
        parts[NO_OPERATOR] = rest
    if leakage:
        parts[LEAKAGE] = Fraction(0), leakage
    return parts


def _settled(amounts: dict[str, Fraction], whole: Fraction) -> Fraction:
    """Give what is missing of the whole to the largest amount if it is but rounding; else return it."""
    rest = whole - sum(amounts.values(), Fraction(0))
    if not amounts or abs(rest) > ROUNDING * whole:
        return rest
    amounts[max(amounts, key=lambda name: (amounts[name], name))] += rest
    return Fraction(0)


def _by_resource(operators: Sequence[OperatorChange]) -> dict[str, Pair]:
    """The limiting resources by the size of their change."""
    found: dict[str, Pair] = {}
    for row in operators:
        for limit, pair in (
            (row.limits[0], Pair(row.latency_s.a, Fraction(0))), (row.limits[1], Pair(Fraction(0), row.latency_s.b))
        ):  # fmt: skip
            if pair.a or pair.b:
                name = limit or NO_OPERATOR
                found[name] = found.get(name, Pair()) + pair
    return dict(sorted(found.items(), key=lambda item: (-abs(item[1].difference), item[0])))
