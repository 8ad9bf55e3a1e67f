"""What the operators of a Workload count: multiply-accumulates, parameters, and the feature maps of convolutions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from .einsum import Einsum
from .operators import count_operations
from .workload import Role, Workload, contraction_of


@dataclass(frozen=True)
class OperatorCounts:
    """Counts of one Einsum over all the times it runs.

    Attributes:
        name: of the Einsum.
        kind: what the model called it.
        times: how often it runs.
        macs: multiply-accumulates.
        parameters: elements of the weights that no Einsum before it reads. Tables of rotary embedding are weights too,
            a row of cosines and one of sines per token.
        input_elements: of the feature map that a convolution reads; 0 for other operators.
        output_elements: of the feature map that it writes; 0 for other operators.
    """

    name: str
    kind: str
    times: int
    macs: int
    parameters: int
    input_elements: int
    output_elements: int

    @property
    def cio(self) -> int:
        """Convolutional input and output in elements (Chao et al., arXiv:1909.00948, equation 1)."""
        return self.input_elements + self.output_elements

    @property
    def macs_per_cio(self) -> float | None:
        """Multiply-accumulates per element of feature map; None for what is no convolution."""
        return self.macs / self.cio if self.cio else None


def operator_counts(workload: Workload) -> tuple[OperatorCounts, ...]:
    """The counts of every Einsum, in order.

    A convolution counts the whole tensor that it reads (also where a stride skips elements of it, and what several
    tensors were joined into) and what it writes. Convolutions of every kind count: pointwise, depthwise, those of
    shortcuts, and transposed ones, which read their input once though several Einsums make them up. Fully connected
    layers do not.
    """
    copies = workload.copies()
    read: set[str] = set()
    convolved: set[tuple[str, str, str]] = set()
    found = []
    for einsum, times in workload.einsums():
        weights = {workload.origin(a.tensor) for a in einsum.inputs} - read
        weights = {name for name in weights if workload.tensors[name].role is Role.WEIGHT}
        read |= weights
        parameters = sum(workload.tensors[name].elements * copies[name] for name in weights)
        taken, given = _feature_maps(einsum, workload, convolved)
        macs = count_operations(einsum).macs * times
        found.append(OperatorCounts(einsum.name, einsum.kind, times, macs, parameters, taken * times, given * times))
    return tuple(found)


def total_counts(name: str, counts: Iterable[OperatorCounts]) -> OperatorCounts:
    """The sums of counts, under a name."""
    some = tuple(counts)
    return OperatorCounts(
        name, "", 1, sum(c.macs for c in some), sum(c.parameters for c in some),
        sum(c.input_elements for c in some), sum(c.output_elements for c in some),
    )  # fmt: skip


def _feature_maps(einsum: Einsum, workload: Workload, convolved: set[tuple[str, str, str]]) -> tuple[int, int]:
    """Elements that a convolution reads and writes; zeros for other Einsums.

    A convolution slides a filter over its input: an index adds a rank that it keeps, which the filter does not have, to
    a rank that it reduces.
    """
    sorted_ranks = contraction_of(einsum, workload)
    if sorted_ranks is None:
        return 0, 0
    source, filters = einsum.inputs[sorted_ranks.a], einsum.inputs[sorted_ranks.b]
    slid = set(sorted_ranks.m)
    if not any(slid & set(i.ranks) and set(sorted_ranks.k) & set(i.ranks) for i in source.indices):
        return 0, 0
    whole = (source.tensor, filters.tensor, einsum.output.tensor)
    taken = 0 if whole in convolved else workload.tensors[source.tensor].elements
    convolved.add(whole)
    return taken, prod(einsum.sizes[rank] for rank in einsum.sizes if rank in einsum.output.ranks)
