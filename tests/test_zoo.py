"""Vision models of the zoo and their layer lists: exact counts, meaning, two routes to a model, what is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from accelsim.errors import BadInput, SpecError
from accelsim.ir import Repeat, Role, Workload, evaluate
from accelsim.workloads import load_model, zoo
from accelsim.workloads.layers import layer_kinds, loads_layers

# Counted by torch's FLOP counter on the meta device, batch 1, on the models of torchvision, timm and the papers; from
# resnet50_v1 on they are what the layers sum to, which PUBLISHED judges.
MACS = {
    "alexnet": 714_188_480, "vgg11": 7_609_090_048, "vgg16": 15_470_264_320, "vgg19": 19_632_062_464,
    "resnet18": 1_814_073_344, "resnet34": 3_663_761_408, "resnet50_v1.5": 4_089_184_256, "resnet152": 11_513_626_624,
    "wide_resnet50_2": 11_398_021_120, "mobilenet_v1_1.0": 568_740_352, "mobilenet_v2": 300_774_272,
    "mobilenet_v3_small": 56_510_400, "densenet121": 2_834_161_664, "googlenet": 1_498_376_192,
    "squeezenet1_0": 818_924_576, "squeezenet1_1": 349_151_936, "shufflenet_v2_x1_0": 144_907_992,
    "mnasnet1_0": 314_415_872, "swin_t": 4_490_566_656, "mixer_b16": 12_601_767_936, "vit_b_16": 17_563_828_224,
    "fsrcnn": 8_290_252_800,
    "resnet50_v1": 3_857_973_248, "resnet101_v1": 7_570_194_432, "resnet152_v1": 11_282_415_616,
    "resnet101": 7_801_405_440, "densenet169": 3_359_843_328, "densenet201": 4_291_365_888,
    "densenet264": 5_751_653_376, "hardnet39ds": 429_471_474, "hardnet68ds": 775_281_526, "hardnet68": 4_246_114_304,
    "hardnet85": 9_074_081_584, "hardnet96s": 2_473_801_081, "hardnet117s": 4_811_933_242,
    "hardnet138s": 6_644_783_420, "fc_densenet103": 67_591_307_520, "fc_hardnet68": 7_674_980_940,
    "fc_hardnet76": 26_865_253_140, "fc_hardnet84": 50_240_781_360, "ssd300_vgg16": 31_373_537_792,
    "ssd512_vgg16": 91_151_627_264, "ssd512_hardnet68": 27_563_643_904,
}
# Trainable parameters as torchvision and timm publish them; a batch normalisation has two per channel in both.
PARAMETERS = {
    "alexnet": 61_100_840, "vgg11": 132_863_336, "vgg16": 138_357_544, "vgg19": 143_667_240, "resnet18": 11_689_512,
    "resnet34": 21_797_672, "resnet50_v1.5": 25_557_032, "resnet152": 60_192_808, "wide_resnet50_2": 68_883_240,
    "mobilenet_v1_1.0": 4_231_976, "mobilenet_v2": 3_504_872, "mobilenet_v3_small": 2_542_856,
    "densenet121": 7_978_856, "googlenet": 6_624_904, "squeezenet1_0": 1_248_424, "squeezenet1_1": 1_235_496,
    "shufflenet_v2_x1_0": 2_278_604, "mnasnet1_0": 4_383_312, "swin_t": 28_288_354, "mixer_b16": 59_880_472,
    "vit_b_16": 86_567_656, "fsrcnn": 15_992,
    "resnet50_v1": 25_557_032, "resnet101_v1": 44_549_160, "resnet152_v1": 60_192_808, "resnet101": 44_549_160,
    "densenet169": 14_149_480, "densenet201": 20_013_928, "densenet264": 33_337_704, "hardnet39ds": 3_488_228,
    "hardnet68ds": 4_180_602, "hardnet68": 17_565_348, "hardnet85": 36_670_212, "hardnet96s": 9_329_375,
    "hardnet117s": 20_811_801, "hardnet138s": 35_468_491, "fc_densenet103": 9_322_091, "fc_hardnet68": 1_376_539,
    "fc_hardnet76": 3_481_057, "fc_hardnet84": 8_377_211, "ssd300_vgg16": 26_285_486, "ssd512_vgg16": 27_419_126,
    "ssd512_hardnet68": 18_164_054,
}
# Parameters in millions and MACs in billions as printed.
PUBLISHED = {
    "hardnet39ds": (3.5, 0.44), "hardnet68ds": (4.2, 0.79), "hardnet68": (17.6, 4.3),  # arXiv:1909.00948, table 4
    "hardnet96s": (9.3, 2.5), "hardnet117s": (20.9, 4.9), "hardnet138s": (35.5, 6.7),  # same
    "hardnet85": (36.7, 9.1),  # github.com/PingoLH/Pytorch-HarDNet, README
    "fc_densenet103": (9.4, 134 / 2), "fc_hardnet68": (1.4, 15 / 2), "fc_hardnet76": (3.5, 54 / 2),
    "fc_hardnet84": (8.4, 100 / 2),  # arXiv:1909.00948, table 2, whose GMACs are operations
    "densenet201": (20.0, 4.4), "resnet101_v1": (44.5, 7.6), "resnet152_v1": (60.2, 11.3),  # same paper, table 4
    "densenet169": (14.15, 3.40), "resnet101": (44.55, 7.83),  # github.com/osmr/imgclsmob, README (MACs with biases)
    "ssd300_vgg16": (26.285486, 31.43),  # torchinfo of github.com/amdegroot/ssd.pytorch (mult-adds with biases)
    "mobilenet_v1_1.0": (4.231976, 0.569),  # Keras' summary; arXiv:1704.04861, table 8
    "mobilenet_v2": (3.4, 0.300),  # arXiv:1801.04381, table 4
}


def contractions(w: Workload) -> Counter[tuple[int, ...]]:
    """Sizes of the contractions, without ranks of size 1 and without order."""
    found: Counter[tuple[int, ...]] = Counter()
    for einsum, times in w.einsums():
        if einsum.is_contraction:
            found[tuple(sorted(s for s in einsum.sizes.values() if s > 1))] += times
    return found


# -- counts --------------------------------------------------------------------------------------------------------


def test_every_layer_list_is_counted_here() -> None:
    assert sorted(MACS) == sorted(PARAMETERS) == zoo.layer_names()


@pytest.mark.parametrize("name", sorted(MACS))
def test_macs_and_parameters(name: str) -> None:
    w = load_model(name, bits=8)
    assert w.macs == MACS[name]
    assert w.bytes_by_role()[Role.WEIGHT] == PARAMETERS[name]
    assert "source: " in zoo.layers_text(name)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_counts(name: str) -> None:
    parameters, macs = PUBLISHED[name]
    assert PARAMETERS[name] / 1e6 == pytest.approx(parameters, rel=0.031 if name == "mobilenet_v2" else 0.018)
    assert MACS[name] / 1e9 == pytest.approx(macs, rel=0.026)


def test_batch_and_resolution() -> None:
    one, many = load_model("resnet18"), load_model("resnet18", batch=4)
    assert many.macs == 4 * one.macs
    assert many.bytes_by_role()[Role.WEIGHT] == one.bytes_by_role()[Role.WEIGHT]
    assert many.tensors["input"].shape == (4, 3, 224, 224)
    tail = 512 * 1000
    assert load_model("resnet18", resolution=448).macs - tail == 4 * (one.macs - tail)
    assert load_model("fsrcnn", resolution=(270, 960)).macs * 2 == MACS["fsrcnn"]
    assert load_model("vgg11", resolution=448).macs > 3 * MACS["vgg11"]  # its last windows are averaged to 7 x 7


def test_repeats_stay_repeats() -> None:
    (stage,) = (item for item in load_model("mixer_b16").body if isinstance(item, Repeat))
    assert stage.count == 12


# -- two routes to one model ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, file, vectors", [
    ("resnet50_v1.5", "resnet50", 0),
    ("densenet121", "densenet121", 2),  # the file has scale and shift once more, as layers of their own
    ("squeezenet1_1", "squeezenet", 0),
    ("vgg19", "vgg19", 0),
])
def test_layer_list_and_onnx_file_agree(name: str, file: str, vectors: int) -> None:
    own, other = load_model(name, bits=16), load_model(f"onnx:{file}", bits=16)
    assert own.macs == other.macs
    assert contractions(own) == contractions(other)
    channels = sum(t.elements for t in own.tensors.values() if t.name.endswith("batch_norm.scale") or (
        "batch_norm_" in t.name and t.name.endswith(".scale")))
    mine, theirs = own.bytes_by_role(), other.bytes_by_role()
    assert theirs[Role.WEIGHT] - mine[Role.WEIGHT] == 2 * vectors * channels
    assert theirs[Role.INPUT] == mine[Role.INPUT]
    assert theirs[Role.OUTPUT] == mine[Role.OUTPUT]


def test_files_end_in_a_softmax_and_lists_do_not() -> None:
    own, other = load_model("vgg19", bits=8).bytes_by_role(), load_model("onnx:vgg19", bits=8).bytes_by_role()
    softmax = 1000 + 1 + 1000 + 1  # logits, their maximum, exponentials, their sum
    assert other[Role.ACTIVATION] - own[Role.ACTIVATION] == softmax


def test_alexnet_of_the_onnx_package_is_another_network() -> None:
    assert load_model("onnx:bvlc_alexnet").macs == 654_560_384


def test_layer_list_and_config_of_vit_agree() -> None:
    own, other = load_model("vit_b_16", bits=8), load_model("vit-base-patch16-224", bits=8)
    assert contractions(own) == contractions(other)
    mine, theirs = own.bytes_by_role(), other.bytes_by_role()
    copies = 196 * 768 + 768  # the list transposes the patches and copies the class token, the config reads in place
    assert mine.pop(Role.ACTIVATION) - theirs.pop(Role.ACTIVATION) == copies
    assert mine == theirs


# -- meaning -------------------------------------------------------------------------------------------------------


def run(layers: str, shape: list[int], seed: int = 0) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Values of inputs and weights, the input, and the output of a layer list, all random."""
    w = loads_layers(f"input: {shape}\n{layers}")
    rng = np.random.default_rng(seed)
    counts = w.instances()
    values = {
        n: rng.standard_normal((*counts.get(n, ()), *t.shape)) for n, t in w.tensors.items()
        if t.role in (Role.INPUT, Role.WEIGHT) and w.storage(n) == n
    }
    results = evaluate(w, values)
    (output,) = (n for n, t in w.tensors.items() if t.role is Role.OUTPUT and w.storage(n) == n)
    return values, values["input"][0], results[output][0]


def test_block_with_parameters_and_residual() -> None:
    values, x, y = run("""
blocks:
  unit: {parameters: {out: null, act: 1}, layers: [conv: {out: $out, kernel: 3, pad: 1, bias: false}, relu]}
layers: [residual: [unit: 2]]
""", [2, 5, 4])
    w = values["unit.conv.weight"]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    want = np.array([[[(padded[:, i:i + 3, j:j + 3] * w[m]).sum() for j in range(4)] for i in range(5)]
                     for m in range(2)])
    np.testing.assert_allclose(y, np.maximum(want, 0) + x)


def test_concat_scale_and_shuffle() -> None:
    _, x, y = run("layers: [concat: [[], [relu6]], channel_shuffle: 2, scale: [global_pool, hard_sigmoid]]", [2, 3, 3])
    joined = np.concatenate([x, np.clip(x, 0, 6)])[[0, 2, 1, 3]]
    gate = np.clip(joined.mean((1, 2), keepdims=True) + 3, 0, 6) / 6
    np.testing.assert_allclose(y, joined * gate)


def test_hard_swish_prelu_and_channels() -> None:
    values, x, y = run("layers: [hard_swish, prelu, channels: {first: 1, count: 2}]", [3, 2, 2])
    h = x * np.clip(x + 3, 0, 6) / 6
    np.testing.assert_allclose(y, (np.maximum(h, 0) + np.minimum(h, 0) * values["prelu.slope"][:, None, None])[1:])


def test_repeat_has_weights_of_its_own_per_iteration() -> None:
    layers = "layers: [tokens, repeat: {count: 3, layers: [residual: [linear: {out: 4, bias: false}]]}, mean]"
    values, x, y = run(layers, [4, 2, 2])
    t = x.reshape(4, 4).T
    for i in range(3):
        t = t + t @ values["linear.weight"][i].T
    np.testing.assert_allclose(y, t.mean(0))


def test_attention_over_all_tokens() -> None:
    values, x, y = run("layers: [tokens, class_token, attention: {heads: 2}, token: 0]", [4, 2, 3])
    t = np.concatenate([values["class_token.weight"][None], x.reshape(4, 6).T]) + values["class_token.positions"]
    np.testing.assert_allclose(y[0], attend(t, values, "attention", 2, None)[0])


def attend(t: np.ndarray, values: dict[str, Any], name: str, heads: int, bias: np.ndarray | None) -> np.ndarray:
    q, k, v = (t @ values[f"{name}.{p}.weight"].T + values[f"{name}.{p}.bias"] for p in "qkv")
    size = t.shape[1] // heads
    out = []
    for h in range(heads):
        part = slice(h * size, (h + 1) * size)
        scores = q[:, part] @ k[:, part].T / np.sqrt(size) + (0 if bias is None else bias[h])
        e = np.exp(scores - scores.max(-1, keepdims=True))
        out.append(e / e.sum(-1, keepdims=True) @ v[:, part])
    return np.asarray(np.concatenate(out, -1) @ values[f"{name}.out.weight"].T + values[f"{name}.out.bias"])


@pytest.mark.parametrize("shift", [0, 1])
def test_attention_inside_windows(shift: int) -> None:
    """As ShiftedWindowAttention of torchvision, without the mask of rolled windows."""
    values, x, y = run(f"layers: [grid, window_attention: {{heads: 2, window: 2, shift: {shift}}}]", [4, 4, 6])
    image = np.roll(x.transpose(1, 2, 0), (-shift, -shift), (0, 1))
    table = values["window_attention.relative"]
    at = [(i, j) for i in range(2) for j in range(2)]
    bias = np.array([[[table[(a[0] - b[0] + 1) * 3 + a[1] - b[1] + 1, h] for b in at] for a in at] for h in range(2)])
    want = np.zeros_like(image)
    for i in range(0, 4, 2):
        for j in range(0, 6, 2):
            window = image[i:i + 2, j:j + 2].reshape(4, 4)
            want[i:i + 2, j:j + 2] = attend(window, values, "window_attention", 2, bias).reshape(2, 2, 4)
    np.testing.assert_allclose(y, np.roll(want, (shift, shift), (0, 1)), rtol=1e-6)


def test_patch_merging_joins_as_the_reference_does() -> None:
    _, x, y = run("layers: [grid, patch_merging]", [3, 4, 2])
    image = x.transpose(1, 2, 0)
    parts = [image[0::2, 0::2], image[1::2, 0::2], image[0::2, 1::2], image[1::2, 1::2]]
    np.testing.assert_allclose(y, np.concatenate(parts, -1))


# -- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text, message", [
    ("input: [3, 8, 8]\nlayers:\n- conv: 4\n- convv: 4\n",
     "my.yaml:4: .*no kind of layer 'convv' .did you mean 'conv'"),
    ("input: [3, 8, 8]\nlayers:\n- conv: {out: 4, kernal: 3}\n",
     "my.yaml:3: .*'conv' has no argument 'kernal' .did you mean 'kernel'"),
    ("input: [3, 8, 8]\nlayers:\n- relu\n- conv: {kernel: 3}\n", "my.yaml:4: .*'conv' needs 'out'"),
    ("input: [3, 8, 8]\nlayers:\n- relu: 3\n", "my.yaml:3: .*'relu' takes no argument"),
    ("input: [3, 8, 8]\nlayers:\n- conv: {out: four}\n", "my.yaml:3: .*is four .a whole number"),
    ("input: [3, 8, 8]\nlayers:\n- conv: {out: -4}\n", "my.yaml:3: .*is -4 .a whole number, 0 or more"),
    ("input: [3, 8, 8]\nlayers:\n- conv: {out: 4, kernel: 9}\n", "my.yaml:3: .*does not fit"),
    ("input: [3, 8, 8]\nlayers:\n- residual: [conv: 4]\n", "my.yaml:3: .*the body gives .1, 4, 8, 8. and the shortcut"),
    ("input: [3, 8, 8]\nlayers:\n- relu\n- repeat: {count: 2, layers: [max_pool: 2]}\n", "my.yaml:4: .*equal shapes"),
    ("input: [3, 8, 8]\nblocks:\n  b: [c: 1]\n  c: {parameters: {n: null}, layers: [b]}\nlayers: [b]\n",
     "my.yaml:4: .*block 'b' holds itself .b in c in b"),
    ("input: [3, 8, 8]\nblocks:\n  b: {parameters: {n: null}, layers: [conv: $m]}\nlayers: [b: 3]\n",
     r"my.yaml:3: .*no parameter '\$m' .there are n"),
    ("input: [3, 8, 8]\nblocks:\n  b: {parameters: {n: null}, layers: [conv: $n]}\nlayers:\n- b\n",
     "my.yaml:5: .*block 'b' needs 'n'"),
    ("input: [3, 8, 8]\nlayer:\n- relu\n", "my.yaml:2: .*unknown key 'layer' .did you mean 'layers'"),
    ("input: [3, 8]\nlayers:\n- relu\nlayers: []\n", "my.yaml:4: layers: duplicate key"),
    ("input: [3, 8\nlayers: [relu]\n", "my.yaml:[12]: not valid YAML"),
    ("input: [3, 8, 8]\nbits: 65\nlayers:\n- relu\n", "my.yaml:2: bits: is 65 .bits per element, from 1 to 64"),
    ("input: [3, 8, 8]\nlayers:\n- adaptive_pool: 3\n", r"my.yaml:3: .*do not take \(8, 8\) to \(3, 3\)"),
])
def test_a_wrong_layer_list_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match=message) as caught:
        load_model(str(path))
    assert caught.value.exit_code == 2


def test_all_that_is_wrong_around_layers_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    around = "input: 3\nbits: 65\nblock: {}\nblocks: {a: 3, relu: [tanh], c: {layers: [tanh], by: 2}}\nlayers: 1\n"
    path.write_text(around)
    with pytest.raises(SpecError) as caught:
        load_model(str(path))
    assert [p.where.split("my.yaml:")[1] for p in caught.value.problems] == [
        "3: block", "1: input", "2: bits", "5: layers", "4: blocks.a", "4: blocks.relu", "4: blocks.c.by",
    ]


@pytest.mark.parametrize("options, message", [
    ({"seq": 3}, r"model 'resnet18': a layer list has no option 'seq' .options here: batch, resolution, bits"),
    ({"phase": "prefill"}, "no option 'phase'"),
    ({"batch": 0}, "resnet18: batch=0 .a whole number from 1"),
    ({"resolution": 0}, "resnet18: resolution 0"),
    ({"bits": 0}, "bits=0"),
    ({"bits": 65}, "bits=65 .a whole number from 1 to 64"),
    ({"bits": True}, "bits=True .a whole number"),
    ({"batch": 2.5}, "batch=2.5 .a whole number"),
    ({"batch": "many"}, "batch=many .a whole number"),
])
def test_options_that_do_not_fit(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        load_model("resnet18", **options)


def test_resolution_is_for_images() -> None:
    with pytest.raises(BadInput, match="height and width of an image"):
        loads_layers("input: [8]\nlayers: [linear: 4]\n", resolution=3)


def test_the_nearest_name_is_told() -> None:
    with pytest.raises(BadInput, match=r"no model 'resnet50' \(nearest: .*resnet50_v1, .*; zoo: "):
        load_model("resnet50")
    with pytest.raises(BadInput, match=r"no model 'mobilenet_v1_1\.5' \(nearest: mobilenet_v1_1\.0"):
        load_model("mobilenet_v1_1.5")


def test_kinds_of_layers_are_listed_with_their_arguments() -> None:
    assert layer_kinds()["conv"] == "out, [kernel], [stride], [pad], [groups], [dilation], [bias]"
    assert layer_kinds()["relu"] == ""
