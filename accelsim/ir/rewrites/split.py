"""Rewrites of ranks and of the order of products."""

from __future__ import annotations

from dataclasses import replace

from ..builder import affine
from ..einsum import Access, Affine, Apply, Einsum, Expr, Read
from ..workload import Workload
from .terms import Draft, Leaf, NotApplicable, Op, Term, moved, ranks_of, replaced, term_of


def split_rank(workload: Workload, rank: str, block: int, names: tuple[str, str] | None = None) -> Workload:
    """Cut a rank m into blocks: every index m becomes block * m1 + m0. Tensors keep their shapes.

    Args:
        workload: a cascade.
        rank: that is cut; no Einsum steps along it.
        block: elements of a block; it divides the size of the rank.
        names: of the outer and the inner rank; default: the rank's with 1 and 0 behind it.

    Raises:
        NotApplicable: there is no such rank, it is stepped along, or the block does not divide it; a name is taken.
        BadInput: the Workload is no cascade.
    """
    draft = Draft(workload)
    size = draft.sizes.get(rank)
    if size is None:
        raise NotApplicable(f"{workload.name}: no rank '{rank}' (there are {', '.join(draft.sizes)})")
    if block < 1 or size % block:
        raise NotApplicable(f"{workload.name}: blocks of {block} do not divide rank '{rank}' of size {size}")
    outer, inner = names or (f"{rank}1", f"{rank}0")
    for name in (outer, inner):
        if name in draft.sizes:
            raise NotApplicable(f"{workload.name}: there is a rank '{name}' already")
    by = {rank: Affine(((outer, block), (inner, 1)))}
    found: list[Einsum] = []
    for e in draft.einsums:
        if e.iterative == rank:
            raise NotApplicable(f"'{e.name}' steps along '{rank}'")
        sizes: dict[str, int] = {}
        for r, s in e.sizes.items():
            sizes |= {outer: size // block, inner: block} if r == rank else {r: s}
        inputs = tuple(moved(a, by) for a in e.inputs)
        found.append(replace(e, inputs=inputs, output=moved(e.output, by), sizes=sizes))
    draft.einsums = found
    draft.sizes |= {outer: size // block, inner: block}
    return draft.finished()


def reassociate(workload: Workload, einsum: str, through: str) -> Workload:
    """Sum a product of three in the other order: sum_n (sum_k A B) C = sum_k A (sum_n B C).

    Factors move into the inner sum if they carry a rank of the outer one: it holds because a product distributes over
    a sum, and sums may be taken in any order.

    Args:
        workload: a cascade.
        einsum: name of the outer sum of products.
        through: tensor that it reads, itself a sum of products.

    Raises:
        NotApplicable: they are no sums of products, or their ranks do not let the sums change places.
        BadInput: the Workload is no cascade.
    """
    draft = Draft(workload)
    outer, inner = draft.einsum(einsum), draft.producer(through)
    if inner is None or through not in {a.tensor for a in outer.inputs}:
        raise NotApplicable(f"'{einsum}' does not read '{through}', or that has no single producer")
    for e in (outer, inner):
        if e.reduce != "add" or e.iterative or not _is_product(e.expr):
            raise NotApplicable(f"'{e.name}' is no sum of products")
    if len({d for a in outer.inputs if a.tensor == through for d in (a,)}) != 1:
        raise NotApplicable(f"'{einsum}' reads '{through}' in several ways")
    (read,) = (a for a in outer.inputs if a.tensor == through)
    written = [i.ranks for i in inner.output.indices]
    by: dict[str, Affine] = {}
    for ranks, index in zip(written, read.indices, strict=True):
        if len(ranks) != 1 or len(index.terms) != 1 or index.terms[0][1] != 1 or index.offset:
            raise NotApplicable(f"'{through}' is not indexed by ranks alone")
        by[ranks[0]] = index
    for rank in inner.reduced_ranks:
        if rank in outer.sizes:
            new = next(f"{rank}{i}" for i in range(2, 99) if f"{rank}{i}" not in draft.sizes)
            by[rank] = affine(new)
            draft.sizes[new] = draft.sizes[rank]
    inside = replaced(term_of(inner), lambda a: Leaf(moved(a, by)))
    factors = [*_factors(inside), *(f for f in _factors(term_of(outer)) if f != Leaf(read))]
    first = [f for f in factors if ranks_of(f) & set(outer.reduced_ranks)]
    rest = [f for f in factors if f not in first]
    if len(first) < 2 or not rest:
        raise NotApplicable(f"the ranks of '{einsum}' and '{through}' do not let their sums change places")
    needed = frozenset().union(outer.output.ranks, *(ranks_of(f) for f in rest))
    kept = [r for r in draft.sizes if r in needed and any(r in ranks_of(f) for f in first)]
    name = draft.fresh(f"{outer.output.tensor}_inner", through)
    output = Access(name, tuple(map(affine, kept)))
    draft.einsums.remove(outer)
    draft.write(output, _product(first), reduce="add")
    draft.write(outer.output, _product([*rest, Leaf(output)]), reduce="add", name=outer.name, kind=outer.kind)
    return draft.finished()


def _is_product(e: Expr) -> bool:
    return isinstance(e, Read) or (isinstance(e, Apply) and e.op == "mul" and all(map(_is_product, e.args)))


def _factors(term: Term) -> list[Term]:
    return [f for arg in term.args for f in _factors(arg)] if isinstance(term, Op) else [term]


def _product(factors: list[Term]) -> Term:
    found = factors[0]
    for factor in factors[1:]:
        found = Op("mul", (found, factor))
    return found


