"""Axis: settings that move together, over listed values or over ranges to be sampled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import Problem, SpecError
from .span import Scalar, Span, parse_range
from .span import plain as parse_scalar

MODEL_OPTIONS = (
    "phase", "batch", "seq", "context", "bits", "precision", "density", "training", "allow_unknown",
    "resolution", "head", "causal", "sliding_window", "weight_bits", "state_bits",
)  # fmt: skip
"""What a point may ask of the importer of a model, beside ``bind.<name>`` for a free dimension."""
OPTION_FORMS = f"{', '.join(MODEL_OPTIONS)}, bind.<name>"
_OF_MODELS = ", ".join(f"model.{name}" for name in (*MODEL_OPTIONS, "bind.<name>"))
PLAIN_AXES = ("arch", "model", "mapper", "objective", "seed")
AXIS_FORMS = f"arch, arch.<path in the machine>, model, {_OF_MODELS}, mapper, objective or seed"


@dataclass(frozen=True)
class Axis:
    """Settings that move together: one name per column, one tuple of values per step.

    Most axes have one name. Tied names (rows and columns of a square array) are one axis with several. An axis of
    `spans` has no steps: a sample draws one share of the way, and every name takes its value there.
    """

    names: tuple[str, ...]
    steps: tuple[tuple[Scalar, ...], ...]
    spans: tuple[Span, ...] = ()
    when: str = ""
    """A condition over the settings so far; where it does not hold, the axis is left out."""

    @classmethod
    def of(cls, name: str, values: Sequence[Scalar] | Span, when: str = "") -> Axis:
        if isinstance(values, Span):
            return cls((name,), (), (values,), when)
        return cls((name,), tuple((v,) for v in values), when=when)

    @classmethod
    def tied(cls, columns: Mapping[str, Sequence[Scalar] | Span], when: str = "") -> Axis:
        """An axis over several names.

        Raises:
            SpecError: their lists differ in length, or a list is tied to a range.
        """
        spans = [values for values in columns.values() if isinstance(values, Span)]
        lists = {name: values for name, values in columns.items() if not isinstance(values, Span)}
        if spans and lists:
            what = f"{next(iter(lists))} is a list and another name a range without step"
            raise SpecError([Problem("axes", what, "give all lists, or all `from` and `to`")])
        lengths = {name: len(values) for name, values in lists.items()}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{name} has {n}" for name, n in lengths.items())
            raise SpecError([Problem("axes", f"tied lists differ in length: {told}", "give each as many values")])
        return cls(tuple(columns), tuple(zip(*lists.values(), strict=True)), tuple(spans), when)

    @classmethod
    def parse(cls, text: str) -> Axis:
        """An axis in one line.

        ``name=v1,v2``; ``name1+name2=v1,v2`` (the same values); ``name1+name2=a:b,c:d`` (one value each); for the
        values also ``16..64 step 16``, ``64 KiB..4 MiB points 7 log``, ``64 KiB..4 MiB log`` (to be sampled).

        Raises:
            SpecError: it is none of these.
        """
        left, equals, right = text.partition("=")
        names = tuple(name.strip() for name in left.split("+"))
        if not equals or not all(names) or not right.strip():
            raise SpecError([Problem(f"--axis {text}", "not an axis", "write name=value1,value2,...")])
        try:
            values = parse_range(right)
        except SpecError as error:
            raise SpecError([replace(problem, where=f"--axis {text}") for problem in error.problems]) from None
        if values is not None:
            return cls.tied(dict.fromkeys(names, values))
        steps = []
        for part in right.split(","):
            found = [parse_scalar(v) for v in part.split(":")] if len(names) > 1 else [parse_scalar(part)]
            found = found * len(names) if len(found) == 1 else found
            if len(found) != len(names):
                what = f"'{part}' has {len(found)} values for {len(names)} names"
                raise SpecError([Problem(f"--axis {text}", what)])
            steps.append(tuple(found))
        return cls(names, tuple(steps))

    def count(self) -> int | None:
        """Number of steps that a sample may find, None where there is no end of them."""
        if not self.spans:
            return len(self.steps)
        return self.spans[0].count() if len(self.spans) == 1 else None

    def at(self, share: float) -> tuple[Scalar, ...]:
        """The values at a share of the way, 0 <= share < 1; every step has the same part of it."""
        if self.spans:
            return tuple(span.at(share) for span in self.spans)
        return self.steps[min(int(share * len(self.steps)), len(self.steps) - 1)]

    def problems(self, where: str, *, sampled: bool = False) -> list[Problem]:
        """What is wrong with the axis in itself."""
        found = []
        for name in self.names:
            head, _, rest = name.partition(".")
            ok = name in PLAIN_AXES or (head == "arch" and rest) or (head == "model" and is_model_option(rest))
            if not ok:
                found.append(Problem(where, f"no axis '{name}'", AXIS_FORMS))
        told = "+".join(self.names)
        if self.spans and not sampled:
            what = f"axis '{told}' has neither `step` nor `points`"
            found.append(Problem(where, what, "or give the sweep a `sample`"))
        if not self.steps and not self.spans:
            found.append(Problem(where, f"axis '{told}' has no values"))
        if len(set(self.steps)) < len(self.steps):
            found.append(Problem(where, f"axis '{told}' lists a value twice"))
        return found

    def to_plain(self) -> dict[str, Any]:
        """The axis as JSON can hold it."""
        spans = [[span.low, span.high, span.log] for span in self.spans]
        return {"names": self.names, "steps": self.steps, "spans": spans, "when": self.when}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Axis:
        steps, spans = tuple(map(tuple, plain["steps"])), tuple(Span(*span) for span in plain["spans"])
        return cls(tuple(plain["names"]), steps, spans, plain["when"])


def is_model_option(name: str) -> bool:
    return name in MODEL_OPTIONS or (name.startswith("bind.") and len(name) > len("bind."))
