"""Architecture: a validated machine."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from fractions import Fraction
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from ..errors import BadInput, Problem, SpecError
from .component import Component, LinkBase, Memory, Surroundings, UnitBase
from .units import FREQUENCY, LENGTH, quantity_of

C = TypeVar("C", bound=Component)


@dataclass(frozen=True, eq=False)
class Architecture:
    """One socket: memories in a tree of tiers, compute units that each work on one memory, links between memories.

    Components stand under their names; where their order matters it is by depth and name, never by position in a file.
    Architectures are equal when all their parts are, in whatever order.

    Attributes:
        name: what reports call it.
        clock: hertz of its reference clock.
        memories: every memory; all but the outermost name their parent.
        units: compute units.
        links: connections that transfers pass through.
        description: free text.
        technology_nm: node for energies that the spec leaves out; 45 nm figures are used without one.
        source: where the numbers come from as a whole.

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

    def __post_init__(self) -> None:
        faults = structure_faults(
            {n: m.parent for n, m in self.memories.items()},
            {n: u.memory for n, u in self.units.items()},
            {n: x.between for n, x in self.links.items()},
        )
        if faults:
            raise SpecError([Problem(f"{self.name}: {'.'.join(f.path)}", f.what, f.hint) for f in faults])
        here = Surroundings(self.clock, self.technology_nm)
        memories = _bind(self.memories, dict.fromkeys(self.memories, here))
        object.__setattr__(self, "memories", memories)
        feeds = {n: Surroundings(self.clock, self.technology_nm, memories[u.memory]) for n, u in self.units.items()}
        object.__setattr__(self, "units", _bind(self.units, feeds))
        object.__setattr__(self, "links", _bind(self.links, dict.fromkeys(self.links, here)))

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
        return tuple(self.units[n] for n in sorted(self.units) if self.units[n].memory == memory)

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
            raise BadInput(f"{self.name} has no memory `{name}` ({_nearest(name, self.memories)})")
        return self.memories[name]

    def defaults_used(self) -> dict[str, str]:
        """Every value that the spec left to a default worth knowing, as ``component.key`` with the value and source."""
        return {f"{c.name}.{key}": text for c in self.components() for key, text in c.defaults_used().items()}

    @cached_property
    def spec_hash(self) -> str:
        """SHA-256 over what can change a result: neither comments, sources and descriptions nor the order of keys."""
        content = {
            "name": self.name,
            "clock": self.clock,
            "technology_nm": self.technology_nm,
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
        return (*head, dict(self.memories), dict(self.units), dict(self.links))

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
        head["clock"] = FREQUENCY.format(self.clock)
        if self.technology_nm is not None:
            head["technology"] = LENGTH.format(self.technology_nm)
        for section, components in self._sections().items():
            if components:
                head[section] = {name: _spec(c) for name, c in components.items()}
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
                              self.description, self.technology_nm, self.source)  # fmt: skip


def _bind(components: Mapping[str, C], surroundings: Mapping[str, Surroundings]) -> Mapping[str, C]:
    bound = {}
    for name, component in components.items():
        bound[name] = component.model_copy(update={"name": name}).bound(surroundings[name])
    return MappingProxyType(bound)


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
    if quantity is not None:
        return quantity.format(value)
    if isinstance(value, Fraction):
        return int(value) if value.denominator == 1 else f"{value.numerator}/{value.denominator}"
    return value


class Fault(NamedTuple):
    """Something wrong between components: the path of the key in the machine, what it is, what would be valid."""

    path: tuple[str, ...]
    what: str
    hint: str


def _nearest(name: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    close = get_close_matches(name, list(known), 1)
    if close:
        return f"did you mean `{close[0]}`?"
    return "has: " + ", ".join(f"`{k}`" for k in known) if known else "there is none"


def structure_faults(
    parents: Mapping[str, str | None], fed_by: Mapping[str, str | None], joins: Mapping[str, Sequence[str]]
) -> list[Fault]:
    """What is wrong between components.

    Args:
        parents: memory to its parent.
        fed_by: compute unit to its memory, None where that is not known.
        joins: link to the two memories that it joins, empty where they are not known.
    """
    faults = []
    if not parents:
        faults.append(Fault(("memories",), "a machine needs at least one memory", "such as a `dram` and a `buffer`"))
    if not fed_by:
        faults.append(Fault(("units",), "a machine needs at least one compute unit", "such as a `systolic` array"))
    for name, parent in parents.items():
        if parent is not None and parent not in parents:
            faults.append(Fault(("memories", name, "parent"), f"no memory `{parent}`", _nearest(parent, parents)))
    faults += _tree_faults(parents)
    for name, memory in fed_by.items():
        if memory is not None and memory not in parents:
            faults.append(Fault(("units", name, "memory"), f"no memory `{memory}`", _nearest(memory, parents)))
    pairs: dict[frozenset[str], str] = {}
    for name, between in joins.items():
        for memory in between:
            if memory not in parents:
                faults.append(Fault(("links", name, "between"), f"no memory `{memory}`", _nearest(memory, parents)))
        if len(set(between)) == 1:
            faults.append(Fault(("links", name, "between"), f"joins `{between[0]}` to itself", "name two memories"))
        if between and (other := pairs.setdefault(frozenset(between), name)) != name:
            faults.append(Fault(("links", name, "between"), f"joins the same memories as link `{other}`",
                                "one link between two memories: add up the bandwidths"))  # fmt: skip
    owner: dict[str, str] = {}
    for section, names in (("memories", list(parents)), ("units", list(fed_by)), ("links", list(joins))):
        for part in names:
            if (first := owner.setdefault(part, section)) != section:
                faults.append(Fault((section, part), f"`{part}` stands under {first} too",
                                    "every component has a name of its own"))  # fmt: skip
    return faults


def _tree_faults(parents: Mapping[str, str | None]) -> list[Fault]:
    faults = []
    roots = sorted(n for n, p in parents.items() if p is None)
    for name in roots[1:]:
        faults.append(Fault(("memories", name), f"a second memory without a parent, beside `{roots[0]}`",
                            "give all but the outermost memory a `parent`"))  # fmt: skip
    seen: set[str] = set()
    for start in sorted(parents):
        trail: list[str] = []
        at: str | None = start
        while at is not None and at in parents and at not in seen and at not in trail:
            trail.append(at)
            at = parents[at]
        if at is not None and at in trail:
            cycle = [*trail[trail.index(at) :], at]
            faults.append(Fault(("memories", cycle[0], "parent"), f"parents go in a circle: {' -> '.join(cycle)}",
                                "one memory, the outermost, has no parent"))  # fmt: skip
        seen.update(trail)
    return faults
