"""Tables, state and results of a DRAM channel, as arrays of words."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..nest_kernel import stamped

IntArray = NDArray[np.int64]

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
NEVER = 2**62
NEVER_YET = 2**60
"""As late as a command is that does not exist."""

(
    OPEN_ROW, ACT_OK, RD_OK, WR_OK, PRE_OK, HITS_ROW, LAST_ROW, SHUT, HEAD, QUEUED, FIRST_RD, FIRST_WR, RD_HEAD,
    RD_TAIL, WR_HEAD, WR_TAIL, READY, AGE, NEXT, OLDER, YOUNGER, GROUP_OF, PSEUDO_OF,
) = range(23)  # fmt: skip
"""Words of a bank. Times are the first allowed. HEAD is where its queue begins, QUEUED how long it is, FIRST_RD and
FIRST_WR the first that hit the open row, from the head. READY, AGE and NEXT are its next command by itself: when, for
which request, and which; OLDER and YOUNGER are its neighbours in the list of banks with such a command. GROUP_OF is
where the words of its group begin, PSEUDO_OF the number of its pseudo-channel."""
_NONE = (OPEN_ROW, LAST_ROW, FIRST_RD, FIRST_WR, RD_HEAD, RD_TAIL, WR_HEAD, WR_TAIL, NEXT)
"""Words that begin as -1: none."""
RD_AT, WR_AT, ACT_AT, FAW_0, FAW_1, FAW_2, FAW_3, FAW_TURN = range(8)
"""Words of a bank group (the first three) and of a pseudo-channel: when the next command may go; the last four
activations, and which of them is the oldest."""
OF_CLOSE, OF_ROWS, OF_COLUMNS = range(3)
"""Lists of banks: to precharge; then of each pseudo-channel to activate, and to read or write."""
AT, FOUND_TURN, FOUND_AGE, KIND, BANK = range(5)
"""Words of the command of a list that goes next: when; what decides between those of several lists, first this, then
for which request; which; at what bank."""
INDEX, REQUEST = 2**31 - 1, 2**62 - 1
"""Masks of an index of a bank, a group or an entry, and of a request: they tell the compiler that it is not negative,
and so counts from the beginning."""
UNKNOWN = -1
"""Time of a command that is to be looked for."""


class Work(NamedTuple):
    """What a channel works in. Tables of words have rows of a fixed power of two, which compiles to the least work.

    Attributes:
        bank: words of the banks, and after these of the ends of the lists; those of bank b begin at b << 5.
        group: words of the bank groups, four of each.
        pseudo: words of the pseudo-channels, those of one from pc << 3 on.
        queue: [bank, entry] requests in the order in which they came, round from the queue's head.
        chosen: words of the commands of the lists that go next, those of list k from k << 3 on.
        link: [request] the next one of the same kind and bank that waits for the bank's queue.
        returned: [read] when the answers came, in the order of the commands.
        drain: writes left to drain, reads and writes that wait for the banks' queues, reads and writes in these.
    """

    bank: IntArray
    group: IntArray
    pseudo: IntArray
    queue: IntArray
    chosen: IntArray
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
    lists = 1 + 2 * pseudo
    rows = np.arange(banks + lists)
    state = np.zeros((len(rows), 32), np.int64)
    state[:, list(_NONE)] = -1
    state[:, READY] = NEVER
    state[:banks, GROUP_OF] = rows[:banks] // per_group << 2
    state[:banks, PSEUDO_OF] = rows[:banks] // (per_group * per_pseudo)
    state[banks:, AGE] = -1
    state[:, OLDER] = state[:, YOUNGER] = rows
    buses = np.zeros((pseudo, 8), np.int64)
    buses[:, FAW_0 : FAW_3 + 1] = -NEVER
    link = np.full(requests, -1, np.int64)
    chosen = np.zeros((lists, 8), np.int64)
    chosen[:, AT] = UNKNOWN
    entries = 1 << int(policy[BANK_QUEUE] - 1).bit_length()
    return Work(
        state.ravel(), np.zeros(groups * 4, np.int64), buses.ravel(), np.zeros((banks, entries), np.int64),
        chosen.ravel(), link, np.zeros(requests, np.int64), np.zeros(5, np.int64),
    )  # fmt: skip


compiled = stamped(*sorted(Path(__file__).parent.glob("*.py")))
"""Compiles a function of this package; its code is kept until any file here changes."""
