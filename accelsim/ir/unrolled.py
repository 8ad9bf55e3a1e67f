"""Workloads without Repeats: every iteration written out, with tensors of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..errors import BadInput
from .einsum import Einsum
from .validate import validate
from .workload import Item, Repeat, Tensor, View, Workload

MOST_ITEMS = 100_000


def unrolled(workload: Workload) -> Workload:
    """The same computation as a body of Einsums and Views alone.

    What stands in iteration i of a Repeat has ``@i`` behind its name, in inner ones ``@i@j``.

    Raises:
        BadInput: that would be more than MOST_ITEMS items.
    """
    total = sum(_items(item) for item in workload.body)
    if total > MOST_ITEMS:
        raise BadInput(f"{workload.name}: its Repeats written out are {total:,} Einsums and views (at most "
                       f"{MOST_ITEMS:,})")  # fmt: skip
    return _Unrolling(workload).result()


class _Unrolling:
    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.tensors: dict[str, Tensor] = {}
        self.body: list[Item] = []

    def result(self) -> Workload:
        self.items(self.workload.body, {}, "")
        found = Workload(self.workload.name, self.tensors, tuple(self.body), self.workload.notes)
        validate(found)
        return found

    def items(self, items: tuple[Item, ...], names: dict[str, str], suffix: str) -> None:
        """Write items under these names; what a Repeat hands out is entered into them."""
        for item in items:
            if isinstance(item, Repeat):
                self.repeat(item, names, suffix)
            else:
                self.one(item, names, suffix)

    def repeat(self, repeat: Repeat, names: dict[str, str], suffix: str) -> None:
        outside = {*repeat.shared, *(held for _, held in repeat.carried)}
        held = {name: names.get(name, name) for name in outside}
        inside: dict[str, str] = {}
        for i in range(repeat.count):
            here = f"{suffix}@{i}"
            inside = {name: f"{name}{here}" for name in _names(repeat.body)} | held
            self.items(repeat.body, inside, here)
            held |= {h: inside[p] for p, h in repeat.carried}
        names |= {produced: inside[produced] for produced, _ in repeat.carried}

    def one(self, item: Einsum | View, names: dict[str, str], suffix: str) -> None:
        fresh = {name: names.get(name, name) for name in _of(item)}
        for old, new in fresh.items():
            self.tensors.setdefault(new, replace(self.workload.tensors[old], name=new))
        if isinstance(item, View):
            self.body.append(View(fresh[item.output], fresh[item.input], fresh.get(item.rows, ""), item.axis))
            return
        inputs = tuple(replace(access, tensor=fresh[access.tensor]) for access in item.inputs)
        output = replace(item.output, tensor=fresh[item.output.tensor])
        self.body.append(replace(item, name=f"{item.name}{suffix}", inputs=inputs, output=output))


def _items(item: Item) -> int:
    return item.count * sum(_items(i) for i in item.body) if isinstance(item, Repeat) else 1


def _names(items: tuple[Item, ...]) -> Iterator[str]:
    for item in items:
        if isinstance(item, Repeat):
            yield from _names(item.body)
        else:
            yield from _of(item)


def _of(item: Einsum | View) -> list[str]:
    if isinstance(item, View):
        return [item.output, item.input, *([item.rows] if item.rows else [])]
    return [item.output.tensor, *(access.tensor for access in item.inputs)]
