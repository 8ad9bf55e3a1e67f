"""FuseMax's published mappings: rows within tolerance, and machines that are moved by 20 %."""

from __future__ import annotations

import pytest

from accelsim import simulate
from accelsim.arch.loader import load_spec
from accelsim.experiments.fusemax.cascade import BATCH, MODELS, one_pass
from accelsim.experiments.fusemax.closed_forms import latency_s, traffic_bytes
from accelsim.experiments.fusemax.ladder import run
from accelsim.experiments.fusemax.mappings import fused
from accelsim.experiments.loader import data_path, load_experiment, table

PACKAGE = "accelsim.experiments.fusemax"
BERT = MODELS[0]


def test_every_row_with_a_tolerance_is_within_it() -> None:
    rows = load_experiment("fusemax").run().rows
    assert len(rows) > 350
    assert [r.where for r in rows if r.ok is False] == []


def test_closed_forms_agree_with_every_printed_figure() -> None:
    models = {m.name: m for m in MODELS}
    spills = {(r["model"], r["tokens"]): float(r["spilled_fraction"]) for r in table(PACKAGE, "flat_spill.csv")}
    for r in table(PACKAGE, "attention.csv"):
        design, model, tokens = r["design"], models[r["model"]], 1024 * int(r["tokens"].removesuffix("K"))
        assert latency_s(design, model, tokens) == pytest.approx(float(r["latency_s"]), rel=5e-7)
        spilled = spills[model.name, r["tokens"]] if design == "flat" else 0.0
        moved = traffic_bytes(design, model, tokens) + 7 * spilled * BATCH * model.heads * tokens**2 * 2
        assert moved == pytest.approx(float(r["dram_bytes"]), rel=5e-6)


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
        ("memories.dram.bandwidth", "320 GiB/s", "480 GiB/s", False),  # hidden behind the arrays
    ],
)
def test_a_smaller_machine_is_never_faster(key: str, smaller: object, larger: object, slows: bool) -> None:
    spec = load_spec(data_path(PACKAGE, "fusemax.yaml"))
    work = one_pass(BERT, 1024)
    mapping = fused(work.name, 256, 4, blocks=2)
    less, more = (
        simulate(spec.with_values({key: value}).build(), work, mapping=mapping).latency_s for value in (smaller, larger)
    )
    assert less > 1.1 * more if slows else less == pytest.approx(more, rel=0.01)
