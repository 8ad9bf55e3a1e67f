"""Tests that every compute unit has to pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from ..arch.architecture import Architecture
from ..components.base import ComputeUnit, Cost, SpatialOption
from ..components.buffer import Buffer
from ..components.dram import Dram
from ..ir import Einsum, count_operations

BITS = 8


class ComponentConformance(ABC):
    """Derive from it, say which unit, and which Einsums it runs."""

    @abstractmethod
    def unit(self) -> ComputeUnit:
        """A unit whose `memory` is ``sram``."""

    @abstractmethod
    def einsums(self) -> Sequence[Einsum]:
        """Einsums that it can run."""

    def machine(self) -> Architecture:
        """A machine around the unit: an SRAM with all the bandwidth there is, behind a DRAM."""
        memories = {
            "dram": Dram(capacity=2**34, bandwidth=1e12, read_energy=1e-12, write_energy=1e-12),
            "sram": Buffer(capacity=2**26, parent="dram", bandwidth=1e15, read_energy=1e-13, write_energy=1e-13),
        }
        return Architecture("conformance", 1e9, memories, {"unit": self.unit()})

    def test_its_keys_are_documented(self) -> None:
        for name, info in type(self.unit()).model_fields.items():
            assert info.description or name == "kind", f"the key `{name}` has no description"

    def test_it_runs_what_it_says(self) -> None:
        unit = self.bound()
        assert self.einsums(), "einsums() gives nothing to test with"
        for einsum in self.einsums():
            options = unit.spatial_options(einsum)
            assert options, f"no way to run {einsum.name}"
            assert len({(option.variant, option.layout) for option in options}) == len(options)

    def test_costs_are_whole_and_none_is_negative(self) -> None:
        for einsum, option in self.cases():
            cost = self.cost(einsum, option, 3)
            for amounts in (cost.cycles, cost.latency, *cost.reads, cost.writes, cost.partial_reads,
                            *cost.actions.values()):  # fmt: skip
                assert amounts.shape == (3,), "one entry per candidate"
                assert amounts.dtype.kind == "i"
                assert (amounts >= 0).all()
            assert (cost.cycles >= 1).all()
            assert len(cost.reads) == len(einsum.inputs)

    def test_candidates_do_not_see_each_other(self) -> None:
        """The cost of two tiles at once is that of each by itself."""
        for einsum, option in self.cases():
            both = self.cost(einsum, option, 2)
            one = self.cost(einsum, option, 1)
            assert both.cycles[0] == one.cycles[0]
            assert all(a[0] == b[0] for a, b in zip(both.reads, one.reads, strict=True))

    def test_it_is_never_faster_than_its_peak(self) -> None:
        unit = self.bound()
        rates = unit.peak_rates()
        for einsum, option in self.cases():
            cycles = int(self.cost(einsum, option, 1).cycles[0])
            for cost_class, n in count_operations(einsum).counts.items():
                assert n <= rates[cost_class] * cycles * (1 + 1e-9), f"{cost_class} of {einsum.name}"

    def test_every_action_has_an_energy(self) -> None:
        energies = self.bound().action_energy()
        for einsum, option in self.cases():
            missing = set(self.cost(einsum, option, 1).actions) - set(energies)
            assert not missing, f"no energy of {', '.join(sorted(missing))}"
        assert all(energy >= 0 for energy in energies.values())

    def test_bits_make_bytes(self) -> None:
        """Twice the bits are read as twice the bytes or more."""
        for einsum, option in self.cases():
            narrow, wide = (self.cost(einsum, option, 1, bits) for bits in (BITS, 2 * BITS))
            assert all(w[0] >= 2 * n[0] for n, w in zip(narrow.reads, wide.reads, strict=True))

    def bound(self) -> ComputeUnit:
        """The unit in its machine."""
        unit = self.machine().units["unit"]
        assert isinstance(unit, ComputeUnit)
        return unit

    def cases(self) -> list[tuple[Einsum, SpatialOption]]:
        """Every Einsum with every way to run it."""
        return [(einsum, option) for einsum in self.einsums() for option in self.bound().spatial_options(einsum)]

    def cost(self, einsum: Einsum, option: SpatialOption, candidates: int, bits: int = BITS) -> Cost:
        """Cost of the whole Einsum, of a half of every rank, of single points: so many of these."""
        extents = {
            rank: np.array([n, max(1, n // 2), 1][:candidates], np.int64) for rank, n in einsum.sizes.items()
        }  # fmt: skip
        return self.bound().cost(einsum, option, extents, [bits] * (len(einsum.inputs) + 1))
