"""Finer ticks: the same Program on a reference clock in which its transfers take whole ticks.

A channel whose rate does not divide its transfers carries a remainder from one to the next, so that a loop of equal
tiles recurs only after thousands of them. On a clock some times faster every transfer is whole, nothing is carried, and
a loop recurs with its first iteration. The clock of the machine remains a whole number of ticks.
"""

from __future__ import annotations

from dataclasses import replace
from math import gcd, lcm

import numpy as np

from .program import NONE, Platform, Program

FASTEST_HZ = 10**14
"""Ticks are no finer than this, so that 2**62 of them are still half a day."""


def exact_ticks(program: Program) -> Program:
    """The Program on the slowest multiple of its clock on which every service lasts whole ticks.

    Returns the Program itself when that is its own clock, when it would take ticks finer than FASTEST_HZ, or when a
    server keeps times of its own in its state.
    """
    servers = program.platform.servers
    if any(s.step is not None for s in servers):
        return program
    owner = program.actor_of_phase()
    fired = np.flatnonzero(owner != NONE)
    server_of = np.full(program.n_phases, NONE, np.int64)
    server_of[fired] = program.actor_server[owner[fired]]
    factor = 1
    for s, server in enumerate(servers):
        unit = int(np.gcd.reduce(program.phase_work[server_of == s], initial=server.burst))
        if unit:
            num, den = server.rate.numerator, server.rate.denominator
            factor = lcm(factor, num // gcd(num, den * unit))
    if factor == 1 or program.tick_hz * factor > FASTEST_HZ:
        return program
    work = program.phase_work.copy()
    work[server_of == NONE] *= factor  # an actor that serves itself works in ticks
    return replace(
        program,
        tick_hz=program.tick_hz * factor,
        platform=Platform(
            tuple(replace(s, rate=s.rate / factor) for s in servers),
            program.platform.pools,
        ),
        fifos=tuple(
            replace(f, latency=f.latency * factor, credit_latency=f.credit_latency * factor) for f in program.fifos
        ),
        phase_work=work,
    )
