"""The bottleneck in words."""

from __future__ import annotations

from collections.abc import Sequence

from .rows import ComponentRow

_LIMITING = 0.6
"""A component less busy than that is not said to limit."""
_WAITS = {"data": "for data", "space": "for room for its results", "pool": "for memory to be freed"}


def bottleneck(
    components: Sequence[ComponentRow], cycles: float, machine: float, program: float, machine_limit: str
) -> str:
    """What limits a run, from the busiest component, what the units wait for, and the bounds (all in cycles)."""
    if not cycles:
        return "Nothing ran."
    busiest = min(components, key=lambda c: (-c.busy, c.name))
    units = [c for c in components if c.category == "unit"]
    sentences = []
    if busiest.busy >= _LIMITING:
        sentences.append(f"{busiest.category} {busiest.name} limits: busy {_percent(busiest.busy)} of the time")
    elif busiest.busy > 0:
        sentences.append(
            f"No component is the limit (the busiest, {busiest.category} {busiest.name}, is in service "
            f"{_percent(busiest.busy)} of the time): dependences and latencies are"
        )
    else:
        sentences.append("No component is ever in service: dependences and latencies limit")
    for unit in sorted(units, key=lambda c: (-c.busy, c.name)):
        idle = 1 - unit.busy
        if unit.busy and idle >= 0.1 and unit.idle:
            why = f"mostly waiting {_WAITS[unit.idle]}"
            sentences.append(f"unit {unit.name} is idle {_percent(idle)} of the time, {why}")
    bounds = {"program bound": program, "machine bound" + (f" ({machine_limit})" if machine_limit else ""): machine}
    reached = [f"{cycles / bound:.2f} × the {name}" for name, bound in bounds.items() if bound > 0]
    if reached:
        sentences.append(f"the latency is {' and '.join(reached)}")
    text = "; ".join(sentences)
    return text[0].upper() + text[1:] + "."


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
