"""SCALE-Sim topologies, cascades and ZigZag workloads: counts, meaning, what is refused and where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from accelsim.errors import BadInput, SpecError
from accelsim.ir import Role, Workload, evaluate, parse_cascade
from accelsim.workloads import load_model
from accelsim.workloads.text import loads_cascade, loads_scalesim, loads_zigzag


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def points(w: Workload) -> dict[str, int]:
    return {e.name: e.points for e, _ in w.einsums()}


def random_inputs(w: Workload) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {n: rng.standard_normal(t.shape) for n, t in w.tensors.items()
            if t.role in (Role.INPUT, Role.WEIGHT) and w.storage(n) == n}


# -- SCALE-Sim -------------------------------------------------------------------------------------------------------

CONVOLUTIONS = """Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,

Conv1, 227, 227, 11, 11, 3, 96, 4,
Depthwise, 14, 14, 3, 3, 512, 1, 2,
Conv1,7 ,9 ,1,3,2,4,1,
"""


def test_convolutions_of_a_topology(tmp_path: Path) -> None:
    w = load_model(write(tmp_path, "net.csv", CONVOLUTIONS))
    assert w.name == "net"
    assert points(w) == {
        "Conv1": 55 * 55 * 96 * 3 * 121,
        "Depthwise": 7 * 7 * 9 * 512,  # SCALE-Sim rounds (14 - 3 + 2) / 2 up; the filter is dense, as written
        "Conv1_2": 7 * 7 * 4 * 2 * 3,
    }
    assert w.macs == sum(points(w).values())
    assert w.tensors["Depthwise.filter"].shape == (1, 512, 3, 3)
    assert w.bytes_by_role()[Role.INPUT] == 3 * 227 * 227 + 512 * 14 * 14 + 2 * 7 * 9
    assert load_model(str(tmp_path / "net.csv"), bits=16).bytes_by_role()[Role.OUTPUT] == 2 * (96 * 55 * 55 + 49 + 196)


def test_last_window_reads_zeros_over_the_edge() -> None:
    w = loads_scalesim(CONVOLUTIONS.splitlines()[0] + "\nL, 4, 4, 3, 3, 1, 1, 2\n")
    x, f = (random_inputs(w)[f"L.{t}"][0, 0] for t in ("ifmap", "filter"))
    padded = np.pad(x, ((0, 1), (0, 1)))
    want = [[(padded[i:i + 3, j:j + 3] * f).sum() for j in (0, 2)] for i in (0, 2)]
    np.testing.assert_allclose(evaluate(w, random_inputs(w))["L.ofmap"][0, 0], want)


def test_matrix_products_and_columns_in_any_order() -> None:
    w = loads_scalesim("Layer, K, M, N, Sparsity\nL0, 384, 196, 192, 1:1,\nL1, 5, 3, 4,\n")
    assert points(w) == {"L0": 196 * 192 * 384, "L1": 60}
    assert w.tensors["L1.ifmap"].shape == (3, 5)
    assert w.tensors["L1.filter"].shape == (5, 4)


def test_strides_of_both_dimensions() -> None:
    header = CONVOLUTIONS.splitlines()[0].replace("Strides", "Stride Height, Stride Width")
    assert points(loads_scalesim(f"{header}\nL, 9, 9, 1, 1, 1, 1, 2, 4,\n")) == {"L": 5 * 3}


@pytest.mark.parametrize(("size", "kernel", "stride", "read"), [
    (9, 1, 2, {0, 2, 4, 6, 8}), (10, 1, 3, {0, 3, 6, 9}), (8, 1, 3, {0, 3, 6}), (11, 2, 5, {0, 1, 5, 6, 10}),
])
def test_pixels_between_windows_are_left_out(size: int, kernel: int, stride: int, read: set[int]) -> None:
    header = CONVOLUTIONS.splitlines()[0]
    w = loads_scalesim(f"{header}\nL, {size}, 5, {kernel}, 5, 2, 3, {stride},\n")
    assert w.tensors["L.ifmap"].shape == (1, 2, len(read), 5)
    windows = -(-(size - kernel) // stride) + 1
    assert w.tensors["L.ofmap"].shape == (1, 3, windows, 1)
    inputs = random_inputs(w)
    whole = np.zeros((2, windows * stride + kernel, 5))
    whole[:, sorted(read)] = inputs["L.ifmap"][0]
    want = [[(whole[:, i * stride:i * stride + kernel] * f).sum() for i in range(windows)] for f in inputs["L.filter"]]
    np.testing.assert_allclose(evaluate(w, inputs)["L.ofmap"][0, :, :, 0], want)


def test_layers_named_depthwise() -> None:
    w = loads_scalesim(CONVOLUTIONS.splitlines()[0] + "\nDP1, 8, 8, 3, 3, 16, 2, 1,\n")
    assert points(w) == {"DP1": 6 * 6 * 9 * 16 * 2}
    assert w.tensors["DP1.filter"].shape == (32, 1, 3, 3)


@pytest.mark.parametrize("text, message", [
    ("", r"n\.csv:1: no layers"),
    ("a, b\n1, 2\n", r"n\.csv:1: no column 'a'"),
    ("Layer, M, N, K, Kk\nL, 1, 1, 1, 1", r"n\.csv:1: no column 'kk' \(did you mean 'k'"),
    ("Layer, M, N\nL, 1, 1\n", r"n\.csv:1: .*columns ifmap height.*are missing"),
    ("Layer, M, N, K\n\nL, 1, x, 0,\n", r"n\.csv:3: n is 'x' \(a positive whole number\)\n.*n\.csv:3: k is '0'"),
    ("Layer, M, N, K\nL, 1, 1\n", r"n\.csv:2: has 3 fields, for 4 columns"),
    ("Layer, M, N, K\nL, 1, 1, 1, 1\n", r"n\.csv:2: has 5 fields, for 4 columns"),
    ("Layer, M, N, K, Sparsity\nL, 1, 1, 1, 2:4\n", r"n\.csv:2: sparsity is '2:4' \(only dense"),
    (CONVOLUTIONS.splitlines()[0] + "\nL, 3, 3, 5, 3, 1, 1, 1,\n", r"n\.csv:2: filter height 5 exceeds ifmap height 3"),
])
def test_a_wrong_topology_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        load_model(write(tmp_path, "n.csv", text))
    assert caught.value.exit_code == 2


# -- cascades --------------------------------------------------------------------------------------------------------

ATTENTION = """name: attention
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


def test_a_cascade_is_the_notation_with_roles_and_bits(tmp_path: Path) -> None:
    w = load_model(write(tmp_path, "a.yaml", ATTENTION))
    text = "\n".join(line[2:] for line in ATTENTION.splitlines() if line.startswith("- "))
    plain = parse_cascade(text, {"e": 4, "f": 4, "m": 6, "p": 5}, name="attention")
    assert w.body == plain.body
    assert w.macs == 2 * 4 * 6 * 5
    assert {n: (t.role, t.bits) for n, t in w.tensors.items() if n in "KVQ"} == {
        "K": (Role.STATE, 4), "V": (Role.STATE, 8), "Q": (Role.INPUT, 8)}
    assert [e.name for e, _ in w.einsums()][1] == "top"


def test_ranks_and_bits_can_be_set_from_outside(tmp_path: Path) -> None:
    w = load_model(write(tmp_path, "a.yaml", ATTENTION), bindings={"m": 600}, bits=32)
    assert w.macs == 2 * 4 * 600 * 5
    assert (w.tensors["K"].bits, w.tensors["V"].bits) == (4, 32)
    with pytest.raises(BadInput, match="no rank 'n' to size"):
        load_model(str(tmp_path / "a.yaml"), bindings={"n": 1})


def test_statements_as_a_block_of_text() -> None:
    head, rows = ATTENTION.split("einsums:\n")
    block = head + "einsums: |\n" + rows.replace("- ", "  ", 1).replace("\n- ", "\n  ")
    assert loads_cascade(block).body == loads_cascade(ATTENTION).body
    with pytest.raises(SpecError, match=r"^c\.yaml:10: rank 'x' has no size"):
        loads_cascade(block.replace("exp(QK[m,p]", "exp(QK[x,p]"), "c.yaml")


@pytest.mark.parametrize("old, new, message", [
    ("K[e,m]", "K[e,n]", r"c\.yaml:8: rank 'n' has no size"),
    ("exp(QK", "expp(QK", r"c\.yaml:10: .*expp"),
    ("max(m)", "max(p)", r"c\.yaml:9: reduction over rank 'p'"),
    ("m: 6", "m: 0", r"c\.yaml:2: ranks\.m: is 0 \(a positive whole number"),
    ("role: state", "role: stat", r"c\.yaml:5: tensors\.K\.role: is stat \(did you mean 'state'"),
    ("bits: 4", "bit: 4", r"c\.yaml:5: tensors\.K\.bit: unknown key 'bit'"),
    ("  V: state", "  W: state", r"c\.yaml:6: tensors\.W: no tensor 'W'"),
    ("ranks:", "rank:", r"c\.yaml:2: rank: unknown key 'rank' \(did you mean 'ranks'"),
    ("- SD[p] = SN[m,p]", "- [SD]", r"c\.yaml:11: einsums\.3: is \['SD'\] \(a statement"),
])
def test_a_wrong_cascade_is_refused_with_its_line(old: str, new: str, message: str) -> None:
    assert old in ATTENTION
    with pytest.raises(SpecError, match=message):
        loads_cascade(ATTENTION.replace(old, new), "c.yaml")


def test_keys_and_statements_of_a_cascade_are_refused_together() -> None:
    text = ATTENTION.replace("bits: 4", "bit: 4").replace("max(m)", "max(m").replace("m: 6", "m: 0")
    with pytest.raises(SpecError) as caught:
        loads_cascade(text, "c.yaml")
    assert [p.where.split(": ")[0] for p in caught.value.problems] == ["c.yaml:2", "c.yaml:5", "c.yaml:9"]


# -- ZigZag ----------------------------------------------------------------------------------------------------------

ZIGZAG = """- id: 0 # stride 2, padded by what is missing
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

- id: 2
  operator_type: Add
  equation: O[b][g][oy][ox]=W[b][g][oy][ox]+I[b][g][oy][ox]
  loop_dims: [B, G, OY, OX]
  loop_sizes: [1, 4, 4, 4]
  operand_precision: {W: 8, I: 8, O: 16, O_final: 8}
  operand_source: {W: 0, I: 1}

- id: 3
  operator_type: Gemm
  equation: O[b][k]+=I[b][c]*W[c][k]
  dimension_relations: []
  loop_dims: [B, C, K]
  loop_sizes: [1, 64, 10]
  operand_precision: {W: 8, I: 8, O: 32, O_final: 32}
  operand_source: {I: 2, W: 3}
"""


def test_a_zigzag_workload_is_joined_by_its_sources(tmp_path: Path) -> None:
    w = load_model(write(tmp_path, "z.yaml", ZIGZAG))
    assert w.macs == 4 * 3 * 16 * 9 + 64 * 10
    assert {n: (t.shape, t.role, t.bits) for n, t in w.tensors.items() if w.storage(n) == n} == {
        "Layer0.W": ((4, 3, 3, 3), Role.WEIGHT, 4), "Layer0.I": ((1, 3, 8, 8), Role.INPUT, 8),
        "Layer0.O": ((1, 4, 4, 4), Role.ACTIVATION, 8), "pool.O": ((1, 4, 4, 4), Role.ACTIVATION, 8),
        "Layer2.O": ((1, 4, 4, 4), Role.ACTIVATION, 8), "Layer3.W": ((64, 10), Role.WEIGHT, 8),
        "Layer3.O": ((1, 10), Role.OUTPUT, 32),
    }


def test_values_of_a_zigzag_workload() -> None:
    w = loads_zigzag(ZIGZAG)
    values = random_inputs(w)
    x = np.pad(values["Layer0.I"][0], ((0, 0), (1, 0), (1, 0)))
    y = np.array([[[(x[:, 2 * i:2 * i + 3, 2 * j:2 * j + 3] * f).sum() for j in range(4)] for i in range(4)]
                  for f in values["Layer0.W"]])
    padded = np.pad(y, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    pooled = np.array([[[c[i:i + 3, j:j + 3].max() for j in range(4)] for i in range(4)] for c in padded])
    want = (y + pooled).reshape(1, -1) @ values["Layer3.W"]
    np.testing.assert_allclose(evaluate(w, values)["Layer3.O"], want)


def test_layers_without_sources_stand_alone() -> None:
    text = "".join(line for line in ZIGZAG.splitlines(True) if "operand_source" not in line)
    w = loads_zigzag(text, bits=8)
    assert w.bytes_by_role()[Role.ACTIVATION] == 0
    assert w.macs == 4 * 3 * 16 * 9 + 64 * 10
    assert w.tensors["pool.I"].shape == (1, 4, 6, 6)


@pytest.mark.parametrize("old, new, message", [
    ("operator_type: Gemm", "operator_type: Gem",
     r"z\.yaml:31: 3\.operator_type: no operator 'Gem' \(did you mean 'Gemm'"),
    ("equation: O[b][k]+=I[b][c]*W[c][k]", "equation: O[b][k]+=I[b][d]*W[c][k]", r"z\.yaml:32: .*index 'd' is no loop"),
    ("equation: O[b][k]+=I[b][c]*W[c][k]", "equation: O = I", r"z\.yaml:32: .*is no equation"),
    ("[1, 64, 10]", "[1, 64]", r"z\.yaml:35: .*two lists of equal length"),
    ("[1, 64, 10]", "[1, 63, 10]", r"z\.yaml:37: .*reads \(1, 63\) of layer 2, which gives \(1, 4, 4, 4\)"),
    ("{I: 2, W: 3}", "{I: 9, W: 3}", r"z\.yaml:37: .*no layer 9 comes before"),
    ("ix=2*ox+1*fx", "ix:2*ox", r"z\.yaml:4: .*is no relation"),
    ("- id: 3\n", "- id: 2\n", r"z\.yaml:30: 3\.id: layer 2 is there twice"),
    ("  loop_dims: [B, C, K]\n", "", r"z\.yaml:30: 3: key 'loop_dims' is missing"),
    ("[[1, 0], [1, 0]]", "[[1, 0]]", r"z\.yaml:10: .*\[before, after\] for each"),
    ("[1, 4, 4, 4]", "[1, 5, 4, 4]", r"z\.yaml:24: .*runs over 5 elements, of which its source has 4"),
    ("operand_precision: {W: 8, I: 8, O: 32, O_final: 32}", "operand_precision: {W: 8, I: 8}",
     r"z\.yaml:36: .*no precision of 'O_final'"),
])
def test_a_wrong_zigzag_workload_is_refused_with_its_line(old: str, new: str, message: str) -> None:
    assert old in ZIGZAG
    with pytest.raises(SpecError, match=message):
        loads_zigzag(ZIGZAG.replace(old, new), "z.yaml")


# -- one entry for all -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, text, message", [
    ("m.yaml", "clock: 1 GHz\nmemories: {}\n", r"m\.yaml:1: this is a machine, not a model"),
    ("m.yaml", "3\n", r"m\.yaml:1: is no model \(a layer list has the key layers"),
    ("m.yml", "", r"m\.yml:1: is no model"),
    ("m.yaml", "a: [1\n", r"m\.yaml:\d: not valid YAML"),
])
def test_a_yaml_file_of_no_kind(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        load_model(write(tmp_path, name, text))


def test_a_missing_file_and_wrong_options(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"cannot read .*none\.csv: No such file"):
        load_model("none.csv")
    with pytest.raises(BadInput, match=r"model file 'net\.txt' does not exist .a \.onnx file"):
        load_model("net.txt")
    with pytest.raises(BadInput, match=r"a SCALE-Sim topology has no option 'batch' \(options here: bits\)"):
        load_model(write(tmp_path, "net.csv", CONVOLUTIONS), batch=2)
    with pytest.raises(BadInput, match=r"a ZigZag workload has no option 'bind\.b'"):
        load_model(write(tmp_path, "z.yaml", ZIGZAG), bindings={"b": 2})
    with pytest.raises(BadInput, match=r"an ONNX file has no option 'seq' \(options here: bits, bind.*; bind\.<dim"):
        load_model("onnx:resnet50", seq=2)
