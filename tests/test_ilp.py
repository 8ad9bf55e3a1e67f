"""Schedules under a memory: known optima, plans that the independent check accepts, orders against all there are."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest

from accelsim import load_model
from accelsim.errors import BadInput, DoesNotFit, MappingError
from accelsim.ir import validate
from accelsim.mappers.ilp import rolling as rolling_module
from accelsim.mappers.ilp import solver as solver_module
from accelsim.mappers.ilp.arrangement import Along, Arrangement
from accelsim.mappers.ilp.bound import any_order_bound
from accelsim.mappers.ilp.check import check_plan
from accelsim.mappers.ilp.exported import as_exported
from accelsim.mappers.ilp.gap_model import Model
from accelsim.mappers.ilp.graph import GraphOptions, graph_of
from accelsim.mappers.ilp.lives import Lives
from accelsim.mappers.ilp.orders import minimum_peak
from accelsim.mappers.ilp.plan import Plan
from accelsim.mappers.ilp.problem import GraphProblem, Operator, Tensor, peak_bytes
from accelsim.mappers.ilp.residency import BYTES, best_residency
from accelsim.mappers.ilp.rolling import rolled
from accelsim.mappers.ilp.search import schedule
from accelsim.mappers.ilp.solver import Program, SolverName, SolverOptions, interruptibly, solve
from accelsim.mappers.ilp.sweep import sweep
from accelsim.mappers.ilp.windows import Settings, improved

KB = 1024


def random_problem(count: int, seed: int, reach: int = 5) -> GraphProblem:
    """Operators that read up to three of the last results, some with weights, some in place."""
    rng = random.Random(seed)
    tensors = {"in": Tensor("in", rng.randint(1, 20), source=True)}
    names, operators = ["in"], []
    for i in range(count):
        reads = tuple(dict.fromkeys(rng.choice(names[-reach:]) for _ in range(rng.randint(1, 3))))
        size, over = rng.randint(1, 20), ()
        pairs: tuple[tuple[str, str], ...] = over
        if seed % 2 and rng.random() < 0.4:
            size, pairs = tensors[reads[0]].nbytes, ((f"t{i}", reads[0]),)
        tensors[f"t{i}"] = Tensor(f"t{i}", size, result=i == count - 1 or rng.random() < 0.1)
        if rng.random() < 0.3:
            tensors[f"w{i}"] = Tensor(f"w{i}", rng.randint(1, 20), source=True)
            reads += (f"w{i}",)
        operators.append(Operator(f"o{i}", reads, (f"t{i}",), pairs))
        names.append(f"t{i}")
    return GraphProblem("random", tensors, tuple(operators))


def all_orders(problem: GraphProblem, done: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    if len(done) == len(problem.operators):
        yield done
    for i, earlier in enumerate(problem.before):
        if i not in done and set(earlier) <= set(done):
            yield from all_orders(problem, (*done, i))


def claimed(plan: Plan) -> tuple[float, bool]:
    assert plan.claim is not None
    return plan.claim.value, plan.claim.proven


@pytest.mark.parametrize("solver", ["highs", "cbc"])
@pytest.mark.parametrize(("kb", "spilled"), [(1596.25, 2_609_152), (1827.1, 1_404_928), (2058, 0)])
def test_densenet(kb: float, spilled: int, solver: SolverName) -> None:
    """Published optima of DenseNet-121, int8, activations, padding counted, concatenations chained."""
    workload = as_exported(load_model("densenet121", bits=8))
    validate(workload)
    problem = graph_of(workload, GraphOptions(parameters=False)).problem
    order = range(len(problem.operators))
    assert problem.largest_working_set == 1596.25 * KB
    assert peak_bytes(problem, order) == 2058 * KB
    plan = best_residency(problem, order, int(kb * KB), options=SolverOptions(solver), addresses=False)
    assert claimed(plan) == (spilled, True)
    assert check_plan(problem, plan).spilled == spilled


@pytest.mark.parametrize("solver", ["highs", "cbc"])
@pytest.mark.parametrize(
    ("kb", "first", "spilled"),
    [(2355, True, 602_112), (2404, True, 602_112), (2453, True, 0), (2355, False, 1_003_520)],
)
def test_resnet(kb: int, first: bool, spilled: int, solver: SolverName) -> None:
    """Published optima of ResNet-50, int8 with parameters and biases of 32 bits, strides in 1x1 convolutions, the
    downsampling branch first or last."""
    problem = graph_of(as_exported(load_model("resnet50_v1", bits=8))).problem
    order: list[int] = []
    for i, op in enumerate(problem.operators):
        order.insert(len(order) - 3 if first and op.name.endswith("unit_4.conv") else len(order), i)
    plan = best_residency(problem, order, kb * KB, options=SolverOptions(solver), addresses=False)
    assert claimed(plan) == (spilled, True)
    assert check_plan(problem, plan).spilled == spilled


@pytest.mark.parametrize("seed", range(12))
def test_plans_pass_the_check(seed: int) -> None:
    problem = random_problem(10, seed)
    order = range(10)
    least, most = problem.largest_working_set, peak_bytes(problem, order)
    values = []
    for capacity in (least, (least + most) // 2, most):
        if capacity < least:
            continue
        plan = best_residency(problem, order, capacity)
        assert all(r.address is not None for r in plan.residences)
        assert check_plan(problem, plan).spilled == claimed(plan)[0]
        values.append(claimed(best_residency(problem, order, capacity, addresses=False))[0])
    assert values == sorted(values, reverse=True)
    assert values[-1] == 0


@pytest.mark.parametrize("seed", range(10))
def test_orders_against_all_there_are(seed: int) -> None:
    problem = random_problem(6, seed)
    orders = list(all_orders(problem))
    found = minimum_peak(problem)
    assert found.proven
    assert peak_bytes(problem, found.order) == found.peak == min(peak_bytes(problem, order) for order in orders)
    capacity = problem.largest_working_set
    best = float("inf")
    for order in orders:
        try:
            best = min(best, claimed(best_residency(problem, order, capacity, addresses=False))[0])
        except DoesNotFit:  # results lie in the place of inputs in some orders alone
            continue
    if best < float("inf"):
        plan = schedule(problem, capacity, addresses=False)
        assert any_order_bound(problem, capacity, BYTES) <= best <= claimed(plan)[0]


def test_too_small_a_memory_says_what_is_missing() -> None:
    problem = random_problem(6, 0)
    with pytest.raises(DoesNotFit, match=r"operator o\d.* 1 too few; the largest is"):
        schedule(problem, problem.largest_working_set - 1, order="default")


def test_the_check_refutes_wrong_plans() -> None:
    problem = random_problem(10, 2)
    plan = best_residency(problem, range(10), problem.largest_working_set)
    check_plan(problem, plan)
    with pytest.raises(MappingError, match="not in the memory"):
        check_plan(problem, replace(plan, residences=plan.residences[1:]))
    with pytest.raises(MappingError, match=r"overlaps|beyond"):
        check_plan(problem, replace(plan, residences=tuple(replace(r, address=0) for r in plan.residences)))
    with pytest.raises(MappingError, match="is a result"):
        check_plan(problem, replace(plan, stores=()))
    with pytest.raises(MappingError, match="more than there are"):
        check_plan(problem, replace(plan, capacity=plan.capacity // 2))


def test_bad_graphs_are_refused() -> None:
    with pytest.raises(BadInput, match="reads b before it is written"):
        GraphProblem("g", {"b": Tensor("b", 1)}, (Operator("o", ("b",), ()),))


@pytest.mark.parametrize("name", ["highs", "cbc"])
def test_a_limit_on_nodes_ends_with_a_bound_and_what_was_found(name: SolverName) -> None:
    """A knapsack with several limits that three nodes do not solve: an answer that holds, or none, but no fault."""
    draw = random.Random(1)
    weights = [[draw.randint(10, 99) for _ in range(60)] for _ in range(8)]
    rows = [({i: float(w) for i, w in enumerate(row)}, 900.0) for row in weights]
    program = Program([-float(draw.randint(10, 99)) for _ in range(60)], list(rows))
    limited = solve(program, SolverOptions(name, nodes=3))
    assert not limited.proven
    assert limited.bound <= limited.value
    if limited.chosen is not None:
        assert program.holds(limited.chosen)
        assert program.value(limited.chosen) == limited.value


def test_ctrl_c_stops_the_solver_and_a_second_one_is_raised() -> None:
    class Solving:
        """What a HiGHS object does, in turn: an exception is raised, a truth says whether it has finished."""

        def __init__(self, *events: bool | type[BaseException]) -> None:
            self.events, self.cancelled = list(events), 0

        def startSolve(self) -> None: ...

        def wait(self, seconds: float) -> tuple[bool, None]:
            event = self.events.pop(0)
            if isinstance(event, bool):
                return event, None
            raise event

        def cancelSolve(self) -> None:
            self.cancelled += 1

    once = Solving(False, KeyboardInterrupt, False, True)
    interruptibly(once)
    assert once.cancelled == 1 and not once.events
    with pytest.raises(KeyboardInterrupt):
        interruptibly(Solving(KeyboardInterrupt, KeyboardInterrupt))


def test_an_interrupted_cbc_tells_the_bound_of_its_relaxation(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cover whose relaxation costs 8/3 = 2.67 of 3 or more; CBC is stopped before it has told anything."""
    program = Program([1.0] * 4)
    for left_out in range(4):
        program.row({i: -1.0 for i in range(4) if i != left_out}, -2.0)

    def stopped(process: subprocess.Popen[bytes]) -> bool:
        process.kill()
        process.wait()
        return True

    whole = solve(program, SolverOptions("cbc"))
    assert whole.proven and whole.value == whole.bound == 3
    monkeypatch.setattr(solver_module, "_ended", stopped)
    cut = solve(program, SolverOptions("cbc"))
    assert cut.interrupted and not cut.proven
    assert cut.bound == pytest.approx(8 / 3, abs=1e-4)


def test_windows_end_where_the_first_steps_cost_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """80 steps in windows of 16: the first one drops a gap, where three tenths of what may be lost are allowed."""
    problem = random_problem(80, 0)
    along = Along(Lives(problem, range(80)), peak_bytes(problem, range(80)), BYTES)
    windows: list[int] = []

    def packed(current: Arrangement, first: int, end: int) -> bool:
        current.dropped.add(0)
        windows.append(first)
        return True

    monkeypatch.setattr(rolling_module, "packed", packed)
    lost = along.price([0])
    assert lost and rolled(along, set(), Settings(True, SolverOptions()), most=lost / 0.31) is None and windows == [0]
    windows.clear()
    found = rolled(along, set(), Settings(True, SolverOptions()), most=lost / 0.29)
    assert found is not None and found.value == lost and windows == [0, 16, 32, 48, 64]


@pytest.mark.parametrize("seed", range(4))
def test_addresses_window_by_window(seed: int) -> None:
    """Full memories: a sweep has addresses, windows are no worse, and only what their bound allows is called proven."""
    problem = random_problem(80, seed)
    order = range(80)
    least, most = problem.largest_working_set, peak_bytes(problem, order)
    for capacity in (least, (2 * least + most) // 3):
        lives = Lives(problem, order)
        along = Along(lives, capacity, BYTES)
        dropped, solutions = Model.of(lives, capacity).dropped([BYTES], SolverOptions())
        bare = along.price(dropped)
        assert bare == solutions[0].value
        swept = sweep(Arrangement(along, set(dropped)), 0, 80)
        rolling = rolled(along, dropped, Settings(True, SolverOptions()))
        assert rolling is not None
        limited = [rolled(along, dropped, Settings(True, SolverOptions()), most=rolling.value - n) for n in (0, 1)]
        assert limited[0] == rolling and limited[1] is None
        better, stopped = improved(rolling, Settings(True, SolverOptions(), enough=bare))
        assert not stopped and bare <= better.value <= rolling.value
        for found in (swept, rolling, better):
            assert check_plan(problem, found.plan()).spilled == found.value
        plan = best_residency(problem, order, capacity)
        assert check_plan(problem, plan).spilled == plan.claim.value  # type: ignore[union-attr]
        assert claimed(plan)[0] <= better.value
