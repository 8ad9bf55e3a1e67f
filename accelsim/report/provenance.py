"""Where a Report comes from: everything needed to make it again, and nothing of the machine it was made on."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping as MappingABC
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from types import NoneType
from typing import Any

from ..arch.architecture import Architecture
from ..ir import Workload
from ..ir.same import Same
from ..mapping.tree import Mapping

PACKAGES = ("numpy", "scipy", "numba", "pandas", "plotly", "pydantic", "ruamel.yaml", "onnx", "pulp", "simpy")


def value_hash(value: Any) -> str:
    """SHA-256 of a value made of dataclasses, mappings, sequences, sets and scalars; order of keys does not matter."""
    text = json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@lru_cache(maxsize=16)
def _workload_hash(of: Same[Workload]) -> str:
    return value_hash(of.value)


def provenance(
    arch: Architecture, workload: Workload, mapping: Mapping | None, unpriced: tuple[str, ...], notes: tuple[str, ...]
) -> dict[str, Any]:
    """Hashes of the specs, versions, seed, the mapper's claim (less its wall time), and defaults that stood in."""
    claim = mapping.claim if mapping is not None else None
    return {
        "accelsim": _version("accelsim"),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "architecture": {"name": arch.name, "hash": arch.spec_hash},
        "workload": {"name": workload.name, "hash": _workload_hash(Same(workload))},
        "mapping": None if mapping is None else {"hash": value_hash(_decisions(mapping))},
        "seed": claim.seed if claim is not None else 0,
        "claim": None if claim is None else {k: v for k, v in _plain(claim).items() if k not in ("seconds", "type")},
        "defaults_used": arch.defaults_used(),
        "actions_without_energy": list(unpriced),
        "without_leakage": list(arch.without_leakage()),
        "without_area": list(arch.without_area()),
        "notes": list(notes),
    }


def _decisions(mapping: Mapping) -> tuple[object, ...]:
    """What a Mapping decides: its tree and tables, or its phases."""
    return (mapping.root, mapping.stays, mapping.moves) if mapping.phases is None else (mapping.phases,)


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


@cache
def _compared(kind: Any) -> tuple[str, ...]:
    """Fields of a dataclass that make its values equal; none for other types."""
    return tuple(f.name for f in fields(kind) if f.compare) if is_dataclass(kind) else ()


def _plain(value: Any) -> Any:
    kind: Any = type(value)
    if kind in (str, int, float, bool, NoneType):
        return value
    if kind is tuple or kind is list:
        return [_plain(v) for v in value]
    if names := _compared(kind):
        return {"type": kind.__name__, **{name: _plain(getattr(value, name)) for name in names}}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, MappingABC):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, AbstractSet):
        return sorted((_plain(v) for v in value), key=repr)
    return str(value)
