"""From a ``torch.export.ExportedProgram`` to a Recording; the one module that needs torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import numpy as np

from ...errors import BadInput
from ..onnx_import.loading import keeps_values
from .recording import Argument, Call, Meta, Recording, Ref
from .types import element_type


def require_torch() -> Any:
    """The package torch. Raises BadInput, naming the extra, when it is not installed."""
    try:
        import torch
        import torch.export
    except ImportError:
        raise BadInput(
            "reading programs of torch.export needs torch: install accelsim with its extra, "
            "pip install 'accelsim[torch]'"
        ) from None
    return torch


def is_program(value: object) -> bool:
    """Whether a value is an ExportedProgram, without importing torch for it."""
    return type(value).__name__ == "ExportedProgram" and type(value).__module__.startswith("torch.export")


def load_program(path: str | Path) -> Any:
    """The ExportedProgram in a ``.pt2`` file. Raises BadInput: no torch, no such file, or no exported program."""
    path = Path(path)
    torch = require_torch()
    if not path.is_file():
        raise BadInput(f"{path}: no such file (expected a program saved by torch.export.save, usually *.pt2)")
    if not is_zipfile(path):
        raise BadInput(f"{path}: not a program saved by torch.export.save: it is no archive")
    try:
        return torch.export.load(path)
    except Exception as error:  # the loader raises whatever its parts do
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadInput(f"{path}: not a program saved by torch.export.save: {reason}") from error


def read_program(program: Any, name: str = "model", bindings: Mapping[str, int] | None = None) -> Recording:
    """The Recording of an exported program.

    Operators that change a tensor in place are made functional by torch itself. Buffers that the program updates are
    inputs, and their new values outputs. Parameters of one storage are one weight.

    Args:
        program: an ExportedProgram, of real, fake or meta tensors.
        name: of the model.
        bindings: sizes of free dimensions, by the name torch gives them (``s48``) or by ``INPUT:AXIS``.

    Raises:
        BadInput: torch is not installed, a free dimension has no size, or a binding fits none.
    """
    require_torch()
    if any(_changes_in_place(node) for node in program.graph.nodes):
        program = program.run_decompositions({})
    return _Reader(program, name, dict(bindings or {})).recording()


def _changes_in_place(node: Any) -> bool:
    schema = getattr(node.target, "_schema", None)
    return node.op == "call_function" and schema is not None and bool(schema.is_mutable)


class _Reader:
    """One reading: names of tensors and sizes of free dimensions as they become known."""

    def __init__(self, program: Any, name: str, bindings: dict[str, int]) -> None:
        self.program, self.name = program, name
        self.nodes = list(program.graph.nodes)
        self.names: dict[Any, str] = {}
        self.metas: dict[str, Meta] = {}
        self.sizes = self._free_sizes(bindings)

    def recording(self) -> Recording:
        inputs, weights = self._placeholders()
        taken = self._taken_parts()
        calls = []
        for node in self.nodes:
            if node.op == "call_function" and not _takes_part(node) and _is_tensor(node.meta.get("val")):
                calls.append(self._call(node, taken.get(node, {})))
        return Recording(self.name, inputs, weights, calls, self._outputs(), self.metas)

    # -- sizes ---------------------------------------------------------------------------------------------------

    def _free_sizes(self, bindings: dict[str, int]) -> dict[Any, int]:
        """Sizes by symbol of torch. Raises BadInput."""
        places: dict[str, Any] = {}
        for node in self.nodes:
            value = node.meta.get("val")
            if node.op == "placeholder" and _is_tensor(value):
                for axis, size in enumerate(value.shape):
                    expression = getattr(getattr(size, "node", None), "expr", None)
                    if expression is not None and expression.is_symbol:
                        places[str(expression)] = places[f"{node.name}:{axis}"] = expression
        for key, size in bindings.items():
            if key not in places:
                valid = ", ".join(f"'{place}'" for place in places) or "none, all sizes are fixed"
                raise BadInput(f"{self.name}: binding '{key}' fits no free dimension (there are: {valid})")
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise BadInput(f"{self.name}: binding '{key}' is {size!r} (a size is a whole number from 1)")
        sizes: dict[Any, int] = {}
        for key, size in bindings.items():
            if sizes.setdefault(places[key], size) != size:
                raise BadInput(f"{self.name}: binding '{key}'={size}, and {sizes[places[key]]} for the same dimension")
        missing = [str(symbol) for symbol in dict.fromkeys(places.values()) if symbol not in sizes]
        if missing:
            where = ", ".join(f"'{place}'" for place, symbol in places.items() if str(symbol) in missing)
            raise BadInput(f"{self.name}: free dimensions {where} have no size (bind them: bindings="
                           f"{dict.fromkeys(missing, 1)})")
        return sizes

    def _number(self, value: Any) -> int | float | bool:
        """A number, of a symbol of torch the one that its bindings give."""
        expression = getattr(getattr(value, "node", None), "expr", None)
        if expression is None:
            return value if isinstance(value, bool | int | float) else float(value)
        bound = expression.subs(self.sizes)
        if bound.free_symbols:
            raise BadInput(f"{self.name}: a size or number '{expression}' depends on the data (it must be known before "
                           "the run)")
        return int(bound) if bound.is_integer else float(bound)

    # -- tensors -------------------------------------------------------------------------------------------------

    def _placeholders(self) -> tuple[list[str], dict[str, np.ndarray[Any, Any] | None]]:
        signature = self.program.graph_signature
        targets = {spec.arg.name: spec.target for spec in signature.input_specs if spec.target is not None}
        updated = set(signature.buffers_to_mutate.values()) | set(signature.user_inputs_to_mutate.values())
        inputs: list[str] = []
        weights: dict[str, np.ndarray[Any, Any] | None] = {}
        for node in self.nodes:
            if node.op != "placeholder" or not _is_tensor(node.meta.get("val")):
                continue
            target = targets.get(node.name)
            name = target or node.name
            self._note(node, name, node.meta["val"])
            if target is None or target in updated:
                inputs.append(name)
            else:
                weights[name] = self._elements(name)
        return inputs, weights

    def _elements(self, name: str) -> np.ndarray[Any, Any] | None:
        """The elements of a parameter, a buffer or a constant, where they are few and known."""
        meta = self.metas[name]
        held = {**self.program.state_dict, **self.program.constants}.get(name)
        few = keeps_values(int(np.prod(meta.shape, dtype=np.int64)), element_type(meta.dtype, f"tensor '{name}'"))
        if held is None or not few or held.device.type == "meta" or type(held).__name__ == "FakeTensor":
            return None
        held = held.detach().cpu()
        array: np.ndarray[Any, Any] = (held.float() if held.is_floating_point() else held).numpy()
        return array

    def _note(self, node: Any, name: str, value: Any) -> None:
        self.names[node] = name
        shape = tuple(int(self._number(size)) for size in value.shape)
        self.metas[name] = Meta(str(value.dtype).removeprefix("torch."), shape)

    # -- operators -----------------------------------------------------------------------------------------------

    def _taken_parts(self) -> dict[Any, dict[int, list[Any]]]:
        """The nodes that take the results of an operator with several, by their position."""
        parts: dict[Any, dict[int, list[Any]]] = {}
        for node in self.nodes:
            if _takes_part(node):
                parts.setdefault(node.args[0], {}).setdefault(node.args[1], []).append(node)
        return parts

    def _call(self, node: Any, taken: Mapping[int, list[Any]]) -> Call:
        value = node.meta["val"]
        args = tuple(self._argument(a) for a in node.args)
        kwargs = {key: self._argument(a) for key, a in node.kwargs.items()}
        if not isinstance(value, list | tuple):
            self._note(node, node.name, value)
            return Call(_place(node), str(node.target), args, kwargs, (node.name,))
        outputs = []
        for position, part in enumerate(value):
            takers = [taker for taker in taken.get(position, []) if taker.users and _is_tensor(part)]
            outputs.append(takers[0].name if takers else "")
            for taker in takers:
                self._note(taker, takers[0].name, part)
        return Call(_place(node), str(node.target), args, kwargs, tuple(outputs))

    def _argument(self, value: Any) -> Argument:
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, list | tuple):
            return tuple(self._argument(item) for item in value)
        if hasattr(value, "meta") and hasattr(value, "op"):
            return Ref(self.names[value]) if value in self.names else self._number(value.meta["val"])
        if hasattr(value, "node"):
            return self._number(value)
        return str(value).removeprefix("torch.")

    def _outputs(self) -> list[str]:
        (output,) = [node for node in self.nodes if node.op == "output"]
        return list(dict.fromkeys(self.names[node] for node in _leaves(output.args) if node in self.names))


def _place(node: Any) -> str:
    """The name of a node behind the path of its module: ``encoder.fc.linear_3``."""
    modules = list((node.meta.get("nn_module_stack") or {}).values())
    path = modules[-1][0] if modules else ""
    return f"{path}.{node.name}" if path else str(node.name)


def _takes_part(node: Any) -> bool:
    return node.op == "call_function" and getattr(node.target, "__name__", "") == "getitem"


def _is_tensor(value: Any) -> bool:
    """Whether a node gives a tensor, or several."""
    if isinstance(value, list | tuple):
        return any(_is_tensor(part) for part in value)
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    elif value is not None:
        yield value
