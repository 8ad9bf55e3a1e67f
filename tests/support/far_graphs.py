"""Random graphs whose operators read results of many steps ago, for residency that is short of memory."""

from __future__ import annotations

import random

from accelsim.mappers.ilp.problem import GraphProblem, Operator, Tensor


def far_graph(seed: int, count: int) -> GraphProblem:
    """Each operator reads up to three of the last twenty results; some write a tensor again."""
    rng = random.Random(seed)
    tensors = {"in": Tensor("in", 40, source=True)}
    names, operators = ["in"], []
    for i in range(count):
        reads = tuple(dict.fromkeys(rng.choice(names[-20:]) for _ in range(rng.randint(1, 3))))
        again = (rng.choice(reads),) if rng.random() < 0.1 else ()
        tensors[f"t{i}"] = Tensor(f"t{i}", rng.randint(1, 64), result=i == count - 1 or rng.random() < 0.1)
        operators.append(Operator(f"o{i}", reads, (f"t{i}", *(name for name in again if name != "in"))))
        names.append(f"t{i}")
    return GraphProblem("random", tensors, tuple(operators))
