"""The order in which a Workload's Einsums run, and the lives of its tensors along it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ...ir import Einsum, Item, Repeat, Role, Tensor, View, Workload


@dataclass(frozen=True)
class Scope:
    """A straight run of Einsums: the Workload's body, or the body of one of its Repeats.

    Attributes:
        path: names of the Repeats around it, outermost first.
        count: how often it runs in all.
    """

    path: tuple[str, ...]
    items: tuple[Einsum | Repeat, ...]
    count: int


@dataclass
class Life:
    """Where a stored tensor is made and used.

    Attributes:
        tensor: the tensor.
        copies: instances over the run.
        scope: path of the innermost scope in which all its uses lie.
        makers, users: indices into that scope's items.
        carried: it passes from one iteration of a Repeat to the next, or between scopes.
    """

    tensor: Tensor
    copies: int
    scope: tuple[str, ...]
    makers: list[int] = field(default_factory=list)
    users: list[int] = field(default_factory=list)
    carried: bool = False

    @property
    def made_before(self) -> bool:
        """Whether it holds data before the run."""
        return self.tensor.role in (Role.INPUT, Role.WEIGHT, Role.STATE)


class Flow:
    """Scopes and lives of a Workload."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.views: dict[str, str] = {}
        self.scopes: dict[tuple[str, ...], Scope] = {}
        self._scan(workload.body, (), 1)
        self.lives: dict[str, Life] = {}
        copies = workload.copies()
        touched: dict[str, list[tuple[tuple[str, ...], int, bool]]] = {}
        for scope in self.scopes.values():
            for i, item in enumerate(scope.items):
                if isinstance(item, Einsum):
                    for access in item.inputs:
                        touched.setdefault(self.storage(access.tensor), []).append((scope.path, i, False))
                    touched.setdefault(self.storage(item.output.tensor), []).append((scope.path, i, True))
        for name, uses in touched.items():
            home = _common([path for path, _, _ in uses])
            life = Life(workload.tensors[name], copies[name], home)
            for path, i, made in uses:
                at = i if path == home else self._index_of(home, path)
                (life.makers if made else life.users).append(at)
                life.carried |= path != home
            self.lives[name] = life
        for a, b in self._carried(workload.body):
            for name in (self.storage(a), self.storage(b)):
                if name in self.lives:
                    self.lives[name].carried = True

    def storage(self, name: str) -> str:
        """The tensor that holds the bytes of `name`; for gathered rows, the table."""
        while name in self.views:
            name = self.views[name]
        return name

    def _scan(self, items: tuple[Item, ...], path: tuple[str, ...], count: int) -> None:
        kept: list[Einsum | Repeat] = []
        for item in items:
            if isinstance(item, View):
                self.views[item.output] = item.input
            else:
                kept.append(item)
        self.scopes[path] = Scope(path, tuple(kept), count)
        for item in kept:
            if isinstance(item, Repeat):
                self._scan(item.body, (*path, item.name), count * item.count)

    def _index_of(self, home: tuple[str, ...], path: tuple[str, ...]) -> int:
        name = path[len(home)]
        items = self.scopes[home].items
        return next(i for i, x in enumerate(items) if isinstance(x, Repeat) and x.name == name)

    def _carried(self, items: tuple[Item, ...]) -> Iterator[tuple[str, str]]:
        for item in items:
            if isinstance(item, Repeat):
                yield from item.carried
                yield from self._carried(item.body)


def _common(paths: list[tuple[str, ...]]) -> tuple[str, ...]:
    shortest = min(paths, key=len)
    n = 0
    while n < len(shortest) and all(p[n] == shortest[n] for p in paths):
        n += 1
    return shortest[:n]
