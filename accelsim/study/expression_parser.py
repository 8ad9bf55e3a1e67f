"""From the text of an expression to its tree: arithmetic, comparisons, a few functions, numbers with units, no more.

Binding from loose to tight: ``or``, ``and``, ``not``, comparisons and ``in``, ``+ -``, ``* /``, sign, ``**``. Names
are dotted as columns are (``traffic_bytes.dram.read``); a name of other characters stands between backquotes.
"""

from __future__ import annotations

import re
import sys
from fractions import Fraction
from typing import NamedTuple

from ..errors import Problem, SpecError
from ..text.names import short
from .dimensions import PLAIN, nearest_unit, unit
from .expression_nodes import COMPARISONS, FUNCTIONS, Among, Binary, Call, Name, Node, Number, Text, Unary, is_truth

LONGEST = 1000
DEEPEST = 40
_TOKEN = re.compile(
    r"(?P<number>(?:\d{1,30}\.?\d{0,30}|\.\d{1,30})(?:[eE][-+]?\d{1,3})?(?![\d.]))"
    r"|(?P<quoted>`[^`]+`)|(?P<text>'[^']*'|\"[^\"]*\")"
    r"|(?P<name>[^\W\d]\w*(?:\.\w+)*)"
    r"|(?P<sign>\*\*|<=|>=|==|!=|[-+*/()<>,%])"
)
_UNIT = re.compile(r"%|[^\W\d_]+[²2]?(?:/[^\W\d_]+)?")
_WORDS = ("and", "or", "not", "in")
_FORMS = "names, numbers with units, + - * / **, <= >= < > == !=, and or not in, " + ", ".join(FUNCTIONS)


class ExpressionError(SpecError):
    """An expression that is not well formed or does not fit its columns: its text, the place, what would be valid."""

    def __init__(self, text: str, at: int, what: str, hint: str = "") -> None:
        shown = short(text, 80)
        super().__init__([Problem(f"'{shown}', character {at + 1}", what, hint)])


class _Token(NamedTuple):
    kind: str
    text: str
    at: int
    end: int


def parse(text: str) -> Node:
    """The tree of an expression. Raises ExpressionError."""
    if len(text) > LONGEST:
        raise ExpressionError(text, LONGEST, f"longer than {LONGEST} characters")
    return _Parser(text).whole()


class _Parser:
    """Recursive descent: one method for each level of binding."""

    def __init__(self, text: str) -> None:
        self.text, self.position, self.depth = text, 0, 0
        self.token = self.next()

    def fail(self, at: int, what: str, hint: str = "") -> ExpressionError:
        return ExpressionError(self.text, at, what, hint)

    def next(self) -> _Token:
        while self.position < len(self.text) and self.text[self.position].isspace():
            self.position += 1
        at = self.position
        if at == len(self.text):
            return _Token("end", "", at, at)
        match = _TOKEN.match(self.text, at)
        if match is None:
            hint = "a comparison for equality is ==" if self.text[at] == "=" else _FORMS
            raise self.fail(at, f"'{self.text[at]}' is not understood", hint)
        self.position = match.end()
        kind = str(match.lastgroup)
        if kind == "name" and match[0] in _WORDS:
            kind = "sign"
        return _Token(kind, match[0], at, match.end())

    def take(self, *signs: str) -> _Token | None:
        """Step over the token if it is one of these signs or words."""
        token = self.token
        if token.kind != "sign" or token.text not in signs:
            return None
        self.token = self.next()
        return token

    def expect(self, sign: str, opened: _Token) -> None:
        if not self.take(sign):
            raise self.unexpected(f"a '{sign}' for the '(' of character {opened.at + 1}")

    def unexpected(self, wanted: str) -> ExpressionError:
        shown = f"'{self.token.text}'" if self.token.kind != "end" else "the end"
        return self.fail(self.token.at, f"{wanted} is missing before {shown}")

    def whole(self) -> Node:
        node = self.either()
        if self.token.kind != "end":
            raise self.unexpected("an operator")
        return node

    def either(self) -> Node:
        node = self.both()
        while sign := self.take("or"):
            node = Binary(sign.at, "or", self.truth(node), self.truth(self.both()))
        return node

    def both(self) -> Node:
        node = self.negation()
        while sign := self.take("and"):
            node = Binary(sign.at, "and", self.truth(node), self.truth(self.negation()))
        return node

    def truth(self, node: Node) -> Node:
        if isinstance(node, Name) or is_truth(node):
            return node
        raise self.fail(node.at, "is a number or text where a condition should stand", "such as rows >= 16")

    def number(self, node: Node) -> Node:
        if is_truth(node):
            raise self.fail(node.at, "a condition where a number should stand")
        if isinstance(node, Text):
            raise self.fail(node.at, f"the text '{node.value}' where a number should stand")
        return node

    def negation(self) -> Node:
        if sign := self.take("not"):
            with _Deeper(self):
                return Unary(sign.at, "not", self.truth(self.negation()))
        return self.comparison()

    def comparison(self) -> Node:
        """Also chains: ``1 <= x <= 3`` is ``1 <= x and x <= 3``."""
        left = self.sum()
        found: Node | None = None
        while sign := self.take(*COMPARISONS, "in"):
            if sign.text == "in":
                one: Node = Among(sign.at, left, self.options())
                right = left
            else:
                right = self.sum()
                one = Binary(sign.at, sign.text, left, right)
            found = one if found is None else Binary(sign.at, "and", found, one)
            left = right
        return left if found is None else found

    def options(self) -> tuple[Node, ...]:
        opened = self.take("(")
        if opened is None:
            raise self.unexpected("a list in parentheses, such as ('tile', 'auto'),")
        options = [self.sum()]
        while self.take(","):
            options.append(self.sum())
        self.expect(")", opened)
        return tuple(options)

    def sum(self) -> Node:
        node = self.term()
        while sign := self.take("+", "-"):
            node = Binary(sign.at, sign.text, self.number(node), self.number(self.term()))
        return node

    def term(self) -> Node:
        """A sign before a product is that of the whole: ``-macs / latency`` turns the objective ``macs / latency``."""
        if sign := self.take("-", "+"):
            with _Deeper(self):
                operand = self.number(self.term())
            return Unary(sign.at, "-", operand) if sign.text == "-" else operand
        return self.product()

    def product(self) -> Node:
        node = self.signed()
        while sign := self.take("*", "/"):
            node = Binary(sign.at, sign.text, self.number(node), self.number(self.signed()))
        return node

    def signed(self) -> Node:
        if sign := self.take("-", "+"):
            with _Deeper(self):
                operand = self.number(self.signed())
            return Unary(sign.at, "-", operand) if sign.text == "-" else operand
        return self.power()

    def power(self) -> Node:
        base = self.atom()
        if sign := self.take("**"):
            with _Deeper(self):
                return Binary(sign.at, "**", self.number(base), self.number(self.signed()))
        return base

    def atom(self) -> Node:
        token = self.token
        if opened := self.take("("):
            with _Deeper(self):
                node = self.either()
            self.expect(")", opened)
            return node
        if token.kind == "number":
            return self.literal(token)
        if token.kind == "text":
            self.token = self.next()
            return Text(token.at, token.text[1:-1])
        if token.kind == "quoted":
            self.token = self.next()
            return Name(token.at, token.text[1:-1])
        if token.kind == "name":
            self.token = self.next()
            if self.token.text == "(" and self.token.kind == "sign":
                return self.call(token)
            return Name(token.at, token.text)
        raise self.unexpected("a name or number")

    def literal(self, token: _Token) -> Number:
        """A number and its unit, if it has one: ``3 mJ``, ``64 B/cycle``, ``50 %``."""
        value, dimension = Fraction(token.text), PLAIN
        start = token.end + len(self.text[token.end :]) - len(self.text[token.end :].lstrip())
        match = _UNIT.match(self.text, start)
        if match is not None and match[0] not in _WORDS:
            found = unit(match[0])
            if found is None:
                raise self.fail(start, f"no unit '{match[0]}'", nearest_unit(match[0]))
            value, dimension = value * found[0], found[1]
            self.position = match.end()
        self.token = self.next()
        if value > sys.float_info.max:
            raise self.fail(token.at, f"{token.text} is too large")
        return Number(token.at, float(value), dimension)

    def call(self, function: _Token) -> Call:
        opened = self.take("(")
        assert opened is not None
        if function.text not in FUNCTIONS:
            raise self.fail(function.at, f"no function '{function.text}'", f"there are {', '.join(FUNCTIONS)}")
        arguments: list[Node] = []
        with _Deeper(self):
            while not arguments or self.take(","):
                arguments.append(self.number(self.sum()))
        self.expect(")", opened)
        least, most = FUNCTIONS[function.text]
        if not least <= len(arguments) <= most:
            wanted = str(least) if least == most else f"{least} or more"
            raise self.fail(function.at, f"{function.text} takes {wanted} values, not {len(arguments)}")
        return Call(function.at, function.text, tuple(arguments))


class _Deeper:
    """Counts how deep the parser stands, so that no text exhausts the stack."""

    def __init__(self, parser: _Parser) -> None:
        self.parser = parser

    def __enter__(self) -> None:
        self.parser.depth += 1
        if self.parser.depth > DEEPEST:
            raise self.parser.fail(self.parser.token.at, f"nested more than {DEEPEST} deep")

    def __exit__(self, *_: object) -> None:
        self.parser.depth -= 1
