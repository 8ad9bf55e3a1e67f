"""Which points of a contraction a spatial array may work on side by side, and which of those ways take fewest steps."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Literal, TypeAlias

import numpy as np

from ..arch.layout import Layout, Spread
from ..ir import Einsum
from ..ir.roles import RankRole, rank_roles
from .base import IntArray

Shares: TypeAlias = Literal["any", "factors"]
KEPT = 64
"""Choices for one dimension, and for all dimensions up to one, that are looked at further."""
_Choice: TypeAlias = tuple[tuple[str, int], ...]
"""(rank, factor) along one dimension."""


@dataclass(frozen=True)
class SpreadRules:
    """What an array allows to lie side by side; the keys of the same names of `SpatialArray` say more."""

    dimensions: Mapping[str, int]
    spread: Mapping[str, tuple[RankRole, ...]]
    fill: Mapping[str, tuple[RankRole, ...]]
    shares: Shares
    through: Mapping[RankRole, RankRole]
    sums: tuple[str, ...] | None

    def able(self, dimension: str) -> tuple[RankRole, ...] | None:
        """Roles of ranks that may lie along a dimension; None for all."""
        if dimension not in self.spread:
            return None
        return tuple(dict.fromkeys((*self.fill.get(dimension, ()), *self.spread[dimension])))

    def adds(self, rank: str, einsum: Einsum, dimension: str) -> bool:
        """Whether the results of a rank's points can be added up along a dimension, where they must be."""
        return rank in einsum.output.ranks or self.sums is None or dimension in self.sums

    def outer(self, rank: str, einsum: Einsum, roles: Mapping[str, RankRole]) -> str | None:
        """The rank into whose next index the spread of a rank runs on."""
        wanted = self.through.get(roles[rank])
        found = [r for r in einsum.sizes if roles[r] == wanted and einsum.sizes[r] > 1]
        return found[-1] if found else None


def best_spreads(
    rules: SpreadRules, einsum: Einsum, count: int, fixed: Mapping[str, Collection[str]] | None = None
) -> list[tuple[Spread, ...]]:
    """So many ways with the fewest steps for the whole Einsum, best first, among equals those of fewest ranks.

    Along every dimension lie first the ranks that fill it, then at most two more. None if it is not a contraction.

    Args:
        rules: of the array.
        einsum: what is computed.
        count: of ways, at most.
        fixed: dimension to the ranks that must lie along it, all of them and no others.
    """
    search = _Search(rules, einsum, fixed or {}) if rank_roles(einsum) else None
    return [] if search is None else search.best(count)


class _Search:
    def __init__(self, rules: SpreadRules, einsum: Einsum, fixed: Mapping[str, Collection[str]]) -> None:
        self.rules, self.einsum, self.roles = rules, einsum, rank_roles(einsum)
        self.ranks = list(einsum.sizes)
        self.sizes = np.array([einsum.sizes[r] for r in self.ranks], np.int64)
        self.outer = {r: o for r in self.ranks if (o := rules.outer(r, einsum, self.roles)) is not None}
        self.fixed = {d: set(ranks) for d, ranks in fixed.items()}
        self.filled = self._filled()

    def best(self, count: int) -> list[tuple[Spread, ...]]:
        """Dimension by dimension; of all there are so far, the best are carried on."""
        alone = self._alone()
        if alone is not None:
            return [alone][:count]
        factors = np.array([prod(f for c in self.filled.values() for s, f in c if s == r) for r in self.ranks])[None]
        ways: list[tuple[_Choice, ...]] = [()]
        for dimension, size in self.rules.dimensions.items():
            used = prod(f for _, f in self.filled[dimension])
            choices = self._choices(dimension, size // used)
            if not choices:
                return []
            matrix = np.array([[dict(c).get(r, 1) for r in self.ranks] for c in choices], np.int64)
            rank = self._ranked(matrix * factors[:1], [len(c) for c in choices])[:KEPT]
            choices, matrix = [choices[i] for i in rank], matrix[rank]
            joined = (factors[:, None, :] * matrix[None, :, :]).reshape(-1, len(self.ranks))
            lengths = np.add.outer([sum(map(len, w)) for w in ways], [len(c) for c in choices]).ravel()
            last = dimension == list(self.rules.dimensions)[-1]
            rank = self._ranked(joined, lengths)[: max(KEPT, 4 * count) if last else KEPT]
            ways = [(*ways[i // len(choices)], choices[i % len(choices)]) for i in rank]
            factors = joined[rank]
        return self._widest(s for s in dict.fromkeys(map(self._spreads, ways)) if self._keeps(s))[:count]

    def _alone(self) -> tuple[Spread, ...] | None:
        """The one way that is as wide as any in every rank, where no dimension can do but with one rank of its own."""
        if self.fixed or self.outer or any(self.filled.values()):
            return None
        able = [self._able(d) for d in self.rules.dimensions]
        ranks = [r for found in able for r in found]
        if any(len(found) > 1 for found in able) or len(set(ranks)) < len(ranks):
            return None
        rooms = zip(able, self.rules.dimensions.items(), strict=True)
        return tuple(Spread(r, d, min(self.einsum.sizes[r], n)) for found, (d, n) in rooms for r in found if n > 1)

    def _able(self, dimension: str) -> list[str]:
        """Ranks that may lie along a dimension."""
        roles = self.rules.spread.get(dimension)
        return [
            r
            for r in self.ranks
            if self.einsum.sizes[r] > 1
            and (roles is None or self.roles[r] in roles)
            and self.rules.adds(r, self.einsum, dimension)
        ]

    def _widest(self, ways: Iterable[tuple[Spread, ...]]) -> list[tuple[Spread, ...]]:
        """Those that are not narrower in every rank than one before: such a one takes no fewer steps and shares no
        more."""
        found: dict[tuple[Spread, ...], tuple[int, ...]] = {}
        for spreads in ways:
            factors = tuple(Layout(spreads).factor(r) for r in self.ranks)
            if not any(factors != f and all(a <= b for a, b in zip(factors, f, strict=True)) for f in found.values()):
                found[spreads] = factors
        return list(found)

    def _keeps(self, spreads: tuple[Spread, ...]) -> bool:
        """Whether they lie as they must."""
        return all({s.rank for s in spreads if s.dimension == d} == ranks for d, ranks in self.fixed.items())

    def _filled(self) -> dict[str, _Choice]:
        """What lies along the dimensions in any case."""
        left = dict(self.einsum.sizes)
        found: dict[str, _Choice] = dict.fromkeys(self.rules.dimensions, ())
        for dimension, wanted in self.rules.fill.items():
            room = self.rules.dimensions[dimension]
            for rank in (r for role in wanted for r in self.ranks if self.roles[r] == role):
                factor = min(left[rank], room)
                if factor > 1 and self.rules.adds(rank, self.einsum, dimension):
                    found[dimension] = (*found[dimension], (rank, factor))
                    left[rank], room = -(-left[rank] // factor), room // factor
        return found

    def _choices(self, dimension: str, room: int) -> list[_Choice]:
        """What may lie along a dimension beside that."""
        sizes, able = self.einsum.sizes, self._able(dimension)
        found: dict[_Choice, None] = {(): None}
        for r in able if room > 1 else ():
            whole = min(sizes[r], room)
            found[(r, whole),] = None
            if self.rules.shares == "factors":
                parts = [f for f in range(2, room) if room % f == 0]
            else:
                parts = list(dict.fromkeys((whole, *(f for f in range(2, whole) if sizes[r] % f == 0))))
            for first in parts:
                for other in able:
                    rest = min(sizes[other], room // first)
                    if other != r and rest > 1:
                        found[(r, min(sizes[r], first)), (other, rest)] = None
        if dimension not in self.fixed:
            return list(found)
        filled = {r for r, _ in self.filled[dimension]}
        return [c for c in found if filled | {r for r, _ in c} == self.fixed[dimension]]

    def _ranked(self, factors: IntArray, lengths: object) -> list[int]:
        steps = -(-self.sizes // factors)
        total = steps.prod(axis=1)
        for rank, outer in self.outer.items():
            i, o = self.ranks.index(rank), self.ranks.index(outer)
            through = -(-self.sizes[i] * self.sizes[o] // np.minimum(factors[:, i], self.sizes[i]))
            apart = steps[:, i] * steps[:, o]
            total = np.where(factors[:, o] == 1, total // apart * through, total)
        return [int(i) for i in np.lexsort((np.asarray(lengths), total))]

    def _spreads(self, way: tuple[_Choice, ...]) -> tuple[Spread, ...]:
        """The spreads of one way; none is longer than what others left of its rank."""
        left, found = dict(self.einsum.sizes), []
        for fixed in (True, False):
            for (dimension, before), chosen in zip(self.filled.items(), way, strict=True):
                for rank, factor in before if fixed else chosen:
                    factor = min(factor, left[rank])
                    left[rank] = -(-left[rank] // factor)
                    if factor > 1:
                        found.append(Spread(rank, dimension, factor))
        factors = {r: prod(s.factor for s in found if s.rank == r) for r in self.ranks}
        for i, s in enumerate(found):
            outer, size = self.outer.get(s.rank), self.einsum.sizes[s.rank]
            if outer is not None and factors[outer] == 1 and size % min(size, factors[s.rank]):
                found[i] = Spread(s.rank, s.dimension, s.factor, outer)
        return tuple(found)
