"""AttAcc's schedule of decode attention on one stack: heads dealt out over channels, taken in pairs.

Keys and values of a head lie in one channel, dealt out over all its banks, in rows of their own. Of a pair of heads one
computes while the other's softmax and vectors move. Nothing hides what a last head without a partner moves, and it
moves it often: the traces behind the shipped results (trace_gen of attacc_simulator@c1540de) have its softmax and the
moves of its probabilities once after every group of scores, and once more at the end; c600051 has them once.

Times of commands (HBM3-PIM.cpp there): a softmax, or a move of a burst between buffers, comes tCCD_L after one to the
same bank group, tCCD_S after one to another. Barriers hold back MACs and moves, but not the opening of rows, so that
rows open while the moves run.
"""

from __future__ import annotations

import numpy as np

from ...components.pim import PimArray

CHANNELS = 16
HEAD_DIMENSION = 128


def attention_cycles(unit: PimArray, heads: int, length: int) -> int:
    """DRAM cycles of the scores, softmax and weighted sums of so many heads, each with a cache of so many tokens."""
    bursts = np.asarray(-(-length * HEAD_DIMENSION // (unit.units_per_channel * unit.width)))
    phase = unit.stream_cycles(bursts, -(-bursts // unit.device.columns))
    per_channel = -(-heads // CHANNELS)
    cycles = 2 * per_channel * phase
    if per_channel % 2:
        opening = phase - bursts * unit.interval
        cycles = cycles + np.maximum(0, lone_move_cycles(unit, length) - opening)
    return int(unit.refreshed(cycles))


def lone_move_cycles(unit: PimArray, length: int) -> int:
    """DRAM cycles in which a head without a partner has its softmax and moves its probabilities, a burst of them per
    command and bank group, or per channel where the units are at the buffer die."""
    d = unit.device
    places = min(d.bank_groups, d.banks // d.pseudo_channels // unit.banks_per_unit)
    groups = -(-length // (d.pseudo_channels * places * unit.width))
    pace = d.timing.tCCD_S if places > 1 else d.timing.tCCD_L
    return (groups + 1) * (places * groups + 1) * pace
