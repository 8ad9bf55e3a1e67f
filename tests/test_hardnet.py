"""HarDNet's experiment responds to its machine; harmonic blocks and their layers mean what the paper says."""

from __future__ import annotations

import numpy as np
import pytest
from support.cli import accelsim

from accelsim import load_model, simulate
from accelsim.arch.loader import load_spec
from accelsim.errors import SpecError
from accelsim.experiments.loader import Row, data_path
from accelsim.ir import Role, evaluate
from accelsim.workloads.layers import loads_layers
from accelsim.workloads.layers.blocks import harmonic_links

GPU = "accelsim.experiments.hardnet"


def latency(values: dict[str, object]) -> float:
    spec = load_spec(data_path(GPU, "gtx_1080.yaml"))
    return simulate(spec.with_values(values).build(), load_model("resnet18", bits=32, resolution=256)).latency_s


# 20 % up and down; parameters of a few whole steps by one of them.
MOVED: dict[str, tuple[object, object, object]] = {
    "clock": ("1386 MHz", "1733 MHz", "2080 MHz"),
    "memories.dram.bandwidth": ("256 GB/s", "320 GB/s", "384 GB/s"),
    "units.lanes.arrays": (16, 20, 24),
    "units.lanes.rows": (13, 16, 19),
    "units.lanes.cols": (6, 8, 10),
    "memories.l2.capacity": ("1638 KiB", "2048 KiB", "2458 KiB"),
    "units.lanes.accumulators": ("205 KiB", "256 KiB", "307 KiB"),
}


@pytest.mark.parametrize("path", sorted(MOVED))
def test_more_of_a_part_is_faster(path: str) -> None:
    less, same, more = (latency({path: value}) for value in MOVED[path])
    assert less >= same >= more
    if not path.startswith(("memories.l2", "units.lanes.acc")):
        assert less > more


@pytest.mark.parametrize(("path", "less", "more"), [
    ("memories.l2.read_bandwidth", "2048 B/cycle", "3072 B/cycle"),
    ("memories.l2.write_bandwidth", "2048 B/cycle", "3072 B/cycle"),
    ("memories.dram.capacity", "6.4 GB", "9.6 GB"),
    ("units.vector.lanes", 2048, 3072),
])
def test_what_does_not_limit_hardly_matters(path: str, less: object, more: object) -> None:
    """The lanes' port and DRAM are the limits of every operator here; the rest moves a few fills and drains."""
    assert latency({path: less}) == pytest.approx(latency({path: more}), rel=0.03)
    assert latency({path: less}) >= latency({path: more})


def test_links_of_a_harmonic_block() -> None:
    """Figure 2 of the paper: layer 8 takes 7, 6, 4 and 0 and is the widest."""
    links = harmonic_links(8, 64, 14, 1.7)
    assert [sources for _, sources in links] == [
        [], [0], [1, 0], [2], [3, 2, 0], [4], [5, 4], [6], [7, 6, 4, 0]
    ]  # fmt: skip
    assert [out for out, _ in links] == [64, 14, 24, 14, 40, 14, 24, 14, 68]


@pytest.mark.parametrize("keep", [True, False])
def test_harmonic_block_joins_what_it_links(keep: bool) -> None:
    text = f"""
input: [3, 2, 2]
layers:
- harmonic_block:
    {{count: 2, growth: 2, factor: 2, keep: {str(keep).lower()}, each: [conv: {{out: $out, bias: false}}]}}
"""
    w = loads_layers(text)
    rng = np.random.default_rng(1)
    values = {n: rng.standard_normal(t.shape) for n, t in w.tensors.items() if t.role in (Role.INPUT, Role.WEIGHT)}
    (output,) = (n for n, t in w.tensors.items() if t.role is Role.OUTPUT)
    x = values["input"][0]
    first, second = (values[n][:, :, 0, 0] for n in ("conv.weight", "conv_2.weight"))
    one = np.einsum("oc,chw->ohw", first, x)
    two = np.einsum("oc,chw->ohw", second, np.concatenate([one, x]))
    want = np.concatenate([*([x] if keep else []), one, two])
    np.testing.assert_allclose(evaluate(w, values)[output][0], want)


def test_every_fourth_layer_has_a_bottleneck() -> None:
    text = """
input: [16, 4, 4]
layers:
- harmonic_block:
    count: 4
    growth: 8
    factor: 2
    each: [conv: {out: $out, kernel: 3, pad: 1}]
    fourth: [conv: {out: $middle, name: middle}, conv: {out: $out, kernel: 3, pad: 1}]
"""
    w = loads_layers(text)
    # Layer 4 takes 8 + 16 + 16 channels and gives 32: the geometric mean is 35.8.
    assert w.tensors["middle.weight"].shape == (35, 40, 1, 1)
    assert w.tensors["conv_4.weight"].shape == (32, 35, 3, 3)


def test_a_layer_of_a_harmonic_block_must_give_its_channels() -> None:
    with pytest.raises(SpecError, match=r"layer 1 gives 5 channels .8 .\$out"):
        loads_layers("input: [4, 2, 2]\nlayers:\n- harmonic_block: {count: 2, growth: 8, factor: 2, each: [conv: 5]}\n")


def test_l2_norm_and_transposed_convolution() -> None:
    w = loads_layers("input: [3, 2, 2]\nlayers: [l2_norm, transposed_conv: {out: 2, kernel: 2, stride: 2}]\n")
    rng = np.random.default_rng(2)
    values = {n: rng.standard_normal(t.shape) for n, t in w.tensors.items() if t.role in (Role.INPUT, Role.WEIGHT)}
    (output,) = (n for n, t in w.tensors.items() if t.role is Role.OUTPUT)
    x = values["input"][0]
    normed = x / np.sqrt((x**2).mean(0)) * values["l2_norm.scale"]
    want = np.einsum("chw,cors->ohrws", normed, values["transposed_conv.weight"]).reshape(2, 4, 4)
    want = want + values["transposed_conv.bias"][:, None, None]
    np.testing.assert_allclose(evaluate(w, values)[output][0], want, rtol=1e-6)


def test_figure_shows_both_sides() -> None:
    from accelsim.experiments.hardnet.experiment import figure

    def row(quantity: str, where: str, published: float | None, got: float) -> Row:
        return Row(quantity, where, published, got, "", None, "s", "n")

    rows = [row("latency", "A, 1024x1024, GTX 1080", 3.0, 2.0), row("off-chip traffic", "A, 1024x1024", None, 7.0),
            row("MACs", "A, 224x224", 1.0, 1.5), row("CIO", "A, 224x224", 5.0, 5.0)]  # fmt: skip
    marks = [(trace["name"], trace["x"], trace["y"]) for trace in figure(rows)["data"]]
    assert marks == [("accelsim", [1.5], [2.0]), ("published", [1.5], [3.0]), ("accelsim", [7.0], [2.0]),
                     ("published", [7.0], [3.0])]


def test_model_command_counts() -> None:
    ran = accelsim("model", "hardnet68")
    assert ran.code == 0
    assert "11,468,940" in ran.output
    assert "17,565,348" in ran.output
