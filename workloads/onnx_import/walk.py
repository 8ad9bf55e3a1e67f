"""From the nodes of a graph to what becomes of them: folded, built, put off, let through or refused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ...errors import BadInput
from ...ir import Einsum
from .folding import fold
from .graph import TABLE, GraphImport, ImportBuilder, Unsupported
from .loading import Node, Value, is_floating, nodes_of, tensor_value
from .unknown import stand_in

Fate: TypeAlias = Literal["einsums", "view", "folded", "unused", "unknown"]


def initial_values(graph: Any, path: str | Path) -> dict[str, Value]:
    """The initializers of a GraphProto. Raises BadInput as `tensor_value` does; `path` is told."""
    values = {proto.name: tensor_value(proto.name, proto, str(path)) for proto in graph.initializer}
    for proto in graph.sparse_initializer:
        name = proto.values.name
        values[name] = Value(name, tuple(proto.dims), proto.values.data_type, constant=True)
    return values


def import_nodes(
    graph: GraphImport, nodes: list[Node], outputs: Iterable[str], *, allow_unknown: bool
) -> list[tuple[Node, Fate]]:
    """Extend the import by the nodes that the outputs depend on, and say what became of each.

    The nodes of the branch that an If is known to take follow it.
    """
    outputs = list(outputs)
    needed = _needed(nodes, outputs)
    graph.used |= frozenset(outputs).union(*((*n.inputs, *n.captures) for i, n in enumerate(nodes) if i in needed))
    fates: list[tuple[Node, Fate]] = []
    for i, node in enumerate(nodes):
        branch = _branch(graph, node) if i in needed else None
        if branch is not None:
            fates.append((node, "folded"))
            fates += _import_branch(graph, node, branch, allow_unknown)
        else:
            fates.append((node, _import_or_list(graph, node, allow_unknown) if i in needed else "unused"))
    return fates


def _needed(nodes: list[Node], outputs: Iterable[str]) -> set[int]:
    """Positions of the nodes that some output of the graph depends on."""
    wanted = set(outputs)
    needed: set[int] = set()
    for position in reversed(range(len(nodes))):
        if wanted & {name for name in nodes[position].outputs if name}:
            needed.add(position)
            wanted.update((*nodes[position].inputs, *nodes[position].captures))
    return needed


def _branch(graph: GraphImport, node: Node) -> Any:
    """The GraphProto that an If takes, if its condition is known before the run, else None."""
    if node.op_type != "If" or node.domain:
        return None
    condition = graph.value(node, 0)
    if condition.scalar is None:
        return None
    return node.attributes["then_branch" if condition.scalar else "else_branch"]


def _import_branch(graph: GraphImport, node: Node, branch: Any, allow_unknown: bool) -> list[tuple[Node, Fate]]:
    """The nodes of a branch in the place of the If; its outputs are other names of those of the branch."""
    nodes = nodes_of(branch, node.opset, graph.path, prefix=f"{node.name}/")
    values = initial_values(branch, graph.path)
    inner = [o.name for o in branch.output]
    if len(inner) != len(node.outputs):
        raise graph.wrong(node, f"its branch gives {len(inner)} values for {len(node.outputs)} outputs")
    for name in (*values, *(name for n in nodes for name in n.outputs if name)):
        if name in graph.values:
            raise BadInput(f"{graph.path}: {node}: its branch makes '{name}', which stands outside it already")
    graph.values.update(values)
    graph.builder.reserved |= frozenset((*values, *(name for n in nodes for name in n.outputs)))
    fates = import_nodes(graph, nodes, inner, allow_unknown=allow_unknown)
    for outer, name in zip(node.outputs, inner, strict=True):
        if outer and graph.is_used(outer):
            _import_node(graph, Node(f"{node.name}/{outer}", "Identity", (name,), (outer,), {}, node.opset))
    return fates


def _import_or_list(graph: GraphImport, node: Node, allow_unknown: bool) -> Fate:
    """Extend the import by one node, or by what stands in for it."""
    before = len(graph.builder.added)
    try:
        return _import_node(graph, node)
    except Unsupported as reason:
        if not allow_unknown or len(graph.builder.added) > before:
            raise
        for name in node.outputs:
            graph.values.pop(name, None)
        stand_in(graph, node, reason)
        return "unknown"


def _import_node(graph: GraphImport, node: Node) -> Fate:
    """Extend the import by one node."""
    for name in node.outputs:
        if name in graph.values:
            raise BadInput(f"{graph.path}: {node}: output '{name}' has a producer already")
    inputs = [graph.maybe(node, i) for i in range(len(node.inputs))]
    folded = fold(node, inputs)
    if folded is not None:
        graph.values.update((value.name, value) for value in folded)
        return "folded"
    handler = TABLE.handler(graph.path, node)
    present = [value for value in inputs if value is not None]
    builder = graph.builder
    builder.bits = next((graph.bits_of(v) for v in present if is_floating(v.elem_type)), builder.bits)
    if present and all(value.constant for value in present):
        return _import_constant(graph, node)
    before = len(builder.added)
    handler(graph, node)
    return "einsums" if any(isinstance(item, Einsum) for item in builder.added[before:]) else "view"


def _import_constant(graph: GraphImport, node: Node) -> Fate:
    """A node of constants alone: a view stays one; anything else is computed ahead, its output is a new weight."""
    real = graph.builder
    trial = ImportBuilder(real.name, real.reserved, bits=real.bits)
    trial.tensors.update(real.tensors)
    graph.builder = trial
    try:
        TABLE.handler(graph.path, node)(graph, node)
    finally:
        graph.builder = real
    made = [graph.values[name] for name in node.outputs if name in graph.values]
    if any(value.view_of for value in made):
        return "view"
    graph.values.update((v.name, replace(v, constant=True)) for v in made)
    return "folded"
