"""Workloads as a converter to integer arithmetic (TensorFlow Lite) leaves them; published schedules count these.

Batch normalisation behind a contraction is folded into its weights and leaves a bias; elsewhere it is a product and a
sum. Biases are wide. Padding that is not what TensorFlow calls SAME, which kernels do on the fly, is an operator that
makes a padded tensor (https://www.tensorflow.org/api_docs/python/tf/nn, "Notes on padding").
"""

from __future__ import annotations

from dataclasses import replace

from ...ir import Access, Affine, Apply, Einsum, Item, Read, Repeat, Role, Tensor, Workload

BIAS_BITS = 32


def as_exported(workload: Workload, *, bias_bits: int = BIAS_BITS, pads: bool = True) -> Workload:
    """The same network as a converter writes it.

    Args:
        workload: as importers make it; values are not looked at.
        bias_bits: of the biases of contractions.
        pads: write out padding that is not SAME.
    """
    form = _Form(workload, bias_bits, pads)
    body = tuple(form.items(workload.body))
    used = {a.tensor for a in _accesses(body)} | {n for n, t in form.tensors.items() if t.role is not Role.WEIGHT}
    kept = {n: t for n, t in form.tensors.items() if n in used or workload.storage(n) != n}
    return Workload(workload.name, kept, body, workload.notes)


class _Form:
    def __init__(self, workload: Workload, bias_bits: int, pads: bool) -> None:
        self.bias_bits, self.pads = bias_bits, pads
        self.tensors = dict(workload.tensors)
        self.contracted = {e.output.tensor for e, _ in workload.einsums() if e.is_contraction}
        self.readers: dict[str, int] = {}
        for einsum, _ in workload.einsums():
            for access in einsum.inputs:
                self.readers[access.tensor] = self.readers.get(access.tensor, 0) + 1

    def items(self, body: tuple[Item, ...]) -> list[Item]:
        found: list[Item] = []
        for item in body:
            if isinstance(item, Einsum):
                found += self._einsum(item)
            elif isinstance(item, Repeat):
                found.append(replace(item, body=tuple(self.items(item.body))))
            else:
                found.append(item)
        return found

    def _einsum(self, einsum: Einsum) -> list[Einsum]:
        if _is_scale_and_shift(einsum) and self._weights(einsum, 1) and self._weights(einsum, 2):
            x, scale, shift = einsum.inputs
            if x.tensor in self.contracted and self.readers[x.tensor] == 1:
                self._widen(shift)
                return [replace(einsum, inputs=(x, shift), expr=_apply("add"), kind="Bias")]
            middle = self._like(einsum.output.tensor, f"{einsum.name}.product")
            product = replace(einsum, name=f"{einsum.name}.mul", output=replace(einsum.output, tensor=middle),
                              inputs=(x, scale), expr=_apply("mul"), kind="Mul")  # fmt: skip
            inputs = (replace(einsum.output, tensor=middle), shift)
            total = replace(einsum, inputs=inputs, expr=_apply("add"), kind="Add")
            return [product, total]
        if einsum.expr == _apply("add") and len(einsum.inputs) == 2 and self._weights(einsum, 1):
            if einsum.inputs[0].tensor in self.contracted:
                self._widen(einsum.inputs[1])
            return [einsum]
        return self._padded(einsum) if self.pads else [einsum]

    def _weights(self, einsum: Einsum, index: int) -> bool:
        return self.tensors[einsum.inputs[index].tensor].role is Role.WEIGHT

    def _widen(self, access: Access) -> None:
        self.tensors[access.tensor] = replace(self.tensors[access.tensor], bits=self.bias_bits)

    def _like(self, name: str, new: str) -> str:
        self.tensors[new] = replace(self.tensors[name], name=new, role=Role.ACTIVATION)
        return new

    def _padded(self, einsum: Einsum) -> list[Einsum]:
        """The Einsum behind copies that pad its inputs, where kernels would not."""
        found: list[Einsum] = []
        inputs = []
        for number, access in enumerate(einsum.inputs):
            tensor = self.tensors[access.tensor]
            widths = _explicit(access, tensor.shape, einsum)
            if access.pad is None or not any(widths):
                inputs.append(access)
                continue
            name = f"{einsum.name}.pad" + (f"_{number}" if number else "")
            shape = tuple(n + 2 * w for n, w in zip(tensor.shape, widths, strict=True))
            self.tensors[name] = Tensor(name, shape, Role.ACTIVATION, tensor.bits, tensor.metadata_bits)
            sizes = {f"i{d}": n for d, n in enumerate(shape)}
            source = tuple(Affine(((r, 1),), -w) for r, w in zip(sizes, widths, strict=True))
            target = Access(name, tuple(Affine(((r, 1),)) for r in sizes))
            found.append(Einsum(name, target, (Access(access.tensor, source, access.pad),), Read(0), sizes, kind="Pad"))
            moved = tuple(Affine(i.terms, i.offset + w) for i, w in zip(access.indices, widths, strict=True))
            inputs.append(Access(name, moved))
        return [*found, replace(einsum, inputs=tuple(inputs))]


def _explicit(access: Access, shape: tuple[int, ...], einsum: Einsum) -> tuple[int, ...]:
    """Elements of padding at both ends of each dimension; none where it is SAME."""
    widths = []
    same = True
    for index, size in zip(access.indices, shape, strict=True):
        low, high = index.bounds(einsum.sizes)
        before, total = max(0, -low), max(0, high - low + 1 - size)
        same = same and before == total // 2
        widths.append(max(before, high - size + 1, 0))
    return (0,) * len(shape) if same else tuple(widths)


def _apply(op: str) -> Apply:
    return Apply(op, (Read(0), Read(1)))


def _is_scale_and_shift(einsum: Einsum) -> bool:
    expr = einsum.expr
    return isinstance(expr, Apply) and expr == Apply("add", (_apply("mul"), Read(2))) and len(einsum.inputs) == 3


def _accesses(body: tuple[Item, ...]) -> list[Access]:
    found: list[Access] = []
    for item in body:
        if isinstance(item, Einsum):
            found += [*item.inputs, item.output]
        elif isinstance(item, Repeat):
            found += _accesses(item.body)
        else:
            found += [Access(n, ()) for n in (item.input, item.output, item.rows) if n]
    return found
