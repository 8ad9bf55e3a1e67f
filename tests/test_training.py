"""Training steps: gradients against finite differences, what a step holds, what has none."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cli import accelsim

from accelsim import load_model
from accelsim.errors import BadInput
from accelsim.ir import Access, Affine, Einsum, Read, Role, Workload, affine
from accelsim.ir.build import WorkloadBuilder
from accelsim.ir.evaluate import evaluate
from accelsim.ir.reached import gaps, mixed_radix
from accelsim.ir.training import Loss, training_step
from accelsim.ir.unrolled import unrolled

STEP = 1e-5


def loss_of(model: Workload, values: dict[str, np.ndarray], loss: Loss) -> float:
    found = evaluate(model, {n: v for n, v in values.items() if n in model.tensors})
    total = 0.0
    for name, tensor in model.tensors.items():
        if tensor.role is Role.OUTPUT and f"{name}.target" in values:
            out, target = found[name], values[f"{name}.target"]
            if loss == "squared":
                total += ((out - target) ** 2).sum() / 2
            else:
                total += (target.sum(-1) * np.log(np.exp(out).sum(-1)) - (target * out).sum(-1)).sum()
    return float(total)


def assert_gradients(builder: WorkloadBuilder, loss: Loss = "squared") -> Workload:
    """Of a few elements of every weight, the update of a step against the difference of losses."""
    model = builder.build()
    step = training_step(model, loss=loss, rate=1.0)
    rng = np.random.default_rng(1)
    values = {n: rng.normal(size=t.shape) for n, t in step.tensors.items() if t.role in (Role.INPUT, Role.WEIGHT)}
    for name in values:
        if name.endswith(".target") and loss == "cross_entropy":
            values[name] = np.eye(values[name].shape[-1])[: values[name].shape[0]]
    after = evaluate(step, values)
    weights = [n for n, t in model.tensors.items() if t.role is Role.WEIGHT]
    assert weights
    for name in weights:
        gradient = values[name] - after[f"{name}.next"]
        for _ in range(3):
            at = tuple(rng.integers(0, n) for n in gradient.shape)
            up, down = (dict(values, **{name: values[name].copy()}) for _ in range(2))
            up[name][at] += STEP
            down[name][at] -= STEP
            expected = (loss_of(model, up, loss) - loss_of(model, down, loss)) / (2 * STEP)
            assert gradient[at] == pytest.approx(expected, rel=1e-4, abs=1e-5), name
    return step


def convolutions(b: WorkloadBuilder) -> str:
    y = b.relu(b.conv(b.input("x", (2, 3, 9, 9)), b.weight("w1", (4, 3, 3, 3)), b.weight("b1", (4,)), [2, 2], [1] * 4))
    return b.conv(y, b.weight("w2", (4, 2, 3, 3)), groups=2, pads=[1] * 4)


def pools(b: WorkloadBuilder) -> str:
    y = b.conv(b.input("x", (1, 2, 11, 11)), b.weight("w", (2, 2, 1, 1)))
    z = b.pool(y, "max", (3, 3), (2, 2), pads=[1] * 4)
    left = b.pool(z, "average", (2, 2), (1, 1))
    right = b.slice(b.pool(y, "max", (2, 2), (2, 2)), (0, 0, 0, 0), (1, 2, 5, 5))  # row 11 is in no window
    return b.elementwise("add", b.tanh(left), right)


def strided(b: WorkloadBuilder) -> str:
    y = b.conv(b.input("x", (1, 2, 8, 9)), b.weight("w0", (3, 2, 1, 1)))
    y = b.conv(y, b.weight("w1", (3, 3, 1, 1)), strides=[2, 3])
    return b.conv(y, b.weight("w2", (2, 3, 3, 2)), strides=[1, 2], pads=[2, 0, 2, 1], dilations=[2, 1])


def depthwise(b: WorkloadBuilder) -> str:
    y = b.conv(b.input("x", (2, 3, 7, 6)), b.weight("w0", (3, 3, 1, 1)))
    y = b.conv(y, b.weight("w1", (3, 1, 3, 3)), groups=3, pads=[1] * 4)
    return b.conv(y, b.weight("w2", (6, 1, 3, 3)), groups=3, strides=[2, 2], pads=[1] * 4)


def parts_of_rows(b: WorkloadBuilder) -> str:
    """The first token alone goes on, as in a classifier of texts; a product sums over some of the columns."""
    y = b.matmul(b.input("x", (2, 5, 4)), b.weight("w1", (4, 6)))
    sizes = {"b": 2, "n": 3, "k": 3}
    left, right = (b.compute("mul", [Access(y, (affine("b"), row, Affine((("k", 1),), first))),
                                     Access(b.weight(name, (3, 3)), (affine("n"), affine("k")))],
                             ["b", "n"], sizes, reduce="add", kind="part", name=f"part {name}")
                   for row, first, name in ((affine(0), 1, "w2"), (affine(4), 3, "w3")))  # fmt: skip
    return b.elementwise("add", b.tanh(left), right)


def joined(b: WorkloadBuilder) -> str:
    x = b.input("x", (4, 6))
    y, z = b.sigmoid(b.matmul(x, b.weight("w1", (6, 5)))), b.gelu(b.matmul(x, b.weight("w2", (6, 3))))
    y = b.layer_norm(b.concat([y, z, y], 1), b.weight("g", (13,)), b.weight("b", (13,)))
    return b.linear(b.softmax(y), b.weight("w3", (5, 13)))


def transposed(b: WorkloadBuilder) -> str:
    """A filter's elements are read in parts, by the outputs that they reach, and from their ends."""
    y = b.conv(b.input("x", (2, 3, 4, 5)), b.weight("w0", (3, 3, 1, 1)))
    y = b.conv_transpose(y, b.weight("w1", (3, 2, 3, 3)), strides=[2, 3], pads=[1] * 4, dilations=[1, 2])
    return b.conv_transpose(y, b.weight("w2", (2, 2, 4, 1)), strides=[2, 1], pads=[1, 0, 1, 0])


def heads_in_parts(b: WorkloadBuilder) -> str:
    """Keys and values of heads side by side in one table, as multi-head latent attention has them."""
    x, w = b.matmul(b.input("x", (3, 4)), b.weight("w0", (4, 5))), b.weight("w", (14, 5))
    sizes = {"n": 3, "h": 2, "f": 3, "k": 5}
    left, right = (b.compute("mul", [Access(x, (affine("n"), affine("k"))),
                                     Access(w, (Affine((("h", 7), ("f", 1)), first), affine("k")))],
                             ["n", "h", "f"], sizes, reduce="add", kind="part", name=f"part {first}")
                   for first in (0, 3))  # fmt: skip
    return b.elementwise("mul", b.tanh(left), right)


MADE = [convolutions, pools, strided, depthwise, parts_of_rows, joined, transposed, heads_in_parts]


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3)), max_size=3), st.integers(0, 3), st.integers(0, 5))
def test_an_index_and_its_gaps_are_the_dimension(ranks: list[tuple[int, int]], before: int, behind: int) -> None:
    terms, sizes, reach = [], {}, 1
    for i, (count, beyond) in enumerate(ranks):
        terms.append((f"r{i}", (reach + beyond) * (-1) ** i))
        sizes[f"r{i}"] = count
        reach = (reach + beyond) * count
    low, high = Affine(tuple(terms)).bounds(sizes)
    index, extent = Affine(tuple(terms), before - low), high - low + 1 + before + behind
    assert mixed_radix(index, sizes)
    found = [index.offset + sum(step * i for (_, step), i in zip(terms, at, strict=True))
             for at in product(*map(range, sizes.values()))]  # fmt: skip
    for gap in gaps(index, sizes, extent):
        counts = (*gap.steps, (1, gap.width))
        found += [gap.start + sum(step * i for (step, _), i in zip(counts, at, strict=True))
                  for at in product(*(range(count) for _, count in counts))]  # fmt: skip
    assert sorted(found) == list(range(extent))


def test_experts_without_rows_cost_no_products() -> None:
    """Of 64 experts 5 tokens reach 30: the others' weights get zeros for a gradient."""
    model = load_model("deepseek-v2-lite", seq=5)
    step = training_step(model)
    products = {e.name: e.points for e, _ in step.einsums()}
    assert products["d.moe.expert.up@3.moe.expert.up.weight@3"] == products["moe.expert.up@3"]
    assert 2.99 < step.macs / model.macs < 3.01


@pytest.mark.parametrize("made", MADE)
def test_gradients_are_those_of_the_loss(made: Callable[[WorkloadBuilder], str]) -> None:
    b = WorkloadBuilder("model")
    b.output(made(b))
    assert_gradients(b)


def test_gradient_of_cross_entropy() -> None:
    b = WorkloadBuilder("classifier")
    y = b.relu(b.matmul(b.input("x", (3, 6)), b.weight("w1", (6, 5))))
    b.output(b.linear(y, b.weight("w2", (4, 5)), b.weight("b2", (4,))))
    assert_gradients(b, "cross_entropy")


def test_a_step_has_three_times_the_products_but_for_the_first_layer() -> None:
    """Backward, every product is done for its weights and for its input; the model's input has no gradient."""
    b = WorkloadBuilder("mlp")
    b.output(b.matmul(b.relu(b.matmul(b.input("x", (8, 20)), b.weight("w1", (20, 30)))), b.weight("w2", (30, 10))))
    forward = b.build()
    step = training_step(forward, loss="squared")
    assert step.macs == 2 * 8 * 20 * 30 + 3 * 8 * 30 * 10
    outputs = {n for n, t in step.tensors.items() if t.role is Role.OUTPUT}
    assert outputs >= {"w1.next", "w2.next"}
    frozen = training_step(forward, loss="squared", frozen=["w1"])
    assert frozen.macs == 8 * 20 * 30 + 2 * 8 * 30 * 10 and "w1.next" not in frozen.tensors


def test_networks_of_the_zoo_have_a_step() -> None:
    model = load_model("resnet18", resolution=32)
    step = training_step(model)
    assert 2.9 < step.macs / model.macs < 3.1
    weights = [n for n, t in model.tensors.items() if t.role is Role.WEIGHT]
    assert all(f"{n}.next" in step.tensors for n in weights)


def test_what_has_no_gradient_is_named() -> None:
    b = WorkloadBuilder("m")
    b.output(b.reduce(b.matmul(b.input("x", (3, 4)), b.weight("w", (4, 5))), "mul"))
    with pytest.raises(BadInput, match="m: no gradient of reduce_mul: it reduces by mul"):
        training_step(b.build(), loss="squared")
    b = WorkloadBuilder("m")
    b.output(b.relu(b.input("x", (3, 4))))
    with pytest.raises(BadInput, match="no output depends on a weight"):
        training_step(b.build())
    b = WorkloadBuilder("m")
    b.output(b.matmul(b.input("x", (3, 4)), b.weight("w", (4, 5))))
    with pytest.raises(BadInput, match="no loss 'huber'"):
        training_step(b.build(), loss="huber")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="'v' is frozen"):
        training_step(b.build(), frozen=["v"])
    before, after = (Access("S", (Affine((("t", 1),), offset),)) for offset in (0, 1))
    step = Einsum("r", after, (before,), Read(0), {"t": 3}, iterative="t")
    b = WorkloadBuilder("m")
    b.output(b.matmul(b.input("x", (3, 4)), b.weight("w", (4, 5))))
    b.state("S", (4,))
    b.add(step)
    with pytest.raises(BadInput, match="no training step of iterative Einsums"):
        training_step(b.build())


GPT = {"model_type": "gpt2", "n_layer": 2, "n_embd": 8, "n_head": 2, "vocab_size": 11, "n_positions": 16, "n_inner": 12}
LLAMA = {
    "model_type": "llama", "num_hidden_layers": 2, "hidden_size": 8, "num_attention_heads": 2, "vocab_size": 11,
    "num_key_value_heads": 1, "intermediate_size": 10, "max_position_embeddings": 16,
}  # fmt: skip


@pytest.mark.parametrize("config", [GPT, LLAMA], ids=["gpt2", "llama"])
def test_transformers_are_trained_layer_by_layer(config: dict[str, object], tmp_path: Path) -> None:
    """Repeats are written out; rotations, grouped heads, caches and normalisations have gradients."""
    (tmp_path / "tiny.json").write_text(json.dumps(config))
    model = load_model(tmp_path / "tiny.json", seq=5)
    step = training_step(model, loss="squared", rate=1.0)
    assert step.notes == ("rows of embedding that are looked up get no gradient",)
    rng = np.random.default_rng(2)
    values: dict[str, np.ndarray] = {
        n: rng.normal(size=t.shape) / 2 for n, t in step.tensors.items()
        if t.role in (Role.INPUT, Role.WEIGHT) and step.storage(n) == n
    }  # fmt: skip
    values["tokens"] = rng.integers(0, 5, size=values["tokens"].shape)
    after, written = evaluate(step, values), unrolled(model)
    names = [n for n in values if n in written.tensors and f"{n}.next" in after and n != "embedding"]
    assert len(names) > 15
    for name in names[::3]:
        gradient = values[name] - after[f"{name}.next"]
        at = tuple(rng.integers(0, n) for n in gradient.shape)
        up, down = (dict(values, **{name: values[name].copy()}) for _ in range(2))
        up[name][at] += STEP
        down[name][at] -= STEP
        expected = (loss_of(written, up, "squared") - loss_of(written, down, "squared")) / (2 * STEP)
        assert gradient[at] == pytest.approx(expected, rel=1e-4, abs=1e-5), name


def test_the_command_line_takes_it() -> None:
    ran = accelsim("model", "resnet18", "--option", "resolution=32", "--option", "training=squared", "--json")
    assert ran.code == 0 and json.loads(ran.output)["model"] == "resnet18.training"
    ran = accelsim("model", "resnet18", "--option", "training=huber")
    assert ran.code == 2 and "one of cross_entropy, squared" in ran.output
