"""Workloads without Repeats: every iteration written out, with tensors of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from accelsim.ir import Einsum, Item, Repeat, Tensor, View, Workload, validate


def unrolled(workload: Workload) -> Workload:
    """The same computation as a body of Einsums and Views alone; Repeats inside Repeats are not handled."""
    tensors: dict[str, Tensor] = {}
    body: list[Item] = []
    last: dict[str, str] = {}

    def emit(item: Einsum | View, names: dict[str, str], suffix: str) -> None:
        fresh = {name: names.get(name, name) for name in tensor_names(item)}
        tensors.update((new, replace(workload.tensors[old], name=new)) for old, new in fresh.items())
        if isinstance(item, View):
            body.append(View(fresh[item.output], fresh[item.input], fresh.get(item.rows, ""), item.axis))
            return
        inputs = tuple(replace(access, tensor=fresh[access.tensor]) for access in item.inputs)
        output = replace(item.output, tensor=fresh[item.output.tensor])
        body.append(replace(item, name=f"{item.name}{suffix}", inputs=inputs, output=output))

    for item in workload.body:
        if not isinstance(item, Repeat):
            emit(item, last, "")
            continue
        held = dict(last)
        for i in range(item.count):
            names = {name: f"{name}@{i}" for one in flat(item) for name in tensor_names(one)}
            names |= {name: held.get(name, name) for name in (*item.shared, *(h for _, h in item.carried))}
            for one in flat(item):
                emit(one, names, f"@{i}")
            held |= {h: names[p] for p, h in item.carried}
        last |= {p: names[p] for p, _ in item.carried}
    result = Workload(workload.name, tensors, tuple(body), workload.notes)
    validate(result)
    return result


def flat(repeat: Repeat) -> Iterator[Einsum | View]:
    for item in repeat.body:
        assert not isinstance(item, Repeat)
        yield item


def tensor_names(item: Einsum | View) -> list[str]:
    if isinstance(item, View):
        return [item.output, item.input, *([item.rows] if item.rows else [])]
    return [item.output.tensor, *(access.tensor for access in item.inputs)]
