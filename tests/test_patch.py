"""Loops with a halo, Stays in the place of others, and the patch mapper, against receptive fields point by point."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.kernels import RECORD

from accelsim import simulate
from accelsim.arch.architecture import Architecture
from accelsim.arch.loader import load_spec, loads_architecture
from accelsim.engine import compiled, reference
from accelsim.engine.bounds import program_bound
from accelsim.engine.checker import check
from accelsim.engine.labels import Action
from accelsim.engine.trace import Trace
from accelsim.errors import BadInput, ConstraintError, DoesNotFit, MappingError, SpecError
from accelsim.experiments.loader import Row, data_path
from accelsim.ir import Workload
from accelsim.lowering import lower
from accelsim.mappers.patch import Patching, map_workload
from accelsim.mapping import yaml_form, yaml_text
from accelsim.mapping.constraints import Constraints, OpConstraint
from accelsim.mapping.counting import tally
from accelsim.mapping.nest import tree_text
from accelsim.mapping.replay import replay
from accelsim.mapping.scope import Scope
from accelsim.mapping.tree import BODY, Halo, Loop, Mapping, Move, Op, Pipe, Position, Seq, Stay
from accelsim.mapping.validate import validate
from accelsim.report.occupancy import occupancies
from accelsim.workloads.layers import loads_layers

MACHINE = """
name: machine
clock: 1 GHz
memories:
  dram: {kind: dram, capacity: 16 MiB, bandwidth: 4 GB/s}
  sram: {kind: buffer, capacity: 1 MiB, parent: dram, bandwidth: unlimited}
units:
  vector: {kind: vector, memory: sram, lanes: 1}
"""


def machine() -> Architecture:
    return loads_architecture(MACHINE)


def run(arch: Architecture, workload: Workload, mapping: Mapping) -> Trace:
    """A run that both kernels and the checker agree about, whose bytes and products are those of the replay."""
    program = lower(arch, workload, mapping)
    trace = reference.run(program, record=RECORD)
    assert trace.differences(compiled.run(program, record=RECORD)) == []
    assert check(program, trace) == []
    assert program_bound(program) <= trace.finish
    counted = replay(mapping, workload, arch)
    for (tensor, memory, direction), nbytes in counted.tensor_bytes.items():
        if memory == "dram":
            assert count(trace, "dram", direction, tensor=tensor) == nbytes
    for name, macs in counted.macs.items():
        assert count(trace, "vector", "mac", operator=name) == macs
    return trace


def count(trace: Trace, component: str, action: str, *, tensor: str | None = None, operator: str | None = None) -> int:
    counts = trace.action_counts()
    return sum(
        int(n)
        for a, n in zip(trace.program.actions, counts, strict=True)
        if isinstance(a, Action)
        and (a.component, a.action) == (component, action)
        and tensor in (None, a.tensor)
        and operator in (None, a.operator)
    )


# -- receptive fields, point by point --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    kernel: int
    stride: int
    pad: int
    depthwise: bool


def sizes_of(layers: list[Layer], size: int) -> list[int]:
    """Sizes of the input and of every result, along a side."""
    found = [size]
    for layer in layers:
        found.append((found[-1] + 2 * layer.pad - layer.kernel) // layer.stride + 1)
    return found


def fields(layers: list[Layer], sizes: list[int], wanted: set[int], *, clipped: bool) -> list[set[int]]:
    """Points along a side that every layer makes for the wanted ones of the last."""
    found = [wanted]
    for i in range(len(layers) - 1, 0, -1):
        layer = layers[i]
        points = {layer.stride * x - layer.pad + k for x in found[0] for k in range(layer.kernel)}
        points = set(range(min(points), max(points) + 1))
        found.insert(0, points & set(range(sizes[i])) if clipped else points)
    return found


def text_of(layers: list[Layer], size: int, channels: int) -> str:
    lines = [f"input: [{channels}, {size}, {size}]", "layers:"]
    for layer in layers:
        shape = f"kernel: {layer.kernel}, stride: {layer.stride}, pad: {layer.pad}, bias: false"
        lines.append(f"- depthwise: {{{shape}}}" if layer.depthwise else f"- conv: {{out: {channels}, {shape}}}")
    return "\n".join([*lines, "- global_pool", ""])


@st.composite
def stages(draw: st.DrawFn) -> tuple[list[Layer], int]:
    layers = []
    for _ in range(draw(st.integers(1, 4))):
        kernel = draw(st.sampled_from((1, 2, 3, 5)))
        stride = draw(st.integers(1, 2))
        layers.append(Layer(kernel, stride, draw(st.integers(0, kernel // 2)), draw(st.booleans())))
    size = draw(st.integers(5, 17))
    while sizes_of(layers, size)[-1] < 2 or min(sizes_of(layers, size)) < 1:
        size += 3
    return layers, size


@settings(deadline=None, max_examples=60)
@given(stages(), st.integers(1, 4), st.integers(1, 4), st.sampled_from(("clipped", "whole")))
def test_patches_make_the_receptive_field(stage: tuple[list[Layer], int], rows: int, columns: int, halo: Halo) -> None:
    layers, size = stage
    workload = loads_layers(text_of(layers, size, 2))
    convolutions = [e.name for e, _ in workload.einsums()][: len(layers)]
    sizes = sizes_of(layers, size)
    patching = Patching((rows, columns), convolutions[-1], "whole" if halo == "whole" else "clipped")
    arch = machine()
    mapping = map_workload(workload, arch, patching=patching)
    assert validate(mapping, workload, arch) == []
    trace = run(arch, workload, mapping)
    if (rows, columns) == (1, 1):
        return
    tiles = []
    for parts in (rows, columns):
        tile = -(-sizes[-1] // parts)
        starts = range(0, sizes[-1], tile)
        wanted = [set(range(i, min(i + tile, sizes[-1]))) for i in starts]
        tiles.append([fields(layers, sizes, w, clipped=halo == "clipped") for w in wanted])
    for i, (layer, name) in enumerate(zip(layers, convolutions, strict=True)):
        points = sum(len(a[i]) * len(b[i]) for a, b in product(*tiles))
        each = layer.kernel**2 * 2 * (1 if layer.depthwise else 2)
        assert count(trace, "vector", "mac", operator=name) == each * points


# -- what stays ------------------------------------------------------------------------------------------------------

BLOCK = """
input: [4, 16, 16]
layers:
- conv: {out: 4, kernel: 3, pad: 1, stride: 2, bias: false}
- residual:
  - conv: {out: 12, bias: false}
  - relu6
  - depthwise: {kernel: 3, pad: 1, bias: false}
  - relu6
  - conv: {out: 4, bias: false}
- conv: {out: 8, kernel: 3, pad: 1, stride: 2, bias: false}
- global_pool
"""


def held(mapping: Mapping, workload: Workload, arch: Architecture) -> int:
    """The most bytes of feature maps, buffers aside."""
    scope = Scope(mapping, workload)
    found = occupancies(scope, arch, [tally(scope, move) for move in mapping.moves])
    return max(next(o for o in found if o.memory == "sram").bytes_by_kind["activation"])


def block(**options: object) -> int:
    workload, arch = loads_layers(BLOCK), machine()
    mapping = map_workload(workload, arch, patching=replace(Patching((1, 1)), **options))  # type: ignore[arg-type]
    assert yaml_form.loads(yaml_text.dumps(mapping)) == mapping
    run(arch, workload, mapping)
    return held(mapping, workload, arch)


def test_results_take_the_place_of_inputs() -> None:
    """Maps of 8x8: 4 channels, and 12 in the middle; values of two bytes."""
    image = 8 * 8 * 2
    assert block() == (4 + 12) * image
    assert block(in_place="none") == (4 + 12 + 12) * image  # depthwise, beside the input of the block
    assert block(fuse_residual=False) == (4 + 12 + 4) * image  # the projection, the input of the block beside it
    assert block(fuse_residual=False, in_place="all") == (4 + 12) * image


def test_a_channel_waits_aside() -> None:
    workload, arch = loads_layers(BLOCK), machine()
    with_it, without = (
        map_workload(workload, arch, patching=Patching((1, 1), aside=aside)) for aside in (True, False)
    )
    asides = [stay.aside for stay in with_it.stays if stay.aside]
    assert asides == [8 * 8 * 2]
    assert not any(stay.aside for stay in without.stays)
    assert "in the place of relu6 with 128 bytes aside" in tree_text(with_it)


@pytest.mark.parametrize("halo", ["clipped", "whole"])
def test_both_paths_of_a_residual_have_what_they_need(halo: Halo) -> None:
    workload, arch = loads_layers(BLOCK), machine()
    patching = Patching((2, 2), "conv_4", "whole" if halo == "whole" else "clipped")
    mapping = map_workload(workload, arch, patching=patching)
    assert yaml_form.loads(yaml_text.dumps(mapping)) == mapping
    run(arch, workload, mapping)
    # Rows of the 4x4 result in tiles of 2: the block makes 5 (clipped 4 and 5), what it reads one more on each side.
    macs = replay(mapping, workload, arch).macs
    wide = {"whole": (5 + 5, 7 + 7), "clipped": (4 + 5, 5 + 6)}[halo]
    assert macs["conv_3"] == 12 * 4 * wide[0] ** 2
    assert macs["depthwise"] == 12 * 9 * wide[0] ** 2
    assert macs["conv_2"] == 4 * 12 * wide[1] ** 2
    assert macs["conv"] == 4 * 4 * 9 * wide[1] ** 2


FIRE = """
input: [3, 21, 21]
layers:
- conv: {out: 4, kernel: 3, stride: 2, bias: false}
- concat: [[conv: {out: 6, bias: false}], [conv: {out: 6, kernel: 3, pad: 1, bias: false}]]
- conv: {out: 4, kernel: 3, stride: 2, bias: false}
- global_pool
"""


@pytest.mark.parametrize("halo", ["clipped", "whole"])
def test_branches_that_are_joined(halo: Halo) -> None:
    """A fire module: both parts of the joined map are made in the same boxes, what they read in the larger one."""
    workload, arch = loads_layers(FIRE), machine()
    names = [e.name for e, _ in workload.einsums()]
    last = next(n for n in reversed(names) if n.startswith("conv"))
    patching = Patching((2, 2), last, "whole" if halo == "whole" else "clipped")
    mapping = map_workload(workload, arch, patching=patching)
    run(arch, workload, mapping)
    # 21 -> 10 -> 10 -> 4 pixels: tiles of 2 need rows 0 to 4 and 4 to 8 of ten, and a row more on both sides.
    macs = replay(mapping, workload, arch).macs
    assert macs[last] == workload_macs(workload, last)
    assert macs["conv_2"] == 4 * 6 * (5 + 5) ** 2
    assert macs["conv_3"] == 4 * 6 * 9 * (5 + 5) ** 2
    assert macs["conv"] == 3 * 4 * 9 * {"whole": 7 + 7, "clipped": 6 + 7}[halo] ** 2


def workload_macs(workload: Workload, name: str) -> int:
    return next(e.points for e, _ in workload.einsums() if e.name == name)


def test_one_patch_is_layer_by_layer() -> None:
    workload, arch = loads_layers(BLOCK), machine()
    one = map_workload(workload, arch, patching=Patching((1, 1)))
    assert not any(isinstance(n, Loop) and n.halo for n in one.root.children)  # type: ignore[union-attr]
    assert sum(replay(one, workload, arch).macs.values()) == workload.macs
    roomy = map_workload(workload, arch)  # what fits without patches is not cut
    assert roomy == one


def test_patches_are_as_many_as_a_small_memory_needs() -> None:
    workload = loads_layers(BLOCK)
    least: list[tuple[int, int]] = []
    for capacity in (8192, 2400, 1600):
        arch = loads_architecture(MACHINE.replace("1 MiB", f"{capacity} B"))
        counted = replay(map_workload(workload, arch), workload, arch)
        least.append((sum(counted.macs.values()), counted.peaks["sram"].nbytes))
        assert least[-1][1] <= capacity
    assert workload.macs == least[0][0] < least[1][0] < least[2][0]
    with pytest.raises(DoesNotFit, match=r"sram: .* needs at least [\d,]+ bytes"):
        map_workload(workload, loads_architecture(MACHINE.replace("1 MiB", "256 B")))


@pytest.mark.parametrize(("options", "says"), [
    ({"grid": (0, 1)}, "a grid of 0 x 1 patches"),
    ({"grid": (2, 2), "stage": "conv_2"}, "a patch stage cannot end with 'conv_2'; it can with conv, "),
])
def test_what_cannot_be_cut_is_refused(options: dict[str, object], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        map_workload(loads_layers(BLOCK), machine(), patching=Patching(**options))  # type: ignore[arg-type]


def test_the_mapper_takes_latency_alone_and_no_constraints() -> None:
    with pytest.raises(BadInput, match="objective latency alone"):
        map_workload(loads_layers(BLOCK), machine(), objective="energy")
    fixed = Constraints(operators=(("conv", OpConstraint(unit="vector")),))
    with pytest.raises(ConstraintError, match="takes none"):
        map_workload(loads_layers(BLOCK), machine(), constraints=fixed)


def test_the_claim_is_what_the_run_takes() -> None:
    workload, arch = loads_layers(BLOCK), machine()
    report = simulate(arch, workload, mapper="patch")
    assert report.mapping is not None
    assert report.mapping.claim is not None
    assert report.mapping.claim.value == pytest.approx(report.latency_s * arch.clock)
    assert report.provenance["notes"] == list(workload.notes)  # all is brought to the chip, and the result is stored


# -- the language ----------------------------------------------------------------------------------------------------

TWO = """
input: [2, 9, 9]
layers:
- conv: {out: 3, kernel: 3, pad: 1, bias: false}
- conv: {out: 4, kernel: 3, pad: 1, stride: 2, bias: false}
"""
INNER: Position = (BODY, BODY)
FIRST: Position = (*INNER, 0)


def two(halo: Halo = "clipped", *, rank: str = "p", pipe: bool = False) -> Mapping:
    """Two convolutions in patches of 2x2, written by hand."""
    ops = Op("conv", "vector", "simd"), Op("conv_2", "vector", "simd")
    body = Pipe(ops, (1,)) if pipe else Seq(ops)
    root = Loop(rank, 2, Loop("q", 2, body, halo), halo)
    homes = [Stay(n, "dram", (), ()) for n in ("input", "conv.weight", "conv_2.weight", "conv_2")]
    tile = [] if pipe else [Stay("conv", "sram", FIRST, (*INNER, 1))]
    loads = [Move(n, "dram", "sram", (), (), 1) for n in ("conv.weight", "conv_2.weight")]
    loads.append(Move("input", "dram", "sram", FIRST, FIRST, 1))
    store = Move("conv_2", "sram", "dram", (*INNER, 1), (*INNER, 1), 1, store=True)
    return Mapping("layers", "machine", root, (*homes, *tile), (*loads, store))


@pytest.mark.parametrize("pipe", [False, True])
def test_patches_by_hand(pipe: bool) -> None:
    """Results 0-1, 2-3 and 4 of 5 need rows -1 to 3, 3 to 7 and 7 to 9 of nine, and of the input a row more."""
    workload, arch = loads_layers(TWO), machine()
    clipped, whole = (run(arch, workload, two(halo, pipe=pipe)) for halo in ("clipped", "whole"))
    assert count(clipped, "vector", "mac", operator="conv") == 3 * 2 * 9 * (4 + 5 + 2) ** 2
    assert count(whole, "vector", "mac", operator="conv") == 3 * 2 * 9 * (5 + 5 + 3) ** 2
    # Boxes of accesses reach over the border by the padding: 6, 7 and 4 rows of the input; 7, 7 and 5.
    assert count(clipped, "dram", "read", tensor="input") == 2 * 2 * (6 + 7 + 4) ** 2
    assert count(whole, "dram", "read", tensor="input") == 2 * 2 * (7 + 7 + 5) ** 2
    peak = replay(two(pipe=pipe), workload, arch).peaks["sram"]
    assert {c.nbytes for c in peak.contents if "conv" in c.what and "weight" not in c.what} >= {2 * 3 * 5 * 5}


def problems(mapping: Mapping, workload: Workload | None = None) -> str:
    return "\n".join(map(str, validate(mapping, workload or loads_layers(TWO), machine())))


def test_a_halo_needs_a_rank_of_the_last_result() -> None:
    assert "conv_2, the last Einsum below, has no rank 'c'" in problems(two(rank="c"))
    with pytest.raises(MappingError, match="makes nothing with a rank 'c'"):
        lower(machine(), loads_layers(TWO), two(rank="c"))


def test_a_halo_cuts_what_nothing_else_has_cut() -> None:
    mapping = two()
    assert isinstance(mapping.root, Loop)
    assert "which a loop around it has cut" in problems(replace(mapping, root=Loop("p", 3, mapping.root)))


def test_only_the_last_result_leaves_a_halo() -> None:
    """The block's input, made inside, is also read by the addition behind the Loop."""
    workload = loads_layers(BLOCK)
    mapping = map_workload(workload, machine(), patching=Patching((1, 1), fuse_residual=False))
    assert isinstance(mapping.root, Seq)
    nests = mapping.root.children
    early = replace(mapping, root=Seq((Loop("i2", 4, Seq(nests[:3]), "clipped"), *nests[3:])), stays=(), moves=())
    said = "\n".join(map(str, validate(early, workload, machine())))
    assert "conv is made for the Ops inside the Loop with a halo, but used by residual" in said
    assert "only relu6_2, the last one below, makes what is used elsewhere" in said


def test_a_load_that_slides_in_a_halo_brings_columns_once_per_row_of_patches() -> None:
    """Boxes of 6, 7 and 4 rows, as they stand, and nine columns, without what lies beyond the borders."""
    mapping = two()
    moves = tuple(replace(m, sliding=True) if m.tensor == "input" else m for m in mapping.moves)
    trace = run(machine(), loads_layers(TWO), replace(mapping, moves=moves))
    assert count(trace, "dram", "read", tensor="input") == 2 * 2 * (6 + 7 + 4) * 9


def test_a_tile_that_stays_is_gone_in_the_next_iteration() -> None:
    """Rows of equal number, no halo: the second convolution reads one of the iteration before, kept only outside."""
    text = "input: [2, 9, 9]\nlayers:\n" + 2 * "- conv: {out: 2, kernel: 2, pad: [1, 1, 0, 0], bias: false}\n"
    body = Seq((Op("conv", "vector", "simd"), Op("conv_2", "vector", "simd")))
    homes = [Stay(n, "dram", (), ()) for n in ("input", "conv.weight", "conv_2.weight", "conv_2")]
    moves = [Move(n, "dram", "sram", (), (), 1) for n in ("input", "conv.weight", "conv_2.weight")]
    moves.append(Move("conv_2", "sram", "dram", (BODY, 1), (BODY, 1), 1, store=True))

    def mapping(start: Position, end: Position) -> Mapping:
        stays = (*homes, Stay("conv", "sram", start, end))
        return Mapping("layers", "machine", Loop("p", 3, body), stays, tuple(moves))

    run(machine(), loads_layers(text), mapping((), ()))
    with pytest.raises(MappingError, match="reads more of conv in an iteration"):
        replay(mapping((BODY, 0), (BODY, 1)), loads_layers(text), machine())


def over(text: str, tensor: str, place: str, **fields: object) -> str:
    """What validation says when one result lies in the place of another, layer by layer."""
    workload = loads_layers(text)
    mapping = map_workload(workload, machine(), patching=Patching((1, 1), in_place="none", fuse_residual=False))
    stays = tuple(
        replace(s, over=place, **fields) if s.tensor == tensor and s.memory == "sram" else s  # type: ignore[arg-type]
        for s in mapping.stays
    )
    return "\n".join(map(str, validate(replace(mapping, stays=stays), workload, machine())))


@pytest.mark.parametrize(("tensor", "place", "says"), [
    ("relu6_2", "relu6", ""),
    ("conv_3", "relu6_2", ""),  # pixel by pixel: four channels where twelve were
    ("relu6_2", "conv", "no stay of 'conv' in sram ends at 2"),
    ("conv_4", "residual", "a slice of 128 elements is made where one of 256 is read"),
    ("relu6", "conv", "no stay of 'conv' in sram ends at 1"),
    ("relu6_2", "weights", "no stay of 'weights'"),
])
def test_what_may_lie_in_the_place_of_what(tensor: str, place: str, says: str) -> None:
    said = over(BLOCK, tensor, place)
    assert says in said
    assert bool(said) == bool(says)


def test_one_place_has_one_address_and_no_debt() -> None:
    assert "but at address 64 and not None" in over(BLOCK, "relu6_2", "relu6", address=64)
    assert "-1 bytes aside" in over(BLOCK, "relu6_2", "relu6", aside=-1)


def test_stays_in_one_place_do_not_collide() -> None:
    workload, arch = loads_layers(BLOCK), machine()
    mapping = map_workload(workload, arch, patching=Patching((1, 1), fuse_residual=False))
    top = 0
    addresses: dict[str, int] = {}
    placed = []
    for stay in mapping.stays:
        if stay.memory == "sram":
            address = addresses.get(stay.over, top)
            addresses[stay.tensor] = address
            top += 0 if stay.over else workload.tensors[stay.tensor].nbytes
            stay = replace(stay, address=address)
        placed.append(stay)
    replay(replace(mapping, stays=tuple(placed)), workload, arch)
    apart = tuple(replace(s, over="") for s in placed)
    with pytest.raises(MappingError, match="lie in the same"):
        replay(replace(mapping, stays=apart), workload, arch)


def test_a_halo_in_a_file_is_clipped_or_whole() -> None:
    text = yaml_text.dumps(two()).replace("halo: clipped", "halo: cliped")
    with pytest.raises(SpecError, match="did you mean 'clipped'"):
        yaml_form.loads(text)


# -- the experiment --------------------------------------------------------------------------------------------------

SMALL = BLOCK.replace("[4, 16, 16]", "[4, 64, 64]")


def latency(values: dict[str, object]) -> float:
    spec = load_spec(data_path("accelsim.experiments.mcunetv2", "stm32f746_flash.yaml"))
    arch = spec.with_values(values).build()
    mapping = map_workload(loads_layers(SMALL), arch, patching=Patching((2, 2)))
    return simulate(arch, loads_layers(SMALL), mapping=mapping).latency_s


@pytest.mark.parametrize(("path", "less", "more", "strict"), [
    ("clock", "173 MHz", "259 MHz", True),
    ("memories.flash.read_bandwidth", "3.2 B/cycle", "4.8 B/cycle", True),
    ("memories.sram.bandwidth", "6.4 B/cycle", "9.6 B/cycle", False),
    ("units.core.registers", "12 B", "20 B", False),
    ("memories.sram.capacity", "256 KiB", "384 KiB", False),  # patches are given
    ("memories.flash.capacity", "13 MiB", "19 MiB", False),
    ("memories.flash.write_bandwidth", "200 kB/s", "300 kB/s", True),
])  # fmt: skip
def test_more_of_a_part_is_never_slower(path: str, less: object, more: object, strict: bool) -> None:
    slow, same, fast = latency({path: less}), latency({}), latency({path: more})
    assert slow >= same >= fast
    assert not strict or slow > same > fast


def test_lanes_and_waits() -> None:
    assert latency({"units.core.lanes": 1}) > latency({}) > latency({"units.core.lanes": 4})
    waits = [latency({"memories.flash.latency": f"{n} cycles"}) for n in (10, 8, 6)]
    assert waits == sorted(waits, reverse=True)
    assert waits[0] > waits[2]


def test_figure_shows_the_peaks_and_the_sweep() -> None:
    from accelsim.experiments.mcunetv2.experiment import figure

    where = [f"{n}x{n} patches" for n in (1, 2, 4, 7)]
    rows = [Row(q, w, None, float(i), "", None, "s", "n")
            for q in ("peak activations", "latency") for i, w in enumerate(where)]  # fmt: skip
    first, second, sweep = figure(rows)["data"]
    assert max(first["y"]) == 1372.0
    assert max(second["y"]) == 171.5
    assert sweep["text"] == ["1x1", "2x2", "4x4", "7x7"]
