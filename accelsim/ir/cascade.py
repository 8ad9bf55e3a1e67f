"""Cascades of Einsums as text.

    size e = 64; size p = 128; size m = 128
    QK[m,p] = Q[e,p] * K[e,m]                 # ranks missing on the left are summed
    GM[p]   = max(m) QK[m,p]                  # or reduced by a named operator
    SN[m,p] = exp(QK[m,p] - GM[p])

A statement is ``[label:] T[index, ...] = [op(rank, ...)] expression [where rank=size, ...] [@ kind]``. Statements end
at the end of the line or at ``;`` and may stand in any order; ``#`` starts a comment. An index is affine in the ranks
(``2*p+r-1``); a rank in capitals is its size: ``RM[I,p]`` is the last step, ``K[e,J*i+j]`` cuts a dimension into
blocks of size(j). An expression has numbers, ``inf``, sizes as numbers (``size(m)``), accesses, ``+ - * /`` and every
operator of `OPERATORS` as a function; ``pad(I[p+r-1], 0)`` reads 0 outside of I.

*Iterative ranks.* ``RM[i+1,p] = max(RM[i,p], LM[i,p])`` steps along i: the tensor has size(i) + 1 elements there, step
0 is given by a statement of its own, ``RM[0,p] = -inf``, and the Einsum has ``iterative="i"``. A recurrence stands in
one statement.

*Operators* of one's own are declared with what they compute, on the built-in ones and those declared before, and with
the operations that one application costs by cost class; without ``costs``, those of the operators that they are made
of. They map, and do not reduce.

    operator gelu(x) = 0.5 * x * (1 + erf(x / 1.4142135623730951)) costs exp 1, mac 3
    operator squared_distance(x, y) = (x - y) * (x - y)

*Declarations* are optional: ``size m = 128`` for ranks, ``weight W[64,m] 8 bits`` for tensors (role, shape, bits). A
tensor that is not declared is an input if nothing produces it, an output if nothing reads it, else an activation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter

from ..errors import BadInput, Problem, SpecError
from ..text.names import nearest
from .builder import renumber
from .density import FULL
from .einsum import Access, Affine, Apply, Const, Definition, Einsum, Expr, definitions, quoted
from .notation import Declaration, Place, RankSize, RawAccess, RawIndex, Size, Statement, read_lines
from .validate import validate
from .workload import Role, Tensor, Workload


def parse_cascade(
    text: str,
    sizes: Mapping[str, int] | None = None,
    *,
    name: str = "cascade",
    roles: Mapping[str, Role] | None = None,
    bits: int | Mapping[str, int] = 16,
    source: str | None = None,
) -> Workload:
    """The Workload that a text in the cascade notation describes.

    Args:
        text: statements; see the module.
        sizes: of ranks, beside those that the text gives.
        name: of the Workload.
        roles: of tensors, such as ``{"K": Role.STATE}``; declarations in the text come first.
        bits: per element, of all tensors or by name (16 where nothing is said).
        source: file name for error messages; default: `name`.

    Raises:
        SpecError: everything that is wrong, each with source, line and column.
    """
    return _Parser(text, dict(sizes or {}), name, dict(roles or {}), bits, source or name).workload()


def format_cascade(workload: Workload) -> str:
    """Text that `parse_cascade` reads back as the same Workload (with inputs numbered in order of appearance).

    Raises:
        BadInput: the Workload has Views, Repeats, metadata of groups or densities, which the notation does not have,
            or two operators of one name.
    """
    einsums = [item for item in workload.body if isinstance(item, Einsum)]
    if len(einsums) < len(workload.body):
        raise BadInput(f"{workload.name}: only Einsums can be written as a cascade, not views or repeats")
    grouped = next((t.name for t in workload.tensors.values() if t.metadata_bits), "")
    if grouped:
        raise BadInput(f"{workload.name}: a cascade has no metadata of groups, and '{grouped}' has")
    sparse = next((t.name for t in workload.tensors.values() if t.density != FULL), "")
    if sparse:
        raise BadInput(f"{workload.name}: a cascade has no densities, and '{sparse}' has one")
    sizes: dict[str, int] = {}
    for einsum in einsums:
        for rank, size in einsum.sizes.items():
            sizes.setdefault(rank, size)
    lines = [f"size {rank} = {size}" for rank, size in sizes.items()]
    lines += [str(definition) for definition in _definitions(einsums, workload.name)]
    for t in workload.tensors.values():
        lines.append(f"{t.role} {quoted(t.name)}[{','.join(map(str, t.shape))}] {t.bits} bits")
    for einsum in einsums:
        label = "" if einsum.name == einsum.output.tensor else f"{quoted(einsum.name)}: "
        own = [f"{r}={s}" for r, s in einsum.sizes.items() if sizes[r] != s]
        where = f" where {', '.join(own)}" if own else ""
        lines.append(f"{label}{einsum}{where}" + (f" @ {quoted(einsum.kind)}" if einsum.kind else ""))
    return "\n".join(lines) + "\n"


def _definitions(einsums: Iterable[Einsum], name: str) -> Iterable[Definition]:
    """Operators that are not built in, each once, after those that it is made of."""
    found: dict[str, Definition] = {}
    for einsum in einsums:
        for definition in definitions(einsum.expr):
            if found.setdefault(definition.name, definition) != definition:
                raise BadInput(f"{name}: two operators are called '{definition.name}'")
    return found.values()


class _Parser:
    def __init__(
        self, text: str, sizes: dict[str, int], name: str, roles: dict[str, Role], bits: int | Mapping[str, int],
        source: str,
    ) -> None:
        self.name, self.source, self.sizes, self.roles, self.bits = name, source, sizes, roles, bits
        lines, self.problems = read_lines(text, source)
        self.statements = [line for line in lines if isinstance(line, Statement)]
        self.declared: dict[str, Declaration] = {}
        self.places: dict[str, Place] = {}
        for line in lines:
            if isinstance(line, Size):
                given = self.sizes.setdefault(line.rank, line.value)
                if given != line.value:
                    self.wrong(line.place, f"rank '{line.rank}' has two sizes, {given} and {line.value}")
            elif isinstance(line, Declaration):
                if line.tensor in self.declared:
                    self.wrong(line.place, f"tensor '{line.tensor}' is declared twice")
                self.declared[line.tensor] = line

    def wrong(self, place: Place, what: str, hint: str = "") -> None:
        self.problems.append(Problem(f"{self.source}:{place.line}:{place.column}", what, hint))

    def stop(self) -> None:
        if self.problems:
            raise SpecError(self.problems)

    def workload(self) -> Workload:
        self.stop()
        einsums = [self.einsum(s) for s in self.statements]
        self.stop()
        self.initial_values(einsums)
        order = self.order(einsums)
        self.stop()
        tensors = self.tensors(einsums)
        self.stop()
        workload = Workload(self.name, tensors, tuple(order))
        try:
            validate(workload)
        except SpecError as error:
            raise SpecError([self.placed(p) for p in error.problems]) from None
        return workload

    def placed(self, problem: Problem) -> Problem:
        """A problem of validation, with the line of its Einsum."""
        for name, place in self.places.items():
            if problem.where.endswith(f"Einsum '{name}'"):
                return replace(problem, where=f"{self.source}:{place.line}:{place.column}: Einsum '{name}'")
        return problem

    # -- one statement ---------------------------------------------------------------------------------------------

    def einsum(self, s: Statement) -> Einsum:
        sizes = {**self.sizes, **dict(s.where)}
        output = self.access(s.output, sizes)
        read = [self.access(a, sizes) for a in s.inputs]
        number: dict[Access, int] = {}
        position = [number.setdefault(a, len(number)) for a in read]
        ranks = [r for access in (output, *number) for i in access.indices for r in i.ranks]
        space = {r: sizes[r] for r in ranks if r in sizes}
        name = s.label or self.free_name(s.output.tensor)
        if name in self.places:
            self.wrong(s.place, f"two Einsums are called '{name}'")
        self.places[name] = s.place
        for rank, _ in s.where:
            if rank not in space:
                self.wrong(s.place, f"'where' sizes rank '{rank}', which is not here", f"ranks: {', '.join(space)}")
        gone = [r for r in space if r not in output.ranks]
        reduce = "add" if gone else ""
        if s.reduction is not None:
            reduce = s.reduction.op
            for rank, place in s.reduction.ranks:
                if rank not in gone:
                    why = "it stands on the left" if rank in output.ranks else "no tensor here carries it"
                    self.wrong(place, f"reduction over rank '{rank}', which is not there to reduce: {why}")
            left = [r for r in gone if r not in {r for r, _ in s.reduction.ranks}]
            if left:
                self.wrong(s.reduction.place, f"rank '{left[0]}' is missing on the left and in the reduction",
                           f"{reduce}({','.join(gone)})")
        expr = renumber(self.sized(s.expr, sizes), position)
        return Einsum(name, output, tuple(number), expr, space, reduce, s.kind, self.iterative(output, number))

    def sized(self, expr: Expr, sizes: Mapping[str, int]) -> Expr:
        """The expression with numbers for the sizes of ranks."""
        if isinstance(expr, Apply):
            return replace(expr, args=tuple(self.sized(arg, sizes) for arg in expr.args))
        if not isinstance(expr, RankSize):
            return expr
        if expr.rank not in sizes:
            hint = nearest(expr.rank, sizes, f"ranks: {', '.join(sizes) or 'none'}")
            self.wrong(expr.place, f"rank '{expr.rank}' has no size", hint)
            return Const(1.0)
        return Const(float(sizes[expr.rank]))

    def free_name(self, tensor: str) -> str:
        name, i = tensor, 1
        labels = {s.label for s in self.statements}
        while name in self.places or name in labels:
            i += 1
            name = f"{tensor}_{i}"
        return name

    @staticmethod
    def iterative(output: Access, inputs: Iterable[Access]) -> str:
        """The rank along which the output is read back at an earlier step, or empty."""
        for access in inputs:
            if access.tensor != output.tensor or len(access.indices) != len(output.indices):
                continue
            for now, before in zip(output.indices, access.indices, strict=True):
                if len(now.terms) == 1 and now.terms == before.terms and before.offset < now.offset:
                    return now.terms[0][0]
        return ""

    def access(self, raw: RawAccess, sizes: Mapping[str, int]) -> Access:
        return Access(raw.tensor, tuple(self.index(i, sizes) for i in raw.indices), raw.pad)

    def index(self, raw: RawIndex, sizes: Mapping[str, int]) -> Affine:
        terms: dict[str, int] = {}
        offset = raw.offset
        for coefficient, names in raw.terms:
            ranks = []
            for name, place in names:
                if name in sizes:
                    ranks.append((name, place))
                elif name != name.lower() and name.lower() in sizes:
                    coefficient *= sizes[name.lower()]
                else:
                    hint = nearest(name, sizes, f"ranks: {', '.join(sizes) or 'none'}")
                    self.wrong(place, f"rank '{name}' has no size", hint)
                    return Affine()
            if not ranks:
                offset += coefficient
            elif len(ranks) > 1:
                (one, _), (other, place) = ranks
                hint = f"the size of a rank stands in capitals, such as {one}*{other.upper()}"
                self.wrong(place, f"'{one}*{other}' multiplies two ranks", hint)
            else:
                terms[ranks[0][0]] = terms.get(ranks[0][0], 0) + coefficient
        return Affine(tuple((r, c) for r, c in terms.items() if c), offset)

    # -- the cascade -----------------------------------------------------------------------------------------------

    def initial_values(self, einsums: list[Einsum]) -> None:
        for e in einsums:
            others = [o for o in einsums if o is not e and o.output.tensor == e.output.tensor]
            given = self.declared.get(e.output.tensor)
            standing = given is not None and given.role is Role.STATE
            if e.iterative and not others and not standing:
                first = ",".join("0" if e.iterative in i.ranks else str(i) for i in e.output.indices)
                self.wrong(self.places[e.name], f"iterative rank '{e.iterative}' of '{e.output.tensor}' has no initial "
                           "value", f"such as {e.output.tensor}[{first}] = 0")

    def order(self, einsums: list[Einsum]) -> list[Einsum]:
        """The statements, each after those it needs, otherwise as written."""
        producers: dict[str, list[int]] = {}
        for i, e in enumerate(einsums):
            producers.setdefault(e.output.tensor, []).append(i)
        needs: dict[int, set[int]] = {}
        for i, e in enumerate(einsums):
            found = {j for a in e.inputs for j in producers.get(a.tensor, [])}
            needs[i] = found - {i} if e.iterative else found
        sorter = TopologicalSorter(needs)
        try:
            sorter.prepare()
        except CycleError as error:
            cycle = [einsums[i].name for i in error.args[1]]
            self.wrong(self.places[cycle[0]], f"cyclic cascade: {' needs '.join(reversed(cycle))}",
                       "a recurrence stands in one statement: T[i+1] = f(T[i], ...)")
            return []
        done: list[int] = []
        ready: list[int] = list(sorter.get_ready())
        while ready:
            ready.sort()
            first = ready.pop(0)
            done.append(first)
            sorter.done(first)
            ready.extend(sorter.get_ready())
        return [einsums[i] for i in done]

    def tensors(self, einsums: list[Einsum]) -> dict[str, Tensor]:
        read = {a.tensor for e in einsums for a in e.inputs if a.tensor != e.output.tensor}
        written = {e.output.tensor for e in einsums}
        uses: dict[str, list[tuple[Einsum, Access]]] = {name: [] for name in self.declared}
        for e in einsums:
            for a in (*e.inputs, e.output):
                uses.setdefault(a.tensor, []).append((e, a))
        found: dict[str, Tensor] = {}
        for name, accesses in uses.items():
            if name in self.declared:
                role = self.declared[name].role
            elif name in self.roles:
                role = self.roles[name]
            else:
                role = Role.INPUT if name not in written else Role.ACTIVATION if name in read else Role.OUTPUT
            own = self.declared[name].bits if name in self.declared else None
            width = own or (self.bits if isinstance(self.bits, int) else self.bits.get(name, 16))
            found[name] = Tensor(name, self.shape(name, accesses, name in written), role, width)
        for name in (*self.roles, *(self.bits if isinstance(self.bits, Mapping) else ())):
            if name not in found:
                what = f"no tensor '{name}' to give a role or bits"
                self.problems.append(Problem(self.source, what, nearest(name, found, "")))
        return found

    def shape(self, name: str, uses: list[tuple[Einsum, Access]], written: bool) -> tuple[int, ...]:
        declared = self.declared.get(name)
        if declared is not None and declared.dims is not None:
            return tuple(d if isinstance(d, int) else self.size(d, declared.place) for d in declared.dims)
        if written:
            self.read_in_part(name, uses)
            uses = [(e, a) for e, a in uses if a is e.output]
        if not uses:
            self.wrong(self.declared[name].place, f"the shape of tensor '{name}' is not given, and nothing uses it")
            return ()
        counts = {len(a.indices) for _, a in uses}
        if len(counts) > 1:
            self.wrong(self.places[uses[-1][0].name], f"tensor '{name}' has {sorted(counts)} indices")
            return ()
        return tuple(self.extent(name, d, uses) for d in range(counts.pop()))

    def read_in_part(self, name: str, uses: list[tuple[Einsum, Access]]) -> None:
        """Say where a tensor that one Einsum makes is read along a rank of another size than it was made along."""
        makers = [e for e, a in uses if a is e.output]
        for e, access in uses if len(makers) == 1 else ():
            for dim, (made, read) in enumerate(zip(makers[0].output.indices, access.indices, strict=False)):
                if not all(index == Affine(((index.ranks[0], 1),)) for index in (made, read) if index.ranks):
                    continue
                r1, r2 = (next(iter(index.ranks), "") for index in (made, read))
                one, other = makers[0].sizes.get(r1, 1), e.sizes.get(r2, 1)
                if r1 and r2 and access.pad is None and other < one:
                    self.wrong(self.places[e.name], f"dimension {dim} of '{name}' has two sizes, {one} (rank {r1}) and "
                                                    f"{other} (rank {r2})", "declare it to read a part of it")

    def extent(self, name: str, dim: int, uses: list[tuple[Einsum, Access]]) -> int:
        """Size of a dimension: that of the rank that is its index, else as far as indices reach."""
        plain: dict[int, tuple[Einsum, str]] = {}
        reach = 0
        for e, a in uses:
            index = a.indices[dim]
            if a.pad is None:
                reach = max(reach, 1 + index.bounds(e.sizes)[1])
                if a is not e.output and len(index.terms) == 1 and index == Affine(((index.ranks[0], 1),)):
                    plain.setdefault(e.sizes[index.ranks[0]], (e, index.ranks[0]))
        if len(plain) > 1:
            (one, (_, r1)), (other, (e, r2)) = list(plain.items())[:2]
            self.wrong(self.places[e.name], f"dimension {dim} of '{name}' has two sizes, {one} (rank {r1}) and {other} "
                                            f"(rank {r2})")
        if not reach:
            self.wrong(self.places[uses[0][0].name], f"'{name}' is read with padding alone, so its shape is not known",
                       f"declare it, such as: input {name}[{','.join('8' for _ in uses[0][1].indices)}]")
        return reach

    def size(self, rank: str, place: Place) -> int:
        if rank not in self.sizes:
            self.wrong(place, f"rank '{rank}' has no size", f"ranks: {', '.join(self.sizes) or 'none'}")
        return self.sizes.get(rank, 1)
