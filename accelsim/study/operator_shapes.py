"""Operators of language models at stated shapes, and tables of their measured latencies."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import BadInput, Problem, SpecError
from ..files import read_text
from ..ir import Read, Workload, WorkloadBuilder, product
from ..text.names import nearest


@dataclass(frozen=True)
class OperatorShape:
    """One operator.

    Attributes:
        operator: one of `OPERATORS`.
        m: rows.
        n: columns of the result.
        k: reduced size of a ``matmul``; 0 for the others, which work on rows of n.
        bits: of every operand.
        batch: products alike of a ``matmul``, each with both its operands; 1 for the others.
    """

    operator: str
    m: int
    n: int
    k: int = 0
    bits: int = 16
    batch: int = 1

    @property
    def mapper(self) -> str:
        """The mapper that stands for a library's kernel: rows stay on the chip between the steps of an operator."""
        return "auto" if self.operator == "matmul" else "cascade"

    def workload(self) -> Workload:
        """The operator alone: its operands stand outside the chip, and its result is written there."""
        b = WorkloadBuilder(str(self), bits=self.bits)
        b.output(OPERATORS[self.operator](b, self))
        return b.build()

    def __str__(self) -> str:
        return f"{self.operator}_{self.m}x{self.n}" + (f"x{self.k}" if self.k else "") + (
            f"_{self.batch}" if self.batch > 1 else "")


def _matmul(b: WorkloadBuilder, s: OperatorShape) -> str:
    if s.batch > 1:
        return b.matmul(b.input("x", (s.batch, s.m, s.k)), b.state("y", (s.batch, s.k, s.n)))
    return b.matmul(b.input("x", (s.m, s.k)), b.weight("w", (s.k, s.n)))


def _rows(b: WorkloadBuilder, s: OperatorShape, name: str = "x") -> str:
    return b.input(name, (s.m, s.n))


def _vector(b: WorkloadBuilder, s: OperatorShape, name: str) -> str:
    return b.weight(name, (s.n,))


def _silu_mul(b: WorkloadBuilder, s: OperatorShape) -> str:
    return b.elementwise(product(Read(0), Read(1)), b.silu(_rows(b, s, "gate")), _rows(b, s, "up"))


OPERATORS: Mapping[str, Callable[[WorkloadBuilder, OperatorShape], str]] = {
    "matmul": _matmul,
    "softmax": lambda b, s: b.softmax(_rows(b, s)),
    "layernorm": lambda b, s: b.layer_norm(_rows(b, s), _vector(b, s, "scale"), _vector(b, s, "bias")),
    "rmsnorm": lambda b, s: b.rms_norm(_rows(b, s), _vector(b, s, "scale")),
    "gelu_tanh": lambda b, s: b.gelu(_rows(b, s), approximate="tanh"),
    "silu_mul": _silu_mul,
    "add": lambda b, s: b.elementwise("add", _rows(b, s), _rows(b, s, "y")),
}
"""What an operator computes on (m, n); ``silu_mul`` is silu(gate) * up."""


@dataclass(frozen=True)
class Measured:
    """A measured latency in seconds; `fit` is False for one that is kept from the fit."""

    shape: OperatorShape
    seconds: float
    fit: bool = True


COLUMNS = ("operator", "m", "n", "latency_ms")


def read_measured(path: str | Path) -> tuple[Measured, ...]:
    """Read a CSV file with a heading: ``operator, m, n, latency_ms`` and, if wanted, ``k, batch, bits, use``.

    ``use`` is ``fit`` (or empty) or ``held``; other columns are passed over.

    Raises:
        SpecError: there is no such file, or rows are wrong; all of them at once.
        BadInput: a column is missing, or there is no row.
    """
    where = str(path)
    reader = csv.DictReader(read_text(path, suffixes=(".csv",)).splitlines())
    heading = [name.strip() for name in reader.fieldnames or ()]
    reader.fieldnames = heading
    missing = [name for name in COLUMNS if name not in heading]
    if missing:
        raise BadInput(f"{where}:1: no column {missing[0]!r} ({nearest(missing[0], heading)})")
    return measured_of(((f"{where}:{reader.line_num}", row) for row in reader), where)


def measured_of(rows: Iterable[tuple[str, Mapping[str, str]]], where: str) -> tuple[Measured, ...]:
    """The rows of a table as `read_measured` wants them, each with where it stands.

    Raises:
        SpecError: rows are wrong; all of them at once.
        BadInput: there is no row.
    """
    found, problems = [], []
    for place, row in rows:
        try:
            found.append(_measured(row))
        except ValueError as error:
            problems.append(Problem(place, str(error)))
    if problems:
        raise SpecError(problems)
    if not found:
        raise BadInput(f"{where}: no row with a measured latency")
    return tuple(found)


def _measured(row: Mapping[str, str]) -> Measured:
    """Raises ValueError that says what is wrong."""
    operator = (row["operator"] or "").strip()
    if operator not in OPERATORS:
        raise ValueError(f"no operator {operator!r} ({nearest(operator, OPERATORS)})")
    sizes = {name: _size(row, name) for name in ("m", "n")}
    sizes["k"] = _size(row, "k") if operator == "matmul" else 0
    sizes["batch"] = _size(row, "batch") if operator == "matmul" and (row.get("batch") or "").strip() else 1
    bits = _size(row, "bits") if (row.get("bits") or "").strip() else 16
    use = (row.get("use") or "").strip() or "fit"
    if use not in ("fit", "held"):
        raise ValueError(f"use is {use!r} (fit or held)")
    text = (row["latency_ms"] or "").strip()
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ValueError(f"latency_ms is {text!r}, must be a number above 0")
    return Measured(OperatorShape(operator, bits=bits, **sizes), value / 1e3, use == "fit")


def _size(row: Mapping[str, str], name: str) -> int:
    text = (row.get(name) or "").strip()
    if not text.isdecimal() or not 1 <= int(text) <= 2**40:
        raise ValueError(f"{name} is {text!r}, must be a whole number from 1")
    return int(text)
