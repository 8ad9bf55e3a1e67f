"""Small random graphs, and all that may be kept of them step by step."""

from __future__ import annotations

import random

from accelsim.mappers.ilp.arrangement import Along
from accelsim.mappers.ilp.gap_model import BYTES, Cost
from accelsim.mappers.ilp.lives import Lives
from accelsim.mappers.ilp.problem import GraphProblem, Operator, Tensor
from accelsim.mappers.ilp.states import States, states_of


def small_graph(seed: int, count: int, *, reach: int = 6) -> GraphProblem:
    """Operators that read one or two of the last `reach` results, now and then a weight."""
    rng = random.Random(seed)
    tensors = {"in": Tensor("in", rng.randint(1, 9), source=True)}
    names, operators = ["in"], []
    for i in range(count):
        reads = tuple(dict.fromkeys(rng.choice(names[-reach:]) for _ in range(rng.randint(1, 2))))
        if rng.random() < 0.2:
            tensors[f"w{i}"] = Tensor(f"w{i}", rng.randint(1, 9), source=True)
            reads += (f"w{i}",)
        tensors[f"t{i}"] = Tensor(f"t{i}", rng.randint(1, 9), result=rng.random() < 0.2)
        operators.append(Operator(f"o{i}", reads, (f"t{i}",)))
        names.append(f"t{i}")
    return GraphProblem("random", tensors, tuple(operators))


def all_states(problem: GraphProblem, capacity: int, cost: Cost = BYTES) -> States:
    """In the order given; there must be few of them."""
    found = states_of(Along(Lives(problem, range(len(problem.operators))), capacity, cost))
    assert found is not None
    return found
