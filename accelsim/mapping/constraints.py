"""What a user fixes of a Mapping before a mapper makes it.

A file says it by operator and by tensor; names are glob patterns, which match an Einsum's name or its kind::

    operators:
      "conv*": {unit: array, variant: ws}
      conv1: {order: [m, k, n], tiles: {m: 64}}
      conv2: {spread: {rows: [c], cols: [m, x]}}
    tensors:
      "*.weight": sram

All entries that match apply, in the order in which they stand: a later one overrides what an earlier one says of the
same thing. A mapper honours constraints or refuses; it does not ignore them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from ..arch.architecture import Architecture
from ..errors import BadInput, Problem
from ..files import read_text, write_text
from ..ir import Einsum, Workload
from ..text.fields import Reader
from ..text.names import nearest
from ..text.nodes import Items, Node
from ..text.plain import quoted

_EXAMPLE = "{unit: array, variant: ws, order: [m, k, n], tiles: {m: 64}, spread: {rows: [k]}}"


@dataclass(frozen=True)
class OpConstraint:
    """What is fixed of one operator; None and ranks without a tile are free.

    Attributes:
        unit: the compute unit it runs on.
        variant: which of the unit's spatial options.
        order: ranks of the loops over time, outermost first; loops over ranks that it does not name stand anywhere. Of
            several levels of memory each has its loops in this order.
        tiles: rank to the extent of the tiles that the unit gets.
        spread: dimension of a spatial array to the ranks that lie along it, all of these and no others but those of one
            point. Dimensions that it does not name are free.
    """

    unit: str | None = None
    variant: str | None = None
    order: tuple[str, ...] | None = None
    tiles: Mapping[str, int] = field(default_factory=dict, hash=False)
    spread: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    @property
    def ranks(self) -> tuple[str, ...]:
        """All ranks that it names."""
        along = (r for ranks in self.spread.values() for r in ranks)
        return tuple(dict.fromkeys((*(self.order or ()), *self.tiles, *along)))

    @property
    def is_free(self) -> bool:
        return self == OpConstraint()

    def allows(
        self,
        *,
        unit: str | None = None,
        variant: str | None = None,
        order: Sequence[str] | None = None,
        tiles: Mapping[str, int] | None = None,
    ) -> bool:
        """Whether a choice keeps to the constraint; what is not given is not looked at.

        Args:
            unit: name of a compute unit.
            variant: name of a spatial option.
            order: ranks of the loops over time, outermost first.
            tiles: rank to the extent of its innermost tile.
        """
        if None not in (unit, self.unit) and unit != self.unit:
            return False
        if None not in (variant, self.variant) and variant != self.variant:
            return False
        if order is not None and self.order is not None:
            named = [r for r in dict.fromkeys(order) if r in self.order]
            if named != [r for r in self.order if r in named]:
                return False
        return tiles is None or all(tiles[r] == t for r, t in self.tiles.items() if r in tiles)

    def over(self, other: OpConstraint) -> OpConstraint:
        """This constraint where it says something, else `other`."""
        return OpConstraint(
            self.unit if self.unit is not None else other.unit,
            self.variant if self.variant is not None else other.variant,
            self.order if self.order is not None else other.order,
            {**other.tiles, **self.tiles},
            {**other.spread, **self.spread},
        )


@dataclass(frozen=True)
class Constraints:
    """What is fixed, in the order in which it applies: (pattern, constraint) and (pattern, memory).

    Raises:
        BadInput: a pattern stands twice.
    """

    operators: tuple[tuple[str, OpConstraint], ...] = ()
    tensors: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for patterns in ([p for p, _ in self.operators], [p for p, _ in self.tensors]):
            twice = sorted({p for p in patterns if patterns.count(p) > 1})
            if twice:
                raise BadInput(f"constraints: pattern {twice[0]!r} stands twice; say it once")

    def for_einsum(self, name: str, kind: str = "") -> OpConstraint:
        """What is fixed of an Einsum."""
        found = OpConstraint()
        for pattern, constraint in self.operators:
            if fnmatchcase(name, pattern) or (kind and fnmatchcase(kind, pattern)):
                found = constraint.over(found)
        return found

    def memory_of(self, tensor: str) -> str | None:
        """The memory that a stored tensor must live in, or None."""
        found = None
        for pattern, memory in self.tensors:
            if fnmatchcase(tensor, pattern):
                found = memory
        return found

    def problems(self, workload: Workload, arch: Architecture) -> list[Problem]:
        """What cannot apply to this Workload and machine: patterns that match nothing, names that are not there."""
        found: list[Problem] = []
        einsums = list({einsum.name: einsum for einsum, _ in workload.einsums()}.values())
        for pattern, constraint in self.operators:
            where = f"operators.{pattern}"
            matched = [e for e in einsums if fnmatchcase(e.name, pattern) or (e.kind and fnmatchcase(e.kind, pattern))]
            if not matched:
                hint = nearest(pattern, {e.name for e in einsums} | {e.kind for e in einsums if e.kind})
                found.append(Problem(where, "matches no operator of the model", hint))
            found += _op_problems(where, constraint, matched, arch)
        stored = set(workload.instances())
        for pattern, memory in self.tensors:
            where = f"tensors.{pattern}"
            if not any(fnmatchcase(name, pattern) for name in stored):
                found.append(Problem(where, "matches no stored tensor of the model", nearest(pattern, stored)))
            if memory not in arch.memories:
                found.append(Problem(where, f"the machine has no memory {memory!r}", nearest(memory, arch.memories)))
        return found


def _op_problems(where: str, constraint: OpConstraint, matched: Iterable[Einsum], arch: Architecture) -> list[Problem]:
    found: list[Problem] = []
    if constraint.unit is not None and constraint.unit not in arch.units:
        found.append(
            Problem(where, f"the machine has no unit {constraint.unit!r}", nearest(constraint.unit, arch.units))
        )
    ranks = {rank for einsum in matched for rank in einsum.sizes}
    for rank in constraint.ranks:
        if ranks and rank not in ranks:
            found.append(Problem(where, f"no operator that it matches has a rank {rank!r}", nearest(rank, ranks)))
    return found


def loads(text: str, name: str = "constraints") -> Constraints:
    """Read constraints from YAML text.

    Args:
        text: one YAML document.
        name: what messages call it.

    Raises:
        SpecError: with everything that is wrong, each with its line.
    """
    reader = Reader(text, name)
    top = reader.table(reader.root, "", (), ("operators", "tensors"), "{operators: {...}, tensors: {...}}")
    operators: list[tuple[str, OpConstraint]] = []
    if "operators" in top:
        for pattern, (_, node) in reader.entries(top["operators"], "operators", f"{{conv1: {_EXAMPLE}}}").items():
            operators.append((pattern, _op_constraint(reader, node, f"operators.{pattern}")))
    tensors: list[tuple[str, str]] = []
    if "tensors" in top:
        for pattern, (_, node) in reader.entries(top["tensors"], "tensors", "{weight: sram}").items():
            tensors.append((pattern, reader.text(node, f"tensors.{pattern}")))
    reader.finish()
    return Constraints(tuple(operators), tuple(tensors))


def _op_constraint(reader: Reader, node: Node, path: str) -> OpConstraint:
    found = reader.table(node, path, (), ("unit", "variant", "order", "tiles", "spread"), _EXAMPLE)
    text = {key: reader.text(found[key], f"{path}.{key}") for key in ("unit", "variant") if key in found}
    order: tuple[str, ...] | None = None
    if "order" in found:
        order = _ranks(reader, found["order"], f"{path}.order")
        if not order and isinstance(found["order"], Items):
            reader.problem(found["order"].line, f"{path}.order", "names no rank", "leave it out, or such as [m, k, n]")
    tiles: dict[str, int] = {}
    if "tiles" in found:
        for rank, (_, tile) in reader.entries(found["tiles"], f"{path}.tiles", "{m: 64}").items():
            tiles[rank] = reader.integer(tile, f"{path}.tiles.{rank}", least=1)
    spread: dict[str, tuple[str, ...]] = {}
    if "spread" in found:
        for dimension, (_, ranks) in reader.entries(found["spread"], f"{path}.spread", "{rows: [k]}").items():
            spread[dimension] = _ranks(reader, ranks, f"{path}.spread.{dimension}")
    return OpConstraint(text.get("unit"), text.get("variant"), order, tiles, spread)


def _ranks(reader: Reader, node: Node, path: str) -> tuple[str, ...]:
    found = tuple(reader.text(item, path) for item in reader.items(node, path))
    if len(set(found)) != len(found):
        reader.problem(node.line, path, "a rank is named twice")
    return found


def dumps(constraints: Constraints) -> str:
    """The YAML form; `loads` reads it back to an equal value."""
    lines: list[str] = []
    if constraints.operators:
        lines.append("operators:")
        lines += [f"  {quoted(pattern)}: {{{_shown(c)}}}" for pattern, c in constraints.operators]
    if constraints.tensors:
        lines.append("tensors:")
        lines += [f"  {quoted(pattern)}: {quoted(memory)}" for pattern, memory in constraints.tensors]
    return "\n".join(lines) + "\n" if lines else "{}\n"


def _shown(constraint: OpConstraint) -> str:
    parts: list[str] = []
    if constraint.unit is not None:
        parts.append(f"unit: {quoted(constraint.unit)}")
    if constraint.variant is not None:
        parts.append(f"variant: {quoted(constraint.variant)}")
    if constraint.order is not None:
        parts.append(f"order: {_list(constraint.order)}")
    if constraint.tiles:
        parts.append(f"tiles: {{{', '.join(f'{quoted(r)}: {t}' for r, t in constraint.tiles.items())}}}")
    if constraint.spread:
        parts.append(f"spread: {{{', '.join(f'{quoted(d)}: {_list(r)}' for d, r in constraint.spread.items())}}}")
    return ", ".join(parts)


def _list(names: Iterable[str]) -> str:
    return f"[{', '.join(quoted(name) for name in names)}]"


def load(path: str | Path) -> Constraints:
    """Read a constraints file. Raises SpecError with everything that is wrong."""
    return loads(read_text(path), str(path))


def save(constraints: Constraints, path: str | Path) -> None:
    """Write a constraints file whole or not at all. Raises BadInput if it cannot be written."""
    write_text(path, dumps(constraints))
