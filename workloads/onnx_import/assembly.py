"""From the nodes and values of a graph, of whatever file, to its Workload and the fate of every node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...errors import BadInput
from ...ir import Einsum, Role, View, Workload, read_in_place
from .graph import Derivation, GraphImport, ImportBuilder
from .loading import Node, Value
from .walk import Fate, import_nodes


@dataclass(frozen=True)
class Graph:
    """What there is to import.

    Attributes:
        path: where it came from, for messages.
        name: of the Workload.
        inputs: values that the user feeds; those known before the run are constants.
        constants: parameters and other values known before the run, by name.
        nodes: in a valid order.
        outputs: names of values.
        declared: element types and whole shapes that are known of values beforehand, by name.
        output_shapes: what outputs are said to have along each dimension, by name; None where that is left open.
    """

    path: str
    name: str
    inputs: Sequence[Value]
    constants: Mapping[str, Value]
    nodes: Sequence[Node]
    outputs: Sequence[str]
    declared: Mapping[str, tuple[int, tuple[int, ...]]]
    output_shapes: Mapping[str, Sequence[int | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class ImportedNode:
    """What became of one node of the file.

    ``einsums``: it computes or copies; ``view``: it only renames bytes, or moves them and is read in place
    (`ir.read_in_place`); ``folded``: its outputs are known before the run, or (an If) its condition is, and the nodes
    of its branch follow; ``unused``: no output of the graph needs it; ``unknown``: it has no support and costs nothing,
    as was allowed.
    """

    name: str
    op_type: str
    became: Fate


@dataclass(frozen=True)
class ImportedModel:
    """A Workload, the fate of every node of the file in its order, and the constants that the import made up.

    `constants` holds values of weights that are in the Workload and not in the file (reciprocals of padded averages);
    `derived` says how others follow from values of the file, which the import does not read (offsets of integers).
    """

    workload: Workload
    nodes: tuple[ImportedNode, ...]
    constants: Mapping[str, np.ndarray[Any, Any]]
    derived: Mapping[str, Derivation]


def assemble(graph: Graph, *, bits: int | None = None, allow_unknown: bool = False) -> ImportedModel:
    """The Workload of a graph; arguments and errors as of `import_onnx`."""
    reserved = frozenset(
        (*graph.constants, *(v.name for v in graph.inputs), *(o for node in graph.nodes for o in node.outputs))
    )
    builder = ImportBuilder(graph.name, reserved)
    state = GraphImport(graph.path, builder, bits, graph.declared)
    state.values.update(graph.constants)
    for value in graph.inputs:
        state.values[value.name] = value
        if not value.constant:
            builder.input(value.name, value.shape, state.bits_of(value))
    fates = import_nodes(state, list(graph.nodes), graph.outputs, allow_unknown=allow_unknown)
    _finish(state, graph.outputs)
    workload = read_in_place(builder.build())
    rows = _rows(state, fates, workload)
    builder.notes += [*_unlike_shapes(state, graph.output_shapes), *_notes(rows)]
    return ImportedModel(replace(workload, notes=tuple(builder.notes)), rows, dict(builder.constants),
                         dict(state.derived))


def _rows(graph: GraphImport, fates: list[tuple[Node, Fate]], workload: Workload) -> tuple[ImportedNode, ...]:
    """What became of the nodes, in the end.

    One that was put off is computed if something asked for it; one whose copies are all left out is a view.
    """
    builder = graph.builder
    added = [item for item in builder.added if isinstance(item, Einsum)]
    kept = {einsum.name for einsum, _ in workload.einsums()}
    written = {item.output.tensor for item in added if item.name in kept}
    moved = {item.output.tensor for item in added} - written

    def became(node: Node, fate: Fate) -> Fate:
        if fate == "view" and node.outputs[0] in written:
            return "einsums"
        results = {builder.storage(name) for name in node.outputs if name in builder}
        return "view" if fate == "einsums" and results and results <= moved else fate

    return tuple(ImportedNode(node.name, node.op_type, became(node, fate)) for node, fate in fates)


def costed_share(nodes: Iterable[ImportedNode]) -> float:
    """The share of the nodes that some output needs which are not let through as unknown: 1.0 when nothing is."""
    needed = [node for node in nodes if node.became != "unused"]
    return sum(node.became != "unknown" for node in needed) / len(needed) if needed else 1.0


def _notes(nodes: tuple[ImportedNode, ...]) -> list[str]:
    """The sentence that names every node which costs nothing because it has no support."""
    unknown: dict[str, list[str]] = {}
    for node in nodes:
        if node.became == "unknown":
            unknown.setdefault(node.op_type, []).append(f"'{node.name}'")
    if not unknown:
        return []
    count, total = sum(map(len, unknown.values())), sum(node.became != "unused" for node in nodes)
    listed = "; ".join(f"{op} {', '.join(names)}" for op, names in unknown.items())
    return [f"{100 * costed_share(nodes):.1f} % of the operators are costed ({total - count} of {total}); without "
            f"support, and at no time, energy or operation: {listed}"]  # fmt: skip


def _finish(graph: GraphImport, outputs: Sequence[str]) -> None:
    """Mark the outputs. One that is only a view of an input or a weight is copied, for it must be written somewhere."""
    builder = graph.builder
    given = {name for names in graph.unknown.values() for name in names}
    for name in dict.fromkeys(outputs):
        if name not in graph.values:
            raise BadInput(f"{graph.path}: output '{name}' of the graph is produced by no node")
        value = graph.values[name]
        if 0 in value.shape and name in given:
            continue
        stored = builder.tensor(builder.storage(graph.tensor(value)))
        if stored.name in given:
            continue
        if stored.role in (Role.INPUT, Role.WEIGHT):
            builder.output(builder.elementwise("copy", name, kind="Output", name=f"{name}.copy", bits=stored.bits))
        else:
            builder.output(name)
    if not any(isinstance(item, Einsum | View) for item in builder.added):
        raise BadInput(f"{graph.path}: the graph computes nothing")


def _unlike_shapes(graph: GraphImport, said: Mapping[str, Sequence[int | None]]) -> list[str]:
    """Sentences for outputs that the file says to have other shapes than they have: runtimes warn of them, and run."""
    found = []
    for name, sizes in said.items():
        shape = graph.values[name].shape
        if len(sizes) != len(shape) or any(n not in (None, m) for n, m in zip(sizes, shape, strict=True)):
            wanted = ", ".join("?" if n is None else str(n) for n in sizes)
            found.append(f"output '{name}' is declared as [{wanted}] in the file; the nodes give it shape "
                         f"{list(shape)}, which is what runs")  # fmt: skip
    return found
