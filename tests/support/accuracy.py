"""What pages say of errors of experiments, made out of the rows anew."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from accelsim.experiments.loader import Row

ROOT = Path(__file__).resolve().parents[2]
PAGE = "docs/accuracy.md"
TILES = "cycles of tile transfers"


def not_on_their_pages(name: str, rows: Sequence[Row]) -> list[str]:
    """Phrases with figures of an experiment that its page should have, and has not."""
    makers = {"eyeriss": _eyeriss, "intar": _intar, "dram": _dram, "pim_machines": _pim, "llm_validation": _llm}
    found = makers[name](rows) if name in makers else iter(())
    return [f"{page}: {text}" for page, text in found if text not in (ROOT / page).read_text(encoding="utf-8")]


def _errors(rows: Sequence[Row], quantity: str, *words: str) -> list[float]:
    """Errors, in percent, of the rows of a quantity whose `where` has all these words."""
    found = [r for r in rows if r.quantity == quantity and all(w in r.where for w in words)]
    assert found, (quantity, words)
    return [100 * r.error for r in found if r.error is not None]


def _eyeriss(rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
    times = (("processing time", "processing time"), ("total time", "total time with the DRAM link"))
    spans = {}
    for quantity, label in times:
        for network in ("AlexNet", "VGG-16"):
            (whole,) = _errors(rows, quantity, network, "all convolutions")
            of_layers = _errors(rows, quantity, network, ", conv")
            low, high = min(of_layers), max(of_layers)
            spans[quantity, network] = f"{low:.0f} to {high:+.0f} % | {whole:.0f} %"
            told = f"{low:+.1f} to {high:+.1f} %; all convolutions {whole:+.1f} %"
            yield PAGE, f"| {label}, layers of {network} | Eyeriss, silicon | {told} |"
    for span in spans.values():
        yield "experiments/eyeriss/README.md", span.replace("-0 %", "0 %")
    bytes_ = _errors(rows, "DRAM traffic, compressed", ", conv")
    one, two = (_errors(rows, "DRAM traffic, compressed", n, "all")[0] for n in ("AlexNet", "VGG-16"))
    yield PAGE, f"{min(bytes_):+.1f} to {max(bytes_):+.1f} % by layer; {one:+.1f} % (AlexNet), {two:+.1f} % (VGG-16)"


def _intar(rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
    for kernel, label in (("cnn", "a CNN, in sequence, as a dataflow, reconfigured"), ("vae", "a VAE, the same")):
        a, b, c = _errors(rows, "cycles", f"{kernel}, ", "as built")
        yield PAGE, f"| cycles of {label} | FPGA board | {a:.0f}, {b:.0f} and {c:.0f} % |"
    rest = [e for k in ("attention", "mlp", "gating") for e in _errors(rows, "cycles", f"{k}, ", "as built")]
    yield PAGE, f"MLP and gating, the same | FPGA board | {min(rest):+.0f} to {max(rest):+.0f} % |"


def _dram(rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
    judged = [r for r in rows if r.tolerance is not None]
    loose = [w for w in ("rand", "_mix", "allbank_newrow") for r in judged if w in r.where]
    mixed = [e for w in set(loose) for e in _errors(judged, "cycles", w)]
    every = _errors(judged, "cycles")
    plain = [e for e in every if e not in mixed]
    yield PAGE, f"on traces | at most {_most(plain):.1f} % |"
    yield PAGE, f"the same | at most {_most(mixed):.1f} % |"
    tiles = [r for r in rows if " x " in r.where and r.quantity == TILES]
    random = _errors(tiles, TILES, "rand_rd")
    whole = [e for e in _errors(tiles, TILES) if e not in random]
    worst = [r for r in rows if "the worst of all presets" in r.where]
    shares = [float(found[1]) for r in worst if (found := re.search(r"; 90 % of 82 presets within ([\d.]+)%", r.note))]
    assert len(shares) == len(worst) > 0
    furthest = max(_errors(worst, TILES), key=abs)
    yield PAGE, (f"at most {_most(whole):.1f} % but for random bursts, {_most(random):.1f} % for these; all 82 "
                 f"presets: nine of ten within {max(shares):.1f} %, the worst {furthest:.0f} %")  # fmt: skip


def _pim(rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
    commands = _errors(rows, "ticks") + _errors(rows, "cycles")
    yield PAGE, f"GDDR6-AiM, AttAcc | at most {_most(commands):.1f} % |"
    (stages,) = _errors(rows, "tokens per second", "pipelined")
    (parallel,) = _errors(rows, "tokens per second", "tensor-parallel")
    yield PAGE, f"| CENT | {stages:+.1f} % pipelined, {parallel:+.1f} % in tensor parallel;"


def _llm(rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
    def means(places: Sequence[str], kind: str) -> str:
        found = {r.where: r.accelsim for r in rows if r.quantity == "mean error"}
        return ", ".join(f"{100 * (found[f'{place}, {kind}'] or 0):.1f}" for place in places) + " %"

    sets = [f"{name}, matmul" for name in ("a100_vidur", "h100_vidur", "a100_llmcompass")]
    served = {name: [f"{device}, {name}" for device in ("a100", "h100", "gh200")] for name in ("vLLM", "TensorRT-LLM")}
    for places in (sets, *served.values()):
        yield PAGE, f"| {means(places, 'calibrated')} | {means(places, 'roofline, calibrated')} |"
    largest = {r.where: r.accelsim or 0 for r in rows if r.quantity == "largest error"}
    single = max(largest[f"{place}, calibrated"] for places in served.values() for place in places)
    yield PAGE, f"Single serving runs are up to {100 * single:.0f} % off."


def _most(errors: Sequence[float]) -> float:
    return max(abs(e) for e in errors)
