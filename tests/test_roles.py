"""Roles of ranks: by the structure of a contraction, whatever its ranks are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from support.einsums import at

from accelsim.ir import Access, Affine, Apply, Einsum, Read
from accelsim.ir.roles import RANK_ROLES, RankRole, rank_roles


def slid(a: str, b: str) -> Affine:
    """A window of ranks a (where) and b (in it), with stride 2 and padding 1."""
    return Affine(((a, 2), (b, 1)), -1)


def einsum(
    output: Sequence[Affine], first: Sequence[Affine], second: Sequence[Affine], sizes: str, reduce: str = "add"
) -> Einsum:
    inputs = Access("A", tuple(first)), Access("B", tuple(second))
    multiply = Apply("mul", (Read(0), Read(1)))
    return Einsum("e", Access("O", tuple(output)), inputs, multiply, dict.fromkeys(sizes, 3), reduce=reduce)


CASES: Mapping[str, tuple[Einsum, Mapping[str, RankRole]]] = {
    "convolution": (
        einsum(at(*"nmpq"), (*at(*"nc"), slid("p", "r"), slid("q", "s")), at(*"mcrs"), "nmpqcrs"),
        {"n": "batch", "m": "output_channel", "p": "row", "q": "column", "c": "input_channel", "r": "filter_row",
         "s": "filter_column"},
    ),
    "convolution, other names, window written first": (
        einsum(at(*"abde"), (*at("a", "c"), Affine((("x", 1), ("d", 1))), Affine((("y", 1), ("e", 1)))), at(*"bcxy"),
               "yxcedba"),
        {"a": "batch", "b": "output_channel", "d": "row", "e": "column", "c": "input_channel", "x": "filter_row",
         "y": "filter_column"},
    ),
    "convolution along one axis": (
        einsum(at(*"nmq"), (*at(*"nc"), slid("q", "s")), at(*"mcs"), "nmqcs"),
        {"n": "batch", "m": "output_channel", "q": "column", "c": "input_channel", "s": "filter_column"},
    ),
    "convolution in space and time": (
        einsum(at(*"mtpq"), (*at("c"), slid("t", "u"), slid("p", "r"), slid("q", "s")), at(*"mcurs"), "mtpqcurs"),
        {"m": "output_channel", "t": "batch", "p": "row", "q": "column", "c": "input_channel", "u": "input_channel",
         "r": "filter_row", "s": "filter_column"},
    ),
    "convolution of single pixels": (
        einsum(at(*"nmpq"), at(*"ncpq"), at(*"mc"), "nmpqc"),
        {"n": "batch", "m": "output_channel", "p": "row", "q": "column", "c": "input_channel"},
    ),
    "grouped convolution": (
        einsum((*at("n"), Affine((("g", 3), ("m", 1))), *at(*"pq")),
               (*at("n"), Affine((("g", 3), ("c", 1))), slid("p", "r"), slid("q", "s")),
               (Affine((("g", 3), ("m", 1))), *at(*"crs")), "ngmpqcrs"),
        {"n": "batch", "g": "group", "m": "output_channel", "p": "row", "q": "column", "c": "input_channel",
         "r": "filter_row", "s": "filter_column"},
    ),
    "depthwise convolution": (
        einsum(at(*"ngpq"), (*at(*"ng"), slid("p", "r"), slid("q", "s")), at(*"grs"), "ngpqrs"),
        {"n": "batch", "g": "group", "p": "row", "q": "column", "r": "filter_row", "s": "filter_column"},
    ),
    "matrix product": (
        einsum(at(*"mn"), at(*"mk"), at(*"kn"), "mnk"),
        {"m": "column", "n": "output_channel", "k": "input_channel"},
    ),
    "scores of attention": (
        einsum(at(*"bhqk"), at(*"bhqe"), at(*"bhke"), "bhqke"),
        {"b": "group", "h": "group", "q": "column", "k": "output_channel", "e": "input_channel"},
    ),
    "attention with shared keys": (
        einsum(at(*"bhqk"), at(*"bhqe"), at(*"bke"), "bhqke"),
        {"b": "group", "h": "row", "q": "column", "k": "output_channel", "e": "input_channel"},
    ),
    "a vector by a matrix": (
        einsum(at("n"), at("k"), at(*"kn"), "nk"),
        {"n": "output_channel", "k": "input_channel"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_roles_follow_from_the_structure(case: str) -> None:
    made, roles = CASES[case]
    assert dict(rank_roles(made)) == dict(roles)
    assert set(roles.values()) <= set(RANK_ROLES)


def test_other_einsums_have_no_roles() -> None:
    assert rank_roles(einsum(at(*"mn"), at(*"mk"), at(*"kn"), "mnk", reduce="max")) == {}
    exp = Einsum("e", Access("O", at("i")), (Access("A", at("i")),), Apply("exp", (Read(0),)), {"i": 3})
    assert rank_roles(exp) == {}
