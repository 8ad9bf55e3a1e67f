"""Programs of torch.export evaluated twice: as a Workload, and by torch itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from accelsim.ir import Role, View, Workload, evaluate
from accelsim.workloads.torch_import import import_recording, read_program

Arrays = dict[str, np.ndarray[Any, Any]]


def in_torch(program: Any, args: tuple[Any, ...]) -> Arrays:
    """Every tensor of the graph by its name in the Recording, as torch computes it; arguments in order."""
    import torch

    changing = [n for n in program.graph.nodes if getattr(getattr(n.target, "_schema", None), "is_mutable", False)]
    program = program.run_decompositions({}) if changing else program
    targets = {s.arg.name: s.target for s in program.graph_signature.input_specs}
    held = {**program.state_dict, **program.constants}
    fed = iter(args)
    feeds = {n.name: held[targets[n.name]] if targets.get(n.name) else next(fed)
             for n in program.graph.nodes if n.op == "placeholder"}
    found: Arrays = {}

    class Interpreter(torch.fx.Interpreter):  # type: ignore[misc]
        def run_node(self, n: Any) -> Any:
            value = super().run_node(n)
            if isinstance(value, torch.Tensor):
                found[targets.get(n.name) or n.name] = value.detach().numpy()
            return value

    with torch.no_grad():
        Interpreter(program.graph_module).run(*feeds.values())
    return found


def check(
    module: Any, args: tuple[Any, ...], *, decompose: bool = False, tolerance: float = 1e-4,
    bindings: Mapping[str, int] | None = None, **export: Any,
) -> Workload:
    """Assert that the Workload of a module gives what torch gives; returns it."""
    import torch

    program = torch.export.export(module.eval(), args, **export)
    program = program.run_decompositions() if decompose else program
    recording = read_program(program, "model", bindings)
    imported = import_recording(recording)
    workload = imported.workload
    expected = in_torch(program, args)
    views = {item.output for item in workload.body if isinstance(item, View)}
    given = [n for n, t in workload.tensors.items() if t.role in (Role.INPUT, Role.WEIGHT) and n not in views]
    known = {**expected, **imported.constants}
    known.update({name: derive(known) for name, derive in imported.derived.items()})
    got = evaluate(workload, {name: known[name] for name in given})
    assert recording.outputs
    for name in recording.outputs:
        value = got.get(f"{name}.copy", got.get(name))
        assert value is not None
        assert value.shape == expected[name].shape, name
        np.testing.assert_allclose(value, expected[name], rtol=tolerance, atol=tolerance, err_msg=name)
    return workload
