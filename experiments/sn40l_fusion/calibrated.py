"""The published ranges with three inputs that the paper leaves out, read from three of its figures.

What a launch by software costs follows from the largest speed-up by fusion in decode, which the paper names. What
counts as one operator was chosen for launches by hardware in decode of the largest model, how many prompts run at once
for those in the shortest prefill. All other figures follow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from ...errors import DoesNotFit
from ..loader import Row
from .launches import launch_at
from .models import BLOOM
from .runs import BY_MODULE, IN_RANGE, PAPER, TOLERANCES, Run, inside, measured, references, without_launches

LARGEST = Run("mistral-7b", "decode", 2048)
"""The run whose speed-up by fusion is the largest in decode."""
TOKENS = 32 * 1024
"""Tokens of all prompts of a prefill: the least power of two with which that of Mistral at 2K is in its range."""
READ_FROM = {
    (LARGEST, "speed-up"),
    (Run(BLOOM, "decode", 8192), "launch"),
    (Run("mistral-7b", "prefill", 2048), "launch"),
}
"""Figures that an input was read from, so that they judge nothing: of launches, operators and prompts."""
NAMES = {
    "speed-up": "fused over unfused",
    "launch": "hardware over software launch",
    "kernel calls": "kernel calls, unfused over fused",
}


@cache
def launch_s() -> float:
    """Seconds of a launch by software on eight sockets with which fusion brings what is published of LARGEST."""
    unfused, fused = (without_launches(LARGEST, level)[0] for level in (BY_MODULE, "fused"))
    published = next(float(r["low"]) for r in references(LARGEST) if r["low"] == r["high"])
    return launch_at(unfused, fused, published)


def calibrated(run: Run) -> Run:
    """The run with those inputs; of prompts half as many until they fit on the chip.

    Raises:
        DoesNotFit: not even one prompt does.
    """
    now = replace(run, launch_s=launch_s())
    if run.phase != "prefill":
        return now
    prompts = TOKENS // run.tokens
    while prompts > 1 and not fits(replace(now, prompts=prompts)):
        prompts //= 2
    return replace(now, prompts=prompts)


def fits(run: Run) -> bool:
    """Whether every kernel of a run has room on the chip."""
    try:
        for level in (BY_MODULE, "fused"):
            measured(run, level)
    except DoesNotFit:
        return False
    return True


def rows() -> Iterator[Row]:
    """Speed-ups of all runs beside what is published."""
    yield Row("launch by software", "calibrated, eight sockets", None, launch_s() * 1e6, "us", None, "simulated",
              f"with which fusion makes {LARGEST} as much faster as is published")  # fmt: skip
    for run in PAPER:
        yield from _of(run)


def _of(run: Run) -> Iterator[Row]:
    now = calibrated(run)
    unfused = measured(now, BY_MODULE)[0]
    soft, hard = measured(now, "fused")
    found = {
        "speed-up": unfused.seconds / soft.seconds,
        "launch": soft.seconds / hard.seconds,
        "kernel calls": unfused.calls / soft.calls,
    }
    where = f"{run}, calibrated"
    note = f"launches by software of {launch_s() * 1e6:.0f} us; prompts at once: {now.prompts}; operators are modules"
    for r in references(run):
        if r["quantity"] not in found:
            continue
        value, low, high = found[r["quantity"]], float(r["low"]), float(r["high"])
        name, source = NAMES[r["quantity"]], r["source"]
        used = (run, r["quantity"]) in READ_FROM
        text = f"{note}; an input was read from this" if used else note
        if low == high:
            tolerance = None if used or r["quantity"] == "kernel calls" else TOLERANCES[r["quantity"]]
            yield Row(name, where, low, value, "x", tolerance, source, text)
            continue
        yield Row(name, where, None, value, "x", None, source, f"published: {low:g} to {high:g}; {text}")
        yield Row(f"{name}, {IN_RANGE}", where, 1.0, inside(value, low, high), "", None if used else 0.0, source, text)
