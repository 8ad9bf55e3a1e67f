"""The whole path in one call: Architecture and Workload to Report."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from importlib.metadata import EntryPoint, entry_points
from inspect import signature
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, get_args

from .arch.architecture import Architecture
from .collector import uncollected
from .errors import AccelsimError, BadInput, SpecError
from .ir import Workload
from .mapping.constraints import Constraints
from .mapping.tree import Mapping

if TYPE_CHECKING:
    from .engine.program import Program
    from .engine.trace import Trace
    from .report import Report

MAPPER_GROUP = "accelsim.mappers"
FLOOR_GROUP = "accelsim.floors"
Floor: TypeAlias = Callable[[Workload, Architecture], tuple[float, float]]
"""Cycles, and joules of action, below which no Mapping of one mapper comes, for any objective and constraints."""
OBJECTIVES = ("latency", "energy", "edp")
Kernel = Literal["compiled", "reference"]
MOST_POINTS = 2**62


class Mapper(Protocol):
    """What a mapper is: a function registered under the entry-point group ``accelsim.mappers``.

    One that can end its search early may also take ``budget_s``, in seconds, and then returns the best Mapping so far;
    one that bounds what it will find while it works, ``watch`` (see `simulate`).
    """

    def __call__(
        self,
        workload: Workload,
        arch: Architecture,
        *,
        objective: str = "latency",
        seed: int = 0,
        constraints: Constraints | None = None,
    ) -> Mapping: ...


def mapper_names() -> list[str]:
    """Names of the registered mappers, sorted."""
    return sorted({e.name for e in entry_points(group=MAPPER_GROUP)})


@lru_cache
def load_mapper(name: str) -> Mapper:
    """The mapper of that name; ``auto`` is the tile mapper here, where no machine is known (see `auto_mapper`).

    Raises:
        BadInput: there is none.
    """
    entry = entry_of(MAPPER_GROUP, "tile" if name == "auto" else name)
    if entry is None:
        raise BadInput(f"no mapper {name!r}; there are auto, {', '.join(mapper_names())}")
    mapper: Mapper = entry.load()
    return mapper


@lru_cache
def load_floor(name: str) -> Floor | None:
    """The floor that a mapper publishes under its own name in the entry-point group ``accelsim.floors``, if any."""
    entry = entry_of(FLOOR_GROUP, name)
    floor: Floor | None = entry.load() if entry is not None else None
    return floor


def entry_of(group: str, name: str) -> EntryPoint | None:
    """The first entry point of that name in a group, if any."""
    return next((entry for entry in entry_points(group=group) if entry.name == name), None)


def check_objective(objective: str) -> None:
    """Raise BadInput for an objective that no mapper knows."""
    if objective not in OBJECTIVES:
        raise BadInput(f"no objective {objective!r}; there are {', '.join(OBJECTIVES)}")


def run_program(program: Program, *, kernel: Kernel = "compiled", record: int = 0) -> Trace:
    """Run a Program on the compiled or the reference kernel, recording up to `record` firings."""
    if kernel == "compiled":
        from .engine import compiled

        return compiled.run(program, record=record) if record else compiled.trace_of(program)
    from .engine import reference

    return reference.run(program, record=record)


def auto_mapper(arch: Architecture) -> str:
    """The mapper that a unit of the machine asks for, else the tile mapper."""
    return next((u.mapper for _, u in sorted(arch.units.items()) if u.mapper), "tile")


def limited(mapper: str, budget_s: float) -> Mapper:
    """A mapper with a limit of time. Raises BadInput for a limit below 0, or a mapper that takes none."""
    if not budget_s >= 0:
        raise BadInput(f"a limit of {budget_s} seconds: 0 or more")
    if not _takes(mapper, "budget_s"):
        able = [name for name in mapper_names() if _takes(name, "budget_s")]
        raise BadInput(f"mapper {mapper!r} has no limit of time; those that have: {', '.join(able)}")
    return partial(load_mapper(mapper), budget_s=budget_s)  # type: ignore[call-arg]


def copying(mapper: str, search: Mapper) -> Mapper:
    """A mapper that may copy tensors within the on-chip memory. Raises BadInput for one that plans no copies."""
    if not _takes(mapper, "copies"):
        able = [name for name in mapper_names() if _takes(name, "copies")]
        raise BadInput(f"mapper {mapper!r} plans no copies within a memory; those that do: {', '.join(able)}")
    return partial(search, copies=True)  # type: ignore[call-arg]


def _takes(mapper: str, option: str) -> bool:
    return option in signature(load_mapper(mapper)).parameters


def _check_arguments(arch: object, workload: object, kernel: str) -> None:
    for given, wanted, maker in ((arch, Architecture, "load_architecture"), (workload, Workload, "load_model")):
        if not isinstance(given, wanted):
            kind = wanted.__name__
            raise BadInput(f"simulate takes the machine, then the model: {type(given).__name__} is no {kind} ({maker} "
                           f"makes one of a name or a file)")  # fmt: skip
    if kernel not in get_args(Kernel):
        raise BadInput(f"no kernel {kernel!r}; there are {', '.join(get_args(Kernel))}")


def _check_points(workload: Workload) -> None:
    """Refuse Einsums whose counts would pass the 64 bits of the arrays that mappers and kernels reckon in."""
    for einsum, _ in workload.einsums():
        if einsum.points > MOST_POINTS:
            raise BadInput(f"{workload.name}: {einsum.name} has {einsum.points:.3g} points, more than 2^62, and counts "
                           "of them would overflow; simulate a part of it")  # fmt: skip


@uncollected()
def simulate(
    arch: Architecture,
    workload: Workload,
    *,
    mapper: str = "auto",
    objective: str = "latency",
    mapping: Mapping | None = None,
    constraints: Constraints | None = None,
    kernel: Kernel = "compiled",
    record: int = 0,
    seed: int = 0,
    budget_s: float | None = None,
    watch: Callable[[float, float], None] | None = None,
    tables: bool = True,
    copies: bool = False,
) -> Report:
    """Map a Workload onto a machine, run it, and report.

    Args:
        arch: the machine.
        workload: the model.
        mapper: name of a registered mapper.
        objective: ``latency``, ``energy`` or ``edp``.
        mapping: replay this one instead of calling a mapper.
        constraints: what the mapper must keep to.
        kernel: ``compiled`` or ``reference``.
        record: firings to list in the Trace, for time lines.
        seed: for mappers that choose at random.
        budget_s: seconds after which a mapper that can do so ends its search with the best Mapping so far.
        watch: told by a mapper that can do so, while it works, of cycles of the machine's clock and joules of action
            that the run will take at least. What it raises ends the simulation.
        tables: whether the Report has rows of operators and tensors, and a provenance.
        copies: a mapper that can plan so may copy tensors within the on-chip memory.

    Raises:
        BadInput: there is no such mapper, objective or kernel, the mapper has no limit of time, or plans no copies,
            names stand in place of the machine and the model, or an Einsum has more points than can be counted.
        SpecError: the Mapping or the constraints name what is not there; all such places at once.
        DoesNotFit: a memory is too small.
        MappingError: the Mapping cannot work, or constraints cannot be honoured.
    """
    from .lowering import lower
    from .mapping.replay import replay
    from .mapping.unlike import unlike
    from .mapping.validate import validate
    from .report import make_report
    from .report.cautions import cautions, moved_bytes, one_by_one

    _check_arguments(arch, workload, kernel)
    _check_points(workload)
    check_objective(objective)
    if mapping is not None:
        problems = validate(mapping, workload, arch)
    else:
        problems = constraints.problems(workload, arch) if constraints is not None else []
    if problems:
        raise SpecError(problems)
    given = unlike(mapping, workload, arch) if mapping is not None else []
    chosen = auto_mapper(arch) if mapper == "auto" else mapper
    by_default = mapping is None and mapper == "auto" and chosen == "tile"
    if mapping is None:
        search = load_mapper(chosen) if budget_s is None else limited(chosen, budget_s)
        if copies:
            search = copying(chosen, search)
        if watch is not None and _takes(chosen, "watch"):
            search = partial(search, watch=watch)  # type: ignore[call-arg]
        mapping = search(workload, arch, objective=objective, seed=seed, constraints=constraints)
    replayed = replay(mapping, workload, arch)
    program = lower(arch, workload, mapping)
    trace = run_program(program, kernel=kernel, record=record)
    counted = moved_bytes(trace)
    if counted != {key: n for key, n in replayed.traffic_bytes.items() if n}:
        raise AccelsimError(
            f"the replay of the Mapping and its simulation count different bytes, please report it: "
            f"{dict(replayed.traffic_bytes)} and {counted}"
        )
    alone = one_by_one(arch, workload, trace) if by_default and tables else []
    notes = (*given, *cautions(arch, workload, mapping, trace, replayed.macs), *alone)
    return make_report(arch, workload, mapping, program, trace, notes=notes, tables=tables)
