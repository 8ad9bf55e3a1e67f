"""Trees of Mappings whose operators run whole, one after the other, and where tensors live along them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ..ir import Einsum, Item, Repeat, Workload
from ..mapping.tree import BODY, Iterate, Node, Op, Position, Seq


class Picked(Protocol):
    """The unit and variant that a mapper picked for an Einsum."""

    @property
    def unit(self) -> str: ...

    @property
    def variant(self) -> str: ...


@dataclass
class Lives:
    """Where stored tensors are made and used, as positions of Ops in order, and which of them Repeats hand on."""

    made: dict[str, list[Position]] = field(default_factory=dict)
    used: dict[str, list[Position]] = field(default_factory=dict)
    carried: set[str] = field(default_factory=set)
    ops: list[tuple[Einsum, Position]] = field(default_factory=list)


def source_of(workload: Workload, tensor: str) -> str:
    """The stored tensor that one is a view or rows of."""
    name = workload.storage(tensor)
    return workload.tables.get(name, name)


def whole_tree(workload: Workload, picked: Mapping[str, Picked]) -> tuple[Node, Lives]:
    """The Einsums of a Workload in order, each whole where it was picked to run, and the lives of what they touch."""
    lives = Lives()
    return _tree(workload, workload.body, (), picked, lives), lives


def _tree(
    workload: Workload, items: tuple[Item, ...], at: Position, picked: Mapping[str, Picked], lives: Lives
) -> Node:
    nodes: list[Node] = []
    for item in items:
        here = (*at, len(nodes))
        if isinstance(item, Einsum):
            choice = picked[item.name]
            nodes.append(Op(item.name, choice.unit, choice.variant))
            lives.ops.append((item, here))
            for access in item.inputs:
                lives.used.setdefault(source_of(workload, access.tensor), []).append(here)
            lives.made.setdefault(source_of(workload, item.output.tensor), []).append(here)
        elif isinstance(item, Repeat):
            nodes.append(Iterate(item.name, item.count, _tree(workload, item.body, (*here, BODY), picked, lives)))
            for produced, held in item.carried:
                lives.carried |= {source_of(workload, produced), source_of(workload, held)}
    return Seq(tuple(nodes))
