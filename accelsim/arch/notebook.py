"""An Architecture in a notebook: its tiers, units and links."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from ..text.html_table import html_table
from .component import Direction, LinkBase, Memory
from .units import BANDWIDTH, BYTES, FREQUENCY

if TYPE_CHECKING:
    from .architecture import Architecture

_DIRECTIONS: tuple[Direction, ...] = ("read", "write")


def architecture_html(arch: Architecture) -> str:
    """Tables of the memories, outermost first, with capacities and bandwidths, and of the units and links on them."""
    tiers = [
        (m.name, m.kind, m.parent or "", "on chip" if m.on_chip else "off chip", BYTES.format(m.capacity),
         bandwidth(m), ", ".join(u.name for u in arch.units_on(m.name)))
        for m in arch.tiers()
    ]  # fmt: skip
    units = [
        (name, unit.kind, ", ".join(unit.memories), FREQUENCY.format(unit.clock_hz),
         ", ".join(f"{rate:,g} {action}" for action, rate in sorted(unit.peak_rates().items()) if rate))
        for name, unit in sorted(arch.units.items())
    ]  # fmt: skip
    links = [(name, link.kind, " – ".join(link.between), bandwidth(link)) for name, link in sorted(arch.links.items())]
    parts = [
        f"<p><b>{html.escape(arch.name)}</b> at {FREQUENCY.format(arch.clock)}</p>",
        html_table(("memory", "kind", "parent", "where", "capacity", "bandwidth", "units"), tiers),
        html_table(("unit", "kind", "memory", "clock", "peak per cycle"), units),
    ]
    if links:
        parts.append(html_table(("link", "kind", "between", "bandwidth"), links))
    return "".join(parts)


def bandwidth(part: Memory | LinkBase) -> str:
    """Of the shared port, or of reads and writes apart."""
    if isinstance(part, LinkBase):
        return "unlimited" if part.bandwidth is None else BANDWIDTH.format(part.bandwidth)
    ports = {direction: part.port(direction) for direction in _DIRECTIONS}
    told = {d: "unlimited" if port is None else BANDWIDTH.format(port[1]) for d, port in ports.items()}
    return told["read"] if ports["read"] == ports["write"] else f"{told['read']} read, {told['write']} write"
