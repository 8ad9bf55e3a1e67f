"""What a Mapping that a user gives says of another model or machine than the one that it is to run on."""

from __future__ import annotations

from ..arch.architecture import Architecture
from ..ir import Workload
from .scope import Scope
from .tree import Loop, Mapping, format_position


def unlike(mapping: Mapping, workload: Workload, arch: Architecture) -> list[str]:
    """Signs that a Mapping was written for something else: what works all the same, but may not be what was meant.

    Args:
        mapping: one that `validate` finds nothing wrong with.
        workload: what it runs.
        arch: on what.

    Returns:
        A sentence for each name that is another one, and for each Loop whose tiles are larger than the rank, which
        therefore cuts nothing.
    """
    named = (("model", mapping.workload, workload.name), ("machine", mapping.architecture, arch.name))
    found = [f"the mapping was written for the {kind} {theirs}, and this one is {ours}"
             for kind, theirs, ours in named if theirs != ours]  # fmt: skip
    return found if mapping.phases is not None else found + _loops_that_cut_nothing(Scope(mapping, workload))


def _loops_that_cut_nothing(scope: Scope) -> list[str]:
    found = []
    for at, places in scope.below.items():
        node = scope.tree.nodes[at]
        depth = len(scope.tree.loops[at])
        sizes = [place.einsum.sizes[rank] for place in places if (rank := place.levels[depth].rank)]
        if isinstance(node, Loop) and sizes and node.tile > max(sizes):
            found.append(f"the mapping's loop at {format_position(at)} cuts nothing: tiles of {node.tile:,} of rank "
                         f"{node.rank}, which is {max(sizes):,}")  # fmt: skip
    return found
