"""Programs of ``torch.export`` as Workloads, without their weights: real, fake and meta tensors alike.

An exported program is read into a `Recording` (the one step that needs torch, an optional extra), whose ATen operators
are translated to the nodes of the ONNX importer; so an operator costs the same whichever way its model came. Programs
are best taken as ``torch.export.export`` gives them: a decomposition to core ATen writes out masks and broadcasts that
the operators themselves do not.

*A new operator* is one function in `layers`, `elementwise` or `shapes`, marked with ``@aten("name")``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import BadInput
from ...ir import MOST_BITS
from ..onnx_import import ImportedModel
from ..onnx_import.assembly import Graph, assemble
from ..onnx_import.loading import Value
from . import elementwise, handlers, layers, shapes  # noqa: F401  (they register operators)
from .reading import is_program, load_program, read_program
from .recording import Call, Meta, Recording, Ref
from .translation import translate
from .types import is_number

if TYPE_CHECKING:
    from ...ir import Workload

__all__ = ["Call", "Meta", "Recording", "Ref", "import_program", "import_recording", "is_program", "load_program",
           "read_program"]  # fmt: skip


def import_program(
    program: Any, *, name: str | None = None, bindings: Mapping[str, int] | None = None, bits: int | None = None,
    allow_unknown: bool = False,
) -> Workload:
    """The Workload of an exported program, for inference.

    Parameters and buffers are weights under their names in the model, but buffers that the program updates are inputs
    and outputs. Views cost nothing, a permutation is a copy, as in a file of ONNX.

    Args:
        program: a ``torch.export.ExportedProgram``, or the path of one that ``torch.export.save`` wrote.
        name: of the Workload; default: the file's name, or ``model``.
        bindings: sizes of free dimensions, by the name torch gives them or by ``INPUT:AXIS``.
        bits: of every floating tensor; default: as the program says.
        allow_unknown: let operators without support through, as `onnx_import.import_onnx` does.

    Raises:
        BadInput: torch is not installed; no such file, or no program; a free dimension has no size; an operator is not
            supported (with its node and name), or its arguments make no sense.
    """
    if isinstance(program, str | Path):
        name = name or Path(program).stem
        program = load_program(program)
    elif not is_program(program):
        raise BadInput(f"{type(program).__name__} is no ExportedProgram (torch.export.export makes one of a module)")
    recording = read_program(program, name or "model", bindings)
    return import_recording(recording, bits=bits, allow_unknown=allow_unknown).workload


def import_recording(recording: Recording, *, bits: int | None = None, allow_unknown: bool = False) -> ImportedModel:
    """The Workload of a Recording, with what became of its nodes. Needs no torch. Raises BadInput."""
    if bits is not None and not 1 <= bits <= MOST_BITS:
        raise BadInput(f"{recording.name}: bits={bits} (bits of a floating element, from 1 to {MOST_BITS})")
    t = translate(recording)
    values = {
        name: Value(name, recording.metas[name].shape, t.elem_type(name), constant=True, data=data)
        for name, data in recording.weights.items()
    }
    inputs = [Value(name, recording.metas[name].shape, t.elem_type(name)) for name in recording.inputs]
    declared = {name: (t.elem_type(name), recording.metas[name].shape) for call in recording.calls
                for name in call.outputs if name and is_number(recording.metas[name].dtype)}
    graph = Graph(recording.name, recording.name, inputs, {**values, **t.constants}, t.nodes, list(recording.outputs),
                  declared)
    return assemble(graph, bits=bits, allow_unknown=allow_unknown)
