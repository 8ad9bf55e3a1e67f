"""The rows of a Report's tables."""

from __future__ import annotations

from dataclasses import dataclass

WAITS = ("data", "space", "pool", "server", "drain")
"""What an operator waits for while its unit does not compute: the engine's causes of stalls, and its last stores."""


@dataclass(frozen=True)
class CountRow:
    """How often an action was done on behalf of an operator, and its energy.

    Attributes:
        category: ``memory``, ``unit`` or ``link``.
        tensor: empty for the actions of units.
        role: the tensor's role in the Workload; ``compute`` for the actions of units.
        count: bytes of reads, writes and transfers, cycles of leakage, else operations.
        crosses_edge: bytes of a memory outside the chip that come from, or go to, the chip.

    A row of leakage has that word as its action and role, and an empty operator: the power of a component over the
    whole run.
    """

    component: str
    category: str
    action: str
    operator: str
    tensor: str
    role: str
    count: int
    energy_J: float  # noqa: N815
    crosses_edge: bool = False


@dataclass(frozen=True)
class OperatorRow:
    """One Einsum of the Workload, all its runs taken together; times in cycles of the machine's clock.

    Attributes:
        name: of the Einsum.
        kind: what the model calls it.
        runs: how often it runs.
        unit: where it computes; several joined by ``+``.
        cycles: its share of the latency; the shares of all operators add up to the latency (see `report.times`).
        busy_cycles: in service on its unit (the longest of them, if several).
        start_cycle: start of its first firing, loads included.
        end_cycle: end of its last firing, stores included.
        macs: of the Workload; recomputation not counted.
        operations: of every cost class, a mac being one.
        energy_J: dynamic, of all that was done on its behalf; leakage belongs to no operator.
        off_chip_read_bytes: read from memories outside the chip onto it; moves among them are not in it.
        off_chip_write_bytes: written to them.
        intensity: operations per off-chip byte; None when there are no such bytes.
        utilization: MACs that its units did over their peak during `cycles`, or while they served it where that is
            longer (operators that overlap share their common time); None without a peak.
        limit: the component that served it longest.
        limit_cycles: how long.
        wait_data: with the next four, the part of `cycles` in which its unit did not compute: for operands,
        wait_space: for room for results,
        wait_pool: for bytes of a shared pool,
        wait_server: for its unit, busy with others,
        wait_drain: for its last results to be stored.
    """

    name: str
    kind: str
    runs: int
    unit: str
    cycles: float
    busy_cycles: float
    start_cycle: float
    end_cycle: float
    macs: int
    operations: int
    energy_J: float  # noqa: N815
    off_chip_read_bytes: int
    off_chip_write_bytes: int
    intensity: float | None
    utilization: float | None
    limit: str
    limit_cycles: float
    wait_data: float
    wait_space: float
    wait_pool: float
    wait_server: float
    wait_drain: float


@dataclass(frozen=True)
class StallRow:
    """What the actors of one operator on one component did with the time, in cycles.

    `before` is the time before the operator's first firing, `after` that after the last firing; for one actor the rest
    is served (`busy`) or waited for a cause, so that all columns add up to the latency times `actors`.
    """

    operator: str
    component: str
    role: str
    tensor: str
    actors: int
    firings: int
    before: float
    busy: float
    data: float
    space: float
    pool: float
    server: float
    after: float


@dataclass(frozen=True)
class ComponentRow:
    """A component: busy time of its busiest server (a port, a unit, a link), what it did, its energy.

    `idle` is the cause for which the actors on it waited most while it was free, empty if they never did. `energy_J`
    is dynamic energy and leakage together; `leakage_J` and `area_mm2` are None where the machine does not give them.
    """

    name: str
    category: str
    busy_cycles: float
    busy: float
    idle: str
    macs: int
    read_bytes: int
    write_bytes: int
    transfer_bytes: int
    energy_J: float  # noqa: N815
    leakage_J: float | None = None  # noqa: N815
    area_mm2: float | None = None


@dataclass(frozen=True)
class TierRow:
    """A memory, outermost first.

    `peak_bytes` is the most held at once, where the Program has a pool for it; `busy` the part of the latency in which
    its busiest port served, where it has a server (the ports of a buffer may hide behind what they feed). `energy_J`
    is dynamic energy and leakage together.
    """

    memory: str
    on_chip: bool
    capacity_bytes: int
    peak_bytes: int | None
    read_bytes: int
    write_bytes: int
    bytes_per_s: float
    busy: float | None
    energy_J: float  # noqa: N815


@dataclass(frozen=True)
class TensorRow:
    """A stored tensor, all its instances together. `compulsory_bytes` cross the chip's edge in every Mapping, but for
    what a unit inside an off-chip memory reads or writes there.

    `energy_J` is the dynamic energy of the memories and links that moved it.
    """

    tensor: str
    role: str
    bytes: int
    compulsory_bytes: int
    off_chip_read_bytes: int
    off_chip_write_bytes: int
    on_chip_read_bytes: int
    on_chip_write_bytes: int
    energy_J: float  # noqa: N815
