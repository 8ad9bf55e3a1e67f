"""Programs of torch.export: recorded graphs (no torch needed), and values against torch where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.torch_programs import check

from accelsim.errors import BadInput
from accelsim.ir import Role, evaluate
from accelsim.workloads import load_model
from accelsim.workloads.torch_import import Call, Meta, Recording, Ref, import_program, import_recording, read_program

RNG = np.random.default_rng(0)
X, W, B, S, T = Ref("x"), Ref("fc.weight"), Ref("fc.bias"), Ref("scale"), Ref("transpose")


def float32(*shape: int) -> Meta:
    return Meta("float32", shape)


def recording(calls: list[Call], metas: dict[str, Meta], weights: dict[str, Any], outputs: list[str]) -> Recording:
    """A Recording with the input x."""
    return Recording("model", ["x"], weights, calls, outputs, metas)


RECORDED = recording(
    [
        Call("fc.linear", "aten.linear.default", (X, W, B), {}, ("linear",)),
        Call("view", "aten.view.default", (Ref("linear"), (2, 5, 2, 3)), {}, ("view",)),
        Call("transpose", "aten.transpose.int", (Ref("view"), 1, 2), {}, ("transpose",)),
        Call("scaled_dot_product_attention", "aten.scaled_dot_product_attention.default", (T, T, T, None, 0.0, True),
             {}, ("scaled_dot_product_attention",)),
        Call("mul", "aten.mul.Tensor", (Ref("scaled_dot_product_attention"), S), {}, ("mul",)),
        Call("max_1", "aten.max.dim", (Ref("mul"), -1), {}, ("getitem", "")),
    ],
    {"x": float32(2, 5, 4), "fc.weight": float32(6, 4), "fc.bias": float32(6), "scale": float32(),
     "linear": float32(2, 5, 6), "view": float32(2, 5, 2, 3), "transpose": float32(2, 2, 5, 3),
     "scaled_dot_product_attention": float32(2, 2, 5, 3), "mul": float32(2, 2, 5, 3), "getitem": float32(2, 2, 5)},
    {"fc.weight": None, "fc.bias": None, "scale": np.array(0.5, np.float32)}, ["getitem"],
)  # fmt: skip
"""What torch 2.13 exports of the module in `test_reading_gives_the_recording`."""


def attention_by_hand(x: np.ndarray[Any, Any], w: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> Any:
    t = (x @ w.T + b).reshape(2, 5, 2, 3).transpose(0, 2, 1, 3)
    scores = t @ t.swapaxes(-1, -2) / np.sqrt(3) + np.triu(np.full((5, 5), -np.inf), 1)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    return (shares / shares.sum(-1, keepdims=True) @ t * 0.5).max(-1)


def test_a_recorded_graph_computes_what_it_says() -> None:
    imported = import_recording(RECORDED)
    w = imported.workload
    x, weight, bias = (RNG.standard_normal(RECORDED.metas[n].shape) for n in ("x", "fc.weight", "fc.bias"))
    got = evaluate(w, {"x": x, "fc.weight": weight, "fc.bias": bias, **imported.constants})
    np.testing.assert_allclose(got["getitem"], attention_by_hand(x, weight, bias), rtol=1e-9)


def test_a_recorded_graph_is_counted_exactly() -> None:
    w = import_recording(RECORDED).workload
    assert w.macs == 2 * 5 * 4 * 6 + 2 * (2 * 2 * 5 * 5 * 3)
    made = {n: (t.role, t.bits) for n, t in w.tensors.items() if t.role in (Role.INPUT, Role.WEIGHT, Role.OUTPUT)}
    mask = made.pop("scaled_dot_product_attention.mask")
    assert made == {
        "x": (Role.INPUT, 32), "fc.weight": (Role.WEIGHT, 32), "fc.bias": (Role.WEIGHT, 32),
        "getitem": (Role.OUTPUT, 32),
    }  # fmt: skip
    assert mask == (Role.WEIGHT, 32)
    assert "scale" not in w.tensors, "a known number stands in the expression"
    assert {t.bits for t in import_recording(RECORDED, bits=8).workload.tensors.values()} == {8}


def one_call(target: str, args: tuple[Any, ...], outputs: dict[str, Meta], **metas: Meta) -> Recording:
    call = Call("node", target, args, {}, tuple(outputs))
    weights = {name: None for name in metas if name.startswith("w")}
    return recording([call], {"x": float32(2, 3, 8, 8), **metas, **outputs}, weights, list(outputs))


@pytest.mark.parametrize("padding, pads", [("same", (1, 2, 1, 2)), ("valid", (0, 0, 0, 0))])
def test_padding_by_name(padding: str, pads: tuple[int, ...]) -> None:
    """With an even kernel, the odd element goes to the end."""
    side = 8 + pads[0] + pads[1] - 3
    w = import_recording(one_call("aten.conv2d.padding", (X, Ref("w"), None, (1, 1), padding),
                                  {"y": float32(2, 6, side, side)}, w=float32(6, 3, 4, 4))).workload  # fmt: skip
    (einsum,) = [e for e, _ in w.einsums()]
    assert [i.offset for i in einsum.inputs[0].indices[2:]] == [-pads[0], -pads[2]]
    assert w.tensors["y"].shape == (2, 6, side, side)
    assert w.macs == 2 * 6 * side * side * 3 * 16


def test_a_transposed_weight_stays_as_it_is_stored() -> None:
    """Core ATen writes a linear layer as a permutation and addmm; the permutation is no copy."""
    calls = [
        Call("permute", "aten.permute.default", (Ref("w"), (1, 0)), {}, ("permute",)),
        Call("fc.addmm", "aten.addmm.default", (Ref("wb"), X, Ref("permute")), {}, ("addmm",)),
    ]
    metas = {"x": float32(7, 4), "w": float32(5, 4), "wb": float32(5), "permute": float32(4, 5), "addmm": float32(7, 5)}
    w = import_recording(recording(calls, metas, {"w": None, "wb": None}, ["addmm"])).workload
    assert [(e.name, e.kind) for e, _ in w.einsums()] == [("fc.addmm", "Gemm"), ("fc.addmm.bias", "Gemm.bias")]
    assert w.bytes_by_role()[Role.WEIGHT] == 4 * (5 * 4 + 5)


def test_parts_that_nothing_takes_are_not_copied() -> None:
    metas = {"": Meta("", ()), "a": float32(2, 1, 8, 8)}
    call = Call("split", "aten.split_with_sizes.default", (X, (2, 1), 1), {}, ("", "a"))
    w = import_recording(recording([call], {"x": float32(2, 3, 8, 8), **metas}, {}, ["a"])).workload
    (einsum,) = [e for e, _ in w.einsums()]
    assert einsum.inputs[0].indices[1].offset == 2


UNSUPPORTED = recording(
    [Call("sort", "aten.sort.default", (X,), {}, ("getitem", "")),
     Call("relu", "aten.relu.default", (Ref("getitem"),), {}, ("relu",))],
    {"x": float32(4, 4), "getitem": float32(4, 4), "relu": float32(4, 4)}, {}, ["relu"],
)  # fmt: skip


def test_an_operator_without_support_is_named_or_let_through() -> None:
    with pytest.raises(BadInput, match=r"model: node 'sort' \(aten.sort.default\): this operator is not supported"):
        import_recording(UNSUPPORTED)
    imported = import_recording(UNSUPPORTED, allow_unknown=True)
    assert [(n.name, n.became) for n in imported.nodes] == [("sort", "unknown"), ("relu", "einsums")]
    (note,) = imported.workload.notes
    assert "aten.sort.default 'sort'" in note


@pytest.mark.parametrize("target, args, metas, problem", [
    ("aten.gelo.default", (X,), {}, r"not supported \(nearest: aten.gelu"),
    ("aten.dropout.default", (X, 0.5, True), {}, "training is not supported"),
    ("aten.batch_norm.default", (X, None, None, None, None, False, 0.1, 1e-5, False), {}, "without weight"),
    ("aten.adaptive_avg_pool2d.default", (X, (3, 3)), {"y": float32(2, 3, 3, 3)}, "unequal size, from .8, 8. to .3, 3"),
    ("aten.bitwise_not.default", (X,), {}, "on integers"),
    ("aten.index.Tensor", (X, (Ref("wi"), Ref("wi"))), {"wi": Meta("int64", (2,))}, "along one dimension"),
    ("aten.repeat_interleave.self_Tensor", (X, Ref("wi")), {"wi": Meta("int64", (2,))}, "depend on the data"),
])  # fmt: skip
def test_what_is_refused(target: str, args: tuple[Any, ...], metas: dict[str, Meta], problem: str) -> None:
    given = {"y": float32(2, 3, 8, 8), **metas}
    with pytest.raises(BadInput, match=rf"model: node 'node' \({target}\): .*{problem}"):
        import_recording(one_call(target, args, {"y": given.pop("y")}, **given))


@pytest.mark.parametrize("args", [(), (X,), (X, "wide")])
def test_arguments_that_make_no_sense_are_named(args: tuple[Any, ...]) -> None:
    with pytest.raises(BadInput, match="node 'node'"):
        import_recording(one_call("aten.softmax.int", args, {"y": Meta("bool", (2, 3))}))


def test_without_torch_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(BadInput, match=r"pip install 'accelsim\[torch\]'"):
        load_model(tmp_path / "model.pt2")


@pytest.mark.parametrize("wrong", [3, None, object()])
def test_what_is_no_program(wrong: Any) -> None:
    with pytest.raises(BadInput, match="is no ExportedProgram"):
        load_model(wrong)


# -- with torch --------------------------------------------------------------------------------------------------------


@pytest.fixture
def torch() -> Any:
    found = pytest.importorskip("torch")
    found.manual_seed(0)
    return found


def function(torch: Any, body: Callable[..., Any]) -> Any:
    """A module without parameters."""
    module = torch.nn.Module()
    module.forward = body
    return module


def test_reading_gives_the_recording(torch: Any) -> None:
    class Small(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.fc = torch.nn.Linear(4, 6)
            self.register_buffer("scale", torch.tensor(0.5))

        def forward(self, x: Any) -> Any:
            t = self.fc(x).view(2, 5, 2, 3).transpose(1, 2)
            y = torch.nn.functional.scaled_dot_product_attention(t, t, t, is_causal=True)
            return (y * self.scale).max(-1)[0]

    read = read_program(torch.export.export(Small().eval(), (torch.zeros(2, 5, 4),)))
    assert (read.inputs, read.calls, read.outputs) == (RECORDED.inputs, RECORDED.calls, RECORDED.outputs)
    assert read.metas == RECORDED.metas
    assert read.weights.keys() == RECORDED.weights.keys()
    assert read.weights["scale"] == 0.5
    assert read.weights["fc.weight"] is None


def images(torch: Any) -> dict[str, tuple[Any, tuple[Any, ...]]]:
    nn, f, x = torch.nn, torch.nn.functional, torch.randn(2, 4, 6, 6)
    return {
        "conv1d": (nn.Conv1d(4, 6, 3, 2, 1, 2), (torch.randn(2, 4, 20),)),
        "conv3d": (nn.Conv3d(2, 4, 3, padding=1), (torch.randn(1, 2, 5, 5, 5),)),
        "unbatched": (nn.Conv2d(4, 6, 3), (torch.randn(4, 8, 8),)),
        "grouped": (nn.Conv2d(4, 8, 3, groups=4, dilation=2, padding="same"), (x,)),
        "transposed": (nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2), (x,)),
        "in place": (nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.ReLU(inplace=True)), (x,)),
        "norms": (nn.Sequential(nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True), nn.PReLU(4)), (x,)),
        "pools": (function(torch, lambda x: (
            f.max_pool2d(x, 3, 2, 1, ceil_mode=True), f.avg_pool2d(x, 3, 2, 1),
            f.avg_pool2d(x, 3, 2, 1, count_include_pad=False), f.adaptive_avg_pool2d(x, (3, 2)),
            f.adaptive_max_pool2d(x, 1), f.adaptive_avg_pool2d(x, 1))), (x,)),
        "sizes": (function(torch, lambda x: (
            f.interpolate(x, scale_factor=2), f.interpolate(x, size=(9, 7)), f.pixel_shuffle(x, 2),
            f.interpolate(x, size=(9, 11), mode="bilinear", align_corners=True), f.channel_shuffle(x, 2),
            f.pad(x, (1, 1, 2, 0), mode="reflect"), f.pad(x, (1, 2, 0, 1), value=2.0))), (x,)),
    }  # fmt: skip


def tokens(torch: Any) -> dict[str, tuple[Any, tuple[Any, ...]]]:
    nn, f, r = torch.nn, torch.nn.functional, torch.randn
    attend = f.scaled_dot_product_attention
    x, q, kv = r(2, 5, 8), r(2, 4, 5, 8), r(2, 2, 5, 8)
    return {
        "linear": (nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 3, bias=False)), (x,)),
        "norms": (nn.Sequential(nn.LayerNorm((5, 8)), nn.LayerNorm(8, elementwise_affine=False)), (x,)),
        "rms": (nn.RMSNorm(8), (x,)),
        "encoder": (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (x,)),
        "products": (function(torch, lambda a, b: (
            a @ b.mT, torch.einsum("bij,bkj->bik", a, b), torch.bmm(a, b.transpose(1, 2)), a[0] @ b[0].T,
            torch.addmm(b[0] @ b[0].T, a[0], b[0].T, beta=0.5, alpha=2))), (x, r(2, 5, 8))),
        "vectors": (function(torch, lambda a: (torch.mv(a[0], a[1, 0]), a[0] @ a[1, 0])), (x,)),
        "attention": (function(torch, lambda q, k, v, m: (
            attend(q, k, v), attend(q, k, v, m), attend(q, k, v, scale=0.3), attend(q, k, v, m[:, :, :1] > 0),
            attend(q[0], k[0], v[0]))), (q, r(2, 4, 7, 8), r(2, 4, 7, 6), r(2, 1, 5, 7))),
        "grouped queries": (function(torch, lambda q, k: attend(q, k, k, is_causal=True, enable_gqa=True)), (q, kv)),
        "shapes": (function(torch, lambda x: (
            x.flatten(1) * 1, x.permute(2, 0, 1), x.movedim(0, 2), x.unsqueeze(1).expand(2, 3, 5, 8),
            x.repeat(2, 1, 1, 2), x.repeat_interleave(2, 1), torch.cat((x, x * 2), 1), torch.stack((x, x + 1), 1),
            x[:, 1:4:2], x[..., -1], x.narrow(1, 1, 2) * 1, x.flip(1), x.roll((1, -2), (1, 2)),
            *x.split(3, -1), *x.chunk(2, 1), *x.unbind(0), *torch.tensor_split(x, 2, 1))), (x,)),
        "choices": (function(torch, lambda x, i: (
            x[:, i], x.index_select(2, i), f.embedding(i, x[0]), x.masked_fill(x > 0, -1.0),
            torch.where((x > 0) & ~(x < -1), x, 0.0), (x != i[0]).float())), (x, torch.tensor([3, 1]))),
        "made": (function(torch, lambda x: (
            x + torch.arange(8), x * torch.tril(torch.ones(5, 8)), x + torch.full((8,), 2.0), x + torch.zeros_like(x),
            x.masked_fill(torch.triu(torch.ones(5, 8, dtype=torch.bool), 1), -9.0))), (x,)),
    }  # fmt: skip


def numbers(torch: Any) -> dict[str, tuple[Any, tuple[Any, ...]]]:
    f, x, positive = torch.nn.functional, torch.randn(2, 5, 8), torch.rand(2, 5, 8) + 0.1
    return {
        "activations": (function(torch, lambda x: (
            f.relu(x), x.sigmoid(), x.tanh(), f.gelu(x), f.gelu(x, approximate="tanh"), f.silu(x), f.hardswish(x),
            f.hardsigmoid(x), f.leaky_relu(x, 0.2), f.elu(x, 0.5), f.celu(x, 2.0), f.selu(x), f.softplus(x), f.mish(x),
            f.relu6(x), f.hardtanh(x, -2, 2), x.clamp(min=0), x.clamp(-1, 1), f.logsigmoid(x), f.glu(x, -1))), (x,)),
        "functions": (function(torch, lambda x: (
            x.log(), x.sqrt(), x.rsqrt(), x.reciprocal(), x.log1p(), x.expm1(), x**2, x**-0.5, x**1.7, 2**x, 1 / x,
            x // 0.3, x.sin(), -x, x.square())), (positive,)),
        "arithmetic": (function(torch, lambda a, b: (
            a - b, torch.add(a, b, alpha=2), 1 - a, a / 3, a / b, torch.maximum(a, b), torch.rsub(a, b),
            torch.addcmul(a, a, b, value=0.5))), (x, positive[0])),
        "reductions": (function(torch, lambda x: (
            x.mean(), x.mean(-1), x.sum((0, 2), keepdim=True), x.amax(1), x.max(-1)[0], x.min(1, keepdim=True)[0],
            x.prod(1), x.var(-1), x.std((1, 2), unbiased=False), x.norm(dim=-1), torch.logsumexp(x, -1), x.softmax(1),
            x.log_softmax(-1))), (x,)),
        "types": (function(torch, lambda i: (i.float() / 2, i / 2, i * 2.5 + 1, (i + 1).float())), (torch.arange(6),)),
    }  # fmt: skip


@pytest.mark.parametrize("group, count", [(images, 9), (tokens, 11), (numbers, 5)])
def test_values_are_those_of_torch(torch: Any, group: Callable[[Any], Any], count: int) -> None:
    cases = group(torch)
    assert len(cases) == count
    for module, args in cases.values():
        check(module, args)


DECOMPOSED = ("conv3d", "unbatched", "grouped", "transposed", "in place", "pools", "linear", "norms", "rms", "encoder",
              "products", "attention", "grouped queries", "arithmetic", "reductions")  # fmt: skip


def test_core_aten_computes_the_same(torch: Any) -> None:
    """What `run_decompositions` makes of a program; broadcasts that torch writes out for a product cost nothing."""
    for name in DECOMPOSED:
        for group in (images, tokens, numbers):
            if name in group(torch) and not (group is images and name == "norms"):
                module, args = group(torch)[name]
                plain, core = check(module, args), check(module, args, decompose=True)
                assert plain.macs == core.macs, name


def test_free_dimensions_take_their_sizes_from_bindings(torch: Any) -> None:
    module = torch.nn.Linear(8, 4)
    shapes = ({0: torch.export.Dim("rows", min=2, max=64)},)
    program = torch.export.export(module, (torch.zeros(3, 8),), dynamic_shapes=shapes)
    assert import_program(program, bindings={"input:0": 7}).macs == 7 * 8 * 4
    for wrong, problem in (({}, "have no size"), ({"input:1": 2}, "fits no free dimension"),
                           ({"input:0": 0}, "whole number from 1")):  # fmt: skip
        with pytest.raises(BadInput, match=problem):
            import_program(program, bindings=wrong)


def test_a_buffer_that_is_updated_is_no_weight(torch: Any) -> None:
    class Cache(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("cache", torch.zeros(1, 8, 4))
            self.register_buffer("shift", torch.randn(4))

        def forward(self, x: Any) -> Any:
            self.cache[:, 2:5] = x
            return self.cache.sum(1) + self.shift

    w = check(Cache(), (torch.randn(1, 3, 4),))
    assert (w.tensors["cache"].role, w.tensors["shift"].role) == (Role.INPUT, Role.WEIGHT)
    assert w.tensors["slice_scatter"].role is Role.OUTPUT


def test_tied_parameters_are_one_weight(torch: Any) -> None:
    class Tied(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = torch.nn.Embedding(50, 16), torch.nn.Linear(16, 50, bias=False)
            self.head.weight = self.table.weight

        def forward(self, ids: Any) -> Any:
            return self.head(self.table(ids))

    w = check(Tied(), (torch.randint(0, 50, (1, 4)),))
    assert w.bytes_by_role()[Role.WEIGHT] == 4 * 50 * 16


def test_tensors_without_elements_and_files(torch: Any, tmp_path: Path) -> None:
    with torch.device("meta"):
        module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).bfloat16().eval()
    program = torch.export.export(module, (torch.zeros(1, 3, 8, 8, device="meta", dtype=torch.bfloat16),))
    torch.export.save(program, tmp_path / "net.pt2")
    from_file, from_program = load_model(tmp_path / "net.pt2"), load_model(program)
    assert (from_file.name, from_file.body) == ("net", from_program.body)
    assert from_program.macs == 6 * 6 * 4 * 3 * 9
    assert {t.bits for t in from_program.tensors.values()} == {16}
    with pytest.raises(BadInput, match="no option 'seq'"):
        load_model(program, seq=3)
    (tmp_path / "bad.pt2").write_text("no archive")
    with pytest.raises(BadInput, match="not a program saved by"):
        load_model(tmp_path / "bad.pt2")


def test_types_that_are_no_plain_numbers(torch: Any) -> None:
    program = torch.export.export(function(torch, lambda x: torch.fft.rfft(x).abs()), (torch.zeros(4, 4),))
    with pytest.raises(BadInput, match=r"node 'fft_rfft' \(aten.fft_rfft.default\)"):
        load_model(program)
