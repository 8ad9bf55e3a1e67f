"""AttAcc's schedule of decode attention on one stack: heads dealt out over channels, taken in pairs.

Keys and values of a head lie in one channel, dealt out over all its banks, in rows of their own. Of a pair of heads one
computes while the other's softmax and vectors move; what a last head without a partner moves, nothing hides. Commands
that move 32 bytes between buffers take 4 cycles, a softmax of 256 scores 16 (trace_gen of attacc_simulator@c600051).
"""

from __future__ import annotations

import numpy as np

from ...components.pim import PimArray

CHANNELS = 16
HEAD_DIMENSION = 128
MOVE_CYCLES = 4
SOFTMAX_CYCLES = 16
_MOVED_AT_ONCE = 256
"""Scores, or probabilities, that one round of moves over ranks and bank groups takes along."""


def attention_cycles(unit: PimArray, heads: int, length: int) -> int:
    """DRAM cycles of the scores, softmax and weighted sums of so many heads, each with a cache of so many tokens."""
    d = unit.device
    each = unit.units_per_channel * unit.width
    bursts = np.asarray(-(-length * HEAD_DIMENSION // each))
    rows = -(-bursts // d.columns)
    phase = unit.stream_cycles(bursts, rows)
    per_channel = -(-heads // CHANNELS)
    cycles = 2 * per_channel * phase
    if per_channel % 2:
        rounds = -(-length // _MOVED_AT_ONCE)
        cycles = cycles + (2 * 8 * rounds + 16) * MOVE_CYCLES + SOFTMAX_CYCLES * rounds
    return int(unit.refreshed(cycles))
