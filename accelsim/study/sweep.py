"""Sweep: machines, models and axes, the points of their grid or of a sample of it, and how points are judged."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from typing import TypeAlias

from ..errors import Problem, SpecError
from .analysis import Analysis
from .axis import OPTION_FORMS, Axis, is_model_option
from .conditions import Settings, condition
from .point import Model, Point
from .sample import MOST, Sample
from .search import Search
from .span import Scalar, Span
from .span import plain as parse_scalar

__all__ = ["Axis", "Model", "Point", "Sample", "Scalar", "Search", "Sweep", "parse_scalar"]

Condition: TypeAlias = Callable[[Settings], bool | None]
_Steps: TypeAlias = Sequence[tuple[Scalar, ...]]


@dataclass(frozen=True)
class Sweep:
    """The points over machines, models and axes, all of their grid or a sample.

    Points come in a fixed order: those of a grid with the last axis moving fastest, those of a sample as they are
    drawn, for every machine and model the same ones. None comes twice.

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
    """Objectives whose Pareto front the report shows; smaller is better, or larger after a minus sign."""
    when: tuple[str, ...] = ()
    """Conditions over the settings; a point at which one is false is left out."""
    sample: Sample | None = None
    """How points are drawn; None takes the whole grid."""
    search: Search | None = None
    """How points are chosen from the results of earlier ones, in place of a grid or a sample."""
    bounds_first: bool = False
    """Simulate only points whose bounds are not bettered by results: the front stays, what cannot be on it is left."""
    constraints: tuple[str, ...] = ()
    """Conditions over settings and results; a point that meets them all is feasible, and only such are on the front."""
    derived: tuple[tuple[str, str], ...] = ()
    """Further columns and the expressions that give them."""

    def check(self, where: str = "sweep") -> None:
        """Raise SpecError with everything that is wrong in the sweep itself."""
        found = [p for axis in self.axes for p in axis.problems(where, sampled=self.drawn)]
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
                if not is_model_option(name)
            ]
        found += self._size_problems(where)
        if not found:
            found = [replace(p, where=f"{where}: {p.where}") for p in self._expression_problems()]
        if found:
            raise SpecError(found)

    @property
    def drawn(self) -> bool:
        """Whether points are drawn from the axes, not listed."""
        return self.sample is not None or self.search is not None

    def _size_problems(self, where: str) -> list[Problem]:
        if self.search is not None:
            if self.sample is not None:
                return [Problem(where, "both `sample` and `search`", "give one of them")]
            if not self.axes:
                return [Problem(where, "a search without axes", "give the axes to search over")]
            if not self.pareto:
                return [Problem(where, "a search without objectives", "give `pareto`, such as [latency_s, energy_J]")]
            return self.search.problems(f"{where}: search")
        if self.sample is not None:
            if not self.axes:
                return [Problem(where, "a sample without axes", "give the axes to draw from")]
            return self.sample.problems(f"{where}: sample")
        size = math.prod(len(axis.steps) for axis in self.axes) * len(self.archs) * len(self.models)
        if size > MOST:
            return [Problem(where, f"a grid of {size} points", f"at most {MOST}; a `sample` draws some of them")]
        return []

    def _expression_problems(self) -> list[Problem]:
        found: list[Problem] = []
        for attempt in (self.conditions, lambda: Analysis.parse(self.derived, self.constraints, self.pareto)):
            try:
                attempt()
            except SpecError as error:
                found += error.problems
        return found

    def analysis(self, columns: Iterable[str]) -> Analysis:
        """Derived columns, constraints and objectives over the columns of a study. Raises SpecError."""
        return Analysis.parse(self.derived, self.constraints, self.pareto).bind(columns)

    def points(self) -> list[Point]:
        """The points in their order; a search has none in advance. Raises SpecError like `check`."""
        self.check()
        if self.search is not None:
            return []
        of_axes, of_points = self.conditions()
        found: dict[Point, None] = {}
        for base in self.bases():
            here: dict[Point, None] = {}
            for steps in self._steps():
                chosen = dict(zip(self.axes, steps, strict=True))
                point = self.place(base, chosen.__getitem__, of_axes)
                if of_points and any(holds(point.settings()) is False for holds in of_points):
                    continue
                here[point] = None
                if self.sample is not None and len(here) == self.sample.points:
                    break
            found.update(here)
        if not found:
            raise SpecError([Problem("sweep", "no point is left", f"`when` refuses all: {'; '.join(self.when)}")])
        return list(found)

    def _steps(self) -> Iterator[_Steps]:
        """Choices of one step of every axis."""
        if self.sample is None:
            yield from product(*(axis.steps for axis in self.axes))
            return
        counts = [axis.count() for axis in self.axes]
        every = math.prod(count for count in counts if count) if None not in counts else math.inf
        seen: set[tuple[tuple[Scalar, ...], ...]] = set()
        for shares in self.sample.draws(len(self.axes)):
            steps = tuple(axis.at(share) for axis, share in zip(self.axes, shares, strict=True))
            if steps not in seen:
                seen.add(steps)
                yield steps
            if len(seen) == every:  # all there is
                return

    def bases(self) -> list[Point]:
        """A point of every machine and model, before any axis changes it."""
        return [
            Point(arch, model.ref, (), model.options, self.mapper, self.objective, self.seed)
            for arch, model in product(self.archs, self.models)
        ]

    def place(
        self, base: Point, choose: Callable[[Axis], tuple[Scalar, ...]], conditions: Sequence[Condition | None]
    ) -> Point:
        """A point with a step of every axis whose condition holds; of other axes none is chosen."""
        point = base
        for axis, holds in zip(self.axes, conditions, strict=True):
            if holds is None or holds(point.settings()):
                for name, value in zip(axis.names, choose(axis), strict=True):
                    point = point.with_setting(name, value)
        return point

    def conditions(self) -> tuple[list[Condition | None], list[Condition]]:
        """The condition of each axis and those of all points. Raises SpecError with all that are wrong."""
        problems: list[Problem] = []
        values: dict[str, list[Scalar | Span]] = {}
        for base in self.bases():
            for name, value in base.settings().items():
                values.setdefault(name, []).append(value)

        def read(text: str) -> Condition:
            try:
                return condition(text, values)
            except SpecError as error:
                problems.extend(replace(p, where=f"when: {p.where}") for p in error.problems)
                return lambda settings: None

        of_axes = []
        for axis in self.axes:
            of_axes.append(read(axis.when) if axis.when else None)
            for i, name in enumerate(axis.names):
                taken = [axis.spans[i]] if axis.spans else [step[i] for step in axis.steps]
                # A plain setting is replaced by its axis, unless a condition may leave the axis out.
                values[name] = [*(values.get(name, []) if axis.when else []), *taken]
        of_points = [read(text) for text in self.when]
        if problems:
            raise SpecError(problems)
        return of_axes, of_points

    def parameters(self) -> list[str]:
        """Names of what varies, in column order: machines and models if there are several, then the axes."""
        names = [name for axis in self.axes for name in axis.names]
        several = [name for name, values in (("arch", self.archs), ("model", self.models)) if len(values) > 1]
        options = [f"model.{name}" for model in self.models for name, _ in model.options]
        differ = [n for n in dict.fromkeys(options) if len({dict(m.options).get(n[6:]) for m in self.models}) > 1]
        return [n for n in dict.fromkeys((*several, *differ)) if n not in names] + names

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
            "axes": [axis.to_plain() for axis in self.axes],
            "mapper": self.mapper,
            "objective": self.objective,
            "seed": self.seed,
            "pareto": self.pareto,
            "when": self.when,
            "sample": [self.sample.method, self.sample.points, self.sample.seed] if self.sample else None,
            "search": asdict(self.search) if self.search else None,
            "bounds_first": self.bounds_first,
            "constraints": self.constraints,
            "derived": self.derived,
        }
        return json.dumps(plain)

    @classmethod
    def from_json(cls, text: str) -> Sweep:
        plain = json.loads(text)
        return cls(
            archs=tuple(plain["archs"]),
            models=tuple(Model(ref, tuple((k, v) for k, v in options)) for ref, options in plain["models"]),
            axes=tuple(Axis.from_plain(axis) for axis in plain["axes"]),
            name=plain["name"],
            mapper=plain["mapper"],
            objective=plain["objective"],
            seed=plain["seed"],
            pareto=tuple(plain["pareto"]),
            when=tuple(plain["when"]),
            sample=Sample(*plain["sample"]) if plain["sample"] else None,
            search=Search(**plain["search"]) if plain.get("search") else None,
            bounds_first=plain.get("bounds_first", False),
            constraints=tuple(plain["constraints"]),
            derived=tuple((name, text) for name, text in plain["derived"]),
        )
