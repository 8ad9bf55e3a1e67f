"""The families of models that can be imported, and typed access to the keys of their configs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf, isfinite
from typing import Any, TypeAlias

from ...errors import BadInput, Problem, SpecError
from ...text.names import close, short
from ..transformer import Transformer

Reader: TypeAlias = Callable[["Keys", str], Transformer]

MOST = 2**40
"""Of any size in a config: the largest vocabularies have some hundred thousand words."""
MOST_LAYERS = 10_000

READERS: dict[str, Reader] = {}
"""What reads a config, by its ``model_type``; filled by `family`."""

ACTIVATION_NAMES = {
    "gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_fast": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu", "silu": "silu", "swish": "silu", "tanh": "tanh",
}
"""Activations as configs call them, and as `accelsim.ir.ACTIVATIONS` does."""


def family(*model_types: str) -> Callable[[Reader], Reader]:
    """Register a function ``(keys, name) -> Transformer`` as what reads configs of these ``model_type``s."""

    def register(reader: Reader) -> Reader:
        for model_type in model_types:
            if model_type in READERS:
                raise BadInput(f"model_type '{model_type}' has a reader already")
            READERS[model_type] = reader
        return reader

    return register


def family_names() -> tuple[str, ...]:
    """Every ``model_type`` that can be imported, sorted."""
    from . import families  # noqa: F401  (its modules register themselves)

    return tuple(sorted(READERS))


class Keys:
    """The keys of a config, read with their types; collects what is wrong with them.

    A method that finds a key missing or wrong notes the problem and returns a harmless value, so that a reader runs to
    its end and all problems are reported at once by `check`.
    """

    def __init__(self, content: Mapping[str, Any], where: str, family: str) -> None:
        self.content, self.where, self.family = content, where, family
        self.problems: list[Problem] = []

    def __contains__(self, key: str) -> bool:
        return self.content.get(key) is not None

    def problem(self, what: str, hint: str = "") -> None:
        self.problems.append(Problem(self.where, what, hint))

    def integer(self, key: str, default: int | None = None, least: int = 1, most: int = MOST) -> int:
        """A whole number from `least` to `most`; null stands for the default."""
        value = self.content.get(key)
        if value is None and default is not None:
            return default
        if value is None:
            found = "".join(f"; found '{other}'" for other in close(key, self.content))
            self.problem(f"key '{key}' is missing{found}",
                         f"{self.family} needs it; supported families: {', '.join(family_names())}")
            return max(1, least)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            what = "a positive whole number" if least else "a whole number"
            self.problem(f"key '{key}' is {short(repr(value))}", f"{what}, at most {most}")
            return max(1, least)
        return value

    def layers(self, key: str) -> int:
        """The number of layers, each of which is a value of its own."""
        return self.integer(key, most=MOST_LAYERS)

    def optional(self, key: str, default: int | None = None) -> int | None:
        """A positive whole number, or None where the key says null, or is missing and has no default."""
        if key in self.content:
            return self.integer(key) if self.content[key] is not None else None
        return default

    def number(self, key: str, default: float) -> float:
        value = self.content.get(key, default)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.problem(f"key '{key}' is {short(repr(value))}", "a number")
            return default
        try:
            number = float(value)
        except OverflowError:
            number = inf
        if not isfinite(number):
            self.problem(f"key '{key}' is {short(value)}", "a finite number")
            return default
        return number

    def flag(self, key: str, default: bool) -> bool:
        value = self.content.get(key, default)
        if not isinstance(value, bool):
            self.problem(f"key '{key}' is {value!r}", "true or false")
            return default
        return value

    def choice(self, key: str, default: str, choices: Sequence[str]) -> str:
        """One of a few words."""
        value = self.content.get(key, default)
        if value not in choices:
            self.problem(f"key '{key}' is {value!r}", f"one of {', '.join(choices)}")
            return default
        return str(value)

    def integers(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers, empty where the key is missing or null."""
        value = self.content.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or any(isinstance(v, bool) or not isinstance(v, int) for v in value):
            self.problem(f"key '{key}' is {value!r}", "a list of whole numbers")
            return ()
        return tuple(value)

    def words(self, key: str, choices: Sequence[str], count: int) -> tuple[str, ...] | None:
        """A list of `count` words out of `choices`, or None where the key is missing or null."""
        value = self.content.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) != count or any(v not in choices for v in value):
            self.problem(f"key '{key}' is {str(value)[:60]}", f"a list of {count}, each one of {', '.join(choices)}")
            return None
        return tuple(value)

    def activation(self, key: str, default: str) -> str:
        """The name in `accelsim.ir.ACTIVATIONS` of an activation function."""
        value = self.content.get(key) or default
        function = ACTIVATION_NAMES.get(value, "") if isinstance(value, str) else ""
        if not function:
            self.problem(f"key '{key}' is {value!r}", f"one of {', '.join(ACTIVATION_NAMES)}")
            return "relu"
        return function

    def divides(self, small: str, large: str, a: int, b: int) -> None:
        """Note a problem unless a, the value of key `small`, divides b, that of `large`."""
        if not self.problems and b % a:
            self.problem(f"key '{large}' is {b}, no multiple of '{small}' = {a}", "heads must divide it")

    def turned(self, head_size: int, default: float = 1.0) -> int:
        """Elements of a head that rotary embedding turns: ``partial_rotary_factor`` of them."""
        factor = self.number("partial_rotary_factor", default)
        turned = int(head_size * min(max(factor, 0.0), 2.0))  # more than all is refused below
        if not self.problems and (turned % 2 or not 0 < turned <= head_size):
            self.problem(f"rotary embedding turns {turned} of the {head_size} elements of a head",
                         "an even number: see 'head_dim' and 'partial_rotary_factor'")
        return turned

    def check(self) -> None:
        """Raise SpecError with every problem found."""
        if self.problems:
            raise SpecError(self.problems)
