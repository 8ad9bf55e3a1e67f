"""Mappings and constraints as YAML."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.machines import array_machine, gemm

from accelsim.errors import BadInput, SpecError
from accelsim.mapping import (
    Claim,
    Constraints,
    Iterate,
    Loop,
    Mapping,
    Move,
    Node,
    Op,
    OpConstraint,
    Par,
    Pipe,
    Position,
    Seq,
    Stay,
    dumps_constraints,
    dumps_mapping,
    load_constraints,
    load_mapping,
    loads_constraints,
    loads_mapping,
    save_constraints,
    save_mapping,
)
from accelsim.text.plain import NotPlain, read_plain
from accelsim.text.yaml import MAX_DEPTH, Parsed, _general

SETTINGS = settings(deadline=None, derandomize=True, max_examples=150)

# -- YAML ------------------------------------------------------------------------------------------------------------

names = st.one_of(
    st.sampled_from(["conv1", "/layer/Conv.out", "onnx::MatMul", "123", "0.5", "null", "yes", "a b", "-", "#x", "%"]),
    st.text(min_size=1, max_size=6),
)
counts = st.integers(1, 10**6)
positions: st.SearchStrategy[Position] = st.lists(st.one_of(st.just("body"), st.integers(0, 99)), max_size=4).map(tuple)
floats = st.floats(allow_nan=False, allow_infinity=False)


def pipes(children: st.SearchStrategy[list[Node]]) -> st.SearchStrategy[Node]:
    return children.flatmap(
        lambda c: st.lists(counts, min_size=max(0, len(c) - 1), max_size=max(0, len(c) - 1)).map(
            lambda d: Pipe(tuple(c), tuple(d))
        )
    )


def larger(node: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    several = st.lists(node, max_size=3)
    return st.one_of(
        st.builds(Loop, names, counts, node),
        st.builds(Iterate, names, counts, node, st.integers(0, 9)),
        several.map(lambda c: Seq(tuple(c))),
        several.map(lambda c: Par(tuple(c))),
        pipes(several),
    )


ops = st.builds(Op, names, names, names, registers=st.lists(names, max_size=2).map(tuple))
trees: st.SearchStrategy[Node] = st.recursive(ops, larger, max_leaves=12)
stays = st.builds(
    Stay,
    names,
    names,
    positions,
    positions,
    st.none() | st.integers(0, 2**40),
    st.none() | st.tuples(st.integers(0, 99), counts),
)
moves = st.builds(Move, names, names, names, positions, positions, counts, st.booleans())
claims = st.builds(Claim, names, floats, floats, floats, counts, floats, st.booleans(), st.just("") | names)
mappings = st.builds(
    Mapping,
    names,
    names,
    trees,
    st.lists(stays, max_size=4).map(tuple),
    st.lists(moves, max_size=4).map(tuple),
    st.none() | claims,
)


@SETTINGS
@given(mappings)
def test_a_mapping_survives_its_yaml_form(mapping: Mapping) -> None:
    text = dumps_mapping(mapping)
    again = loads_mapping(text)
    assert again == mapping
    assert again.claim == mapping.claim
    assert dumps_mapping(again) == text


@SETTINGS
@given(mappings)
def test_what_is_written_is_read_the_same_by_a_yaml_parser(mapping: Mapping) -> None:
    text = dumps_mapping(mapping)
    own = read_plain(text, MAX_DEPTH)  # it is of the part of YAML that needs no general parser
    assert Parsed(own, ()) == _general(text, "x")


BY_HAND = """
# a mapping written by hand
workload: 'gemm'
architecture: array_machine
root:   # nested lists, comments, aligned blanks
   seq:
     -  loop: { rank: m,  tile: 64 }   # rows
        body:
          pipe:
              depths: [2,
                       3]
              stages:
              - {op: a, unit: array, variant: os}
              - op: b
                unit: vector
                variant: "simd"
              - {op: c, unit: vector, variant: simd}
stays:
- {tensor: 12, memory: dram}
- {tensor: x, memory: sram, from: 0, to: 0.body.1}
"""


def test_yaml_written_by_hand() -> None:
    mapping = loads_mapping(BY_HAND)
    pipe = Pipe((Op("a", "array", "os"), Op("b", "vector", "simd"), Op("c", "vector", "simd")), (2, 3))
    assert mapping == Mapping(
        "gemm",
        "array_machine",
        Seq((Loop("m", 64, pipe),)),
        (Stay("12", "dram", (), ()), Stay("x", "sram", (0,), (0, "body", 1))),
    )
    with pytest.raises(NotPlain):  # it has quotes and lines that only the general parser reads
        read_plain(BY_HAND, MAX_DEPTH)


def refused(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        loads_mapping(text, "m.yaml")
    return str(caught.value).splitlines()


def test_every_problem_of_a_file_at_once_with_its_line() -> None:
    text = """workload: gemm
architecure: edge
workload: again
root:
  seq:
  - {op: a, unit: b, varient: c}
  - lop: {rank: m, tile: 3}
    body: {op: a, unit: b, variant: c}
  - loop: {rank: m, tile: 0}
    body: {loop: {rank: n, tile: "4"}, seq: []}
  - pipe: {depths: [1], stages: []}
  - iterate: {repeat: layer, count: 2, from: 1}
    body: 3
stays:
- {tensor: x, memory: sram, from: 3.boddy, iterations: [1]}
- tensor: [x]
  memory: ~
moves: 4
claim: {objective: latency, value: much, bound: 1, gap: 0, complete: maybe}
"""
    assert refused(text) == [
        "m.yaml:1: missing key 'architecture' (such as {workload: resnet50, architecture: edge, root: {seq: [...]}})",
        "m.yaml:2: unknown key 'architecure' (did you mean 'architecture'?)",
        "m.yaml:3: workload: duplicate key (first given in line 1; remove one)",
        "m.yaml:6: root.0: unknown key 'varient' (did you mean 'variant'?)",
        "m.yaml:6: root.0: missing key 'variant' (such as {op: conv1, unit: array, variant: os})",
        "m.yaml:7: root.1: must have one of the keys op, loop, iterate, seq, pipe, par (did you mean 'loop'?)",
        "m.yaml:9: root.2.loop.tile: `0` is not a whole number of at least 1",
        "m.yaml:10: root.2.body: is loop and seq at once (such as {loop: {rank: m, tile: 64}, body: ...})",
        "m.yaml:11: root.3.pipe.depths: 1 depths between 0 stages (one for each stage but the first)",
        "m.yaml:12: root.4.iterate: unknown key 'from' (there are count, repeat, start)",
        "m.yaml:13: root.4.body: must have one of the keys op, loop, iterate, seq, pipe, par "
        "(such as {op: conv1, unit: array, variant: os})",
        "m.yaml:15: stays[0].iterations: must be [first, number] (such as [0, 4])",
        "m.yaml:15: stays[0].from: `3.boddy` is not a position (numbers of children and `body`, such as \"3.body\"; "
        'the root is ".")',
        "m.yaml:16: stays[1].tensor: must be a name",
        "m.yaml:17: stays[1].memory: must be a name",
        "m.yaml:18: moves: must be a list (such as [...] or lines that begin with `- `)",
        "m.yaml:19: claim.value: must be a number",
        "m.yaml:19: claim.complete: must be true or false",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("workload: [a", "m.yaml:1: not valid YAML"),
        ("", "m.yaml:1: must be a mapping"),
        ("- a", "m.yaml:1: must be a mapping"),
        ("workload: &a [*a]\n", "m.yaml:1: workload.0: an alias contains itself"),
        (
            "workload: !!python/object:os.system x\n",
            "m.yaml:1: workload: tag tag:yaml.org,2002:python/object:os.system",
        ),
        ("workload: !danger x\narchitecture: a\nroot: {seq: []}", "m.yaml:1: workload: tag !danger is not read"),
        (
            "workload: w\narchitecture: a\nroot: {pipe: {pieces: [1, 1], stages: []}}",
            "m.yaml:3: root.pipe.pieces[1]: stage 1 stands here twice (every stage once)",
        ),
        ("a: " + "[" * 3000 + "]" * 3000, "m.yaml: nested too deep"),
        ("a: " + "{x: " * 3000, "m.yaml: nested too deep"),
    ],
)
def test_what_is_no_mapping_file(text: str, message: str) -> None:
    assert refused(text)[0].startswith(message)


def test_save_and_load(tmp_path: Path) -> None:
    mapping = Mapping("w", "a", Loop("n", 3, Op("x", "y", "z")), (Stay("x", "m", (), ("body",)),))
    file = tmp_path / "m.yaml"
    save_mapping(mapping, file)
    assert load_mapping(file) == mapping
    assert file.stat().st_mode & 0o044
    assert [p.name for p in tmp_path.iterdir()] == ["m.yaml"]
    with pytest.raises(BadInput, match="cannot write"):
        save_mapping(mapping, tmp_path / "none" / "m.yaml")
    with pytest.raises(SpecError, match="cannot read"):
        load_mapping(tmp_path / "none.yaml")


# -- constraints -----------------------------------------------------------------------------------------------------


def test_later_constraints_override_earlier_ones_of_the_same_thing() -> None:
    constraints = loads_constraints(
        """
operators:
  "*": {unit: array}
  Conv: {variant: ws, tiles: {m: 64, k: 8}}
  "conv[12]": {tiles: {m: 32}, order: [m, k]}
  softmax: {unit: vector}
tensors:
  "*.weight": sram
  fc.weight: dram
"""
    )
    assert constraints.for_einsum("conv1", "Conv") == OpConstraint("array", "ws", ("m", "k"), {"m": 32, "k": 8})
    assert constraints.for_einsum("conv3", "Conv") == OpConstraint("array", "ws", None, {"m": 64, "k": 8})
    assert constraints.for_einsum("softmax").unit == "vector"
    assert constraints.memory_of("fc.weight") == "dram"
    assert constraints.memory_of("conv1.weight") == "sram"
    assert constraints.memory_of("x") is None
    assert Constraints().for_einsum("conv1", "Conv").is_free
    assert hash(constraints.for_einsum("conv1", "Conv")) == hash(constraints.for_einsum("conv2", "Conv"))


def test_what_a_constraint_allows() -> None:
    fixed = OpConstraint("array", "ws", ("m", "k"), {"m": 32})
    assert fixed.allows()
    assert fixed.allows(unit="array", variant="ws", order=("n", "m", "g", "k"), tiles={"m": 32, "n": 7})
    assert fixed.allows(order=("k",))
    assert not fixed.allows(unit="vector")
    assert not fixed.allows(variant="os")
    assert not fixed.allows(order=("k", "m"))
    assert not fixed.allows(tiles={"m": 16})
    assert OpConstraint().allows(unit="vector", variant="os", order=("k", "m"), tiles={"m": 16})


constraints_values = st.builds(
    Constraints,
    st.lists(
        st.tuples(
            names,
            st.builds(
                OpConstraint,
                st.none() | names,
                st.none() | names,
                st.none() | st.lists(names, min_size=1, max_size=3, unique=True).map(tuple),
                st.dictionaries(names, counts, max_size=3),
                st.dictionaries(names, st.lists(names, max_size=3, unique=True).map(tuple), max_size=2),
            ),
        ),
        max_size=3,
        unique_by=lambda entry: entry[0],
    ).map(tuple),
    st.lists(st.tuples(names, names), max_size=3, unique_by=lambda entry: entry[0]).map(tuple),
)


@SETTINGS
@given(constraints_values)
def test_constraints_survive_their_yaml_form(constraints: Constraints) -> None:
    assert loads_constraints(dumps_constraints(constraints)) == constraints


def test_problems_of_a_constraints_file() -> None:
    with pytest.raises(SpecError) as caught:
        loads_constraints(
            "operators:\n  a: {unti: x, tiles: {m: 0}, order: [m, m], spread: {x: [k, k]}}\n  a: {}\ntensor: {}\n",
            "c.yaml",
        )
    assert str(caught.value).splitlines() == [
        "c.yaml:2: operators.a: unknown key 'unti' (did you mean 'unit'?)",
        "c.yaml:2: operators.a.order: a rank is named twice",
        "c.yaml:2: operators.a.tiles.m: `0` is not a whole number of at least 1",
        "c.yaml:2: operators.a.spread.x: a rank is named twice",
        "c.yaml:3: operators.a: duplicate key (first given in line 2; remove one)",
        "c.yaml:4: unknown key 'tensor' (did you mean 'tensors'?)",
    ]
    with pytest.raises(BadInput, match="'a' stands twice"):
        Constraints((), (("a", "x"), ("a", "y")))


def test_constraints_that_cannot_apply(tmp_path: Path) -> None:
    constraints = Constraints(
        (("matmull", OpConstraint()), ("MatMul", OpConstraint("aray", order=("x", "k"), tiles={"m": 4}))),
        (("A", "sramm"), ("weights*", "dram"), ("B", "dram")),
    )
    save_constraints(constraints, tmp_path / "c.yaml")
    assert [str(p) for p in load_constraints(tmp_path / "c.yaml").problems(gemm(8, 8, 8), array_machine())] == [
        "operators.matmull: matches no operator of the model (did you mean 'matmul'?)",
        "operators.MatMul: the machine has no unit 'aray' (did you mean 'array'?)",
        "operators.MatMul: no operator that it matches has a rank 'x' (there are k, m, n)",
        "tensors.A: the machine has no memory 'sramm' (did you mean 'sram'?)",
        "tensors.weights*: matches no stored tensor of the model (there are A, B, matmul)",
    ]
