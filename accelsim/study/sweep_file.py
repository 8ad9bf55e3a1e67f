"""Sweeps as YAML files.

.. code-block:: yaml

    name: array and buffer
    arch: edge_npu                 # a machine or a list; a relative path is relative to this file
    models:                        # a name, or a mapping of `ref` and the model's options
    - onnx:resnet50
    - {ref: gpt2, seq: 128}
    axes:                          # one entry per axis; the keys of an entry move together
    - {arch.units.array.rows: [16, 32], arch.units.array.columns: [16, 32]}
    - arch.memories.sram.capacity: {from: 256 KiB, to: 4 MiB, points: 5, log: true}
    - arch.memories.dram.bandwidth: {from: 10 GB/s, to: 40 GB/s, step: 10 GB/s}
    - {model.seq: [128, 256], when: model == 'gpt2'}   # elsewhere the axis is left out
    when: rows * cols <= 1024 or capacity >= 1 MiB      # points at which it is false are left out
    sample: {method: sobol, points: 64, seed: 0}        # of the axes; without it the whole grid
    search: {method: nsga2, points: 500, seed: 0}       # in place of a sample: points follow from earlier results
    bounds_first: true             # simulate only points whose bounds no result betters
    objective: latency             # of the mapper; also mapper, seed
    derived: {edp: latency * energy}
    constraints: [energy <= 3 mJ]
    pareto: [latency_s, energy_J]  # a leading minus sign: larger is better
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import Problem, SpecError
from ..files import is_file, read_text
from ..text.document import Document, parse_document
from ..text.names import nearest_key
from .axis import Axis
from .expression import Expression
from .point import Model
from .sample import Sample
from .search import Search
from .span import Scalar, Span, read_range
from .sweep import Sweep

KEYS = (
    "name", "arch", "models", "axes", "mapper", "objective", "seed", "pareto", "when", "sample", "constraints",
    "derived", "search", "bounds_first",
)  # fmt: skip
SAMPLE_KEYS = ("method", "points", "seed")
SEARCH_KEYS = (*SAMPLE_KEYS, "batch", "seconds", "start")


def load_sweep(path: str | Path) -> Sweep:
    """Read a sweep file.

    Raises:
        SpecError: it cannot be read, or with everything wrong in it, each with its line.
    """
    root = "a sweep is a mapping", "begin with `arch:`, `models:`, `axes:`"
    return _Reader(parse_document(read_text(path), str(path), root), Path(path)).read()


class _Reader:
    def __init__(self, document: Document, file: Path) -> None:
        self.document, self.data = document, document.data
        self.file = file
        self.problems: list[Problem] = []

    def report(self, path: tuple[str, ...], what: str, hint: str = "") -> None:
        self.problems.append(self.document.problem(path, what, hint))

    def read(self) -> Sweep:
        for key in self.data:
            if key not in KEYS:
                self.report((key,), f"unknown key `{key}`", nearest_key(key, KEYS))
        sweep = Sweep(
            archs=tuple(self.reference(a) for a in self.strings("arch")),
            models=tuple(m for m in map(self.model, *self.numbered("models")) if m),
            axes=tuple(a for a in map(self.axis, *self.numbered("axes")) if a),
            name=self.plain("name", self.file.stem),
            mapper=self.plain("mapper", "auto"),
            objective=self.plain("objective", "latency"),
            seed=self.whole("seed"),
            pareto=self.expressions("pareto", condition=False) or Sweep.pareto,
            when=self.expressions("when", condition=True),
            sample=self.sample(),
            search=self.search(),
            bounds_first=self.truth("bounds_first"),
            constraints=self.expressions("constraints", condition=True),
            derived=self.derived(),
        )
        if self.problems:
            raise SpecError(self.problems)
        sweep.check(str(self.file))
        return sweep

    def plain(self, key: str, default: str) -> str:
        value = self.data.get(key, default)
        if isinstance(value, str):
            return value
        self.report((key,), "must be text")
        return default

    def whole(self, key: str) -> int:
        value = self.data.get(key, 0)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        self.report((key,), "must be a whole number")
        return 0

    def truth(self, key: str) -> bool:
        value = self.data.get(key, False)
        if isinstance(value, bool):
            return value
        self.report((key,), "must be true or false")
        return False

    def items(self, key: str) -> list[Any]:
        value = self.data.get(key)
        if value is None:
            return []
        return value if isinstance(value, list) else [value]

    def numbered(self, key: str) -> tuple[list[tuple[str, str]], list[Any]]:
        items = self.items(key)
        return [(key, str(i)) for i in range(len(items))], items

    def strings(self, key: str) -> tuple[str, ...]:
        items = self.items(key)
        if not all(isinstance(item, str) for item in items):
            self.report((key,), "must be a name or a list of names")
            return ()
        return tuple(items)

    def expressions(self, key: str, *, condition: bool) -> tuple[str, ...]:
        """Texts of expressions, each looked at by itself; whether its names exist shows later."""
        texts = self.strings(key)
        for i, text in enumerate(texts):
            self.expression((key, str(i)), text, condition=condition)
        return texts

    def expression(self, path: tuple[str, ...], text: str, *, condition: bool) -> None:
        try:
            Expression.parse(text, condition=condition)
        except SpecError as error:
            self.report(path, f"{error.problems[0].where}: {error.problems[0].what}", error.problems[0].hint)

    def derived(self) -> tuple[tuple[str, str], ...]:
        value = self.data.get("derived", {})
        if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
            self.report(("derived",), "must be a mapping of names to expressions", "such as {edp: latency * energy}")
            return ()
        for name, text in value.items():
            self.expression(("derived", name), text, condition=False)
        return tuple(value.items())

    def sample(self) -> Sample | None:
        value = self.data.get("sample")
        if value is None:
            return None
        if not isinstance(value, dict) or not {"method", "points"} <= value.keys():
            self.report(("sample",), "needs `method` and `points`", "such as {method: sobol, points: 64, seed: 0}")
            return None
        for key in value:
            if key not in SAMPLE_KEYS:
                self.report(("sample", key), f"unknown key `{key}`", ", ".join(SAMPLE_KEYS))
        sample = Sample(value["method"], value["points"], value.get("seed", 0))
        for problem in sample.problems(""):
            self.report(("sample",), problem.what, problem.hint)
        return sample

    def search(self) -> Search | None:
        value = self.data.get("search")
        if value is None:
            return None
        if not isinstance(value, dict) or not {"method", "points"} <= value.keys():
            self.report(("search",), "needs `method` and `points`", "such as {method: nsga2, points: 500, seed: 0}")
            return None
        for key in value:
            if key not in SEARCH_KEYS:
                self.report(("search", key), f"unknown key `{key}`", nearest_key(key, SEARCH_KEYS))
        found = {key: value[key] for key in SEARCH_KEYS if key in value}
        if isinstance(found.get("start"), str):
            found["start"] = str(self.file.parent / found["start"])
        search = Search(**found)
        for problem in search.problems(""):
            self.report(("search",), problem.what, problem.hint)
        return search

    def reference(self, ref: str) -> str:
        """A machine or model: a file beside the sweep, if there is one of that name, else as it stands."""
        beside = self.file.parent / ref
        return str(beside) if is_file(beside) else ref

    def model(self, path: tuple[str, str], value: Any) -> Model | None:
        if isinstance(value, str):
            return Model(self.reference(value))
        if not isinstance(value, dict) or not isinstance(value.get("ref"), str):
            self.report(path, "a model is a name, or a mapping with `ref`", "such as {ref: gpt2, seq: 128}")
            return None
        options = {k: v for k, v in value.items() if k != "ref"}
        bind = options.pop("bind", {})
        if not isinstance(bind, dict) or not all(_is_scalar(v) for v in (*options.values(), *bind.values())):
            self.report(path, "options of a model are plain values", "such as {ref: model.onnx, bind: {N: 1}}")
            return None
        flat = {**options, **{f"bind.{k}": v for k, v in bind.items()}}
        return Model(self.reference(value["ref"]), tuple(flat.items()))

    def axis(self, path: tuple[str, str], value: Any) -> Axis | None:
        if not isinstance(value, dict) or not value:
            self.report(path, "an axis is a mapping of names to values", "such as {arch.clock: [1 GHz, 2 GHz]}")
            return None
        when = value.pop("when", "")
        if not isinstance(when, str) or not value:
            self.report(path, "`when` is a condition beside the names of an axis", "such as model == 'gpt2'")
            return None
        if when:
            self.expression((*path, "when"), when, condition=True)
        columns: dict[str, list[Scalar] | Span] = {}
        for name, values in value.items():
            if isinstance(values, dict):
                try:
                    columns[name] = read_range(values)
                except SpecError as error:
                    self.report((*path, name), error.problems[0].what, error.problems[0].hint)
                    return None
            elif isinstance(values, list) and values and all(_is_scalar(v) for v in values):
                columns[name] = [self.reference(str(v)) for v in values] if name in ("arch", "model") else values
            else:
                self.report((*path, name), "must be a list of plain values or a range",
                            "such as [64 KiB, 128 KiB] or {from: 16, to: 64, step: 16}")  # fmt: skip
                return None
        try:
            axis = Axis.tied(columns, when)
        except SpecError as error:
            self.report(path, error.problems[0].what, error.problems[0].hint)
            return None
        for problem in axis.problems("", sampled=any(self.data.get(key) is not None for key in ("sample", "search"))):
            self.report(path, problem.what, problem.hint)
        return axis


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | int | float | bool)
