"""Which Einsums run as one nest: one that reduces, and the elementwise ones that follow it on the same points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import BadInput
from ...ir import Einsum, Role, View, Workload


@dataclass(frozen=True)
class Group:
    """Einsums whose results pass from one to the next, row by row; only the last one's is kept.

    Attributes:
        einsums: in order.
        weights: stored tensors that they read and that hold data before the run, each once.
        reads: stored activations and inputs that they read from elsewhere.
        output: the stored tensor that is kept.
    """

    einsums: tuple[Einsum, ...]
    weights: tuple[str, ...]
    reads: tuple[str, ...]
    output: str

    @property
    def lead(self) -> Einsum:
        return self.einsums[0]


class Chain:
    """The groups of a Workload without Repeats, in order."""

    def __init__(self, workload: Workload, *, fuse_residual: bool) -> None:
        self.workload = workload
        einsums: list[Einsum] = []
        for item in workload.body:
            if isinstance(item, Einsum):
                einsums.append(item)
            elif not isinstance(item, View) or item.rows:
                raise BadInput(f"model {workload.name}: the patch mapper takes no Repeats and no gathered rows")
        self.viewed = {view.input for view in workload.views()}
        self.readers: dict[str, list[str]] = {}
        for einsum in einsums:
            for access in einsum.inputs:
                self.readers.setdefault(self.workload.storage(access.tensor), []).append(einsum.name)
        self.groups = self._group(einsums, fuse_residual)

    def _group(self, einsums: Sequence[Einsum], fuse_residual: bool) -> list[Group]:
        rows: list[list[Einsum]] = []
        for einsum in einsums:
            if rows and self._follows(rows[-1], einsum, fuse_residual):
                rows[-1].append(einsum)
            else:
                rows.append([einsum])
        return [self._made(tuple(row)) for row in rows]

    def _follows(self, row: list[Einsum], einsum: Einsum, fuse_residual: bool) -> bool:
        """Whether an Einsum works on the results of the one before point by point, and nothing else needs them."""
        before = row[-1].output.tensor
        if einsum.reduced_ranks or self.readers.get(before) != [einsum.name] or before in self.viewed:
            return False
        if self.workload.tensors[before].role is Role.OUTPUT:
            return False
        points = [a for a in einsum.inputs if a.tensor == before]
        if any(a.indices != einsum.output.indices or not a.plain for a in points) or not points:
            return False
        others = [self.workload.storage(a.tensor) for a in einsum.inputs if a.tensor != before]
        return fuse_residual or all(self.workload.tensors[x].role is Role.WEIGHT for x in others)

    def _made(self, row: tuple[Einsum, ...]) -> Group:
        inside = {self.workload.storage(e.output.tensor) for e in row}
        names = list(dict.fromkeys(self.workload.storage(a.tensor) for e in row for a in e.inputs))
        standing = [n for n in names if self.workload.tensors[n].role in (Role.WEIGHT, Role.STATE)]
        reads = [n for n in names if n not in inside and n not in standing]
        return Group(row, tuple(standing), tuple(reads), self.workload.storage(row[-1].output.tensor))
