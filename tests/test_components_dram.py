"""The open-row DRAM channel against slow models of it."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.einsums import SMALL

from accelsim.components.open_row import CREDIT, OPEN, REFRESH_NEXT, OpenRowDram, step
from accelsim.errors import BadInput


class SlowDram:
    """The open-row channel, one row at a time and one refresh at a time."""

    def __init__(self, rate: Fraction, burst: int, row: int, banks: int, activate: int, precharge: int) -> None:
        self.rate, self.burst, self.row, self.banks = rate, burst, row, banks
        self.activate, self.precharge = activate, precharge
        self.open: dict[int, int] = {}
        self.moved, self.paid = 0, 0

    def transfer(self, address: int, amount: int) -> int:
        bursts = range(address // self.burst, (address + amount - 1) // self.burst + 1)
        ticks, last_row, hidden, in_row = 0, None, 0, 0
        for b in bursts:
            chunk = b * self.burst // self.row
            if chunk != last_row:
                hidden = in_row * self.burst // self.rate if self.banks > 1 else 0
                bank, row = chunk % self.banks, chunk // self.banks
                if self.open.get(bank) != row:
                    ticks += max(0, self.activate + self.precharge * (bank in self.open) - int(hidden))
                self.open[bank] = row
                last_row, in_row = chunk, 0
            in_row += 1
        self.moved += len(bursts) * self.burst
        owed = ceil(self.moved / self.rate) - self.paid
        self.paid += owed
        return ticks + owed


GEOMETRY = st.tuples(
    st.fractions(Fraction(1, 4), 40, max_denominator=7),
    st.sampled_from([8, 16]),
    st.sampled_from([1, 2, 5]),
    st.integers(1, 5),
    st.integers(0, 30),
    st.integers(0, 30),
)


@given(GEOMETRY, st.lists(st.tuples(st.integers(0, 600), st.integers(1, 900)), min_size=1, max_size=12))
@SMALL
def test_open_rows_equal_a_walk_over_bursts(
    shape: tuple[Fraction, int, int, int, int, int], transfers: list[tuple[int, int]]
) -> None:
    rate, burst, bursts, banks, activate, precharge = shape
    slow = SlowDram(rate, burst, burst * bursts, banks, activate, precharge)
    fixed = [rate.numerator, rate.denominator, 0, burst, burst * bursts, banks, activate, precharge, 0, 0, 0, 0]
    state = np.array(fixed + [-1] * banks, np.int64)
    ticks = [step(state, amount, address, 0) for address, amount in transfers]
    expected = [slow.transfer(address, amount) for address, amount in transfers]
    # A transfer lasts at least one tick; what that is too much is credited to the next.
    assert all(t >= 1 for t in ticks)
    if min(expected) >= 1:
        assert ticks == expected
    assert sum(ticks) >= sum(expected)
    assert {b: int(r) for b, r in enumerate(state[OPEN:]) if r >= 0} == slow.open
    assert all(state[:CREDIT] == fixed[:CREDIT])


@given(
    st.integers(0, 5000), st.integers(1, 3000), st.integers(0, 40), st.integers(1, 30), st.integers(100, 400),
    st.integers(0, 1000),
)  # fmt: skip
@SMALL
def test_refresh_stops_the_channel_tick_by_tick(
    now: int, amount: int, activate: int, pause: int, every: int, gap: int
) -> None:
    state = np.array([1, 1, 0, 1, 2**20, 1, activate, 0, every, pause, every, 0, -1], np.int64)
    is_open = False
    for begin in (now, now + amount + gap):
        begin = max(begin, now)
        opening, data = 0, amount
        is_open = is_open and not any(t >= every and t % every < pause for t in range(now, begin))
        now = begin
        while opening or data:
            if now >= every and now % every < pause:
                is_open = False
            elif not is_open:
                is_open, opening = True, opening + activate
                continue
            elif opening:
                opening -= 1
            else:
                data -= 1
            now += 1
        later = state.copy()
        later[REFRESH_NEXT] += 12345
        assert step(state, amount, 0, begin) == step(later, amount, 0, begin + 12345) == now - begin
        assert state[OPEN] == 0
        assert later[REFRESH_NEXT] == state[REFRESH_NEXT] + 12345


def test_open_row_dram_as_a_server() -> None:
    memory = OpenRowDram(
        name="d", capacity=2**30, bandwidth="16 GB/s", channels=2, banks=4, row="1 KiB", burst="32 B",
        activate="14 ns", precharge="14.2 ns", refresh_interval="3.9 us", refresh_time="260 ns",
    )  # fmt: skip
    server = memory.server("read", Fraction(10**9))
    assert server == memory.server("write", Fraction(10**9))
    assert server.rate == 16
    assert server.state == (16, 1, 0, 64, 2048, 4, 14, 15, 3900, 260, 3900, 0, -1, -1, -1, -1)
    assert server.step is step
    assert server.state_times == (REFRESH_NEXT,)
    state = np.array(server.state, np.int64)
    assert step(state, 2048, 0, 0) == 14 + 128
    assert step(state, 2048, 0, 0) == 128
    assert step(state, 2048, 4 * 2048, 0) == 29 + 128
    assert not memory.on_chip
    for wrong, what in (
        ({"bandwidth": "unlimited"}, "needs a finite `bandwidth`"),
        ({"burst": "48 B"}, "not a whole number of bursts"),
        ({"refresh_time": None}, "give both"),
        ({"refresh_interval": "100 ns"}, "more than twice"),
    ):
        with pytest.raises(ValueError, match=what):
            OpenRowDram(**{**memory.model_dump(), **wrong})
    with pytest.raises(BadInput, match="too long for its refresh"):
        memory.server("read", Fraction(10**5))


def test_step_compiles() -> None:
    import numba

    compiled: Any = numba.njit(step)
    rng = np.random.default_rng(1)
    base = np.array([7, 3, 0, 16, 64, 3, 11, 5, 200, 20, 200, 0, -1, -1, -1], np.int64)
    ours, theirs, now = base.copy(), base.copy(), 0
    for _ in range(300):
        work, arg, gap = (int(x) for x in rng.integers(1, 2000, 3))
        now += gap
        ticks = step(ours, work, arg, now)
        assert ticks == compiled(theirs, work, arg, now)
        now += ticks
        assert (ours == theirs).all()
