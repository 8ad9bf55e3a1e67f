"""Breeding: an Optuna sampler that makes points from pairs of the best so far, in the manner of NSGA-II.

Ranks, crowding distances and tournaments are those of Deb et al., "A fast and elitist multiobjective genetic
algorithm: NSGA-II" (IEEE Transactions on Evolutionary Computation 6(2), 2002). Simulations being dear, it differs where
that wastes them: parents are the best of all results as soon as there are some, not of whole generations; a point that
was tried is mutated until it is new; and where values have an order, half of the mutations go to one nearby. Where
points cost little because most are never simulated, some are the neighbours of the front along one parameter (a Pareto
local search, as of Paquete, Chiarandini and Stützle, "Pareto local optimum sets in the biobjective traveling salesman
problem", 2004).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from .pareto import front

Params: TypeAlias = dict[str, Any]
Key: TypeAlias = frozenset[tuple[str, Any]]
Score: TypeAlias = tuple[float, ...]

PARENTS = 10, 50
"""Pairs are drawn from the best results: an eighth of all, but so many at least and at most."""
SHARE = 8
CROSSED = 0.9
"""Share of children that take after both parents, each parameter after either."""
NEARBY = 0.5
"""Share of mutations of ordered values that stay near; the others go anywhere."""
SPREAD = 0.1
"""Standard deviation of a mutation that stays near, as a share of the range; one step at least."""
TRIES = 40
"""Further mutations of a child that was tried before, until it is let through."""


@dataclass(frozen=True)
class _Result:
    params: Params
    score: Score
    excess: float
    """Over all constraints; 0 if they are met."""


class Breeder(BaseSampler):
    """Draws at random until there are results, and breeds from then on; the same calls give the same points."""

    def __init__(self, seed: int, beside: float = 0.0) -> None:
        """A breeder.

        Args:
            seed: of all that is drawn.
            beside: share of the points that lie one step of one parameter beside a point of the front, as long as there
                are such that were not tried.
        """
        self._beside = beside
        self._untried: list[Params] = []
        """What lies beside the front."""
        self._draw = np.random.default_rng(seed)
        self._random = RandomSampler(seed=seed)
        self._space: dict[str, BaseDistribution] = {}
        self._results: dict[Key, _Result] = {}
        self._tried: set[Key] = set()
        self._parents: list[tuple[int, float, _Result]] = []
        """Rank, crowding distance with its sign changed, and result."""

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._space

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A child that is new, as far as that can be known of axes that conditions may leave out."""
        if not self._results:
            return {}
        if not self._parents:
            wanted = min(max(PARENTS[0], len(self._results) // SHARE), PARENTS[1])
            self._parents = best(list(self._results.values()), wanted)
            self._untried = self._around() if self._beside else []
        while self._untried and self._draw.random() < self._beside:
            child = self._untried.pop()
            if frozenset(child.items()) not in self._tried:
                self._tried.add(frozenset(child.items()))
                return child
        child = self._mutated(self._crossed())
        for _ in range(TRIES):
            if frozenset(child.items()) not in self._tried:
                break
            child = self._mutated(child)
        self._tried.add(frozenset(child.items()))
        return child

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        key = frozenset(trial.params.items())
        self._tried.add(key)
        self._space = {**self._space, **trial.distributions}
        if state == TrialState.COMPLETE and values is not None and key not in self._results:
            self._results[key] = _Result(trial.params, tuple(values), sum(trial.constraints.values()))
            self._parents = []

    def _crossed(self) -> Params:
        """What takes after two parents, or after one alone."""
        one, other = self._winner().params, self._winner().params
        if self._draw.random() >= CROSSED:
            return one
        return {**one, **{name: value for name, value in other.items() if self._draw.random() < 0.5}}

    def _mutated(self, params: Params) -> Params:
        """The same with other values here and there, one in the mean."""
        found = dict(params)
        for name, value in params.items():
            if self._draw.random() < 1 / len(params):
                found[name] = self._moved(self._space[name], value)
        return found

    def _around(self) -> list[Params]:
        """What lies one step beside the front and was not tried, in an order drawn at random."""
        met = [result for result in self._results.values() if not result.excess]
        found: dict[Key, Params] = {}
        for i in front([result.score for result in met]):
            params = met[i].params
            for name, value in params.items():
                for other in steps(self._space[name], value):
                    one = {**params, name: other}
                    if (key := frozenset(one.items())) not in self._tried:
                        found[key] = one
        return [list(found.values())[i] for i in self._draw.permutation(len(found))]

    def _winner(self) -> _Result:
        """The better one of two."""
        one, other = (self._parents[int(i)] for i in self._draw.integers(len(self._parents), size=2))
        return one[2] if one[:2] <= other[:2] else other[2]

    def _moved(self, of: BaseDistribution, value: Any) -> Any:
        if isinstance(of, CategoricalDistribution):
            return of.choices[self._draw.integers(len(of.choices))]
        assert isinstance(of, IntDistribution | FloatDistribution)
        whole, low, high = isinstance(of, IntDistribution), float(of.low), float(of.high)
        if self._draw.random() < NEARBY:
            step = self._draw.normal(0.0, SPREAD * (high - low))
            moved = value + step
            if whole:  # a step at least, and from an end inwards
                step = np.copysign(max(1, round(abs(step))), step)
                moved = value + step if low <= value + step <= high else value - step
        elif whole:
            moved = self._draw.integers(of.low, of.high, endpoint=True)  # type: ignore[arg-type]
        else:
            moved = self._draw.uniform(low, high)
        moved = min(max(low, float(moved)), high)
        return int(moved) if whole else moved


def steps(of: BaseDistribution, value: Any) -> list[Any]:
    """The values next to one: of whole numbers the two neighbours, of others a coarse and a fine step each way, and all
    where there is no order."""
    if isinstance(of, CategoricalDistribution):
        return [choice for choice in of.choices if choice != value]
    assert isinstance(of, IntDistribution | FloatDistribution)
    if isinstance(of, IntDistribution):
        sizes = [1.0]
    else:
        sizes = [SPREAD * (of.high - of.low), SPREAD**2 * (of.high - of.low)]
    found = [value + sign * size for size in sizes for sign in (-1, 1)]
    return [type(value)(other) for other in found if of.low <= other <= of.high]


def best(results: Sequence[_Result], wanted: int) -> list[tuple[int, float, _Result]]:
    """The results of the best fronts, of the last one those that stand most alone; then those that miss constraints
    least."""
    left, found = [r for r in results if not r.excess], list[tuple[int, float, _Result]]()
    rank = 0
    while left and len(found) < wanted:
        places = front([result.score for result in left])
        apart = crowding([left[i].score for i in places])
        found += sorted(((rank, -apart[n], left[i]) for n, i in enumerate(places)), key=lambda f: f[:2])
        taken = set(places)
        left = [result for i, result in enumerate(left) if i not in taken]
        rank += 1
    missing = sorted((result for result in results if result.excess), key=lambda result: result.excess)
    found += [(rank + i, 0.0, result) for i, result in enumerate(missing)]
    return found[:wanted]


def crowding(scores: Sequence[Score]) -> list[float]:
    """The crowding distance of each score of a front: the sum over objectives of the distance of its neighbours as a
    share of the whole, without end for the first and the last."""
    found = [0.0] * len(scores)
    for column in zip(*scores, strict=True):
        order = sorted(range(len(column)), key=column.__getitem__)
        width = column[order[-1]] - column[order[0]]
        if not 0 < width < np.inf:
            continue
        found[order[0]] = found[order[-1]] = np.inf
        for before, at, after in zip(order, order[1:], order[2:], strict=False):
            found[at] += (column[after] - column[before]) / width
    return found
