"""A Comparison on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .comparison import ROUNDING
from .page import si
from .terminal import grid

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from .comparison import Comparison, Pair


def print_comparison(comparison: Comparison, console: Console | None = None, *, top: int = 12) -> None:
    """Print the totals, the `top` operators that explain most of the difference, and what limits where.

    Args:
        comparison: what to print.
        console: where; standard output if None.
        top: operators listed.
    """
    from rich.console import Console as RichConsole
    from rich.markup import escape

    out = console or RichConsole()
    for letter, name, why in zip("AB", comparison.names, comparison.bottlenecks, strict=True):
        out.print(f"[bold]{letter}:[/bold] {escape(name)}. {escape(why)}")
    out.print(_totals(comparison))
    if any(_differs(row.latency_s) or _differs(row.energy_J) for row in comparison.operators):
        out.print(_operators(comparison, top))
    if _differs(comparison.latency_s) or comparison.limit_changed():
        out.print(_resources(comparison))
    for row in comparison.limit_changed()[:top]:
        out.print(f"{escape(row.name)}: limited by {row.limits[1] or 'nothing'}, in A by {row.limits[0] or 'nothing'}")
    if (more := len(comparison.limit_changed()) - top) > 0:
        out.print(f"and {more} more operators have another limit")


def _totals(comparison: Comparison) -> Table:
    table = grid("Totals", "", "A", "B", "difference", "B / A")
    for name, pair, unit in (("latency", comparison.latency_s, "s"), ("energy", comparison.energy_J, "J")):
        ratio = f"{float(pair.b / pair.a):.4g}" if pair.a else "–"
        table.add_row(name, si(float(pair.a), unit), si(float(pair.b), unit), _signed(pair, unit), ratio)
    return table


def _operators(comparison: Comparison, top: int) -> Table:
    from rich.markup import escape

    changed = [row for row in comparison.operators if _differs(row.latency_s) or _differs(row.energy_J)]
    left = f", {top} of {len(changed)}" if len(changed) > top else ""
    table = grid(f"By operator{left}", "operator", "kind", "in", "latency", "share", "energy", "share")
    for row in changed[:top]:
        table.add_row(
            escape(row.name), escape(row.kind), {"both": "", "a": "A alone", "b": "B alone"}[row.where],
            _signed(row.latency_s, "s"), _share(row.latency_s, comparison.latency_s),
            _signed(row.energy_J, "J"), _share(row.energy_J, comparison.energy_J),
        )  # fmt: skip
    return table


def _resources(comparison: Comparison) -> Table:
    table = grid("Latency of the operators that a resource limits", "resource", "A", "B", "difference", "share")
    for name, pair in comparison.resources.items():
        table.add_row(name, si(float(pair.a), "s"), si(float(pair.b), "s"), _signed(pair, "s"),
                      _share(pair, comparison.latency_s))  # fmt: skip
    return table


def _signed(pair: Pair, unit: str) -> str:
    if not _differs(pair):
        return "–"
    difference = float(pair.difference)
    return f"{'+' if difference > 0 else ''}{si(difference, unit)}"


def _differs(pair: Pair) -> bool:
    """By more than rounding."""
    return abs(pair.difference) > ROUNDING * max(pair.a, pair.b)


def _share(part: Pair, whole: Pair) -> str:
    share = part.share_of(whole)
    return "–" if share is None or not _differs(part) or not _differs(whole) else f"{100 * share:.1f} %"
