"""Small transformers as ONNX files, written as the exporter of torch 2.13 writes their modules for opset 23."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onnx import TensorProto, helper

HIDDEN, HEADS, INNER, LAYERS, VOCABULARY, TOKENS = 64, 4, 128, 2, 96, 16
SIZE = HIDDEN // HEADS


class File:
    """Nodes and weights so far. Weights have shapes and no elements: they are ConstantOfShape nodes."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.count = 0

    def node(self, op_type: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        self.count += 1
        names = [f"t{self.count}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op_type, list(inputs), names, f"node_{self.count}", **attributes))
        return names[0] if outputs == 1 else names

    def integers(self, values: Sequence[int]) -> str:
        self.count += 1
        name = f"i{self.count}"
        self.initializers.append(helper.make_tensor(name, TensorProto.INT64, [len(values)], list(values)))
        return name

    def weight(self, *shape: int) -> str:
        return str(self.node("ConstantOfShape", self.integers(shape)))

    def linear(self, x: str, out: int, inner: int, bias: bool = True) -> str:
        y = self.node("MatMul", x, self.weight(inner, out))
        return str(self.node("Add", y, self.weight(out)) if bias else y)

    def norm(self, x: str, rms: bool) -> str:
        if rms:
            return str(self.node("RMSNormalization", x, self.weight(HIDDEN), axis=-1, epsilon=1e-6))
        return str(self.node("LayerNormalization", x, self.weight(HIDDEN), self.weight(HIDDEN), axis=-1))

    def attention(self, x: str, *, kv_heads: int, bias: bool, causal: bool, tables: tuple[str, str] | None) -> str:
        heads = []
        for count in (HEADS, kv_heads, kv_heads):
            y = self.node("Reshape", self.linear(x, count * SIZE, HIDDEN, bias), self.integers([1, TOKENS, -1, SIZE]))
            heads.append(self.node("Transpose", y, perm=[0, 2, 1, 3]))
        if tables is not None:
            heads[:2] = [self.rotated(y, *tables) for y in heads[:2]]
        y = self.node("Attention", *heads, is_causal=int(causal))
        y = self.node("Reshape", self.node("Transpose", y, perm=[0, 2, 1, 3]), self.integers([1, TOKENS, HIDDEN]))
        return self.linear(y, HIDDEN, HIDDEN, bias)

    def rotated(self, x: str, cos: str, sin: str) -> str:
        """x * cos + rotate_half(x) * sin."""
        low, high = self.node("Split", x, outputs=2, axis=-1, num_outputs=2)
        half = self.node("Concat", self.node("Neg", high), low, axis=-1)
        return str(self.node("Add", self.node("Mul", x, cos), self.node("Mul", half, sin)))

    def mlp(self, x: str, gated: bool, approximate: str) -> str:
        if gated:
            gate, up = (self.linear(x, INNER, HIDDEN, False) for _ in range(2))
            inner = self.node("Mul", self.node("Mul", gate, self.node("Sigmoid", gate)), up)
        else:
            inner = self.node("Gelu", self.linear(x, INNER, HIDDEN), approximate=approximate)
        return self.linear(inner, HIDDEN, INNER, not gated)

    def model(self, inputs: Mapping[str, Sequence[int]], output: str) -> Any:
        made = [helper.make_tensor_value_info(n, TensorProto.INT64, list(s)) for n, s in inputs.items()]
        result = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)]
        graph = helper.make_graph(self.nodes, "graph", made, result, self.initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)


def gpt2(*, causal: bool) -> Any:
    """Learned positions, norms before the parts, tied head."""
    f = File()
    table = f.weight(VOCABULARY, HIDDEN)
    x = f.node("Add", f.node("Gather", table, "ids"), f.weight(TOKENS, HIDDEN))
    for _ in range(LAYERS):
        x = f.node("Add", x, f.attention(f.norm(x, False), kv_heads=HEADS, bias=True, causal=causal, tables=None))
        x = f.node("Add", x, f.mlp(f.norm(x, False), False, "tanh"))
    return f.model({"ids": [1, TOKENS]}, f.node("MatMul", f.norm(x, False), f.node("Transpose", table, perm=[1, 0])))


def llama(*, causal: bool, kv_heads: int = 2) -> Any:
    """RMSNorm, rotary embedding, grouped queries, a gated MLP, a head of its own."""
    f = File()
    tables = f.weight(TOKENS, SIZE), f.weight(TOKENS, SIZE)
    x = f.node("Gather", f.weight(VOCABULARY, HIDDEN), "ids")
    for _ in range(LAYERS):
        x = f.node("Add", x, f.attention(f.norm(x, True), kv_heads=kv_heads, bias=False, causal=causal, tables=tables))
        x = f.node("Add", x, f.mlp(f.norm(x, True), True, ""))
    return f.model({"ids": [1, TOKENS]}, f.linear(f.norm(x, True), VOCABULARY, HIDDEN, False))


def bert() -> Any:
    """Positions and token types, norms behind the sums, a pooler on the first token."""
    f = File()
    x = f.node("Add", f.node("Gather", f.weight(VOCABULARY, HIDDEN), "ids"), f.weight(TOKENS, HIDDEN))
    x = f.norm(f.node("Add", x, f.weight(HIDDEN)), False)
    for _ in range(LAYERS):
        y = f.attention(x, kv_heads=HEADS, bias=True, causal=False, tables=None)
        x = f.norm(f.node("Add", x, y), False)
        x = f.norm(f.node("Add", x, f.mlp(x, False, "none")), False)
    first = f.node("Reshape", f.node("Slice", x, *(f.integers([n]) for n in (0, 1, 1))), f.integers([1, HIDDEN]))
    y = f.node("Gemm", first, f.weight(HIDDEN, HIDDEN), f.weight(HIDDEN), transB=1)
    return f.model({"ids": [1, TOKENS]}, f.node("Tanh", y))


PLAIN = {"hidden_size": HIDDEN, "num_attention_heads": HEADS, "num_hidden_layers": LAYERS, "intermediate_size": INNER,
         "vocab_size": VOCABULARY, "max_position_embeddings": TOKENS}  # fmt: skip
CONFIGS: dict[str, dict[str, Any]] = {
    "gpt2": {"model_type": "gpt2", "n_embd": HIDDEN, "n_head": HEADS, "n_layer": LAYERS, "n_inner": INNER,
             "vocab_size": VOCABULARY, "n_positions": TOKENS},
    "llama": {"model_type": "llama", **PLAIN, "num_key_value_heads": 2},
    "bert": {"model_type": "bert", **PLAIN, "type_vocab_size": 2},
}  # fmt: skip
"""Configs of the same models."""
