"""The valid files that mutations start from, by kind."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from io import StringIO
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]

SMALL_MACHINE = """\
name: small
clock: 1 GHz
technology: 16 nm
memories:
  dram: {kind: dram, capacity: 4 GiB, bandwidth: 16 GB/s, latency: 80 ns}
  sram: {kind: buffer, parent: dram, capacity: 64 KiB, bandwidth: 64 B/cycle}
units:
  array: {kind: systolic, memory: sram, rows: 16, cols: 8, dataflows: [os, ws, is]}
  vector: {kind: vector, memory: sram, lanes: 16}
links:
  bus: {kind: link, between: [dram, sram], bandwidth: 8 GB/s}
"""

TIERED_MACHINE = """\
name: tiered
clock: 1 GHz
voltage: 0.8 V
operating_point: {voltage: 0.9 V, clock: 1.1 GHz}
memories:
  ddr: {kind: dram, capacity: 64 GiB, bandwidth: 20 GB/s, standard: DDR4}
  hbm:
    kind: open_row_dram
    parent: ddr
    capacity: 1 GiB
    bandwidth: 64 GB/s
    banks: 16
    row: 1 KiB
    burst: 64 B
    activate: 14 ns
    precharge: 14 ns
    refresh_interval: 3.9 us
    refresh_time: 350 ns
  sram: {kind: buffer, parent: hbm, capacity: 256 KiB, bandwidth: 128 B/cycle, leakage: 1 mW, read_energy: 1 pJ/B}
units:
  array: {kind: systolic, memory: sram, rows: 8, cols: 8}
  vector: {kind: vector, memory: sram, lanes: 8, rates: {exp: 1/6, div: 0.125}}
tables: {sram: {write: 2 pJ/B}}
"""

VARIANT = """\
extends: tpu_like
clock: 1.2 GHz
units:
  vpu: {lanes: 64}
memories:
  hbm: {bandwidth: 1 TB/s}
"""

POOL_MACHINE = """\
name: pool
clock: 1 GHz
technology: 7 nm
memories:
  dram: {kind: dram, capacity: 1 GiB, bandwidth: 16 GB/s, standard: HBM2}
  sram: {kind: buffer, capacity: 256 KiB, parent: dram, bandwidth: 64 B/cycle}
units:
  pool: {kind: core_pool, memory: sram, cores: 12, multipliers: 4, switches: {auto: 20 ns, host: 1 us}}
"""

SWEEP = """\
arch: [edge_npu, tpu_like]
models:
- gpt2
- {ref: "onnx:squeezenet", bits: 8}
axes:
- {arch.memories.sram.capacity: {from: 64 KiB, to: 1 MiB, points: 5, log: true}, when: arch == 'edge_npu'}
- {model.batch: [1, 2], when: model == 'gpt2'}
- {arch.clock: {from: 0.5 GHz, to: 1 GHz, step: 0.25 GHz}}
when: arch.clock >= 600 MHz and (model.batch == 1 or capacity >= 512 KiB)
sample: {method: random, points: 4, seed: 7}
derived: {edp: latency * energy}
constraints: [energy <= 3 mJ, edp <= 1, 1 ms < latency < 3 ms]
pareto: [edp, -macs / latency, log2(cycles) ** 2]
"""

CHAIN = """\
name: chain
ranks: {m: 12, n: 10, k: 24}
bits: 8
tensors:
  B: weight
einsums:
- S[m,n] = A[m,k] * B[k,n]
- E[m,n] = exp(S[m,n])
"""

ATTENTION = """\
name: attention
ranks: {e: 4, f: 4, m: 6, p: 5}
bits: 8
tensors:
  K: {role: state, bits: 4}
  V: state
einsums:
- QK[m,p] = Q[e,p] * K[e,m]
- top: GM[p] = max(m) QK[m,p]
- SN[m,p] = exp(QK[m,p] - GM[p])
- SD[p] = SN[m,p]
- A[m,p] = SN[m,p] / SD[p]
- AV[f,p] = A[m,p] * V[f,m]
"""

RUNNING_MAXIMUM = """\
name: running
ranks: {i: 5, p: 3}
einsums: |
  RM[0,p] = -inf
  RM[i+1,p] = max(RM[i,p], L[i,p])
  Y[p] = tanh(RM[5,p]) + 0.5
"""

LAYERS = """\
name: tiny
source: written for tests
input: [3, 12, 12]
blocks:
  unit:
    parameters: {out: null, stride: 1}
    layers:
    - conv: {out: $out, kernel: 3, stride: $stride, pad: 1, bias: false}
    - batch_norm
    - relu
layers:
- unit: {out: 4}
- residual: [unit: {out: 4}]
- concat: [[unit: 4], [{max_pool: {kernel: 3, stride: 1, pad: 1}}]]
- times: {count: 2, layers: [unit: 8]}
- global_pool
- flatten
- linear: {out: 10}
"""

ZIGZAG = """\
- id: 0
  operator_type: Conv
  equation: O[b][k][oy][ox]+=W[k][c][fy][fx]*I[b][c][iy][ix]
  dimension_relations: [ix=2*ox+1*fx, iy=2*oy+1*fy]
  loop_dims: [B, K, C, OY, OX, FY, FX]
  loop_sizes: [1, 4, 3, 4, 4, 3, 3]
  operand_precision: {W: 4, I: 8, O: 16, O_final: 8}
  operand_source: {I: 0, W: 0}
  pr_loop_dims: [IX, IY]
  padding: [[1, 0], [1, 0]]
- id: 1
  name: pool
  operator_type: Pooling
  equation: O[b][g][oy][ox]+=W[fx][fy]*I[b][g][iy][ix]
  dimension_relations: [ix=1*ox+1*fx, iy=1*oy+1*fy]
  loop_dims: [B, G, OY, OX, FX, FY]
  loop_sizes: [1, 4, 4, 4, 3, 3]
  operand_precision: {W: 0, I: 8, O: 16, O_final: 8}
  operand_source: {I: 0, W: 1}
- id: 3
  operator_type: Gemm
  equation: O[b][k]+=I[b][c]*W[c][k]
  dimension_relations: []
  loop_dims: [B, C, K]
  loop_sizes: [1, 64, 10]
  operand_precision: {W: 8, I: 8, O: 32, O_final: 32}
  operand_source: {I: 1, W: 3}
"""

CONVOLUTIONS = """\
Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,

Conv1, 11, 11, 3, 3, 3, 8, 2,
Depthwise, 7, 7, 3, 3, 5, 1, 2,
Conv1,7 ,9 ,1,3,2,4,1,
"""

PRODUCTS = """\
Layer, K, M, N, Sparsity
L0, 32, 19, 12, 1:1,
L1, 5, 3, 4,
"""

ZIGZAG_HARDWARE = """\
name: small
memories:
  rf_o: {size: 16, r_cost: 1, w_cost: 1, operands: [O], served_dimensions: [D2], ports: [
    {name: rw, type: read_write, bandwidth_min: 8, bandwidth_max: 16, allocation: []}]}
  sram: {size: 1048576, r_cost: 4, w_cost: 8, operands: [I1, I2, O], served_dimensions: [D1, D2], ports: [
    {name: r, type: read, bandwidth_min: 8, bandwidth_max: 64, allocation: []},
    {name: w, type: write, bandwidth_min: 8, bandwidth_max: 64, allocation: []}]}
  dram: {size: 10000000000, r_cost: 70, w_cost: 70, operands: [I1, I2, O], served_dimensions: [D1, D2], ports: [
    {name: rw, type: read_write, bandwidth_min: 8, bandwidth_max: 64, allocation: []}]}
operational_array: {unit_energy: 0.04, dimensions: [D1, D2], sizes: [8, 4]}
"""
TIMELOOP_ARCHITECTURE = """\
architecture:
  version: 0.4
  nodes:
  - !Container {name: system, attributes: {technology: 45nm, global_cycle_seconds: 1e-9}}
  - !Component {name: main, class: DRAM, attributes: {type: LPDDR4, width: 64, datawidth: 8, shared_bandwidth: 16}}
  - !Component
    name: glb
    class: SRAM
    attributes: {depth: 1024 * 16, width: 64, read_bandwidth: 16, write_bandwidth: 16}
    constraints: {dataspace: {keep: [Inputs, Outputs], bypass: [Weights]}}
  - !Container {name: pe, spatial: {meshX: 8, meshY: 4}}
  - !Component {name: sums, class: regfile, attributes: {depth: 16}, constraints: {dataspace: {keep: [Outputs]}}}
  - !Component {name: mac, class: intmac, attributes: {multiplier_width: 8}}
"""
SCALESIM_CFG = """\
[general]
run_name = small_ws

[architecture_presets]
ArrayHeight:    12
ArrayWidth:     14
IfmapSramSzkB:    36
FilterSramSzkB:   18
OfmapSramSzkB:    10
IfmapOffset:    0
Dataflow : ws
Bandwidth : 10

[run_presets]
InterfaceBandwidth: USER
"""

TABLE = """\
component,action,value,source
sram,read,3.9 pJ/bit,measured
buffer,area,1.4 mm2,
vector,mul,0.2 pJ,
"""

PIPED = """\
workload: chain
architecture: small
root:
  loop: {rank: m, tile: 4}
  body:
    pipe:
      depths: [2]
      stages:
      - {op: S, unit: array, variant: os}
      - {op: E, unit: vector, variant: simd}
stays:
- {tensor: A, memory: dram}
- {tensor: B, memory: dram}
- {tensor: E, memory: dram}
- {tensor: S, memory: sram}
moves:
- {tensor: A, from: dram, to: sram, issue: body, due: body}
- {tensor: B, from: dram, to: sram, issue: ., due: .}
- {tensor: E, from: sram, to: dram, issue: body, due: body, store: true}
"""

STREAM = """\
name: softmax
clock: 2 GHz
defaults: {depth: 4, latency: 2}
memories:
  dram: {bandwidth: 16 B/cycle, burst: 32 B, policy: round_robin}
units: {pcu: 3}
nodes:
  load: {kind: memory, memory: dram, bytes: 128, latency: 20, firings: 4}
  noise: {kind: traffic, memory: dram, bytes: 64, firings: 20}
  scores: {}
  exp: {latency: 4, ii: 1}
  total: {kind: reduce, length: 16, unit: pcu, units: 2}
  divide: {inputs: [score, sum], outputs: [weight]}
  out: {kind: sink}
streams:
- {from: load, to: scores, put: 16, depth: 32, space_at_end: true}
- scores -> exp
- {from: exp, to: divide.score, depth: 24, bits: 8, name: long}
- {from: exp, to: total, credit_latency: 2, init: 0}
- {from: total, to: divide.sum, take: {every: 16, at: first}}
- {from: divide.weight, to: out, put: [1, 1], take: {runs: [[2, 1]]}, depth: unbounded, latency: 3}
"""

PHASES = """\
workload: attention
architecture: pool
phases:
  unit: pool
  switch: host
  parts:
  - - stages:
      - {task: QK, cores: 5, outer: p, pieces: 5, resident: [K]}
      - {task: top, cores: 2, outer: p, pieces: 5}
      - {task: SN, cores: 2, outer: p, pieces: 5}
      keep: [SN]
    - stages:
      - {task: SD, cores: 2}
      - {task: A, cores: 2}
      - {task: AV, cores: 3, outer: f, pieces: 2, resident: [A]}
"""

CONSTRAINTS = """\
operators:
  "*": {unit: array}
  S: {variant: ws, order: [m, k, n], tiles: {m: 4, k: 8}}
  "[ET]*": {unit: vector, variant: simd}
tensors:
  "B*": dram
  A: dram
"""

GPT2: dict[str, Any] = {
    "model_type": "gpt2", "activation_function": "gelu_new", "n_ctx": 64, "n_embd": 16, "n_head": 2, "n_layer": 2,
    "n_positions": 64, "tie_word_embeddings": True, "vocab_size": 40,
}  # fmt: skip


def tree(text: str) -> Any:
    """YAML text as plain values."""
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True).load(StringIO(text))


@cache
def texts(family: str) -> Mapping[str, str]:
    """The files of a family: their names with the right ending, and their text."""
    return {
        "machine": _machines,
        "sweep": _sweeps,
        "mapping": _mappings,
        "constraints": lambda: {"constraints.yaml": CONSTRAINTS},
        "stream": lambda: {
            "stream.yaml": STREAM, **_folder("docs/examples", "*_stream.yaml"),
            **_folder("experiments", "fifo_sizing/*.yaml"),
        },
        "phases": _phases,
        "text": _texts,
        "config": _configs,
    }[family]()


def _folder(name: str, pattern: str) -> dict[str, str]:
    return {p.name: p.read_text(encoding="utf-8") for p in sorted((ROOT / name).glob(pattern))}


def _sweeps() -> dict[str, str]:
    """Those of presets alone: a case is one file, and cannot name a machine beside it."""
    found = {**_folder("docs/examples", "*_sweep.yaml"), "sweep.yaml": SWEEP}
    return {name: text for name, text in found.items() if not re.search(r"(?m)^arch: .*\.yaml", text)}


def _machines() -> dict[str, str]:
    own = {
        "small.yaml": SMALL_MACHINE, "tiered.yaml": TIERED_MACHINE, "variant.yaml": VARIANT,
        "scalesim.cfg": SCALESIM_CFG,
        "zigzag_hardware.yaml": ZIGZAG_HARDWARE,
        "timeloop.yaml": TIMELOOP_ARCHITECTURE,
        "table.csv": TABLE,
    }  # fmt: skip
    found = {**own, **_folder("arch_specs", "*.yaml"), **_folder("experiments", "*/*.yaml")}
    # Models lie beside the machines of experiments. A case is one file, and cannot extend the one beside it.
    other = re.compile(r"(?m)^(layers|einsums|root|nodes|tasks):|^extends:.*(\.yaml|pass)$")
    return {name: text for name, text in found.items() if not other.search(text)}


def _texts() -> dict[str, str]:
    own = {
        "chain.yaml": CHAIN, "attention.yaml": ATTENTION, "running.yaml": RUNNING_MAXIMUM, "tiny.yaml": LAYERS,
        "zigzag.yaml": ZIGZAG, "convolutions.csv": CONVOLUTIONS, "products.csv": PRODUCTS,
    }  # fmt: skip
    zoo = resources.files("accelsim.workloads.zoo")
    picked = (
        "resnet18", "mobilenet_v3_small", "densenet121", "vit_b_16", "swin_t", "mixer_b16", "squeezenet1_1", "fsrcnn",
    )  # fmt: skip
    return {**own, **{f"{n}.yaml": (zoo / f"{n}.yaml").read_text(encoding="utf-8") for n in picked}}


def _configs() -> dict[str, str]:
    zoo = resources.files("accelsim.workloads.zoo")
    found = {f.name: f.read_text(encoding="utf-8") for f in zoo.iterdir() if f.name.endswith(".json")}
    return {"tiny.json": json.dumps(GPT2, indent=1), **dict(sorted(found.items()))}


def _mappings() -> dict[str, str]:
    """One by hand, and what the mapper makes of a cascade and of a transformer whose layers repeat."""
    from accelsim import simulate
    from accelsim.arch import loads_architecture
    from accelsim.mapping import dumps_mapping

    arch = loads_architecture(SMALL_MACHINE)
    found = {"piped.yaml": PIPED}
    for name in ("chain", "transformer"):
        mapping = simulate(arch, workload(name)).mapping
        assert mapping is not None
        found[f"{name}.yaml"] = re.sub(r"(?m)^ *seconds: .*\n", "", dumps_mapping(mapping))
    return found


def _phases() -> dict[str, str]:
    """One by hand, and what the mapper makes of a transformer whose layers repeat."""
    from accelsim.arch import loads_architecture
    from accelsim.mappers.phases.mapper import map_workload
    from accelsim.mapping import dumps_mapping

    mapping = map_workload(workload("transformer"), loads_architecture(POOL_MACHINE))
    return {"phases.yaml": PHASES, "transformer.yaml": re.sub(r"seconds: [^,]*, ", "", dumps_mapping(mapping))}


@cache
def workload(name: str) -> Any:
    """The small Workloads that machines and Mappings are tried with."""
    if name == "transformer":
        from accelsim.workloads.huggingface import load_config

        return load_config(GPT2, name="transformer").prefill(seq=4)
    from accelsim.workloads.text import loads_cascade

    if name == "attention":
        return loads_cascade(ATTENTION, "attention.yaml")
    return loads_cascade(CHAIN, "chain.yaml")


# -- ONNX ------------------------------------------------------------------------------------------------------------


@cache
def models() -> Mapping[str, Any]:
    """ModelProtos: the networks of the onnx package, and small graphs of one group of operators each."""
    import onnx

    from accelsim.workloads.onnx_import import wheel_models

    found = {name: onnx.ModelProto.FromString(path.read_bytes()) for name, path in wheel_models().items()}
    return {**_graphs(), **found}


def _graphs() -> dict[str, Any]:
    import numpy as np

    from support.onnx_graphs import graph, node

    def ones(*shape: int) -> Any:
        return np.ones(shape, np.float32)

    def ints(*values: int) -> Any:
        return np.array(values, np.int64)

    branches = [graph([node(op, ["x"], ["b"])], {}, ["b"]).graph for op in ("Relu", "Exp")]
    return {
        "dense": graph(
            [node("Gemm", ["x", "w", "c"], ["h"], transB=1), node("Relu", ["h"], ["r"]),
             node("LayerNormalization", ["r", "g"], ["l"], axis=-1), node("Softmax", ["l"], ["y"], axis=1)],
            {"x": (5, 8)}, ["y"], {"w": ones(6, 8), "c": ones(6), "g": ones(6)}),
        "shapes": graph(
            [node("Shape", ["x"], ["s"]), node("Gather", ["s", "i"], ["n"]), node("Concat", ["n", "m"], ["to"], axis=0),
             node("Reshape", ["x", "to"], ["r"]), node("Transpose", ["r"], ["t"], perm=[1, 0]),
             node("Slice", ["t", "from", "till"], ["p"]), node("Split", ["p"], ["a", "b"], num_outputs=2),
             node("Unsqueeze", ["a", "i"], ["u"]), node("Expand", ["u", "big"], ["e"]), node("ReduceSum", ["e"], ["z"]),
             node("Mul", ["b", "z"], ["y"])],
            {"x": (2, 3, 4)}, ["y"],
            {"i": ints(0), "m": ints(-1), "from": ints(0), "till": ints(4), "big": ints(3, 2, 2)}),
        "convolution": graph(
            [node("Conv", ["x", "w"], ["h"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2], group=1),
             node("BatchNormalization", ["h", "g", "g", "g", "g"], ["n"]),
             node("MaxPool", ["n"], ["p"], kernel_shape=[2, 2]),
             node("ConvTranspose", ["p", "v"], ["t"], strides=[2, 2]),
             node("Resize", ["t", "", "s"], ["r"], mode="nearest"),
             node("Pad", ["r", "q"], ["f"]), node("GlobalAveragePool", ["f"], ["y"])],
            {"x": (1, 3, 8, 8)}, ["y"],
            {"w": ones(4, 3, 3, 3), "g": ones(4), "v": ones(4, 2, 2, 2), "s": np.array([1, 1, 2, 2], np.float32),
             "q": ints(0, 0, 1, 1, 0, 0, 1, 1)}),
        "recurrent": graph(

            [node("LSTM", ["x", "w", "r"], ["", "h"], hidden_size=3),
             node("GRU", ["x", "v", "u"], ["g"], hidden_size=3)],
            {"x": (4, 1, 5)}, ["h", "g"],
            {"w": ones(1, 12, 5), "r": ones(1, 12, 3), "v": ones(1, 9, 5), "u": ones(1, 9, 3)}),
        "quantised": graph(
            [node("QuantizeLinear", ["x", "s", "z"], ["q"]),
             node("QLinearMatMul", ["q", "s", "z", "w", "s", "o", "s", "z"], ["m"]),
             node("DequantizeLinear", ["m", "s", "z"], ["y"])],
            {"x": (3, 4)}, ["y"],
            {"s": np.array(0.5, np.float32), "z": np.array(3, np.uint8), "w": np.ones((4, 5), np.int8),
             "o": np.array(0, np.int8)}),
        "branches": graph(
            [node("Equal", ["two", "two"], ["c"]),
             node("If", ["c"], ["i"], then_branch=branches[0], else_branch=branches[1]),
             node("Einsum", ["i", "x"], ["e"], equation="ij,kj->ik"), node("Clip", ["e", "", "top"], ["y"])],
            {"x": (3, 4)}, ["y"], {"two": ints(2), "top": np.array(6, np.float32)}),
    }  # fmt: skip
