"""The JSON form of a Report, which others script against; `report.schema.json` fixes it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .report import Report


def to_json(report: Report) -> dict[str, Any]:
    """The Report as plain values; numbers that are not finite become null."""
    plain: dict[str, Any] = _finite(
        {
            "name": report.name,
            "cycles": report.cycles,
            "latency_s": report.latency_s,
            "energy_J": report.energy_J,
            "energy_dynamic_J": report.energy_dynamic_J,
            "energy_leakage_J": report.energy_leakage_J,
            "area_mm2": report.area_mm2,
            "macs": report.macs,
            "traffic_bytes": report.traffic_bytes,
            "utilization": report.utilization,
            "bounds": {"machine": report.bounds.machine, "program": report.bounds.program},
            "bottleneck": report.bottleneck,
            "operators": [asdict(row) for row in report.operators],
            "energy_by_component_J": {c.name: c.energy_J for c in report.components},
            "leakage_by_component_J": {c.name: c.leakage_J for c in report.components},
            "area_by_component_mm2": {c.name: c.area_mm2 for c in report.components},
            "provenance": report.provenance,
        }
    )
    return plain


def schema() -> dict[str, Any]:
    """The JSON Schema of `to_json`."""
    text = resources.files(__package__).joinpath("report.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
