"""What cores do in the firings of a stage: operations, and bytes read and written in their memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ...engine.labels import Action
from ...ir import Einsum, Workload
from ..costs import OpCosts
from ..parts import Names
from .plan import Fabric
from .task import Task


class Work:
    """Counts for the tasks of a Workload on a fabric, from the `cost` of its pool."""

    def __init__(self, fabric: Fabric, workload: Workload) -> None:
        self.pool, self.names = fabric.pool, Names(workload)

    def of(self, task: Task, outer: str, firings: int) -> tuple[Callable[[int], Mapping[Action, int]], frozenset[int]]:
        """The actions of each of so many firings, and the firings at which they change.

        `outer` is dealt out over the firings, the larger shares first. An Einsum without it runs at the first firing;
        one that reduces it adds up in the memory.
        """
        counted = [(e, self._costs(e)) for e in task.einsums]
        whole = task.sizes.get(outer, 1)
        share, larger = divmod(whole, firings)

        def actions(i: int) -> Mapping[Action, int]:
            found: dict[Action, int] = {}
            for einsum, costs in counted:
                here = dict(einsum.sizes)
                if outer in here and firings > 1:
                    here[outer] = share + (1 if i < larger else 0)
                elif i > 0:
                    continue
                resumed = i > 0 and outer in einsum.reduced_ranks
                cost = costs.at(tuple(sorted(here.items())), resumed=resumed, unfinished=False)
                for action, n in cost.actions.items():
                    if isinstance(action, Action):
                        found[action] = found.get(action, 0) + n
            return found

        return actions, frozenset({1, larger})

    def _costs(self, einsum: Einsum) -> OpCosts:
        option = self.pool.option(einsum, "split", None)
        bits = [self.names.bits(a.tensor) for a in (*einsum.inputs, einsum.output)]
        return OpCosts(self.pool, einsum, option, bits, self.names, [einsum.sizes])
