"""Tables, state and results of a DRAM channel, as arrays of words."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...jit import stamped

IntArray = NDArray[np.int64]
ShortArray = NDArray[np.int32]
"""Banks, rows and numbers of requests: there are as many as requests in a trace, and moving them costs time."""

(
    CL, CWL, BURST, RCD_RD, RCD_WR, RP, RAS, RC, CCD_S, CCD_L, RRD_S, RRD_L, FAW, WR, WTR_S, WTR_L, RTP, RFC, REFI,
    TURN, ACT_BUS,
) = range(21)  # fmt: skip
"""Words of a timing table, in clock cycles. TURN is the gap on the data bus between a read and a write, ACT_BUS the
cycles for which an activation holds the command bus. REFI 0 means no refresh; FAW 0 no window of four activations."""
(
    PSEUDO, GROUPS, BANKS, PAGE, HIT_CAP, BANK_QUEUE, READ_QUEUE, WRITE_QUEUE, DRAIN_HIGH, DRAIN_LOW, WINDOW, SPLIT,
    APART, DELAY,
) = range(14)  # fmt: skip
"""Words of a policy table: pseudo-channels, bank groups of each, banks of each group; page policy; most hits in a row
while an older request to the bank waits (0: any number); entries of a bank's queue, and of the queues before them; the
marks at which writes begin and cease to drain; most requests on their way (0: any number); whether row and column
commands have a bus each; whether only one of reads and writes is chosen from at a time; the controller's own cycles."""
OPEN, CLOSED, ADAPTIVE = 0, 1, 2
FINISH, HITS, ACTS, PRES, REFS, LATENCY, READS, WRITES, LOGGED, ACTIVE_TIME = range(10)
"""Words of a result."""
CMD_ACT, CMD_PRE, CMD_RD, CMD_WR, CMD_PREA, CMD_REF, CMD_EITHER = range(7)
"""Commands. The first four have a row of `Work.ready` each."""
NEVER = 2**62
NEVER_YET = 2**60
"""As late as a command is that does not exist."""

(
    OPEN_ROW, ACT_OK, PRE_OK, RD_OK, WR_OK, HITS_ROW, LAST_ROW, SHUT, HEAD, QUEUED, RING, ASIDE_HEAD, ASIDE_QUEUED,
    ASIDE_RING, FIRST_RD, FIRST_WR, RD_HEAD, RD_TAIL, WR_HEAD, WR_TAIL, NEXT, GROUP_OF, PSEUDO_OF,
) = range(23)  # fmt: skip
"""Words of a bank. Times are the first allowed. RING is the row of the bank's queue, HEAD where it begins there, QUEUED
how long it is; ASIDE_ are those of the queue of what is not served now, where reads and writes are apart, in the same
order. FIRST_RD and FIRST_WR are the first that hit the open row, from the head. NEXT is its next command by itself.
GROUP_OF is where the words of its group begin, PSEUDO_OF the number of its pseudo-channel."""
_NONE = (OPEN_ROW, LAST_ROW, FIRST_RD, FIRST_WR, RD_HEAD, RD_TAIL, WR_HEAD, WR_TAIL, NEXT)
"""Words that begin as -1: none."""
RD_AT, WR_AT, ACT_AT, FAW_0, FAW_1, FAW_2, FAW_3, FAW_TURN = range(8)
"""Words of a bank group (the first three) and of a pseudo-channel: when the next command may go; the last four
activations, and which of them is the oldest."""
TURN_OF, AGE_OF, KIND_OF, BANKS_OF = range(4)
"""Words of the banks of a pseudo-channel with reads and writes that hit: the command that goes next of them, and how
many there are."""
BANK_BITS = 16
"""Bits of a word of `Work.age` that hold the bank."""
INDEX = 2**31 - 1
"""Mask of an index: it tells the compiler that it is not negative, and so counts from the beginning."""


class Work(NamedTuple):
    """What a channel works in. Tables of words have rows of a fixed power of two, which compiles to the least work.

    Attributes:
        bank: words of the banks; those of bank b begin at b << 5.
        group: words of the bank groups, four of each.
        pseudo: words of the pseudo-channels, those of one from pc << 3 on.
        either: words of the banks of a pseudo-channel that may read or write, from pc << 3 on.
        queue: [ring, entry] requests in the order in which they came, round from the queue's head; two of each bank.
        ready: [command, bank] when it may go, but for the buses and the window; NEVER_YET where it is not the next.
        age: [bank] the request that its next command is for, and in the lowest BANK_BITS the bank.
        soonest: least of `ready` by pseudo-channel and command, at pc << 2 | command.
        turns: when and in what rank these can go.
        link: [request] the next one of its kind and bank that waits for the bank's queue; empty where kinds are apart.
        returned: [read] when the answers came, in the order of the commands; empty where nobody waits for them.
        drain: writes left to drain, reads and writes that wait for the banks' queues, reads and writes in these.
    """

    bank: IntArray
    group: IntArray
    pseudo: IntArray
    either: IntArray
    queue: NDArray[np.int32]
    ready: IntArray
    age: IntArray
    soonest: IntArray
    turns: IntArray
    link: IntArray
    returned: IntArray
    drain: IntArray


class Log(NamedTuple):
    """Commands in the order in which they are chosen, while there is room."""

    time: IntArray
    kind: IntArray
    bank: IntArray
    row: IntArray


def fresh(requests: int, policy: IntArray) -> Work:
    """A channel with nothing open and nothing queued."""
    pseudo, per_pseudo, per_group = (int(policy[i]) for i in (PSEUDO, GROUPS, BANKS))
    groups = pseudo * per_pseudo
    banks = groups * per_group
    width = banks if pseudo > 1 else max(banks, _WIDTH)
    rows = np.arange(width)
    state = np.zeros((width, 32), np.int64)
    state[:, list(_NONE)] = -1
    state[:, RING], state[:, ASIDE_RING] = 2 * rows, 2 * rows + 1
    state[:, GROUP_OF] = rows // per_group << 2
    state[:, PSEUDO_OF] = rows // (per_group * per_pseudo)
    buses = np.zeros((pseudo, 8), np.int64)
    buses[:, FAW_0 : FAW_3 + 1] = -NEVER
    linked = 0 if policy[APART] else requests
    answers = requests if policy[WINDOW] > 0 else 0
    entries = 1 << int(policy[BANK_QUEUE] - 1).bit_length()
    return Work(
        state.ravel(), np.zeros(groups * 4, np.int64), buses.ravel(), np.zeros(pseudo * 8, np.int64),
        np.zeros((2 * banks, entries), np.int32), np.full((4, width), NEVER_YET, np.int64), np.zeros(width, np.int64),
        np.full(pseudo * 4, NEVER_YET, np.int64), np.zeros(pseudo * 4, np.int64),
        np.empty(linked, np.int64), np.empty(answers, np.int64), np.zeros(5, np.int64),
    )  # fmt: skip


_WIDTH = 16
"""Fewer banks are not worth a loop of their own: the compiler takes so many at a time."""

compiled = stamped(*sorted(Path(__file__).parent.glob("*.py")), nogil=True)
"""Compiles a function of this package; its code is kept until any file here changes. Channels run side by side."""
