"""Page: one self-contained HTML file of tiles, charts and tables; nothing is fetched when it is opened.

Charts are plotly figures as plain dictionaries. Inside them a string ``$3`` stands for colour 3 of the page's palette,
and ``$text``, ``$muted``, ``$grid`` and ``$surface`` for its inks, so that one chart is drawn in light and in dark.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, TypeAlias

Figure: TypeAlias = dict[str, Any]
"""``{"data": [...], "layout": {...}}`` as plotly takes it; with ``"linked": True`` its `customdata` are operators."""


@dataclass(frozen=True)
class Link:
    """A cell that leads to a section of the same page."""

    text: str
    anchor: str


Cell: TypeAlias = str | float | int | Link | None


@dataclass(frozen=True)
class Column:
    """Heading of a table's column; `digits` significant digits for its numbers, with an SI prefix if `unit` is set."""

    title: str
    digits: int = 4
    unit: str | None = None
    share: bool = False
    """Shown in per cent, with a bar behind it."""


@dataclass
class Page:
    """Collects sections in order; `render` gives the file's text."""

    title: str
    subtitle: str = ""
    _nav: list[tuple[str, str]] = field(default_factory=list)
    _body: list[str] = field(default_factory=list)
    _figures: list[Figure] = field(default_factory=list)

    def section(self, title: str, text: str = "", *, anchor: str = "") -> None:
        """Begin a section; what follows stands in it. A `Link` leads to its anchor."""
        anchor = anchor or f"s{len(self._nav) + 1}"
        self._nav.append((anchor, title))
        self._body.append(f'<h2 id="{html.escape(anchor)}">{html.escape(title)}</h2>')
        if text:
            self.text(text)

    def text(self, text: str, *, strong: bool = False) -> None:
        self._body.append(f'<p class="{"strong" if strong else "note"}">{html.escape(text)}</p>')

    def tiles(self, tiles: Sequence[tuple[str, str, str]]) -> None:
        """Large figures: (label, value, remark) each."""
        cells = "".join(
            f'<div class="tile"><div class="label">{html.escape(label)}</div>'
            f'<div class="value">{html.escape(value)}</div><div class="remark">{html.escape(remark)}</div></div>'
            for label, value, remark in tiles
        )
        self._body.append(f'<div class="tiles">{cells}</div>')

    def figure(self, figure: Figure, *, title: str, note: str = "", height: int = 360) -> None:
        """A chart in a card, `height` pixels high."""
        self._body.append(self._card(figure, title, note, height))

    def figures(self, figures: Sequence[tuple[str, Figure]], *, height: int = 260) -> None:
        """Small charts (title, figure) side by side, as many in a row as fit."""
        cards = "".join(self._card(figure, title, "", height) for title, figure in figures)
        self._body.append(f'<div class="row">{cards}</div>')

    def _card(self, figure: Figure, title: str, note: str, height: int) -> str:
        number = len(self._figures)
        self._figures.append(figure)
        caption = f'<p class="note">{html.escape(note)}</p>' if note else ""
        return (
            f'<div class="card"><h3>{html.escape(title)}</h3>{caption}'
            f'<div class="chart" id="chart{number}" style="height:{height}px" role="img" '
            f'aria-label="{html.escape(title)}"></div></div>'
        )

    def table(
        self,
        columns: Sequence[Column],
        rows: Sequence[Sequence[Cell]],
        *,
        marked: frozenset[int] = frozenset(),
        title: str = "",
        operators: Sequence[str] = (),
    ) -> None:
        """A table that is sorted by a click on a heading; rows named in `marked` stand out.

        With `operators`, the name of one for each row, rows can be chosen, by which whatever else on the page stands
        for the same operator is marked.
        """
        head = "".join(
            f'<th scope="col" class="{_side(rows, i)}"><button type="button">{html.escape(c.title)}</button></th>'
            for i, c in enumerate(columns)
        )
        lines = []
        for number, row in enumerate(rows):
            cells = "".join(_cell(c, value) for c, value in zip(columns, row, strict=True))
            kind = ' class="marked"' if number in marked else ""
            if operators:
                kind += f' data-op="{html.escape(operators[number])}" tabindex="{-1 if number else 0}"'
            lines.append(f"<tr{kind}>{cells}</tr>")
        heading = f"<h3>{html.escape(title)}</h3>" if title else ""
        self._body.append(
            f'<div class="card">{heading}<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>'
            f"<tbody>{''.join(lines)}</tbody></table></div></div>"
        )

    def facts(self, facts: Sequence[tuple[str, str]], *, folded: str = "") -> None:
        """Names and values, one a line; behind the heading `folded`, if given, until it is clicked."""
        lines = "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in facts)
        inside = f"<dl>{lines}</dl>"
        if folded:
            inside = f"<details><summary>{html.escape(folded)}</summary>{inside}</details>"
        self._body.append(f'<div class="card">{inside}</div>')

    def folds(self, texts: Sequence[tuple[str, str, str]]) -> None:
        """Preformatted texts behind headings: (operator, remark, text) each; linked like the rows of `table`."""
        lines = "".join(
            f'<details data-op="{html.escape(operator)}"><summary>{html.escape(operator)} '
            f"<small>{html.escape(remark)}</small></summary><pre>{html.escape(text)}</pre></details>"
            for operator, remark, text in texts
        )
        self._body.append(f'<div class="card"><div class="scroll folds" tabindex="0">{lines}</div></div>')

    def render(self) -> str:
        links = "".join(f'<a href="#{html.escape(anchor)}">{html.escape(title)}</a>' for anchor, title in self._nav)
        figures = json.dumps(self._figures, allow_nan=False, separators=(",", ":")).replace("</", "<\\/")
        plotly = f"<script>{_plotly()}</script>" if self._figures else ""
        return (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<meta name="color-scheme" content="light dark">'
            '<link rel="icon" href="data:,">'
            f"<title>{html.escape(self.title)}</title><style>{_asset('page.css')}</style></head><body>"
            f"<header><h1>{html.escape(self.title)}</h1><p>{html.escape(self.subtitle)}</p></header>"
            f"<nav>{links}</nav><main>{''.join(self._body)}</main>"
            f'<script type="application/json" id="figures">{figures}</script>'
            f"{plotly}<script>{_asset('page.js')}</script></body></html>\n"
        )


def number(value: float, digits: int = 4) -> str:
    """A number with so many significant digits, thousands set apart."""
    if not math.isfinite(value):
        return "∞" if value > 0 else "n/a"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if 1e-3 <= abs(value) < 1e15:
        places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
        return f"{value:,.{places}f}"
    return f"{value:.{digits - 1}e}"


_PREFIXES = ("f", "p", "n", "µ", "m", "", "k", "M", "G", "T", "P", "E")


def si(value: float, unit: str, digits: int = 4) -> str:
    """A quantity with an SI prefix: ``si(2.5e-6, "s")`` is ``2.5 µs``. Bytes count in powers of ten too."""
    if not math.isfinite(value):
        return number(value)
    if value == 0:
        return f"0 {unit}"
    power = min(max(math.floor(math.log10(abs(value)) / 3), -5), 6)
    scaled = value / 10.0 ** (3 * power)
    if round(abs(scaled), digits - 3) >= 1000 and power < 6:
        power, scaled = power + 1, scaled / 1000
    whole = unit in ("B", "op", "MAC", "cycles") and power <= 0
    text = f"{value:,.0f}" if whole else f"{scaled:.{digits}g}"
    return f"{text} {'' if whole else _PREFIXES[power + 5]}{unit}"


def _cell(column: Column, value: Cell) -> str:
    if value is None:
        return '<td class="n" data-v="">–</td>'
    if isinstance(value, Link):
        return f'<td><a href="#{html.escape(value.anchor)}">{html.escape(value.text)}</a></td>'
    if isinstance(value, str):
        return f"<td>{html.escape(value)}</td>"
    if column.share:
        width = min(100.0, max(0.0, 100 * value))
        return (
            f'<td class="n share" data-v="{value!r}"><span class="bar" style="width:{width:.1f}%"></span>'
            f"<span>{100 * value:.1f} %</span></td>"
        )
    text = number(value, column.digits) if column.unit is None else si(value, column.unit, column.digits)
    return f'<td class="n" data-v="{value!r}">{html.escape(text)}</td>'


def _side(rows: Sequence[Sequence[Cell]], column: int) -> str:
    return "" if any(isinstance(row[column], str | Link) for row in rows) else "n"


@cache
def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


@cache
def _plotly() -> str:
    """The text of plotly.js, from the Python package; read as data, since importing plotly takes long."""
    from importlib.metadata import distribution

    path = distribution("plotly").locate_file("plotly/package_data/plotly.min.js")
    return Path(str(path)).read_text(encoding="utf-8")
