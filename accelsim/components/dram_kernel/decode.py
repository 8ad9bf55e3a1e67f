"""Where addresses lie, and which requests each channel has."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .layout import INDEX, IntArray, ShortArray, compiled


@compiled
def decode(
    address: IntArray, segments: IntArray, burst_bits: int, shape: IntArray,
    channel: ShortArray, bank: ShortArray, row: ShortArray, column: ShortArray,
) -> None:  # fmt: skip
    """Channel, bank within the channel, row and column of byte addresses.

    Args:
        segments: [segment, 4], lowest first: field, size, weight, and the bits of a size that is a power of two or -1.
        burst_bits: of an address that say where in a burst it is.
        shape: bank groups and banks of each.
    """
    groups, per_group = shape[0], shape[1]
    for i in range(address.shape[0]):
        rest = address[i] >> burst_bits
        ch, pc, bg, ba, ro, co = 0, 0, 0, 0, 0, 0
        for k in range(segments.shape[0]):
            field, size, bits = segments[k, 0], segments[k, 1], segments[k, 3]
            if bits >= 0:
                part = (rest & (size - 1)) * segments[k, 2]
                rest >>= bits
            else:
                part = rest % size * segments[k, 2]
                rest //= size
            if field == 0:
                ch += part
            elif field == 1:
                pc += part
            elif field == 2:
                bg += part
            elif field == 3:
                ba += part
            elif field == 4:
                ro += part
            else:
                co += part
        channel[i] = ch
        bank[i] = (pc * groups + bg) * per_group + ba
        row[i] = ro
        column[i] = co


@compiled
def deal(
    channel: ShortArray, bank: ShortArray, row: ShortArray, write: NDArray[np.uint8], arrival: IntArray, ends: IntArray,
    order: ShortArray, banks: ShortArray, rows: ShortArray, writes: NDArray[np.uint8], arrivals: IntArray,
) -> None:  # fmt: skip
    """Deal requests out over the channels, in their order.

    Args:
        ends: [channel] gets how many requests it and those before it have.
        order: [request] gets which request of the trace it is; those of a channel lie side by side.
        banks, rows, writes, arrivals: get what the requests have, in that order. Times may be left out: empty arrays.
    """
    timed = arrival.shape[0] > 0
    for i in range(channel.shape[0]):
        ends[channel[i] & INDEX] += 1
    begin = 0
    for c in range(ends.shape[0]):
        count = ends[c]
        ends[c] = begin
        begin += count
    for i in range(channel.shape[0]):
        c = channel[i] & INDEX
        at = ends[c] & INDEX
        ends[c] = at + 1
        order[at] = i
        banks[at] = bank[i]
        rows[at] = row[i]
        writes[at] = write[i]
        if timed:
            arrivals[at] = arrival[i]


@compiled
def gather(order: ShortArray, done: IntArray, found: IntArray) -> None:
    """Put what is known of requests, dealt out over the channels, back into the order of the trace."""
    for i in range(order.shape[0]):
        found[order[i] & INDEX] = done[i]
