"""Structural checks of a Mapping: everything that it names is there, and every Einsum is run exactly once."""

from __future__ import annotations

from ..arch.architecture import Architecture
from ..errors import Problem
from ..ir import Workload
from .counting import stay_bytes
from .phases_replay import phase_problems
from .scope import Scope
from .table_checks import TableChecks
from .tree import Mapping
from .tree_checks import TreeChecks


def validate(mapping: Mapping, workload: Workload, arch: Architecture) -> list[Problem]:
    """Everything that is wrong with a Mapping, as far as that shows without following the data.

    Checked: Ops name Einsums, units and ways in which the unit can run the Einsum; loops cut ranks that the Ops below
    have, alike in all of them; every Einsum runs once for every iteration of its Repeats; positions, tensors and
    memories exist; Stays end after they begin, in the same loops, and each fits its memory on its own; Moves join
    neighbouring memories, are issued before they are due and serve an Op.

    Args:
        mapping: any Mapping.
        workload: what it maps.
        arch: onto what.

    Returns:
        Problems in the order of the tree, the Stays and the Moves; none if the Mapping is well formed.
    """
    if mapping.phases is not None:
        return phase_problems(mapping.phases, workload, arch)
    scope = Scope(mapping, workload)
    found = structure_problems(scope, arch)
    return found or _capacity_problems(scope, arch)


def structure_problems(scope: Scope, arch: Architecture) -> list[Problem]:
    """What `validate` finds, but for tensors that are too large for their memory."""
    tree, tables = TreeChecks(scope, arch), TableChecks(scope, arch)
    tree.nodes()
    tree.loops()
    tree.runs()
    for i, stay in enumerate(scope.mapping.stays):
        tables.stay(stay, f"stays[{i}] ({stay.tensor})")
    for i, move in enumerate(scope.mapping.moves):
        tables.move(move, f"moves[{i}] ({move.tensor})")
    if not tree.problems and not tables.problems:
        tables.twice()
        tree.registers()
    return tree.problems + tables.problems


def _capacity_problems(scope: Scope, arch: Architecture) -> list[Problem]:
    found = []
    for i, stay in enumerate(scope.mapping.stays):
        needed, capacity = stay_bytes(scope, stay), arch.memories[stay.memory].capacity
        if needed > capacity:
            what = f"{needed:,} bytes, {needed - capacity:,} more than {stay.memory} has"
            found.append(Problem(f"stays[{i}] ({stay.tensor})", what, f"{stay.memory} has {capacity:,}"))
    return found
