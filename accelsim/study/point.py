"""Point: one simulation of a sweep, and the settings it stands for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from .span import Scalar


@dataclass(frozen=True)
class Model:
    """A model reference and the options it is loaded with (``seq``, ``phase`` ..., ``bind.<name>``)."""

    ref: str
    options: tuple[tuple[str, Scalar], ...] = ()

    @classmethod
    def of(cls, ref: str, **options: Scalar) -> Model:
        return cls(ref, tuple(options.items()))


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
