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

An item of `einsums` is one statement. A statement with a label may stand as it is: YAML reads it as a mapping of one
key, which is put together again. Instead of a list, ``einsums: |`` takes a text of statements, one per line. A
statement that begins with a quote, or holds a ``#`` after a space, must stand in quotes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import BadInput, Problem, SpecError
from ...files import read_text
from ...ir import Role, Workload, parse_cascade
from ...text.document import Document, parse_document
from ...text.names import nearest, short

TOP = ("name", "source", "description", "ranks", "bits", "tensors", "operators", "einsums")


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
    top = document.data
    if not isinstance(top, dict):
        raise document.error((), "a cascade is a mapping", "with the keys ranks and einsums")
    problems = [document.problem((key,), f"unknown key '{key}'", nearest(key, TOP)) for key in top if key not in TOP]
    sizes = _sizes(document, problems)
    roles, own, width = _tensors(document, problems)
    operators, places = _operators(document, problems)
    statements, lines = _statements(document, problems)
    statements, lines = "\n".join([*operators, statements]), [*places, *lines]
    if problems:
        raise SpecError(problems)
    for rank, size in (ranks or {}).items():
        if rank not in sizes:
            raise BadInput(f"{file}: no rank '{rank}' to size ({nearest(rank, sizes)})")
        if size < 1:
            raise BadInput(f"{file}: rank '{rank}' has size {size} (at least 1)")
        sizes[rank] = size
    name = str(top.get("name") or Path(file).stem)
    try:
        return parse_cascade(statements, sizes, name=name, roles=roles, source=file,
                             bits=_widths(statements, own, width if bits is None else bits, name, sizes, roles, file))
    except SpecError as error:
        raise SpecError([_placed(p, document, lines) for p in error.problems]) from None


def _widths(
    statements: str, own: Mapping[str, int], default: int, name: str, sizes: Mapping[str, int],
    roles: Mapping[str, Role], file: str,
) -> int | dict[str, int]:
    """Bits by tensor; a first reading finds the names."""
    if not own:
        return default
    first = parse_cascade(statements, sizes, name=name, roles=roles, source=file)
    return {**dict.fromkeys(first.tensors, default), **own}


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


def _tensors(document: Document, problems: list[Problem]) -> tuple[dict[str, Role], dict[str, int], int]:
    """Roles and bits of tensors, and the bits of all others."""

    def bits(value: Any, *path: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            problems.append(document.problem(path, f"is {short(value)}", "bits per element, at least 1"))
            return 1
        return value

    roles: dict[str, Role] = {}
    widths: dict[str, int] = {}
    default = bits(document.data.get("bits", 16), "bits")
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


def _operators(document: Document, problems: list[Problem]) -> tuple[list[str], list[int]]:
    """The declarations of operators in the notation, and the line of the file on which each stands."""
    given = document.data.get("operators") or {}
    if not isinstance(given, dict):
        problems.append(document.problem(("operators",), "must be a mapping of operators to what they compute",
                                         "such as squared_distance(x, y): (x - y) * (x - y)"))
        return [], []
    texts, lines = [], []
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
        texts.append(" ".join(f"operator {head} = {spec.get('value')} {costs or ''}".split()))
        lines.append(document.position(at).line)
    return texts, lines


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


def _statements(document: Document, problems: list[Problem]) -> tuple[str, list[int]]:
    """The statements as a text, one per line, and the line of the file on which each stands."""
    given = document.data.get("einsums")
    if isinstance(given, str):
        texts = given.splitlines()
        first = document.position(("einsums",)).line + (1 if len(texts) > 1 else 0)
        return given, list(range(first, first + len(texts) + 1))
    if not isinstance(given, list) or not given:
        problems.append(document.problem(("einsums",), "must be statements, in a list or one per line",
                                         "such as - Z[m,n] = A[m,k] * B[k,n]"))
        return "", []
    texts, lines = [], []
    for i, item in enumerate(given):
        if isinstance(item, dict) and len(item) == 1:
            ((label, rest),) = item.items()
            item = f"{label}: {rest}" if isinstance(rest, str) else item
        if not isinstance(item, str):
            problems.append(document.problem(("einsums", i), f"is {short(item)}", "a statement as text"))
            continue
        texts.append(" ".join(item.split()))
        lines.append(document.position(("einsums", i)).line)
    return "\n".join(texts), lines


def _placed(problem: Problem, document: Document, lines: list[int]) -> Problem:
    """A problem of the notation, at its line in the YAML file; columns, which count from the statement, are dropped."""
    at = re.match(rf"{re.escape(document.file)}:(\d+):(\d+)", problem.where)
    if at and int(at[1]) <= len(lines):
        rest = problem.where[at.end():]
        return replace(problem, where=f"{document.file}:{lines[int(at[1]) - 1]}{rest}")
    named = re.search(r"no tensor '([^']*)'", problem.what)
    if named and ("tensors", named[1]) in document.positions:
        return replace(problem, where=document.where(("tensors", named[1])))
    return problem
