"""Whole steps outside of GPU memory: chunks of weights and states, and two forward passes over streamed blocks."""

from __future__ import annotations

from functools import cache

from ...mappers.ilp.solver import SolverOptions
from ...mappers.offload.chunks import ChunkStep, ChunkTrainer, train_in_chunks
from ...mappers.offload.zeroth import ZerothStep, ZerothTrainer, train_zeroth
from ...mapping.tiers.problem import Tier
from ..loader import Changes
from .cases import SEQUENCE, figures, gpt

WIDTH = 8192
CHUNK_BATCH = 8
HOST_BYTES = 400 * 10**9
OPTIONS = SolverOptions(gap=0.02, nodes=2000)
"""Two percent from the best placement is near enough."""


@cache
def in_chunks(layers: int, gigabytes: float, each: int = 1, changes: Changes = (), host: int = HOST_BYTES) -> ChunkStep:
    """A step with so much GPU memory and so many layers in a chunk. Raises DoesNotFit."""
    on, model = figures(changes), gpt(layers, WIDTH)
    link = on["host link"]
    trainer = ChunkTrainer(int(gigabytes * 1e9), host, on["GPU peak"] * on["GPU efficiency"], link, link,
                           on["GPU memory bandwidth"], on["optimiser on the host"])  # fmt: skip
    return train_in_chunks(model, CHUNK_BATCH, SEQUENCE, trainer, each * model.parts[0].weight_bytes, OPTIONS)


@cache
def two_passes(layers: int, batch: int, *, together: bool = True, changes: Changes = ()) -> ZerothStep:
    """A step of zeroth order of so many sequences."""
    on = figures(changes)
    link = on["host link"]
    trainer = ZerothTrainer(Tier("gpu"), Tier("host"), on["GPU peak"] * on["GPU efficiency"],
                            on["GPU memory bandwidth"], link, link)  # fmt: skip
    return train_zeroth(gpt(layers, WIDTH), batch, SEQUENCE, trainer, together=together)
