"""How few cycles a product can take if a nest cuts it along its rows and columns alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ...arch.architecture import Architecture
from ...arch.component import CONFLICT, Direction, Memory
from ...components.base import ComputeUnit
from ...errors import BadInput, MappingError
from ...ir import Access, Einsum, Workload, contraction
from ...mapping.constraints import OpConstraint


@dataclass(frozen=True)
class ProductBound:
    """A lower bound on one run of a product O[g,m,n] = sum(k) A[g,m,k] * B[g,k,n], in cycles of the machine's clock.

    Attributes:
        cycles: the larger of the next two.
        compute_cycles: of the unit, for the product as one tile.
        traffic_cycles: of the memory outside the chip, for the bytes below.
        fetches: how often each operand is read from there, A first.
        read_bytes: bytes of the operands, times their fetches.
        write_bytes: bytes of the result.
    """

    cycles: Fraction
    compute_cycles: Fraction
    traffic_cycles: Fraction
    fetches: tuple[int, int]
    read_bytes: int
    write_bytes: int


def uncut(einsum: Einsum) -> OpConstraint:
    """What keeps a nest from cutting the ranks that are reduced and those that all operands carry.

    Raises:
        BadInput: the Einsum is not a contraction.
    """
    parts = contraction(einsum)
    if parts is None:
        raise BadInput(f"{einsum.name}: not a sum of products of two operands")
    return OpConstraint(tiles={rank: einsum.sizes[rank] for rank in (*parts.g, *parts.k)})


def product_bound(workload: Workload, einsum: Einsum, arch: Architecture) -> ProductBound:
    """Bound every nest that keeps to `uncut` and brings all operands from, and its result to, outside the chip.

    Such a nest is a loop over row blocks of A around one over column blocks of B, or the reverse. The operand of the
    outer loop is read once, each block in turn filling at most the memory it is held in, and the other one is read
    again for every such block unless it is held whole. So an operand is fetched anew only where both exceed their
    memories, and then ceil(bytes of the other one / capacity) times, whichever is cheaper. Blocks may end anywhere: a
    nest has whole rows and columns in its tiles, and with them at least as many blocks.

    The compute bound takes for granted that cutting a product makes no unit faster, which holds for units whose cycles
    are products of rounded-up folds. Of several units and variants, the one with the lowest bound counts.

    Args:
        workload: whose tensors the Einsum names.
        einsum: a contraction.
        arch: a machine whose units are fed by memories on the chip.

    Raises:
        BadInput: the Einsum is not a contraction.
        MappingError: no unit can run it.
        UnsupportedPrecision, UnsupportedSparsity: a unit does not compute with such operands.
    """
    uncut(einsum)
    accesses = (*einsum.inputs, einsum.output)
    bits = [workload.tensors[a.tensor].bits for a in accesses]
    densities = [workload.tensors[a.tensor].density for a in einsum.inputs]
    extents = {rank: np.array([size]) for rank, size in einsum.sizes.items()}
    found: list[ProductBound] = []
    for unit in arch.units.values():
        if not isinstance(unit, ComputeUnit):
            continue
        a, b, out = (_bytes(workload, einsum, access) for access in accesses)
        holders = [arch.memories[name] for name in unit.feeds(2)]
        fetches = _fetches(a, b, holders[0].capacity, holders[1].capacity)
        reads = a * fetches[0] + b * fetches[1]
        traffic = _traffic_cycles(reads, out, _outside(holders[0], arch), arch)
        for option in unit.spatial_options(einsum):
            cost = unit.over(einsum, densities).cost(einsum, option, extents, bits)
            waits = cost.actions.get(CONFLICT)  # smaller tiles lie closer together, and may have none
            cycles = int(cost.cycles[0]) - (0 if waits is None else int(waits[0]))
            compute = cycles * Fraction(arch.clock) / Fraction(unit.clock_hz)
            found.append(ProductBound(max(compute, traffic), compute, traffic, fetches, reads, out))
    if not found:
        raise MappingError(f"no unit of {arch.name} can run {einsum.name}")
    return min(found, key=lambda bound: bound.cycles)


def _fetches(a: int, b: int, room_a: int, room_b: int) -> tuple[int, int]:
    if a <= room_a or b <= room_b:
        return 1, 1
    again_a, again_b = -(-b // room_b), -(-a // room_a)
    return (again_a, 1) if a * again_a + b <= a + b * again_b else (1, again_b)


def _bytes(workload: Workload, einsum: Einsum, access: Access) -> int:
    """Bytes that an access touches."""
    tensor = workload.tensors[access.tensor]
    elements = 1
    for index, size in zip(access.indices, tensor.shape, strict=True):
        elements *= min(size, index.count(einsum.sizes))
    return tensor.bytes_of(elements)


def _outside(holder: Memory, arch: Architecture) -> Memory:
    """The nearest memory outside the chip."""
    while holder.on_chip:
        if holder.parent is None:
            raise BadInput(f"machine {arch.name}: no memory outside the chip behind {holder.name}")
        holder = arch.memories[holder.parent]
    return holder


def _traffic_cycles(reads: int, writes: int, memory: Memory, arch: Architecture) -> Fraction:
    ports: dict[str, tuple[float, int]] = {}
    amounts: Mapping[Direction, int] = {"read": reads, "write": writes}
    for direction, amount in amounts.items():
        port = memory.port(direction)
        if port is not None:
            ports[port[0]] = port[1], amount + ports.get(port[0], (0.0, 0))[1]
    return max((amount * Fraction(arch.clock) / Fraction(rate) for rate, amount in ports.values()), default=Fraction(0))
