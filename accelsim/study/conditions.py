"""Conditions of a sweep: expressions over the settings of a point, which leave out points or axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from ..text.names import nearest
from . import dimensions
from .dimensions import PLAIN, UNKNOWN, Dimension
from .expression import Expression
from .expression_nodes import Among, Binary, Call, Name, Node, Text, Unary
from .expression_parser import ExpressionError
from .span import Scalar, Span

Settings: TypeAlias = Mapping[str, Scalar]
Values: TypeAlias = Mapping[str, Sequence[Scalar | Span]]
"""All values that each setting takes."""

FILES = ("arch", "model")


def shown(settings: Settings) -> dict[str, Scalar]:
    """Settings as conditions see them: a machine or model in a file goes by the name of the file."""
    return {**settings, **{name: _base(str(settings[name])) for name in FILES if name in settings}}


def condition(text: str, values: Values) -> Callable[[Settings], bool | None]:
    """A function from the settings of a point to whether the condition holds; None if it lacks one of the settings.

    Args:
        text: such as ``rows >= 32 or capacity < 1 MiB``.
        values: what each setting may be.

    Raises:
        ExpressionError: not a condition; no such setting; units that do not go together; a text that is no value.
    """
    known = {name: [_base(str(v)) for v in all_] if name in FILES else all_ for name, all_ in values.items()}
    bound = Expression.parse(text, condition=True).bind(known, {name: _unit(all_) for name, all_ in known.items()})
    _check_texts(bound, bound.tree, known)
    compiled = bound.compile()

    def holds(settings: Settings) -> bool | None:
        found = compiled(shown(settings))
        if found is not None and not isinstance(found, bool):
            raise ExpressionError(text, 0, f"is {found!r}, neither true nor false")
        return found

    return holds


def _base(ref: str) -> str:
    return ref.replace("\\", "/").rpartition("/")[2]


def _unit(values: Sequence[Scalar | Span]) -> Dimension:
    for value in values:
        if isinstance(value, Span):
            return value.dimension
        if isinstance(value, str):
            read = dimensions.quantity(value)
            return read[1] if read else UNKNOWN
    return PLAIN


def _check_texts(whole: Expression, node: Node, known: Values) -> None:
    """A text that is compared with a setting must be one of its values, so that no slip of the pen goes unseen."""
    match node:
        case Unary(operand=operand):
            _check_texts(whole, operand, known)
        case Call(arguments=arguments):
            for argument in arguments:
                _check_texts(whole, argument, known)
        case Among(operand=Name() as name, options=options):
            for option in options:
                _check_text(whole, name, option, known)
        case Binary(operator="==" | "!=", left=Name() as name, right=Text() as text):
            _check_text(whole, name, text, known)
        case Binary(operator="==" | "!=", left=Text() as text, right=Name() as name):
            _check_text(whole, name, text, known)
        case Binary(left=left, right=right):
            _check_texts(whole, left, known)
            _check_texts(whole, right, known)


def _check_text(whole: Expression, name: Name, node: Node, known: Values) -> None:
    values = known[whole.columns[name.name]]
    if not isinstance(node, Text) or any(isinstance(value, Span) for value in values):
        return
    texts = [str(value) for value in values]
    amount = dimensions.quantity(node.value)
    if node.value in texts or (amount and amount in [dimensions.quantity(text) for text in texts]):
        return
    hint = nearest(node.value, texts, f"it is {', '.join(texts[:10])}")
    raise ExpressionError(whole.text, node.at, f"'{name.name}' is never '{node.value}'", hint)
