"""Placement over tiers in time: closed forms, the gap model as an oracle, policies, replays and Programs."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from accelsim.engine import compiled
from accelsim.errors import BadInput, DoesNotFit, MappingError
from accelsim.lowering.tiers import program_of
from accelsim.mappers.ilp.problem import GraphProblem, Operator, Tensor
from accelsim.mappers.ilp.residency import best_residency
from accelsim.mappers.ilp.solver import SolverName, SolverOptions
from accelsim.mappers.ilp.tiers.model import BYTES, ENERGY, LATENCY
from accelsim.mappers.ilp.tiers.policies import largest_stay, least_recently_used, most_transferred_stay
from accelsim.mappers.ilp.tiers.recompute import with_recomputation
from accelsim.mappers.ilp.tiers.search import place
from accelsim.mapping.tiers.check import check_tier_plan
from accelsim.mapping.tiers.plan import Ledger, Room, TierPlan, Transfer
from accelsim.mapping.tiers.problem import Choice, Item, Link, Step, Tier, TierProblem

EXACT = SolverOptions()
NS = 1e-9
KB = 1024


def two_tiers(
    capacity: int, *steps: Step, items: dict[str, int], made: tuple[Item, ...] = (), periodic: bool = False
) -> TierProblem:
    """A near tier and a far one that is home to all but what steps make, 1 byte per nanosecond each way."""
    links = (Link("load", "far", "near", 1e9, 2.0), Link("store", "near", "far", 1e9, 3.0))
    homes = {n: Item(n, size, home="far") for n, size in items.items()} | {i.name: i for i in made}
    return TierProblem("two", (Tier("near", capacity), Tier("far")), links, homes, steps, periodic)


def reading(name: str, item: str, seconds: float = 100 * NS) -> Step:
    return Step(name, (Choice("near", seconds, {item: "near"}),))


def decode(layers: int, tokens: int, seed: int = 0) -> TierProblem:
    """Steps that read experts drawn at random, over SRAM, HBM and DDR, token after token."""
    rng = random.Random(seed)
    items = {f"a{x}": Item(f"a{x}", 40 << 20, home="ddr") for x in range(layers)}
    items |= {f"e{x}.{e}": Item(f"e{x}.{e}", 160 << 20, home="ddr") for x in range(layers) for e in range(6)}
    steps = []
    for t in range(tokens):
        for x in range(layers):
            steps.append(Step(f"a{t}.{x}", (Choice("array", 20e-6, {f"a{x}": "sram"}),)))
            for e in sorted(rng.sample(range(6), 2)):
                steps.append(Step(f"e{t}.{x}.{e}", (Choice("array", 60e-6, {f"e{x}.{e}": "sram"}),)))
    used = {n for s in steps for n in s.choices[0].reads}
    tiers = (Tier("sram", 500 << 20), Tier("hbm", layers * 400 << 20), Tier("ddr"))
    links = (Link("up", "hbm", "sram", 1.8e12, 4e-12), Link("far", "ddr", "hbm", 200e9, 1e-10))
    return TierProblem("decode", tiers, links, {n: i for n, i in items.items() if n in used}, tuple(steps), True)


def replayed(problem: TierProblem, plan: TierPlan) -> Ledger:
    """The recount of a plan, which its Program confirms: its bytes, and no less time than is claimed or must be."""
    ledger = check_tier_plan(problem, plan)
    trace = compiled.run(program_of(problem, plan))
    if plan.claim is not None and plan.claim.objective == "latency":
        assert plan.claim.bound - 1e-12 <= plan.claim.value <= trace.finish * 1e-12 + 1e-12
    # Nothing overtakes what the plan has before it; every task lasts a tick at least.
    tasks = len(plan.transfers) + 2 * len(ledger.position_seconds)
    assert trace.finish <= ledger.seconds * 1e12 + 50 * tasks
    counted = dict(zip(trace.program.actions, trace.action_counts().tolist(), strict=True))
    assert counted == {link: n for link, n in ledger.link_bytes.items() if n}
    return ledger


@pytest.mark.parametrize("solver", ["highs", "cbc"])
def test_prefetch_as_far_as_there_is_room(solver: SolverName) -> None:
    """a and b never fit together: of b's 50 bytes 36 come while a is used, 14 in between, and so on."""
    steps = [reading(f"s{i}", n) for i, n in enumerate("abab")]
    problem = two_tiers(100, *steps, items={"a": 64, "b": 50})
    plan = place(problem, options=SolverOptions(name=solver))
    assert plan.claim is not None and plan.claim.proven
    assert replayed(problem, plan).seconds == pytest.approx((64 + 100 + 14 + 100 + 14 + 100 + 14 + 100) * NS)


def test_a_period_keeps_what_it_can() -> None:
    """For ever: a stays, b and c come by turns, 5 bytes while the other is used, 10 while a is, 35 in a wait."""
    steps = [reading(f"s{i}", n, 10 * NS) for i, n in enumerate("abac")]
    problem = two_tiers(115, *steps, items={"a": 60, "b": 50, "c": 50}, periodic=True)
    assert replayed(problem, place(problem, options=EXACT)).seconds == pytest.approx((40 + 2 * 35) * NS)
    assert replayed(problem, place(problem, aims=(BYTES,), options=EXACT)).nbytes == 2 * 50
    wide = replace(problem, tiers=(Tier("near", 160), Tier("far")))
    assert replayed(wide, place(wide, options=EXACT)).seconds == pytest.approx(40 * NS)


def test_split_items_stay_in_part() -> None:
    """20 of 50 bytes have room for good, the other 30 come again and again."""
    steps = [reading("s0", "a", 10 * NS), reading("s1", "b", 10 * NS)]
    problem = two_tiers(70, *steps, items={"a": 50, "b": 50}, periodic=True)
    split = replace(problem, items={n: replace(i, split=True) for n, i in problem.items.items()})
    whole = replayed(problem, place(problem, aims=(BYTES,), options=EXACT)).nbytes
    assert (whole, replayed(split, place(split, aims=(BYTES,), options=EXACT)).nbytes) == (100, 60)


def test_site_of_an_operator() -> None:
    """Near the data where moving takes longer than computing there; the other way round with a faster link."""
    choices = (Choice("array", 10 * NS, {"w": "near"}), Choice("beside", 50 * NS, {"w": "far"}))
    slow = two_tiers(100, Step("s", choices), items={"w": 60})
    assert place(slow, options=EXACT).choices == ("beside",)
    fast = replace(slow, links=(Link("load", "far", "near", 2e9),))
    assert place(fast, options=EXACT).choices == ("array",)


def test_lexicographic_and_weighted() -> None:
    """Latency first, then energy: of two ways that take equally long the one with less energy."""
    choices = (Choice("hungry", 10 * NS, joules=5.0), Choice("frugal", 10 * NS, joules=2.0), Choice("slow", 11 * NS))
    problem = two_tiers(100, Step("s", choices), items={})
    assert place(problem, aims=(LATENCY, ENERGY), options=EXACT).choices == ("frugal",)
    assert place(problem, aims=(ENERGY, LATENCY), options=EXACT).choices == ("slow",)
    both = replace(LATENCY, name="both", joules=1e-12)
    assert place(problem, aims=(replace(both, seconds=1.0),), options=EXACT).choices == ("frugal",)


def test_results_and_write_backs() -> None:
    """x is stored once, and read twice from there; y ends where it belongs."""
    big = reading("other", "w", 0.0)
    steps = (
        Step("make", (Choice("c", 0.0, writes={"x": "near"}),)), replace(big, name="o1"),
        Step("use", (Choice("c", 0.0, reads={"x": "near"}),)), replace(big, name="o2"),
        Step("last", (Choice("c", 0.0, reads={"x": "near"}, writes={"y": "near"}),)),
    )  # fmt: skip
    problem = two_tiers(70, *steps, items={"w": 60}, made=(Item("x", 40), Item("y", 7, result="far")))
    ledger = replayed(problem, place(problem, aims=(BYTES,), options=EXACT))
    assert ledger.link_bytes == {"load": 60 * 2 + 40 * 2, "store": 40 + 7}


def test_what_leaves_and_returns_at_once_was_there_before() -> None:
    """x goes to and fro in one position, its room cut in three: the way back sends on what the way out brings."""
    steps = (
        Step("make", (Choice("c", 5 * NS, writes={"x": "near"}),)), reading("other", "w"),
        Step("use", (Choice("c", 5 * NS, reads={"x": "near"}),)),
    )  # fmt: skip
    problem = two_tiers(100, *steps, items={"w": 60}, made=(Item("x", 40),))
    rooms = [Room("w", "near", 0, 60, 0, 5), Room("x", "far", 0, 40, 3, 3)]
    rooms += [Room("x", "near", 0, 40, first, last) for first, last in ((2, 2), (3, 3), (4, 8))]
    moves = (Transfer("w", "load", 0, 0, 60), Transfer("x", "store", 3, 0, 40), Transfer("x", "load", 3, 0, 40))
    ledger = replayed(problem, TierPlan("two", ("c", "near", "c"), tuple(rooms), moves))
    assert ledger.link_bytes == {"load": 100, "store": 40}


def test_computing_anew_instead_of_bringing_back() -> None:
    """Made again in 5 ns, or stored and loaded in 80, which a maker of 200 ns makes worth while. While it runs, w is
    loaded as far as it has room."""
    for seconds, anew, total in ((5, True, 5 + 55 + 5), (200, False, 200 + 40 + 40 + 40)):
        steps = (
            Step("make", (Choice("c", seconds * NS, writes={"x": "near"}),)), reading("other", "w", 0.0),
            Step("use", (Choice("c", 0.0, reads={"x": "near"}),)),
        )  # fmt: skip
        problem = with_recomputation(two_tiers(60, *steps, items={"w": 60}, made=(Item("x", 40),)))
        plan = place(problem, options=EXACT)
        assert ("anew" in plan.choices[-1]) == anew
        assert replayed(problem, plan).seconds == pytest.approx(total * NS)


def graph(seed: int) -> GraphProblem:
    rng = random.Random(seed)
    tensors = {"in": Tensor("in", rng.randint(1, 20), source=True)}
    names, operators = ["in"], []
    for i in range(9):
        reads = tuple(dict.fromkeys(rng.choice(names[-4:]) for _ in range(rng.randint(1, 3))))
        tensors[f"t{i}"] = Tensor(f"t{i}", rng.randint(1, 20), result=i == 8 or rng.random() < 0.1)
        operators.append(Operator(f"o{i}", reads, (f"t{i}",)))
        names.append(f"t{i}")
    return GraphProblem("random", tensors, tuple(operators))


@pytest.mark.parametrize("seed", range(12))
def test_two_tiers_and_bytes_are_the_gap_model(seed: int) -> None:
    """The same least traffic as the other model finds, which shares nothing with this one but the solver."""
    problem = graph(seed)
    capacity = problem.largest_working_set + seed % 3 * 5
    expected = best_residency(problem, range(9), capacity, addresses=False).traffic(problem)
    read = {n for op in problem.operators for n in op.reads}
    items = {
        n: Item(n, t.nbytes, "far" if t.source else "", "far" if t.result else "")
        for n, t in problem.tensors.items() if t.result or n in read or not t.source
    }  # fmt: skip
    steps = tuple(
        Step(op.name, (Choice("c", 0.0, dict.fromkeys(op.reads, "near"), dict.fromkeys(op.writes, "near")),))
        for op in problem.operators
    )
    tiers = (Tier("near", capacity), Tier("far"))
    links = (Link("load", "far", "near", 1e9), Link("store", "near", "far", 1e9))
    placed = TierProblem("random", tiers, links, items, steps)
    ledger = check_tier_plan(placed, place(placed, aims=(BYTES,), options=EXACT))
    assert ledger.nbytes == expected.loaded + expected.stored


def test_three_tiers_better_than_policies() -> None:
    problem = decode(2, 3)
    plan = place(problem)
    assert plan.claim is not None and plan.claim.gap <= 0.01
    best = replayed(problem, plan).seconds
    lru = min(replayed(problem, least_recently_used(problem, ahead=a)).seconds for a in (False, True))
    for rule in (largest_stay, most_transferred_stay):
        fixed = place(problem, pinned=rule(problem, "hbm", reserve=320 << 20), options=SolverOptions(gap=0.03))
        assert fixed.claim is not None and best < fixed.claim.bound
        replayed(problem, fixed)
    assert best < lru
    computing = sum(s.choices[0].seconds for s in problem.steps)
    assert best >= computing


def test_same_plan_again() -> None:
    problem = decode(2, 2)
    assert place(problem) == place(problem)


def test_replay_refutes_what_is_wrong() -> None:
    problem = decode(2, 2)
    plan = place(problem)
    for n in range(0, len(plan.transfers), 3):
        with pytest.raises(MappingError, match=r"are not in|not where it begins"):
            check_tier_plan(problem, replace(plan, transfers=plan.transfers[:n] + plan.transfers[n + 1 :]))
    small = replace(problem, tiers=(Tier("sram", 300 << 20), *problem.tiers[1:]))
    with pytest.raises(MappingError, match="sram holds"):
        check_tier_plan(small, plan)
    with pytest.raises(MappingError, match="has no choice"):
        check_tier_plan(problem, replace(plan, choices=("x", *plan.choices[1:])))


def test_what_does_not_fit_is_named() -> None:
    problem = two_tiers(50, reading("s", "w"), items={"w": 60})
    with pytest.raises(DoesNotFit, match=r"step s: .* 10 too few; the largest is w with 60 bytes"):
        place(problem)
    with pytest.raises(DoesNotFit, match="far: the items at home there take 60 bytes and it has 59"):
        place(replace(problem, tiers=(Tier("near", 60), Tier("far", 59))))
    with pytest.raises(DoesNotFit, match="no link"):
        place(replace(problem, tiers=(Tier("near", 60), Tier("far")), links=()))


def test_wrong_problems_are_refused_at_once() -> None:
    good = two_tiers(50, reading("s", "w"), items={"w": 60})
    with pytest.raises(BadInput, match=r"two tiers .* near; link load: no tier far.*no item v"):
        replace(good, tiers=(Tier("near", 1), Tier("near", 2)), steps=(reading("s", "v"),))
    with pytest.raises(BadInput, match="reads x, which nothing has made"):
        replace(good, items={**good.items, "x": Item("x", 1)}, steps=(reading("s", "x"),))
    with pytest.raises(BadInput, match="never end"):
        replace(good, periodic=True, items={"w": Item("w", 60, "far", "near")})


def random_tiers(seed: int) -> TierProblem:
    """Three tiers, items at home in two of them and made by steps, sites, steps that may leave an item alone."""
    rng = random.Random(seed)
    items = {f"w{i}": Item(f"w{i}", KB * rng.randint(5, 30), home=rng.choice(["b", "c"])) for i in range(4)}
    names, steps = list(items), []
    for s in range(6):
        made = f"x{s}"
        items[made] = Item(made, KB * rng.randint(5, 30), result="c" if s == 5 and seed % 2 else "")
        reads = rng.sample(names, min(len(names), 2))
        one = Choice("near", rng.randint(0, 30) * KB * NS, dict.fromkeys(reads, "a"), {made: "a"})
        other = Choice("beside", rng.randint(20, 90) * KB * NS, dict.fromkeys(reads[:1], "b"), {made: "b"})
        steps.append(Step(f"s{s}", (one, other) if rng.random() < 0.5 else (one,)))
        names.append(made)
    if not seed % 2:
        items = {n: replace(i, result="") for n, i in items.items()}
    tiers = (Tier("a", 95 * KB), Tier("b", 95 * KB + sum(i.nbytes for i in items.values() if i.home == "b")), Tier("c"))
    links = tuple(
        Link(x + y, x, y, rate, channel=channel)
        for x, y, rate, channel in (
            ("a", "b", 2e9, ""), ("b", "a", 2e9, ""), ("b", "c", 1e9, "far"), ("c", "b", 1e9, "far")
        )
    )  # fmt: skip
    return TierProblem("random", tiers, links, items, tuple(steps), periodic=not seed % 2)


@pytest.mark.parametrize("seed", range(10))
def test_random_placements_replay_and_solvers_agree(seed: int) -> None:
    problem = random_tiers(seed)
    found = []
    for solver in ("highs", "cbc"):
        plan = place(problem, options=SolverOptions(name=solver))
        ledger = replayed(problem, plan)
        assert plan.claim is not None and plan.claim.proven
        assert ledger.seconds >= sum(min(c.seconds for c in s.choices) for s in problem.steps) * (1 - 1e-9)
        found.append(ledger.seconds)
    assert found[0] == pytest.approx(found[1], rel=2e-4)
    roomy = replace(problem, tiers=(Tier("a"), Tier("b"), Tier("c")))
    assert check_tier_plan(roomy, place(roomy, options=EXACT)).seconds <= found[0] * (1 + 1e-6)


def test_what_a_step_need_not_touch_stays() -> None:
    """x is made, may be read in between, and is read at the end: it never moves."""
    between = Step("maybe", (Choice("with", 9 * NS, {"x": "near"}), Choice("without", 1 * NS)))
    steps = (
        Step("make", (Choice("c", 1 * NS, writes={"x": "near"}),)), between,
        Step("use", (Choice("c", 1 * NS, reads={"x": "near"}),)),
    )  # fmt: skip
    problem = two_tiers(50, *steps, items={}, made=(Item("x", 40),))
    ledger = replayed(problem, place(problem, options=EXACT))
    assert ledger.nbytes == 0
    assert ledger.seconds == pytest.approx(3 * NS)
