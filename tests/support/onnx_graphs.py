"""Small ONNX graphs for tests, and their evaluation both as a Workload and by ONNX's reference implementation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from accelsim.ir import Role, evaluate
from accelsim.workloads.onnx_import import ImportedModel, import_model

Arrays = dict[str, np.ndarray[Any, Any]]
node = helper.make_node


def graph(
    nodes: Sequence[Any],
    inputs: Mapping[str, Sequence[int | str | None]],
    outputs: Sequence[str],
    constants: Mapping[str, np.ndarray[Any, Any]] | None = None,
    *,
    opset: int = 18,
    elem_type: int = TensorProto.FLOAT,
    types: Mapping[str, int] | None = None,
) -> Any:
    """A ModelProto; `types` are element types of inputs that differ from `elem_type`."""
    types = types or {}
    body = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(n, types.get(n, elem_type), list(s)) for n, s in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.UNDEFINED, None) for n in outputs],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in (constants or {}).items()],
    )
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def save(model: Any, folder: Path, name: str = "model") -> Path:
    path = folder / f"{name}.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def evaluate_import(imported: ImportedModel, model: Any, feeds: Mapping[str, Any]) -> Arrays:
    """Values of the Workload. Weights folded at import (not in the file) are computed by the reference."""
    weights = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    workload = imported.workload
    wanted = {n for n, t in workload.tensors.items() if t.role in (Role.INPUT, Role.WEIGHT)}
    wanted -= set(_views(workload.body))
    known: Arrays = {**weights, **imported.constants, **{k: np.asarray(v) for k, v in feeds.items()}}
    missing = sorted(wanted - set(known) - set(imported.derived))
    if missing:
        known.update(zip(missing, reference(model, feeds, missing), strict=True))
    known.update({name: derive(_Values(model, feeds, known)) for name, derive in imported.derived.items()})
    return evaluate(workload, {name: known[name] for name in wanted})


class _Values(dict[str, np.ndarray[Any, Any]]):
    """Values by name, computed by the reference when they are asked for."""

    def __init__(self, model: Any, feeds: Mapping[str, Any], known: Arrays) -> None:
        super().__init__(known)
        self.model, self.feeds = model, feeds

    def __missing__(self, name: str) -> np.ndarray[Any, Any]:
        (self[name],) = reference(self.model, self.feeds, [name])
        return self[name]


def _views(body: Sequence[Any]) -> list[str]:
    return [item.output for item in body if hasattr(item, "output") and isinstance(item.output, str)]


def reference(model: Any, feeds: Mapping[str, Any], names: Sequence[str]) -> list[np.ndarray[Any, Any]]:
    """Values of any names of the graph, by ONNX's reference implementation."""
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    del extended.graph.output[:]
    extended.graph.output.extend(helper.make_tensor_value_info(n, TensorProto.UNDEFINED, None) for n in names)
    held = {i.name for i in model.graph.initializer}
    runner = ReferenceEvaluator(extended)
    return [np.asarray(v) for v in runner.run(None, {k: v for k, v in feeds.items() if k not in held})]


def check(
    model: Any, feeds: Mapping[str, Any], folder: Path, *, tolerance: float = 1e-5, rounding: float = 0.0
) -> ImportedModel:
    """Assert that the Workload of a model gives what the reference gives; returns the import.

    `rounding` is the share of the elements of an integer output that may be off by one: the reference rounds numbers of
    32 bits, which may fall on the other side of a half.
    """
    imported = import_model(save(model, folder))
    names = [o.name for o in model.graph.output]
    got = evaluate_import(imported, model, feeds)
    for name, expected in zip(names, reference(model, feeds, names), strict=True):
        assert got[name].shape == expected.shape, name
        if rounding and np.asarray(expected).dtype.kind in "iu":
            off = np.abs(got[name] - np.asarray(expected, float))
            assert off.max(initial=0) <= 1, name
            assert np.count_nonzero(off) <= rounding * off.size, name
        else:
            np.testing.assert_allclose(got[name], expected, rtol=tolerance, atol=tolerance, err_msg=name)
    return imported


def one(op_type: str, x: Any, folder: Path, *constants: Any, opset: int = 18, **attributes: Any) -> Any:
    """Check one operator of the input x and of constants."""
    names = [f"c{i}" if c is not None else "" for i, c in enumerate(constants)]
    held = {n: c for n, c in zip(names, constants, strict=True) if n}
    model = graph([node(op_type, ["x", *names], ["y"], **attributes)], {"x": x.shape}, ["y"], held, opset=opset)
    return check(model, {"x": x}, folder)
