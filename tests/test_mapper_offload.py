"""Offloading: the linear program against hand-worked cases, its plans replayed and run, and what does not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from accelsim.arch.loader import load_spec
from accelsim.errors import BadInput, DoesNotFit
from accelsim.mappers.offload import (
    Block,
    Machine,
    Model,
    Part,
    Rates,
    Work,
    best,
    generate,
    machine_of,
    model_of,
    simulate,
    solve,
)
from accelsim.mappers.offload.machine import Role
from accelsim.mapping.tiers.problem import Tier
from accelsim.workloads.huggingface import load_config
from accelsim.workloads.transformer import Bits, build
from accelsim.workloads.zoo import load

MB = 10**6
FLAT: dict[Role, float] = {"weight": 1e9, "cache": 1e9, "hidden": 1e9}


def rates(**changed: object) -> Rates:
    base = Rates((FLAT,), (FLAT,), products=1e12, attention=1e12, beside=1e10)
    return replace(base, **changed)  # type: ignore[arg-type]


def machine(gpu: int = 250 * MB, cpu: int | None = None, **changed: object) -> Machine:
    return Machine("two tiers", (Tier("gpu", gpu), Tier("cpu", cpu)), rates(), rates(**changed))


def layers(count: int = 4, weight: int = 100 * MB) -> Model:
    part = Part("layer", count, weight, 1000, Work(10**9, 10**6, 10**5), Work(10**8, 10**6, 10**4), 100)
    return Model("small", (part,), 500)


BLOCK = Block(2, 3, 100, 9)


def test_weights_that_do_not_fit_stream_at_the_links_rate() -> None:
    """Of 4 x 100 MB, what 250 MB leave besides two layers' buffers; a pass loads the rest at 1 GB/s."""
    policy = solve(machine(), layers(), BLOCK)
    away = policy.weight[1] * 400 * MB
    held = policy.weight[0] * 400 * MB + 2 * 100 * MB * policy.weight[1]
    assert held == pytest.approx(250 * MB, rel=0.03)
    assert policy.seconds == pytest.approx(BLOCK.generated * away / 1e9, rel=0.02)


@pytest.mark.parametrize("changed", [{}, {"ahead": False}, {"streams": False}, {"ahead": False, "streams": False}])
@pytest.mark.parametrize("beside", [False, True])
def test_programs_take_what_the_linear_program_says(changed: dict[str, Any], beside: bool) -> None:
    """Within the share of a pass that its first and last batch stand alone."""
    on, model = machine(**changed), layers(12)
    policy = solve(on, model, BLOCK, beside=beside)
    run = generate(on, model, BLOCK, policy, sampled=9)
    assert policy.seconds * (1 - 1e-9) <= run.seconds * 1.002
    assert run.seconds == pytest.approx(policy.seconds, rel=0.1)
    assert all(run.peaks[t.name] <= t.capacity for t in on.tiers if t.capacity is not None)


def test_overlap_never_hurts() -> None:
    seconds = [
        generate(m := machine(ahead=a, streams=s), layers(8), BLOCK, solve(m, layers(8), BLOCK)).seconds
        for a, s in ((True, True), (False, True), (False, False))
    ]
    assert seconds == sorted(seconds) and seconds[0] < seconds[-1]


def test_three_tiers_pass_through_the_middle() -> None:
    """Weights on disk come by way of a host that holds one layer of them at a time."""
    two = Rates((FLAT, {k: v / 4 for k, v in FLAT.items()}), (FLAT, FLAT), 1e12, 1e12)
    on = Machine("three", (Tier("gpu", 250 * MB), Tier("cpu", 150 * MB), Tier("disk")), two, two)
    model = layers(8)
    policy = solve(on, model, BLOCK)
    assert policy.weight[2] > 0.5
    seconds, ledger = simulate(on, model, BLOCK, policy, "decode", 105)
    assert seconds == pytest.approx(policy.weight[2] * 800 * MB / 0.25e9, rel=0.15)
    assert ledger.peaks["cpu"] <= 150 * MB


def test_sampled_passes_are_near_all() -> None:
    on, model = machine(), layers()
    policy = solve(on, model, BLOCK, beside=True)
    every, few = (generate(on, model, BLOCK, policy, sampled=n).seconds for n in (9, 2))
    assert few == pytest.approx(every, rel=1e-3)


def test_what_fits_nowhere_names_tiers_and_bytes() -> None:
    with pytest.raises(DoesNotFit, match=r"cpu lacks [\d,]+ bytes of [\d,]+; weights are 400,000,000 bytes") as error:
        solve(machine(cpu=100 * MB), layers(), BLOCK)
    assert error.value.exit_code == 3
    with pytest.raises(DoesNotFit, match="gpu lacks"):
        solve(machine(gpu=10 * MB), layers(), BLOCK)


def test_bad_shares_and_rates() -> None:
    with pytest.raises(BadInput, match="add up to 1"):
        solve(machine(), layers(), BLOCK, given={"weight": (0.5, 0.4)})
    with pytest.raises(BadInput, match="no positive rate of inward 0 cache"):
        Machine("m", (Tier("a"), Tier("b")), rates(inward=({"weight": 1.0, "hidden": 1.0},)), rates())
    with pytest.raises(BadInput, match="computes no attention in cpu"):
        solve(machine(beside=None), layers(), BLOCK, beside=True)
    with pytest.raises(BadInput, match="at least one"):
        Block(0, 1, 1, 1)


def test_search_is_no_worse_than_any_number_of_batches() -> None:
    on, model = machine(cpu=420 * MB), layers()
    block, policy = best(on, model, 100, 9, sizes=(1, 2, 4))
    rate = block.tokens / policy.seconds
    tried = []
    for size in (1, 2, 4):
        for batches in (1, 2, 3, 5, 8, 13):
            other = Block(size, batches, 100, 9)
            try:
                tried.append(other.tokens / solve(on, model, other).seconds)
            except DoesNotFit:
                continue
    assert rate >= max(tried) * (1 - 1e-6)


def test_parts_of_a_model_hold_all_its_weights() -> None:
    spec = load_config(load("opt-125m"), name="opt-125m").spec
    bits = Bits(16, 16, 16)
    prefill = build(spec, "prefill", 1, 64, 64, "last", bits)
    decode = build(spec, "decode", 1, 1, 64, "last", bits)
    model = model_of(prefill, decode, 64, spec.hidden * 2)
    layer, ends = model.parts
    assert layer.count == 12 and layer.weight_bytes == pytest.approx(2 * 12 * 768**2, rel=0.01)
    assert model.weight_bytes == pytest.approx(2 * 125e6, rel=0.02)
    assert layer.cache_bytes == 2 * 2 * 768
    assert layer.decode.attention == 4 * 64 * 768 and layer.prefill.attention == 4 * 64 * 64 * 768
    assert ends.decode.products == 2 * 768 * 50272
    other = build(load_config(load("opt-1.3b"), name="opt-1.3b").spec, "decode", 1, 1, 64, "last", bits)
    with pytest.raises(BadInput, match="repeat the same layers"):
        model_of(prefill, other, 64, 1536)


def test_weights_on_the_first_tier_are_read_for_every_batch() -> None:
    """400 MB at 4 GB/s for each of 3 batches, where computing takes less."""
    on = Machine("small", (Tier("gpu", 700 * MB), Tier("cpu")), rates(), rates(local=4e9))
    policy = solve(on, layers(), BLOCK)
    assert policy.weight[0] == pytest.approx(1.0)
    run = generate(on, layers(), BLOCK, policy)
    assert run.decode_seconds == pytest.approx(8 * 3 * 0.4 / 4, rel=0.02)


HOST = """
name: small
extends: a100_80gb
memories:
  host: {kind: dram, capacity: 256 GB, bandwidth: 200 GB/s}
  hbm: {parent: host, capacity: 8 GB}
links:
  pcie: {kind: link, between: [host, hbm], bandwidth: 20 GB/s}
"""


def test_a_described_machine(tmp_path: Path) -> None:
    """Ways at the rates of links; a model larger than HBM streams over PCIe, and one larger than all says so."""
    (tmp_path / "small.yaml").write_text(HOST)
    arch = load_spec(str(tmp_path / "small.yaml")).build()
    on = machine_of(arch, ("hbm", "host"), unit="tensor", efficiency=0.5)
    assert on.decode.inward[0]["weight"] == pytest.approx(20e9) and on.decode.local == pytest.approx(2039e9)
    assert on.prefill.products == pytest.approx(0.5 * 2 * 108 * 1024 * 1.41e9)
    model = Model("12 GB", layers(48, 250 * MB).parts, 8192)
    policy = solve(on, model, BLOCK)
    seconds, _ = simulate(on, model, BLOCK, policy, "decode", 105)
    # hidden states wait behind a layer's weights, so that two batches of a layer run after its load
    assert policy.weight[1] * 12e9 / 20e9 <= seconds <= policy.weight[1] * 12e9 / 20e9 * 1.05
    with pytest.raises(DoesNotFit, match="host lacks"):
        solve(on, layers(48, 6_000 * MB), BLOCK)
    with pytest.raises(BadInput, match="no memory"):
        machine_of(arch, ("hbm", "disk"))
