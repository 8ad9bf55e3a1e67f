"""FuseMax's published mappings: rows within tolerance, and machines that are moved by 20 %."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim import simulate
from accelsim.arch.loader import load_spec
from accelsim.engine import compiled, reference
from accelsim.engine.checker import check
from accelsim.experiments.fusemax.bindings import side_and_capacity
from accelsim.experiments.fusemax.cascade import BATCH, MODELS, Model, one_pass
from accelsim.experiments.fusemax.closed_forms import (
    DRAM_BYTES_PER_S,
    binding_cycles,
    latency_s,
    resident_traffic_bytes,
    traffic_bytes,
)
from accelsim.experiments.fusemax.ladder import machine_of, run
from accelsim.experiments.fusemax.machines import OUTSIDE_BAND, SMALL_BUFFERS, Small, side_values
from accelsim.experiments.fusemax.mappings import Pieces, fused, fused_in_pieces, fused_in_strips
from accelsim.experiments.fusemax.pareto import pareto_figure, pareto_rows
from accelsim.experiments.loader import data_path, load_experiment, table
from accelsim.lowering import lower
from accelsim.mapping.replay import replay
from accelsim.mapping.validate import validate
from accelsim.mapping.yaml_form import loads
from accelsim.mapping.yaml_text import dumps
from accelsim.report.cautions import moved_bytes

PACKAGE = "accelsim.experiments.fusemax"
BERT = MODELS[0]


def test_every_row_with_a_tolerance_is_within_it() -> None:
    rows = load_experiment("fusemax").run().rows
    assert len(rows) > 350
    assert [r.where for r in rows if r.ok is False] == []
    above = [r.accelsim for r in rows if r.quantity == "steady fluid bound above its bound"]
    assert len(above) == len(OUTSIDE_BAND)
    assert above[0] is not None and above[0] > 0.05  # no order of transfers brings its mapping into the band


def test_closed_forms_agree_with_every_printed_figure() -> None:
    models = {m.name: m for m in MODELS}
    for r in table(PACKAGE, "attention.csv"):
        design, model, tokens = r["design"], models[r["model"]], 1024 * int(r["tokens"].removesuffix("K"))
        assert latency_s(design, model, tokens) == pytest.approx(float(r["latency_s"]), rel=5e-7)
        assert traffic_bytes(design, model, tokens) == pytest.approx(float(r["dram_bytes"]), rel=5e-6)


def random_machines(number: int) -> list[tuple[dict[str, object], Model, int]]:
    """Machines whose buffer is at least four times as large as the tiles of scores on their way."""
    rng, found = Random(5), list[tuple[dict[str, object], Model, int]]()
    while len(found) < number:
        side, size, buffer = (
            rng.choice([16, 32, 64, 128, 256, 512]),
            rng.choice([16, 32, 64, 96, 128]),
            rng.choice([2, 4, 8, 16, 32, 64]),
        )
        exp, clock, tokens = rng.randint(1, 12), rng.randint(300, 3000), rng.choice([1024, 4096, 16384, 65536])
        if 8 * (4 + side // size) * side**2 > buffer << 20 or side > tokens:
            continue
        values = {
            **side_values(side), "clock": f"{clock} MHz", "memories.buffer.capacity": f"{buffer} MiB",
            "units.array2d.rates.exp": f"1/{exp}", "units.array1d.rates.exp": f"1/{exp}",
        }  # fmt: skip
        found.append((values, replace(rng.choice(MODELS), head_size=size), tokens))
    return found


@pytest.mark.parametrize("number", range(24))
def test_any_machine_stays_within_its_band(number: int) -> None:
    """Simulated latency, bound and traffic of the binding on arrays, clocks, heads, buffers and exps at random."""
    values, model, tokens = random_machines(24)[number]
    report = run("binding", model, tokens, tuple(values.items()))
    assert 1 <= report.cycles / report.bounds.program <= 1.05
    side, buffer = side_and_capacity(report.arch)
    moved = sum(report.traffic_bytes["dram"].values())
    assert moved == resident_traffic_bytes(model, tokens, 2 * model.head_size + 2, side, buffer)
    exp = int(str(values["units.array1d.rates.exp"]).removeprefix("1/"))
    cycles = binding_cycles(model, tokens, side, exp)
    assert report.bounds.program == pytest.approx(max(cycles, moved / DRAM_BYTES_PER_S * float(report.arch.clock)))


@pytest.mark.parametrize(("head_size", "buffer", "exp"), [(64, 2, 3), (64, 2, 12), (80, 3, 12), (128, 3, 6)])
def test_a_large_array_works_with_a_buffer_of_few_tiles(head_size: int, buffer: int, exp: int) -> None:
    """Arrays of 512 x 512 with 2 or 3 MiB, 4 or 6 tiles of scores: one resident block, one buffer where two fail."""
    rates = {f"units.{unit}.rates.exp": f"1/{exp}" for unit in ("array2d", "array1d")}
    values = {**side_values(512), **rates, "memories.buffer.capacity": f"{buffer} MiB"}
    report = run("binding", replace(BERT, head_size=head_size), 16384, tuple(values.items()))
    assert 1 <= report.cycles / report.bounds.program <= 1.05


@pytest.mark.parametrize(
    ("side", "head_size", "buffer", "mhz", "exp", "blocks"),
    [(384, 80, 32, 3000, 6, 16), (512, 48, 16, 2200, 6, 64), (384, 64, 8, 2200, 5, 8), (512, 80, 2, 940, 1, 8)],
)
def test_keys_come_in_time_and_tiles_that_are_too_large_are_halved(
    side: int, head_size: int, buffer: int, mhz: int, exp: int, blocks: int
) -> None:
    """Queries of the next head take a DRAM that is slow for its array for longer than two blocks of keys last."""
    rates = {f"units.{unit}.rates.exp": f"1/{exp}" for unit in ("array2d", "array1d")}
    values = {**side_values(side), **rates, "memories.buffer.capacity": f"{buffer} MiB", "clock": f"{mhz} MHz"}
    report = run("binding", replace(BERT, head_size=head_size), side * blocks, tuple(values.items()), 4)
    assert 1 <= report.cycles / report.bounds.program <= 1.05


@pytest.mark.parametrize(
    ("side", "size", "mhz", "mebibytes", "blocks", "resident", "depth"),
    [(512, 80, 699, 3, 64, 16, 6), (192, 128, 1921, 1, 16, 8, 3)],
)
def test_the_fastest_is_taken(
    side: int, size: int, mhz: int, mebibytes: int, blocks: int, resident: int, depth: int
) -> None:
    """Where the published block leaves one buffer of keys and values, it is faster in pieces, and moves the same."""
    values = {**side_values(side), "clock": f"{mhz} MHz", "memories.buffer.capacity": f"{mebibytes} MiB"}
    model, tokens = replace(BERT, head_size=size), side * blocks
    report = run("binding", model, tokens, tuple(values.items()), 4)
    work = one_pass(model, tokens, 4, side)
    mapping = fused(work.name, side, resident, depth=depth, products=1, streamed=1)
    published = simulate(report.arch, work, mapping=mapping)
    assert report.cycles < 0.8 * published.cycles
    assert report.cycles / report.bounds.program < 1.02
    moved = [sum(r.traffic_bytes["dram"].values()) for r in (report, published)]
    assert moved[0] == moved[1]


@pytest.mark.parametrize("small", SMALL_BUFFERS, ids=lambda small: f"{small.side}-{small.head_size}")
def test_pieces_make_room_for_keys_and_values(small: Small) -> None:
    """Their fastest mappings have everything in pieces, which come into rings, and results in places of these."""
    report = small.run()
    assert 1 <= report.cycles / report.bounds.program <= 1.05
    assert report.mapping is not None
    assert [move.tensor for move in report.mapping.moves if move.ring] == ["Q", "K", "V", "AV"]


def test_strips_of_keys_take_no_room_for_a_tile() -> None:
    """Three eighths of keys and of values, where nine come block by block: the same work, traffic and energy. Scores of
    all four blocks are in registers, two of each, and exponentials in their places, where there are eight and one in
    all. Of maxima, sums and scales there is one beside those of four blocks in place of two, and of maxima of eight."""
    arch, work = machine_of("binding"), one_pass(BERT, 1024, 4, 256)
    blockwise = fused_in_pieces(work.name, 256, 4, Pieces(8, 4, 8, 64, 9, results=16), depth=8)
    striped = fused_in_strips(work.name, 256, 4, 16, Pieces(8, 4, 8, 64, 3, results=16))
    before, after = replay(blockwise, work, arch), replay(striped, work, arch)
    assert before.traffic_bytes == after.traffic_bytes
    spared = before.peaks["buffer"].nbytes - after.peaks["buffer"].nbytes
    assert spared == 2 * (9 - 3) * 256 * 8 * 2 + ((2 + 8 + 2 + 2) - (1 + 1 + 1 + 4 + 1)) * 256 * 2
    assert before.peaks["array2d"].nbytes == (8 + 1) * 256 * 256 * 2
    assert after.peaks["array2d"].nbytes == 2 * 4 * 256 * 256 * 2
    runs = [simulate(arch, work, mapping=mapping) for mapping in (blockwise, striped)]
    assert runs[0].bounds.program == runs[1].bounds.program
    assert runs[0].energy_J == runs[1].energy_J
    assert all(r.cycles <= 1.03 * r.bounds.program for r in runs)


@settings(deadline=None, derandomize=True, max_examples=12)
@given(
    st.integers(1, 3), st.integers(1, 3), st.sampled_from([2, 4, 8]), st.integers(0, 2), st.integers(0, 9),
    st.integers(1, 2),
)  # fmt: skip
def test_strips_never_block(resident: int, blocks: int, strip: int, beside: int, more: int, depth: int) -> None:
    """Kernels and checker agree, all bytes move, and the pool is never fuller than its room."""
    arch = machine_of("binding", tuple(side_values(16).items()))
    work = one_pass(replace(BERT, heads=2, head_size=8), 16 * resident * blocks, 1, 16)
    queries = resident * 4
    channels = min(strip, 4)
    pieces = Pieces(channels, 2, channels, queries + min(more, queries), strip // channels + beside, results=resident)
    mapping = fused_in_strips(work.name, 16, resident, strip, pieces, depth=depth)
    assert loads(dumps(mapping)) == mapping
    assert validate(mapping, work, arch) == []
    program = lower(arch, work, mapping)
    trace = compiled.run(program, record=200_000)
    assert trace.differences(reference.run(program, record=200_000)) == []
    assert check(program, trace) == []
    assert moved_bytes(trace) == {key: n for key, n in replay(mapping, work, arch).traffic_bytes.items() if n}
    streams = 2 * pieces.streamed * channels
    places = (pieces.queries * 2 + streams + channels) * 16 * 2  # and a piece of results
    assert trace.pool_peak[0] <= places == program.platform.pools[0].capacity


def test_pieces_take_less_room_and_move_the_same() -> None:
    """Two eighths of products beside three tiles, nine of keys and of values beside two tiles of each, and of results
    one eighth, the others in places of the rings, beside two tiles."""
    arch, work = machine_of("binding"), one_pass(BERT, 1024, 4, 256)
    whole = fused(work.name, 256, 4)
    parts = fused_in_pieces(work.name, 256, 4, Pieces(8, 4, 8, 64, 9, products=2, results=16))
    before, after = replay(whole, work, arch), replay(parts, work, arch)
    tile = 256 * 64 * 2
    assert before.traffic_bytes == after.traffic_bytes
    spared = before.peaks["buffer"].nbytes - after.peaks["buffer"].nbytes
    eighths = (3 * 8 - 2) + 2 * 7 + (2 * 8 - 1)
    assert spared == eighths * tile // 8 + 2 * 256  # of three tiles of factors, two are left
    runs = [simulate(arch, work, mapping=mapping) for mapping in (whole, parts)]
    assert runs[0].bounds.program == runs[1].bounds.program
    assert all(r.cycles <= 1.05 * r.bounds.program for r in runs)


@pytest.mark.parametrize("tokens", [1024, 1 << 20])
def test_binding_follows_its_closed_form(tokens: int) -> None:
    blocks = BERT.heads * 64 * tokens // 256
    report = run("binding", BERT, tokens)
    assert report.bounds.program == blocks * (tokens // 256) * (2 * 64 + 10) + blocks * 64


@pytest.mark.parametrize(
    ("key", "smaller", "larger", "slows"),
    [
        ("clock", "752 MHz", "1128 MHz", True),
        ("units.array1d.lanes", 205, 307, True),
        ("units.array2d.rows", 205, 307, True),  # a tile of 256 folds over fewer rows
        ("units.array2d.cols", 205, 307, True),
        ("units.array2d.rates.exp", "5/36", "1/5", False),  # the row of lanes limits
        ("memories.dram.bandwidth", "320 GiB/s", "480 GiB/s", False),  # hidden behind the arrays
        ("memories.buffer.capacity", "13422000 B", "20132000 B", False),  # the mapping is replayed as it is
    ],
)
def test_a_smaller_machine_is_never_faster(key: str, smaller: object, larger: object, slows: bool) -> None:
    spec = load_spec(data_path(PACKAGE, "fusemax.yaml"))
    work = one_pass(BERT, 1024)
    mapping = fused(work.name, 256, 4, blocks=2)
    less, more = (
        simulate(spec.with_values({key: value}).build(), work, mapping=mapping).latency_s for value in (smaller, larger)
    )
    assert less > 1.02 * more if slows else less == pytest.approx(more, rel=0.01)


@pytest.mark.parametrize(
    ("key", "unit", "action"),
    [
        ("units.array2d.mac_energy", "pJ", "mac"),
        ("units.array2d.register_energy", "pJ/48 bit", "register"),
        ("units.array2d.energies.exp", "pJ", "exp"),
        ("memories.dram.read_energy", "pJ/64 bit", "read"),
        ("memories.buffer.write_energy", "pJ/4096 bit", "write"),
    ],
)
def test_energy_follows_its_price(key: str, unit: str, action: str) -> None:
    component = key.split(".")[1]
    reports = [run("binding", BERT, 1024, ((key, f"{price} {unit}"),)) for price in (80, 100, 120)]
    parts = [sum(e.energy_J for e in r.energy if (e.component, e.action) == (component, action)) for r in reports]
    assert parts[0] == pytest.approx(0.8 * parts[1]) and parts[2] == pytest.approx(1.2 * parts[1])
    assert reports[2].energy_J - reports[1].energy_J == pytest.approx(parts[2] - parts[1])


@settings(deadline=None, max_examples=8, derandomize=True)
@given(
    st.sampled_from([16, 48, 96, 192]),
    st.sampled_from([16, 40, 64, 200]),
    st.sampled_from([8, 12, 24]),
    st.sampled_from(["300 MHz", "940 MHz", "2 GHz"]),
    st.integers(1, 15),
)
def test_other_machines_stay_in_the_band(side: int, head_size: int, buffer: int, clock: str, exp_cycles: int) -> None:
    rate = f"1/{exp_cycles}"
    values = {
        **side_values(side), "clock": clock, "memories.buffer.capacity": f"{buffer} MiB",
        "units.array2d.rates.exp": rate, "units.array1d.rates.exp": rate,
    }  # fmt: skip
    model, tokens = Model("other", 0, 5, head_size, 0), side * 24
    report = run("binding", model, tokens, tuple(values.items()), 3)
    assert 1 <= report.cycles / report.bounds.program <= 1.05
    scale = 3 / BATCH  # the closed forms have the published batch
    moved = scale * resident_traffic_bytes(model, tokens, 2 * head_size + 2, side, buffer * 2**20)
    assert sum(report.traffic_bytes["dram"].values()) == pytest.approx(moved, rel=1e-9)
    cycles = scale * binding_cycles(model, tokens, side, exp_cycles)
    bound_s = max(cycles / float(report.arch.clock), moved / DRAM_BYTES_PER_S)
    assert report.bounds.program / float(report.arch.clock) == pytest.approx(bound_s, rel=1e-6)


def test_the_figure_marks_arrays_that_none_betters() -> None:
    rows = list(pareto_rows())
    figure = pareto_figure(rows)
    best = figure["data"][-1]
    assert 0 < len(best["x"]) < len(rows) // 2
    single = figure["data"][0]
    assert list(single["y"]) == sorted(single["y"], reverse=True)  # a larger array is faster
