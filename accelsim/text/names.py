"""Names and values as messages show them."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_COMPARED = 200
"""Characters of a name that are compared; difflib is quadratic."""


def close(name: object, known: Iterable[str], count: int = 1, cutoff: float = 0.6) -> list[str]:
    """The known names most like a name, the best first; if there is none, those like it but for their case."""
    given, names = str(name)[:_COMPARED], sorted(known)
    lower = {n.lower(): n for n in names}
    return get_close_matches(given, names, count, cutoff) or [
        lower[n] for n in get_close_matches(given.lower(), lower, count, cutoff)
    ]


def nearest(name: object, known: Iterable[str], otherwise: str | None = None, mark: str = "'") -> str:
    """A hint for a name that is not known.

    Args:
        name: as given.
        known: the valid names.
        otherwise: the hint where none is like it; None: the first of the valid names.
        mark: stands around the name that may have been meant.
    """
    names = sorted(known)
    if found := close(name, names):
        return f"did you mean {mark}{found[0]}{mark}?"
    if otherwise is not None:
        return otherwise
    return f"there are {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}" if names else "there is none"


def nearest_key(name: object, known: Iterable[str], otherwise: str | None = None) -> str:
    """`nearest` with backticks, in which messages about machine and sweep files put keys."""
    return nearest(name, known, otherwise, "`")


def near(name: object, known: Iterable[str], form: str = "{}; ") -> str:
    """The three nearest names as the part of a hint that has this form; nothing where there is none."""
    found = close(name, known, 3, 0.4)
    return form.format(f"nearest: {', '.join(found)}") if found else ""


def short(value: object, length: int = 40) -> str:
    """A value as text, its end left out where it is longer than a message should be."""
    text = str(value)
    return text if len(text) <= length else text[: length - 3] + "..."
