"""Large random graphs: what lies in the memory when, with addresses for everything."""

from __future__ import annotations

import random
from typing import Literal, TypeAlias

from ...mappers.ilp.check import check_plan
from ...mappers.ilp.plan import PlanClaim, Traffic
from ...mappers.ilp.problem import GraphProblem, Operator, Tensor, peak_bytes
from ...mappers.ilp.residency import best_residency
from ...mappers.ilp.solver import SolverOptions

Reads: TypeAlias = Literal["any", "near", "skips"]
SKIPS = 0.4
"""Share of a chain's operators that read a second result."""


def random_graph(count: int, fan: int, reach: int, seed: int = 0, reads: Reads = "any") -> GraphProblem:
    """Operators that read results of 1 to 64 KiB each, and write one.

    Args:
        count: of operators.
        fan: results that an operator reads, at most; of a chain two.
        reach: how far back these are.
        seed: of what is drawn.
        reads: ``any`` of the last `reach` results, all as likely; ``near`` ones, exponentially fewer farther back, with
            `reach` as the mean; or the last one, and with ``skips`` any of the last `reach` now and then.
    """
    rng = random.Random(seed)
    tensors = {"in": Tensor("in", rng.randint(1, 64) * 1024, source=True)}
    names, operators = ["in"], []
    for i in range(count):
        if reads == "skips":
            found = [names[-1]] + ([rng.choice(names[-reach:])] if rng.random() < SKIPS else [])
        elif reads == "near":
            back = [int(rng.expovariate(1 / reach)) for _ in range(rng.randint(1, fan))]
            found = [names[-1 - min(n, len(names) - 1)] for n in back]
        else:
            found = [rng.choice(names[-reach:]) for _ in range(rng.randint(1, fan))]
        tensors[f"t{i}"] = Tensor(f"t{i}", rng.randint(1, 64) * 1024, result=i == count - 1 or rng.random() < 0.02)
        operators.append(Operator(f"o{i}", tuple(dict.fromkeys(found)), (f"t{i}",)))
        names.append(f"t{i}")
    return GraphProblem("random", tensors, tuple(operators))


def planned(problem: GraphProblem, share: float, seconds: float, *, copies: bool = False) -> tuple[PlanClaim, Traffic]:
    """The plan with addresses, checked, in the order given, for a memory of a share of the order's peak.

    Args:
        problem: what is scheduled.
        share: of the bytes that would keep everything.
        seconds: limit of wall time.
        copies: tensors may be copied within the memory.

    Returns:
        Its claim, and the bytes that it moves.

    Raises:
        DoesNotFit: an operator needs more than the memory has.
    """
    order = range(len(problem.operators))
    capacity = int(peak_bytes(problem, order) * share)
    plan = best_residency(problem, order, capacity, options=SolverOptions(seconds=seconds), copies=copies)
    moved = check_plan(problem, plan)
    assert plan.claim is not None
    return plan.claim, moved
