"""Cascades of Einsums as YAML: the notation of `accelsim.ir.cascade`, with sizes, roles and bits beside it.

    name: attention
    ranks: {e: 64, m: 1024, p: 1024}       # sizes of ranks
    bits: 16                               # of tensors that say nothing else
    tensors:
      K: {role: state, bits: 8}            # input, weight, activation, output or state; either key may be left out
    einsums:
    - QK[m,p] = Q[e,p] * K[e,m]
    - label: GM[p] = max(m) QK[m,p]
    - SN[m,p] = exp(QK[m,p] - GM[p])

Operators of one's own stand beside them, by what they compute, and by what one application costs where that differs
from what they are made of: a cost class, a list of them, or the operations of each (`accelsim.ir.COST_CLASSES`):

    operators:
      gelu(x): {value: 0.5 * x * (1 + erf(x / 1.4142135623730951)), costs: {exp: 1, mac: 3}}
      scaled_tanh(x, y): {value: y * tanh(x), costs: tanh}
      squared_distance(x, y): (x - y) * (x - y)

A variant names what it `extends`, a cascade of the zoo or a file beside its own. Its ranks, tensors, operators, bits,
name and description come first, and its statements replace those of the base that write the same tensor; `without`
lists tensors whose statements fall away:

    extends: attention_3pass
    without: [A]
    einsums: ["NV[b,h,f,p] = SN[b,h,m,p] * V[b,h,f,m]", "AV[b,h,f,p] = NV[b,h,f,p] / SD[b,h,p]"]

An item of `einsums` is one statement. A statement with a label may stand as it is: YAML reads it as a mapping of one
key, which is put together again. Instead of a list, ``einsums: |`` takes a text of statements, one per line. A
statement that begins with a quote, or holds a ``#`` after a space, must stand in quotes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import BadInput, Problem, SpecError
from ...files import is_file, read_text
from ...ir import Role, Workload, parse_cascade
from ...ir.notation import read_lines
from ...text.document import Document, parse_document
from ...text.names import near, nearest, short

TOP = ("name", "source", "description", "extends", "without", "ranks", "bits", "tensors", "operators", "einsums")

_WRITES = re.compile(r"\s*(?:(?:[A-Za-z_][\w.]*|'[^'\n]*')\s*:\s*)?(?P<tensor>[A-Za-z_][\w.]*|'[^'\n]*')\s*\[")
"""The tensor that a statement writes."""


class _Text(NamedTuple):
    """A statement or the declaration of an operator, and where it stands."""

    text: str
    document: Document
    line: int


@dataclass
class _Parts:
    """What files say, those extended included."""

    sizes: dict[str, int]
    roles: dict[str, Role]
    widths: dict[str, int]
    width: int
    operators: dict[str, _Text]
    statements: list[_Text]


def load_cascade(path: str | Path, *, ranks: Mapping[str, int] | None = None, bits: int | None = None) -> Workload:
    """The Workload of a cascade in a file; see `loads_cascade`."""
    return loads_cascade(read_text(path), str(path), ranks=ranks, bits=bits)


def loads_cascade(
    text: str, file: str = "cascade", *, ranks: Mapping[str, int] | None = None, bits: int | None = None
) -> Workload:
    """The Workload of a cascade in YAML.

    Args:
        text: see the module.
        file: what messages call it, and the name of the Workload unless the text has one.
        ranks: sizes that replace those of the text.
        bits: of tensors for which the text gives none of their own.

    Raises:
        SpecError: everything that is wrong, each with file and line.
        BadInput: `ranks` names a rank that the text does not size.
    """
    document = parse_document(text, file)
    problems: list[Problem] = []
    parts = _parts(document, problems, ())
    lines = [*parts.operators.values(), *parts.statements]
    source = "\n".join(line.text for line in lines)
    if problems:
        _, unread = read_lines(source, file)
        raise SpecError([*problems, *(_placed(p, document, lines) for p in unread)])
    for rank, size in (ranks or {}).items():
        if rank not in parts.sizes:
            raise BadInput(f"{file}: no rank '{rank}' to size ({nearest(rank, parts.sizes)})")
        if size < 1:
            raise BadInput(f"{file}: rank '{rank}' has size {size} (at least 1)")
        parts.sizes[rank] = size
    name = str(document.data.get("name") or Path(file).stem)
    read = partial(parse_cascade, source, parts.sizes, name=name, roles=parts.roles, source=file)
    width = parts.width if bits is None else bits
    try:
        if not parts.widths:
            return read(bits=width)
        tensors = read().tensors  # a first reading finds the names
        return read(bits={**dict.fromkeys(tensors, width), **parts.widths})
    except SpecError as error:
        raise SpecError([_placed(p, document, lines) for p in error.problems]) from None


def _parts(document: Document, problems: list[Problem], seen: tuple[str, ...]) -> _Parts:
    """What a document says, after what it extends; `seen` are the names of those that extend it."""
    top = document.data
    if not isinstance(top, dict):
        raise document.error((), "a cascade is a mapping", "with the keys ranks and einsums")
    problems += [document.problem((key,), f"unknown key '{key}'", nearest(key, TOP)) for key in top if key not in TOP]
    base = None
    if "extends" in top:
        base = _parts(_base(document, str(top["extends"]), seen), problems, (*seen, str(top["extends"])))
    sizes = _sizes(document, problems)
    roles, widths, width = _tensors(document, problems, base.width if base else 16)
    operators = _operators(document, problems)
    statements = _statements(document, problems, optional=base is not None)
    without = _without(document, problems, base)
    if base is None:
        return _Parts(sizes, roles, widths, width, operators, statements)
    gone = {*without, *map(_written, statements)} - {""}
    kept = [line for line in base.statements if _written(line) not in gone]
    return _Parts(
        {**base.sizes, **sizes}, {**base.roles, **roles}, {**base.widths, **widths}, width,
        {**base.operators, **operators}, [*kept, *statements],
    )  # fmt: skip


def _base(document: Document, name: str, seen: tuple[str, ...]) -> Document:
    """The document that another one extends."""
    from .. import zoo

    if name in seen:
        raise document.error(("extends",), f"extends itself: {' extends '.join((*seen, name))}", "end the circle")
    if name in zoo.cascade_names():
        return parse_document(zoo.cascade_text(name), f"{name}.yaml")
    file = Path(document.file).parent / name
    if not name.endswith((".yaml", ".yml")) or not is_file(file):
        known = zoo.cascade_names()
        raise document.error(("extends",), f"no cascade '{short(name)}'",
                             f"{near(name, known)}a file beside this one, or one of {', '.join(known)}")
    return parse_document(read_text(file), str(file))


def _without(document: Document, problems: list[Problem], base: _Parts | None) -> list[str]:
    given = document.data.get("without") or []
    if not isinstance(given, list) or (given and base is None):
        what = "must be a list of tensors" if base else "leaves out statements, and there are none before these"
        problems.append(document.problem(("without",), what, "it goes with extends"))
        return []
    known = {_written(line) for line in base.statements} if base else set()
    for i, name in enumerate(given):
        if name not in known:
            problems.append(document.problem(("without", i), f"nothing writes '{short(name)}'", nearest(name, known)))
    return [str(name) for name in given]


def _written(line: _Text) -> str:
    """The tensor that a statement writes; empty for what is none."""
    match = _WRITES.match(line.text)
    return match["tensor"].strip("'") if match else ""


def _sizes(document: Document, problems: list[Problem]) -> dict[str, int]:
    given = document.data.get("ranks") or {}
    if not isinstance(given, dict):
        problems.append(document.problem(("ranks",), "must be a mapping of ranks to sizes"))
        return {}
    found = {}
    for rank, size in given.items():
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            problems.append(document.problem(("ranks", rank), f"is {short(size)}", "a positive whole number"))
        else:
            found[rank] = size
    return found


def _tensors(
    document: Document, problems: list[Problem], otherwise: int
) -> tuple[dict[str, Role], dict[str, int], int]:
    """Roles and bits of tensors, and the bits of all others."""

    def bits(value: Any, *path: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            problems.append(document.problem(path, f"is {short(value)}", "bits per element, at least 1"))
            return 1
        return value

    roles: dict[str, Role] = {}
    widths: dict[str, int] = {}
    default = bits(document.data.get("bits", otherwise), "bits")
    given = document.data.get("tensors") or {}
    if not isinstance(given, dict):
        problems.append(document.problem(("tensors",), "must be a mapping of tensors to {role: ..., bits: ...}"))
        return roles, widths, default
    known = [str(role) for role in Role]
    for name, spec in given.items():
        spec = {"role": spec} if isinstance(spec, str) else spec
        if not isinstance(spec, dict):
            problems.append(document.problem(("tensors", name), f"is {short(spec)}", "{role: ..., bits: ...}"))
            continue
        for key, value in spec.items():
            if key == "role" and value in known:
                roles[name] = Role(value)
            elif key == "role":
                problems.append(document.problem(("tensors", name, key), f"is {short(value)}",
                                                 nearest(value, known)))
            elif key == "bits":
                widths[name] = bits(value, "tensors", name, "bits")
            else:
                problems.append(document.problem(("tensors", name, key), f"unknown key '{key}'", "role or bits"))
    return roles, widths, default


def _operators(document: Document, problems: list[Problem]) -> dict[str, _Text]:
    """The declarations of operators in the notation, by name."""
    given = document.data.get("operators") or {}
    if not isinstance(given, dict):
        problems.append(document.problem(("operators",), "must be a mapping of operators to what they compute",
                                         "such as squared_distance(x, y): (x - y) * (x - y)"))
        return {}
    found = {}
    for head, spec in given.items():
        at = ("operators", head)
        spec = spec if isinstance(spec, dict) else {"value": spec}
        for key in spec:
            if key not in ("value", "costs"):
                problems.append(document.problem((*at, key), f"unknown key '{short(key)}'", "value or costs"))
        if not re.fullmatch(r"[A-Za-z_]\w*\s*\(.*\)", str(head)):
            problems.append(document.problem(at, "names no arguments", f"such as {short(head)}(x)"))
        if isinstance(spec.get("value"), bool) or not isinstance(spec.get("value"), str | int | float):
            problems.append(document.problem(at, "says not what it computes", "value: an expression of its arguments"))
        costs = _costs(spec["costs"]) if "costs" in spec else ""
        if costs is None:
            hint = "a cost class, a list of them, or {class: number}"
            problems.append(document.problem((*at, "costs"), f"is {short(spec['costs'])}", hint))
        text = " ".join(f"operator {head} = {spec.get('value')} {costs or ''}".split())
        found[str(head).partition("(")[0].strip()] = _Text(text, document, document.position(at).line)
    return found


def _costs(given: object) -> str | None:
    """Costs in the notation; None where they are not written as costs."""
    if isinstance(given, str):
        given = {given: 1}
    if isinstance(given, list) and all(isinstance(c, str) for c in given):
        given = {c: given.count(c) for c in given}
    if not isinstance(given, dict) or not given:
        return None
    if any(isinstance(n, bool) or not isinstance(n, int) for n in given.values()):
        return None
    return "costs " + ", ".join(f"{c} {n}" for c, n in given.items())


def _statements(document: Document, problems: list[Problem], *, optional: bool) -> list[_Text]:
    """The statements, or the lines of their text."""
    given = document.data.get("einsums")
    if isinstance(given, str):
        texts = given.splitlines()
        first = document.position(("einsums",)).line + (1 if len(texts) > 1 else 0)
        return [_Text(text, document, first + i) for i, text in enumerate(texts)]
    if given is None and optional:
        return []
    if not isinstance(given, list) or not given:
        problems.append(document.problem(("einsums",), "must be statements, in a list or one per line",
                                         "such as - Z[m,n] = A[m,k] * B[k,n]"))
        return []
    found = []
    for i, item in enumerate(given):
        if isinstance(item, dict) and len(item) == 1:
            ((label, rest),) = item.items()
            item = f"{label}: {rest}" if isinstance(rest, str) else item
        if not isinstance(item, str):
            problems.append(document.problem(("einsums", i), f"is {short(item)}", "a statement as text"))
            continue
        found.append(_Text(" ".join(item.split()), document, document.position(("einsums", i)).line))
    return found


def _placed(problem: Problem, document: Document, lines: list[_Text]) -> Problem:
    """A problem of the notation, at its line in its file; columns, which count from the statement, are dropped."""
    at = re.match(rf"{re.escape(document.file)}:(\d+):(\d+)", problem.where)
    if at:
        line = lines[min(int(at[1]), len(lines)) - 1]
        return replace(problem, where=f"{line.document.file}:{line.line}{problem.where[at.end():]}")
    named = re.search(r"no tensor '([^']*)'", problem.what)
    for source in dict.fromkeys((document.file, *(line.document.file for line in lines))):
        held = document if source == document.file else next(x.document for x in lines if x.document.file == source)
        if named and ("tensors", named[1]) in held.positions:
            return replace(problem, where=held.where(("tensors", named[1])))
    return problem
