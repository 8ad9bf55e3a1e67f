"""Sweep: machines, models and axes, and the grid of points that they span."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, TypeAlias

from ..errors import Problem, SpecError

Scalar: TypeAlias = str | int | float | bool

MODEL_OPTIONS = ("phase", "batch", "seq", "context", "bits", "precision", "allow_unknown")
"""What a point may ask of the importer of a model, beside ``bind.<name>`` for a free dimension."""
OPTION_FORMS = f"{', '.join(MODEL_OPTIONS)}, bind.<name>"
_OF_MODELS = ", ".join(f"model.{name}" for name in (*MODEL_OPTIONS, "bind.<name>"))
PLAIN_AXES = ("arch", "model", "mapper", "objective", "seed")
AXIS_FORMS = f"arch, arch.<path in the machine>, model, {_OF_MODELS}, mapper, objective or seed"


@dataclass(frozen=True)
class Model:
    """A model reference and the options it is loaded with (``seq``, ``phase`` ..., ``bind.<name>``)."""

    ref: str
    options: tuple[tuple[str, Scalar], ...] = ()

    @classmethod
    def of(cls, ref: str, **options: Scalar) -> Model:
        return cls(ref, tuple(options.items()))


@dataclass(frozen=True)
class Axis:
    """Settings that move together: one name per column, one tuple of values per step.

    Most axes have one name. Tied names (rows and columns of a square array) are one axis with several.
    """

    names: tuple[str, ...]
    steps: tuple[tuple[Scalar, ...], ...]

    @classmethod
    def of(cls, name: str, values: Sequence[Scalar]) -> Axis:
        return cls((name,), tuple((v,) for v in values))

    @classmethod
    def tied(cls, columns: Mapping[str, Sequence[Scalar]]) -> Axis:
        """An axis over several names; raises SpecError when their lists differ in length."""
        lengths = {name: len(values) for name, values in columns.items()}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{name} has {n}" for name, n in lengths.items())
            raise SpecError([Problem("axes", f"tied lists differ in length: {told}", "give each as many values")])
        return cls(tuple(columns), tuple(zip(*columns.values(), strict=True)))

    @classmethod
    def parse(cls, text: str) -> Axis:
        """``name=v1,v2`` or ``name1+name2=v1,v2`` (the same values) or ``name1+name2=a:b,c:d`` (one value each)."""
        left, equals, right = text.partition("=")
        names = tuple(name.strip() for name in left.split("+"))
        if not equals or not all(names) or not right.strip():
            raise SpecError([Problem(f"--axis {text}", "not an axis", "write name=value1,value2,...")])
        steps = []
        for part in right.split(","):
            values = [parse_scalar(v) for v in part.split(":")] if len(names) > 1 else [parse_scalar(part)]
            values = values * len(names) if len(values) == 1 else values
            if len(values) != len(names):
                what = f"'{part}' has {len(values)} values for {len(names)} names"
                raise SpecError([Problem(f"--axis {text}", what)])
            steps.append(tuple(values))
        return cls(names, tuple(steps))

    def problems(self, where: str) -> list[Problem]:
        """What is wrong with names and values, before any machine or model has been looked at."""
        found = []
        for name in self.names:
            head, _, rest = name.partition(".")
            ok = name in PLAIN_AXES or (head == "arch" and rest) or (head == "model" and _is_model_option(rest))
            if not ok:
                found.append(Problem(where, f"no axis '{name}'", AXIS_FORMS))
        if not self.steps:
            found.append(Problem(where, f"axis '{'+'.join(self.names)}' has no values"))
        if len(set(self.steps)) < len(self.steps):
            found.append(Problem(where, f"axis '{'+'.join(self.names)}' lists a value twice"))
        return found


def _is_model_option(name: str) -> bool:
    return name in MODEL_OPTIONS or (name.startswith("bind.") and len(name) > len("bind."))


def parse_scalar(text: str) -> Scalar:
    """An int, a float, true or false, or else the text as it is (``64 KiB``)."""
    text = text.strip()
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


@dataclass(frozen=True)
class Point:
    """One simulation: machine, changes to it, model, its options, and how it is mapped."""

    arch: str
    model: str
    arch_values: tuple[tuple[str, Scalar], ...] = ()
    model_options: tuple[tuple[str, Scalar], ...] = ()
    mapper: str = "auto"
    objective: str = "latency"
    seed: int = 0

    def settings(self) -> dict[str, Scalar]:
        """All choices under the names that axes use."""
        return {
            "arch": self.arch,
            **{f"arch.{path}": value for path, value in self.arch_values},
            "model": self.model,
            **{f"model.{name}": value for name, value in self.model_options},
            "mapper": self.mapper,
            "objective": self.objective,
            "seed": self.seed,
        }

    def with_setting(self, name: str, value: Scalar) -> Point:
        """The point with one more choice, by its axis name."""
        head, _, rest = name.partition(".")
        if rest and head == "arch":
            return replace(self, arch_values=_put(self.arch_values, rest, value))
        if rest:
            return replace(self, model_options=_put(self.model_options, rest, value))
        changes: dict[str, Any] = {name: value}
        return replace(self, **changes)


def _put(pairs: tuple[tuple[str, Scalar], ...], name: str, value: Scalar) -> tuple[tuple[str, Scalar], ...]:
    return tuple({**dict(pairs), name: value}.items())


@dataclass(frozen=True)
class Sweep:
    """The grid over machines, models and axes. Points come in a fixed order, the last axis moving fastest.

    Example:
        >>> sweep = Sweep(("edge",), (Model("gpt2"),), (Axis.of("model.seq", [128, 256]),))
        >>> [point.model_options for point in sweep.points()]
        [(('seq', 128),), (('seq', 256),)]
    """

    archs: tuple[str, ...]
    models: tuple[Model, ...]
    axes: tuple[Axis, ...] = ()
    name: str = "sweep"
    mapper: str = "auto"
    objective: str = "latency"
    seed: int = 0
    pareto: tuple[str, ...] = field(default=("latency_s", "energy_J"))
    """Columns whose Pareto front the report shows; smaller is better, or larger after a minus sign."""

    def check(self, where: str = "sweep") -> None:
        """Raise SpecError with everything that is wrong in the sweep itself."""
        found = [problem for axis in self.axes for problem in axis.problems(where)]
        names = [name for axis in self.axes for name in axis.names]
        twice = sorted({n for n in names if names.count(n) > 1})
        found += [Problem(where, f"'{name}' stands on two axes") for name in twice]
        if not self.archs:
            found.append(Problem(where, "no machine", "give one under 'arch', or an axis 'arch'"))
        if not self.models:
            found.append(Problem(where, "no model", "give one under 'models', or an axis 'model'"))
        for model in self.models:
            found += [
                Problem(where, f"model '{model.ref}' has no option '{name}'", OPTION_FORMS)
                for name, _ in model.options
                if not _is_model_option(name)
            ]
        if found:
            raise SpecError(found)

    def points(self) -> list[Point]:
        """The points of the grid. Raises SpecError like `check`."""
        self.check()
        found = []
        for arch, model in product(self.archs, self.models):
            base = Point(arch, model.ref, (), model.options, self.mapper, self.objective, self.seed)
            for combination in product(*(axis.steps for axis in self.axes)):
                point = base
                for axis, step in zip(self.axes, combination, strict=True):
                    for name, value in zip(axis.names, step, strict=True):
                        point = point.with_setting(name, value)
                found.append(point)
        return list(dict.fromkeys(found))

    def parameters(self) -> list[str]:
        """Names of what varies, in column order: machines and models if there are several, then the axes."""
        names = [name for axis in self.axes for name in axis.names]
        several = [name for name, values in (("arch", self.archs), ("model", self.models)) if len(values) > 1]
        return [*(n for n in several if n not in names), *names]

    def leading(self) -> list[str]:
        """`parameters`, of tied names the first alone."""
        tied = {name for axis in self.axes for name in axis.names[1:]}
        return [name for name in self.parameters() if name not in tied]

    def to_json(self) -> str:
        """A canonical text form, kept in the store."""
        plain = {
            "name": self.name,
            "archs": self.archs,
            "models": [[m.ref, m.options] for m in self.models],
            "axes": [[a.names, a.steps] for a in self.axes],
            "mapper": self.mapper,
            "objective": self.objective,
            "seed": self.seed,
            "pareto": self.pareto,
        }
        return json.dumps(plain)

    @classmethod
    def from_json(cls, text: str) -> Sweep:
        plain = json.loads(text)
        return cls(
            archs=tuple(plain["archs"]),
            models=tuple(Model(ref, tuple((k, v) for k, v in options)) for ref, options in plain["models"]),
            axes=tuple(Axis(tuple(names), tuple(tuple(s) for s in steps)) for names, steps in plain["axes"]),
            name=plain["name"],
            mapper=plain["mapper"],
            objective=plain["objective"],
            seed=plain["seed"],
            pareto=tuple(plain["pareto"]),
        )
