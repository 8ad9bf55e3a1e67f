"""Found, not given: mappings that the rewrite search and the fusion mapper reach from the three-pass cascade alone."""

from __future__ import annotations

from collections.abc import Iterator

from ... import simulate
from ...ir import Workload, parse_cascade
from ...mappers.cascade import best_cascade
from ..loader import ANOTHER_ROUTE, Row
from .cascade import BATCH, MODELS, WORD_BITS, Model, three_passes, tokens_of
from .ladder import machine_of, run

CASES = (("BERT", "4K", False), ("XLM", "16K", True))
"""Model, length, and whether the cascade comes with other names."""
RENAMED = """
first[u,w,y,z]  = left[u,w,x,z] * right[u,w,x,y]
second[u,w,z]   = max(y) first[u,w,y,z]
third[u,w,y,z]  = exp(first[u,w,y,z] - second[u,w,z])
fourth[u,w,z]   = third[u,w,y,z]
fifth[u,w,y,z]  = third[u,w,y,z] / fourth[u,w,z]
sixth[u,w,v,z]  = fifth[u,w,y,z] * last[u,w,v,y]
"""
SLOWER = 0.05


def found_rows() -> Iterator[Row]:
    """Latency beside that of the published mapping, both simulated."""
    models = {m.name: m for m in MODELS}
    arch = machine_of("binding")
    for name, length, renamed in CASES:
        model, tokens = models[name], tokens_of(length)
        found = best_cascade(_renamed(model, tokens) if renamed else three_passes(model, tokens), arch)
        ours = simulate(arch, found.workload, mapping=found.mapping).cycles / run("binding", model, tokens).cycles
        where = f"{name}, {length}" + (", all names changed" if renamed else "")
        over = max(0.0, ours - 1 - SLOWER)
        yield Row(f"found mapping slower than the published one by more than {SLOWER:.0%}", where, 0.0, over, "", 0.0,
                  f"{ANOTHER_ROUTE}the published mapping, simulated", f"{ours:.3f} of its latency")  # fmt: skip


def _renamed(model: Model, tokens: int) -> Workload:
    size = model.head_size
    sizes = {"u": BATCH, "w": model.heads, "y": tokens, "z": tokens, "x": size, "v": size}
    return parse_cascade(RENAMED, sizes, name="renamed", bits=WORD_BITS)
