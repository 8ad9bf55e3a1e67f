"""Bits by role and by name, and what follows from them."""

from __future__ import annotations

import pytest

from accelsim import load_architecture, simulate
from accelsim.errors import BadInput
from accelsim.ir import Role, Workload, WorkloadBuilder, evaluate, parse_precision, with_precision
from accelsim.study.evaluation import model


def small() -> Workload:
    b = WorkloadBuilder("small", bits=16)
    x, w, bias = b.input("x", (8, 64)), b.weight("fc.weight", (96, 64)), b.weight("fc.bias", (96,))
    hidden = b.relu(b.linear(x, w, bias, name="fc"))
    table, ids = b.weight("table", (50, 96)), b.input("ids", (8,), 32)
    b.output(b.elementwise("add", b.reshape(hidden, (8, 96), out="flat"), b.look_up(table, ids), out="y"))
    return b.build()


def bits_of(workload: Workload) -> dict[str, int]:
    return {name: tensor.bits for name, tensor in workload.tensors.items()}


def test_roles_patterns_and_names() -> None:
    workload = small()
    narrow = with_precision(workload, {"weight": 4, "activation": 8, "*.bias": 32, "ids": 8})
    bits = bits_of(narrow)
    names = ("fc.weight", "table", "fc.bias", "ids", "x", "y")
    assert [bits[n] for n in names] == [4, 4, 32, 8, 16, 16]
    assert {bits[n] for n, t in workload.tensors.items() if t.role is Role.ACTIVATION} == {8}
    held = narrow.bytes_by_role()
    assert held[Role.WEIGHT] == (96 * 64 + 50 * 96) // 2 + 96 * 4
    assert held[Role.INPUT] == 8 * 64 * 2 + 8
    assert narrow.body == workload.body
    assert narrow.operations() == workload.operations()


def test_views_and_looked_up_rows_follow_what_is_stored() -> None:
    workload = small()
    (rows,) = [n for n in workload.tensors if n.endswith(".rows")]
    assert bits_of(with_precision(workload, {"table": 3}))[rows] == 3
    by_view = bits_of(with_precision(workload, {"flat": 5}))
    assert by_view[workload.storage("flat")] == by_view["flat"] == 5
    assert sorted(by_view.values()).count(5) == 2


def test_names_win_over_roles_and_later_over_earlier() -> None:
    workload = small()
    bits = bits_of(with_precision(workload, {"fc.bias": 32, "weight": 4, "fc.*": 8, "fc.weight": 2}))
    assert (bits["fc.bias"], bits["fc.weight"], bits["table"]) == (8, 2, 4)
    assert with_precision(workload, {}) == workload


@pytest.mark.parametrize(
    "given, said",
    [
        ({"wieght": 4}, ["'wieght' fits no tensor", "nearest:", "weight"]),
        ({"*.baias": 4}, ["'*.baias' fits no tensor", "fc.bias"]),
        ({"weight": 0}, ["'weight' is 0", "from 1"]),
        ({"weight": 2.5}, ["'weight' is 2.5"]),
        ({"weight": True}, ["'weight' is True"]),
        ({"weight": 65}, ["'weight' is 65", "from 1 to 64"]),
    ],
)
def test_mistakes_are_named(given: dict[str, int], said: list[str]) -> None:
    with pytest.raises(BadInput) as error:
        with_precision(small(), given)
    for part in said:
        assert part in str(error.value)


def test_what_an_iteration_hands_on_keeps_one_width() -> None:
    b = WorkloadBuilder("loop")
    x = b.input("x", (4, 4))
    with b.repeat("layers", 3) as scope:
        scope.carry(b.relu(x), x)
    b.relu(x)
    workload = b.build()
    with pytest.raises(BadInput, match=r"hands one on as the other \(give both the same: x=8\)"):
        with_precision(workload, {"activation": 8})
    assert set(bits_of(with_precision(workload, {"activation": 8, "input": 8})).values()) == {8}


def test_text() -> None:
    assert parse_precision("weight=4, activation=8,*.bias=32") == {"weight": 4, "activation": 8, "*.bias": 32}
    assert parse_precision("weight=4+a=b=8") == {"weight": 4, "a=b": 8}
    for text in ("", "weight", "weight=", "=4", "weight=0", "weight=4.5", "weight=4,weight=8"):
        with pytest.raises(BadInput, match="precision '"):
            parse_precision(text)
    for text in ("weight=65:8/128", "weight=4:9000/128"):
        with pytest.raises(BadInput, match="up to 64 bits, and as many of metadata"):
            parse_precision(text)


def test_values_do_not_depend_on_precision() -> None:
    import numpy as np

    workload, rng = small(), np.random.default_rng(0)
    feeds = {n: rng.standard_normal(workload.tensors[n].shape) for n in ("x", "fc.weight", "fc.bias", "table")}
    feeds["ids"] = np.arange(8.0)
    got = evaluate(with_precision(workload, {"weight": 4}), feeds)["y"]
    np.testing.assert_array_equal(got, evaluate(workload, feeds)["y"])


def test_traffic_and_energy_fall_with_the_bits_of_the_weights() -> None:
    b = WorkloadBuilder("fc", bits=8)
    x, w = b.input("x", (64, 512)), b.weight("w", (512, 1024))
    b.output(b.matmul(x, w, out="y"))
    workload, arch = b.build(), load_architecture("edge_npu")
    whole = simulate(arch, workload, objective="energy")
    half = simulate(arch, with_precision(workload, {"weight": 4}), objective="energy")
    fall = whole.traffic_bytes["dram"]["read"] - half.traffic_bytes["dram"]["read"]
    assert fall == 512 * 1024 // 2
    assert half.traffic_bytes["dram"]["write"] == whole.traffic_bytes["dram"]["write"]
    assert half.bounds.traffic.read_bytes == whole.bounds.traffic.read_bytes - fall
    assert half.energy_J < whole.energy_J


def test_option_of_models_and_axes() -> None:
    by_option = model("resnet18", (("precision", "weight=4+activation=8"),))
    assert by_option.tensors == with_precision(model("resnet18"), {"weight": 4, "activation": 8}).tensors
    with pytest.raises(BadInput, match="a text such as"):
        model("resnet18", (("precision", 8),))
