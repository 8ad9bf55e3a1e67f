"""Other orders of a Workload's Einsums: those that keep less alive, run by run between Repeats."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from ...ir import Einsum, Item, Repeat, Role, View, Workload
from ..tile.flow import Flow
from .beam import beam_orders
from .orders import Order, default_order, depth_first, minimum_peak
from .problem import GraphProblem, Operator, Tensor

Chooser = Callable[[GraphProblem], Order]


def reordered(workload: Workload, capacity: int) -> Iterator[Workload]:
    """The Workload itself, then with its Einsums in other orders, each once.

    They are for looks at lives and Mappings alone: views come first in them, wherever what they show is made. Runs of
    Einsums that touch states, choose rows of tables or write what was read before keep their order.

    Args:
        workload: in an order in which it can run.
        capacity: bytes of the memory that orders are to suit.
    """
    yield workload
    seen = {_names(workload.body)}
    for chooser in (_smallest_peak, depth_first, _beam(capacity)):
        found = replace(workload, body=_body(workload, workload.body, chooser))
        if _names(found.body) not in seen:
            seen.add(_names(found.body))
            yield found


def _smallest_peak(problem: GraphProblem) -> Order:
    return minimum_peak(problem).order


def _beam(capacity: int) -> Chooser:
    def chooser(problem: GraphProblem) -> Order:
        enough = max(capacity, problem.largest_working_set)
        return next(iter(beam_orders(problem, enough, default_order(problem))), default_order(problem))

    return chooser


def _names(items: Sequence[Item]) -> tuple[object, ...]:
    return tuple(
        (item.name, _names(item.body)) if isinstance(item, Repeat) else item.name
        for item in items
        if not isinstance(item, View)
    )


def _body(workload: Workload, items: Sequence[Item], chooser: Chooser) -> tuple[Item, ...]:
    found: list[Item] = [item for item in items if isinstance(item, View)]
    run: list[Einsum] = []
    flow = Flow(workload)
    for item in items:
        if isinstance(item, Einsum):
            run.append(item)
        elif isinstance(item, Repeat):
            found += _ordered(workload, flow, run, chooser)
            found.append(replace(item, body=_body(workload, item.body, chooser)))
            run = []
    return (*found, *_ordered(workload, flow, run, chooser))


def _ordered(workload: Workload, flow: Flow, run: Sequence[Einsum], chooser: Chooser) -> list[Einsum]:
    problem = _problem(workload, flow, run)
    return [run[i] for i in (chooser(problem) if problem is not None else range(len(run)))]


def _problem(workload: Workload, flow: Flow, run: Sequence[Einsum]) -> GraphProblem | None:
    """What the order of a run is free in; None where it is not."""
    rows = {item.rows for item in workload.views() if item.rows}
    tensors: dict[str, Tensor] = {}
    operators: list[Operator] = []
    read: set[str] = set()
    made = {flow.storage(e.output.tensor) for e in run}
    for einsum in run:
        reads = tuple(dict.fromkeys(flow.storage(a.tensor) for a in einsum.inputs))
        writes = flow.storage(einsum.output.tensor)
        read.update(reads)
        states = any(workload.tensors[n].role is Role.STATE for n in (*reads, writes))
        if states or writes in read or einsum.output.tensor in rows:
            return None
        for name in (*reads, writes):
            tensor = workload.tensors[name]
            tensors.setdefault(name, Tensor(name, tensor.nbytes, name not in made, tensor.role is Role.OUTPUT))
        operators.append(Operator(einsum.name, reads, (writes,)))
    kept = tuple(
        replace(op, reads=tuple(n for n in op.reads if workload.tensors[n].role is not Role.WEIGHT)) for op in operators
    )
    used = dict.fromkeys(n for op in kept for n in op.touches)
    return GraphProblem(workload.name, {n: tensors[n] for n in used}, kept)
