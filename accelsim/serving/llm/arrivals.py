"""Requests to a language model: a seeded Poisson process, or a trace file."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np

from ...errors import BadInput, Problem
from ...files import read_text
from ...text.names import nearest, short
from ..driver import Request
from .faults import ScenarioError
from .state import Tokens

TICK_HZ = Fraction(10**9)
MOST_TOKENS = 10**8
MOST_REQUESTS = 10**7
MOST_SECONDS = 10**8
COLUMNS = ("arrival_s", "prompt_tokens", "output_tokens")


@dataclass(frozen=True)
class Lengths:
    """Numbers of tokens: log-normal of a `mean`, whose logarithm deviates by `sigma` (0: all alike), at most `most`."""

    mean: float
    sigma: float = 0.0
    most: int = MOST_TOKENS

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """[count] whole numbers of at least 1."""
        drawn = rng.lognormal(math.log(self.mean) - self.sigma**2 / 2, self.sigma, count)
        return np.clip(np.rint(drawn), 1, self.most).astype(np.int64)


@dataclass(frozen=True)
class PoissonRequests:
    """`count` requests at exponentially distributed intervals, `per_second` of them on average."""

    count: int
    per_second: float
    prompt: Lengths
    output: Lengths

    def requests(self, seed: int) -> tuple[Request, ...]:
        """Raises BadInput for a number that is out of range."""
        if self.count < 1 or self.per_second <= 0 or min(self.prompt.mean, self.output.mean) < 1:
            tokens = f"{self.prompt.mean} and {self.output.mean} tokens"
            raise ScenarioError("arrivals", f"{self.count} requests, {self.per_second} per second, of {tokens} (all at "
                                "least 1, and a rate above 0)")  # fmt: skip
        if self.count > MOST_REQUESTS:
            raise ScenarioError("arrivals", f"{self.count:,} requests (at most {MOST_REQUESTS:,})")
        rng = np.random.default_rng(seed)
        ticks = np.cumsum(rng.exponential(float(TICK_HZ) / self.per_second, self.count))
        if ticks[-1] > MOST_SECONDS * float(TICK_HZ):
            raise ScenarioError("arrivals", f"the last request comes later than {MOST_SECONDS:,} s (more per second)")
        prompts, outputs = self.prompt.draw(self.count, rng), self.output.draw(self.count, rng)
        return tuple(Request(i, int(t), Tokens(int(p), int(o)))
                     for i, (t, p, o) in enumerate(zip(ticks, prompts, outputs, strict=True)))  # fmt: skip


@dataclass(frozen=True)
class TraceRequests:
    """Requests of a trace, by arrival; `problems` are the rows that were left out."""

    listed: tuple[tuple[float, Tokens], ...]
    """(seconds, tokens)"""
    problems: tuple[Problem, ...] = field(default=(), compare=False)

    def requests(self, seed: int) -> tuple[Request, ...]:
        ordered = sorted(self.listed, key=lambda entry: entry[0])
        return tuple(Request(i, round(seconds * float(TICK_HZ)), tokens)
                     for i, (seconds, tokens) in enumerate(ordered))  # fmt: skip


def read_trace(path: str | Path, columns: Mapping[str, str] | None = None) -> TraceRequests:
    """Read a CSV file with a heading. Rows that are wrong are left out and told in `problems`.

    Args:
        path: of the file.
        columns: names in the file of ``arrival_s``, ``prompt_tokens`` and ``output_tokens`` where they differ.

    Raises:
        BadInput: there is no such file or column, or no row that is right.
    """
    where = str(path)
    named = {column: (columns or {}).get(column, column) for column in COLUMNS}
    reader = csv.reader(read_text(path, suffixes=(".csv",)).splitlines())
    heading = [name.strip() for name in next(reader, [])]
    missing = [name for name in named.values() if name not in heading]
    if missing:
        raise BadInput(f"{where}:1: no column {missing[0]!r} ({nearest(missing[0], heading)})")
    places = [heading.index(named[column]) for column in COLUMNS]
    listed, problems = [], []
    for row in reader:
        if not any(cell.strip() for cell in row):
            continue
        try:
            listed.append(_row(row, places))
        except ValueError as error:
            problems.append(Problem(f"{where}:{reader.line_num}", str(error), "the row is left out"))
    if not listed:
        first = f"; {problems[0]}" if problems else ""
        raise BadInput(f"{where}: no row with an arrival in seconds and numbers of tokens{first}")
    return TraceRequests(tuple(listed), tuple(problems))


def _row(row: list[str], places: list[int]) -> tuple[float, Tokens]:
    """Raises ValueError that says what is wrong."""
    if len(row) <= max(places):
        raise ValueError(f"{len(row)} cells, at least {max(places) + 1} wanted")
    cells = [row[place].strip() for place in places]
    arrival = _number(cells[0], COLUMNS[0])
    if not 0 <= arrival <= MOST_SECONDS:
        raise ValueError(f"{COLUMNS[0]} is {short(cells[0])}, must be from 0 to {MOST_SECONDS}")
    tokens = []
    for name, cell in zip(COLUMNS[1:], cells[1:], strict=True):
        value = _number(cell, name)
        if value != int(value) or not 1 <= value <= MOST_TOKENS:
            raise ValueError(f"{name} is {short(cell)}, must be a whole number of at least 1")
        tokens.append(int(value))
    return arrival, Tokens(*tokens)


def _number(cell: str, name: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        raise ValueError(f"{name} is {short(cell)!r}, no number") from None
    if not math.isfinite(value):
        raise ValueError(f"{name} is {short(cell)}, not finite")
    return value
