"""What a sweep does at a point by default: load, simulate, and keep the figures of the report by column."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any

from ..errors import BadInput
from .extensions import Extensions
from .point import Point
from .span import Scalar

if TYPE_CHECKING:
    from ..arch.architecture import Architecture
    from ..arch.loader import RawSpec
    from ..ir import Workload

Options = tuple[tuple[str, Scalar], ...]

NOT_RESULTS = ("cli", "study", "experiments", "workloads", "arch_specs", "__pycache__")
"""Parts of the package that no result depends on: machines and workloads enter the key of a point by their content."""
COUNTS = ("batch", "seq", "context", "bits", "resolution", "weight_bits", "state_bits")
_TEXTS = {"precision": "weight=4+activation=8", "density": "weight=2:4+activation=0.6"}
SIZES = ("machine.peak_macs_per_s", "machine.on_chip_bytes", "machine.off_chip_bytes_per_s")
"""Columns of `size`."""


def simulate_point(point: Point, watch: Callable[[float, float], None] | None = None) -> dict[str, Scalar]:
    """Simulate a point; the numbers and words of its report under dotted column names, and the size of the machine.

    Args:
        point: what to simulate.
        watch: as `accelsim.simulate` has it.

    Raises:
        AccelsimError: whatever loading, mapping or simulating raises.
    """
    from ..simulation import simulate

    arch = machine(point.arch, point.arch_values)
    report = simulate(
        arch,
        model(point.model, point.model_options),
        mapper=point.mapper,
        objective=point.objective,
        seed=point.seed,
        watch=watch,
        tables=False,
    )
    return {**dict(columns(report.to_json())), **size(arch)}


def size(arch: Architecture) -> dict[str, Scalar]:
    """What the machine is made of, as objectives to be weighed against its speed."""
    clocked = [(unit.peak_rates().get("mac", 0.0), unit.clock or arch.clock) for unit in arch.units.values()]
    outermost = arch.tiers()[0].port("read")
    peak, on_chip, off_chip = SIZES
    sizes: dict[str, Scalar] = {
        peak: sum(rate * float(clock) for rate, clock in clocked),
        on_chip: sum(memory.capacity for memory in arch.memories.values() if memory.on_chip),
    }
    if outermost is not None:
        sizes[off_chip] = float(outermost[1])
    return sizes


def columns(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Scalar]]:
    """The scalars of a nested report under dotted names; lists and the provenance are left out."""
    for name, value in tree.items():
        if isinstance(value, Mapping) and name != "provenance":
            yield from columns(value, f"{prefix}{name}.")
        elif isinstance(value, str | int | float | bool):
            yield prefix + name, value


@lru_cache(maxsize=8)
def machine(ref: str, values: Options = ()) -> Architecture:
    """A machine with some values replaced, by their paths in its file. Raises SpecError and BadInput."""
    return spec_of(ref).with_values(dict(values)).build()


@lru_cache(maxsize=16)
def spec_of(ref: str) -> RawSpec:
    """A machine's file. Raises SpecError if it cannot be read."""
    from ..arch.loader import load_spec

    return load_spec(ref)


@lru_cache(maxsize=16)
def model(ref: str, options: Options = ()) -> Workload:
    """A model loaded with options under their axis names (``seq``, ``bind.N``).

    Raises:
        BadInput: no such model, or an option that it does not take.
    """
    from ..workloads import load_model

    keywords: dict[str, Any] = {}
    bindings: dict[str, int] = {}
    for name, value in options:
        if (name in COUNTS or name.startswith("bind.")) and (isinstance(value, bool) or not isinstance(value, int)):
            raise BadInput(f"model '{ref}': {name}={value!r} (a whole number)")
        if name in _TEXTS and not isinstance(value, str):
            raise BadInput(f"model '{ref}': {name}={value!r} (a text such as {_TEXTS[name]})")
        if name == "allow_unknown" and not isinstance(value, bool):
            raise BadInput(f"model '{ref}': {name}={value!r} (true or false)")
        if name.startswith("bind."):
            bindings[name.removeprefix("bind.")] = int(value)
        else:
            keywords[name] = value
    return load_model(ref, **keywords, bindings=bindings or None)


class Identity:
    """Content keys of points: equal for equal machines, workloads, choices and simulator, wherever files lie."""

    def __init__(self) -> None:
        # Files may have changed since this process last read them.
        machine.cache_clear()
        spec_of.cache_clear()
        model.cache_clear()
        self._code, self._extensions = code_hash(), Extensions()
        self._machines: dict[tuple[str, Options, str], list[str]] = {}
        self._models: dict[tuple[str, Options], str] = {}
        self._choices: set[tuple[str, str]] = set()

    def __call__(self, point: Point) -> str:
        """The key. Raises AccelsimError for a machine, model, mapper or objective that is not valid."""
        from ..report.provenance import value_hash
        from ..simulation import check_objective, load_mapper

        if (point.mapper, point.objective) not in self._choices:
            load_mapper(point.mapper)
            check_objective(point.objective)
            self._choices.add((point.mapper, point.objective))
        here = (point.arch, point.arch_values, point.mapper)
        if here not in self._machines:
            arch = machine(point.arch, point.arch_values)
            self._machines[here] = [arch.spec_hash, self._extensions.hash(arch, point.mapper)]
        what = (point.model, point.model_options)
        if what not in self._models:
            self._models[what] = value_hash(model(*what))
        choices = [point.mapper, point.objective, point.seed]
        parts = [self._code, *self._machines[here], self._models[what], *choices]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def code_hash() -> str:
    """SHA-256 over version and sources of the parts of accelsim that results depend on."""
    from .. import __version__

    digest = hashlib.sha256(__version__.encode())
    for name, file in _sources(resources.files("accelsim")):
        digest.update(name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def _sources(folder: Traversable, prefix: str = "") -> Iterable[tuple[str, Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda e: e.name):
        if entry.is_dir() and entry.name not in NOT_RESULTS:
            yield from _sources(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith((".py", ".csv")):
            yield prefix + entry.name, entry
