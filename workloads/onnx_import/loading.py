"""Reading ONNX files: the model, its opset, and what the nodes say, as plain Python values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import BadInput
from .schema import check_functions, check_node

OLDEST_OPSET = 7
"""Broadcasting before opset 7 followed other rules (attributes ``axis`` and ``broadcast``)."""

LARGEST_KEPT_INTEGERS = 4096
"""Elements up to which an integer constant keeps its values: shapes, axes and the like are far below."""

LARGEST_KEPT_FLOATS = 8
"""The same for floats: single numbers, and the scales of a Resize."""


UNNAMED = ("", "?")
"""What exporters call dimensions that need not be equal to one another."""


def keeps_values(elements: int, elem_type: int) -> bool:
    """Whether a constant of that many elements keeps its values, and not its shape alone."""
    return elements <= (LARGEST_KEPT_FLOATS if is_floating(elem_type) else LARGEST_KEPT_INTEGERS)


@dataclass(frozen=True)
class Node:
    """One ONNX node with its attributes as Python values. A missing optional input has the name ''."""

    name: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    opset: int
    domain: str = ""
    captures: tuple[str, ...] = ()
    """Names of the graph around it that the body of an If, Loop or Scan reads."""

    def __str__(self) -> str:
        return f"node '{self.name}' ({self.op_type})"


@dataclass(frozen=True)
class Value:
    """What is known of an ONNX value before the run.

    Attributes:
        shape: elements by dimension.
        elem_type: a ``TensorProto.DataType``.
        constant: its elements do not depend on the inputs of the graph.
        data: the elements themselves, kept for small constants only.
        view_of: the constant that this one is another shape of; its view is emitted when something uses it.
        bits: of one element where it is held in fewer than its type says (dequantised weights); else 0.
    """

    name: str
    shape: tuple[int, ...]
    elem_type: int
    constant: bool = False
    data: np.ndarray[Any, Any] | None = field(default=None, compare=False)
    view_of: str = ""
    bits: int = 0

    @property
    def scalar(self) -> float | None:
        """The number itself when the value is one known number."""
        return float(self.data.reshape(-1)[0]) if self.data is not None and self.data.size == 1 else None


@cache
def _bits_by_type() -> dict[int, tuple[int, bool]]:
    from onnx import TensorProto

    widths = {
        "FLOAT": 32, "DOUBLE": 64, "FLOAT16": 16, "BFLOAT16": 16, "FLOAT8E4M3FN": 8, "FLOAT8E4M3FNUZ": 8,
        "FLOAT8E5M2": 8, "FLOAT8E5M2FNUZ": 8, "FLOAT4E2M1": 4, "BOOL": 8, "INT2": 2, "UINT2": 2, "INT4": 4,
        "UINT4": 4, "INT8": 8, "UINT8": 8, "INT16": 16, "UINT16": 16, "INT32": 32, "UINT32": 32, "INT64": 64,
        "UINT64": 64,
    }  # fmt: skip
    return {
        getattr(TensorProto, name): (bits, "FLOAT" in name or name == "DOUBLE")
        for name, bits in widths.items()
        if hasattr(TensorProto, name)
    }


def element_bits(elem_type: int, where: str) -> int:
    """Bits of one stored element. Raises BadInput for types that are not numbers of fixed width."""
    if elem_type not in _bits_by_type():
        raise BadInput(f"{where}: element type {type_name(elem_type)} is not supported (use floats, integers or bool)")
    return _bits_by_type()[elem_type][0]


def is_floating(elem_type: int) -> bool:
    return _bits_by_type().get(elem_type, (0, False))[1]


def type_name(elem_type: int) -> str:
    from onnx import TensorProto

    try:
        return str(TensorProto.DataType.Name(elem_type)).lower()
    except ValueError:
        return f"number {elem_type}"


def numpy_type(elem_type: int) -> np.dtype[Any]:
    from onnx import helper

    return np.dtype(helper.tensor_dtype_to_np_dtype(elem_type))


def load_model(path: str | Path) -> Any:
    """The ``onnx.ModelProto`` in a file. External weight files are not read.

    Raises:
        BadInput: the file is missing, is not an ONNX model, is cut short, is older than opset 7, or of an opset that
            the installed onnx does not know.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    path = Path(path)
    if not path.is_file():
        problem = "is a directory" if path.is_dir() else "no such file"
        raise BadInput(f"{path}: {problem} (expected an ONNX model, usually *.onnx)")
    try:
        model = onnx.ModelProto.FromString(path.read_bytes())
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from error
    except DecodeError as error:
        raise BadInput(f"{path}: not an ONNX model, or cut short: it does not parse as a ModelProto") from error
    if not model.HasField("graph") or not (model.graph.node or model.graph.output):
        raise BadInput(f"{path}: not an ONNX model, or cut short: it holds no graph")
    if not model.opset_import:
        raise BadInput(f"{path}: not an ONNX model, or cut short: it names no operator set (opset_import)")
    if not model.graph.output:
        raise BadInput(f"{path}: the graph names no output, so nothing in it has to be computed")
    if not _is_utf_8(model):
        raise BadInput(f"{path}: not an ONNX model, or damaged: it has names that are not text in UTF-8")
    if model.functions:
        from onnx import checker, inliner

        check_functions(model, str(path))
        try:
            model = inliner.inline_local_functions(model)
        except (checker.ValidationError, RuntimeError) as error:
            raise BadInput(f"{path}: its local functions cannot be written out: {error}") from error
    opset = model_opset(model)
    newest = onnx.defs.onnx_opset_version()
    if opset > newest:
        raise BadInput(
            f"{path}: opset {opset} is newer than any that the installed onnx {onnx.__version__} knows (up to {newest}"
            f"; a newer onnx may know it)"
        )
    if opset < OLDEST_OPSET:
        raise BadInput(
            f"{path}: opset {opset} is too old (opset {OLDEST_OPSET} or later; onnx.version_converter.convert_version "
            f"raises it)"
        )
    return model


def _is_utf_8(message: Any) -> bool:
    """Whether the texts of a message and of those in it are; what is not comes out of protobuf as bytes."""
    for kind, value in message.ListFields():
        values = value if hasattr(value, "append") else (value,)
        if kind.type == kind.TYPE_MESSAGE:
            if not all(map(_is_utf_8, values)):
                return False
        elif kind.type == kind.TYPE_STRING and not all(isinstance(text, str) for text in values):
            return False
    return True


def model_opset(model: Any) -> int:
    """Version of the default operator set that the model is written in."""
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=OLDEST_OPSET)


def read_nodes(model: Any, path: str | Path) -> list[Node]:
    """The nodes in file order, each with a unique name (its own, else the operator's with its place in the file).

    Raises:
        BadInput: see `nodes_of`.
    """
    return nodes_of(model.graph, model_opset(model), path)


def nodes_of(graph: Any, opset: int, path: str | Path, prefix: str = "") -> list[Node]:
    """The nodes of a GraphProto; `prefix` goes before the name of each.

    Raises:
        BadInput: a node does not have the inputs, outputs or attributes of its operator; `path` is told.
    """
    nodes: list[Node] = []
    taken: set[str] = set()
    for position, proto in enumerate(graph.node):
        name = prefix + (proto.name or f"{proto.op_type}_{position}")
        if name in taken:
            name = f"{name}_{position}"
        taken.add(name)
        where = f"{path}: node '{name}' ({proto.op_type})"
        check_node(proto, opset, where)
        attributes = {a.name: _attribute(a, where) for a in proto.attribute}
        domain = "" if proto.domain == "ai.onnx" else proto.domain
        captures = tuple(dict.fromkeys(n for a in proto.attribute for b in (a.g, *a.graphs) for n in _captured(b)))
        nodes.append(
            Node(name, proto.op_type, tuple(proto.input), tuple(proto.output), attributes, opset, domain, captures)
        )
    return nodes


def _attribute(proto: Any, where: str) -> Any:
    """The value of an AttributeProto, bytes as text."""
    from onnx import helper

    try:
        value = helper.get_attribute_value(proto)
        value = value.decode() if isinstance(value, bytes) else value
    except ValueError:  # of a type that is none, or a text that is not UTF-8
        value = None
    if value is None:
        raise BadInput(f"{where}: attribute '{proto.name}' cannot be read")
    return value


def node_proto(node: Node) -> Any:
    """The NodeProto of a node."""
    from onnx import AttributeProto, helper

    proto = helper.make_node(node.op_type, list(node.inputs), list(node.outputs), domain=node.domain)
    for name, value in node.attributes.items():
        kind = AttributeProto.INTS if isinstance(value, list) and not value else None
        proto.attribute.append(helper.make_attribute(name, value, attr_type=kind))
    return proto


def _captured(body: Any) -> list[str]:
    """Names that a sub-graph reads and does not make."""
    made = {i.name for i in (*body.input, *body.initializer)} | {o for n in body.node for o in n.output}
    inner = (b for n in body.node for a in n.attribute for b in (a.g, *a.graphs))
    read = [*(i for n in body.node for i in n.input), *(o.name for o in body.output)]
    return [name for name in (*read, *(n for b in inner for n in _captured(b))) if name and name not in made]


def tensor_value(name: str, proto: Any, where: str) -> Value:
    """The Value of a TensorProto: values of small integers and of single numbers, the shape alone of all else.

    Raises:
        BadInput: a size is negative, or what the file holds is not as many elements of its type as its shape has.
    """
    shape = tuple(proto.dims)
    if min(shape, default=0) < 0:
        raise BadInput(f"{where}: tensor '{name}' has shape {shape}")
    data = None
    if keeps_values(prod(shape), proto.data_type) and proto.data_location == proto.DEFAULT:  # not in an external file
        data = tensor_data(name, proto, where)
    return Value(name, shape, proto.data_type, constant=True, data=data)


def tensor_data(name: str, proto: Any, where: str) -> np.ndarray[Any, Any]:
    """The elements that a TensorProto itself holds. Raises BadInput as `tensor_value` does, and for external data."""
    from onnx import numpy_helper

    if proto.data_location != proto.DEFAULT:
        raise BadInput(f"{where}: tensor '{name}' lies in another file, which is not read (save its data in the model)")
    element_bits(proto.data_type, f"{where}: tensor '{name}'")
    try:
        return numpy_helper.to_array(proto)
    except (ValueError, TypeError, OverflowError) as error:
        raise BadInput(f"{where}: tensor '{name}' of shape {tuple(proto.dims)} and type {type_name(proto.data_type)}: "
                       f"{error}") from error


def wheel_models() -> dict[str, Path]:
    """The real models inside the onnx package's test data, by name without the prefix ``light_``.

    Their weights are ConstantOfShape nodes, so that a file of ResNet-50 is 80 kB. A distribution of onnx that leaves
    its test data out gives an empty dictionary.
    """
    import onnx

    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    return {p.stem.removeprefix("light_"): p for p in sorted(folder.glob("light_*.onnx"))}


def output_shapes(model: Any) -> dict[str, tuple[int | None, ...]]:
    """Sizes that the file gives for the dimensions of its outputs, by name; None for those that it leaves open (zero or
    less is how some exporters write that). Outputs of no given rank are left out."""
    shapes = {o.name: o.type.tensor_type.shape.dim for o in model.graph.output if o.type.tensor_type.HasField("shape")}
    return {
        name: tuple(dim.dim_value if dim.dim_value > 0 else None for dim in dims) for name, dims in shapes.items()
    }


def graph_inputs(
    model: Any, path: str | Path, bindings: Mapping[str, int] | None
) -> list[Value]:
    """The inputs that the user feeds (no initializer), with every dimension bound; one bound to a value is constant.

    Args:
        model: the ModelProto.
        path: for messages.
        bindings: sizes of symbolic dimensions by name, or by ``INPUT:AXIS``, which goes first and is the only name of
            an unnamed one.

    Raises:
        BadInput: a symbolic dimension is unbound, bound to less than one, or a binding fits no dimension.
    """
    bindings = dict(bindings or {})
    held = {i.name for i in model.graph.initializer} | {s.values.name for s in model.graph.sparse_initializer}
    values: list[Value] = []
    unbound: list[str] = []
    missing: dict[str, int] = {}
    symbols: list[str] = []
    places: list[str] = []
    for proto in model.graph.input:
        if proto.name in held:
            continue
        kind = proto.type.WhichOneof("value")
        if kind != "tensor_type" or not proto.type.tensor_type.HasField("shape"):
            what = "has no shape" if kind == "tensor_type" else f"is a {str(kind).removesuffix('_type')}, not a tensor"
            raise BadInput(f"{path}: input '{proto.name}' {what} (export the model with the ranks of its inputs)")
        if proto.name in bindings and _is_whole_number(proto):
            value = bindings.pop(proto.name)
            values.append(_bound(proto, value, path))
            continue
        shape: list[int] = []
        for axis, dim in enumerate(proto.type.tensor_type.shape.dim):
            if dim.WhichOneof("value") == "dim_value" and dim.dim_value > 0:
                shape.append(dim.dim_value)
                continue
            place = f"{proto.name}:{axis}"
            symbol = place if dim.dim_param in UNNAMED else dim.dim_param
            places.append(place)
            symbols.append(symbol)
            if symbol not in bindings and place not in bindings:
                unbound.append(f"dimension '{symbol}' (axis {axis} of input '{proto.name}')")
                missing[symbol] = 1
            shape.append(bindings.get(place, bindings.get(symbol, 1)))
        values.append(Value(proto.name, tuple(shape), proto.type.tensor_type.elem_type))
    if unbound:
        options = " ".join(f"--bind {symbol}=1" for symbol in missing)
        raise BadInput(f"{path}: symbolic {', '.join(unbound)} has no size (bind it: bindings={missing}, or {options})")
    for symbol, size in bindings.items():
        if symbol not in symbols and symbol not in places:
            valid = ", ".join(f"'{s}'" for s in dict.fromkeys(symbols)) or "none, all sizes are fixed"
            raise BadInput(f"{path}: binding '{symbol}' fits no symbolic dimension of an input (there are: {valid})")
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise BadInput(f"{path}: binding '{symbol}' is {size!r} (a size is a whole number from 1)")
    return values


def _is_whole_number(proto: Any) -> bool:
    """Whether an input is one integer or truth value."""
    kind = proto.type.tensor_type
    return kind.elem_type in _bits_by_type() and not is_floating(kind.elem_type) and all(
        dim.dim_value == 1 for dim in kind.shape.dim
    )


def _bound(proto: Any, value: Any, path: str | Path) -> Value:
    """An input of one whole number that the caller has given."""
    if not isinstance(value, int):
        raise BadInput(f"{path}: input '{proto.name}' is bound to {value!r} (a whole number)")
    kind = proto.type.tensor_type
    shape = (1,) * len(kind.shape.dim)
    data = np.full(shape, value, numpy_type(kind.elem_type))
    return Value(proto.name, shape, kind.elem_type, constant=True, data=data)
