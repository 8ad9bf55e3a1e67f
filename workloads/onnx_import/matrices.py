"""Products of matrices."""

from __future__ import annotations

from ...ir import Expr, Read
from .elementwise import X, add, mul
from .graph import GraphImport, operator
from .loading import Node


@operator("MatMul")
def matmul(g: GraphImport, node: Node) -> None:
    a, b = g.value(node, 0), g.value(node, 1)
    out = g.builder.matmul(g.tensor(a), g.tensor(b), name=node.name, out=node.outputs[0], bits=g.bits_of(a))
    g.built(node, out)


@operator("Gemm")
def gemm(g: GraphImport, node: Node) -> None:
    """``alpha * A' * B' + beta * C``: the product is one Einsum, scaling and C (broadcast) are another."""
    a, b, c = g.value(node, 0), g.value(node, 1), g.maybe(node, 2)
    alpha, beta = float(node.attributes.get("alpha", 1.0)), float(node.attributes.get("beta", 1.0))
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise g.wrong(node, f"operands '{a.name}' {a.shape} and '{b.name}' {b.shape} must be matrices")
    plain = alpha == 1.0 and (c is None or beta == 0.0)
    product = g.builder.matmul(
        g.tensor(a), g.tensor(b),
        transpose_a=bool(node.attributes.get("transA", 0)), transpose_b=bool(node.attributes.get("transB", 0)),
        kind="Gemm", name=node.name, out=node.outputs[0] if plain else None, bits=g.bits_of(a),
    )  # fmt: skip
    if plain:
        g.built(node, product)
        return
    shape = g.builder.shape(product)
    tensors = [product]
    expr: Expr = X if alpha == 1.0 else mul(X, alpha)
    if c is not None and beta != 0.0:
        if len(c.shape) > 2 or any(n not in (1, m) for n, m in zip(reversed(c.shape), reversed(shape), strict=False)):
            raise g.wrong(node, f"C '{c.name}' {c.shape} cannot be broadcast to the product {shape}")
        tensors.append(g.tensor(c))
        expr = add(expr, Read(1) if beta == 1.0 else mul(Read(1), beta))
    step = "bias" if len(tensors) > 1 else "scale"
    g.built(node, g.builder.elementwise(expr, *tensors, kind=f"Gemm.{step}", name=f"{node.name}.{step}",
                                        out=node.outputs[0], bits=g.bits_of(a)))  # fmt: skip
