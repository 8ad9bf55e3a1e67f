"""Counts of operators: convolutional input and output, parameters once each, and the command that prints them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cli import accelsim

from accelsim.ir import Role, WorkloadBuilder, operator_counts, total_counts
from accelsim.workloads import load_model
from accelsim.workloads.layers import loads_layers


@settings(deadline=None, max_examples=40)
@given(
    c=st.integers(1, 6), m=st.integers(1, 6), side=st.integers(3, 9), kernel=st.integers(1, 3),
    stride=st.integers(1, 3), groups=st.sampled_from([1, 2]), batch=st.integers(1, 3),
)  # fmt: skip
def test_a_convolution_reads_all_and_writes_all(
    c: int, m: int, side: int, kernel: int, stride: int, groups: int, batch: int
) -> None:
    b = WorkloadBuilder("one")
    x, w = b.input("x", (batch, c * groups, side, side)), b.weight("w", (m * groups, c, kernel, kernel))
    b.output(b.conv(x, w, strides=(stride, stride), groups=groups))
    (one,) = operator_counts(b.build())
    out = (side - kernel) // stride + 1
    assert one.input_elements == batch * c * groups * side * side
    assert one.output_elements == batch * m * groups * out * out
    assert one.cio == one.input_elements + one.output_elements
    assert one.parameters == m * groups * c * kernel * kernel
    assert one.macs == one.output_elements * c * kernel * kernel
    assert one.macs_per_cio == one.macs / one.cio


@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2), (4, 2), (3, 3), (1, 2)])
def test_a_transposed_convolution_reads_its_input_once(kernel: int, stride: int) -> None:
    b = WorkloadBuilder("up")
    x, w = b.input("x", (1, 4, 5, 5)), b.weight("w", (4, 6, kernel, kernel))
    y = b.output(b.conv_transpose(x, w, strides=(stride, stride)))
    workload = b.build()
    total = total_counts("up", operator_counts(workload))
    assert total.input_elements == 4 * 25
    zeros = sum(e.points for e, _ in workload.einsums() if e.kind == "ConvTranspose.zero")
    assert total.output_elements == workload.tensors[y].elements - zeros


def test_what_is_no_convolution_has_no_feature_maps() -> None:
    layers = "[max_pool: 2, avg_pool: 1, lrn, global_pool, flatten, linear: 3, softmax]"
    w = loads_layers(f"input: [4, 6, 6]\nlayers: {layers}\n")
    assert total_counts("t", operator_counts(w)).cio == 0
    transformer = total_counts("t", operator_counts(load_model("gpt2", seq=8)))
    assert (transformer.cio, transformer.macs_per_cio) == (0, None)


def test_interpolation_is_no_convolution() -> None:
    import numpy as np

    b = WorkloadBuilder("resize")
    b.output(b.interpolate(b.input("x", (1, 2, 6)), 2, [0, 1, 2, 3, 4], np.full((5, 2), 0.5)))
    assert total_counts("t", operator_counts(b.build())).cio == 0


def test_what_is_joined_counts_as_one_tensor() -> None:
    layers = "[concat: [[], [conv: {out: 5, bias: false}]], conv: {out: 2, bias: false}]"
    w = loads_layers(f"input: [3, 4, 4]\nlayers: {layers}\n")
    assert [c.cio for c in operator_counts(w) if c.cio] == [(3 + 5) * 16, (8 + 2) * 16]


def test_repeats_count_every_time() -> None:
    text = "input: [3, 4, 4]\nlayers: [repeat: {count: 5, layers: [conv: {out: 3, kernel: 3, pad: 1, bias: false}]}]\n"
    (one,) = operator_counts(loads_layers(text))
    assert (one.times, one.cio, one.parameters, one.macs) == (5, 5 * 6 * 16, 5 * 81, 5 * 81 * 16)


@pytest.mark.parametrize("name", ["gpt2", "llama-3-8b", "bert-base", "mobilenet_v2", "swin_t", "ssd300_vgg16"])
def test_totals_are_those_of_the_workload(name: str) -> None:
    """Every weight counts once: tied embeddings, tables of which rows are read, weights of repeated layers."""
    w = load_model(name, bits=8)
    total = total_counts(name, operator_counts(w))
    assert total.macs == w.macs
    assert total.parameters == w.bytes_by_role()[Role.WEIGHT]


# arXiv:1909.00948, table 4, in millions at 224x224; ResNet-50 has the stride in its 3x3 convolutions.
@pytest.mark.parametrize(("name", "cio"), [("resnet50_v1.5", 21.8), ("densenet121", 21.9), ("hardnet68", 11.5),
                                           ("mobilenet_v2", 13.4)])
def test_published_cio(name: str, cio: float) -> None:
    assert total_counts(name, operator_counts(load_model(name))).cio / 1e6 == pytest.approx(cio, abs=0.05)


def test_command_prints_operators_and_their_total() -> None:
    ran = accelsim("model", "mobilenet_v2", "--option", "resolution=192", "--json")
    told = json.loads(ran.output)
    assert ran.code == 0
    workload = load_model("mobilenet_v2", resolution=192)
    assert told["total"]["macs"] == workload.macs == sum(row["macs"] for row in told["operators"])
    assert told["total"]["cio"] == sum(row["cio"] for row in told["operators"])
    table = accelsim("model", "mobilenet_v2", "--option", "resolution=192").output
    assert f"{workload.macs:,}" in table
    assert "inverted_16.depth_unit.depthwise" in table
    assert "batch_norm" not in table


def test_command_refuses_a_model_that_is_not_there() -> None:
    ran = accelsim("model", "hardnet67")
    assert ran.code == 2
    assert "hardnet68" in ran.output
