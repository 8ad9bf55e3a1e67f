"""Loops with a halo that retain: every point is made once, and the rows that tiles share are held, point by point."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

from hypothesis import given, settings
from support.chains import BYTES, CHANNELS, Case, Layer, cases, count, machine, mapping_of, run

from accelsim.ir import Workload
from accelsim.mapping import yaml_form, yaml_text
from accelsim.mapping.replay import replay
from accelsim.mapping.tree import BODY, Loop, Mapping, Pipe, Seq, Stay
from accelsim.mapping.validate import validate

# -- what is made and held along one side, point by point ------------------------------------------------------------

Sets = list[list[set[int]]]
"""By result (the input first) and iteration: points."""


def along(case: Case, axis: int) -> tuple[Sets, Sets]:
    """Points that are made, and those that are read of what is there, in each iteration of the loop over a side."""
    sizes, tile, halo = case.sizes, case.tiles[axis], case.halos[axis]
    if axis == 1 and case.strips:
        whole = [[set(range(size))] for size in (*sizes, sizes[-1])]
        reached = {case.layers[0].stride * x + k for x in range(sizes[1]) for k in range(case.layers[0].kernel)}
        if case.residual and len(case.layers) == 1:
            reached |= set(range(sizes[0]))
        return [[set(range(min(sizes[0], len(reached))))], *whole[1:-1]], whole
    starts = range(0, sizes[-1], tile)
    made: Sets = [[set(range(i, min(i + tile, sizes[-1]))) for i in starts]]
    read: Sets = []
    for n in range(len(case.layers), 0, -1):
        layer = case.layers[n - 1]
        taken = made[0]
        if case.residual and n == len(case.layers):  # the sum reads the convolution's result point by point
            read.insert(0, taken)
        touched = [{layer.stride * x - layer.pad + k for x in here for k in range(layer.kernel)} for here in taken]
        if case.residual and n == len(case.layers):
            touched = [a | b for a, b in zip(touched, made[0], strict=True)]
        hulls = [set(range(min(t), max(t) + 1)) & set(range(sizes[n - 1])) if t else set() for t in touched]
        read.insert(0, hulls)
        if (halo == "retained" and n > 1) or (n == 1 and case.sliding and axis == (0 if case.strips else 1)):
            done: set[int] = set()
            fresh = []
            for hull in hulls:
                fresh.append({x for x in hull if not done or x > max(done)})
                done |= hull
            made.insert(0, fresh)
        else:
            made.insert(0, hulls)
    return made, read


@settings(deadline=None, max_examples=60, derandomize=True)
@given(cases())
def test_what_is_made_moved_and_held(case: Case) -> None:
    workload = case.workload()
    mapping = mapping_of(case, workload, machine())
    assert [str(p) for p in validate(mapping, workload, machine())] == []
    assert yaml_form.loads(yaml_text.dumps(mapping)) == mapping
    trace = run(machine(), workload, mapping)
    (made_rows, read_rows), (made_columns, read_columns) = along(case, 0), along(case, 1)
    convolutions = [e for e, _ in workload.einsums() if e.kind == "conv" or "conv" in e.name]
    for n, (layer, einsum) in enumerate(zip(case.layers, convolutions, strict=True), 1):
        points = sum(len(a) * len(b) for a, b in product(made_rows[n], made_columns[n]))
        assert count(trace, "vector", "mac", operator=einsum.name) == points * layer.kernel**2 * CHANNELS**2
        if (set(case.halos) == {"retained"} or (case.strips and case.halos[0] == "retained")) and n < len(case.layers):
            assert points == len(set().union(*made_rows[n])) * len(set().union(*made_columns[n]))
    if case.sliding:
        points = sum(len(a) * len(b) for a, b in product(made_rows[0], made_columns[0]))
        moved = count(trace, "dram", "read", tensor="input")
        assert moved == points * CHANNELS * BYTES or not case.strips
    peak = replay(mapping, workload, machine()).peaks["sram"]
    held = {c.what.split(" of ")[1].split(" between")[0]: c.nbytes for c in peak.contents if "results of" in c.what}
    for n, einsum in enumerate(convolutions[:-1], 1):
        # While the first of `depth` tiles is read, the others may be made already.
        most = 0
        for i, j in product(range(len(read_rows[n])), range(len(read_columns[n]))):
            order = [(a, b) for a in range(len(read_rows[n])) for b in range(len(read_columns[n]))]
            at = order.index((i, j))
            there: set[tuple[int, int]] = set()
            for a, b in order[: at + case.depth]:
                there |= set(product(made_rows[n][a], made_columns[n][b]))
            wanted: set[tuple[int, int]] = set()
            for a, b in order[at:]:
                wanted |= set(product(read_rows[n][a], read_columns[n][b]))
            if case.halos[0] == "retained" and (case.strips or case.halos[1] == "retained"):
                most = max(most, len(there & wanted))
        assert held[einsum.output.tensor] >= most * CHANNELS * BYTES


def chain(**changes: object) -> Case:
    base = {
        "layers": (Layer(3, 1, 1), Layer(3, 1, 1)), "residual": False, "size": 12, "tiles": (2, 12),
        "halos": ("retained", "clipped"), "depth": 1, "sliding": True,
    }  # fmt: skip
    return Case(**{**base, **changes})  # type: ignore[arg-type]


def test_rows_in_line_buffers_by_hand() -> None:
    """Tiles of two rows of twelve: the first needs three rows of what is between, later ones two more and two kept."""
    case = chain()
    workload = case.workload()
    trace = run(machine(), workload, mapping_of(case, workload, machine()))
    assert count(trace, "vector", "mac") == workload.macs
    row = 12 * CHANNELS * BYTES
    assert count(trace, "dram", "read", tensor="input") == 12 * row
    peak = replay(mapping_of(case, workload, machine()), workload, machine()).peaks["sram"]
    contents = {c.what: c.nbytes for c in peak.contents}
    assert contents["1 results of conv between stages"] == 4 * row
    assert contents["a buffer of input"] == 4 * row
    deeper = chain(depth=3)
    peak = replay(mapping_of(deeper, workload, machine()), workload, machine()).peaks["sram"]
    assert {c.what: c.nbytes for c in peak.contents}["3 results of conv between stages"] == 8 * row


def test_tiles_of_rows_and_columns_keep_rows_whole_and_columns_of_a_tile() -> None:
    case = chain(tiles=(2, 3), halos=("retained", "retained"))
    workload = case.workload()
    assert count(run(machine(), workload, mapping_of(case, workload, machine())), "vector", "mac") == workload.macs
    peak = replay(mapping_of(case, workload, machine()), workload, machine()).peaks["sram"]
    held = {c.what: c.nbytes for c in peak.contents}["1 results of conv between stages"]
    # Two rows of twelve columns; beside them, of the three rows that the first tiles make, the columns of a box.
    assert held == (2 * 12 + 3 * 5) * CHANNELS * BYTES


def test_recomputed_rows_cost_more_products_and_less_room() -> None:
    retained, again = chain(), chain(halos=("clipped", "clipped"))
    workload = retained.workload()
    macs = [
        sum(replay(mapping_of(c, workload, machine()), workload, machine()).macs.values()) for c in (retained, again)
    ]
    assert macs[0] == workload.macs < macs[1]
    # Of twelve rows in tiles of two, five shared pairs of rows are made again.
    assert macs[1] - macs[0] == 5 * 2 * 12 * 9 * CHANNELS**2


def test_what_is_retained_passes_through_pipes() -> None:
    case = chain()
    workload = case.workload()
    mapping = mapping_of(case, workload, machine())
    assert isinstance(mapping.root, Loop)
    assert isinstance(mapping.root.body, Pipe)
    root = Loop(mapping.root.rank, 2, Seq(mapping.root.body.children), "retained")
    stays = (*mapping.stays, Stay("conv", "sram", (BODY, 0), (BODY, 1)))
    said = problems(workload, Mapping("layers", "machine", root, stays, mapping.moves))
    assert "conv is retained, but conv_2 at body.1 reads it outside of a Pipe" in said


def problems(workload: Workload, mapping: Mapping) -> str:
    return "\n".join(map(str, validate(mapping, workload, machine())))


def test_a_load_slides_along_one_dimension() -> None:
    case = chain(layers=(Layer(3, 1, 1),), sliding=True)
    workload = case.workload()
    mapping = mapping_of(case, workload, machine())
    moves = tuple(replace(m, issue=(BODY,), due=(BODY,), sliding=not m.store) for m in mapping.moves if not m.store)
    said = problems(workload, replace(mapping, moves=(*moves, *(m for m in mapping.moves if m.store))))
    assert said.count("cannot slide") == 1
    assert "it is not cut along one dimension" in said
