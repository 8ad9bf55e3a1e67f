"""Mappings and constraints as YAML, and the structural checks of a Mapping."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.machines import array_machine, gemm

from accelsim.arch.loader import loads_architecture
from accelsim.errors import BadInput, SpecError
from accelsim.ir import Workload, WorkloadBuilder
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
    document,
    dumps_constraints,
    dumps_mapping,
    load_constraints,
    load_mapping,
    loads_constraints,
    loads_mapping,
    save_constraints,
    save_mapping,
    validate,
)
from accelsim.mapping.document import Items, Scalar

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


trees: st.SearchStrategy[Node] = st.recursive(st.builds(Op, names, names, names), larger, max_leaves=12)
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


def plain(node: document.Node) -> object:
    """A node without the lines, for comparison."""
    if isinstance(node, Scalar):
        return node.text, node.quoted
    if isinstance(node, Items):
        return [plain(n) for n in node.items]
    return [(key, line, plain(n)) for key, line, n in node.entries]


@SETTINGS
@given(mappings)
def test_what_is_written_is_read_the_same_by_a_yaml_parser(mapping: Mapping) -> None:
    text = dumps_mapping(mapping)
    own = document._Plain(text).document()  # it is of the part of YAML that needs no general parser
    assert plain(own) == plain(document._general(text, "x"))


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
    with pytest.raises(document._NotPlain):  # it has quotes and lines that only the general parser reads
        document._Plain(BY_HAND).document()


@pytest.mark.parametrize(
    "text",
    [
        "a: b: c", "a: [b", "a: {b: c} d", "- a", "a:\n- b\n c: d", "a: b\n  c: d", "a:\nb: c", "a: 'b'", "a: &x b",
        "a: *b", "a: !t b", "a: |\n  b", "a: >-\n  b", "a: b\n---\nc: d", "%YAML 1.2\n---\na: b", "? a\n: b", "a: b c",
        "a: {b:c}", "a: {b: , c: d}", "a: [, b]", 'a: "b\\q"', "a:\tb", "a: b\r\nc: d", "a: @b", "a: 'b # c'", "a: x#y",
        "a:\n  b: c\n d: e", "a: [b\n", "", "  a: b", "a: {b}", "a: - b", "a", 'a: "b\nc"', "a: b:", "...",
    ],
)  # fmt: skip
def test_what_is_not_plain_yaml_goes_to_the_general_parser(text: str) -> None:
    with pytest.raises(document._NotPlain):
        document._Plain(text).document()


@pytest.mark.parametrize(
    "text",
    [
        "a: b", "a:\n- b\n- c: d\n  e: f\n", "a:\n  - - b\n    - c\n  - d", "a: {b: [c, {d: e}], f: \"g\\u00e9\\n\"}",
        "a: -1.5e-3", 'a: "x # y" # z', "a: b#c", "a: [ ]\nb: { }", "a: [b, c,]", "# x\n\na: b   \n\n# y", "a.b: ./c+d",
        "a:\n\n  # in between\n  b: c\nd: e", 'a: "b:c"', '"a b": c', "a: {\"b\": c}", "a: ...", "a: .5",
        "{a: b}", "{}", '{a: "# x", b: "\\"", c: "\\\\"} # "y"', 'a: b # "', 'a: "\\" # x" #',
    ],
)  # fmt: skip
def test_plain_yaml_is_read_as_the_general_parser_reads_it(text: str) -> None:
    try:
        own = document._Plain(text).document()
    except document._NotPlain:
        assert text in ("a: b#c", )
    else:
        assert plain(own) == plain(document._general(text, "x"))


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
        "m.yaml:3: duplicate key 'workload' (first given in line 1)",
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
        ("", "m.yaml: the file is empty"),
        ("- a", "m.yaml:1: must be a mapping"),
        ("workload: &a x\narchitecture: *a\nroot: {seq: []}", "m.yaml:1: aliases are not read"),
        ("workload: !!python/object:os.system x\n", "m.yaml:1: tag tag:yaml.org,2002:python/object:os.syste is not"),
        ("workload: !danger x\narchitecture: a\nroot: {seq: []}", "m.yaml:1: tag !danger is not read"),
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
        loads_constraints("operators:\n  a: {unti: x, tiles: {m: 0}, order: [m, m]}\n  a: {}\ntensor: {}\n", "c.yaml")
    assert str(caught.value).splitlines() == [
        "c.yaml:2: operators.a: unknown key 'unti' (did you mean 'unit'?)",
        "c.yaml:2: operators.a.order: a rank is named twice",
        "c.yaml:2: operators.a.tiles.m: `0` is not a whole number of at least 1",
        "c.yaml:3: operators: duplicate key 'a' (first given in line 2)",
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


# -- validation ------------------------------------------------------------------------------------------------------

HOME = (Stay("A", "dram", (), ()), Stay("B", "dram", (), ()), Stay("matmul", "dram", (), ()))
GOOD = Mapping(
    "gemm",
    "array_machine",
    Seq((Loop("m", 8, Loop("n", 8, Op("matmul", "array", "os"))),)),
    HOME,
    (
        Move("A", "dram", "sram", (0,), (0, "body")),
        Move("B", "dram", "sram", (0,), (0, "body", "body")),
        Move("matmul", "sram", "dram", (0, "body", "body"), (0,), store=True),
    ),
)
OP = Op("matmul", "array", "os")


def problems(mapping: Mapping, workload: Workload | None = None) -> list[str]:
    return [str(p) for p in validate(mapping, workload or gemm(32, 32, 32), array_machine())]


def test_a_good_mapping_has_no_problems() -> None:
    assert problems(GOOD) == []


def tree(root: Node) -> Mapping:
    return replace(GOOD, root=root, stays=HOME, moves=())


def moved(**changes: object) -> Mapping:
    return replace(GOOD, moves=(replace(GOOD.moves[0], **changes), *GOOD.moves[1:]))  # type: ignore[arg-type]


def stored(**changes: object) -> Mapping:
    return replace(GOOD, moves=(*GOOD.moves[:2], replace(GOOD.moves[2], **changes)))  # type: ignore[arg-type]


def stayed(*stays: Stay) -> Mapping:
    return replace(GOOD, stays=(*HOME, *stays))


FAULTS: list[tuple[Mapping, str]] = [
    (tree(Seq((Op("matmull", "array", "os"),))), "position 0: the model has no Einsum 'matmull' (did you mean 'matmul"),
    (tree(Seq((Op("matmul", "aray", "os"),))), "position 0: the machine has no unit 'aray' (did you mean 'array'?)"),
    (tree(Seq((Op("matmul", "array", "rs"),))), "position 0: array cannot run matmul as 'rs' (it can as "),
    (tree(Seq((Op("matmul", "array", "os"), OP))), "position 1: Einsum matmul is run twice: 0 runs it, too"),
    (tree(Seq(())), "position .: a Seq without children"),
    (tree(Seq((OP, Par(())))), "position 1: a Par without children"),
    (tree(Seq((OP, Par(())))), "position 1: a Par without children"),
    (tree(Pipe((OP,), (1,))), "position .: 1 depths between 1 stages (one for each stage but the first)"),
    (tree(Loop("m", 0, OP)), "position .: tile 0 of rank 'm' (at least 1)"),
    (tree(Loop("mm", 4, OP)), "position .: no Op below has a rank 'mm' (did you mean 'm'?)"),
    (tree(Iterate("layer", 2, OP)), "position .: the model has no Repeat 'layer' (there is none)"),
    (moved(due=(0, "body", 3)), "moves[0] (A): due 0.body.3 is no position (below 0.body there is body)"),
    (moved(issue=(7,), due=(0,)), "moves[0] (A): issue 7 is no position (below . there is 0)"),
    (moved(issue=(0, "body", "body")), "moves[0] (A): is issued inside a loop outside of which it is due"),
    (moved(tensor="AA"), "moves[0] (AA): the model has no tensor 'AA' (did you mean 'A'?)"),
    (moved(src="drum"), "moves[0] (A): the machine has no memory 'drum' (did you mean 'dram'?)"),
    (moved(src="sram"), "moves[0] (A): nothing joins sram and sram (sram is joined to dram)"),
    (moved(buffers=0), "moves[0] (A): 0 buffers (at least 1)"),
    (moved(tensor="matmul"), "moves[0] (matmul): no Op at or below 0.body reads matmul (no Op does)"),
    (moved(tensor="B", due=(0, "body", "body")), "moves[1] (B): moves what moves[0] moves, too"),
    (stored(tensor="A"), "moves[2] (A): no Op at or below 0.body.body makes A (no Op does)"),
    (stored(issue=(0,), due=(0, "body")), "moves[2] (matmul): ends inside a loop outside of which it is issued"),
    (stayed(Stay("A", "sran", (), ())), "stays[3] (A): the machine has no memory 'sran' (did you mean 'sram'?)"),
    (stayed(Stay("X", "sram", (), ())), "stays[3] (X): the model has no tensor 'X'"),
    (stayed(Stay("A", "sram", (1,), ())), "stays[3] (A): from 1 is no position (below . there is 0)"),
    (stayed(Stay("A", "sram", (0, "body"), (0,))), "stays[3] (A): begins and ends in different loops"),
    (stayed(Stay("A", "sram", (), (), -4)), "stays[3] (A): address -4 (at least 0)"),
    (stayed(Stay("A", "sram", (), (), None, (0, 2))), "stays[3] (A): has iterations, but the tensor has one instance"),
    (stayed(Stay("A", "dram", (0,), (0,))), "stays[3] (A): is in dram already, by stays[0] (one is enough)"),
]


@pytest.mark.parametrize(("mapping", "message"), FAULTS, ids=[message.split(" (")[0][:60] for _, message in FAULTS])
def test_a_planted_fault_is_found(mapping: Mapping, message: str) -> None:
    found = problems(mapping)
    assert any(line.startswith(message) for line in found), found


def test_a_tensor_larger_than_its_memory() -> None:
    found = problems(stayed(Stay("A", "sram", (), ())), gemm(1024, 32, 1024))
    assert found == ["stays[3] (A): 2,097,152 bytes, 1,048,576 more than sram has (sram has 1,048,576)"]


def chain() -> Workload:
    """Two vector operators of different extents and a contraction that no vector unit of rate 0 could run."""
    b = WorkloadBuilder("chain")
    x = b.input("x", (12, 8))
    y = b.elementwise("exp", x, out="y", name="first")
    b.output(b.elementwise("exp", b.view(y, (6, 16)), out="z", name="second"))
    return b.build()


def test_a_loop_around_ops_cuts_one_extent() -> None:
    ops = (Op("first", "vector", "simd"), Op("second", "vector", "simd"))
    found = problems(Mapping("chain", "array_machine", Loop("i0", 4, Seq(ops))), chain())
    assert found == [
        "position .: the loop cuts i0 of first into tiles of 12 and i0 of second into tiles of 6 "
        "(one loop cuts ranks of one extent)"
    ]


def test_views_stay_under_the_name_of_their_storage() -> None:
    ops = Seq((Op("first", "vector", "simd"), Op("second", "vector", "simd")))
    mapping = Mapping("chain", "array_machine", ops, (Stay("y.view", "sram", (0,), (1,)),))
    assert problems(mapping, chain()) == ["stays[0] (y.view): 'y.view' is a view (its bytes are those of 'y')"]


def test_a_unit_that_cannot_run_an_einsum() -> None:
    ops = Seq((Op("first", "array", "os"), Op("second", "vector", "simd")))
    found = problems(Mapping("chain", "a", ops), chain())
    assert found == ["position 0: array cannot run first (units that can: vector)"]


def test_moves_in_the_wrong_order() -> None:
    ops = Seq((Op("first", "vector", "simd"), Op("second", "vector", "simd")))
    moves = (
        Move("x", "dram", "sram", (1,), (0,)),
        Move("y", "dram", "sram", (0,), (1,)),
        Move("z", "sram", "dram", (1,), (0,), store=True),
        Move("y", "sram", "dram", (0,), (1,), store=True),
    )
    assert problems(Mapping("chain", "a", ops, (), moves), chain()) == [
        "moves[0] (x): due 0 does not come after issue 1 (the same position, one inside it, or a later child of a Seq)",
        "moves[2] (z): due 0 does not come after issue 1 (the same position, one around it, or a later child of a Seq)",
    ]


# -- every Einsum once, over Repeats ---------------------------------------------------------------------------------


def layers(count: int = 6) -> Workload:
    b = WorkloadBuilder("layers")
    h = b.input("h", (4, 4))
    with b.repeat("layer", count) as scope:
        w = b.weight("w", (4, 4))
        out = b.matmul(h, w, out="h_out", name="mm")
        scope.carry(out, h)
    b.output(b.elementwise("exp", out, out="y", name="last"))
    return b.build()


MM, LAST = Op("mm", "array", "os"), Op("last", "vector", "simd")


@pytest.mark.parametrize(
    ("root", "messages"),
    [
        (Seq((Iterate("layer", 6, MM), LAST)), []),
        (Seq((Iterate("layer", 2, MM), Iterate("layer", 4, MM, 2), LAST)), []),
        (Seq((Iterate("layer", 2, MM), Iterate("layer", 3, MM, 2), LAST)),
         ["position 0.body: Einsum mm is run 5 times (its Repeats run it 6 times)"]),
        (Seq((Iterate("layer", 4, MM), Iterate("layer", 3, MM, 3), LAST)),
         ["position 1.body: Einsum mm is run twice: 0.body runs the same iterations of it, too"]),
        (Seq((Iterate("layer", 7, MM), LAST)), ["position 0: iterations 0 to 7 of layer (it has 0 to 6)"]),
        (Seq((MM, LAST)), ["position 0: mm runs inside iterations of nothing (it needs an Iterate for each of layer)"]),
        (Iterate("layer", 6, Seq((MM, LAST))),
         ["position body.1: last runs inside iterations of layer (it is in no Repeat)"]),
        (Seq((Iterate("layer", 6, Iterate("layer", 6, MM)), LAST)),
         ["position 0.body: layer iterates inside layer (it stands in none)"]),
    ],
)  # fmt: skip
def test_every_iteration_runs_once(root: Node, messages: list[str]) -> None:
    found = problems(Mapping("layers", "array_machine", root), layers())
    assert found[: len(messages)] == messages
    assert bool(found) == bool(messages)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6)), min_size=1, max_size=4))
def test_partial_ranges_must_be_disjoint_and_cover(ranges: list[tuple[int, int]]) -> None:
    ranges = [(start, min(count, 6 - start)) for start, count in ranges]
    root = Seq((*(Iterate("layer", count, MM, start) for start, count in ranges), LAST))
    exact = sorted(i for start, count in ranges for i in range(start, start + count)) == list(range(6))
    assert (not problems(Mapping("layers", "array_machine", root), layers())) == exact


def test_nested_repeats() -> None:
    b = WorkloadBuilder("nested")
    x = b.input("x", (4, 4))
    with b.repeat("outer", 2), b.repeat("inner", 3):
        b.elementwise("exp", x, out="y", name="op")
    op = Op("op", "vector", "simd")
    check: Callable[[Node], list[str]] = lambda root: problems(Mapping("nested", "a", root), b.build())  # noqa: E731
    assert check(Iterate("outer", 2, Iterate("inner", 3, op))) == []
    split = Iterate("outer", 2, Seq((Iterate("inner", 1, op), Iterate("inner", 2, op, 1))))
    assert check(split) == []
    assert check(Iterate("inner", 3, Iterate("outer", 2, op)))
    corner = Seq((Iterate("outer", 1, Iterate("inner", 3, op)), Iterate("outer", 1, Iterate("inner", 2, op), 1)))
    assert check(corner) == ["position 0.body.body: Einsum op is run 5 times (its Repeats run it 6 times)"]
    stays = (Stay("y", "sram", ("body",), ("body",), None, (1, 2)),)
    mapping = Mapping("nested", "a", Iterate("outer", 2, Iterate("inner", 3, op)), stays)
    assert problems(mapping, b.build()) == []
    wrong = replace(mapping, stays=(replace(stays[0], iterations=(1, 3)),))
    assert problems(wrong, b.build()) == ["stays[0] (y): iterations 1 to 4 of inner (it has 0 to 3)"]


def test_moves_join_neighbours() -> None:
    arch = loads_architecture(
        """
name: tiers
clock: 1 GHz
memories:
  ddr: {kind: dram, capacity: 64 GiB, bandwidth: unlimited}
  hbm: {kind: dram, capacity: 4 GiB, bandwidth: unlimited, parent: ddr}
  sram: {kind: buffer, capacity: 1 MiB, parent: hbm, bandwidth: unlimited}
  side: {kind: buffer, capacity: 1 MiB, parent: hbm, bandwidth: unlimited}
units:
  array: {kind: systolic, memory: sram, rows: 8, cols: 8}
links:
  bus: {kind: link, between: [sram, side]}
"""
    )
    found = {
        (src, dst): [p.what for p in validate(moved(src=src, dst=dst, due=(0,)), gemm(8, 8, 8), arch)
                     if p.where.startswith("moves[0]") and "joins" in p.what]
        for src in arch.memories
        for dst in arch.memories
    }  # fmt: skip
    joined = {("ddr", "hbm"), ("hbm", "sram"), ("hbm", "side"), ("sram", "side")}
    assert {pair for pair, what in found.items() if not what} == joined | {(b, a) for a, b in joined}
