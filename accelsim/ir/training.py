"""Training steps: a Workload with its backward pass and an update of its weights, as further Einsums.

Reverse accumulation over the Einsums. Of ``O = sum f(A, B, ...)`` the gradient of A is the sum, over all points that
read an element of A, of the gradient of O there times df/dA: an Einsum over the same ranks with A's indices as its
output. Where A is read through windows (convolutions, pools) several points read one element; then elements are dealt
out by the filter taps that reach them, as in `transposed`, so that no product with an inserted zero is counted. Of a
maximum the gradient goes to what is equal to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from math import inf, prod
from typing import Literal

from ..errors import BadInput
from .build import WorkloadBuilder
from .derivatives import derivative, is_one, is_zero, reads, shifted
from .einsum import Access, Affine, Apply, Const, Einsum, Expr, Read
from .reached import Gap, gaps, mixed_radix, turned, window_of
from .transposed import Phase, phases
from .unrolled import unrolled
from .workload import Item, Role, View, Workload

Loss = Literal["cross_entropy", "squared"]
LOSSES: tuple[Loss, ...] = ("cross_entropy", "squared")


def training_step(
    workload: Workload, *, loss: Loss = "cross_entropy", rate: float = 0.01, frozen: Sequence[str] = ()
) -> Workload:
    """Forward pass, backward pass, and ``w - rate * dw`` for every weight.

    Targets are further inputs, ``NAME.target`` in the shape of every output; new weights are outputs, ``NAME.next``.

    Args:
        workload: a model; its Repeats are written out (`unrolled`). Tables of which rows are looked up are trained by
            what else reads them alone, and the Workload's `notes` say so.
        loss: of every output, summed over its elements: ``squared``, half the squared difference, or
            ``cross_entropy`` after a softmax over the last dimension.
        rate: of learning.
        frozen: weights that stay as they are.

    Raises:
        BadInput: an item has no gradient here; the message names it.
    """
    if loss not in LOSSES:
        raise BadInput(f"{workload.name}: no loss '{loss}' (one of {', '.join(LOSSES)})")
    unknown = [n for n in frozen if n not in workload.tensors or workload.tensors[n].role is not Role.WEIGHT]
    if unknown:
        raise BadInput(f"{workload.name}: '{unknown[0]}' is frozen, and no weight of the model")
    workload = unrolled(workload)
    left = [n for n in workload.tensors if n in frozen or n.partition("@")[0] in frozen]
    return _Training(workload, loss, rate, frozenset(left)).step()


class _Training:
    def __init__(self, workload: Workload, loss: Loss, rate: float, frozen: frozenset[str]) -> None:
        self.workload, self.loss, self.rate, self.frozen = workload, loss, rate, frozen
        self.builder = WorkloadBuilder(f"{workload.name}.training")
        self.builder.tensors.update(workload.tensors)
        for item in workload.body:
            self._check(item)
            self.builder.add(item)
        self.builder.notes += workload.notes
        self.wanted = self._wanted()
        self.parts: dict[str, list[str]] = {}
        """Tensor to the gradients that its readers have given it so far."""

    def _check(self, item: Item) -> None:
        if isinstance(item, View) and item.rows:
            self.builder.notes.append(f"rows of {item.input} that are looked up get no gradient")
        if isinstance(item, Einsum) and item.iterative:
            raise BadInput(f"{self.workload.name}: no training step of iterative Einsums ({item.name})")

    def _wanted(self) -> set[str]:
        """Tensors that depend on a weight that is trained."""
        stored = (n for n in self.workload.tensors if self.workload.storage(n) == n and n not in self.workload.tables)
        found = {n for n in stored if self.workload.tensors[n].role is Role.WEIGHT and n not in self.frozen}
        for item in self.workload.body:
            if isinstance(item, View):
                found |= {item.output} if item.input in found and not item.rows else set()
            elif isinstance(item, Einsum) and any(a.tensor in found for a in item.inputs):
                found.add(item.output.tensor)
        return found

    def step(self) -> Workload:
        for name in self._outputs():
            self._seed(name)
        for item in reversed(self.workload.body):
            if isinstance(item, View):
                if not item.rows:
                    self._through_view(item)
            elif isinstance(item, Einsum) and item.output.tensor in self.wanted:
                self._through(item)
        for name in sorted(self.wanted, key=list(self.workload.tensors).index):
            if self.workload.tensors[name].role is Role.WEIGHT and self.workload.storage(name) == name:
                self._update(name)
        return self.builder.build()

    def _outputs(self) -> list[str]:
        views = {i.input for i in self.workload.body if isinstance(i, View)}
        found = [n for n, t in self.workload.tensors.items() if t.role is Role.OUTPUT and n not in views]
        if not any(n in self.wanted for n in found):
            raise BadInput(f"{self.workload.name}: no output depends on a weight that is trained")
        return [n for n in found if n in self.wanted]

    def _seed(self, name: str) -> None:
        b, shape = self.builder, self.builder.shape(name)
        target = b.input(f"{name}.target", shape, b.tensor(name).bits)
        made = b.softmax(name, kind="Loss", name=f"{name}.loss") if self.loss == "cross_entropy" else name
        self._add(name, b.elementwise("sub", made, target, kind="Loss", name=f"{name}.difference",
                                      bits=b.tensor(name).bits))  # fmt: skip

    def _add(self, name: str, gradient: str) -> None:
        self.parts.setdefault(name, []).append(gradient)

    def _gradient(self, name: str) -> str | None:
        """The gradient of a tensor, summed over its readers; None where no output depends on it."""
        parts = self.parts.get(name, [])
        while len(parts) > 1:
            total = self.builder.elementwise("add", parts[0], parts[1], kind="Gradient.sum", name=f"d.{name}.sum",
                                             bits=self.builder.tensor(name).bits)  # fmt: skip
            parts[:2] = [total]
        return parts[0] if parts else None

    def _through_view(self, view: View) -> None:
        gradient = self._gradient(view.output)
        if gradient is not None and view.input in self.wanted:
            self._add(view.input, self.builder.view(gradient, self.builder.shape(view.input)))

    def _through(self, einsum: Einsum) -> None:
        gradient = self._gradient(einsum.output.tensor)
        if gradient is None:
            return
        joint = {name: self._joint(einsum, name) for name in dict.fromkeys(a.tensor for a in einsum.inputs)}
        for i, access in enumerate(einsum.inputs):
            if access.tensor in self.wanted:
                found = self._one(einsum, gradient, i, joint[access.tensor])
                if found not in self.parts.get(access.tensor, []) or not joint[access.tensor]:
                    self._add(access.tensor, found)

    def _joint(self, einsum: Einsum, name: str) -> str | None:
        """A gradient that the accesses of a tensor in an Einsum fill together: the halves of a rotation, say."""
        accesses = [a for a in einsum.inputs if a.tensor == name]
        like = self.builder.tensor(name)
        points = [prod(einsum.sizes[r] for r in a.ranks) for a in accesses]
        boxes = all(mixed_radix(index, einsum.sizes) for a in accesses for index in a.indices)
        if len(accesses) < 2 or name not in self.wanted or not boxes or sum(points) != like.elements:
            return None
        return self.builder.activation(self.builder.unique(f"d.{name}"), like.shape, like.bits)

    def _one(self, einsum: Einsum, gradient: str, i: int, joint: str | None = None) -> str:
        """The gradient of input `i`, as an Einsum of its own, or several."""
        einsum = turned(einsum, einsum.inputs[i])
        access = einsum.inputs[i]
        if einsum.reduce not in ("", "add", "max", "min"):
            raise self._refused(einsum, f"reduces by {einsum.reduce}")
        if einsum.reduce in ("max", "min"):
            if einsum.expr != Read(0):
                raise self._refused(einsum, f"takes the {einsum.reduce} of more than an element")
            slope: Expr = Apply("equal", (Read(0), Read(1)))
            others = [access, einsum.output]
        else:
            slope = derivative(einsum.expr, i, lambda what: self._refused(einsum, what))
            others = list(einsum.inputs)
        inputs = [replace(einsum.output, tensor=gradient), *others]
        expr = _times(Read(0), shifted(slope))
        used = sorted(reads(expr))
        inputs, expr = [inputs[u] for u in used], _renumbered(expr, used)
        same = expr == Read(0) and access.indices == einsum.output.indices and not einsum.reduced_ranks
        if same and self.builder.shape(gradient) == self.builder.shape(access.tensor):
            return gradient
        ranks = [r for index in access.indices for r in index.ranks]
        if len(set(ranks)) < len(ranks):
            raise self._refused(einsum, f"reads {access}, in which a rank stands twice")
        if joint or all(self._whole(einsum, access)):
            return self._sum(einsum, access, inputs, expr, einsum.sizes, joint)
        return self._windowed(einsum, access, inputs, expr)

    def _whole(self, einsum: Einsum, access: Access) -> list[bool]:
        """Of every dimension, whether each of its elements is read at one point of the index's ranks."""
        shape = self.builder.shape(access.tensor)
        return [mixed_radix(i, einsum.sizes) and i.bounds(einsum.sizes) == (0, n - 1)
                and prod(einsum.sizes[r] for r in i.ranks) == n
                for i, n in zip(access.indices, shape, strict=True)]  # fmt: skip

    def _sum(
        self, einsum: Einsum, target: Access, inputs: Sequence[Access], expr: Expr, sizes: Mapping[str, int],
        out: str | None,
    ) -> str:  # fmt: skip
        """Sum `expr` over all ranks that the target does not have, into its gradient."""
        b, like = self.builder, self.builder.tensor(target.tensor)
        gone = [r for r in sizes if r not in target.ranks]
        at = [i.offset for i in target.indices]
        name = f"d.{einsum.name}.{target.tensor}"
        out = out or b.activation(b.unique(f"d.{target.tensor}"), like.shape, like.bits)
        kind = f"{einsum.kind or einsum.name}.gradient"
        return b.compute(expr, inputs, [replace(i, offset=0) for i in target.indices], dict(sizes),
                         reduce="add" if gone else "", kind=kind, name=name, out=out, at=at)  # fmt: skip

    def _windowed(self, einsum: Einsum, access: Access, inputs: Sequence[Access], expr: Expr) -> str:
        """The gradient of what is read through windows: elements by the taps that reach them."""
        shape, b = self.builder.shape(access.tensor), self.builder
        parts: list[tuple[Phase | Gap | None, ...]] = []
        for index, n, whole in zip(access.indices, shape, self._whole(einsum, access), strict=True):
            low, high = index.bounds(einsum.sizes)
            if whole or (mixed_radix(index, einsum.sizes) and low >= 0 and high < n):
                parts.append((None, *gaps(index, einsum.sizes, n)))
            elif (slid := self._slid(index, einsum)) is not None:
                (_, stride), (tap, dilation) = slid
                parts.append(tuple(phases(n, einsum.sizes.get(tap, 1), stride, -index.offset, dilation)))
            else:
                raise self._refused(einsum, f"reads {access}, in which several {index} are one, and no window")
        like = b.tensor(access.tensor)
        out = b.activation(b.unique(f"d.{access.tensor}"), like.shape, like.bits)
        for combination in product(*parts):
            self._phase(einsum, access, inputs, expr, combination, out)
        return out

    def _slid(self, index: Affine, einsum: Einsum) -> tuple[tuple[str, int], tuple[str, int]] | None:
        return window_of(index, einsum, self.builder.shape(einsum.output.tensor))

    def _phase(
        self, einsum: Einsum, access: Access, inputs: Sequence[Access], expr: Expr,
        combination: Sequence[Phase | Gap | None], out: str,
    ) -> None:  # fmt: skip
        """One Einsum: element ``start + stride*p + f`` sums over taps t, which reach it from window p+shift-back*t."""
        sizes = dict(einsum.sizes)
        swaps: dict[str, Affine] = {}
        target: list[Affine] = []
        for index, phase in zip(access.indices, combination, strict=True):
            if phase is None:
                target.append(index)
                continue
            if isinstance(phase, Gap):
                counts = (*phase.steps, (1, phase.width))
                names = [f"gap{len(target)}.{i}" for i in range(len(counts))]
                sizes |= {name: count for name, (_, count) in zip(names, counts, strict=True)}
                terms = tuple((name, step) for name, (step, _) in zip(names, counts, strict=True))
                target.append(Affine(terms, phase.start))
                continue
            (window, stride), (tap, _) = self._slid(index, einsum) or (("", 1), ("", 1))
            wide = f"{window}.f"
            more: tuple[tuple[str, int], ...] = ()
            sizes[window] = phase.count
            if phase.width > 1:
                sizes[wide], more = phase.width, ((wide, 1),)
            target.append(Affine(((window, stride), *more), phase.start))
            if not phase.taps:
                continue
            if tap:
                sizes[tap] = phase.taps
            reached = ((tap, -phase.back),) if tap else ()
            swaps[window] = Affine(((window, 1), *reached), phase.shift)
            swaps[tap] = Affine((*more, (tap, phase.tap_step)), phase.tap)
        place = Access(access.tensor, tuple(target))
        if any(isinstance(phase, Gap) or (phase is not None and not phase.taps) for phase in combination):
            ranks = {r: n for r, n in sizes.items() if r in place.ranks}
            self._sum(einsum, place, [], Const(0.0), ranks, out)
            return
        moved = [place if x == access else self._moved(x, swaps, einsum, sizes, first=not n)
                 for n, x in enumerate(inputs)]  # fmt: skip
        self._sum(einsum, place, moved, expr, sizes, out)

    def _moved(
        self, access: Access, swaps: Mapping[str, Affine], einsum: Einsum, sizes: Mapping[str, int], *, first: bool
    ) -> Access:
        """An access with windows and taps put in terms of elements. Beyond the edge gradients are zero, and what a
        maximum is compared with is no number that an element could be."""  # fmt: skip
        indices = []
        for index in access.indices:
            terms: dict[str, int] = {}
            offset = index.offset
            for rank, factor in index.terms:
                swapped = swaps.get(rank, Affine(((rank, 1),)))
                offset += factor * swapped.offset
                for r, f in swapped.terms:
                    terms[r] = terms.get(r, 0) + factor * f
            indices.append(Affine(tuple((r, f) for r, f in terms.items() if f), offset))
        shape = self.builder.shape(access.tensor)
        spans = [i.bounds(sizes) for i in indices]
        outside = any(low < 0 or high >= n for (low, high), n in zip(spans, shape, strict=True))
        pad = access.pad if access.pad is not None else 0.0 if first or not einsum.reduce.startswith("m") else inf
        return Access(access.tensor, tuple(indices), pad if outside else None)

    def _update(self, name: str) -> None:
        gradient = self._gradient(name)
        if gradient is None:
            return
        b = self.builder
        step = Apply("mul", (Read(1), Const(self.rate)))
        new = b.elementwise(Apply("sub", (Read(0), step)), name, gradient, kind="Update", name=f"{name}.update",
                            out=f"{name}.next", bits=b.tensor(name).bits)  # fmt: skip
        b.output(new)

    def _refused(self, einsum: Einsum, what: str) -> BadInput:
        return BadInput(f"{self.workload.name}: no gradient of {einsum.name}: it {what}")


def _times(a: Expr, b: Expr) -> Expr:
    if is_one(b):
        return a
    return Const(0.0) if is_zero(b) else Apply("mul", (a, b))


def _renumbered(expr: Expr, used: Sequence[int]) -> Expr:
    if isinstance(expr, Read):
        return Read(used.index(expr.index))
    if isinstance(expr, Apply):
        return replace(expr, args=tuple(_renumbered(a, used) for a in expr.args))
    return expr
