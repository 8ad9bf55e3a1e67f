"""Records: values by name as a store has them, decoded when the first of them is asked for.

A study of many points is opened to look at a few columns of all its points, or at all columns of a few. So what lies
in the store, a layout of names and the text of a JSON list, stays as it is until it is read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from ..errors import BadInput
from .span import Scalar

_decode = json.JSONDecoder().raw_decode


class Layout:
    """The names of a record, which many records share, and the place of each."""

    __slots__ = ("names", "places")

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.places = {name: place for place, name in enumerate(self.names)}


class Record(Mapping[str, Scalar]):
    """Values by name over the text of a JSON list."""

    __slots__ = ("_values", "layout", "text")

    def __init__(self, layout: Layout, text: str) -> None:
        self.layout, self.text = layout, text
        self._values: list[Scalar] | None = None

    def in_order(self) -> list[Scalar]:
        """The values in the order of the layout."""
        if self._values is None:
            try:
                found = _decode(self.text)[0]
            except ValueError:
                found = None
            if not isinstance(found, list) or len(found) != len(self.layout.names):
                raise BadInput(f"the study holds a row that is none of its layout: {self.text[:60]!r} "
                               f"(a list of {len(self)} values)")  # fmt: skip
            self._values = found
        return self._values

    def first(self, count: int) -> list[Scalar]:
        """At least so many of the values from the first on, of which the rest need not be decoded."""
        if self._values is None and 2 * count < len(self.layout.names):
            rest = self.text.split(", ", count)[-1]
            try:
                found = _decode(self.text[: -len(rest) - 2] + "]")[0]
            except ValueError:  # cut within a text
                return self.in_order()
            if len(found) >= count:
                return list(found)
        return self.in_order()

    def __getitem__(self, name: str) -> Scalar:
        return self.in_order()[self.layout.places[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self.layout.names)

    def __len__(self) -> int:
        return len(self.layout.names)


def plain(values: Mapping[str, Scalar]) -> Mapping[str, Scalar]:
    """The same as a dict, which is quicker where all values are looked at."""
    return dict(zip(values.layout.names, values.in_order(), strict=True)) if isinstance(values, Record) else values


def all_names(records: Iterable[Mapping[str, Scalar]]) -> list[str]:
    """The names in any of the records, in order of their first use."""
    layouts = dict.fromkeys(r.layout.names if isinstance(r, Record) else tuple(r) for r in records)
    return list(dict.fromkeys(name for names in layouts for name in names))


def picker(names: Iterable[str]) -> Callable[[Mapping[str, Scalar]], dict[str, Scalar]]:
    """A function from a record to its values under these names, without those that it lacks; for use over many."""
    wanted = tuple(names)
    known: dict[Layout, tuple[int, list[tuple[str, int]]]] = {}

    def pick(values: Mapping[str, Scalar]) -> dict[str, Scalar]:
        if not isinstance(values, Record):
            return {name: values[name] for name in wanted if name in values}
        if values.layout not in known:
            places = values.layout.places
            here = [(name, places[name]) for name in wanted if name in places]
            known[values.layout] = max((place + 1 for _, place in here), default=0), here
        count, pairs = known[values.layout]
        if not pairs:
            return {}
        found = values.first(count)
        return {name: found[place] for name, place in pairs}

    return pick
