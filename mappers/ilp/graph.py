"""From a Workload to the problem of scheduling it: which Einsums are one step, and what each step reads and writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ...ir import Access, Einsum, Item, Read, Repeat, Role, View, Workload
from .problem import GraphProblem, Operator, Tensor


@dataclass(frozen=True)
class GraphOptions:
    """What counts.

    Attributes:
        parameters: weights lie in the memory while they are used, and may stay; else they pass by.
        fuse: activation functions, and scales and biases behind contractions, work on results as these are made, if
            nothing else needs those.
        in_place: an elementwise step may put its result in the place of an input of that size.
        concat: the parts of a concatenation are copied, or ``alias``: written where they belong, so that the whole is
            held from its first part on.
    """

    parameters: bool = True
    fuse: bool = True
    in_place: bool = False
    concat: Literal["copy", "alias"] = "copy"


@dataclass(frozen=True)
class Step:
    """One Einsum of an unrolled Workload, with the stored tensors that it reads and writes."""

    einsum: Einsum
    name: str
    reads: tuple[str, ...]
    writes: str


@dataclass(frozen=True)
class Graph:
    """A problem, and the Einsums of each of its operators, by name of the operator."""

    problem: GraphProblem
    einsums: Mapping[str, tuple[Einsum, ...]]


def graph_of(workload: Workload, options: GraphOptions = GraphOptions()) -> Graph:
    """The problem of a Workload in its own order, every iteration of its Repeats written out.

    What an importer writes as a cascade (LayerNorm, Softmax) is one operator, whose intermediate results are not held.
    """
    unrolled = _Unrolled(workload)
    rows = _grouped(unrolled, options.fuse)
    sizes = {name: workload.tensors[base].nbytes for name, base in unrolled.base.items()}
    roles = {name: workload.tensors[base].role for name, base in unrolled.base.items()}
    operators: list[Operator] = []
    einsums: dict[str, tuple[Einsum, ...]] = {}
    for row in rows:
        made = {step.writes for step in row}
        writes = tuple(dict.fromkeys(s.writes for s in row if s is row[-1] or s.writes == row[-1].writes))
        names = dict.fromkeys(n for s in row for n in s.reads if n not in made)
        reads = tuple(n for n in names if options.parameters or roles[n] is not Role.WEIGHT)
        over = _over(row, sizes, roles) if options.in_place else ()
        operators.append(Operator(row[0].name, reads, writes, over))
        einsums[row[0].name] = tuple(step.einsum for step in row)
    if options.concat == "alias":
        operators = _aliased(operators, einsums, sizes, roles)
    touched = dict.fromkeys(n for op in operators for n in op.touches)
    tensors = {
        n: Tensor(n, sizes[n], roles[n] in (Role.INPUT, Role.WEIGHT, Role.STATE), roles[n] in (Role.OUTPUT, Role.STATE))
        for n in touched
    }
    return Graph(GraphProblem(workload.name, tensors, tuple(operators)), einsums)


class _Unrolled:
    """The steps of a Workload, with a tensor of its own per iteration."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.base: dict[str, str] = {}
        """Stored tensor of the unrolled Workload to the one it is an instance of."""
        self.views: dict[str, str] = {}
        self.steps: list[Step] = []
        self._emit(workload.body, {}, "")

    def _emit(self, items: Sequence[Item], names: dict[str, str], suffix: str) -> None:
        for item in items:
            if isinstance(item, Repeat):
                self._repeat(item, names, suffix)
            elif isinstance(item, View):
                out = names.setdefault(item.output, item.output + suffix)
                if item.rows:
                    self.base[out] = item.output
                else:
                    self.views[out] = self._stored(item.input, names, suffix)
            else:
                reads = tuple(dict.fromkeys(self._stored(a.tensor, names, suffix) for a in item.inputs))
                writes = self._stored(item.output.tensor, names, suffix)
                self.steps.append(Step(item, item.name + suffix, reads, writes))

    def _repeat(self, item: Repeat, names: dict[str, str], suffix: str) -> None:
        held = dict(names)
        last: dict[str, str] = {}
        for i in range(item.count):
            inside = f"{suffix}[{i}]"
            outside = (*item.shared, *(n for _, n in item.carried))
            own = {**names, **{n: held.get(n, n + suffix) for n in outside}}
            self._emit(item.body, own, inside)
            last = {holder: own[made] for made, holder in item.carried}
            held |= last
            for made, _ in item.carried:
                names[made] = own[made]
        names |= last

    def _stored(self, name: str, names: dict[str, str], suffix: str) -> str:
        found = names.setdefault(name, name + suffix)
        while found in self.views:
            found = self.views[found]
        self.base.setdefault(found, name)
        return found


def _grouped(unrolled: _Unrolled, fuse: bool) -> list[list[Step]]:
    """Runs of steps that are one operator: a cascade, a concatenation, or a layer and what follows point by point."""
    readers: dict[str, int] = {}
    for step in unrolled.steps:
        for name in step.reads:
            readers[name] = readers.get(name, 0) + 1
    rows: list[list[Step]] = []
    for step in unrolled.steps:
        together = bool(rows) and (
            rows[-1][-1].writes == step.writes
            or (_same_cascade(rows[-1][-1], step) and any(s.writes in step.reads for s in rows[-1]))
            or (fuse and _follows(unrolled, rows[-1], step, readers))
        )
        if together:
            rows[-1].append(step)
        else:
            rows.append([step])
    return rows


def _same_cascade(before: Step, step: Step) -> bool:
    """Whether two Einsums are steps of one operator that an importer writes as a cascade, contractions apart."""
    roots = {_root(s.einsum) for s in (before, step)}
    return len(roots) == 1 and "" not in roots and not (before.einsum.is_contraction or step.einsum.is_contraction)


def _root(einsum: Einsum) -> str:
    """Name of the operator of which an Einsum is a step; empty for one that is no step."""
    step = einsum.kind.partition(".")[2]
    head, dot, tail = einsum.name.rpartition(".")
    return head if dot and step and tail.startswith(step) else ""


def _follows(unrolled: _Unrolled, row: Sequence[Step], step: Step, readers: Mapping[str, int]) -> bool:
    """Whether a step works on the results of a row point by point, and nothing else needs them."""
    before = row[-1].writes
    tensor = unrolled.workload.tensors[unrolled.base[before]]
    if step.einsum.reduced_ranks or before not in step.reads or readers.get(before) != 1:
        return False
    if tensor.role is Role.OUTPUT or before in unrolled.views.values() or sum(s.writes == before for s in row) > 1:
        return False
    points = [a for a in step.einsum.inputs if unrolled.workload.storage(a.tensor) == unrolled.base[before]]
    if not points or any(not _point_by_point(step.einsum, a) for a in points):
        return False
    others = [n for n in step.reads if n != before]
    weights = all(unrolled.workload.tensors[unrolled.base[n]].role is Role.WEIGHT for n in others)
    return weights and (not others or row[0].einsum.is_contraction)


def _point_by_point(einsum: Einsum, access: Access) -> bool:
    return access.plain and access.indices == einsum.output.indices


def _over(row: Sequence[Step], sizes: Mapping[str, int], roles: Mapping[str, Role]) -> tuple[tuple[str, str], ...]:
    """The input of an elementwise operator in whose place its result may lie."""
    result = row[-1].writes
    made = {step.writes for step in row}
    if len(row) != len(made) or any(step.einsum.reduced_ranks for step in row):
        return ()
    found = []
    for name in dict.fromkeys(n for step in row for n in step.reads if n not in made):
        uses = [step for step in row if name in step.reads]
        accesses = [a for step in uses for a in step.einsum.inputs if len(a.indices) == len(step.einsum.output.indices)]
        alike = len(uses) == 1 and all(_point_by_point(uses[0].einsum, a) for a in accesses[:1])
        if alike and sizes[name] == sizes[result] and roles[name] is Role.ACTIVATION:
            found.append((result, name))
    return tuple(found[:1])


# -- concatenations by aliasing ----------------------------------------------------------------------------------------


def _aliased(
    operators: Sequence[Operator],
    einsums: dict[str, tuple[Einsum, ...]],
    sizes: Mapping[str, int],
    roles: Mapping[str, Role],
) -> list[Operator]:
    """The operators without copies of parts that can be written where they belong."""
    made = {n for op in operators for n in op.writes}
    whole: dict[str, str] = {}

    def resolved(name: str) -> str:
        while name in whole:
            name = whole[name]
        return name

    kept: list[Operator] = []
    for op in operators:
        copies = all(e.expr == Read(0) and not e.reduced_ranks for e in einsums[op.name])
        joins = copies and len(op.reads) > 1 and len(op.writes) == 1
        joins = joins and sum(sizes[n] for n in op.reads) == sizes[op.writes[0]]
        parts = {n: roles[n] is Role.ACTIVATION and n in made and n not in whole for n in op.reads}
        if joins and all(parts.values()):
            whole.update(dict.fromkeys(op.reads, op.writes[0]))
            del einsums[op.name]
        else:
            kept.append(op)
    found = []
    for op in kept:
        reads = tuple(dict.fromkeys(resolved(n) for n in op.reads))
        writes = tuple(dict.fromkeys(resolved(n) for n in op.writes))
        over = tuple((new, old) for new, old in op.over if new not in whole and old not in whole)
        found.append(replace(op, reads=reads, writes=writes, over=over))
    return found
