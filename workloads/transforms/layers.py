"""Layers that share a cache: the first of each few makes keys and values, the others read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ...errors import BadInput
from ...ir import Access, Einsum, Item, Repeat, Role, Tensor, View, Workload, validate
from .notes import noted


def shared_across_layers(workload: Workload, group: int) -> Workload:
    """The Workload in which `group` layers one after the other share one cache (CLA, arXiv:2405.12981).

    The first layer of each group computes keys and values as before; the others have neither projections of keys and
    values nor a cache, and read that of the first.

    Args:
        workload: with Repeats over layers that have states of their own.
        group: layers that share; divides the count of every such Repeat.

    Raises:
        BadInput: it does not, or no Repeat has a state.
    """
    if group < 2:
        raise BadInput(f"{workload.name}: caches are shared by 2 layers or more, not {group}")
    tensors = dict(workload.tensors)
    body: list[Item] = []
    found = False
    for item in workload.body:
        states = _states(workload, item) if isinstance(item, Repeat) else set()
        if isinstance(item, Repeat) and states:
            found = True
            if item.count % group:
                raise BadInput(f"{workload.name}: {item.count} layers do not divide into groups of {group} that share "
                               "a cache")  # fmt: skip
            item = _Group(workload, item, states, tensors).repeat(group)
        body.append(item)
    if not found:
        raise BadInput(f"{workload.name}: no layer has a cache that others could share")
    used = {n for item in _flat(tuple(body)) for n in _names(item)} | set(workload.tensors) - _inside(workload)
    changed = replace(workload, tensors={n: t for n, t in tensors.items() if n in used}, body=tuple(body))
    validate(changed)
    return noted(changed, f"{group} layers share one cache")


class _Group:
    """A Repeat unrolled by a few layers."""

    def __init__(self, workload: Workload, item: Repeat, states: set[str], tensors: dict[str, Tensor]) -> None:
        self.workload, self.item, self.states, self.tensors = workload, item, states, tensors
        held = {h for _, h in item.carried}
        inner = {n for i in _flat(item.body) for n in _names(i)}
        self.own = inner - set(item.shared) - held - {n for n in inner if workload.storage(n) in states}
        """Tensors that every layer has for itself."""

    def repeat(self, group: int) -> Repeat:
        body, needed = list(self.item.body), self._needed()
        handed = {h: p for p, h in self.item.carried}
        for k in range(1, group):
            suffix = f".shared{k}"
            names = {n: f"{n}{suffix}" for n in self.own} | handed
            body += [_renamed(item, names, suffix) for item in needed]
            self.tensors |= {f"{n}{suffix}": replace(self.workload.tensors[n], name=f"{n}{suffix}") for n in self.own}
            handed = {h: names.get(p, p) for p, h in self.item.carried}
        carried = tuple((handed[h], h) for _, h in self.item.carried)
        return replace(self.item, count=self.item.count // group, body=tuple(body), carried=carried)

    def _needed(self) -> list[Einsum | View]:
        """Items of the body that a layer without a cache of its own still needs; shared views stand there already."""
        needed = {p for p, _ in self.item.carried}
        kept: list[Einsum | View] = []
        for item in reversed(list(_flat(self.item.body))):
            output = item.output if isinstance(item, View) else item.output.tensor
            if output in needed and self.workload.storage(output) not in self.states:
                kept.append(item)
                needed |= set(_names(item))
        return kept[::-1]


def _states(workload: Workload, item: Repeat) -> set[str]:
    names = {workload.storage(n) for i in _flat(item.body) for n in _names(i)}
    return {n for n in names if workload.tensors[n].role is Role.STATE}


def _inside(workload: Workload) -> set[str]:
    return {n for item in _flat(workload.body) for n in _names(item)}


def _flat(items: tuple[Item, ...]) -> Iterator[Einsum | View]:
    for item in items:
        if isinstance(item, Repeat):
            yield from _flat(item.body)
        else:
            yield item


def _names(item: Einsum | View) -> Iterator[str]:
    if isinstance(item, View):
        yield from (n for n in (item.output, item.input, item.rows) if n)
    else:
        yield from (a.tensor for a in (*item.inputs, item.output))


def _renamed(item: Einsum | View, names: Mapping[str, str], suffix: str) -> Einsum | View:
    def new(name: str) -> str:
        return names.get(name, name)

    def access(a: Access) -> Access:
        return replace(a, tensor=new(a.tensor))

    if isinstance(item, View):
        return replace(item, output=new(item.output), input=new(item.input), rows=new(item.rows))
    inputs = tuple(map(access, item.inputs))
    return replace(item, name=f"{item.name}{suffix}", inputs=inputs, output=access(item.output))
