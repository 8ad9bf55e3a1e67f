"""Nodes that ONNX has no operator for, as Einsums."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from ...ir import Apply, Const, Expr, Read
from ..onnx_import.elementwise import map_one
from ..onnx_import.graph import GraphImport, operator
from ..onnx_import.loading import Node
from .translation import DOMAIN

X = Read(0)
OF_ONE: dict[str, Callable[[], Expr]] = {
    "rsqrt": lambda: Apply("rsqrt", (X,)),
    "expm1": lambda: Apply("sub", (Apply("exp", (X,)), Const(1.0))),
    "log1p": lambda: Apply("log", (Apply("add", (X, Const(1.0))),)),
    "square": lambda: Apply("mul", (X, X)),
}


@operator(*OF_ONE, domain=DOMAIN)
def of_one(g: GraphImport, node: Node) -> None:
    map_one(g, node, OF_ONE[node.op_type]())


@operator("Linear", domain=DOMAIN)
def linear(g: GraphImport, node: Node) -> None:
    """``x @ weight.T + bias``: the weight stays as it is stored."""
    x, weight, bias = g.value(node, 0), g.value(node, 1), g.maybe(node, 2)
    if not x.shape or len(weight.shape) not in (1, 2) or x.shape[-1] != weight.shape[-1] or prod(weight.shape) == 0:
        raise g.wrong(node, f"input '{x.name}' {x.shape} and weight '{weight.name}' {weight.shape} do not fit together")
    out = g.builder.linear(
        g.tensor(x), g.tensor(weight), None if bias is None else g.tensor(bias),
        name=node.name, out=node.outputs[0], bits=g.bits_of(x),
    )  # fmt: skip
    g.built(node, out)


@operator("*", domain=DOMAIN)
def refused(g: GraphImport, node: Node) -> None:
    """An operator that the translation found no way for."""
    raise g.unsupported(node, str(node.attributes["reason"]))
