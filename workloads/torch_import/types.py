"""Element types of torch as those of ONNX, in which the importers count bits."""

from __future__ import annotations

from ...errors import BadInput

_NAMES = {
    "float32": "FLOAT", "float64": "DOUBLE", "float16": "FLOAT16", "bfloat16": "BFLOAT16",
    "float8_e4m3fn": "FLOAT8E4M3FN", "float8_e4m3fnuz": "FLOAT8E4M3FNUZ", "float8_e5m2": "FLOAT8E5M2",
    "float8_e5m2fnuz": "FLOAT8E5M2FNUZ", "uint8": "UINT8", "int8": "INT8", "uint16": "UINT16", "int16": "INT16",
    "uint32": "UINT32", "int32": "INT32", "uint64": "UINT64", "int64": "INT64", "bool": "BOOL",
}  # fmt: skip


def element_type(dtype: str, where: str) -> int:
    """The ``TensorProto.DataType`` of a dtype. Raises BadInput for types that are not numbers of fixed width."""
    from onnx import TensorProto

    if dtype not in _NAMES:
        raise BadInput(f"{where}: element type {dtype} is not supported (one of {', '.join(_NAMES)})")
    return int(getattr(TensorProto, _NAMES[dtype]))


def is_number(dtype: str) -> bool:
    """Whether elements of a dtype are numbers of fixed width."""
    return dtype in _NAMES
