"""Closed forms of the published latencies and traffic, for the models and lengths that have no printed figures here.

From the artifact of MICRO 2024; they agree with every printed figure of the table (a test says so). They are here to
compare with, and nothing else uses them.
"""

from __future__ import annotations

from .cascade import BATCH, Model
from .ladder import KEPT_TOKENS, spilled_part

CLOCK_HZ = 940e6
DRAM_BYTES_PER_S = 400 * 2**30
SIDE = 256
FUSEMAX_BUFFER = 16 * 2**20
FLAT_BLOCK = 1024
SPILL_MOVES = 7
"""Times that a spilled score goes over the chip's edge: in the passes of a softmax, in and out."""


def traffic_bytes(design: str, model: Model, tokens: int) -> int:
    """Bytes over the chip's edge."""
    one = BATCH * model.heads * tokens * model.head_size * 2  # queries, keys, values or results
    scores = BATCH * model.heads * tokens**2 * 2
    if design == "unfused":
        return 4 * scores + 4 * one
    if design == "flat":
        if tokens <= KEPT_TOKENS:
            return (3 * tokens // SIDE + 1) * one + round(SPILL_MOVES * spilled_part(model.head_size, tokens) * scores)
        return 4 * scores + (2 + 2 * tokens // FLAT_BLOCK) * one
    words = 2 * model.head_size + (514 if design == "cascade" else 2)
    return resident_traffic_bytes(model, tokens, words, SIDE, FUSEMAX_BUFFER)


def resident_traffic_bytes(model: Model, tokens: int, words: int, side: int, buffer: int) -> int:
    """Queries and results move once, keys and values once per block of queries that is resident.

    Args:
        model: what is computed.
        tokens: length of the sequence.
        words: of a resident query.
        side: rows of the array.
        buffer: bytes.
    """
    one = BATCH * model.heads * tokens * model.head_size * 2
    blocks = tokens // side
    limit = (buffer - 4 * side * model.head_size) // (words * side * 2)
    resident = max(d for d in range(1, blocks + 1) if blocks % d == 0 and (d <= limit or d == 1))
    return 2 * one + 2 * one * (blocks // resident)


def binding_cycles(model: Model, tokens: int, side: int = SIDE, exp_cycles: int = 6) -> int:
    """What FuseMax's row of lanes works: per tile of `side` by `side` scores, and the division at the end."""
    heads = BATCH * model.heads
    tiles, blocks = heads * (tokens // side) ** 2, heads * tokens // side
    return tiles * (2 * model.head_size + 4 + exp_cycles) + blocks * model.head_size


def latency_s(design: str, model: Model, tokens: int) -> float:
    """The larger of compute and traffic, phase by phase where a design has several."""
    e, heads = model.head_size, BATCH * model.heads
    tiles, blocks = heads * (tokens // SIDE) ** 2, heads * tokens // SIDE
    traffic_s = traffic_bytes(design, model, tokens) / DRAM_BYTES_PER_S
    if design == "unfused":
        scores_s = heads * tokens**2 * 2 / DRAM_BYTES_PER_S
        product_s = scores_s + 2 * heads * tokens * e * 2 / DRAM_BYTES_PER_S
        return max(tiles * 1024 / CLOCK_HZ, 2 * scores_s) + 2 * max(product_s, tiles * e / CLOCK_HZ)
    cycles: float = {
        "flat": tiles * 1024,
        "cascade": tiles * (1024 + 2 * e + 5) + blocks * e,
        "architecture": tiles * (max(1 + e, 1 + SIDE * e / tokens) + SIDE + 9 + 2 * e),
        "binding": binding_cycles(model, tokens),
    }[design]
    return max(cycles / CLOCK_HZ, traffic_s)
