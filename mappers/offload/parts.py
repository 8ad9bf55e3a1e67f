"""A generating model as parts that run one after the other: bytes and operations of each, from its Workloads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...errors import BadInput
from ...ir import Einsum, Repeat, Role, Workload


@dataclass(frozen=True)
class Work:
    """Operations (two per multiply-accumulate) of one sequence in one part, and bytes of what it makes meanwhile.

    Attributes:
        products: with weights.
        attention: of queries with keys, and of scores with values.
        made: results of contractions, all of them held at once.
    """

    products: int
    attention: int
    made: int


@dataclass(frozen=True)
class Part:
    """Layers alike, or what stands around them.

    Attributes:
        name: of its Repeat; ``ends`` for what is outside of Repeats.
        count: times that it is run, each with weights of its own.
        weight_bytes: of one.
        cache_bytes: of keys and values, of one sequence and token.
        prefill: of a whole prompt.
        decode: of one token, which attends to `context` tokens.
    """

    name: str
    count: int
    weight_bytes: int
    cache_bytes: int
    prefill: Work
    decode: Work
    context: int

    def attention(self, context: int) -> float:
        """Operations of attention of one new token of one sequence."""
        return self.decode.attention * context / self.context


@dataclass(frozen=True)
class Model:
    """Parts in the order in which they run, and the bytes that pass between them, of one token of one sequence."""

    name: str
    parts: tuple[Part, ...]
    hidden_bytes: int

    @property
    def weight_bytes(self) -> int:
        return sum(p.count * p.weight_bytes for p in self.parts)

    @property
    def cache_bytes(self) -> int:
        """Of one sequence and token, in all parts."""
        return sum(p.count * p.cache_bytes for p in self.parts)

    @property
    def units(self) -> tuple[tuple[str, Part], ...]:
        """Name and part of everything that is run, in order."""
        return tuple((f"{p.name} {i}" if p.count > 1 else p.name, p) for p in self.parts for i in range(p.count))


def model_of(prefill: Workload, decode: Workload, context: int, hidden_bytes: int) -> Model:
    """The parts of a model, from a Workload of one prompt and one of one token.

    Args:
        prefill: one sequence with all its tokens.
        decode: one sequence with one new token.
        context: tokens that it attends to.
        hidden_bytes: of what passes between layers, of one token.

    Raises:
        BadInput: the two differ in their Repeats, or nothing is repeated.
    """
    blocks = [list(_blocks(w)) for w in (prefill, decode)]
    if [b[:2] for b in blocks[0]] != [b[:2] for b in blocks[1]] or len(blocks[0]) < 2:
        raise BadInput(f"{prefill.name} and {decode.name}: prefill and decode of one model repeat the same layers")
    parts = []
    for (name, count, first), (_, _, then) in zip(*blocks, strict=True):
        weights = _stored(decode, then, Role.WEIGHT)
        cache = _stored(decode, then, Role.STATE) // context
        parts.append(Part(name, count, weights, cache, _work(prefill, first), _work(decode, then), context))
    return Model(prefill.name.partition(".")[0], tuple(p for p in parts if p.weight_bytes), hidden_bytes)


def _blocks(workload: Workload) -> Iterator[tuple[str, int, list[Einsum]]]:
    """Repeats with the Einsums of one iteration, and last the Einsums outside of them."""
    ends = []
    for item in workload.body:
        if isinstance(item, Repeat):
            inner = Workload(workload.name, workload.tensors, item.body)
            yield item.name, item.count, [e for e, times in inner.einsums() for _ in range(times)]
        elif isinstance(item, Einsum):
            ends.append(item)
    yield "ends", 1, ends


def _stored(workload: Workload, einsums: list[Einsum], role: Role) -> int:
    """Bytes of the tensors of a role that Einsums use; of a table whose rows are looked up, all of it."""
    names = {workload.storage(a.tensor) for e in einsums for a in (*e.inputs, e.output)}
    held = {workload.tables.get(n, n) for n in names}
    return sum(workload.tensors[n].nbytes for n in held if workload.tensors[n].role is role)


def _work(workload: Workload, einsums: list[Einsum]) -> Work:
    products = attention = made = 0
    for e in einsums:
        if not e.is_contraction:
            continue
        roles = {workload.tensors[workload.storage(a.tensor)].role for a in e.inputs}
        if Role.WEIGHT in roles:
            products += 2 * e.points
        else:
            attention += 2 * e.points
        output = workload.tensors[e.output.tensor]
        made += min(output.nbytes, output.bytes_of(e.points // _reduced(e)))
    return Work(products, attention, made)


def _reduced(einsum: Einsum) -> int:
    size = 1
    for rank in einsum.reduced_ranks:
        size *= einsum.sizes[rank]
    return size
