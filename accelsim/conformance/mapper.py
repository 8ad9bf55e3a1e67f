"""Tests that every mapper has to pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from ..arch.architecture import Architecture
from ..errors import ConstraintError, DoesNotFit, MappingError, SpecError
from ..ir import Workload
from ..lowering import lower
from ..mapping import dumps_mapping, loads_mapping
from ..mapping.machine_bound import machine_bound
from ..mapping.replay import replay
from ..mapping.tree import Mapping
from ..mapping.validate import validate
from ..report.cautions import moved_bytes
from ..simulation import OBJECTIVES, Mapper, run_program, simulate

SLACK = 1 + 1e-9


class MapperConformance(ABC):
    """Derive from it, say which mapper, and what it maps onto what."""

    @abstractmethod
    def mapper(self) -> Mapper:
        """The mapper."""

    @abstractmethod
    def cases(self) -> Sequence[tuple[Workload, Architecture]]:
        """Models that it can map, and machines for them."""

    def test_its_mappings_are_valid_and_two_counts_of_their_bytes_agree(self) -> None:
        for workload, arch in self.cases():
            mapping = self.mapped(workload, arch)
            assert not validate(mapping, workload, arch)
            replayed = replay(mapping, workload, arch)
            trace = run_program(lower(arch, workload, mapping))
            assert moved_bytes(trace) == {key: n for key, n in replayed.traffic_bytes.items() if n}

    def test_both_kernels_agree(self) -> None:
        for workload, arch in self.cases():
            mapping = self.mapped(workload, arch)
            reports = [simulate(arch, workload, mapping=mapping, kernel=kernel) for kernel in ("compiled", "reference")]
            assert reports[0].cycles == reports[1].cycles
            assert reports[0].energy_J == reports[1].energy_J

    def test_no_result_is_below_the_bound(self) -> None:
        for workload, arch in self.cases():
            report = simulate(arch, workload, mapping=self.mapped(workload, arch))
            bound = machine_bound(workload, arch)
            assert bound.cycles <= report.cycles * SLACK
            assert bound.energy_J <= report.energy_J * SLACK

    def test_the_claim_says_what_and_how_good(self) -> None:
        for workload, arch in self.cases():
            for objective in OBJECTIVES:
                try:
                    claim = self.mapped(workload, arch, objective).claim
                except ConstraintError:  # an objective that the mapper does not know
                    continue
                assert claim is not None, "a Mapping carries the mapper's Claim"
                assert claim.objective == objective
                assert 0 < claim.bound <= claim.value * SLACK
                assert abs(claim.gap - (claim.value - claim.bound) / claim.value) < 1e-9

    def test_it_is_deterministic(self) -> None:
        for workload, arch in self.cases():
            one, two = (dumps_mapping(self.mapped(workload, arch)) for _ in range(2))
            assert _without_times(one) == _without_times(two)

    def test_a_mapping_survives_its_file(self) -> None:
        for workload, arch in self.cases():
            mapping = self.mapped(workload, arch)
            again = loads_mapping(dumps_mapping(mapping))
            assert (again.root, again.stays, again.moves) == (mapping.root, mapping.stays, mapping.moves)

    def test_a_machine_that_is_too_small_is_named(self) -> None:
        """With one byte of memory outside the chip, the error says what does not fit, and is no other."""
        for workload, arch in self.cases():
            small = {
                name: memory.model_copy(update={"capacity": 1}) if not memory.on_chip else memory
                for name, memory in arch.memories.items()
            }
            tiny = Architecture(arch.name, arch.clock, small, arch.units, arch.links)
            try:
                mapping = self.mapped(workload, tiny)
                replay(mapping, workload, tiny)
            except (DoesNotFit, MappingError, SpecError) as error:
                assert any(name in str(error) for name in arch.memories), "the message names the memory"
            else:
                raise AssertionError("a memory of one byte was taken to be large enough")

    def mapped(self, workload: Workload, arch: Architecture, objective: str = "latency") -> Mapping:
        """The mapper's answer."""
        return self.mapper()(workload, arch, objective=objective, seed=0, constraints=None)


def _without_times(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if "seconds" not in line)
