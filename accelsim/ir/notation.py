"""The syntax of the cascade notation: text to statements, each with its place in the text. Meaning is in `cascade`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from ..errors import Problem
from ..text.names import nearest
from .einsum import Apply, Const, Definition, Expr, Read
from .operators import OPERATORS, definition_problems
from .workload import MOST_BITS, Role

T = TypeVar("T")

MOST_DIGITS = 18
"""Of a whole number; no size or offset is larger than 64 bits hold."""


class Place(NamedTuple):
    """Line and column, counted from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class RankSize(Const):
    """The size of a rank as a number in an expression, ``size(m)``; its value is known when sizes are."""

    rank: str = ""
    place: Place = field(default=Place(1, 1))


@dataclass(frozen=True)
class RawIndex:
    """An index as written: terms and an offset. A term is a coefficient, a rank or size or a product of two, places."""

    terms: tuple[tuple[int, tuple[tuple[str, Place], ...]], ...]
    offset: int
    place: Place


@dataclass(frozen=True)
class RawAccess:
    """A tensor under indices as written; `pad` is what padding reads, or None."""

    tensor: str
    indices: tuple[RawIndex, ...]
    pad: float | None
    place: Place


@dataclass(frozen=True)
class Reduction:
    """A reduction as written: ``max(m)``."""

    op: str
    ranks: tuple[tuple[str, Place], ...]
    place: Place


@dataclass(frozen=True)
class Statement:
    """``label: output = reduction expr where m=4 @ kind``; `Read` numbers the accesses in order of appearance."""

    label: str
    output: RawAccess
    reduction: Reduction | None
    expr: Expr
    inputs: tuple[RawAccess, ...]
    where: tuple[tuple[str, int], ...]
    kind: str
    place: Place


@dataclass(frozen=True)
class Declaration:
    """``weight W[m,64] 8 bits``: role, and shape and bits where they are given."""

    role: Role
    tensor: str
    dims: tuple[int | str, ...] | None
    bits: int | None
    place: Place


@dataclass(frozen=True)
class Size:
    """``size m = 128``."""

    rank: str
    value: int
    place: Place


Line = Statement | Declaration | Size

_TOKEN = re.compile(
    r"(?P<space>[ \t\r]+|\#[^\n]*)|(?P<end>[\n;])|(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_.]*)|(?P<quoted>'[^'\n]*')|(?P<symbol>[][(),=+\-*/:@])|(?P<other>.)"
)


class Token(NamedTuple):
    """A piece of text: its kind (name, number, symbol, end), itself, and its place."""

    kind: str
    text: str
    place: Place


def _tokens(text: str) -> list[Token]:
    tokens: list[Token] = []
    line, start, depth = 1, 0, 0
    for match in _TOKEN.finditer(text):
        kind, piece = match.lastgroup or "other", match.group()
        place = Place(line, match.start() - start + 1)
        if piece == "\n":
            line, start = line + 1, match.end()
        if kind == "space" or (piece == "\n" and depth > 0):
            continue
        depth += piece in ("[", "(") if kind == "symbol" else 0
        depth -= (piece in ("]", ")") and depth > 0) if kind == "symbol" else 0
        tokens.append(Token("name", piece[1:-1], place) if kind == "quoted" else Token(kind, piece, place))
    tokens.append(Token("end", "", Place(line, len(text) - start + 1)))
    return tokens


class _NotationError(Exception):
    """What is wrong with the statement that is being read."""

    def __init__(self, place: Place, what: str, hint: str = "") -> None:
        self.place, self.what, self.hint = place, what, hint


def read_lines(text: str, source: str) -> tuple[list[Line], list[Problem]]:
    """All statements of a text, and what is wrong with those that cannot be read (the first thing of each)."""
    reader = _Reader(_tokens(text))
    lines: list[Line] = []
    problems: list[Problem] = []
    for operators in (True, False):  # these first, so that a statement may stand before those that it applies
        reader.at = 0
        while not reader.finished():
            try:
                if reader.at_operator() is not operators:
                    reader.skip_line()
                elif operators:
                    reader.operator()
                else:
                    lines.append(reader.line())
            except _NotationError as wrong:
                problems.append(Problem(f"{source}:{wrong.place.line}:{wrong.place.column}", wrong.what, wrong.hint))
                reader.skip_line()
    return lines, sorted(problems, key=lambda p: _place_in(p, source))


def _place_in(problem: Problem, source: str) -> Place:
    line, column = problem.where.removeprefix(f"{source}:").split(":")
    return Place(int(line), int(column))


class _Reader:
    """Recursive descent over tokens."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens, self.at = tokens, 0
        self.inputs: list[RawAccess] = []
        self.operators: dict[str, Definition] = {}
        self.arguments: tuple[str, ...] | None = None
        """Of the operator that is being declared."""

    def peek(self, ahead: int = 0) -> Token:
        return self.tokens[min(self.at + ahead, len(self.tokens) - 1)]

    def next(self) -> Token:
        token = self.peek()
        self.at += 1
        return token

    def accept(self, text: str) -> bool:
        found = self.peek().kind in ("symbol", "name") and self.peek().text == text
        self.at += found
        return found

    def expect(self, text: str) -> Token:
        if not self.accept(text):
            raise _NotationError(self.peek().place, f"expected '{text}', found {self.found()}")
        return self.tokens[self.at - 1]

    def found(self) -> str:
        token = self.peek()
        return "the end of the line" if token.kind == "end" else f"'{token.text}'"

    def name(self, what: str) -> Token:
        if self.peek().kind != "name":
            raise _NotationError(self.peek().place, f"expected {what}, found {self.found()}")
        return self.next()

    def integer(self) -> int:
        sign = -1 if self.accept("-") else 1
        token = self.next()
        if token.kind != "number" or not token.text.isdecimal():
            raise _NotationError(token.place, f"expected a whole number, found '{token.text}'")
        if len(token.text) > MOST_DIGITS:
            raise _NotationError(token.place, f"a number of {len(token.text)} digits (at most {MOST_DIGITS})")
        return sign * int(token.text)

    def finished(self) -> bool:
        while self.peek().kind == "end" and self.at < len(self.tokens):
            self.at += 1
        return self.at >= len(self.tokens)

    def skip_line(self) -> None:
        while self.peek().kind != "end":
            self.at += 1

    def line(self) -> Line:
        first, second = self.peek(), self.peek(1)
        item: Line
        if first.text == "size" and second.kind == "name":
            self.next()
            rank = self.next()
            self.expect("=")
            item = Size(rank.text, self.integer(), rank.place)
        elif first.text in set(Role) and second.kind == "name":
            item = self.declaration()
        else:
            item = self.statement()
        self.end()
        return item

    def end(self) -> None:
        if self.peek().kind != "end":
            raise _NotationError(self.peek().place, f"expected the end of the statement, found {self.found()}")

    # -- operators ---------------------------------------------------------------------------------------------------

    def at_operator(self) -> bool:
        return self.peek().text == "operator" and self.peek(1).kind == "name" and self.peek(2).text == "("

    def operator(self) -> None:
        """``operator gelu(x) = 0.5 * x * (1 + erf(x / 1.4142)) costs exp 1, mac 3``."""
        self.next()
        name = self.next()
        self.next()
        self.arguments = tuple(token.text for token in self.listed(")", lambda: self.name("an argument")))
        try:
            self.expect("=")
            value = self.sum()
        finally:
            arguments, self.arguments = self.arguments, None
        costs = [self.cost()] if self.accept("costs") else []
        while costs and self.accept(","):
            costs.append(self.cost())
        self.end()
        definition = Definition(name.text, arguments, value, tuple(costs))
        if name.text in self.operators:
            raise _NotationError(name.place, f"operator '{name.text}' is declared twice")
        for what, hint in definition_problems(definition):
            raise _NotationError(name.place, what, hint)
        self.operators[name.text] = definition

    def cost(self) -> tuple[str, int]:
        cost_class = self.name("a cost class").text
        return cost_class, self.integer() if self.peek().kind == "number" else 1

    def declaration(self) -> Declaration:
        role, tensor = Role(self.next().text), self.next()
        dims: list[int | str] | None = None
        if self.accept("["):
            dims = self.listed("]", lambda: self.next().text if self.peek().kind == "name" else self.integer())
        bits = self.integer() if (width := self.peek()).kind == "number" else None
        if bits is not None:
            self.expect("bits")
            if not 1 <= bits <= MOST_BITS:
                raise _NotationError(width.place, f"{tensor.text} has {bits} bits (from 1 to {MOST_BITS})")
        return Declaration(role, tensor.text, None if dims is None else tuple(dims), bits, tensor.place)

    def statement(self) -> Statement:
        first = self.peek()
        label = ""
        if first.kind == "name" and self.peek(1).text == ":":
            label = self.next().text
            self.next()
        self.inputs = []
        output = self.access("a tensor")
        self.expect("=")
        reduction = self.reduction()
        expr = self.sum()
        where: list[tuple[str, int]] = []
        if self.accept("where"):
            where.append(self.binding())
            while self.accept(","):
                where.append(self.binding())
        kind = self.name("a kind").text if self.accept("@") else ""
        return Statement(label, output, reduction, expr, tuple(self.inputs), tuple(where), kind, output.place)

    def binding(self) -> tuple[str, int]:
        rank = self.name("a rank").text
        self.expect("=")
        return rank, self.integer()

    def listed(self, close: str, one: Callable[[], T]) -> list[T]:
        items: list[T] = []
        if self.accept(close):
            return items
        items.append(one())
        while self.accept(","):
            items.append(one())
        self.expect(close)
        return items

    def reduction(self) -> Reduction | None:
        """``max(m)``: an operator over bare names, which are ranks, since tensors carry brackets."""
        ahead = 2
        if self.peek().kind != "name" or self.peek(1).text != "(" or self.peek(ahead).kind != "name":
            return None
        while self.peek(ahead).kind == "name" and self.peek(ahead + 1).text == ",":
            ahead += 2
        if self.peek(ahead).kind != "name" or self.peek(ahead + 1).text != ")" or self.peek(2).text == "inf":
            return None
        op = self.next()
        self.next()
        ranks = self.listed(")", lambda: self.name("a rank"))
        operator = OPERATORS.get(op.text)
        if operator is None or operator.identity is None:
            valid = [n for n, o in OPERATORS.items() if o.identity is not None]
            hint = f"one of {', '.join(valid)}; tensors are written T[...]"
            raise _NotationError(op.place, f"'{op.text}' cannot reduce", hint)
        return Reduction(op.text, tuple((r.text, r.place) for r in ranks), op.place)

    # -- indices -----------------------------------------------------------------------------------------------------

    def access(self, what: str) -> RawAccess:
        tensor = self.name(what)
        if self.arguments is not None:
            hint = f"arguments: {', '.join(self.arguments)}"
            raise _NotationError(tensor.place, "an operator is declared on its arguments alone", hint)
        self.expect("[")
        return RawAccess(tensor.text, tuple(self.listed("]", self.index)), None, tensor.place)

    def index(self) -> RawIndex:
        place = self.peek().place
        terms: list[tuple[int, tuple[tuple[str, Place], ...]]] = []
        offset = 0
        sign = -1 if self.accept("-") else 1
        while True:
            token = self.peek()
            if token.kind == "number":
                value = sign * self.integer()
                if self.accept("*"):
                    rank = self.name("a rank")
                    terms.append((value, ((rank.text, rank.place),)))
                else:
                    offset += value
            else:
                names, factor = [self.name("a rank or a number")], 1
                if self.accept("*"):
                    if self.peek().kind == "name":
                        names.append(self.next())
                    else:
                        factor = self.integer()
                terms.append((sign * factor, tuple((name.text, name.place) for name in names)))
            if not (self.peek().kind == "symbol" and self.peek().text in "+-"):
                return RawIndex(tuple(terms), offset, place)
            sign = -1 if self.next().text == "-" else 1

    # -- expressions ---------------------------------------------------------------------------------------------

    def sum(self) -> Expr:
        left = self.product()
        while self.peek().kind == "symbol" and self.peek().text in "+-":
            op = "add" if self.next().text == "+" else "sub"
            left = Apply(op, (left, self.product()))
        return left

    def product(self) -> Expr:
        left = self.unary()
        while self.peek().kind == "symbol" and self.peek().text in "*/":
            op = "mul" if self.next().text == "*" else "div"
            left = Apply(op, (left, self.unary()))
        return left

    def unary(self) -> Expr:
        if not self.accept("-"):
            return self.primary()
        literal = self.peek().kind == "number" or (self.peek().text == "inf" and self.peek(1).text != "[")
        value = self.unary()
        return Const(-value.value) if literal and isinstance(value, Const) else Apply("neg", (value,))

    def primary(self) -> Expr:
        token = self.peek()
        if token.kind == "number":
            return Const(float(self.next().text))
        if self.accept("("):
            inner = self.sum()
            self.expect(")")
            return inner
        if token.kind != "name":
            raise _NotationError(token.place, f"expected a tensor, a number or an operator, found {self.found()}")
        follower = self.peek(1).text if self.peek(1).kind == "symbol" else ""
        if follower == "[":
            return self.read(self.access("a tensor"))
        if follower == "(":
            return self.call()
        if self.arguments is not None and token.text in self.arguments:
            return Read(self.arguments.index(self.next().text))
        if self.accept("inf"):
            return Const(float("inf"))
        if self.arguments is not None:
            raise _NotationError(token.place, f"no argument '{token.text}'", nearest(token.text, self.arguments))
        hint = f"a tensor is written {token.text}[...], a scalar {token.text}[]"
        raise _NotationError(token.place, f"'{token.text}' has no indices", hint)

    def read(self, access: RawAccess) -> Expr:
        self.inputs.append(access)
        return Read(len(self.inputs) - 1)

    def call(self) -> Expr:
        op = self.next()
        self.expect("(")
        if op.text == "size" and self.arguments is None:
            rank = self.name("a rank")
            self.expect(")")
            return RankSize(float("nan"), rank.text, rank.place)
        if op.text == "pad":
            padded = self.access("the tensor that is padded")
            self.expect(",")
            value = self.unary()
            if not isinstance(value, Const):
                raise _NotationError(op.place, "the padding must be a number")
            self.expect(")")
            return self.read(RawAccess(padded.tensor, padded.indices, value.value, padded.place))
        known = [*OPERATORS, *self.operators]
        if op.text not in known:
            hint = nearest(op.text, known, f"one of {', '.join(known)}; or declare it: operator {op.text}(x) = ...")
            raise _NotationError(op.place, f"no operator '{op.text}'", hint)
        args = self.listed(")", self.sum)
        definition = self.operators.get(op.text)
        arity = len(definition.arguments) if definition is not None else OPERATORS[op.text].arity
        if len(args) != arity:
            raise _NotationError(op.place, f"operator '{op.text}' has {len(args)} arguments", f"takes {arity}")
        return Apply(op.text, tuple(args), definition)
