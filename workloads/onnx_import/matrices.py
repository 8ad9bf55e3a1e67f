"""Products of matrices."""

from __future__ import annotations

from ...ir import Access, Expr, Read, affine
from .elementwise import X, add, mul
from .graph import GraphImport, operator
from .integers import dequantised_operands, matmul_product, scaled_product
from .loading import Node


@operator("MatMul")
def matmul(g: GraphImport, node: Node) -> None:
    """Of dequantised operands, a product of the integers behind them."""
    a, b = g.value(node, 0), g.value(node, 1)
    integers = dequantised_operands(g, node)
    if integers is not None:
        scaled_product(g, node, matmul_product(g, node, *integers), None, a.elem_type)
        return
    out = g.builder.matmul(g.tensor(a), g.tensor(b), name=node.name, out=node.outputs[0], bits=g.bits_of(a))
    g.built(node, out)


@operator("Gemm")
def gemm(g: GraphImport, node: Node) -> None:
    """``alpha * A' * B' + beta * C``: the product is one Einsum, scaling and C (broadcast) are another."""
    a, b, c = g.value(node, 0), g.value(node, 1), g.maybe(node, 2)
    alpha, beta = float(node.attributes.get("alpha", 1.0)), float(node.attributes.get("beta", 1.0))
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise g.wrong(node, f"operands '{a.name}' {a.shape} and '{b.name}' {b.shape} must be matrices")
    integers = dequantised_operands(g, node) if alpha == 1.0 and (c is None or beta == 1.0) else None
    if integers is not None:
        turned = [bool(node.attributes.get(name, 0)) for name in ("transA", "transB")]
        integer = matmul_product(g, node, *integers, transpose_a=turned[0], transpose_b=turned[1])
        scaled_product(g, node, integer, c, a.elem_type)
        return
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


@operator("Einsum")
def einsum(g: GraphImport, node: Node) -> None:
    """One or two operands, letters alone: ``bhqd,bhkd->bhqk``."""
    text = str(node.attributes.get("equation", "")).replace(" ", "")
    operands = [g.value(node, i) for i in range(len(node.inputs))]
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if not arrow:
        right = "".join(sorted(r for r in set(left) - {","} if left.count(r) == 1))
    letters = all(term.isalpha() or not term for term in (*terms, right))
    if not letters or len(terms) != len(operands) or len(operands) > 2 or len(set(right)) < len(right):
        raise g.wrong(node, f"equation '{text}' of {len(operands)} operands (one or two operands, letters, no '...')")
    sizes: dict[str, int] = {}
    for value, term in zip(operands, terms, strict=True):
        pairs = list(zip(term, value.shape, strict=False))
        if len(term) != len(value.shape) or any(sizes.setdefault(r, n) != n for r, n in pairs):
            raise g.wrong(node, f"equation '{text}' does not fit '{value.name}' {value.shape}")
    if not set(right) <= set(sizes):
        raise g.wrong(node, f"equation '{text}' has ranks in its output that no operand has")
    inputs = [Access(g.tensor(v), tuple(affine(r) for r in term)) for v, term in zip(operands, terms, strict=True)]
    order = {r: sizes[r] for r in (*right, *(r for r in sizes if r not in right))}
    out = g.builder.compute(
        "mul" if len(inputs) == 2 else X, inputs, list(right), order, reduce="add" if len(order) > len(right) else "",
        kind=node.op_type, name=node.name, out=node.outputs[0], bits=g.bits_of(operands[0]),
    )  # fmt: skip
    g.built(node, out)
