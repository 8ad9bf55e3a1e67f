"""Architecture: a validated machine."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import BaseModel

from ..errors import BadInput, Problem, SpecError
from ..text.names import nearest_key
from .component import Component, LinkBase, Memory, Surroundings, UnitBase
from .operating_point import OperatingPoint
from .structure import structure_faults
from .tables import TableRow, figures
from .units import FREQUENCY, LENGTH, VOLTAGE, quantity_of

C = TypeVar("C", bound=Component)


@dataclass(frozen=True, eq=False)
class Architecture:
    """One socket: memories in a tree of tiers, compute units that each work on one memory, links between memories.

    Components stand under their names; where their order matters it is by depth and name, never by position in a file.
    Architectures are equal when all their parts are, in whatever order.

    Attributes:
        name: what reports call it.
        clock: hertz of its reference clock, where it runs.
        memories: every memory; all but the outermost name their parent.
        units: compute units.
        links: connections that transfers pass through.
        description: free text.
        technology_nm: node for energies that the spec leaves out; 45 nm figures are used without one.
        source: where the numbers come from as a whole.
        operating_point: voltage that it runs at and nominal point; None when the machine file has no voltage.
        tables: the user's own figures.

    Raises:
        SpecError: a component refers to another that is not there, or the memories form no tree.
    """

    name: str
    clock: float
    memories: Mapping[str, Memory]
    units: Mapping[str, UnitBase]
    links: Mapping[str, LinkBase] = field(default_factory=dict)
    description: str = ""
    technology_nm: float | None = None
    source: str | None = None
    operating_point: OperatingPoint | None = None
    tables: tuple[TableRow, ...] = ()

    def __post_init__(self) -> None:
        faults = structure_faults(
            {n: m.parent for n, m in self.memories.items()},
            {n: {"memory": u.memory, **{f"operands.{o}": m for o, m in u.operands.items()}}
             for n, u in self.units.items()},
            {n: x.between for n, x in self.links.items()},
        )
        if faults:
            raise SpecError([Problem(f"{self.name}: {'.'.join(f.path)}", f.what, f.hint) for f in faults])
        object.__setattr__(self, "memories", self._bind(self.memories, lambda m: m.on_chip))
        object.__setattr__(self, "units", self._bind(self.units, lambda u: self.memories[u.memory].on_chip))
        object.__setattr__(
            self, "links", self._bind(self.links, lambda x: all(self.memories[m].on_chip for m in x.between))
        )

    def _bind(self, components: Mapping[str, C], on_chip: Callable[[C], bool]) -> Mapping[str, C]:
        """Components as they stand in this machine."""
        bound, point = {}, self.operating_point
        for name, component in components.items():
            scaled = point is not None and on_chip(component)
            bound[name] = component.model_copy(update={"name": name}).bound(
                Surroundings(
                    self.clock,
                    self.technology_nm,
                    {m: self.memories[m] for m in component.memories} if isinstance(component, UnitBase) else {},
                    figures(self.tables, name, component.kind),
                    point.dynamic_scale if point is not None and scaled else 1.0,
                    point.leakage_scale if point is not None and scaled else 1.0,
                )
            )
        return MappingProxyType(bound)

    def _repr_html_(self) -> str:
        """Tables of its parts, in notebooks."""
        from .notebook import architecture_html

        return architecture_html(self)

    def components(self) -> Iterator[Component]:
        """Every component, by category and name."""
        for section in (self.memories, self.units, self.links):
            for name in sorted(section):
                yield section[name]

    @cached_property
    def _depths(self) -> Mapping[str, int]:
        depths = {}
        for name, memory in self.memories.items():
            depth, parent = 0, memory.parent
            while parent is not None:
                depth, parent = depth + 1, self.memories[parent].parent
            depths[name] = depth
        return depths

    def tiers(self) -> tuple[Memory, ...]:
        """All memories, outermost first; those of one depth by name."""
        return tuple(self.memories[n] for n in sorted(self.memories, key=lambda n: (self._depths[n], n)))

    @property
    def off_chip(self) -> tuple[Memory, ...]:
        """Memories outside the chip, outermost first."""
        return tuple(m for m in self.tiers() if not m.on_chip)

    def units_on(self, memory: str) -> tuple[UnitBase, ...]:
        """The compute units that work on a memory, by name.

        Raises:
            BadInput: no such memory.
        """
        self._memory(memory)
        return tuple(self.units[n] for n in sorted(self.units) if memory in self.units[n].memories)

    def path(self, src: str, dst: str) -> tuple[Memory | LinkBase, ...]:
        """The memories that bytes pass through from `src` to `dst`, both included, with the links between them.

        Neighbours are a memory and its parent, and two memories joined by a link; a link between neighbours is taken.
        The path has the fewest memories, among equals the first by name.

        Raises:
            BadInput: no such memory.
        """
        self._memory(src)
        self._memory(dst)
        before: dict[str, str] = {src: src}
        reached = [src]
        for name in reached:
            for neighbour in sorted(self._neighbours[name]):
                if neighbour not in before:
                    before[neighbour] = name
                    reached.append(neighbour)
        back = [dst]
        while back[-1] != src:
            back.append(before[back[-1]])
        steps: list[Memory | LinkBase] = [self.memories[src]]
        for here, there in zip(back[::-1], back[-2::-1], strict=False):
            link = self._neighbours[here][there]
            steps += [self.memories[there]] if link is None else [link, self.memories[there]]
        return tuple(steps)

    @cached_property
    def _neighbours(self) -> Mapping[str, Mapping[str, LinkBase | None]]:
        joined: dict[str, dict[str, LinkBase | None]] = {name: {} for name in self.memories}
        for name, memory in self.memories.items():
            if memory.parent is not None:
                joined[name][memory.parent] = joined[memory.parent][name] = None
        for link in self.links.values():
            a, b = link.between
            joined[a][b] = joined[b][a] = link
        return joined

    def _memory(self, name: str) -> Memory:
        if name not in self.memories:
            raise BadInput(f"{self.name} has no memory `{name}` ({nearest_key(name, self.memories)})")
        return self.memories[name]

    def defaults_used(self) -> dict[str, str]:
        """Every value that the spec left to a default worth knowing, as ``component.key`` with the value and source."""
        return {f"{c.name}.{key}": text for c in self.components() for key, text in c.defaults_used().items()}

    @property
    def area_mm2(self) -> float | None:
        """The areas that are given, summed; those of `without_area` are not in it. None when there are no others."""
        given = [c.area_mm2 for c in self.components() if c.area_mm2 is not None]
        return sum(given) if given else None

    def without_area(self) -> tuple[str, ...]:
        """Components whose area is not given, by category and name."""
        return tuple(c.name for c in self.components() if c.area_mm2 is None)

    def without_leakage(self) -> tuple[str, ...]:
        """Components whose leakage power is not given, by category and name."""
        return tuple(c.name for c in self.components() if c.leakage_watts is None)

    @cached_property
    def spec_hash(self) -> str:
        """SHA-256 over what can change a result: neither comments, sources and descriptions nor the order of keys."""
        content = {
            "name": self.name,
            "clock": self.clock,
            "technology_nm": self.technology_nm,
            "operating_point": None if self.operating_point is None else asdict(self.operating_point),
            "tables": sorted((r.component, r.action, r.value) for r in self.tables),
            **{
                section: {n: c.model_dump(exclude={"name", "source"}) for n, c in components.items()}
                for section, components in self._sections().items()
            },
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def _sections(self) -> dict[str, Mapping[str, Component]]:
        return {"memories": self.memories, "units": self.units, "links": self.links}

    def _key(self) -> tuple[object, ...]:
        head = (self.name, self.clock, self.technology_nm, self.description, self.source)
        tables = sorted(self.tables, key=lambda r: (r.component, r.action))
        return (*head, self.operating_point, tables, dict(self.memories), dict(self.units), dict(self.links))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Architecture) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self.spec_hash)

    def to_dict(self) -> dict[str, Any]:
        """The machine as it would stand in a file without `extends`, every default written out."""
        head: dict[str, Any] = {"name": self.name}
        if self.description:
            head["description"] = self.description
        if self.source is not None:
            head["source"] = self.source
        point = self.operating_point
        head["clock"] = FREQUENCY.format(self.clock if point is None else point.nominal_clock)
        if point is not None:
            head["voltage"] = VOLTAGE.format(point.nominal_voltage)
            running = {"voltage": VOLTAGE.format(point.voltage), "clock": FREQUENCY.format(self.clock)}
            head["operating_point"] = running
        if self.technology_nm is not None:
            head["technology"] = LENGTH.format(self.technology_nm)
        for section, components in self._sections().items():
            if components:
                head[section] = {name: _spec(c) for name, c in components.items()}
        for row in self.tables:
            cell = {"value": row.text, "source": row.source}
            head.setdefault("tables", {}).setdefault(row.component, {})[row.action] = cell
        return head

    def to_yaml(self) -> str:
        """The machine as a YAML file that loads to an equal Architecture."""
        from ruamel.yaml import YAML

        yaml = YAML(typ="safe", pure=True)
        yaml.default_flow_style = False
        yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
        yaml.width = 120
        out = io.StringIO()
        yaml.dump(self.to_dict(), out)
        return out.getvalue()

    def __reduce__(self) -> tuple[Any, ...]:
        return Architecture, (self.name, self.clock, dict(self.memories), dict(self.units), dict(self.links),
                              self.description, self.technology_nm, self.source, self.operating_point,
                              self.tables)  # fmt: skip


def _spec(component: Component) -> dict[str, Any]:
    """A component's keys with values as text, `kind` first."""
    spec: dict[str, Any] = {"kind": component.kind}
    for key, info in type(component).model_fields.items():
        value = getattr(component, key)
        if key not in ("kind", "name") and value is not None:
            spec[key] = _plain(value, quantity_of(info))
    return spec


def _plain(value: Any, quantity: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _plain(v, quantity) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(v, quantity) for v in value]
    if isinstance(value, BaseModel):
        parts = {k: (getattr(value, k), info) for k, info in type(value).model_fields.items()}
        return {k: _plain(v, quantity_of(info)) for k, (v, info) in parts.items() if v is not None}
    if quantity is not None:
        return quantity.format(value)
    if isinstance(value, Fraction):
        return int(value) if value.denominator == 1 else f"{value.numerator}/{value.denominator}"
    return value
