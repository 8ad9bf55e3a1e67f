"""What makes a Workload well formed."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from math import gcd, prod

from ..errors import Problem, SpecError
from ..text.fields import LARGEST
from ..text.names import nearest
from .einsum import Access, Affine, Apply, Const, Einsum, Expr, Read, definitions
from .operators import OPERATORS, definition_problems, operator_of
from .workload import Item, Repeat, Role, Tensor, View, Workload

_STANDING = (Role.INPUT, Role.WEIGHT, Role.STATE)


def validate(workload: Workload) -> None:
    """Raise SpecError with every problem of the Workload, each naming the Einsum and the tensor.

    Checked: names are unique; every tensor is declared, and produced before it is read unless it is an input, a weight
    or a state; an access has one index per dimension, over ranks of the Einsum, inside the tensor unless it is padded;
    the output index is one to one; several producers of a tensor write disjoint boxes, which together fill it unless it
    is a state; views keep the number of elements; carried pairs have equal shapes.
    """
    check = _Checker(workload)
    check.items(workload.body, set())
    check.producers()
    if check.problems:
        raise SpecError(check.problems)


class _Checker:
    def __init__(self, workload: Workload) -> None:
        self.name = workload.name
        self.tensors = workload.tensors
        self.problems: list[Problem] = []
        self.names: set[str] = set()
        self.writers: dict[str, list[Einsum]] = {}
        self.views: dict[str, str] = {}

    def report(self, einsum: str, what: str, hint: str = "") -> None:
        self.problems.append(Problem(f"{self.name}: {einsum}", what, hint))

    def items(self, items: tuple[Item, ...], made: set[str]) -> None:
        """Check items in order; `made` is the set of tensors produced so far, and grows."""
        for item in items:
            if isinstance(item, Einsum):
                self.einsum(item, made)
            elif isinstance(item, View):
                self.view(item, made)
            else:
                self.repeat(item, made)

    def repeat(self, item: Repeat, made: set[str]) -> None:
        where = f"repeat '{item.name}'"
        if item.count < 1:
            self.report(where, f"runs {item.count} times", "at least once")
        before = set(made)
        self.items(item.body, made)
        for produced, held in item.carried:
            if produced not in self.tensors or held not in self.tensors:
                missing = produced if produced not in self.tensors else held
                self.report(where, f"carries '{missing}', which is not declared", self.nearest(missing))
                continue
            if produced not in made or produced in before:
                self.report(where, f"carries '{produced}', which its body does not produce")
            if held not in before and self.tensors[held].role not in _STANDING:
                self.report(where, f"carries into '{held}', which nothing produces before the first iteration")
            if self.tensors[produced].shape != self.tensors[held].shape:
                self.report(where, f"carries '{produced}' {self.tensors[produced].shape} into '{held}' "
                                   f"{self.tensors[held].shape}", "the shapes must be equal")

    def view(self, view: View, made: set[str]) -> None:
        where = f"view '{view.output}'"
        if not all(self.readable(where, t, made) for t in (view.input, view.rows) if t):
            return
        if view.output not in self.tensors:
            self.report(where, f"tensor '{view.output}' is not declared", self.nearest(view.output))
            return
        if view.output in made or view.output in self.views:
            self.report(where, f"tensor '{view.output}' is produced twice")
        source, output = self.tensors[view.input], self.tensors[view.output]
        if view.rows:
            if not 0 <= view.axis < len(source.shape):
                self.report(where, f"axis {view.axis} of '{view.input}' {source.shape}", "one of its dimensions")
                return
            shape = source.shape[: view.axis] + self.tensors[view.rows].shape + source.shape[view.axis + 1:]
            if output.shape != shape:
                self.report(where, f"shape {output.shape} of the rows of '{view.input}'", f"must be {shape}")
        elif source.elements != output.elements:
            self.report(where, f"'{view.input}' {source.shape} and '{view.output}' {output.shape} differ in elements")
        self.views[view.output] = view.input
        made.add(view.output)

    def nearest(self, name: str) -> str:
        return nearest(name, self.tensors, "")

    def readable(self, where: str, name: str, made: set[str]) -> bool:
        tensor = self.tensors.get(name)
        if tensor is None:
            self.report(where, f"tensor '{name}' is not declared", self.nearest(name))
            return False
        if name not in made and tensor.role not in _STANDING:
            self.report(where, f"reads {tensor.role} '{name}' before anything produces it")
            return False
        return True

    def einsum(self, einsum: Einsum, made: set[str]) -> None:
        where = f"Einsum '{einsum.name}'"
        if einsum.name in self.names:
            self.report(where, "name is used twice")
        self.names.add(einsum.name)
        for rank, size in einsum.sizes.items():
            if size < 1:
                self.report(where, f"rank '{rank}' has size {size}", "at least 1")
            elif size > LARGEST:
                self.report(where, f"rank '{rank}' has size {size:,}", f"at most {LARGEST:,}")
        self.expression(where, einsum)
        recurrent = {einsum.output.tensor} if einsum.iterative else set()
        for access in einsum.inputs:
            if self.readable(where, access.tensor, made | recurrent):
                self.access(where, access, einsum.sizes, padded=access.pad is not None)
        self.reduction(where, einsum)
        if einsum.iterative:
            self.recurrence(where, einsum)
        target = self.tensors.get(einsum.output.tensor)
        if target is None:
            self.report(where, f"tensor '{einsum.output.tensor}' is not declared", self.nearest(einsum.output.tensor))
            return
        if target.role in (Role.INPUT, Role.WEIGHT):
            self.report(where, f"writes {target.role} '{target.name}'", "only activations, outputs and states")
        if self.access(where, einsum.output, einsum.sizes, padded=False):
            self.one_to_one(where, einsum)
            self.writers.setdefault(target.name, []).append(einsum)
        made.add(target.name)

    def expression(self, where: str, einsum: Einsum) -> None:
        read: set[int] = set()

        def visit(e: Expr) -> None:
            if isinstance(e, Read):
                read.add(e.index)
            elif isinstance(e, Apply):
                operator = operator_of(e)
                if operator is None:
                    self.report(where, f"no operator '{e.op}'", nearest(e.op, OPERATORS, ""))
                elif operator.arity != len(e.args):
                    self.report(where, f"operator '{e.op}' has {len(e.args)} arguments", f"takes {operator.arity}")
                for arg in e.args:
                    visit(arg)
            else:
                assert isinstance(e, Const)

        visit(einsum.expr)
        for definition in dict.fromkeys(definitions(einsum.expr)):
            for wrong, hint in definition_problems(definition):
                self.report(where, wrong, hint)
        if read != set(range(len(einsum.inputs))):
            self.report(where, f"has {len(einsum.inputs)} inputs and reads {sorted(read)}", "each at least once")

    def access(self, where: str, access: Access, sizes: Mapping[str, int], *, padded: bool) -> bool:
        tensor: Tensor = self.tensors[access.tensor]
        if len(access.indices) != len(tensor.shape):
            self.report(where, f"{access} has {len(access.indices)} indices for '{tensor.name}' {tensor.shape}")
            return False
        unknown = sorted(access.ranks - set(sizes))
        if unknown:
            self.report(where, f"{access} uses rank '{unknown[0]}'", f"ranks here: {', '.join(sizes) or 'none'}")
            return False
        for dim, (index, size) in enumerate(zip(access.indices, tensor.shape, strict=True)):
            low, high = index.bounds(sizes)
            if not padded and (low < 0 or high >= size):
                self.report(where, f"{access} runs over {low}..{high} in dimension {dim} of '{tensor.name}' "
                                   f"{tensor.shape}", f"0..{size - 1}, or give the access a pad value")
                return False
        return True

    def reduction(self, where: str, einsum: Einsum) -> None:
        if not einsum.reduce:
            if einsum.reduced_ranks:
                self.report(where, f"ranks {', '.join(einsum.reduced_ranks)} are not in the output and nothing reduces "
                                   "them", "set reduce, such as 'add'")
        elif einsum.reduce not in OPERATORS or OPERATORS[einsum.reduce].identity is None:
            valid = ", ".join(n for n, op in OPERATORS.items() if op.identity is not None)
            self.report(where, f"'{einsum.reduce}' cannot reduce", f"one of {valid}")

    def recurrence(self, where: str, einsum: Einsum) -> None:
        """The output must step along its rank, and be read back at earlier steps alone."""
        rank, out = einsum.iterative, einsum.output
        dims = [d for d, index in enumerate(out.indices) if rank in index.ranks]
        if len(dims) != 1 or out.indices[dims[0]].terms != ((rank, 1),):
            self.report(where, f"iterative rank '{rank}' must index one dimension of {out}, as {rank}+1")
            return
        step = out.indices[dims[0]].offset
        for access in einsum.inputs:
            if access.tensor != out.tensor or len(access.indices) != len(out.indices):
                continue
            back = access.indices[dims[0]]
            if not (back.terms == ((rank, 1),) and back.offset < step):
                self.report(where, f"reads {access} while it writes {out}", f"an earlier step of '{rank}'")

    def one_to_one(self, where: str, einsum: Einsum) -> None:
        seen: set[str] = set()
        for index in einsum.output.indices:
            if seen & set(index.ranks):
                self.report(where, f"a rank stands in two indices of {einsum.output}")
            seen |= set(index.ranks)
            reach = 1
            for rank, c in sorted(index.terms, key=lambda term: abs(term[1])):
                if einsum.sizes[rank] > 1 and abs(c) < reach:
                    self.report(where, f"index {index} of {einsum.output} takes the same value twice")
                reach += abs(c) * (einsum.sizes[rank] - 1)

    def producers(self) -> None:
        for name, writers in self.writers.items():
            tensor = self.tensors[name]
            if name in self.views:
                self.report(f"Einsum '{writers[0].name}'", f"writes '{name}', which is a view of '{self.views[name]}'")
            for one, other in combinations(writers, 2):
                if not _disjoint(one, other):
                    self.report(f"Einsum '{other.name}'", f"writes elements of '{name}' that '{one.name}' writes",
                                "several producers must write disjoint boxes")
            written = sum(prod(w.sizes[r] for r in w.output.ranks) for w in writers)
            if tensor.role is not Role.STATE and written < tensor.elements:
                self.report(f"Einsum '{writers[-1].name}'", f"leaves '{name}' {tensor.shape} unfinished: {written} of "
                                                            f"{tensor.elements} elements are produced")


def _disjoint(one: Einsum, other: Einsum) -> bool:
    """True if some dimension separates what the two write: by range, or by ranges of remainders (interleaved)."""
    for a, b in zip(one.output.indices, other.output.indices, strict=True):
        (low_a, high_a), (low_b, high_b) = a.bounds(one.sizes), b.bounds(other.sizes)
        if high_a < low_b or high_b < low_a:
            return True
        strides = {abs(c) for _, c in (*a.terms, *b.terms)}
        for modulus in {*strides, gcd(*strides)} - {0, 1}:
            (low_a, high_a), (low_b, high_b) = _remainders(a, one, modulus), _remainders(b, other, modulus)
            # On a circle of `modulus` places: b starts after a ends, and ends before a starts again.
            gap = (low_b - low_a) % modulus
            if gap > high_a - low_a and gap + high_b - low_b < modulus:
                return True
    return False


def _remainders(index: Affine, einsum: Einsum, modulus: int) -> tuple[int, int]:
    """Range of an index without the terms that `modulus` divides."""
    rest = Affine(tuple((r, c) for r, c in index.terms if c % modulus), index.offset)
    return rest.bounds(einsum.sizes)
