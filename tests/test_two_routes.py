"""Two routes to one model give one result, or differ by what docs/architecture.md states under conventions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import onnx
import pytest
from support import transformer_files as files
from support.onnx_graphs import save

from accelsim import load_architecture, simulate
from accelsim.ir import Role, Workload
from accelsim.ir.unrolled import unrolled
from accelsim.workloads import load_model
from accelsim.workloads.huggingface import load_config
from accelsim.workloads.onnx_import import import_onnx, wheel_models

MACHINES = ("edge_npu", "tpu_like")


def assert_same_result(machine: str, one: Workload, other: Workload) -> None:
    """MACs, latency, energy and the traffic of every memory; sums of energies in another order may round apart."""
    arch = load_architecture(machine)
    mine, theirs = simulate(arch, one), simulate(arch, other)
    assert mine.macs == theirs.macs
    assert mine.cycles == theirs.cycles
    assert mine.traffic_bytes == theirs.traffic_bytes
    assert mine.energy_J == pytest.approx(theirs.energy_J, rel=1e-12)


def operations(one: Workload, other: Workload) -> dict[str, int]:
    """Operations of one Workload that the other has not, by cost class; negative where it is the other way round."""
    mine, theirs = Counter(one.operations().counts), Counter(other.operations().counts)
    mine.subtract(theirs)
    return {cost_class: n for cost_class, n in mine.items() if n}


# -- convolutional networks: layer lists of the zoo, and ONNX files of the onnx package --------------------------------

SAME_NETWORK = {"squeezenet": "squeezenet1_1", "vgg19": "vgg19", "resnet50": "resnet50_v1.5",
                "densenet121": "densenet121"}  # fmt: skip
"""Files of the onnx package that are networks of the zoo. The other five (AlexNet with groups, ZFNet, Inception v1 with
LRN and v2, ShuffleNet v1) are other networks than those of the zoo."""


def without_head(model: Any) -> Any:
    """The model without the Softmax at its end: the zoo's networks end with logits."""
    if model.graph.node[-1].op_type == "Softmax":
        last = model.graph.node.pop()
        model.graph.output[0].name = last.input[0]
    return model


def without_scale_layers(model: Any) -> Any:
    """The model without Mul and Add, which Caffe has as layers of their own behind batch normalisation."""
    renamed: dict[str, str] = {}
    kept = []
    for node in model.graph.node:
        inputs = [renamed.get(name, name) for name in node.input]
        if node.op_type in ("Mul", "Add"):
            renamed[node.output[0]] = inputs[0]
            continue
        del node.input[:]
        node.input.extend(inputs)
        kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return model


def from_file(name: str, folder: Path, change: Callable[[Any], Any] = lambda model: model) -> Workload:
    return import_onnx(save(change(onnx.load(wheel_models()[name])), folder, name), bits=8)


@pytest.mark.parametrize(("machine", "name"), [*product(MACHINES[:1], SAME_NETWORK), (MACHINES[1], "resnet50")])
def test_a_network_of_the_zoo_and_its_file_give_one_result(machine: str, name: str, tmp_path: Path) -> None:
    file = from_file(name, tmp_path, lambda model: without_scale_layers(without_head(model)))
    assert_same_result(machine, load_model(SAME_NETWORK[name], bits=8), file)


@pytest.mark.parametrize("name", SAME_NETWORK)
def test_a_file_keeps_the_operators_that_the_zoo_leaves_out(name: str, tmp_path: Path) -> None:
    """Softmax over 1000 classes: exp, quotient, maximum, and the sums of shift and total. Or the layers of Caffe."""
    zoo, file = load_model(SAME_NETWORK[name], bits=8), from_file(name, tmp_path)
    softmax = {"max": 1000, "exp": 1000, "div": 1000, "add": 2000}
    if name == "densenet121":
        normalised = [e for e, _ in zoo.einsums() if e.kind == "BatchNormalization"]
        elements = sum(zoo.tensors[e.output.tensor].elements for e in normalised)
        assert operations(file, zoo) == {"mul": elements, "add": elements}
    else:
        assert operations(file, zoo) == softmax


# -- transformers: configs, and ONNX files as torch writes them --------------------------------------------------------


def from_config(name: str) -> Workload:
    """Of a config, with layers written out and caches as activations, which is how a file without a cache has them."""
    w = unrolled(load_config(files.CONFIGS[name], name=name).prefill(seq=files.TOKENS, bits=16))
    plain = {n: replace(t, role=Role.ACTIVATION) if t.role is Role.STATE else t for n, t in w.tensors.items()}
    return replace(w, tensors=plain)


def from_graph(model: Any, folder: Path) -> Workload:
    return import_onnx(save(model, folder), bits=16)


@pytest.mark.parametrize("machine", MACHINES)
def test_bert_by_config_and_by_file(machine: str, tmp_path: Path) -> None:
    assert_same_result(machine, from_config("bert"), from_graph(files.bert(), tmp_path))


@pytest.mark.parametrize("machine", MACHINES)
def test_gpt2_by_config_and_by_file(machine: str, tmp_path: Path) -> None:
    assert_same_result(machine, from_config("gpt2"), from_graph(files.gpt2(causal=False), tmp_path))


def scores() -> int:
    """Elements of the scores of all layers."""
    return files.LAYERS * files.HEADS * files.TOKENS**2


def test_a_causal_mask_of_a_file_is_added_to_the_scores(tmp_path: Path) -> None:
    assert operations(from_graph(files.gpt2(causal=True), tmp_path), from_config("gpt2")) == {"add": scores()}


def test_layers_of_a_config_pass_their_result_through_memory() -> None:
    """A Repeat hands on what its iterations carry off the chip; layers written out may keep it on the chip."""
    config = load_config(files.CONFIGS["bert"], name="bert").prefill(seq=files.TOKENS, bits=16)
    arch = load_architecture("tpu_like")
    repeated, written = (simulate(arch, w) for w in (config, unrolled(config)))
    assert repeated.macs == written.macs
    assert repeated.traffic_bytes["hbm"]["read"] > written.traffic_bytes["hbm"]["read"]


def test_rotary_embedding_of_a_file_negates_and_joins(tmp_path: Path) -> None:
    """Beside products and sums: half of each head negated, and its halves joined by a copy."""
    heads = files.LAYERS * (files.HEADS + 2) * files.TOKENS * files.SIZE
    assert operations(from_graph(files.llama(causal=False), tmp_path), from_config("llama")) == {
        "add": heads // 2, "copy": heads}  # fmt: skip


def test_grouped_queries_are_the_same_contractions(tmp_path: Path) -> None:
    def contractions(w: Workload) -> Counter[tuple[int, ...]]:
        return Counter(tuple(sorted(s for s in e.sizes.values() if s > 1)) for e, _ in w.einsums() if e.is_contraction)

    file, config = from_graph(files.llama(causal=False), tmp_path), from_config("llama")
    assert contractions(file) == contractions(config)
    halves = 2 * files.TOKENS * files.SIZE // 2  # cosines and sines stand twice in the file, once for each half
    assert file.bytes_by_role()[Role.WEIGHT] - config.bytes_by_role()[Role.WEIGHT] == 2 * halves
