"""Products of integers of any width as products of single bits: planes, one per bit, and sums of what they give.

An operand of a bits is the sum over i of 2^i times its plane i, so that a product of an operand of a bits with one of w
bits is a times w products of planes, which units for single bits compute (APNN-TC, SC 2021; ABQ-LLM, 2024).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

from ...errors import BadInput
from ...ir import (
    Access,
    Apply,
    Const,
    Definition,
    Einsum,
    Expr,
    Item,
    Read,
    Repeat,
    Role,
    Tensor,
    Workload,
    affine,
    validate,
)
from ...ir.by_name import by_name
from .notes import noted

OPERAND, WEIGHT = "operand_bit", "weight_bit"
"""Ranks of the planes."""
SUM_BITS = 32
"""Of what products of planes are summed to, as tensor cores have it."""
POWERS = "powers_of_two"
"""A table of 2^(i+j), for every pair of planes."""


def _apply(op: str, *args: Expr) -> Apply:
    return Apply(op, args)


def _bit() -> Definition:
    """``floor(x / p) - 2 floor(x / 2p)``: a shift and a mask."""
    half = _apply("floor", _apply("div", Read(0), _apply("mul", Const(2.0), Read(1))))
    value = _apply("sub", _apply("floor", _apply("div", Read(0), Read(1))), _apply("mul", Const(2.0), half))
    return Definition("bit", ("x", "p"), value, (("add", 2),))


BIT = _bit()
SHIFTED = Definition("shifted", ("x", "p"), _apply("mul", Read(0), Read(1)), (("add", 1),))
"""``x p`` for a power of two: a shift."""


def bit_planes(workload: Workload, weights: Mapping[str, int], activations: int) -> Workload:
    """The Workload whose products with weights run bit by bit.

    Weights lie as planes. What they are multiplied with is cut into planes when it is there (one operator, whose planes
    all products that need them share), products of planes are summed to 32 bits, and shifted and added (another
    operator). As values, operands are whole numbers from 0.

    Args:
        workload: any.
        weights: bits by role (``weight``), name or pattern; tables whose rows are looked up, and weights of no product,
            stay as they are.
        activations: bits of what the weights are multiplied with.

    Raises:
        BadInput: bits that are not from 1 to 16, or a name that fits no weight of a product.
    """
    wrong = [n for n in (*weights.values(), activations) if not 1 <= n <= 16]
    if wrong:
        raise BadInput(f"{workload.name}: operands have 1 to 16 planes, not {', '.join(map(str, wrong))}")
    given = by_name(workload, weights, "bit planes")
    users: dict[str, list[Einsum]] = {}
    for e, _ in workload.einsums():
        for a in e.inputs:
            users.setdefault(workload.storage(a.tensor), []).append(e)
    tables = set(workload.tables.values())
    bits = {
        n: given[n]
        for n, tensor in workload.tensors.items()
        if tensor.role is Role.WEIGHT and n in given and n in users and n not in tables
        and all(_multiplies(workload, e, n) for e in users[n])
    }  # fmt: skip
    named = [n for n in weights if n in workload.tensors and n not in bits]
    if named or not bits:
        raise BadInput(f"{workload.name}: {', '.join(named) or 'nothing that is named'} is no weight of a product")
    return _Planes(workload, bits, activations).workload()


def _multiplies(workload: Workload, e: Einsum, weight: str) -> bool:
    """Whether an Einsum is a product of a weight, under its own name, with something that is none."""
    roles = {a.tensor: workload.tensors[workload.storage(a.tensor)].role for a in e.inputs}
    return e.is_contraction and weight in roles and [r is Role.WEIGHT for r in roles.values()].count(True) == 1


class _Planes:
    def __init__(self, workload: Workload, bits: Mapping[str, int], activations: int) -> None:
        self.base, self.bits, self.activations = workload, bits, activations
        powers = Tensor(POWERS, (activations, max(bits.values())), Role.WEIGHT, SUM_BITS)
        self.tensors = {**workload.tensors, POWERS: powers}
        for name, planes in bits.items():
            tensor = workload.tensors[name]
            self.tensors[name] = replace(tensor, shape=(planes, *tensor.shape), bits=1, metadata_bits=Fraction(0))

    def workload(self) -> Workload:
        changed = replace(self.base, tensors=self.tensors, body=self._items(self.base.body))
        validate(changed)
        widths = "/".join(map(str, sorted(set(self.bits.values()))))
        return noted(changed, f"{len(self.bits)} weights of {widths} bits, and what they are multiplied with, of "
                     f"{self.activations}, run as planes of single bits")  # fmt: skip

    def _items(self, items: tuple[Item, ...]) -> tuple[Item, ...]:
        found: list[Item] = []
        cut: set[str] = set()
        for item in items:
            if isinstance(item, Repeat):
                found.append(replace(item, body=self._items(item.body), shared=item.shared | {POWERS}))
            elif isinstance(item, Einsum) and (weight := next((a for a in item.inputs if a.tensor in self.bits), None)):
                operand = next(a for a in item.inputs if a is not weight)
                if operand.tensor not in cut:
                    found.append(self._cut(operand.tensor))
                    cut.add(operand.tensor)
                found += self._product(item, operand, weight)
            else:
                found.append(item)
        return tuple(found)

    def _cut(self, name: str) -> Einsum:
        """The planes of an operand, all of them."""
        shape = self.base.tensors[name].shape
        planes = _planes_of(name)
        self.tensors[planes] = Tensor(planes, (self.activations, *shape), Role.ACTIVATION, 1)
        ranks = [f"d{i}" for i in range(len(shape))]
        source, powers = Access(name, tuple(map(affine, ranks))), Access(POWERS, (affine(OPERAND), affine(0)))
        output = Access(planes, tuple(map(affine, (OPERAND, *ranks))))
        sizes = {OPERAND: self.activations, **dict(zip(ranks, shape, strict=True))}
        return Einsum(f"{planes}.cut", output, (source, powers), Apply("bit", (Read(0), Read(1)), BIT), sizes,
                      kind="BitPlanes.cut")  # fmt: skip

    def _product(self, e: Einsum, operand: Access, weight: Access) -> list[Einsum]:
        planes = self.bits[weight.tensor]
        kept = [r for r in e.sizes if r in e.output.ranks]
        sums = f"{e.name}.planes"
        ranks = (OPERAND, WEIGHT, *kept)
        sizes = {OPERAND: self.activations, WEIGHT: planes}
        self.tensors[sums] = Tensor(sums, (*sizes.values(), *(e.sizes[r] for r in kept)), Role.ACTIVATION, SUM_BITS)
        made = Access(sums, tuple(map(affine, ranks)))
        cut = Access(_planes_of(operand.tensor), (affine(OPERAND), *operand.indices), operand.pad)
        stored = Access(weight.tensor, (affine(WEIGHT), *weight.indices), weight.pad)
        inputs = tuple(stored if a is weight else cut for a in e.inputs)
        powers = Access(POWERS, (affine(OPERAND), affine(WEIGHT)))
        return [
            replace(e, name=sums, output=made, inputs=inputs, sizes={**sizes, **e.sizes}),
            Einsum(f"{e.name}.summed", e.output, (made, powers), Apply("shifted", (Read(0), Read(1)), SHIFTED),
                   {**{r: e.sizes[r] for r in kept}, **sizes}, "add", kind="BitPlanes.sum"),
        ]  # fmt: skip


def _planes_of(name: str) -> str:
    return f"{name}.bit_planes"
