"""What a Program does over and over: one period of it, and how many of them there are."""

from __future__ import annotations

from dataclasses import replace
from math import gcd, prod

from ..program import REPEAT, Program


def one_period(program: Program) -> tuple[Program, int]:
    """A Program that does once what another one does n times, and n: as often as all its actors repeat themselves.

    An actor whose schedule is one repeat repeats itself as often as that says, times as often as its body does if that
    is one instruction; every other actor does its schedule once.
    """
    chains = [_chain(program, a) for a in range(program.n_actors) if program.code_ptr[a + 1] > program.code_ptr[a]]
    repeats = gcd(*(prod(int(program.code_count[i]) for i in chain) for chain in chains))
    counts = program.code_count.copy()
    for chain in chains:
        left = repeats
        for i in chain:
            part = gcd(int(counts[i]), left)
            counts[i] //= part
            left //= part
    return replace(program, code_count=counts), max(1, repeats)


def _chain(program: Program, actor: int) -> list[int]:
    """The instructions that are the whole of an actor's schedule, or of the body of the one before."""
    lo, hi = int(program.code_ptr[actor]), int(program.code_ptr[actor + 1])
    chain: list[int] = []
    while hi > lo:
        last = hi - 1
        if program.code_op[last] != REPEAT:
            return [*chain, last] if last == lo else chain
        if int(program.code_arg[last]) != lo:
            return chain
        chain.append(last)
        hi = last
    return chain
