"""A Report on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .off_chip import off_chip_words
from .page import number, si

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from .report import Report

WIDE = 100
"""Columns of a terminal from which on the table of operators has all of its own."""


def print_report(report: Report, console: Console | None = None, *, top: int = 12) -> None:
    """Print totals, bounds, the bottleneck, the `top` longest operators, traffic by tier and the split of the energy.

    Args:
        report: what to print.
        console: where; standard output if None.
        top: operators listed.
    """
    from rich.console import Console as RichConsole
    from rich.markup import escape

    out = console or RichConsole()
    out.print(f"[bold]{escape(report.name)}[/bold]")
    out.print(_totals(report))
    out.print(f"[bold]Bottleneck:[/bold] {escape(report.bottleneck)}")
    out.print(_operators(report, top, out.width))
    out.print(_tiers(report))
    out.print(_energy(report))


def grid(title: str, *columns: str) -> Table:
    """An empty table; the first column is folded where room is short, the others keep to one line."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False,
                  collapse_padding=True)  # fmt: skip
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left", no_wrap=i > 0, overflow="ellipsis" if i else "fold",
                         min_width=None if i else 9)  # fmt: skip
    return table


def _totals(report: Report) -> Table:
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    bounds = report.bounds
    lines = [
        ("latency", f"{number(report.cycles)} cycles", si(report.latency_s, "s")),
        ("program bound", f"{number(bounds.program)} cycles", _of(bounds.program, report.cycles)),
        ("machine bound", f"{number(bounds.machine)} cycles", _of(bounds.machine, report.cycles, bounds.machine_limit)),
        ("energy", si(report.energy_J, "J"), f"at least {si(bounds.energy_J, 'J')} in any mapping"),
        ("leakage in it", *_leakage(report)),
        ("MACs", number(report.macs), si(report.macs / report.latency_s, "MAC/s") if report.latency_s else ""),
        ("off-chip traffic", *off_chip_words(report)),
    ]  # fmt: skip
    if unknown := report.provenance.get("actions_without_energy"):
        lines.insert(4, ("not in it", ", ".join(unknown), "whose energy the machine does not give"))
    for line in lines:
        grid.add_row(*line)
    for unit, use in report.utilization.items():
        grid.add_row(f"unit {unit}", f"busy {100 * use['busy']:.1f} %", f"MACs {100 * use['mac']:.1f} % of its peak")
    return grid


def _leakage(report: Report) -> tuple[str, str]:
    """The leakage, and for which components no leakage power is given."""
    given = [c for c in report.components if c.leakage_J is not None]
    missing = len(report.components) - len(given)
    amount = si(report.energy_leakage_J, "J") if given else "not given"
    return amount, f"not given for {missing} of {len(report.components)} components" if given and missing else ""


def _of(bound: float, cycles: float, limit: str = "") -> str:
    share = f"{100 * bound / cycles:.1f} % of the latency" if cycles else ""
    return f"{share} ({limit})" if limit else share


def _operators(report: Report, top: int, width: int) -> Table:
    """The longest operators; a narrow terminal leaves out what the JSON and the page tell as well."""
    from rich.markup import escape

    ranked = sorted(report.operators, key=lambda row: (-row.cycles, row.name))
    left = f", {top} of {len(ranked)}" if len(ranked) > top else ""
    wide = width >= WIDE
    extra = ["busy", "MACs", "off-chip"] if wide else []
    table = grid(f"Operators by time{left}", "operator", "kind", "unit", "cycles", "share", *extra, "energy", "limit")
    for row in ranked[:top]:
        more = [
            f"{100 * min(1.0, row.busy_cycles / row.cycles):.0f} %" if row.cycles else "",
            f"{100 * row.utilization:.0f} %" if row.utilization is not None else "",
            si(row.off_chip_read_bytes + row.off_chip_write_bytes, "B", 3),
        ]
        table.add_row(
            escape(row.name),
            escape(row.kind),
            row.unit,
            number(row.cycles, 5),
            f"{100 * row.cycles / report.cycles:.1f} %" if report.cycles else "",
            *(more if wide else ()),
            si(row.energy_J, "J", 3),
            row.limit,
        )
    return table


def _tiers(report: Report) -> Table:
    table = grid("Traffic by tier", "memory", "capacity", "read", "written", "rate", "port busy", "energy")
    for row in report.tiers:
        busy = "–" if row.busy is None else f"{100 * row.busy:.1f} %"
        table.add_row(row.memory, si(row.capacity_bytes, "B"), si(row.read_bytes, "B"), si(row.write_bytes, "B"),
                      si(row.bytes_per_s, "B/s"), busy, si(row.energy_J, "J"))  # fmt: skip
    return table


def _energy(report: Report) -> Table:
    table = grid("Energy by component", "component", "energy", "share")
    for row in sorted(report.components, key=lambda c: (-c.energy_J, c.name)):
        share = f"{100 * row.energy_J / report.energy_J:.1f} %" if report.energy_J else ""
        table.add_row(f"{row.category} {row.name}", si(row.energy_J, "J"), share)
    return table
