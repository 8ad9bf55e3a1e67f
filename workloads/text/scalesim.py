"""SCALE-Sim topologies: CSV files with one convolution or one matrix product per row.

    Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,
    Conv1, 224, 224, 7, 7, 3, 64, 2,

    Layer, M, N, K,
    L0, 196, 192, 384,

The first row names the columns; a row may end with a comma; empty rows are skipped. Rows are layers of their own: each
has its own input, weight and output, for a topology does not say how they are joined. A word is a byte, unless told
otherwise (single_layer_sim.py, `word_size`).

Convolutions are not padded; the number of windows is rounded up, as SCALE-Sim does (topology_utils.py), so that the
last one may reach over the edge, where it reads zeros. Where the stride exceeds the filter, the rows or columns between
windows are never read, and are left out of the input. A depthwise convolution written as one dense filter over all
channels is taken as written; in a layer with ``DP`` in its name each channel has filters of its own, as there.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from ...errors import Problem, SpecError
from ...files import read_text
from ...ir import Workload, WorkloadBuilder
from ...text.names import nearest
from ...text.nodes import MAX_DIGITS

CONVOLUTION = ("ifmap height", "ifmap width", "filter height", "filter width", "channels", "num filter")
GEMM = ("m", "n", "k")
STRIDES = ("strides", "stride height", "stride width")
NAMES = ("layer name", "layer")
WORD_BITS = 8
DEPTHWISE = "DP"
DENSITY = "sparsity"
"""Column of SCALE-Sim 3; only dense layers, 1:1, are read."""


def load_scalesim(path: str | Path, *, bits: int = WORD_BITS) -> Workload:
    """The Workload of a topology file; see `loads_scalesim`."""
    return loads_scalesim(read_text(path), str(path), bits=bits)


def loads_scalesim(text: str, file: str = "topology.csv", *, bits: int = WORD_BITS) -> Workload:
    """The Workload of a topology.

    Layer L has tensors ``L.ifmap``, ``L.filter`` and ``L.ofmap``, of `bits` bits per element (a word of SCALE-Sim).

    Raises:
        SpecError: everything that is wrong, each with file and line.
    """
    rows = [(number, [field.strip() for field in row])
            for number, row in enumerate(csv.reader(text.splitlines()), start=1) if any(f.strip() for f in row)]
    if len(rows) < 2:
        raise SpecError([Problem(f"{file}:1", "no layers", "a row that names the columns, then one row per layer")])
    reader = _Reader(file, *rows[0])
    layers = [reader.layer(number, row) for number, row in rows[1:]]
    if reader.problems:
        raise SpecError(reader.problems)
    b = WorkloadBuilder(Path(file).stem, bits=bits)
    for layer in layers:
        name = b.unique(str(layer["name"]))
        build = _gemm if reader.gemm else _convolution
        build(b, name, layer)
    return b.build()


def _gemm(b: WorkloadBuilder, name: str, layer: Mapping[str, int | str]) -> None:
    m, n, k = (int(layer[c]) for c in GEMM)
    a, w = b.input(f"{name}.ifmap", (m, k)), b.weight(f"{name}.filter", (k, n))
    b.output(b.matmul(a, w, kind="Gemm", name=name, out=f"{name}.ofmap"))


def _convolution(b: WorkloadBuilder, name: str, layer: Mapping[str, int | str]) -> None:
    height, width, r, s, channels, filters = (int(layer[c]) for c in CONVOLUTION)
    strides = (int(layer["stride height"]), int(layer["stride width"]))
    (height, stride_y, over_y), (width, stride_x, over_x) = (
        _read_pixels(*axis) for axis in zip((height, width), (r, s), strides, strict=True)
    )
    groups = channels if DEPTHWISE in str(layer["name"]) else 1
    x = b.input(f"{name}.ifmap", (1, channels, height, width))
    w = b.weight(f"{name}.filter", (filters * groups, channels // groups, r, s))
    pads = (0, 0, over_y, over_x)
    b.output(b.conv(x, w, strides=(stride_y, stride_x), pads=pads, groups=groups, name=name, out=f"{name}.ofmap"))


def _read_pixels(size: int, kernel: int, stride: int) -> tuple[int, int, int]:
    """Pixels along an axis that windows read, the stride among these alone, and how far the last one reaches over."""
    windows = -(-(size - kernel) // stride) + 1
    if stride <= kernel:
        return size, stride, (windows - 1) * stride + kernel - size
    inside = [min(kernel, size - start) for start in range(0, size, stride)][:windows]
    return sum(inside), kernel, windows * kernel - sum(inside)


class _Reader:
    """Checks the names of columns, then rows."""

    def __init__(self, file: str, number: int, header: list[str]) -> None:
        self.file = file
        self.problems: list[Problem] = []
        columns = [" ".join(name.lower().split()) for name in header]
        while columns and not columns[-1]:
            columns.pop()
        self.columns = columns
        self.gemm = set(GEMM) <= set(columns)
        known = [*NAMES, *(GEMM if self.gemm else (*CONVOLUTION, *STRIDES)), DENSITY]
        for column in columns:
            if column not in known:
                self.wrong(number, f"no column '{column}'", nearest(column, known))
            elif columns.count(column) > 1:
                self.wrong(number, f"two columns '{column}'")
        needed = GEMM if self.gemm else CONVOLUTION
        missing = [c for c in needed if c not in columns]
        if not self.gemm and not ("strides" in columns or set(STRIDES[1:]) <= set(columns)):
            missing.append("strides")
        if missing:
            self.wrong(number, f"columns {', '.join(missing)} are missing",
                       f"convolutions: Layer name, {', '.join(CONVOLUTION)}, strides; products: Layer, M, N, K")
        if self.problems:
            raise SpecError(self.problems)

    def wrong(self, number: int, what: str, hint: str = "") -> None:
        self.problems.append(Problem(f"{self.file}:{number}", what, hint))

    def layer(self, number: int, row: list[str]) -> dict[str, int | str]:
        """Values of a row by column; both strides are there."""
        extra = row[len(self.columns):]
        if len(row) < len(self.columns) or any(extra):
            filled = len(row) if any(extra) else len([f for f in row if f])
            self.wrong(number, f"has {filled} fields, for {len(self.columns)} columns")
            return {}
        found: dict[str, int | str] = {"name": f"layer{number}"}
        for column, field in zip(self.columns, row, strict=False):
            if column in NAMES:
                found["name"] = field or f"layer{number}"
            elif column == DENSITY:
                if field.replace(" ", "") not in ("", "1:1", "dense"):
                    self.wrong(number, f"sparsity is '{field}'", "only dense layers, 1:1, are read")
            elif not field.isdecimal() or len(field) > MAX_DIGITS or int(field) < 1:
                self.wrong(number, f"{column} is '{field}'", "a positive whole number")
                found[column] = 1
            else:
                found[column] = int(field)
        if not self.gemm:
            for column in STRIDES[1:]:
                found.setdefault(column, found.get("strides", 1))
            for size, kernel in (("ifmap height", "filter height"), ("ifmap width", "filter width")):
                if int(found[kernel]) > int(found[size]):
                    self.wrong(number, f"{kernel} {found[kernel]} exceeds {size} {found[size]}",
                               "convolutions are not padded: give the padded input")
        return found
