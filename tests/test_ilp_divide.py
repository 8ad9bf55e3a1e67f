"""Order by sections: cuts, composition against all orders of the whole, repeated cells."""

from __future__ import annotations

import random

import pytest

from accelsim.mappers.ilp.divide import sections_of
from accelsim.mappers.ilp.orders import all_orders
from accelsim.mappers.ilp.problem import GraphProblem, Operator, Tensor, check_order, peak_bytes
from accelsim.mappers.ilp.residency import best_residency
from accelsim.mappers.ilp.search import schedule


def cells(count: int, seed: int, *, alike: bool = False, shared: bool = False, in_place: bool = False) -> GraphProblem:
    """Cells one behind the other: branches that read the cell's input, and an operator that joins them.

    With `shared` cells read one weight besides, at their first branch and where they end.
    """
    tensors = {"x": Tensor("x", 30, source=True), "w": Tensor("w", 20, source=True)}
    operators: list[Operator] = []
    rng = random.Random(seed)
    drawn = [[rng.randint(30, 60) for _ in range(3)] + [rng.randint(5, 20)] for _ in range(count)]
    before = "x"
    for c in range(count):
        sizes = drawn[0] if alike else drawn[c]
        for name, size in zip("abcd", sizes, strict=True):
            tensors[f"{name}{c}"] = Tensor(f"{name}{c}", size, result=name == "d" and c == count - 1)
        weight = ("w",) if shared else ()
        operators += [
            Operator(f"A{c}", (before, *weight), (f"a{c}",)),
            Operator(f"B{c}", (before,), (f"b{c}",)),
            Operator(f"C{c}", (f"a{c}",), (f"c{c}",)),
            Operator(f"D{c}", (f"b{c}", f"c{c}", *weight), (f"d{c}",)),
        ]
        before = f"d{c}"
    if in_place:
        tensors["e"] = Tensor("e", tensors[before].nbytes, result=True)
        operators.append(Operator("E", (before,), ("e",), (("e", before),)))
    return GraphProblem("cells", {n: t for n, t in tensors.items() if shared or n != "w"}, tuple(operators))


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2, 5, 6])
def test_sections_are_as_good_as_all_orders(seed: int, shared: bool) -> None:
    problem = cells(3, seed, shared=shared, in_place=seed % 2 == 1)
    sections = sections_of(problem)
    assert sorted(i for s in sections for i in s.operators) == list(range(len(problem.operators)))
    check_order(problem, [i for s in sections for i in s.operators])
    orders = all_orders(problem, 1000)
    assert orders is not None and len(orders) == 3**3 and len(sections) >= 3
    least, values = problem.largest_working_set, []
    for capacity in (least, (3 * least + peak_bytes(problem, orders[0])) // 4):
        claims = [best_residency(problem, order, capacity, addresses=False).claim for order in orders]
        best = min(c.value for c in claims if c is not None)
        found = schedule(problem, capacity, addresses=False).claim
        assert found is not None and found.proven and found.value == best
        values.append(best)
    assert values[0] > 0


def test_repeated_cells_are_alike() -> None:
    shapes = [s.shape for s in sections_of(cells(4, 0, alike=True))]
    assert len(shapes) == 4 and len(set(shapes[1:3])) == 1  # the first has the input, the last the result
    assert len({s.shape for s in sections_of(cells(4, 0))}) == 4


def test_what_crosses_a_cut_joins_its_sides() -> None:
    """A result that is read behind the join as well: the write-back would be shared."""
    problem = cells(2, 0)
    operators = list(problem.operators)
    late = operators[-1]
    operators[-1] = Operator(late.name, (*late.reads, "a0"), late.writes)
    assert len(sections_of(GraphProblem("joined", problem.tensors, tuple(operators)))) == 1


def test_all_orders_of_few() -> None:
    problem = cells(1, 0)
    assert all_orders(problem, 3) == [(0, 1, 2, 3), (0, 2, 1, 3), (1, 0, 2, 3)]
    assert all_orders(problem, 2) is None
