"""ZigZag workloads: YAML lists of layers, each an equation over loop dimensions.

    - id: 0
      operator_type: Conv
      equation: O[b][k][oy][ox]+=W[k][c][fy][fx]*I[b][c][iy][ix]
      dimension_relations: [ix=2*ox+1*fx, iy=2*oy+1*fy]
      loop_dims: [B, K, C, OY, OX, FY, FX]
      loop_sizes: [1, 64, 3, 112, 112, 7, 7]
      operand_precision: {W: 8, I: 8, O: 16, O_final: 8}
      operand_source: {I: 0, W: 0}              # the layer's own id: an input or a weight

How it is read: an operand whose source is the layer itself, or is not given, is a weight if it is called W, else an
input; any other source is the result of that layer. ``O_final`` is the width of a result, and that of partial sums
(``O``) belongs to a machine. An operand of no bits is not there: a pooling layer reduces its input, by its maximum
(``MaxPool``, ``Pooling``, ``Pool``, ``Max``) or by its sum (``AveragePool``, ``GlobalAveragePool``, whose division is
left out).

*Padding.* A layer that reads more than its source has is padded with zeros: by ``padding`` (per dimension of
``pr_loop_dims``), or where it is not given, by what is missing, half of it before. An input is as large as what is
read, less the padding that is given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from ...errors import BadInput, Problem, SpecError
from ...files import read_text
from ...ir import Access, Affine, Apply, Expr, Read, Workload, WorkloadBuilder, affine
from ...text.document import Document, parse_document
from ...text.names import nearest, short

KEYS = ("id", "name", "operator_type", "equation", "dimension_relations", "loop_dims", "loop_sizes",
        "operand_precision", "operand_source", "pr_loop_dims", "pr_loop_sizes", "padding")
OPERATORS = ("Max", "Conv", "Pooling", "Add", "Conv_downsample", "Gemm", "Pool", "MaxPool", "AveragePool",
             "GlobalAveragePool")
AVERAGES = ("AveragePool", "GlobalAveragePool")
_EQUATION = re.compile(r"(\w+)((?:\[\w+\])+)(\+?)=(\w+)((?:\[\w*\])+)([*+])(\w+)((?:\[\w*\])+)")
_RELATION = re.compile(r"(\w+)=(?:(\d{1,9})\*)?(\w+)\+(?:(\d{1,9})\*)?(\w+)")


def load_zigzag(path: str | Path, *, bits: int | None = None) -> Workload:
    """The Workload of a ZigZag workload file; see `loads_zigzag`."""
    return loads_zigzag(read_text(path), str(path), bits=bits)


def loads_zigzag(text: str, file: str = "workload", *, bits: int | None = None) -> Workload:
    """The Workload of a ZigZag workload in YAML.

    A layer is called by its name, or ``LayerID``; its tensors are ``NAME.W``, ``NAME.I`` and ``NAME.O``.

    Args:
        text: see the module.
        file: what messages call it; its stem is the name of the Workload.
        bits: of all tensors; default: as the text says.

    Raises:
        SpecError: what is wrong, with file and line.
    """
    document = parse_document(text, file)
    layers = document.data
    if not isinstance(layers, list) or not layers or not all(isinstance(item, dict) for item in layers):
        raise document.error((), "a ZigZag workload is a list of layers", "each with id, equation, loop_dims ...")
    problems: list[Problem] = []
    read = [_read(document, i, item, problems) for i, item in enumerate(layers)]
    if problems:
        raise SpecError(problems)
    b = WorkloadBuilder(Path(file).stem)
    results: dict[int, str] = {}
    consumed: set[int] = set()
    for layer in read:
        if layer.id in results:
            raise document.error((layer.at, "id"), f"layer {layer.id} is there twice")
        if layer.name in b:
            raise document.error((layer.at, "name"), f"two layers are called '{layer.name}'")
        try:
            results[layer.id] = _Layer(document, b, layer, results, bits).build()
        except SpecError:
            raise
        except BadInput as error:
            raise document.error((layer.at,), str(error)) from None
        consumed |= {source for source in layer.sources.values() if source != layer.id}
    for number, result in results.items():
        if number not in consumed:
            b.output(result)
    return b.build()


@dataclass(frozen=True)
class _Spec:
    """One layer, with its equation taken apart; ranks in lower case."""

    at: int
    id: int
    name: str
    operator: str
    sizes: Mapping[str, int]
    output: tuple[str, ...]
    operands: tuple[tuple[str, tuple[str, ...]], ...]
    product: bool
    relations: Mapping[str, Affine]
    precision: Mapping[str, int]
    sources: Mapping[str, int]
    padding: Mapping[str, tuple[int, int]]
    given_sizes: Mapping[str, int]


def _read(document: Document, i: int, item: dict[str, Any], problems: list[Problem]) -> _Spec:
    before = len(problems)

    def wrong(key: str, what: str, hint: str = "") -> None:
        problems.append(document.problem((i, key) if key in item else (i,), what, hint))

    for key in item:
        if key not in KEYS:
            wrong(key, f"unknown key '{key}'", nearest(key, KEYS))
    for key in ("id", "operator_type", "equation", "loop_dims", "loop_sizes", "operand_precision"):
        if key not in item:
            wrong(key, f"key '{key}' is missing")
    operator = item.get("operator_type")
    if operator is not None and operator not in OPERATORS:
        wrong("operator_type", f"no operator '{operator}'", nearest(operator, OPERATORS))
    number = _whole(item.get("id"))
    if "id" in item and number is None:
        wrong("id", f"is {item['id']!r}", "a whole number")
    sizes = _sizes(item, wrong)
    relations = _relations(item, sizes, wrong)
    match = _EQUATION.fullmatch(str(item.get("equation", "")).replace(" ", ""))
    output: tuple[str, ...] = ()
    operands: tuple[tuple[str, tuple[str, ...]], ...] = ()
    if match is None:
        if "equation" in item:
            wrong("equation", f"'{item['equation']}' is no equation", "such as O[b][k]+=W[k][c]*I[b][c]")
    else:
        output = _names(match[2])
        operands = ((match[4], _names(match[5])), (match[7], _names(match[8])))
        for name in {*output, *operands[0][1], *operands[1][1]} - {*sizes, *relations}:
            wrong("equation", f"index '{name}' is no loop dimension", nearest(name, [*sizes, *relations]))
    precision = _numbers(item.get("operand_precision"), "operand_precision", wrong)
    if match is not None and "operand_precision" in item:
        for key in (*(o for o, _ in operands), "O_final"):
            if key not in precision and not (key == "W" and operator in OPERATORS and "Pool" in str(operator)):
                wrong("operand_precision", f"no precision of '{key}'", "bits per element")
    sources = _numbers(item.get("operand_source"), "operand_source", wrong)
    padding, given_sizes = _padding(item, wrong)
    if len(problems) > before:
        return _Spec(i, i, str(i), "", {}, (), (), True, {}, {}, {}, {}, {})
    assert match is not None and number is not None
    return _Spec(i, number, str(item.get("name") or f"Layer{number}"), str(operator), sizes, output, operands,
                 match[6] == "*", relations, precision, sources, padding, given_sizes)


def _sizes(item: dict[str, Any], wrong: Callable[..., None]) -> dict[str, int]:
    """Loop dimensions with their extents; ones where these are wrong, so that what else is wrong is told too."""
    dims, extents = item.get("loop_dims"), item.get("loop_sizes")
    if isinstance(dims, list) and isinstance(extents, list) and len(dims) == len(extents):
        if all(_whole(s) is not None and s >= 1 for s in extents):
            return {str(d).lower(): s for d, s in zip(dims, extents, strict=True)}
        wrong("loop_sizes", f"is {extents}", "positive whole numbers")
        return {str(d).lower(): 1 for d in dims}
    if "loop_dims" in item and "loop_sizes" in item:
        wrong("loop_sizes", f"{extents} for {dims}", "two lists of equal length")
    return {}


def _relations(item: dict[str, Any], sizes: Mapping[str, int], wrong: Callable[..., None]) -> dict[str, Affine]:
    """Dimensions that are sums of two loop dimensions."""
    relations: dict[str, Affine] = {}
    given = item.get("dimension_relations") or []
    if not isinstance(given, list):
        wrong("dimension_relations", f"is {short(given)}", "a list such as [ix=2*ox+1*fx]")
        return {}
    for text in given:
        found = _RELATION.fullmatch(str(text).replace(" ", ""))
        if found is None:
            wrong("dimension_relations", f"'{text}' is no relation", "such as ix=2*ox+1*fx")
            continue
        target, c1, d1, c2, d2 = found.groups()
        for d in (d1, d2):
            if d.lower() not in sizes and sizes:
                wrong("dimension_relations", f"'{text}': no loop dimension '{d}'", nearest(d.lower(), sizes))
        relations[target.lower()] = Affine(((d1.lower(), int(c1 or 1)), (d2.lower(), int(c2 or 1))))
    return relations


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _names(indices: str) -> tuple[str, ...]:
    return tuple(name.lower() for name in re.findall(r"\[(\w+)\]", indices))


def _numbers(value: Any, key: str, wrong: Any) -> dict[str, int]:
    if value is None:
        return {}
    if not isinstance(value, dict) or any(_whole(v) is None or v < 0 for v in value.values()):
        wrong(key, f"is {short(value, 60)}", "a mapping of operands to whole numbers")
        return {}
    return dict(value)


def _padding(item: Mapping[str, Any], wrong: Any) -> tuple[dict[str, tuple[int, int]], dict[str, int]]:
    """Padding before and after, and sizes of inputs, by the index that they are given for."""
    dims = item.get("pr_loop_dims") or []
    names = [str(d).lower() for d in dims] if isinstance(dims, list) else []
    padding, sizes = item.get("padding") or [], item.get("pr_loop_sizes") or []
    if padding and (not isinstance(padding, list) or len(padding) != len(names) or not all(
            isinstance(p, list) and len(p) == 2 and all(_whole(v) is not None and v >= 0 for v in p) for p in padding)):
        wrong("padding", f"is {padding}", "[before, after] for each of pr_loop_dims")
        padding = []
    if sizes and (not isinstance(sizes, list) or len(sizes) != len(names) or not all(_whole(s) for s in sizes)):
        wrong("pr_loop_sizes", f"is {sizes}", "one size for each of pr_loop_dims")
        sizes = []
    return ({n: (p[0], p[1]) for n, p in zip(names, padding, strict=False)},
            dict(zip(names, sizes, strict=False)))


class _Layer:
    """Builds one layer."""

    def __init__(
        self, document: Document, b: WorkloadBuilder, spec: _Spec, results: Mapping[int, str], bits: int | None
    ) -> None:
        self.document, self.b, self.spec, self.results, self.bits = document, b, spec, results, bits
        pools = "Pool" in spec.operator and spec.operator not in AVERAGES
        self.largest = pools or spec.operator == "Max"

    def build(self) -> str:
        """The tensor that the layer writes."""
        spec, b = self.spec, self.b
        accesses = [self.operand(name, indices) for name, indices in spec.operands
                    if spec.precision.get(name, 0) or not spec.product]
        if not accesses:
            raise BadInput("no operand has a precision above 0")
        expr: Expr = Read(0)
        if len(accesses) == 2:
            expr = Apply("mul" if spec.product else "add", (Read(0), Read(1)))
        carried = {r for a in accesses for r in a.ranks}
        sizes = {r: s for r, s in spec.sizes.items() if r in carried or r in spec.output}
        reduced = [r for r in sizes if r not in spec.output]
        reduce = ("max" if self.largest else "add") if reduced else ""
        return b.compute(expr, accesses, [affine(r) for r in spec.output], sizes, reduce=reduce, kind=spec.operator,
                         name=spec.name, out=f"{spec.name}.O", bits=self.bits or spec.precision["O_final"])

    def operand(self, name: str, indices: tuple[str, ...]) -> Access:
        spec, b = self.spec, self.b
        read = [spec.relations.get(i, affine(i)) for i in indices]
        extents = [index.extent(spec.sizes) for index in read]
        source = spec.sources.get(name, spec.id)
        if source == spec.id:
            shape = [spec.given_sizes.get(i, e - sum(spec.padding.get(i, (0, 0))))
                     for i, e in zip(indices, extents, strict=True)]
            width = self.bits or spec.precision[name]
            declare = b.weight if name == "W" else b.input
            tensor = declare(f"{spec.name}.{name}", shape, width)
        elif source not in self.results:
            raise self.document.error((spec.at, "operand_source", name), f"no layer {source} comes before",
                                      f"one of {', '.join(map(str, self.results)) or 'none yet'}; its own id for none")
        else:
            tensor = self.shaped(name, self.results[source], extents, source)
        final = [self.placed(name, i, index, extent, size)
                 for i, index, extent, size in zip(indices, read, extents, b.shape(tensor), strict=True)]
        outside = any(index.bounds(spec.sizes)[0] < 0 or index.bounds(spec.sizes)[1] >= size
                      for index, size in zip(final, b.shape(tensor), strict=True))
        return Access(tensor, tuple(final), (-inf if self.largest else 0.0) if outside else None)

    def shaped(self, name: str, tensor: str, extents: list[int], source: int) -> str:
        """The source with as many dimensions as it is read with: ones are dropped, or all of it is reshaped."""
        shape = self.b.shape(tensor)
        if len(shape) == len(extents):
            return tensor
        total = 1
        for extent in extents:
            total *= extent
        if total != self.b.tensor(tensor).elements:
            where, what = (self.spec.at, "operand_source", name), f"reads {tuple(extents)} of layer {source}"
            raise self.document.error(where, f"{what}, which gives {shape}", "as many elements, or as many dimensions")
        return self.b.view(tensor, extents)

    def placed(self, name: str, index_name: str, index: Affine, extent: int, size: int) -> Affine:
        """The index, shifted by the padding before."""
        if index_name in self.spec.padding:
            return Affine(index.terms, -self.spec.padding[index_name][0])
        if extent <= size:
            return index
        if len(index.terms) < 2:
            raise self.document.error((self.spec.at, "equation"), f"index '{index_name}' of {name} runs over {extent} "
                                      f"elements, of which its source has {size}", "equal sizes")
        return Affine(index.terms, -((extent - size) // 2))
