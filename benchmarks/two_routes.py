"""Transformers by three routes: a Hugging Face config, torch.export, and the ONNX file that torch writes of the module.

python benchmarks/two_routes.py [--seq N] [--machine NAME ...] [MODEL ...]

Needs torch and onnxscript. Prints, per model, machine and route, MACs, operations, latency, energy and off-chip
traffic, the last three over those of the config, and exits with 1 if contractions differ: what else differs is stated
under "Conventions of importers" in docs/architecture.md.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as f

from accelsim import load_architecture, simulate
from accelsim.ir import Workload
from accelsim.workloads import load_model
from accelsim.workloads.huggingface import load_config

HIDDEN, HEADS, KV_HEADS, INNER, LAYERS, VOCABULARY = 64, 4, 2, 128, 2, 256
BITS = 16


class Attention(nn.Module):
    """Projections apart, scores by scaled_dot_product_attention, rotary embedding where tables are given."""

    def __init__(self, kv_heads: int = HEADS, bias: bool = True, causal: bool = True) -> None:
        super().__init__()
        self.size, self.kv_heads, self.causal = HIDDEN // HEADS, kv_heads, causal
        self.q, self.o = nn.Linear(HIDDEN, HIDDEN, bias), nn.Linear(HIDDEN, HIDDEN, bias)
        self.k, self.v = (nn.Linear(HIDDEN, kv_heads * self.size, bias) for _ in "kv")

    def forward(self, x: Any, tables: tuple[Any, Any] | None = None) -> Any:
        b, t, _ = x.shape
        q, k, v = (p(x).view(b, t, -1, self.size).transpose(1, 2) for p in (self.q, self.k, self.v))
        if tables is not None:
            q, k = (rotated(y, *tables) for y in (q, k))
        y = f.scaled_dot_product_attention(q, k, v, is_causal=self.causal, enable_gqa=self.kv_heads != HEADS)
        return self.o(y.transpose(1, 2).reshape(b, t, -1))


def rotated(x: Any, cos: Any, sin: Any) -> Any:
    """As transformers writes it: x * cos + rotate_half(x) * sin."""
    low, high = x.chunk(2, -1)
    return x * cos + torch.cat((-high, low), -1) * sin


class Mlp(nn.Module):
    def __init__(self, activation: Callable[[Any], Any], gated: bool = False, bias: bool = True) -> None:
        super().__init__()
        self.activation, self.gated = activation, gated
        self.up, self.down = nn.Linear(HIDDEN, INNER, bias), nn.Linear(INNER, HIDDEN, bias)
        if gated:
            self.gate = nn.Linear(HIDDEN, INNER, bias)

    def forward(self, x: Any) -> Any:
        inner = self.activation(self.gate(x)) * self.up(x) if self.gated else self.activation(self.up(x))
        return self.down(inner)


class Layer(nn.Module):
    def __init__(self, attention: Attention, mlp: Mlp, norm: Callable[[], Any], post: bool = False) -> None:
        super().__init__()
        self.attention, self.mlp, self.post = attention, mlp, post
        self.first, self.second = norm(), norm()

    def forward(self, x: Any, *tables: Any) -> Any:
        if self.post:
            x = self.first(x + self.attention(x, *tables))
            return self.second(x + self.mlp(x))
        x = x + self.attention(self.first(x), *tables)
        return x + self.mlp(self.second(x))


def gelu_tanh(x: Any) -> Any:
    return f.gelu(x, approximate="tanh")


class Gpt2(nn.Module):
    def __init__(self, seq: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(VOCABULARY, HIDDEN), nn.Embedding(seq, HIDDEN)
        self.layers = nn.ModuleList(
            Layer(Attention(), Mlp(gelu_tanh), lambda: nn.LayerNorm(HIDDEN)) for _ in range(LAYERS))
        self.norm = nn.LayerNorm(HIDDEN)

    def forward(self, ids: Any) -> Any:
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        for layer in self.layers:
            x = layer(x)
        return self.norm(x) @ self.tokens.weight.T


class Llama(nn.Module):
    def __init__(self, seq: int) -> None:
        super().__init__()
        self.tokens, self.head = nn.Embedding(VOCABULARY, HIDDEN), nn.Linear(HIDDEN, VOCABULARY, False)
        self.layers = nn.ModuleList(
            Layer(Attention(KV_HEADS, bias=False), Mlp(f.silu, gated=True, bias=False), lambda: nn.RMSNorm(HIDDEN))
            for _ in range(LAYERS))
        self.norm = nn.RMSNorm(HIDDEN)
        for name in ("cos", "sin"):
            self.register_buffer(name, torch.ones(seq, HIDDEN // HEADS))

    def forward(self, ids: Any) -> Any:
        x = self.tokens(ids)
        for layer in self.layers:
            x = layer(x, (self.cos, self.sin))
        return self.head(self.norm(x))


class Bert(nn.Module):
    def __init__(self, seq: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(VOCABULARY, HIDDEN), nn.Embedding(seq, HIDDEN)
        self.types, self.norm = nn.Embedding(2, HIDDEN), nn.LayerNorm(HIDDEN)
        self.layers = nn.ModuleList(
            Layer(Attention(causal=False), Mlp(f.gelu), lambda: nn.LayerNorm(HIDDEN), post=True)
            for _ in range(LAYERS))
        self.pooler = nn.Linear(HIDDEN, HIDDEN)

    def forward(self, ids: Any) -> Any:
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1])) + self.types.weight[0]
        x = self.norm(x)
        for layer in self.layers:
            x = layer(x)
        return torch.tanh(self.pooler(x[:, 0]))


class Vit(nn.Module):
    def __init__(self, seq: int) -> None:
        super().__init__()
        self.patches, self.side = nn.Conv2d(3, HIDDEN, 8, 8), 8 * int((seq - 1) ** 0.5)
        self.first = nn.Parameter(torch.zeros(1, 1, HIDDEN))
        self.positions = nn.Parameter(torch.zeros(1, seq, HIDDEN))
        self.layers = nn.ModuleList(
            Layer(Attention(causal=False), Mlp(f.gelu), lambda: nn.LayerNorm(HIDDEN)) for _ in range(LAYERS))
        self.norm, self.head = nn.LayerNorm(HIDDEN), nn.Linear(HIDDEN, 10)

    def forward(self, image: Any) -> Any:
        x = self.patches(image).flatten(2).transpose(1, 2)
        x = torch.cat((self.first.expand(x.shape[0], -1, -1), x), 1) + self.positions
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x)[:, 0])


def configs(seq: int) -> dict[str, dict[str, Any]]:
    """Configs of the same sizes as the modules."""
    plain = {"hidden_size": HIDDEN, "num_attention_heads": HEADS, "num_hidden_layers": LAYERS,
             "intermediate_size": INNER}  # fmt: skip
    return {
        "gpt2": {"model_type": "gpt2", "n_embd": HIDDEN, "n_head": HEADS, "n_layer": LAYERS, "n_inner": INNER,
                 "vocab_size": VOCABULARY, "n_positions": seq},
        "llama": {"model_type": "llama", **plain, "num_key_value_heads": KV_HEADS, "vocab_size": VOCABULARY},
        "bert": {"model_type": "bert", **plain, "vocab_size": VOCABULARY, "max_position_embeddings": seq,
                 "type_vocab_size": 2},
        "vit": {"model_type": "vit", **plain, "image_size": 8 * int((seq - 1) ** 0.5), "patch_size": 8,
                "num_labels": 10},
    }  # fmt: skip


MODULES: dict[str, Callable[[int], nn.Module]] = {"gpt2": Gpt2, "llama": Llama, "bert": Bert, "vit": Vit}


def routes(name: str, seq: int, folder: Path) -> dict[str, Workload]:
    """The Workload of a model by each route."""
    module = MODULES[name](seq).eval()
    side = 8 * int((seq - 1) ** 0.5)
    args = (torch.zeros(1, 3, side, side),) if name == "vit" else (torch.zeros(1, seq, dtype=torch.long),)
    config = load_config(configs(seq)[name], name=name)
    found = {
        "config": config.prefill(seq=None if name == "vit" else seq, bits=BITS),
        "torch.export": load_model(torch.export.export(module, args), bits=BITS),
    }
    for opset in (18, 23):
        path = folder / f"{name}_{opset}.onnx"
        with contextlib.redirect_stdout(io.StringIO()):
            torch.onnx.export(module, args, path, dynamo=True, opset_version=opset, verbose=False)
        found[f"ONNX {opset}"] = load_model(path, bits=BITS)
    return found


def contractions(w: Workload) -> Counter[tuple[int, int]]:
    """MACs and products per sum of the contractions; heads with and without groups are alike in both."""
    found: Counter[tuple[int, int]] = Counter()
    for einsum, times in w.einsums():
        if einsum.is_contraction:
            found[prod(einsum.sizes.values()), prod(einsum.sizes[r] for r in einsum.reduced_ranks)] += times
    return found


ROW = "{:<6} {:<9} {:<13} {:>10} {:>10} {:>9} {:>7} {:>7} {:>8}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(MODULES))
    parser.add_argument("--seq", type=int, default=65, help="tokens; of ViT, a square and one")
    parser.add_argument("--machine", nargs="*", default=["edge_npu", "tpu_like"])
    parser.add_argument("--kinds", action="store_true", help="print how many Einsums of each kind a route has")
    options = parser.parse_args()
    same = True
    print(ROW.format("model", "machine", "route", "MACs", "other ops", "cycles", "", "energy", "traffic"))
    for name in options.models:
        with tempfile.TemporaryDirectory() as folder:
            found = routes(name, options.seq, Path(folder))
        wanted = contractions(found["config"])
        for route, workload in found.items():
            if contractions(workload) != wanted:
                same = False
                print(f"{name} by {route}: contractions {contractions(workload) - wanted} and not "
                      f"{wanted - contractions(workload)}")
            if options.kinds:
                print(name, route, dict(Counter(
                    kind for e, times in workload.einsums() for kind in [e.kind] * times)))
        for machine in options.machine:
            print_machine(name, machine, found)
    return 0 if same else 1


def print_machine(name: str, machine: str, found: dict[str, Workload]) -> None:
    arch = load_architecture(machine)
    base: Any = None
    for route, workload in found.items():
        report = simulate(arch, workload)
        base = base or report
        names = [memory.name for memory in arch.off_chip]
        traffic, of_base = (sum(sum(r.traffic_bytes[n].values()) for n in names) for r in (report, base))
        others = sum(n for cost_class, n in workload.operations().counts.items() if cost_class != "mac")
        print(ROW.format(
            name, machine, route, workload.macs, others, round(report.cycles), f"{report.cycles / base.cycles:.3f}",
            f"{report.energy_J / base.energy_J:.3f}", f"{traffic / of_base:.3f}"))  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
