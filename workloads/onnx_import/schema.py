"""Is a node well formed by the ONNX operator reference? And are local functions few enough to be written out?"""

from __future__ import annotations

from functools import cache
from typing import Any

from ...errors import BadInput

MOST_NODES = 200_000
"""Nodes of a graph with its local functions written out. The largest exported models have some ten thousand."""


@cache
def _schema(op_type: str, opset: int) -> Any:
    """The schema of an operator of the default domain, or None."""
    from onnx import defs

    try:
        return defs.get_schema(op_type, max(1, min(opset, defs.onnx_opset_version())), "")
    except defs.SchemaError:
        return None


def check_node(proto: Any, opset: int, where: str) -> None:
    """Raise BadInput for a NodeProto whose inputs, outputs or attributes are not those of its operator.

    Attributes beside those of the operator are let through, for exporters leave old ones behind. Operators that the
    reference does not know, those of other domains, and loops, which are refused by name, are not looked at.

    Args:
        proto: the node.
        opset: version of the default operator set.
        where: file and node, for the message.
    """
    schema = _schema(proto.op_type, opset) if proto.domain in ("", "ai.onnx") else None
    if schema is None or proto.op_type in ("Loop", "Scan"):
        return
    for what, names, least, most in (
        ("inputs", proto.input, schema.min_input, schema.max_input),
        ("outputs", proto.output, schema.min_output, schema.max_output),
    ):
        if not least <= len(names) <= most:
            valid = str(least) if least == most else f"{least} to {most}" if most < 1000 else f"at least {least}"
            raise BadInput(f"{where}: it has {len(names)} {what} ({proto.op_type} has {valid})")
    given = {a.name: a.type for a in proto.attribute}
    for name, form in schema.attributes.items():
        if name in given and given[name] != form.type.value:
            raise BadInput(f"{where}: attribute '{name}' is not of type {form.type.name.lower()}")
        if form.required and name not in given:
            raise BadInput(f"{where}: attribute '{name}' is missing")


def check_functions(model: Any, where: str) -> None:
    """Raise BadInput for local functions that call each other in a circle, or that are far too much written out."""
    functions = {(f.domain, f.name): f for f in model.functions}
    sizes: dict[tuple[str, str], int] = {}

    def size(key: tuple[str, str], callers: tuple[tuple[str, str], ...]) -> int:
        if key in callers:
            circle = " -> ".join(name for _, name in (*callers[callers.index(key) :], key))
            raise BadInput(f"{where}: local functions call each other in a circle: {circle}")
        if key not in sizes:
            sizes[key] = total(functions[key].node, (*callers, key))
        return sizes[key]

    def total(nodes: Any, callers: tuple[tuple[str, str], ...]) -> int:
        found = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            found += size(key, callers) if key in functions else 1
            found += sum(total(g.node, callers) for a in node.attribute for g in (a.g, *a.graphs))
        return found

    for key in functions:
        size(key, ())
    nodes = total(model.graph.node, ())
    if nodes > MOST_NODES:
        raise BadInput(f"{where}: local functions make {nodes} nodes of it (at most {MOST_NODES})")
